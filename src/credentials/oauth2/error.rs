//! Why there is no token: [`Failure`] of one request, and [`TokenError`] for the requests that waited for it.
//!
//! The words of a token endpoint reach logs, `/status` and the operator's terminal, and only after [`super::redact`].
//! Callers are told a fixed sentence and at most an error code from the registry.

use crate::credentials::TokenResult;
use crate::secret::Secret;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Why one token request, or a look into the store, gave no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its meaning for the account.
    pub cause: Cause,
    /// The provider's own words, or the transport's: redacted, one line, at most 1,000 characters.
    pub words: Option<Arc<str>>,
    /// The pause that the endpoint asked for.
    pub retry_after: Option<Duration>,
    /// A refresh token that came beside a token that can't be sent: the one before may be spent.
    pub successor: Option<Secret>,
}

/// The meaning of a failure for the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The client or the request is wrong: an operator has to change something.
    Rejected {
        /// The provider's error code, reduced to its allowed characters.
        code: Arc<str>,
    },
    /// The grant is gone: a person has to sign in, or the account needs another refresh token or password.
    GrantGone {
        /// The provider's error code; `None` if no request was sent.
        code: Option<Arc<str>>,
    },
    /// There is no usable answer: a later request may succeed.
    Unavailable(Unavailability),
}

impl Failure {
    /// Returns a failure with nothing but its cause.
    pub fn new(cause: Cause) -> Self {
        Self { cause, words: None, retry_after: None, successor: None }
    }

    /// Returns a refusal with this code, which must be redacted.
    pub fn rejected(code: impl Into<Arc<str>>) -> Self {
        Self::new(Cause::Rejected { code: code.into() })
    }

    /// Returns the failure of an account that has no grant: no request was sent.
    pub fn needs_login() -> Self {
        Self::new(Cause::GrantGone { code: None })
    }

    /// Adds the provider's or the transport's words. They must be redacted.
    pub fn with_words(self, words: impl Into<Option<Arc<str>>>) -> Self {
        Self { words: words.into(), ..self }
    }

    /// Returns what those who waited are told: a successor is for the store alone.
    pub(super) fn into_error(self, retry_after: Duration) -> TokenError {
        TokenError { failure: Arc::new(Self { successor: None, ..self }), retry_after }
    }

    /// Returns the `result` of the metric.
    pub fn result(&self) -> TokenResult {
        match self.cause {
            Cause::Rejected { .. } | Cause::GrantGone { .. } => TokenResult::Rejected,
            Cause::Unavailable(Unavailability::TimedOut) => TokenResult::Timeout,
            Cause::Unavailable(_) => TokenResult::Unavailable,
        }
    }
}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Self {
        Self::new(cause)
    }
}

impl From<Unavailability> for Failure {
    fn from(reason: Unavailability) -> Self {
        Self::new(Cause::Unavailable(reason))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.cause, &self.words) {
            (Cause::GrantGone { code: Some(code) }, Some(words)) => {
                return write!(f, "the account needs a login ({code}: {words})");
            }
            (Cause::GrantGone { code: Some(code) }, None) => {
                return write!(f, "the account needs a login ({code})");
            }
            (Cause::GrantGone { code: None }, _) => f.write_str("the account needs a login")?,
            (Cause::Rejected { code }, _) => write!(f, "the token endpoint refused the account: {code}")?,
            (Cause::Unavailable(reason), _) => write!(f, "{reason}")?,
        }
        self.words.as_ref().map_or(Ok(()), |words| write!(f, " ({words})"))
    }
}

impl std::error::Error for Failure {}

/// There is no token: what the requests that waited for it are told. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{failure}")]
pub struct TokenError {
    /// Why.
    pub failure: Arc<Failure>,
    /// The time until the next token request; requests before that fail at once. May be zero.
    pub retry_after: Duration,
}

impl TokenError {
    /// Returns what a caller may be told: nothing from the token endpoint but a registered OAuth error code.
    pub fn detail(&self) -> String {
        use Unavailability::{Assertion, Locked, State, TimedOut};
        match &self.failure.cause {
            Cause::Rejected { code } => match REGISTERED.iter().find(|known| **known == &**code) {
                Some(code) => format!("The token endpoint refused the account's credentials ({code})."),
                None => "The token endpoint refused the account's credentials.".to_owned(),
            },
            Cause::GrantGone { .. } => {
                "The account needs a login, another refresh token or another password; attache's log says what to do."
                    .to_owned()
            }
            Cause::Unavailable(TimedOut) => "The account's token endpoint did not answer in time.".to_owned(),
            Cause::Unavailable(State | Locked | Assertion) => {
                "attache can't read or store the account's refresh token or assertion; its log says why."
                    .to_owned()
            }
            Cause::Unavailable(_) => "The account's token endpoint is not available.".to_owned(),
        }
    }

    /// Returns the `reason` of the access log.
    pub fn reason(&self) -> Cow<'static, str> {
        match &self.failure.cause {
            Cause::Rejected { code } => Cow::Owned(code.to_string()),
            Cause::GrantGone { .. } => Cow::Borrowed("needs_login"),
            Cause::Unavailable(reason) => Cow::Borrowed(reason.as_str()),
        }
    }
}

/// The error codes of token endpoints in RFC 6749 section 5.2, RFC 8707, RFC 8628, RFC 9449 and OpenID Connect.
pub(super) const REGISTERED: [&str; 13] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
    "access_denied",
    "expired_token",
    "interaction_required",
    "login_required",
    "consent_required",
    "invalid_dpop_proof",
];

/// Why there is neither a token nor a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailability {
    /// No connection: refused, no route, the name does not resolve.
    Connect,
    /// The forward proxy made no connection.
    Proxy,
    /// No trusted TLS connection.
    Tls,
    /// The connection broke, or the answer is not HTTP.
    Transport,
    /// No answer in time.
    TimedOut,
    /// A status that is neither a token nor a refusal.
    Status(u16),
    /// A redirect. It is not followed: the client's secret is for the URL of the file alone.
    Redirect,
    /// An error code that asks for another try later, such as `temporarily_unavailable`.
    Busy,
    /// An answer that is too large for a token.
    TooLarge,
    /// An answer that is neither JSON nor a form.
    Malformed,
    /// An answer of the device authorization endpoint that lacks what a user needs.
    NoDeviceCode,
    /// No `access_token` in the answer.
    NoToken,
    /// `bearer_token_type: id_token`, and no `id_token` in the answer.
    NoIdToken,
    /// A token that must not be sent as a bearer token (`DPoP`, `mac`).
    TokenType,
    /// A token that had expired when it arrived.
    Expired,
    /// A token with characters other than visible ASCII.
    TokenCharacters,
    /// The store can't be used.
    State,
    /// Another process holds the lock of the account's entry.
    Locked,
    /// The file of a token or an assertion can't be read, or a key can't sign.
    Assertion,
    /// The request was aborted: attache is shutting down.
    Interrupted,
}

impl Unavailability {
    /// Returns the `reason` of the access log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "token_endpoint_unreachable",
            Self::Proxy => "token_endpoint_proxy",
            Self::Tls => "token_endpoint_tls",
            Self::Transport => "token_endpoint_terminated",
            Self::TimedOut => "token_endpoint_timeout",
            Self::Status(_) | Self::Redirect => "token_endpoint_status",
            Self::Busy => "token_endpoint_busy",
            Self::TooLarge
            | Self::Malformed
            | Self::NoDeviceCode
            | Self::NoToken
            | Self::NoIdToken
            | Self::TokenType
            | Self::Expired
            | Self::TokenCharacters => "token_endpoint_answer",
            Self::State | Self::Locked => "state_unavailable",
            Self::Assertion => "assertion_unavailable",
            Self::Interrupted => "interrupted",
        }
    }
}

impl fmt::Display for Unavailability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "the token endpoint can't be reached",
            Self::Proxy => "the forward proxy made no connection to the token endpoint",
            Self::Tls => "no trusted TLS connection to the token endpoint",
            Self::Transport => "the connection to the token endpoint failed",
            Self::TimedOut => "the token endpoint did not answer in time",
            Self::Status(status) => return write!(f, "the token endpoint answered with status {status}"),
            Self::Redirect => "the token endpoint answered with a redirect",
            Self::Busy => "the token endpoint asked to try again later",
            Self::TooLarge => "the token endpoint's answer is too large",
            Self::Malformed => "the token endpoint's answer is neither JSON nor a form",
            Self::NoDeviceCode => "the device authorization endpoint's answer is not usable",
            Self::NoToken => "the token endpoint's answer has no access_token",
            Self::NoIdToken => "the token endpoint's answer has no id_token",
            Self::TokenType => "the token endpoint's token is not a bearer token",
            Self::Expired => "the token had expired when it arrived",
            Self::TokenCharacters => {
                "the token endpoint's token has a space or a character that no token contains"
            }
            Self::State => "the account's refresh token can't be read or stored",
            Self::Locked => "another process is using the account's refresh token",
            Self::Assertion => "the account's assertion can't be created",
            Self::Interrupted => "the token request was aborted",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(failure: impl Into<Failure>) -> TokenError {
        TokenError { failure: Arc::new(failure.into()), retry_after: Duration::ZERO }
    }

    #[test]
    fn a_caller_is_told_registered_codes_only() {
        let rejected = |code: &str| {
            error(Failure::new(Cause::Rejected { code: code.into() }).with_words(Arc::from("a is locked")))
        };
        assert_eq!(
            rejected("invalid_client").detail(),
            "The token endpoint refused the account's credentials (invalid_client)."
        );
        assert_eq!(
            rejected("hello_from_the_idp").detail(),
            "The token endpoint refused the account's credentials."
        );
    }

    #[test]
    fn a_fault_of_attache_is_not_attributed_to_the_endpoint() {
        assert!(error(Unavailability::State).detail().contains("its log says why"));
        assert!(error(Unavailability::Connect).detail().contains("token endpoint"));
    }

    #[test]
    fn a_failure_is_one_sentence_and_then_the_providers_words() {
        let rejected = Failure::new(Cause::Rejected { code: "invalid_client".into() });
        assert_eq!(
            rejected.with_words(Arc::from("locked")).to_string(),
            "the token endpoint refused the account: invalid_client (locked)"
        );
        let gone = Failure::new(Cause::GrantGone { code: Some("invalid_grant".into()) });
        assert_eq!(gone.to_string(), "the account needs a login (invalid_grant)");
        let gone = gone.with_words(Arc::from("user suspended"));
        assert_eq!(gone.to_string(), "the account needs a login (invalid_grant: user suspended)");
        assert_eq!(Failure::from(Unavailability::Connect).to_string(), "the token endpoint can't be reached");
    }
}
