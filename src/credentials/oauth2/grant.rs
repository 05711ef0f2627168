//! The form that each grant sends to the token endpoint, without the client authentication.
//!
//! Scopes: a refresh request of the grant `refresh_token` names those of the file, because no request has asked for them
//! yet; after a login it names none, which means "those that were granted" (RFC 6749 section 6) and can't be refused as
//! more than that.

use super::assertion;
use super::error::Failure;
use super::form::FormBody;
use crate::config::model::{Assertion, CustomParams, Grant, OAuth2};
use crate::secret::Secret;
use std::time::SystemTime;

/// The form of one token request at `now`. `refresh_token` is for the grants that [refresh](Grant::refreshes), which
/// without it need a login; the grant's own first one is not taken in its place, since it may have been used up.
pub(super) async fn form(
    config: &OAuth2,
    refresh_token: Option<&Secret>,
    now: SystemTime,
) -> Result<FormBody, Failure> {
    let OAuth2 { grant, scopes, .. } = config;
    let refresh = || {
        let token = refresh_token.ok_or(Failure::needs_login())?;
        Ok::<_, Failure>(FormBody::new("refresh_token").with_secret("refresh_token", token.clone()))
    };
    let form = match grant {
        Grant::ClientCredentials => FormBody::new("client_credentials").with_scopes(config),
        Grant::Password { username, password } => FormBody::new("password")
            .with_secret("username", username.clone())
            .with_secret("password", password.clone())
            .with_scopes(config),
        Grant::RefreshToken { .. } => refresh()?.with_scopes(config),
        Grant::AuthorizationCode { .. } | Grant::DeviceCode { .. } => refresh()?,
        Grant::JwtBearer(assertion) => {
            let form = FormBody::new("urn:ietf:params:oauth:grant-type:jwt-bearer")
                .with_secret("assertion", assertion::make(assertion, scopes, now).await?);
            if claims_scopes(assertion) { form } else { form.with_scopes(config) }
        }
        Grant::TokenExchange { subject_token, subject_token_type, actor, requested_token_type } => {
            let mut form = FormBody::new("urn:ietf:params:oauth:grant-type:token-exchange")
                .with_secret("subject_token", assertion::present(subject_token).await?)
                .with("subject_token_type", subject_token_type);
            if let Some((token, kind)) = actor {
                form.push_secret("actor_token", assertion::present(token).await?);
                form.push("actor_token_type", kind);
            }
            if let Some(kind) = requested_token_type {
                form.push("requested_token_type", kind);
            }
            form.with_scopes(config)
        }
        Grant::Custom(custom) => match &custom.params {
            CustomParams::Query(params) | CustomParams::Form(params) => {
                FormBody::default().with_params(params)
            }
            CustomParams::Json(_) => FormBody::default(),
        },
    };
    Ok(form.with_params(&config.token_params))
}

fn claims_scopes(assertion: &Assertion) -> bool {
    matches!(assertion, Assertion::Signed(signed) if signed.scope_claim)
}

#[cfg(test)]
mod tests;
