//! The wire form of token answers, and what RFC 6749 section 5.1 makes of it.
//!
//! Endpoints in the field give `expires_in` as a string, forget `token_type`, list scopes in an array, answer 201,
//! `text/plain` or a form, or put a BOM in front. The `oauth2` crate's types refuse all of that, so they are given fresh
//! members in the shapes they expect. The meaning of an answer without a token is in [`super::verdict`].
//!
//! Nothing is guessed: a token nested under another member is no token, and `expires_on` or `expires_at`, which mean
//! seconds, milliseconds or a date depending on the provider, are not read; `default_lifetime` stands in.

use super::error::{Failure, Unavailability};
use crate::config::model::BearerTokenType;
use http::{HeaderValue, StatusCode};
use oauth2::basic::BasicTokenType;
use oauth2::{ExtraTokenFields, StandardTokenResponse};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::fmt;
use std::time::{Duration, SystemTime};
use url::form_urlencoded;

/// The members of an answer.
pub(super) type AnswerMembers = Map<String, Value>;

/// A token answer, with the members used beside those of RFC 6749.
pub(super) type Granted = StandardTokenResponse<Beside, BasicTokenType>;

/// The `id_token` of OpenID Connect, and the `token_type` as it came: the normal form always says `bearer`.
#[derive(Deserialize, Serialize)]
pub(super) struct Beside {
    #[serde(default, skip_serializing)]
    pub(super) id_token: Option<String>,
    #[serde(default, skip_serializing)]
    pub(super) said_type: Option<String>,
}

impl ExtraTokenFields for Beside {}

impl fmt::Debug for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Beside([secret])")
    }
}

/// An answer as it came over the wire, as far as it matters.
pub(super) struct Raw {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) content_type: Option<HeaderValue>,
    pub(super) content_encoding: Option<HeaderValue>,
    /// The target of a redirect, which is not followed.
    pub(super) location: Option<HeaderValue>,
    pub(super) body: Vec<u8>,
}

impl Raw {
    /// Returns the encoding of the body if it has one. No request asks for one, and nothing here decodes it.
    pub(super) fn encoding(&self) -> Option<&HeaderValue> {
        self.content_encoding.as_ref().filter(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
    }

    /// Returns the members of the body if it is a JSON object or a form with a known member.
    pub(super) fn members(&self) -> Option<AnswerMembers> {
        if self.encoding().is_some() { None } else { members(&self.body) }
    }
}

/// Reads a token from the members of a success.
///
/// # Errors
///
/// If there is none, or none of use as a bearer token.
pub(super) fn token(members: &AnswerMembers, wanted: BearerTokenType) -> Result<Granted, Failure> {
    let text = |name| text(members, name);
    let (access_token, id_token) = (text("access_token"), text("id_token"));
    match wanted {
        BearerTokenType::AccessToken if access_token.is_none() => return Err(Unavailability::NoToken.into()),
        BearerTokenType::IdToken if id_token.is_none() => return Err(Unavailability::NoIdToken.into()),
        _ => {}
    }
    let said_type = text("token_type");
    // Missing and odd types mean bearer in practice; a token of these two is of no use without the proof of a key.
    if said_type.is_some_and(|t| t.eq_ignore_ascii_case("dpop") || t.eq_ignore_ascii_case("mac")) {
        return Err(Unavailability::TokenType.into());
    }
    let scope = match members.get("scope") {
        Some(Value::String(scope)) => Some(scope.clone()),
        Some(Value::Array(scopes)) => {
            Some(scopes.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "))
        }
        _ => None,
    };
    let normal = json!({
        "access_token": access_token.unwrap_or_default(),
        "token_type": "bearer",
        // An end that has come is no statement: `default_lifetime` stands in.
        "expires_in": members.get("expires_in").and_then(seconds).filter(|seconds| *seconds > 0),
        "refresh_token": text("refresh_token"),
        "scope": scope.filter(|scope| !scope.is_empty()),
        "id_token": id_token,
        "said_type": said_type,
    });
    serde_json::from_value(normal).map_err(|_| Unavailability::Malformed.into())
}

/// Returns a member that is a text and not empty.
pub(super) fn text<'m>(members: &'m AnswerMembers, name: &str) -> Option<&'m str> {
    members.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Reads `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date.
pub(super) fn retry_after(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(SystemTime::try_from(date).ok()?.duration_since(now).unwrap_or_default())
}

/// Returns the members of a JSON object, or of a form if one of them is known.
fn members(body: &[u8]) -> Option<AnswerMembers> {
    // Lossy: a description in Latin-1 must not hide the code beside it. A token is ASCII or no token.
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches('\u{feff}').trim();
    match serde_json::from_str(text) {
        Ok(Value::Object(members)) => return Some(members),
        Ok(_) => return None,
        Err(_) if text.starts_with('{') => return None,
        Err(_) => {}
    }
    let form: Map<_, _> = form_urlencoded::parse(text.as_bytes())
        .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
        .collect();
    ["access_token", "id_token", "device_code", "error"]
        .iter()
        .any(|name| form.contains_key(*name))
        .then_some(form)
}

/// The longest lifetime that is read from an answer: a longer one is a slip, such as milliseconds.
pub(super) const MAX_LIFETIME: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Reads whole seconds from 0 to [`MAX_LIFETIME`], from a number or a text that holds one.
pub(super) fn seconds(value: &Value) -> Option<u64> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse::<f64>().ok()?,
        _ => return None,
    };
    if seconds.is_nan() {
        return None;
    }
    let clamped = seconds.clamp(0.0, MAX_LIFETIME.as_secs_f64());
    Some(Duration::from_secs_f64(clamped).as_secs())
}

#[cfg(test)]
mod tests;
