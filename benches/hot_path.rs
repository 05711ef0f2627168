//! Parts of the request path: plans, paths, header cleaning, signatures, the access log and the metrics.
//!
//! `cargo bench --bench hot_path`. Compare the figures of one run with each other; machines differ.

use attache::config::model::{
    Account, ApiKey, Authorization, Host, Outbound, RedactionScope, ServerUrl, ServiceRules, ServiceTls,
    UsedProxy, User, Webhook,
};
use attache::credentials::{Credential, ResponseRedaction};
use attache::header_name::FieldName;
use attache::jwt::key_set::KeySet;
use attache::jwt::verify::UnverifiedToken;
use attache::jwt::{Algorithm, SigningKey};
use attache::message::redact::RedactedStream;
use attache::message::{Fields, Framing};
use attache::outbound::Routes;
use attache::outbound::path::has_dot_segment;
use attache::proxy::bench::{clean_request, kept_in_response};
use attache::route::{Carried, Parts, Route};
use attache::secret::{Secret, hex, sha256};
use attache::signature::{Delivery, Scheme, Trace, Verifier};
use attache::telemetry::access_log::{AccessLog, Outcome};
use attache::telemetry::metrics::{Direction, ServiceStats};
use attache::transport::Transport;
use attache::webhook::address::Client;
use attache::webhook::admission::{self, Call, Webhooks};
use attache::webhook::endpoint::Endpoint;
use attache::webhook::fetched_keys::KnownKeys;
use attache::webhook::identity::Reserved;
use attache::webhook::keys::KeyTable;
use attache::webhook::rate::UnknownKeyLimiter;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use ring::hmac;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Map, Value, json};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

fn table(keys: usize) -> KeyTable {
    let user = Arc::new(User { key: "bot".into(), name: None, active: true });
    let forward_to = ServerUrl {
        tls: false,
        host: Host::Ip([127, 0, 0, 1].into()),
        port: 80,
        authority: "127.0.0.1".into(),
        path: "/hook".into(),
    };
    let webhook = Webhook::new(user, forward_to, Vec::new());
    let route =
        Arc::new(Route::webhook("mailer", &webhook, Carried::default(), &mut Parts::new(&Transport::new(8))));
    let endpoint = Arc::new(Endpoint::new(route, &webhook, None));
    let keys: Vec<ApiKey> =
        (0..keys).map(|n| ApiKey::new("2026-11", sha256(format!("key-{n}").as_bytes()))).collect();
    KeyTable::new(vec![(endpoint, &keys)], None)
}

fn keys(c: &mut Criterion) {
    let mut group = c.benchmark_group("webhook plan");
    let (unknown_keys, fields) = (UnknownKeyLimiter::new(None, None), Fields::default());
    for size in [10, 10_000, 1_000_000] {
        let table = table(size);
        let target = format!("/webhooks/key-{}/rest?query", size / 2);
        let call = Call {
            method: &Method::POST,
            target: target.as_bytes(),
            fields: &fields,
            body: Framing::Empty,
            websocket: false,
            client: Client { address: None, https: false, forwarded: false },
            now: SystemTime::now(),
            uptime: Duration::ZERO,
        };
        let webhooks = Webhooks {
            keys: &table,
            unknown_keys: &unknown_keys,
            public_url: None,
            fetched: KnownKeys::default(),
            asserts: false,
        };
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| admission::open(black_box(&webhooks), black_box(&call)).is_ok());
        });
    }
    group.finish();
}

/// Measures a GitHub delivery of 64 KiB against its HMAC alone.
fn signatures(c: &mut Criterion) {
    let mut group = c.benchmark_group("64 KiB");
    let body = vec![b'x'; 64 << 10];
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"a secret of the bench");
    let tag = hmac::sign(&key, &body);
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_str(&format!("sha256={}", hex(tag.as_ref()))).expect("a value");
    headers.insert("x-hub-signature-256", value);
    let secret = Secret::new("a secret of the bench");
    let tolerance = Verifier::DEFAULT_TOLERANCE;
    let verifier = Verifier::new(Scheme::Github, &[secret], tolerance).expect("a verifier");
    let delivery =
        Delivery { method: "POST", target: b"/webhooks/k", public_url: None, headers: &headers, body: &body };
    group.bench_function("ring's HMAC alone", |b| {
        b.iter(|| hmac::verify(&key, black_box(&body), tag.as_ref()).is_ok());
    });
    group.bench_function("a GitHub signature", |b| {
        b.iter(|| {
            verifier.verify_at(black_box(&delivery), SystemTime::now(), &mut Trace::off()).expect("good")
        });
    });
    group.finish();
}

fn paths(c: &mut Criterion) {
    let path = b"/v3/accounts/12345/messages/67890%20x";
    c.bench_function("dot segments", |b| b.iter(|| has_dot_segment(black_box(path))));
    let reserved = ["x-attache-user", "x-attache-service", "x-attache-key-id"].map(HeaderName::from_static);
    let reserved = Reserved::new(reserved.iter());
    let names =
        ["host", "user-agent", "accept", "content-type", "content-length", "x-request-id", "traceparent"];
    c.bench_function("reserved names, seven headers", |b| {
        b.iter(|| names.iter().filter(|name| reserved.contains(black_box(name))).count());
    });
}

fn outbound_route() -> Route {
    let authorization = Authorization::Headers(vec![(
        FieldName::from_static("X-API-KEY"),
        HeaderValue::from_static("secret"),
    )]);
    let account =
        Arc::new(Account { name: "mailer".into(), authorization, headers: [].into(), unread: None });
    let credential = Credential::new(&account, |_| unreachable!("not an OAuth2 account"));
    let outbound = Outbound {
        account: Arc::clone(&account),
        server_url: ServerUrl {
            tls: true,
            host: Host::Name("api.mailer.example".into()),
            port: 443,
            authority: "api.mailer.example".into(),
            path: "/v3".into(),
        },
        connect_timeout: None,
        timeout: Duration::from_secs(10),
        timeout_message: None,
        timeout_response: None,
        idle_timeout: Duration::from_secs(60),
        retry_on_401: true,
        rules: ServiceRules::default(),
        unread: None,
        proxy: UsedProxy::default(),
        retries: None,
        tls: ServiceTls::default(),
        private_network: false,
        allow_plaintext: false,
        hosts: Vec::new(),
        rewrite_links: true,
        redact_responses: None,
    };
    Route::outbound(
        "mailer",
        &outbound,
        (&account, Arc::new(credential)),
        Carried::default(),
        &mut Parts::new(&Transport::new(8)),
    )
}

fn outbound(c: &mut Criterion) {
    let routes = Routes::new([Arc::new(outbound_route())]);
    let target = b"/mailer/accounts/12345/messages/67890%20x?limit=20&page=3";
    let fields = Fields::collect([(&b"Host"[..], &b"127.0.0.1:8080"[..])]);
    let call = attache::outbound::Call { method: &Method::GET, target, fields: &fields, absolute: false };
    c.bench_function("outbound plan", |b| b.iter(|| routes.plan(black_box(&call)).is_ok()));
    let routes = routes.with_hosts([("mailer.internal", "mailer")]);
    c.bench_function("outbound plan with `hosts`", |b| b.iter(|| routes.plan(black_box(&call)).is_ok()));
    let route = outbound_route();
    let rest = b"/accounts/12345/messages/67890%20x?limit=20&page=3";
    c.bench_function("path join", |b| b.iter(|| route.upstream.target(black_box(rest))));
}

fn header_cleaning(c: &mut Criterion) {
    let fields = |list: &[(&str, &str)]| {
        Fields::collect(list.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
    };
    let request = fields(&[
        ("Host", "localhost:8080"),
        ("User-Agent", "client/1.0"),
        ("Accept", "application/json"),
        ("Accept-Encoding", "gzip, br"),
        ("Connection", "keep-alive"),
        ("Content-Type", "application/json"),
        ("Content-Length", "512"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ]);
    let reserved = ["x-attache-user", "x-attache-service", "x-attache-key-id"].map(HeaderName::from_static);
    let reserved = Reserved::new(reserved.iter());
    let replaced = ["x-api-key".to_owned()];
    c.bench_function("header cleaning, request of eight fields", |b| {
        b.iter_batched_ref(
            || request.clone(),
            |fields| clean_request(fields, black_box(&reserved), black_box(&replaced)),
            BatchSize::SmallInput,
        );
    });
    let response = fields(&[
        ("Date", "Thu, 26 Nov 2026 12:00:00 GMT"),
        ("Content-Type", "application/json"),
        ("Content-Length", "2048"),
        ("Connection", "keep-alive"),
        ("Keep-Alive", "timeout=5"),
        ("Cache-Control", "no-store"),
        ("ETag", "\"0123456789abcdef\""),
        ("Vary", "Accept"),
    ]);
    c.bench_function("header cleaning, response of eight fields", |b| {
        b.iter(|| kept_in_response(black_box(&response)));
    });
}

/// Measures the search for copies of a credential in 64 KiB of JSON, without one and with one in each KiB.
fn redaction(c: &mut Criterion) {
    let credential = Credential::Headers(
        [(
            FieldName::from_static("Authorization"),
            HeaderValue::from_static("Bearer tok_51H8vQ2eZvKYlo2C/0+abc"),
        )]
        .into(),
    );
    let redaction = ResponseRedaction::new(RedactionScope::Body, &credential, &[]);
    let redactor = redaction.redactor(None).expect("a credential");
    let plain = br#"{"id":"msg_01H8","subject":"Quarterly report","token":"tok_other","n":42},"#.repeat(900);
    let mut copies = plain.clone();
    for at in (0..copies.len() - 64).step_by(1024) {
        copies[at..at + 29].copy_from_slice(b"tok_51H8vQ2eZvKYlo2C/0+abc   ");
    }
    let mut group = c.benchmark_group("redaction");
    for (name, body) in [("64 KiB without a copy", &plain), ("64 KiB with 64 copies", &copies)] {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| RedactedStream::new(Arc::clone(&redactor)).add(black_box(body)).len());
        });
    }
    group.finish();
}

/// Measures the metrics of one request, from its start to its end.
fn metrics(c: &mut Criterion) {
    let stats: Arc<ServiceStats> = Arc::default();
    let (total, headers) = (Duration::from_micros(12_345), Some(Duration::from_micros(12_000)));
    c.bench_function("metrics, started and finished", |b| {
        b.iter(|| black_box(&stats).started().finished(black_box(200), None, total, headers));
    });
}

/// Measures one line, formatted and queued; a thread writes it to `/dev/null`.
fn access_log(c: &mut Criterion) {
    let log = AccessLog::file("/dev/null".as_ref()).expect("/dev/null");
    let outcome = Outcome {
        time: SystemTime::now(),
        direction: Direction::Outbound,
        service: "mailer",
        account: Some("mailer"),
        caller: None,
        user: None,
        key_id: None,
        method: "POST",
        path: b"/mailer/v3/accounts/12345/messages",
        status: 200,
        code: None,
        bytes_in: 512,
        bytes_out: 2048,
        duration: Duration::from_micros(12_345),
        response_headers: Some(Duration::from_micros(12_000)),
        token_wait: None,
        upstream: Some(([203, 0, 113, 7], 443).into()),
        retried: false,
        request_id: "01920f3e-7a3c-7def-8123-456789abcdef",
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        client: Some([192, 0, 2, 1].into()),
        phase: None,
        reason: None,
        delivery_id: None,
    };
    c.bench_function("access_log", |b| b.iter(|| log.write(black_box(&outcome))));
}

/// Measures the verification of a JWT from its text to its claims, by the algorithm of its key, and the look-up of a token
/// beside it.
fn caller_proofs(c: &mut Criterion) {
    let mut group = c.benchmark_group("proof of a caller");
    let text = b"att_instructions_of_the_bench_0050_0050";
    group.bench_function("SHA-256 of a token", |b| b.iter(|| sha256(black_box(text))));
    let object = |value: Value| value.as_object().cloned().expect("an object");
    let now = SystemTime::now();
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_secs();
    let claims = object(json!({
        "iss": "https://kubernetes.default.svc.cluster.local",
        "sub": "system:serviceaccount:billing:default",
        "aud": ["attache"],
        "iat": seconds, "nbf": seconds, "exp": seconds + 3600,
        "jti": "a0d6e1f2-7f6c-4b8c-9b59-1d6d2f6b7c1e",
        "kubernetes.io": {
            "namespace": "billing",
            "pod": { "name": "billing-6d4cf56db6-7xk2p", "uid": "a3c5f0a1-1f0e-4a55-8f5c-0b8a1f3d9e77" },
            "serviceaccount": { "name": "default", "uid": "b7e4c8d2-93a6-4b1d-a1f4-2e7f6c5d4b3a" },
        },
    }));
    let audiences = ["attache".to_owned()];
    for (name, algorithm, pem) in [
        ("RS256, 2048 bits", Algorithm::Rs256, include_str!("../tests/config_cases/secrets/rsa.pem")),
        ("ES256", Algorithm::Es256, include_str!("../tests/config_cases/secrets/p256.pem")),
        ("EdDSA", Algorithm::EdDsa, include_str!("../tests/config_cases/secrets/ed25519.pem")),
    ] {
        let key = SigningKey::from_pem(pem, Some(algorithm)).expect("a key");
        let token = key.sign(object(json!({ "kid": "one", "typ": "JWT" })), &claims).expect("a token");
        let mut jwk = public_jwk(pem);
        jwk.insert("kid".to_owned(), "one".into());
        let keys = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).expect("a key set");
        let verify = |token: &[u8]| {
            let token = UnverifiedToken::parse(token)?;
            token.verify(&keys, "https://kubernetes.default.svc.cluster.local", &audiences, now)
        };
        assert!(verify(token.expose().as_bytes()).is_ok(), "{name}");
        group.bench_function(BenchmarkId::new("JWT", name), |b| {
            b.iter(|| verify(black_box(token.expose().as_bytes())).is_ok());
        });
    }
    group.finish();
}

/// Returns the public half of a key, as an issuer publishes it.
fn public_jwk(pem: &str) -> Map<String, Value> {
    let key = SigningKey::from_pem(pem, None).expect("a key");
    key.public_jwk().unwrap_or_else(|| {
        let der = rustls_pki_types::PrivatePkcs1KeyDer::from_pem_slice(pem.as_bytes()).expect("PKCS #1");
        let pair = ring::rsa::KeyPair::from_der(der.secret_pkcs1_der()).expect("an RSA key");
        let public: ring::rsa::PublicKeyComponents<Vec<u8>> = pair.public().into();
        let encode = |bytes: &[u8]| Value::from(BASE64_URL_SAFE_NO_PAD.encode(bytes));
        let members = [("kty", "RSA".into()), ("n", encode(&public.n)), ("e", encode(&public.e))];
        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    })
}

criterion_group!(
    benches,
    keys,
    caller_proofs,
    outbound,
    paths,
    header_cleaning,
    redaction,
    signatures,
    access_log,
    metrics
);
criterion_main!(benches);
