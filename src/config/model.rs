//! The meaning of a valid file: every reference resolved, every secret read, every default filled in.
//!
//! A [`Config`] is only built by [`super::load()`]; code that holds one need not check it again.

mod account;
mod caller;
mod custom;
mod forward_proxy;
mod handshake;
mod issuer;
mod listen;
mod param;
mod retries;
mod rights;
mod service;
mod service_rules;
mod unread;
mod verify;
mod webhook;

pub use super::secrets::LastValues;
pub use account::{
    Account, Assertion, Authorization, BearerTokenType, ClientAuth, Grant, OAuth2, PresentedToken,
    SelfSigned, SignedAssertion, TokenTls,
};
pub use caller::{Caller, CallerJwt, CallerRight, CallerRules, CallerServices};
pub use custom::{CustomGrant, CustomParams, CustomResponse, JsonParam};
pub use forward_proxy::{ForwardProxy, NoProxy, ProxyRules, UsedProxy};
pub use handshake::Handshake;
pub use issuer::{Issuer, Jwks, JwksUrl};
pub use listen::{AdminTokens, ClientCa, Listen, ListenAddr, ListenTls, Listener};
pub use param::Param;
pub use retries::{Retries, RetryOn};
pub use rights::{PathPattern, Rights};
pub use service::{
    CREDENTIAL_PLACE, CaBundle, Host, Outbound, RedactionScope, ServerUrl, Service, ServiceTls,
    TimeoutResponse, destination,
};
pub use service_rules::ServiceRules;
pub use unread::{ReadFault, UnreadSecret};
pub use verify::Verify;
pub use webhook::{
    ApiKey, IdentityAssertion, KeyIn, Rate, Refusals, Replay, TrustedProxies, Validity, Webhook,
    WebhookDefaults,
};

use crate::header_name::FieldName;
use crate::secret::Secret;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The whole file.
#[derive(Debug)]
pub struct Config {
    /// The listeners. Another address needs a restart.
    pub listen: Listen,
    /// The external address of the webhook listener, without a trailing slash.
    pub public_url: Option<String>,
    /// `via`: true if outbound requests carry `Via: 1.1 attache` (RFC 9110 section 7.6.3). Default false, because some
    /// servers switch compression off for it.
    pub via: bool,
    /// `proxy`: the forward proxy of the whole file.
    pub proxy: Option<Arc<ProxyRules>>,
    /// `http_proxy`: true if a request in absolute form is matched against the server URLs.
    pub http_proxy: bool,
    /// Worker threads; `None` is one per core. A change needs a restart.
    pub threads: Option<NonZeroUsize>,
    /// The headers that tell the receivers a webhook's identity.
    pub identity_headers: IdentityHeaders,
    /// `identity.assertion`: the signer of a webhook's identity, if configured.
    pub assertion: Option<IdentityAssertion>,
    /// The proxies whose `X-Forwarded-For` is trusted on the webhook listener.
    pub trusted_proxies: TrustedProxies,
    /// `limits.wrong_keys`: the rate of calls with an unknown key per client address, before 429. `None`: unlimited.
    pub wrong_keys: Option<Rate>,
    /// `limits.connections`: maximum number of connections of one listener. `None`: a quarter of the process's
    /// descriptors.
    pub max_connections: Option<NonZeroUsize>,
    /// `limits.buffered`: maximum memory of request bodies that are read ahead, in bytes.
    pub buffered: u64,
    /// Maximum time for requests in flight after SIGTERM.
    pub drain: Duration,
    /// The destination of the access log, and the level of the log on stderr.
    pub log: Log,
    /// The store of refresh tokens. Never `None` if a grant has one to store.
    pub state: Option<StateStore>,
    /// Issuers of tokens by their key under `issuers`.
    pub issuers: BTreeMap<String, Arc<Issuer>>,
    /// Reusable accounts by their key under `accounts`.
    pub accounts: BTreeMap<String, Arc<Account>>,
    /// Users by their key under `users`.
    pub users: BTreeMap<String, Arc<User>>,
    /// Services by their key under `services`.
    pub services: BTreeMap<String, Arc<Service>>,
    /// `defaults.webhook`. Those of a webhook that the file has are in the webhook itself.
    pub webhook_defaults: WebhookDefaults,
    /// Callers by their key under `callers`. `None`: every client of `listen.outbound` may use every service.
    pub callers: Option<BTreeMap<String, Arc<Caller>>>,
    /// `caller_rules`.
    pub caller_rules: CallerRules,
    /// `allow_anonymous_callers`.
    pub allow_anonymous_callers: bool,
    /// Lowercase hex SHA-256 of the configuration's text (not of the secrets that it refers to), for `/status` and
    /// `attache_config_info`.
    pub hash: String,
    /// SHA-256 over the text *and* every secret and certificate it refers to. Two configurations with the same
    /// fingerprint behave alike. Never shown: it would confirm a guessed secret.
    pub fingerprint: [u8; 32],
    /// The values of the secrets, which stay in use if the next reading finds one missing.
    pub last_values: LastValues,
}

impl Config {
    /// Returns the host of `public_url`, with its port unless that is the scheme's default.
    pub fn public_host(&self) -> Option<&str> {
        let (_, rest) = self.public_url.as_deref()?.split_once("://")?;
        rest.split('/').next()
    }

    /// Returns every account, including those written in place. One that several services share is returned several
    /// times.
    pub fn all_accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        let used = self.services.values().filter_map(|service| Some(&service.outbound.as_ref()?.account));
        self.accounts.values().chain(used)
    }

    /// Returns the number of accounts, including those written in place, as `/status` lists them.
    pub fn count_accounts(&self) -> usize {
        self.all_accounts().map(|account| &*account.name).collect::<BTreeSet<_>>().len()
    }

    /// Returns the accounts with a secret that can't be read.
    pub fn unread_accounts(&self) -> BTreeMap<&str, &UnreadSecret> {
        self.all_accounts().filter_map(|account| Some((&*account.name, account.unread.as_ref()?))).collect()
    }

    /// Returns the issuers with a file or secret that can't be read.
    pub fn unread_issuers(&self) -> BTreeMap<&str, &UnreadSecret> {
        self.issuers.values().filter_map(|issuer| Some((&*issuer.key, issuer.unread.as_ref()?))).collect()
    }

    /// Returns the services with their own unreadable secret: a certificate, or a secret of the webhook.
    pub fn unread_services(&self) -> BTreeMap<&str, &UnreadSecret> {
        self.services.values().filter_map(|service| Some((&*service.key, service.unread()?))).collect()
    }

    /// Returns the listeners with a certificate, a key or a `client_ca` that can't be read.
    pub fn unread_listeners(&self) -> BTreeMap<&'static str, &UnreadSecret> {
        let all = self.listen.all().into_iter();
        let found = all.filter_map(|(name, listener)| {
            let tls = listener.tls.as_ref().and_then(|tls| tls.unread.as_ref());
            let tokens = self.listen.admin_tokens.unread.as_ref().filter(|_| name == "admin");
            Some((name, UnreadSecret::worse(tls, tokens)?))
        });
        found.collect()
    }

    /// Returns true if a client without a proof may use services on an address that other machines reach, and the file
    /// does not say so.
    pub fn exposes_services_at(&self, outbound: &ListenAddr) -> bool {
        let is_open = self.callers.is_none() || self.caller_rules == CallerRules::Report;
        is_open && !self.allow_anonymous_callers && !outbound.stays_on_this_machine()
    }

    /// Returns the callers with a token that can't be read.
    pub fn unread_callers(&self) -> BTreeMap<&str, &UnreadSecret> {
        let callers = self.callers.iter().flatten();
        callers.filter_map(|(key, caller)| Some((&**key, caller.unread.as_ref()?))).collect()
    }

    /// Returns the accounts that open a service for a caller, each with the service.
    pub fn caller_accounts(&self) -> impl Iterator<Item = (&str, &Arc<Account>)> {
        let named = self.callers.iter().flatten().filter_map(|(_, caller)| match &caller.services {
            CallerServices::Named(named) => Some(named),
            CallerServices::All => None,
        });
        named.flatten().filter_map(|(service, grant)| Some((&**service, grant.account.as_ref()?)))
    }

    /// Returns the services whose provider brings the secret of its deliveries, with the name of the handshake.
    pub fn brought_secrets(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.services.values().filter_map(|service| {
            let handshake = service.webhook.as_ref()?.handshake.as_ref()?;
            handshake.brings_secret().then_some((&*service.key, handshake.as_str()))
        })
    }

    /// Returns the names and settings of the OAuth2 accounts with a refresh token to store, including those written in
    /// place.
    pub fn rotating(&self) -> impl Iterator<Item = (&str, &OAuth2)> {
        self.all_accounts().filter_map(|account| match &account.authorization {
            Authorization::OAuth2(oauth2) if oauth2.grant.refreshes() => Some((&*account.name, &**oauth2)),
            _ => None,
        })
    }
}

/// `identity_headers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityHeaders {
    /// The header of the user. Default `X-Attache-User`.
    pub user: FieldName,
    /// The header of the service. Default `X-Attache-Service`.
    pub service: FieldName,
    /// The header of the key id. Default `X-Attache-Key-Id`.
    pub key_id: FieldName,
}

impl IdentityHeaders {
    /// Returns the three headers: user, service, key id.
    pub fn all(&self) -> [&FieldName; 3] {
        [&self.user, &self.service, &self.key_id]
    }
}

/// `state`. Another `dir` needs a restart, so that the files can be moved with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateStore {
    /// `dir`. Default `$STATE_DIRECTORY`, else `state` beside the configuration.
    pub dir: PathBuf,
    /// `key`: the keys that seal the files; the first seals, all open. Empty if none of them can be read: then every
    /// account with a refresh token to store is unavailable.
    pub keys: Vec<Secret>,
}

/// `log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The destination of the access log. A change needs a restart.
    pub access: AccessLog,
    /// The format of the log on stderr. A change takes effect at once.
    pub format: LogFormat,
    /// The level of the log on stderr.
    pub level: LogLevel,
}

/// `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Plain lines (the default).
    Text,
    /// One JSON object per line.
    Json,
}

/// `log.access`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLog {
    /// One JSON line per request on stdout (the default).
    Stdout,
    /// No access log.
    Off,
    /// Lines appended to a file.
    File(PathBuf),
}

/// `log.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Faults that need an operator.
    Error,
    /// Also faults that may need one soon.
    Warn,
    /// Also events (the default).
    Info,
    /// Also causes.
    Debug,
}

/// A user: the identity of a webhook's calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its key under `users`, which is sent to the receiver.
    pub key: String,
    /// `name`, for display.
    pub name: Option<String>,
    /// `active`: false refuses the calls of its webhooks.
    pub active: bool,
}
