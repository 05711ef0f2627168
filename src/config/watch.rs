//! Decides when a configuration should be read again.
//!
//! Events of the file system are hints only: a watch on a file is lost after the first rename over it, a recreated
//! folder is not the watched one, and network file systems send nothing. So the watches are renewed at every look, a
//! poll looks without a hint, and the content decides. `events` receives the system's events about the files that
//! `places` knows, `paths` sets the watches, `rest` decides when to look and whether a change is complete.
//!
//! Rejected: a watch on the parent folder alone, as `notify` suggests: with write events, each line of an access log
//! beside the file wakes it; without them, a file that is being written looks complete. Rejected as well:
//! `notify-debouncer`. It debounces events, but the content must be stable.

mod events;
mod paths;
mod places;
mod rest;

use super::files::Files;
use events::{Armed, Watches};
use places::Places;
use rest::Rest;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Minimum time between two reads of events: a busy neighbour or writer must not wake a worker for each of them.
const PACE: Duration = Duration::from_millis(50);

/// Watches the files of a configuration.
#[derive(Debug)]
pub struct Watcher {
    files: Arc<Files>,
    rest: Rest,
    watches: Option<Arc<Watches>>,
    /// The time at which events are read again.
    next_events: Instant,
    failed: Arc<AtomicBool>,
}

impl Watcher {
    /// Watches the files of the readings; blocks on the file system. Any difference from those readings is a change,
    /// even if it came first. Looks every `poll` even without an event. `failed` is true while the system reports no
    /// events.
    pub fn start(files: Files, poll: Duration, failed: Arc<AtomicBool>) -> Self {
        let now = Instant::now();
        let mut watcher = Self {
            files: Arc::new(files),
            rest: Rest::new(poll, now),
            watches: None,
            next_events: now,
            failed,
        };
        watcher.open();
        if let Some(watches) = &watcher.watches {
            let armed = watches.arm(&Places::of(&watcher.files));
            watcher.report(armed.error.as_ref());
        }
        watcher
    }

    /// Resolves when the content differs from the readings and is stable. Cancel-safe: nothing is lost if it is
    /// dropped.
    pub async fn changed(&mut self) {
        loop {
            let next_look = self.rest.next_look();
            tokio::select! {
                () = self.hear() => {}
                () = tokio::time::sleep_until(next_look) => {
                    if self.look().await {
                        return;
                    }
                }
            }
        }
    }

    /// Compares with these readings from now on: the files were read again.
    pub fn reread(&mut self, files: Files) {
        self.files = Arc::new(files);
        self.rest.reread(Instant::now());
    }

    /// Returns the earliest moment at which the files may be read again, for any reason.
    pub fn next_read(&self) -> Instant {
        self.rest.next_read()
    }

    /// Processes the received events.
    async fn hear(&mut self) {
        let Some(watches) = self.watches.clone() else { return std::future::pending().await };
        tokio::time::sleep_until(self.next_events).await;
        let hints = watches.hints().await;
        let now = Instant::now();
        self.next_events = now + PACE;
        for hint in hints {
            self.rest.hint(hint, now);
        }
    }

    async fn look(&mut self) -> bool {
        let started = Instant::now();
        self.open();
        let (files, watches) = (Arc::clone(&self.files), self.watches.clone());
        // Armed before the files are read: a later change is either read now or causes an event.
        let (armed, mut look) = blocking(move || {
            let armed = watches.map(|watches| watches.arm(&Places::of(&files)));
            (armed, files.look())
        })
        .await;
        if look.is_news() {
            Arc::make_mut(&mut self.files).refresh(&mut look);
        }
        let blind = armed.as_ref().is_none_or(|armed: &Armed| armed.is_new || armed.error.is_some());
        if let Some(armed) = armed {
            self.report(armed.error.as_ref());
        }
        self.rest.looked(look.difference, blind, started)
    }

    fn open(&mut self) {
        if self.watches.is_none() {
            match Watches::new() {
                Ok(watches) => self.watches = Some(Arc::new(watches)),
                Err(error) => self.report(Some(&error)),
            }
        }
    }

    /// Warns once when watches can't be set, and logs once that they work again. The poll continues meanwhile.
    fn report(&self, error: Option<&notify::Error>) {
        match (error, self.failed.swap(error.is_some(), Ordering::Relaxed)) {
            (Some(error), false) => tracing::warn!(
                %error,
                "the configuration's files can't be watched, changes are found by a poll every 10 s; \
                 see fs.inotify.max_user_watches and fs.inotify.max_user_instances"
            ),
            (None, true) => tracing::info!("the configuration's files are watched again"),
            _ => {}
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        // The runtime is shutting down.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
