//! Rate limit of log lines about events that a client can repeat at will.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Allows a log line at most once in an interval, and counts the events between two lines.
#[derive(Debug)]
pub struct LogLimit {
    interval: Duration,
    began: Instant,
    /// Time of the last line, in milliseconds since `began`, plus one. 0: there was none.
    last: AtomicU64,
    not_logged: AtomicU64,
}

impl LogLimit {
    /// Returns a limit of one line in `interval`.
    pub fn new(interval: Duration) -> Self {
        Self { interval, began: Instant::now(), last: AtomicU64::new(0), not_logged: AtomicU64::new(0) }
    }

    /// Returns the number of events since the last line if an event at `now` may be logged, else counts it. One
    /// of several simultaneous calls may log.
    pub fn take_at(&self, now: Instant) -> Option<u64> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let now = millis(now.saturating_duration_since(self.began)).saturating_add(1);
        let last = self.last.load(Relaxed);
        let is_due = last == 0 || now.saturating_sub(last) >= millis(self.interval);
        if is_due && self.last.compare_exchange(last, now, Relaxed, Relaxed).is_ok() {
            return Some(self.not_logged.swap(0, Relaxed));
        }
        self.not_logged.fetch_add(1, Relaxed);
        None
    }

    /// Returns [`Self::take_at`] now, in the form of a field of a log line: no number if no event was left out.
    pub fn take(&self) -> Option<Option<u64>> {
        self.take_at(Instant::now()).map(|not_logged| (not_logged > 0).then_some(not_logged))
    }
}

/// One line in ten seconds.
impl Default for LogLimit {
    fn default() -> Self {
        Self::new(Duration::from_secs(10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_many_events_were_left_out() {
        let limit = LogLimit::default();
        let at = |millis| limit.began + Duration::from_millis(millis);
        let logged = [0, 1, 9_999, 10_000, 10_001, 29_000].map(|millis| limit.take_at(at(millis)));
        assert_eq!(logged, [Some(0), None, None, Some(2), None, Some(1)]);
    }

    #[test]
    fn an_instant_before_the_last_line_is_not_due() {
        let limit = LogLimit::default();
        let at = limit.began + Duration::from_secs(60);
        assert_eq!([limit.take_at(at), limit.take_at(limit.began)], [Some(0), None]);
    }
}
