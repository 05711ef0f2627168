//! The events of the status page: what has changed on it, at most once a second.
//!
//! Invariant: the work does not grow with the time that pages are open. Without a stream nothing is done. With some, one
//! report is made for all of them, each query is rendered once, and an update is followed by a pause of ten times its
//! duration, so that it takes a tenth of a processor at most. The number of streams is bounded, a client that does not
//! read keeps two messages, and a stream ends when it is old or when the process drains.

use super::View;
use super::page::{self, Query, Rendered};
use hyper::body::{Body, Bytes, Frame};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};

/// Streams at the same time.
const STREAMS: usize = 16;
/// The shortest time between two updates.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a stream lives. The browser opens another. Less than a connection lives.
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
    /// What the client shows.
    shown: Option<Arc<Rendered>>,
    last_event: Instant,
    ends: Instant,
    _place: OwnedSemaphorePermit,
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
        let stream = Stream { query, events, shown: None, last_event: now, ends: now + LIFE, _place: place };
        self.streams().push(stream);
        self.opened.notify_one();
        Some(Events(receiver))
    }

    /// Sends the events. Never ends.
    pub(super) async fn run(&self, view: Arc<dyn View>) {
        loop {
            let streams = std::mem::take(&mut *self.streams());
            if streams.is_empty() {
                self.opened.notified().await;
                continue;
            }
            let (view, began) = (Arc::clone(&view), Instant::now());
            let updated = tokio::task::spawn_blocking(move || update(&*view, streams, began)).await;
            // A panic has been logged, and has ended the streams.
            self.streams().extend(updated.unwrap_or_default());
            let pause = PAUSE.max(began.elapsed() * 10);
            sleep_until(Instant::now() + pause).await;
        }
    }

    fn streams(&self) -> std::sync::MutexGuard<'_, Vec<Stream>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends what has changed, and returns the streams that go on.
fn update(view: &dyn View, mut streams: Vec<Stream>, now: Instant) -> Vec<Stream> {
    streams.retain(|stream| now < stream.ends && !stream.events.is_closed());
    if !view.ready() || streams.is_empty() {
        return Vec::new();
    }
    let report = view.report();
    let mut rendered: Vec<(Query, Arc<Rendered>)> = Vec::new();
    for stream in &mut streams {
        let known = rendered.iter().find(|(query, _)| *query == stream.query);
        let current = known.map(|(_, rendered)| Arc::clone(rendered)).unwrap_or_else(|| {
            let current = Arc::new(Rendered::new(&report, &stream.query));
            rendered.push((stream.query.clone(), Arc::clone(&current)));
            current
        });
        stream.send(current, now);
    }
    streams
}

impl Stream {
    /// Sends what differs from what the client shows. A client that does not read gets the difference later.
    fn send(&mut self, current: Arc<Rendered>, now: Instant) {
        let changes = current.changes(self.shown.as_deref());
        let event = if !changes.is_empty() {
            // JSON, since the data of an event has no line breaks of its own.
            format!("event: elements\ndata: {}\n\n", serde_json::Value::from(changes))
        } else if now - self.last_event >= QUIET {
            ":\n\n".to_owned()
        } else {
            return;
        };
        if self.events.try_send(Bytes::from(event)).is_ok() {
            (self.shown, self.last_event) = (Some(current), now);
        }
    }
}

/// The body of an answer with events.
pub(super) struct Events(mpsc::Receiver<Bytes>);

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

#[cfg(test)]
mod tests;
