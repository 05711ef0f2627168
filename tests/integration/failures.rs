//! The last failures, as `/status` lists them.

use crate::harness::*;
use serde_json::Value;

/// The rows of `/status`, once the newest is of this request.
async fn failures(attache: &Attache, newest: &str) -> Vec<Value> {
    let listed = async || {
        let mut status = attache.status().await;
        let Value::Array(rows) = status["failures"].take() else { panic!("a list: {status:#}") };
        (rows.first()?["request_id"] == newest).then_some(rows)
    };
    eventually(&format!("the failure of {newest}"), listed).await
}

#[tokio::test]
async fn status_lists_failures_newest_first() {
    let third_party = third_party().hangs();
    let attache = attache_for(&third_party, "timeout: 200ms").await;
    attache.send(get("/mailer/path?query").header("X-Request-Id", "late")).await;
    failures(&attache, "late").await;
    // The service's own error is no failure of attache.
    let third_party = third_party.answers(503, "down");
    assert_eq!(attache.send(get("/mailer/x")).await.status, 503);
    attache.send(get("/no-service/x").header("X-Request-Id", "lost")).await;
    let rows = failures(&attache, "lost").await;
    assert_eq!(rows.len(), 2, "{rows:#?}");
    let row = &rows[1];
    for (name, value) in [
        ("direction", "outbound"),
        ("service", "mailer"),
        ("account", "services/mailer"),
        ("code", "service_timeout"),
        ("reason", "http_response_timeout"),
        ("phase", "wait"),
        ("upstream", &third_party.address().to_string()),
        ("client", "127.0.0.1"),
        ("request_id", "late"),
    ] {
        assert_eq!(row[name], value, "{name}: {row:#}");
    }
    assert_eq!((&row["status"], &row["count"], &row["key_id"]), (&504.into(), &1.into(), &Value::Null));
    assert!(row["duration_ms"].as_u64().is_some_and(|ms| ms >= 200), "{row:#}");
    assert_eq!((&rows[0]["service"], &rows[0]["phase"]), (&Value::Null, &Value::Null));
    // As RFC 3339 of one length they sort as text.
    assert!(rows[0]["at"].as_str() >= row["at"].as_str(), "{rows:#?}");
    let text = format!("{rows:?}");
    assert!(!text.contains("query") && !text.contains("path"), "{text}");
}

#[tokio::test]
async fn a_flood_of_unknown_keys_hides_no_other_failure() {
    let (app, key) = (app(), webhook_key());
    let yaml = "
        users: { bot: { active: false } }
        services:
          mailer: { webhook: { user: bot, forward_to: '{{app}}', api_keys: [{ id: a, sha256: {{key}} }] } }";
    let attache = attache().given("app", app.url()).given("key", sha256_hex(&key)).with(yaml).await;
    let refused = attache.hook(post(format!("/webhooks/{key}"), "{}")).await;
    let refused = refused.request_id().to_owned();
    failures(&attache, &refused).await;
    let mut last = String::new();
    for _ in 0..60 {
        let answer = attache.hook(post(format!("/webhooks/{}", webhook_key()), "{}")).await;
        last = answer.request_id().to_owned();
    }
    let rows = failures(&attache, &last).await;
    assert_eq!(rows.len(), 50);
    let kept = rows.iter().find(|row| row["request_id"] == refused.as_str()).expect("the refusal");
    assert_eq!((&kept["reason"], &kept["key_id"]), (&"user_inactive".into(), &"a".into()), "{kept:#}");
    let counts = rows.iter().map(|row| row["count"].as_u64().expect("a number"));
    assert_eq!(counts.sum::<u64>(), 61, "{rows:#?}");
}

#[tokio::test]
async fn failures_outlive_a_reload() {
    let third_party = third_party().closes_without_answer();
    let attache = attache_for(&third_party, "").await;
    attache.send(get("/mailer/x").header("X-Request-Id", "cut")).await;
    failures(&attache, "cut").await;
    attache.reload("services: {}", "applied").await;
    let rows = failures(&attache, "cut").await;
    assert_eq!((&rows[0]["service"], &rows[0]["code"]), (&"mailer".into(), &"service_unreachable".into()));
}
