//! From the request id that a client holds to the cause: one line of the access log, and `attache explain --request`.

use crate::harness::*;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

/// The failures of one attache: each request id, and what its line has to say.
struct Causes<'a> {
    attache: &'a Attache,
    ids: Vec<String>,
}

impl<'a> Causes<'a> {
    fn of(attache: &'a Attache) -> Self {
        Self { attache, ids: Vec::new() }
    }

    /// The answer names a request whose line has the same code, this reason, and this phase (`-` for none).
    async fn answered(&mut self, answer: &Response, code: &str, reason: &str, phase: &str) {
        let id = answer.request_id().to_owned();
        if answer.header("content-type") == Some("application/problem+json") {
            let problem = answer.json();
            assert_eq!((&problem["code"], &problem["request_id"]), (&code.into(), &id.as_str().into()));
        }
        let line = self.logged(&id, code, reason, phase).await;
        assert_eq!(line["status"], answer.status, "{line:#}");
    }

    /// The request has a line with this code (`-` for none), reason and phase.
    async fn logged(&mut self, id: &str, code: &str, reason: &str, phase: &str) -> Value {
        let line = self.attache.access_log_line(reason, |line| line["request_id"] == id).await;
        let said = |key: &str| line[key].as_str().unwrap_or("-");
        assert_eq!([said("code"), said("reason"), said("phase")], [code, reason, phase], "{line:#}");
        self.ids.push(id.to_owned());
        line
    }

    /// `attache explain --request` knows the cause of each, and `/status` lists the last.
    async fn explained(self) {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("access.log");
        std::fs::write(&log, self.attache.stdout_text()).expect("write");
        let (log, config) = (log.display().to_string(), self.attache.config().display().to_string());
        for id in &self.ids {
            let told = command(&["explain", "-c", &config, "--request", id, "--log", &log]).finish().await;
            let text = format!("{}{}", told.stdout, told.stderr);
            assert_eq!(told.code, Some(0), "{text}");
            assert!(text.contains("\ncause ") && text.contains("\nwhat to do "), "{text}");
            assert_no_leak("explain", text.as_bytes());
        }
        let (last, admin) = (self.ids.last().expect("an id"), self.attache.admin().to_string());
        let listed = command(&["explain", "--request", last, "--admin", &admin]).finish().await;
        assert!(listed.code == Some(0) && listed.stdout.contains(last), "{listed:?}");
        let unknown = command(&["explain", "--request", "another", "--admin", &admin]).finish().await;
        assert!(unknown.code == Some(2) && unknown.stderr.contains("--log PATH"), "{unknown:?}");
        let status = command(&["status", "--admin", &admin]).finish().await;
        assert!(status.stdout.contains("last failures") && status.stdout.contains(last), "{status:?}");
    }
}

/// A file of services without a credential, each with a URL and further lines.
fn services(services: &[(&str, &str, &str)]) -> String {
    let mut yaml = String::from("services:\n");
    for (name, url, lines) in services {
        let account = if lines.contains("account:") { "" } else { "account: { authorization: none }, " };
        yaml.push_str(&format!("  {name}: {{ {account}server_url: '{url}', timeout: 300ms{lines} }}\n"));
    }
    yaml
}

#[tokio::test]
async fn every_upstream_failure_leads_to_its_cause() {
    let (refused, _held) = refused();
    let (nowhere, _sockets) = blackhole();
    let (hangs, garbage, closes) =
        (third_party().hangs(), third_party().answers_garbage(), third_party().closes_without_answer());
    let stalls = third_party().stalls_after(8);
    let breaks = third_party().answers_raw_and_closes(*b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    let secured = third_party().with_tls(&CertificateAuthority::new());
    let plain = format!("https://{}", hangs.authority());
    let yaml = services(&[
        ("dns", "https://no-such-host.invalid", ", timeout: 10s"),
        ("refused", &format!("http://{refused}"), ""),
        ("nowhere", &format!("http://{nowhere}"), ""),
        ("untrusted", &secured.url(), ", timeout: 5s"),
        ("plain", &plain, ""),
        ("inside", "https://inside.localhost:1", ""),
        ("hangs", &hangs.url(), ""),
        ("garbage", &garbage.url(), ""),
        ("closes", &closes.url(), ""),
        ("stalls", &stalls.url(), ", idle_timeout: 200ms"),
        ("breaks", &breaks.url(), ""),
        ("secret", &hangs.url(), ", account: { authorization: { bearer: { env: NOT_SET } } }"),
    ]);
    let yaml = yaml.replace("timeout: 300ms, timeout:", "timeout:");
    let attache = attache().with(&yaml).await;
    let mut causes = Causes::of(&attache);
    for (service, code, reason, phase) in [
        ("dns", "service_unreachable", "dns_error", "connect"),
        ("refused", "service_unreachable", "connection_refused", "connect"),
        ("nowhere", "service_timeout", "connection_timeout", "connect"),
        ("untrusted", "service_tls", "unknown_issuer", "connect"),
        ("plain", "service_timeout", "connection_timeout", "connect"),
        ("inside", "address_denied", "private_address", "connect"),
        ("hangs", "service_timeout", "http_response_timeout", "wait"),
        ("garbage", "service_protocol", "http_protocol_error", "wait"),
        ("closes", "service_unreachable", "connection_terminated", "wait"),
        ("stalls", "service_timeout", "idle", "idle"),
        ("breaks", "service_unreachable", "connection_terminated", "body"),
        ("secret", "credential_unavailable", "secret_missing", "-"),
        ("no-service", "service_unknown", "destination_not_found", "-"),
        ("hangs/../x", "request_invalid", "dot_segment", "-"),
    ] {
        let answer = attache.send(get(format!("/{service}/x"))).await;
        causes.answered(&answer, code, reason, phase).await;
    }
    for (head, code, reason, phase) in [
        ("GET /hangs/x HTTP/1.1\r\nno colon\r\n\r\n", "request_invalid", "malformed_head", "-"),
        ("GET hangs HTTP/1.1\r\nHost: x\r\n\r\n", "request_invalid", "malformed_target", "-"),
        ("TRACE /hangs/x HTTP/1.1\r\nHost: x\r\n\r\n", "method_denied", "method", "-"),
        (
            "PUT /hangs/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf",
            "service_timeout",
            "http_response_timeout",
            "send",
        ),
        (
            "PUT /hangs/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "request_invalid",
            "malformed_body",
            "send",
        ),
    ] {
        let mut connection = Connection::open(attache.outbound()).await;
        connection.write(head.as_bytes()).await;
        let answer = connection.response_to("GET").await.expect("an answer");
        causes.answered(&answer, code, reason, phase).await;
    }
    let long = get("/hangs/x").header("X-Long", "x".repeat(70 << 10));
    let answer = attache.send(long).await;
    causes.answered(&answer, "request_head_too_large", "head_too_large", "-").await;
    let mut leaves = Connection::open(attache.outbound()).await;
    let before = hangs.seen().heads;
    leaves.write(b"GET /hangs/x HTTP/1.1\r\nHost: x\r\nX-Request-Id: left\r\n\r\n").await;
    hangs.wait_until("the request", |seen| seen.heads > before).await;
    leaves.stream.shutdown().await.expect("shut down");
    assert_eq!(causes.logged("left", "-", "client_left", "wait").await["status"], 499);
    causes.explained().await;
}

#[tokio::test]
async fn every_failure_of_a_token_leads_to_its_cause() {
    let (refused, _held) = refused();
    let third_party = third_party();
    let (rejects, down, garbage, hangs) = (
        token_endpoint().rejects("invalid_client"),
        token_endpoint().down(),
        token_endpoint().garbage(),
        token_endpoint().hangs(),
    );
    let account = |url: &str, lines: &str| {
        format!(
            ", account: {{ authorization: {{ oauth2: {{ client_id: a, client_secret: {{ env: SECRET }}, \
             token_url: '{url}'{lines} }} }} }}"
        )
    };
    let machine = |url: &str, lines: &str| account(url, &format!(", grant: client_credentials{lines}"));
    let login = ", grant: authorization_code, authorization_url: 'https://id.example/a'";
    let at = third_party.url();
    let yaml = services(&[
        ("rejects", &at, &machine(&rejects.url(), "")),
        ("down", &at, &machine(&down.url(), "")),
        ("garbage", &at, &machine(&garbage.url(), "")),
        ("refused", &at, &machine(&format!("http://{refused}/token"), "")),
        ("hangs", &at, &machine(&hangs.url(), ", token_timeout: 100ms")),
        ("late", &at, &machine(&hangs.url(), "")),
        ("login", &at, &account(&rejects.url(), login)),
    ]);
    let yaml = format!("state: {{ dir: '{{{{state}}}}', key: {{ env: KEY }} }}\n{yaml}");
    let setup =
        attache().folder("state").env("KEY", "0123456789abcdefghijkl").env("SECRET", secret("client"));
    let attache = setup.with(&yaml).await;
    let mut causes = Causes::of(&attache);
    for (service, code, reason) in [
        ("rejects", "token_rejected", "invalid_client"),
        ("down", "token_unavailable", "token_endpoint_status"),
        ("garbage", "token_unavailable", "token_endpoint_answer"),
        ("refused", "token_unavailable", "token_endpoint_unreachable"),
        ("hangs", "token_unavailable", "token_endpoint_timeout"),
        ("late", "service_timeout", "connection_timeout"),
        ("login", "token_rejected", "needs_login"),
    ] {
        let answer = attache.send(get(format!("/{service}/x"))).await;
        causes.answered(&answer, code, reason, "token").await;
    }
    causes.explained().await;
}

#[tokio::test]
async fn every_refused_webhook_call_leads_to_its_cause() {
    let app = app().answers(202, "taken");
    let keys = [(); 9].map(|()| webhook_key());
    let [expired, disabled, early, inactive, away, signed, repeated, limited, plain] = &keys;
    let webhook = |name: &str, key: &str, of_key: &str, lines: &str| {
        let user = if name == "inactive" { "gone" } else { "bot" };
        format!(
            "  {name}: {{ webhook: {{ user: {user}, forward_to: '{}', {lines} api_keys: [{{ id: k, sha256: {}{of_key} }}] }} }}\n",
            app.url(),
            sha256_hex(key)
        )
    };
    let yaml = [
        "users: { bot: {}, gone: { active: false } }\nservices:\n".to_owned(),
        webhook("expired", expired, ", expires_at: 2020-01-01T00:00:00Z", ""),
        webhook("disabled", disabled, ", disabled: true", ""),
        webhook("early", early, ", not_before: 2099-01-01T00:00:00Z", ""),
        webhook("inactive", inactive, "", ""),
        webhook("away", away, "", "allow_from: [203.0.113.0/24],"),
        webhook("signed", signed, "", "verify: { scheme: github, secret: { env: SECRET } },"),
        webhook("repeated", repeated, "", "replay: { window: 1m },"),
        webhook("limited", limited, "", "rate_limit: { requests: 1, per: 1h },"),
        webhook("plain", plain, "", "max_body: 8B,"),
    ];
    let attache = attache().env("SECRET", secret("vendor")).with(&yaml.concat()).await;
    let mut causes = Causes::of(&attache);
    let call = |key: &str| post(format!("/webhooks/{key}"), "{}");
    let signature = |value: &str| call(signed).header("X-Hub-Signature-256", value.to_owned());
    for first in [repeated, limited] {
        assert_eq!(attache.hook(call(first)).await.status, 202);
    }
    for (call, code, reason, phase) in [
        (call(&webhook_key()), "webhook_unknown", "unknown_key", "-"),
        (call(expired), "webhook_unknown", "expired", "-"),
        (call(disabled), "webhook_unknown", "disabled", "-"),
        (call(early), "webhook_unknown", "not_yet_valid", "-"),
        (call(inactive), "user_inactive", "user_inactive", "-"),
        (call(away), "request_denied", "address", "-"),
        (call(signed), "signature_invalid", "signature_missing", "send"),
        (signature("sha256=zz"), "signature_invalid", "signature_malformed", "send"),
        (signature(&format!("sha256={:064}", 0)), "signature_invalid", "signature_mismatch", "send"),
        (call(repeated), "replayed", "duplicate", "send"),
        (call(limited), "rate_limited", "rate_limited", "-"),
        (call(plain).method("DELETE"), "method_denied", "method", "-"),
        (post(format!("/webhooks/{plain}"), "more than 8"), "request_too_large", "body_too_large", "-"),
        (call(plain).chunked([b"more than 8"]), "request_too_large", "body_too_large", "send"),
        (post(format!("/webhooks/{plain}/../x"), "{}"), "request_invalid", "dot_segment", "-"),
    ] {
        let answer = attache.hook(call).await;
        causes.answered(&answer, code, reason, phase).await;
    }
    causes.explained().await;
}

#[tokio::test]
async fn a_request_that_a_drain_cuts_leads_to_its_cause() {
    let third_party = third_party().hangs();
    let yaml = format!("shutdown: {{ drain: 200ms }}\n{}", mailer("timeout: 60s"));
    let mut attache = attache().given("third_party", third_party.url()).with(&yaml).await;
    let mut cut = Connection::open(attache.outbound()).await;
    cut.write(b"GET /mailer/x HTTP/1.1\r\nHost: x\r\nX-Request-Id: cut\r\n\r\n").await;
    third_party.head(0).await;
    attache.sigterm();
    attache.wait_exit().await;
    let line = Causes::of(&attache).logged("cut", "-", "shutdown", "wait").await;
    assert_eq!(line["status"], 503);
}
