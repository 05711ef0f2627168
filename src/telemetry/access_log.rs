//! The access log: one JSON line per request.
//!
//! Invariant: a request never waits for the reader of its line. It formats into a buffer of its thread, copies the
//! bytes under a lock that is held for that copy only, and continues; one thread writes. When 32 MiB wait to be
//! written, further lines are dropped and counted.
//!
//! Rejected: a channel of lines. It costs one allocation per line, freed on another thread, and can limit lines but not
//! bytes; one wake-up per line costs more than the line.

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

/// Maximum number of bytes that wait to be written; further lines are dropped.
const QUEUE_BYTES: usize = 32 * 1024 * 1024;

/// Time that dropping the log waits for queued lines.
const DROP_WAIT: Duration = Duration::from_secs(2);

thread_local! {
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The outcome of one request. The caller has removed keys and query from `path`.
#[derive(Debug, Clone)]
pub struct Outcome<'a> {
    /// The time at which the request arrived.
    pub time: SystemTime,
    /// The direction of the request.
    pub direction: Direction,
    /// The service; empty if none matched.
    pub service: &'a str,
    /// The service's account.
    pub account: Option<&'a str>,
    /// The name of the caller, outbound.
    pub caller: Option<&'a str>,
    /// The user of the webhook.
    pub user: Option<&'a str>,
    /// The id of the webhook key.
    pub key_id: Option<&'a str>,
    /// The method.
    pub method: &'a str,
    /// The path, redacted, without the query. Bytes that are not UTF-8 are written as U+FFFD.
    pub path: &'a [u8],
    /// The status that was sent; 0 if none was.
    pub status: u16,
    /// attache's own code, if the answer was its own.
    pub code: Option<ErrorCode>,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// Time to the last byte of the answer.
    pub duration: Duration,
    /// Time to the response headers of the upstream.
    pub response_headers: Option<Duration>,
    /// Time spent waiting for a token.
    pub token_wait: Option<Duration>,
    /// The address that the request was sent to.
    pub upstream: Option<SocketAddr>,
    /// True if the request was sent more than once.
    pub retried: bool,
    /// The request id.
    pub request_id: &'a str,
    /// The request's `traceparent`.
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

/// The destination of the lines. Dropping it writes the queued lines, for at most two seconds.
#[derive(Debug)]
pub struct AccessLog {
    queue: Option<Arc<Queue>>,
}

impl AccessLog {
    /// Returns a log that formats and writes nothing.
    pub fn off() -> Self {
        Self { queue: None }
    }

    /// Returns a log on stdout. When its reader goes away, lines are dropped and the process continues.
    ///
    /// # Errors
    /// No thread could be started, or stdout is not open.
    pub fn stdout() -> io::Result<Self> {
        Self::with(Box::new(Stdout::open()?), QUEUE_BYTES)
    }

    /// Returns a log that appends to a file, which is created if missing (mode 0640), and opened again when it was
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

    /// Returns true if lines are written.
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

    /// Returns the number of dropped lines: the reader stalled, or the write failed.
    pub fn dropped(&self) -> u64 {
        self.queue.as_ref().map_or(0, |queue| queue.dropped())
    }

    /// Blocks until the queue is empty, for at most `within`; false if it is not. Not for an async thread.
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
