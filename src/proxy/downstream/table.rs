//! The connections of one listener: their number, the state of each, and which one is evicted at the limit.
//!
//! Invariants:
//!
//! - A connection with a request in progress is never closed from here. The transition to and from [`ConnectionKind::Active`] is
//!   one compare-and-swap, so an eviction either comes before the request or does not happen.
//! - The request path takes no lock. The list is locked when a connection opens or closes, and scanned when the limit
//!   is reached, once a second for expiry, and for a scrape.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;

/// Idle connections are closed after this time, kept alive or new.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// Time that a new connection has to send its first byte before it may be evicted.
const GRACE: Duration = Duration::from_millis(10);

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConnectionKind {
    /// No byte was received yet.
    New,
    /// Part of the first head, or of the TLS handshake before it, was received.
    Opening,
    /// The connection waits for another request.
    Idle,
    /// Part of a later head was received.
    Reading,
    /// A request is in progress.
    Active,
    /// The connection was evicted.
    Evicted,
}

impl ConnectionKind {
    const ALL: [Self; 6] = [Self::New, Self::Opening, Self::Idle, Self::Reading, Self::Active, Self::Evicted];

    /// Returns true if no complete head was received since the connection was accepted.
    fn owes_a_head(self) -> bool {
        matches!(self, Self::New | Self::Opening | Self::Reading)
    }

    /// Returns true if no byte of a request was received.
    fn is_quiet(self) -> bool {
        matches!(self, Self::New | Self::Idle)
    }
}

/// A kind and the time of the transition, in microseconds of uptime, so that connections of one burst can be ordered.
#[derive(Debug, Clone, Copy)]
struct ConnectionState {
    kind: ConnectionKind,
    since: u64,
}

impl ConnectionState {
    fn pack(self) -> u64 {
        (self.since << 3) | self.kind as u64
    }

    fn unpack(packed: u64) -> Self {
        Self { kind: ConnectionKind::ALL[(packed & 7).min(5) as usize], since: packed >> 3 }
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Slot {
    state: AtomicU64,
    task: OnceLock<AbortHandle>,
    /// Index in the list, written under the list's lock; [`GONE`] after removal.
    at: AtomicUsize,
}

/// Index of a connection that was removed from the list.
const GONE: usize = usize::MAX;

impl Slot {
    /// Records the task that serves the connection.
    pub(crate) fn served_by(&self, task: AbortHandle) {
        let task = self.task.get_or_init(|| task);
        // An eviction may have come first, and found no task to abort.
        if self.state().kind == ConnectionKind::Evicted {
            task.abort();
        }
    }

    fn state(&self) -> ConnectionState {
        ConnectionState::unpack(self.state.load(Ordering::Acquire))
    }

    /// Evicts the connection, unless its state changed since `seen`.
    fn evict(&self, seen: ConnectionState) -> bool {
        let evicted = ConnectionState { kind: ConnectionKind::Evicted, ..seen }.pack();
        let swapped =
            self.state.compare_exchange(seen.pack(), evicted, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if swapped && let Some(task) = self.task.get() {
            task.abort();
        }
        swapped
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Table {
    /// The listener's name in the file.
    pub(crate) listener: &'static str,
    slots: Mutex<Vec<Arc<Slot>>>,
    limit: AtomicUsize,
    refused: AtomicU64,
    draining: AtomicBool,
}

/// A connection's entry in its table, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    table: Arc<Table>,
    slot: Arc<Slot>,
    /// No complete head was received yet. Only [`Self::active`] sets it to false.
    is_first: bool,
}

/// The decision about a new connection.
#[derive(Debug)]
pub(crate) enum SlotAdmission {
    /// The connection has an entry.
    Admitted(Ticket),
    /// The connection should ask again after this time.
    Wait(Duration),
    /// Every connection has a request in progress.
    Full,
}

/// The number of connections by state, and of those refused at the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionCounts {
    pub(crate) active: u64,
    pub(crate) idle: u64,
    pub(crate) refused: u64,
}

impl Table {
    /// Returns a table for `limit` connections.
    pub(crate) fn new(listener: &'static str, limit: usize) -> Self {
        Self {
            listener,
            slots: Mutex::default(),
            limit: AtomicUsize::new(limit),
            refused: AtomicU64::new(0),
            draining: AtomicBool::new(false),
        }
    }

    /// Changes the limit; connections beyond a lower one stay.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Returns the limit.
    pub(crate) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Admits a connection. At the limit, evicts the connection that has sent no complete head for the longest time,
    /// else the longest-idle one. If the new connection `may_wait`, a connection that has sent nothing gets [`GRACE`]
    /// to do so: in a burst, its first bytes may have arrived without being read.
    pub(crate) fn admit(self: &Arc<Self>, now: Duration, may_wait: bool) -> SlotAdmission {
        let mut slots = self.lock();
        if slots.len() >= self.limit() {
            match make_room(&mut slots, now, may_wait) {
                Room::Made => {}
                Room::Later(wait) => return SlotAdmission::Wait(wait),
                Room::None => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    return SlotAdmission::Full;
                }
            }
        }
        let slot = Arc::new(Slot {
            state: AtomicU64::new(ConnectionState { kind: ConnectionKind::New, since: micros(now) }.pack()),
            task: OnceLock::new(),
            at: AtomicUsize::new(slots.len()),
        });
        slots.push(Arc::clone(&slot));
        drop(slots);
        SlotAdmission::Admitted(Ticket { table: Arc::clone(self), slot, is_first: true })
    }

    /// Closes the connections that have been idle for too long.
    pub(crate) fn expire(&self, now: Duration) {
        let Some(oldest) = now.checked_sub(IDLE_TIME).map(micros) else { return };
        self.end(|state| state.kind.is_quiet() && state.since <= oldest);
    }

    /// Starts draining: connections end with the current request, and idle ones end now.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.end(|state| state.kind.is_quiet());
    }

    /// Ends the connections with an incomplete head.
    pub(crate) fn end_heads(&self) {
        self.end(|state| state.kind.owes_a_head());
    }

    /// Returns true if the table is draining.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Returns the counts for a scrape.
    pub(crate) fn counts(&self) -> ConnectionCounts {
        let slots = self.lock();
        let active = slots.iter().filter(|slot| slot.state().kind == ConnectionKind::Active).count() as u64;
        ConnectionCounts {
            active,
            idle: slots.len() as u64 - active,
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    fn end(&self, is_due: impl Fn(ConnectionState) -> bool) {
        for slot in self.lock().iter() {
            let state = slot.state();
            if is_due(state) {
                slot.evict(state);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The outcome of [`make_room`].
enum Room {
    Made,
    /// The candidate is new and may be about to send.
    Later(Duration),
    None,
}

/// Makes room for one connection. The entry is free at once; the evicted task ends a moment later.
fn make_room(slots: &mut Vec<Arc<Slot>>, now: Duration, may_wait: bool) -> Room {
    // A connection may become active between the look and the eviction; then the next candidate is tried.
    for _ in 0..slots.len().min(8) {
        let candidates = slots.iter().enumerate().map(|(at, slot)| (at, slot.state()));
        let idle = |state: &ConnectionState| state.kind.owes_a_head() || state.kind == ConnectionKind::Idle;
        let oldest = candidates
            .filter(|(_, state)| idle(state))
            .min_by_key(|(_, state)| (!state.kind.owes_a_head(), state.since));
        let Some((at, state)) = oldest else { return Room::None };
        let age = now.saturating_sub(Duration::from_micros(state.since));
        if may_wait && state.kind == ConnectionKind::New && age < GRACE {
            return Room::Later(GRACE - age);
        }
        if slots[at].evict(state) {
            remove(slots, at);
            return Room::Made;
        }
    }
    Room::None
}

/// Removes a connection from the list.
fn remove(slots: &mut Vec<Arc<Slot>>, at: usize) {
    slots.swap_remove(at).at.store(GONE, Ordering::Relaxed);
    if let Some(moved) = slots.get(at) {
        moved.at.store(at, Ordering::Relaxed);
    }
}

impl Ticket {
    /// Returns the connection, for the accept loop.
    pub(crate) fn slot(&self) -> Arc<Slot> {
        Arc::clone(&self.slot)
    }

    /// Records the first byte of a head. The rest is due since the connection was accepted or became idle. False: the
    /// connection was evicted.
    pub(crate) fn reading(&self) -> bool {
        let since = Duration::from_micros(self.slot.state().since);
        self.go(if self.is_first { ConnectionKind::Opening } else { ConnectionKind::Reading }, since)
    }

    /// Records the end of a handshake: no byte of a request was received yet. The first one is due since the connection was
    /// accepted. False: the connection was evicted.
    pub(crate) fn secured(&self) -> bool {
        self.go(ConnectionKind::New, Duration::from_micros(self.slot.state().since))
    }

    /// Records a complete head.
    pub(crate) fn active(&mut self, now: Duration) -> bool {
        self.is_first = false;
        self.go(ConnectionKind::Active, now)
    }

    /// Records the end of a request on a connection that is kept. False if it has to end.
    pub(crate) fn idle(&self, now: Duration) -> bool {
        self.go(ConnectionKind::Idle, now) && !self.table.is_draining()
    }

    fn go(&self, kind: ConnectionKind, now: Duration) -> bool {
        let seen = self.slot.state.load(Ordering::Acquire);
        let next = ConnectionState { kind, since: micros(now) }.pack();
        ConnectionState::unpack(seen).kind != ConnectionKind::Evicted
            && self.slot.state.compare_exchange(seen, next, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut slots = self.table.lock();
        // An evicted connection was removed from the list already.
        match self.slot.at.load(Ordering::Relaxed) {
            GONE => {}
            at => remove(&mut slots, at),
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX >> 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn table(limit: usize) -> Arc<Table> {
        Arc::new(Table::new("outbound", limit))
    }

    /// Admits without a grace period.
    fn admit(table: &Arc<Table>, now: Duration) -> Option<Ticket> {
        match table.admit(now, false) {
            SlotAdmission::Admitted(ticket) => Some(ticket),
            SlotAdmission::Wait(_) | SlotAdmission::Full => None,
        }
    }

    fn is_evicted(ticket: &Ticket) -> bool {
        ticket.slot.state().kind == ConnectionKind::Evicted
    }

    #[test]
    fn evicts_connections_without_a_head_before_idle_ones_oldest_first() {
        let table = table(4);
        let at = |seconds: u32| admit(&table, seconds * SECOND).expect("room");
        let (mut idle, opening, reading, new) = (at(0), at(3), at(1), at(2));
        assert!(idle.active(SECOND) && idle.idle(SECOND));
        assert!(opening.reading() && reading.reading());
        let tickets = [&reading, &new, &opening, &idle];
        let mut kept = Vec::new();
        for (nth, gone) in tickets.iter().enumerate() {
            kept.push(admit(&table, 10 * SECOND).expect("a connection is evicted for it"));
            // The new ones become busy, so that they are no candidates.
            assert!(kept[nth].active(10 * SECOND));
            assert!(is_evicted(gone), "{nth}");
            assert!(
                !gone.go(ConnectionKind::Reading, 11 * SECOND),
                "an evicted connection serves no request"
            );
        }
        assert!(admit(&table, 10 * SECOND).is_none(), "every connection has a request in progress");
        assert_eq!(table.counts(), ConnectionCounts { active: 4, idle: 0, refused: 1 });
    }

    #[test]
    fn a_burst_of_connections_does_not_evict_its_own_members() {
        let table = table(2);
        let (mut idle, new) =
            (admit(&table, SECOND).expect("room"), admit(&table, 2 * SECOND).expect("room"));
        assert!(idle.active(SECOND) && idle.idle(SECOND));
        let soon = 2 * SECOND + GRACE / 2;
        assert!(matches!(table.admit(soon, true), SlotAdmission::Wait(wait) if wait == GRACE / 2));
        assert!(matches!(table.admit(2 * SECOND + GRACE, true), SlotAdmission::Admitted(_)));
        assert!(is_evicted(&new) && !is_evicted(&idle));
    }

    #[test]
    fn a_dropped_ticket_frees_its_entry() {
        let table = table(1);
        drop(admit(&table, SECOND).expect("room"));
        let mut ticket = admit(&table, SECOND).expect("room");
        assert!(ticket.active(SECOND));
        assert_eq!(table.counts(), ConnectionCounts { active: 1, idle: 0, refused: 0 });
    }

    #[test]
    fn idle_connections_expire_and_half_a_head_does_not() {
        let table = table(3);
        let (new, mut idle, reading) = (
            admit(&table, SECOND).expect("room"),
            admit(&table, SECOND).expect("room"),
            admit(&table, SECOND).expect("room"),
        );
        assert!(idle.active(SECOND) && idle.idle(2 * SECOND) && reading.reading());
        table.expire(61 * SECOND);
        assert!(is_evicted(&new) && !is_evicted(&idle));
        table.expire(62 * SECOND);
        assert!(is_evicted(&idle) && !is_evicted(&reading));
    }

    #[test]
    fn draining_ends_quiet_connections_and_lets_the_others_finish() {
        let table = table(3);
        let (new, mut active, reading) = (
            admit(&table, SECOND).expect("room"),
            admit(&table, SECOND).expect("room"),
            admit(&table, SECOND).expect("room"),
        );
        assert!(active.active(SECOND) && reading.reading());
        table.drain();
        assert!(is_evicted(&new) && !is_evicted(&active) && !is_evicted(&reading));
        table.end_heads();
        assert!(is_evicted(&reading) && !is_evicted(&active));
        assert!(!active.idle(2 * SECOND));
    }
}
