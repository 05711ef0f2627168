//! The header fields of a webhook call on the way to its receiver, and those of a refusal.

use crate::harness::*;

const YAML: &str = "
    public_url: https://hooks.example.com:8443/in
    trusted_proxies: ['::ffff:127.0.0.1']
    accounts: { none: { authorization: none } }
    users: { bot: {} }
    services:
      mailer:
        account: none
        server_url: '{{app}}'
        webhook:
          user: bot
          forward_to: '{{app}}/hooks'
          allow_from: ['::ffff:203.0.113.0/120']
          set_headers: { X-Receiver-Token: { env: TOKEN }, X-Tenant: acme }
          api_keys: [{ id: k1, sha256: {{key}} }]
      by-header:
        webhook:
          user: bot
          forward_to: '{{app}}/hooks'
          key_in: { header: X-API-Key }
          api_keys: [{ id: k2, sha256: {{other}} }]
      signed:
        webhook:
          user: bot
          forward_to: '{{app}}/hooks'
          verify: { scheme: github, secret: { env: SECRET } }
          api_keys: [{ id: k3, sha256: {{signed}} }]";

/// The receiver has to see it.
const TOKEN: &str = "token-for-the-receiver";

struct Topology {
    attache: Attache,
    app: Stub,
    keys: [String; 3],
}

async fn topology() -> Topology {
    let (app, keys) = (app(), [webhook_key(), webhook_key(), webhook_key()]);
    let setup = attache().given("app", app.url()).env("SECRET", secret("vendor")).env("TOKEN", TOKEN);
    let names = ["key", "other", "signed"];
    let setup = names.iter().zip(&keys).fold(setup, |setup, (name, key)| setup.given(name, sha256_hex(key)));
    Topology { attache: setup.with(YAML).await, app, keys }
}

impl Topology {
    fn call(&self, rest: &str) -> Request {
        post(format!("/webhooks/{}{rest}", self.keys[0]), "{}").header("X-Forwarded-For", "203.0.113.7")
    }
}

/// The stub looks for the keys in every byte that it receives.
#[tokio::test]
async fn a_field_that_holds_the_key_is_dropped() {
    let at = topology().await;
    let key = &at.keys[0];
    let encoded: String = key.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let values = [
        key.clone(),
        format!("https://hooks.example.com/webhooks/{key}"),
        format!("/webhooks/{key}/x?y=1"),
        format!("/webhooks/{encoded}"),
        format!("https://login.example/?next={}", encoded.replace('%', "%25")),
        format!("session=1; last=/webhooks/{key}; theme=dark"),
        format!("Bearer {key}"),
    ];
    let names = [
        "Referer",
        "X-Original-URI",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Envoy-Original-Path",
        "X-Any-Other",
        "Cookie",
        "User-Agent",
        "Authorization",
    ];
    let mut heads = 0;
    for name in names {
        for value in &values {
            let kept = format!("{name}x");
            let call = at.call("/x").header(name, value.as_str()).header(&kept, "100% of /webhooks/whk_");
            assert_eq!(at.attache.hook(call).await.status, 200, "{name}: {value}");
            let received = at.app.head(heads).await;
            heads += 1;
            assert!(received.header(name).is_none(), "{name}: {value}");
            assert_eq!(received.all(&kept), ["100% of /webhooks/whk_"], "{name}: {value}");
            let raw = String::from_utf8_lossy(&received.head.raw).to_string();
            assert!(!raw.contains(key.as_str()) && !raw.contains(&encoded), "{raw}");
        }
    }
    // A key in a header is dropped elsewhere as well.
    let call = post("/webhooks/by-header/x", "{}").header("X-API-Key", at.keys[1].as_str());
    assert_eq!(at.attache.hook(call.header("X-Copy", format!("key={}", at.keys[1]))).await.status, 200);
    let received = at.app.head(heads).await;
    assert!(received.header("x-copy").is_none() && received.header("x-api-key").is_none());
}

#[tokio::test]
async fn a_parameter_that_holds_the_key_is_dropped_and_a_path_that_does_is_refused() {
    let at = topology().await;
    let key = &at.keys[0];
    let encoded = key.replace('w', "%77");
    let queries = [
        (format!("/x?a=%20&copy={key}&b"), "/hooks/x?a=%20&b"),
        (format!("/x?u=https%3A%2F%2Fh%2Fwebhooks%2F{encoded}"), "/hooks/x"),
        (format!("?{key}"), "/hooks"),
    ];
    for (n, (rest, target)) in queries.iter().enumerate() {
        assert_eq!(at.attache.hook(at.call(rest)).await.status, 200, "{rest}");
        assert_eq!(at.app.head(n).await.target(), *target, "{rest}");
    }
    for rest in [format!("/{key}"), format!("/x/{encoded}/y"), format!("/a={key}")] {
        at.attache.hook(at.call(&rest)).await.problem("request_invalid", 400, "http_request_error");
    }
    assert_eq!(at.app.seen().heads, queries.len());
}

#[tokio::test]
async fn headers_that_state_the_client_are_dropped_on_webhooks_only() {
    const NAMES: [&str; 7] = [
        "X-Real-IP",
        "True-Client-IP",
        "Client-IP",
        "CF-Connecting-IP",
        "Proxy",
        "X-Client-IP",
        "Forwarded-For",
    ];
    let at = topology().await;
    let spelt = |request: Request| {
        NAMES.iter().fold(request, |request, name| {
            request.header(name, "bogus").header(&name.replace('-', "_").to_lowercase(), "bogus")
        })
    };
    assert_eq!(at.attache.hook(spelt(at.call(""))).await.status, 200);
    let raw = at.app.head(0).await.head.raw.clone();
    assert!(!String::from_utf8_lossy(&raw).contains("bogus"), "{}", String::from_utf8_lossy(&raw));
    let metrics = at.attache.metrics().await;
    let dropped = |kind| {
        let labels = [("direction", "webhook"), ("service", "mailer"), ("kind", kind)];
        metrics.value("attache_reserved_headers_dropped_total", &labels)
    };
    // From a trusted proxy, only the spellings that no proxy sends count, and `Proxy`.
    assert_eq!((dropped("identity"), dropped("forwarding")), (Some(8.0), None));
    assert_eq!(at.attache.send(spelt(post("/mailer/x", "{}"))).await.status, 200);
    let raw = String::from_utf8_lossy(&at.app.head(1).await.head.raw).to_string();
    assert_eq!(raw.matches("bogus").count(), 2 * NAMES.len(), "outbound, they are the client's own: {raw}");
}

#[tokio::test]
async fn the_receiver_gets_the_headers_of_the_file_and_the_public_host() {
    let at = topology().await;
    let call = at.call("").header("x_receiver.token", "bogus").header("x-tenant", "bogus");
    let call = call.header("X-Forwarded-Proto", "HTTPS").header("X-Forwarded-Host", "bogus");
    assert_eq!(at.attache.hook(call).await.status, 200);
    let received = at.app.only_request().await;
    let raw = String::from_utf8_lossy(&received.head.raw).to_string();
    assert!(raw.contains(&format!("\r\nX-Receiver-Token: {TOKEN}\r\n")), "{raw}");
    assert!(raw.contains("\r\nX-Tenant: acme\r\n") && !raw.contains("bogus"), "{raw}");
    assert_eq!(received.all("x-forwarded-host"), ["hooks.example.com:8443"]);
    assert_eq!(received.all("x-forwarded-proto"), ["https"]);
    assert_eq!(received.all("x-forwarded-for"), ["203.0.113.7"]);
}

#[tokio::test]
async fn mapped_networks_match_ipv4_clients() {
    let at = topology().await;
    let call =
        |address: &str| post(format!("/webhooks/{}", at.keys[0]), "{}").header("X-Forwarded-For", address);
    assert_eq!(at.attache.hook(call("203.0.113.255")).await.status, 200);
    assert_eq!(at.attache.hook(call("::ffff:203.0.113.1")).await.status, 200);
    at.attache.hook(call("203.0.112.255")).await.problem("request_denied", 403, "http_request_denied");
}

#[tokio::test]
async fn a_false_signature_is_a_401_with_a_challenge() {
    let at = topology().await;
    let call = || post(format!("/webhooks/{}", at.keys[2]), "{}");
    for call in [call(), call().header("X-Hub-Signature-256", format!("sha256={:064}", 0))] {
        let answer = at.attache.hook(call).await;
        answer.problem("signature_invalid", 401, "http_request_denied");
        assert_eq!(answer.header("www-authenticate"), Some("Signature realm=\"attache\""));
    }
    let other =
        YAML.replace("verify: {", "refusals: { statuses: { signature_invalid: 400 } }\n          verify: {");
    at.attache.reload(&other, "applied").await;
    let answer = at.attache.hook(call()).await;
    assert_eq!((answer.status, answer.header("www-authenticate")), (400, None));
}

/// The line on stderr is sampled, the access log is not.
#[tokio::test]
async fn every_refusal_has_its_line() {
    let at = topology().await;
    let mut ids = Vec::new();
    for n in 0..20 {
        let call = match n % 4 {
            0 => post(format!("/webhooks/{}", at.keys[2]), "{}"),
            1 => post(format!("/webhooks/{}", at.keys[0]), "{}").header("X-Forwarded-For", "198.51.100.1"),
            2 => post(format!("/webhooks/{}", webhook_key()), "{}"),
            _ => get(format!("/webhooks/{}", at.keys[2])),
        };
        ids.push((n % 4, at.attache.hook(call).await.request_id().to_owned()));
    }
    for (kind, id) in ids {
        let line = at.attache.access_log_line("the refusal", |line| line["request_id"] == id).await;
        let (reason, service, key_id, client) = match kind {
            0 => ("signature_missing", "signed", "k3".into(), "127.0.0.1"),
            1 => ("address", "mailer", "k1".into(), "198.51.100.1"),
            2 => ("unknown_key", "", serde_json::Value::Null, "127.0.0.1"),
            _ => ("method", "signed", "k3".into(), "127.0.0.1"),
        };
        let found = (&line["reason"], &line["service"], &line["key_id"], &line["client"]);
        assert_eq!(found, (&reason.into(), &service.into(), &key_id, &client.into()), "{line:#}");
    }
}

#[tokio::test]
async fn as_many_calls_are_forwarded_as_max_concurrent_allows() {
    let (app, key) = (app().hangs(), webhook_key());
    let yaml = "
        users: { bot: {} }
        services:
          signed:
            webhook:
              user: bot
              forward_to: '{{app}}'
              timeout: 60s
              max_concurrent: 2
              verify: { scheme: slack, secret: { env: SECRET } }
              replay: {}
              api_keys: [{ id: k, sha256: {{key}} }]";
    let secret = secret("vendor");
    let setup =
        attache().given("app", app.url()).given("key", sha256_hex(&key)).env("SECRET", secret.clone());
    let attache = setup.with(yaml).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
    let head = |body: &str| {
        let mac = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
        let mac = ring::hmac::sign(&mac, format!("v0:{now}:{body}").as_bytes());
        let mac: String = mac.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!(
            "POST /webhooks/{key} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nX-Slack-Request-Timestamp: {now}\r\n\
             X-Slack-Signature: v0={mac}\r\n\r\n",
            body.len()
        )
    };
    let delivery = |n: usize| format!("{{\"type\":\"event_callback\",\"event_id\":\"Ev{n}\"}}");
    // Calls whose bodies have not come hold no place.
    let mut waiting = Vec::new();
    for n in 10..13 {
        let mut connection = Connection::open(attache.webhooks()).await;
        connection.write(head(&delivery(n)).as_bytes()).await;
        waiting.push(connection);
    }
    let mut held = Vec::new();
    for n in 0..2 {
        let mut connection = Connection::open(attache.webhooks()).await;
        connection.write((head(&delivery(n)) + &delivery(n)).as_bytes()).await;
        app.head(n).await;
        held.push(connection);
    }
    let call = async |body: String| {
        let mut connection = Connection::open(attache.webhooks()).await;
        connection.write((head(&body) + &body).as_bytes()).await;
        connection.response().await.expect("an answer")
    };
    let answer = call(delivery(2)).await;
    answer.problem("overloaded", 503, "connection_limit_reached");
    assert_eq!(answer.header("retry-after"), Some("1"));
    let id = answer.request_id().to_owned();
    let line = attache.access_log_line("the refusal", |line| line["request_id"] == id).await;
    assert_eq!(
        (&line["reason"], &line["delivery_id"]),
        (&"max_concurrent".into(), &"Ev2".into()),
        "{line:#}"
    );
    let metrics = attache.metrics().await;
    let labels = [("service", "signed"), ("reason", "max_concurrent")];
    assert_eq!(metrics.value("attache_webhook_refused_total", &labels), Some(1.0));
    // A question is answered, a duplicate is told, and a false signature is refused first.
    let question = r#"{"type":"url_verification","challenge":"abc"}"#;
    assert_eq!(call(question.to_owned()).await.status, 200);
    call(delivery(0)).await.problem("replayed", 409, "http_request_denied");
    let unsigned = attache.hook(post(format!("/webhooks/{key}"), "{}")).await;
    unsigned.problem("signature_invalid", 401, "http_request_denied");
    // Calls in progress count across a reload, and the delivery that found no place may come again.
    attache.reload(&yaml.replace("max_concurrent: 2", "max_concurrent: 1"), "applied").await;
    call(delivery(2)).await.problem("overloaded", 503, "connection_limit_reached");
    drop((held, waiting));
    app.does(|_| vec![Step::Send(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())]);
    eventually("a delivery to get through", async || (call(delivery(2)).await.status == 204).then_some(()))
        .await;
}
