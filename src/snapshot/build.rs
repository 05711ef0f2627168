//! The parts of a snapshot, each built from the configuration and its predecessor.

use super::handover::Handover;
use super::{RunningAccount, Snapshot};
use crate::config::model::{Config, Outbound, Webhook};
use crate::credentials::oauth2::Tokens;
use crate::handshake_secrets::HandshakeSecret;
use crate::outbound::Routes;
use crate::outbound::callers::Callers;
use crate::route::{Carried, Parts, Route};
use crate::sns::Sns;
use crate::state::StoreSlot;
use crate::transport::Transport;
use crate::webhook::endpoint::Endpoint;
use crate::webhook::keys::KeyTable;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A snapshot under construction.
pub(super) struct SnapshotBuilder<'a> {
    config: &'a Config,
    previous: Option<&'a Snapshot>,
    tokens: &'a Tokens,
    /// Values that several routes share.
    parts: Parts<'a>,
}

impl<'a> SnapshotBuilder<'a> {
    pub(super) fn new(
        config: &'a Config,
        previous: Option<&'a Snapshot>,
        tokens: &'a Tokens,
        transport: &'a Transport,
        connections: usize,
    ) -> Self {
        Self { config, previous, tokens, parts: Parts::new(transport).with_connections(connections) }
    }

    /// Returns every account by name.
    pub(super) fn accounts(&self) -> BTreeMap<String, RunningAccount> {
        let handover = self.previous.map(|previous| Handover::new(previous, self.config));
        let accounts = self.config.all_accounts().map(|account| {
            let before = self.previous.and_then(|previous| previous.accounts.get(&account.name));
            let running = RunningAccount::new(account, before, handover.as_ref(), self.tokens);
            (account.name.clone(), running)
        });
        accounts.collect()
    }

    /// Returns the routes of the outbound services.
    pub(super) fn routes(&mut self, accounts: &BTreeMap<String, RunningAccount>) -> Routes {
        let (config, previous) = (self.config, self.previous);
        let carried = |service: &str| -> Option<Carried> { Some(previous?.routes.get(service)?.carried()) };
        let routes = Routes::new(outbound_services(config).filter_map(|(service, outbound)| {
            let credential = Arc::clone(&accounts.get(&outbound.account.name)?.credential);
            let account = (&*outbound.account, credential);
            let carried = carried(service).unwrap_or_default();
            Some(Arc::new(Route::outbound(service, outbound, account, carried, &mut self.parts)))
        }));
        let hosts = outbound_services(config)
            .flat_map(|(service, outbound)| outbound.hosts.iter().map(move |host| (&**host, service)));
        let routes = routes.with_hosts(hosts);
        if !config.http_proxy {
            return routes;
        }
        let servers = outbound_services(config).map(|(service, outbound)| (&outbound.server_url, service));
        routes.with_http_proxy(servers)
    }

    /// Returns the callers, with a route for each service that one of them uses with an account of its own.
    pub(super) fn callers(
        &mut self,
        accounts: &BTreeMap<String, RunningAccount>,
        routes: &Routes,
    ) -> Option<Callers> {
        let (config, parts) = (self.config, &mut self.parts);
        let before = self.previous.and_then(|previous| previous.callers.as_deref());
        let mut of_callers: HashMap<(String, String), Arc<Route>> = HashMap::new();
        Callers::new(config, before, |service, account| {
            let known = (service.to_owned(), account.to_owned());
            if let Some(route) = of_callers.get(&known) {
                return Some(Arc::clone(route));
            }
            let outbound = config.services.get(service)?.outbound.as_ref()?;
            let credential = Arc::clone(&accounts.get(account)?.credential);
            let account = (&**config.accounts.get(account)?, credential);
            let carried = routes.get(service)?.carried();
            let route = Arc::new(Route::outbound(service, outbound, account, carried, parts));
            of_callers.insert(known, Arc::clone(&route));
            Some(route)
        })
    }

    /// Returns the keys of webhooks, with their endpoints.
    pub(super) fn keys(&mut self) -> KeyTable {
        let endpoints_before: HashMap<&str, &Arc<Endpoint>> = self
            .previous
            .iter()
            .flat_map(|previous| previous.keys.endpoints())
            .map(|endpoint| (endpoint.service(), endpoint))
            .collect();
        let endpoints = self.config.services.values().filter_map(|service| {
            let webhook = service.webhook.as_ref()?;
            let before = endpoints_before.get(service.key.as_str());
            let carried = before.map(|before| before.route.carried()).unwrap_or_default();
            let deliveries = before.and_then(|b| b.replay.as_ref()).map(|(_, seen)| Arc::clone(seen));
            let route = Arc::new(Route::webhook(&service.key, webhook, carried, &mut self.parts));
            let endpoint = Endpoint::new(route, webhook, deliveries);
            let brought = brought(&service.key, webhook, &self.tokens.store, before.map(|before| &***before));
            let endpoint = Arc::new(endpoint.with_brought(brought));
            Some((endpoint, webhook.api_keys.as_slice()))
        });
        KeyTable::new(endpoints.collect(), self.previous.map(|previous| &previous.keys))
    }
}

/// Returns each outbound service with its key.
fn outbound_services(config: &Config) -> impl Iterator<Item = (&str, &Outbound)> {
    let services = config.services.values();
    services.filter_map(|service| Some((service.key.as_str(), service.outbound.as_ref()?)))
}

/// Returns the certificates of SNS, with those that `previous` knows.
pub(super) fn sns(config: &Config, previous: Option<&Snapshot>) -> Option<Arc<Sns>> {
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
