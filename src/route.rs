//! One direction of one service, made ready for the request path: what a [`crate::plan::Plan`] points to.
//!
//! Everything here is prepared when a snapshot is built, so that a request costs look-ups and reference counts, not
//! formatting.

use crate::config::model::{
    Authorization, KeyIn, Outbound, ServerUrl, TimeoutResponse, UnreadSecret, Webhook,
};
use crate::credentials::Credential;
use crate::header_name::{FieldName, fold};
use crate::telemetry::metrics::{Direction, ServiceStats};
use crate::transport::{Transport, Upstream};
use http::{Method, StatusCode};
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
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
    /// What is added to open the service; `Credential::None` on webhooks, unless they are unavailable.
    pub credential: Arc<Credential>,
    /// A secret that can't be read, and without which no request is sent.
    pub unavailable: Option<UnreadSecret>,
    /// The header names we send something under, folded: what a caller sends under any spelling of them is dropped.
    pub replaced: Arc<[String]>,
    /// Where it goes.
    pub upstream: Arc<Upstream>,
    /// From arrival to response headers.
    pub timeout: Duration,
    /// The statuses by which the third party refuses the account's token; empty where there is none. Not the token
    /// source's own list: a source outlives reloads that change no more than this.
    pub token_refused_by: Vec<StatusCode>,
    /// The header of an OAuth2 account's token, as the file spells it; `None` for other credentials. Not the token
    /// source's own name: a source outlives a reload that changes only the spelling.
    pub token_header: Option<FieldName>,
    /// True if a request whose token the third party refused is sent once more, with another.
    pub retry_on_401: bool,
    /// How long a started answer may stall.
    pub idle_timeout: Duration,
    /// What is answered when the deadline passes, or the service can't be reached.
    pub timeout_message: String,
    /// The operator's own answer on time-out.
    pub timeout_response: Option<TimeoutResponse>,
    /// The largest body let through, in bytes.
    pub max_body: Option<u64>,
    /// The methods let through; empty is all.
    pub methods: Arc<[Method]>,
    /// Counters and histograms; carried over a reload by name.
    pub stats: Arc<ServiceStats>,
}

impl Route {
    /// The way out to a service.
    pub fn outbound(
        service: &str,
        outbound: &Outbound,
        credential: Arc<Credential>,
        stats: Arc<ServiceStats>,
        parts: &mut Parts<'_>,
    ) -> Self {
        Self {
            direction: Direction::Outbound,
            service: service.to_owned(),
            account: Some(outbound.account.name.clone()),
            replaced: parts.names(replaced(&credential)),
            unavailable: blocking(outbound.account.unread.as_ref(), outbound.unread.as_ref()),
            credential,
            upstream: Arc::new(parts.transport.upstream(
                service,
                &outbound.server_url,
                outbound.ca.as_ref(),
                outbound.private_network,
            )),
            timeout: outbound.timeout,
            token_refused_by: match &outbound.account.authorization {
                Authorization::OAuth2(config) => config.retry_on.clone(),
                _ => Vec::new(),
            },
            token_header: match &outbound.account.authorization {
                Authorization::OAuth2(config) => Some(config.header.clone()),
                _ => None,
            },
            retry_on_401: outbound.retry_on_401,
            idle_timeout: outbound.idle_timeout,
            timeout_message: outbound
                .timeout_message
                .clone()
                .unwrap_or_else(|| format!("The service {service} is not answering.")),
            timeout_response: outbound.timeout_response.clone(),
            max_body: None,
            methods: parts.methods(&[]),
            stats,
        }
    }

    /// The way in to our program.
    pub fn webhook(
        service: &str,
        webhook: &Webhook,
        stats: Arc<ServiceStats>,
        parts: &mut Parts<'_>,
    ) -> Self {
        // The identity is replaced on every route; the request id only here, where it is ours. A key in a header goes no
        // further than here.
        let mut replaced = vec!["x-request-id".to_owned()];
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
            replaced: parts.names(replaced),
            upstream: parts.receiver(&webhook.forward_to),
            timeout: webhook.timeout,
            token_refused_by: Vec::new(),
            token_header: None,
            retry_on_401: false,
            idle_timeout: Duration::from_secs(60),
            timeout_message: "The webhook's receiver is not answering.".to_owned(),
            timeout_response: None,
            max_body: Some(webhook.max_body),
            methods: parts.methods(&webhook.methods),
            stats,
        }
    }
}

/// The parts that the routes of one snapshot have in common, each kept once. 10,000 webhooks that lead to one receiver
/// share their memory, and a request to one of them finds it in the cache.
pub struct Parts<'t> {
    transport: &'t Transport,
    receivers: HashMap<ServerUrl, Arc<Upstream>>,
    names: HashSet<Arc<[String]>>,
    methods: HashSet<Arc<[Method]>>,
    no_credential: Arc<Credential>,
    unavailable: Arc<Credential>,
}

impl<'t> Parts<'t> {
    /// No parts yet.
    pub fn new(transport: &'t Transport) -> Self {
        Self {
            transport,
            receivers: HashMap::new(),
            names: HashSet::new(),
            methods: HashSet::new(),
            no_credential: Arc::new(Credential::None),
            unavailable: Arc::new(Credential::Unavailable),
        }
    }

    /// A webhook's receiver stands in a private network and is sent no credential, so the webhooks of many services that
    /// lead to it share its connections.
    fn receiver(&mut self, url: &ServerUrl) -> Arc<Upstream> {
        let make = || Arc::new(self.transport.upstream("", url, None, true));
        Arc::clone(self.receivers.entry(url.clone()).or_insert_with(make))
    }

    fn names(&mut self, names: Vec<String>) -> Arc<[String]> {
        kept_once(&mut self.names, &names)
    }

    fn methods(&mut self, methods: &[Method]) -> Arc<[Method]> {
        kept_once(&mut self.methods, methods)
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

fn replaced(credential: &Credential) -> Vec<String> {
    match credential {
        Credential::Headers(headers) => headers.iter().map(|(name, _)| fold(name.as_str())).collect(),
        Credential::OAuth2(source) => vec![fold(source.header().as_str())],
        Credential::None | Credential::Unavailable | Credential::Query { .. } => Vec::new(),
    }
}
