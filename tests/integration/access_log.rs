//! The access log: one JSON line per request, with exactly these members.

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

/// A trace id is 32 hexadecimal digits, and so may a key or a token be; any word may stand in the place of a method.
#[tokio::test]
async fn no_text_that_a_client_chooses_shows_its_credential() {
    let [key, expired, token, other] = [(); 4].map(|()| sha256_hex(&webhook_key())[..32].to_owned());
    let app = app().answers(200, "ok");
    let mut setup = attache().given("app", app.url());
    for (name, text) in [("key", &key), ("expired", &expired), ("token", &token), ("other", &other)] {
        setup = setup.given(name, sha256_hex(text));
    }
    let yaml = "
users: { bot: {} }
callers:
  billing: { tokens: [{ id: now, sha256: '{{token}}' }, { id: next, sha256: '{{other}}' }], services: '*' }
services:
  mailer:
    account: { authorization: none }
    server_url: '{{app}}'
    webhook:
      user: bot
      forward_to: '{{app}}'
      api_keys:
        - { id: k1, sha256: '{{key}}' }
        - { id: k0, sha256: '{{expired}}', expires_at: 2020-01-01T00:00:00Z }
      replay: { window: 10m, distinguish_by: [X-Event] }
";
    let attache = setup.with(yaml).await;
    for text in [&key, &expired] {
        for method in ["POST", text.as_str(), "TRACE"] {
            let call = post(format!("/webhooks/{text}"), "").method(method);
            let call = call.header("traceparent", format!("00-{text}-00f067aa0ba902b7-01"));
            for _ in 0..2 {
                let answer = attache.hook(call.clone().header("x-event", text.as_str())).await;
                line(&attache, &answer).await;
                assert!(!answer.text().contains(text.as_str()), "{}", answer.text());
            }
        }
    }
    for text in [&token, &other] {
        for method in ["POST", text.as_str()] {
            let request = post("/mailer/x", "").method(method).header("x-attache-token", token.as_str());
            let request = request.header("x-request-id", text.as_str());
            let answer =
                attache.send(request.header("traceparent", format!("00-{text}-00f067aa0ba902b7-01"))).await;
            line(&attache, &answer).await;
        }
    }
    let log = attache.stdout_text();
    for (name, text) in [("key", &key), ("expired", &expired), ("token", &token), ("other", &other)] {
        assert!(!log.contains(text.as_str()), "{name}: {log}");
    }
}

#[tokio::test]
async fn every_line_has_every_name() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    for request in [get("/mailer/x"), get("/unknown/x"), get("/mailer/x").without_host()] {
        let answer = attache.send(request).await;
        let line = line(&attache, &answer).await;
        let names: Vec<_> = line.as_object().expect("an object").keys().map(String::as_str).collect();
        let missing: Vec<_> = NAMES.into_iter().filter(|name| !names.contains(name)).collect();
        assert!(missing.is_empty(), "{missing:?} in {line:#}");
        assert_eq!(line["client"], "127.0.0.1", "{line:#}");
    }
}

#[tokio::test]
async fn a_failure_has_a_phase_and_a_reason() {
    let (closed, _refusing) = refused();
    let (nowhere, _held) = blackhole();
    let hanging = third_party().hangs();
    let protocol = third_party().answers_garbage();
    let endpoint = token_endpoint().rejects("invalid_client");
    let mut yaml = String::from("services:\n");
    for (name, url, more) in [
        ("refused", format!("http://{closed}"), ""),
        ("nowhere", format!("http://{nowhere}"), "timeout: 300ms"),
        ("unknown", "https://no-such-host.invalid".to_owned(), ""),
        ("hanging", hanging.url(), "timeout: 300ms"),
        ("garbage", protocol.url(), ""),
        (
            "token",
            hanging.url(),
            "account: { authorization: { oauth2: { grant: client_credentials, token_url: '{{token_url}}', \
             client_id: id, client_secret: { env: CLIENT_SECRET } } } }",
        ),
    ] {
        let account = if more.starts_with("account") { "" } else { "account: { authorization: none }" };
        let lines = [&format!("server_url: {url}"), account, more];
        let lines: Vec<_> =
            lines.iter().filter(|line| !line.is_empty()).map(|line| format!("    {line}\n")).collect();
        yaml.push_str(&format!("  {name}:\n{}", lines.concat()));
    }
    let setup = attache().given("token_url", endpoint.url()).env("CLIENT_SECRET", secret("client"));
    let attache = setup.with(&yaml).await;
    for (service, phase, reason) in [
        ("refused", "connect", Some("connection_refused")),
        ("nowhere", "connect", None),
        ("unknown", "connect", Some("dns_error")),
        ("hanging", "wait", None),
        ("garbage", "wait", None),
        ("token", "token", Some("invalid_client")),
    ] {
        let answer = attache.send(get(format!("/{service}/x"))).await;
        let line = line(&attache, &answer).await;
        assert_eq!(line["phase"], phase, "{service}: {line:#}");
        if let Some(reason) = reason {
            assert_eq!(line["reason"], reason, "{service}: {line:#}");
        }
    }
    let mut upload = Connection::open(attache.outbound()).await;
    upload
        .write(
            b"PUT /hanging/x HTTP/1.1\r\nHost: x\r\nX-Request-Id: upload\r\nContent-Length: 10\r\n\r\nhalf",
        )
        .await;
    assert_eq!(upload.response_to("PUT").await.expect("an answer").status, 504);
    let line = attache.access_log_line("the upload", |line| line["request_id"] == "upload").await;
    assert_eq!(line["phase"], "send", "a deadline that passes while the client still sends: {line:#}");
}

#[tokio::test]
async fn a_success_has_neither_phase_nor_reason() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let answer = attache.send(get("/mailer/x")).await;
    let line = line(&attache, &answer).await;
    assert_eq!((line.get("phase"), line.get("reason")), (Some(&Value::Null), Some(&Value::Null)), "{line:#}");
}

#[tokio::test]
async fn a_webhook_that_is_refused_has_the_reason_and_the_key_that_was_used() {
    let (app, good, expired, disabled) = (app(), webhook_key(), webhook_key(), webhook_key());
    let yaml = "
        users: { bot: {} }
        services:
          mailer:
            webhook:
              user: bot
              forward_to: '{{app}}'
              verify: { scheme: github, secret: { env: SECRET } }
              api_keys:
                - { id: good, sha256: {{good}} }
                - { id: old, sha256: {{expired}}, expires_at: 2020-01-01T00:00:00Z }
                - { id: off, sha256: {{disabled}}, disabled: true }";
    let setup = attache().given("app", app.url()).env("SECRET", secret("vendor"));
    let setup = setup.given("good", sha256_hex(&good)).given("expired", sha256_hex(&expired));
    let attache = setup.given("disabled", sha256_hex(&disabled)).with(yaml).await;
    for (key, status, reason, key_id) in [
        (webhook_key(), 404, "unknown_key", Value::Null),
        (expired, 404, "expired", "old".into()),
        (disabled, 404, "disabled", "off".into()),
        (good, 401, "signature_mismatch", "good".into()),
    ] {
        let call =
            post(format!("/webhooks/{key}"), "{}").header("X-Hub-Signature-256", format!("sha256={:064}", 0));
        let answer = attache.hook(call).await;
        assert_eq!(answer.status, status, "{reason}");
        let line = line(&attache, &answer).await;
        assert_eq!((&line["reason"], &line["key_id"]), (&reason.into(), &key_id), "{line:#}");
        let service = if key_id.is_null() { "" } else { "mailer" };
        assert_eq!(line["service"].as_str().unwrap_or_default(), service, "{line:#}");
        assert_eq!(line["client"], "127.0.0.1", "{line:#}");
    }
}

#[tokio::test]
async fn a_signed_delivery_has_its_id() {
    use base64::Engine as _;
    let at = vendor("verify: { scheme: standard_webhooks, secret: { env: VENDOR_WHSEC } }").await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
    let signature = at.mac(format!("msg_1.{now}.{{}}").as_bytes());
    let signature = base64::engine::general_purpose::STANDARD.encode(signature);
    let call = at
        .call("", "{}")
        .header("webhook-id", "msg_1")
        .header("webhook-timestamp", now.to_string())
        .header("webhook-signature", format!("v1,{signature}"));
    let answer = at.attache.hook(call).await;
    assert_eq!(answer.status, 202);
    assert_eq!(line(&at.attache, &answer).await["delivery_id"], "msg_1");
}

/// The address that `trusted_proxies` resolves, not that of the last proxy.
#[tokio::test]
async fn the_client_behind_a_trusted_proxy() {
    let (app, key) = (app(), webhook_key());
    let yaml = "
        trusted_proxies: [127.0.0.1]
        users: { bot: {} }
        services:
          mailer: { webhook: { user: bot, forward_to: '{{app}}', api_keys: [{ id: a, sha256: {{key}} }] } }";
    let attache = attache().given("app", app.url()).given("key", sha256_hex(&key)).with(yaml).await;
    let call = post(format!("/webhooks/{key}"), "{}").header("X-Forwarded-For", "203.0.113.9");
    let answer = attache.hook(call).await;
    assert_eq!(line(&attache, &answer).await["client"], "203.0.113.9");
}

#[tokio::test]
async fn a_refusal_is_logged_with_its_code() {
    let third_party = third_party().hangs();
    let attache = attache_for(&third_party, "timeout: 300ms").await;
    for (target, code, status) in [
        ("/mailer/x", "service_timeout", 504),
        ("/unknown/x", "service_unknown", 404),
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
async fn a_path_cannot_forge_a_line() {
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
