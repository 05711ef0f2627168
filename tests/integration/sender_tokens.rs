//! Webhooks whose sender shows a token of an issuer, as Google Pub/Sub does.

use crate::harness::*;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

const EMAIL: &str = "push@project.iam.gserviceaccount.com";

fn key(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a key")
}

/// Returns the key set with these keys, each named by its seed.
fn set(seeds: &[u8]) -> String {
    let jwk = |seed: &u8| {
        let x = URL_SAFE_NO_PAD.encode(key(*seed).public_key());
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": seed.to_string(), "x": x })
    };
    json!({ "keys": seeds.iter().map(jwk).collect::<Vec<_>>() }).to_string()
}

fn token(seed: u8, email: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs();
    let claims = json!({ "iss": "https://accounts.google.com", "aud": "https://hooks.example.com", "email": email,
                         "email_verified": true, "sub": "1", "exp": now + 600 });
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message =
        format!("{}.{}", encode(json!({ "alg": "EdDSA", "kid": seed.to_string() })), encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(key(seed).sign(message.as_bytes()));
    format!("{message}.{signature}")
}

struct Topology {
    attache: Attache,
    app: Stub,
    keys: Stub,
    key: String,
}

async fn topology(seeds: &[u8]) -> Topology {
    let (keys, app, key) =
        (third_party().answers(200, &set(seeds)), app().answers(202, "accepted"), webhook_key());
    let setup = attache().given("app", app.url()).given("sha256", sha256_hex(&key)).given("keys", keys.url());
    let yaml = format!(
        "issuers: {{ google: {{ issuer: 'https://accounts.google.com', audience: 'https://hooks.example.com', \
         jwks: {{ url: '{{{{keys}}}}/certs' }} }} }}\n{}",
        vendor_yaml(&format!(
            "verify: {{ scheme: google_pubsub, issuer: google, claims: {{ email: '{EMAIL}' }} }}"
        ))
    );
    Topology { attache: setup.with(&yaml).await, app, keys, key }
}

impl Topology {
    async fn push(&self, authorization: &str) -> Response {
        let call = post(format!("/webhooks/{}", self.key), r#"{"message":{"messageId":"1"}}"#);
        let call = if authorization.is_empty() { call } else { call.header("Authorization", authorization) };
        self.attache.hook(call).await
    }
}

#[tokio::test]
async fn a_push_with_the_subscriptions_token_is_passed_on_without_it() {
    let at = topology(&[1]).await;
    // The first fetch may still be under way: the push waits for it.
    let token = token(1, EMAIL);
    let answer = at.push(&format!("Bearer {token}")).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let received = at.app.only_request().await;
    assert_eq!(received.header("authorization"), None);
    assert!(!String::from_utf8_lossy(&received.wire).contains(&token));
    for authorization in ["", "Bearer x", "Basic Zm9vOmJhcg==", &token] {
        at.push(authorization).await.problem("signature_invalid", 401, "http_request_denied");
    }
    assert!(!at.attache.said().contains(&token[..40]), "a token was logged");
}

#[tokio::test]
async fn a_token_of_another_customer_of_google_is_refused() {
    let at = topology(&[1]).await;
    let other = format!("Bearer {}", token(1, "push@other.iam.gserviceaccount.com"));
    let answer = at.push(&other).await;
    answer.problem("signature_invalid", 401, "http_request_denied");
    assert!(answer.text().contains("the token's claim `email`"), "{}", answer.text());
    assert_eq!(at.app.seen().heads, 0);
}

#[tokio::test]
async fn unknown_keys_are_fetched_once_and_an_issuer_that_is_gone_is_no_fault_of_the_sender() {
    let at = topology(&[1]).await;
    assert_eq!(at.push(&format!("Bearer {}", token(1, EMAIL))).await.status, 202);
    for seed in 2..10 {
        let answer = at.push(&format!("Bearer {}", token(seed, EMAIL))).await;
        answer.problem("signature_invalid", 401, "http_request_denied");
    }
    assert!(at.keys.requests().len() <= 2, "a `kid` in each request causes no fetch in each");

    let at = topology(&[]).await;
    let answer = at.push(&format!("Bearer {}", token(1, EMAIL))).await;
    answer.problem("credential_unavailable", 503, "proxy_configuration_error");
    let line = at.attache.access_log_line("it", |line| line["status"] == 503).await;
    assert_eq!(line["reason"], "key_unavailable", "{line:#}");
}
