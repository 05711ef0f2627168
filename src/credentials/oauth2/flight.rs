//! The task behind a [`TokenSource`](super::TokenSource): asks for the token, publishes it, renews it.
//!
//! Invariant: whatever becomes of a token request, its flight lands, so nobody waits for one that is gone.

use super::error::{Cause, Failure, TokenError, Unavailability};
use super::exchange::Answer;
use super::schedule;
use super::source::{Inner, State};
use super::status::LastOutcome;
use super::token::Token;
use crate::credentials::TokenResult;
use ring::rand::SecureRandom;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

pub(super) type Outcome = Result<Arc<Token>, TokenError>;

/// What those who wait hold: `None` until the flight lands.
pub(super) type Landing = watch::Receiver<Option<Outcome>>;

/// The driver: flight after flight, until there is nothing left to do before somebody asks.
pub(super) async fn drive(mut flight: Flight) {
    loop {
        let (inner, epoch) = (Arc::clone(&flight.inner), flight.epoch);
        match flight.run().await {
            Next::Stop => return,
            Next::Retry(at) => sleep_until(at).await,
            Next::Renew(token) => {
                if !inner.due(&token).await {
                    return;
                }
            }
        }
        let mut state = inner.lock();
        if state.epoch != epoch || state.flight.is_some() {
            return;
        }
        flight = Flight::start(&inner, &mut state, epoch).0;
    }
}

/// What the driver does after a flight.
enum Next {
    /// Renews this token when it is due.
    Renew(Arc<Token>),
    /// Tries again then, while the old token is still good.
    Retry(Instant),
    /// Ends: the next request starts another.
    Stop,
}

/// One token request, and the duty to tell how it ended: even one that is aborted lands.
pub(super) struct Flight {
    inner: Arc<Inner>,
    /// Of the driver it belongs to.
    pub(super) epoch: u64,
    started: (Instant, SystemTime),
    announce: watch::Sender<Option<Outcome>>,
    landed: bool,
}

impl Flight {
    /// Takes off, for a state that has no flight; [`drive`] does the rest.
    pub(super) fn start(inner: &Arc<Inner>, state: &mut State, epoch: u64) -> (Self, Landing) {
        let (announce, landing) = watch::channel(None);
        state.flight = Some(landing.clone());
        let started = (Instant::now(), SystemTime::now());
        (Self { inner: Arc::clone(inner), epoch, started, announce, landed: false }, landing)
    }

    async fn run(mut self) -> Next {
        let inner = Arc::clone(&self.inner);
        let exchange =
            timeout(inner.exchange.limit(&inner.config), inner.exchange.exchange(&inner.config, None));
        let result = exchange.await.unwrap_or_else(|_| Err(Unavailability::TimedOut.into()));
        let recorded = match &result {
            Ok(_) => Some(TokenResult::Ok),
            // Nobody was asked.
            Err(Failure { cause: Cause::GrantGone { code: None }, .. }) => None,
            Err(failure) => Some(failure.result()),
        };
        if let Some(recorded) = recorded {
            inner.stats.record(recorded, self.started.0.elapsed());
            inner.lock().requests += 1;
        }
        match result {
            Ok(answer) => self.succeed(answer),
            Err(failure) => self.fail(failure),
        }
    }

    fn succeed(&mut self, answer: Answer) -> Next {
        let lifetime =
            answer.expires_in.unwrap_or(self.inner.config.default_lifetime).min(schedule::MAX_LIFETIME);
        let inner = Arc::clone(&self.inner);
        if answer.second_secret {
            tracing::warn!(
                target: "attache",
                account = &*inner.account,
                "the token endpoint refused the first client secret and accepted the second"
            );
        }
        let mut state = inner.lock();
        state.generation += 1;
        state.failures = 0;
        state.pause = None;
        let took = Some(self.started.0.elapsed());
        state.last = Some(LastOutcome { result: TokenResult::Ok, reason: None, at: SystemTime::now(), took });
        let now = Instant::now();
        let header = (inner.config.header.clone(), answer.header);
        let token = Arc::new(Token::new(header, self.started, now, lifetime, random(), state.generation));
        state.expires_at = Some(token.expires_at());
        inner.stats.set_expiry(token.expires_at());
        // One that is over on arrival is for those who waited; it must not displace one that is still good.
        if !token.is_single_use() {
            inner.current.store(Some(Arc::clone(&token)));
        }
        self.land(state, Ok(Arc::clone(&token)));
        tracing::info!(
            target: "attache",
            account = &*inner.account,
            expires_in = lifetime.as_secs(),
            generation = token.generation(),
            "token obtained"
        );
        if token.is_single_use() { Next::Stop } else { Next::Renew(token) }
    }

    fn fail(&mut self, failure: Failure) -> Next {
        let inner = Arc::clone(&self.inner);
        let mut state = inner.lock();
        state.failures = state.failures.saturating_add(1);
        let pause = match &failure.cause {
            Cause::Rejected { .. } => schedule::pause_rejected(state.failures, random()),
            Cause::GrantGone { .. } => schedule::LOGIN_POLL,
            Cause::Unavailable(_) => {
                schedule::pause_unavailable(state.failures, failure.retry_after, random())
            }
        };
        let (result, until) = (failure.result(), Instant::now() + pause);
        let error = failure.clone().into_error(pause);
        // Found out before, and nobody was asked since.
        let known = state.needs_login() && matches!(failure.cause, Cause::GrantGone { code: None });
        state.pause = Some((error.clone(), until));
        if !known {
            let (reason, took) = (Some(failure.to_string()), Some(self.started.0.elapsed()));
            state.last = Some(LastOutcome { result, reason, at: SystemTime::now(), took });
        }
        let old_is_good = inner.current.load().as_ref().is_some_and(|token| token.is_usable(until));
        self.land(state, Err(error));
        if !known {
            log(&inner, &failure, pause);
        }
        if old_is_good { Next::Retry(until) } else { Next::Stop }
    }

    /// Ends the flight for those to come and, the lock released, for those who wait.
    fn land(&mut self, mut state: MutexGuard<'_, State>, outcome: Outcome) {
        self.landed = true;
        state.flight = None;
        drop(state);
        self.announce.send_replace(Some(outcome));
    }
}

impl Drop for Flight {
    /// Aborted with its source, or by a panic in the exchange: the next request may start anew, after a pause.
    fn drop(&mut self) {
        if !self.landed {
            let _ = self.fail(Unavailability::Interrupted.into());
        }
    }
}

pub(super) fn log(inner: &Inner, failure: &Failure, pause: Duration) {
    let account = &*inner.account;
    let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    let words = failure.words.as_deref();
    match &failure.cause {
        // Its source is gone, or the panic has been told already.
        Cause::Unavailable(Unavailability::Interrupted) => {}
        Cause::Rejected { code } => tracing::warn!(
            target: "attache",
            account,
            error = &**code,
            error_description = words,
            pause_ms,
            "the token endpoint refused the account"
        ),
        Cause::GrantGone { code } => tracing::error!(
            target: "attache",
            account,
            error = code.as_deref(),
            error_description = words,
            "the account needs a login: {}",
            inner.config.grant.remedy(account)
        ),
        Cause::Unavailable(reason) => tracing::warn!(
            target: "attache",
            account,
            reason = %reason,
            cause = words,
            pause_ms,
            "no token is available"
        ),
    }
}

/// From 0 to 1.
fn random() -> f64 {
    let mut bytes = [0; 4];
    match ring::rand::SystemRandom::new().fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}
