//! Entries that could not be written after their refresh token was spent, and the locks of such grants.
//!
//! Until the successor is stored, the token on the disk is a spent one. The lock of the grant is kept for so long, so that
//! no other process sends it: that would make many providers revoke the grant. The other process is told that the grant is
//! in use. If this process is killed meanwhile, the kernel releases the lock and the successor is lost; the next holder
//! tries the spent token, since it is the only one there is. A mark on the disk, written before each exchange, would tell it
//! no more than that, at the price of one more write an exchange.
//!
//! Each look of an account with a store tries to write what is left. While the refresh token on the disk is still good, no
//! lock is kept: another process does no harm with it.

use crate::state::{Entry, LockedEntry, StateError, Store};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The time after which the lock is looked for in this process again.
const RETAKE: Duration = Duration::from_millis(500);

/// The newest entries that could not be written, by their name in the store.
#[derive(Clone, Default)]
pub(super) struct Unsaved(Arc<Mutex<HashMap<Box<str>, UnsavedEntry>>>);

struct UnsavedEntry {
    entry: Entry,
    lock: Option<Lock>,
    /// The refresh token on the disk is spent, be it by this entry or by one before it.
    is_spent: bool,
    /// The revision of the entry that was on the disk then; zero for none.
    stored_revision: u64,
}

struct Lock {
    store: Arc<dyn Store>,
    held: Box<dyn LockedEntry>,
}

impl Unsaved {
    pub(super) fn contains(&self, key: &str) -> bool {
        self.entries().contains_key(key)
    }

    /// Tries to write every entry; those that another task is at work on are left to that. Waits for each lock for `wait`.
    /// Returns false if one is left.
    pub(super) async fn store_all(&self, store: &Arc<dyn Store>, wait: Duration) -> bool {
        let keys: Vec<Box<str>> = self.entries().keys().cloned().collect();
        for key in keys {
            if self.contains(&key)
                && let Ok(mut grant) = self.lock(store, &key, wait).await
            {
                let _ = grant.read().await;
            }
        }
        self.entries().is_empty()
    }

    /// Takes the lock of a grant, which this process may hold already.
    ///
    /// # Errors
    ///
    /// Those of [`Store::lock`].
    pub(super) async fn lock(
        &self,
        store: &Arc<dyn Store>,
        key: &str,
        wait: Duration,
    ) -> Result<LockedGrant, StateError> {
        let began = Instant::now();
        let locked = |lock, newest: Option<UnsavedEntry>, is_kept| {
            let (unsaved, key, lock) = (self.clone(), key.into(), Some(lock));
            let (is_spent, stored_revision) =
                newest.as_ref().map_or((false, 0), |newest| (newest.is_spent, newest.stored_revision));
            let newest = newest.map(|unsaved| unsaved.entry);
            LockedGrant { unsaved, key, lock, newest, is_kept, is_spent, stored_revision }
        };
        loop {
            if let Some((lock, unsaved)) = self.take_kept(store, key) {
                return Ok(locked(lock, Some(unsaved), true));
            }
            let left = wait.saturating_sub(began.elapsed());
            match store.lock(key, left.min(RETAKE)).await {
                Ok(held) => {
                    let unsaved = self.entries().remove(key);
                    return Ok(locked(Lock { store: Arc::clone(store), held }, unsaved, false));
                }
                Err(StateError::Locked { account, path, .. }) if began.elapsed() >= wait => {
                    return Err(StateError::Locked { account, path, waited: began.elapsed() });
                }
                Err(StateError::Locked { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes an entry and its lock, unless the lock is another store's: `state.key` may have changed.
    fn take_kept(&self, store: &Arc<dyn Store>, key: &str) -> Option<(Lock, UnsavedEntry)> {
        let mut entries = self.entries();
        let lock = entries.get_mut(key)?.lock.take().filter(|lock| Arc::ptr_eq(&lock.store, store))?;
        entries.remove(key).map(|unsaved| (lock, unsaved))
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Box<str>, UnsavedEntry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A grant whose lock this process holds. An entry that could not be written is kept when this is dropped, with the lock
/// if the refresh token on the disk is spent.
pub(super) struct LockedGrant {
    unsaved: Unsaved,
    key: Box<str>,
    /// `None` only while this is dropped.
    lock: Option<Lock>,
    /// The newest entry, unless it is written.
    newest: Option<Entry>,
    /// The lock was held ever since `newest` could not be written.
    is_kept: bool,
    /// As in [`UnsavedEntry`].
    is_spent: bool,
    /// As in [`UnsavedEntry`].
    stored_revision: u64,
}

impl LockedGrant {
    /// Returns the newest entry, which is written now if it could not be written before.
    ///
    /// # Errors
    ///
    /// Those of [`LockedEntry::read`].
    pub(super) async fn read(&mut self) -> Result<Option<Entry>, StateError> {
        let Some(newest) = self.newest.clone() else { return self.read_stored().await };
        if !self.is_kept {
            let known = self.stored_revision;
            let stored = self.read_stored().await?;
            // While the refresh token on the disk was good, others renewed with it.
            let is_renewed = !self.is_spent && self.stored_revision > known;
            if is_renewed || is_overtaken(&newest, stored.as_ref()) {
                (self.newest, self.is_spent) = (None, false);
                return Ok(stored);
            }
        }
        // Reported when it failed first.
        let _ = self.write(newest.clone()).await;
        Ok(Some(newest))
    }

    /// As [`LockedEntry::prepare`].
    ///
    /// # Errors
    ///
    /// The same.
    pub(super) async fn prepare(&mut self) -> Result<(), StateError> {
        self.held().prepare().await
    }

    /// Stores the entry. One that can't be written is kept in memory.
    ///
    /// # Errors
    ///
    /// Those of [`LockedEntry::write`].
    pub(super) async fn write(&mut self, entry: Entry) -> Result<(), StateError> {
        // First, since this future may be dropped.
        self.newest = Some(entry.clone());
        self.is_spent |= !entry.reusable;
        self.held().write(&entry).await?;
        (self.newest, self.is_spent, self.stored_revision) = (None, false, entry.revision);
        Ok(())
    }

    async fn read_stored(&mut self) -> Result<Option<Entry>, StateError> {
        let stored = self.held().read().await?;
        self.stored_revision = stored.as_ref().map_or(0, |entry| entry.revision);
        Ok(stored)
    }

    fn held(&mut self) -> &mut dyn LockedEntry {
        &mut *self.lock.as_mut().expect("the lock is held until this is dropped").held
    }
}

impl Drop for LockedGrant {
    fn drop(&mut self) {
        if let Some(entry) = self.newest.take() {
            let (is_spent, stored_revision) = (self.is_spent, self.stored_revision);
            let lock = self.lock.take().filter(|_| is_spent);
            let key = std::mem::take(&mut self.key);
            self.unsaved.entries().insert(key, UnsavedEntry { entry, lock, is_spent, stored_revision });
        }
    }
}

/// Returns true if the stored entry is newer than one that could not be stored.
fn is_overtaken(unsaved: &Entry, stored: Option<&Entry>) -> bool {
    stored.is_some_and(|stored| {
        // A login counts on from the last entry that was written, however many could not be written since.
        let signed_in =
            stored.refresh_token != unsaved.refresh_token && stored.obtained_at > unsaved.obtained_at;
        stored.bound_to != unsaved.bound_to || stored.revision > unsaved.revision || signed_in
    })
}
