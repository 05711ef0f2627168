//! Issuers of tokens: their keys are fetched, kept, and shown.

use crate::harness::*;
use serde_json::{Value, json};

/// A key set as another library writes it.
const KEY_SET: &str = include_str!("../config_cases/secrets/jwks.json");
const OTHER_KEYS: &str = include_str!("../tokens/jose-npm.json");

const YAML: &str = "
issuers:
  kubernetes:
    issuer: https://kubernetes.default.svc.cluster.local
    audience: {{audience}}
    jwks: { url: '{{keys}}/openid/v1/jwks?key=s3cret', {{ca}} token: { file: '{{token}}' } }
  local: { issuer: 'https://id.example', audience: [a, b], jwks: { file: '{{file}}' } }
services:
  mailer: { account: { authorization: none }, server_url: '{{third_party}}' }
";

/// An attache with an issuer of each kind.
fn setup(keys: &Stub, third_party: &Stub) -> Setup {
    attache()
        .given("keys", keys.url())
        .given("third_party", third_party.url())
        .given("audience", "attache")
        .given("ca", "")
        .file("token", &secret("jwks"))
        .file("file", KEY_SET)
}

async fn issuer(attache: &Attache, name: &str) -> Value {
    attache.status().await["issuers"][name].clone()
}

#[tokio::test]
async fn keys_are_fetched_in_the_background_and_shown() {
    let (keys, third_party) = (third_party().answers(200, KEY_SET), third_party());
    let attache = setup(&keys, &third_party).with(YAML).await;
    let fetched = async || Some(issuer(&attache, "kubernetes").await).filter(|found| found["keys"] == 2);
    let found = eventually("the keys", fetched).await;
    assert_eq!(found["issuer"], "https://kubernetes.default.svc.cluster.local");
    assert_eq!(found["jwks_url"], format!("{}/openid/v1/jwks", keys.url()));
    assert!(found["fetched_at"].is_string() && found["last_failure"].is_null(), "{found}");
    let local = issuer(&attache, "local").await;
    assert_eq!((&local["keys"], &local["jwks_url"]), (&json!(2), &Value::Null));

    let request = keys.only_request().await;
    assert_eq!((request.target(), request.method.as_str()), ("/openid/v1/jwks?key=s3cret".into(), "GET"));
    let token = std::fs::read_to_string(attache.path_of("token")).expect("the token");
    assert_eq!(request.header("authorization"), Some(format!("Bearer {token}").as_str()));
    let metrics = attache.metrics().await;
    let labels = [("issuer", "kubernetes")];
    assert_eq!(metrics.value("attache_issuer_keys", &labels), Some(2.0));
    let ok = [("issuer", "kubernetes"), ("result", "ok")];
    assert_eq!(metrics.value("attache_issuer_fetches_total", &ok), Some(1.0));
    assert!(metrics.value("attache_issuer_last_fetch_timestamp_seconds", &labels) > Some(1e9));
    assert!(!attache.said().contains("s3cret"), "{}", attache.said());
}

/// The key set of the other library, alone.
fn other_keys() -> String {
    serde_json::from_str::<Value>(OTHER_KEYS).expect("JSON")["jwks"].to_string()
}

/// Answers each further request with this status and body.
fn serve(stub: &Stub, status: &str, body: &str) {
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stub.does(move |_| vec![Step::Send(answer.clone().into_bytes())]);
}

#[tokio::test]
async fn a_start_does_not_wait_and_a_reload_keeps_the_keys_of_the_same_url() {
    let (silent, keys, third_party) =
        (third_party().hangs(), third_party().answers(200, KEY_SET), third_party());
    let mut attache = setup(&silent, &third_party).with(YAML).await;
    silent.head(0).await;
    assert_eq!(attache.send(get("/mailer/x")).await.status, 200);
    assert_eq!(issuer(&attache, "kubernetes").await["keys"], 0);

    attache.give("keys", keys.url());
    attache.reload(YAML, "applied").await;
    let fetched = async || Some(issuer(&attache, "kubernetes").await).filter(|found| found["keys"] == 2);
    eventually("the keys of another URL", fetched).await;
    attache.stderr_line(r#"configuration applied.*issuers="~kubernetes""#).await;

    attache.give("audience", "[attache, other]");
    attache.reload(YAML, "applied").await;
    assert_eq!(issuer(&attache, "kubernetes").await["keys"], 2);
    assert_eq!(keys.requests().len(), 1, "the same source");
}

#[tokio::test]
async fn sighup_fetches_and_a_failure_keeps_the_keys_and_is_said_once() {
    let (keys, third_party) = (third_party().answers(200, &other_keys()), third_party());
    let attache = setup(&keys, &third_party).with(YAML).await;
    let with = async |count: usize| {
        let found =
            async || Some(issuer(&attache, "kubernetes").await).filter(|found| found["keys"] == count);
        eventually("the keys", found).await
    };
    with(9).await;
    serve(&keys, "200 OK", KEY_SET);
    attache.sighup();
    with(2).await;
    serve(&keys, "200 OK", "<!doctype html><title>Sign in</title>");
    for nth in 1..=2 {
        attache.sighup();
        let failed = [("issuer", "kubernetes"), ("result", "failed")];
        let counted = async || {
            let count = attache.metrics().await.value("attache_issuer_fetches_total", &failed);
            (count >= Some(f64::from(nth))).then_some(())
        };
        eventually("a failure", counted).await;
    }
    let found = issuer(&attache, "kubernetes").await;
    assert_eq!((&found["keys"], &found["last_failure"]["reason"]), (&json!(2), &json!("the answer is HTML")));
    attache.stderr_line("WARN.*last ones stay in use.*the answer is HTML.*correct `jwks.url`").await;
    assert_eq!(attache.said().matches("the answer is HTML").count(), 1);
    let admin = attache.admin().to_string();
    let said = command(&["status", "--admin", &admin]).finish().await.stdout;
    assert!(said.contains("issuer kubernetes: its last keys are in use: the answer is HTML"), "{said}");
}

#[tokio::test]
async fn a_key_file_is_watched_and_its_last_keys_serve() {
    let (keys, third_party) = (third_party().answers(200, KEY_SET), third_party());
    let attache = setup(&keys, &third_party).with(YAML).await;
    assert_eq!(issuer(&attache, "local").await["keys"], 2);
    let before = attache.reloads("applied").await;
    attache.rewrite_file("file", &other_keys());
    attache.reloaded("applied", before).await;
    assert_eq!(issuer(&attache, "local").await["keys"], 9);
    let before = attache.reloads("applied").await;
    attache.rewrite_file("file", "{}");
    attache.reloaded("applied", before).await;
    let found = issuer(&attache, "local").await;
    assert_eq!((&found["keys"], &found["credential"]["state"]), (&json!(9), &json!("degraded")));
    let unavailable = [("issuer", "local")];
    let metrics = attache.metrics().await;
    assert_eq!(metrics.value("attache_credential_unavailable", &unavailable), Some(1.0));
}

#[tokio::test]
async fn check_live_fetches_the_keys() {
    let ca = CertificateAuthority::new();
    let (keys, third_party) = (third_party().answers(200, KEY_SET).with_tls(&ca), third_party());
    let trusting = setup(&keys, &third_party).file("ca_file", &ca.pem());
    let ca = format!("ca: '{}',", trusting.value("ca_file"));
    let setup = trusting.given("ca", ca);
    let live = async |setup: &Setup| {
        let path = setup.write(YAML).display().to_string();
        command(&["check", "--live", "-c", &path]).finish().await
    };
    let found = live(&setup).await;
    assert_eq!(found.code, Some(0), "{found:?}");
    assert!(found.stdout.contains("issuer kubernetes: 2 keys\n"), "{}", found.stdout);
    serve(&keys, "302 Found\r\nLocation: https://elsewhere.example/", "");
    let found = live(&setup).await;
    assert_eq!(found.code, Some(1), "{found:?}");
    let (error, help) = ("error: no keys: the answer is a redirect (302)", "help: set `jwks.url` to the URL");
    assert!(found.stdout.contains(error) && found.stdout.contains(help), "{}", found.stdout);
    let found = live(&setup.given("ca", "")).await;
    assert!(found.stdout.contains("help: set `jwks.ca`"), "{}", found.stdout);
}
