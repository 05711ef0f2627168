//! The outcome of a request: its metrics, its line in the access log, and, if an operator should know the cause, a line
//! in the log.
//!
//! Invariant: every request has its line. The [`Record`] writes it when it is dropped, so a request that a drain or a
//! panic ended has one too.

use super::caller::reported;
use crate::error_chain::Chain;
use crate::error_code::ErrorCode;
use crate::limits::Permit;
use crate::message::request::RequestHead;
use crate::outbound::SHORTEST_KEY;
use crate::outbound::callers::tokens::TokenNumber;
use crate::outbound::callers::{CallerNumber, Callers};
use crate::plan::Refusal;
use crate::proxy::Proxy;
use crate::request_id::RequestId;
use crate::route::Route;
use crate::snapshot::Snapshot;
use crate::telemetry::access_log::Outcome;
use crate::telemetry::failures::RecentFailure;
use crate::telemetry::metrics::{CallerRefusal, Direction, InFlight, LastError, Phase, ServiceStats};
use crate::transport::Transport;
use crate::webhook::endpoint::Endpoint;
use crate::webhook::key_copies;
use crate::webhook::keys::{Key, KeyNumber};
use bytes::Bytes;
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// The reason of a handshake that was answered.
pub(super) const HANDSHAKE: &str = "handshake";
/// Status of a client that left before an answer. Never sent.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The facts about one request, collected from its head to its end.
pub(crate) struct Record {
    proxy: Arc<Proxy>,
    /// Pinned for the whole request.
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) direction: Direction,
    pub(crate) arrived: Instant,
    pub(crate) time: SystemTime,
    pub(crate) id: RequestId,
    pub(crate) method: Cow<'static, str>,
    /// The path in the form that the log may show.
    pub(crate) path: Vec<u8>,
    pub(crate) route: Option<Arc<Route>>,
    /// The key of a webhook call, if it is valid.
    pub(crate) key: Option<KeyNumber>,
    /// The key of a webhook call that is known but not valid. Only the access log shows it.
    pub(crate) known_key: Option<KeyNumber>,
    /// The caller of an outbound request; the owner of its token if that is not valid now.
    pub(crate) caller: Option<CallerNumber>,
    pub(crate) caller_token: Option<TokenNumber>,
    /// The proof or the right that the request lacks.
    pub(crate) lacks: Option<CallerRefusal>,
    /// Counts the request as one of the caller's.
    pub(crate) caller_permit: Option<Permit>,
    pub(crate) in_flight: Option<InFlight>,
    /// The permit of the service's limits.
    pub(crate) permit: Option<Permit>,
    pub(crate) client: Option<IpAddr>,
    /// The client's connection is encrypted.
    pub(crate) is_tls: bool,
    /// The listener's own address; none on a unix socket.
    pub(crate) listener: Option<SocketAddr>,
    /// The status that was sent.
    pub(crate) status: Option<u16>,
    pub(crate) code: Option<ErrorCode>,
    /// The phase that the request reached; `None` before it is carried out.
    pub(crate) phase: Option<Phase>,
    /// The upload waits for the client, not for the upstream.
    pub(crate) waits_for_client: bool,
    /// Time for which the upload of a webhook call waited for the client.
    pub(crate) upload_wait: Duration,
    /// The machine-readable cause behind the code.
    pub(crate) reason: Option<Cow<'static, str>>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) response_headers: Option<Duration>,
    pub(crate) token_wait: Option<Duration>,
    pub(crate) upstream: Option<SocketAddr>,
    /// Number of attempts; one without a connection counts too.
    pub(crate) attempts: u32,
    /// The provider's id of the delivery, which may hold a credential.
    pub(crate) delivery_id: Option<String>,
    /// May hold a credential.
    traceparent: Option<Bytes>,
    /// The text of the webhook key, or of the proof of a caller, that the request shows. No `Debug`.
    pub(crate) credential: Option<Bytes>,
    /// The exchange ended by itself; the client may still have left.
    pub(crate) is_ended: bool,
}

impl Record {
    /// Starts the record of a request whose head was read.
    pub(crate) fn new(
        proxy: &Arc<Proxy>,
        direction: Direction,
        client: Option<SocketAddr>,
        arrived: Instant,
    ) -> Self {
        Self {
            snapshot: proxy.snapshots.load(),
            proxy: Arc::clone(proxy),
            direction,
            arrived,
            // The request may have arrived earlier, for example one whose head was never complete.
            time: SystemTime::now() - arrived.elapsed(),
            id: RequestId::default(),
            method: Cow::Borrowed("-"),
            path: Vec::new(),
            route: None,
            key: None,
            known_key: None,
            caller: None,
            caller_token: None,
            lacks: None,
            caller_permit: None,
            in_flight: None,
            permit: None,
            client: client.map(|client| client.ip().to_canonical()),
            is_tls: false,
            listener: None,
            status: None,
            code: None,
            phase: None,
            waits_for_client: false,
            upload_wait: Duration::ZERO,
            reason: None,
            bytes_in: 0,
            bytes_out: 0,
            response_headers: None,
            token_wait: None,
            upstream: None,
            attempts: 0,
            delivery_id: None,
            traceparent: None,
            credential: None,
            is_ended: false,
        }
    }

    /// Copies what the access log line needs from the head.
    pub(crate) fn read(&mut self, head: &RequestHead) {
        self.method = match head.method {
            http::Method::GET => Cow::Borrowed("GET"),
            http::Method::POST => Cow::Borrowed("POST"),
            ref other => Cow::Owned(other.as_str().to_owned()),
        };
        let traceparent = head.fields.get("traceparent").filter(|value| is_trace_parent(value));
        self.traceparent = traceparent.map(|value| head.fields.share(value));
    }

    /// Returns true if a text that the client chose holds the credential of the request, or is another one that this
    /// listener accepts.
    pub(super) fn holds_credential(&self, text: &[u8]) -> bool {
        self.holds_shown(text) || self.is_accepted(text)
    }

    fn holds_shown(&self, text: &[u8]) -> bool {
        self.credential.as_deref().is_some_and(|credential| key_copies::holds(text, credential))
    }

    fn is_accepted(&self, text: &[u8]) -> bool {
        text.len() >= SHORTEST_KEY
            && match self.direction {
                Direction::Webhook => self.snapshot.keys.find(text).is_some(),
                Direction::Outbound => {
                    let callers = self.snapshot.callers.as_ref();
                    callers.is_some_and(|callers| callers.tokens().find(text).is_some())
                }
            }
    }

    /// Returns the method, as the log may show it. A short one is shown if the client has proved nothing: it could hide its
    /// method behind the same word as its proof.
    fn method(&self) -> &str {
        let is_known = self.key.or(self.known_key).is_some() || self.caller.is_some();
        let may_be_credential = is_known || self.method.len() >= SHORTEST_KEY;
        if may_be_credential && self.holds_credential(self.method.as_bytes()) { "-" } else { &self.method }
    }

    /// Returns `traceparent`, unless it holds a credential: its trace id is as long as one may be.
    fn traceparent(&self) -> Option<&str> {
        let value = std::str::from_utf8(self.traceparent.as_deref()?).ok()?;
        let trace_id = value.split('-').nth(1).unwrap_or_default();
        (!self.holds_shown(value.as_bytes()) && !self.is_accepted(trace_id.as_bytes())).then_some(value)
    }

    /// Returns the provider's id of the delivery, unless it holds the key of the call: a header that is not signed may.
    pub(super) fn delivery_id(&self) -> Option<&str> {
        self.delivery_id.as_deref().filter(|id| !self.holds_credential(id.as_bytes()))
    }

    /// Returns true if the request's client has to be one of the file's callers.
    pub(super) fn asks_for_caller(&self) -> bool {
        self.direction == Direction::Outbound && self.snapshot.callers.is_some()
    }

    /// The key of a webhook call.
    pub(crate) fn key(&self) -> Option<Key<'_>> {
        Some(self.snapshot.keys.get(self.key?))
    }

    /// Returns the way to servers.
    pub(super) fn transport(&self) -> &Arc<Transport> {
        &self.proxy.transport
    }

    /// Returns the key of a webhook call that is known and not valid.
    pub(super) fn known_key(&self) -> Option<Key<'_>> {
        Some(self.snapshot.keys.get(self.known_key?))
    }

    /// Returns the called webhook, if the key was valid.
    pub(crate) fn endpoint(&self) -> Option<&Arc<Endpoint>> {
        self.key().map(Key::endpoint)
    }

    fn caller_key(&self) -> Option<&str> {
        Some(&self.snapshot.callers.as_ref()?.get(self.caller?).key)
    }

    fn token_id(&self) -> Option<&str> {
        Some(&self.snapshot.callers.as_ref()?.tokens().get(self.caller_token?).id)
    }

    fn route(&self) -> Option<&Arc<Route>> {
        self.route.as_ref().or(self.endpoint().map(|endpoint| &endpoint.route))
    }

    /// Returns the statistics that count the request.
    pub(crate) fn stats(&self) -> &Arc<ServiceStats> {
        self.route().map_or(self.snapshot.unmatched(self.direction), |route| &route.stats)
    }

    /// Subtracts bytes of the response that the client did not get.
    pub(crate) fn unsent(&mut self, bytes: usize) {
        self.bytes_out = self.bytes_out.saturating_sub(bytes as u64);
    }

    /// Records why the request failed.
    pub(crate) fn failed(&mut self, code: ErrorCode, reason: impl Into<Cow<'static, str>>) {
        self.code = Some(code);
        self.reason = Some(reason.into());
    }

    /// Records the refusal that is the answer. Without a more exact cause, the reason is its `Proxy-Status` error.
    pub(crate) fn refused(&mut self, refusal: &Refusal) {
        let error = refusal.proxy_status.unwrap_or(refusal.code.proxy_status());
        let reason = refusal.reason.clone();
        self.failed(refusal.code, reason.unwrap_or(Cow::Borrowed(error)));
    }

    /// Returns true if a question of the provider was answered, which is no failure although it has a reason.
    fn is_handshake(&self) -> bool {
        self.code.is_none() && self.reason.as_deref() == Some(HANDSHAKE)
    }

    /// Adds a failure to the statistics and to the list of the last ones.
    #[cold]
    fn note_failure(&self, status: u16, duration: Duration) {
        let (route, key) = (self.route(), self.key().or(self.known_key()));
        let at = self.time + duration;
        if let Some(code) = self.code {
            let stats = self.stats();
            if code == ErrorCode::ServiceTimeout {
                stats.timed_out(self.phase.unwrap_or(Phase::Token));
            }
            if route.is_some() {
                let (reason, request_id) = (self.reason.clone(), self.id.as_str().into());
                stats.failed(LastError { code, reason, request_id, at });
            }
        }
        self.proxy.failures.push(RecentFailure {
            at,
            direction: self.direction,
            service: route.map(|route| &*route.service).or(key.map(Key::service)).map(Into::into),
            account: route.and_then(|route| route.account.as_deref()).map(Into::into),
            caller: self.caller_key().map(Into::into),
            key_id: key.map(Key::id).or(self.token_id()).map(Into::into),
            status,
            code: self.code,
            reason: self.reason.clone(),
            phase: self.phase,
            duration,
            upstream: self.upstream,
            client: self.client,
            request_id: self.id.as_str().into(),
        });
    }

    /// Records that the task of the request was ended from outside: by a panic, or by the time limit of a drain.
    fn cut(&mut self) {
        if std::thread::panicking() {
            self.status.get_or_insert(500);
            self.failed(ErrorCode::Internal, "panic");
        } else {
            self.status.get_or_insert(503);
            self.reason = Some("shutdown".into());
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        (self.in_flight, self.permit, self.caller_permit) = (None, None, None);
        if !self.is_ended {
            self.cut();
        }
        let status = self.status.unwrap_or(CLIENT_CLOSED_REQUEST);
        let has_failed =
            (self.code.is_some() || self.reason.is_some() || self.status.is_none()) && !self.is_handshake();
        let duration = self.arrived.elapsed();
        let stats = self.stats();
        stats.finished(status, self.code, duration, self.response_headers);
        if has_failed {
            self.note_failure(status, duration);
        }
        let log = &self.proxy.access_log;
        if !log.is_on() {
            return;
        }
        let (route, key, known) = (self.route(), self.key(), self.known_key());
        let service = route.map(|route| &*route.service).or(known.map(Key::service));
        log.write(&Outcome {
            time: self.time,
            direction: self.direction,
            service: service.unwrap_or_default(),
            account: route.and_then(|route| route.account.as_deref()),
            caller: self.caller_key(),
            user: key.and_then(|key| key.endpoint().identity[0].to_str().ok()),
            key_id: key.or(known).map(Key::id).or(self.token_id()),
            method: self.method(),
            path: &self.path,
            status,
            code: self.code,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            duration,
            response_headers: self.response_headers,
            token_wait: self.token_wait,
            upstream: self.upstream,
            retried: self.attempts > 1,
            request_id: self.id.as_str(),
            traceparent: self.traceparent(),
            client: self.client,
            phase: self.phase.filter(|_| has_failed),
            reason: self.reason.as_deref().or(reported(self.lacks)),
            delivery_id: self.delivery_id(),
        });
    }
}

/// Returns true if `value` is a `traceparent` as W3C Trace Context defines it.
fn is_trace_parent(value: &[u8]) -> bool {
    let mut parts = value.split(|&b| b == b'-');
    let hex = |part: &[u8], length| part.len() == length && part.iter().all(u8::is_ascii_hexdigit);
    value.len() <= 128
        && [2, 32, 16, 2].into_iter().all(|length| parts.next().is_some_and(|part| hex(part, length)))
}

/// Logs why an upstream failed: the cause that the client's answer omits, and no bytes from the wire.
pub(super) fn warn_of_upstream(record: &Record, refusal: &Refusal, cause: &dyn std::error::Error) {
    let Some(route) = &record.route else { return };
    let Some(not_logged) = route.upstream.log_limit.take() else { return };
    tracing::warn!(
        service = %route.service,
        code = refusal.code.as_str(),
        reason = refusal.reason.as_deref(),
        cause = %Chain(cause),
        upstream = record.upstream.map(tracing::field::display),
        request_id = record.id.as_str(),
        not_logged,
        "an upstream failed"
    );
}

/// Logs that a request lacks a proof or a right, which `caller_rules: report` forwards.
pub(super) fn warn_of_caller(callers: &Callers, record: &Record, service: &str) {
    let Some(not_logged) = callers.log_limit().take() else { return };
    tracing::warn!(
        service,
        caller = record.caller_key(),
        reason = reported(record.lacks),
        client = record.client.map(tracing::field::display),
        request_id = record.id.as_str(),
        not_logged,
        "a request lacks a proof or a right, and `caller_rules: enforce` would refuse it"
    );
}

/// Logs why a call with a valid key was refused: a secret was rotated on one side only, an address is not the expected
/// one, or a third party has the URL.
pub(super) fn warn_of_refusal(endpoint: &Endpoint, reason: &dyn std::fmt::Display, record: &Record) {
    let Some(not_logged) = endpoint.log_limit.take() else { return };
    tracing::warn!(
        service = endpoint.service(),
        key_id = record.key().map(Key::id),
        scheme = endpoint.verifier.as_ref().map(|verifier| verifier.scheme().as_str()),
        %reason,
        client = record.client.map(tracing::field::display),
        request_id = record.id.as_str(),
        not_logged,
        "a webhook call with a valid key was refused"
    );
}
