//! What token endpoints really answer, made into what RFC 6749 section 5 says they do.
//!
//! Endpoints in the field give `expires_in` as a string, forget `token_type`, list scopes in an array, answer 201,
//! `text/plain` or a form, put a BOM in front, or report an error with 200. The `oauth2` crate's types refuse all of
//! that, so they are given fresh members in the shapes they expect.
//!
//! Nothing is guessed: an answer nested under another member is no answer, and `expires_on` or `expires_at`, which mean
//! seconds, milliseconds or a date depending on whom one asks, are not read; `default_lifetime` stands in.

use super::error::{Failure, REGISTERED, Unavailability};
use super::redact::Secrets;
use super::schedule;
use crate::config::model::BearerTokenType;
use http::{HeaderValue, StatusCode};
use oauth2::basic::{BasicErrorResponse, BasicTokenType};
use oauth2::{ExtraTokenFields, StandardTokenResponse};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use url::form_urlencoded;

/// A token answer, with what else is used of it beside RFC 6749's.
pub(super) type Granted = StandardTokenResponse<Beside, BasicTokenType>;

/// What OpenID Connect adds to the answer, and what the endpoint itself said where the normal form says ours.
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

/// What came over the wire, in as far as it matters.
pub(super) struct Raw {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) content_type: Option<HeaderValue>,
    pub(super) content_encoding: Option<HeaderValue>,
    pub(super) body: Vec<u8>,
}

/// What it says: no `Debug`, since the members hold the token.
pub(super) enum Reply {
    /// A success with these members.
    Members(Map<String, Value>),
    /// An OAuth error, or a 401 without one.
    Refused(Refusal),
}

/// An OAuth error. Its texts are as they came: they go nowhere but through [`Refusal::judge`].
pub(super) struct Refusal {
    status: StatusCode,
    retry_after: Option<Duration>,
    error: BasicErrorResponse,
}

impl Refusal {
    /// The error code as it came, to compare with.
    pub(super) fn code(&self) -> &str {
        self.error.error().as_ref()
    }

    /// Whether it is the client that was refused rather than the grant, so that another secret may do: `invalid_client`,
    /// and a 401 that names no code of the registry (RFC 6749 section 5.2 gives it this one meaning) or, as Keycloak does,
    /// `unauthorized_client`. A 401 with `invalid_grant` is about the user, whom a second try may lock out.
    pub(super) fn doubts_the_client(&self) -> bool {
        match self.code() {
            "invalid_client" => true,
            code if self.status != StatusCode::UNAUTHORIZED || TRANSIENT.contains(&code) => false,
            code => code == "unauthorized_client" || !REGISTERED.contains(&code),
        }
    }

    /// As a failure, its texts redacted.
    pub(super) fn judge(&self, secrets: &Secrets) -> Failure {
        let (code, description) = (self.code(), self.error.error_description());
        if TRANSIENT.contains(&code) {
            let words = cause(code, description.map(String::as_str), secrets);
            let failure = Failure::from(Unavailability::Busy).with_words(words);
            return Failure { retry_after: self.retry_after, ..failure };
        }
        let failure = Failure::rejected(secrets.code(code));
        failure.with_words(description.and_then(|text| secrets.text(text)))
    }
}

/// Members or a refusal; everything else is a failure.
pub(super) fn read(raw: &Raw, secrets: &Secrets) -> Result<Reply, Failure> {
    let status = raw.status;
    // Nobody asked for another encoding than none, and there is nothing here that decodes one.
    let encoding = raw.content_encoding.as_ref().filter(|v| !v.as_bytes().eq_ignore_ascii_case(b"identity"));
    let members = if encoding.is_some() { None } else { members(&raw.body) };
    let error = members.as_ref().and_then(|m| error(m, status.is_success()));
    let unavailable = |reason| {
        let words = match (&error, encoding, &raw.content_type) {
            (Some((code, description)), ..) => cause(code, description.as_deref(), secrets),
            (None, Some(encoding), _) => secrets.text(&format!(
                "content-encoding {}, which was not requested",
                String::from_utf8_lossy(encoding.as_bytes())
            )),
            (None, None, Some(kind)) => {
                secrets.text(&format!("content-type {}", String::from_utf8_lossy(kind.as_bytes())))
            }
            (None, None, None) => None,
        };
        Failure { retry_after: raw.retry_after, ..Failure::from(reason).with_words(words) }
    };
    let refused = |code: &str, description: Option<&str>| {
        let error = serde_json::from_value(json!({ "error": code, "error_description": description }));
        let error = error.map_err(|_| unavailable(Unavailability::Malformed))?;
        Ok(Reply::Refused(Refusal { status, retry_after: raw.retry_after, error }))
    };

    if status.is_redirection() {
        return Err(unavailable(Unavailability::Redirect));
    }
    match &error {
        // RFC 8628 section 3.5; some servers have a status of their own for it (428, 429).
        Some((code, description)) if PENDING.contains(&code.as_str()) && !status.is_server_error() => {
            refused(code, description.as_deref())
        }
        _ if status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429) => {
            Err(unavailable(Unavailability::Status(status.as_u16())))
        }
        Some((code, description)) if is_refusal(status, code) => refused(code, description.as_deref()),
        // RFC 6749 section 5.2 gives 401 one meaning; a gateway in front may well leave the body out.
        _ if status == StatusCode::UNAUTHORIZED => refused("http_401", None),
        _ if !status.is_success() => Err(unavailable(Unavailability::Status(status.as_u16()))),
        _ => members.map(Reply::Members).ok_or_else(|| unavailable(Unavailability::Malformed)),
    }
}

fn cause(code: &str, description: Option<&str>, secrets: &Secrets) -> Option<Arc<str>> {
    secrets.text(&description.map_or(code.to_owned(), |d| format!("{code}: {d}")))
}

/// A token, which must be there, from a success's members.
pub(super) fn token(members: &Map<String, Value>, wanted: BearerTokenType) -> Result<Granted, Failure> {
    let text = |name| text(members, name);
    let (access_token, id_token) = (text("access_token"), text("id_token"));
    match wanted {
        BearerTokenType::AccessToken if access_token.is_none() => return Err(Unavailability::NoToken.into()),
        BearerTokenType::IdToken if id_token.is_none() => return Err(Unavailability::NoIdToken.into()),
        _ => {}
    }
    let said_type = text("token_type");
    // Missing and odd types mean bearer in practice; these two mean a token that is useless without a key's proof.
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
        "expires_in": members.get("expires_in").and_then(seconds),
        "refresh_token": text("refresh_token"),
        "scope": scope.filter(|scope| !scope.is_empty()),
        "id_token": id_token,
        "said_type": said_type,
    });
    serde_json::from_value(normal).map_err(|_| Unavailability::Malformed.into())
}

/// A member that is a text and not empty.
pub(super) fn text<'m>(members: &'m Map<String, Value>, name: &str) -> Option<&'m str> {
    members.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
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

/// What a device is told as long as its user has not decided.
const PENDING: [&str; 2] = ["authorization_pending", "slow_down"];

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
    ["access_token", "id_token", "device_code", "error"]
        .iter()
        .any(|name| form.contains_key(*name))
        .then_some(form)
}

/// `error` and `error_description`, if there is an error: an `error` that is empty, null or false is none, and one
/// that is no text is none beside a token.
fn error(members: &Map<String, Value>, success: bool) -> Option<(String, Option<String>)> {
    let code = match members.get("error")? {
        Value::String(code) if !code.is_empty() => code,
        Value::String(_) | Value::Null | Value::Bool(false) => return None,
        _ if success && members.contains_key("access_token") => return None,
        _ => "unspecified",
    };
    Some((code.to_owned(), text(members, "error_description").map(str::to_owned)))
}

/// Whole seconds from 0 to [`schedule::MAX_LIFETIME`], from a number or a text that holds one.
pub(super) fn seconds(value: &Value) -> Option<u64> {
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

#[cfg(test)]
mod tests;
