//! One token request over the wire.
//!
//! A connection of its own for each: token requests are minutes apart, and a kept connection that the endpoint has
//! closed meanwhile would fail a POST that must not be sent twice. No redirects and no proxy from the environment:
//! the client's secret goes to the URL in the file and nowhere else.

use super::error::{Failure, Unavailability};
use super::response::{self, Raw};
use super::{grant, redact};
use crate::config::model::{BearerTokenType, OAuth2};
use async_trait::async_trait;
use http::{HeaderValue, header};
use oauth2::basic::BasicErrorResponse;
use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse, RequestTokenError, TokenResponse};
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long a connection to a token endpoint may take, TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest answer that is read.
const MAX_ANSWER: usize = 256 * 1024;

/// A token as it came.
#[derive(Debug)]
pub(super) struct Answer {
    /// `Bearer …`, sensitive.
    pub(super) header: HeaderValue,
    /// From 0 (not to be kept) to [`super::schedule::MAX_LIFETIME`].
    pub(super) expires_in: Option<Duration>,
}

/// Gets one token. The seam at which tests count.
#[async_trait]
pub(super) trait Exchange: Send + Sync + 'static {
    /// One request to the token endpoint, and not more. The caller limits its time.
    async fn exchange(&self, config: &OAuth2) -> Result<Answer, Failure>;
}

/// The HTTP client for token endpoints: one for all accounts.
#[derive(Debug, Clone)]
pub struct TokenClient(reqwest::Client);

/// The client can't be made: the system's root certificates can't be used.
#[derive(Debug, thiserror::Error)]
#[error("no http client for token endpoints")]
pub struct BuildError(#[source] reqwest::Error);

impl TokenClient {
    /// A client that trusts the system's roots. Blocks while it reads them. A rustls provider must be installed.
    ///
    /// # Errors
    ///
    /// If the system's root certificates can't be used.
    pub fn new() -> Result<Self, BuildError> {
        reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .pool_max_idle_per_host(0)
            .user_agent(concat!("attache/", env!("CARGO_PKG_VERSION")))
            .build()
            .map(Self)
            .map_err(BuildError)
    }
}

#[async_trait]
impl Exchange for TokenClient {
    async fn exchange(&self, config: &OAuth2) -> Result<Answer, Failure> {
        let answer =
            grant::ask(config, &Wire { http: &self.0, config }).await.map_err(|e| judge(e, config))?;
        let token = match config.bearer_token_type {
            BearerTokenType::AccessToken => answer.access_token().secret(),
            BearerTokenType::IdToken => {
                answer.extra_fields().id_token.as_ref().ok_or(Unavailability::NoIdToken)?
            }
        };
        Ok(Answer { header: bearer(token)?, expires_in: answer.expires_in() })
    }
}

/// The crate's errors as ours. Its `Parse` holds the raw body and must not be printed.
fn judge(error: RequestTokenError<Failure, BasicErrorResponse>, config: &OAuth2) -> Failure {
    match error {
        RequestTokenError::Request(failure) => failure,
        RequestTokenError::ServerResponse(refusal) => Failure::Rejected {
            error: redact::code(refusal.error().as_ref(), config),
            description: refusal.error_description().and_then(|d| redact::text(d, config)),
        },
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => Unavailability::Malformed.into(),
    }
}

/// RFC 6750 section 2.1, but for its narrower alphabet, which real tokens overstep: any printable ASCII.
fn bearer(token: &str) -> Result<HeaderValue, Failure> {
    let fits = token.trim() == token && token.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    let value = fits.then(|| HeaderValue::try_from(format!("Bearer {token}")).ok()).flatten();
    let mut value = value.ok_or(Unavailability::TokenCharacters)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The `oauth2` crate's HTTP client for one exchange: sends, reads up to the cap, normalises.
pub(super) struct Wire<'a> {
    http: &'a reqwest::Client,
    config: &'a OAuth2,
}

impl<'c> AsyncHttpClient<'c> for Wire<'_> {
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Failure>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move { response::normalise(&self.send(request).await?, self.config) })
    }
}

impl Wire<'_> {
    async fn send(&self, mut request: HttpRequest) -> Result<Raw, Failure> {
        if let Some(credentials) = request.headers_mut().get_mut(header::AUTHORIZATION) {
            credentials.set_sensitive(true);
        }
        let broken = |error| transport(error, self.config);
        let request = reqwest::Request::try_from(request).map_err(broken)?;
        let mut answer = self.http.execute(request).await.map_err(broken)?;
        let retry_after = answer
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| response::retry_after(value, SystemTime::now()));
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(broken)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(Unavailability::TooLarge.into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Raw { status: answer.status(), retry_after, body })
    }
}

fn transport(error: reqwest::Error, config: &OAuth2) -> Failure {
    // The URL may carry a key in its query.
    let error = error.without_url();
    let chain: Vec<&(dyn Error + 'static)> =
        std::iter::successors(error.source(), |e| (*e).source()).collect();
    let reason = if error.is_timeout() {
        Unavailability::TimedOut
    } else if chain.iter().any(|e| is_tls(*e)) {
        Unavailability::Tls
    } else if error.is_connect() {
        Unavailability::Connect
    } else {
        Unavailability::Transport
    };
    let words: Vec<String> = chain.iter().map(ToString::to_string).collect();
    let cause: Option<Arc<str>> = redact::text(&words.join(": "), config);
    Failure::Unavailable { reason, retry_after: None, cause }
}

/// An I/O error names as its source not what it wraps but that one's source, and they are wrapped in one another.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    error.is::<rustls::Error>()
        || error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
            .is_some_and(|inner| is_tls(inner))
}

#[cfg(test)]
mod tests;
