//! `attache login` between the terminal and the store: it obtains the first tokens of a grant, and stores them.
//!
//! The store is tried first, since a code can be used once. Its lock is not held while the user decides, because a
//! running attache may need it to renew the account's token.

mod authorization;
mod device;

pub use authorization::{AuthorizationRequest, Redirected};
pub use device::Device;

use super::error::{Failure, Unavailability};
use super::exchange::ReceivedToken;
use super::identity::{grant_identity, token_identity};
use super::inspect::missing_scopes;
use super::refresh::{EXCHANGE_LIMIT, store_key};
use super::wire::{BuildError, TokenClient};
use crate::config::model::OAuth2;
use crate::secret::Secret;
use crate::state::{Entry, LockedEntry, StateError, Store, StoredAccess};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

/// Time limit for the account's lock, beside the token request of its other holder.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// Lifetime of an access token that has neither an expiry nor a refresh token beside it: it is valid until the provider
/// or the user revokes it.
const UNTIL_REVOKED: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// One account that is being signed in.
pub struct SignIn {
    account: Box<str>,
    config: OAuth2,
    client: TokenClient,
    store: Arc<dyn Store>,
}

/// A login whose tokens are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// The time for which it lasts.
    pub lasts: Lasts,
    /// The scopes granted, if the provider says which. Redacted.
    pub scope: Option<Arc<str>>,
    /// Requested scopes that are not among those granted.
    pub missing_scopes: Vec<String>,
}

/// The time for which a login lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasts {
    /// There is a refresh token.
    Refreshed,
    /// There is only an access token, with this expiry.
    Until(SystemTime),
    /// There is only an access token, without an expiry.
    UntilRevoked,
}

/// Why a login failed.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The provider refused, or its answer is not usable.
    #[error(transparent)]
    Denied(#[from] Failure),
    /// The provider or the user refused at the authorization endpoint.
    #[error("the identity provider refused the login: {code}{}", words.as_ref().map(|words| format!(" ({words})")).unwrap_or_default())]
    Refused {
        /// The OAuth `error`, redacted.
        code: Arc<str>,
        /// The `error_description`, redacted.
        words: Option<Arc<str>>,
    },
    /// The redirect came from another authorization server than the account's (RFC 9207).
    #[error("the redirect names the issuer {named}, and {expected}: its code was not used")]
    WrongIssuer {
        /// The issuer of the redirect, redacted.
        named: Arc<str>,
        /// The expectation, as a sentence without its end.
        expected: String,
    },
    /// The provider's time limit for it has passed.
    #[error("the login was not confirmed in time")]
    Expired,
    /// The tokens can't be stored.
    #[error(transparent)]
    Store(#[from] StateError),
}

impl SignIn {
    /// Prepares the account's own client. Blocks as [`TokenClient::of_account`] does.
    ///
    /// # Errors
    ///
    /// If the account's `tls` can't be used.
    pub fn new(
        account: &str,
        config: &OAuth2,
        client: &TokenClient,
        store: Arc<dyn Store>,
    ) -> Result<Self, BuildError> {
        let client = client.of_account(config)?;
        Ok(Self { account: account.into(), config: config.clone(), client, store })
    }

    /// Makes sure that tokens can be stored. Returns why the present entry can't be read, if so: it will be replaced.
    ///
    /// # Errors
    ///
    /// [`SignInError::Store`].
    pub async fn prepare(&self) -> Result<Option<StateError>, SignInError> {
        let mut held = self.lock().await?;
        held.prepare().await?;
        Ok(held.read().await.err())
    }

    /// Returns a request for the provider's authorization endpoint, to be opened in a browser; `None` for accounts of
    /// another grant than `authorization_code`. The browser is redirected to `redirect_uri`.
    pub fn authorization(&self, redirect_uri: &url::Url) -> Option<AuthorizationRequest> {
        AuthorizationRequest::new(&self.config, redirect_uri)
    }

    /// Exchanges the code of the redirect for tokens, and stores them.
    ///
    /// # Errors
    ///
    /// If there is no token, or it can't be stored.
    pub async fn finish(
        &self,
        authorization: &AuthorizationRequest,
        code: &Secret,
    ) -> Result<SignedIn, SignInError> {
        let mut held = self.lock().await?;
        let before = read_and_prepare(&mut *held).await?;
        let (redirect_uri, verifier) = (authorization.redirect_uri(), authorization.verifier());
        let asked_at = SystemTime::now();
        let asked = self.client.exchange_code(&self.config, code, redirect_uri, verifier);
        let answer = bounded(asked).await?;
        self.keep(answer, asked_at, before, &mut *held).await
    }

    /// Requests a device code (RFC 8628), which the user confirms.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub async fn device(&self) -> Result<Device, SignInError> {
        Ok(Device::new(bounded(self.client.device_authorization(&self.config)).await?))
    }

    /// Waits until the user has confirmed, and stores the tokens.
    ///
    /// # Errors
    ///
    /// If the user refuses or the time limit passes, or the tokens can't be stored.
    pub async fn confirmed(&self, device: &Device) -> Result<SignedIn, SignInError> {
        let mut asked_at = SystemTime::now();
        let ask = async || {
            asked_at = SystemTime::now();
            bounded(self.client.poll_device(&self.config, device.code())).await
        };
        let answer = device.poll(ask).await?;
        let mut held = self.lock().await?;
        let before = read_and_prepare(&mut *held).await?;
        self.keep(answer, asked_at, before, &mut *held).await
    }

    async fn lock(&self) -> Result<Box<dyn LockedEntry>, StateError> {
        let key = store_key(&self.account, &self.config);
        self.store.lock(&key, EXCHANGE_LIMIT + LOCK_WAIT).await
    }

    async fn keep(
        &self,
        answer: ReceivedToken,
        asked_at: SystemTime,
        before: Option<Entry>,
        held: &mut dyn LockedEntry,
    ) -> Result<SignedIn, SignInError> {
        let last = before.as_ref().map_or(0, |entry| entry.revision);
        // A renewal of the grant before may have begun after this login's request. The login's token is the newer one.
        let renewed_at = before.and_then(|entry| Some(entry.access?.obtained_at + Duration::from_millis(1)));
        let obtained_at = renewed_at.map_or(asked_at, |renewed_at| renewed_at.max(asked_at));
        let (lasts, lifetime) = lifetime(&answer, asked_at, self.config.default_lifetime);
        let entry = Entry {
            bound_to: grant_identity(&self.account, &self.config),
            revision: last.saturating_add(1),
            refresh_token: answer.refresh_token,
            rotated: false,
            reusable: false,
            obtained_at: asked_at,
            access: Some(StoredAccess {
                bound_to: token_identity(&self.config),
                token: answer.token,
                obtained_at,
                expires_at: asked_at + lifetime,
            }),
            lost: None,
        };
        held.write(&entry).await?;
        let scope = answer.details.scope;
        Ok(SignedIn { lasts, missing_scopes: missing_scopes(&self.config, scope.as_deref()), scope })
    }
}

/// Awaits a request longer than `token_timeout`, which is for callers: a code is spent by the time it passes.
async fn bounded<T>(asked: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(EXCHANGE_LIMIT, asked).await.unwrap_or_else(|_| Err(Unavailability::TimedOut.into()))
}

/// Reads the present entry, and reserves space for another one. One that can't be read is replaced as well: a login is how
/// that is mended. Reading first: it may seal the entry again, which takes a reservation.
async fn read_and_prepare(held: &mut dyn LockedEntry) -> Result<Option<Entry>, StateError> {
    let before = held.read().await.ok().flatten();
    held.prepare().await?;
    Ok(before)
}

/// Returns how long the login lasts, and the lifetime of its access token.
fn lifetime(answer: &ReceivedToken, asked_at: SystemTime, default: Duration) -> (Lasts, Duration) {
    match (&answer.refresh_token, answer.expires_in) {
        (Some(_), lifetime) => (Lasts::Refreshed, lifetime.unwrap_or(default)),
        (None, Some(lifetime)) => (Lasts::Until(asked_at + lifetime), lifetime),
        (None, None) => (Lasts::UntilRevoked, UNTIL_REVOKED),
    }
}

#[cfg(test)]
mod tests;
