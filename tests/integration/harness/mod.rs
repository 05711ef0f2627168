//! The test harness: real processes, real sockets, exact bytes.
//!
//! A test consists of a topology and one assertion:
//!
//! ```ignore
//! let third_party = third_party().hangs();
//! let attache = attache_for(&third_party, "timeout: 500ms").await;
//! let answer = attache.send(get("/mailer/x")).await;
//! assert_eq!(answer.status, 504);
//! ```
//!
//! **Leaks.** Every secret of a test comes from [`secret`] or [`webhook_key`] and so contains a marker. The client
//! searches for the marker (plain, in any case, base64, hex) in every byte it receives; [`Attache`] searches for it in
//! stdout, stderr, `/metrics`, `/status` and the status page when it is dropped; [`app`] searches for it in everything that the receiver
//! gets, [`third_party`] for webhook keys. So a leak fails every test, and because of the marker no registry, and no
//! global state, is needed.
//!
//! **Causes.** When it is dropped, [`Attache`] reads every line of the access log: a failure without a documented
//! reason fails the test.
//!
//! **Time.** No test sleeps to let something happen: it waits for the event itself, up to [`PATIENCE`].

pub(crate) mod amazon;
mod attache;
mod causes;
mod client;
mod haproxy;
mod interactive;
mod leaks;
mod nginx;
mod peer;
mod prometheus;
mod squid;
mod stub;
mod tls;
mod tls_client;
mod token_endpoint;
mod vendor;
mod wire;

pub(crate) use attache::{Attache, Finished, Metrics, Setup, attache, attache_for, command, mailer};
pub(crate) use client::{Connection, Request, Response, get, post, request, send, try_send};
pub(crate) use haproxy::Haproxy;
pub(crate) use interactive::{Interactive, interactive};
pub(crate) use leaks::{assert_no_leak, secret, sha256_hex, webhook_key};
pub(crate) use nginx::Nginx;
pub(crate) use peer::{Peer, curl, go, node, python, python_client};
pub(crate) use prometheus::Prometheus;
pub(crate) use squid::Squid;
pub(crate) use stub::{Received, Step, Stub, app, blackhole, refused, third_party};
pub(crate) use tls::{CertificateAuthority, Flaw};
pub(crate) use tls_client::TlsClient;
pub(crate) use token_endpoint::{TokenEndpoint, json, token_endpoint};
pub(crate) use vendor::{Vendor, hex, mac, vendor, vendor_with, vendor_yaml};

use std::io::Write as _;
use std::time::{Duration, Instant};

/// Maximum time to wait for an event: generous, because machines are shared.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Returns the output of `future`, or fails the test with `what` it waited for.
pub(crate) async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen within {limit:?}"),
    }
}

/// Polls until there is an answer: for states without an event (a metric, an exit).
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    loop {
        tick.tick().await;
        if let Some(value) = probe().await {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "{what} did not happen within {PATIENCE:?}");
    }
}

/// Returns true if tests run in full, with `ATTACHE_FULL=1`; else prints what is skipped.
pub(crate) fn full(what: &str) -> bool {
    let full = std::env::var_os("ATTACHE_FULL").is_some_and(|value| value == "1");
    if !full {
        // Not `println!`, which a passing test does not show.
        writeln!(std::io::stderr(), "skipped without ATTACHE_FULL=1: {what}").expect("stderr");
    }
    full
}

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
