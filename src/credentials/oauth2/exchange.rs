//! One token request: the account's form, client authentication and headers, and what the answer says.

use super::details::{self, Details};
use super::error::{Failure, Unavailability};
use super::form::FormBody;
use super::redact::KnownSecrets;
use super::response::{self, Granted};
use super::verdict::{self, EndpointReply, Presented};
use super::wire::TokenClient;
use super::{client_auth, custom, grant, words};
use crate::config::model::{BearerTokenType, CustomGrant, Grant, OAuth2};
use crate::fetch::HttpRequest;
use crate::header_name::FieldName;
use crate::secret::Secret;
use async_trait::async_trait;
use http::{HeaderValue, Method, header};
use oauth2::TokenResponse as _;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use url::Url;

/// The largest answer that is read.
const MAX_ANSWER: usize = 256 * 1024;

/// The words beside a token that `expires_at` says is over.
const OVER: &str = "the end that `response.expires_at` points to has passed: is the clock right?";

/// A token as it came.
#[derive(Debug, Clone)]
pub(super) struct ReceivedToken {
    /// The token that is sent: visible ASCII, without a prefix.
    pub(super) token: Secret,
    /// From a second to a year; `None` if the answer has none, or one that is over.
    pub(super) expires_in: Option<Duration>,
    /// The refresh token beside it: the next one where they rotate.
    pub(super) refresh_token: Option<Secret>,
    /// The rest of the answer, for display.
    pub(super) details: Details,
    /// True if the client's first secret was refused, and the second one accepted.
    pub(super) second_secret: bool,
}

/// Gets one token. The seam at which tests count.
#[async_trait]
pub(super) trait Exchange: Send + Sync + 'static {
    /// Asks the token endpoint. `refresh_token` is for the grants that [refresh](crate::config::model::Grant::refreshes).
    async fn exchange(
        &self,
        config: &OAuth2,
        refresh_token: Option<&Secret>,
    ) -> Result<ReceivedToken, Failure>;
}

impl TokenClient {
    /// Sends one form to an endpoint of the account's identity provider, with the account's client authentication and
    /// `token_headers`, and says what came: members, or an OAuth error that is not judged yet. It is the way of every
    /// request, whatever it asks for: a token, a code's exchange, a device's code.
    ///
    /// The next of several client secrets is tried if the endpoint [refuses the
    /// client](verdict::TokenRefusal::doubts_the_client), with the same form: an assertion in it is shown again, to an
    /// endpoint that has not let the first one in.
    ///
    /// # Errors
    ///
    /// If there is no answer, or one that is neither a success with members nor an OAuth error.
    pub(super) async fn post(&self, config: &OAuth2, url: &Url, form: &FormBody) -> Result<Posted, Failure> {
        let tries = client_auth::tries(&config.client_auth);
        let mut secrets = KnownSecrets::of(config);
        let mut nth = 0;
        loop {
            let reply = self.attempt(config, url, form.clone(), nth, &mut secrets).await?;
            nth += 1;
            match reply {
                EndpointReply::Refused(refusal) if refusal.doubts_the_client() && nth < tries => {}
                reply => return Ok(Posted { reply, secrets, second_secret: nth > 1 }),
            }
        }
    }

    /// Sends the form with the client's `nth` secret. Adds each form of it that is sent to `secrets`.
    async fn attempt(
        &self,
        config: &OAuth2,
        url: &Url,
        mut form: FormBody,
        nth: usize,
        secrets: &mut KnownSecrets,
    ) -> Result<EndpointReply, Failure> {
        let now = SystemTime::now();
        let authorization = client_auth::apply(config, nth, now, &mut form, secrets).await?;
        form.secrets(secrets);
        if let Grant::Custom(grant) = &config.grant {
            return self.attempt_custom(config, grant, (&form, authorization), now, secrets).await;
        }
        let body = form.encode();
        let request = HttpRequest {
            method: &Method::POST,
            url,
            headers: &headers(config, authorization),
            body: Some(body.as_bytes()),
            max_body: MAX_ANSWER,
        };
        verdict::read(&self.send(&request, config.token_timeout, secrets).await?, secrets)
    }
}

impl TokenClient {
    async fn attempt_custom(
        &self,
        config: &OAuth2,
        grant: &CustomGrant,
        (form, authorization): (&FormBody, Option<HeaderValue>),
        now: SystemTime,
        secrets: &mut KnownSecrets,
    ) -> Result<EndpointReply, Failure> {
        let custom::CustomRequest { method, url, headers, body } =
            custom::request(grant, &config.token_url, form, authorization, now, secrets).await?;
        let request = HttpRequest {
            method: &method,
            url: &url,
            headers: &headers,
            body: body.as_ref().map(|body| body.as_bytes()),
            max_body: MAX_ANSWER,
        };
        let mut raw = self.send(&request, config.token_timeout, secrets).await?;
        let is_over = custom::normalise(&mut raw, &grant.response, SystemTime::now());
        match verdict::read(&raw, secrets)? {
            EndpointReply::Members(members)
                if is_over && response::text(&members, "access_token").is_some() =>
            {
                Err(Failure::from(Unavailability::Expired).with_words(Arc::from(OVER)))
            }
            reply => Ok(reply),
        }
    }
}

/// Returns the header fields of a request. An `Accept` of `token_headers` replaces attache's; the form keeps its type.
fn headers(config: &OAuth2, authorization: Option<HeaderValue>) -> Vec<(FieldName, HeaderValue)> {
    let field = |name, value| (FieldName::from_static(name), HeaderValue::from_static(value));
    let given = &config.token_headers;
    let mut all = Vec::with_capacity(given.len() + 3);
    if !given.iter().any(|(name, _)| *name == header::ACCEPT) {
        all.push(field("Accept", "application/json"));
    }
    all.extend(given.iter().filter(|(name, _)| *name != header::CONTENT_TYPE).cloned());
    all.push(field("Content-Type", "application/x-www-form-urlencoded"));
    all.extend(authorization.map(|value| (FieldName::from_static("Authorization"), value)));
    all
}

/// The result of a request.
pub(super) struct Posted {
    pub(super) reply: EndpointReply,
    /// The secrets that no text of the answer may contain.
    pub(super) secrets: KnownSecrets,
    /// The client's first secret was refused.
    second_secret: bool,
}

impl Posted {
    /// Returns a token, or why there is none. The request presented the account's grant.
    pub(super) fn into_answer(self, config: &OAuth2) -> Result<ReceivedToken, Failure> {
        self.answer(config, Presented::by(config))
    }

    /// Returns a token, or why there is none. The request presented a code, which is no grant of the account yet.
    pub(super) fn into_login_answer(self, config: &OAuth2) -> Result<ReceivedToken, Failure> {
        self.answer(config, Presented::Other)
    }

    fn answer(self, config: &OAuth2, presented: Presented<'_>) -> Result<ReceivedToken, Failure> {
        let members = match &self.reply {
            EndpointReply::Members(members) => members,
            EndpointReply::Refused(refusal) => return Err(refusal.judge(presented, &self.secrets)),
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

    fn granted(&self, members: &Map<String, Value>, config: &OAuth2) -> Result<ReceivedToken, Failure> {
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
        Ok(ReceivedToken {
            token: sendable(token)?,
            expires_in: expires_in(&granted, token, config.bearer_token_type)?,
            details: Details::of(&granted, token, &secrets),
            refresh_token,
            second_secret: self.second_secret,
        })
    }
}

/// `expires_in` is the lifetime of the access token. An ID token has one of its own, which may be shorter.
fn expires_in(
    granted: &Granted,
    token: &str,
    sent: BearerTokenType,
) -> Result<Option<Duration>, Unavailability> {
    let own = match sent {
        BearerTokenType::AccessToken => None,
        BearerTokenType::IdToken => details::lifetime(token, SystemTime::now()),
    };
    match own {
        Some(Duration::ZERO) => Err(Unavailability::Expired),
        own => Ok([own, granted.expires_in()].into_iter().flatten().min()),
    }
}

#[async_trait]
impl Exchange for TokenClient {
    async fn exchange(
        &self,
        config: &OAuth2,
        refresh_token: Option<&Secret>,
    ) -> Result<ReceivedToken, Failure> {
        let form = grant::form(config, refresh_token, SystemTime::now()).await?;
        self.post(config, &config.token_url, &form).await?.into_answer(config)
    }
}

/// RFC 6750 section 2.1, except for its narrower alphabet, which real tokens overstep: any visible ASCII. A token with a
/// space is an error message in the place of a token.
fn sendable(token: &str) -> Result<Secret, Failure> {
    if !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Secret::new(token));
    }
    Err(Unavailability::TokenCharacters.into())
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
