//! `identity`: the signed assertion of the identity that receivers are told.

use super::optional;
use crate::config::decode::{At, Decoder, Given, Map};
use crate::config::header::{Distinct, Purpose, Use};
use crate::config::model::IdentityAssertion;
use crate::config::problem::Finding;
use crate::config::secrets::{Failure, PlainText};
use crate::config::tree::View;
use crate::header_name::FieldName;
use crate::jwt::{Algorithm, KeyError, SigningKey};
use std::time::Duration;

/// An assertion is about one call, which is forwarded at once.
const MAX_TTL: Duration = Duration::from_secs(60);
/// The signing key, the next one and the previous one, and one to spare.
const MAX_KEYS: usize = 4;

/// Reads `identity.assertion`. The default issuer is `public_url`. The header is added to `names`.
pub(super) fn assertion(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    public_url: Given<&str>,
    names: &mut Distinct<'_>,
) -> Given<IdentityAssertion> {
    let Some(map) = decoder.mapping(at) else { return Given::Invalid };
    optional(map.get("assertion"), |at| read(decoder, at, public_url, names))
}

fn read(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    public_url: Given<&str>,
    names: &mut Distinct<'_>,
) -> Option<IdentityAssertion> {
    let map = decoder.mapping(at)?;
    let help = "`openssl genpkey -algorithm ed25519` creates one: `key: { file: PATH }`";
    let keys = decoder.required_or(&map, "key", Some(help)).and_then(|at| keys(decoder, &at));
    let text = |at: At<'_>| decoder.string(&at).map(str::to_owned);
    let issuer = match (map.get("issuer"), public_url) {
        (None, Given::Value(url)) => Some(url.to_owned()),
        (None, Given::Invalid) => None,
        _ => {
            let help = "receivers identify attache by it; the default is `public_url`";
            decoder.required_or(&map, "issuer", Some(help)).and_then(text)
        }
    };
    let help = "it names the receiver, so that no other one accepts the assertion";
    let audience = decoder.required_or(&map, "audience", Some(help)).and_then(text);
    let ttl = map.get("ttl").map_or(Some(MAX_TTL), |at| ttl(decoder, &at));
    let header = header(decoder, &map, names);
    Some(IdentityAssertion { keys: keys?, issuer: issuer?, audience: audience?, ttl: ttl?, header: header? })
}

fn header(decoder: &Decoder<'_>, map: &Map<'_>, names: &mut Distinct<'_>) -> Option<FieldName> {
    let at = map.get("header");
    let name = match &at {
        Some(at) => Purpose::Told.read(decoder, at)?,
        None => FieldName::from_static("X-Attache-Assertion"),
    };
    let key = "identity.assertion.header".to_owned();
    let place = at.map(|at| decoder.place(&at));
    names.add(decoder, Use { name: name.as_header_name().clone(), key, place });
    Some(name)
}

fn ttl(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Duration> {
    let ttl = decoder.duration(at, false)?;
    // Times in a token are whole seconds.
    if (Duration::from_secs(1)..=MAX_TTL).contains(&ttl) {
        return Some(ttl);
    }
    let finding = Finding::error("out_of_range", decoder.place(at), format!("{at} is out of range"));
    decoder.reject(finding.label("must be from `1s` to `60s`"))
}

fn keys(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Vec<SigningKey>> {
    let View::Sequence(_) = decoder.tree.view(at.node) else {
        let key = key(decoder, at).checked().ok()?;
        if key.is_none() {
            decoder.secrets.block();
        }
        return Some(key.into_iter().collect());
    };
    let mut all: Vec<SigningKey> = Vec::new();
    let (mut count, mut fine) = (0, true);
    for item in decoder.sequence(at)? {
        count += 1;
        match key(decoder, &item) {
            Given::Value(key) if all.contains(&key) => {
                let message = format!("{item} is the same as another one");
                let finding = Finding::error("duplicate_secret", decoder.place(&item), message);
                decoder.report(finding.label("this is a duplicate").help("remove one of them"));
                fine = false;
            }
            Given::Value(key) => all.push(key),
            Given::Absent => {}
            Given::Invalid => fine = false,
        }
    }
    if count == 0 {
        return decoder.empty(at);
    }
    if count > MAX_KEYS {
        let message = format!("{at} has more than {MAX_KEYS} entries");
        let finding = Finding::error("out_of_range", decoder.key(at), message);
        return decoder.reject(finding.label("too many").help("remove the oldest"));
    }
    if all.is_empty() && fine {
        decoder.secrets.block();
    }
    fine.then_some(all)
}

/// Reads a key; absent if it can't be read.
fn key(decoder: &Decoder<'_>, at: &At<'_>) -> Given<SigningKey> {
    decoder.secret_text_as(at, PlainText::WARN, &|pem| {
        let label = match SigningKey::from_pem(pem, None) {
            Ok(key) if matches!(key.algorithm(), Algorithm::Es256 | Algorithm::EdDsa) => return Ok(key),
            Ok(_) => "an RSA or a P-384 key; assertions are signed with a P-256 or an Ed25519 key".to_owned(),
            Err(KeyError::Unsupported) => "neither a P-256 nor an Ed25519 key".to_owned(),
            Err(error) => error.to_string(),
        };
        Err(Failure::malformed("invalid_key", format!("{at} can't sign"), label, None))
    })
}
