//! Decides if an OAuth2 account may keep using a token that it did not obtain itself.
//!
//! An inherited token is sent only to origins to which it was sent before: an account that now serves another host must
//! not send that host a token that was obtained for the old one. Each reload compares with the one before it and drops
//! the token if an origin is new, so no sequence of reloads widens the set.

use super::Snapshot;
use crate::config::model::{Config, Host, ServerUrl};
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

/// Scheme, host and port.
type ServerOrigin<'c> = (bool, &'c Host, u16);

/// Compares the origins to which the accounts of two configurations send their tokens.
pub(super) struct Handover<'a> {
    before: &'a Config,
    after: &'a Config,
    /// Collected for the first account that asks.
    origins: OnceCell<[HashMap<&'a str, HashSet<ServerOrigin<'a>>>; 2]>,
}

impl<'a> Handover<'a> {
    pub(super) fn new(before: &'a Snapshot, after: &'a Config) -> Self {
        Self { before: &before.config, after, origins: OnceCell::new() }
    }

    /// Returns true if the account has an origin now, and had each of them before.
    pub(super) fn keeps_origins(&self, account: &str) -> bool {
        let [before, after] = self.origins.get_or_init(|| [origins(self.before), origins(self.after)]);
        let (then, now) = (before.get(account), after.get(account));
        then.zip(now).is_some_and(|(then, now)| now.is_subset(then))
    }
}

fn origins(config: &Config) -> HashMap<&str, HashSet<ServerOrigin<'_>>> {
    let mut origins: HashMap<&str, HashSet<ServerOrigin<'_>>> = HashMap::new();
    for outbound in config.services.values().filter_map(|service| service.outbound.as_ref()) {
        let url = &outbound.server_url;
        origins.entry(&outbound.account.name).or_default().insert((url.tls, &url.host, url.port));
    }
    for (service, account) in config.caller_accounts() {
        let outbound = config.services.get(service).and_then(|service| service.outbound.as_ref());
        if let Some(ServerUrl { tls, host, port, .. }) = outbound.map(|outbound| &outbound.server_url) {
            origins.entry(&account.name).or_default().insert((*tls, host, *port));
        }
    }
    origins
}
