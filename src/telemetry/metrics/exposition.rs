//! The metrics as Prometheus text, version 0.0.4.
//!
//! Invariant: each family is written completely before the next (a scraper refuses a family in two parts), its rows in
//! an order that does not depend on the order of their addition. A direction without requests has no series: with
//! 100,000 services the zeros would be millions of lines.

mod credentials;
mod instance;
mod requests;
mod text;

use std::time::SystemTime;

use instance::write_process;
use text::ExpositionText;

use super::process::Process;
use super::{CallerStats, Direction, Histogram, KeyStats, Reloads, ServiceStats, Used};

/// A scrape under construction: it collects references to every live object, and writes them.
#[derive(Debug, Default)]
pub struct Exposition<'a> {
    services: Vec<(&'a str, Direction, &'a Used)>,
    accounts: Vec<AccountRow<'a>>,
    issuers: Vec<IssuerRow<'a>>,
    /// The label and the name of each account, issuer or service with an unreadable secret, and whether another value
    /// serves.
    unavailable: Vec<(&'static str, &'a str, bool)>,
    certificates: Vec<(&'static str, SystemTime)>,
    keys: Vec<KeyRow<'a>>,
    callers: Vec<(&'a str, &'a CallerStats)>,
    tokens: Vec<TokenRow<'a>>,
    replays: Vec<ReplayRow<'a>>,
    connections: Vec<ConnectionRow<'a>>,
    /// Listener, reason and number of the handshakes that failed.
    handshakes_failed: Vec<(&'static str, &'static str, u64)>,
    /// Memory of bodies that are read ahead, and its limit.
    buffered: Option<(u64, u64)>,
    reloads: Option<&'a Reloads>,
    config_hash: Option<&'a str>,
    access_log_dropped: Option<u64>,
}

/// The metrics of one OAuth2 account.
#[derive(Debug)]
pub struct AccountRow<'a> {
    /// Its name.
    pub account: &'a str,
    /// Number of token requests by result.
    pub requests: Vec<(&'static str, u64)>,
    /// Number of its tokens that a third party refused.
    pub refused: u64,
    /// Number of tokens obtained since the account last changed.
    pub generation: u64,
    /// True if the account needs a login.
    pub needs_login: bool,
    /// The time at which the current token expires.
    pub expiry: Option<SystemTime>,
    /// The durations of token requests.
    pub duration: &'a Histogram,
}

/// The metrics of one issuer of tokens.
#[derive(Debug)]
pub struct IssuerRow<'a> {
    /// Its key under `issuers`.
    pub issuer: &'a str,
    /// Number of its keys that are known.
    pub keys: usize,
    /// Number of fetches that succeeded, and of those that failed; `None` if its keys are in a file.
    pub fetches: Option<(u64, u64)>,
    /// The end of the last successful fetch.
    pub fetched_at: Option<SystemTime>,
}

#[derive(Debug)]
struct KeyRow<'a> {
    service: &'a str,
    key_id: &'a str,
    last_used: Option<SystemTime>,
    last_refused: Option<SystemTime>,
    expires_at: Option<SystemTime>,
}

#[derive(Debug)]
struct TokenRow<'a> {
    caller: &'a str,
    token_id: &'a str,
    last_used: Option<SystemTime>,
    expires_at: Option<SystemTime>,
}

#[derive(Debug)]
struct ReplayRow<'a> {
    service: &'a str,
    remembered: usize,
    forgotten_early: u64,
}

#[derive(Debug)]
struct ConnectionRow<'a> {
    listener: &'a str,
    active: u64,
    idle: u64,
    refused: u64,
}

impl<'a> Exposition<'a> {
    /// Returns an empty scrape.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a service's direction; `service` is empty for requests that matched none.
    pub fn service(&mut self, direction: Direction, service: &'a str, stats: &'a ServiceStats) -> &mut Self {
        if let Some(used) = stats.used.get() {
            self.services.push((service, direction, used));
        }
        self
    }

    /// Adds an account with tokens: its requests by result (ok, rejected, unavailable, timeout), the expiry of the
    /// current token, and the durations of the requests.
    pub fn account(&mut self, row: AccountRow<'a>) -> &mut Self {
        self.accounts.push(row);
        self
    }

    /// Adds an issuer of tokens.
    pub fn issuer(&mut self, row: IssuerRow<'a>) -> &mut Self {
        self.issuers.push(row);
        self
    }

    /// Adds an `account`, an `issuer`, a `service` or a `listener` with an unreadable secret. It is degraded if its last value, or another one of a
    /// list, serves instead.
    pub fn unavailable(&mut self, label: &'static str, name: &'a str, is_degraded: bool) -> &mut Self {
        self.unavailable.push((label, name, is_degraded));
        self
    }

    /// Adds the end of the validity of a listener's certificate.
    pub fn certificate(&mut self, listener: &'static str, not_after: SystemTime) -> &mut Self {
        self.certificates.push((listener, not_after));
        self
    }

    /// Adds a webhook key, by its id.
    pub fn key(
        &mut self,
        service: &'a str,
        key_id: &'a str,
        stats: &KeyStats,
        expires_at: Option<SystemTime>,
    ) -> &mut Self {
        let (last_used, last_refused) = (stats.last_used(), stats.last_refused());
        self.keys.push(KeyRow { service, key_id, last_used, last_refused, expires_at });
        self
    }

    /// Adds a caller; `caller` is empty for requests that prove none.
    pub fn caller(&mut self, caller: &'a str, stats: &'a CallerStats) -> &mut Self {
        self.callers.push((caller, stats));
        self
    }

    /// Adds a token of a caller, by its id.
    pub fn caller_token(
        &mut self,
        caller: &'a str,
        token_id: &'a str,
        stats: &KeyStats,
        expires_at: Option<SystemTime>,
    ) -> &mut Self {
        self.tokens.push(TokenRow { caller, token_id, last_used: stats.last_used(), expires_at });
        self
    }

    /// Adds a service that remembers its deliveries.
    pub fn deliveries(&mut self, service: &'a str, remembered: usize, forgotten_early: u64) -> &mut Self {
        self.replays.push(ReplayRow { service, remembered, forgotten_early });
        self
    }

    /// Adds a listener: its connections with a request and without one, and the number that was refused at its limit.
    pub fn connections(&mut self, listener: &'a str, active: u64, idle: u64, refused: u64) -> &mut Self {
        self.connections.push(ConnectionRow { listener, active, idle, refused });
        self
    }

    /// Adds the number of a listener's handshakes that failed for one reason.
    pub fn handshakes_failed(
        &mut self,
        listener: &'static str,
        reason: &'static str,
        count: u64,
    ) -> &mut Self {
        self.handshakes_failed.push((listener, reason, count));
        self
    }

    /// Adds the memory of request bodies that are read ahead, and its limit.
    pub fn buffered(&mut self, bytes: u64, limit: u64) -> &mut Self {
        self.buffered = Some((bytes, limit));
        self
    }

    /// Adds the reloads.
    pub fn reloads(&mut self, reloads: &'a Reloads) -> &mut Self {
        self.reloads = Some(reloads);
        self
    }

    /// Adds the hash of the configuration in effect.
    pub fn config_hash(&mut self, hash: &'a str) -> &mut Self {
        self.config_hash = Some(hash);
        self
    }

    /// Adds the number of lines that the access log has dropped.
    pub fn access_log_dropped(&mut self, lines: u64) -> &mut Self {
        self.access_log_dropped = Some(lines);
        self
    }

    /// Returns the text, including the metrics of the build and the process. Reads `/proc`: not for an async thread.
    pub fn render(&mut self) -> String {
        self.render_with(&Process::read())
    }

    pub(super) fn render_with(&mut self, process: &Process) -> String {
        self.services.sort_by_key(|(service, direction, _)| (*service, *direction));
        self.accounts.sort_by_key(|row| row.account);
        self.issuers.sort_by_key(|row| row.issuer);
        // Of a service that lacks two secrets, one without a value in its place comes first.
        self.unavailable.sort_unstable();
        self.unavailable.dedup_by_key(|(label, name, _)| (*label, *name));
        self.keys.sort_by_key(|row| (row.service, row.key_id));
        self.callers.sort_unstable_by_key(|(caller, _)| *caller);
        self.tokens.sort_by_key(|row| (row.caller, row.token_id));
        self.replays.sort_by_key(|row| row.service);
        self.connections.sort_by_key(|row| row.listener);
        self.handshakes_failed.sort_unstable();
        let mut text = ExpositionText::default();
        self.write_services(&mut text);
        self.write_attempts(&mut text);
        self.write_refusals(&mut text);
        self.write_accounts(&mut text);
        self.write_issuers(&mut text);
        self.write_keys(&mut text);
        self.write_callers(&mut text);
        self.write_connections(&mut text);
        self.write_buffered(&mut text);
        self.write_certificates(&mut text);
        self.write_config(&mut text);
        write_process(process, &mut text);
        text.out
    }
}
