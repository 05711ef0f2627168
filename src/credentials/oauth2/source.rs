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

use super::error::{Failure, TokenError, Unavailability};
use super::exchange::{Exchange, TokenClient};
use super::flight::{Flight, Landing, drive};
use super::status::{LastOutcome, TokenState, TokenStatus};
use super::token::Token;
use crate::config::model::OAuth2;
use crate::credentials::{AccountStats, TokenResult};
use arc_swap::ArcSwapOption;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

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
    /// A source that has no token yet and asks for none until somebody does. Its task runs on `handle`.
    pub fn new(
        account: &str,
        config: OAuth2,
        http: Arc<TokenClient>,
        stats: Arc<AccountStats>,
        handle: Handle,
    ) -> Arc<Self> {
        Self::with_exchange(account, config, http, stats, handle)
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
            let mut flight = self.join()?;
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

    /// What there is to say about the token at `now`.
    pub fn status(&self, now: Instant) -> TokenStatus {
        let usable = self.inner.current.load().as_ref().is_some_and(|token| token.is_usable(now));
        let state = self.inner.lock();
        TokenStatus {
            state: match &state.last {
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

    /// The numbers behind the account's metrics.
    pub fn stats(&self) -> &Arc<AccountStats> {
        &self.inner.stats
    }

    /// The flight that is under way, or a new one with a new driver.
    fn join(&self) -> Result<Landing, TokenError> {
        let now = Instant::now();
        let (flight, landing, idle) = {
            let mut state = self.inner.lock();
            if let Some(flight) = &state.flight {
                return Ok(flight.clone());
            }
            if let Some(token) = self.inner.current.load().as_ref().filter(|token| token.is_usable(now)) {
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
