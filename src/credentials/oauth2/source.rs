//! One account's token, for the requests that need it.
//!
//! A usable token is one atomic load away. Everything else is a message to the account's [owner task](super::owner),
//! which starts with the first message and ends when the source is dropped.

use super::clock::{Clock, Now};
use super::error::{Failure, TokenError, Unavailability};
use super::exchange::Exchange;
use super::identity::{proof_identity, token_identity};
use super::machine::Machine;
use super::memory::AccountMemory;
use super::owner::{AccountOwner, OwnerMessage};
use super::refresh::Refresher;
use super::status::{LastOutcome, TokenState, TokenStatus};
use super::token::Token;
use super::tokens::Tokens;
use crate::config::model::{BearerTokenType, OAuth2};
use crate::credentials::{AccountStats, TokenResult};
use arc_swap::{ArcSwap, ArcSwapOption};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Additional time for a token request to fail by itself, which says more than that a request waited in vain.
const GRACE: Duration = Duration::from_secs(1);

/// Gives out one account's token. Its task ends when it is dropped.
pub struct TokenSource {
    inner: Arc<Inner>,
    mailbox: UnboundedSender<OwnerMessage>,
    /// The parts with which the task starts.
    idle: Mutex<Option<(Machine, UnboundedReceiver<OwnerMessage>)>>,
}

/// The state that the source shares with its task.
pub(super) struct Inner {
    pub(super) account: Box<str>,
    pub(super) config: ArcSwap<OAuth2>,
    pub(super) refresher: Arc<Refresher>,
    pub(super) memory: Arc<AccountMemory>,
    pub(super) clock: Clock,
    pub(super) runtime: Handle,
    pub(super) stats: Arc<AccountStats>,
    pub(super) current: ArcSwapOption<Token>,
    status: Mutex<Published>,
    inherited_is_dropped: AtomicBool,
}

/// The part of the task's state that `/status` shows.
#[derive(Debug, Clone, Default)]
pub(super) struct Published {
    pub(super) needs_login: bool,
    pub(super) expires_at: Option<SystemTime>,
    pub(super) last: Option<LastOutcome>,
    pub(super) generation: u64,
    pub(super) requests: u64,
}

impl TokenSource {
    /// Returns a source without a token, which requests none until it is asked.
    pub fn new(account: &str, config: OAuth2, stats: Arc<AccountStats>, tokens: &Tokens) -> Arc<Self> {
        let wire = tokens.wire(account, &config);
        Self::with_exchange(account, config, wire, stats, tokens)
    }

    pub(super) fn with_exchange(
        account: &str,
        config: OAuth2,
        wire: Arc<dyn Exchange>,
        stats: Arc<AccountStats>,
        tokens: &Tokens,
    ) -> Arc<Self> {
        let memory = tokens.memories.of(account, &config);
        let refused = memory.refusal(proof_identity(&config));
        let status = refused.as_deref().map(|failure| refused_before(failure, tokens.clock.now()));
        let machine = Machine::knowing(refused, memory.over());
        let inner = Inner {
            account: account.into(),
            memory: Arc::clone(&memory),
            config: ArcSwap::from_pointee(config),
            refresher: Arc::new(Refresher::new(account, wire, memory, tokens)),
            clock: tokens.clock.clone(),
            runtime: tokens.runtime.clone(),
            stats,
            current: ArcSwapOption::empty(),
            status: Mutex::new(status.unwrap_or_default()),
            inherited_is_dropped: AtomicBool::new(false),
        };
        let (mailbox, messages) = unbounded_channel();
        let idle = Mutex::new(Some((machine, messages)));
        Arc::new(Self { inner: Arc::new(inner), mailbox, idle })
    }

    /// Takes over settings that do not determine the token, such as time-outs.
    pub fn reconfigure(&self, config: &OAuth2) {
        if **self.inner.config.load() != *config {
            self.inner.config.store(Arc::new(config.clone()));
        }
    }

    /// Begins with the token of `predecessor`, until it expires or this source has one of its own. For a source that has
    /// not been used yet.
    ///
    /// Nothing is inherited if the kind of token differs: a service that expects an ID token takes no access token.
    pub fn inherit(&self, predecessor: &Self, now: Now) {
        let kind = |source: &Self| -> BearerTokenType { source.inner.config.load().bearer_token_type };
        let token = predecessor.inner.current.load_full().filter(|token| token.is_usable(now));
        let Some(token) = token.filter(|_| kind(predecessor) == kind(self)) else { return };
        if let Some((machine, _)) = &mut *lock(&self.idle) {
            let same_kind =
                token_identity(&predecessor.inner.config.load()) == token_identity(&self.inner.config.load());
            machine.inherit(&token, same_kind, now);
            self.inner.current.store(machine.token().cloned());
            self.inner.update(|status| status.expires_at = Some(token.expires_at()));
        }
    }

    /// Another source serves the account now: nothing is renewed any more unless a request that began before needs it.
    pub fn retire(&self) {
        if lock(&self.idle).is_none() {
            self.send(OwnerMessage::Retire);
        }
    }

    /// Excludes the token of `predecessor`, which must not go where this source's own tokens may, also if the store has
    /// it. For a source that has not been used yet.
    pub fn exclude(&self, predecessor: &Self) {
        let token = predecessor.inner.current.load_full();
        if let (Some(token), Some((machine, _))) = (token, &mut *lock(&self.idle)) {
            machine.exclude(token.secret().clone());
        }
    }

    /// Returns true if the token in use is another source's.
    pub fn has_inherited(&self) -> bool {
        self.inner.current.load().as_ref().is_some_and(|token| token.is_inherited())
    }

    /// Drops a token that another source obtained: it must not go where this source's own tokens may.
    pub fn drop_inherited(&self) {
        // First the mark, so that the task does not publish it again.
        self.inner.inherited_is_dropped.store(true, Ordering::SeqCst);
        if self.has_inherited() {
            self.inner.current.store(None);
        }
        self.send(OwnerMessage::DropInherited);
    }

    /// Requests a token of its own, unless there is one, and waits until the response is there.
    pub async fn fetch(&self) {
        let (reply, ended) = oneshot::channel();
        self.send(OwnerMessage::FetchOwn(reply));
        let _ = ended.await;
    }

    /// Returns the token, if there is one that may be sent at `now`. One atomic load and a reference count: no lock, no
    /// await, no allocation.
    pub fn current(&self, now: Now) -> Option<Arc<Token>> {
        let token = self.inner.current.load();
        let token = token.as_ref().filter(|token| token.is_usable(now))?;
        self.note_use(token);
        Some(Arc::clone(token))
    }

    /// Returns the token, waiting for it if need be, but at most about `token_timeout`. Dropping the future ends the
    /// waiting and nothing else.
    ///
    /// # Errors
    ///
    /// If the token endpoint refused, or gave no token that can be used; during the pause after such a failure at once,
    /// with the rest of the pause.
    pub async fn get(&self) -> Result<Arc<Token>, TokenError> {
        let limit = self.limit();
        let token = timeout(limit, async {
            loop {
                if let Some(token) = self.current(self.inner.clock.now()) {
                    return Ok(token);
                }
                let (reply, answer) = oneshot::channel();
                self.send(OwnerMessage::Demand(reply));
                let outcome = answer.await.unwrap_or_else(|_| Err(told(Unavailability::Interrupted)));
                let token = outcome?;
                // Otherwise it expired before this future was polled.
                if token.is_usable(self.inner.clock.now()) {
                    self.note_use(&token);
                    return Ok(token);
                }
            }
        });
        token.await.unwrap_or_else(|_| {
            let in_store = self.inner.refresher.is_in_store();
            Err(told(if in_store { Unavailability::State } else { Unavailability::TimedOut }))
        })
    }

    /// A service refused the token of this generation. Returns another token, waiting for it if one is requested;
    /// `None` if there will be none soon. A burst of refusals causes one token request.
    ///
    /// The refused token stays in use for other requests until its successor is there: it may be only one service that
    /// refuses it.
    pub async fn successor(&self, generation: u64) -> Option<Arc<Token>> {
        let (reply, answer) = oneshot::channel();
        self.send(OwnerMessage::Refused(generation, Some(reply)));
        let token = answer.await.ok().flatten().filter(|token| token.is_usable(self.inner.clock.now()))?;
        self.note_use(&token);
        Some(token)
    }

    /// Reports that a service refused the token of this generation, without waiting for another one.
    pub fn report_refusal(&self, generation: u64) {
        self.send(OwnerMessage::Refused(generation, None));
    }

    /// Looks into the store: whether a person has to sign in or has done so, and whether another process renewed the
    /// token. Only grants with a refresh token do anything. Returns at once.
    pub fn look(&self) {
        if self.inner.config.load().grant.refreshes() {
            self.send(OwnerMessage::Look);
        }
    }

    /// Forgets pauses, at most once a minute, as SIGHUP asks for. Returns at once.
    pub fn nudge(&self) {
        // Without a task there is no pause but those of the account. The store may know a refusal.
        let has_task = lock(&self.idle).is_none();
        if has_task || self.inner.memory.holds_back() || self.inner.config.load().grant.refreshes() {
            self.send(OwnerMessage::Nudge);
        }
    }

    /// Returns the token, which may be over, without using it.
    #[cfg(test)]
    pub(super) fn peek(&self) -> Option<Arc<Token>> {
        self.inner.current.load_full()
    }

    /// Returns true if there is a token that requests are sent with.
    pub fn is_in_use(&self, now: Now) -> bool {
        self.inner.current.load().as_ref().is_some_and(|token| token.is_usable(now) && token.is_used())
    }

    /// Describes the token at `now`.
    pub fn status(&self, now: Now) -> TokenStatus {
        let usable = self.inner.current.load().as_ref().is_some_and(|token| token.is_usable(now));
        let Published { needs_login, expires_at, last, generation, requests } = self.inner.status_now();
        let state = match &last {
            // Its token may be good for a while, but is the last.
            _ if needs_login => TokenState::NeedsLogin,
            _ if usable => TokenState::Valid,
            None if expires_at.is_some() => TokenState::Expired,
            None => TokenState::None,
            Some(LastOutcome { result: TokenResult::Ok, .. }) => TokenState::Expired,
            Some(_) => TokenState::Failing,
        };
        TokenStatus { state, expires_at, last, generation, requests }
    }

    /// Returns the counters behind the account's metrics.
    pub fn stats(&self) -> &Arc<AccountStats> {
        &self.inner.stats
    }

    fn limit(&self) -> Duration {
        let config = self.inner.config.load();
        // A refresh token's exchange goes on beyond the time-out; another one ends with it.
        if config.grant.refreshes() { config.token_timeout } else { config.token_timeout + GRACE }
    }

    fn note_use(&self, token: &Token) {
        if token.mark_used() {
            self.send(OwnerMessage::Used);
        }
    }

    fn send(&self, message: OwnerMessage) {
        if let Some((machine, messages)) = lock(&self.idle).take() {
            let owner = AccountOwner::new(Arc::clone(&self.inner), machine, messages);
            self.inner.runtime.spawn(owner.run());
        }
        // Fails only while the runtime ends.
        let _ = self.mailbox.send(message);
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSource").field("account", &self.inner.account).finish_non_exhaustive()
    }
}

impl Inner {
    pub(super) fn update(&self, change: impl FnOnce(&mut Published)) {
        change(&mut lock(&self.status));
    }

    pub(super) fn status_now(&self) -> Published {
        lock(&self.status).clone()
    }

    pub(super) fn may_inherit(&self) -> bool {
        !self.inherited_is_dropped.load(Ordering::SeqCst)
    }
}

/// Returns the state of a new source whose account was refused by an earlier one's request.
fn refused_before(failure: &Failure, now: Now) -> Published {
    let (result, reason) = (failure.result(), Some(failure.to_string()));
    let last = Some(LastOutcome { result, reason, at: now.wall, took: None });
    Published { needs_login: true, last, ..Published::default() }
}

fn told(reason: Unavailability) -> TokenError {
    Failure::from(reason).into_error(Duration::from_secs(1))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
