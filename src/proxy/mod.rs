//! The request path, from an accepted connection to the recorded outcome.
//!
//! [`serve()`] accepts connections and reads the head of each request; [`downstream`] is the client's side of a connection;
//! [`exchange`] carries one request out. They are loops of attache's own on the engine's core.
//!
//! # Why the loop is attache's own
//!
//! attache stands on `pingora-core`: its streams, its connection pool, its HTTP/1 client session and its HTTP types, below
//! [`crate::transport`] and in [`exchange`]. Its proxy, which calls hooks from a loop of its own, cannot express what
//! attache promises: that nothing is executed twice (it retries by the text of an error), that work stops when the client
//! leaves (a hook that waits does not see it), that one deadline holds over everything (its time-outs are for single
//! reads and writes), and that a response is framed once (its server session forwards framing fields as they came, and
//! overwrites `Date`).

pub(crate) mod downstream;
mod exchange;
mod serve;

pub(crate) use downstream::table::Table;
pub(crate) use serve::{Listener, serve};

#[doc(hidden)]
pub use exchange::bench;

use crate::snapshot::Handle;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::failures::RecentFailures;
use crate::telemetry::metrics::Direction;
use crate::transport::Transport;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// `instant` on a monotonic clock, for rates and windows: it counts from the first time it was asked.
pub(crate) fn uptime(instant: Instant) -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    instant.saturating_duration_since(*START.get_or_init(|| instant))
}

/// Shared state of all requests.
pub(crate) struct Proxy {
    pub(crate) snapshots: Handle,
    pub(crate) transport: Arc<Transport>,
    pub(crate) access_log: Arc<AccessLog>,
    pub(crate) failures: Arc<RecentFailures>,
}

/// Shared state of the requests of one listener.
pub(crate) struct Entrance {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) direction: Direction,
    /// The listener's own address; none on a unix socket.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) table: Arc<Table>,
}
