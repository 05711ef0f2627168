//! What a reload of 10,000 services and 100,000 keys costs: time, the latency of requests meanwhile, memory. Without
//! `ATTACHE_FULL=1` it is a hundredth of that and proves only that memory comes back; times count with
//! `ATTACHE_STRICT_TIMING=1`, a release binary (`ATTACHE_BIN`) and an idle machine.

use crate::harness::*;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const KEYS: usize = 10;

/// A file of so many services, in which every timeout is `seconds`. Each has an account and a webhook of its own.
fn text(services: usize, url: &str, seconds: usize) -> String {
    let mut text = String::from(
        "listen: { outbound: 127.0.0.1:0, webhooks: 127.0.0.1:0, admin: 127.0.0.1:0 }\nlog: { access: off }\n\
         users: { bot: {} }\nservices:\n",
    );
    for n in 0..services {
        write!(
            text,
            "  s{n}:\n    account: {{ authorization: {{ header: {{ name: X-Key, value: account-{n} }} }} }}\n    \
             server_url: {url}\n    timeout: {seconds}s\n    webhook:\n      user: bot\n      forward_to: {url}/hook\n      \
             api_keys:\n"
        )
        .expect("write");
        for key in 0..KEYS {
            // No key has these hashes.
            writeln!(text, "        - {{ id: k{key}, sha256: {:064x} }}", n * KEYS + key).expect("write");
        }
    }
    text
}

fn write(path: &Path, text: &str) -> String {
    let beside = path.with_extension("new");
    fs::write(&beside, text).expect("write");
    fs::rename(&beside, path).expect("rename");
    sha256_hex(text)
}

/// Sends requests until told to stop, and returns what the slowest took.
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_reload_is_quick_and_memory_comes_back() {
    let (services, reloads) = if full("1,000 reloads of 10,000 services instead of 50 of 100") {
        (10_000, 1000)
    } else {
        (100, 50)
    };
    let strict = std::env::var_os("ATTACHE_STRICT_TIMING").is_some();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("attache.yaml");
    let third_party = third_party().counts_bodies();
    let texts: Vec<String> = [10, 20].map(|seconds| text(services, &third_party.url(), seconds)).into();
    write(&path, &texts[0]);
    let attache = attache().at(&path).await;
    assert_eq!(attache.send(get("/s1/x")).await.status, 200);
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    load.spawn(slowest(attache.outbound(), Arc::clone(&stop)));
    let (mut resting, mut longest, mut peak) = (attache.resident(), Duration::ZERO, 0);
    for n in 1..=reloads {
        let text = &texts[n % 2];
        write(&path, text);
        attache.reset_peak();
        let (start, before) = (Instant::now(), attache.applied());
        attache.sighup();
        eventually("the reload", async || (attache.applied() > before).then_some(())).await;
        longest = longest.max(start.elapsed());
        peak = peak.max(attache.peak());
        if n == 3 {
            // The first reloads leave behind what the next ones use.
            resting = resting.max(attache.resident());
        }
    }
    stop.store(true, Ordering::Relaxed);
    let slowest = load.join_next().await.expect("one").expect("no request failed");
    let back = async || {
        let now = attache.resident();
        (now <= resting / 10 * 11).then_some(now)
    };
    let after = eventually(&format!("memory to be back at {resting} bytes"), back).await;
    println!(
        "{reloads} reloads of {services} services: the longest {longest:?}, the slowest request {slowest:?}, \
         {} MB before, {} MB after, {} MB at most",
        resting >> 20,
        after >> 20,
        peak >> 20
    );
    if strict {
        assert!(longest < Duration::from_secs(1), "{longest:?}");
        assert!(slowest < ms(20), "{slowest:?}");
        assert!(peak < 2 * resting, "{peak} bytes at most, {resting} at rest");
    }
}
