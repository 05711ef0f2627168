//! The authorization request (RFC 6749 section 4.1.1) with PKCE (RFC 7636), and the redirect that answers it.

use super::super::redact::KnownSecrets;
use super::SignInError;
use crate::config::model::{Grant, OAuth2};
use crate::secret::Secret;
use oauth2::basic::BasicClient;
use oauth2::{AuthUrl, ClientId, CsrfToken, PkceCodeChallenge, RedirectUrl, Scope};
use std::sync::Arc;
use url::{Url, form_urlencoded};

/// One request, and what proves that a redirect belongs to it. Good for one login.
pub struct AuthorizationRequest {
    url: Url,
    redirect_uri: String,
    issuer: AuthorizationServer,
    state: Secret,
    verifier: Secret,
    secrets: KnownSecrets,
}

/// The authorization server that answers the request.
enum AuthorizationServer {
    /// As the file names it.
    Named(String),
    /// One of the origin of this URL.
    OfOrigin(Url),
}

/// The content of a redirect's query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redirected {
    /// The user agreed.
    Code(Secret),
    /// The provider or the user refused. Both texts are redacted.
    Refused {
        /// The OAuth `error`.
        error: Arc<str>,
        /// The `error_description`.
        description: Option<Arc<str>>,
    },
    /// Another authorization server than the account's answered: a mix-up attack (RFC 9207), or a wrong `issuer`.
    WrongIssuer {
        /// Its `iss`, redacted.
        named: Arc<str>,
    },
    /// It does not answer this request: any program of the machine can call a loopback port (RFC 8252 section 8.9).
    Foreign,
}

impl AuthorizationRequest {
    pub(super) fn new(config: &OAuth2, redirect_uri: &Url) -> Option<Self> {
        let Grant::AuthorizationCode { authorization_url, authorization_params, issuer, .. } = &config.grant
        else {
            return None;
        };
        let client = BasicClient::new(ClientId::new(config.client_id.clone().unwrap_or_default()))
            .set_auth_uri(AuthUrl::from_url(authorization_url.clone()))
            .set_redirect_uri(RedirectUrl::from_url(redirect_uri.clone()));
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let mut request = client
            .authorize_url(CsrfToken::new_random)
            .add_scopes((!config.scopes.is_empty()).then(|| Scope::new(config.scope())))
            .set_pkce_challenge(challenge);
        for (name, value) in authorization_params {
            request = request.add_extra_param(name, value);
        }
        let (url, state) = request.url();
        let (state, verifier) = (Secret::new(state.into_secret()), Secret::new(verifier.into_secret()));
        let mut secrets = KnownSecrets::of(config);
        secrets.add(&state);
        secrets.add(&verifier);
        let issuer = match issuer {
            Some(issuer) => AuthorizationServer::Named(issuer.clone()),
            None => AuthorizationServer::OfOrigin(authorization_url.clone()),
        };
        Some(Self { url, redirect_uri: redirect_uri.as_str().to_owned(), issuer, state, verifier, secrets })
    }

    /// Returns the URL to open in a browser. It contains the state and the challenge; the user who signs in may see them.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Reads the query of a redirect. One with a member that occurs twice belongs to no request.
    pub fn read(&self, query: &str) -> Redirected {
        let mut members = [const { None }; 5];
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let at = match &*name {
                "state" => 0,
                "code" => 1,
                "error" => 2,
                "error_description" => 3,
                "iss" => 4,
                _ => continue,
            };
            if members[at].replace(Secret::new(value)).is_some() {
                return Redirected::Foreign;
            }
        }
        let [state, code, error, description, issuer] = members;
        // Secrets are compared in constant time.
        if state.is_none_or(|state| state != self.state) {
            return Redirected::Foreign;
        }
        if let Some(issuer) = issuer
            && !self.issuer.is(issuer.expose())
        {
            return Redirected::WrongIssuer {
                named: self.secrets.text(issuer.expose()).unwrap_or_else(|| "\"\"".into()),
            };
        }
        match (error, code) {
            (Some(error), _) => Redirected::Refused {
                error: self.secrets.code(error.expose()),
                description: description.and_then(|text| self.secrets.text(text.expose())),
            },
            (None, Some(code)) if !code.expose().is_empty() => Redirected::Code(code),
            (None, _) => Redirected::Foreign,
        }
    }

    /// Returns the failure of a login whose redirect names another issuer.
    pub fn wrong_issuer(&self, named: Arc<str>) -> SignInError {
        let expected = match &self.issuer {
            AuthorizationServer::Named(issuer) => format!("the account's `issuer` is {issuer}"),
            AuthorizationServer::OfOrigin(url) => {
                format!("`authorization_url` is at {}", url.origin().ascii_serialization())
            }
        };
        SignInError::WrongIssuer { named, expected }
    }

    pub(super) fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    pub(super) fn verifier(&self) -> &Secret {
        &self.verifier
    }
}

impl AuthorizationServer {
    /// Issuers are compared as text (RFC 9207 section 2.4); a slash at the end of one of them is a frequent slip.
    fn is(&self, named: &str) -> bool {
        let cut = |issuer: &str| issuer.strip_suffix('/').unwrap_or(issuer).to_owned();
        match self {
            Self::Named(issuer) => cut(issuer) == cut(named),
            Self::OfOrigin(url) => Url::parse(named).is_ok_and(|named| named.origin() == url.origin()),
        }
    }
}
