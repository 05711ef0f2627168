//! Decides when to look at the files, and whether a change is complete. Pure: events, findings and the time are
//! arguments.
//!
//! A change is accepted at once if events reported it, they have ceased, and no file is modified and not yet closed.
//! Without an event, two looks have to agree. A change that never settles is accepted after [`LIMIT`].

use crate::config::files::Difference;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// Minimum time between two reads, and between the last event and a read.
const QUIET: Duration = Duration::from_millis(250);
/// Maximum time that a change may take to settle.
const LIMIT: Duration = Duration::from_secs(5);

/// The report of an event about the configuration's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hint {
    /// This file is being written.
    Writing(PathBuf),
    /// This file was closed, or replaced or removed as a whole.
    Done(PathBuf),
    /// Something else about the files may have changed.
    Touched,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Rest {
    poll: Duration,
    next_poll: Instant,
    /// The time at which the files were last read.
    read_at: Instant,
    /// The start of the pending change, which was not looked at, or not accepted.
    since: Option<Instant>,
    last_hint: Option<Instant>,
    /// Files that are modified and not yet closed.
    open: BTreeSet<PathBuf>,
    /// The difference that the last look found and did not accept.
    doubted: Option<Difference>,
}

impl Rest {
    /// Starts after the files were read. They are looked at soon, and then every `poll`.
    pub(super) fn new(poll: Duration, now: Instant) -> Self {
        Self {
            poll,
            next_poll: now + poll,
            read_at: now,
            since: Some(now),
            last_hint: None,
            open: BTreeSet::new(),
            doubted: None,
        }
    }

    /// Continues after the files were read again. Changes during that read are looked at soon.
    pub(super) fn reread(&mut self, now: Instant) {
        self.read_at = now;
        self.since.get_or_insert(now);
        self.doubted = None;
    }

    pub(super) fn hint(&mut self, hint: Hint, now: Instant) {
        match hint {
            Hint::Writing(path) => drop(self.open.insert(path)),
            Hint::Done(path) => drop(self.open.remove(&path)),
            Hint::Touched => {}
        }
        self.since.get_or_insert(now);
        self.last_hint = Some(now);
    }

    /// Returns the moment of the next look, unless a hint comes first.
    pub(super) fn next_look(&self) -> Instant {
        let Some(since) = self.since else { return self.next_poll };
        let at_rest = match self.last_hint {
            _ if !self.open.is_empty() => since + LIMIT,
            Some(hint) => hint + QUIET,
            None => self.read_at,
        };
        at_rest.min(since + LIMIT).max(self.next_read())
    }

    /// Returns the earliest moment of another read.
    pub(super) fn next_read(&self) -> Instant {
        self.read_at + QUIET
    }

    /// Evaluates the result of a look that began at `now`. Returns true if the difference is accepted. `blind`: events
    /// could have been missed.
    pub(super) fn looked(&mut self, difference: Difference, blind: bool, now: Instant) -> bool {
        self.read_at = now;
        self.next_poll = now + self.poll;
        let since = self.since.take();
        if difference.is_empty() {
            self.forget();
            return false;
        }
        let since = since.unwrap_or(now);
        let was_reported = self.last_hint.is_some() && !blind;
        let quiet = self.open.is_empty() && self.last_hint.is_none_or(|hint| hint + QUIET <= now);
        let overdue = since + LIMIT <= now;
        if overdue || (quiet && (was_reported || self.doubted.as_ref() == Some(&difference))) {
            self.forget();
            if overdue {
                // A file that is still being written causes another event.
                self.open.clear();
            }
            return true;
        }
        self.since = Some(since);
        self.doubted = Some(difference);
        false
    }

    fn forget(&mut self) {
        self.last_hint = None;
        self.doubted = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::files::Content;

    const POLL: Duration = Duration::from_secs(10);

    /// A state machine without changes. Its times are milliseconds.
    struct Case {
        rest: Rest,
        start: Instant,
    }

    impl Case {
        fn new() -> Self {
            let start = Instant::now();
            let mut case = Self { rest: Rest::new(POLL, start), start };
            assert_eq!(case.next(), 250, "the first look follows the read");
            assert!(!case.same_at(250));
            case
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn hint(&mut self, hint: Hint, ms: u64) {
            self.rest.hint(hint, self.at(ms));
        }

        fn next(&self) -> u128 {
            (self.rest.next_look() - self.start).as_millis()
        }

        fn same_at(&mut self, ms: u64) -> bool {
            self.rest.looked(Difference::new(), false, self.at(ms))
        }

        fn differs_at(&mut self, ms: u64) -> bool {
            self.finds(&missing("a"), false, ms)
        }

        fn finds(&mut self, difference: &Difference, blind: bool, ms: u64) -> bool {
            self.rest.looked(difference.clone(), blind, self.at(ms))
        }
    }

    fn missing(path: &str) -> Difference {
        [(PathBuf::from(path), Content::Missing)].into()
    }

    fn writing() -> Hint {
        Hint::Writing("a".into())
    }

    fn done() -> Hint {
        Hint::Done("a".into())
    }

    #[test]
    fn a_closed_file_is_accepted_a_quarter_of_a_second_after_the_last_event() {
        let mut case = Case::new();
        assert_eq!(case.next(), 10_250, "nothing happens: the poll");
        case.hint(writing(), 1000);
        case.hint(done(), 1010);
        assert_eq!(case.next(), 1260);
        assert!(case.differs_at(1260));
        assert_eq!(case.next(), 11_260);
    }

    #[test]
    fn a_paused_writer_delays_the_change_until_it_closes() {
        let mut case = Case::new();
        case.hint(writing(), 1000);
        assert_eq!(case.next(), 6000);
        case.hint(writing(), 1800);
        case.hint(done(), 1801);
        assert_eq!(case.next(), 2051);
        assert!(case.differs_at(2051));
    }

    #[test]
    fn a_file_that_is_never_closed_is_accepted_every_five_seconds() {
        let mut case = Case::new();
        case.hint(writing(), 1000);
        case.hint(writing(), 4000);
        assert_eq!(case.next(), 6000);
        assert!(case.differs_at(6000));
        case.hint(writing(), 6100);
        assert_eq!(case.next(), 11_100);
    }

    #[test]
    fn a_file_replaced_every_100_ms_is_accepted_after_five_seconds() {
        let mut case = Case::new();
        for ms in (1000..6000).step_by(100) {
            case.hint(done(), ms);
            assert!(case.next() > u128::from(ms));
        }
        assert_eq!(case.next(), 6000);
        assert!(case.differs_at(6000));
    }

    #[test]
    fn without_an_event_two_looks_have_to_agree() {
        let mut case = Case::new();
        assert!(!case.finds(&missing("a"), false, 10_250));
        assert_eq!(case.next(), 10_500);
        assert!(!case.finds(&missing("b"), false, 10_500), "the change differs from the previous one");
        assert_eq!(case.next(), 10_750);
        assert!(case.finds(&missing("b"), false, 10_750));
    }

    #[test]
    fn without_an_event_an_unstable_file_is_accepted_after_five_seconds() {
        let mut case = Case::new();
        let mut ms = 10_250;
        while !case.finds(&missing(&ms.to_string()), false, ms) {
            assert_eq!(case.next(), u128::from(ms + 250));
            ms += 250;
        }
        assert_eq!(ms, 15_250);
    }

    #[test]
    fn a_newly_watched_folder_is_looked_at_twice() {
        let mut case = Case::new();
        case.hint(done(), 1000);
        assert!(!case.finds(&missing("a"), true, 1250));
        assert_eq!(case.next(), 1500);
        assert!(case.finds(&missing("a"), false, 1500));
    }

    #[test]
    fn the_poll_ignores_a_file_that_is_being_written() {
        let mut case = Case::new();
        case.hint(writing(), 1000);
        assert!(!case.same_at(6000), "only its times differ");
        assert!(!case.differs_at(16_000));
        assert_eq!(case.next(), 21_000);
        case.hint(done(), 16_100);
        assert_eq!(case.next(), 16_350);
        assert!(case.differs_at(16_350));
    }

    #[test]
    fn events_without_a_difference_are_forgotten() {
        let mut case = Case::new();
        case.hint(Hint::Touched, 1000);
        assert!(!case.same_at(1250));
        assert_eq!(case.next(), 11_250);
        assert!(!case.differs_at(11_250), "no event reported it");
    }

    #[test]
    fn two_reads_are_a_quarter_of_a_second_apart() {
        let mut case = Case::new();
        case.hint(done(), 1000);
        assert!(case.differs_at(1250));
        case.rest.reread(case.at(1400));
        assert_eq!(case.next(), 1650);
        assert!(!case.same_at(1650));
        case.hint(done(), 1700);
        assert_eq!(case.next(), 1950);
    }
}
