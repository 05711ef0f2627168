//! Webhooks: who may call in with which key, as whom, and where to.

use super::services::Context;
use super::{limits, loops, refer, urls, verify};
use crate::config::decode::{At, Decoder, Map};
use crate::config::model::{ApiKey, KeyIn, Refusals, UnreadSecret, Webhook};
use crate::config::problem::Finding;
use crate::config::scalar;
use crate::config::secrets::{Failure, PlainText, placeholder};
use crate::config::source::Span;
use crate::config::tree::View;
use crate::error_code::ErrorCode;
use crate::header_name::is_reserved;
use crate::secret::Secret;
use http::{HeaderName, Method};
use std::collections::HashMap;

/// What the webhooks of a file have in common.
pub(super) struct All {
    /// The place of every key's hash so far: a key must lead to one place.
    seen_keys: HashMap<[u8; 32], Span>,
    /// Whether the file says the outside address.
    pub(super) public_url: bool,
    /// The headers that attache says itself, beside those that are reserved anyway.
    pub(super) own: Vec<HeaderName>,
    /// The key of `identity.assertion`, if one of its values can't be read.
    assertion: Option<UnreadSecret>,
}

impl All {
    pub(super) fn new(public_url: bool, own: Vec<HeaderName>, assertion: Option<UnreadSecret>) -> Self {
        Self { seen_keys: HashMap::new(), public_url, own, assertion }
    }
}

/// 22 characters of base64 hold 128 bits.
const MIN_KEY_LENGTH: usize = 22;

pub(super) fn webhook(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    context: &Context<'_>,
    all: &mut All,
) -> Option<Webhook> {
    let (webhook, unread) = decoder.secrets.owned(at.to_string(), || read(decoder, at, context, all));
    let mut webhook = webhook?;
    webhook.unread = UnreadSecret::worse(unread.as_ref(), all.assertion.as_ref()).cloned();
    if webhook.unread.as_ref().is_some_and(|unread| unread.blocks) {
        // It may be a placeholder.
        webhook.verify_token = None;
    }
    Some(webhook)
}

fn read(decoder: &Decoder<'_>, at: &At<'_>, context: &Context<'_>, all: &mut All) -> Option<Webhook> {
    const KEYS: [&str; 12] = [
        "user",
        "forward_to",
        "api_keys",
        "key_in",
        "methods",
        "max_body",
        "timeout",
        "allow_from",
        "rate_limit",
        "verify",
        "replay",
        "refusals",
    ];
    let map = decoder.mapping(at, &KEYS)?;
    let user = decoder
        .required(&map, "user")
        .and_then(|at| refer(decoder, &at, "user", context.users, "define it under `users`"));
    let forward_to = decoder.required(&map, "forward_to").and_then(|at| {
        let url = urls::server_url(decoder, &at)?;
        loops::check(decoder, &at, &url, context.listeners.webhooks.as_ref());
        Some(url)
    });
    let api_keys = decoder.required(&map, "api_keys").and_then(|at| api_keys(decoder, &at, all));
    let methods = optional(map.get("methods"), |at| methods(decoder, at));
    let max_body =
        map.get("max_body").and_then(|at| decoder.parsed(&at, "invalid_size", "a size", scalar::size));
    let timeout = map.get("timeout").and_then(|at| decoder.duration(&at, false));
    let key_in = optional(map.get("key_in"), |at| key_in(decoder, at));
    let allow_from = optional(map.get("allow_from"), |at| limits::networks(decoder, at));
    let rate_limit = optional(map.get("rate_limit"), |at| limits::rate(decoder, at));
    let verify = optional(map.get("verify"), |at| {
        verify::verify(decoder, at, all, key_in.as_ref().and_then(Option::as_ref))
    });
    let verifier = verify.as_ref().and_then(|verify| verify.as_ref()).map(|verify| &verify.verifier);
    let replay = optional(map.get("replay"), |at| verify::replay(decoder, at, verifier));
    let refusals = optional(map.get("refusals"), |at| refusals(decoder, at));
    let (verifier, verify_token) = match verify? {
        Some(verify) => (Some(verify.verifier), verify.verify_token),
        None => (None, None),
    };
    let default = Webhook::new(user?, forward_to?, api_keys?);
    Some(Webhook {
        methods: methods?.unwrap_or(default.methods),
        max_body: max_body.unwrap_or(default.max_body),
        timeout: timeout.unwrap_or(default.timeout),
        key_in: key_in?.unwrap_or_default(),
        allow_from: allow_from?.unwrap_or_default(),
        rate_limit: rate_limit?,
        verify: verifier,
        verify_token,
        replay: replay?,
        refusals: refusals?.unwrap_or_default(),
        ..default
    })
}

/// What a key says, if it is there: `None` is that it is wrong.
fn optional<T>(at: Option<At<'_>>, read: impl FnOnce(&At<'_>) -> Option<T>) -> Option<Option<T>> {
    at.map_or(Some(None), |at| read(&at).map(Some))
}

/// `path`, `{header: NAME}` or `{query: NAME}`.
fn key_in(decoder: &Decoder<'_>, at: &At<'_>) -> Option<KeyIn> {
    if let View::Scalar { text: "path", .. } = decoder.tree.view(at.node) {
        return Some(KeyIn::Path);
    }
    let map = decoder.mapping_like(at, &["header", "query"], "{ header: X-API-Key }")?;
    match (map.get("header"), map.get("query")) {
        (Some(header), None) => {
            let what = "a header name that can hold a key";
            let name = decoder.parsed(&header, "invalid_header", what, scalar::header_name)?;
            if is_reserved(name.as_str()) {
                let finding = Finding::error(
                    "invalid_header",
                    decoder.place(&header),
                    format!("{header} is not {what}"),
                );
                return decoder.reject(finding.label("no caller may send this name: it is attache's own"));
            }
            Some(KeyIn::Header(name))
        }
        (None, Some(query)) => decoder.string(&query).map(|name| KeyIn::Query(name.to_owned())),
        _ => {
            let finding =
                Finding::error("conflicting_keys", decoder.place(at), format!("{at} has to be one place"));
            decoder
                .reject(finding.label("give one of `header` and `query`, or leave `key_in` out for the path"))
        }
    }
}

/// What a provider may be told otherwise than attache would.
const REFUSABLE: [ErrorCode; 6] = [
    ErrorCode::SignatureInvalid,
    ErrorCode::UserInactive,
    ErrorCode::RequestDenied,
    ErrorCode::RateLimited,
    ErrorCode::MethodDenied,
    ErrorCode::RequestTooLarge,
];

fn refusals(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Refusals> {
    let map = decoder.mapping_like(at, &["statuses", "body"], "{ statuses: { signature_invalid: 400 } }")?;
    let bodiless = map.get("body").map_or(Some(false), |at| decoder.bool(&at).map(|body| !body));
    let mut statuses = Vec::new();
    if let Some(at) = map.get("statuses") {
        const NAMES: [&str; 6] = [
            REFUSABLE[0].as_str(),
            REFUSABLE[1].as_str(),
            REFUSABLE[2].as_str(),
            REFUSABLE[3].as_str(),
            REFUSABLE[4].as_str(),
            REFUSABLE[5].as_str(),
        ];
        for (name, at) in decoder.mapping(&at, &NAMES)?.entries() {
            let Some(code) = REFUSABLE.iter().find(|code| code.as_str() == name) else { continue };
            let status = decoder.status(&at, 200..=599)?;
            if status.is_redirection() {
                let message = format!("{at} would send the caller elsewhere");
                let finding = Finding::error("out_of_range", decoder.place(&at), message);
                return decoder.reject(finding.label("must be 200 to 299 or 400 to 599"));
            }
            statuses.push((*code, status));
        }
    }
    Some(Refusals { statuses, bodiless: bodiless? })
}

fn methods(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Vec<Method>> {
    let mut all = Vec::new();
    let mut count = 0;
    for item in decoder.sequence(at)? {
        count += 1;
        let method = decoder.parsed(&item, "invalid_method", "a method that can be allowed", scalar::method);
        all.extend(method.filter(|m| !all.contains(m)));
    }
    if count == 0 { decoder.empty(at) } else { Some(all) }
}

fn api_keys(decoder: &Decoder<'_>, at: &At<'_>, webhooks: &mut All) -> Option<Vec<ApiKey>> {
    let mut all = Vec::new();
    let mut ids: HashMap<String, Span> = HashMap::new();
    let (mut fine, mut unread) = (true, false);
    for item in decoder.sequence(at)? {
        let key = api_key(decoder, &item, &mut ids, webhooks);
        fine &= key.is_some();
        unread |= matches!(key, Some(None));
        all.extend(key.flatten());
    }
    if all.is_empty() && unread {
        decoder.secrets.block();
    } else if all.is_empty() && fine {
        // A beginning: `attache keys new` reads the file, and prints the first one.
        let finding = Finding::warning("no_api_keys", decoder.key(at), format!("{at} is empty"));
        decoder.report(
            finding
                .label("nobody can call this webhook")
                .help("`attache keys new --service NAME` makes a key"),
        );
    }
    fine.then_some(all)
}

/// `None` within if its value can't be read: then it is no key.
fn api_key(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    ids: &mut HashMap<String, Span>,
    webhooks: &mut All,
) -> Option<Option<ApiKey>> {
    let map = decoder.mapping(at, &["id", "sha256", "value", "not_before", "expires_at", "disabled"])?;
    let disabled = map.get("disabled").map_or(Some(false), |at| decoder.bool(&at));
    let id = decoder.required(&map, "id").and_then(|at| id(decoder, &at, ids));
    let key = key(decoder, &map, webhooks);
    let instant = |key| {
        map.get(key).map(|at| (decoder.parsed(&at, "invalid_time", "a point in time", scalar::instant), at))
    };
    let (not_before, expires_at) = (instant("not_before"), instant("expires_at"));
    if let (Some((Some(from), _)), Some((Some(to), end))) = (&not_before, &expires_at)
        && from >= to
    {
        let message = format!("{end} is not after its not_before");
        decoder.report(
            Finding::error("out_of_range", decoder.place(end), message).label("this key is never good"),
        );
    }
    let (id, disabled) = (id?, disabled?);
    let Some((sha256, value)) = key? else { return Some(None) };
    let not_before = not_before.and_then(|(time, _)| time);
    let expires_at = expires_at.and_then(|(time, _)| time);
    Some(Some(ApiKey { id, sha256, value, not_before, expires_at, disabled }))
}

fn id(decoder: &Decoder<'_>, at: &At<'_>, ids: &mut HashMap<String, Span>) -> Option<String> {
    let id = decoder.string(at)?;
    decoder.parsed_or_hidden(at, "invalid_name", "a valid id", scalar::key_id)?;
    let place = decoder.place(at);
    match ids.get(id) {
        Some(first) => {
            let finding =
                Finding::error("duplicate_id", place, format!("{at} is taken: the service has a key `{id}`"));
            decoder.reject(finding.label("used again here").secondary(*first, "first used here"))
        }
        None => {
            ids.insert(id.to_owned(), place);
            Some(id.to_owned())
        }
    }
}

/// A key's hash, and the key itself where the file has it.
type HashAndValue = ([u8; 32], Option<Secret>);

fn key(decoder: &Decoder<'_>, map: &Map<'_>, webhooks: &mut All) -> Option<Option<HashAndValue>> {
    let at = map.at;
    let (hash, value, place) = match (map.get("sha256"), map.get("value")) {
        (Some(hash), None) => {
            let sha256 = decoder.parsed_or_hidden(&hash, "invalid_hash", "a SHA-256", scalar::sha256)?;
            (sha256, None, decoder.place(&hash))
        }
        (None, Some(value)) => {
            let better = "give its `sha256` instead: `attache keys new` prints both";
            let accept = |text: &str| {
                if text.chars().count() >= MIN_KEY_LENGTH {
                    return Ok(Secret::new(text));
                }
                let message = format!("{value} is too short to withstand guessing");
                let (label, help) = ("a key has at least 22 characters", "`attache keys new` makes one");
                Err(Failure::malformed("weak_key", message, label, Some(help)))
            };
            let secret = match decoder.secret_as(&value, PlainText::Warn(better), &accept)? {
                Some(secret) => secret,
                // It is only listed.
                None if decoder.secrets.offline => Secret::new(placeholder(&value)),
                None => return Some(None),
            };
            (secret.sha256(), Some(secret), decoder.place(&value))
        }
        (Some(_), Some(value)) => {
            let finding = Finding::error(
                "conflicting_keys",
                decoder.key(&value),
                format!("{at} has both `sha256` and `value`"),
            );
            return decoder.reject(finding.label("give only one of them"));
        }
        (None, None) => {
            let finding = Finding::error("missing_key", decoder.place(at), format!("{at} has no `sha256`"));
            return decoder
                .reject(finding.label("`sha256` is missing").help("`attache keys new` prints one"));
        }
    };
    if let Some(first) = webhooks.seen_keys.get(&hash) {
        let finding =
            Finding::error("duplicate_api_key", place, format!("{at} is a key that is in use already"));
        let finding = finding.label("used again here").secondary(*first, "first used here");
        if value.is_some() && map.get("value").is_some_and(|at| decoder.is_delivered(&at)) {
            decoder.report(finding.tolerated());
            return Some(None);
        }
        return decoder.reject(finding);
    }
    webhooks.seen_keys.insert(hash, place);
    Some(Some((hash, value)))
}
