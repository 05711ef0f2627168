//! The further parameters of a token request, and the use of the token.

use crate::config::decode::{At, Decoder, Map};
use crate::config::header::Purpose;
use crate::config::model::Param;
use crate::config::parse::headers::headers;
use crate::config::problem::Finding;
use crate::config::scalar;
use crate::config::secrets::PlainText;
use crate::config::tree::View;
use crate::header_name::{FieldName, same};
use http::{HeaderValue, StatusCode};

/// Form members that a grant or a client authentication sends.
const OURS: [&str; 19] = [
    "grant_type",
    "client_id",
    "client_secret",
    "scope",
    "username",
    "password",
    "refresh_token",
    "assertion",
    "client_assertion",
    "client_assertion_type",
    "code",
    "redirect_uri",
    "code_verifier",
    "device_code",
    "subject_token",
    "subject_token_type",
    "actor_token",
    "actor_token_type",
    "requested_token_type",
];

/// Label and help for an extra member with one of these names.
const PARAMETER: (&str, &str) = ("not an extra parameter", "use the key of the oauth2 account");

/// Reads a list, or one string separated by commas, spaces or both.
pub(super) fn scopes(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Vec<String>> {
    let refuse = |at: &At<'_>| {
        let finding =
            Finding::error("invalid_scope", decoder.place(at), format!("{at} is not a valid scope"));
        decoder.report(finding.label("a scope has no spaces, commas, quotes or `\\`"));
    };
    let mut all = Vec::new();
    if let View::Sequence(_) = decoder.tree.view(at.node) {
        for item in decoder.sequence(at)? {
            match decoder.string(&item) {
                Some(scope) if scalar::is_scope(scope) && !scope.contains(',') => all.push(scope.to_owned()),
                Some(_) => refuse(&item),
                None => {}
            }
        }
    } else {
        let text = decoder.string(at)?;
        let words = || text.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
        if !words().all(scalar::is_scope) {
            refuse(at);
        }
        all.extend(words().map(str::to_owned));
    }
    Some(all)
}

/// Reads `scope_separator`.
pub(super) fn scope_separator(decoder: &Decoder<'_>, map: &Map<'_>) -> Option<String> {
    let Some(at) = map.get("scope_separator") else { return Some(" ".to_owned()) };
    let text = decoder.string(&at)?;
    // Those in use. Another one may be a part of a scope.
    if [" ", ",", ";", "+"].contains(&text) {
        return Some(text.to_owned());
    }
    let finding =
        Finding::error("invalid_scope", decoder.place(&at), format!("{at} is not a separator of scopes"));
    decoder.reject(finding.label("a space, `,`, `;` or `+`"))
}

/// Reads `login_required_on`.
pub(super) fn login_required_on(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Vec<String>> {
    let items: Vec<At<'_>> = decoder.sequence(at)?.collect();
    if items.is_empty() {
        return decoder.empty(at);
    }
    items.iter().map(|item| decoder.string(item).map(str::to_owned)).collect()
}

/// Reads extra members of the token request's form, none of which may be one that attache sends. A list sends the
/// member once for each of its values (`resource`, RFC 8707).
pub(super) fn token_params(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Vec<(String, Param)>> {
    let mut all = Vec::new();
    for (name, at) in decoder.names(at)?.entries() {
        if !is_extra(decoder, name, &at, &OURS, PARAMETER) {
            continue;
        }
        all.extend(param_values(decoder, &at).into_iter().map(|value| (name.to_owned(), value)));
    }
    Some(all)
}

/// Reads the values of one parameter: one, or a list.
pub(super) fn param_values(decoder: &Decoder<'_>, at: &At<'_>) -> Vec<Param> {
    match decoder.tree.view(at.node) {
        View::Sequence([]) => decoder.empty(at).into_iter().collect(),
        View::Sequence(_) => {
            decoder.sequence(at).into_iter().flatten().filter_map(|item| param(decoder, &item)).collect()
        }
        _ => param(decoder, at).into_iter().collect(),
    }
}

/// Reads a text, which may be a secret from a source.
fn param(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Param> {
    match decoder.tree.view(at.node) {
        View::Mapping(_) => decoder.secret(at, PlainText::WARN).map(Param::Secret),
        View::Scalar { .. } | View::Sequence(_) => decoder.string_or_empty(at).map(Param::from),
    }
}

/// Reads a map from names to texts; `said` is the label and the help for the names in `ours`.
pub(super) fn texts(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    ours: &[&str],
    said: (&str, &str),
) -> Option<Vec<(String, String)>> {
    let mut all = Vec::new();
    for (name, at) in decoder.names(at)?.entries() {
        if is_extra(decoder, name, &at, ours, said)
            && let Some(value) = decoder.string_or_empty(&at)
        {
            all.push((name.to_owned(), value.to_owned()));
        }
    }
    Some(all)
}

/// Reads claims of any JSON type, none of which may be one of `ours`.
pub(super) fn claims(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    ours: &[&str],
    said: (&str, &str),
) -> Option<serde_json::Map<String, serde_json::Value>> {
    let mut all = serde_json::Map::new();
    for (name, at) in decoder.names(at)?.entries() {
        if is_extra(decoder, name, &at, ours, said)
            && let Some(value) = decoder.json(&at)
        {
            all.insert(name.to_owned(), value);
        }
    }
    Some(all)
}

fn is_extra(
    decoder: &Decoder<'_>,
    name: &str,
    at: &At<'_>,
    ours: &[&str],
    (label, help): (&str, &str),
) -> bool {
    let extra = !name.is_empty() && !ours.contains(&name);
    if !extra {
        let finding = Finding::error("conflicting_keys", decoder.key(at), format!("{at} is set by attache"));
        decoder.report(finding.label(label).help(help));
    }
    extra
}

/// Reads `token_headers`.
pub(super) fn token_headers(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Vec<(FieldName, HeaderValue)>> {
    let plain_text = |_: &str| PlainText::WARN;
    headers(decoder, at, Purpose::Sent, plain_text, |name| {
        if same(name, "authorization") {
            Some(("this header authenticates the client", Some("set `client_auth` instead")))
        } else {
            same(name, "content-type").then_some(("a token request is always a form", None))
        }
    })
}

/// Reads `header`, which carries the token.
pub(super) fn header(decoder: &Decoder<'_>, map: &Map<'_>) -> Option<FieldName> {
    match map.get("header") {
        Some(at) => Purpose::Sent.read_beside_secret(decoder, &at),
        None => Some(FieldName::from_static("Authorization")),
    }
}

/// Reads `prefix`, the text before the token, as written.
pub(super) fn prefix(decoder: &Decoder<'_>, map: &Map<'_>) -> Option<String> {
    let Some(at) = map.get("prefix") else { return Some("Bearer ".to_owned()) };
    let text = decoder.string_or_empty(&at)?;
    decoder.warn_of_prefix(&at, text);
    if text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        return Some(text.to_owned());
    }
    let message = format!("{at} can't be sent in a header");
    let finding = Finding::error("invalid_header", decoder.place(&at), message);
    decoder.reject(finding.label("letters, digits, spaces and ASCII punctuation only"))
}

/// Reads `retry_on`, which may be empty.
pub(super) fn retry_on(decoder: &Decoder<'_>, map: &Map<'_>) -> Option<Vec<StatusCode>> {
    let Some(at) = map.get("retry_on") else { return Some(vec![StatusCode::UNAUTHORIZED]) };
    let mut all = Vec::new();
    for item in decoder.sequence(&at)? {
        if let Some(status) = decoder.status(&item)
            && !all.contains(&status)
        {
            all.push(status);
        }
    }
    Some(all)
}
