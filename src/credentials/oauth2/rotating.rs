//! Grants that live on a refresh token: under the store's lock the token is read, spent, and its successor kept.
//!
//! Where refresh tokens rotate, each is good once, and spending one twice makes many providers revoke the whole grant
//! (RFC 9700 section 4.14.2). So the lock is taken first and the token read under it: whatever another process did
//! meanwhile is seen. The room for the next token is made before the old one is spent. And from there on nothing may
//! stop the exchange: it runs on a task that neither a reload nor a caller ends, and that the process waits for.
//!
//! A refresh token that was refused (`invalid_grant`) is never sent again, not even after a restart: the entry is marked
//! as lost, and the account needs a login.
//!
//! Comparing and setting without a lock would be too late: the second of two uses has revoked the grant by then.

use super::error::{Cause, Failure, Unavailability};
use super::exchange::{Answer, Exchange};
use super::identity::grant_identity;
use super::tokens::{StoreSlot, Tokens, Unsaved};
use crate::config::model::{Grant, OAuth2};
use crate::secret::{Secret, hex};
use crate::state::{Entry, LockedEntry, Lost, Peek, StateError, Store};
use async_trait::async_trait;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// For the store's own work, beside the endpoint's.
const STORE_TIME: Duration = Duration::from_secs(5);

pub(super) struct Rotating {
    rotation: Arc<Rotation>,
    runtime: Handle,
}

struct Rotation {
    account: Box<str>,
    wire: Arc<dyn Exchange>,
    store: StoreSlot,
    tasks: TaskTracker,
    /// One at a time: a store that hangs must not pile up work that hangs.
    running: AtomicBool,
    looking: AtomicBool,
    /// What could not be written: better known here than nowhere.
    unsaved: Unsaved,
}

impl Rotating {
    pub(super) fn new(account: &str, wire: Arc<dyn Exchange>, tokens: &Tokens) -> Self {
        let (store, unsaved) = (tokens.store.clone(), tokens.unsaved.clone());
        let (tasks, running, looking) =
            (tokens.rotations.clone(), AtomicBool::new(false), AtomicBool::new(false));
        let rotation = Rotation { account: account.into(), wire, store, tasks, running, looking, unsaved };
        Self { rotation: Arc::new(rotation), runtime: tokens.runtime.clone() }
    }
}

#[async_trait]
impl Exchange for Rotating {
    async fn exchange(&self, config: &OAuth2, _: Option<&Secret>) -> Result<Answer, Failure> {
        // Held from before the look to behind the start: who waits for the end waits for this, too.
        let _counted = self.rotation.tasks.token();
        self.rotation.go_on()?;
        let rotation = Arc::clone(&self.rotation);
        let config = config.clone();
        let work = async move {
            let _running = Turn::take(&rotation.running).ok_or(Unavailability::State)?;
            rotation.run(&config).await
        };
        let task = self.rotation.tasks.spawn_on(work, &self.runtime);
        // Whoever drops this future lets the task go on.
        task.await.unwrap_or_else(|_| Err(Unavailability::Interrupted.into()))
    }

    fn limit(&self, config: &OAuth2) -> Duration {
        (config.token_timeout + STORE_TIME) * 2
    }

    async fn look(&self, config: &OAuth2) -> Result<(), Failure> {
        let rotation = Arc::clone(&self.rotation);
        let config = config.clone();
        let work = async move {
            let _looking = Turn::take(&rotation.looking).ok_or(Unavailability::State)?;
            let entry = rotation.store()?.peek(&store_key(&rotation.account, &config), None).await;
            let entry = match entry.map_err(|e| unusable(&e))? {
                Peek::Found(entry, _) => Some(*entry),
                Peek::Absent | Peek::Unchanged => None,
            };
            rotation.refresh_token(&config, entry).map(drop)
        };
        // The look may outlast the patience of whoever asked for it; there is only one, and it ends with the runtime.
        let task = self.runtime.spawn(work);
        let looked = timeout(STORE_TIME, task).await.map_err(|_| Failure::from(Unavailability::State))?;
        looked.unwrap_or_else(|_| Err(Unavailability::Interrupted.into()))
    }
}

/// Set while it lives.
struct Turn<'a>(&'a AtomicBool);

impl<'a> Turn<'a> {
    fn take(taken: &'a AtomicBool) -> Option<Self> {
        (!taken.swap(true, Ordering::AcqRel)).then(|| Self(taken))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Under which name the store keeps what an account got for just this client, endpoint and first token. Another one has a
/// file of its own, so that a slip of the pen in the file costs no grant: mended, it finds what it had. So does an account
/// under another name whose first token is the same.
pub(super) fn store_key(account: &str, config: &OAuth2) -> String {
    let name = if matches!(config.grant, Grant::RefreshToken { .. }) { "refresh_token" } else { account };
    format!("{name}@{}", hex(&grant_identity(account, config)[..8]))
}

impl Rotation {
    fn store(&self) -> Result<Arc<dyn Store>, Failure> {
        self.store.get().ok_or_else(|| Unavailability::State.into())
    }

    /// Nothing is begun any more once the process ends: it would not wait for it.
    fn go_on(&self) -> Result<(), Failure> {
        if self.tasks.is_closed() { Err(Unavailability::Interrupted.into()) } else { Ok(()) }
    }

    async fn run(&self, config: &OAuth2) -> Result<Answer, Failure> {
        let (store, key) = (self.store()?, store_key(&self.account, config));
        // Another process may hold it for a whole token request.
        let wait = config.token_timeout + STORE_TIME;
        let mut held = store.lock(&key, wait).await.map_err(|e| unusable(&e))?;
        let entry = held.read().await.map_err(|e| unusable(&e))?;
        let entry = self.newest(entry, &key, &mut *held).await;
        let (token, rotation) = self.refresh_token(config, entry)?;
        held.prepare().await.map_err(|e| unusable(&e))?;
        self.go_on()?;
        let asked = timeout(config.token_timeout, self.wire.exchange(config, Some(&token))).await;
        let result = asked.unwrap_or_else(|_| Err(Unavailability::TimedOut.into()));
        let entry = |refresh_token: Secret, revision, lost: Option<String>| Entry {
            bound_to: grant_identity(&self.account, config),
            revision,
            refresh_token: Some(refresh_token),
            rotated: revision > 1,
            reusable: false,
            obtained_at: SystemTime::now(),
            access: None,
            lost: lost.map(|reason| Lost { reason, at: SystemTime::now() }),
        };
        match result {
            Ok(answer) => {
                if let Some(next) = answer.refresh_token.as_ref().filter(|next| **next != token) {
                    self.keep(entry(next.clone(), rotation + 1, None), &key, &mut *held).await;
                }
                Ok(answer)
            }
            Err(mut failure) => {
                // The old one is spent all the same.
                if let Some(next) = failure.successor.take().filter(|next| *next != token) {
                    self.keep(entry(next, rotation + 1, None), &key, &mut *held).await;
                } else if let Cause::GrantGone { code: Some(code) } = &failure.cause {
                    let reason =
                        failure.words.as_deref().map_or(code.to_string(), |w| format!("{code}: {w}"));
                    self.keep(entry(token, rotation, Some(reason)), &key, &mut *held).await;
                }
                Err(failure)
            }
        }
    }

    /// The refresh token to spend, and its number.
    fn refresh_token(&self, config: &OAuth2, entry: Option<Entry>) -> Result<(Secret, u64), Failure> {
        // Its name says so already, but in eight bytes only.
        let entry = entry.filter(|entry| entry.bound_to == grant_identity(&self.account, config));
        match (entry, &config.grant) {
            (Some(Entry { lost: Some(lost), .. }), _) => {
                Err(Failure::needs_login().with_words(Arc::from(lost.reason)))
            }
            (Some(Entry { refresh_token: Some(token), revision, .. }), _) => Ok((token, revision)),
            (_, Grant::RefreshToken { refresh_token }) => Ok((refresh_token.clone(), 0)),
            (_, _) => Err(Failure::needs_login()),
        }
    }

    /// What is kept, or what should have been: then it is tried again to keep it.
    async fn newest(&self, kept: Option<Entry>, key: &str, held: &mut dyn LockedEntry) -> Option<Entry> {
        let unsaved = self.unsaved.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        let Some(unsaved) = unsaved else { return kept };
        let overtaken = kept.as_ref().is_some_and(|kept| {
            // Whoever signed in meanwhile could count on from what was written only.
            let signed_in = kept.revision == unsaved.revision
                && kept.refresh_token != unsaved.refresh_token
                && kept.obtained_at > unsaved.obtained_at;
            kept.bound_to != unsaved.bound_to || kept.revision > unsaved.revision || signed_in
        });
        if overtaken {
            return kept;
        }
        self.keep(unsaved.clone(), key, held).await;
        Some(unsaved)
    }

    /// The old token is spent: an entry that can't be written is kept in memory, and said so loudly.
    async fn keep(&self, entry: Entry, key: &str, held: &mut dyn LockedEntry) {
        if let Err(error) = held.write(&entry).await {
            tracing::error!(
                target: "attache",
                account = &*self.account,
                %error,
                "the account's refresh token could not be stored: it is lost if attache ends now"
            );
            let mut unsaved = self.unsaved.lock().unwrap_or_else(PoisonError::into_inner);
            unsaved.insert(key.into(), entry);
        }
    }
}

fn unusable(error: &StateError) -> Failure {
    let reason = match error {
        StateError::Locked { .. } => Unavailability::Locked,
        _ => Unavailability::State,
    };
    Failure::from(reason).with_words(Arc::from(error.to_string()))
}

#[cfg(test)]
mod tests;
