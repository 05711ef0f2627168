//! The results of an account's token requests: the numbers behind the token metrics.
//!
//! They belong to the account's name and not to its [`TokenSource`](super::oauth2::TokenSource), so that counters
//! go on counting when a reload replaces the source.

use crate::telemetry::metrics::Histogram;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// The outcome of a token request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenResult {
    /// With a token.
    Ok,
    /// The token endpoint said no.
    Rejected,
    /// The token endpoint is down, or what it said makes no sense.
    Unavailable,
    /// The token endpoint did not answer in time.
    Timeout,
}

impl TokenResult {
    /// Every result, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Rejected, Self::Unavailable, Self::Timeout];

    /// The value of the metric's label `result`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Rejected => "rejected",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
        }
    }
}

/// The token metrics of one account. Plain atomics: recording takes no lock and looks up no label.
#[derive(Debug, Default)]
pub struct AccountStats {
    requests: [AtomicU64; TokenResult::ALL.len()],
    refused: AtomicU64,
    /// In milliseconds since the epoch; 0 is none.
    expiry: AtomicU64,
    durations: Histogram,
}

impl AccountStats {
    /// Returns zeroes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one token request, and what it took.
    pub(super) fn record(&self, result: TokenResult, took: Duration) {
        self.requests[result as usize].fetch_add(1, Ordering::Relaxed);
        self.durations.observe(took);
    }

    /// Notes when the current token expires.
    pub(super) fn set_expiry(&self, at: SystemTime) {
        let millis = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        self.expiry.store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Counts a token that a third party refused.
    pub(super) fn record_refusal(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// `attache_tokens_refused_total`.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// `attache_token_requests_total` of this result.
    pub fn requests(&self, result: TokenResult) -> u64 {
        self.requests[result as usize].load(Ordering::Relaxed)
    }

    /// `attache_token_expiry_timestamp_seconds`: when the last token obtained expires or did, in seconds since the
    /// epoch. `None` before the first.
    pub fn expiry_timestamp_seconds(&self) -> Option<f64> {
        match self.expiry.load(Ordering::Relaxed) {
            0 => None,
            millis => Some(Duration::from_millis(millis).as_secs_f64()),
        }
    }

    /// `attache_token_request_duration_seconds`.
    pub fn durations(&self) -> &Histogram {
        &self.durations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted_apart_and_durations_together() {
        let stats = AccountStats::new();
        assert_eq!(stats.expiry_timestamp_seconds(), None);
        stats.record(TokenResult::Ok, Duration::from_millis(20));
        stats.record(TokenResult::Timeout, Duration::from_secs(10));
        stats.set_expiry(SystemTime::UNIX_EPOCH + Duration::from_millis(1500));
        assert_eq!(TokenResult::ALL.map(|r| stats.requests(r)), [1, 0, 0, 1]);
        assert_eq!(stats.durations().count(), 2);
        assert_eq!(stats.expiry_timestamp_seconds(), Some(1.5));
    }
}
