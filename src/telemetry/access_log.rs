//! One JSON line a request.
//!
//! Invariant: a request never waits for the reader of its line. It formats into a buffer of its thread, copies the
//! bytes behind a lock that is held for that copy alone, and goes on; one thread writes. When 32 MiB wait to
//! be written, further lines are dropped and counted.
//!
//! Rejected: a channel of lines. It costs an allocation a line, freed on another thread, and can bound lines but not
//! bytes; a wake-up a line costs more than the line.

mod queue;
mod sink;

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error_code::ErrorCode;
use crate::telemetry::metrics::Direction;

use queue::Queue;
use sink::{LogFile, Sink, Stdout};

/// How many bytes may wait to be written; beyond them lines are dropped.
const QUEUE_BYTES: usize = 32 * 1024 * 1024;

/// How long dropping the log waits for what is queued.
/// Of a method and a path, as much is logged.
const MAX_METHOD: usize = 32;
const MAX_PATH: usize = 2048;

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

impl Outcome<'_> {
    fn format(&self, line: &mut Vec<u8>) {
        let time = jiff::Timestamp::try_from(self.time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        put(line, format_args!("{{\"time\":\"{time:.3}\",\"direction\":\"{}\"", self.direction.as_str()));
        text(line, "service", Some(self.service));
        text(line, "account", self.account);
        text(line, "caller", self.caller);
        text(line, "user", self.user);
        text(line, "key_id", self.key_id);
        text(line, "method", Some(self.method.get(..MAX_METHOD).unwrap_or(self.method)));
        text(line, "path", Some(&printable(self.path)));
        put(line, format_args!(",\"status\":{}", self.status));
        text(line, "code", self.code.map(ErrorCode::as_str));
        put(line, format_args!(",\"bytes_in\":{},\"bytes_out\":{}", self.bytes_in, self.bytes_out));
        millis(line, "duration_ms", Some(self.duration));
        millis(line, "response_headers_ms", self.response_headers);
        millis(line, "token_wait_ms", self.token_wait);
        match self.upstream {
            Some(address) => put(line, format_args!(",\"upstream\":\"{address}\"")),
            None => line.extend_from_slice(b",\"upstream\":null"),
        }
        put(line, format_args!(",\"retried\":{}", self.retried));
        text(line, "request_id", Some(self.request_id));
        text(line, "traceparent", self.traceparent);
        line.extend_from_slice(b"}\n");
    }
}

/// A path as plain ASCII: any other byte percent-encoded, which is what it means anyway, so that no terminal takes it for a
/// command. Cut where a stranger makes it long.
fn printable(path: &[u8]) -> Cow<'_, str> {
    let path = path.get(..MAX_PATH).unwrap_or(path);
    match std::str::from_utf8(path) {
        Ok(path) if path.bytes().all(|b| b.is_ascii_graphic()) => Cow::Borrowed(path),
        _ => path
            .iter()
            .fold(String::with_capacity(path.len() + 16), |mut text, &b| {
                if b.is_ascii_graphic() {
                    text.push(char::from(b));
                } else {
                    let _infallible = write!(text, "%{b:02X}");
                }
                text
            })
            .into(),
    }
}

fn text(line: &mut Vec<u8>, name: &str, value: Option<&str>) {
    put(line, format_args!(",\"{name}\":"));
    match value {
        Some(value) => serde_json::to_writer(line, value).expect("a string, written to memory, can't fail"),
        None => line.extend_from_slice(b"null"),
    }
}

/// Milliseconds to the microsecond, as a JSON number.
fn millis(line: &mut Vec<u8>, name: &str, value: Option<Duration>) {
    match value.map(|value| value.as_micros()) {
        Some(micros) => put(line, format_args!(",\"{name}\":{}.{:03}", micros / 1000, micros % 1000)),
        None => put(line, format_args!(",\"{name}\":null")),
    }
}

fn put(line: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    line.write_fmt(text).expect("writing to memory can't fail");
}

#[cfg(test)]
mod tests;
