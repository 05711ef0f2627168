//! The keys of one `jwks.url`: shared by the snapshots that name it, renewed by one task.
//!
//! Invariants: keys change only by a successful fetch; a failed one keeps them. Readers never wait, but a request with an
//! unknown key may wait for the end of a fetch.

use super::fetch::{FetchFailure, JwksClient};
use super::schedule::Schedule;
use crate::config::model::JwksUrl;
use crate::error_chain::Chain;
use crate::jwt::key_set::KeySet;
use arc_swap::ArcSwapOption;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

/// The counters of an issuer's fetches. They belong to its name, whatever becomes of its URL.
#[derive(Debug, Default)]
pub struct IssuerStats {
    succeeded: AtomicU64,
    failed: AtomicU64,
}

impl IssuerStats {
    /// Returns the number of successful fetches.
    pub fn succeeded(&self) -> u64 {
        self.succeeded.load(Ordering::Relaxed)
    }

    /// Returns the number of failed fetches.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

/// The last fetches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchStatus {
    /// The end of the last successful fetch.
    pub fetched_at: Option<SystemTime>,
    /// The end and the reason of the last fetch, if it failed.
    pub failure: Option<(SystemTime, String)>,
}

/// See the module's documentation.
pub struct Fetched {
    issuer: Arc<str>,
    pub(super) source: JwksUrl,
    pub(super) stats: Arc<IssuerStats>,
    keys: ArcSwapOption<KeySet>,
    schedule: Mutex<Schedule>,
    status: Mutex<FetchStatus>,
    asked: Notify,
    /// The number of fetches that ended.
    ended: watch::Sender<u64>,
}

impl Fetched {
    pub(super) fn new(issuer: &str, source: JwksUrl, stats: Arc<IssuerStats>) -> Self {
        Self {
            issuer: issuer.into(),
            source,
            stats,
            keys: ArcSwapOption::empty(),
            schedule: Mutex::default(),
            status: Mutex::default(),
            asked: Notify::new(),
            ended: watch::Sender::new(0),
        }
    }

    /// Returns the same keys, to be fetched another way from now on.
    pub(super) fn through(&self, source: JwksUrl) -> Self {
        let new = Self::new(&self.issuer, source, Arc::clone(&self.stats));
        Self { keys: ArcSwapOption::new(self.keys()), status: Mutex::new(self.status()), ..new }
    }

    /// Returns the keys of the last successful fetch.
    pub(super) fn keys(&self) -> Option<Arc<KeySet>> {
        self.keys.load_full()
    }

    /// Returns the outcome of the last fetches.
    pub(super) fn status(&self) -> FetchStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fetches as soon as possible.
    pub(super) fn nudge(&self) {
        self.schedule().nudge();
        self.asked.notify_one();
    }

    /// Tells of each fetch that ends from now on.
    #[cfg(test)]
    pub(super) fn fetches(&self) -> watch::Receiver<u64> {
        self.ended.subscribe()
    }

    /// Asks for newer keys. Returns the fetch to wait for; `None` if none is allowed now.
    pub(super) fn ask(&self) -> Option<watch::Receiver<u64>> {
        let mut schedule = self.schedule();
        // Under the lock, so that the fetch does not end before it is waited for.
        let ended = self.ended.subscribe();
        let is_allowed = schedule.ask(Instant::now());
        drop(schedule);
        is_allowed.then(|| {
            self.asked.notify_one();
            ended
        })
    }

    fn end(&self, result: Result<KeySet, FetchFailure>) {
        let (now, random) = (SystemTime::now(), random());
        let is_ok = result.is_ok();
        match result {
            Ok(keys) => self.succeeded(keys, now),
            Err(failure) => self.failed(&failure, now),
        }
        let mut schedule = self.schedule();
        if is_ok {
            schedule.succeeded(Instant::now(), random);
        } else {
            schedule.failed(Instant::now(), random);
        }
        self.ended.send_modify(|count| *count += 1);
    }

    fn succeeded(&self, keys: KeySet, now: SystemTime) {
        let (issuer, url) = (&*self.issuer, self.source.shown());
        let before = self.keys.load_full();
        if before.as_deref() != Some(&keys) {
            for skipped in keys.skipped().iter().take(SKIPPED_SHOWN) {
                tracing::warn!(target: "attache", issuer, url, key = %skipped, "a key of the issuer is not used");
            }
            tracing::info!(target: "attache", issuer, url, keys = keys.len(), "the issuer's keys were fetched");
            self.keys.store(Some(Arc::new(keys)));
        }
        self.stats.succeeded.fetch_add(1, Ordering::Relaxed);
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if status.failure.take().is_some() && before.is_some() {
            tracing::info!(target: "attache", issuer, url, "the issuer's keys can be fetched again");
        }
        status.fetched_at = Some(now);
    }

    fn failed(&self, failure: &FetchFailure, now: SystemTime) {
        let reason = Chain(failure).to_string();
        self.stats.failed.fetch_add(1, Ordering::Relaxed);
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = status.failure.as_ref().is_some_and(|(_, known)| *known == reason);
        if !is_known {
            let (issuer, url, help) = (&*self.issuer, self.source.shown(), failure.help());
            if self.keys.load().is_some() {
                let what = "the issuer's keys can't be fetched; the last ones stay in use";
                tracing::warn!(target: "attache", issuer, url, reason, help, "{what}");
            } else {
                let what = "the issuer's keys can't be fetched; its tokens are refused";
                tracing::error!(target: "attache", issuer, url, reason, help, "{what}");
            }
        }
        status.failure = Some((now, reason));
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Maximum number of log lines about unusable keys of one set.
const SKIPPED_SHOWN: usize = 5;

/// The one task that fetches. When it ends, the requests that wait for a fetch are told.
pub(crate) struct FetchTask(Arc<Fetched>);

impl FetchTask {
    /// Returns the task of `fetched`, which has none. From now on its fetches may be waited for.
    pub(crate) fn new(fetched: &Arc<Fetched>) -> Self {
        fetched.schedule().set_owner(true);
        Self(Arc::clone(fetched))
    }

    /// Returns where the keys are.
    pub(crate) fn source(&self) -> &JwksUrl {
        &self.0.source
    }

    /// Fetches the keys when they are due or asked for, until the future is dropped.
    pub(crate) async fn run(self, client: JwksClient) {
        let fetched = &*self.0;
        loop {
            let now = Instant::now();
            let (begins, next) = {
                let mut schedule = fetched.schedule();
                (schedule.begin(now), schedule.next_at(now))
            };
            if begins {
                let result = client.fetch().await;
                fetched.end(result);
                continue;
            }
            tokio::select! {
                () = sleep_until(next) => {}
                () = fetched.asked.notified() => {}
            }
        }
    }
}

impl Drop for FetchTask {
    fn drop(&mut self) {
        self.0.schedule().set_owner(false);
        self.0.ended.send_modify(|count| *count += 1);
    }
}

/// Returns a number from 0 to 1. It spreads requests, and is no secret.
fn random() -> f64 {
    RandomState::new().hash_one(()) as f64 / u64::MAX as f64
}
