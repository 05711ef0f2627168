//! Webhooks: the key is replaced by the identity of its user.

use crate::harness::*;
use regex::Regex;

/// Every kind of key, and the receiver.
struct Topology {
    attache: Attache,
    key: String,
    expired: String,
    future: String,
    inactive: String,
}

const YAML: &str = "
    public_url: https://hooks.example.com
    users:
      mailer-bot: { name: Mailer integration }
      former-bot: { active: false }
    services:
      mailer:
        webhook:
          user: mailer-bot
          forward_to: {{app}}/hooks/mailer
          max_body: 1KiB
          timeout: 500ms
          api_keys:
            - { id: expired, sha256: {{expired}}, expires_at: 2020-01-01T00:00:00Z }
            - { id: current, sha256: {{current}} }
            - { id: future, sha256: {{future}}, not_before: 2099-01-01T00:00:00Z }
      former:
        webhook:
          user: former-bot
          forward_to: {{app}}/hooks/former
          api_keys: [{ id: former, sha256: {{inactive}} }]
    ";

async fn topology(app: &str, yaml: &str) -> Topology {
    let [key, expired, future, inactive] = std::array::from_fn(|_| webhook_key());
    let attache = attache()
        .given("app", app)
        .given("current", sha256_hex(&key))
        .given("expired", sha256_hex(&expired))
        .given("future", sha256_hex(&future))
        .given("inactive", sha256_hex(&inactive))
        .with(yaml)
        .await;
    Topology { attache, key, expired, future, inactive }
}

impl Topology {
    fn call(&self, rest: &str) -> Request {
        post(format!("/webhooks/{}{rest}", self.key), "{}")
    }
}

#[tokio::test]
async fn a_key_becomes_a_user() {
    let app = app().answers(202, "accepted");
    let at = topology(&app.url(), YAML).await;
    let answer = at.attache.hook(at.call("").header("Content-Type", "application/json")).await;
    assert_eq!((answer.status, answer.text().as_str()), (202, "accepted"));
    let received = app.only_request().await;
    assert_eq!(received.head.start, b"POST /hooks/mailer HTTP/1.1");
    assert_eq!(received.body, b"{}");
    assert_eq!(received.all("x-attache-user"), ["mailer-bot"]);
    assert_eq!(received.all("x-attache-service"), ["mailer"]);
    assert_eq!(received.all("x-attache-key-id"), ["current"]);
    assert_eq!(received.all("x-request-id"), [answer.request_id()]);
    assert_eq!(received.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(received.all("x-forwarded-proto"), ["http"]);
    assert_eq!(received.all("x-forwarded-host"), ["hooks.example.com"]);
    assert_eq!(received.all("host"), [app.authority()]);
    assert_eq!(received.all("content-type"), ["application/json"]);
    let without = YAML.replace("public_url: https://hooks.example.com", "");
    at.attache.reload(&without, "applied").await;
    at.attache.hook(at.call("")).await;
    let called = at.attache.webhooks().to_string();
    assert_eq!(app.head(1).await.all("x-forwarded-host"), [called], "the host that was called");
}

#[tokio::test]
async fn rest_and_query_are_appended_byte_for_byte() {
    let app = app();
    let at = topology(&app.url(), YAML).await;
    for (n, rest) in ["", "/", "/a%2Fb//c?x=%20&&", "?x=1", "/?", "?"].into_iter().enumerate() {
        assert_eq!(at.attache.hook(at.call(rest)).await.status, 200, "{rest}");
        assert_eq!(app.head(n).await.target(), format!("/hooks/mailer{rest}"));
    }
}

#[tokio::test]
async fn a_dot_segment_after_the_key_is_refused() {
    let app = app();
    let at = topology(&app.url(), YAML).await;
    for rest in ["/..", "/../x", "/%2e%2e/x", "/..%2fx", "/.", "/..;/x", "/..\\x"] {
        at.attache.hook(at.call(rest)).await.problem("request_invalid", 400, "http_request_error");
    }
    assert_eq!(app.seen().heads, 0);
}

#[tokio::test]
async fn every_key_that_does_not_work_gets_the_same_404() {
    let app = app();
    let at = topology(&app.url(), YAML).await;
    let unknown = webhook_key();
    let uuid = Regex::new("[0-9a-f]{8}-[0-9a-f-]{27}").expect("a pattern");
    let date = Regex::new("(?i)date: [^\r]*").expect("a pattern");
    let mut seen = Vec::new();
    for key in [unknown.as_str(), &at.expired, &at.future, "x"] {
        let answer = at.attache.hook(post(format!("/webhooks/{key}"), "{}")).await;
        answer.problem("webhook_unknown", 404, "http_request_denied");
        let raw = String::from_utf8_lossy(&answer.raw).into_owned();
        seen.push(date.replace_all(&uuid.replace_all(&raw, "ID"), "DATE").into_owned());
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:#?}");
    assert_eq!(app.seen().heads, 0);
}

#[tokio::test]
async fn a_key_in_the_wrong_place_is_a_404_and_not_logged() {
    let app = app();
    let at = topology(&app.url(), YAML).await;
    let key = &at.key;
    for target in [
        format!("/{key}"),
        format!("/WEBHOOKS/{key}"),
        format!("/webhooks//{key}"),
        format!("/webhook/{key}"),
        format!("/webhooks?{key}"),
        format!("/webhooks/?key={key}"),
        format!("//webhooks/{key}"),
    ] {
        let answer = at.attache.hook(post(target.clone(), "{}")).await;
        answer.problem("webhook_unknown", 404, "http_request_denied");
        let id = answer.request_id();
        let line = at.attache.access_log_line("the request", |line| line["request_id"] == id).await;
        let path = line["path"].as_str().expect("a path");
        let matched = target.starts_with("/webhooks/") && path.starts_with("/webhooks/{key}");
        assert!(path == "{unmatched}" || matched, "{target}: {line}");
    }
    assert_eq!(app.seen().heads, 0);
}

#[tokio::test]
async fn a_key_of_an_inactive_user_is_a_403() {
    let app = app();
    let at = topology(&app.url(), YAML).await;
    let answer = at.attache.hook(post(format!("/webhooks/{}", at.inactive), "{}")).await;
    answer.problem("user_inactive", 403, "http_request_denied");
    assert_eq!(app.seen().heads, 0);
}

#[tokio::test]
async fn another_method_is_a_405_that_says_which() {
    let app = app();
    let at = topology(&app.url(), YAML).await;
    let answer = at.attache.hook(get(format!("/webhooks/{}", at.key))).await;
    answer.problem("method_denied", 405, "http_request_denied");
    assert_eq!(answer.all("allow"), ["POST"]);
    assert_eq!(app.seen().heads, 0);
}

#[tokio::test]
async fn methods_may_be_chosen() {
    let app = app();
    let yaml = YAML.replace("timeout: 500ms", "methods: [PUT, GET]");
    let at = topology(&app.url(), &yaml).await;
    let target = format!("/webhooks/{}", at.key);
    assert_eq!(at.attache.hook(get(target.clone())).await.status, 200);
    at.attache.hook(post(target, "{}")).await.problem("method_denied", 405, "http_request_denied");
}

#[tokio::test]
async fn a_body_with_too_large_a_length_is_refused_at_once() {
    let app = app();
    let at = topology(&app.url(), YAML).await;
    let head = format!("POST /webhooks/{} HTTP/1.1\r\nHost: x\r\nContent-Length: 1025\r\n\r\n", at.key);
    let mut connection = Connection::open(at.attache.webhooks()).await;
    connection.write(head.as_bytes()).await;
    let answer = connection.response_to("POST").await.expect("an answer");
    answer.problem("request_too_large", 413, "http_request_error");
    assert_eq!(app.seen().heads, 0);
    let fits = post(format!("/webhooks/{}", at.key), vec![b'x'; 1024]);
    assert_eq!(at.attache.hook(fits).await.status, 200);
}

#[tokio::test]
async fn a_body_that_grows_too_large_never_reaches_the_app_whole() {
    let app = app();
    let at = topology(&app.url(), YAML).await;
    let chunk = [b'x'; 600];
    let request = request("POST", format!("/webhooks/{}", at.key)).chunked([&chunk, &chunk]);
    at.attache.hook(request).await.problem("request_too_large", 413, "http_request_error");
    let seen = app.wait_until("every exchange's end", |seen| seen.opened == seen.closed).await;
    assert_eq!(seen.complete, 0);
}

#[tokio::test]
async fn headers_like_the_identity_are_dropped_in_every_spelling() {
    let app = app();
    let at = topology(&app.url(), YAML).await;
    let names = [
        "X-Attache-User",
        "x-attache-user",
        "X_Attache_User",
        "X-Attache_User",
        "x.attache.user",
        "X.ATTACHE-user",
        "X-Attache-Service",
        "x_attache_service",
        "X-Attache.Key_Id",
        "X-Attache-Anything",
        "X-Request-Id",
        "x_request_id",
        "X-Forwarded-For",
        "X_Forwarded_For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "Forwarded",
    ];
    let request = names.into_iter().fold(at.call(""), |request, name| request.header(name, "bogus"));
    assert_eq!(at.attache.hook(request).await.status, 200);
    let received = app.only_request().await;
    assert!(!String::from_utf8_lossy(&received.head.raw).contains("bogus"), "{:?}", received.fields);
    assert_eq!(received.all("x-attache-user"), ["mailer-bot"]);
}

#[tokio::test]
async fn identity_headers_may_have_other_names() {
    let app = app();
    let yaml = format!(
        "\n    identity_headers: {{ user: X-Forwarded-User, service: X-From-Service, key_id: X-From-Key }}{YAML}"
    );
    let at = topology(&app.url(), &yaml).await;
    let names = ["x_forwarded.user", "X-FORWARDED_USER", "x.from.service", "X_From_Key", "X-Attache-User"];
    let request = names.into_iter().fold(at.call(""), |request, name| request.header(name, "bogus"));
    assert_eq!(at.attache.hook(request).await.status, 200);
    let received = app.only_request().await;
    assert!(!String::from_utf8_lossy(&received.head.raw).contains("bogus"), "{:?}", received.fields);
    assert_eq!(received.all("x-forwarded-user"), ["mailer-bot"]);
    assert_eq!(received.all("x-from-service"), ["mailer"]);
    assert_eq!(received.all("x-from-key"), ["current"]);
    assert_eq!(received.header("x-attache-user"), None);
}

#[tokio::test]
async fn connection_cannot_remove_the_identity() {
    let app = app();
    let at = topology(&app.url(), YAML).await;
    let nominated =
        "close, X-Attache-User, X-Attache-Service, X-Attache-Key-Id, X-Request-Id, X-Forwarded-For";
    assert_eq!(at.attache.hook(at.call("").header("Connection", nominated)).await.status, 200);
    let received = app.only_request().await;
    for name in ["x-attache-user", "x-attache-service", "x-attache-key-id", "x-request-id", "x-forwarded-for"]
    {
        assert_eq!(received.all(name).len(), 1, "{name}");
    }
    assert!(!received.all("connection").concat().to_lowercase().contains("x-attache"));
}

#[tokio::test]
async fn an_app_that_is_down_is_a_502() {
    let (closed, _held) = refused();
    let at = topology(&format!("http://{closed}"), YAML).await;
    at.attache.hook(at.call("")).await.problem("service_unreachable", 502, "connection_refused");
}

#[tokio::test]
async fn an_app_that_does_not_answer_in_time_is_a_504() {
    let app = app().hangs();
    let at = topology(&app.url(), YAML).await;
    let answer = at.attache.hook(at.call("")).await;
    answer.problem("service_timeout", 504, "http_response_timeout");
    assert!(answer.head_after >= ms(495), "{:?}", answer.head_after);
}

#[tokio::test]
async fn the_access_log_shows_the_keys_id_and_not_the_key() {
    let app = app();
    let at = topology(&app.url(), YAML).await;
    at.attache.hook(at.call("/sub?token=x")).await;
    let line = at.attache.access_log_line("the webhook", |line| line["direction"] == "webhook").await;
    assert_eq!(line["path"], "/webhooks/{key}/sub");
    assert_eq!((&line["service"], &line["user"]), (&"mailer".into(), &"mailer-bot".into()));
    assert_eq!((&line["key_id"], &line["status"]), (&"current".into(), &200.into()));
}

#[tokio::test]
async fn a_key_given_by_value_works_like_its_digest() {
    let app = app();
    let key = webhook_key();
    let yaml = "
        users: { bot: {} }
        services:
          mailer:
            webhook: { user: bot, forward_to: '{{app}}', api_keys: [{ id: a, value: { env: KEY } }] }";
    let attache = attache().given("app", app.url()).env("KEY", &key).with(yaml).await;
    assert_eq!(attache.hook(post(format!("/webhooks/{key}"), "{}")).await.status, 200);
    assert_eq!(app.only_request().await.all("x-attache-key-id"), ["a"]);
}

#[tokio::test]
async fn a_slash_that_ends_forward_to_is_kept() {
    let app = app();
    let at = topology(&app.url(), &YAML.replace("{{app}}/hooks/mailer", "{{app}}/hooks/mailer/")).await;
    for (rest, expected) in [
        ("", "/hooks/mailer/"),
        ("?a=1", "/hooks/mailer/?a=1"),
        ("/", "/hooks/mailer/"),
        ("/x", "/hooks/mailer/x"),
    ] {
        let before = app.seen().heads;
        assert_eq!(at.attache.hook(at.call(rest)).await.status, 200, "{rest}");
        assert_eq!(String::from_utf8_lossy(&app.head(before).await.target), expected, "{rest}");
    }
}

#[tokio::test]
async fn each_listener_serves_its_own_direction_only() {
    let app = app();
    let at = topology(&app.url(), YAML).await;
    at.attache.hook(get("/mailer/x")).await.problem("webhook_unknown", 404, "http_request_denied");
    let answer = at.attache.send(post("/webhooks/anything", "{}")).await;
    answer.problem("service_unknown", 404, "destination_not_found");
    assert_eq!(app.seen().heads, 0);
}

#[tokio::test]
async fn webhooks_of_many_services_share_the_connections_to_one_receiver() {
    let app = app().answers(200, "ok");
    let keys: Vec<String> = (0..8).map(|_| webhook_key()).collect();
    let mut yaml = String::from("users: { u: {} }\nservices:\n");
    for (n, key) in keys.iter().enumerate() {
        let key = sha256_hex(key);
        yaml.push_str(&format!(
            "  s{n}: {{ webhook: {{ user: u, forward_to: '{{{{app}}}}/{n}', api_keys: [{{ id: k, sha256: {key} }}] }} }}\n"
        ));
    }
    let attache = attache().given("app", app.url()).with(&yaml).await;
    for key in &keys {
        attache.hook(post(format!("/webhooks/{key}"), "{}")).await;
    }
    // An answer may arrive before its connection is free for the next one.
    assert!(app.seen().opened <= 4, "{}", app.seen().opened);
}

/// Only a WebSocket becomes a tunnel; any other request with `Upgrade` ends at its framing, followed by another
/// request.
#[tokio::test]
async fn a_request_after_an_unsupported_upgrade_is_served() {
    let app = app();
    let yaml = YAML.replace("timeout: 500ms", "methods: [GET, POST]");
    let at = topology(&app.url(), &yaml).await;
    for upgrade in ["Upgrade: h2c\r\nConnection: upgrade\r\n", "Upgrade: websocket\r\n", "Upgrade: x\r\n"] {
        let mut connection = Connection::open(at.attache.webhooks()).await;
        let call = |more: &str| format!("GET /webhooks/{} HTTP/1.1\r\nHost: x\r\n{more}\r\n", at.key);
        connection.write([call(upgrade), call("")].concat().as_bytes()).await;
        for _ in 0..2 {
            assert_eq!(connection.response().await.expect("an answer").status, 200, "{upgrade}");
        }
    }
    assert_eq!(app.seen().heads, 6);
}

#[tokio::test]
async fn a_tunnel_through_a_webhook_has_no_body_limit() {
    let app = app().websocket_echo();
    let yaml = YAML.replace("timeout: 500ms", "methods: [GET]");
    let at = topology(&app.url(), &yaml).await;
    let mut connection = Connection::open(at.attache.webhooks()).await;
    let ask = get(format!("/webhooks/{}", at.key))
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    let answer = connection.exchange(ask).await;
    assert_eq!(answer.status, 101);
    let frames = vec![b'f'; 8 * 1024];
    for _ in 0..4 {
        connection.write(&frames).await;
        assert_eq!(connection.bytes(frames.len()).await, frames);
    }
}

/// The receiver is not at fault, so this is not a 504.
#[tokio::test]
async fn an_upload_that_stalls_is_a_408_at_the_webhooks_timeout() {
    let app = app();
    let at = topology(&app.url(), YAML).await;
    for framing in ["Content-Length: 100\r\n\r\nstart", "Transfer-Encoding: chunked\r\n\r\n5\r\nstart\r\n"] {
        let start = std::time::Instant::now();
        let mut connection = Connection::open(at.attache.webhooks()).await;
        let head = format!("POST /webhooks/{} HTTP/1.1\r\nHost: x\r\n{framing}", at.key);
        connection.write(head.as_bytes()).await;
        let answer = connection.response_to("POST").await.expect("an answer");
        answer.problem("request_timeout", 408, "http_request_error");
        assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
    }
    assert!(app.requests().iter().all(|request| !request.complete));
}
