//! Webhooks: their keys, users and receivers.

use super::services::Context;
use super::{limits, loops, optional, refer, urls, verify};
use crate::config::decode::{At, Decoder, Given, Map};
use crate::config::header::{Distinct, Purpose, Use};
use crate::config::model::{ApiKey, KeyIn, Rate, Refusals, Replay, UnreadSecret, User, Verify, Webhook};
use crate::config::problem::Finding;
use crate::config::scalar;
use crate::config::secrets::{Failure, PlainText, placeholder};
use crate::config::source::Span;
use crate::config::tree::View;
use crate::error_code::ErrorCode;
use crate::secret::Secret;
use http::Method;
use ipnet::IpNet;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// State that the webhooks of a file share.
pub(super) struct All<'a> {
    /// The place of every key's hash so far: a key must lead to one webhook.
    seen_keys: HashMap<[u8; 32], Span>,
    /// True if the file sets `public_url`.
    public_url: bool,
    /// The headers that attache sets for receivers.
    names: &'a Distinct<'a>,
    /// The unreadable key of `identity.assertion`, if any.
    assertion: Option<UnreadSecret>,
}

impl<'a> All<'a> {
    pub(super) fn new(public_url: bool, names: &'a Distinct<'a>, assertion: Option<UnreadSecret>) -> Self {
        Self { seen_keys: HashMap::new(), public_url, names, assertion }
    }
}

/// 22 characters of base64 hold 128 bits.
const MIN_KEY_LENGTH: usize = 22;

pub(super) fn webhook(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    context: &Context<'_>,
    all: &mut All<'_>,
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

fn read(decoder: &Decoder<'_>, at: &At<'_>, context: &Context<'_>, all: &mut All<'_>) -> Option<Webhook> {
    let map = decoder.mapping(at)?.with_defaults(context.webhook_defaults);
    let forward_to = decoder.required(&map, "forward_to").and_then(|at| {
        let url = urls::bare_url(decoder, &at)?;
        loops::check(decoder, &at, &url, context.listeners.webhooks.as_ref());
        Some(url)
    });
    let api_keys = decoder.required(&map, "api_keys").and_then(|at| api_keys(decoder, &at, all));
    decoder.required(&map, "user");
    let settings = settings(decoder, &map, context, all);
    let (verifier, verify_token) = match settings.verify.checked().ok()? {
        Some(verify) => (Some(verify.verifier), verify.verify_token),
        None => (None, None),
    };
    let default = Webhook::new(settings.user.value()?, forward_to?, api_keys?);
    Some(Webhook {
        methods: settings.methods.or(default.methods)?,
        max_body: settings.max_body.unwrap_or(default.max_body),
        timeout: settings.timeout.unwrap_or(default.timeout),
        key_in: settings.key_in.or(default.key_in)?,
        allow_from: settings.allow_from.or(default.allow_from)?,
        rate_limit: settings.rate_limit.checked().ok()?,
        verify: verifier,
        verify_token,
        replay: settings.replay.checked().ok()?,
        refusals: settings.refusals.or(default.refusals)?,
        ..default
    })
}

/// The values of `defaults.webhook`.
struct Settings {
    user: Given<Arc<User>>,
    methods: Given<Vec<Method>>,
    max_body: Option<u64>,
    timeout: Option<Duration>,
    key_in: Given<KeyIn>,
    allow_from: Given<Vec<IpNet>>,
    rate_limit: Given<Rate>,
    verify: Given<Verify>,
    replay: Given<Replay>,
    refusals: Given<Refusals>,
}

fn settings(decoder: &Decoder<'_>, map: &Map<'_>, context: &Context<'_>, all: &All<'_>) -> Settings {
    let mut names = Distinct::below(all.names);
    let key_in = optional(map.get("key_in"), |at| key_in(decoder, at, &mut names));
    let verify = optional(map.get("verify"), |at| verify::verify(decoder, at, all.public_url, &mut names));
    let verifier = verify.as_ref().value().map(|verify| &verify.verifier);
    let replay = optional(map.get("replay"), |at| verify::replay(decoder, at, verifier));
    Settings {
        user: optional(map.get("user"), |at| {
            refer(decoder, at, "user", context.users, "define it under `users`")
        }),
        methods: optional(map.get("methods"), |at| methods(decoder, at)),
        max_body: map
            .get("max_body")
            .and_then(|at| decoder.parsed(&at, "invalid_size", "a size", scalar::size)),
        timeout: map.get("timeout").and_then(|at| decoder.duration(&at, false)),
        key_in,
        allow_from: optional(map.get("allow_from"), |at| limits::networks(decoder, at)),
        rate_limit: optional(map.get("rate_limit"), |at| limits::rate(decoder, at)),
        verify,
        replay,
        refusals: optional(map.get("refusals"), |at| refusals(decoder, at)),
    }
}

/// Reports problems of `defaults.webhook`, even if no webhook uses it.
pub(super) fn check_defaults(
    decoder: &Decoder<'_>,
    defaults: &Map<'_>,
    context: &Context<'_>,
    all: &All<'_>,
) {
    settings(decoder, defaults, context, all);
}

/// Reads `path`, `{header: NAME}` or `{query: NAME}`.
fn key_in(decoder: &Decoder<'_>, at: &At<'_>, names: &mut Distinct<'_>) -> Option<KeyIn> {
    if let View::Scalar { text: "path", .. } = decoder.tree.view(at.node) {
        return Some(KeyIn::Path);
    }
    let map = decoder.mapping(at)?;
    match (map.get("header"), map.get("query")) {
        (Some(header), None) => {
            let name = Purpose::Received.read(decoder, &header)?.into_header_name();
            let place = Some(decoder.place(&header));
            let fine = names.add(decoder, Use { name: name.clone(), key: header.to_string(), place });
            fine.then_some(KeyIn::Header(name))
        }
        (None, Some(query)) => decoder.string(&query).map(|name| KeyIn::Query(name.to_owned())),
        _ => {
            let finding =
                Finding::error("conflicting_keys", decoder.place(at), format!("{at} has to be one place"));
            decoder.reject(finding.label("set one of `header` and `query`, or remove `key_in` for the path"))
        }
    }
}

/// The codes whose status a provider may require to be different.
const REFUSABLE: [ErrorCode; 6] = [
    ErrorCode::SignatureInvalid,
    ErrorCode::UserInactive,
    ErrorCode::RequestDenied,
    ErrorCode::RateLimited,
    ErrorCode::MethodDenied,
    ErrorCode::RequestTooLarge,
];

fn refusals(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Refusals> {
    let map = decoder.mapping(at)?;
    let bodiless = map.get("body").map_or(Some(false), |at| decoder.bool(&at).map(|body| !body));
    let mut statuses = Vec::new();
    if let Some(at) = map.get("statuses") {
        for (name, at) in decoder.mapping(&at)?.known_entries() {
            let Some(code) = REFUSABLE.iter().find(|code| code.as_str() == name) else { continue };
            let status = decoder.status(&at)?;
            if status.is_redirection() {
                let message = format!("{at} would redirect the client");
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

fn api_keys(decoder: &Decoder<'_>, at: &At<'_>, webhooks: &mut All<'_>) -> Option<Vec<ApiKey>> {
    let mut all = Vec::new();
    let mut ids: HashMap<String, Span> = HashMap::new();
    let (mut fine, mut unread) = (true, false);
    for item in decoder.sequence(at)? {
        let key = api_key(decoder, &item, &mut ids, webhooks);
        fine &= !key.is_invalid();
        unread |= key.is_absent();
        all.extend(key.value());
    }
    if all.is_empty() && unread {
        decoder.secrets.block();
    } else if all.is_empty() && fine {
        // A valid first step: `attache keys new` reads the file, and prints the first key.
        let finding = Finding::warning("no_api_keys", decoder.key(at), format!("{at} is empty"));
        decoder.report(
            finding
                .label("every call is answered with 404")
                .help("`attache keys new --service NAME` makes a key"),
        );
    }
    fine.then_some(all)
}

/// Reads a key; absent if its value can't be read.
fn api_key(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    ids: &mut HashMap<String, Span>,
    webhooks: &mut All<'_>,
) -> Given<ApiKey> {
    let Some(map) = decoder.mapping(at) else { return Given::Invalid };
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
            Finding::error("out_of_range", decoder.place(end), message).label("this key is never valid"),
        );
    }
    let (Some(id), Some(disabled)) = (id, disabled) else { return Given::Invalid };
    let not_before = not_before.and_then(|(time, _)| time);
    let expires_at = expires_at.and_then(|(time, _)| time);
    key.map(|(sha256, value)| ApiKey { id, sha256, value, not_before, expires_at, disabled })
}

fn id(decoder: &Decoder<'_>, at: &At<'_>, ids: &mut HashMap<String, Span>) -> Option<String> {
    let id = decoder.string(at)?;
    decoder.parsed_or_hidden(at, "invalid_name", "a valid id", scalar::key_id)?;
    let place = decoder.place(at);
    match ids.get(id) {
        Some(first) => {
            let finding = Finding::error(
                "duplicate_id",
                place,
                format!("{at} is not unique: the service already has a key `{id}`"),
            );
            decoder.reject(finding.label("used again here").secondary(*first, "first used here"))
        }
        None => {
            ids.insert(id.to_owned(), place);
            Some(id.to_owned())
        }
    }
}

/// A key's hash, and the key itself if the file has it.
type HashAndValue = ([u8; 32], Option<Secret>);

fn key(decoder: &Decoder<'_>, map: &Map<'_>, webhooks: &mut All<'_>) -> Given<HashAndValue> {
    let (sha256, value, place) = match hash_and_value(decoder, map) {
        Given::Value(found) => found,
        Given::Absent => return Given::Absent,
        Given::Invalid => return Given::Invalid,
    };
    let at = map.at;
    if let Some(first) = webhooks.seen_keys.get(&sha256) {
        let finding = Finding::error(
            "duplicate_api_key",
            place,
            format!("{at} is already used by another webhook key"),
        );
        let finding = finding.label("used again here").secondary(*first, "first used here");
        if value.is_some() && map.get("value").is_some_and(|at| decoder.is_delivered(&at)) {
            decoder.report(finding.tolerated());
            return Given::Absent;
        }
        return decoder.reject(finding).into();
    }
    webhooks.seen_keys.insert(sha256, place);
    Given::Value((sha256, value))
}

/// Reads the hash or the value, with its place.
fn hash_and_value(decoder: &Decoder<'_>, map: &Map<'_>) -> Given<([u8; 32], Option<Secret>, Span)> {
    let at = map.at;
    match (map.get("sha256"), map.get("value")) {
        (Some(hash), None) => {
            let sha256 = decoder.parsed_or_hidden(&hash, "invalid_hash", "a SHA-256", scalar::sha256);
            Given::from(sha256).map(|sha256| (sha256, None, decoder.place(&hash)))
        }
        (None, Some(value)) => {
            let better = "give its `sha256` instead: `attache keys new` prints both";
            let accept = |text: &str| {
                if text.chars().count() >= MIN_KEY_LENGTH {
                    return Ok(Secret::new(text));
                }
                let message = format!("{value} is short enough to be guessed");
                let (label, help) = ("a key has at least 22 characters", "`attache keys new` creates one");
                Err(Failure::malformed("weak_key", message, label, Some(help)))
            };
            let secret = match decoder.secret_as(&value, PlainText::Warn(better), &accept) {
                // The key is only listed.
                Given::Absent if decoder.secrets.offline => Given::Value(Secret::new(placeholder(&value))),
                found => found,
            };
            secret.map(|secret| (secret.sha256(), Some(secret), decoder.place(&value)))
        }
        (Some(_), Some(value)) => {
            let finding = Finding::error(
                "conflicting_keys",
                decoder.key(&value),
                format!("{at} has both `sha256` and `value`"),
            );
            decoder.reject(finding.label("set only one of them")).into()
        }
        // The unknown key's message says it.
        (None, None) if map.entries().any(|(name, _)| matches!(name, "key" | "secret" | "token")) => {
            Given::Invalid
        }
        (None, None) => {
            let finding = Finding::error("missing_key", decoder.place(at), format!("{at} has no `sha256`"));
            decoder.reject(finding.label("`sha256` is missing").help("`attache keys new` prints one")).into()
        }
    }
}
