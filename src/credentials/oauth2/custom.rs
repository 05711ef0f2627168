//! `grant: custom`: the request as the file describes it, and the token in its answer.
//!
//! The answer is given the members of RFC 6749 section 5, so what it means is decided where it is for every other grant.

use super::assertion;
use super::error::{Failure, Unavailability};
use super::form::FormBody;
use super::redact::KnownSecrets;
use super::response::{AnswerMembers, Raw};
use crate::config::model::{CustomGrant, CustomParams, CustomResponse, JsonParam};
use crate::header_name::FieldName;
use crate::secret::Secret;
use http::{HeaderValue, Method, header};
use serde_json::Value;
use std::time::{SystemTime, UNIX_EPOCH};
use url::Url;
use zeroize::Zeroizing;

/// The parts of a token request. No `Debug`: each may hold a secret.
pub(super) struct CustomRequest {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: Vec<(FieldName, HeaderValue)>,
    pub(super) body: Option<Zeroizing<String>>,
}

/// Returns the request to `url` at `now`. `form` has the parameters of a query or a form, `authorization` is that of HTTP
/// Basic. Adds what no text may hold to `secrets`.
pub(super) async fn request(
    custom: &CustomGrant,
    url: &Url,
    form: &FormBody,
    authorization: Option<HeaderValue>,
    now: SystemTime,
    secrets: &mut KnownSecrets,
) -> Result<CustomRequest, Failure> {
    let mut url = url.clone();
    let (kind, body) = match &custom.params {
        CustomParams::Query(_) => {
            add_query(&mut url, form);
            (None, (custom.method != Method::GET).then(Zeroizing::default))
        }
        CustomParams::Form(_) => {
            (Some("application/x-www-form-urlencoded"), Some(Zeroizing::new(form.encode())))
        }
        CustomParams::Json(params) => (Some("application/json"), Some(json(params, secrets))),
    };
    let field = |name, value| (FieldName::from_static(name), HeaderValue::from_static(value));
    let mut headers = Vec::with_capacity(custom.headers.len() + 3);
    if !custom.headers.iter().any(|(name, _)| *name == header::ACCEPT) {
        headers.push(field("Accept", "application/json"));
    }
    for (name, value) in &custom.headers {
        // `Accept: text/html` is no secret, and words of it may be in any text.
        if *name != header::ACCEPT
            && let Ok(text) = std::str::from_utf8(value.as_bytes())
        {
            secrets.add(&Secret::new(text));
        }
        headers.push((name.clone(), value.clone()));
    }
    headers.extend(kind.map(|kind| field("Content-Type", kind)));
    let authorization = match &custom.assertion {
        Some(assertion) => {
            let token = assertion::make_bearer(assertion, now).await?;
            secrets.add(&token);
            Some(bearer(&token)?)
        }
        None => authorization,
    };
    headers.extend(authorization.map(|value| (FieldName::from_static("Authorization"), value)));
    Ok(CustomRequest { method: custom.method.clone(), url, headers, body })
}

fn bearer(token: &Secret) -> Result<HeaderValue, Failure> {
    let text = Zeroizing::new(format!("Bearer {}", token.expose()));
    let mut value = HeaderValue::from_str(&text).map_err(|_| Failure::from(Unavailability::Assertion))?;
    value.set_sensitive(true);
    Ok(value)
}

fn add_query(url: &mut Url, form: &FormBody) {
    let added = Zeroizing::new(form.encode());
    if !added.is_empty() {
        let query = match url.query() {
            Some(query) if !query.is_empty() => Zeroizing::new(format!("{query}&{}", *added)),
            _ => added,
        };
        url.set_query(Some(&query));
    }
}

/// Returns the text of an object. Adds its secrets to `secrets`.
pub(super) fn json(members: &[(String, JsonParam)], secrets: &mut KnownSecrets) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::new());
    write_object(members, &mut out, secrets);
    out
}

fn write_object(members: &[(String, JsonParam)], out: &mut String, secrets: &mut KnownSecrets) {
    out.push('{');
    for (at, (name, value)) in members.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        out.push_str(&format!("{comma}{}:", Value::from(name.as_str())));
        write_json(value, out, secrets);
    }
    out.push('}');
}

fn write_json(value: &JsonParam, out: &mut String, secrets: &mut KnownSecrets) {
    match value {
        JsonParam::Value(value) => out.push_str(&value.to_string()),
        JsonParam::Secret(secret) => {
            secrets.add(secret);
            out.push_str(&Zeroizing::new(Value::from(secret.expose()).to_string()));
        }
        JsonParam::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                write_json(item, out, secrets);
            }
            out.push(']');
        }
        JsonParam::Object(members) => write_object(members, out, secrets),
    }
}

/// Gives the answer that came at `now` the members of RFC 6749: the token as `access_token`, its lifetime as
/// `expires_in`, a refusal as `error`. The others stay, since they may explain a refusal. An answer that is not JSON stays
/// as it is. Returns true if `expires_at` says that the token is over: no default stands in for that.
pub(super) fn normalise(raw: &mut Raw, response: &CustomResponse, now: SystemTime) -> bool {
    if raw.encoding().is_some() {
        return false;
    }
    let text = String::from_utf8_lossy(&raw.body);
    let Ok(answer) = serde_json::from_str::<Value>(text.trim_start_matches('\u{feff}')) else { return false };
    let left = left(&answer, response, now);
    let found = members(&answer, response, left);
    let mut members = match answer {
        Value::Object(members) => members,
        _ => AnswerMembers::new(),
    };
    for name in ["access_token", "id_token", "refresh_token", "expires_in", "error"] {
        members.remove(name);
    }
    members.extend(found);
    raw.body = Value::Object(members).to_string().into_bytes();
    left == Some(0)
}

/// Returns the seconds that are left at `now` of the token in the answer, if `expires_at` says so.
fn left(answer: &Value, response: &CustomResponse, now: SystemTime) -> Option<u64> {
    seconds_until(answer.pointer(response.expires_at.as_deref()?)?, now)
}

/// Returns the members that the pointers find. `left`: the seconds until `expires_at`.
fn members(answer: &Value, response: &CustomResponse, left: Option<u64>) -> AnswerMembers {
    let mut found = AnswerMembers::new();
    let mut add =
        |name: &str, value: Option<Value>| found.extend(value.map(|value| (name.to_owned(), value)));
    let at = |pointer: &str| answer.pointer(pointer).cloned();
    add("access_token", at(&response.token).filter(Value::is_string));
    add("expires_in", left.map(Value::from).or_else(|| at(&response.expires_in)));
    // Some report success as the number 0.
    add(
        "error",
        at(&response.error).filter(|error| error.as_f64() != Some(0.0)).map(|error| match error {
            Value::Number(code) => code.to_string().into(),
            other => other,
        }),
    );
    found
}

/// Returns the seconds from `now` to a time that is RFC 3339, or in Unix seconds as a number or a text. 0 if it is over.
/// 1970 and earlier is no time: it is the zero value of many languages.
fn seconds_until(end: &Value, now: SystemTime) -> Option<u64> {
    let seconds = |seconds: f64| {
        (seconds.is_finite() && seconds >= 0.0)
            .then(|| UNIX_EPOCH.checked_add(std::time::Duration::try_from_secs_f64(seconds).ok()?))
            .flatten()
    };
    let end = match end {
        Value::Number(number) => seconds(number.as_f64()?)?,
        Value::String(text) => match text.trim().parse::<f64>() {
            Ok(number) => seconds(number)?,
            Err(_) => SystemTime::try_from(text.trim().parse::<jiff::Timestamp>().ok()?).ok()?,
        },
        _ => return None,
    };
    end.duration_since(UNIX_EPOCH).ok().filter(|since| !since.is_zero())?;
    Some(end.duration_since(now).unwrap_or_default().as_secs())
}

#[cfg(test)]
mod tests;
