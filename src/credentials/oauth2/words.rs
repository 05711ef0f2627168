//! The provider's own words in an answer without a token: its error codes, and its explanations for people.
//!
//! Both are as they came. They reach a log only through [`super::redact`].

use super::response::{AnswerMembers, Raw, text};
use http::HeaderValue;
use serde_json::Value;
use url::Url;

/// The members with an explanation, in the order in which they are shown.
const EXPLANATIONS: [&str; 9] = [
    "/error_description",
    "/message",
    // Okta.
    "/errorSummary",
    "/errorCode",
    // Zoom.
    "/reason",
    // Google, Meta.
    "/error/message",
    // RFC 9457.
    "/title",
    "/detail",
    // Strava.
    "/errors",
];

/// The members with an error code, the usual one first. An `error` that is an object has its code in `status`.
const CODES: [&str; 4] = ["/error", "/errorCode", "/error/status", "/status"];

/// Returns the error codes of an answer, without those of Microsoft.
pub(super) fn codes(members: &AnswerMembers) -> Vec<String> {
    let code = |pointer: &&str| match at(members, pointer)? {
        Value::String(code) if !code.is_empty() => Some(code.clone()),
        // As a number, `error` and `status` repeat the status of the answer.
        Value::Number(code) if *pointer == "/errorCode" => Some(code.to_string()),
        _ => None,
    };
    CODES.iter().filter_map(code).collect()
}

/// Returns the numbers by which Microsoft tells apart the cases of one error code.
pub(super) fn numbers(members: &AnswerMembers) -> Vec<u64> {
    let numbers = members.get("error_codes").and_then(Value::as_array);
    numbers.into_iter().flatten().filter_map(Value::as_u64).collect()
}

/// Returns true if the members report an error. An `error` that is empty, null or false is none, and one that is no text
/// is none beside a token.
pub(super) fn has_error(members: &AnswerMembers) -> bool {
    match members.get("error") {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(code)) => !code.is_empty(),
        Some(_) => text(members, "access_token").is_none(),
    }
}

/// Returns the explanations of an answer; without one the names of its members. `code` is shown beside them.
pub(super) fn of_members(members: &AnswerMembers, code: Option<&str>) -> Option<String> {
    let mut all: Vec<String> = Vec::new();
    // A code of several words is an explanation.
    for pointer in ["/error"].iter().chain(&EXPLANATIONS) {
        let Some(words) = at(members, pointer).and_then(plain) else { continue };
        if Some(&*words) != code && !all.contains(&words) {
            all.push(words);
        }
    }
    if all.is_empty() && code.is_none() && !members.is_empty() {
        let names: Vec<_> = members.keys().map(String::as_str).collect();
        all.push(format!("members {}", names.join(", ")));
    }
    (!all.is_empty()).then(|| all.join("; "))
}

/// Returns what the header of an answer without members says.
pub(super) fn of_header(raw: &Raw) -> Option<String> {
    let lossy = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    if let Some(location) = raw.location.as_ref().filter(|_| raw.status.is_redirection()) {
        return Some(format!("location {}", without_query(&lossy(location))));
    }
    if let Some(encoding) = raw.encoding() {
        return Some(format!("content-encoding {}, which was not requested", lossy(encoding)));
    }
    raw.content_type.as_ref().map(|kind| format!("content-type {}", lossy(kind)))
}

/// The query and the fragment of a redirect may hold tokens, its authority a password.
fn without_query(location: &str) -> String {
    let cut = location.split(['?', '#']).next().unwrap_or_default();
    match Url::parse(cut) {
        Ok(mut url) if url.has_host() => {
            // Neither fails for a URL with a host.
            let _ = url.set_username("").and_then(|()| url.set_password(None));
            url.into()
        }
        _ => cut.to_owned(),
    }
}

/// Returns a text, a number, or a list of them or of objects of them.
fn plain(value: &Value) -> Option<String> {
    let joined = |all: Vec<String>, separator| (!all.is_empty()).then(|| all.join(separator));
    match value {
        Value::Array(all) => {
            let one = |value: &Value| match value {
                Value::Object(members) => joined(members.values().filter_map(scalar).collect(), " "),
                value => scalar(value),
            };
            joined(all.iter().filter_map(one).collect(), ", ")
        }
        value => scalar(value),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => (!text.trim().is_empty()).then(|| text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Returns the member at a JSON Pointer of one or two names.
fn at<'m>(members: &'m AnswerMembers, pointer: &str) -> Option<&'m Value> {
    let mut names = pointer.split('/').skip(1);
    let first = members.get(names.next()?)?;
    names.next().map_or(Some(first), |second| first.get(second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn members(value: Value) -> AnswerMembers {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn explanations_of_providers() {
        for (answer, code, words) in [
            (json!({ "error": "a", "error_description": "b" }), Some("a"), "b"),
            // HubSpot.
            (
                json!({ "status": "BAD_CLIENT_ID", "message": "missing client" }),
                Some("BAD_CLIENT_ID"),
                "missing client",
            ),
            // Okta.
            (
                json!({ "errorCode": "E0000021", "errorSummary": "Bad media type", "errorCauses": [] }),
                Some("E0000021"),
                "Bad media type",
            ),
            // Google.
            (
                json!({ "error": { "code": 400, "message": "Bad audience", "status": "INVALID_ARGUMENT" } }),
                Some("INVALID_ARGUMENT"),
                "Bad audience",
            ),
            // Zoom.
            (
                json!({ "reason": "Invalid Token!", "error": "invalid_grant" }),
                Some("invalid_grant"),
                "Invalid Token!",
            ),
            // RFC 9457.
            (
                json!({ "title": "Forbidden", "status": 403, "detail": "No entry" }),
                None,
                "Forbidden; No entry",
            ),
            // Twitch.
            (
                json!({ "error": "Bad Request", "status": 400, "message": "Invalid refresh token" }),
                None,
                "Bad Request; Invalid refresh token",
            ),
            (json!({ "statusCode": 400, "message": ["a", "b"], "error": "a, b" }), None, "a, b"),
            // Strava.
            (
                json!({ "message": "Bad Request", "errors": [{ "resource": "RefreshToken", "code": "invalid" }] }),
                None,
                "Bad Request; invalid RefreshToken",
            ),
            (json!({ "data": { "access_token": "t" }, "ok": true }), None, "members data, ok"),
        ] {
            assert_eq!(of_members(&members(answer.clone()), code).as_deref(), Some(words), "{answer}");
        }
        assert_eq!(of_members(&members(json!({ "error": "a" })), Some("a")), None);
        assert_eq!(of_members(&members(json!({})), None), None);
    }

    #[test]
    fn codes_of_providers() {
        for (answer, expected) in [
            (json!({ "error": "a", "errorCode": "b", "status": "c" }), vec!["a", "b", "c"]),
            (json!({ "error": { "status": "a", "code": 7 }, "status": 400 }), vec!["a"]),
            (json!({ "errorCode": 4741, "error": "" }), vec!["4741"]),
            (json!({ "error": 400, "code": "a" }), vec![]),
        ] {
            assert_eq!(codes(&members(answer.clone())), expected, "{answer}");
        }
        assert_eq!(numbers(&members(json!({ "error_codes": [50076, "7"] }))), [50076]);
    }

    #[test]
    fn the_location_of_a_redirect_is_shown_without_its_query() {
        for (location, shown) in [
            ("https://id.example/new/token?code=c#x", "https://id.example/new/token"),
            ("https://a:b@id.example/t", "https://id.example/t"),
            ("/login?next=t", "/login"),
        ] {
            assert_eq!(without_query(location), shown);
        }
    }
}
