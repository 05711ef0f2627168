//! OAuth2 tokens: requested once, stored, renewed, and attache's own answer if there is none.

use crate::harness::*;
use std::time::Duration;
use tokio::task::JoinSet;

/// One account `erp` for one service `erp`.
fn erp(lines: &str) -> String {
    let mut yaml = String::from(
        "accounts:
  erp:
    authorization:
      oauth2:
        token_url: {{token_url}}
        client_id: attache
        client_secret: { env: CLIENT_SECRET }
",
    );
    for line in lines.lines() {
        yaml.push_str(&format!("        {}\n", line.trim()));
    }
    if !lines.contains("grant:") {
        yaml.push_str("        grant: client_credentials\n");
    }
    yaml.push_str("services:\n  erp: { account: erp, server_url: '{{third_party}}', timeout: 5s }\n");
    yaml
}

async fn attache_with(third_party: &Stub, token_url: &str, lines: &str) -> Attache {
    let setup = attache().given("third_party", third_party.url()).given("token_url", token_url);
    setup.env("CLIENT_SECRET", secret("client")).env("PASSWORD", secret("password")).with(&erp(lines)).await
}

#[tokio::test]
async fn a_token_is_injected() {
    let (third_party, token) = (third_party(), secret("token"));
    let endpoint = token_endpoint().issues(&token);
    let attache = attache_with(&third_party, &endpoint.url(), "").await;
    assert_eq!(attache.send(get("/erp/x").header("authorization", "Bearer mine")).await.status, 200);
    assert_eq!(third_party.only_request().await.all("authorization"), [format!("Bearer {token}")]);
}

/// The system's library does not know names below `localhost`; a service's resolver does. A token endpoint may stand
/// inside, so its name needs no permission for a private address.
#[tokio::test]
async fn a_token_endpoints_name_is_resolved_as_a_services() {
    for (name, lines) in [("localhost", ""), ("id.localhost", "allow_plaintext: true")] {
        let third_party = third_party();
        let endpoint = token_endpoint().issues(&secret("token")).named(name);
        let attache = attache_with(&third_party, &endpoint.url(), lines).await;
        assert_eq!(attache.send(get("/erp/x")).await.status, 200, "{name}");
        let host = endpoint.url();
        let host = host.trim_start_matches("http://").trim_end_matches("/token");
        assert_eq!(endpoint.request(0).await.all("host"), [host]);
    }
}

#[tokio::test]
async fn a_token_is_requested_once_for_all_waiting_requests() {
    let third_party = third_party();
    let endpoint = token_endpoint().issues(&secret("token")).delays(ms(300));
    let attache = attache_with(&third_party, &endpoint.url(), "").await;
    let outbound = attache.outbound();
    let mut waiting = JoinSet::new();
    for _ in 0..50 {
        waiting.spawn(send(outbound, get("/erp/x")));
    }
    while let Some(answer) = waiting.join_next().await {
        assert_eq!(answer.expect("an answer").status, 200);
    }
    assert_eq!((endpoint.count(), third_party.seen().heads), (1, 50));
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_cancel_the_token() {
    let third_party = third_party();
    let endpoint = token_endpoint().issues(&secret("token")).delays(ms(500));
    let attache = attache_with(&third_party, &endpoint.url(), "").await;
    let mut leaving = Connection::open(attache.outbound()).await;
    leaving.write(b"GET /erp/x HTTP/1.1\r\nHost: x\r\n\r\n").await;
    endpoint.request(0).await;
    drop(leaving);
    assert_eq!(attache.send(get("/erp/x")).await.status, 200);
    assert_eq!(endpoint.count(), 1);
}

#[tokio::test]
async fn the_request_for_a_token_is_that_of_the_rfc() {
    let third_party = third_party();
    for (spelling, scope) in [
        ("scopes: [contacts.read, contacts.write]", Some("contacts.read+contacts.write")),
        ("scopes: contacts.read, contacts.write", Some("contacts.read+contacts.write")),
        ("scopes: contacts.read contacts.write", Some("contacts.read+contacts.write")),
        ("token_params: { audience: 'https://erp' }", None),
    ] {
        let endpoint = token_endpoint().issues(&secret("token"));
        let attache = attache_with(&third_party, &endpoint.url(), spelling).await;
        assert_eq!(attache.send(get("/erp/x")).await.status, 200);
        let asked = endpoint.request(0).await;
        let body = String::from_utf8_lossy(&asked.body).replace("%20", "+");
        let form: Vec<&str> = body.split('&').collect();
        assert!(form.contains(&"grant_type=client_credentials"), "{form:?}");
        let sent = form.iter().find_map(|member| member.strip_prefix("scope="));
        assert_eq!(sent, scope, "{spelling}");
        assert_eq!(form.contains(&"audience=https%3A%2F%2Ferp"), scope.is_none(), "{form:?}");
        assert!(asked.header("authorization").is_some_and(|value| value.starts_with("Basic ")));
        assert!(!body.contains("client_secret"));
        assert_eq!(asked.header("content-type"), Some("application/x-www-form-urlencoded"));
    }
}

#[tokio::test]
async fn the_client_may_authenticate_in_the_form() {
    let third_party = third_party();
    let endpoint = token_endpoint().issues(&secret("token"));
    let attache = attache_with(&third_party, &endpoint.url(), "client_auth: post").await;
    assert_eq!(attache.send(get("/erp/x")).await.status, 200);
    let asked = endpoint.request(0).await;
    let body = String::from_utf8_lossy(&asked.body);
    assert!(body.contains("client_id=attache") && body.contains("client_secret="), "{body}");
    assert_eq!(asked.header("authorization"), None);
}

#[tokio::test]
async fn the_password_grant_sends_both() {
    let third_party = third_party();
    let endpoint = token_endpoint().issues(&secret("token"));
    let lines = "grant: password\nusername: us\npassword: { env: PASSWORD }";
    let attache = attache_with(&third_party, &endpoint.url(), lines).await;
    assert_eq!(attache.send(get("/erp/x")).await.status, 200);
    let asked = endpoint.request(0).await;
    let body = String::from_utf8_lossy(&asked.body);
    for member in ["grant_type=password", "username=us", "password=s3cr3t"] {
        assert!(body.contains(member), "{member}");
    }
}

#[tokio::test]
async fn the_id_token_may_be_the_one_that_is_sent() {
    let (third_party, access, id) = (third_party(), secret("access"), secret("id"));
    let body =
        format!(r#"{{"access_token":"{access}","id_token":"{id}","token_type":"Bearer","expires_in":3600}}"#);
    let endpoint = token_endpoint().answers(200, &body);
    let attache = attache_with(&third_party, &endpoint.url(), "bearer_token_type: id_token").await;
    assert_eq!(attache.send(get("/erp/x")).await.status, 200);
    assert_eq!(third_party.only_request().await.all("authorization"), [format!("Bearer {id}")]);
}

#[tokio::test]
async fn a_token_that_is_refused_is_a_502() {
    let third_party = third_party();
    let endpoint = token_endpoint().rejects("invalid_client");
    let attache = attache_with(&third_party, &endpoint.url(), "").await;
    let problem =
        attache.send(get("/erp/x")).await.problem("token_rejected", 502, "proxy_configuration_error");
    assert_eq!(problem["service"], "erp");
    assert_eq!(third_party.seen().heads, 0);
}

/// A provider whose answers are not those of RFC 6749.
#[tokio::test]
async fn the_words_of_a_provider_reach_the_log_and_the_status_without_secrets() {
    let client_secret = secret("client");
    let quoting = format!(r#"{{"errorCode":"E0000021","errorSummary":"'{client_secret}' is locked"}}"#);
    for (status, body, code, words) in [
        (
            400,
            r#"{"status":"BAD_CLIENT_ID","message":"missing client"}"#,
            "token_rejected",
            "BAD_CLIENT_ID (missing client)",
        ),
        (400, &*quoting, "token_rejected", "E0000021 ([redacted] is locked)"),
        (400, r#"{"error":{"message":"Bad audience"}}"#, "token_rejected", "http_400 (Bad audience)"),
        (404, "<html>", "token_rejected", "http_404"),
        (
            200,
            r#"{"error":"incorrect_client_credentials"}"#,
            "token_rejected",
            "incorrect_client_credentials",
        ),
        (
            200,
            r#"{"access_token":"error: client_secret is invalid"}"#,
            "token_unavailable",
            "members access_token",
        ),
        (200, r#"{"data":{"token":"x"},"ok":true}"#, "token_unavailable", "(members data, ok)"),
        (
            503,
            r#"{"error":"invalid_client","reason":"maintenance"}"#,
            "token_unavailable",
            "(invalid_client: maintenance)",
        ),
    ] {
        let third_party = third_party();
        let endpoint = token_endpoint().answers(status, body);
        let setup = attache().given("third_party", third_party.url()).given("token_url", endpoint.url());
        let attache = setup.env("CLIENT_SECRET", &client_secret).with(&erp("")).await;
        let answer = attache.send(get("/erp/x")).await;
        assert_eq!(answer.json()["code"], code, "{body}");
        assert!(!answer.text().contains("locked") && !answer.text().contains("missing"), "{}", answer.text());
        let account = attache.status().await["accounts"]["erp"]["token"].to_string();
        assert!(account.contains(words), "{words}: {account}");
        let shown = words.rsplit('(').next().expect("a part").trim_end_matches(')');
        let shown = shown.rsplit(": ").next().expect("a part");
        eventually("the log", async || attache.said().contains(shown).then_some(())).await;
        assert_eq!(third_party.seen().heads, 0);
    }
}

#[tokio::test]
async fn a_token_endpoint_that_is_down_or_talks_nonsense_is_a_503() {
    let (closed, _held) = refused();
    let (down, garbage) = (token_endpoint().down(), token_endpoint().garbage());
    for url in [down.url(), garbage.url(), format!("http://{closed}/token")] {
        let third_party = third_party();
        let attache = attache_with(&third_party, &url, "").await;
        let answer = attache.send(get("/erp/x")).await;
        answer.problem("token_unavailable", 503, "destination_unavailable");
        let seconds: Option<u64> = answer.header("retry-after").and_then(|value| value.parse().ok());
        assert!(seconds.is_some_and(|seconds| seconds > 0), "{:?}", answer.header("retry-after"));
        assert_eq!(third_party.seen().heads, 0);
    }
}

#[tokio::test]
async fn one_accounts_failure_delays_no_other() {
    let third_party = third_party();
    let (hangs, issues) = (token_endpoint().hangs(), token_endpoint().issues(&secret("token")));
    let yaml = "
        accounts:
          bad:
            authorization:
              oauth2: { grant: client_credentials, token_url: '{{bad}}', client_id: a, client_secret: { env: S } }
          good:
            authorization:
              oauth2: { grant: client_credentials, token_url: '{{good}}', client_id: a, client_secret: { env: S } }
        services:
          bad: { account: bad, server_url: '{{third_party}}', timeout: 3s }
          good: { account: good, server_url: '{{third_party}}', timeout: 3s }";
    let setup = attache().given("third_party", third_party.url()).given("bad", hangs.url());
    let attache = setup.given("good", issues.url()).env("S", secret("client")).with(yaml).await;
    let outbound = attache.outbound();
    let mut stuck = JoinSet::new();
    for _ in 0..20 {
        stuck.spawn(send(outbound, get("/bad/x")));
    }
    hangs.request(0).await;
    let answer = attache.send(get("/good/x")).await;
    assert_eq!(answer.status, 200);
    assert!(answer.head_after < Duration::from_secs(2), "{:?}", answer.head_after);
}

#[tokio::test]
async fn a_token_outlives_a_reload_of_something_else() {
    let third_party = third_party();
    let endpoint = token_endpoint().issues(&secret("token"));
    let attache = attache_with(&third_party, &endpoint.url(), "").await;
    assert_eq!(attache.send(get("/erp/x")).await.status, 200);
    attache.reload(&erp("").replace("timeout: 5s", "timeout: 6s"), "applied").await;
    assert_eq!(attache.send(get("/erp/x")).await.status, 200);
    assert_eq!(endpoint.count(), 1);
}

#[tokio::test]
async fn services_that_share_an_account_share_its_token() {
    let third_party = third_party();
    let endpoint = token_endpoint().issues(&secret("token"));
    let yaml = format!("{}  crm: {{ account: erp, server_url: '{{{{third_party}}}}' }}\n", erp(""));
    let setup = attache().given("third_party", third_party.url()).given("token_url", endpoint.url());
    let attache = setup.env("CLIENT_SECRET", secret("client")).with(&yaml).await;
    assert_eq!(attache.send(get("/erp/x")).await.status, 200);
    assert_eq!(attache.send(get("/crm/x")).await.status, 200);
    assert_eq!(endpoint.count(), 1);
}

#[tokio::test]
async fn a_token_is_never_sent_after_it_has_expired() {
    let third_party = third_party();
    let endpoint = token_endpoint().issues_for(&secret("first"), 2);
    let attache = attache_with(&third_party, &endpoint.url(), "").await;
    assert_eq!(attache.send(get("/erp/x")).await.status, 200);
    let endpoint = endpoint.down();
    let refused = async || {
        let answer = attache.send(get("/erp/x")).await;
        (answer.status == 503).then_some(answer)
    };
    let answer = eventually("the token to expire", refused).await;
    answer.problem("token_unavailable", 503, "destination_unavailable");
    drop(endpoint);
}

/// Accepts no connection at first. A connection attempt succeeds when the kernel retries, after a second.
#[tokio::test]
async fn a_token_that_expires_during_connect_is_replaced() {
    let (address, mut held) = blackhole();
    // Such a token is valid for a second: a tenth of its lifetime, at least a second, is the margin.
    let endpoint = token_endpoint().issues_each_for(2, |n| secret(&format!("token-{n}-")));
    let lines = "timeout: 20s
        account:
          authorization:
            oauth2: { grant: client_credentials, token_url: '{{token_url}}', client_id: id,
                      client_secret: { env: CLIENT_SECRET } }";
    let setup =
        attache().given("third_party", format!("http://{address}")).given("token_url", endpoint.url());
    let attache = setup.env("CLIENT_SECRET", secret("client")).with(&mailer(lines)).await;
    let mut client = Connection::open(attache.outbound()).await;
    client.write(b"GET /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n").await;
    endpoint.request(0).await;
    let listener = held.remove(0);
    let (serving, stop) = (listener.try_clone().expect("a second handle"), listener);
    let upstream = std::thread::spawn(move || {
        use std::io::{Read, Write};
        // The test waits for the lifetime of the token.
        std::thread::sleep(ms(1500));
        let mut kept = Vec::new();
        while let Ok((connection, _peer)) = serving.accept() {
            let mut connection = std::net::TcpStream::from(connection);
            connection.set_read_timeout(Some(ms(100))).expect("a time limit");
            let mut head = [0; 4096];
            // The connections that filled the backlog send nothing.
            if connection.read(&mut head).is_ok_and(|read| read > 0) {
                let _gone = connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
            kept.push(connection);
        }
    });
    let answer = client.response().await.expect("an answer");
    let _not_connected = stop.shutdown(std::net::Shutdown::Both);
    upstream.join().expect("the upstream");
    assert_eq!(answer.status, 200, "{}", answer.text());
    drop(held);
}
