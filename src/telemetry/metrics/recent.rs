//! The last five minutes of a service, and its last error, for `/status`.
//!
//! Requests are not counted twice for it. Once a minute the totals are stored, and the recent count is the difference;
//! so a successful request costs nothing here.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use crate::error_code::ErrorCode;

/// One more than the number of minutes in the window.
const MARKS: usize = 6;

/// Requests and errors, counted from the start or from a mark.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests that have ended.
    pub requests: u64,
    /// Requests that attache itself answered, or aborted, with an error code.
    pub errors: u64,
}

/// The totals at the ends of the last minutes.
#[derive(Debug, Default)]
pub(super) struct Marks([[AtomicU64; 2]; MARKS]);

impl Marks {
    /// Stores the totals at the end of a minute, which is counted from the start of the process.
    pub(super) fn set(&self, minute: u64, totals: Totals) {
        let [requests, errors] = self.at(minute);
        requests.store(totals.requests, Relaxed);
        errors.store(totals.errors, Relaxed);
    }

    /// Returns the increase since the mark of five minutes before `minute`, the last that has ended. A mark that was
    /// never set is from before the first request.
    pub(super) fn since(&self, minute: u64, totals: Totals) -> Totals {
        let [requests, errors] = self.at(minute + 1);
        Totals {
            requests: totals.requests.saturating_sub(requests.load(Relaxed)),
            errors: totals.errors.saturating_sub(errors.load(Relaxed)),
        }
    }

    fn at(&self, minute: u64) -> &[AtomicU64; 2] {
        &self.0[(minute % MARKS as u64) as usize]
    }
}

/// The last request of a service that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// The code of the answer.
    pub code: ErrorCode,
    /// The cause behind it, as in the access log.
    pub reason: Option<Cow<'static, str>>,
    /// The request's id.
    pub request_id: Box<str>,
    /// When the request arrived.
    pub at: SystemTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_five_minutes_and_the_current_one() {
        let marks = Marks::default();
        let totals = |requests| Totals { requests, errors: requests / 2 };
        assert_eq!(marks.since(0, totals(4)), totals(4));
        for minute in 1..=20 {
            // Ten requests a minute.
            marks.set(minute, totals(minute * 10));
            let since = marks.since(minute, totals(minute * 10 + 4));
            assert_eq!(since.requests, minute.min(5) * 10 + 4, "{minute}");
        }
    }
}
