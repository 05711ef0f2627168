//! A configuration that is ready to serve: one immutable value, built in the background, published by one swap, pinned
//! by each request.
//!
//! State that must outlive a change of the file is taken over from the previous snapshot when it is built: token sources
//! of accounts whose identity is unchanged, and counters, by name. Everything else is dropped with the old snapshot
//! when its last request ends, so nothing has to be cleaned up.

mod build;
mod handover;

use crate::config::model::{Account, Authorization, Config};
use crate::credentials::oauth2::{Now, TokenSource, Tokens, identity};
use crate::credentials::{AccountStats, Credential};
use crate::issuers::Issuers;
use crate::outbound::Routes;
use crate::outbound::callers::Callers;
use crate::sns::Sns;
use crate::telemetry::metrics::{Direction, ServiceStats};
use crate::transport::Transport;
use crate::webhook::admission::Webhooks;
use crate::webhook::assertion::Signer;
use crate::webhook::fetched_keys::KnownKeys;
use crate::webhook::identity::Reserved;
use crate::webhook::keys::KeyTable;
use crate::webhook::rate::UnknownKeyLimiter;
use arc_swap::ArcSwap;
use build::SnapshotBuilder;
use handover::Handover;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Weak};

/// A handle to the current snapshot. Cloning it copies the reference.
#[derive(Clone)]
pub struct Handle(Arc<ArcSwap<Snapshot>>);

impl Handle {
    /// Publishes the first snapshot.
    pub fn new(snapshot: Snapshot) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(snapshot)))
    }

    /// Pins the current snapshot.
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Publishes another snapshot, which serves all later requests. Returns the previous one.
    pub fn swap(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        self.0.swap(Arc::new(snapshot))
    }
}

/// An account in use.
pub struct RunningAccount {
    /// The prepared credential.
    pub credential: Arc<Credential>,
    /// Hash of every field that determines its token; `None` without OAuth2.
    identity: Option<[u8; 32]>,
}

/// See the module's documentation.
pub struct Snapshot {
    /// The configuration from which the snapshot was built.
    pub config: Arc<Config>,
    /// The routes of the outbound services.
    pub routes: Routes,
    /// The callers. `None`: every client may use every service.
    pub callers: Option<Box<Callers>>,
    /// The keys of webhooks, with their endpoints.
    pub keys: KeyTable,
    /// Limits guesses at keys.
    pub unknown_keys: UnknownKeyLimiter,
    /// The signer of identity assertions for webhook calls, if configured.
    pub assertion: Option<Signer>,
    /// The header names that no caller may send.
    pub reserved: Reserved,
    /// The issuers of tokens.
    pub issuers: Issuers,
    /// The certificates of SNS. `None`: no webhook needs them.
    pub sns: Option<Arc<Sns>>,
    /// Accounts by name, including those written in place.
    pub accounts: BTreeMap<String, RunningAccount>,
    unmatched: [Arc<ServiceStats>; 2],
}

impl Snapshot {
    /// Prepares `config`, taking over unchanged state from `previous`. No I/O: tokens are requested when needed.
    /// `connections` is the maximum number of connections of a listener.
    pub fn build(
        config: Config,
        previous: Option<&Self>,
        tokens: &Tokens,
        transport: &Transport,
        connections: usize,
    ) -> Self {
        let mut builder = SnapshotBuilder::new(&config, previous, tokens, transport, connections);
        let accounts = builder.accounts();
        let routes = builder.routes(&accounts);
        let callers = builder.callers(&accounts, &routes);
        let keys = builder.keys();

        Self {
            routes,
            callers: callers.map(Box::new),
            keys,
            unknown_keys: UnknownKeyLimiter::new(
                config.wrong_keys.as_ref(),
                previous.map(|previous| previous.unknown_keys.budgets()),
            ),
            reserved: Reserved::of(&config),
            assertion: config.assertion.as_ref().map(Signer::new),
            issuers: Issuers::new(&config, previous.map(|previous| &previous.issuers)),
            sns: build::sns(&config, previous),
            accounts,
            unmatched: previous.map_or_else(Default::default, |previous| previous.unmatched.clone()),
            config: Arc::new(config),
        }
    }

    /// Returns the token sources of changed accounts that had a token in use in `previous`: they should get their own
    /// token before a request needs it.
    pub fn changed_sources(&self, previous: &Self, now: Now) -> Vec<Weak<TokenSource>> {
        let before = |name: &String| previous.accounts.get(name).map(|account| &*account.credential);
        let all =
            self.accounts.iter().filter_map(|(name, account)| Some((before(name)?, &*account.credential)));
        all.filter_map(|(before, after)| match (before, after) {
            (Credential::OAuth2(before), Credential::OAuth2(after)) => {
                let (before, after) = (&before.source, &after.source);
                (!Arc::ptr_eq(before, after) && before.is_in_use(now)).then(|| Arc::downgrade(after))
            }
            _ => None,
        })
        .collect()
    }

    /// Retires the token sources that `next` does not use: long requests may hold this snapshot for hours.
    pub fn retire_sources(&self, next: &Self) {
        let kept: HashSet<*const TokenSource> = next.token_sources().map(Arc::as_ptr).collect();
        self.token_sources()
            .filter(|source| !kept.contains(&Arc::as_ptr(source)))
            .for_each(|source| source.retire());
    }

    /// Returns every account's token source.
    pub fn token_sources(&self) -> impl Iterator<Item = &Arc<TokenSource>> {
        self.accounts.values().filter_map(|account| match &*account.credential {
            Credential::OAuth2(token) => Some(&token.source),
            _ => None,
        })
    }

    /// Returns what decides about webhook calls.
    pub fn webhooks(&self) -> Webhooks<'_> {
        Webhooks {
            keys: &self.keys,
            unknown_keys: &self.unknown_keys,
            public_url: self.config.public_url.as_deref(),
            fetched: KnownKeys { issuers: Some(&self.issuers), sns: self.sns.as_deref() },
            asserts: self.assertion.is_some(),
        }
    }

    /// Returns the statistics of every service, each direction separately.
    pub fn statistics(&self) -> impl Iterator<Item = &Arc<ServiceStats>> {
        let outbound = self.routes.iter().map(|route| &route.stats);
        outbound.chain(self.keys.endpoints().iter().map(|endpoint| &endpoint.route.stats))
    }

    /// Returns the statistics of requests that match no service.
    pub fn unmatched(&self, direction: Direction) -> &Arc<ServiceStats> {
        &self.unmatched[direction as usize]
    }
}

impl RunningAccount {
    fn new(
        account: &Account,
        before: Option<&Self>,
        handover: Option<&Handover<'_>>,
        tokens: &Tokens,
    ) -> Self {
        let identity = match &account.authorization {
            Authorization::OAuth2(config) => Some(identity(config)),
            _ => None,
        };
        let keeps_origins = || handover.is_some_and(|handover| handover.keeps_origins(&account.name));
        let source_before = match before.map(|before| &*before.credential) {
            Some(Credential::OAuth2(token)) => Some(&token.source),
            _ => None,
        };
        let is_same = identity.is_some() && before.is_some_and(|before| before.identity == identity);
        let credential = Credential::new(account, |config| match source_before {
            Some(source) if is_same => {
                if source.has_inherited() && !keeps_origins() {
                    source.drop_inherited();
                }
                source.reconfigure(config);
                Arc::clone(source)
            }
            _ => {
                // Counters belong to the name, whatever happens to the account.
                let stats = source_before
                    .map_or_else(|| Arc::new(AccountStats::new()), |source| Arc::clone(source.stats()));
                let source = TokenSource::new(&account.name, config.clone(), stats, tokens);
                match source_before {
                    Some(before) if keeps_origins() => source.inherit(before, Now::system()),
                    Some(before) => source.exclude(before),
                    None => {}
                }
                source
            }
        });
        Self { credential: Arc::new(credential), identity }
    }
}
