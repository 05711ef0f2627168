//! A request that returns to the attache process that sent it is refused.

use crate::harness::*;
use std::net::{Ipv4Addr, TcpListener};

/// Returns two free ports. A file with its own listeners as targets has to know them in advance.
fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind"));
    listeners.map(|listener| listener.local_addr().expect("an address").port())
}

/// Not a secret here: it is part of a server URL on purpose.
const KEY: &str = "a-key-that-goes-round-in-circles";

fn access_lines(attache: &Attache, direction: &str) -> usize {
    attache.stdout_text().matches(&format!(r#""direction":"{direction}""#)).count()
}

/// The webhook is forwarded to `listen.outbound`, whose service is the webhook.
#[tokio::test]
async fn a_webhook_that_leads_back_to_itself_is_a_508_after_four_passes() {
    let [outbound, webhooks] = free_ports();
    let yaml = format!(
        "listen: {{ outbound: 127.0.0.1:{outbound}, webhooks: 127.0.0.1:{webhooks}, admin: 127.0.0.1:0 }}
users: {{ bot: {{}} }}
services:
  round:
    webhook:
      user: bot
      forward_to: http://127.0.0.1:{outbound}/back
      timeout: 1s
      api_keys: [{{ id: a, sha256: {} }}]
  back:
    account: {{ authorization: none }}
    server_url: http://127.0.0.1:{webhooks}/webhooks/{KEY}
    timeout: 1s
",
        sha256_hex(KEY)
    );
    let attache = attache().with(&yaml).await;
    let answer = attache.hook(post(format!("/webhooks/{KEY}"), "{}")).await;
    let passes = access_lines(&attache, "webhook").max(access_lines(&attache, "outbound"));
    assert_eq!(answer.status, 508, "{passes} passes: {}", answer.text());
    assert_eq!(answer.json()["code"], "loop_detected");
    assert!(passes <= 5, "{passes} passes");
}

/// A name or an address by which attache reaches its own listener, in a file that does not contain the listener's
/// address.
#[tokio::test]
async fn a_service_that_leads_to_its_own_listener_is_an_error_of_the_file_or_a_508() {
    for (listens, connects) in [("127.0.0.1", "localhost"), ("0.0.0.0", "127.0.0.1")] {
        let [outbound, _other] = free_ports();
        let yaml = format!(
            "listen: {{ outbound: {listens}:{outbound}, webhooks: 127.0.0.1:0, admin: 127.0.0.1:0 }}
allow_anonymous_callers: true
services:
  round:
    account: {{ authorization: none }}
    server_url: http://{connects}:{outbound}/round
    private_network: true
    timeout: 1s
"
        );
        let setup = attache();
        let path = setup.write(&yaml).display().to_string();
        let checked = command(&["check", "-c", &path]).finish().await;
        if checked.code == Some(1) {
            assert!(checked.stderr.contains("services.round.server_url"), "{}", checked.stderr);
            continue;
        }
        let attache = setup.with(&yaml).await;
        let answer = send((Ipv4Addr::LOCALHOST, outbound).into(), get("/round/x")).await;
        let passes = access_lines(&attache, "outbound");
        assert_eq!(answer.status, 508, "{connects}: {passes} passes: {}", answer.text());
        answer.problem("loop_detected", 508, "proxy_loop_detected");
        assert!(passes <= 5, "{connects}: {passes} passes");
    }
}

#[tokio::test]
async fn the_literal_addresses_of_own_listeners_are_errors_of_the_file() {
    let [outbound, webhooks] = free_ports();
    let yaml = format!(
        "listen: {{ outbound: 127.0.0.1:{outbound}, webhooks: 127.0.0.1:{webhooks}, admin: 127.0.0.1:0 }}
users: {{ bot: {{}} }}
services:
  out:
    account: {{ authorization: none }}
    server_url: http://127.0.0.1:{outbound}/out
  hook:
    webhook: {{ user: bot, forward_to: 'http://127.0.0.1:{webhooks}/x', api_keys: [{{ id: a, sha256: {} }}] }}
",
        sha256_hex(KEY)
    );
    let setup = attache();
    let path = setup.write(&yaml).display().to_string();
    let checked = command(&["check", "-c", &path]).finish().await;
    assert_eq!(checked.code, Some(1), "{}", checked.stderr);
    for place in ["services.out.server_url", "services.hook.webhook.forward_to"] {
        assert!(checked.stderr.contains(place), "{}", checked.stderr);
    }
}

fn round(via: &[&str]) -> Request {
    via.iter().fold(get("/mailer/x"), |request, value| request.header("Via", *value))
}

#[tokio::test]
async fn more_than_three_passes_are_detected_by_via() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    for via in [
        &["1.1 attache, 1.1 attache, 1.1 attache, 1.1 attache"][..],
        &["1.1 attache", "1.1 front, 1.1 attache", "HTTP/1.1 attache", "1.0 attache (a comment)"],
    ] {
        let answer = attache.send(round(via)).await;
        answer.problem("loop_detected", 508, "proxy_loop_detected");
    }
    assert_eq!(third_party.seen().heads, 0);
    for via in [
        &["1.1 attache, 1.1 attache, 1.1 attache"][..],
        &["1.1 attachet, 1.1 my-attache, 1.1 attache.example, 1.1 front (attache)"],
        &["attache attache, 1.1 x, 1.1 y, 1.1 z"],
    ] {
        assert_eq!(attache.send(round(via)).await.status, 200, "{via:?}");
    }
}

#[tokio::test]
async fn a_webhook_call_carries_via() {
    let (app, key) = (app(), webhook_key());
    let yaml = "
        users: { bot: {} }
        services:
          mailer: { webhook: { user: bot, forward_to: '{{app}}', api_keys: [{ id: a, sha256: {{key}} }] } }";
    let setup = attache().given("app", app.url()).given("key", sha256_hex(&key));
    let attache = setup.with(yaml).await;
    attache.hook(post(format!("/webhooks/{key}"), "{}")).await;
    attache.hook(post(format!("/webhooks/{key}"), "{}").header("Via", "1.0 front")).await;
    let members = |n: usize| app.requests()[n].all("via").join(", ");
    assert_eq!((members(0).as_str(), members(1).as_str()), ("1.1 attache", "1.0 front, 1.1 attache"));
    let four = "1.1 attache, 1.1 attache, 1.1 attache, 1.1 attache";
    let answer = attache.hook(post(format!("/webhooks/{key}"), "{}").header("Via", four)).await;
    answer.problem("loop_detected", 508, "proxy_loop_detected");
    assert_eq!(app.seen().heads, 2);
}

/// Servers such as nginx do not compress responses to a request with `Via`.
#[tokio::test]
async fn an_outbound_request_carries_via_only_where_the_file_says_so() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    attache.send(get("/mailer/x")).await;
    assert_eq!(third_party.head(0).await.header("via"), None);
    let setup = crate::harness::attache().given("third_party", third_party.url());
    let attache = setup.with(&format!("via: true\n{}", mailer(""))).await;
    attache.send(get("/mailer/x")).await;
    assert_eq!(third_party.head(1).await.all("via"), ["1.1 attache"]);
}
