//! The admin listener.

use crate::harness::*;
use serde_json::json;
use std::time::Duration;

const YAML: &str = "
    accounts:
      mailer: { authorization: { header: { name: X-Key, value: { env: KEY } } } }
      erp:
        authorization:
          oauth2: { grant: client_credentials, token_url: '{{token_url}}', client_id: a, client_secret: { env: KEY } }
    users: { bot: { name: The bot } }
    services:
      mailer:
        account: mailer
        server_url: {{third_party}}
        timeout: 500ms
        webhook:
          user: bot
          forward_to: {{app}}
          api_keys: [{ id: current, sha256: '{{sha256}}', expires_at: 2099-01-01T00:00:00Z }]
      erp: { account: erp, server_url: '{{third_party}}' }";

struct Topology {
    attache: Attache,
    third_party: Stub,
    key: String,
    _app: Stub,
    _endpoint: Box<dyn Send>,
}

async fn topology() -> Topology {
    let (third_party, app, key) = (third_party(), app(), webhook_key());
    let endpoint = token_endpoint().issues(&secret("token"));
    let attache = attache()
        .given("third_party", third_party.url())
        .given("app", app.url())
        .given("token_url", endpoint.url())
        .given("sha256", sha256_hex(&key))
        .env("KEY", secret("key"))
        .with(YAML)
        .await;
    Topology { attache, third_party, key, _app: app, _endpoint: Box::new(endpoint) }
}

/// Waits until the series has the value.
async fn counted(attache: &Attache, name: &str, labels: &[(&str, &str)], expected: f64) {
    let probe = async || attache.metrics().await.value(name, labels).filter(|&found| found == expected);
    eventually(&format!("{name}{labels:?} to be {expected}"), probe).await;
}

#[tokio::test]
async fn it_is_alive_and_ready() {
    let at = topology().await;
    for page in ["/livez", "/readyz"] {
        assert_eq!(send(at.attache.admin(), get(page)).await.status, 200, "{page}");
    }
    assert_eq!(send(at.attache.admin(), get("/nothing")).await.status, 404);
}

#[tokio::test]
async fn requests_are_counted_by_direction_service_and_status() {
    let at = topology().await;
    at.attache.send(get("/mailer/x")).await;
    at.attache.send(get("/mailer/y")).await;
    at.attache.send(get("/client-chosen/x")).await;
    at.attache.hook(post(format!("/webhooks/{}", at.key), "{}")).await;
    at.attache.hook(post("/webhooks/unknown", "{}")).await;
    let requests = "attache_requests_total";
    let labels =
        |direction, service, status| [("direction", direction), ("service", service), ("status", status)];
    counted(&at.attache, requests, &labels("outbound", "mailer", "200"), 2.0).await;
    counted(&at.attache, requests, &labels("outbound", "", "404"), 1.0).await;
    counted(&at.attache, requests, &labels("webhook", "mailer", "200"), 1.0).await;
    counted(&at.attache, requests, &labels("webhook", "", "404"), 1.0).await;
    let metrics = at.attache.metrics().await;
    let errors = "attache_errors_total";
    let labels = |direction, code| [("direction", direction), ("service", ""), ("code", code)];
    assert_eq!(metrics.value(errors, &labels("outbound", "service_unknown")), Some(1.0));
    assert_eq!(metrics.value(errors, &labels("webhook", "webhook_unknown")), Some(1.0));
    assert!(!metrics.0.contains("client-chosen"));
}

#[tokio::test]
async fn the_documented_metrics_are_present() {
    let at = topology().await;
    at.attache.send(get("/erp/x")).await;
    at.attache.hook(post(format!("/webhooks/{}", at.key), "{}")).await;
    at.third_party.does(|_request| vec![Step::Hang]);
    at.attache.send(get("/mailer/x")).await;
    counted(&at.attache, "attache_timeouts_total", &[("service", "mailer"), ("phase", "wait")], 1.0).await;
    let service = [("direction", "outbound"), ("service", "erp")];
    counted(&at.attache, "attache_request_duration_seconds_count", &service, 1.0).await;
    counted(&at.attache, "attache_response_headers_seconds_count", &service, 1.0).await;
    counted(&at.attache, "attache_requests_in_flight", &service, 0.0).await;
    counted(&at.attache, "attache_token_requests_total", &[("account", "erp"), ("result", "ok")], 1.0).await;
    let metrics = at.attache.metrics().await;
    let key = [("service", "mailer"), ("key_id", "current")];
    for (name, labels) in [
        ("attache_token_expiry_timestamp_seconds", [("account", "erp")].as_slice()),
        ("attache_token_request_duration_seconds_count", &[("account", "erp")]),
        ("attache_webhook_key_last_used_timestamp_seconds", &key),
        ("attache_webhook_key_expiry_timestamp_seconds", &key),
        ("attache_config_last_reload_successful", &[]),
        ("attache_config_last_reload_success_timestamp_seconds", &[]),
    ] {
        assert!(metrics.value(name, labels).is_some_and(|value| value > 0.0), "{name}:\n{}", metrics.0);
    }
    for name in ["attache_config_info{", "attache_build_info{"] {
        assert!(metrics.0.contains(name), "{name}:\n{}", metrics.0);
    }
}

#[tokio::test]
async fn a_request_in_flight_is_counted() {
    let at = topology().await;
    at.third_party.does(|_request| vec![Step::Hang]);
    let mut connection = Connection::open(at.attache.outbound()).await;
    connection.write(b"GET /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n").await;
    at.third_party.head(0).await;
    let labels = [("direction", "outbound"), ("service", "mailer")];
    assert_eq!(at.attache.metrics().await.value("attache_requests_in_flight", &labels), Some(1.0));
    drop(connection);
    counted(&at.attache, "attache_requests_in_flight", &labels, 0.0).await;
}

#[tokio::test]
async fn status_shows_the_running_configuration() {
    let at = topology().await;
    at.attache.send(get("/erp/x")).await;
    let status = at.attache.status().await;
    for key in ["build", "config", "services", "accounts", "users", "webhooks"] {
        assert!(!status[key].is_null(), "{key}: {status:#}");
    }
    for key in ["hash", "loaded_at", "last_reload"] {
        assert!(!status["config"][key].is_null(), "{key}: {status:#}");
    }
    let reload = &status["config"]["last_reload"];
    assert_eq!((&reload["result"], &reload["problems"]), (&json!("applied"), &json!([])));
    let text = status.to_string();
    for known in ["mailer", "erp", "bot", "current", "2099-01-01T00:00:00"] {
        assert!(text.contains(known), "{known}: {status:#}");
    }
    assert!(!text.contains(&sha256_hex(&at.key)), "{status:#}");
}

#[tokio::test]
async fn status_shows_errors_and_counts_of_a_service() {
    let at = topology().await;
    at.attache.send(get("/mailer/x")).await;
    at.attache.hook(post(format!("/webhooks/{}", at.key), "{}")).await;
    at.third_party.does(|_request| vec![Step::Hang]);
    let failed = at.attache.send(get("/mailer/slow")).await;
    let id = failed.header("x-attache-request-id").expect("the id").to_owned();
    counted(&at.attache, "attache_timeouts_total", &[("service", "mailer"), ("phase", "wait")], 1.0).await;
    let status = at.attache.status().await;
    let mailer = &status["services"]["mailer"];
    assert_eq!(mailer["last_5_minutes"], json!({ "requests": 3, "errors": 1 }), "{mailer:#}");
    assert_eq!(mailer["in_flight"], 0);
    let last = &mailer["last_error"];
    assert_eq!(
        (&last["code"], &last["direction"]),
        (&json!("service_timeout"), &json!("outbound")),
        "{last}"
    );
    assert_eq!(last["request_id"], id);
    assert!(last["at"].as_str().is_some_and(|at| at.ends_with('Z')), "{last}");
    let erp = &status["services"]["erp"];
    assert_eq!((&erp["last_error"], &erp["last_5_minutes"]["requests"]), (&json!(null), &json!(0)));
}

#[tokio::test]
async fn connections_without_a_request_keep_no_probe_away() {
    let at = topology().await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(Connection::open(at.attache.admin()).await);
    }
    let probe = send(at.attache.admin(), get("/livez"));
    assert_eq!(within(Duration::from_secs(3), "the answer to a probe", probe).await.status, 200);
}
