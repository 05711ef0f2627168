//! The task that owns one account's token: it feeds the [`Machine`] with what happens, and carries out what that asks for.
//!
//! Invariants: at most one refresh at a time; a token is published before those who waited for it are told; all who wait
//! are answered when the refresh ends, even if it panicked.

use super::clock::Now;
use super::error::{Cause, Failure, TokenError, Unavailability};
use super::machine::{Demand, Machine, Successor};
use super::refresh::{Failed, Looked, Obtained, grant_source};
use super::source::Inner;
use super::status::LastOutcome;
use super::token::Token;
use crate::config::model::OAuth2;
use crate::credentials::TokenResult;
use crate::state::Stamp;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

/// The reply to the requests that wait.
pub(super) type RefreshOutcome = Result<Arc<Token>, TokenError>;

/// The events of an account's token.
pub(super) enum OwnerMessage {
    /// A request found no usable token.
    Demand(oneshot::Sender<RefreshOutcome>),
    /// A service refused the token of this generation, and another one is wanted.
    Refused(u64, Option<oneshot::Sender<Option<Arc<Token>>>>),
    /// The token was used for the first time.
    Used,
    /// The source should get a token of its own; the sender is dropped once a refresh has ended.
    FetchOwn(oneshot::Sender<()>),
    /// Another source serves the account now.
    Retire,
    /// The inherited token must not be used any more.
    DropInherited,
    /// The store may have changed.
    Look,
    /// The operator asks to forget pauses.
    Nudge,
}

/// See the module's documentation.
pub(super) struct AccountOwner {
    inner: Arc<Inner>,
    machine: Machine,
    mailbox: UnboundedReceiver<OwnerMessage>,
    /// At most one.
    refresh: JoinSet<(Duration, Result<Obtained, Failed>)>,
    /// At most one.
    look: JoinSet<(Option<Stamp>, Looked)>,
    waiting: Vec<oneshot::Sender<RefreshOutcome>>,
    wanting_successor: Vec<oneshot::Sender<Option<Arc<Token>>>>,
    /// Those whose token, of this generation, was refused and is not replaced yet: another process may have done so.
    wanting_stored: Vec<(u64, oneshot::Sender<Option<Arc<Token>>>)>,
    fetching: Vec<oneshot::Sender<()>>,
    /// The look that is under way may have been too early.
    look_again: bool,
    /// The stamp of the stored entry that was seen last.
    seen: Option<Stamp>,
    /// The next refresh may try a refused grant again.
    nudged: bool,
}

impl AccountOwner {
    pub(super) fn new(inner: Arc<Inner>, machine: Machine, mailbox: UnboundedReceiver<OwnerMessage>) -> Self {
        let (refresh, look) = (JoinSet::new(), JoinSet::new());
        let (waiting, wanting_successor, wanting_stored, fetching) = Default::default();
        let (look_again, seen, nudged) = (false, None, false);
        Self {
            inner,
            machine,
            mailbox,
            refresh,
            look,
            waiting,
            wanting_successor,
            wanting_stored,
            fetching,
            look_again,
            seen,
            nudged,
        }
    }

    /// Runs until the source is dropped.
    pub(super) async fn run(mut self) {
        loop {
            let due = self.machine.next_at();
            tokio::select! {
                biased;
                Some(ended) = self.refresh.join_next() => self.refreshed(ended),
                Some(ended) = self.look.join_next() => self.looked(ended),
                message = self.mailbox.recv() => match message {
                    Some(message) => self.receive(message),
                    None => return,
                },
                () = until(due) => {}
            }
            self.machine.tick(self.now());
            if self.machine.is_refreshing() && self.refresh.is_empty() {
                self.start_refresh();
            }
            self.publish();
        }
    }

    fn receive(&mut self, message: OwnerMessage) {
        let now = self.now();
        match message {
            OwnerMessage::Demand(reply) => match self.machine.demand(now) {
                Demand::Token(token) => drop(reply.send(Ok(token))),
                Demand::Fail(error) => drop(reply.send(Err(error))),
                Demand::Wait => {
                    make_room(&mut self.waiting, oneshot::Sender::is_closed);
                    self.waiting.push(reply);
                }
            },
            OwnerMessage::Refused(generation, reply) => {
                let (successor, is_first) = self.machine.refused(generation, now);
                if is_first {
                    self.inner.stats.record_refusal();
                    let account = &*self.inner.account;
                    tracing::warn!(target: "attache", account, generation, "a third party refused the token");
                }
                let Some(reply) = reply else { return };
                match successor {
                    Successor::Token(token) => drop(reply.send(Some(token))),
                    Successor::None if self.inner.config.load().grant.refreshes() => {
                        make_room(&mut self.wanting_stored, |(_, reply)| reply.is_closed());
                        self.wanting_stored.push((generation, reply));
                        self.start_look();
                    }
                    Successor::None => drop(reply.send(None)),
                    Successor::Wait => {
                        make_room(&mut self.wanting_successor, oneshot::Sender::is_closed);
                        self.wanting_successor.push(reply);
                    }
                }
            }
            // The tick after it starts the refresh that was put off.
            OwnerMessage::Used => {}
            OwnerMessage::FetchOwn(reply) => {
                if self.machine.wants_own() {
                    self.machine.refresh();
                    self.fetching.push(reply);
                }
            }
            OwnerMessage::Retire => self.machine.retire(),
            OwnerMessage::DropInherited => self.machine.drop_inherited(),
            OwnerMessage::Look => self.start_look(),
            OwnerMessage::Nudge => self.nudge(now),
        }
    }

    fn nudge(&mut self, now: Now) {
        let memory = &self.inner.memory;
        if !memory.may_be_nudged(now.instant) {
            return;
        }
        let (forgot, nudged) = (memory.forget(), self.machine.nudge(now));
        self.nudged |= nudged;
        if forgot || nudged {
            memory.note_nudge(now.instant);
        }
    }

    fn start_refresh(&mut self) {
        let (inner, config) = (Arc::clone(&self.inner), self.inner.config.load_full());
        let replacing = self.machine.replacing();
        let nudged = std::mem::take(&mut self.nudged);
        let work = async move {
            let began = Instant::now();
            let result = inner.refresher.refresh(&config, replacing.as_ref(), nudged).await;
            (began.elapsed(), result)
        };
        self.refresh.spawn_on(work, &self.inner.runtime);
    }

    fn refreshed(&mut self, ended: Result<(Duration, Result<Obtained, Failed>), JoinError>) {
        let interrupted = |_| (Duration::ZERO, Err(Unavailability::Interrupted.into()));
        let (took, result) = ended.unwrap_or_else(interrupted);
        let outcome = match result {
            Ok(obtained) => self.obtained(obtained, took),
            Err(failed) => Err(self.failed(failed, took)),
        };
        self.publish();
        let token = outcome.as_ref().ok().cloned();
        self.waiting.drain(..).for_each(|reply| drop(reply.send(outcome.clone())));
        self.wanting_successor.drain(..).for_each(|reply| drop(reply.send(token.clone())));
        self.fetching.clear();
    }

    fn obtained(&mut self, obtained: Obtained, took: Duration) -> RefreshOutcome {
        let Obtained { issued, answer } = obtained;
        let (inner, now) = (Arc::clone(&self.inner), self.now());
        let (expires_in, asked) = (issued.lifetime, answer.is_some());
        if answer.as_ref().is_some_and(|answer| answer.second_secret) {
            tracing::warn!(
                target: "attache",
                account = &*inner.account,
                "the token endpoint refused the first client secret and accepted the second"
            );
        }
        let Some(token) = self.machine.succeeded(issued, now, inner.clock.random()) else {
            let failure = Failure::from(Unavailability::Expired);
            return Err(self.failed(Failed { failure, asked }, took));
        };
        if asked {
            inner.stats.record(TokenResult::Ok, took);
        }
        inner.stats.set_expiry(token.expires_at());
        inner.update(|status| {
            status.requests += u64::from(asked);
            status.expires_at = Some(token.expires_at());
            let took = asked.then_some(took);
            status.last = Some(LastOutcome { result: TokenResult::Ok, reason: None, at: now.wall, took });
        });
        tracing::info!(
            target: "attache",
            account = &*inner.account,
            expires_in = expires_in.as_secs(),
            generation = token.generation(),
            from = if asked { "token_endpoint" } else { "state" },
            "token obtained"
        );
        Ok(token)
    }

    fn failed(&mut self, failed: Failed, took: Duration) -> TokenError {
        let Failed { failure, asked } = failed;
        let (inner, now) = (Arc::clone(&self.inner), self.now());
        let config = inner.config.load();
        // Known already, and no request was sent since.
        let is_known = self.machine.needs_login() && matches!(failure.cause, Cause::GrantGone { code: None });
        let random = inner.clock.random();
        let error = self.machine.failed(failure.clone(), grant_source(&config), now, random);
        if asked {
            inner.stats.record(failure.result(), took);
        }
        inner.update(|status| {
            status.requests += u64::from(asked);
            if !is_known {
                let (result, reason) = (failure.result(), Some(failure.to_string()));
                status.last = Some(LastOutcome { result, reason, at: now.wall, took: Some(took) });
            }
        });
        if !is_known {
            log(&inner, &config, &failure, error.retry_after);
        }
        error
    }

    fn start_look(&mut self) {
        let (inner, config, mut seen) = (Arc::clone(&self.inner), self.inner.config.load_full(), self.seen);
        // One at a time: a folder that hangs must not collect threads that hang.
        if !self.look.is_empty() {
            self.look_again = true;
            return;
        }
        if !config.grant.refreshes() || self.machine.is_refreshing() {
            return;
        }
        let (waits, replacing) = (!self.wanting_stored.is_empty(), self.machine.replacing());
        let look = async move {
            let looked = inner.refresher.look(&config, &mut seen, replacing.as_ref(), waits).await;
            (seen, looked)
        };
        self.look.spawn_on(look, &self.inner.runtime);
    }

    fn looked(&mut self, ended: Result<(Option<Stamp>, Looked), JoinError>) {
        if let Ok((seen, looked)) = ended {
            self.take_look(seen, looked);
        }
        self.publish();
        if std::mem::take(&mut self.look_again) && !self.wanting_stored.is_empty() {
            self.start_look();
        }
        if self.machine.is_refreshing() {
            // A renewal has begun meanwhile: its token will do.
            self.wanting_successor.extend(self.wanting_stored.drain(..).map(|(_, reply)| reply));
        } else if self.look.is_empty() {
            for (generation, reply) in self.wanting_stored.drain(..) {
                let other = self.machine.token().filter(|token| token.generation() != generation);
                drop(reply.send(other.cloned()));
            }
        }
    }

    fn take_look(&mut self, seen: Option<Stamp>, looked: Looked) {
        let (inner, now) = (Arc::clone(&self.inner), self.now());
        match looked {
            Looked::Unchanged => {}
            Looked::Grant(issued) => {
                self.seen = seen;
                self.machine.grant_found(now);
                inner.update(|status| {
                    if status.last.as_ref().is_some_and(|last| last.took.is_none() && last.reason.is_some()) {
                        status.last = None;
                    }
                });
                if let Some(issued) = issued
                    && let Some(token) = self.machine.adopt(issued, now, inner.clock.random())
                {
                    inner.stats.set_expiry(token.expires_at());
                    inner.update(|status| status.expires_at = Some(token.expires_at()));
                }
            }
            Looked::Failed(failure) => {
                // Looked at again next time: it may change without a write, as a permission does.
                self.seen = None;
                self.found_missing(failure, now);
            }
        }
    }

    fn found_missing(&mut self, failure: Failure, now: Now) {
        let (inner, reason) = (Arc::clone(&self.inner), failure.to_string());
        let is_known = inner.status_now().last.is_some_and(|last| last.reason.as_ref() == Some(&reason));
        if self.machine.is_refreshing() || is_known {
            return;
        }
        log(&inner, &inner.config.load(), &failure, super::schedule::LOGIN_POLL);
        let result = failure.result();
        inner.update(|status| {
            status.last = Some(LastOutcome { result, reason: Some(reason), at: now.wall, took: None });
        });
        // A store that can't be read is no reason to fail a request, which tries for itself.
        if matches!(failure.cause, Cause::GrantGone { .. }) {
            self.machine.grant_missing(failure, now);
        }
    }

    fn publish(&mut self) {
        let inner = &self.inner;
        if let Some(over) = self.machine.newly_over() {
            inner.memory.note_over(over);
        }
        let token = self.machine.token().filter(|token| !token.is_inherited() || inner.may_inherit());
        let current = inner.current.load();
        let is_same = match (&*current, token) {
            (Some(current), Some(token)) => Arc::ptr_eq(current, token),
            (None, None) => true,
            _ => false,
        };
        if !is_same {
            inner.current.store(token.cloned());
        }
        inner.update(|status| {
            status.needs_login = self.machine.needs_login();
            status.generation = self.machine.generation();
        });
    }

    fn now(&self) -> Now {
        self.inner.clock.now()
    }
}

/// Removes the senders of requests that are gone before the list would grow: a store may hang for hours.
fn make_room<T>(waiting: &mut Vec<T>, is_gone: impl Fn(&T) -> bool) {
    if waiting.len() == waiting.capacity() {
        waiting.retain(|reply| !is_gone(reply));
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

fn log(inner: &Inner, config: &OAuth2, failure: &Failure, pause: Duration) {
    let account = &*inner.account;
    let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    let words = failure.words.as_deref();
    match &failure.cause {
        // The runtime ends, or a panic has been reported already.
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
            config.grant.remedy(account)
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
