//! Budgets of client addresses: the rate of calls with an unknown key.

use crate::config::model::Rate;
use crate::limits::RateLimit;
use crate::limits::client_cells::ClientCells;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A budget for each client address, in bounded memory. Two addresses may share a cell. The cost is a 429 in place of a 404,
/// for a key that is wrong in any case.
#[derive(Debug, Default)]
pub struct Budgets(ClientCells);

impl Budgets {
    /// Takes one of `client`'s budget.
    ///
    /// # Errors
    ///
    /// The time until the next request is allowed.
    pub fn take_at(&self, limit: &RateLimit, client: Option<IpAddr>, now: Duration) -> Result<(), Duration> {
        limit.take_at(&self.0[self.0.index_of(client)], now)
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
