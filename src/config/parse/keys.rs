//! Lists of keys by their SHA-256: those of webhooks, and the tokens of callers.

use crate::config::decode::{At, Decoder, Given, Map};
use crate::config::model::ApiKey;
use crate::config::problem::Finding;
use crate::config::scalar;
use crate::config::secrets::{Failure, PlainText, placeholder};
use crate::config::source::Span;
use crate::secret::Secret;
use std::collections::HashMap;

/// 22 characters of base64 hold 128 bits.
const MIN_LENGTH: usize = 22;

/// The words for one kind of keys.
pub(super) struct Words {
    /// The part of the file that has a list of them.
    pub(super) owner: &'static str,
    /// One of them.
    pub(super) one: &'static str,
    /// One of another owner.
    pub(super) other: &'static str,
    /// The code of a key that occurs twice.
    pub(super) duplicate: &'static str,
    /// The command that makes one.
    pub(super) command: &'static str,
    /// True if a value must fit a header field.
    pub(super) is_sent_in_header: bool,
}

/// The place of every key's hash so far, and what it is: a key has one owner and one purpose.
#[derive(Default)]
pub(super) struct Seen(HashMap<[u8; 32], (Span, &'static str)>);

/// The result of reading a list.
pub(super) struct List {
    /// The keys that can be read.
    pub(super) keys: Vec<ApiKey>,
    /// True if the value of one can't be read.
    pub(super) has_unread: bool,
}

/// Reads a list of keys.
pub(super) fn keys(decoder: &Decoder<'_>, at: &At<'_>, words: &Words, seen: &mut Seen) -> Option<List> {
    let mut keys = Vec::new();
    let mut ids: HashMap<String, Span> = HashMap::new();
    let (mut fine, mut has_unread) = (true, false);
    for item in decoder.sequence(at)? {
        let key = one(decoder, &item, words, &mut ids, seen);
        fine &= !key.is_invalid();
        has_unread |= key.is_absent();
        keys.extend(key.value());
    }
    fine.then_some(List { keys, has_unread })
}

/// Reads a key; absent if its value can't be read.
fn one(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    words: &Words,
    ids: &mut HashMap<String, Span>,
    seen: &mut Seen,
) -> Given<ApiKey> {
    let Some(map) = decoder.mapping(at) else { return Given::Invalid };
    let disabled = map.get("disabled").map_or(Some(false), |at| decoder.bool(&at));
    let id = decoder.required(&map, "id").and_then(|at| id(decoder, &at, words, ids));
    let key = key(decoder, &map, words, seen);
    let instant = |key| {
        map.get(key).map(|at| (decoder.parsed(&at, "invalid_time", "a point in time", scalar::instant), at))
    };
    let (not_before, expires_at) = (instant("not_before"), instant("expires_at"));
    if let (Some((Some(from), _)), Some((Some(to), end))) = (&not_before, &expires_at)
        && from >= to
    {
        let message = format!("{end} is not after its not_before");
        let label = format!("this {} is never valid", words.one);
        decoder.report(Finding::error("out_of_range", decoder.place(end), message).label(label));
    }
    let (Some(id), Some(disabled)) = (id, disabled) else { return Given::Invalid };
    let not_before = not_before.and_then(|(time, _)| time);
    let expires_at = expires_at.and_then(|(time, _)| time);
    key.map(|(sha256, value)| ApiKey { id, sha256, value, not_before, expires_at, disabled })
}

fn id(decoder: &Decoder<'_>, at: &At<'_>, words: &Words, ids: &mut HashMap<String, Span>) -> Option<String> {
    let id = decoder.string(at)?;
    decoder.parsed_or_hidden(at, "invalid_name", "a valid id", scalar::key_id)?;
    let place = decoder.place(at);
    match ids.get(id) {
        Some(first) => {
            let Words { owner, one, .. } = words;
            let message = format!("{at} is not unique: the {owner} already has a {one} `{id}`");
            let finding = Finding::error("duplicate_id", place, message);
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

fn key(decoder: &Decoder<'_>, map: &Map<'_>, words: &Words, seen: &mut Seen) -> Given<HashAndValue> {
    let (sha256, value, place) = match hash_and_value(decoder, map, words) {
        Given::Value(found) => found,
        Given::Absent => return Given::Absent,
        Given::Invalid => return Given::Invalid,
    };
    let at = map.at;
    if let Some((first, of)) = seen.0.get(&sha256) {
        let which = if *of == words.other { "another" } else { "a" };
        let message = format!("{at} is already used by {which} {of}");
        let finding = Finding::error(words.duplicate, place, message);
        let finding = finding.label("used again here").secondary(*first, "first used here");
        if value.is_some() && map.get("value").is_some_and(|at| decoder.is_delivered(&at)) {
            decoder.report(finding.tolerated());
            return Given::Absent;
        }
        return decoder.reject(finding).into();
    }
    seen.0.insert(sha256, (place, words.other));
    Given::Value((sha256, value))
}

/// Reads the hash or the value, with its place.
fn hash_and_value(
    decoder: &Decoder<'_>,
    map: &Map<'_>,
    words: &Words,
) -> Given<([u8; 32], Option<Secret>, Span)> {
    let at = map.at;
    match (map.get("sha256"), map.get("value")) {
        (Some(hash), None) => {
            let sha256 = decoder.parsed_or_hidden(&hash, "invalid_hash", "a SHA-256", |text| {
                scalar::sha256(text, words.command)
            });
            Given::from(sha256).map(|sha256| (sha256, None, decoder.place(&hash)))
        }
        (None, Some(value)) => {
            let better = format!("give its `sha256` instead: {} prints both", words.command);
            let secret = match decoder
                .secret_as(&value, PlainText::Warn(&better), &|text| fits(&value, text, words))
            {
                // The key is only listed.
                Given::Absent if decoder.secrets.offline => Given::Value(Secret::new(placeholder(&value))),
                found => found,
            };
            secret.map(|secret| (secret.sha256(), Some(secret), decoder.place(&value)))
        }
        (Some(_), Some(value)) => {
            let message = format!("{at} has both `sha256` and `value`");
            let finding = Finding::error("conflicting_keys", decoder.key(&value), message);
            decoder.reject(finding.label("set only one of them")).into()
        }
        // The unknown key's message says it.
        (None, None) if map.entries().any(|(name, _)| matches!(name, "key" | "secret" | "token")) => {
            Given::Invalid
        }
        (None, None) => {
            let finding = Finding::error("missing_key", decoder.place(at), format!("{at} has no `sha256`"));
            let help = format!("{} prints one", words.command);
            decoder.reject(finding.label("`sha256` is missing").help(help)).into()
        }
    }
}

fn fits(at: &At<'_>, text: &str, words: &Words) -> Result<Secret, Failure> {
    let Words { one, command, .. } = words;
    if text.chars().count() < MIN_LENGTH {
        let message = format!("{at} is short enough to be guessed");
        let label = format!("a {one} has at least {MIN_LENGTH} characters");
        return Err(Failure::malformed("weak_key", message, label, Some(&format!("{command} creates one"))));
    }
    if words.is_sent_in_header && !text.bytes().all(scalar::is_bearer_byte) {
        let message = format!("{at} has a character that a `Bearer` token can't have");
        let label = "letters, digits and `-._~+/=` are allowed (RFC 6750 section 2.1)";
        let help = format!("{command} creates one");
        return Err(Failure::malformed("invalid_secret", message, label, Some(&help)));
    }
    Ok(Secret::new(text))
}
