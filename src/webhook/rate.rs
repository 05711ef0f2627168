//! Budgets of client addresses: the rate of calls with an unknown key.

use crate::config::model::Rate;
use crate::limits::RateLimit;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Number of cells that all addresses share: half a MiB.
const CELLS: usize = 1 << 16;

/// A budget for each client address, in bounded memory. Two addresses may share a cell: the cost is a 429 instead of a
/// 404, for a key that is wrong either way.
#[derive(Debug)]
pub struct Budgets {
    cells: Box<[AtomicU64]>,
    /// Keyed anew in each process, so that no client can choose the addresses it shares a cell with.
    hasher: RandomState,
}

impl Budgets {
    /// Takes one of `client`'s budget. Addresses of one IPv6 network of 64 bits are one client, as its owner has them all.
    ///
    /// # Errors
    ///
    /// The time until the next request is allowed.
    pub fn take_at(&self, limit: &RateLimit, client: Option<IpAddr>, now: Duration) -> Result<(), Duration> {
        let client = client.map(|address| match address {
            IpAddr::V6(address) => address.to_bits() >> 64,
            IpAddr::V4(address) => u128::from(address.to_bits()) | 1 << 127,
        });
        let cell = self.hasher.hash_one(client) as usize % CELLS;
        limit.take_at(&self.cells[cell], now)
    }
}

/// Limits guesses at keys: each client address has a budget. A call with a valid key uses up none of it.
pub struct UnknownKeyLimiter {
    limit: Option<RateLimit>,
    budgets: Arc<Budgets>,
}

impl UnknownKeyLimiter {
    /// Returns a limiter. Without a `rate`, guesses are not limited. Budgets carry over a reload.
    pub fn new(rate: Option<&Rate>, budgets: Option<&Arc<Budgets>>) -> Self {
        Self { limit: rate.map(RateLimit::new), budgets: budgets.cloned().unwrap_or_default() }
    }

    /// Returns the budgets.
    pub fn budgets(&self) -> &Arc<Budgets> {
        &self.budgets
    }

    /// Takes one guess of `client`'s budget.
    ///
    /// # Errors
    ///
    /// The time until the next guess is allowed.
    pub fn take_at(&self, client: Option<IpAddr>, now: Duration) -> Result<(), Duration> {
        self.limit.as_ref().map_or(Ok(()), |limit| self.budgets.take_at(limit, client, now))
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

    #[test]
    fn one_address_uses_up_its_own_budget() {
        let second = Duration::from_secs(1);
        let limit = RateLimit::new(&Rate { requests: 1, per: second, burst: 1 });
        let budgets = Budgets::default();
        let take = |text: &str| budgets.take_at(&limit, text.parse().ok(), second).is_ok();
        assert!(take("192.0.2.1") && !take("192.0.2.1"));
        assert!(take("2001:db8::1") && !take("2001:db8::ffff"), "one network");
        assert!(take("none") && !take("unknown"), "without an address, one client");
    }
}
