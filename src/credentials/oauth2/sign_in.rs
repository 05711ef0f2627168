//! A person's part in getting a refresh token: what `attache login` does between the terminal and the store.
//!
//! The order matters. That the store can keep a token is made sure of first, since a code is good once; but its lock is
//! not held while a person thinks, because a running attache may need it for the account's last token.

mod authorization;
mod device;

pub use authorization::{Authorization, Redirected};
pub use device::Device;

use super::error::{Failure, Unavailability};
use super::exchange::Answer;
use super::identity::grant_identity;
use super::inspect::missing_scopes;
use super::refresh::store_key;
use super::wire::{BuildError, TokenClient};
use crate::config::model::OAuth2;
use crate::secret::Secret;
use crate::state::{Entry, LockedEntry, StateError, Store};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

/// How long another holder of the account's lock is waited for, beside its token request.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// One account that is being signed in.
pub struct SignIn {
    account: Box<str>,
    config: OAuth2,
    client: TokenClient,
    store: Arc<dyn Store>,
}

/// It worked, and the refresh token is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    /// The scopes granted, if the provider says which. Redacted.
    pub scope: Option<Arc<str>>,
    /// Requested scopes that are not among those granted.
    pub missing_scopes: Vec<String>,
}

/// Why a login failed.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The provider said no, or nothing that makes sense.
    #[error(transparent)]
    Denied(#[from] Failure),
    /// There is a token, but none that lasts. It was not kept.
    #[error("the identity provider issued no refresh token")]
    NoRefreshToken,
    /// The provider's time for it is over.
    #[error("the login was not confirmed in time")]
    Expired,
    /// The refresh token can't be kept.
    #[error(transparent)]
    Store(#[from] StateError),
}

impl SignIn {
    /// Prepares the account's own client. Blocks as [`TokenClient::with_tls`] does.
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
        let client = client.with_tls(&config.tls)?;
        Ok(Self { account: account.into(), config: config.clone(), client, store })
    }

    /// Makes sure that a refresh token could be kept now. Returns why what is kept already can't be read, if so: it will
    /// be replaced.
    ///
    /// # Errors
    ///
    /// [`SignInError::Store`].
    pub async fn prepare(&self) -> Result<Option<StateError>, SignInError> {
        let mut held = self.lock().await?;
        held.prepare().await?;
        Ok(held.read().await.err())
    }

    /// A request for the provider's authorization endpoint, to be opened in a browser; `None` for accounts of another
    /// grant than `authorization_code`. `redirect_uri` is where the browser will come back to.
    pub fn authorization(&self, redirect_uri: &url::Url) -> Option<Authorization> {
        Authorization::new(&self.config, redirect_uri)
    }

    /// Changes the code that came back for a refresh token, and keeps that.
    ///
    /// # Errors
    ///
    /// If there is none, or it can't be kept.
    pub async fn finish(
        &self,
        authorization: &Authorization,
        code: &Secret,
    ) -> Result<SignedIn, SignInError> {
        let mut held = self.lock().await?;
        held.prepare().await?;
        let (redirect_uri, verifier) = (authorization.redirect_uri(), authorization.verifier());
        let asked = self.client.exchange_code(&self.config, code, redirect_uri, verifier);
        let answer = self.bounded(asked).await?;
        self.keep(answer, &mut *held).await
    }

    /// Asks for a device's code (RFC 8628), which a person then confirms.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub async fn device(&self) -> Result<Device, SignInError> {
        Ok(Device::new(self.bounded(self.client.device_authorization(&self.config)).await?))
    }

    /// Waits until the person has confirmed, and keeps the refresh token.
    ///
    /// # Errors
    ///
    /// If the person refuses or the time is over, or the token can't be kept.
    pub async fn confirmed(&self, device: &Device) -> Result<SignedIn, SignInError> {
        let ask = async || self.bounded(self.client.poll_device(&self.config, device.code())).await;
        let answer = device.poll(ask).await?;
        let mut held = self.lock().await?;
        self.keep(answer, &mut *held).await
    }

    async fn lock(&self) -> Result<Box<dyn LockedEntry>, StateError> {
        let key = store_key(&self.account, &self.config);
        self.store.lock(&key, self.config.token_timeout + LOCK_WAIT).await
    }

    async fn bounded<T>(&self, asked: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let asked = timeout(self.config.token_timeout, asked).await;
        asked.unwrap_or_else(|_| Err(Unavailability::TimedOut.into()))
    }

    async fn keep(&self, answer: Answer, held: &mut dyn LockedEntry) -> Result<SignedIn, SignInError> {
        let refresh_token = answer.refresh_token.ok_or(SignInError::NoRefreshToken)?;
        // One that can't be read is replaced as well: a login is how that is mended.
        let last = held.read().await.ok().flatten().map_or(0, |entry| entry.revision);
        let entry = Entry {
            bound_to: grant_identity(&self.account, &self.config),
            revision: last.saturating_add(1),
            refresh_token: Some(refresh_token),
            rotated: false,
            reusable: false,
            obtained_at: SystemTime::now(),
            access: None,
            lost: None,
        };
        held.write(&entry).await?;
        let scope = answer.details.scope;
        Ok(SignedIn { missing_scopes: missing_scopes(&self.config, scope.as_deref()), scope })
    }
}

#[cfg(test)]
mod tests;
