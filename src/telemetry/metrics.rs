//! Metrics: counts of each service, webhook key and reload.
//!
//! Metrics are derived state. Each live object (a service's direction, a webhook key) holds its own statistics; the
//! snapshot carries them over a reload by name and drops them with their owner, and [`Exposition`] writes those it is
//! given. So a series cannot outlive its service, and a request looks up no label.
//!
//! Rejected: a registry of labelled vectors. It costs a hash and a lock per request, and the series of a removed
//! service would have to be found and removed one by one.

mod activity;
mod caller;
mod exposition;
mod histogram;
mod process;
mod refusal;
mod statuses;

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error_code::ErrorCode;

pub use activity::{Activity, Counts, STEP, STEPS};
pub use caller::{CallerRefusal, CallerStats};
pub use exposition::{AccountRow, Exposition, IssuerRow};
pub use histogram::Histogram;
pub use refusal::WebhookRefusal;

use activity::History;
use statuses::Statuses;

/// The direction of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From internal programs to the third party.
    Outbound,
    /// From the third party to the receiver.
    Webhook,
}

impl Direction {
    /// Returns the value of the label and of the access log's field.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Webhook => "webhook",
        }
    }
}

/// The step of a request at which it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Waiting for the account's token.
    Token,
    /// Resolving, connecting, TLS handshake.
    Connect,
    /// Sending the request.
    Send,
    /// Waiting for the response headers.
    Wait,
    /// Waiting for more of a started response.
    Idle,
    /// Forwarding the response's body when the client left. No deadline covers it, so it counts no timeout.
    Body,
}

impl Phase {
    /// The phases of `attache_timeouts_total`, in the order of their numbers.
    pub const TIMED: [Self; 5] = [Self::Token, Self::Connect, Self::Send, Self::Wait, Self::Idle];

    /// Returns the value of the label `phase` and of the access log's field.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Connect => "connect",
            Self::Send => "send",
            Self::Wait => "wait",
            Self::Idle => "idle",
            Self::Body => "body",
        }
    }
}

/// The statistics of one direction of one service. 16 bytes until its first request, since a file may name 100,000
/// unused services. Afterwards about 470 bytes, 370 more with the first failure, 900 more per status class of a service
/// with more than five statuses, and up to 2,000 while the last five minutes have requests.
///
/// Every update is a few relaxed atomic operations.
#[derive(Debug, Default)]
pub struct ServiceStats {
    used: OnceLock<Box<Used>>,
}

#[derive(Debug, Default)]
struct Used {
    in_flight: AtomicI64,
    statuses: Statuses,
    /// Counts that most services never need.
    failures: OnceLock<Box<Failures>>,
    /// Headers that every proxy sends, and those of identities.
    reserved_headers: [AtomicU64; 2],
    duration: Histogram,
    response_headers: Histogram,
    history: OnceLock<Box<Mutex<History>>>,
}

#[derive(Debug, Default)]
struct Failures {
    last: Mutex<Option<Box<LastError>>>,
    errors: [AtomicU64; ErrorCode::ALL.len()],
    timeouts: [AtomicU64; Phase::TIMED.len()],
    /// Retries, and those that the budget refused.
    retries: [AtomicU64; 2],
    /// Answers of the provider with the status 429.
    rate_limited: AtomicU64,
    refused: OnceLock<Box<[AtomicU64; WebhookRefusal::ALL.len()]>>,
}

impl ServiceStats {
    /// Returns the statistics of a direction without requests.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a request that has arrived; it is in flight until the guard is dropped.
    pub fn started(self: &Arc<Self>) -> InFlight {
        self.used().in_flight.fetch_add(1, Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Counts a request that has ended: the sent status, attache's code if the answer was its own, the time to the last
    /// byte, and to the response headers if any arrived.
    pub fn finished(
        &self,
        status: u16,
        code: Option<ErrorCode>,
        total: Duration,
        response_headers: Option<Duration>,
    ) {
        let used = self.used();
        used.statuses.count(status);
        if let Some(code) = code {
            used.failures().errors[code as usize].fetch_add(1, Relaxed);
        }
        used.duration.observe(total);
        if let Some(headers) = response_headers {
            used.response_headers.observe(headers);
        }
    }

    /// Records a failed request. One of several at the same moment is kept.
    pub fn failed(&self, error: LastError) {
        if let Ok(mut last) = self.used().failures().last.try_lock() {
            *last = Some(Box::new(error));
        }
    }

    /// Returns the last request that failed.
    pub fn last_error(&self) -> Option<LastError> {
        let last = &self.used.get()?.failures.get()?.last;
        last.lock().unwrap_or_else(PoisonError::into_inner).as_deref().cloned()
    }

    /// Ends a step of [`Self::activity`]. To be called every [`STEP`].
    pub fn end_step(&self) {
        if let Some(used) = self.used.get() {
            let history = used.history.get_or_init(Box::default);
            history.lock().unwrap_or_else(PoisonError::into_inner).note(used.totals());
        }
    }

    /// Returns the last five minutes.
    pub fn activity(&self) -> Activity {
        let Some(used) = self.used.get() else { return Activity::default() };
        match used.history.get() {
            Some(history) => history.lock().unwrap_or_else(PoisonError::into_inner).until(used.totals()),
            None => Activity { current: used.totals(), ..Activity::default() },
        }
    }

    /// Counts a request that timed out in this phase.
    pub fn timed_out(&self, phase: Phase) {
        if let Some(count) = self.used().failures().timeouts.get(phase as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Counts a retry of `retries`, or, if it is not within the budget, a refused one.
    pub fn retried(&self, is_within_budget: bool) {
        self.used().failures().retries[usize::from(!is_within_budget)].fetch_add(1, Relaxed);
    }

    /// Counts an answer of the provider with the status 429.
    pub fn rate_limited_by_provider(&self) {
        self.used().failures().rate_limited.fetch_add(1, Relaxed);
    }

    /// Counts a webhook call that was refused.
    pub fn refused(&self, reason: WebhookRefusal) {
        let refused = self.used().failures().refused.get_or_init(Box::default);
        refused[reason as usize].fetch_add(1, Relaxed);
    }

    /// Counts dropped request headers that no caller may send: those that any proxy adds (`X-Forwarded-For` and
    /// similar), and those that state an identity.
    pub fn reserved_headers_dropped(&self, forwarding: usize, identity: usize) {
        for (count, dropped) in self.used().reserved_headers.iter().zip([forwarding, identity]) {
            count.fetch_add(dropped as u64, Relaxed);
        }
    }

    /// Returns the number of requests in flight.
    pub fn in_flight(&self) -> i64 {
        self.used.get().map_or(0, |used| used.in_flight.load(Relaxed))
    }

    fn used(&self) -> &Used {
        self.used.get_or_init(Box::default)
    }
}

impl Used {
    fn totals(&self) -> Counts {
        let errors = self.failures.get().into_iter().flat_map(|failures| &failures.errors);
        let errors: u64 = errors.map(|count| count.load(Relaxed)).sum();
        Counts { errors: errors as u32, durations: self.duration.counts() }
    }

    fn failures(&self) -> &Failures {
        self.failures.get_or_init(Box::default)
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
    /// The time of the request.
    pub at: SystemTime,
}

/// A request in flight: counted from [`ServiceStats::started`] until it is dropped, however it ends.
#[derive(Debug)]
pub struct InFlight(Arc<ServiceStats>);

impl Deref for InFlight {
    type Target = ServiceStats;

    fn deref(&self) -> &ServiceStats {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.used().in_flight.fetch_sub(1, Relaxed);
    }
}

/// The statistics of one webhook key, in 16 bytes: a file may name a million.
#[derive(Debug, Default)]
pub struct KeyStats {
    /// Unix seconds; 0 means never.
    last_used: AtomicU32,
    /// Unix seconds; 0 means never.
    last_refused: AtomicU32,
    /// The state of the key's rate limit.
    pub rate: AtomicU64,
}

impl KeyStats {
    /// Returns the statistics of an unused key.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records that the key admitted a request. Never goes back when requests are counted out of order.
    pub fn used_at(&self, now: SystemTime) {
        self.last_used.fetch_max(unix_seconds(now), Relaxed);
    }

    /// Records that a call with the key was refused, for any reason.
    pub fn refused_at(&self, now: SystemTime) {
        self.last_refused.fetch_max(unix_seconds(now), Relaxed);
    }

    /// Returns when the key last admitted a request, to the second.
    pub fn last_used(&self) -> Option<SystemTime> {
        moment(&self.last_used)
    }

    /// Returns when a call with the key was last refused, to the second.
    pub fn last_refused(&self) -> Option<SystemTime> {
        moment(&self.last_refused)
    }
}

fn unix_seconds(time: SystemTime) -> u32 {
    u32::try_from(unix_millis(time) / 1000).unwrap_or(u32::MAX)
}

fn moment(seconds: &AtomicU32) -> Option<SystemTime> {
    match seconds.load(Relaxed) {
        0 => None,
        seconds => Some(UNIX_EPOCH + Duration::from_secs(seconds.into())),
    }
}

/// The result of a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ReloadResult {
    /// The file took effect.
    Applied,
    /// The file equals the configuration in effect.
    Unchanged,
    /// The file has problems; the last valid one stays in effect.
    Rejected,
    /// The file is valid. Changes that need no restart took effect.
    NeedsRestart,
}

impl ReloadResult {
    /// Every result, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Applied, Self::Unchanged, Self::Rejected, Self::NeedsRestart];

    /// Returns the value of the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Rejected => "rejected",
            Self::NeedsRestart => "needs_restart",
        }
    }

    /// Returns true if the file was accepted.
    pub fn is_success(self) -> bool {
        self != Self::Rejected
    }
}

/// The reloads since the start.
#[derive(Debug)]
pub struct Reloads {
    results: [AtomicU64; ReloadResult::ALL.len()],
    last_successful: AtomicBool,
    /// Unix milliseconds.
    last_success: AtomicU64,
    /// True while the file system reports no changes, so that only the poll finds them.
    pub watch_failed: Arc<AtomicBool>,
    /// The keys of the file in effect that wait for a restart.
    restart_needed: Mutex<Vec<&'static str>>,
}

impl Reloads {
    /// Returns the state before any reload: the first configuration was loaded at `loaded_at`.
    pub fn new(loaded_at: SystemTime) -> Self {
        Self {
            results: Default::default(),
            last_successful: AtomicBool::new(true),
            last_success: AtomicU64::new(unix_millis(loaded_at)),
            watch_failed: Arc::default(),
            restart_needed: Mutex::default(),
        }
    }

    /// Sets the keys that wait for a restart.
    pub fn set_restart_needed(&self, keys: Vec<&'static str>) {
        *self.restart_needed.lock().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Returns the keys that wait for a restart.
    pub fn restart_needed(&self) -> Vec<&'static str> {
        self.restart_needed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records the result of a reload.
    pub fn record(&self, result: ReloadResult, now: SystemTime) {
        self.results[result as usize].fetch_add(1, Relaxed);
        self.last_successful.store(result.is_success(), Relaxed);
        if result.is_success() {
            self.last_success.store(unix_millis(now), Relaxed);
        }
    }
}

fn unix_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
