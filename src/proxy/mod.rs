//! The request path, from an accepted connection to the recorded outcome.
//!
//! [`serve()`] accepts connections and reads the head of each request; [`downstream`] is the client's side of a
//! connection; [`exchange`] carries out one request. These are attache's own loops on the engine's core.
//!
//! # Why the loop is attache's own
//!
//! attache builds on `pingora-core`: its streams, its connection pool, its HTTP/1 client session and its HTTP types,
//! below [`crate::transport`] and in [`exchange`]. Its proxy, which calls hooks from its own loop, cannot provide four
//! guarantees:
//!
//! - nothing is executed twice (it decides about retries by the text of an error);
//! - work stops when the client leaves (a waiting hook does not notice);
//! - one deadline covers everything (its timeouts are for single reads and writes);
//! - a response is framed once (its server session forwards framing fields unchanged, and overwrites `Date`).

pub(crate) mod downstream;
mod exchange;
mod serve;

pub(crate) use downstream::table::Table;
pub(crate) use serve::{BoundListener, serve};

#[doc(hidden)]
pub use exchange::bench;

use crate::limits::buffered::BodyMemory;
use crate::snapshot::Handle;
use crate::socket::Acceptor;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::failures::RecentFailures;
use crate::telemetry::metrics::Direction;
use crate::transport::Transport;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Returns `instant` on a monotonic clock that starts with the first call, for rates and windows.
pub(crate) fn uptime(instant: Instant) -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    instant.saturating_duration_since(*START.get_or_init(|| instant))
}

/// State shared by all requests.
pub(crate) struct Proxy {
    pub(crate) snapshots: Handle,
    pub(crate) transport: Arc<Transport>,
    pub(crate) access_log: Arc<AccessLog>,
    pub(crate) failures: Arc<RecentFailures>,
    /// The memory of bodies that are read ahead.
    pub(crate) body_memory: Arc<BodyMemory>,
    /// Permits to verify a large body: one for each worker thread.
    pub(crate) verifications: Semaphore,
}

/// State shared by the requests of one listener.
pub(crate) struct Entrance {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) direction: Direction,
    /// The listener's own address; none on a unix socket.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) table: Arc<Table>,
    /// The TLS settings of the listener.
    pub(crate) acceptor: Arc<Acceptor>,
}
