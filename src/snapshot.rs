//! A configuration that is ready to serve: one immutable value, built in the background, published by one swap, pinned
//! by each request.
//!
//! State that must outlive a change of the file is taken over from the previous snapshot when it is built: token sources
//! of accounts whose identity is unchanged, and counters, by name. Everything else is dropped with the old snapshot
//! when its last request ends, so nothing has to be cleaned up.

mod handover;

use crate::config::model::{Account, Authorization, Config, Webhook};
use crate::credentials::oauth2::{Now, TokenSource, Tokens, identity};
use crate::credentials::{AccountStats, Credential};
use crate::handshake_secrets::HandshakeSecret;
use crate::issuers::Issuers;
use crate::outbound::Routes;
use crate::outbound::callers::Callers;
use crate::route::{Parts, Route};
use crate::sns::Sns;
use crate::state::StoreSlot;
use crate::telemetry::metrics::{Direction, ServiceStats};
use crate::transport::Transport;
use crate::webhook::admission::Webhooks;
use crate::webhook::assertion::Signer;
use crate::webhook::endpoint::Endpoint;
use crate::webhook::fetched_keys::KnownKeys;
use crate::webhook::identity::Reserved;
use crate::webhook::keys::KeyTable;
use crate::webhook::rate::UnknownKeyLimiter;
use arc_swap::ArcSwap;
use handover::Handover;
use std::collections::{BTreeMap, HashMap, HashSet};
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
        let handover = previous.map(|previous| Handover::new(previous, &config));
        let accounts: BTreeMap<String, RunningAccount> = config
            .all_accounts()
            .map(|account| {
                let before = previous.and_then(|previous| previous.accounts.get(&account.name));
                let running = RunningAccount::new(account, before, handover.as_ref(), tokens);
                (account.name.clone(), running)
            })
            .collect();

        let carried = |service: &str| previous?.routes.get(service).map(|before| before.carried());
        let mut parts = Parts::new(transport).with_connections(connections);
        let routes = Routes::new(config.services.values().filter_map(|service| {
            let outbound = service.outbound.as_ref()?;
            let credential = Arc::clone(&accounts.get(&outbound.account.name)?.credential);
            let carried = carried(&service.key).unwrap_or_default();
            let account = (&*outbound.account, credential);
            Some(Arc::new(Route::outbound(&service.key, outbound, account, carried, &mut parts)))
        }));
        let outbound = || {
            let services = config.services.values();
            services.filter_map(|service| Some((service.key.as_str(), service.outbound.as_ref()?)))
        };
        let hosts =
            outbound().flat_map(|(key, outbound)| outbound.hosts.iter().map(move |host| (&**host, key)));
        let mut routes = routes.with_hosts(hosts);
        if config.http_proxy {
            routes = routes.with_http_proxy(outbound().map(|(key, outbound)| (&outbound.server_url, key)));
        }

        let callers_before = previous.and_then(|previous| previous.callers.as_deref());
        let mut of_callers: HashMap<(String, String), Arc<Route>> = HashMap::new();
        let callers = Callers::new(&config, callers_before, |service, account| {
            let known = (service.to_owned(), account.to_owned());
            if let Some(route) = of_callers.get(&known) {
                return Some(Arc::clone(route));
            }
            let outbound = config.services.get(service)?.outbound.as_ref()?;
            let credential = Arc::clone(&accounts.get(account)?.credential);
            let account = (&**config.accounts.get(account)?, credential);
            let route =
                Route::outbound(service, outbound, account, routes.get(service)?.carried(), &mut parts);
            let route = Arc::new(route);
            of_callers.insert(known, Arc::clone(&route));
            Some(route)
        });

        let endpoints_before: HashMap<&str, &Arc<Endpoint>> = previous
            .iter()
            .flat_map(|previous| previous.keys.endpoints())
            .map(|endpoint| (endpoint.service(), endpoint))
            .collect();
        let endpoints = config.services.values().filter_map(|service| {
            let webhook = service.webhook.as_ref()?;
            let before = endpoints_before.get(service.key.as_str());
            let carried = before.map(|before| before.route.carried()).unwrap_or_default();
            let deliveries = before.and_then(|b| b.replay.as_ref()).map(|(_, seen)| Arc::clone(seen));
            let route = Arc::new(Route::webhook(&service.key, webhook, carried, &mut parts));
            let endpoint = Endpoint::new(route, webhook, deliveries);
            let brought = brought(&service.key, webhook, &tokens.store, before.map(|before| &***before));
            let endpoint = Arc::new(endpoint.with_brought(brought));
            Some((endpoint, webhook.api_keys.as_slice()))
        });
        let keys = KeyTable::new(endpoints.collect(), previous.map(|previous| &previous.keys));

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
            sns: sns(&config, previous),
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

/// Returns the certificates of SNS, with those that `previous` knows.
fn sns(config: &Config, previous: Option<&Snapshot>) -> Option<Arc<Sns>> {
    let webhooks = config.services.values().filter_map(|service| service.webhook.as_ref());
    let mut verifiers = webhooks.filter_map(|webhook| webhook.verify.as_ref());
    let is_used = verifiers.any(|verifier| verifier.topics().is_some());
    is_used.then(|| previous.and_then(|previous| previous.sns.clone()).unwrap_or_default())
}

/// Prepares the secret that the provider of a webhook brings, if it does.
fn brought(
    service: &str,
    webhook: &Webhook,
    store: &StoreSlot,
    before: Option<&Endpoint>,
) -> Option<Arc<HandshakeSecret>> {
    let handshake = webhook.handshake.as_ref().filter(|handshake| handshake.brings_secret())?;
    let verifier = webhook.verify.clone().filter(|_| webhook.is_secret_brought);
    let before = before.and_then(|before| before.brought.as_deref());
    Some(Arc::new(HandshakeSecret::new(service, handshake.as_str(), verifier, store.clone(), before)))
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
