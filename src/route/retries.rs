//! The retries of a service: which failures of which requests, and a budget.
//!
//! The budget bounds what retries add to the load of a service that fails: a fifth of its requests of the last ten
//! seconds, and ten retries in any second, so that a service with few requests has some. It belongs to the service's
//! name and outlives a reload.

use crate::config::model::{self, RetryOn};
use http::Method;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Seconds of requests that a share of the budget comes from.
const WINDOW: u64 = 10;
/// Requests that allow one retry.
const REQUESTS_A_RETRY: u64 = 5;
/// Retries in any second, whatever the number of requests.
const A_SECOND: usize = 10;

/// See the module's documentation.
pub struct Retries {
    settings: model::Retries,
    /// The requests and retries of the last seconds.
    pub budget: Arc<RetryBudget>,
}

/// A request that failed.
pub struct FailedRequest<'r> {
    /// The kind of the failure.
    pub on: RetryOn,
    /// Number of attempts that failed, this one included.
    pub attempts: u32,
    /// The request's method.
    pub method: &'r Method,
    /// The method is idempotent, or the request has an `Idempotency-Key`.
    pub is_idempotent: bool,
    /// The request has an `Idempotency-Key`.
    pub has_key: bool,
}

impl Retries {
    /// Returns the retries of a service.
    pub(super) fn new(settings: &model::Retries, budget: &Arc<RetryBudget>) -> Self {
        Self { settings: settings.clone(), budget: Arc::clone(budget) }
    }

    /// Returns true if the settings allow another attempt.
    pub fn allow(&self, failed: &FailedRequest<'_>) -> bool {
        let may_repeat = match &self.settings.methods {
            Some(methods) => methods.contains(failed.method) || failed.has_key,
            // Without a connection nothing was sent.
            None => failed.is_idempotent || failed.on == RetryOn::Connect,
        };
        failed.attempts < self.settings.attempts && self.settings.on.contains(&failed.on) && may_repeat
    }
}

/// The requests and retries of one service. Times are those since the start of the process.
#[derive(Debug, Default)]
pub struct RetryBudget(Mutex<BudgetCounts>);

#[derive(Debug, Default)]
struct BudgetCounts {
    /// The second of the newest slot.
    second: u64,
    /// One for each second of the window.
    slots: [BudgetSlot; WINDOW as usize],
    /// The times of the last retries beyond the share, in a ring; `None` before there were as many.
    extra: [Option<Duration>; A_SECOND],
    oldest: usize,
}

#[derive(Debug, Default, Clone, Copy)]
struct BudgetSlot {
    requests: u64,
    retries: u64,
}

impl RetryBudget {
    /// Counts a request.
    pub fn request(&self, at: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).slot(at).requests += 1;
    }

    /// Takes a retry from the budget; false if it is used up.
    pub fn take(&self, at: Duration) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = &mut *counts;
        counts.slot(at);
        let sum = |of: fn(&BudgetSlot) -> u64| counts.slots.iter().map(of).sum::<u64>();
        if (sum(|slot| slot.retries) + 1) * REQUESTS_A_RETRY <= sum(|slot| slot.requests) {
            counts.slot(at).retries += 1;
            return true;
        }
        let oldest = &mut counts.extra[counts.oldest];
        if oldest.is_some_and(|oldest| at.saturating_sub(oldest) < Duration::from_secs(1)) {
            return false;
        }
        *oldest = Some(at);
        counts.oldest = (counts.oldest + 1) % A_SECOND;
        true
    }
}

impl BudgetCounts {
    /// Returns the slot of this time, and empties those that have left the window.
    fn slot(&mut self, at: Duration) -> &mut BudgetSlot {
        // Calls may come out of order by a little.
        let now = at.as_secs().max(self.second);
        for second in (self.second + 1..=now).rev().take(WINDOW as usize) {
            self.slots[(second % WINDOW) as usize] = BudgetSlot::default();
        }
        self.second = now;
        &mut self.slots[(now % WINDOW) as usize]
    }
}

/// Returns the pause before the attempt after `failed` ones: 25 ms, doubling to 400 ms, of which a random part up to a half
/// is cut. `random` is from 0 to 1.
pub fn pause(failed: u32, random: f64) -> Duration {
    let doubled = Duration::from_millis(25) * 2_u32.pow(failed.saturating_sub(1).min(4));
    doubled.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    const SECOND: Duration = Duration::from_secs(1);

    /// Every attempt of every request fails, of `rate` requests a second with `attempts` each.
    fn outage(budget: &RetryBudget, rate: u32, seconds: u32, attempts: u32) -> (u32, u32) {
        let (mut requests, mut retries) = (0, 0);
        for n in 0..rate * seconds {
            let at = 100 * SECOND + SECOND * n / rate;
            budget.request(at);
            requests += 1;
            retries += (1..attempts).take_while(|_| budget.take(at)).count() as u32;
        }
        (requests, retries)
    }

    #[test]
    fn an_outage_is_not_multiplied() {
        for (rate, seconds) in [(1, 60), (10, 60), (100, 30), (1000, 30), (5000, 3)] {
            let (requests, retries) = outage(&RetryBudget::default(), rate, seconds, 10);
            assert!(retries <= requests / 5 + 10 * seconds, "{rate} a second: {retries} of {requests}");
            assert!(retries >= requests / 5, "{rate} a second: {retries} of {requests}");
        }
    }

    #[test]
    fn a_service_with_few_requests_has_some_retries() {
        let (requests, retries) = outage(&RetryBudget::default(), 2, 10, 3);
        assert_eq!((requests, retries), (20, 40));
    }

    #[test]
    fn good_times_are_no_credit_for_more_than_ten_seconds() {
        let budget = RetryBudget::default();
        for n in 0..100_000 {
            budget.request(Duration::from_millis(n));
        }
        let taken = |at| (0..1_000_000).take_while(|_| budget.take(at)).count();
        // The window has the last ten seconds, the current one included: 9,001 requests.
        assert_eq!(taken(Duration::from_secs(100)), 9_000 / 5 + 10);
        assert_eq!(taken(Duration::from_secs(100)), 0);
        assert_eq!(taken(Duration::from_secs(111)), 10, "only what each second has");
    }

    #[test]
    fn a_retry_beyond_the_share_comes_back_after_a_second() {
        let budget = RetryBudget::default();
        let at = |millis: u64| Duration::from_millis(5000 + millis);
        for n in 0..10 {
            assert!(budget.take(at(n * 50)), "{n}");
        }
        assert!(!budget.take(at(999)));
        assert!(budget.take(at(1000)) && !budget.take(at(1001)) && budget.take(at(1050)));
        // One of two threads may come with an earlier time.
        assert!(!budget.take(at(10)));
    }

    #[test]
    fn the_settings_decide_what_is_tried_again() {
        let (get, post) = (Method::GET, Method::POST);
        let retries = |on: &[RetryOn], methods: Option<&[Method]>| {
            let methods = methods.map(<[Method]>::to_vec);
            Retries::new(&model::Retries { attempts: 3, on: on.to_vec(), methods }, &Arc::default())
        };
        let unavailable = RetryOn::Status(StatusCode::SERVICE_UNAVAILABLE);
        let failed = |on, method, attempts, has_key| FailedRequest {
            on,
            attempts,
            method,
            is_idempotent: *method == Method::GET || has_key,
            has_key,
        };
        let all = [RetryOn::Connect, RetryOn::Reset, unavailable];
        let usual = retries(&all, None);
        for on in all {
            assert!(usual.allow(&failed(on, &get, 1, false)) && usual.allow(&failed(on, &get, 2, false)));
            assert!(!usual.allow(&failed(on, &get, 3, false)), "{on:?}: attempts");
            assert_eq!(usual.allow(&failed(on, &post, 1, false)), on == RetryOn::Connect, "{on:?}");
            assert!(usual.allow(&failed(on, &post, 1, true)), "{on:?}: Idempotency-Key");
            let named = retries(&all, Some(std::slice::from_ref(&post)));
            assert!(named.allow(&failed(on, &post, 1, false)), "{on:?}: named");
            assert!(!named.allow(&failed(on, &get, 1, false)), "{on:?}: not named");
        }
        assert!(!retries(&[RetryOn::Connect], None).allow(&failed(unavailable, &get, 1, false)));
        let bad_gateway = RetryOn::Status(StatusCode::BAD_GATEWAY);
        assert!(!usual.allow(&failed(bad_gateway, &get, 1, false)));
    }

    #[test]
    fn pauses_double_and_differ() {
        let millis = |failed, random| pause(failed, random).as_micros();
        assert_eq!(
            [1, 2, 3, 4, 5, 9].map(|failed| millis(failed, 0.0)),
            [25_000, 50_000, 100_000, 200_000, 400_000, 400_000]
        );
        assert_eq!((millis(1, 1.0), millis(2, 0.5)), (12_500, 37_500));
    }
}
