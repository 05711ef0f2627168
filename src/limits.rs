//! Limits of a service, a caller or a key: a rate and a number of requests at the same time.
//!
//! The rate is the generic cell rate algorithm: one atomic number says when the bucket will be empty again. No list of
//! past requests is kept, no lock is taken, and nothing has to be swept.
//!
//! A [`LimitState`] belongs to a name and outlives reloads; the settings of [`Limits`] do not.

pub mod buffered;
pub(crate) mod client_cells;

use crate::config::model::Rate;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A rate, prepared.
#[derive(Debug, Clone, Copy)]
pub struct RateLimit {
    /// Time of one request, in microseconds.
    interval: u64,
    /// Time of a whole burst.
    window: u64,
}

impl RateLimit {
    /// Prepares `rate`.
    pub fn new(rate: &Rate) -> Self {
        let interval = (micros(rate.per) / u64::from(rate.requests.max(1))).max(1);
        Self { interval, window: interval.saturating_mul(u64::from(rate.burst.max(1))) }
    }

    /// Takes one request at `now`, counted from the start of the process.
    ///
    /// # Errors
    ///
    /// The time until the next request is allowed.
    pub fn take_at(&self, bucket: &AtomicU64, now: Duration) -> Result<(), Duration> {
        let now = micros(now);
        let mut seen = bucket.load(Relaxed);
        loop {
            // A bucket may come from before a reload, and an older, slower limit: no bucket is fuller than full.
            let bounded = seen.min(now.saturating_add(self.window));
            let empty_at = bounded.max(now).saturating_add(self.interval);
            let ahead = empty_at - now;
            if ahead > self.window {
                if bounded < seen {
                    // Losing the race is harmless: both write the same value.
                    let _ = bucket.compare_exchange(seen, bounded, Relaxed, Relaxed);
                }
                return Err(Duration::from_micros(ahead - self.window));
            }
            match bucket.compare_exchange_weak(seen, empty_at, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => seen = other,
            }
        }
    }
}

/// Returns what counts as one client: an IPv4 address, or an IPv6 network of 64 bits, whose owner has all its addresses.
pub fn network_of(client: IpAddr) -> u128 {
    match client.to_canonical() {
        IpAddr::V6(address) => address.to_bits() >> 64,
        IpAddr::V4(address) => u128::from(address.to_bits()) | 1 << 127,
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The state of one name's limits.
#[derive(Debug, Default)]
pub struct LimitState {
    bucket: AtomicU64,
    in_progress: AtomicU32,
}

impl LimitState {
    /// Returns the number of requests that hold a [`Permit`].
    pub fn in_progress(&self) -> u32 {
        self.in_progress.load(Relaxed)
    }
}

/// The limits of one name.
#[derive(Debug, Clone)]
pub struct Limits {
    rate: Option<RateLimit>,
    max_concurrent: u32,
    state: Arc<LimitState>,
}

/// The limit that a request exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    /// The rate. The next request is allowed after this time.
    Rate(Duration),
    /// The number of requests at the same time.
    Concurrency,
}

impl Limits {
    /// Prepares limits, with the state of the same name from before a reload. `None` is no limit.
    pub fn new(rate: Option<&Rate>, max_concurrent: Option<u32>, state: Arc<LimitState>) -> Self {
        Self { rate: rate.map(RateLimit::new), max_concurrent: max_concurrent.unwrap_or(u32::MAX), state }
    }

    /// Returns the state, for the limits of the same name after a reload.
    pub fn state(&self) -> &Arc<LimitState> {
        &self.state
    }

    /// Returns true if there is a rate, for which the time counts.
    pub fn has_rate(&self) -> bool {
        self.rate.is_some()
    }

    /// Begins a request at `now`, counted from the start of the process. One that is refused uses up neither limit.
    ///
    /// # Errors
    ///
    /// The limit that it exceeds.
    pub fn begin_at(&self, now: Duration) -> Result<Permit, Exceeded> {
        let more = |count: u32| (count < self.max_concurrent).then_some(count + 1);
        self.state.in_progress.fetch_update(Relaxed, Relaxed, more).map_err(|_| Exceeded::Concurrency)?;
        let permit = Permit(Arc::clone(&self.state));
        if let Some(rate) = &self.rate {
            rate.take_at(&self.state.bucket, now).map_err(Exceeded::Rate)?;
        }
        Ok(permit)
    }
}

/// A request in progress, counted until it is dropped.
#[derive(Debug)]
pub struct Permit(Arc<LimitState>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_progress.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_and_then_the_rate() {
        let limit = RateLimit::new(&Rate { requests: 2, per: SECOND, burst: 3 });
        let bucket = AtomicU64::new(0);
        let start = 10 * SECOND;
        assert_eq!([0; 4].map(|_| limit.take_at(&bucket, start).is_ok()), [true, true, true, false]);
        assert_eq!(limit.take_at(&bucket, start), Err(SECOND / 2));
        assert_eq!(limit.take_at(&bucket, start + SECOND / 2), Ok(()));
        assert!(limit.take_at(&bucket, start + SECOND / 2).is_err());
        assert_eq!(
            [0; 4].map(|_| limit.take_at(&bucket, start + 9 * SECOND).is_ok()),
            [true, true, true, false]
        );
    }

    #[test]
    fn a_limit_that_is_raised_is_raised_at_once() {
        let (slow, quick) = (
            Rate { requests: 2, per: 3600 * SECOND, burst: 2 },
            Rate { requests: 20, per: SECOND, burst: 20 },
        );
        let bucket = AtomicU64::new(0);
        assert_eq!(
            [0; 3].map(|_| RateLimit::new(&slow).take_at(&bucket, SECOND).is_ok()),
            [true, true, false]
        );
        assert!(RateLimit::new(&quick).take_at(&bucket, SECOND).is_err_and(|wait| wait <= SECOND / 20));
        assert_eq!(RateLimit::new(&quick).take_at(&bucket, 2 * SECOND), Ok(()));
    }

    #[test]
    fn a_permit_ends_when_it_is_dropped() {
        let limits = Limits::new(None, Some(2), Arc::default());
        let (one, two) = (limits.begin_at(SECOND), limits.begin_at(SECOND));
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(limits.begin_at(SECOND).unwrap_err(), Exceeded::Concurrency);
        drop(one);
        assert!(limits.begin_at(SECOND).is_ok());
        assert_eq!(limits.state().in_progress(), 1);
    }

    #[test]
    fn a_panic_ends_a_permit() {
        let limits = Limits::new(None, Some(1), Arc::default());
        let panicked = std::panic::catch_unwind(|| {
            let _permit = limits.begin_at(SECOND).expect("room");
            panic!("within a request");
        });
        assert!(panicked.is_err());
        assert_eq!(limits.state().in_progress(), 0);
        assert!(limits.begin_at(SECOND).is_ok());
    }

    #[test]
    fn a_refused_request_uses_up_neither_limit() {
        let rate = Rate { requests: 1, per: SECOND, burst: 1 };
        let limits = Limits::new(Some(&rate), Some(1), Arc::default());
        let first = limits.begin_at(SECOND).unwrap();
        assert_eq!(limits.begin_at(2 * SECOND).unwrap_err(), Exceeded::Concurrency);
        drop(first);
        drop(limits.begin_at(2 * SECOND).expect("the request above took nothing of the rate"));
        assert_eq!(limits.begin_at(2 * SECOND).unwrap_err(), Exceeded::Rate(SECOND));
        assert_eq!(limits.state().in_progress(), 0);
    }

    #[test]
    fn requests_in_progress_are_counted_across_a_reload() {
        let before = Limits::new(None, Some(2), Arc::default());
        let permits = [before.begin_at(SECOND).unwrap(), before.begin_at(SECOND).unwrap()];
        let after = Limits::new(None, Some(1), Arc::clone(before.state()));
        assert!(after.begin_at(SECOND).is_err());
        drop(permits);
        assert!(after.begin_at(SECOND).is_ok());
    }

    #[test]
    fn no_more_than_the_limit_are_in_progress_on_several_threads() {
        let limits = Limits::new(None, Some(3), Arc::default());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let permit = limits.begin_at(SECOND);
                        assert!(limits.state().in_progress() <= 3);
                        drop(permit);
                    }
                });
            }
        });
        assert_eq!(limits.state().in_progress(), 0);
    }
}
