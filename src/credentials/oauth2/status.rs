//! The state of an account's token in `/status`: everything but the token.

use crate::credentials::TokenResult;
use std::time::{Duration, SystemTime};

/// The state of an account's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenStatus {
    /// Tells whether requests can be sent.
    pub state: TokenState,
    /// The expiry of the last token obtained.
    pub expires_at: Option<SystemTime>,
    /// The outcome of the last token request.
    pub last: Option<LastOutcome>,
    /// Number of tokens so far.
    pub generation: u64,
    /// Number of token requests that have ended.
    pub requests: u64,
}

/// See [`TokenStatus::state`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenState {
    /// Not asked for yet.
    None,
    /// There is one that may be sent.
    Valid,
    /// There was one; the next request gets another.
    Expired,
    /// There is none, and the last attempt failed.
    Failing,
    /// There is none before a person signs in, or gives the account another refresh token.
    NeedsLogin,
}

impl TokenState {
    /// The word in `/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::Failing => "failing",
            Self::NeedsLogin => "needs_login",
        }
    }
}

/// The outcome of a token request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastOutcome {
    /// As the metric counts it.
    pub result: TokenResult,
    /// Why it failed, with the provider's own words, redacted; `None` if it succeeded.
    pub reason: Option<String>,
    /// The time of its end.
    pub at: SystemTime,
    /// Its duration; `None` if no request was sent.
    pub took: Option<Duration>,
}
