//! Services: the upstream, its account, and the response on timeout.

use super::forward_proxy::Proxies;
use super::loops::Listeners;
use super::oauth2::RefreshTokens;
use super::service_rules::{check_headers, secret_header, service_rules};
use super::{
    Named, accounts, credential_place, hosts, loops, optional, redaction, refer, retries, tls, urls, webhooks,
};
use crate::config::decode::{At, Decoder, Given, Map};
use crate::config::header::Purpose;
use crate::config::model::{
    Account, Authorization, Host, Outbound, RedactionScope, Retries, Service, ServiceRules, ServiceTls,
    TimeoutResponse, UnreadSecret, UsedProxy, User,
};
use crate::config::problem::Finding;
use crate::config::scalar;
use crate::config::tree::View;
use crate::header_name::FieldName;
use http::{HeaderValue, StatusCode, header};
use std::sync::Arc;
use std::time::Duration;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The parts of the file that a service refers to.
pub(super) struct Context<'a> {
    pub(super) proxies: &'a Proxies,
    pub(super) hosts: &'a hosts::Hosts,
    pub(super) accounts: &'a Named<Account>,
    pub(super) users: &'a Named<User>,
    pub(super) listeners: &'a Listeners,
    /// `defaults.service`.
    pub(super) service_defaults: Option<&'a Map<'a>>,
    /// `defaults.webhook`.
    pub(super) webhook_defaults: Option<&'a Map<'a>>,
}

pub(super) fn service(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    key: &str,
    context: &Context<'_>,
    refresh_tokens: &mut RefreshTokens,
    webhooks: &mut webhooks::All<'_>,
) -> Option<Service> {
    let map = decoder.mapping(at)?.with_defaults(context.service_defaults);
    let name = map.get("name").and_then(|at| decoder.free_text(&at)).map(str::to_owned);
    let account =
        optional(map.get("account"), |at| account(decoder, at, key, context.accounts, refresh_tokens));
    let outbound = match map.get("server_url") {
        Some(server_url) => {
            let hosts = optional(map.get("hosts"), |at| context.hosts.read(decoder, at));
            let outbound = outbound(decoder, &map, &server_url, account, context);
            outbound.and_then(|outbound| Some(Outbound { hosts: hosts.or(Vec::new())?, ..outbound })).into()
        }
        None => without_server_url(decoder, &map).map_or(Given::Invalid, |()| Given::Absent),
    };
    let webhook = optional(map.get("webhook"), |at| webhooks::webhook(decoder, at, context, webhooks));
    let (outbound, webhook) = (outbound.checked().ok()?, webhook.checked().ok()?);
    Some(Service { key: key.to_owned(), name, outbound, webhook })
}

fn without_server_url(decoder: &Decoder<'_>, map: &Map<'_>) -> Option<()> {
    let mut fine = true;
    if map.get("webhook").is_none() {
        fine = false;
    }
    let misspelt = decoder.is_misspelt(map, "server_url") || decoder.is_misspelt(map, "webhook");
    if !fine && !misspelt {
        let message = format!("{} has no `server_url` and no `webhook`", map.at);
        let finding = Finding::error("missing_key", decoder.place(map.at), message);
        let finding = finding.label("a service has at least one of them");
        let is_webhook = map.at.name() == Some("webhook");
        let help = "`webhook` is a service's name here; indent a service's webhook under `services.NAME`";
        decoder.report(if is_webhook { finding.help(help) } else { finding });
    }
    let settings = map.at.kind.shape().and_then(|shape| shape.extends);
    let is_setting =
        |name: &str| name == "hosts" || settings.is_some_and(|settings| settings.key(name).is_some());
    for (_, at) in map.entries().filter(|(name, _)| !misspelt && is_setting(name)) {
        fine = false;
        let message = format!("{at} has no effect without a server_url");
        let finding = Finding::error("conflicting_keys", decoder.key(&at), message);
        let finding = finding.label("this is about requests to the service");
        decoder.report(finding.help("add `server_url`, or remove it"));
    }
    fine.then_some(())
}

fn account(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    service: &str,
    named: &Named<Account>,
    refresh_tokens: &mut RefreshTokens,
) -> Option<Arc<Account>> {
    match decoder.tree.view(at.node) {
        View::Mapping(_) => {
            accounts::account(decoder, at, format!("services/{service}"), refresh_tokens).map(Arc::new)
        }
        View::Scalar { text: "none", .. } if !named.entries.contains_key("none") => {
            refer(decoder, at, "account", named, "write `account: { authorization: none }`")
        }
        View::Scalar { .. } => refer(decoder, at, "account", named, "define it under `accounts`"),
        View::Sequence(_) => decoder.wrong_type(at, "the name of an account, or an account"),
    }
}

fn outbound(
    decoder: &Decoder<'_>,
    map: &Map<'_>,
    url_at: &At<'_>,
    account: Given<Arc<Account>>,
    context: &Context<'_>,
) -> Option<Outbound> {
    let server_url = urls::server_url(decoder, url_at);
    if let Some(url) = &server_url {
        loops::check(decoder, url_at, url, context.listeners.outbound.as_ref());
    }
    let settings = settings(decoder, map, context);
    if account.is_absent() && !decoder.is_misspelt(map, "account") {
        let message = format!("{} has no `account`", map.at);
        let finding = Finding::error("missing_key", decoder.place(map.at), message);
        decoder.report(
            finding
                .label("`account` is missing")
                .help("write `account: { authorization: none }` if it needs none"),
        );
    }
    if let (Some(url), Given::Value(account)) = (&server_url, &account)
        && !settings.allow_plaintext
        && !urls::is_private(url)
    {
        if account.authorization != Authorization::None {
            urls::require_tls(decoder, url_at, "the account's credential", "on the service");
        } else if let Some(header) = secret_header(decoder, map) {
            urls::require_tls(decoder, url_at, &format!("the secret of {header}"), "on the service");
        }
    }
    let fits = account.as_ref().value().map_or(Some(()), |account| {
        let place =
            server_url.as_ref().and_then(|url| credential_place::check(decoder, url_at, url, account));
        check_headers(decoder, map, account).and(place)
    });
    if let (Some(url), Some(tls)) = (&server_url, map.own("tls"))
        && !url.tls
    {
        let help = "use an https `server_url`, or remove it";
        decoder.no_use(&tls, "an http server_url", "this connection does not use TLS", help);
    }
    let own = account.as_ref().value().map(|account| &**account);
    let fits = fits.and(redaction::check_coding(decoder, map, settings.redact_responses, own));
    if let Given::Value(account) = &account {
        redaction::check_service(decoder, map, settings.redact_responses, account);
    }
    // `localhost` is never resolved, so no name server decides where it leads.
    let local = server_url.as_ref().is_some_and(|url| url.host == Host::Name("localhost".to_owned()));
    let (server_url, proxy) = (server_url?, settings.proxy?);
    let unread = UnreadSecret::worse(settings.unread.as_ref(), proxy.unread_for(&server_url)).cloned();
    Some(Outbound {
        account: account.value()?,
        server_url,
        timeout: settings.timeout,
        connect_timeout: settings.connect_timeout,
        timeout_message: settings.timeout_message,
        timeout_response: settings.timeout_response.checked().ok()?,
        idle_timeout: settings.idle_timeout,
        retry_on_401: settings.retry_on_401,
        rules: fits.and(settings.rules.value())?,
        proxy,
        retries: settings.retries.checked().ok()?,
        tls: settings.tls.checked().ok()?.unwrap_or_default(),
        unread,
        private_network: settings.private_network || local,
        allow_plaintext: settings.allow_plaintext,
        hosts: Vec::new(),
        rewrite_links: settings.rewrite_links,
        redact_responses: settings.redact_responses,
    })
}

/// The values of `defaults.service`.
struct Settings {
    timeout: Duration,
    connect_timeout: Option<Duration>,
    idle_timeout: Duration,
    timeout_message: Option<String>,
    timeout_response: Given<TimeoutResponse>,
    retry_on_401: bool,
    rules: Given<ServiceRules>,
    /// `None`: it is invalid.
    proxy: Option<UsedProxy>,
    retries: Given<Retries>,
    tls: Given<ServiceTls>,
    /// A file of `tls`, or a secret of `set_headers`, that can't be read.
    unread: Option<UnreadSecret>,
    private_network: bool,
    allow_plaintext: bool,
    rewrite_links: bool,
    redact_responses: Option<RedactionScope>,
}

fn settings(decoder: &Decoder<'_>, map: &Map<'_>, context: &Context<'_>) -> Settings {
    let duration = |key, default| map.get(key).and_then(|at| decoder.duration(&at, false)).unwrap_or(default);
    let flag = |key, default| map.get(key).and_then(|at| decoder.bool(&at)).unwrap_or(default);
    let tls =
        map.get("tls").map(|at| decoder.secrets.owned(at.to_string(), || tls::service_tls(decoder, &at)));
    let (tls, unread) = tls.map_or((Given::Absent, None), |(tls, unread)| (tls.into(), unread));
    let (rules, unread_header) = service_rules(decoder, map);
    Settings {
        timeout: duration("timeout", DEFAULT_TIMEOUT),
        connect_timeout: map.get("connect_timeout").and_then(|at| decoder.duration(&at, false)),
        idle_timeout: duration("idle_timeout", DEFAULT_IDLE_TIMEOUT),
        timeout_message: map.get("timeout_message").and_then(|at| decoder.free_text(&at)).map(str::to_owned),
        timeout_response: optional(map.get("timeout_response"), |at| timeout_response(decoder, at)),
        retry_on_401: flag("retry_on_401", true),
        rules,
        proxy: context.proxies.of_part(decoder, map.get("proxy")),
        retries: optional(map.get("retries"), |at| retries::retries(decoder, at)),
        tls,
        unread: UnreadSecret::worse(unread.as_ref(), unread_header.as_ref()).cloned(),
        private_network: flag("private_network", false),
        allow_plaintext: flag("allow_plaintext", false),
        rewrite_links: flag("rewrite_links", true),
        redact_responses: map.get("redact_responses").and_then(|at| redaction::scope(decoder, &at)),
    }
}

/// Reports problems of `defaults.service`, even if no service uses it.
pub(super) fn check_defaults(decoder: &Decoder<'_>, defaults: &Map<'_>, context: &Context<'_>) {
    settings(decoder, defaults, context);
}

fn timeout_response(decoder: &Decoder<'_>, at: &At<'_>) -> Option<TimeoutResponse> {
    let map = decoder.mapping(at)?;
    let status = map.get("status").and_then(|at| decoder.status(&at));
    let content_type = map.get("content_type").and_then(|at| header_value(decoder, &at));
    let body = map.get("body").and_then(|at| decoder.free_text_or_empty(&at)).map(str::to_owned);
    let headers = map.get("headers").and_then(|at| response_headers(decoder, &at)).unwrap_or_default();
    Some(TimeoutResponse {
        status: status.unwrap_or(StatusCode::GATEWAY_TIMEOUT),
        content_type: content_type.unwrap_or(HeaderValue::from_static("text/plain; charset=utf-8")),
        body,
        headers,
    })
}

fn response_headers(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Vec<(FieldName, HeaderValue)>> {
    let mut all: Vec<(FieldName, HeaderValue)> = Vec::new();
    for (text, at) in decoder.names(at)?.entries() {
        let value = header_value(decoder, &at);
        let problem = match Purpose::Sent.parse(text) {
            Ok(name) if name == header::CONTENT_TYPE => "use `timeout_response.content_type`",
            Ok(name) if all.iter().any(|(before, _)| *before == name) => "this header is set already",
            Ok(name) => {
                all.extend(value.map(|value| (name, value)));
                continue;
            }
            Err(invalid) => invalid.label,
        };
        let message = format!("{at} is not a header name that can be set");
        decoder.report(Finding::error("invalid_header", decoder.key(&at), message).label(problem));
    }
    Some(all)
}

fn header_value(decoder: &Decoder<'_>, at: &At<'_>) -> Option<HeaderValue> {
    decoder.parsed(at, "invalid_header", "a header value", |text| {
        HeaderValue::from_bytes(text.as_bytes())
            .map_err(|_| scalar::Invalid { label: "it contains a control character", help: None })
    })
}
