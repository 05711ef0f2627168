//! The simulated disk: a lock that ends with its process, work that takes time, and faults.

use super::Random;
use crate::state::{Entry, LockedEntry, Peek, Stamp, StateError, Store};
use async_trait::async_trait;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

/// One grant's file and lock, which all processes share.
#[derive(Default)]
pub(super) struct Disk {
    pub(super) entry: Mutex<(Option<Entry>, u64)>,
    /// The process that holds the lock.
    holder: Mutex<Option<usize>>,
    released: Notify,
    /// Nothing can be reserved.
    pub(super) is_full: AtomicBool,
    pub(super) fails_to_write: AtomicBool,
    /// The time at which another access token was stored.
    renewed_at: Mutex<Option<Instant>>,
}

impl Disk {
    /// Releases the lock of a process that was killed.
    pub(super) fn release(&self, process: usize) {
        let mut holder = self.holder.lock().unwrap();
        if *holder == Some(process) {
            *holder = None;
            self.released.notify_waiters();
        }
    }

    /// Stores a login, as `attache login` does.
    pub(super) fn write(&self, change: impl FnOnce(Option<&Entry>) -> Entry) {
        let mut entry = self.entry.lock().unwrap();
        let next = change(entry.0.as_ref());
        let access = |entry: &Entry| entry.access.as_ref().map(|access| access.token.clone());
        if entry.0.as_ref().and_then(access) != access(&next) {
            *self.renewed_at.lock().unwrap() = Some(Instant::now());
        }
        *entry = (Some(next), entry.1 + 1);
    }

    pub(super) fn renewed_at(&self) -> Option<Instant> {
        *self.renewed_at.lock().unwrap()
    }

    pub(super) fn refresh_token(&self) -> Option<String> {
        let entry = self.entry.lock().unwrap();
        entry.0.as_ref()?.refresh_token.as_ref().map(|token| token.expose().to_owned())
    }

    pub(super) fn knows_refusal(&self) -> bool {
        self.entry.lock().unwrap().0.as_ref().is_some_and(|entry| entry.lost.is_some())
    }

    pub(super) fn is_locked(&self) -> bool {
        self.holder.lock().unwrap().is_some()
    }
}

/// A process's view of the disk.
pub(super) struct SimStore {
    pub(super) disk: Arc<Disk>,
    pub(super) process: usize,
    pub(super) is_dead: Arc<AtomicBool>,
    pub(super) random: Arc<Random>,
}

struct Held {
    disk: Arc<Disk>,
    process: usize,
    is_dead: Arc<AtomicBool>,
    random: Arc<Random>,
}

async fn work(random: &Random, is_dead: &AtomicBool) {
    sleep(Duration::from_millis(random.below(40))).await;
    if is_dead.load(Ordering::SeqCst) {
        pending::<()>().await;
    }
}

#[async_trait]
impl Store for SimStore {
    async fn peek(&self, _: &str, known: Option<Stamp>) -> Result<Peek, StateError> {
        work(&self.random, &self.is_dead).await;
        let (entry, version) = self.disk.entry.lock().unwrap().clone();
        let stamp = Stamp::new([version, 0, 0, 0]);
        Ok(match entry {
            _ if known == Some(stamp) => Peek::Unchanged,
            Some(entry) => Peek::Found(Box::new(entry), stamp),
            None => Peek::Absent,
        })
    }

    async fn lock(&self, account: &str, wait: Duration) -> Result<Box<dyn LockedEntry>, StateError> {
        work(&self.random, &self.is_dead).await;
        let take = async {
            loop {
                let released = self.disk.released.notified();
                {
                    let mut holder = self.disk.holder.lock().unwrap();
                    if holder.is_none() {
                        *holder = Some(self.process);
                        return;
                    }
                }
                released.await;
            }
        };
        let locked = |_| StateError::Locked { account: account.to_owned(), path: "x".into(), waited: wait };
        timeout(wait, take).await.map_err(locked)?;
        if self.is_dead.load(Ordering::SeqCst) {
            self.disk.release(self.process);
            pending::<()>().await;
        }
        let (disk, is_dead, random) = (self.disk.clone(), self.is_dead.clone(), self.random.clone());
        Ok(Box::new(Held { disk, process: self.process, is_dead, random }))
    }
}

#[async_trait]
impl LockedEntry for Held {
    async fn read(&mut self) -> Result<Option<Entry>, StateError> {
        work(&self.random, &self.is_dead).await;
        Ok(self.disk.entry.lock().unwrap().0.clone())
    }

    async fn prepare(&mut self) -> Result<(), StateError> {
        work(&self.random, &self.is_dead).await;
        if self.disk.is_full.load(Ordering::SeqCst) { Err(StateError::BrokenOff) } else { Ok(()) }
    }

    async fn write(&mut self, entry: &Entry) -> Result<(), StateError> {
        work(&self.random, &self.is_dead).await;
        if self.disk.fails_to_write.load(Ordering::SeqCst) {
            return Err(StateError::BrokenOff);
        }
        self.disk.write(|_| entry.clone());
        Ok(())
    }

    async fn remove(&mut self) -> Result<(), StateError> {
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.is_dead.load(Ordering::SeqCst) {
            self.disk.release(self.process);
        }
    }
}
