//! Services: the way out, the account that opens it, and what is said when nobody answers.

use super::loops::{Listener, Listeners};
use super::oauth2::RefreshTokens;
use super::{Named, accounts, loops, refer, tls, urls, webhooks};
use crate::config::decode::{At, Decoder, Map};
use crate::config::model::{Account, Authorization, Outbound, Service, TimeoutResponse, User};
use crate::config::problem::Finding;
use crate::config::scalar;
use crate::config::tree::View;
use crate::header_name::FieldName;
use http::{HeaderValue, StatusCode, header};
use std::sync::Arc;
use std::time::Duration;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// What only the way out is about.
const OUTBOUND: [&str; 8] = [
    "timeout",
    "timeout_message",
    "timeout_response",
    "idle_timeout",
    "retry_on_401",
    "tls",
    "private_network",
    "allow_plaintext",
];

const KEYS: [&str; 12] = [
    "name",
    "account",
    "server_url",
    "timeout",
    "timeout_message",
    "timeout_response",
    "idle_timeout",
    "retry_on_401",
    "tls",
    "private_network",
    "allow_plaintext",
    "webhook",
];

/// The parts of the file that a service refers to.
pub(super) struct Context<'a> {
    pub(super) accounts: &'a Named<Account>,
    pub(super) users: &'a Named<User>,
    pub(super) listeners: &'a Listeners,
}

pub(super) fn service(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    key: &str,
    context: &Context<'_>,
    refresh_tokens: &mut RefreshTokens,
    webhooks: &mut webhooks::All,
) -> Option<Service> {
    let map = decoder.mapping(at, &KEYS)?;
    let name = map.get("name").and_then(|at| decoder.free_text(&at)).map(str::to_owned);
    let account = map.get("account").map(|at| account(decoder, &at, key, context.accounts, refresh_tokens));
    let outbound = match map.get("server_url") {
        Some(server_url) => {
            outbound(decoder, &map, &server_url, account, context.listeners.outbound.as_ref()).map(Some)
        }
        None => without_server_url(decoder, &map).map(|()| None),
    };
    let webhook = map.get("webhook").map(|at| webhooks::webhook(decoder, &at, context, webhooks));
    let webhook = match webhook {
        Some(webhook) => webhook.map(Some),
        None => Some(None),
    };
    Some(Service { key: key.to_owned(), name, outbound: outbound?, webhook: webhook? })
}

fn without_server_url(decoder: &Decoder<'_>, map: &Map<'_>) -> Option<()> {
    let mut fine = true;
    if map.get("webhook").is_none() {
        fine = false;
    }
    let misspelt = decoder.is_misspelt(map, "server_url") || decoder.is_misspelt(map, "webhook");
    if !fine && !misspelt {
        let finding =
            Finding::error("missing_key", decoder.place(map.at), format!("{} leads nowhere", map.at));
        decoder.report(
            finding
                .label("`server_url` is missing")
                .help("a service has a `server_url`, a `webhook`, or both"),
        );
    }
    for key in OUTBOUND {
        if let Some(at) = map.get(key).filter(|_| !misspelt) {
            fine = false;
            let finding = Finding::error(
                "conflicting_keys",
                decoder.key(&at),
                format!("{at} has no use without a server_url"),
            );
            decoder
                .report(finding.label("this is about the way out").help("add `server_url`, or leave it out"));
        }
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
        View::Scalar { text: "none", .. } if !named.contains_key("none") => {
            refer(decoder, at, "account", named, "write `account: { authorization: none }`")
        }
        View::Scalar { .. } => refer(decoder, at, "account", named, "define it under `accounts`"),
        View::Sequence(_) => decoder.wrong_type(at, "the name of an account, or an account"),
    }
}

/// `account` is `None` if there is no such key, `Some(None)` if what it says is wrong.
fn outbound(
    decoder: &Decoder<'_>,
    map: &Map<'_>,
    url_at: &At<'_>,
    account: Option<Option<Arc<Account>>>,
    listener: Option<&Listener>,
) -> Option<Outbound> {
    let server_url = urls::server_url(decoder, url_at);
    if let Some(url) = &server_url {
        loops::check(decoder, url_at, url, listener);
    }
    let duration = |key, default| map.get(key).and_then(|at| decoder.duration(&at, false)).unwrap_or(default);
    let flag = |key, default| map.get(key).and_then(|at| decoder.bool(&at)).unwrap_or(default);
    let timeout = duration("timeout", DEFAULT_TIMEOUT);
    let idle_timeout = duration("idle_timeout", DEFAULT_IDLE_TIMEOUT);
    let timeout_message = map.get("timeout_message").and_then(|at| decoder.free_text(&at)).map(str::to_owned);
    let timeout_response = map.get("timeout_response").map(|at| timeout_response(decoder, &at));
    let retry_on_401 = flag("retry_on_401", true);
    let tls = map.get("tls").map(|at| {
        let ca = || tls::ca(decoder, decoder.mapping(&at, &["ca"])?);
        decoder.secrets.owned(at.to_string(), ca)
    });
    let (ca, unread) = tls.map_or((Some(None), None), |(ca, unread)| (ca.map(Some), unread));
    let private_network = flag("private_network", false);
    let allow_plaintext = flag("allow_plaintext", false);
    if account.is_none() && !decoder.is_misspelt(map, "account") {
        let message = format!("{} has no `account`", map.at);
        let finding = Finding::error("missing_key", decoder.place(map.at), message);
        decoder.report(
            finding
                .label("`account` is missing")
                .help("write `account: { authorization: none }` if it needs none"),
        );
    }
    if let (Some(url), Some(Some(account))) = (&server_url, &account)
        && account.authorization != Authorization::None
        && !allow_plaintext
        && !urls::is_private(url)
    {
        urls::require_tls(decoder, url_at, "the account's credential", "on the service");
    }
    if let (Some(url), Some(tls)) = (&server_url, map.get("tls"))
        && !url.tls
    {
        let help = "use an https `server_url`, or leave it out";
        decoder.no_use(&tls, "an http server_url", "there is no TLS here", help);
    }
    Some(Outbound {
        account: account??,
        server_url: server_url?,
        timeout,
        timeout_message,
        timeout_response: timeout_response.map_or(Some(None), |found| found.map(Some))?,
        idle_timeout,
        retry_on_401,
        ca: ca?,
        unread,
        private_network,
    })
}

fn timeout_response(decoder: &Decoder<'_>, at: &At<'_>) -> Option<TimeoutResponse> {
    let map = decoder.mapping(at, &["status", "content_type", "body", "headers"])?;
    let status = map.get("status").and_then(|at| decoder.status(&at, 200..=599));
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
        let problem = match scalar::field_name(text) {
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
            .map_err(|_| scalar::Invalid { label: "it has a control character in it", help: None })
    })
}
