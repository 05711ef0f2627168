//! The cost of the table of webhook keys: memory per key, and the instructions of a look-up.
//!
//! `cargo bench --bench webhook_keys -- KEYS LOOKUPS` builds a table with this number of keys and performs this number
//! of look-ups. It prints the memory per key. For the instructions, run it under `valgrind --tool=callgrind` (or `perf
//! stat -e instructions:u`) with two numbers of look-ups: the difference is that of the look-ups alone.

use attache::config::model::{ApiKey, Host, ServerUrl, User, Webhook};
use attache::route::{Carried, Parts, Route};
use attache::secret::sha256;
use attache::transport::Transport;
use attache::webhook::endpoint::Endpoint;
use attache::webhook::keys::KeyTable;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // `cargo bench` adds its own arguments.
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let [count, lookups] = numbers[..] else {
        eprintln!("usage: cargo bench --bench webhook_keys -- KEYS LOOKUPS");
        return;
    };
    let user = Arc::new(User { key: "bot".into(), name: None, active: true });
    let forward_to = ServerUrl {
        tls: false,
        host: Host::Ip([127, 0, 0, 1].into()),
        port: 80,
        authority: "127.0.0.1".into(),
        path: String::new(),
    };
    let webhook = Webhook::new(user, forward_to, Vec::new());
    let route =
        Arc::new(Route::webhook("mailer", &webhook, Carried::default(), &mut Parts::new(&Transport::new(8))));
    let endpoint = Arc::new(Endpoint::new(route, &webhook, None));
    let digests: Vec<[u8; 32]> = (0..count as u64).map(|n| sha256(&n.to_le_bytes())).collect();
    let keys: Vec<ApiKey> = digests.iter().map(|digest| ApiKey::new("2026-11", *digest)).collect();

    let before = resident();
    let table = KeyTable::new(vec![(endpoint, &keys)], None);
    let grown = resident().saturating_sub(before);

    // Spread over the table, whatever its size.
    let found = (0..lookups).filter(|n| table.find_hash(&digests[(n * 7919) % count]).is_some()).count();
    assert_eq!(found, lookups);
    println!("{count} keys: {:.1} bytes a key; {lookups} look-ups", grown as f64 / count as f64);
}

/// Returns the resident memory, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.split_whitespace().next().and_then(|kib| kib.parse::<usize>().ok()).unwrap_or(0) * 1024
}
