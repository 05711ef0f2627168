//! The times of fetches. Pure: the time and a random number from 0 to 1 are arguments.

use std::time::Duration;
use tokio::time::Instant;

/// Longest time between two successful fetches: a key that the issuer removes is refused after it.
pub(super) const REFRESH: Duration = Duration::from_secs(10 * 60);
/// Shortest time between two fetches for unknown keys.
pub(super) const ASKED: Duration = Duration::from_secs(10);
/// Pause after the first failure in a row; it doubles up to the second value.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The times of one issuer's fetches.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// A task carries out the fetches.
    has_owner: bool,
    is_running: bool,
    started: Option<Instant>,
    /// Failures in a row.
    failures: u32,
    /// The time of the next fetch; `None` is at once.
    next: Option<Instant>,
    /// The operator asked for a fetch after the one under way.
    again: bool,
}

impl Schedule {
    /// Records that a task carries out the fetches, or that it ended.
    pub(super) fn set_owner(&mut self, has_owner: bool) {
        (self.has_owner, self.is_running) = (has_owner, false);
    }

    /// Returns the time of the next fetch.
    pub(super) fn next_at(&self, now: Instant) -> Instant {
        self.next.unwrap_or(now)
    }

    /// Returns true if a fetch begins now.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        let is_due = !self.is_running && self.next_at(now) <= now;
        if is_due {
            (self.is_running, self.started) = (true, Some(now));
        }
        is_due
    }

    pub(super) fn succeeded(&mut self, now: Instant, random: f64) {
        (self.is_running, self.failures) = (false, 0);
        // Instances that started together must not fetch together.
        self.schedule(now + REFRESH.mul_f64(1.0 - 0.1 * random.clamp(0.0, 1.0)));
    }

    pub(super) fn failed(&mut self, now: Instant, random: f64) {
        let (first, last) = BACK_OFF;
        let pause = first.saturating_mul(1 << self.failures.min(16)).min(last);
        (self.is_running, self.failures) = (false, self.failures.saturating_add(1));
        self.schedule(now + pause.mul_f64(1.0 - 0.1 * random.clamp(0.0, 1.0)));
    }

    fn schedule(&mut self, at: Instant) {
        self.next = if std::mem::take(&mut self.again) { None } else { Some(at) };
    }

    /// Asks for a fetch because of an unknown key. Returns true if one is under way or begins now.
    pub(super) fn ask(&mut self, now: Instant) -> bool {
        if !self.has_owner {
            return false;
        }
        let is_allowed = self.started.is_none_or(|started| started + ASKED <= now);
        if is_allowed && !self.is_running {
            self.next = Some(now);
        }
        self.is_running || is_allowed
    }

    /// Asks for a fetch that begins from now on, because the operator wants one.
    pub(super) fn nudge(&mut self) {
        (self.next, self.again) = (None, self.is_running);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn owned() -> Schedule {
        let mut schedule = Schedule::default();
        schedule.set_owner(true);
        schedule
    }

    #[test]
    fn the_first_fetch_is_at_once_and_others_within_ten_minutes() {
        let (mut schedule, now) = (owned(), Instant::now());
        assert!(schedule.begin(now) && !schedule.begin(now), "one at a time");
        schedule.succeeded(now, 0.0);
        assert_eq!(schedule.next_at(now), now + REFRESH);
        assert!(!schedule.begin(now + REFRESH - SECOND) && schedule.begin(now + REFRESH));
        schedule.succeeded(now, 1.0);
        assert_eq!(schedule.next_at(now), now + 540 * SECOND);
    }

    #[test]
    fn failures_back_off_to_a_minute_and_a_success_forgets_them() {
        let (mut schedule, now) = (owned(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..80 {
            schedule.failed(now, 0.0);
            pauses.push((schedule.next_at(now) - now).as_secs());
        }
        assert_eq!(pauses[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pauses.last(), Some(&60));
        schedule.succeeded(now, 0.0);
        schedule.failed(now, 0.0);
        assert_eq!(schedule.next_at(now), now + SECOND);
    }

    #[test]
    fn an_unknown_key_waits_for_a_fetch_every_ten_seconds_at_most() {
        let (mut schedule, now) = (owned(), Instant::now());
        assert!(schedule.ask(now), "the first fetch is due");
        assert!(schedule.begin(now));
        assert!(schedule.ask(now + SECOND), "it is under way");
        schedule.succeeded(now + SECOND, 0.0);
        assert!(!schedule.ask(now + 9 * SECOND));
        assert!(!schedule.begin(now + 9 * SECOND), "asking too early starts nothing");
        assert!(schedule.ask(now + 10 * SECOND) && schedule.begin(now + 10 * SECOND));
        schedule.failed(now + 10 * SECOND, 0.0);
        assert!(!schedule.ask(now + 11 * SECOND), "a failure counts too");
    }

    #[test]
    fn without_a_task_nothing_is_waited_for() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        assert!(!schedule.ask(now));
        schedule.set_owner(true);
        assert!(schedule.begin(now));
        schedule.set_owner(false);
        assert!(!schedule.ask(now + REFRESH));
    }

    #[test]
    fn the_operator_does_not_wait() {
        let (mut schedule, now) = (owned(), Instant::now());
        assert!(schedule.begin(now));
        schedule.succeeded(now, 0.0);
        schedule.nudge();
        assert!(schedule.begin(now));
        // The one under way may have begun too early.
        schedule.nudge();
        assert!(!schedule.begin(now));
        schedule.succeeded(now, 0.0);
        assert!(schedule.begin(now));
        schedule.failed(now, 0.0);
        assert!(!schedule.begin(now));
    }
}
