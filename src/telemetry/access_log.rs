//! One JSON line a request.
//!
//! Invariant: a request never waits for the reader of its line. It formats into a buffer of its thread, copies the
//! bytes behind a lock that is held for that copy alone, and goes on; one thread writes. When 32 MiB wait to
//! be written, further lines are dropped and counted.
//!
//! Rejected: a channel of lines. It costs an allocation a line, freed on another thread, and can bound lines but not
//! bytes; a wake-up a line costs more than the line.

mod line;
mod queue;
mod sink;

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error_code::ErrorCode;
use crate::telemetry::metrics::{Direction, Phase};

use queue::Queue;
use sink::{LogFile, Sink, Stdout};

/// How many bytes may wait to be written; beyond them lines are dropped.
const QUEUE_BYTES: usize = 32 * 1024 * 1024;

/// How long dropping the log waits for what is queued.
const DROP_WAIT: Duration = Duration::from_secs(2);

thread_local! {
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// How one request ended. The caller has taken keys and query out of `path`.
#[derive(Debug, Clone)]
pub struct Outcome<'a> {
    /// When the request arrived.
    pub time: SystemTime,
    /// Which way it went.
    pub direction: Direction,
    /// The service; empty if none matched.
    pub service: &'a str,
    /// The service's account.
    pub account: Option<&'a str>,
    /// Who sent it, outbound.
    pub caller: Option<&'a str>,
    /// As whom it was let in, from a webhook.
    pub user: Option<&'a str>,
    /// The id of the webhook key.
    pub key_id: Option<&'a str>,
    /// The method.
    pub method: &'a str,
    /// The path, redacted, without the query. Bytes that are no UTF-8 are written as U+FFFD.
    pub path: &'a [u8],
    /// The status that was sent; 0 if none was.
    pub status: u16,
    /// Attache's own code, if the answer was its own.
    pub code: Option<ErrorCode>,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// To the last byte of the answer.
    pub duration: Duration,
    /// To the response headers from the other side.
    pub response_headers: Option<Duration>,
    /// Waiting for a token.
    pub token_wait: Option<Duration>,
    /// The address it was sent to.
    pub upstream: Option<SocketAddr>,
    /// Whether it was sent more than once.
    pub retried: bool,
    /// Its id.
    pub request_id: &'a str,
    /// Its `traceparent`.
    pub traceparent: Option<&'a str>,
    /// The client's address, as `trusted_proxies` resolves it.
    pub client: Option<IpAddr>,
    /// The phase in which a request failed.
    pub phase: Option<Phase>,
    /// The machine-readable cause behind `code`.
    pub reason: Option<&'a str>,
    /// The provider's own id of a webhook delivery.
    pub delivery_id: Option<&'a str>,
}

/// Where the lines go. Dropping it writes what is queued, for at most two seconds.
#[derive(Debug)]
pub struct AccessLog {
    queue: Option<Arc<Queue>>,
}

impl AccessLog {
    /// No access log: nothing is formatted.
    pub fn off() -> Self {
        Self { queue: None }
    }

    /// Lines on stdout. When its reader goes away, lines are dropped and attache stays.
    ///
    /// # Errors
    /// No thread could be started, or stdout is not open.
    pub fn stdout() -> io::Result<Self> {
        Self::with(Box::new(Stdout::open()?), QUEUE_BYTES)
    }

    /// Lines appended to a file, which is made if it isn't there (mode 0640), and opened anew when it has been
    /// renamed or removed.
    ///
    /// # Errors
    /// The file can't be opened, or no thread could be started.
    pub fn file(path: &Path) -> io::Result<Self> {
        Self::with(Box::new(LogFile::open(path)?), QUEUE_BYTES)
    }

    fn with(sink: Box<dyn Sink>, bytes: usize) -> io::Result<Self> {
        Queue::start(sink, bytes).map(|queue| Self { queue: Some(queue) })
    }

    /// Whether anything is written at all.
    pub fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Queues the request's line: one formatting into a reused buffer, one copy under a lock. Never waits for the
    /// reader.
    pub fn write(&self, outcome: &Outcome<'_>) {
        let Some(queue) = &self.queue else { return };
        LINE.with_borrow_mut(|line| {
            line.clear();
            outcome.format(line);
            queue.push(line);
        });
    }

    /// How many lines were dropped: the reader stalled, or the write failed.
    pub fn dropped(&self) -> u64 {
        self.queue.as_ref().map_or(0, |queue| queue.dropped())
    }

    /// Blocks until nothing is queued, for at most `within`; false if something still is. Not for an async thread.
    pub fn flush(&self, within: Duration) -> bool {
        self.queue.as_ref().is_none_or(|queue| queue.flush(within))
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        if let Some(queue) = &self.queue {
            queue.flush(DROP_WAIT);
            queue.stop();
        }
    }
}

#[cfg(test)]
mod tests;
