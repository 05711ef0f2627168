//! What token endpoints really answer, made into what RFC 6749 section 5 says they do.
//!
//! Endpoints in the field give `expires_in` as a string, forget `token_type`, list scopes in an array, answer 201,
//! `text/plain` or a form, put a BOM in front, or report an error with 200. The `oauth2` crate refuses all of that,
//! so it is given a fresh answer with only the members that are used, in the types it expects. The other way,
//! custom response types for the crate, can change neither the status nor the content type it insists on.

use super::error::{Failure, REGISTERED, Unavailability};
use super::{redact, schedule};
use crate::config::model::{BearerTokenType, OAuth2};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::time::{Duration, SystemTime};
use url::form_urlencoded;

/// What came over the wire, in as far as it matters.
pub(super) struct Raw {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

/// A token as a 200, a refusal as a 400, both in JSON and as the RFC has them; everything else is a failure.
pub(super) fn normalise(raw: &Raw, config: &OAuth2) -> Result<http::Response<Vec<u8>>, Failure> {
    let status = raw.status;
    let members = members(&raw.body);
    let error = members.as_ref().and_then(|m| error(m, status.is_success()));
    let unavailable = |reason| Failure::Unavailable {
        reason,
        retry_after: raw.retry_after,
        cause: error.as_ref().and_then(|(code, description)| {
            let text = description.as_ref().map_or(code.to_string(), |d| format!("{code}: {d}"));
            redact::text(&text, config)
        }),
    };

    if status.is_redirection() {
        return Err(unavailable(Unavailability::Redirect));
    }
    if status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429) {
        return Err(unavailable(Unavailability::Status(status.as_u16())));
    }
    match &error {
        Some((code, _)) if TRANSIENT.contains(&&**code) => Err(unavailable(Unavailability::Busy)),
        Some((code, description)) if is_refusal(status, code) => Ok(refusal(code, description.as_deref())),
        // RFC 6749 section 5.2 gives 401 one meaning; a gateway in front may well leave the body out.
        _ if status == StatusCode::UNAUTHORIZED => Ok(refusal("http_401", None)),
        _ if !status.is_success() => Err(unavailable(Unavailability::Status(status.as_u16()))),
        _ => match members {
            Some(members) => token(&members, config.bearer_token_type),
            None => Err(unavailable(Unavailability::Malformed)),
        },
    }
}

/// `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date.
pub(super) fn retry_after(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(SystemTime::try_from(date).ok()?.duration_since(now).unwrap_or_default())
}

/// Codes that say "later", whatever status they come with.
const TRANSIENT: [&str; 3] = ["temporarily_unavailable", "server_error", "slow_down"];

fn is_refusal(status: StatusCode, code: &str) -> bool {
    status.is_success() || matches!(status.as_u16(), 400 | 401 | 403) || REGISTERED.contains(&code)
}

/// The members of a JSON object or, if it is one that we know something of, a form.
fn members(body: &[u8]) -> Option<Map<String, Value>> {
    // Lossy: a description in Latin-1 must not cost the code beside it. A token is ASCII or no token.
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
    ["access_token", "id_token", "error"].iter().any(|name| form.contains_key(*name)).then_some(form)
}

/// `error` and `error_description`, if there is an error: an `error` that is empty, null or false is none, and one
/// that is no text is none beside a token.
fn error(members: &Map<String, Value>, success: bool) -> Option<(Cow<'_, str>, Option<Cow<'_, str>>)> {
    let code = match members.get("error")? {
        Value::String(code) if !code.is_empty() => Cow::Borrowed(code.as_str()),
        Value::String(_) | Value::Null | Value::Bool(false) => return None,
        _ if success && members.contains_key("access_token") => return None,
        _ => Cow::Borrowed("unspecified"),
    };
    let description = members.get("error_description").and_then(Value::as_str).map(Cow::Borrowed);
    Some((code, description))
}

fn refusal(code: &str, description: Option<&str>) -> http::Response<Vec<u8>> {
    answer(StatusCode::BAD_REQUEST, &json!({ "error": code, "error_description": description }))
}

fn token(members: &Map<String, Value>, wanted: BearerTokenType) -> Result<http::Response<Vec<u8>>, Failure> {
    let text = |name| members.get(name).and_then(Value::as_str).filter(|t: &&str| !t.is_empty());
    let (access_token, id_token) = (text("access_token"), text("id_token"));
    match wanted {
        BearerTokenType::AccessToken if access_token.is_none() => return Err(Unavailability::NoToken.into()),
        BearerTokenType::IdToken if id_token.is_none() => return Err(Unavailability::NoIdToken.into()),
        _ => {}
    }
    // Missing and odd types mean bearer in practice; these two mean a token that is useless without a key's proof.
    if text("token_type").is_some_and(|t| t.eq_ignore_ascii_case("dpop") || t.eq_ignore_ascii_case("mac")) {
        return Err(Unavailability::TokenType.into());
    }
    let mut normal = json!({ "access_token": access_token.unwrap_or_default(), "token_type": "bearer" });
    if let Some(seconds) = members.get("expires_in").and_then(seconds) {
        normal["expires_in"] = seconds.into();
    }
    if let Some(id_token) = id_token {
        normal["id_token"] = id_token.into();
    }
    Ok(answer(StatusCode::OK, &normal))
}

/// Whole seconds from 0 to [`schedule::MAX_LIFETIME`], from a number or a text that holds one.
fn seconds(value: &Value) -> Option<u64> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse::<f64>().ok()?,
        _ => return None,
    };
    if seconds.is_nan() {
        return None;
    }
    let clamped = seconds.clamp(0.0, schedule::MAX_LIFETIME.as_secs_f64());
    Some(Duration::from_secs_f64(clamped).as_secs())
}

fn answer(status: StatusCode, body: &Value) -> http::Response<Vec<u8>> {
    let mut response = http::Response::new(body.to_string().into_bytes());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;
