//! The meaning of an answer without a token: the grant is gone, the client or the request is wrong, or a later request may
//! succeed. This is the only place that decides it.
//!
//! An error code decides. The status does where there is none, and always for a 5xx and a 429: an endpoint in trouble
//! says nothing about the account, whatever is in its body.

use super::error::{Cause, Failure, REGISTERED, Unavailability};
use super::redact::{KnownSecrets, is_code};
use super::response::{AnswerMembers, Raw};
use super::words;
use crate::config::model::{Grant, OAuth2};
use http::StatusCode;
use std::sync::Arc;
use std::time::Duration;

/// The meaning of an error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ErrorMeaning {
    /// The refresh token or the password is refused for good.
    GrantGone,
    /// The secret of the client is wrong, so that another one of the list may do.
    Client,
    /// The endpoint asks to be tried later.
    Later,
}

/// The codes whose meaning is known. Any other is a refusal of the request.
const CODES: [(ErrorMeaning, &[&str]); 15] = [
    // RFC 6749 section 5.2. Most providers use no other.
    (ErrorMeaning::GrantGone, &["invalid_grant"]),
    (ErrorMeaning::Client, &["invalid_client"]),
    // RFC 6749 section 4.1.2.1, RFC 8628 section 3.5.
    (ErrorMeaning::Later, &["temporarily_unavailable", "server_error", "slow_down"]),
    // OpenID Connect Core 1.0 section 3.1.2.6, and Microsoft.
    (
        ErrorMeaning::GrantGone,
        &["interaction_required", "login_required", "consent_required", "account_selection_required"],
    ),
    // GitHub, with status 200.
    (ErrorMeaning::GrantGone, &["bad_refresh_token"]),
    (ErrorMeaning::Client, &["incorrect_client_credentials"]),
    // Google Workspace.
    (ErrorMeaning::GrantGone, &["admin_policy_enforced"]),
    // HubSpot.
    (ErrorMeaning::GrantGone, &["BAD_REFRESH_TOKEN"]),
    (ErrorMeaning::Client, &["BAD_CLIENT_SECRET"]),
    // Salesforce. It asks to repeat the request after an `unknown_error`.
    (ErrorMeaning::GrantGone, &["inactive_user", "inactive_org"]),
    (ErrorMeaning::Client, &["invalid_client_credentials"]),
    (ErrorMeaning::Later, &["unknown_error", "rate_limit_exceeded"]),
    // Slack, with status 200.
    (
        ErrorMeaning::GrantGone,
        &["token_revoked", "token_expired", "invalid_refresh_token", "account_inactive"],
    ),
    (ErrorMeaning::Client, &["bad_client_secret"]),
    (
        ErrorMeaning::Later,
        &["ratelimited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"],
    ),
];

/// The numbers in `error_codes` (Microsoft) that mean something else than the `error` beside them.
const MICROSOFT: [(ErrorMeaning, &[u64]); 2] = [
    // A user has to do something: another factor, a new password, consent, conditional access.
    (
        ErrorMeaning::GrantGone,
        &[
            50055, 50057, 50072, 50074, 50076, 50078, 50079, 50132, 50133, 50158, 50173, 53000, 53003, 65001,
            65004, 700_082, 700_084,
        ],
    ),
    // With `invalid_grant`: a client that asks too often. A fault and an overload of the endpoint.
    (ErrorMeaning::Later, &[50196, 90012, 90024, 90033]),
];

/// The texts of providers whose codes do not tell the cases apart: with this code, or without any, an explanation that
/// contains this text, in lower case.
const TEXTS: [(ErrorMeaning, Option<&str>, &str); 5] = [
    // Atlassian.
    (ErrorMeaning::GrantGone, Some("unauthorized_client"), "refresh_token is invalid"),
    // X.
    (ErrorMeaning::GrantGone, Some("invalid_request"), "value passed for the token was invalid"),
    // Twitch.
    (ErrorMeaning::GrantGone, None, "invalid refresh token"),
    // Strava.
    (ErrorMeaning::GrantGone, None, "invalid refresh_token refreshtoken"),
    // Salesforce, while another program uses the same refresh token.
    (ErrorMeaning::Later, Some("invalid_grant"), "token request is already being processed"),
];

/// An answer that is no failure of the transport or of the endpoint. No `Debug`: the members hold the token.
pub(super) enum EndpointReply {
    /// A success with these members.
    Members(AnswerMembers),
    /// A refusal.
    Refused(TokenRefusal),
}

/// A refusal. Its texts are as they came: they leave it only through [`TokenRefusal::judge`].
pub(super) struct TokenRefusal {
    status: StatusCode,
    retry_after: Option<Duration>,
    codes: Vec<String>,
    numbers: Vec<u64>,
    words: Option<String>,
}

/// The credential that the refused request presented.
#[derive(Clone, Copy)]
pub(super) enum Presented<'a> {
    /// The account's refresh token or password.
    Grant {
        /// Further codes that mean that it is refused for good.
        login_required_on: &'a [String],
    },
    /// The client, an assertion, or the code of a login: a refusal says nothing about a grant.
    Other,
}

impl<'a> Presented<'a> {
    /// Returns what a token request of the account presents.
    pub(super) fn by(config: &'a OAuth2) -> Self {
        if config.grant.refreshes() || matches!(config.grant, Grant::Password { .. }) {
            Self::Grant { login_required_on: &config.login_required_on }
        } else {
            Self::Other
        }
    }
}

/// Returns the members of a success or a refusal.
///
/// # Errors
///
/// If the answer says nothing about the account: a redirect, an endpoint in trouble, a success without members.
pub(super) fn read(raw: &Raw, secrets: &KnownSecrets) -> Result<EndpointReply, Failure> {
    let status = raw.status;
    let members = raw.members();
    let refusal = TokenRefusal::of(raw, members.as_ref());
    let has_error = members.as_ref().is_some_and(words::has_error);
    let names = |known: &[&str]| refusal.codes.iter().any(|code| known.contains(&&**code));
    let is_refused = match status.as_u16() {
        // RFC 8628 section 3.5; some servers answer with 428 or 429.
        200..300 | 400..500 if has_error && names(&PENDING) => true,
        429 => false,
        // A gateway's own error body is not the endpoint's.
        408 | 425 => has_error && names(&REGISTERED),
        400..500 => true,
        _ => status.is_success() && has_error,
    };
    if is_refused {
        return Ok(EndpointReply::Refused(refusal));
    }
    let reason = match members {
        Some(members) if status.is_success() => return Ok(EndpointReply::Members(members)),
        None if status.is_success() => Unavailability::Malformed,
        _ if status.is_redirection() => Unavailability::Redirect,
        _ => Unavailability::Status(status.as_u16()),
    };
    Err(refusal.unavailable(reason, secrets))
}

/// The codes that a device gets until its user has decided.
const PENDING: [&str; 2] = ["authorization_pending", "slow_down"];

impl TokenRefusal {
    fn of(raw: &Raw, members: Option<&AnswerMembers>) -> Self {
        let (codes, numbers) =
            members.map(|members| (words::codes(members), words::numbers(members))).unwrap_or_default();
        let code = codes.iter().find(|code| is_code(code)).map(String::as_str);
        let words = match members {
            Some(members) if !raw.status.is_redirection() => words::of_members(members, code),
            _ => words::of_header(raw),
        };
        Self { status: raw.status, retry_after: raw.retry_after, codes, numbers, words }
    }

    /// Returns the error code as it came, to compare with.
    pub(super) fn code(&self) -> Option<&str> {
        self.codes.iter().find(|code| is_code(code)).map(String::as_str)
    }

    /// Returns true if the client was refused and not the grant, so that another secret may do. A 401 means that unless
    /// it names another code of the registry (RFC 6749 section 5.2); Keycloak sends `unauthorized_client` with it. A 401
    /// with `invalid_grant` is about the user, whom a second try may lock out.
    pub(super) fn doubts_the_client(&self) -> bool {
        match self.meaning(Presented::Grant { login_required_on: &[] }) {
            Some(meaning) => meaning == ErrorMeaning::Client,
            None if self.status != StatusCode::UNAUTHORIZED => false,
            None => {
                self.code().is_none_or(|code| code == "unauthorized_client" || !REGISTERED.contains(&code))
            }
        }
    }

    /// Returns the failure, its texts redacted.
    pub(super) fn judge(&self, presented: Presented<'_>, secrets: &KnownSecrets) -> Failure {
        let code = match self.code() {
            Some(code) => secrets.code(code),
            None if self.status.is_success() => "unspecified".into(),
            None => format!("http_{}", self.status.as_u16()).into(),
        };
        let cause = match self.meaning(presented) {
            Some(ErrorMeaning::GrantGone) => Cause::GrantGone { code: Some(code) },
            Some(ErrorMeaning::Client) | None => Cause::Rejected { code },
            Some(ErrorMeaning::Later) => return self.unavailable(Unavailability::Busy, secrets),
        };
        let words = self.words.as_deref().and_then(|words| secrets.text(words));
        Failure { retry_after: self.retry_after, ..Failure::new(cause).with_words(words) }
    }

    fn meaning(&self, presented: Presented<'_>) -> Option<ErrorMeaning> {
        let named = |codes: &[String]| self.codes.iter().any(|code| codes.contains(code));
        let meaning = match presented {
            Presented::Grant { login_required_on } if named(login_required_on) => {
                Some(ErrorMeaning::GrantGone)
            }
            // From the particular to the general.
            _ => self
                .meaning_of_text()
                .or_else(|| find(&MICROSOFT, |number| self.numbers.contains(number)))
                .or_else(|| find(&CODES, |known| self.codes.iter().any(|code| code == known))),
        };
        meaning.filter(|meaning| {
            *meaning != ErrorMeaning::GrantGone || matches!(presented, Presented::Grant { .. })
        })
    }

    fn meaning_of_text(&self) -> Option<ErrorMeaning> {
        let words = self.words.as_deref()?.to_lowercase();
        let says = |code: Option<&str>, text| self.code() == code && words.contains(text);
        TEXTS.iter().find(|(_, code, text)| says(*code, *text)).map(|(meaning, ..)| *meaning)
    }

    fn unavailable(&self, reason: Unavailability, secrets: &KnownSecrets) -> Failure {
        let both = [self.code(), self.words.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(": ");
        let words: Option<Arc<str>> = secrets.text(&both);
        Failure { retry_after: self.retry_after, ..Failure::from(reason).with_words(words) }
    }
}

/// Returns the meaning of the first row with a matching code.
fn find<T>(table: &[(ErrorMeaning, &[T])], matches: impl Fn(&T) -> bool) -> Option<ErrorMeaning> {
    table.iter().find(|(_, codes)| codes.iter().any(&matches)).map(|(meaning, _)| *meaning)
}

#[cfg(test)]
mod tests;
