//! The state of one account's token, and what changes it: pure, without I/O, with the time as an argument.
//!
//! ```text
//!            request                   token                     refusal by a service
//! Empty ────────────────► Refreshing ─────────► Valid ────────────────────────────► Suspect
//!   ▲                      ▲  │    ▲  renewal     │                                    │
//!   │ end of the token     │  │    └──────────────┴────────────────────────────────────┘ at once, or after its hold
//!   └──── every state      │  │ no token
//!                          │  ├─────────► Backoff     until the pause is over
//!                          └──┴─────────► NeedsLogin  until the grant is there again
//! ```
//!
//! A token that is still good stays in use in every state until its successor is there: Suspect, Refreshing, Backoff and
//! NeedsLogin may all hold one. The pause of Backoff outlasts a NeedsLogin that another process caused.
//!
//! Its owner is [`super::owner`], which carries out what the machine asks for: when [`Machine::is_refreshing`] turns true
//! it starts a refresh, and reports how that ended.

use super::clock::Now;
use super::error::{Cause, Failure, TokenError};
use super::schedule;
use super::token::{Issued, Replaced, Token};
use crate::secret::Secret;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The state of one account's token.
#[derive(Debug, Default)]
pub(super) struct Machine {
    state: State,
    /// Number of tokens so far.
    generation: u64,
    /// Another source serves the account: this one does nothing by itself any more.
    is_retired: bool,
    /// The last token, which is over. It must not come back from the store: the wall clock may have been set back.
    over: Option<Secret>,
    /// `over` is new to [`Machine::newly_over`].
    is_newly_over: bool,
}

/// See the module's documentation.
#[derive(Debug, Default)]
enum State {
    /// No token, and no reason not to request one.
    #[default]
    Empty,
    /// A token that no service has refused.
    Valid(Arc<Token>),
    /// A token that a service refused, or that another source obtained. It is replaced at `replace_at`.
    Suspect { token: Arc<Token>, refused_at: Instant, replace_at: Instant },
    /// A refresh is under way.
    Refreshing {
        old: Option<Old>,
        /// Failures in a row before it.
        failures: u32,
        /// Why there was no token before it.
        after: Option<Arc<Failure>>,
    },
    /// The last refresh failed. The next one starts after the pause, on demand or, as long as an old token is usable,
    /// by itself.
    Backoff { old: Option<Old>, pause: Pause },
    /// The grant is gone. `retry_at`: the time of the next look at it; `None` if only a change of the account or SIGHUP
    /// helps. `pause`: the one that was running when the store was found to have no grant.
    NeedsLogin { old: Option<Old>, failure: Arc<Failure>, retry_at: Option<Instant>, pause: Option<Pause> },
}

/// The time after a failure in which no token request is sent.
#[derive(Debug, Clone)]
struct Pause {
    /// Failures in a row.
    failures: u32,
    /// The last of them.
    failure: Arc<Failure>,
    until: Instant,
}

/// A token that is used until its successor is there.
#[derive(Debug, Clone)]
struct Old {
    token: Arc<Token>,
    /// The time of its first refusal by a service.
    refused_at: Option<Instant>,
}

/// The reply to a request without a usable token.
#[derive(Debug)]
pub(super) enum Demand {
    /// There is one after all.
    Token(Arc<Token>),
    /// A refresh is under way.
    Wait,
    /// No token, and no token request for a while.
    Fail(TokenError),
}

/// The reply to a request whose token a service refused.
#[derive(Debug)]
pub(super) enum Successor {
    /// Another token, which is there already.
    Token(Arc<Token>),
    /// A refresh is under way.
    Wait,
    /// No other token in the near future: the service's own response has to do.
    None,
}

/// The place from which a grant that is gone can come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GrantSource {
    /// The store: a login, or another process, may put one there.
    Store,
    /// The file alone.
    File,
}

impl Machine {
    /// Returns a machine of an account of which this much is known: the refusal of its grant, and a token that is over.
    pub(super) fn knowing(refused: Option<Arc<Failure>>, over: Option<Secret>) -> Self {
        let needs_login = |failure| State::NeedsLogin { old: None, failure, retry_at: None, pause: None };
        Self { state: refused.map(needs_login).unwrap_or_default(), over, ..Self::default() }
    }

    /// Begins with another source's token, to be replaced once it is used. `same_kind`: this source would get the same
    /// token, so that the hold goes on: a service may refuse them all.
    pub(super) fn inherit(&mut self, token: &Token, same_kind: bool, now: Now) {
        let token = Arc::new(token.inherited(same_kind));
        let (refused_at, replace_at) = (now.instant, now.instant);
        match &mut self.state {
            State::NeedsLogin { old, .. } => *old = Some(Old { token, refused_at: Some(refused_at) }),
            _ => self.state = State::Suspect { token, refused_at, replace_at },
        }
    }

    /// Returns the token to use, which may be over.
    pub(super) fn token(&self) -> Option<&Arc<Token>> {
        match &self.state {
            State::Empty => None,
            State::Valid(token) | State::Suspect { token, .. } => Some(token),
            State::Refreshing { old, .. } | State::Backoff { old, .. } | State::NeedsLogin { old, .. } => {
                old.as_ref().map(|old| &old.token)
            }
        }
    }

    /// Returns the token that a refresh has to replace.
    pub(super) fn replacing(&self) -> Option<Replaced> {
        match self.token() {
            Some(token) if token.is_foreign() => Some(Replaced::Other(token.secret().clone())),
            Some(token) => Some(Replaced::InUse(Arc::clone(token))),
            None => self.over.clone().map(Replaced::Other),
        }
    }

    /// Another source serves the account now. Requests that began before may still ask this one.
    pub(super) fn retire(&mut self) {
        self.is_retired = true;
    }

    pub(super) fn is_refreshing(&self) -> bool {
        matches!(self.state, State::Refreshing { .. })
    }

    pub(super) fn needs_login(&self) -> bool {
        match &self.state {
            State::NeedsLogin { .. } => true,
            State::Refreshing { after: Some(failure), .. } => {
                matches!(failure.cause, Cause::GrantGone { .. })
            }
            _ => false,
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// A request found no usable token.
    pub(super) fn demand(&mut self, now: Now) -> Demand {
        self.drop_what_is_over(now);
        if let Some(token) = self.token() {
            return Demand::Token(Arc::clone(token));
        }
        match &self.state {
            State::Backoff { pause, .. } if now.instant < pause.until => {
                return Demand::Fail(told(&pause.failure, pause.until - now.instant));
            }
            State::NeedsLogin { failure, retry_at, .. } if retry_at.is_none_or(|at| now.instant < at) => {
                let pause = retry_at.map_or(Duration::ZERO, |at| at - now.instant);
                return Demand::Fail(told(failure, pause));
            }
            _ => self.refresh(),
        }
        Demand::Wait
    }

    /// A service refused the token `generation`. Returns as well whether it is the first to refuse this one.
    pub(super) fn refused(&mut self, generation: u64, now: Now) -> (Successor, bool) {
        self.drop_what_is_over(now);
        let token = self.token().cloned();
        if let Some(token) = token.as_ref().filter(|token| token.generation() != generation) {
            return (Successor::Token(Arc::clone(token)), false);
        }
        let Some(token) = token else {
            return match self.demand(now) {
                Demand::Token(token) => (Successor::Token(token), false),
                Demand::Wait => (Successor::Wait, false),
                Demand::Fail(_) => (Successor::None, false),
            };
        };
        let mut is_first = false;
        match &mut self.state {
            State::Valid(_) => {
                let (refused_at, replace_at) = (now.instant, token.replaceable_from(now));
                self.state = State::Suspect { token, refused_at, replace_at };
                is_first = true;
            }
            State::Refreshing { old: Some(old), .. }
            | State::Backoff { old: Some(old), .. }
            | State::NeedsLogin { old: Some(old), .. } => {
                is_first = old.refused_at.is_none();
                old.refused_at.get_or_insert(now.instant);
            }
            _ => {}
        }
        let due = match &self.state {
            State::Refreshing { .. } => return (Successor::Wait, is_first),
            State::Suspect { replace_at, .. } => *replace_at <= now.instant,
            State::Backoff { pause, .. } => pause.until <= now.instant,
            State::Empty | State::Valid(_) | State::NeedsLogin { .. } => false,
        };
        if due {
            self.refresh();
            return (Successor::Wait, is_first);
        }
        (Successor::None, is_first)
    }

    /// Time has passed, or the token was used for the first time: starts the refresh that is due.
    pub(super) fn tick(&mut self, now: Now) {
        self.drop_what_is_over(now);
        if self.next_at().is_some_and(|at| at <= now.instant) {
            self.refresh();
        }
    }

    /// Returns when [`Machine::tick`] has something to do. A token that no request uses is left to expire, so an idle
    /// attache sends no token requests.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let (token, at) = match &self.state {
            State::Valid(token) => (token, token.renew_at()),
            // At its renewal at the latest: its hold may be longer than its life.
            State::Suspect { token, replace_at, .. } => (token, (*replace_at).min(token.renew_at())),
            State::Backoff { old: Some(old), pause } => (&old.token, pause.until),
            State::Empty | State::Refreshing { .. } | State::Backoff { .. } | State::NeedsLogin { .. } => {
                return None;
            }
        };
        (token.is_used() && !self.is_retired && at < token.usable_until()).then_some(at)
    }

    /// A token is there. `None` if it was over when it arrived.
    pub(super) fn succeeded(&mut self, issued: Issued, now: Now, random: f64) -> Option<Arc<Token>> {
        let hold = self.hold_of_successor();
        let token = Arc::new(Token::new(issued, now, random, self.generation + 1, hold));
        if !token.is_usable(now) {
            return None;
        }
        self.generation += 1;
        self.state = State::Valid(Arc::clone(&token));
        Some(token)
    }

    /// A refresh brought none. Returns what those who waited are told.
    pub(super) fn failed(
        &mut self,
        failure: Failure,
        grant: GrantSource,
        now: Now,
        random: f64,
    ) -> TokenError {
        let (old, failures, running) = match std::mem::take(&mut self.state) {
            State::Refreshing { old, failures, .. } => (old, failures.saturating_add(1), None),
            State::Valid(token) => (Some(Old { token, refused_at: None }), 1, None),
            State::Suspect { token, refused_at, .. } => {
                (Some(Old { token, refused_at: Some(refused_at) }), 1, None)
            }
            State::Backoff { old, pause } => (old, pause.failures, Some(pause)),
            State::Empty => (None, 1, None),
            State::NeedsLogin { old, pause, .. } => (old, 1, pause),
        };
        let length = match &failure.cause {
            Cause::Rejected { .. } => schedule::pause_rejected(failures, failure.retry_after, random),
            Cause::GrantGone { .. } => schedule::LOGIN_POLL,
            Cause::Unavailable(_) => schedule::pause_unavailable(failures, failure.retry_after, random),
        };
        let is_gone = matches!(failure.cause, Cause::GrantGone { .. });
        let failure = Arc::new(Failure { successor: None, ..failure });
        let error = TokenError { failure: Arc::clone(&failure), retry_after: length };
        let until = now.instant + length;
        self.state = if is_gone {
            // The grant may be back before the pause is over.
            let retry_at = running.as_ref().map_or(until, |running| running.until.max(until));
            let retry_at = (grant == GrantSource::Store).then_some(retry_at);
            State::NeedsLogin { old, failure, retry_at, pause: running }
        } else {
            State::Backoff { old, pause: Pause { failures, failure, until } }
        };
        error
    }

    /// The store has a newer token than the one in use: another process renewed it, or a person signed in.
    pub(super) fn adopt(&mut self, issued: Issued, now: Now, random: f64) -> Option<Arc<Token>> {
        let is_newer = |token: &Arc<Token>| token.is_older_than(issued.obtained_at, now.wall);
        if self.is_refreshing() || !self.token().is_none_or(is_newer) {
            return None;
        }
        // The hold goes on: the service refuses, regardless of the process that obtained the token.
        self.succeeded(issued, now, random)
    }

    fn hold_of_successor(&self) -> Duration {
        match &self.state {
            State::Suspect { token, refused_at, .. } => token.next_hold(*refused_at),
            State::Refreshing { old: Some(Old { token, refused_at: Some(at) }), .. }
            | State::Backoff { old: Some(Old { token, refused_at: Some(at) }), .. }
            | State::NeedsLogin { old: Some(Old { token, refused_at: Some(at) }), .. } => {
                token.next_hold(*at)
            }
            _ => Duration::ZERO,
        }
    }

    /// The store has a grant again. It does not end a pause, which the endpoint may have asked for.
    pub(super) fn grant_found(&mut self, now: Now) {
        if let State::NeedsLogin { old, pause, .. } = &mut self.state {
            let (old, pause) = (old.take(), pause.take().filter(|pause| now.instant < pause.until));
            self.state = match pause {
                Some(pause) => State::Backoff { old, pause },
                None => without_pause(old, now),
            };
        }
    }

    /// The store has no grant that can be used. Does nothing while a refresh is under way, which knows better.
    pub(super) fn grant_missing(&mut self, failure: Failure, now: Now) {
        if !self.is_refreshing() {
            self.failed(failure, GrantSource::Store, now, 0.0);
        }
    }

    /// The operator asks to forget pauses (SIGHUP). Returns true if the next refresh may try a refused grant again.
    pub(super) fn nudge(&mut self, now: Now) -> bool {
        self.drop_what_is_over(now);
        match &mut self.state {
            State::Backoff { old, .. } => self.state = without_pause(old.take(), now),
            State::NeedsLogin { .. } => self.refresh(),
            // A new source: the store's refusal is not known yet.
            State::Empty => {}
            State::Valid(_) | State::Suspect { .. } | State::Refreshing { .. } => return false,
        }
        true
    }

    /// The token must not be sent any more, although it is good: it was obtained by another source.
    pub(super) fn drop_inherited(&mut self) {
        if self.token().is_some_and(|token| token.is_inherited()) {
            self.drop_token();
        }
    }

    /// A token of the source's own is wanted though there is an inherited one, and may be requested.
    pub(super) fn wants_own(&self) -> bool {
        let is_refused = matches!(self.state, State::NeedsLogin { retry_at: None, .. });
        !is_refused && self.token().is_none_or(|token| token.is_inherited())
    }

    /// Starts a refresh, unless one is under way.
    pub(super) fn refresh(&mut self) {
        let (old, failures, after) = match std::mem::take(&mut self.state) {
            State::Empty => (None, 0, None),
            State::Valid(token) => (Some(Old { token, refused_at: None }), 0, None),
            State::Suspect { token, refused_at, .. } => {
                (Some(Old { token, refused_at: Some(refused_at) }), 0, None)
            }
            State::Refreshing { old, failures, after } => (old, failures, after),
            State::Backoff { old, pause } => (old, pause.failures, Some(pause.failure)),
            State::NeedsLogin { old, failure, pause, .. } => {
                (old, pause.map_or(0, |pause| pause.failures), Some(failure))
            }
        };
        self.state = State::Refreshing { old, failures, after };
    }

    fn drop_what_is_over(&mut self, now: Now) {
        if self.token().is_some_and(|token| !token.is_usable(now)) {
            self.drop_token();
        }
    }

    /// A token must not be used by this source, wherever it comes from.
    pub(super) fn exclude(&mut self, token: Secret) {
        self.over = Some(token);
    }

    /// Returns the token that became over since the last call.
    pub(super) fn newly_over(&mut self) -> Option<Secret> {
        std::mem::take(&mut self.is_newly_over).then(|| self.over.clone())?
    }

    fn drop_token(&mut self) {
        if let Some(token) = self.token() {
            self.over = Some(token.secret().clone());
            self.is_newly_over = true;
        }
        match &mut self.state {
            State::Empty => {}
            State::Valid(_) | State::Suspect { .. } => self.state = State::Empty,
            State::Refreshing { old, .. } | State::Backoff { old, .. } | State::NeedsLogin { old, .. } => {
                *old = None
            }
        }
    }
}

/// Returns what is left of a state when its pause is forgotten.
fn without_pause(old: Option<Old>, now: Now) -> State {
    match old {
        None => State::Empty,
        Some(Old { token, refused_at: None }) => State::Valid(token),
        Some(Old { token, refused_at: Some(refused_at) }) => {
            State::Suspect { token, refused_at, replace_at: now.instant }
        }
    }
}

fn told(failure: &Arc<Failure>, retry_after: Duration) -> TokenError {
    TokenError { failure: Arc::clone(failure), retry_after }
}
