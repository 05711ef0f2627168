//! A token that is requested in order to describe it (`attache check --live`), not to send it.

use super::details::{AudienceClaims, Details};
use super::error::{Failure, Unavailability};
use super::exchange::Exchange;
use super::redact::MAX_TEXT;
use super::refresh::{EXCHANGE_LIMIT, Refresher, STORE_TIME};
use super::tokens::Tokens;
use crate::config::model::OAuth2;
use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, timeout};

/// The description of a token, without the token. Texts are redacted, on one line, and cut where they are long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// The duration of the request.
    pub latency: Duration,
    /// `token_type` as it came.
    pub token_type: Option<Arc<str>>,
    /// The lifetime that the endpoint states.
    pub expires_in: Option<Duration>,
    /// True if a stored token was found, and no request was sent.
    pub is_stored: bool,
    /// `scope` as it came, separated by spaces.
    pub scope: Option<Arc<str>>,
    /// Requested scopes that are not among those granted.
    pub missing_scopes: Vec<String>,
    /// A JSON Web Token's `iss`.
    pub issuer: Option<Arc<str>>,
    /// Its `aud`.
    pub audience: Vec<Arc<str>>,
    /// Its `exp`, in seconds since 1970.
    pub expires_at: Option<u64>,
    /// True if the client's first secret was refused and another one was accepted.
    pub second_secret: bool,
}

/// Obtains a token for the account as `attache run` would. A stored token that may be sent is taken as it is. A refresh
/// token is spent under the store's lock and its successor stored, so a running attache goes on with that one:
/// [`Tokens::finish`] has to be awaited.
///
/// # Errors
///
/// If there is none.
pub async fn inspect(account: &str, config: &OAuth2, tokens: &Tokens) -> Result<Inspected, Failure> {
    let wire = tokens.client.of_account(config).map_err(|error| {
        let words = error.source().map(|cause| Arc::from(cause.to_string()));
        Failure::from(Unavailability::Tls).with_words(words)
    })?;
    inspect_by(account, config, Arc::new(wire), tokens).await
}

/// Obtains a token by this way to the endpoint.
pub(super) async fn inspect_by(
    account: &str,
    config: &OAuth2,
    wire: Arc<dyn Exchange>,
    tokens: &Tokens,
) -> Result<Inspected, Failure> {
    let memory = tokens.memories.of(account, config);
    let refresher = Arc::new(Refresher::new(account, wire, memory, tokens));
    let begun = Instant::now();
    let refreshed = timeout(EXCHANGE_LIMIT + STORE_TIME, refresher.refresh(config, None, true)).await;
    let obtained =
        refreshed.map_err(|_| Failure::from(Unavailability::State))?.map_err(|failed| failed.failure)?;
    let is_stored = obtained.answer.is_none();
    let (expires_in, details, second_secret) = match obtained.answer {
        Some(answer) => (answer.expires_in, answer.details, answer.second_secret),
        None => {
            let issued = obtained.issued;
            let left = (issued.obtained_at + issued.lifetime).duration_since(SystemTime::now());
            (Some(left.unwrap_or_default()), Details::default(), false)
        }
    };
    let Details { token_type, scope, claims } = details;
    let AudienceClaims { iss, aud, exp } = claims.unwrap_or_default();
    Ok(Inspected {
        latency: begun.elapsed(),
        token_type,
        expires_in,
        is_stored,
        missing_scopes: missing_scopes(config, scope.as_deref()),
        scope,
        issuer: iss,
        audience: aud,
        expires_at: exp,
        second_secret,
    })
}

/// Returns the scopes of the account that are not among those granted. Without a list, all were (RFC 6749 section 5.1).
pub(super) fn missing_scopes(config: &OAuth2, granted: Option<&str>) -> Vec<String> {
    granted.map_or_else(Vec::new, |granted| missing(&config.scopes, granted))
}

/// `offline_access` requests a refresh token, and many providers don't name it among the scopes granted. A list of the
/// maximum length may have been cut.
fn missing(requested: &[String], granted: &str) -> Vec<String> {
    if granted.chars().count() >= MAX_TEXT {
        return Vec::new();
    }
    let lacks =
        |scope: &&String| *scope != "offline_access" && !granted.split([' ', ',']).any(|one| one == *scope);
    requested.iter().filter(lacks).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_that_were_not_granted() {
        let requested = ["a", "b", "offline_access"].map(str::to_owned);
        assert_eq!(missing(&requested, "c a"), ["b"]);
        // As GitHub, Slack and Strava separate them.
        assert_eq!(missing(&requested, "c,a"), ["b"]);
        assert_eq!(missing(&requested, &"x".repeat(MAX_TEXT)), [""; 0]);
    }
}
