//! One refresh: a token from the token endpoint or, for grants with a refresh token, under the store's lock.
//!
//! A rotating refresh token is good once, and many providers revoke the whole grant if one is sent twice (RFC 9700 section
//! 4.14.2). So the lock is taken first and the entry is read under it. If another process has renewed the
//! token meanwhile, that token is used and nothing is spent. Space for the answer is reserved before the refresh token is
//! sent. From there on nothing may stop the exchange: it is awaited for [`EXCHANGE_LIMIT`], whatever `token_timeout` says
//! to requests, on a task that neither a reload nor a request ends, and the process waits for it before it ends.
//!
//! A refused refresh token that came by rotation is never sent again, not even after a restart. Another one is tried
//! again every hour and after SIGHUP: the provider may refuse it while the user is suspended.
//!
//! Comparing and setting without a lock would be too late: the second of two uses has revoked the grant by then.

use super::clock::Clock;
use super::error::{Cause, Failure, Unavailability};
use super::exchange::{Exchange, ReceivedToken};
use super::identity::{grant_identity, proof_identity, token_identity};
use super::machine::GrantSource;
use super::memory::AccountMemory;
use super::schedule;
use super::token::{Issued, Replaced};
use super::tokens::Tokens;
use super::unsaved::{LockedGrant, Unsaved};
use crate::config::model::{Grant, OAuth2};
use crate::secret::{Secret, hex, sha256};
use crate::state::{Entry, Lost, Peek, Stamp, StateError, Store, StoreSlot, StoredAccess};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

/// The limit of a token request that spends a refresh token: its answer may hold the only successor.
pub(super) const EXCHANGE_LIMIT: Duration = Duration::from_secs(60);

/// Additional time for the store's own work.
pub(super) const STORE_TIME: Duration = Duration::from_secs(5);

/// Refreshes the tokens of one account.
pub(super) struct Refresher {
    account: Box<str>,
    wire: Arc<dyn Exchange>,
    memory: Arc<AccountMemory>,
    clock: Clock,
    runtime: Handle,
    store: StoreSlot,
    /// The exchanges that spend a refresh token.
    spending: TaskTracker,
    /// Entries that could not be written, and their locks.
    unsaved: Unsaved,
    /// True while the store's files are worked on, so that a request that waited in vain blames the right side.
    in_store: AtomicBool,
    /// The file's refresh token is marked as spent.
    is_marked: AtomicBool,
}

/// The refusal to send a spent first token.
const SPENT: &str = "the file's refresh_token was used with another token_url or client_id, and is spent: restore these, or \
                     give the account another refresh_token";

/// The result of a refresh.
pub(super) struct Obtained {
    pub(super) issued: Issued,
    /// The token endpoint's answer; `None` if another process obtained the token.
    pub(super) answer: Option<ReceivedToken>,
}

/// Why a refresh brought no token.
pub(super) struct Failed {
    pub(super) failure: Failure,
    /// True if a token request was sent.
    pub(super) asked: bool,
}

/// The result of a look into the store.
pub(super) enum Looked {
    /// Nothing new.
    Unchanged,
    /// A grant, and its token if that may be sent.
    Grant(Option<Issued>),
    /// No grant, or the store can't be read.
    Failed(Failure),
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self { failure, asked: false }
    }
}

impl From<Unavailability> for Failed {
    fn from(reason: Unavailability) -> Self {
        Failure::from(reason).into()
    }
}

/// Returns the name under which the store keeps the grant of just this account, client, endpoint and first token.
/// Another one has a file of its own, so a typo in the configuration does not lose the grant: once corrected, the
/// account finds what it had. So does an account under another name whose first token is the same.
pub(super) fn store_key(account: &str, config: &OAuth2) -> String {
    let name = if matches!(config.grant, Grant::RefreshToken { .. }) { "refresh_token" } else { account };
    format!("{name}@{}", hex(&grant_identity(account, config)[..8]))
}

/// Returns the name and the binding of the mark that the file's refresh token is spent, whatever `token_url` and client it
/// was used with. Without it, a change of these would send the first token a second time, for which many providers revoke
/// the whole grant.
fn spent_mark(config: &OAuth2) -> Option<(String, [u8; 32])> {
    let Grant::RefreshToken { refresh_token } = &config.grant else { return None };
    let digest = sha256(format!("spent refresh token {}", refresh_token.expose()).as_bytes());
    Some((format!("spent@{}", hex(&digest[..8])), digest))
}

async fn is_spent(store: &dyn Store, config: &OAuth2) -> bool {
    let Some((name, digest)) = spent_mark(config) else { return false };
    matches!(store.peek(&name, None).await, Ok(Peek::Found(entry, _)) if entry.bound_to == digest)
}

/// A mark that can't be written is only missing: the grant itself is stored.
async fn mark_spent(store: &dyn Store, config: &OAuth2, now: SystemTime) {
    let Some((name, bound_to)) = spent_mark(config) else { return };
    let mark = Entry {
        bound_to,
        revision: 1,
        refresh_token: None,
        rotated: true,
        reusable: false,
        obtained_at: now,
        access: None,
        lost: None,
    };
    if let Ok(mut held) = store.lock(&name, STORE_TIME).await
        && !matches!(held.read().await, Ok(Some(_)))
    {
        let _ = held.write(&mark).await;
    }
}

impl Refresher {
    pub(super) fn new(
        account: &str,
        wire: Arc<dyn Exchange>,
        memory: Arc<AccountMemory>,
        tokens: &Tokens,
    ) -> Self {
        Self {
            account: account.into(),
            wire,
            memory,
            clock: tokens.clock.clone(),
            runtime: tokens.runtime.clone(),
            store: tokens.store.clone(),
            spending: tokens.spending.clone(),
            unsaved: tokens.unsaved.clone(),
            in_store: AtomicBool::new(false),
            is_marked: AtomicBool::new(false),
        }
    }

    /// Returns true while a refresh waits for the store.
    pub(super) fn is_in_store(&self) -> bool {
        self.in_store.load(Ordering::Relaxed)
    }

    /// Gets a token in the place of `replacing`. `nudged`: the operator asks to try a refused grant again.
    ///
    /// Dropping the future ends a request that spends nothing. A refresh token's exchange goes on to its end.
    pub(super) async fn refresh(
        self: &Arc<Self>,
        config: &OAuth2,
        replacing: Option<&Replaced>,
        nudged: bool,
    ) -> Result<Obtained, Failed> {
        if config.grant.refreshes() {
            let (this, config, replacing) = (Arc::clone(self), config.clone(), replacing.cloned());
            let work = async move { this.refresh_stored(&config, replacing.as_ref(), nudged).await };
            let ended = self.runtime.spawn(work).await;
            return ended.unwrap_or_else(|_| Err(Unavailability::Interrupted.into()));
        }
        if !nudged && let Some(refused) = self.memory.refusal(proof_identity(config)) {
            return Err(Failure::needs_login().with_words(reason(&refused)).into());
        }
        self.check_pause(config)?;
        let began = (Instant::now(), self.clock.now().wall);
        let answer = self.exchange(config, None, config.token_timeout).await;
        answer
            .map(|answer| obtained(answer, config, began))
            .map_err(|failure| Failed { failure, asked: true })
    }

    /// Sends the token request, and notes what its answer says beyond this source.
    async fn exchange(
        &self,
        config: &OAuth2,
        token: Option<&Secret>,
        limit: Duration,
    ) -> Result<ReceivedToken, Failure> {
        let asked = timeout(limit, self.wire.exchange(config, token)).await;
        let result = asked.unwrap_or_else(|_| Err(Unavailability::TimedOut.into()));
        let proof = proof_identity(config);
        match &result {
            Ok(_) => self.memory.note_success(proof),
            Err(failure) => {
                self.memory.note_pause(proof, failure, Instant::now());
                if matches!(failure.cause, Cause::GrantGone { .. }) && !config.grant.refreshes() {
                    self.memory.note_refusal(proof, failure);
                }
            }
        }
        result
    }

    /// Fails if the endpoint has asked for a pause that is not over, be it by the answer to another source of the account.
    fn check_pause(&self, config: &OAuth2) -> Result<(), Failure> {
        self.memory.pause(proof_identity(config), Instant::now()).map_or(Ok(()), Err)
    }

    async fn refresh_stored(
        &self,
        config: &OAuth2,
        replacing: Option<&Replaced>,
        nudged: bool,
    ) -> Result<Obtained, Failed> {
        let in_store = InStore::new(&self.in_store);
        let (store, key) = (self.store()?, store_key(&self.account, config));
        // Another process may hold it for a whole token request.
        let limit = EXCHANGE_LIMIT + STORE_TIME;
        let mut grant = self.unsaved.lock(&store, &key, limit).await.map_err(|e| unusable(&e))?;
        let entry = grant.read().await.map_err(|e| unusable(&e))?;
        // The name says so already, but in eight bytes only.
        let entry = entry.filter(|entry| entry.bound_to == grant_identity(&self.account, config));
        if let Some(issued) = self.stored(entry.as_ref(), config, replacing) {
            return Ok(Obtained { issued, answer: None });
        }
        let token = self.refresh_token(config, entry.as_ref(), nudged)?;
        self.check_pause(config)?;
        if entry.is_none() && is_spent(&*store, config).await {
            return Err(Failure::needs_login().with_words(Arc::from(SPENT)).into());
        }
        if let Err(error) = grant.prepare().await {
            // Without rotation, the answer has nothing that must not be lost.
            if !entry.as_ref().is_some_and(|entry| entry.reusable) {
                return Err(unusable(&error).into());
            }
            tracing::warn!(target: "attache", account = &*self.account, %error, "the account's token can't be stored");
        }
        drop(in_store);
        let _spending = self.spending.token();
        // A process that ends would not wait for it.
        if self.spending.is_closed() {
            return Err(Unavailability::Interrupted.into());
        }
        let began = (Instant::now(), self.clock.now().wall);
        let result = self.exchange(config, Some(&token), EXCHANGE_LIMIT).await;
        let next = NextEntry { config, account: &self.account, spent: token, entry };
        match result {
            Ok(answer) => {
                let entry = next.after(&answer, began.1);
                let has_rotated = entry.rotated;
                self.keep(entry, &mut grant).await;
                if has_rotated && !self.is_marked.swap(true, Ordering::Relaxed) {
                    mark_spent(&*store, config, began.1).await;
                }
                Ok(obtained(answer, config, began))
            }
            Err(failure) => {
                if let Some(entry) = next.after_failure(&failure, self.clock.now().wall) {
                    self.keep(entry, &mut grant).await;
                }
                Err(Failed { failure, asked: true })
            }
        }
    }

    /// Reads the store: whether a person has to sign in first or has done so meanwhile, whether another process renewed
    /// the token, and whether the entry can be read. Sends no request. `waits`: a renewal that is under way in another
    /// process is waited for. A token that can't replace this one is none.
    pub(super) async fn look(
        &self,
        config: &OAuth2,
        seen: &mut Option<Stamp>,
        replacing: Option<&Replaced>,
        waits: bool,
    ) -> Looked {
        let (store, key) = match self.store() {
            Ok(store) => (store, store_key(&self.account, config)),
            Err(failure) => return Looked::Failed(failure),
        };
        self.unsaved.store_all(&store, Duration::ZERO).await;
        if self.unsaved.contains(&key) {
            // The entry on the disk is an old one.
            return Looked::Unchanged;
        }
        if waits {
            // A failure does not matter: the wait is all that is needed.
            drop(store.lock(&key, EXCHANGE_LIMIT).await);
        }
        let peeked = store.peek(&key, *seen).await;
        let entry = match peeked {
            Ok(Peek::Unchanged) => return Looked::Unchanged,
            Ok(Peek::Absent) => None,
            Ok(Peek::Found(entry, stamp)) => {
                *seen = Some(stamp);
                Some(*entry)
            }
            Err(error) => return Looked::Failed(unusable(&error)),
        };
        let entry = entry.filter(|entry| entry.bound_to == grant_identity(&self.account, config));
        let issued = self.stored(entry.as_ref(), config, replacing);
        match self.refresh_token(config, entry.as_ref(), false) {
            Err(failure) if issued.is_none() => Looked::Failed(failure),
            _ => Looked::Grant(issued),
        }
    }

    /// Returns the stored token, if it may be sent and can replace this one.
    fn stored(&self, entry: Option<&Entry>, config: &OAuth2, replacing: Option<&Replaced>) -> Option<Issued> {
        let access = entry?.access.as_ref()?;
        let lifetime = access.expires_at.duration_since(access.obtained_at).unwrap_or_default();
        let now = self.clock.now().wall;
        // One from the future was stored while the clock was fast: its age is not known.
        let usable = access.obtained_at <= now && now < access.obtained_at + schedule::usable_for(lifetime);
        let can_replace =
            replacing.is_none_or(|replacing| replacing.yields_to(&access.token, access.obtained_at, now));
        (access.bound_to == token_identity(config) && can_replace && usable).then(|| Issued {
            secret: access.token.clone(),
            obtained_at: access.obtained_at,
            lifetime,
            took: Duration::ZERO,
        })
    }

    /// Returns the refresh token to spend.
    fn refresh_token(&self, config: &OAuth2, entry: Option<&Entry>, nudged: bool) -> Result<Secret, Failure> {
        if let Some(Entry { lost: Some(lost), rotated, .. }) = entry {
            let wait = if nudged { schedule::NUDGE } else { schedule::RETRY_GRANT };
            // A refusal in the future: the clock was set back.
            let since = self.clock.now().wall.duration_since(lost.at);
            if *rotated || since.is_ok_and(|since| since < wait) {
                return Err(Failure::needs_login().with_words(Arc::from(&*lost.reason)));
            }
        }
        match (entry, &config.grant) {
            (Some(Entry { refresh_token: Some(token), .. }), _) => Ok(token.clone()),
            (_, Grant::RefreshToken { refresh_token }) => Ok(refresh_token.clone()),
            _ => Err(Failure::needs_login()),
        }
    }

    fn store(&self) -> Result<Arc<dyn Store>, Failure> {
        self.store.get().ok_or_else(|| Unavailability::State.into())
    }

    /// Stores the entry. One that can't be written is kept in memory.
    async fn keep(&self, entry: Entry, grant: &mut LockedGrant) {
        let is_reusable = entry.reusable;
        let Err(error) = grant.write(entry).await else { return };
        let account = &*self.account;
        if is_reusable {
            tracing::warn!(target: "attache", account, %error, "the account's token could not be stored");
        } else {
            tracing::error!(
                target: "attache",
                account,
                %error,
                "the account's refresh token could not be stored: it is lost if attache ends now"
            );
        }
    }
}

/// The entry that follows on a token request.
struct NextEntry<'a> {
    config: &'a OAuth2,
    account: &'a str,
    /// The refresh token that was sent.
    spent: Secret,
    /// The entry before.
    entry: Option<Entry>,
}

impl NextEntry<'_> {
    fn after(self, answer: &ReceivedToken, asked_at: SystemTime) -> Entry {
        let access = StoredAccess {
            bound_to: token_identity(self.config),
            token: answer.token.clone(),
            obtained_at: asked_at,
            expires_at: asked_at + lifetime(answer, self.config),
        };
        let entry = self.rotated_to(answer.refresh_token.clone(), asked_at);
        Entry { access: Some(access), lost: None, ..entry }
    }

    /// Returns the entry after a failure that says something about the refresh token.
    fn after_failure(self, failure: &Failure, now: SystemTime) -> Option<Entry> {
        if let Some(successor) = failure.successor.clone().filter(|successor| *successor != self.spent) {
            return Some(self.rotated_to(Some(successor), now));
        }
        let reason = reason(failure)?.to_string();
        let entry = self.rotated_to(None, now);
        // The refresh token was not proved to be reusable.
        Some(Entry { lost: Some(Lost { reason, at: now }), reusable: false, ..entry })
    }

    fn rotated_to(self, next: Option<Secret>, now: SystemTime) -> Entry {
        let next = next.filter(|next| *next != self.spent);
        let before = self.entry;
        let revision = before.as_ref().map_or(0, |entry| entry.revision) + 1;
        let has_rotated = next.is_some();
        Entry {
            bound_to: grant_identity(self.account, self.config),
            revision,
            rotated: has_rotated || before.as_ref().is_some_and(|entry| entry.rotated),
            reusable: !has_rotated,
            obtained_at: match &before {
                Some(before) if !has_rotated => before.obtained_at,
                _ => now,
            },
            refresh_token: Some(next.unwrap_or(self.spent)),
            access: before.and_then(|entry| entry.access),
            lost: None,
        }
    }
}

/// Returns the code and the words of a refused grant.
fn reason(failure: &Failure) -> Option<Arc<str>> {
    let Cause::GrantGone { code: Some(code) } = &failure.cause else { return None };
    Some(match &failure.words {
        Some(words) if words.contains(&**code) => Arc::clone(words),
        Some(words) => format!("{code}: {words}").into(),
        None => Arc::clone(code),
    })
}

fn obtained(answer: ReceivedToken, config: &OAuth2, (began, asked_at): (Instant, SystemTime)) -> Obtained {
    let issued = Issued {
        secret: answer.token.clone(),
        obtained_at: asked_at,
        lifetime: lifetime(&answer, config),
        took: began.elapsed(),
    };
    Obtained { issued, answer: Some(answer) }
}

fn lifetime(answer: &ReceivedToken, config: &OAuth2) -> Duration {
    answer.expires_in.unwrap_or(config.default_lifetime).min(schedule::MAX_LIFETIME)
}

/// Sets its flag as long as it lives.
struct InStore<'a>(&'a AtomicBool);

impl<'a> InStore<'a> {
    fn new(flag: &'a AtomicBool) -> Self {
        flag.store(true, Ordering::Relaxed);
        Self(flag)
    }
}

impl Drop for InStore<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Returns where the account's grant can come back from.
pub(super) fn grant_source(config: &OAuth2) -> GrantSource {
    if config.grant.refreshes() { GrantSource::Store } else { GrantSource::File }
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
