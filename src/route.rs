//! One direction of one service, prepared for the request path: the target of a [`crate::plan::Plan`].
//!
//! Everything here is prepared when a snapshot is built, so that a request performs look-ups and reference counting,
//! but no formatting.

pub mod retries;

use crate::config::model::{
    Account, Authorization, KeyIn, Outbound, Rights, ServerUrl, ServiceRules, ServiceTls, TimeoutResponse,
    UnreadSecret, UsedProxy, Webhook,
};
use crate::credentials::{Credential, ResponseRedaction};
use crate::header_name::{FieldName, METHOD_OVERRIDES, PATH_OVERRIDES, fold};
use crate::limits::{LimitState, Limits};
use crate::secret::Secret;
use crate::telemetry::metrics::{Direction, ServiceStats};
use crate::transport::{Transport, Upstream};
use http::{HeaderValue, Method, StatusCode};
use retries::{Retries, RetryBudget};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// One direction of one service.
pub struct Route {
    /// Outbound or webhook.
    pub direction: Direction,
    /// The service's key.
    pub service: String,
    /// The account's name, outbound only.
    pub account: Option<String>,
    /// The prepared credential; `Credential::None` on webhooks, unless they are unavailable.
    pub credential: Arc<Credential>,
    /// A secret that can't be read, and without which no request is sent.
    pub unavailable: Option<UnreadSecret>,
    /// The account's headers beside its credential. Not stored in the credential, whose token source outlives a reload
    /// that changes only these.
    pub headers: Arc<[(FieldName, HeaderValue)]>,
    /// `set_headers` of the service or the webhook. They come before those of the account.
    pub set_headers: Arc<[(FieldName, HeaderValue)]>,
    /// Folded names of the headers that attache sets or removes: the client's fields under any spelling of them are dropped.
    pub replaced: Arc<[String]>,
    /// The requests that are allowed; `None` allows all.
    pub rights: Option<Box<Rights>>,
    /// The rate, and the number of requests at the same time. The admission of a webhook takes part in it once all other
    /// checks have passed; `None` if it has no `max_concurrent`.
    pub limits: Option<Limits>,
    /// The upstream.
    pub upstream: Arc<Upstream>,
    /// The deadline, from arrival to response headers.
    pub timeout: Duration,
    /// Maximum time for one connection. `None`: until the deadline.
    pub connect_timeout: Option<Duration>,
    /// The statuses by which the upstream refuses the account's token; empty if the account has none. Not stored in the
    /// token source, because a source outlives reloads that change only this.
    pub token_refused_by: Vec<StatusCode>,
    /// The service's retries, if it has them.
    pub retries: Option<Box<Retries>>,
    /// True if a request whose token the upstream refused is sent once more, with another token.
    pub retry_on_401: bool,
    /// Maximum pause within a started response.
    pub idle_timeout: Duration,
    /// The detail of the answer when the deadline passes, or the service can't be reached.
    pub timeout_message: String,
    /// The operator's own answer on timeout.
    pub timeout_response: Option<TimeoutResponse>,
    /// Maximum size of a request body, in bytes.
    pub max_body: Option<u64>,
    /// The allowed methods of a webhook.
    pub methods: Arc<[Method]>,
    /// `redact_responses`; outbound only.
    pub redaction: Option<Box<ResponseRedaction>>,
    /// True if links in responses are rewritten; outbound only.
    pub rewrite_links: bool,
    /// Counters and histograms; carried over reloads by name.
    pub stats: Arc<ServiceStats>,
}

impl Route {
    /// Returns the outbound route of a service that `account` opens: its own, or one for a caller. It has the statistics
    /// and the budget of the one `before`, which may be that of the service itself.
    pub fn outbound(
        service: &str,
        outbound: &Outbound,
        (account, credential): (&Account, Arc<Credential>),
        carried: Carried,
        parts: &mut Parts<'_>,
    ) -> Self {
        let rules = &outbound.rules;
        let max_concurrent = rules.max_concurrent.map(NonZeroU32::get).or(parts.max_concurrent);
        let upstream = parts.transport.upstream(
            &sharing(service, outbound, account),
            &outbound.server_url,
            &outbound.tls,
            &outbound.proxy,
            outbound.private_network,
        );
        // A request in absolute form carries the password of the forward proxy, which may echo it.
        let beside = account.headers.iter().map(|(_, value)| value);
        let beside = beside.chain(upstream.absolute_form().and_then(|(_, authorization)| authorization));
        let redaction = outbound.redact_responses;
        let redaction = redaction.map(|scope| Box::new(ResponseRedaction::new(scope, &credential, beside)));
        let mut names = [replaced(&credential, &account.headers), dropped(rules)].concat();
        if redaction.as_ref().is_some_and(|redaction| redaction.searches_bodies()) {
            names.push("accept-encoding".to_owned());
        }
        Self {
            direction: Direction::Outbound,
            service: service.to_owned(),
            account: Some(account.name.clone()),
            headers: Arc::clone(&account.headers),
            replaced: parts.names(names),
            set_headers: Arc::clone(&rules.set_headers),
            rights: (rules.allow != Rights::default()).then(|| Box::new(rules.allow.clone())),
            limits: Some(Limits::new(rules.rate_limit.as_ref(), max_concurrent, carried.limits)),
            unavailable: blocking(account.unread.as_ref(), outbound.unread.as_ref()),
            credential,
            upstream: Arc::new(upstream),
            timeout: outbound.timeout,
            connect_timeout: outbound.connect_timeout,
            token_refused_by: match &account.authorization {
                Authorization::OAuth2(config) => config.retry_on.clone(),
                _ => Vec::new(),
            },
            retries: outbound
                .retries
                .as_ref()
                .map(|settings| Box::new(Retries::new(settings, &carried.retries))),
            retry_on_401: outbound.retry_on_401,
            idle_timeout: outbound.idle_timeout,
            timeout_message: outbound
                .timeout_message
                .clone()
                .unwrap_or_else(|| format!("The service {service} is not answering.")),
            timeout_response: outbound.timeout_response.clone(),
            max_body: rules.max_body,
            methods: parts.methods(&[]),
            redaction,
            rewrite_links: outbound.rewrite_links,
            stats: carried.stats,
        }
    }

    /// Returns true if a credential is part of the upstream's path prefix.
    pub fn has_credential_place(&self) -> bool {
        matches!(&*self.credential, Credential::Path(_))
    }

    /// Returns the upstream's path prefix as it is sent, if a credential is part of it.
    pub fn secret_prefix(&self) -> Option<Secret> {
        let Credential::Path(credential) = &*self.credential else { return None };
        let prefix = &self.upstream.prefix;
        let sent = credential.split(prefix, prefix.as_bytes())?.concat();
        Some(Secret::new(String::from_utf8_lossy(&sent)))
    }

    /// Returns its state that outlives reloads, which all routes of a service share.
    pub fn carried(&self) -> Carried {
        let limits = self.limits.as_ref().map(|limits| Arc::clone(limits.state()));
        let retries = self.retries.as_ref().map(|retries| Arc::clone(&retries.budget));
        Carried {
            stats: Arc::clone(&self.stats),
            limits: limits.unwrap_or_default(),
            retries: retries.unwrap_or_default(),
        }
    }

    /// Returns the route of a webhook to its receiver.
    pub fn webhook(service: &str, webhook: &Webhook, carried: Carried, parts: &mut Parts<'_>) -> Self {
        let max_concurrent = webhook.max_concurrent.map(NonZeroU32::get);
        // The identity headers are replaced on every route; the request id only here, where attache chooses it. A key
        // in a header is not forwarded.
        let mut replaced = vec!["x-request-id".to_owned()];
        replaced.extend(webhook.set_headers.iter().map(|(name, _)| fold(name.as_str())));
        if let KeyIn::Header(name) = &webhook.key_in {
            replaced.push(fold(name.as_str()));
        }
        let unavailable = blocking(webhook.unread.as_ref(), None);
        Self {
            direction: Direction::Webhook,
            service: service.to_owned(),
            account: None,
            credential: Arc::clone(if unavailable.is_some() {
                &parts.unavailable
            } else {
                &parts.no_credential
            }),
            unavailable,
            headers: Arc::clone(&parts.no_headers),
            set_headers: Arc::clone(&webhook.set_headers),
            rights: None,
            limits: max_concurrent.map(|most| Limits::new(None, Some(most), carried.limits)),
            replaced: parts.names(replaced),
            upstream: parts.receiver(&webhook.forward_to),
            timeout: webhook.timeout,
            connect_timeout: None,
            token_refused_by: Vec::new(),
            retries: None,
            retry_on_401: false,
            idle_timeout: Duration::from_secs(60),
            timeout_message: "The webhook's receiver is not answering.".to_owned(),
            timeout_response: None,
            max_body: Some(webhook.max_body),
            methods: parts.methods(&webhook.methods),
            redaction: None,
            rewrite_links: false,
            stats: carried.stats,
        }
    }
}

/// State of a route that outlives reloads, by the service's key.
#[derive(Clone, Default)]
pub struct Carried {
    /// Counters and histograms.
    pub stats: Arc<ServiceStats>,
    /// The state of `rate_limit` and `max_concurrent`.
    pub limits: Arc<LimitState>,
    /// The budget of `retries`.
    pub retries: Arc<RetryBudget>,
}

/// Values that the routes of one snapshot share, each stored once. 10,000 webhooks with one receiver share their
/// memory, and a request to one of them finds it in the CPU cache.
pub struct Parts<'t> {
    transport: &'t Transport,
    receivers: HashMap<ServerUrl, Arc<Upstream>>,
    names: HashSet<Arc<[String]>>,
    methods: HashSet<Arc<[Method]>>,
    no_credential: Arc<Credential>,
    no_headers: Arc<[(FieldName, HeaderValue)]>,
    unavailable: Arc<Credential>,
    /// Maximum number of requests at the same time of a service that does not set one.
    max_concurrent: Option<u32>,
}

impl<'t> Parts<'t> {
    /// Returns an empty set.
    pub fn new(transport: &'t Transport) -> Self {
        Self {
            transport,
            receivers: HashMap::new(),
            names: HashSet::new(),
            methods: HashSet::new(),
            no_credential: Arc::new(Credential::None),
            no_headers: [].into(),
            unavailable: Arc::new(Credential::Unavailable),
            max_concurrent: None,
        }
    }

    /// Sets the maximum number of connections of a listener. A service that sets no `max_concurrent` may have half as
    /// many requests at the same time.
    pub fn with_connections(self, connections: usize) -> Self {
        let half = u32::try_from(connections / 2).unwrap_or(u32::MAX).max(1);
        Self { max_concurrent: Some(half), ..self }
    }

    /// Returns the upstream of a receiver. A receiver is in a private network and is sent no credential, so the
    /// webhooks of several services with the same receiver share its connections.
    fn receiver(&mut self, url: &ServerUrl) -> Arc<Upstream> {
        let make = || {
            Arc::new(self.transport.upstream("", url, &ServiceTls::default(), &UsedProxy::default(), true))
        };
        Arc::clone(self.receivers.entry(url.clone()).or_insert_with(make))
    }

    fn names(&mut self, names: Vec<String>) -> Arc<[String]> {
        kept_once(&mut self.names, &names)
    }

    fn methods(&mut self, methods: &[Method]) -> Arc<[Method]> {
        kept_once(&mut self.methods, methods)
    }
}

/// Returns the name of those that share the idle connections of a service: the requests with one account.
fn sharing<'a>(service: &'a str, outbound: &Outbound, account: &Account) -> Cow<'a, str> {
    match account.name == outbound.account.name {
        true => service.into(),
        // Neither name has a NUL.
        false => format!("{service}\0{}", account.name).into(),
    }
}

fn blocking(first: Option<&UnreadSecret>, second: Option<&UnreadSecret>) -> Option<UnreadSecret> {
    UnreadSecret::worse(first, second).filter(|unread| unread.blocks).cloned()
}

fn kept_once<T: Clone + Eq + Hash>(kept: &mut HashSet<Arc<[T]>>, list: &[T]) -> Arc<[T]> {
    if let Some(known) = kept.get(list) {
        return Arc::clone(known);
    }
    let list: Arc<[T]> = list.into();
    kept.insert(Arc::clone(&list));
    list
}

fn replaced(credential: &Credential, beside: &[(FieldName, HeaderValue)]) -> Vec<String> {
    let mut names: Vec<String> = match credential {
        Credential::Headers(headers) => headers.iter().map(|(name, _)| fold(name.as_str())).collect(),
        Credential::Jwt(jwt) => vec![fold(jwt.header().as_str())],
        Credential::OAuth2(token) => vec![fold(token.header.as_str())],
        Credential::None | Credential::Unavailable | Credential::Query { .. } | Credential::Path(_) => {
            Vec::new()
        }
    };
    names.extend(beside.iter().map(|(name, _)| fold(name.as_str())));
    names
}

/// Returns the folded names of the client's headers that the rules of a service replace or remove. Where methods or paths
/// are restricted, headers that could state another one go as well.
fn dropped(rules: &ServiceRules) -> Vec<String> {
    let set = rules.set_headers.iter().map(|(name, _)| name);
    let mut names: Vec<String> = set.chain(&rules.remove_headers).map(|name| fold(name.as_str())).collect();
    names.extend(overrides(&rules.allow).map(str::to_owned));
    names
}

/// Returns the folded names of the headers that could state another method or path than those that `rights` allow.
pub fn overrides(rights: &Rights) -> impl Iterator<Item = &'static str> {
    let methods: &[&str] = if rights.methods.is_empty() { &[] } else { &METHOD_OVERRIDES };
    let paths: &[&str] = if rights.paths.is_empty() { &[] } else { &PATH_OVERRIDES };
    methods.iter().chain(paths).copied()
}
