//! A black box around the binary: real processes, real sockets, bytes as they are on the wire.
//!
//! A test reads as a topology and one assertion:
//!
//! ```ignore
//! let third_party = third_party().hangs();
//! let attache = attache_for(&third_party, "timeout: 500ms").await;
//! let answer = attache.send(get("/mailer/x")).await;
//! assert_eq!(answer.status, 504);
//! ```
//!
//! **Leaks.** Every secret of a test comes from [`secret`] or [`webhook_key`] and so carries a marker. The client
//! looks for the marker (plain, in any case, base64, hex) in every byte it is sent; [`Attache`] looks for it in
//! stdout, stderr, `/metrics`, `/status` and the status page when it is dropped; [`app`] looks for it in everything our own
//! program is sent, [`third_party`] for webhook keys. So a leak fails a test that never thought of it, and because of the
//! marker no registry, and no global state, is needed.
//!
//! **Causes.** When it is dropped, [`Attache`] looks at every line of the access log: a failure without a documented
//! reason fails the test.
//!
//! **Time.** Nothing sleeps to let something happen: it waits for the thing itself, up to [`PATIENCE`].

mod attache;
mod causes;
mod client;
mod haproxy;
mod interactive;
mod leaks;
mod nginx;
mod peer;
mod prometheus;
mod stub;
mod tls;
mod token_endpoint;
mod vendor;
mod wire;

pub(crate) use attache::{Attache, Finished, Setup, attache, attache_for, command, mailer};
pub(crate) use client::{Connection, Request, Response, get, post, request, send, try_send};
pub(crate) use haproxy::Haproxy;
pub(crate) use interactive::{Interactive, interactive};
pub(crate) use leaks::{assert_no_leak, secret, sha256_hex, webhook_key};
pub(crate) use nginx::Nginx;
pub(crate) use peer::{Peer, curl, node, python, python_client};
pub(crate) use prometheus::Prometheus;
pub(crate) use stub::{Received, Step, Stub, app, blackhole, refused, third_party};
pub(crate) use tls::{CertificateAuthority, Flaw};
pub(crate) use token_endpoint::{TokenEndpoint, json, token_endpoint};
pub(crate) use vendor::{Vendor, hex, mac, vendor, vendor_with, vendor_yaml};

use std::io::Write as _;
use std::time::{Duration, Instant};

/// How long anything may take that is only waited for: generous, because machines are shared.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// `future`, or a failed test that says what was waited for.
pub(crate) async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {limit:?} in vain for {what}"),
    }
}

/// Asks again and again until there is an answer: for what can only be seen by looking (a metric, an exit).
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    loop {
        tick.tick().await;
        if let Some(value) = probe().await {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain for {what}");
    }
}

/// Returns true if tests run in full, with `ATTACHE_FULL=1`; else says what is skipped.
pub(crate) fn full(what: &str) -> bool {
    let full = std::env::var_os("ATTACHE_FULL").is_some_and(|value| value == "1");
    if !full {
        // Not `println!`, which a passing test swallows.
        writeln!(std::io::stderr(), "skipped without ATTACHE_FULL=1: {what}").expect("stderr");
    }
    full
}

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
