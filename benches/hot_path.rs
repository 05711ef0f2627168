//! What a request costs before it leaves: the plan of an outbound request, the look-up of a webhook key.
//!
//! `cargo bench --bench hot_path`. Compare the figures of one run with each other; machines differ.

use attache::config::model::{ApiKey, Host, IdentityHeaders, ServerUrl, User, Webhook};
use attache::outbound::path::has_dot_segment;
use attache::route::Route;
use attache::secret::sha256;
use attache::webhook;
use attache::webhook::identity::Reserved;
use attache::webhook::keys::{Key, KeyTable};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::{HeaderName, Method};
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
    let webhook = Webhook {
        user: Arc::clone(&user),
        forward_to,
        api_keys: Vec::new(),
        methods: vec![Method::POST],
        max_body: 1 << 20,
        timeout: Duration::from_secs(10),
    };
    let route = Arc::new(Route::webhook("mailer", &webhook, Arc::default()));
    KeyTable::new((0..keys).map(|n| {
        let hash = sha256(format!("key-{n}").as_bytes());
        let key = ApiKey { id: "k".into(), sha256: hash, value: None, not_before: None, expires_at: None };
        (hash, Arc::new(Key::new(&key, Arc::clone(&user), Arc::clone(&route), Arc::default())))
    }))
}

fn keys(c: &mut Criterion) {
    let mut group = c.benchmark_group("webhook plan");
    for size in [10, 10_000, 1_000_000] {
        let table = table(size);
        let target = format!("/webhooks/key-{}/rest?query", size / 2);
        let now = SystemTime::now();
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| webhook::plan(black_box(&table), &Method::POST, target.as_bytes(), now).is_ok());
        });
    }
    group.finish();
}

fn paths(c: &mut Criterion) {
    let path = b"/v3/accounts/12345/messages/67890%20x";
    c.bench_function("dot segments", |b| b.iter(|| has_dot_segment(black_box(path))));
    let reserved = Reserved::new(&IdentityHeaders {
        user: HeaderName::from_static("x-attache-user"),
        service: HeaderName::from_static("x-attache-service"),
        key_id: HeaderName::from_static("x-attache-key-id"),
    });
    let names =
        ["host", "user-agent", "accept", "content-type", "content-length", "x-request-id", "traceparent"]
            .map(HeaderName::from_static);
    c.bench_function("reserved names, seven headers", |b| {
        b.iter(|| names.iter().filter(|name| reserved.contains(black_box(name))).count());
    });
}

criterion_group!(benches, keys, paths);
criterion_main!(benches);
