//! Deliveries that have been here before.
//!
//! A delivery is *reserved* while it is on its way to our program, *taken* once our program has answered 2xx, and forgotten
//! if it has not: then the provider's retry is no duplicate. A second one that comes while the first is on its way can be
//! told neither that it was taken nor that it was not, and is told to come again.
//!
//! Memory is bounded: beyond [`CAPACITY`] the oldest is forgotten early, and counted. It is of this process alone, and
//! ends with it.

use crate::config::model::Replay;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Deliveries remembered of one service.
pub const CAPACITY: usize = 1 << 17;

/// What stands for a delivery: 128 bits of a SHA-256.
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
    /// By the order in which they came, which is that in which they are forgotten.
    order: BTreeMap<u64, Id>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    until: Duration,
    taken: bool,
}

/// What is known of a delivery that comes.
#[derive(Debug)]
pub enum Seen {
    /// First seen: the holder of the reservation carries it out.
    First(DedupReservation),
    /// It is on its way to our program.
    UnderWay,
    /// Our program has it.
    Taken,
}

impl Deliveries {
    /// Reserves the delivery that `digest` stands for, at `now`, counted from the start of the process, if `admit` lets in
    /// one that is new. A look-up, `admit` and an insertion under a lock of the service: a delivery that is refused evicts
    /// none.
    ///
    /// # Errors
    ///
    /// The error of `admit`.
    pub fn reserve_at<E>(
        self: &Arc<Self>,
        digest: &[u8; 32],
        now: Duration,
        replay: &Replay,
        admit: impl FnOnce() -> Result<(), E>,
    ) -> Result<Seen, E> {
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        let mut state = self.lock();
        state.forget_until(now);
        match state.seen.get(&id) {
            Some(entry) if entry.until > now => {
                return Ok(if entry.taken { Seen::Taken } else { Seen::UnderWay });
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
        state.seen.insert(id, Entry { number, until: now + replay.window, taken: false });
        state.order.insert(number, id);
        drop(state);
        Ok(Seen::First(DedupReservation { deliveries: Arc::clone(self), id, number, taken: false }))
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.lock().seen.len()
    }

    /// Returns true if none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many were forgotten before their time, for want of room.
    pub fn forgotten_early(&self) -> u64 {
        self.forgotten_early.load(Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Forgets expired entries, a few at a time: the first call after a long quiet must not pay for all of them.
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

/// A delivery on its way to our program. Dropped without being taken, it has not been here.
#[derive(Debug)]
pub struct DedupReservation {
    deliveries: Arc<Deliveries>,
    id: Id,
    number: u64,
    taken: bool,
}

impl DedupReservation {
    /// Our program has it.
    pub fn commit(mut self) {
        self.taken = true;
        let mut state = self.deliveries.lock();
        if let Some(entry) = state.seen.get_mut(&self.id).filter(|entry| entry.number == self.number) {
            entry.taken = true;
        }
    }
}

impl Drop for DedupReservation {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        let mut state = self.deliveries.lock();
        // Another may have reservationed it since, if this one took longer than the window.
        if state.seen.get(&self.id).is_some_and(|entry| entry.number == self.number) {
            state.forget(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use std::convert::Infallible;

    const SECOND: Duration = Duration::from_secs(1);
    const REPLAY: Replay = Replay { window: Duration::from_secs(10), answer: StatusCode::OK };

    fn first(deliveries: &Arc<Deliveries>, n: u32, now: Duration) -> Option<DedupReservation> {
        match seen(deliveries, n, now) {
            Seen::First(reservation) => Some(reservation),
            Seen::UnderWay | Seen::Taken => None,
        }
    }

    fn seen(deliveries: &Arc<Deliveries>, n: u32, now: Duration) -> Seen {
        let seen: Result<Seen, Infallible> = deliveries.reserve_at(&digest(n), now, &REPLAY, || Ok(()));
        seen.expect("it is let in")
    }

    fn digest(n: u32) -> [u8; 32] {
        crate::secret::sha256(&n.to_be_bytes())
    }

    #[test]
    fn one_that_was_taken_is_a_duplicate_until_the_window_ends() {
        let deliveries = Arc::<Deliveries>::default();
        first(&deliveries, 1, SECOND).expect("new").commit();
        assert!(matches!(seen(&deliveries, 1, 10 * SECOND), Seen::Taken));
        assert!(first(&deliveries, 2, 10 * SECOND).is_some(), "another one");
        assert!(first(&deliveries, 1, 11 * SECOND).is_some());
    }

    #[test]
    fn one_that_was_not_taken_has_not_been_here() {
        let deliveries = Arc::<Deliveries>::default();
        let reservation = first(&deliveries, 1, SECOND).expect("new");
        assert!(matches!(seen(&deliveries, 1, SECOND), Seen::UnderWay));
        drop(reservation);
        assert!(deliveries.is_empty());
        assert!(first(&deliveries, 1, SECOND).is_some());
    }

    #[test]
    fn a_reservation_that_outlives_its_window_leaves_the_next_one_alone() {
        let deliveries = Arc::<Deliveries>::default();
        let slow = first(&deliveries, 1, SECOND).expect("new");
        let second = first(&deliveries, 1, 12 * SECOND).expect("the window has passed");
        drop(slow);
        assert!(matches!(seen(&deliveries, 1, 12 * SECOND), Seen::UnderWay));
        second.commit();
        assert!(matches!(seen(&deliveries, 1, 12 * SECOND), Seen::Taken));
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_early_is_counted() {
        let deliveries = Arc::<Deliveries>::default();
        for n in 0..u32::try_from(CAPACITY).expect("small") + 5 {
            first(&deliveries, n, SECOND).expect("new").commit();
        }
        assert_eq!((deliveries.len(), deliveries.forgotten_early()), (CAPACITY, 5));
        assert!(first(&deliveries, 4, SECOND).is_some(), "the oldest is forgotten");
        assert!(first(&deliveries, 100, SECOND).is_none());
    }

    #[test]
    fn what_is_due_goes_as_others_come() {
        let deliveries = Arc::<Deliveries>::default();
        (0..100).for_each(|n| first(&deliveries, n, SECOND).expect("new").commit());
        (100..120).for_each(|n| first(&deliveries, n, 20 * SECOND).expect("new").commit());
        assert_eq!(deliveries.len(), 20);
    }
}
