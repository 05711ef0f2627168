//! Callers: nothing gets through without a proof and a right, and each refusal is logged and counted with its reason.

use crate::harness::*;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

const YAML: &str = "
{{top}}
issuers:
  cluster: { issuer: 'https://id.example', audience: attache, jwks: { file: '{{keys}}' } }
accounts:
  erp: { authorization: { header: { name: X-Key, value: { env: ERP_KEY } } } }
  erp-billing: { authorization: { header: { name: X-Key, value: { env: BILLING_KEY } } } }
callers:
  billing:
    tokens:
      - { id: now, sha256: {{good}} }
      - { id: past, sha256: {{past}}, expires_at: 2020-01-01T00:00:00Z }
      - { id: future, sha256: {{future}}, not_before: 2099-01-01T00:00:00Z }
      - { id: gone, sha256: {{gone}}, disabled: true }
    jwt: { issuer: cluster, subject: 'system:serviceaccount:billing:default' }
    services:
      erp: { methods: [GET, POST], paths: [/contacts*, /me], account: erp-billing }
      open: {}
    {{limits}}
  admin:
    tokens: [{ id: only, sha256: {{admin}} }]
    services: '*'
services:
  erp: { account: erp, server_url: '{{erp}}/v1', hosts: [erp.internal] }
  open: { account: { authorization: none }, server_url: '{{open}}' }
  bank: { account: erp, server_url: '{{bank}}', hosts: [bank.internal] }
";

/// The tokens of a running attache. None may reach a third party, so each is marked as a webhook's key.
struct Tokens {
    good: String,
    past: String,
    future: String,
    gone: String,
    admin: String,
    key: EcdsaKeyPair,
}

struct Topology {
    attache: Attache,
    tokens: Tokens,
    erp: Stub,
    open: Stub,
    bank: Stub,
}

pub(crate) fn new_key() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref(), &random).expect("the key")
}

pub(crate) fn key_set(key: &EcdsaKeyPair) -> String {
    let point = &key.public_key().as_ref()[1..];
    let [x, y] = [&point[..32], &point[32..]].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
    json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": "k", "x": x, "y": y, "alg": "ES256", "use": "sig" }] })
        .to_string()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs()
}

/// The claims of a good JWT, with changes.
fn claims(changes: Value) -> Value {
    let mut claims = json!({
        "iss": "https://id.example", "aud": ["attache"], "sub": "system:serviceaccount:billing:default",
        "exp": now() + 600, "iat": now(), "nbf": now(),
    });
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => claims.as_object_mut().expect("an object").remove(name),
            value => claims.as_object_mut().expect("an object").insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn unsigned(header: &Value, claims: &Value) -> String {
    [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string())).join(".")
}

fn signed(key: &EcdsaKeyPair, header: &Value, claims: &Value) -> String {
    let message = unsigned(header, claims);
    let signature = key.sign(&SystemRandom::new(), message.as_bytes()).expect("a signature");
    format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

pub(crate) fn jwt(key: &EcdsaKeyPair, changes: Value) -> String {
    signed(key, &json!({ "alg": "ES256", "kid": "k", "typ": "JWT" }), &claims(changes))
}

impl Topology {
    async fn with(top: &str, limits: &str) -> Self {
        let (erp, open, bank) = (third_party(), third_party(), third_party());
        let [good, past, future, gone, admin] = std::array::from_fn(|_| webhook_key());
        let tokens = Tokens { good, past, future, gone, admin, key: new_key() };
        let attache = attache()
            .given("top", top)
            .given("limits", limits)
            .given("erp", erp.url())
            .given("open", open.url())
            .given("bank", bank.url())
            .given("good", sha256_hex(&tokens.good))
            .given("past", sha256_hex(&tokens.past))
            .given("future", sha256_hex(&tokens.future))
            .given("gone", sha256_hex(&tokens.gone))
            .given("admin", sha256_hex(&tokens.admin))
            .file("keys", &key_set(&tokens.key))
            .env("ERP_KEY", secret("erp"))
            .env("BILLING_KEY", secret("billing"))
            .with(YAML)
            .await;
        Self { attache, tokens, erp, open, bank }
    }

    async fn enforcing() -> Self {
        Self::with("http_proxy: true", "").await
    }

    fn reached(&self) -> usize {
        [&self.erp, &self.open, &self.bank].iter().map(|stub| stub.requests().len()).sum()
    }
}

pub(crate) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

/// One attempt to use a right that the client does not have.
struct Attempt {
    name: String,
    request: Request,
    status: u16,
    reason: &'static str,
}

fn attempt(name: impl Into<String>, request: Request, status: u16, reason: &'static str) -> Attempt {
    Attempt { name: name.into(), request, status, reason }
}

/// Requests without a valid proof, for something that the caller may do.
fn without_proof(t: &Tokens) -> Vec<Attempt> {
    let target = || get("/erp/contacts");
    let with = |name: &str, value: &str| target().header(name, value);
    let mut all = vec![
        attempt("nothing", target(), 401, "no_proof"),
        attempt("an unknown service", get("/nowhere/x"), 401, "no_proof"),
        attempt("no service", get("/"), 401, "no_proof"),
        attempt("a dot segment", get("/erp/../bank/x"), 401, "no_proof"),
        attempt("HTTP/1.0", target().http10(), 401, "no_proof"),
        attempt("HEAD", request("HEAD", "/erp/contacts"), 401, "no_proof"),
        attempt("OPTIONS", request("OPTIONS", "/erp/contacts"), 401, "no_proof"),
        attempt("a POST with a body", post("/erp/contacts", "body"), 401, "no_proof"),
        attempt("a host", get("/contacts").without_host().header("Host", "erp.internal"), 401, "no_proof"),
        attempt("absolute form", get("http://erp.internal/contacts"), 407, "no_proof"),
        attempt("the token in the query", get(format!("/erp/contacts?token={}", t.good)), 401, "no_proof"),
        attempt(
            "access_token in the query",
            get(format!("/erp/contacts?access_token={}", t.good)),
            401,
            "no_proof",
        ),
        attempt("the token in the path", get(format!("/erp/contacts/{}", t.good)), 401, "no_proof"),
    ];
    for (name, value) in [
        ("X_Attache_Token", t.good.clone()),
        ("X-Attache.Token", t.good.clone()),
        ("X-Attache-Token-", t.good.clone()),
        ("X-Attache--Token", t.good.clone()),
        ("Attache-Token", t.good.clone()),
        ("X-Auth-Token", t.good.clone()),
        ("X-Api-Key", t.good.clone()),
        ("Cookie", format!("token={}", t.good)),
        ("Cookie", format!("authorization=Bearer {}", t.good)),
        ("Authentication", bearer(&t.good)),
        ("X-Authorization", bearer(&t.good)),
        ("X-Forwarded-Authorization", bearer(&t.good)),
        ("X-Attache-Caller", "billing".to_owned()),
        ("X-Forwarded-User", "billing".to_owned()),
        ("X-Forwarded-Client-Cert", "URI=spiffe://corp/billing".to_owned()),
        ("Proxy_Authorization", bearer(&t.good)),
        ("Authorization", t.good.clone()),
        ("Authorization", format!("Token {}", t.good)),
        ("Authorization", format!("Basic {}", t.good)),
        ("Authorization", basic("billing", &t.good)),
        ("Authorization", format!("Bearer{}", t.good)),
        ("Authorization", format!("\"Bearer {}\"", t.good)),
        ("Authorization", format!("Basic a, Bearer {}", t.good)),
        ("Authorization", String::new()),
    ] {
        all.push(attempt(format!("{name}: {value}"), with(name, &value), 401, "no_proof"));
    }
    for (name, value) in [
        ("Authorization", "Bearer".to_owned()),
        ("Authorization", format!("Bearer\t{}", t.good)),
        ("Authorization", format!("Bearer {0}, Bearer {0}", t.good)),
        ("Authorization", format!("Bearer {},", t.good)),
        ("Authorization", format!("Bearer \"{}\"", t.good)),
        ("Authorization", format!("Bearer '{}'", t.good)),
        ("Authorization", format!("Bearer token={}", t.good)),
        ("Authorization", format!("Bearer={}", t.good)),
        ("Authorization", format!("Bearer {} x", t.good)),
        ("Authorization", format!("Bearer Bearer {}", t.good)),
        ("X-Attache-Token", bearer(&t.good)),
        ("X-Attache-Token", String::new()),
        ("X-Attache-Token", format!("{0},{0}", t.good)),
        ("X-Attache-Token", format!("\"{}\"", t.good)),
        ("Proxy-Authorization", t.good.clone()),
        ("Proxy-Authorization", format!("Digest {}", t.good)),
        ("Proxy-Authorization", basic("billing", "")),
        ("Proxy-Authorization", format!("Basic {}", BASE64_STANDARD.encode(&t.good))),
        ("Proxy-Authorization", format!("{} x", basic("billing", &t.good))),
    ] {
        all.push(attempt(format!("{name}: {value}"), with(name, &value), 401, "malformed_proof"));
    }
    let upper = t.good.to_uppercase();
    let cut = &t.good[..t.good.len() - 1];
    for token in
        [upper.as_str(), cut, &format!("{}=", t.good), &sha256_hex(&t.good), "billing", "now", "null"]
    {
        all.push(attempt(
            format!("X-Attache-Token: {token}"),
            with("X-Attache-Token", token),
            401,
            "unknown_token",
        ));
        all.push(attempt(
            format!("Bearer {token}"),
            with("Authorization", &bearer(token)),
            401,
            "unknown_token",
        ));
        let proxy = with("Proxy-Authorization", &basic("billing", token));
        all.push(attempt(format!("Basic {token}"), proxy, 401, "unknown_token"));
    }
    // The user of Basic credentials proves nothing.
    let user = with("Proxy-Authorization", &basic(&t.good, "x"));
    all.push(attempt("the token as the user", user, 401, "unknown_token"));
    for (token, reason) in
        [(&t.past, "token_expired"), (&t.future, "token_not_yet_valid"), (&t.gone, "token_disabled")]
    {
        all.push(attempt(reason, with("X-Attache-Token", token), 401, reason));
        all.push(attempt(reason, with("Authorization", &bearer(token)), 401, reason));
        all.push(attempt(reason, with("Proxy-Authorization", &basic("x", token)), 401, reason));
    }
    // The first that is present counts, whatever the others are.
    let two = |first: (&str, &str), second: (&str, &str)| {
        target().header(first.0, first.1).header(second.0, second.1)
    };
    let good = bearer(&t.good);
    all.extend([
        attempt(
            "a bad token before a good one",
            two(("X-Attache-Token", "wrong"), ("Authorization", &good)),
            401,
            "unknown_token",
        ),
        attempt(
            "an expired token before a good one",
            two(("Authorization", &good), ("X-Attache-Token", &t.past)),
            401,
            "token_expired",
        ),
        attempt(
            "a bad Authorization before a good proxy's",
            two(("Proxy-Authorization", &good), ("Authorization", "Bearer wrong")),
            401,
            "unknown_token",
        ),
        attempt(
            "twice the same",
            two(("Authorization", &good), ("authorization", &good)),
            401,
            "repeated_proof",
        ),
        attempt(
            "a good and a bad one",
            two(("X-Attache-Token", &t.good), ("x-attache-token", "wrong")),
            401,
            "repeated_proof",
        ),
        attempt(
            "two callers in one field",
            two(("X-Attache-Token", &t.good), ("X-Attache-Token", &t.admin)),
            401,
            "repeated_proof",
        ),
        attempt(
            "two schemes",
            two(("Authorization", "Basic eDp5"), ("Authorization", &good)),
            401,
            "repeated_proof",
        ),
        attempt(
            "absolute form: a bad proxy's before a good token",
            get("http://erp.internal/contacts")
                .header("X-Attache-Token", t.good.as_str())
                .header("Proxy-Authorization", "Bearer wrong"),
            407,
            "unknown_token",
        ),
    ]);
    all
}

/// JWTs that prove nothing.
fn bad_jwts(t: &Tokens) -> Vec<Attempt> {
    let es256 = json!({ "alg": "ES256", "kid": "k" });
    let good = jwt(&t.key, json!({}));
    let public = t.key.public_key().as_ref().to_vec();
    let hs256 = |secret: &[u8]| {
        let message = unsigned(&json!({ "alg": "HS256", "kid": "k" }), &claims(json!({})));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
        let tag = ring::hmac::sign(&key, message.as_bytes());
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag))
    };
    let with = |changes: Value| jwt(&t.key, changes);
    let header = |header: Value| signed(&t.key, &header, &claims(json!({})));
    let none = |alg: &str| format!("{}.", unsigned(&json!({ "alg": alg }), &claims(json!({}))));
    let tampered = {
        let other = unsigned(&es256, &claims(json!({ "exp": now() + 9999 })));
        format!("{other}.{}", good.rsplit_once('.').expect("a signature").1)
    };
    let list = [
        ("alg none", none("none"), "jwt_algorithm"),
        ("alg None", none("None"), "jwt_algorithm"),
        ("alg NONE", none("NONE"), "jwt_algorithm"),
        ("HS256 with the public key", hs256(&public), "jwt_algorithm"),
        ("HS256 with the key set", hs256(key_set(&t.key).as_bytes()), "jwt_algorithm"),
        ("ES384 with a P-256 key", header(json!({ "alg": "ES384", "kid": "k" })), "jwt_algorithm"),
        ("RS256 with a P-256 key", header(json!({ "alg": "RS256", "kid": "k" })), "jwt_algorithm"),
        ("crit", header(json!({ "alg": "ES256", "kid": "k", "crit": ["x"], "x": 1 })), "jwt_algorithm"),
        ("another key id", header(json!({ "alg": "ES256", "kid": "other" })), "jwt_key"),
        ("another key", jwt(&new_key(), json!({})), "jwt_signature"),
        ("a changed payload", tampered, "jwt_signature"),
        ("no signature", format!("{}.", unsigned(&es256, &claims(json!({})))), "jwt_signature"),
        ("another issuer", with(json!({ "iss": "https://id.example/" })), "jwt_issuer"),
        ("another audience", with(json!({ "aud": "other" })), "jwt_audience"),
        ("a longer audience", with(json!({ "aud": "attache2" })), "jwt_audience"),
        ("no audience", with(json!({ "aud": null })), "jwt_audience"),
        ("expired", with(json!({ "exp": now() - 3600 })), "jwt_expired"),
        ("not yet valid", with(json!({ "nbf": now() + 3600 })), "jwt_not_yet_valid"),
        ("no expiry", with(json!({ "exp": null })), "jwt_malformed"),
        ("no subject", with(json!({ "sub": null })), "jwt_malformed"),
        ("no issuer", with(json!({ "iss": null })), "jwt_malformed"),
        ("another subject", with(json!({ "sub": "system:serviceaccount:billing:other" })), "jwt_subject"),
        (
            "a subject in capitals",
            with(json!({ "sub": "System:ServiceAccount:billing:default" })),
            "jwt_subject",
        ),
        ("garbage", "a.b.c".to_owned(), "jwt_malformed"),
        ("four parts", format!("{good}.x"), "unknown_token"),
    ];
    let attempts = list.into_iter().map(|(name, token, reason)| {
        attempt(format!("JWT: {name}"), get("/erp/me").header("Authorization", bearer(&token)), 401, reason)
    });
    attempts.collect()
}

/// Requests of a caller that exceed its rights.
fn without_right(t: &Tokens) -> Vec<Attempt> {
    let mut all = Vec::new();
    let with = |request: Request| request.header("X-Attache-Token", t.good.as_str());
    for target in ["/bank/x", "/bank", "/bank/", "/bank/?x", "/bank//erp/contacts"] {
        all.push(attempt(target, with(get(target)), 403, "caller_service"));
    }
    let bank_host = |request: Request| request.without_host().header("Host", "bank.internal");
    all.push(attempt("a host", with(bank_host(get("/contacts"))), 403, "caller_service"));
    all.push(attempt(
        "a host with a service's path",
        with(bank_host(get("/erp/contacts"))),
        403,
        "caller_service",
    ));
    let absolute = get("http://bank.internal/contacts").header("Proxy-Authorization", basic("x", &t.good));
    all.push(attempt("absolute form", absolute, 403, "caller_service"));
    let mixed = get("http://bank.internal/contacts").without_host().header("Host", "erp.internal");
    all.push(attempt("absolute form against Host", with(mixed), 403, "caller_service"));
    for method in ["DELETE", "PUT", "PATCH", "HEAD", "OPTIONS", "PURGE", "get", "Get", "PROPFIND"] {
        all.push(attempt(method, with(request(method, "/erp/contacts/1")), 403, "caller_method"));
    }
    for target in [
        "/erp",
        "/erp/",
        "/erp/x",
        "/erp/ME",
        "/erp/me/",
        "/erp/me/x",
        "/erp/%6de",
        "/erp/me%20",
        "/erp/me;x",
        "/erp/me%00",
        "/erp/Contacts",
        "/erp/contact",
        "/erp/%63ontacts",
        "/erp//contacts",
        "/erp/x/contacts",
        "/erp/%2fcontacts",
        "/erp/contacts/%252e%252e/admin",
        "/erp/contacts/..%252fadmin",
        "/erp/contacts/%25252e%25252e/admin",
        "/erp/contacts/.../admin",
        "/erp/contacts/%u002e%u002e/admin",
        "/erp/contacts/%EF%BC%8E%EF%BC%8E/admin",
    ] {
        all.push(attempt(target, with(get(target)), 403, "caller_path"));
    }
    let by_host = |target: &str| get(target).without_host().header("Host", "erp.internal");
    all.push(attempt("a host, another path", with(by_host("/admin")), 403, "caller_path"));
    all.push(attempt("a host, a service's path", with(by_host("/open/x")), 403, "caller_path"));
    all.push(attempt("HTTP/1.0", with(get("/erp/x").http10()), 403, "caller_path"));
    all
}

/// The lines of the access log, by the request id that the client chose.
async fn lines(attache: &Attache, count: usize) -> BTreeMap<String, Value> {
    let read = async || {
        let text = attache.stdout_text();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let of_attempts: BTreeMap<String, Value> = lines
            .filter_map(|line| Some((line["request_id"].as_str()?.to_owned(), line)))
            .filter(|(id, _)| id.starts_with("attempt-"))
            .collect();
        (of_attempts.len() >= count).then_some(of_attempts)
    };
    eventually("the access log", read).await
}

#[tokio::test]
async fn no_attempt_without_a_right_gets_through_and_each_is_logged_and_counted() {
    let at = Topology::enforcing().await;
    let tokens = &at.tokens;
    let attempts = [without_proof(tokens), bad_jwts(tokens), without_right(tokens)].into_iter().flatten();
    let attempts: Vec<Attempt> = attempts.collect();
    assert!(attempts.len() >= 120, "{}", attempts.len());
    let mut wrong = Vec::new();
    for (number, attempt) in attempts.iter().enumerate() {
        let request = attempt.request.clone().header("X-Request-Id", format!("attempt-{number}"));
        let answer = at.attache.send(request).await;
        let challenge = match answer.status {
            401 => answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")),
            407 => answer.header("proxy-authenticate").is_some_and(|value| value.starts_with("Basic")),
            _ => answer.header("www-authenticate").is_none(),
        };
        if answer.status != attempt.status || !challenge {
            wrong.push(format!("{}: {} instead of {}", attempt.name, answer.status, attempt.status));
        }
    }
    let lines = lines(&at.attache, attempts.len()).await;
    let mut counts: BTreeMap<&str, f64> = BTreeMap::new();
    for (number, attempt) in attempts.iter().enumerate() {
        let reason = &lines[&format!("attempt-{number}")]["reason"];
        if *reason != attempt.reason {
            wrong.push(format!("{}: {reason} instead of {}", attempt.name, attempt.reason));
        }
        *counts.entry(attempt.reason).or_default() += 1.0;
    }
    let metrics = at.attache.metrics().await;
    for (reason, count) in counts {
        let of =
            |caller| metrics.value("attache_caller_refused_total", &[("caller", caller), ("reason", reason)]);
        let counted = of("").unwrap_or(0.0) + of("billing").unwrap_or(0.0);
        if counted != count {
            wrong.push(format!("{reason}: {counted} counted instead of {count}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(at.reached(), 0);
}

#[tokio::test]
async fn each_way_of_proving_a_caller_lets_it_in_and_stays_here() {
    let at = Topology::enforcing().await;
    let token = at.tokens.good.as_str();
    let signed = jwt(&at.tokens.key, json!({}));
    let mut sent = 0;
    for (target, name, value) in [
        ("/erp/contacts/1?x=%2e", "X-Attache-Token", token.to_owned()),
        ("/erp/contacts", "x-attache-TOKEN", token.to_owned()),
        ("/erp/me", "Authorization", bearer(token)),
        ("/erp/me", "authorization", format!("bEARER  {token}")),
        ("/erp/me", "Proxy-Authorization", bearer(token)),
        ("/erp/me", "Proxy-Authorization", basic("anything", token)),
        ("http://erp.internal/me", "Proxy-Authorization", basic("", token)),
        ("/erp/me", "Authorization", bearer(&signed)),
        ("/erp/me", "X-Attache-Token", signed.clone()),
        ("/erp/me", "Proxy-Authorization", basic("jwt", &signed)),
    ] {
        let answer = at.attache.send(get(target).header(name, value.as_str())).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        sent += 1;
        let received = at.erp.requests().pop().expect("a request");
        for name in ["x-attache-token", "authorization", "proxy-authorization"] {
            assert_eq!(received.header(name), None, "{name}");
        }
    }
    let metrics = at.attache.metrics().await;
    let labels = [("caller", "billing"), ("service", "erp")];
    assert_eq!(metrics.value("attache_caller_requests_total", &labels), Some(f64::from(sent)));
    let status = at.attache.status().await;
    let billing = &status["callers"]["billing"];
    assert_eq!((&billing["requests"], &billing["tokens"][0]["state"]), (&json!(sent), &json!("active")));
    assert!(billing["tokens"][0]["last_used_at"].is_string() && billing["tokens"][1]["state"] == "expired");
    assert_eq!(billing["services"]["erp"]["account"], "erp-billing");
    assert_eq!(
        status["callers"]["admin"]["services"],
        json!({ "*": { "methods": [], "paths": [], "account": null } })
    );
    let line = at.attache.access_log_line("a request", |line| line["path"] == "/erp/me").await;
    assert_eq!(
        (&line["caller"], &line["key_id"], &line["account"], &line["reason"]),
        (&json!("billing"), &json!("now"), &json!("erp-billing"), &Value::Null)
    );
}

#[tokio::test]
async fn an_account_of_a_caller_opens_the_service_for_it_alone() {
    let at = Topology::enforcing().await;
    let as_caller = |token: &str| get("/erp/me").header("X-Attache-Token", token);
    // On one connection the next request begins after the upstream's connection is back in the pool.
    let mut client = Connection::open(at.attache.outbound()).await;
    for token in [&at.tokens.good, &at.tokens.admin, &at.tokens.good] {
        assert_eq!(client.exchange(as_caller(token)).await.status, 200);
    }
    let requests = at.erp.requests();
    let keys: Vec<&str> = requests.iter().filter_map(|request| request.header("x-key")).collect();
    assert!(keys[0].contains("-billing-") && keys[1].contains("-erp-") && keys[2] == keys[0], "another key");
    let connections: Vec<usize> = requests.iter().map(|request| request.connection).collect();
    assert_ne!(connections[0], connections[1], "a connection is shared only within one account");
    assert_eq!(connections[0], connections[2]);
}

#[tokio::test]
async fn a_refusal_is_logged_with_the_account_of_its_caller() {
    let third_party = third_party();
    let token = webhook_key();
    let yaml = "
        accounts:
          erp: { authorization: none }
          erp-billing: { authorization: { bearer: { file: missing } } }
        callers:
          billing: { tokens: [{ id: a, sha256: {{token}} }], services: { erp: { account: erp-billing } } }
        services: { erp: { account: erp, server_url: '{{third_party}}' } }";
    let setup = attache().given("third_party", third_party.url()).given("token", sha256_hex(&token));
    let attache = setup.with(yaml).await;
    let answer = attache.send(get("/erp/x").header("X-Attache-Token", token.as_str())).await;
    answer.problem("credential_unavailable", 503, "proxy_configuration_error");
    let line = attache.access_log_line("the refusal", |line| line["path"] == "/erp/x").await;
    assert_eq!((&line["caller"], &line["account"]), (&json!("billing"), &json!("erp-billing")));
}

#[tokio::test]
async fn a_field_that_holds_a_token_is_not_forwarded_and_the_clients_own_is() {
    let at = Topology::enforcing().await;
    let t = &at.tokens;
    let of_known_key = jwt(&t.key, json!({}));
    let of_unknown_key = signed(&new_key(), &json!({ "alg": "ES256", "kid": "newer" }), &claims(json!({})));
    let own = jwt(&t.key, json!({ "aud": "https://provider.example" }));
    let request = get("/open/x")
        .header("X-Attache-Token", t.good.as_str())
        .header("X-One", t.good.as_str())
        .header("X-Two", format!("Bearer {}", t.admin))
        .header("X-Three", t.past.as_str())
        .header("X-Four", of_known_key.as_str())
        .header("X-Five", of_unknown_key.as_str())
        .header("Cookie", format!("a=b; session={}", t.admin))
        .header("Referer", format!("https://a.example/x/{}/y", t.admin))
        .header("X_Attache_Token", t.admin.as_str())
        // Another option of the field still names one that stays here.
        .header("Connection", format!("X-Six, {}", t.admin))
        .header("X-Six", "1")
        .header("X-Own", own.as_str())
        .header("Authorization", bearer("the-providers-own-token"));
    assert_eq!(at.attache.send(request).await.status, 200);
    let received = at.open.only_request().await;
    for name in
        ["x-one", "x-two", "x-three", "x-four", "x-five", "x-six", "referer", "cookie", "x_attache_token"]
    {
        assert_eq!(received.header(name), None, "{name}");
    }
    assert_eq!(received.header("authorization"), Some("Bearer the-providers-own-token"));
    assert_eq!(received.header("x-own"), Some(own.as_str()));
    for value in [basic("x", &t.admin), basic(&t.good, ""), bearer(&t.admin)] {
        let request =
            get("/open/y").header("X-Attache-Token", t.good.as_str()).header("Authorization", value);
        assert_eq!(at.attache.send(request).await.status, 200);
        assert_eq!(at.open.requests().pop().expect("a request").header("authorization"), None);
    }
    // Neither the path in the log nor the request id shows it.
    for token in [&t.good, &t.admin] {
        let request = get(format!("/bank/a,{token}/x")).header("X-Attache-Token", t.good.as_str());
        let answer = at.attache.send(request.header("X-Request-Id", token.as_str())).await;
        assert_ne!(answer.request_id(), token);
        at.attache.access_log_line("the path", |line| line["path"] == "/bank/a,{token}/x").await;
    }
    let metrics = at.attache.metrics().await;
    let spoofed = [("direction", "outbound"), ("service", "open"), ("kind", "identity")];
    assert_eq!(
        metrics.value("attache_reserved_headers_dropped_total", &spoofed),
        None,
        "a proof is no attempt at spoofing"
    );
}

#[tokio::test]
async fn a_header_that_could_state_another_method_or_path_is_dropped_where_they_are_restricted() {
    let at = Topology::enforcing().await;
    let with = |target: &str| {
        let request = post(target, "x").header("X-Attache-Token", at.tokens.good.as_str());
        request
            .header("X-HTTP-Method-Override", "DELETE")
            .header("X_HTTP_Method", "PUT")
            .header("X-Original-URL", "/x")
    };
    assert_eq!(at.attache.send(with("/erp/contacts")).await.status, 200);
    let received = at.erp.only_request().await;
    for name in ["x-http-method-override", "x_http_method", "x-original-url"] {
        assert_eq!(received.header(name), None, "{name}");
    }
    assert_eq!(at.attache.send(with("/open/x")).await.status, 200);
    assert_eq!(at.open.only_request().await.header("x-http-method-override"), Some("DELETE"));
}

#[tokio::test]
async fn report_lets_everything_through_and_says_what_it_lacks() {
    let at = Topology::with("caller_rules: report", "").await;
    let t = &at.tokens;
    let attempts = [
        attempt("nothing", get("/bank/x"), 200, "no_proof"),
        // A word as the proof does not hide the method from the log.
        attempt(
            "unknown",
            request("DELETE", "/bank/x").header("X-Attache-Token", "DELETE"),
            200,
            "unknown_token",
        ),
        attempt("expired", get("/bank/x").header("Authorization", bearer(&t.past)), 200, "token_expired"),
        attempt("service", get("/bank/x").header("Authorization", bearer(&t.good)), 200, "caller_service"),
        attempt(
            "method",
            request("DELETE", "/erp/me").header("X-Attache-Token", t.good.as_str()),
            200,
            "caller_method",
        ),
        attempt("path", get("/erp/admin").header("X-Attache-Token", t.good.as_str()), 200, "caller_path"),
        attempt("no such service", get("/nowhere"), 404, "destination_not_found"),
    ];
    for (number, attempt) in attempts.iter().enumerate() {
        let request = attempt.request.clone().header("X-Request-Id", format!("attempt-{number}"));
        assert_eq!(at.attache.send(request).await.status, attempt.status, "{}", attempt.name);
    }
    let lines = lines(&at.attache, attempts.len()).await;
    for (number, attempt) in attempts.iter().enumerate() {
        let line = &lines[&format!("attempt-{number}")];
        assert_eq!(line["reason"], attempt.reason, "{}: {line:#}", attempt.name);
    }
    assert_eq!(lines["attempt-1"]["method"], "DELETE");
    let metrics = at.attache.metrics().await;
    let refused = |caller, reason| {
        metrics.value("attache_caller_refused_total", &[("caller", caller), ("reason", reason)])
    };
    assert_eq!((refused("", "no_proof"), refused("billing", "caller_service")), (Some(2.0), Some(1.0)));
    assert_eq!(refused("billing", "token_expired"), Some(1.0));
    let keys: Vec<String> =
        at.erp.requests().iter().filter_map(|request| request.header("x-key").map(str::to_owned)).collect();
    assert!(keys.iter().all(|key| key.contains("-billing-")), "the caller's own account");
    // An unknown `Authorization` may be the client's own.
    let own = get("/open/x").header("Authorization", "Bearer the-providers-own-token");
    assert_eq!(at.attache.send(own).await.status, 200);
    assert_eq!(at.open.only_request().await.header("authorization"), Some("Bearer the-providers-own-token"));
    at.attache.stderr_line("lacks a proof or a right").await;
    // A token for attache is none of them, also while its issuer's keys are not known.
    let newer = signed(&new_key(), &json!({ "alg": "ES256", "kid": "newer" }), &claims(json!({})));
    assert_eq!(at.attache.send(get("/open/y").header("Authorization", bearer(&newer))).await.status, 200);
    assert_eq!(at.open.requests().pop().expect("a request").header("authorization"), None);
}

#[tokio::test]
async fn limits_of_a_caller_hold_under_report_and_outlive_a_reload() {
    let at = Topology::with("caller_rules: report", "rate_limit: { requests: 2, per: 1h }").await;
    let ask = || get("/open/x").header("X-Attache-Token", at.tokens.good.as_str());
    for _ in 0..2 {
        assert_eq!(at.attache.send(ask()).await.status, 200);
    }
    let answer = at.attache.send(ask()).await;
    answer.problem("rate_limited", 429, "connection_limit_reached");
    assert!(answer.header("retry-after").is_some());
    let yaml = YAML.replace("paths: [/contacts*, /me]", "paths: [/contacts*]");
    at.attache.reload(&yaml, "applied").await;
    at.attache.send(ask()).await.problem("rate_limited", 429, "connection_limit_reached");
    let other = get("/open/x").header("X-Attache-Token", at.tokens.admin.as_str());
    assert_eq!(at.attache.send(other).await.status, 200);
}

#[tokio::test]
async fn a_caller_has_a_number_of_requests_at_a_time() {
    let at = Topology::with("", "max_concurrent: 1").await;
    at.open.does(|_| vec![Step::Hang]);
    let ask = || get("/open/x").header("X-Attache-Token", at.tokens.good.as_str());
    let mut first = Connection::open(at.attache.outbound()).await;
    let head = format!("GET /open/x HTTP/1.1\r\nHost: a\r\nX-Attache-Token: {}\r\n\r\n", at.tokens.good);
    first.write(head.as_bytes()).await;
    at.open.head(0).await;
    let answer = at.attache.send(ask()).await;
    answer.problem("overloaded", 503, "connection_limit_reached");
    assert!(answer.header("retry-after").is_some());
    drop(first);
    at.open.does(|_| vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec())]);
    let free = async || (at.attache.send(ask()).await.status == 200).then_some(());
    eventually("the first request to end", free).await;
}

#[tokio::test]
async fn a_callers_tunnels_are_not_counted_by_its_max_concurrent() {
    let at = Topology::with("", "max_concurrent: 1").await;
    let echo = third_party().websocket_echo();
    let yaml = YAML.replace("'{{open}}'", &format!("'{}'", echo.url()));
    at.attache.reload(&yaml, "applied").await;
    let upgrade = format!(
        "GET /open/x HTTP/1.1\r\nHost: x\r\nX-Attache-Token: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        at.tokens.good
    );
    let mut tunnels = Vec::new();
    for _ in 0..3 {
        let mut connection = Connection::open(at.attache.outbound()).await;
        connection.write(upgrade.as_bytes()).await;
        assert!(connection.head().await.start.starts_with(b"HTTP/1.1 101"));
        tunnels.push(connection);
    }
}

/// The address of a running listener does not change by a reload.
#[tokio::test]
async fn callers_cannot_be_removed_while_other_machines_reach_the_listener() {
    let third_party = third_party();
    let yaml = "
        listen: { outbound: 0.0.0.0:0, webhooks: 127.0.0.1:0, admin: 127.0.0.1:0 }
        callers: { billing: { tokens: [{ id: a, sha256: {{token}} }], services: '*' } }
        services: { mailer: { account: { authorization: none }, server_url: '{{third_party}}' } }";
    let setup = attache().given("third_party", third_party.url()).given("token", sha256_hex(&webhook_key()));
    let attache = setup.with(yaml).await;
    let ask = || get("/mailer/x");
    assert_eq!(attache.send(ask()).await.status, 401);
    let open = "
        listen: { outbound: 127.0.0.1:0, webhooks: 127.0.0.1:0, admin: 127.0.0.1:0 }
        services: { mailer: { account: { authorization: none }, server_url: '{{third_party}}' } }";
    attache.reload(open, "rejected").await;
    assert_eq!(attache.send(ask()).await.status, 401);
    attache.stderr_line("reachable from other machines").await;
    let allowed = open.replace("services:", "allow_anonymous_callers: true\n        services:");
    attache.reload(&allowed, "needs_restart").await;
    assert_eq!(attache.send(ask()).await.status, 200);
}

#[tokio::test]
async fn a_token_that_is_removed_or_disabled_is_refused_after_the_reload() {
    let at = Topology::enforcing().await;
    let ask = || get("/open/x").header("X-Attache-Token", at.tokens.good.as_str());
    assert_eq!(at.attache.send(ask()).await.status, 200);
    at.attache
        .reload(
            &YAML.replace("{ id: now, sha256: {{good}} }", "{ id: now, sha256: {{good}}, disabled: true }"),
            "applied",
        )
        .await;
    at.attache.send(ask()).await.problem("caller_unauthenticated", 401, "http_request_denied");
    at.attache.reload(YAML, "applied").await;
    assert_eq!(at.attache.send(ask()).await.status, 200);
    let gone = YAML.replace("  admin:\n", "  root:\n");
    let metric = async || {
        let metrics = at.attache.metrics().await;
        metrics.0.contains("caller=\"admin\"")
    };
    assert_eq!(
        at.attache.send(get("/open/x").header("X-Attache-Token", at.tokens.admin.as_str())).await.status,
        200
    );
    assert!(metric().await);
    at.attache.reload(&gone, "applied").await;
    assert!(!metric().await, "the series of a removed caller");
}
