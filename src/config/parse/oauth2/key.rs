//! The key of a signed token: PEM, or a Google service account's JSON.

use crate::config::decode::{At, Decoder};
use crate::config::secrets::{Failure, PlainText};
use crate::jwt::{KeyError, SigningKey};
use crate::secret::Secret;
use serde::Deserialize;

/// The content of a key.
pub(super) enum Material {
    Pem(Secret),
    ServiceAccount(ServiceAccount),
    /// The key was not read.
    Placeholder,
}

/// The JSON of a Google service account.
pub(super) struct ServiceAccount {
    pub(super) client_email: String,
    pub(super) private_key: Secret,
    pub(super) private_key_id: Option<String>,
    pub(super) token_uri: Option<String>,
}

/// Reads a key, which with `may_be_json` may be a service account's JSON.
pub(super) fn material(decoder: &Decoder<'_>, at: &At<'_>, may_be_json: bool) -> Option<Material> {
    let invalid =
        |message, label: &str, help| Err(Failure::malformed("invalid_key", message, label, Some(help)));
    let found = decoder.secret_text_as(at, PlainText::WARN, &|text| {
        if !text.trim_start().starts_with('{') {
            return match SigningKey::from_pem(text, None) {
                Ok(_) => Ok(Material::Pem(Secret::new(text))),
                Err(error) => Err(cannot_sign(at, error)),
            };
        }
        if !may_be_json {
            let label = "this is JSON, not a private key in PEM";
            let help = "a Google service account is for `grant: jwt_bearer`";
            return invalid(format!("{at} can't be used"), label, help);
        }
        let (label, help) = match service_account(text) {
            Ok(found) => {
                SigningKey::from_pem(found.private_key.expose(), None)
                    .map_err(|error| cannot_sign(at, error))?;
                return Ok(Material::ServiceAccount(found));
            }
            Err(said) => said,
        };
        invalid(format!("{at} is not the JSON of a service account"), label, help)
    });
    decoder.or_block(found, || Material::Placeholder)
}

/// Returns the failure of a key that exists and can't sign.
pub(super) fn cannot_sign(at: &At<'_>, error: KeyError) -> Failure {
    let help = (error == KeyError::WrongAlgorithm).then_some("remove `algorithm`: the key determines it");
    Failure::malformed("invalid_key", format!("{at} can't sign"), error.to_string(), help)
}

/// Parses the service account in a JSON text; the error is label and help.
fn service_account(json: &str) -> Result<ServiceAccount, (&'static str, &'static str)> {
    #[derive(Deserialize)]
    struct Json {
        r#type: Option<String>,
        client_email: Option<String>,
        private_key: Option<String>,
        private_key_id: Option<String>,
        token_uri: Option<String>,
    }
    let help = "download it from Google as a service account's JSON key";
    // The parser's own errors quote values.
    let found = serde_json::from_str::<Json>(json)
        .map_err(|_| ("it starts like JSON, but is not valid JSON", help))?;
    match found.r#type.as_deref() {
        Some("service_account") => {}
        Some("authorized_user") => {
            return Err((
                "its `type` is `authorized_user`: a user's refresh token",
                "use `grant: refresh_token` with its `refresh_token`",
            ));
        }
        Some("external_account") => {
            return Err((
                "its `type` is `external_account`: it has no key",
                "use `grant: token_exchange` with its `audience`",
            ));
        }
        _ => return Err(("its `type` is not `service_account`", help)),
    }
    let client_email = found.client_email.filter(|text| !text.is_empty());
    Ok(ServiceAccount {
        client_email: client_email.ok_or(("it has no `client_email`", help))?,
        private_key: Secret::new(found.private_key.ok_or(("it has no `private_key`", help))?),
        private_key_id: found.private_key_id,
        token_uri: found.token_uri,
    })
}
