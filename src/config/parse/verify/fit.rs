//! The check that the parts of a custom scheme fit together.

use super::parts::conflict;
use crate::config::decode::{Decoder, Map};
use crate::config::header::{Distinct, Use};
use crate::config::problem::Finding;
use crate::signature::{Algorithm, Field, Parts, SignatureAt};
use http::HeaderName;

/// Reports the parts that have no effect, or a dangerous one, with the others.
pub(super) fn fit_together(decoder: &Decoder<'_>, map: &Map<'_>, parts: &Parts, scheme: &str) -> bool {
    let mut fine = true;
    let mut no_use = |key: &'static str, what: &str, label: &str, help: &str| {
        if let Some(at) = map.get(key) {
            decoder.no_use(&at, what, label, help);
            fine = false;
        }
    };
    if scheme == "hmac" && !parts.algorithm.is_hmac() {
        no_use("algorithm", "`scheme: hmac`", "this is no HMAC", "use `scheme: custom`");
    }
    if parts.algorithm.shows_credential() {
        let (what, label) = match parts.algorithm {
            Algorithm::Jwt => ("`algorithm: jwt`", "the call holds a token, which signs nothing of it"),
            _ => ("`algorithm: token`", "the call holds the secret itself, and signs nothing"),
        };
        let unused =
            ["signed", "partial_body", "encoding", "secret_encoding", "timestamp_header", "timestamp_member"];
        for key in unused.into_iter().chain(["id_header", "id_member", "pairs"]) {
            no_use(key, what, label, "remove it");
        }
    } else if parts.algorithm.is_public_key() {
        no_use("secret_encoding", "a public key", "there is no secret", "remove it");
    }
    if parts.place.time.is_none() {
        no_use("time_format", "this", "there is no time", "remove it, or name the header of the time");
    }
    let (time, id) = (&parts.place.time, &parts.place.id);
    let time = time.as_ref().map(|(field, _)| field);
    let signed = &parts.signed;
    if !parts.algorithm.shows_credential() {
        let time_keys = ["timestamp_header", "timestamp_member", "pairs"];
        fine &= agree(
            decoder,
            map,
            &time_keys,
            "{timestamp}",
            time,
            signed.has_timestamp(),
            parts.has_timestamp(),
        );
        fine &= agree(
            decoder,
            map,
            &["id_header", "id_member"],
            "{id}",
            id.as_ref(),
            signed.has_id(),
            signed.has_id(),
        );
    }
    if let (SignatureAt::Headers(names, _), Some(at)) = (&parts.place.signature, map.get("header"))
        && names.len() > 1
        && parts.algorithm.shows_credential()
    {
        conflict::<()>(decoder, &at, "there is one header for a credential, which the receiver does not get");
        fine = false;
    }
    if let (SignatureAt::Member(_), Some(at), Algorithm::Jwt) =
        (&parts.place.signature, map.get("signature_member"), parts.algorithm)
    {
        conflict::<()>(decoder, &at, "a token is in a header, which the receiver does not get");
        fine = false;
    }
    if let (SignatureAt::Member(pointer), Some(at)) = (&parts.place.signature, map.get("signature_member"))
        && pointer.is_many()
        && parts.algorithm != Algorithm::Token
    {
        conflict::<()>(decoder, &at, "`*` is for `algorithm: token`, where every item holds the secret");
        fine = false;
    }
    fine
}

/// Checks that a time or an id is signed, since an unsigned one proves nothing, and that a signed one has a place.
fn agree(
    decoder: &Decoder<'_>,
    map: &Map<'_>,
    keys: &[&'static str],
    placeholder: &str,
    field: Option<&Field>,
    has_placeholder: bool,
    is_signed: bool,
) -> bool {
    let at = match (field, is_signed, has_placeholder) {
        (Some(_), false, _) => keys.iter().find_map(|key| map.get(key)),
        (None, _, true) => map.get("signed"),
        _ => return true,
    };
    if let Some(at) = at {
        let key = keys[0];
        let (message, label) = match field {
            Some(_) => {
                (format!("{at} is not signed"), format!("`signed` does not have `{placeholder}` in it"))
            }
            None => (
                format!("{at} contains `{placeholder}`, for which no header is configured"),
                format!("`{key}` is missing, which names the header"),
            ),
        };
        let finding = Finding::error("conflicting_keys", decoder.key(&at), message).label(label);
        decoder.report(match field {
            Some(_) => finding.help("a client could change an unsigned value"),
            None => finding,
        });
    }
    false
}

/// Reports the headers that have another use.
pub(super) fn are_distinct(
    decoder: &Decoder<'_>,
    map: &Map<'_>,
    parts: &Parts,
    names: &mut Distinct<'_>,
) -> bool {
    let mut fine = true;
    if let Some(at) = map.get("signed") {
        for name in parts.signed.headers() {
            let (key, place) = (format!("{name} of {at}"), Some(decoder.place(&at)));
            fine &= names.check(decoder, &Use { name: name.clone(), key, place });
        }
    }
    let mut add = |key, name: &HeaderName| {
        if let Some(at) = map.get(key) {
            let (key, place) = (at.to_string(), Some(decoder.place(&at)));
            fine &= names.add(decoder, Use { name: name.clone(), key, place });
        }
    };
    if let SignatureAt::Headers(all, _) = &parts.place.signature {
        all.iter().for_each(|name| add("header", name));
    }
    if let Some((Field::Header(name), _)) = &parts.place.time {
        add("timestamp_header", name);
    }
    if let Some(Field::Header(name)) = &parts.place.id {
        add("id_header", name);
    }
    parts.place.require.iter().for_each(|(name, _)| add("require", name));
    fine
}
