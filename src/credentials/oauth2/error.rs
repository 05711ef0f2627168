//! Why there is no token: [`TokenError`] for those who waited, [`Failure`] for the engine that judges it.
//!
//! What a token endpoint writes is for the log alone, and only after [`super::redact`]; callers are told a
//! sentence of ours and at most an error code from the registry.

use crate::credentials::TokenResult;
use crate::secret::Secret;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// There is no token. Cheap to clone: all waiters of one flight are told the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The token endpoint said no (`token_rejected`): trying again at once would change nothing.
    #[error("the token endpoint refused the account: {error}")]
    Rejected {
        /// The OAuth `error`, reduced to its allowed characters.
        error: Arc<str>,
        /// The `error_description`, redacted. For the log only.
        description: Option<Arc<str>>,
        /// Until the next token request; calls before that are answered at once.
        retry_after: Duration,
    },
    /// A person has to sign in (`token_rejected`): there is no refresh token yet, or the last one was refused.
    #[error("the account needs a login")]
    NeedsLogin {
        /// Until the next look whether somebody did.
        retry_after: Duration,
    },
    /// The token endpoint is down, or what it said makes no sense (`token_unavailable`).
    #[error("no token to be had: {reason}")]
    Unavailable {
        /// What went wrong.
        reason: Unavailability,
        /// Until the next token request; calls before that are answered at once.
        retry_after: Duration,
    },
}

impl TokenError {
    /// How long to wait before the next try has a chance. May be zero.
    pub fn retry_after(&self) -> Duration {
        match self {
            Self::Rejected { retry_after, .. }
            | Self::NeedsLogin { retry_after }
            | Self::Unavailable { retry_after, .. } => *retry_after,
        }
    }

    /// What a caller may be told: nothing from the token endpoint but a registered OAuth error code.
    pub fn detail(&self) -> String {
        match self {
            Self::Rejected { error, .. } => match REGISTERED.iter().find(|code| **code == &**error) {
                Some(code) => format!("The token endpoint refused the account's credentials ({code})."),
                None => "The token endpoint refused the account's credentials.".to_owned(),
            },
            Self::NeedsLogin { .. } => {
                "The account needs a login, or another refresh token; attache's log says what to do."
                    .to_owned()
            }
            Self::Unavailable { reason: Unavailability::TimedOut, .. } => {
                "The account's token endpoint did not answer in time.".to_owned()
            }
            Self::Unavailable {
                reason: Unavailability::State | Unavailability::Locked | Unavailability::Assertion,
                ..
            } => "attache can't read or keep what the account asks with; its log says why.".to_owned(),
            Self::Unavailable { .. } => "The account's token endpoint is not available.".to_owned(),
        }
    }

    pub(super) fn with_retry_after(&self, remaining: Duration) -> Self {
        let mut error = self.clone();
        match &mut error {
            Self::Rejected { retry_after, .. }
            | Self::NeedsLogin { retry_after }
            | Self::Unavailable { retry_after, .. } => {
                *retry_after = remaining;
            }
        }
        error
    }
}

/// The error codes of RFC 6749 section 5.2, RFC 8707, RFC 8628 and OpenID Connect that a token endpoint may give.
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

/// Why the token endpoint gave neither a token nor a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailability {
    /// No connection: refused, no route, the name does not resolve.
    Connect,
    /// No trusted TLS connection.
    Tls,
    /// The connection broke, or what came is not HTTP.
    Transport,
    /// No answer in time.
    TimedOut,
    /// A status that is neither a token nor a refusal.
    Status(u16),
    /// A redirect: following it would carry the client's secret to who knows where.
    Redirect,
    /// It asks to be tried later (`temporarily_unavailable`, `server_error`, `slow_down`).
    Busy,
    /// An answer larger than a token answer can be.
    TooLarge,
    /// An answer that is neither JSON nor a form.
    Malformed,
    /// An answer of the device authorization endpoint that lacks what a person needs.
    NoDeviceCode,
    /// No `access_token` in the answer.
    NoToken,
    /// `bearer_token_type: id_token`, and no `id_token` in the answer.
    NoIdToken,
    /// A token that must not be sent as a bearer token (`DPoP`, `mac`).
    TokenType,
    /// A token with characters that no header may hold.
    TokenCharacters,
    /// The folder of refresh tokens can't be used.
    State,
    /// Another process holds the account's refresh token.
    Locked,
    /// The file of a token or an assertion can't be read, or a key can't sign.
    Assertion,
    /// attache stopped asking: it is shutting down.
    Interrupted,
}

impl Unavailability {
    /// Returns the `reason` of the access log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "token_endpoint_unreachable",
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
            Self::Tls => "no trusted tls connection to the token endpoint",
            Self::Transport => "the connection to the token endpoint broke",
            Self::TimedOut => "the token endpoint did not answer in time",
            Self::Status(status) => return write!(f, "the token endpoint answered with status {status}"),
            Self::Redirect => "the token endpoint redirects",
            Self::Busy => "the token endpoint asks to be tried later",
            Self::TooLarge => "the token endpoint's answer is too large",
            Self::Malformed => "the token endpoint's answer is neither json nor a form",
            Self::NoDeviceCode => "the device authorization endpoint's answer is of no use",
            Self::NoToken => "the token endpoint's answer holds no access_token",
            Self::NoIdToken => "the token endpoint's answer holds no id_token",
            Self::TokenType => "the token endpoint's token is not a bearer token",
            Self::TokenCharacters => "the token holds characters that no header may hold",
            Self::State => "the account's refresh token can't be read or kept",
            Self::Locked => "another process holds the account's refresh token",
            Self::Assertion => "the account's assertion can't be made",
            Self::Interrupted => "the token request was given up",
        })
    }
}

/// How one exchange failed, before it is known how long to pause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// See [`TokenError::Rejected`]; both texts are redacted already.
    #[error("rejected")]
    Rejected { error: Arc<str>, description: Option<Arc<str>> },
    /// See [`TokenError::NeedsLogin`]. Without an `error`, nobody was asked.
    #[error("needs a login")]
    NeedsLogin { error: Option<Arc<str>>, description: Option<Arc<str>> },
    /// See [`TokenError::Unavailable`].
    #[error("unavailable")]
    Unavailable {
        reason: Unavailability,
        /// What the endpoint asked for.
        retry_after: Option<Duration>,
        /// The transport's own words or the endpoint's description, redacted. For the log only.
        cause: Option<Arc<str>>,
    },
    /// A token that can't be sent, and beside it a refresh token: the one before may be spent, so it has to be kept.
    #[error("unusable")]
    Unusable { reason: Unavailability, refresh_token: Secret },
}

impl From<Unavailability> for Failure {
    fn from(reason: Unavailability) -> Self {
        Self::Unavailable { reason, retry_after: None, cause: None }
    }
}

impl Failure {
    pub(super) fn result(&self) -> TokenResult {
        match self {
            Self::Rejected { .. } | Self::NeedsLogin { .. } => TokenResult::Rejected,
            Self::Unavailable { reason: Unavailability::TimedOut, .. } => TokenResult::Timeout,
            Self::Unavailable { .. } | Self::Unusable { .. } => TokenResult::Unavailable,
        }
    }

    pub(super) fn into_error(self, retry_after: Duration) -> TokenError {
        match self {
            Self::Rejected { error, description } => TokenError::Rejected { error, description, retry_after },
            Self::NeedsLogin { .. } => TokenError::NeedsLogin { retry_after },
            Self::Unavailable { reason, .. } | Self::Unusable { reason, .. } => {
                TokenError::Unavailable { reason, retry_after }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_told_registered_codes_only() {
        let rejected = |error: &str| TokenError::Rejected {
            error: error.into(),
            description: Some("Client attache is locked".into()),
            retry_after: Duration::ZERO,
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
    fn a_fault_on_our_side_is_not_blamed_on_the_endpoint() {
        let unavailable = |reason| TokenError::Unavailable { reason, retry_after: Duration::ZERO }.detail();
        assert!(unavailable(Unavailability::State).contains("its log says why"));
        assert!(unavailable(Unavailability::Connect).contains("token endpoint"));
    }
}
