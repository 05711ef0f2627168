//! What is known of one request while it is carried out.

use super::deadline::{Armed, Handle, PutOff, Watchdog};
use super::downstream::Connection;
use crate::credentials::oauth2::Token;
use crate::plan::{Plan, Refusal};
use crate::request_id::RequestId;
use crate::snapshot::Snapshot;
use crate::telemetry::metrics::{Direction, InFlight, Phase, ServiceStats};
use crate::webhook::address::Client;
use crate::webhook::endpoint::{Endpoint, Held};
use crate::webhook::keys::{Key, KeyNumber};
use crate::webhook::replay::Claim;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Where a request came in: travels from the accept loop to the hooks.
pub(super) struct Origin {
    pub(super) direction: Direction,
    pub(super) connection: Arc<Connection>,
    /// When the head was complete.
    pub(super) arrived: Instant,
}

/// What is known of a webhook call beside the request.
pub(super) struct Call {
    pub(super) client: Client,
    /// Its key, if that is a valid one, be the call let in or refused all the same.
    pub(super) key: Option<KeyNumber>,
    /// The delivery, until it is known whether our program has taken it.
    pub(super) claim: Option<Claim>,
    /// The provider's own id of the delivery.
    pub(super) delivery_id: Option<String>,
    /// Of a body that was read ahead, where somebody wants to know.
    pub(super) body_sha256: Option<[u8; 32]>,
    /// The body is in memory, all of it: it can be done with at once.
    pub(super) held: Option<Held>,
}

impl Call {
    pub(super) fn from(client: Client) -> Self {
        Self { client, key: None, claim: None, delivery_id: None, body_sha256: None, held: None }
    }
}

/// One request.
pub(crate) struct Context {
    /// Pinned for the whole request.
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) direction: Direction,
    pub(super) connection: Arc<Connection>,
    pub(super) arrived: Instant,
    pub(super) time: SystemTime,
    pub(super) id: RequestId,
    /// The path as the log may show it.
    pub(super) log_path: Vec<u8>,
    pub(super) plan: Option<Plan>,
    /// What only a webhook call has. Boxed, because every request would carry the room for it.
    pub(super) call: Option<Box<Call>>,
    /// What attache answered itself, or would have.
    pub(super) failure: Option<Refusal>,
    pub(super) in_flight: Option<InFlight>,
    /// How far it came.
    pub(super) phase: Phase,
    pub(super) addresses: Vec<SocketAddr>,
    /// The one of `addresses` that was tried first, counted on without end.
    pub(super) first_address: usize,
    /// How many of `addresses` could not be connected to.
    pub(super) tried: usize,
    pub(super) upstream: Option<SocketAddr>,
    /// It asks for a tunnel.
    pub(super) websocket: bool,
    /// How many times it was sent.
    pub(super) attempts: u32,
    pub(super) token: Option<Arc<Token>>,
    /// The generation of the token that the last attempt was sent with.
    pub(super) sent_token: Option<u64>,
    /// The generation that the third party refused, once the request is sent again for that; it is never sent twice.
    pub(super) refused_token: Option<u64>,
    /// Over all attempts.
    pub(super) token_wait: Option<Duration>,
    pub(super) response_headers: Option<Duration>,
    /// The request was passed on to its end.
    pub(super) request_sent: bool,
    /// A 1xx came.
    pub(super) informed: bool,
    /// One that says more than `100 Continue`, and was passed on.
    pub(super) hinted: bool,
    /// The answer came to its end.
    pub(super) answered: bool,
    /// Only the end of the connection ends the answer's body.
    pub(super) close_delimited: bool,
    /// Bytes of the body seen in this attempt.
    pub(super) body_seen: u64,
    pub(super) timed_out: bool,
    pub(super) exchange: Option<Arc<Exchange>>,
    /// Of the upstream connection, until the response headers came.
    pub(super) handle: Option<Handle>,
    watchdog: Arc<Watchdog>,
    armed: Option<Armed>,
}

impl Context {
    pub(super) fn new(snapshot: Arc<Snapshot>, watchdog: Arc<Watchdog>) -> Self {
        Self {
            snapshot,
            direction: Direction::Outbound,
            connection: Arc::default(),
            arrived: Instant::now(),
            time: SystemTime::now(),
            id: RequestId::default(),
            log_path: Vec::new(),
            plan: None,
            call: None,
            failure: None,
            in_flight: None,
            phase: Phase::Token,
            addresses: Vec::new(),
            first_address: 0,
            tried: 0,
            upstream: None,
            websocket: false,
            attempts: 0,
            token: None,
            sent_token: None,
            refused_token: None,
            token_wait: None,
            response_headers: None,
            request_sent: false,
            informed: false,
            hinted: false,
            answered: false,
            close_delimited: false,
            body_seen: 0,
            timed_out: false,
            exchange: None,
            handle: None,
            watchdog,
            armed: None,
        }
    }

    /// The key of a webhook call.
    pub(super) fn key(&self) -> Option<Key<'_>> {
        let number = self.call.as_ref()?.key?;
        Some(self.snapshot.keys.get(number))
    }

    /// The webhook that was called, if the key was a valid one.
    pub(super) fn endpoint(&self) -> Option<&Arc<Endpoint>> {
        self.key().map(Key::endpoint)
    }

    /// Whether a trusted proxy sent the request.
    pub(super) fn is_forwarded(&self) -> bool {
        self.call.as_ref().is_some_and(|call| call.client.forwarded)
    }

    /// Where the request counts.
    pub(super) fn stats(&self) -> &Arc<ServiceStats> {
        let route = self.plan.as_ref().map(|plan| &plan.route).or(self.endpoint().map(|e| &e.route));
        route.map_or(self.snapshot.unmatched(self.direction), |route| &route.stats)
    }

    /// When the response headers have to be there.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.plan.as_ref().map(|plan| self.arrived + plan.route.timeout)
    }

    /// From here on the connection behind `handle` ends at `at`.
    pub(super) fn arm(&mut self, at: Instant, handle: Handle, reason: Arc<dyn PutOff>) {
        self.disarm();
        self.armed = Some(self.watchdog.arm(at, handle, Some(reason)));
    }

    /// Both directions have ended: nothing is left to wait for.
    pub(super) fn complete(&mut self) {
        self.disarm();
        self.exchange = None;
    }

    /// No deadline holds any more. If one has passed, remembers so.
    pub(super) fn disarm(&mut self) {
        if let Some(armed) = self.armed.take()
            && !self.watchdog.disarm(armed)
        {
            self.timed_out = true;
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.disarm();
    }
}

/// Why a deadline holds: up to the response headers because of the service's `timeout`, and then, if no byte came from
/// upstream for the idle time though the caller was ready for it.
///
/// One entry in the watchdog serves for both: when the first deadline passes after the headers came, it is put off to the
/// end of the idle time, so that a request whose answer does not stall costs one arming.
pub(super) struct Exchange {
    /// [`WAITING`], then [`ANSWERING`] or [`LATE`]: whoever is first decides whether the headers came in time.
    state: AtomicU8,
    connection: Arc<Connection>,
    idle: Duration,
    since: Instant,
    /// Milliseconds after `since` at which something last came.
    last: AtomicU64,
}

const WAITING: u8 = 0;
const ANSWERING: u8 = 1;
const LATE: u8 = 2;

impl Exchange {
    pub(super) fn new(connection: Arc<Connection>, idle: Duration) -> Self {
        Self {
            state: AtomicU8::new(WAITING),
            connection,
            idle,
            since: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    /// The response headers came. False: too late, the connection is shut down.
    pub(super) fn answering(&self) -> bool {
        self.touch();
        self.state.compare_exchange(WAITING, ANSWERING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Something came.
    pub(super) fn touch(&self) {
        let millis = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }
}

impl PutOff for Exchange {
    fn put_off(&self, now: Instant) -> Option<Instant> {
        if self.state.compare_exchange(WAITING, LATE, Ordering::AcqRel, Ordering::Acquire) != Err(ANSWERING) {
            return None;
        }
        if self.connection.write_blocked.load(Ordering::Relaxed) {
            // It is the caller who stalls, and upstream is not even read.
            return Some(now + self.idle);
        }
        let at = self.since + Duration::from_millis(self.last.load(Ordering::Relaxed)) + self.idle;
        (now < at).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn headers_that_come_first_turn_the_deadline_into_the_idle_time() {
        let exchange = Exchange::new(Arc::default(), SECOND);
        assert!(exchange.answering());
        let last = exchange.since + Duration::from_millis(exchange.last.load(Ordering::Relaxed));
        assert_eq!(exchange.put_off(last), Some(last + SECOND));
        assert_eq!(exchange.put_off(last + SECOND), None, "nothing came since");
    }

    #[test]
    fn headers_that_come_after_the_deadline_are_too_late() {
        let exchange = Exchange::new(Arc::default(), SECOND);
        assert_eq!(exchange.put_off(Instant::now()), None);
        assert!(!exchange.answering());
    }

    #[test]
    fn a_caller_who_does_not_read_is_no_stall_of_upstream() {
        let connection = Arc::new(Connection::default());
        let exchange = Exchange::new(Arc::clone(&connection), SECOND);
        assert!(exchange.answering());
        connection.write_blocked.store(true, Ordering::Relaxed);
        let late = Instant::now() + 10 * SECOND;
        assert_eq!(exchange.put_off(late), Some(late + SECOND));
    }
}
