//! The identity assertion: a token about one call, which the programs of `examples/verify-assertion` accept, and
//! nothing else.

use crate::harness::*;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

const YAML: &str = "
    public_url: https://hooks.example.com
    identity: { assertion: { key: [{{keys}}], audience: orders } }
    users: { mailer-bot: {} }
    services:
      mailer:
        webhook:
          user: mailer-bot
          forward_to: '{{app}}/hooks'
          api_keys: [{ id: 2026-11, sha256: {{sha256}} }]
          replay: { window: 1m }
      signed:
        webhook:
          user: mailer-bot
          forward_to: '{{app}}/hooks'
          api_keys: [{ id: s1, sha256: {{signed}} }]
          verify: { scheme: standard_webhooks, secret: { env: VENDOR_SECRET } }
      unread:
        webhook:
          user: mailer-bot
          forward_to: '{{app}}/hooks'
          api_keys: [{ id: u1, sha256: {{unread}} }]";

const ED: &str = "-algorithm ed25519";
const EC: &str = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";

/// Creates a private key as an operator does.
fn pem(words: &str) -> String {
    let output = Command::new("openssl").arg("genpkey").args(words.split(' ')).output().expect("openssl");
    String::from_utf8(output.stdout).expect("PEM")
}

struct Topology {
    attache: Attache,
    key: String,
    unread: String,
    signed: String,
    secret: String,
}

async fn topology(app: &str) -> Topology {
    let [key, unread, signed] = std::array::from_fn(|_| webhook_key());
    let secret = secret("vendor");
    let setup = attache().given("signed", sha256_hex(&signed)).env("VENDOR_SECRET", STANDARD.encode(&secret));
    let setup = setup.file("ed", &pem(ED)).file("ec", &pem(EC)).given("app", app);
    let mut setup = setup.given("sha256", sha256_hex(&key)).given("unread", sha256_hex(&unread));
    let path = |setup: &Setup, name: &str| setup.value(name);
    let keys = format!("{{ file: '{}' }}, {{ file: '{}' }}", path(&setup, "ed"), path(&setup, "ec"));
    setup = setup.given("keys", keys);
    Topology { attache: setup.with(YAML).await, key, unread, signed, secret }
}

fn claims(request: &Received) -> (Value, Value) {
    let [token] = request.all("x-attache-assertion")[..] else { panic!("one assertion") };
    let part = |n: usize| {
        let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(n).expect("a part")).expect("base64url");
        serde_json::from_slice(&bytes).expect("JSON")
    };
    (part(0), part(1))
}

/// Returns true if the key set has the key that signed, and the signature is valid.
async fn is_signed(attache: &Attache, request: &Received) -> bool {
    let set = send(attache.admin(), get("/.well-known/jwks.json")).await.json();
    let token = request.header("x-attache-assertion").expect("an assertion");
    let (message, signature) = token.rsplit_once('.').expect("a token");
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    let kid = claims(request).0["kid"].clone();
    let keys = set["keys"].as_array().expect("keys");
    let key = keys.iter().find(|key| key["kid"] == kid).expect("the key");
    let member =
        |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap_or_default()).expect("base64url");
    if key["crv"] == "Ed25519" {
        UnparsedPublicKey::new(&ED25519, member("x")).verify(message.as_bytes(), &signature).is_ok()
    } else {
        let point = [&[4][..], &member("x"), &member("y")].concat();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message.as_bytes(), &signature).is_ok()
    }
}

#[tokio::test]
async fn an_assertion_has_the_claims_of_its_call() {
    let app = app();
    let at = topology(&app.url()).await;
    let forged =
        post(format!("/webhooks/{}/delivered?a=%20b", at.key), "{}").header("X-Attache-Assertion", "bogus");
    let answer = at.attache.hook(forged).await;
    assert_eq!(answer.status, 200);
    let received = app.head(0).await;
    let (header, claims_) = claims(&received);
    assert_eq!((&header["alg"], &header["typ"]), (&"EdDSA".into(), &"JWT".into()));
    let claim = |name: &str| claims_[name].as_str().unwrap_or_default().to_owned();
    assert_eq!((claim("iss"), claim("aud")), ("https://hooks.example.com".into(), "orders".into()));
    assert_eq!((claim("sub"), claim("service")), ("mailer-bot".into(), "mailer".into()));
    assert_eq!((claim("key_id"), claim("method")), ("2026-11".into(), "POST".into()));
    assert_eq!(claim("path"), "/webhooks/{key}/delivered");
    assert_eq!(
        (claim("jti"), claim("delivery_id")),
        (answer.request_id().into(), answer.request_id().into())
    );
    assert_eq!((claim("query_sha256"), claim("body_sha256")), (sha256_hex("a=%20b"), sha256_hex("{}")));
    let life = claims_["exp"].as_u64().expect("exp") - claims_["iat"].as_u64().expect("iat");
    assert_eq!(life, 60);
    assert!(is_signed(&at.attache, &received).await);
    assert_eq!(at.attache.hook(post(format!("/webhooks/{}?", at.unread), "{}")).await.status, 200);
    let (_, unread) = claims(&app.head(1).await);
    assert!(unread.get("body_sha256").is_none() && unread.get("query_sha256").is_none(), "{unread}");
}

#[tokio::test]
async fn keys_are_published_before_they_sign_and_after() {
    let app = app();
    let mut at = topology(&app.url()).await;
    let published = async |at: &Topology| {
        let set = send(at.attache.admin(), get("/.well-known/jwks.json")).await.json();
        let keys = set["keys"].as_array().expect("keys").iter();
        keys.map(|key| key["kty"].as_str().expect("kty").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(published(&at).await, ["OKP", "EC"]);
    let [ed, ec] = ["ed", "ec"].map(|name| at.attache.path_of(name).display().to_string());
    at.attache.give("keys", format!("{{ file: '{ec}' }}, {{ file: '{ed}' }}"));
    at.attache.reload(YAML, "applied").await;
    assert_eq!(published(&at).await, ["EC", "OKP"]);
    assert_eq!(at.attache.hook(post(format!("/webhooks/{}", at.key), "{}")).await.status, 200);
    let received = app.only_request().await;
    assert_eq!(claims(&received).0["alg"], "ES256");
    assert!(is_signed(&at.attache, &received).await);
    let private = send(at.attache.admin(), get("/.well-known/jwks.json")).await.text();
    assert!(!private.contains("\"d\""), "{private}");
}

#[tokio::test]
async fn the_retry_of_a_delivery_has_its_id_and_another_token() {
    let app = app().answers(500, "");
    let at = topology(&app.url()).await;
    for n in 0..2 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
        let key = hmac::Key::new(hmac::HMAC_SHA256, at.secret.as_bytes());
        let signature = STANDARD.encode(hmac::sign(&key, format!("msg_1.{now}.{{}}").as_bytes()));
        let call = post(format!("/webhooks/{}", at.signed), "{}")
            .header("webhook-id", "msg_1")
            .header("webhook-timestamp", now.to_string())
            .header("webhook-signature", format!("v1,{signature}"));
        assert_eq!(at.attache.hook(call).await.status, 500);
        app.head(n).await;
    }
    let all: Vec<Value> = app.requests().iter().map(|request| claims(request).1).collect();
    assert_ne!(all[0]["jti"], all[1]["jti"]);
    assert_eq!([&all[0]["delivery_id"], &all[1]["delivery_id"]], ["msg_1", "msg_1"]);
}

/// Copies the example into a folder in which it finds its library.
fn example(folder: &Path, name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = folder.join(name);
    std::fs::copy(root.join("examples/verify-assertion").join(name), &script).expect("copy");
    std::os::unix::fs::symlink(root.join("tests/peers/node_modules"), folder.join("node_modules"))
        .expect("link");
    script
}

async fn believes(name: &str) {
    let stub = app();
    let mut at = topology(&stub.url()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let key_set = format!("http://{}/.well-known/jwks.json", at.attache.admin());
    let environment = [
        ("ATTACHE_JWKS", key_set.as_str()),
        ("ATTACHE_ISSUER", "https://hooks.example.com"),
        ("ATTACHE_AUDIENCE", "orders"),
        ("ATTACHE_FORWARD_PATH", "/hooks"),
    ];
    let script = example(folder.path(), name);
    let program = Peer::serve_from(&script, &["0"], &environment, "listening on 127.0.0.1:").await;
    // One assertion is captured …
    assert_eq!(at.attache.hook(post(format!("/webhooks/{}/x?y", at.key), "caught")).await.status, 200);
    let caught = stub.only_request().await.header("x-attache-assertion").expect("an assertion").to_owned();
    let direct = |method: &str, target: &str, body: &str, token: &str| {
        let request = post(target.to_owned(), body.to_owned()).header("X-Attache-Assertion", token);
        if method == "POST" { request } else { request.method(method) }
    };
    for (method, target, body) in [
        ("POST", "/hooks/x?y", "altered"),
        ("POST", "/hooks/x?z", "caught"),
        ("POST", "/hooks/z?y", "caught"),
        ("PUT", "/hooks/x?y", "caught"),
    ] {
        let answer = send(program.address(), direct(method, target, body, &caught)).await;
        assert_eq!(answer.status, 401, "{method} {target} {body}: {}", answer.text());
    }
    let (rest, signature) = caught.rsplit_once('.').expect("a token");
    let forged = format!("{rest}.{}", URL_SAFE_NO_PAD.encode([7; 64]));
    assert_ne!(signature, URL_SAFE_NO_PAD.encode([7; 64]));
    assert_eq!(send(program.address(), direct("POST", "/hooks/x?y", "caught", &forged)).await.status, 401);
    assert_eq!(send(program.address(), post("/hooks/x?y", "caught")).await.status, 401);
    // … and is valid once, unchanged.
    assert_eq!(send(program.address(), direct("POST", "/hooks/x?y", "caught", &caught)).await.status, 200);
    assert_eq!(send(program.address(), direct("POST", "/hooks/x?y", "caught", &caught)).await.status, 401);
    // Then the program takes the place of the stub.
    at.attache.give("app", program.url());
    at.attache.reload(YAML, "applied").await;
    for (n, rest) in ["", "/delivered", "/a/b?c=%20d", "?x"].into_iter().enumerate() {
        let answer = at.attache.hook(post(format!("/webhooks/{}{rest}", at.key), format!("call {n}"))).await;
        assert_eq!(answer.status, 200, "{rest}: {}", answer.text());
        let said = answer.json();
        assert_eq!((&said["user"], &said["key_id"]), (&"mailer-bot".into(), &"2026-11".into()), "{said}");
    }
}

#[tokio::test]
async fn the_python_example_accepts_only_a_valid_assertion() {
    believes("verify.py").await;
}

#[tokio::test]
async fn the_node_example_accepts_only_a_valid_assertion() {
    believes("verify.mjs").await;
}
