//! The addresses of upstreams' names: one entry per name, for the whole process.
//!
//! An entry keeps the last answer, the address that worked last and the current lookup. It outlives snapshots: a reload
//! reuses the entry, so it neither asks the name server nor forgets which address works.
//!
//! Invariants:
//! - A fresh answer costs one atomic load. Requests of one name share one lookup.
//! - A lookup runs on a task that [`Names`] owns, so it goes on when the request that started it is dropped.
//! - Stale addresses serve only while the name server fails, at most [`STALE_FOR`]. An answer that the name does not
//!   exist ends their use.

mod lookup;
#[cfg(test)]
pub(crate) mod name_server;
mod source;
#[cfg(test)]
mod tests;

use arc_swap::ArcSwapOption;
use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use lookup::FoundAddresses;
use source::ResolverSource;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// Time for which a failed or negative answer is cached.
const NEGATIVE_TTL: Duration = Duration::from_secs(2);
/// Longest use of addresses after their last good answer.
const STALE_FOR: Duration = Duration::from_secs(3600);
/// Longest wait of a request for a refresh while it has stale addresses.
const STALE_WAIT: Duration = Duration::from_millis(250);
/// Pause between two such waits. In between, requests go on with the stale addresses at once.
const STALE_PAUSE: Duration = Duration::from_secs(2);
/// Pause between two lookups that failed connections ask for.
const FORCED_PAUSE: Duration = Duration::from_secs(1);

/// Why a name has no address.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NoAddress {
    /// The name does not exist (NXDOMAIN), or it has no address records.
    #[error("the name does not exist or has no address")]
    NotFound,
    /// No name server gave an answer: timeout, SERVFAIL, REFUSED, no connection.
    #[error("the name server gave no answer")]
    NameServer(#[source] Arc<NetError>),
    /// Every address is internal, and `private_network` does not allow those.
    #[error("the name leads into a private network")]
    Denied,
}

impl NoAddress {
    /// Returns the proxy error type of RFC 9209 section 2.3, for logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotFound => "dns_error",
            Self::NameServer(error) if matches!(**error, NetError::Timeout) => "dns_timeout",
            Self::NameServer(_) => "dns_error",
            Self::Denied => "destination_ip_prohibited",
        }
    }
}

/// The entries of all names, and the lookups under way. Made once a process; dropping it ends the lookups.
pub struct Names {
    shared: Arc<Shared>,
    entries: Mutex<Entries>,
}

struct Shared {
    source: ResolverSource,
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct Entries {
    by_name: HashMap<Box<str>, Weak<Name>>,
    /// Number of entries at which the dropped ones are removed.
    prune_at: usize,
}

impl Names {
    /// Resolves by the system's configuration: `/etc/resolv.conf` and `/etc/hosts`, read again when they change.
    /// Without a usable name server only `/etc/hosts` is used.
    pub fn from_system() -> Self {
        Self::new(ResolverSource::system(Instant::now()))
    }

    /// Resolves by this configuration, which does not change.
    pub fn with_config(config: ResolverConfig, options: ResolverOpts) -> Self {
        Self::new(ResolverSource::fixed(config, options))
    }

    fn new(source: ResolverSource) -> Self {
        let shared = Arc::new(Shared { source, tasks: Mutex::default() });
        Self { shared, entries: Mutex::default() }
    }

    /// Returns the one entry of `name`. It is kept for as long as a reference to it exists.
    pub fn name(&self, name: &str) -> Arc<Name> {
        let mut entries = locked(&self.entries);
        if let Some(entry) = entries.by_name.get(name).and_then(Weak::upgrade) {
            return entry;
        }
        if entries.by_name.len() >= entries.prune_at {
            entries.by_name.retain(|_, entry| entry.strong_count() > 0);
            entries.prune_at = (2 * entries.by_name.len()).max(64);
        }
        let entry = Arc::new(Name {
            text: name.into(),
            shared: Arc::clone(&self.shared),
            answer: ArcSwapOption::empty(),
            state: Mutex::default(),
        });
        entries.by_name.insert(name.into(), Arc::downgrade(&entry));
        entry
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        locked(&self.shared.tasks).abort_all();
    }
}

/// A name and its cached answer.
pub struct Name {
    text: Box<str>,
    shared: Arc<Shared>,
    /// Written under the lock of `state` only.
    answer: ArcSwapOption<NameAnswer>,
    state: Mutex<LookupState>,
}

/// The last answer, or the last successful one while the name server fails.
struct NameAnswer {
    outcome: Result<Arc<[IpAddr]>, NoAddress>,
    /// The address that worked last. It is the first of the list.
    preferred: Option<IpAddr>,
    /// Time at which the next lookup is due.
    fresh_until: Instant,
    /// Time after which the addresses must not be used.
    usable_until: Instant,
    /// The last lookup failed, and the addresses are of an earlier one.
    stale: bool,
}

type Pending = watch::Receiver<Option<Arc<NameAnswer>>>;

#[derive(Default)]
struct LookupState {
    /// The lookup under way. It has ended if the sender is gone.
    pending: Option<Pending>,
    /// Number of lookups begun, and the number of the latest that is answered.
    begun: u64,
    answered: u64,
    /// No request waits for a refresh before this time.
    wait_from: Option<Instant>,
    /// No failed connection starts a lookup before this time.
    force_from: Option<Instant>,
}

impl Name {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the addresses that may be used now, in the order of [`Name::addresses`]. Does not wait: expired ones are
    /// looked up again in the background. If they are fresh, this costs one atomic load.
    pub fn known(self: &Arc<Self>) -> Option<Arc<[IpAddr]>> {
        let (answer, now) = (self.answer.load(), Instant::now());
        let answer = answer.as_deref().filter(|answer| now < answer.usable_until)?;
        if now >= answer.fresh_until {
            self.join_lookup(&mut self.state(), now);
        }
        answer.outcome.as_ref().ok().cloned()
    }

    /// Returns the addresses to try, in this order: the one that worked last, then both families in turn (RFC 8305
    /// section 4). At least one.
    ///
    /// Waits for the name server if there is no address that may be used; bound it by the request's deadline.
    ///
    /// # Errors
    ///
    /// [`NoAddress::NotFound`] or [`NoAddress::NameServer`].
    pub async fn addresses(self: &Arc<Self>) -> Result<Arc<[IpAddr]>, NoAddress> {
        self.addresses_at(Instant::now()).await
    }

    /// Returns [`Name::addresses`] with `port`, filtered by the egress guard. At least one.
    ///
    /// # Errors
    ///
    /// Those of [`Name::addresses`], and [`NoAddress::Denied`].
    pub async fn allowed(
        self: &Arc<Self>,
        port: u16,
        private_network: bool,
    ) -> Result<Vec<SocketAddr>, NoAddress> {
        let all = self.addresses().await?;
        let allowed = super::egress::allowed(&all, private_network);
        let allowed: Vec<_> = allowed.map(|ip| SocketAddr::new(ip, port)).collect();
        if allowed.is_empty() { Err(NoAddress::Denied) } else { Ok(allowed) }
    }

    async fn addresses_at(self: &Arc<Self>, now: Instant) -> Result<Arc<[IpAddr]>, NoAddress> {
        if let Some(answer) = self.answer.load().as_deref()
            && now < answer.fresh_until
        {
            return answer.outcome.clone();
        }
        self.refreshed_at(now).await
    }

    async fn refreshed_at(self: &Arc<Self>, now: Instant) -> Result<Arc<[IpAddr]>, NoAddress> {
        let (pending, stale) = {
            let mut state = self.state();
            let known = self.answer.load_full();
            if let Some(known) = known.as_deref().filter(|known| now < known.fresh_until) {
                return known.outcome.clone();
            }
            let pending = self.join_lookup(&mut state, now);
            let stale = known.filter(|known| known.outcome.is_ok() && now < known.usable_until);
            if let Some(stale) = &stale {
                if state.wait_from.is_some_and(|from| now < from) {
                    return stale.outcome.clone();
                }
                state.wait_from = Some(now + STALE_PAUSE);
            }
            (pending, stale)
        };
        let Some(stale) = stale else { return answer_of(pending).await?.outcome.clone() };
        match timeout(STALE_WAIT, answer_of(pending)).await {
            Ok(Ok(answer)) => answer.outcome.clone(),
            _ => stale.outcome.clone(),
        }
    }

    /// Records that a connection to `ip` was made. It is tried first from now on, while it is in the list.
    pub fn worked(&self, ip: IpAddr) {
        if self.answer.load().as_deref().is_none_or(|answer| answer.preferred == Some(ip)) {
            return;
        }
        let _state = self.state();
        let Some(answer) = self.answer.load_full() else { return };
        let Ok(addresses) = &answer.outcome else { return };
        if addresses.contains(&ip) {
            self.answer.store(Some(Arc::new(NameAnswer {
                outcome: Ok(ordered(addresses, Some(ip))),
                preferred: Some(ip),
                ..*answer
            })));
        }
    }

    /// Looks the name up again because no connection to any of `tried` could be made; at once, but at most once a
    /// second for all requests. `tried` is the list that [`Name::addresses`] returned. Returns the new list if it has
    /// other addresses.
    pub async fn all_failed(self: &Arc<Self>, tried: &[IpAddr]) -> Option<Arc<[IpAddr]>> {
        self.all_failed_at(tried, Instant::now()).await
    }

    async fn all_failed_at(self: &Arc<Self>, tried: &[IpAddr], now: Instant) -> Option<Arc<[IpAddr]>> {
        let pending = {
            let mut state = self.state();
            let known = self.answer.load_full()?;
            // Another request has completed a lookup since.
            if let Some(other) = other_than(tried, &known) {
                return Some(other);
            }
            if !state.is_pending() {
                if state.force_from.is_some_and(|from| now < from) {
                    return None;
                }
                state.force_from = Some(now + FORCED_PAUSE);
            }
            self.join_lookup(&mut state, now)
        };
        other_than(tried, &*answer_of(pending).await.ok()?)
    }

    fn state(&self) -> MutexGuard<'_, LookupState> {
        locked(&self.state)
    }

    /// Returns the lookup under way, or begins one.
    fn join_lookup(self: &Arc<Self>, state: &mut LookupState, now: Instant) -> Pending {
        if let Some(pending) = state.pending.as_ref().filter(|_| state.is_pending()) {
            return pending.clone();
        }
        let (sender, pending) = watch::channel(None);
        state.begun += 1;
        state.pending = Some(pending.clone());
        let mut tasks = locked(&self.shared.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(Arc::clone(self).look_up(state.begun, now, sender));
        pending
    }

    /// Performs lookup number `number`, begun at `now` by the clock of the requests.
    async fn look_up(
        self: Arc<Self>,
        number: u64,
        now: Instant,
        sender: watch::Sender<Option<Arc<NameAnswer>>>,
    ) {
        let begun = Instant::now();
        let found = match self.shared.source.resolver_at(begun) {
            None => Err(NoAddress::NameServer(Arc::new(NetError::NoConnections))),
            Some(resolver) => {
                // The requests need not wait for the second family.
                let early = |found| self.settle(number, Ok(found), begun, now, &sender);
                lookup::look_up(&resolver, &self.text, early).await
            }
        };
        self.settle(number, found, begun, now, &sender);
    }

    /// Stores the answer of lookup `number` and hands it to the waiting requests. May be called a second time for a lookup
    /// whose families were answered one after the other; it then has no effect if a later lookup is answered.
    fn settle(
        &self,
        number: u64,
        found: Result<FoundAddresses, NoAddress>,
        begun: Instant,
        now: Instant,
        sender: &watch::Sender<Option<Arc<NameAnswer>>>,
    ) {
        let mut state = self.state();
        if number < state.answered {
            return;
        }
        let known = self.answer.load_full();
        let at = now + begun.elapsed();
        let expires = found.as_ref().ok().map(|found| now + found.expires.saturating_duration_since(begun));
        let answer = NameAnswer::new(found.map(|found| found.addresses), expires, at, known.as_deref());
        if answer.stale && known.is_some_and(|known| !known.stale) {
            tracing::warn!(
                name = &*self.text,
                "no name server answers; the last known addresses stay in use"
            );
        }
        let answer = Arc::new(answer);
        self.answer.store(Some(Arc::clone(&answer)));
        state.answered = number;
        if state.begun == number {
            state.pending = None;
        }
        sender.send_replace(Some(answer));
    }
}

impl LookupState {
    fn is_pending(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.has_changed().is_ok())
    }
}

impl NameAnswer {
    /// Returns the answer after a lookup that ended at `at`; `expires` is the end of the TTL, `known` the former
    /// answer.
    fn new(
        found: Result<Vec<IpAddr>, NoAddress>,
        expires: Option<Instant>,
        at: Instant,
        known: Option<&Self>,
    ) -> Self {
        let until = at + NEGATIVE_TTL;
        match found {
            Ok(addresses) => {
                let preferred = known.and_then(|known| known.preferred).filter(|ip| addresses.contains(ip));
                Self {
                    outcome: Ok(ordered(&addresses, preferred)),
                    preferred,
                    fresh_until: expires.unwrap_or(until),
                    usable_until: at + STALE_FOR,
                    stale: false,
                }
            }
            Err(error) => match known.filter(|known| known.outlasts(&error, at)) {
                Some(known) => Self {
                    outcome: known.outcome.clone(),
                    fresh_until: until.min(known.usable_until),
                    stale: true,
                    ..*known
                },
                None => Self {
                    outcome: Err(error),
                    preferred: None,
                    fresh_until: until,
                    usable_until: until,
                    stale: false,
                },
            },
        }
    }

    /// Returns true if these addresses stay in use although the lookup that ended at `at` failed with `error`.
    fn outlasts(&self, error: &NoAddress, at: Instant) -> bool {
        matches!(error, NoAddress::NameServer(_)) && self.outcome.is_ok() && at < self.usable_until
    }
}

/// Waits for the answer of a lookup.
async fn answer_of(mut pending: Pending) -> Result<Arc<NameAnswer>, NoAddress> {
    let aborted = || NoAddress::NameServer(Arc::new(NetError::Message("the lookup was aborted")));
    pending.wait_for(Option::is_some).await.ok().and_then(|answer| answer.clone()).ok_or_else(aborted)
}

/// Returns the addresses of `answer`, unless they are those of `tried` in another order.
fn other_than(tried: &[IpAddr], answer: &NameAnswer) -> Option<Arc<[IpAddr]>> {
    let addresses = answer.outcome.as_ref().ok()?;
    let same = addresses.len() == tried.len() && addresses.iter().all(|ip| tried.contains(ip));
    (!same).then(|| Arc::clone(addresses))
}

/// Puts `preferred` first, then the families in turn, IPv6 first (RFC 8305 section 4). Removes duplicates.
fn ordered(addresses: &[IpAddr], preferred: Option<IpAddr>) -> Arc<[IpAddr]> {
    let mut list: Vec<IpAddr> = Vec::with_capacity(addresses.len());
    list.extend(preferred);
    let mut v6 = addresses.iter().copied().filter(IpAddr::is_ipv6);
    let mut v4 = addresses.iter().copied().filter(IpAddr::is_ipv4);
    loop {
        let v6_next = !list.last().is_some_and(IpAddr::is_ipv6);
        let unlisted = |ip: &IpAddr| !list.contains(ip);
        let (one, other) = (v6.by_ref().find(unlisted), v4.by_ref().find(unlisted));
        match (one, other) {
            (None, None) => return list.into(),
            (Some(ip), None) | (None, Some(ip)) => list.push(ip),
            (Some(one), Some(other)) => list.extend(if v6_next { [one, other] } else { [other, one] }),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
