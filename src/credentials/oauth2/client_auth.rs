//! The client's authentication at the token endpoint.
//!
//! Only in the way that the file names: an endpoint is never probed with one way after another, which would put the
//! secret where the operator did not want it and look like an attack.

use super::assertion;
use super::error::{Failure, Unavailability};
use super::form::FormBody;
use super::redact::KnownSecrets;
use crate::config::model::{ClientAuth, OAuth2};
use crate::secret::Secret;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use std::time::SystemTime;
use url::form_urlencoded::byte_serialize;

/// RFC 7523 section 2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Returns the number of tries that the client's secrets allow: at least one.
pub(super) fn tries(auth: &ClientAuth) -> usize {
    auth.secrets().len().max(1)
}

/// Proves the client with its `nth` secret: members for the form, or the `Authorization` header that is returned. What
/// the header shows is added to `secrets`, what the form shows it knows itself.
pub(super) async fn apply(
    config: &OAuth2,
    nth: usize,
    now: SystemTime,
    form: &mut FormBody,
    secrets: &mut KnownSecrets,
) -> Result<Option<HeaderValue>, Failure> {
    let id = config.client_id.as_deref();
    let secret = |all: &[Secret]| all.get(nth).cloned().unwrap_or_else(|| Secret::new(""));
    match &config.client_auth {
        ClientAuth::None => push_id(form, id),
        ClientAuth::Basic(all) => {
            let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let (id, secret) = (encode(id.unwrap_or_default()), encode(secret(all).expose()));
            return basic(&id, &secret, secrets).map(Some);
        }
        ClientAuth::BasicRaw(all) => {
            return basic(id.unwrap_or_default(), secret(all).expose(), secrets).map(Some);
        }
        ClientAuth::Post(all) => {
            push_id(form, id);
            form.push_secret("client_secret", secret(all));
        }
        ClientAuth::ClientSecretJwt { secrets: all, audience } => {
            let token = assertion::sign_with_secret(id.unwrap_or_default(), &secret(all), audience, now)?;
            push_assertion(form, id, token);
        }
        ClientAuth::PrivateKeyJwt(assertion) => {
            let token = assertion::make(assertion, &[], now).await?;
            push_assertion(form, id, token);
        }
    }
    Ok(None)
}

fn push_id(form: &mut FormBody, id: Option<&str>) {
    if let Some(id) = id {
        form.push("client_id", id);
    }
}

/// With the client's id beside it, which RFC 7521 section 4.2 allows and several servers want.
fn push_assertion(form: &mut FormBody, id: Option<&str>, token: Secret) {
    push_id(form, id);
    form.push("client_assertion_type", ASSERTION_TYPE);
    form.push_secret("client_assertion", token);
}

fn basic(id: &str, secret: &str, secrets: &mut KnownSecrets) -> Result<HeaderValue, Failure> {
    let credentials = Secret::new(BASE64_STANDARD.encode(format!("{id}:{secret}")));
    let mut value = HeaderValue::try_from(format!("Basic {}", credentials.expose()))
        .map_err(|_| Failure::from(Unavailability::Malformed))?;
    value.set_sensitive(true);
    secrets.add(&credentials);
    Ok(value)
}

#[cfg(test)]
mod tests;
