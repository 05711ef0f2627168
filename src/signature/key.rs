//! What a secret of a scheme is: a key of a MAC, a public key, or a token that is compared.

use super::recipe::Algorithm;
use super::trace::Trace;
use super::{Fault, Scheme};
use crate::secret::{Secret, sha256};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::{hmac, signature};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Why a secret is none of this scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretFault {
    /// A Standard Webhooks secret is base64.
    #[error("not `whsec_` and base64, as the scheme's secrets are")]
    NotBase64,
    /// An Ed25519 public key has 32 bytes.
    #[error("not `whpk_` and the base64 of a public key of 32 bytes")]
    NotAPublicKey,
    /// `whsk_`.
    #[error("the provider's private key; use the public one, which starts with `whpk_`")]
    PrivateKey,
}

#[derive(Clone)]
pub(super) enum Key {
    /// Of a MAC, prepared for the one algorithm of its scheme.
    Hmac(hmac::Key),
    /// Ed25519.
    Public([u8; 32]),
    /// The SHA-256 of a token that is sent as it is.
    Token([u8; 32]),
}

impl Key {
    pub(super) fn new(scheme: &Scheme, secret: &Secret) -> Result<Self, SecretFault> {
        let text = secret.expose();
        let plain = |bytes: &[u8]| Self::Hmac(hmac::Key::new(scheme.algorithm().ring(), bytes));
        match scheme {
            Scheme::StandardWebhooks | Scheme::Svix => {
                if text.starts_with("whsk_") {
                    return Err(SecretFault::PrivateKey);
                }
                if let Some(public) = text.strip_prefix("whpk_") {
                    let bytes = BASE64_STANDARD.decode(public).map_err(|_| SecretFault::NotAPublicKey)?;
                    return bytes.try_into().map(Self::Public).map_err(|_| SecretFault::NotAPublicKey);
                }
                Ok(plain(&decoded(text.strip_prefix("whsec_").unwrap_or(text))?))
            }
            Scheme::Gitlab => match text.strip_prefix("whsec_") {
                Some(encoded) => Ok(plain(&decoded(encoded)?)),
                None => Ok(Self::Token(secret.sha256())),
            },
            Scheme::MicrosoftGraph => Ok(Self::Token(secret.sha256())),
            _ => Ok(plain(text.as_bytes())),
        }
    }

    /// The MAC of what `feed` feeds, if this is a key of one.
    pub(super) fn hmac(
        &self,
        algorithm: Algorithm,
        feed: impl FnOnce(&mut hmac::Context),
    ) -> Option<Vec<u8>> {
        let Self::Hmac(key) = self else { return None };
        debug_assert!(key.algorithm() == algorithm.ring(), "a key is made for its scheme's algorithm");
        let mut context = hmac::Context::with_key(key);
        feed(&mut context);
        Some(context.sign().as_ref().to_vec())
    }

    /// Whether this public key's owner signed `message`.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let Self::Public(key) = self else { return false };
        signature::UnparsedPublicKey::new(&signature::ED25519, key).verify(message, signature).is_ok()
    }
}

fn decoded(text: &str) -> Result<Zeroizing<Vec<u8>>, SecretFault> {
    // Some providers leave the padding out.
    let text = text.trim_end_matches('=');
    let bytes = base64::prelude::BASE64_STANDARD_NO_PAD.decode(text).map_err(|_| SecretFault::NotBase64)?;
    if bytes.is_empty() { Err(SecretFault::NotBase64) } else { Ok(Zeroizing::new(bytes)) }
}

/// Whether `token` is one of the tokens. Compared by their hashes, all of them: the time tells nothing.
pub(super) fn any_token(keys: &[Key], token: &[u8], trace: &mut Trace) -> Result<(), Fault> {
    let token = sha256(token);
    let mut found = false;
    for (i, key) in keys.iter().enumerate() {
        let Key::Token(expected) = key else { continue };
        let same = bool::from(expected.ct_eq(&token));
        trace.note(|| format!("secret {}: {}", i + 1, if same { "equal" } else { "different" }));
        found |= same;
    }
    if found { Ok(()) } else { Err(Fault::Mismatch) }
}
