//! The callers of a snapshot, prepared for the request path.

use super::tokens::{Token, Tokens};
use crate::config::model::{Caller, CallerRules, CallerServices, Config, Rights};
use crate::limits::{Exceeded, LimitState, Limits, Permit};
use crate::log_limit::LogLimit;
use crate::route::{Route, overrides};
use crate::telemetry::metrics::{CallerRefusal, CallerStats};
use crate::x509::San;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Identifies a caller of one [`Callers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerNumber(u32);

/// Identifies one [`Callers`] among all of the process.
#[derive(Clone, Default)]
pub(super) struct TableId(Arc<()>);

impl PartialEq for TableId {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// See the module's documentation.
pub struct Callers {
    id: TableId,
    rules: CallerRules,
    all: Vec<RunningCaller>,
    tokens: Tokens,
    certificates: HashMap<San, CallerNumber>,
    /// By issuer and subject.
    subjects: HashMap<Box<str>, HashMap<Box<str>, CallerNumber>>,
    /// The requests that prove no caller.
    unproven: Arc<CallerStats>,
    log_limit: LogLimit,
}

/// A caller.
pub struct RunningCaller {
    /// Its key under `callers`.
    pub key: Box<str>,
    /// Its counts.
    pub stats: Arc<CallerStats>,
    services: RunningServices,
    limits: Limits,
}

enum RunningServices {
    All,
    /// Sorted by the service's name. To compare a few names costs less than to hash one, and no name can be chosen so
    /// that it costs more.
    Named(Box<[(Box<str>, RunningRight)]>),
}

struct RunningRight {
    rights: Rights,
    /// The route with the account for this caller.
    route: Option<Arc<Route>>,
    requests: Arc<AtomicU64>,
}

/// The right of a caller on one service; `None` is without restriction.
#[derive(Clone, Copy)]
pub struct Right<'a>(Option<&'a RunningRight>);

impl<'a> Right<'a> {
    /// Returns its restrictions, if it names any service.
    pub fn rights(self) -> Option<&'a Rights> {
        self.0.map(|right| &right.rights)
    }

    /// Returns the folded names of the headers that could state another method or path than the right has.
    pub fn overrides(self) -> impl Iterator<Item = &'static str> {
        self.rights().into_iter().flat_map(overrides)
    }

    /// Returns the route that opens the service for the caller, if it is not the service's own.
    pub fn route(self) -> Option<&'a Arc<Route>> {
        self.0?.route.as_ref()
    }
}

impl Callers {
    /// Prepares the callers of `config`; `None` if it has no `callers`. Counts and the state of limits go on from
    /// `previous`, by name. `route` makes the route of a service with the account of that name.
    pub fn new(
        config: &Config,
        previous: Option<&Self>,
        mut route: impl FnMut(&str, &str) -> Option<Arc<Route>>,
    ) -> Option<Self> {
        let configured = config.callers.as_ref()?;
        let before: HashMap<&str, &RunningCaller> =
            previous.iter().flat_map(|previous| &previous.all).map(|caller| (&*caller.key, caller)).collect();
        let mut callers = Self {
            id: TableId::default(),
            rules: config.caller_rules,
            all: Vec::with_capacity(configured.len()),
            tokens: Tokens::default(),
            certificates: HashMap::new(),
            subjects: HashMap::new(),
            unproven: previous.map(|previous| Arc::clone(&previous.unproven)).unwrap_or_default(),
            log_limit: LogLimit::default(),
        };
        for (caller, number) in configured.values().zip(0..) {
            let running = RunningCaller::new(caller, before.get(&*caller.key).copied(), &mut route);
            running.stats.retain(|service| config.services.contains_key(service));
            callers.all.push(running);
            callers.add_proofs(caller, CallerNumber(number), previous);
        }
        Some(callers)
    }

    fn add_proofs(&mut self, caller: &Caller, number: CallerNumber, previous: Option<&Self>) {
        self.tokens.add(number, &caller.tokens, |token| {
            let before = previous.and_then(|previous| {
                let before = previous.tokens.get(previous.tokens.find_hash(&token.sha256)?);
                let is_same = *before.id == *token.id && *previous.get(before.caller).key == *caller.key;
                is_same.then(|| Arc::clone(&before.stats))
            });
            before.unwrap_or_default()
        });
        if let Some(san) = caller.certificate.clone() {
            self.certificates.insert(san, number);
        }
        if let Some(jwt) = &caller.jwt {
            let of_issuer = self.subjects.entry(jwt.issuer.as_str().into()).or_default();
            of_issuer.insert(jwt.subject.as_str().into(), number);
        }
    }

    pub(super) fn id(&self) -> &TableId {
        &self.id
    }

    /// Returns what becomes of a request that lacks a proof or a right.
    pub fn rules(&self) -> CallerRules {
        self.rules
    }

    /// Returns the tokens.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Returns the tokens of a caller, in the order of the file.
    pub fn tokens_of(&self, caller: CallerNumber) -> impl Iterator<Item = &Token> {
        let all = self.tokens.slice();
        // They were added caller by caller.
        let start = all.partition_point(|token| token.caller.0 < caller.0);
        all[start..].iter().take_while(move |token| token.caller == caller)
    }

    pub(super) fn of_certificate(&self, name: &San) -> Option<CallerNumber> {
        self.certificates.get(name).copied()
    }

    pub(super) fn of_subject(&self, issuer: &str, subject: &str) -> Option<CallerNumber> {
        self.subjects.get(issuer)?.get(subject).copied()
    }

    /// Returns the caller with this number, which is one of this table's.
    pub fn get(&self, number: CallerNumber) -> &RunningCaller {
        &self.all[number.0 as usize]
    }

    /// Returns the caller with this key. Looks at one after another.
    pub fn named(&self, key: &str) -> Option<CallerNumber> {
        self.numbered().find(|(_, caller)| *caller.key == *key).map(|(number, _)| number)
    }

    /// Returns every caller with its number, in the order of their keys.
    pub fn numbered(&self) -> impl Iterator<Item = (CallerNumber, &RunningCaller)> {
        (0..).map(CallerNumber).zip(&self.all)
    }

    /// Returns every caller, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &RunningCaller> {
        self.all.iter()
    }

    /// Returns the limit of log lines about requests that lack a proof or a right.
    pub fn log_limit(&self) -> &LogLimit {
        &self.log_limit
    }

    /// Returns the counts of the requests that prove no caller.
    pub fn unproven(&self) -> &CallerStats {
        &self.unproven
    }
}

impl RunningCaller {
    fn new(
        caller: &Caller,
        before: Option<&Self>,
        route: &mut impl FnMut(&str, &str) -> Option<Arc<Route>>,
    ) -> Self {
        let stats = before.map(|before| Arc::clone(&before.stats)).unwrap_or_default();
        let state =
            before.map_or_else(Arc::<LimitState>::default, |before| Arc::clone(before.limits.state()));
        let services = match &caller.services {
            CallerServices::All => RunningServices::All,
            CallerServices::Named(named) => {
                let right = |(service, right): (&String, &crate::config::model::CallerRight)| {
                    let route = right.account.as_ref().and_then(|account| route(service, &account.name));
                    let requests = stats.requests(service);
                    (service.as_str().into(), RunningRight { rights: right.rights.clone(), route, requests })
                };
                let mut named: Vec<(Box<str>, RunningRight)> = named.iter().map(right).collect();
                named.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
                RunningServices::Named(named.into())
            }
        };
        let max_concurrent = caller.max_concurrent.map(std::num::NonZeroU32::get);
        let limits = Limits::new(caller.rate_limit.as_ref(), max_concurrent, state);
        Self { key: caller.key.as_str().into(), stats, services, limits }
    }

    /// Returns the right on a service, by one look-up; `None` if there is none.
    pub fn right(&self, service: &str) -> Option<Right<'_>> {
        match &self.services {
            RunningServices::All => Some(Right(None)),
            RunningServices::Named(named) => {
                let found = named.binary_search_by(|(name, _)| (**name).cmp(service)).ok()?;
                Some(Right(Some(&named[found].1)))
            }
        }
    }

    /// Returns the routes with an account for this caller.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        let named = match &self.services {
            RunningServices::All => None,
            RunningServices::Named(named) => Some(named),
        };
        named.into_iter().flat_map(|named| named.iter()).filter_map(|(_, right)| right.route.as_ref())
    }

    /// Begins a request. `uptime` returns the time since the start of the process; without a rate it is not asked for.
    ///
    /// # Errors
    ///
    /// The limit that it exceeds, and the time to wait if that is known.
    pub fn begin_at(
        &self,
        uptime: impl FnOnce() -> Duration,
    ) -> Result<Permit, (CallerRefusal, Option<Duration>)> {
        let now = if self.limits.has_rate() { uptime() } else { Duration::ZERO };
        self.limits.begin_at(now).map_err(|exceeded| match exceeded {
            Exceeded::Rate(wait) => (CallerRefusal::RateLimited, Some(wait)),
            Exceeded::Concurrency => (CallerRefusal::Overloaded, None),
        })
    }

    /// Returns the number of its requests in progress.
    pub fn in_progress(&self) -> u32 {
        self.limits.state().in_progress()
    }

    /// Counts a request for a service that was let in, by its right if it has one.
    pub fn count(&self, service: &str, right: Option<Right<'_>>) {
        match right {
            Some(Right(Some(right))) => right.requests.fetch_add(1, Relaxed),
            _ => self.stats.requests(service).fetch_add(1, Relaxed),
        };
    }
}
