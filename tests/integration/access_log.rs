//! The access log: one JSON line a request, with these names and no others.

use crate::harness::*;
use serde_json::Value;

const NAMES: [&str; 24] = [
    "time",
    "direction",
    "service",
    "account",
    "caller",
    "user",
    "key_id",
    "method",
    "path",
    "status",
    "code",
    "bytes_in",
    "bytes_out",
    "duration_ms",
    "response_headers_ms",
    "token_wait_ms",
    "upstream",
    "retried",
    "request_id",
    "traceparent",
    "client",
    "phase",
    "reason",
    "delivery_id",
];

async fn line(attache: &Attache, answer: &Response) -> Value {
    let id = answer.request_id().to_owned();
    attache.access_log_line("the request", |line| line["request_id"] == id.as_str()).await
}

#[tokio::test]
async fn a_request_is_one_line() {
    let third_party = third_party().answers(201, "answer");
    let attache = attache_for(&third_party, "").await;
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = post("/mailer/messages?secretive=1", "body").header("Traceparent", traceparent);
    let answer = attache.send(request).await;
    let line = line(&attache, &answer).await;
    for (name, value) in [
        ("direction", "outbound"),
        ("service", "mailer"),
        ("account", "services/mailer"),
        ("method", "POST"),
        ("path", "/mailer/messages"),
        ("upstream", &third_party.address().to_string()),
        ("traceparent", traceparent),
    ] {
        assert_eq!(line[name], value, "{name}: {line:#}");
    }
    assert_eq!((&line["status"], &line["bytes_in"], &line["bytes_out"]), (&201.into(), &4.into(), &6.into()));
    assert!(line["duration_ms"].as_f64().is_some_and(|ms| ms >= 0.0), "{line:#}");
    assert!(line["response_headers_ms"].as_f64().is_some_and(|ms| ms >= 0.0), "{line:#}");
    assert!(line["code"].is_null() && line["user"].is_null() && line["key_id"].is_null(), "{line:#}");
    let stamp = regex::Regex::new(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$").expect("a pattern");
    assert!(line["time"].as_str().is_some_and(|time| stamp.is_match(time)), "{line:#}");
    let unknown: Vec<_> =
        line.as_object().expect("an object").keys().filter(|name| !NAMES.contains(&name.as_str())).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(!attache.stdout_text().contains("secretive"), "query values are never logged");
}

#[tokio::test]
async fn a_refusal_is_logged_with_its_code() {
    let third_party = third_party().hangs();
    let attache = attache_for(&third_party, "timeout: 300ms").await;
    for (target, code, status) in [
        ("/mailer/x", "service_timeout", 504),
        ("/nobody/x", "service_unknown", 404),
        ("/mailer/..", "request_invalid", 400),
    ] {
        let answer = attache.send(get(target)).await;
        let line = line(&attache, &answer).await;
        assert_eq!((&line["code"], &line["status"]), (&code.into(), &status.into()), "{line:#}");
    }
}

#[tokio::test]
async fn a_malformed_request_is_logged_too() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let mut connection = Connection::open(attache.outbound()).await;
    connection.write(b"GET /mailer/x HTTP/1.1\r\nno colon\r\n\r\n").await;
    let answer = connection.response().await.expect("an answer");
    let line = line(&attache, &answer).await;
    assert_eq!((&line["code"], &line["status"]), (&"request_invalid".into(), &400.into()));
}

#[tokio::test]
async fn a_path_can_not_forge_a_line() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let answer = attache.send(get("/mailer/\"},{\"status\":200,\"x\":\"")).await;
    let line = line(&attache, &answer).await;
    assert_eq!(line["path"], "/mailer/\"},{\"status\":200,\"x\":\"");
}

#[tokio::test]
async fn the_access_log_may_be_off_or_a_file() {
    let third_party = third_party();
    let off = attache().given("third_party", third_party.url());
    let off = off.with(&format!("log: {{ access: off }}\n{}", mailer(""))).await;
    assert_eq!(off.send(get("/mailer/x")).await.status, 200);
    assert_eq!(off.stdout_text(), "");
    let file = attache().given("third_party", third_party.url()).file("access", "");
    let file = file.with(&format!("log: {{ access: '{{{{access}}}}' }}\n{}", mailer(""))).await;
    assert_eq!(file.send(get("/mailer/x")).await.status, 200);
    let written = async || {
        let log = std::fs::read_to_string(file.path_of("access")).expect("the access log");
        serde_json::from_str::<Value>(log.lines().next()?).ok()
    };
    assert_eq!(eventually("a line in the file", written).await["path"], "/mailer/x");
    assert_eq!(file.stdout_text(), "");
}
