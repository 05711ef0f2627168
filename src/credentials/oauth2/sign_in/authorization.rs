//! The authorization request (RFC 6749 section 4.1.1) with PKCE (RFC 7636), and what comes back with the browser.

use super::super::redact::Secrets;
use crate::config::model::{Grant, OAuth2};
use crate::secret::Secret;
use oauth2::basic::BasicClient;
use oauth2::{AuthUrl, ClientId, CsrfToken, PkceCodeChallenge, RedirectUrl, Scope};
use std::sync::Arc;
use url::{Url, form_urlencoded};

/// One request and what proves that an answer belongs to it. Good for one login.
pub struct Authorization {
    url: Url,
    redirect_uri: String,
    state: Secret,
    verifier: Secret,
    secrets: Secrets,
}

/// What the query of a redirect says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redirected {
    /// The person agreed.
    Code(Secret),
    /// The provider, or the person, refused. Both texts are redacted.
    Refused {
        /// The OAuth `error`.
        error: Arc<str>,
        /// The `error_description`.
        description: Option<Arc<str>>,
    },
    /// It is no answer to this request: anybody on the machine can call a loopback port (RFC 8252 section 8.9).
    Foreign,
}

impl Authorization {
    pub(super) fn new(config: &OAuth2, redirect_uri: &Url) -> Option<Self> {
        let Grant::AuthorizationCode { authorization_url, authorization_params, .. } = &config.grant else {
            return None;
        };
        let client = BasicClient::new(ClientId::new(config.client_id.clone().unwrap_or_default()))
            .set_auth_uri(AuthUrl::from_url(authorization_url.clone()))
            .set_redirect_uri(RedirectUrl::from_url(redirect_uri.clone()));
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let mut request = client
            .authorize_url(CsrfToken::new_random)
            // It is the account's separator that is between them.
            .add_scopes((!config.scopes.is_empty()).then(|| Scope::new(config.scope())))
            .set_pkce_challenge(challenge);
        for (name, value) in authorization_params {
            request = request.add_extra_param(name, value);
        }
        let (url, state) = request.url();
        let (state, verifier) = (Secret::new(state.into_secret()), Secret::new(verifier.into_secret()));
        let mut secrets = Secrets::of(config);
        secrets.add(&state);
        secrets.add(&verifier);
        Some(Self { url, redirect_uri: redirect_uri.as_str().to_owned(), state, verifier, secrets })
    }

    /// To be opened in a browser. It holds the state and the challenge, and so may be shown to the person who signs in.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Reads the query of a redirect. A member that stands there twice makes it nobody's.
    pub fn read(&self, query: &str) -> Redirected {
        let mut members = [const { None }; 4];
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let at = match &*name {
                "state" => 0,
                "code" => 1,
                "error" => 2,
                "error_description" => 3,
                _ => continue,
            };
            if members[at].replace(Secret::new(value)).is_some() {
                return Redirected::Foreign;
            }
        }
        let [state, code, error, description] = members;
        // Compared in constant time, as secrets are.
        if state.is_none_or(|state| state != self.state) {
            return Redirected::Foreign;
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

    pub(super) fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    pub(super) fn verifier(&self) -> &Secret {
        &self.verifier
    }
}
