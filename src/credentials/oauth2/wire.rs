//! The client for token endpoints: what one request needs beside its form.
//!
//! A token endpoint's name may lead into a private network, because identity providers often stand there. The parser
//! decides if plain http is allowed.

use super::error::{Failure, Unavailability};
use super::redact::KnownSecrets;
use super::refresh::EXCHANGE_LIMIT;
use super::response::{self, Raw};
use crate::config::model::{OAuth2, TokenTls};
use crate::error_chain::Chain;
use crate::fetch::{FetchError, HttpClient, HttpRequest};
use crate::transport::Transport;
use crate::transport::dial::DialError;
use crate::transport::tls::{TlsClient, TlsSettingsError};
use http::{HeaderValue, header};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// The client for the token endpoint of an account.
pub struct TokenClient {
    transport: Arc<Transport>,
    http: HttpClient,
}

/// There is no client for the `tls` of an account.
#[derive(Debug, thiserror::Error)]
#[error("no http client for token endpoints")]
pub struct BuildError(#[source] TlsSettingsError);

impl TokenClient {
    /// Returns a client that trusts the system's roots. Blocks if it is the first to read them.
    pub fn new(transport: &Arc<Transport>) -> Self {
        Self::of(transport, transport.tls().for_ca(None))
    }

    /// Returns a client for the `tls` of an account: it trusts `ca` alone (without it the system's roots) and has the
    /// client certificate. Blocks as [`TokenClient::new`] does.
    ///
    /// # Errors
    ///
    /// If a certificate or the key is malformed, or they do not belong together.
    pub fn with_tls(&self, tls: &TokenTls) -> Result<Self, BuildError> {
        let tls = self.transport.tls().for_account(tls).map_err(BuildError)?;
        Ok(Self::of(&self.transport, tls))
    }

    /// Returns a client for the `tls` and the `proxy` of an account.
    ///
    /// # Errors
    ///
    /// As [`TokenClient::with_tls`].
    pub fn of_account(&self, config: &OAuth2) -> Result<Self, BuildError> {
        let Self { transport, http } = self.with_tls(&config.tls)?;
        Ok(Self { transport, http: http.through(&config.proxy) })
    }

    fn of(transport: &Arc<Transport>, tls: Arc<TlsClient>) -> Self {
        Self { transport: Arc::clone(transport), http: HttpClient::new(Arc::clone(transport), tls, true) }
    }

    /// Sends one request. It is awaited for [`EXCHANGE_LIMIT`], or `token_timeout` if that is longer; a caller that waits
    /// for less drops the future.
    pub(super) async fn send(
        &self,
        request: &HttpRequest<'_>,
        token_timeout: Duration,
        secrets: &KnownSecrets,
    ) -> Result<Raw, Failure> {
        let deadline = Instant::now() + token_timeout.max(EXCHANGE_LIMIT);
        let answer = self.http.send(request, deadline).await.map_err(|error| failure(&error, secrets))?;
        let value = |name: header::HeaderName| {
            answer.fields.get(name.as_str()).and_then(|value| HeaderValue::from_bytes(value).ok())
        };
        Ok(Raw {
            status: answer.status,
            retry_after: value(header::RETRY_AFTER)
                .and_then(|value| response::retry_after(&value, SystemTime::now())),
            content_type: value(header::CONTENT_TYPE),
            content_encoding: value(header::CONTENT_ENCODING),
            location: value(header::LOCATION),
            body: answer.body.into(),
        })
    }
}

fn failure(error: &FetchError, secrets: &KnownSecrets) -> Failure {
    let reason = match error {
        FetchError::ConnectTimedOut
        | FetchError::AnswerTimedOut
        | FetchError::Connect(DialError::TimedOut(_)) => Unavailability::TimedOut,
        FetchError::Scheme | FetchError::Name(_) | FetchError::Connect(_) => Unavailability::Connect,
        FetchError::Proxy(_) => Unavailability::Proxy,
        FetchError::Tls(_) => Unavailability::Tls,
        FetchError::TooLarge => Unavailability::TooLarge,
        FetchError::Answer(_) => Unavailability::Transport,
    };
    // The reason has the words of the error's own level.
    let words = error.source().and_then(|source| secrets.text(&Chain(source).to_string()));
    Failure::from(reason).with_words(words)
}
