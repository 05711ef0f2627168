//! What an account's token requests came to: the numbers behind the token metrics.
//!
//! They belong to the account's name and not to its [`TokenSource`](super::oauth2::TokenSource), so that counters
//! go on counting when a reload replaces the source.

use prometheus::{Histogram, HistogramOpts};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// How a token request ended.
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
#[derive(Debug)]
pub struct AccountStats {
    requests: [AtomicU64; TokenResult::ALL.len()],
    refused: AtomicU64,
    /// In milliseconds since the epoch; 0 is none.
    expiry: AtomicU64,
    durations: Histogram,
}

impl AccountStats {
    /// Zeroes. `account` becomes the constant label of the histogram.
    pub fn new(account: &str) -> Self {
        let options = HistogramOpts::new(
            "attache_token_request_duration_seconds",
            "How long the token endpoint took to answer, or not to.",
        )
        .const_label("account", account)
        .buckets(vec![0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
        Self {
            requests: Default::default(),
            refused: AtomicU64::new(0),
            expiry: AtomicU64::new(0),
            durations: Histogram::with_opts(options).expect("the options are constant and valid"),
        }
    }

    /// Counts one token request, and what it took.
    pub(super) fn record(&self, result: TokenResult, took: Duration) {
        self.requests[result as usize].fetch_add(1, Ordering::Relaxed);
        self.durations.observe(took.as_secs_f64());
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

    /// `attache_token_request_duration_seconds`, with `account` as its constant label.
    pub fn durations(&self) -> &Histogram {
        &self.durations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted_apart_and_durations_together() {
        let stats = AccountStats::new("erp");
        assert_eq!(stats.expiry_timestamp_seconds(), None);
        stats.record(TokenResult::Ok, Duration::from_millis(20));
        stats.record(TokenResult::Timeout, Duration::from_secs(10));
        stats.set_expiry(SystemTime::UNIX_EPOCH + Duration::from_millis(1500));
        assert_eq!(TokenResult::ALL.map(|r| stats.requests(r)), [1, 0, 0, 1]);
        assert_eq!(stats.durations().get_sample_count(), 2);
        assert_eq!(stats.expiry_timestamp_seconds(), Some(1.5));
    }
}
