//! The deadline over everything up to the response headers, and the stall of a body after them.
//!
//! The engine has time-outs for single reads and writes only: set to what remains, they overshoot by what was spent
//! before and truncate slow bodies. So one [`Watchdog`] holds a handle of every upstream connection that is waited for,
//! and shuts the connection down when its time comes, which ends whatever the engine was doing with it at once.
//!
//! All deadlines of the process stand in one ordered map under one lock, held for a few dozen instructions: arming and
//! disarming is an insertion and a removal, not a task, a timer or a system call. A task sleeps until the earliest.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A second handle of an upstream connection: shutting it down ends the connection for its first.
pub(super) type Handle = Arc<TcpStream>;

/// Stands for an armed deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Armed {
    at: Instant,
    number: u64,
}

/// Who is asked when a deadline passes, whether it shall hold: `Some(at)` puts it off.
pub(super) trait PutOff: Send + Sync {
    /// Puts the deadline off, if there is a reason to.
    fn put_off(&self, now: Instant) -> Option<Instant>;
}

struct Entry {
    handle: Handle,
    put_off: Option<Arc<dyn PutOff>>,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<Armed, Entry>,
    /// Where an entry went that was put off, by the number it was armed with.
    moved: BTreeMap<u64, Armed>,
    next: u64,
    /// When the task will look next, if it sleeps towards a deadline.
    wakes_at: Option<Instant>,
}

/// Every deadline of the process.
#[derive(Default)]
pub(crate) struct Watchdog {
    state: Mutex<State>,
    earlier: Notify,
}

impl Watchdog {
    /// Shuts `handle` down at `at`, unless disarmed before. With `put_off`, asks it first.
    pub(super) fn arm(&self, at: Instant, handle: Handle, put_off: Option<Arc<dyn PutOff>>) -> Armed {
        let mut state = self.lock();
        let armed = Armed { at, number: state.next };
        state.next += 1;
        state.entries.insert(armed, Entry { handle, put_off });
        let wake = state.wakes_at.is_none_or(|wakes_at| at < wakes_at);
        if wake {
            state.wakes_at = Some(at);
            drop(state);
            self.earlier.notify_one();
        }
        armed
    }

    /// Whether the deadline was still to come. False: it has passed, and the connection is shut down.
    pub(super) fn disarm(&self, armed: Armed) -> bool {
        let mut state = self.lock();
        let armed = state.moved.remove(&armed.number).unwrap_or(armed);
        state.entries.remove(&armed).is_some()
    }

    /// Enforces deadlines for as long as it is polled.
    pub(crate) async fn run(&self) {
        loop {
            let next = self.enforce_at(Instant::now());
            match next {
                Some(at) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(at.into()) => {}
                        () = self.earlier.notified() => {}
                    }
                }
                None => self.earlier.notified().await,
            }
        }
    }

    /// Ends what is due at `now`; returns when to look again. The lock is taken for each deadline anew, so that a burst
    /// of them holds up no other request; a connection is shut down under it, so that whoever disarms too late finds the
    /// connection dead and does not give it to another request.
    fn enforce_at(&self, now: Instant) -> Option<Instant> {
        loop {
            let mut state = self.lock();
            let first = state.entries.first_entry().filter(|first| first.key().at <= now);
            let Some(first) = first else {
                state.wakes_at = state.entries.first_key_value().map(|(armed, _)| armed.at);
                return state.wakes_at;
            };
            let (armed, entry) = first.remove_entry();
            match entry.put_off.as_ref().and_then(|reason| reason.put_off(now)) {
                Some(at) => {
                    // Never at once again: whoever is asked may answer with the past.
                    let at = at.max(now + Duration::from_millis(1));
                    let later = Armed { at, number: armed.number };
                    state.entries.insert(later, entry);
                    state.moved.insert(armed.number, later);
                }
                None => {
                    state.moved.remove(&armed.number);
                    // Fails only if the peer was faster.
                    let _ = entry.handle.shutdown(Shutdown::Both);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;

    fn pair() -> (Handle, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let ours = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
        let (theirs, _) = listener.accept().expect("accept");
        theirs.set_nonblocking(true).expect("nonblocking");
        (Arc::new(ours), theirs)
    }

    fn is_open(mut peer: &TcpStream) -> bool {
        peer.read(&mut [0]).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_connection_is_shut_down_at_its_deadline_and_not_before() {
        let (watchdog, start) = (Watchdog::default(), Instant::now());
        let (handle, peer) = pair();
        let armed = watchdog.arm(start + SECOND, handle, None);
        assert_eq!(watchdog.enforce_at(start), Some(start + SECOND));
        assert!(is_open(&peer));
        assert_eq!(watchdog.enforce_at(start + SECOND), None);
        assert!(!is_open(&peer));
        assert!(!watchdog.disarm(armed), "it has passed");
    }

    #[test]
    fn a_disarmed_deadline_never_passes() {
        let (watchdog, start) = (Watchdog::default(), Instant::now());
        let (handle, peer) = pair();
        let armed = watchdog.arm(start, Arc::clone(&handle), None);
        assert!(watchdog.disarm(armed));
        assert_eq!(watchdog.enforce_at(start + SECOND), None);
        assert!(is_open(&peer));
    }

    struct Until(Instant);
    impl PutOff for Until {
        fn put_off(&self, now: Instant) -> Option<Instant> {
            (now < self.0).then_some(now + SECOND)
        }
    }

    #[test]
    fn a_deadline_can_be_put_off_and_is_still_found_by_what_it_was_armed_with() {
        let (watchdog, start) = (Watchdog::default(), Instant::now());
        let (handle, peer) = pair();
        let armed = watchdog.arm(start, Arc::clone(&handle), Some(Arc::new(Until(start + 2 * SECOND))));
        assert_eq!(watchdog.enforce_at(start), Some(start + SECOND));
        assert_eq!(watchdog.enforce_at(start + SECOND), Some(start + 2 * SECOND));
        assert!(is_open(&peer));
        assert!(watchdog.disarm(armed));
        let again = watchdog.arm(start, handle, Some(Arc::new(Until(start))));
        assert_eq!(watchdog.enforce_at(start), None);
        assert!(!is_open(&peer) && !watchdog.disarm(again));
    }

    #[tokio::test]
    async fn the_task_wakes_for_a_deadline_that_is_armed_while_it_sleeps() {
        let watchdog = Watchdog::default();
        let (far, _far_peer) = pair();
        let (near, near_peer) = pair();
        let far = watchdog.arm(Instant::now() + 1000 * SECOND, far, None);
        tokio::select! {
            () = watchdog.run() => {}
            () = async {
                tokio::task::yield_now().await;
                watchdog.arm(Instant::now(), near, None);
                let peer = tokio::net::TcpStream::from_std(near_peer).expect("peer");
                peer.readable().await.expect("readable");
            } => {}
        }
        assert!(watchdog.disarm(far));
    }
}
