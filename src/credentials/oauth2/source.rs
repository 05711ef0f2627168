//! One account's token: who waits for it, who is told, when it is renewed.
//!
//! A **driver** task gets the token, publishes it, sleeps until it is due and renews it. A request that finds no
//! usable token starts the driver or joins its flight, so a request that goes away takes nothing with it. Renewal
//! goes on only while tokens are used: one that nobody asked for is left to expire, and the driver ends with it, so
//! an idle attache asks no provider for anything. After a failure nobody asks until the pause is over; if there is
//! still a usable token the driver tries again, else the next request does.
//!
//! Invariants: at most one token request at a time; `current` holds the newest token and never gives out one past
//! its end; the lock is held for a few assignments and never across an await or a spawn.
//!
//! The alternative, renewing from whichever request finds the token old, needs no task, but makes renewal depend on
//! a request's coming in the last part of the token's life: rare callers would wait each time.

use super::error::{Cause, Failure, TokenError, Unavailability};
use super::exchange::Exchange;
use super::flight::{self, Flight, Landing, drive};
use super::schedule;
use super::status::{LastOutcome, TokenState, TokenStatus};
use super::token::Token;
use super::tokens::Tokens;
use crate::config::model::OAuth2;
use crate::credentials::{AccountStats, TokenResult};
use crate::header_name::FieldName;
use arc_swap::ArcSwapOption;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

/// A token that the third party refuses is dropped from this age on.
pub const MIN_AGE: Duration = Duration::from_secs(10);

/// Gives out one account's token. Its task ends when it is dropped.
pub struct TokenSource {
    inner: Arc<Inner>,
    handle: Handle,
}

pub(super) struct Inner {
    pub(super) account: Box<str>,
    pub(super) config: OAuth2,
    pub(super) exchange: Arc<dyn Exchange>,
    pub(super) stats: Arc<AccountStats>,
    pub(super) current: ArcSwapOption<Token>,
    /// Wakes the driver that found its token unused when it was due.
    pub(super) first_use: Notify,
    pub(super) state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    /// Counts drivers; one that is not the latest must not start a flight.
    pub(super) epoch: u64,
    pub(super) driver: Option<AbortHandle>,
    pub(super) flight: Option<Landing>,
    /// The last failure, and until when it is the answer.
    pub(super) pause: Option<(TokenError, Instant)>,
    /// In a row.
    pub(super) failures: u32,
    pub(super) generation: u64,
    pub(super) requests: u64,
    pub(super) last: Option<LastOutcome>,
    pub(super) expires_at: Option<SystemTime>,
}

impl TokenSource {
    /// A source that has no token yet and asks for none until somebody does.
    pub fn new(account: &str, config: OAuth2, stats: Arc<AccountStats>, tokens: &Tokens) -> Arc<Self> {
        let exchange = tokens.exchange(account, &config);
        Self::with_exchange(account, config, exchange, stats, tokens.runtime.clone())
    }

    fn with_exchange(
        account: &str,
        config: OAuth2,
        exchange: Arc<dyn Exchange>,
        stats: Arc<AccountStats>,
        handle: Handle,
    ) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::new(Inner {
                account: account.into(),
                config,
                exchange,
                stats,
                current: ArcSwapOption::empty(),
                first_use: Notify::new(),
                state: Mutex::default(),
            }),
            handle,
        })
    }

    /// Begins with the token that `predecessor` has in use, until it expires or there is one of its own.
    ///
    /// Nothing is taken over if the header, the prefix or the kind of token differ: the value holds the prefix, and the
    /// server would read it as something that it is not.
    pub fn inherit(&self, predecessor: &Self, now: Instant) {
        let (before, config) = (&predecessor.inner.config, &self.inner.config);
        let fits = before.header == config.header
            && before.prefix == config.prefix
            && before.bearer_token_type == config.bearer_token_type;
        let token = predecessor.inner.current.load_full();
        if let Some(token) = token.filter(|token| fits && token.is_usable(now) && token.is_used()) {
            self.inner.lock().expires_at = Some(token.expires_at());
            self.inner.current.store(Some(Arc::new(token.inherited())));
        }
    }

    /// Returns true if the token in use is another source's.
    pub fn has_inherited(&self) -> bool {
        self.inner.current.load().as_ref().is_some_and(|token| token.is_inherited())
    }

    /// Drops a token that another source obtained: it must not go where this source's own tokens may.
    pub fn drop_inherited(&self) {
        let state = self.inner.lock();
        // One of its own may have come meanwhile.
        if self.has_inherited() {
            self.inner.forget(state);
        }
    }

    /// Asks for a token of its own, unless there is one, and waits until the answer is there.
    pub async fn fetch(&self) {
        if let Ok(mut landing) = self.join(|token| !token.is_inherited()) {
            let _ = landing.wait_for(Option::is_some).await;
        }
    }

    /// The token, if there is one that may be sent at `now`. One atomic load and a reference count: no lock, no
    /// await, no allocation.
    pub fn current(&self, now: Instant) -> Option<Arc<Token>> {
        let token = self.inner.current.load();
        let token = token.as_ref().filter(|token| token.is_usable(now))?;
        self.inner.note_use(token);
        Some(Arc::clone(token))
    }

    /// The token, waiting for it if need be. Dropping the future gives up the waiting and nothing else, so a
    /// deadline is `timeout_at(deadline, source.get())`.
    ///
    /// # Errors
    ///
    /// If the token endpoint refused, or gave no token that can be used; during the pause after such a failure at
    /// once, with what remains of the pause.
    pub async fn get(&self) -> Result<Arc<Token>, TokenError> {
        loop {
            if let Some(token) = self.current(Instant::now()) {
                return Ok(token);
            }
            let mut flight = self.join(|_| true)?;
            let landed = flight.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
            let Ok(Some(outcome)) = landed else {
                return Err(Failure::from(Unavailability::Interrupted).into_error(Duration::ZERO));
            };
            let token = outcome?;
            if token.is_single_use() || token.is_usable(Instant::now()) {
                self.inner.note_use(&token);
                return Ok(token);
            }
        }
    }

    /// The third party refused the token of this generation: drops it, so that the next request gets another. A burst of
    /// refusals drops it once. True if a request may be sent again: there is or will be another token than the refused.
    ///
    /// A token younger than [`MIN_AGE`] is kept: a third party that refuses whatever it is sent must not cost a token
    /// request each time.
    pub fn refuse(&self, generation: u64, now: Instant) -> bool {
        let state = self.inner.lock();
        match self.inner.current.load().as_ref() {
            // A newer one is here, or on its way.
            Some(token) if token.generation() != generation => return true,
            None => return true,
            Some(token) if now.saturating_duration_since(token.landed()) < MIN_AGE => return false,
            Some(_) => {}
        }
        self.inner.stats.record_refusal();
        self.inner.forget(state);
        tracing::warn!(target: "attache", account = &*self.inner.account, generation, "a third party refused the token");
        true
    }

    /// Drops a token whose end has come by the clock on the wall. The monotonic clock, by which tokens are given out, stands
    /// still while the machine sleeps or a virtual one is moved.
    pub fn expire(&self, wall: SystemTime) {
        let over = || self.inner.current.load().as_ref().is_some_and(|token| token.expires_at() <= wall);
        if over() {
            let state = self.inner.lock();
            // It may be another one by now.
            if over() {
                self.inner.forget(state);
            }
        }
    }

    /// Looks whether a person has to sign in first, or has done so meanwhile, and whether what is kept can be read. Asks
    /// nobody; only grants that live on a refresh token read a file for it.
    pub async fn look(&self) {
        if !self.inner.config.grant.refreshes() {
            return;
        }
        match self.inner.exchange.look(&self.inner.config).await {
            Ok(()) => self.inner.found_with_grant(),
            Err(failure) => self.inner.found_without_grant(failure),
        }
    }

    /// Whether there is a token that requests are sent with.
    pub fn is_in_use(&self, now: Instant) -> bool {
        self.inner.current.load().as_ref().is_some_and(|token| token.is_usable(now) && token.is_used())
    }

    /// What there is to say about the token at `now`.
    pub fn status(&self, now: Instant) -> TokenStatus {
        let usable = self.inner.current.load().as_ref().is_some_and(|token| token.is_usable(now));
        let state = self.inner.lock();
        TokenStatus {
            state: match &state.last {
                // Though its token may be good for a while, it is the last.
                _ if state.needs_login() => TokenState::NeedsLogin,
                _ if usable => TokenState::Valid,
                None => TokenState::None,
                Some(LastOutcome { result: TokenResult::Ok, .. }) => TokenState::Expired,
                Some(_) => TokenState::Failing,
            },
            expires_at: state.expires_at,
            last: state.last.clone(),
            generation: state.generation,
            requests: state.requests,
        }
    }

    /// The header that the token is sent in.
    pub fn header(&self) -> &FieldName {
        &self.inner.config.header
    }

    /// The numbers behind the account's metrics.
    pub fn stats(&self) -> &Arc<AccountStats> {
        &self.inner.stats
    }

    /// The flight that is under way, or a new one with a new driver, unless there is a token that is `good`.
    fn join(&self, good: impl Fn(&Token) -> bool) -> Result<Landing, TokenError> {
        let now = Instant::now();
        let (flight, landing, idle) = {
            let mut state = self.inner.lock();
            if let Some(flight) = &state.flight {
                return Ok(flight.clone());
            }
            let current = self.inner.current.load();
            if let Some(token) = current.as_ref().filter(|token| token.is_usable(now) && good(token)) {
                // It landed since the caller looked.
                return Ok(watch::channel(Some(Ok(Arc::clone(token)))).1);
            }
            if let Some((error, until)) = &state.pause
                && now < *until
            {
                return Err(error.with_retry_after(*until - now));
            }
            state.epoch += 1;
            let epoch = state.epoch;
            let (flight, landing) = Flight::start(&self.inner, &mut state, epoch);
            (flight, landing, state.driver.take())
        };
        if let Some(idle) = idle {
            idle.abort();
        }
        let epoch = flight.epoch;
        let driver = self.handle.spawn(drive(flight)).abort_handle();
        let mut state = self.inner.lock();
        if state.epoch == epoch {
            state.driver = Some(driver);
        }
        Ok(landing)
    }
}

impl State {
    pub(super) fn needs_login(&self) -> bool {
        matches!(&self.pause, Some((error, _)) if matches!(error.failure.cause, Cause::GrantGone { .. }))
    }
}

impl Drop for TokenSource {
    fn drop(&mut self) {
        let driver = self.inner.lock().driver.take();
        if let Some(driver) = driver {
            driver.abort();
        }
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSource").field("account", &self.inner.account).finish_non_exhaustive()
    }
}

impl Inner {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the current token. Unless it is renewing, the driver sleeps for a token that is gone then: the next request
    /// starts another.
    fn forget(&self, mut state: MutexGuard<'_, State>) {
        self.current.store(None);
        let idle = if state.flight.is_none() {
            state.epoch += 1;
            state.driver.take()
        } else {
            None
        };
        drop(state);
        if let Some(idle) = idle {
            idle.abort();
        }
    }

    fn found_without_grant(&self, failure: Failure) {
        let mut state = self.lock();
        let error = failure.clone().into_error(schedule::LOGIN_POLL);
        let reason = failure.to_string();
        // A flight knows better, and what was told once is not told again.
        if state.flight.is_some()
            || state.last.as_ref().is_some_and(|last| last.reason.as_ref() == Some(&reason))
        {
            return;
        }
        flight::log(self, &failure, schedule::LOGIN_POLL);
        let result = failure.result();
        state.last = Some(LastOutcome { result, reason: Some(reason), at: SystemTime::now(), took: None });
        state.pause = match error.failure.cause {
            Cause::GrantGone { .. } => Some((error, Instant::now() + schedule::LOGIN_POLL)),
            // A request tries for itself.
            Cause::Rejected { .. } | Cause::Unavailable(_) => None,
        };
    }

    fn found_with_grant(&self) {
        let mut state = self.lock();
        let looked_only = state.last.as_ref().is_some_and(|last| last.took.is_none());
        if state.flight.is_none() && (state.needs_login() || looked_only) {
            state.pause = None;
            state.failures = 0;
            state.last = None;
        }
    }

    fn note_use(&self, token: &Token) {
        if token.mark_used() {
            self.first_use.notify_one();
        }
    }

    /// Waits until the token should be renewed; false if it expired without having been used.
    pub(super) async fn due(&self, token: &Token) -> bool {
        sleep_until(token.renew_at()).await;
        while !token.is_used() {
            tokio::select! {
                // A permit may be left from an earlier token's first use: hence the loop.
                () = self.first_use.notified() => {}
                () = sleep_until(token.usable_until()) => return token.is_used(),
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
