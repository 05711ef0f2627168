//! The last failures, for `/status` and the status page.
//!
//! A failure is what the access log gives a `code` or a `reason`: attache's own error answers, responses that were
//! cut, and clients that left. A response of the upstream is none, whatever its status: it was passed on.
//!
//! Invariant: a flood of one kind of failure cannot displace the others. Anyone can send unknown webhook keys, so when the
//! list is full, the oldest failure of the most frequent kind gives way, not the oldest of all. The row that takes its place
//! in its kind counts it, so the counts of a kind add up to all that were seen of it since its first row.
//!
//! Rejected: one row a kind with a count and the last request id. The ids of the other requests are what a client holds.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::error_code::ErrorCode;
use crate::telemetry::metrics::{Direction, Phase};

/// Maximum number of failures in the list.
pub const MAX_FAILURES: usize = 50;

/// One request that failed. Holds no path, no query and no value of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentFailure {
    /// The time of the failure.
    pub at: SystemTime,
    /// The listener on which the request came.
    pub direction: Direction,
    /// The service; `None` if none matched.
    pub service: Option<Box<str>>,
    /// The service's account.
    pub account: Option<Box<str>>,
    /// The caller that is proved, or whose token is not valid now.
    pub caller: Option<Box<str>>,
    /// The id of the webhook key, or of the caller's token.
    pub key_id: Option<Box<str>>,
    /// The status that was sent; 499 if the client left before one was.
    pub status: u16,
    /// The code of attache's own answer.
    pub code: Option<ErrorCode>,
    /// The machine-readable cause behind `code`.
    pub reason: Option<Cow<'static, str>>,
    /// The phase in which it failed; `None` if it was refused before any work on it.
    pub phase: Option<Phase>,
    /// From the request's arrival to its end.
    pub duration: Duration,
    /// The address that it was sent to, or that failed.
    pub upstream: Option<SocketAddr>,
    /// The client's address, as `trusted_proxies` resolves it.
    pub client: Option<IpAddr>,
    /// The request's id.
    pub request_id: Box<str>,
}

impl RecentFailure {
    /// Equal for failures of one kind: same direction, service, code and reason.
    fn kind(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.direction, &self.service, self.code.map(|code| code as u8), &self.reason).hash(&mut hasher);
        hasher.finish()
    }
}

/// A failure in the list, and the older ones of its kind that have left it.
#[derive(Debug, Clone)]
pub struct FailureRow {
    /// The failure.
    pub failure: Arc<RecentFailure>,
    /// The number of failures that the row stands for: this one and those that gave way to it.
    pub count: u64,
    /// The time of the first of them.
    pub first_at: SystemTime,
    /// The place of its kind.
    kind: usize,
}

/// The last failures of the process, at most [`MAX_FAILURES`]. They outlive reloads.
#[derive(Debug, Default)]
pub struct RecentFailures {
    list: Mutex<FailureList>,
}

impl RecentFailures {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a failure. A row that gives way is freed after the lock.
    pub fn push(&self, failure: RecentFailure) {
        let (hash, first_at) = (failure.kind(), failure.at);
        let row = FailureRow { failure: Arc::new(failure), count: 1, first_at, kind: 0 };
        let displaced = self.list.lock().unwrap_or_else(PoisonError::into_inner).push(row, hash);
        drop(displaced);
    }

    /// The failures, newest first.
    pub fn newest_first(&self) -> Vec<FailureRow> {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.rows.iter().rev().cloned().collect()
    }
}

/// The rows, and what they have in common.
#[derive(Debug)]
struct FailureList {
    /// Oldest first.
    rows: VecDeque<FailureRow>,
    /// The kinds of the rows, by hash. Apart from their counts, so that a search reads no more than it needs.
    hashes: [u64; KINDS],
    /// The number of rows of each kind; 0 for a place that is free.
    counts: [u8; KINDS],
}

/// One more than the rows, for the one that is added before another gives way.
const KINDS: usize = MAX_FAILURES + 1;

impl Default for FailureList {
    fn default() -> Self {
        Self { rows: VecDeque::with_capacity(KINDS), hashes: [0; KINDS], counts: [0; KINDS] }
    }
}

impl FailureList {
    /// Adds a row of the kind with this hash. Returns the row that gives way.
    fn push(&mut self, mut row: FailureRow, hash: u64) -> Option<FailureRow> {
        let known = (0..KINDS).find(|&kind| self.hashes[kind] == hash && self.counts[kind] > 0);
        // Each kind has a row, so a place is free.
        row.kind = known.or_else(|| self.counts.iter().position(|&count| count == 0))?;
        self.hashes[row.kind] = hash;
        self.counts[row.kind] += 1;
        self.rows.push_back(row);
        if self.rows.len() > MAX_FAILURES { self.displace() } else { None }
    }

    /// Removes the oldest row of the most frequent kind; of equally frequent ones, the oldest. The next row of its kind
    /// counts it.
    fn displace(&mut self) -> Option<FailureRow> {
        let most = self.counts.iter().max()?;
        let oldest = self.rows.iter().position(|row| self.counts[row.kind] == *most)?;
        let removed = self.rows.remove(oldest)?;
        self.counts[removed.kind] -= 1;
        if let Some(next) = self.rows.iter_mut().skip(oldest).find(|row| row.kind == removed.kind) {
            next.count += removed.count;
            next.first_at = removed.first_at;
        }
        Some(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn failure(n: u64, service: Option<&str>, reason: &'static str) -> RecentFailure {
        RecentFailure {
            at: UNIX_EPOCH + Duration::from_secs(n),
            direction: Direction::Webhook,
            service: service.map(Into::into),
            account: None,
            caller: None,
            key_id: None,
            status: 404,
            code: Some(ErrorCode::WebhookUnknown),
            reason: Some(reason.into()),
            phase: None,
            duration: Duration::ZERO,
            upstream: None,
            client: None,
            request_id: n.to_string().into(),
        }
    }

    fn ids(list: &RecentFailures) -> Vec<u64> {
        let id = |row: FailureRow| row.failure.request_id.parse().expect("a number");
        list.newest_first().into_iter().map(id).collect()
    }

    #[test]
    fn the_last_fifty_are_kept_newest_first() {
        let list = RecentFailures::new();
        for n in 0..60 {
            list.push(failure(n, Some("mailer"), "expired"));
        }
        assert_eq!(ids(&list), (10..60).rev().collect::<Vec<_>>());
        let rows = list.newest_first();
        assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 60);
        let oldest = rows.last().expect("a row");
        assert_eq!((oldest.count, oldest.first_at), (11, UNIX_EPOCH));
    }

    #[test]
    fn a_flood_displaces_itself_only() {
        let list = RecentFailures::new();
        list.push(failure(1, Some("mailer"), "expired"));
        list.push(failure(2, Some("erp"), "expired"));
        for n in 10..10_010 {
            list.push(failure(n, None, "unknown_key"));
        }
        list.push(failure(20_000, Some("crm"), "expired"));
        let kept = ids(&list);
        assert_eq!((kept.len(), kept[0], &kept[48..]), (50, 20_000, &[2, 1][..]));
        let flood = list.newest_first().into_iter().filter(|row| row.failure.service.is_none());
        assert_eq!(flood.map(|row| row.count).sum::<u64>(), 10_000);
    }

    #[test]
    fn of_kinds_that_are_equally_frequent_the_oldest_gives_way() {
        let list = RecentFailures::new();
        for n in 0..70 {
            list.push(failure(n, Some(&n.to_string()), "expired"));
        }
        assert_eq!(ids(&list), (20..70).rev().collect::<Vec<_>>());
        assert!(list.newest_first().iter().all(|row| row.count == 1));
    }
}
