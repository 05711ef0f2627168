//! One token request over the wire.
//!
//! A connection of its own for each: token requests are minutes apart, and a kept connection that the endpoint has
//! closed meanwhile would fail a POST that must not be sent twice. No redirects and no proxy from the environment:
//! the client's secret goes to the URL in the file and nowhere else.

use super::details::Details;
use super::error::{Failure, Unavailability};
use super::form::Form;
use super::redact::Secrets;
use super::response::{self, Raw};
use super::verdict::{self, Presented, Reply};
use super::{client_auth, grant, words};
use crate::config::model::{BearerTokenType, OAuth2, TokenTls};
use crate::secret::Secret;
use crate::transport::tls::Roots;
use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, header};
use oauth2::TokenResponse as _;
use reqwest::{Certificate, Identity};
use rustls::ClientConfig;
use serde_json::{Map, Value};
use std::error::Error;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use url::Url;

/// How long a connection to a token endpoint may take, TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest answer that is read.
const MAX_ANSWER: usize = 256 * 1024;

/// A token as it came.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// The token that is sent: visible ASCII, without a prefix.
    pub(super) token: Secret,
    /// From a second to a year; `None` if the answer has none, or one that is over.
    pub(super) expires_in: Option<Duration>,
    /// The refresh token beside it: the next one where they rotate.
    pub(super) refresh_token: Option<Secret>,
    /// What else it says, for people.
    pub(super) details: Details,
    /// Whether the client's first secret was refused and the second one did.
    pub(super) second_secret: bool,
}

/// Gets one token. The seam at which tests count.
#[async_trait]
pub(super) trait Exchange: Send + Sync + 'static {
    /// Asks the token endpoint. `refresh_token` is for the grants that [refresh](crate::config::model::Grant::refreshes).
    async fn exchange(&self, config: &OAuth2, refresh_token: Option<&Secret>) -> Result<Answer, Failure>;
}

/// The HTTP client for token endpoints: one for all accounts without `tls` of their own.
#[derive(Debug, Clone)]
pub struct TokenClient(reqwest::Client);

/// The client can't be made: the system's root certificates can't be used, or those of an account's `tls`.
#[derive(Debug, thiserror::Error)]
#[error("no http client for token endpoints")]
pub struct BuildError(#[source] reqwest::Error);

impl TokenClient {
    /// A client that trusts the system's roots: the one store that requests to services use as well. Blocks if it is the
    /// first to read them. A rustls provider must be installed.
    ///
    /// # Errors
    ///
    /// If there is no client to be made of it.
    pub fn new() -> Result<Self, BuildError> {
        let roots = Roots::system();
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        builder().tls_backend_preconfigured(config).build().map(Self).map_err(BuildError)
    }

    /// A client for an account's `tls`: itself where that says nothing, else one that trusts `ca` alone (without it the
    /// system's roots) and shows the client certificate. Blocks as [`TokenClient::new`] does.
    ///
    /// # Errors
    ///
    /// If a certificate or the key is none, or they do not belong together.
    pub fn with_tls(&self, tls: &TokenTls) -> Result<Self, BuildError> {
        if *tls == TokenTls::default() {
            return Ok(self.clone());
        }
        let mut client = builder();
        if let Some(ca) = &tls.ca {
            let roots: Result<Vec<_>, _> =
                ca.certificates.iter().map(|der| Certificate::from_der(der)).collect();
            client = client.tls_certs_only(roots.map_err(BuildError)?);
        }
        if let Some(identity) = &tls.identity {
            let identity = Identity::from_pem(identity.expose().as_bytes()).map_err(BuildError)?;
            client = client.identity(identity);
        }
        client.build().map(Self).map_err(BuildError)
    }

    /// Sends one form to an endpoint of the account's identity provider, with the account's client authentication and
    /// `token_headers`, and says what came: members, or an OAuth error that nobody has judged yet. It is the way of every
    /// request, whatever it asks for: a token, a code's exchange, a device's code.
    ///
    /// Of several client secrets the next is tried where the endpoint [refuses the
    /// client](verdict::Refusal::doubts_the_client), with the same form: an assertion in it is shown again, to an
    /// endpoint that has not let the first one in.
    ///
    /// # Errors
    ///
    /// If there is no answer, or one that is neither a success with members nor an OAuth error.
    pub(super) async fn post(&self, config: &OAuth2, url: &Url, form: &Form) -> Result<Posted, Failure> {
        let tries = client_auth::tries(&config.client_auth);
        let mut secrets = Secrets::of(config);
        let mut nth = 0;
        loop {
            let reply = self.attempt(config, url, form.clone(), nth, &mut secrets).await?;
            nth += 1;
            match reply {
                Reply::Refused(refusal) if refusal.doubts_the_client() && nth < tries => {}
                reply => return Ok(Posted { reply, secrets, second_secret: nth > 1 }),
            }
        }
    }

    /// With the client's `nth` secret. What is sent of it is added to `secrets`.
    async fn attempt(
        &self,
        config: &OAuth2,
        url: &Url,
        mut form: Form,
        nth: usize,
        secrets: &mut Secrets,
    ) -> Result<Reply, Failure> {
        let authorization = client_auth::apply(config, nth, SystemTime::now(), &mut form, secrets).await?;
        form.secrets(secrets);
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        for (name, value) in &config.token_headers {
            let mut value = value.clone();
            value.set_sensitive(true);
            headers.insert(name.as_header_name(), value);
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, value);
        }
        let request = self.0.post(url.clone()).headers(headers).body(form.encode());
        verdict::read(&send(request, secrets).await?, secrets)
    }
}

/// What came of a request.
pub(super) struct Posted {
    pub(super) reply: Reply,
    /// What no text that came may hold.
    pub(super) secrets: Secrets,
    /// The client's first secret was refused.
    second_secret: bool,
}

impl Posted {
    /// Returns a token, or why there is none. The request presented the account's grant.
    pub(super) fn into_answer(self, config: &OAuth2) -> Result<Answer, Failure> {
        self.answer(config, Presented::by(config))
    }

    /// Returns a token, or why there is none. The request presented a code, which is no grant of the account yet.
    pub(super) fn into_login_answer(self, config: &OAuth2) -> Result<Answer, Failure> {
        self.answer(config, Presented::Other)
    }

    fn answer(self, config: &OAuth2, presented: Presented<'_>) -> Result<Answer, Failure> {
        let members = match &self.reply {
            Reply::Members(members) => members,
            Reply::Refused(refusal) => return Err(refusal.judge(presented, &self.secrets)),
        };
        self.granted(members, config).map_err(|failure| {
            let mut secrets = self.secrets.clone();
            for token in ["access_token", "id_token", "refresh_token"] {
                secrets.add(&Secret::new(response::text(members, token).unwrap_or_default()));
            }
            let words = words::of_members(members, None).and_then(|words| secrets.text(&words));
            let successor = response::text(members, "refresh_token").map(Secret::new);
            Failure { successor, ..failure.with_words(words) }
        })
    }

    fn granted(&self, members: &Map<String, Value>, config: &OAuth2) -> Result<Answer, Failure> {
        let mut secrets = self.secrets.clone();
        let granted = response::token(members, config.bearer_token_type)?;
        let id_token = granted.extra_fields().id_token.as_deref();
        let token = match config.bearer_token_type {
            BearerTokenType::AccessToken => granted.access_token().secret(),
            BearerTokenType::IdToken => id_token.ok_or(Unavailability::NoIdToken)?,
        };
        let refresh_token = granted.refresh_token().map(|token| Secret::new(token.secret()));
        for came in [Some(granted.access_token().secret().as_str()), id_token].into_iter().flatten() {
            secrets.add(&Secret::new(came));
        }
        refresh_token.iter().for_each(|token| secrets.add(token));
        Ok(Answer {
            token: sendable(token)?,
            expires_in: granted.expires_in(),
            details: Details::of(&granted, token, &secrets),
            refresh_token,
            second_secret: self.second_secret,
        })
    }
}

#[async_trait]
impl Exchange for TokenClient {
    async fn exchange(&self, config: &OAuth2, refresh_token: Option<&Secret>) -> Result<Answer, Failure> {
        let form = grant::form(config, refresh_token, SystemTime::now()).await?;
        self.post(config, &config.token_url, &form).await?.into_answer(config)
    }
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        // RFC 6761 section 6.3: never asked of a name server. The port is the URL's.
        .resolve_to_addrs("localhost", &[(Ipv6Addr::LOCALHOST, 0).into(), (Ipv4Addr::LOCALHOST, 0).into()])
        .pool_max_idle_per_host(0)
        .user_agent(concat!("attache/", env!("CARGO_PKG_VERSION")))
}

/// RFC 6750 section 2.1, except for its narrower alphabet, which real tokens overstep: any visible ASCII. A token with a
/// space is an error message in the place of a token.
fn sendable(token: &str) -> Result<Secret, Failure> {
    if !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Secret::new(token));
    }
    Err(Unavailability::TokenCharacters.into())
}

/// Sends, and reads up to the cap.
async fn send(request: reqwest::RequestBuilder, secrets: &Secrets) -> Result<Raw, Failure> {
    let broken = |error| transport(error, secrets);
    let mut answer = request.send().await.map_err(broken)?;
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(Unavailability::TooLarge.into());
        }
        body.extend_from_slice(&chunk);
    }
    let header = |name| answer.headers().get(name).cloned();
    Ok(Raw {
        status: answer.status(),
        retry_after: header(header::RETRY_AFTER)
            .and_then(|value| response::retry_after(&value, SystemTime::now())),
        content_type: header(header::CONTENT_TYPE),
        content_encoding: header(header::CONTENT_ENCODING),
        location: header(header::LOCATION),
        body,
    })
}

fn transport(error: reqwest::Error, secrets: &Secrets) -> Failure {
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
    let cause: Option<Arc<str>> = secrets.text(&words.join(": "));
    Failure::from(reason).with_words(cause)
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
#[cfg(test)]
mod tls_tests;
