//! The signals that the server follows.

use std::future::{pending, poll_fn};
use std::io;
use std::task::Poll;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

/// SIGHUP, which asks for a reload.
pub(super) struct Hangup(Signal);

impl Hangup {
    pub(super) fn listen() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    pub(super) async fn received(&mut self) {
        if self.0.recv().await.is_none() {
            // No further signal can arrive.
            pending::<()>().await;
        }
    }

    /// Waits until the files may be read, and consumes the signals received meanwhile: one read covers all of them.
    pub(super) async fn join(&mut self, next_read: Instant) {
        sleep_until(next_read).await;
        poll_fn(|context| {
            let _joined = self.0.poll_recv(context);
            Poll::Ready(())
        })
        .await;
    }
}

/// SIGTERM and SIGINT, which end the server.
pub(super) struct Termination {
    terminate: Signal,
    interrupt: Signal,
}

impl Termination {
    pub(super) fn listen() -> io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt })
    }

    pub(super) async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
