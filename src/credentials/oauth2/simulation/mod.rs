//! The token engine under virtual time: random interleavings of requests, refusals, faults of the endpoint and the store,
//! reloads, kills, other processes and clock jumps, against what must hold after every step.
//!
//! The code under test is the real one; the token endpoint, the service, the store's disk and both clocks are simulated.
//! One seed is one run, and replays it exactly:
//!
//! ```sh
//! ATTACHE_SEED=4711 cargo test --lib simulation -- --nocapture
//! ATTACHE_SEEDS=100000 cargo test --release --lib simulation
//! ```
//!
//! Invariants:
//!
//! 1. No token is given out past its end.
//! 2. A usable token is not lost before its successor is there, and no request waits while there is one.
//! 3. At most one refresh of a grant is under way over all processes.
//! 4. A refresh token that was spent is not sent again, unless the answer to it was lost.
//! 5. The endpoint is asked no more often than the schedule allows, after a failure and after a token.
//! 6. Every request is answered, and all is well again once the world is.
//! 7. A refused refresh token that came by rotation is not sent again.

mod endpoint;
mod run;
mod store;

use run::Run;
use std::sync::Mutex;

/// Seeds of one test run.
const SEEDS: u64 = 1000;

#[test]
fn no_interleaving_breaks_an_invariant() {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let (first, count) = match number("ATTACHE_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("ATTACHE_SEEDS").unwrap_or(SEEDS)),
    };
    let (totals, broken) = (Mutex::new(run::RunTotals::default()), Mutex::new(Vec::new()));
    let next = std::sync::atomic::AtomicU64::new(first);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    match std::panic::catch_unwind(|| Run::of(seed)) {
                        Ok(ended) => *totals.lock().unwrap() += ended,
                        Err(_) => broken.lock().unwrap().push(seed),
                    }
                }
            });
        }
    });
    println!("{count} seeds: {:?}", totals.lock().unwrap());
    let broken = broken.into_inner().unwrap();
    assert!(broken.is_empty(), "replay each with ATTACHE_SEED=SEED: {broken:?}");
}

/// SplitMix64: reproducible, and good enough to choose between events.
#[derive(Debug)]
struct Random(Mutex<u64>);

impl Random {
    fn new(seed: u64) -> Self {
        // The state is mixed, since the generator adds a constant to it. Otherwise seed n + 1 would draw the numbers of seed
        // n, shifted by one, and runs of neighbouring seeds would coincide.
        let mixed = Self(Mutex::new(seed)).next();
        Self(Mutex::new(mixed))
    }

    fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number below `n`.
    fn below(&self, n: u64) -> u64 {
        self.next() % n
    }

    fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn fraction(&self) -> f64 {
        self.below(1_000_001) as f64 / 1_000_000.0
    }
}
