//! The handshakes of providers, from outside.

use crate::harness::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::time::{SystemTime, UNIX_EPOCH};

async fn topology(verify: &str) -> Vendor {
    vendor(&format!("verify: {{ secret: {{ env: VENDOR_SECRET }}, {verify} }}")).await
}

/// Asserts this answer, that a browser would not execute it, and that the request never reaches the receiver.
async fn answers(at: &Vendor, request: Request, content_type: &str, body: &str) {
    let answer = at.attache.hook(request).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, body));
    assert_eq!(answer.all("content-type"), [content_type]);
    assert_eq!(answer.all("x-content-type-options"), ["nosniff"]);
    assert_eq!(answer.all("cache-control"), ["no-store"]);
    assert!(!answer.request_id().is_empty());
    assert_eq!(at.app.seen().heads, 0, "the receiver got a request");
}

fn ask(at: &Vendor, method: &str, query: &str) -> Request {
    request(method, format!("/webhooks/{}?{query}", at.key))
}

const TEXT: &str = "text/plain; charset=utf-8";

#[tokio::test]
async fn metas_challenge_needs_the_agreed_token() {
    let at = topology("scheme: meta, verify_token: agreed upon").await;
    let good = "hub.mode=subscribe&hub.challenge=%3Cscript%3E1&hub.verify_token=agreed+upon";
    answers(&at, ask(&at, "GET", good), TEXT, "<script>1").await;
    let wrong = at.attache.hook(ask(&at, "GET", &good.replace("agreed", "other"))).await;
    wrong.problem("signature_invalid", 401, "http_request_denied");
    let unknown = request("GET", format!("/webhooks/{}?{good}", webhook_key()));
    at.attache.hook(unknown).await.problem("webhook_unknown", 404, "http_request_denied");
    let posted = post(format!("/webhooks/{}?{good}", at.key), "{}");
    at.attache.hook(posted).await.problem("signature_invalid", 401, "http_request_denied");
}

#[tokio::test]
async fn the_challenges_of_dropbox_and_microsoft_are_echoed() {
    let dropbox = topology("scheme: dropbox").await;
    answers(&dropbox, ask(&dropbox, "GET", "challenge=abc123"), TEXT, "abc123").await;
    let graph = topology("scheme: microsoft_graph").await;
    answers(
        &graph,
        ask(&graph, "POST", "validationToken=Validation%3a+Testing+%26"),
        TEXT,
        "Validation: Testing &",
    )
    .await;
    assert_eq!(graph.attache.hook(post(format!("/webhooks/{}", graph.key), "{}")).await.status, 401);
    let long = dropbox.attache.hook(ask(&dropbox, "GET", &format!("challenge={}", "x".repeat(3000)))).await;
    long.problem("request_invalid", 400, "http_request_error");
}

#[tokio::test]
async fn the_challenge_of_x_is_answered_with_a_signature() {
    let at = topology("scheme: x").await;
    let expected = STANDARD.encode(at.mac(b"crc-token_1"));
    let body = format!(r#"{{"response_token":"sha256={expected}"}}"#);
    answers(&at, ask(&at, "GET", "crc_token=crc-token_1&nonce=x"), "application/json", &body).await;
    // A request that could be a delivery gets no signature.
    let forged = at.attache.hook(ask(&at, "GET", "crc_token=%7B%22a%22%3A1%7D")).await;
    forged.problem("request_invalid", 400, "http_request_error");
}

#[tokio::test]
async fn slacks_challenge_is_answered_if_its_signature_is_valid() {
    let at = topology("scheme: slack").await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let body = r#"{"token":"x","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}"#;
    let signature = at.mac(format!("v0:{now}:{body}").as_bytes());
    let signature: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
    let ask =
        || post(format!("/webhooks/{}", at.key), body).header("X-Slack-Request-Timestamp", now.to_string());
    at.attache.hook(ask()).await.problem("signature_invalid", 401, "http_request_denied");
    let signed = ask().header("X-Slack-Signature", format!("v0={signature}"));
    answers(&at, signed, TEXT, "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P").await;
    let labels = [("service", "vendor"), ("key_id", "k1")];
    let used = at.attache.metrics().await.value("attache_webhook_key_last_used_timestamp_seconds", &labels);
    assert!(used.is_some(), "a handshake is a use");
}

#[tokio::test]
async fn no_other_scheme_answers_a_challenge() {
    let at = topology("scheme: github").await;
    for query in ["challenge=x", "hub.mode=subscribe&hub.challenge=x&hub.verify_token=agreed", "crc_token=x"]
    {
        at.attache.hook(ask(&at, "GET", query)).await.problem("method_denied", 405, "http_request_denied");
    }
    let posted = post(
        format!("/webhooks/{}?validationToken=x", at.key),
        r#"{"type":"url_verification","challenge":"x"}"#,
    );
    at.attache.hook(posted).await.problem("signature_invalid", 401, "http_request_denied");
    assert_eq!(at.app.seen().heads, 0);
}
