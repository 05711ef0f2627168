//! The cost of reloads: the duration of one with 10,000 services and 100,000 keys, the latency of requests meanwhile,
//! and memory, at its peak and after 1,000 reloads. Without `ATTACHE_FULL=1` the files are small, and the test only
//! proves that nothing leaks; the limits of time and of the peak apply with `ATTACHE_STRICT_TIMING=1`, a release binary
//! (`ATTACHE_BIN`) and an idle machine.

use crate::harness::*;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const KEYS: usize = 10;

/// Returns a file with this number of services, in which every timeout is `seconds`. Each has its own account and
/// webhook.
fn text(services: usize, url: &str, seconds: usize) -> String {
    let mut text = String::from(
        "listen: { outbound: 127.0.0.1:0, webhooks: 127.0.0.1:0, admin: 127.0.0.1:0 }\nlog: { access: off }\n\
         users: { bot: {} }\nservices:\n",
    );
    for n in 0..services {
        write!(
            text,
            "  s{n}:\n    account: {{ authorization: {{ header: {{ name: X-Key, value: {{ env: ACCOUNT }} }} }} }}\n    \
             server_url: {url}\n    timeout: {seconds}s\n    webhook:\n      user: bot\n      forward_to: {url}/hook\n      \
             api_keys:\n"
        )
        .expect("write");
        for key in 0..KEYS {
            // Real hashes: the table of keys relies on their even distribution.
            let hash = sha256_hex(&format!("{n} {key}"));
            writeln!(text, "        - {{ id: k{key}, sha256: {hash} }}").expect("write");
        }
    }
    text
}

fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).expect("write");
    fs::rename(&beside, path).expect("rename");
}

/// Sends requests until stopped, and returns the longest duration.
async fn slowest(outbound: std::net::SocketAddr, stop: Arc<AtomicBool>) -> Duration {
    let mut connection = Connection::open(outbound).await;
    let mut slowest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        let sent = Instant::now();
        assert_eq!(connection.exchange(get("/s1/x")).await.status, 200);
        slowest = slowest.max(sent.elapsed());
        tokio::time::sleep(ms(1)).await;
    }
    slowest
}

/// The cost of some reloads.
#[derive(Debug)]
struct Cost {
    longest: Duration,
    slowest_request: Duration,
    /// Resident bytes: before, after, and the peak.
    before: u64,
    after: u64,
    peak: u64,
}

/// Reloads a file with this number of services this number of times, under load.
async fn cost(services: usize, reloads: usize) -> Cost {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("attache.yaml");
    let third_party = third_party().counts_bodies();
    let texts: Vec<String> = [10, 20].map(|seconds| text(services, &third_party.url(), seconds)).into();
    replace(&path, &texts[0]);
    // As in the image and the unit: the allocator returns memory at once.
    let attache = attache().env("MIMALLOC_PURGE_DELAY", "0").env("ACCOUNT", "a").at(&path).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    load.spawn(slowest(attache.outbound(), Arc::clone(&stop)));
    let (mut before, mut longest, mut peak) = (0, Duration::ZERO, 0);
    for n in 1..=reloads {
        if reloads <= 10 {
            // A few reloads are timed separately: the memory of the previous one is free by then.
            settled(&attache).await;
        }
        replace(&path, &texts[n % 2]);
        attache.reset_peak();
        let (start, applied) = (Instant::now(), attache.applied());
        attache.sighup();
        eventually("the reload", async || (attache.applied() > applied).then_some(())).await;
        longest = longest.max(start.elapsed());
        peak = peak.max(attache.peak());
        if n == 1 {
            // Memory that the first reload uses is used again by the next ones.
            before = settled(&attache).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let slowest_request = load.join_next().await.expect("one").expect("no request failed");
    let after = settled(&attache).await;
    Cost { longest, slowest_request, before, after, peak }
}

/// Returns the resident memory once it no longer falls.
async fn settled(attache: &Attache) -> u64 {
    let mut least = attache.resident();
    loop {
        tokio::time::sleep(ms(1500)).await;
        let now = attache.resident();
        if now >= least {
            return now;
        }
        least = now;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_reload_is_quick() {
    let services = if full("10,000 services instead of 100") { 10_000 } else { 100 };
    let cost = cost(services, 10).await;
    println!("10 reloads of {services} services: {cost:?}");
    if std::env::var_os("ATTACHE_STRICT_TIMING").is_some() {
        // From the signal to the log line.
        assert!(cost.longest < ms(1250), "{cost:?}");
        assert!(cost.slowest_request < ms(20), "{cost:?}");
        assert!(cost.peak < 2 * cost.before, "{cost:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_reloads_leak_no_memory() {
    let (services, reloads) = if full("1,000 reloads instead of 30") { (1000, 1000) } else { (100, 30) };
    let cost = cost(services, reloads).await;
    println!("{reloads} reloads of {services} services: {cost:?}");
    // A tenth, and small pages that the allocator retains. A snapshot that leaks with each reload would be many times
    // that.
    let limit = cost.before / 10 * 11 + (2 << 20);
    assert!(cost.after <= limit, "{cost:?}");
}
