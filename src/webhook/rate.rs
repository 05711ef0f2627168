//! How often: the generic cell rate algorithm, one atomic number a caller.
//!
//! A number says when the caller's bucket will be empty again. No list of past requests is kept, no lock is taken, and
//! nothing has to be swept.

use crate::config::model::Rate;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A rate, made ready.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// Of one request, in microseconds.
    interval: u64,
    /// Of a whole burst.
    window: u64,
}

impl Limit {
    /// Prepares `rate`.
    pub fn new(rate: &Rate) -> Self {
        let interval = (micros(rate.per) / u64::from(rate.requests.max(1))).max(1);
        Self { interval, window: interval.saturating_mul(u64::from(rate.burst.max(1))) }
    }

    /// Takes one request at `now`, counted from the start of the process.
    ///
    /// # Errors
    ///
    /// How long to wait, if it is one too many.
    pub fn take_at(&self, cell: &AtomicU64, now: Duration) -> Result<(), Duration> {
        let now = micros(now);
        let mut seen = cell.load(Relaxed);
        loop {
            // A cell may come from before a reload, and an older, slower limit: no bucket is fuller than full.
            let bounded = seen.min(now.saturating_add(self.window));
            let empty_at = bounded.max(now).saturating_add(self.interval);
            let ahead = empty_at - now;
            if ahead > self.window {
                if bounded < seen {
                    // Whoever is faster writes as much.
                    let _ = cell.compare_exchange(seen, bounded, Relaxed, Relaxed);
                }
                return Err(Duration::from_micros(ahead - self.window));
            }
            match cell.compare_exchange_weak(seen, empty_at, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => seen = other,
            }
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// How many cells the guessers of the world share: half a MiB.
const CELLS: usize = 1 << 16;

/// A budget for each client address, in bounded memory. Two addresses may share a cell: what that costs is a 429 where a
/// 404 would have been, for a key that is wrong either way.
#[derive(Debug)]
pub struct Budgets {
    cells: Box<[AtomicU64]>,
    /// Keyed anew in each process, so that nobody can choose whom to share a cell with.
    hasher: RandomState,
}

impl Budgets {
    /// Takes one of `client`'s budget. Addresses of one IPv6 network of 64 bits are one client, as its owner has them all.
    ///
    /// # Errors
    ///
    /// How long to wait, if it is used up.
    pub fn take_at(&self, limit: &Limit, client: Option<IpAddr>, now: Duration) -> Result<(), Duration> {
        let client = client.map(|address| match address {
            IpAddr::V6(address) => address.to_bits() >> 64,
            IpAddr::V4(address) => u128::from(address.to_bits()) | 1 << 127,
        });
        let cell = self.hasher.hash_one(client) as usize % CELLS;
        limit.take_at(&self.cells[cell], now)
    }
}

impl Default for Budgets {
    fn default() -> Self {
        Self { cells: (0..CELLS).map(|_| AtomicU64::new(0)).collect(), hasher: RandomState::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_and_then_the_rate() {
        let limit = Limit::new(&Rate { requests: 2, per: SECOND, burst: 3 });
        let cell = AtomicU64::new(0);
        let start = 10 * SECOND;
        assert_eq!([0; 4].map(|_| limit.take_at(&cell, start).is_ok()), [true, true, true, false]);
        assert_eq!(limit.take_at(&cell, start), Err(SECOND / 2));
        assert_eq!(limit.take_at(&cell, start + SECOND / 2), Ok(()));
        assert!(limit.take_at(&cell, start + SECOND / 2).is_err());
        assert_eq!(
            [0; 4].map(|_| limit.take_at(&cell, start + 9 * SECOND).is_ok()),
            [true, true, true, false]
        );
    }

    #[test]
    fn a_limit_that_is_mended_is_mended_at_once() {
        let (slow, quick) = (
            Rate { requests: 2, per: 3600 * SECOND, burst: 2 },
            Rate { requests: 20, per: SECOND, burst: 20 },
        );
        let cell = AtomicU64::new(0);
        assert_eq!([0; 3].map(|_| Limit::new(&slow).take_at(&cell, SECOND).is_ok()), [true, true, false]);
        assert!(Limit::new(&quick).take_at(&cell, SECOND).is_err_and(|wait| wait <= SECOND / 20));
        assert_eq!(Limit::new(&quick).take_at(&cell, 2 * SECOND), Ok(()));
    }

    #[test]
    fn one_address_uses_up_its_own_budget() {
        let limit = Limit::new(&Rate { requests: 1, per: SECOND, burst: 1 });
        let budgets = Budgets::default();
        let take = |text: &str| budgets.take_at(&limit, text.parse().ok(), SECOND).is_ok();
        assert!(take("192.0.2.1") && !take("192.0.2.1"));
        assert!(take("2001:db8::1") && !take("2001:db8::ffff"), "one network");
        assert!(take("none") && !take("unknown"), "without an address, one client");
    }
}
