//! The verdict on answers of real providers, on statuses, and on codes of the file.

use super::super::stub;
use super::*;
use crate::secret::Secret;
use http::HeaderValue;

fn raw(status: u16, body: &str) -> Raw {
    Raw {
        status: StatusCode::from_u16(status).unwrap(),
        retry_after: Some(Duration::from_secs(7200)),
        content_type: Some(HeaderValue::from_static("text/html")),
        content_encoding: None,
        location: None,
        body: body.into(),
    }
}

fn judged_as(presented: Presented<'_>, status: u16, body: &str) -> Failure {
    let secrets = KnownSecrets::default();
    match read(&raw(status, body), &secrets) {
        Ok(EndpointReply::Refused(refusal)) => refusal.judge(presented, &secrets),
        Ok(EndpointReply::Members(_)) => panic!("a success: {status} {body}"),
        Err(failure) => failure,
    }
}

const GRANT: Presented<'_> = Presented::Grant { login_required_on: &[] };

fn judged(status: u16, body: &str) -> Cause {
    judged_as(GRANT, status, body).cause
}

fn gone(code: &str) -> Cause {
    Cause::GrantGone { code: Some(code.into()) }
}

fn rejected(code: &str) -> Cause {
    Cause::Rejected { code: code.into() }
}

const BUSY: Cause = Cause::Unavailable(Unavailability::Busy);

#[test]
fn refresh_tokens_that_providers_refuse_for_good() {
    for (status, body, code) in [
        // Google, Salesforce, QuickBooks, Xero, Notion, Dropbox, Okta.
        (400, r#"{"error":"invalid_grant","error_description":"Token has been revoked."}"#, "invalid_grant"),
        (401, r#"{"error":"invalid_grant"}"#, "invalid_grant"),
        (400, "error=invalid_grant", "invalid_grant"),
        // Zoom.
        (400, r#"{"reason":"Invalid Token!","error":"invalid_grant"}"#, "invalid_grant"),
        // Microsoft.
        (
            400,
            r#"{"error":"invalid_grant","error_description":"AADSTS700082: expired","error_codes":[700082]}"#,
            "invalid_grant",
        ),
        (
            400,
            r#"{"error":"interaction_required","error_codes":[50076],"suberror":"basic_action"}"#,
            "interaction_required",
        ),
        (400, r#"{"error":"invalid_request","error_codes":[50158]}"#, "invalid_request"),
        // GitHub.
        (200, r#"{"error":"bad_refresh_token","error_uri":"https://docs.example"}"#, "bad_refresh_token"),
        // HubSpot.
        (400, r#"{"status":"BAD_REFRESH_TOKEN","message":"unknown refresh token"}"#, "BAD_REFRESH_TOKEN"),
        // Slack.
        (200, r#"{"ok":false,"error":"token_revoked"}"#, "token_revoked"),
        (200, r#"{"ok":false,"error":"invalid_refresh_token"}"#, "invalid_refresh_token"),
        // Salesforce.
        (400, r#"{"error":"inactive_user","error_description":"user is inactive"}"#, "inactive_user"),
        // Atlassian.
        (
            403,
            r#"{"error":"unauthorized_client","error_description":"refresh_token is invalid"}"#,
            "unauthorized_client",
        ),
        // X.
        (
            400,
            r#"{"error":"invalid_request","error_description":"Value passed for the token was invalid."}"#,
            "invalid_request",
        ),
        // Twitch.
        (400, r#"{"status":400,"message":"Invalid refresh token"}"#, "http_400"),
        // Strava.
        (
            400,
            r#"{"message":"Bad Request","errors":[{"resource":"RefreshToken","field":"refresh_token","code":"invalid"}]}"#,
            "http_400",
        ),
        // Okta.
        (
            400,
            r#"{"errorCode":"invalid_grant","errorSummary":"The refresh token is invalid"}"#,
            "invalid_grant",
        ),
        (403, r#"{"error":"consent_required"}"#, "consent_required"),
    ] {
        assert_eq!(judged(status, body), gone(code), "{body}");
        // The same answer to a client, an assertion or a code is about the request.
        assert_eq!(judged_as(Presented::Other, status, body).cause, rejected(code), "{body}");
    }
}

#[test]
fn clients_and_requests_that_providers_refuse() {
    for (status, body, code) in [
        (401, r#"{"error":"invalid_client"}"#, "invalid_client"),
        (
            400,
            r#"{"error":"unauthorized_client","error_description":"grant not allowed"}"#,
            "unauthorized_client",
        ),
        (200, r#"{"error":"incorrect_client_credentials"}"#, "incorrect_client_credentials"),
        (400, r#"{"status":"BAD_CLIENT_ID","message":"missing or unknown client id"}"#, "BAD_CLIENT_ID"),
        (400, r#"{"errorCode":"E0000021","errorSummary":"Bad media type"}"#, "E0000021"),
        (
            400,
            r#"{"error":{"code":400,"message":"Bad audience","status":"INVALID_ARGUMENT"}}"#,
            "INVALID_ARGUMENT",
        ),
        (200, r#"{"ok":false,"error":"bad_client_secret"}"#, "bad_client_secret"),
        (200, r#"{"error":"Not for you"}"#, "unspecified"),
        (200, r#"{"error":{"code":101}}"#, "unspecified"),
        (200, r#"{"error":"invalid_client","access_token":"t"}"#, "invalid_client"),
        (400, r#"{"error":{"code":101}}"#, "http_400"),
        (422, r#"{"error":"invalid_scope"}"#, "invalid_scope"),
    ] {
        assert_eq!(judged(status, body), rejected(code), "{body}");
    }
}

#[test]
fn a_4xx_is_a_refusal_except_those_that_ask_to_repeat() {
    for status in [400, 401, 403, 404, 405, 415, 428, 499] {
        for body in ["", "<h1>no</h1>", r#"{"error":"Not Found"}"#] {
            assert_eq!(judged(status, body), rejected(&format!("http_{status}")), "{body}");
        }
    }
    for status in [408, 425, 429] {
        for body in ["", "<h1>no</h1>", r#"{"error":"Request Timeout","message":"later"}"#] {
            assert_eq!(judged(status, body), Cause::Unavailable(Unavailability::Status(status)), "{body}");
        }
    }
    assert_eq!(judged(408, r#"{"error":"invalid_grant"}"#), gone("invalid_grant"));
}

#[test]
fn an_endpoint_in_trouble_says_nothing_about_the_account() {
    for status in [429, 500, 502, 503, 504, 599] {
        for body in ["", r#"{"error":"invalid_client"}"#, r#"{"error":"invalid_grant"}"#] {
            assert_eq!(judged(status, body), Cause::Unavailable(Unavailability::Status(status)), "{body}");
        }
    }
    assert_eq!(judged(302, r#"{"error":"invalid_grant"}"#), Cause::Unavailable(Unavailability::Redirect));
}

#[test]
fn codes_that_ask_for_another_try() {
    for body in [
        r#"{"error":"temporarily_unavailable"}"#,
        r#"{"error":"server_error"}"#,
        // Microsoft, to a client that asks too often.
        r#"{"error":"invalid_grant","error_codes":[50196]}"#,
        // Salesforce.
        r#"{"error":"unknown_error","error_description":"retry your request"}"#,
        r#"{"error":"invalid_grant","error_description":"token request is already being processed"}"#,
        // Slack.
        r#"{"ok":false,"error":"ratelimited"}"#,
    ] {
        for status in [200, 400, 401] {
            assert_eq!(judged(status, body), BUSY, "{body}");
        }
    }
}

#[test]
fn codes_of_the_file_mean_that_the_grant_is_gone() {
    let codes = ["invalid_request", "E0000021", "PERMISSION_DENIED", "ACCOUNT_CLOSED", "Bad Request"];
    let codes = codes.map(str::to_owned);
    let presented = Presented::Grant { login_required_on: &codes };
    for (body, code) in [
        (r#"{"error":"invalid_request"}"#, "invalid_request"),
        (r#"{"errorCode":"E0000021"}"#, "E0000021"),
        (r#"{"error":{"status":"PERMISSION_DENIED"}}"#, "PERMISSION_DENIED"),
        (r#"{"status":"ACCOUNT_CLOSED"}"#, "ACCOUNT_CLOSED"),
        (r#"{"error":"Bad Request","status":400}"#, "http_400"),
    ] {
        assert_eq!(judged_as(presented, 400, body).cause, gone(code), "{body}");
        assert!(matches!(judged(400, body), Cause::Rejected { .. }), "{body}");
    }
    let failure = judged_as(presented, 503, r#"{"error":"invalid_request"}"#);
    assert_eq!(failure.cause, Cause::Unavailable(Unavailability::Status(503)));
}

#[test]
fn a_password_is_a_grant_and_a_client_is_none() {
    let password = Grant::Password { username: Secret::new("a"), password: Secret::new("b") };
    for (grant, expected) in [
        (password, gone("invalid_grant")),
        (Grant::RefreshToken { refresh_token: Secret::new("a") }, gone("invalid_grant")),
        (Grant::ClientCredentials, rejected("invalid_grant")),
    ] {
        let config = OAuth2 { grant, ..stub::config("https://id.example/token") };
        let failure = judged_as(Presented::by(&config), 400, r#"{"error":"invalid_grant"}"#);
        assert_eq!(failure.cause, expected);
    }
}

#[test]
fn retry_after_is_passed_on_in_full() {
    for (status, body) in [(400, r#"{"error":"a"}"#), (503, ""), (400, r#"{"error":"slow_down"}"#)] {
        assert_eq!(judged_as(GRANT, status, body).retry_after, Some(Duration::from_secs(7200)));
    }
}

#[test]
fn the_words_of_the_provider() {
    let mut redirect = raw(302, r#"{"message":"moved"}"#);
    redirect.location = Some(HeaderValue::from_static("/new?code=c"));
    let Err(failure) = read(&redirect, &KnownSecrets::default()) else { panic!("no failure") };
    assert_eq!(failure.words.as_deref(), Some("location /new"));
    for (status, body, words) in [
        (400, r#"{"error":"a","error_description":"b"}"#, Some("b")),
        (400, r#"{"status":"BAD_CLIENT_ID","message":"b"}"#, Some("b")),
        (400, r#"{"error":"a"}"#, None),
        (400, r#"{"error":"Not Found"}"#, Some("Not Found")),
        (400, "", Some("content-type text/html")),
        (400, r#"{"foo":"x","bar":"y"}"#, Some("members bar, foo")),
        (503, r#"{"error":"a","message":"b"}"#, Some("a: b")),
        (200, "<html>", Some("content-type text/html")),
    ] {
        assert_eq!(judged_as(GRANT, status, body).words.as_deref(), words, "{body}");
    }
}

#[test]
fn a_refusal_of_the_client_is_told_from_one_of_the_grant() {
    let doubts = |status, body| match read(&raw(status, body), &KnownSecrets::default()) {
        Ok(EndpointReply::Refused(refusal)) => refusal.doubts_the_client(),
        _ => panic!("not refused: {body}"),
    };
    for (status, body) in [
        (401, ""),
        (400, r#"{"error":"invalid_client"}"#),
        (401, r#"{"error":"unauthorized_client"}"#),
        (401, r#"{"error":"invalid_credentials"}"#),
        (200, r#"{"error":"incorrect_client_credentials"}"#),
        (200, r#"{"ok":false,"error":"bad_client_secret"}"#),
    ] {
        assert!(doubts(status, body), "{body}");
    }
    for (status, body) in [
        (400, ""),
        (401, r#"{"error":"invalid_grant"}"#),
        (401, r#"{"error":"invalid_scope"}"#),
        (400, r#"{"error":"unauthorized_client"}"#),
        (401, r#"{"error":"unauthorized_client","error_description":"refresh_token is invalid"}"#),
        (200, r#"{"error":"bad_refresh_token"}"#),
    ] {
        assert!(!doubts(status, body), "{body}");
    }
}

#[test]
fn an_error_that_is_none_beside_a_token() {
    for none in ["null", r#""""#, "false", "0", "{}"] {
        let body = format!(r#"{{"error":{none},"access_token":"t"}}"#);
        assert!(
            matches!(read(&raw(200, &body), &KnownSecrets::default()), Ok(EndpointReply::Members(_))),
            "{body}"
        );
    }
}

#[test]
fn a_description_in_latin1_does_not_hide_the_code() {
    let mut answer = raw(400, "");
    answer.body = b"{\"error\":\"invalid_client\",\"error_description\":\"ung\xfcltig\"}".to_vec();
    let Ok(EndpointReply::Refused(refusal)) = read(&answer, &KnownSecrets::default()) else {
        panic!("not refused")
    };
    assert_eq!(refusal.judge(GRANT, &KnownSecrets::default()).cause, rejected("invalid_client"));
}

#[test]
fn no_code_has_two_meanings() {
    let all: Vec<_> = CODES.iter().flat_map(|(_, codes)| *codes).collect();
    let distinct: std::collections::HashSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
}
