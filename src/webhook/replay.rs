//! Remembered deliveries, by which duplicates are found.
//!
//! A delivery is *under way* from its reservation until its outcome is known. It is *taken* if the receiver answered 2xx,
//! and *released* if it answered otherwise or was sent nothing: then the provider's retry is no duplicate. Without an
//! answer it is *unknown*: the receiver may still be working on it, so it is held for another `timeout`.
//!
//! Memory is bounded: beyond [`CAPACITY`] the oldest is forgotten early, and counted. A restart of the process forgets
//! all.

use crate::config::model::Replay;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Maximum number of deliveries remembered of one service.
pub const CAPACITY: usize = 1 << 17;

/// The first 128 bits of the SHA-256 that identifies a delivery.
type Id = [u8; 16];

/// The deliveries of one service. Outlives reloads.
#[derive(Debug, Default)]
pub struct Deliveries {
    state: Mutex<State>,
    forgotten_early: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    seen: HashMap<Id, Entry>,
    /// The entries in the order in which they came, which is the order in which they are forgotten.
    order: BTreeMap<u64, Id>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    until: Duration,
    progress: Progress,
}

#[derive(Debug, Clone, Copy)]
enum Progress {
    UnderWay,
    Unknown,
    Taken,
}

/// The state of a delivery that arrives.
#[derive(Debug)]
pub enum Seen {
    /// The delivery is new. The holder of the reservation carries it out.
    First(DedupReservation),
    /// The delivery is being forwarded to the receiver.
    UnderWay,
    /// The receiver was sent it and gave no answer. It is held for this time.
    Unknown(Duration),
    /// The receiver has accepted it.
    Taken,
}

impl Deliveries {
    /// Reserves the delivery that `digest` stands for, at `now`, counted from the start of the process, if `admit` lets in
    /// one that is new. `timeout` is the webhook's. A look-up, `admit` and an insertion under a lock of the service: a
    /// delivery that is refused evicts none.
    ///
    /// # Errors
    ///
    /// The error of `admit`.
    pub fn reserve_at<E>(
        self: &Arc<Self>,
        digest: &[u8; 32],
        now: Duration,
        (replay, timeout): (&Replay, Duration),
        admit: impl FnOnce() -> Result<(), E>,
    ) -> Result<Seen, E> {
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        let mut state = self.lock();
        state.forget_until(now);
        match state.seen.get(&id) {
            Some(entry) if entry.until > now => {
                return Ok(match entry.progress {
                    Progress::UnderWay => Seen::UnderWay,
                    Progress::Unknown => Seen::Unknown(entry.until - now),
                    Progress::Taken => Seen::Taken,
                });
            }
            Some(_) => state.forget(&id),
            None => {}
        }
        admit()?;
        if state.seen.len() >= CAPACITY
            && let Some((_, oldest)) = state.order.pop_first()
        {
            state.seen.remove(&oldest);
            self.forgotten_early.fetch_add(1, Relaxed);
        }
        let number = state.next;
        state.next += 1;
        // The outcome is known within `timeout`, and an unknown one is held for another.
        let longest = now.saturating_add(timeout.saturating_mul(2));
        let window_end = now.saturating_add(replay.window);
        let entry = Entry { number, until: window_end.max(longest), progress: Progress::UnderWay };
        state.seen.insert(id, entry);
        state.order.insert(number, id);
        drop(state);
        Ok(Seen::First(DedupReservation {
            deliveries: Arc::clone(self),
            id,
            number,
            window_end,
            longest,
            timeout,
            is_sent: AtomicBool::new(false),
            is_settled: false,
        }))
    }

    /// Returns the number of remembered deliveries.
    pub fn len(&self) -> usize {
        self.lock().seen.len()
    }

    /// Returns true if no delivery is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of deliveries that were forgotten before their time, for want of room.
    pub fn forgotten_early(&self) -> u64 {
        self.forgotten_early.load(Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Forgets expired entries, a few at a time, so that the first call after a long pause does not remove all of them.
    fn forget_until(&mut self, now: Duration) {
        for _ in 0..8 {
            let Some(first) = self.order.first_entry() else { return };
            if self.seen.get(first.get()).is_some_and(|entry| entry.until > now) {
                return;
            }
            let id = first.remove();
            self.seen.remove(&id);
        }
    }

    fn forget(&mut self, id: &Id) {
        if let Some(entry) = self.seen.remove(id) {
            self.order.remove(&entry.number);
        }
    }
}

/// A delivery that is being forwarded to its receiver. Dropped without an outcome, it is released if nothing was sent, and
/// else held until the latest time at which an unknown one ends.
#[derive(Debug)]
pub struct DedupReservation {
    deliveries: Arc<Deliveries>,
    id: Id,
    number: u64,
    window_end: Duration,
    longest: Duration,
    timeout: Duration,
    /// Bytes of the request may have reached the receiver.
    is_sent: AtomicBool,
    is_settled: bool,
}

impl DedupReservation {
    /// Notes that bytes of the request may reach the receiver from now on. Returns true if they could before.
    pub fn sending(&self) -> bool {
        self.is_sent.swap(true, Relaxed)
    }

    /// Takes the note back: no byte was written to a connection.
    pub fn sent_nothing(&self) {
        self.is_sent.store(false, Relaxed);
    }

    /// Ends the reservation at `now`. `status` is the receiver's answer, if there is one.
    pub fn settle_at(mut self, status: Option<u16>, now: Duration) {
        let outcome = match status {
            Some(200..=299) => Some((Progress::Taken, self.window_end)),
            Some(_) => None,
            None => self.is_sent().then(|| (Progress::Unknown, now.saturating_add(self.timeout))),
        };
        self.settle(outcome);
    }

    fn is_sent(&self) -> bool {
        self.is_sent.load(Relaxed)
    }

    fn settle(&mut self, outcome: Option<(Progress, Duration)>) {
        self.is_settled = true;
        let mut state = self.deliveries.lock();
        // Another request may have reserved it since, if this one took too long.
        let Some(entry) = state.seen.get_mut(&self.id).filter(|entry| entry.number == self.number) else {
            return;
        };
        match outcome {
            Some((progress, until)) => (entry.progress, entry.until) = (progress, until),
            None => state.forget(&self.id),
        }
    }
}

impl Drop for DedupReservation {
    fn drop(&mut self) {
        if !self.is_settled {
            let unknown = self.is_sent().then_some((Progress::Unknown, self.longest));
            self.settle(unknown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use std::convert::Infallible;

    const SECOND: Duration = Duration::from_secs(1);
    const TIMEOUT: Duration = Duration::from_secs(4);
    const REPLAY: Replay =
        Replay { window: Duration::from_secs(10), answer: StatusCode::OK, distinguish_by: Vec::new() };

    fn first(deliveries: &Arc<Deliveries>, n: u32, now: Duration) -> Option<DedupReservation> {
        match seen(deliveries, n, now) {
            Seen::First(reservation) => Some(reservation),
            Seen::UnderWay | Seen::Unknown(_) | Seen::Taken => None,
        }
    }

    fn seen(deliveries: &Arc<Deliveries>, n: u32, now: Duration) -> Seen {
        let of = (&REPLAY, TIMEOUT);
        let seen: Result<Seen, Infallible> = deliveries.reserve_at(&digest(n), now, of, || Ok(()));
        seen.expect("it is let in")
    }

    fn digest(n: u32) -> [u8; 32] {
        crate::secret::sha256(&n.to_be_bytes())
    }

    fn take(reservation: DedupReservation, now: Duration) {
        reservation.settle_at(Some(204), now);
    }

    #[test]
    fn one_that_was_taken_is_a_duplicate_until_the_window_ends() {
        let deliveries = Arc::<Deliveries>::default();
        take(first(&deliveries, 1, SECOND).expect("new"), 2 * SECOND);
        assert!(matches!(seen(&deliveries, 1, 10 * SECOND), Seen::Taken));
        assert!(first(&deliveries, 2, 10 * SECOND).is_some(), "another one");
        assert!(first(&deliveries, 1, 11 * SECOND).is_some());
    }

    #[test]
    fn one_that_was_answered_otherwise_or_never_sent_is_released() {
        for status in [Some(500), Some(199), Some(300), Some(429), None] {
            let deliveries = Arc::<Deliveries>::default();
            let reservation = first(&deliveries, 1, SECOND).expect("new");
            if status.is_some() {
                assert!(!reservation.sending());
            }
            assert!(matches!(seen(&deliveries, 1, SECOND), Seen::UnderWay));
            reservation.settle_at(status, 2 * SECOND);
            assert!(deliveries.is_empty());
            assert!(first(&deliveries, 1, 2 * SECOND).is_some(), "{status:?}");
        }
    }

    #[test]
    fn one_without_an_answer_is_held_for_another_timeout_from_that_moment() {
        let deliveries = Arc::<Deliveries>::default();
        let reservation = first(&deliveries, 1, SECOND).expect("new");
        reservation.sending();
        reservation.settle_at(None, 3 * SECOND);
        assert!(matches!(seen(&deliveries, 1, 3 * SECOND), Seen::Unknown(TIMEOUT)));
        assert!(matches!(seen(&deliveries, 1, 6 * SECOND), Seen::Unknown(SECOND)));
        assert!(first(&deliveries, 1, 7 * SECOND).is_some());
    }

    #[test]
    fn one_of_which_no_connection_took_a_byte_was_not_sent() {
        let deliveries = Arc::<Deliveries>::default();
        let reservation = first(&deliveries, 1, SECOND).expect("new");
        assert!(!reservation.sending());
        reservation.sent_nothing();
        reservation.settle_at(None, 3 * SECOND);
        assert!(first(&deliveries, 1, 3 * SECOND).is_some());
    }

    #[test]
    fn one_that_is_dropped_is_held_if_it_may_have_been_sent() {
        let deliveries = Arc::<Deliveries>::default();
        drop(first(&deliveries, 1, SECOND).expect("new"));
        let reservation = first(&deliveries, 1, SECOND).expect("released");
        reservation.sending();
        drop(reservation);
        assert!(matches!(seen(&deliveries, 1, 8 * SECOND), Seen::Unknown(SECOND)));
        assert!(
            first(&deliveries, 1, 9 * SECOND).is_some(),
            "the latest time at which an answer was due, and a timeout"
        );
    }

    #[test]
    fn one_under_way_is_held_beyond_a_short_window() {
        let replay = Replay { window: SECOND, ..REPLAY };
        let deliveries = Arc::<Deliveries>::default();
        let reserve = |now| {
            let seen: Result<Seen, Infallible> =
                deliveries.reserve_at(&digest(1), now, (&replay, TIMEOUT), || Ok(()));
            seen.expect("it is let in")
        };
        let Seen::First(reservation) = reserve(SECOND) else { panic!("it is new") };
        assert!(matches!(reserve(4 * SECOND), Seen::UnderWay));
        take(reservation, 5 * SECOND);
        assert!(matches!(reserve(5 * SECOND), Seen::First(_)), "its window has passed");
    }

    #[test]
    fn a_reservation_that_outlives_its_time_leaves_the_next_one_alone() {
        let deliveries = Arc::<Deliveries>::default();
        let slow = first(&deliveries, 1, SECOND).expect("new");
        let second = first(&deliveries, 1, 12 * SECOND).expect("the window has passed");
        drop(slow);
        assert!(matches!(seen(&deliveries, 1, 12 * SECOND), Seen::UnderWay));
        take(second, 12 * SECOND);
        assert!(matches!(seen(&deliveries, 1, 12 * SECOND), Seen::Taken));
    }

    #[test]
    fn one_that_is_not_let_in_leaves_no_trace_and_evicts_none() {
        let deliveries = Arc::<Deliveries>::default();
        let refused = deliveries.reserve_at(&digest(1), SECOND, (&REPLAY, TIMEOUT), || Err("rate"));
        assert_eq!(refused.err(), Some("rate"));
        assert!(deliveries.is_empty());
        take(first(&deliveries, 1, SECOND).expect("new"), SECOND);
        let again = deliveries.reserve_at(&digest(1), SECOND, (&REPLAY, TIMEOUT), || Err("rate"));
        assert!(matches!(again, Ok(Seen::Taken)), "a duplicate does not ask to be let in");
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_early_is_counted() {
        let deliveries = Arc::<Deliveries>::default();
        for n in 0..u32::try_from(CAPACITY).expect("small") + 5 {
            take(first(&deliveries, n, SECOND).expect("new"), SECOND);
        }
        assert_eq!((deliveries.len(), deliveries.forgotten_early()), (CAPACITY, 5));
        assert!(first(&deliveries, 4, SECOND).is_some(), "the oldest is forgotten");
        assert!(first(&deliveries, 100, SECOND).is_none());
    }

    #[test]
    fn what_is_due_goes_as_others_come() {
        let deliveries = Arc::<Deliveries>::default();
        (0..100).for_each(|n| take(first(&deliveries, n, SECOND).expect("new"), SECOND));
        (100..120).for_each(|n| take(first(&deliveries, n, 20 * SECOND).expect("new"), 20 * SECOND));
        assert_eq!(deliveries.len(), 20);
    }
}
