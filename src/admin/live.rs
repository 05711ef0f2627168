//! The events of the status page: what has changed on it, at most once a second.
//!
//! Invariant: the work does not grow with the time that pages are open. Without a stream nothing is done. With some, one
//! report is made for all of them, and each query is rendered once, as often as its own cost allows ([`pace`]): all of it
//! takes a fifth of a processor at most. The number of streams is bounded, and a place is free again as soon as its answer
//! ends. A client that does not read keeps two messages. A stream ends when it is old or when the process drains.

mod pace;

use super::View;
use super::page::{self, Query, Rendered};
use hyper::body::{Body, Bytes, Frame};
use pace::Pace;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant as Clock};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep};

/// Streams at the same time.
const STREAMS: usize = 16;
/// The shortest time between two updates.
const PAUSE: Duration = Duration::from_secs(1);
/// Interval of the checks for a drain.
const LOOK: Duration = Duration::from_millis(100);
/// Maximum duration of a stream, less than a connection's. The browser opens another.
const LIFE: Duration = Duration::from_secs(240);
/// After this time without an event a comment is sent: so that a client that is gone is noticed, and no proxy in between
/// closes the connection.
const QUIET: Duration = Duration::from_secs(15);
/// Messages that a client may leave unread.
const UNREAD: usize = 2;

/// The open streams.
pub(super) struct Live {
    streams: Mutex<Vec<Stream>>,
    free: Arc<Semaphore>,
    opened: Notify,
}

struct Stream {
    query: Query,
    events: mpsc::Sender<Bytes>,
    /// The version that the client shows.
    shown: Option<Arc<Rendered>>,
    last_event: Instant,
    ends: Instant,
}

impl Default for Live {
    fn default() -> Self {
        Self { streams: Mutex::default(), free: Arc::new(Semaphore::new(STREAMS)), opened: Notify::new() }
    }
}

impl Live {
    /// Opens a stream. `None` if there are as many as there may be.
    pub(super) fn open(&self, query: Query, now: Instant) -> Option<Events> {
        let place = Arc::clone(&self.free).try_acquire_owned().ok()?;
        let (events, receiver) = mpsc::channel(UNREAD);
        // The channel is empty.
        let _ = events
            .try_send(Bytes::from(format!("retry: 1000\nevent: version\ndata: {}\n\n", page::version())));
        let stream = Stream { query, events, shown: None, last_event: now, ends: now + LIFE };
        let mut streams = self.streams();
        // Streams may be opened and closed many times before the next update.
        streams.retain(|stream| !stream.events.is_closed());
        streams.push(stream);
        drop(streams);
        self.opened.notify_one();
        Some(Events { messages: receiver, _place: place })
    }

    /// Sends the events. Never ends.
    pub(super) async fn run(&self, view: Arc<dyn View>) {
        let (mut pace, mut access) = (Pace::default(), view.access());
        loop {
            let mut streams = std::mem::take(&mut *self.streams());
            let asked = view.access();
            if asked != access {
                // The proof of a client may be void. The browser opens another stream, and proves itself again.
                streams.clear();
                access = asked;
            }
            if streams.is_empty() {
                self.opened.notified().await;
                continue;
            }
            let (shown, began) = (Arc::clone(&view), Instant::now());
            let updated = tokio::task::spawn_blocking(move || update(&*shown, streams, pace, began)).await;
            // A panic has been logged, and has ended the streams.
            let (streams, next) = updated.unwrap_or_default();
            pace = next;
            self.streams().extend(streams);
            self.pause(&*view, pace.pause()).await;
        }
    }

    /// Waits; ends the streams if the process drains meanwhile.
    async fn pause(&self, view: &dyn View, pause: Duration) {
        let end = Instant::now() + pause;
        while Instant::now() < end {
            if !view.ready() {
                self.streams().clear();
            }
            sleep(LOOK.min(end - Instant::now())).await;
        }
    }

    fn streams(&self) -> std::sync::MutexGuard<'_, Vec<Stream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends what has changed, and returns the streams that go on.
fn update(view: &dyn View, mut streams: Vec<Stream>, mut pace: Pace, now: Instant) -> (Vec<Stream>, Pace) {
    streams.retain(|stream| now < stream.ends && !stream.events.is_closed());
    if !view.ready() || streams.is_empty() {
        return (Vec::new(), pace);
    }
    let began = Clock::now();
    let report = view.report();
    pace.reported(began.elapsed());
    pace.keep(|query| streams.iter().any(|stream| stream.query == *query));
    let mut queries: Vec<Query> = Vec::new();
    for stream in &streams {
        if !queries.contains(&stream.query) {
            queries.push(stream.query.clone());
        }
    }
    for query in queries {
        if !pace.is_due(&query, now) {
            continue;
        }
        let began = Clock::now();
        let current = Arc::new(Rendered::new(&report, &query));
        for stream in streams.iter_mut().filter(|stream| stream.query == query) {
            stream.send(&current, now);
        }
        pace.rendered(query, began.elapsed(), now);
    }
    for stream in streams.iter_mut().filter(|stream| now - stream.last_event >= QUIET) {
        stream.send_comment(now);
    }
    (streams, pace)
}

impl Stream {
    /// Sends what differs from what the client shows. A client that does not read gets the difference later.
    fn send(&mut self, current: &Arc<Rendered>, now: Instant) {
        let changes = current.changes(self.shown.as_deref());
        if changes.is_empty() {
            return;
        }
        // JSON, since the data of an event has no line breaks of its own.
        let event = format!("event: elements\ndata: {}\n\n", serde_json::Value::from(changes));
        if self.events.try_send(Bytes::from(event)).is_ok() {
            (self.shown, self.last_event) = (Some(Arc::clone(current)), now);
        }
    }

    fn send_comment(&mut self, now: Instant) {
        if self.events.try_send(Bytes::from_static(b":\n\n")).is_ok() {
            self.last_event = now;
        }
    }
}

/// The body of an answer with events. Its place is free when it is dropped.
pub(super) struct Events {
    messages: mpsc::Receiver<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.messages.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

#[cfg(test)]
mod tests;
