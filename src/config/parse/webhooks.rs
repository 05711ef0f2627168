//! Webhooks: who may call in with which key, as whom, and where to.

use super::{Named, refer, urls};
use crate::config::decode::{At, Decoder, Map};
use crate::config::model::{ApiKey, User, Webhook};
use crate::config::problem::Finding;
use crate::config::scalar;
use crate::config::secrets::PlainText;
use crate::config::source::Span;
use crate::secret::Secret;
use http::Method;
use std::collections::HashMap;
use std::time::Duration;

/// The place of every key's hash so far, in all services: a key must lead to one place.
pub(super) type SeenKeys = HashMap<[u8; 32], Span>;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_MAX_BODY: u64 = 1 << 20;
/// 22 characters of base64 hold 128 bits.
const MIN_KEY_LENGTH: usize = 22;

pub(super) fn webhook(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    users: &Named<User>,
    seen_keys: &mut SeenKeys,
) -> Option<Webhook> {
    let map = decoder.mapping(at, &["user", "forward_to", "api_keys", "methods", "max_body", "timeout"])?;
    let user = decoder
        .required(&map, "user")
        .and_then(|at| refer(decoder, &at, "user", users, "define it under `users`"));
    let forward_to = decoder.required(&map, "forward_to").and_then(|at| urls::server_url(decoder, &at));
    let api_keys = decoder.required(&map, "api_keys").and_then(|at| api_keys(decoder, &at, seen_keys));
    let methods = match map.get("methods") {
        Some(at) => methods(decoder, &at),
        None => Some(vec![Method::POST]),
    };
    let max_body =
        map.get("max_body").and_then(|at| decoder.parsed(&at, "invalid_size", "a size", scalar::size));
    let timeout = map.get("timeout").and_then(|at| decoder.duration(&at, false));
    Some(Webhook {
        user: user?,
        forward_to: forward_to?,
        api_keys: api_keys?,
        methods: methods?,
        max_body: max_body.unwrap_or(DEFAULT_MAX_BODY),
        timeout: timeout.unwrap_or(DEFAULT_TIMEOUT),
    })
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

fn api_keys(decoder: &Decoder<'_>, at: &At<'_>, seen: &mut SeenKeys) -> Option<Vec<ApiKey>> {
    let mut all = Vec::new();
    let mut ids: HashMap<String, Span> = HashMap::new();
    let mut fine = true;
    for item in decoder.sequence(at)? {
        let key = api_key(decoder, &item, &mut ids, seen);
        fine &= key.is_some();
        all.extend(key);
    }
    if all.is_empty() && fine {
        return decoder.empty(at);
    }
    fine.then_some(all)
}

fn api_key(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    ids: &mut HashMap<String, Span>,
    seen: &mut SeenKeys,
) -> Option<ApiKey> {
    let map = decoder.mapping(at, &["id", "sha256", "value", "not_before", "expires_at"])?;
    let id = decoder.required(&map, "id").and_then(|at| id(decoder, &at, ids));
    let key = key(decoder, &map, seen);
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
    let (sha256, value) = key?;
    let not_before = not_before.and_then(|(time, _)| time);
    let expires_at = expires_at.and_then(|(time, _)| time);
    Some(ApiKey { id: id?, sha256, value, not_before, expires_at })
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

/// The key's hash, and the key itself where the file has it.
fn key(decoder: &Decoder<'_>, map: &Map<'_>, seen: &mut SeenKeys) -> Option<([u8; 32], Option<Secret>)> {
    let at = map.at;
    let (hash, value, place) = match (map.get("sha256"), map.get("value")) {
        (Some(hash), None) => {
            let sha256 = decoder.parsed_or_hidden(&hash, "invalid_hash", "a SHA-256", scalar::sha256)?;
            (sha256, None, decoder.place(&hash))
        }
        (None, Some(value)) => {
            let better = "give its `sha256` instead: `attache keys new` prints both";
            let secret = decoder.secret(&value, PlainText::Warn(better))?;
            if secret.expose().chars().count() < MIN_KEY_LENGTH {
                let message = format!("{value} is too short to keep strangers out");
                let finding = Finding::error("weak_key", decoder.place(&value), message);
                return decoder.reject(
                    finding.label("a key has at least 22 characters").help("`attache keys new` makes one"),
                );
            }
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
    if let Some(first) = seen.get(&hash) {
        let finding =
            Finding::error("duplicate_api_key", place, format!("{at} is a key that is in use already"));
        return decoder.reject(finding.label("used again here").secondary(*first, "first used here"));
    }
    seen.insert(hash, place);
    Some((hash, value))
}
