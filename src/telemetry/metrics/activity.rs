//! The last five minutes of a service, in steps of ten seconds: for `/status` and the status page.
//!
//! Requests are not counted twice for it. A task notes the totals at the end of each step, and a step is the difference;
//! so a request costs nothing here.

use std::collections::VecDeque;
use std::ops::AddAssign;
use std::time::Duration;

use super::histogram::{BUCKETS, quantile};

/// The duration of a step.
pub const STEP: Duration = Duration::from_secs(10);
/// Number of steps that are kept: five minutes.
pub const STEPS: usize = 30;
/// Steps in a minute.
const MINUTE: usize = 6;

/// The requests that ended within a time. Totals wrap around at 2³², differences don't come near.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Those that attache itself answered, or broke off, with an error code.
    pub errors: u32,
    /// All of them, by their duration.
    pub(super) durations: [u32; BUCKETS],
}

impl Counts {
    /// Returns the number of requests.
    pub fn requests(&self) -> u64 {
        self.durations.iter().copied().map(u64::from).sum()
    }

    /// Returns the duration that the fraction `q` of the requests does not exceed, interpolated within a bucket as
    /// Prometheus's `histogram_quantile` does. `None` without requests.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        quantile(&self.durations, q)
    }

    fn since(&self, earlier: &Self) -> Self {
        let mut difference = *self;
        difference.errors = self.errors.wrapping_sub(earlier.errors);
        for (count, earlier) in difference.durations.iter_mut().zip(earlier.durations) {
            *count = count.wrapping_sub(earlier);
        }
        difference
    }
}

impl AddAssign<&Self> for Counts {
    fn add_assign(&mut self, other: &Self) {
        self.errors = self.errors.wrapping_add(other.errors);
        for (count, other) in self.durations.iter_mut().zip(other.durations) {
            *count = count.wrapping_add(other);
        }
    }
}

/// The activity of one direction of a service in the last steps. A quiet one holds no steps.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The totals at the end of the last step.
    totals: Counts,
    /// Oldest first. Begins with the first step that had a request.
    steps: VecDeque<Counts>,
}

impl History {
    /// Ends a step.
    pub(super) fn note(&mut self, totals: Counts) {
        self.steps.push_back(totals.since(&self.totals));
        self.totals = totals;
        if self.steps.len() > STEPS {
            self.steps.pop_front();
        }
        while self.steps.front().is_some_and(|step| *step == Counts::default()) {
            self.steps.pop_front();
        }
        if self.steps.is_empty() {
            self.steps = VecDeque::new();
        }
    }

    /// The steps, and what came since the last one.
    pub(super) fn until(&self, totals: Counts) -> Activity {
        Activity { steps: self.steps.iter().copied().collect(), current: totals.since(&self.totals) }
    }
}

/// The last five minutes of one direction of a service.
#[derive(Debug, Clone, Default)]
pub struct Activity {
    /// The complete steps, oldest first; the last one is the latest. Fewer than [`STEPS`] where the first had no requests.
    pub steps: Vec<Counts>,
    /// The activity since the last complete step.
    pub current: Counts,
}

impl Activity {
    /// Returns the sum over all steps and the current one.
    pub fn total(&self) -> Counts {
        let mut total = self.current;
        self.steps.iter().for_each(|step| total += step);
        total
    }

    /// Returns the requests a second over the last complete minute.
    pub fn rate(&self) -> f64 {
        let requests: u64 = self.steps.iter().rev().take(MINUTE).map(Counts::requests).sum();
        requests as f64 / (MINUTE as f64 * STEP.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(requests: u32) -> Counts {
        let mut counts = Counts { errors: requests / 2, ..Counts::default() };
        counts.durations[0] = requests;
        counts
    }

    #[test]
    fn the_window_is_five_minutes_and_the_current_step() {
        let mut history = History::default();
        assert_eq!(history.until(totals(4)).total(), totals(4));
        for step in 1..=100 {
            history.note(totals(step * 10));
            let total = history.until(totals(step * 10 + 4)).total();
            assert_eq!(total.requests(), u64::from(step.min(30) * 10 + 4), "{step}");
        }
        assert_eq!(history.until(totals(1000)).rate(), 1.0);
    }

    #[test]
    fn a_quiet_service_holds_no_steps() {
        let mut history = History::default();
        history.note(totals(0));
        assert!(history.steps.is_empty());
        history.note(totals(6));
        for _ in 1..STEPS {
            history.note(totals(6));
        }
        assert_eq!((history.steps.len(), history.until(totals(6)).total().requests()), (STEPS, 6));
        history.note(totals(6));
        assert_eq!((history.steps.capacity(), history.until(totals(6)).total().requests()), (0, 0));
    }

    #[test]
    fn totals_that_wrap_around_make_no_difference() {
        let mut history = History::default();
        history.note(totals(u32::MAX - 1));
        assert_eq!(history.until(totals(3)).current.requests(), 5);
    }
}
