//! The second part of a signature: the encoding of its secret, and the key that is decoded from it.

use super::algorithm::Algorithm;
use super::bearer::RequiredToken;
use super::parts::Parts;
use super::public_key::{PublicKey, is_public};
use super::sns::Topic;
use super::trace::Trace;
use crate::secret::{Secret, sha256};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use ring::hmac;
use std::sync::Arc;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// The encoding of a secret.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SecretEncoding {
    /// The key is the text itself.
    #[default]
    Raw,
    /// Hexadecimal.
    Hex,
    /// Base64, with or without padding.
    Base64,
    /// Base64 after `whsec_`, which may be left out, as may `v1,` before it.
    Whsec,
}

impl SecretEncoding {
    /// Every encoding, by its name in the file.
    pub const ALL: [(&str, Self); 4] =
        [("raw", Self::Raw), ("hex", Self::Hex), ("base64", Self::Base64), ("whsec_", Self::Whsec)];

    fn decode(self, text: &str) -> Result<Zeroizing<Vec<u8>>, SecretFault> {
        let base64 =
            |text: &str, fault| BASE64_STANDARD_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| fault);
        let (bytes, fault) = match self {
            Self::Raw => (text.as_bytes().to_vec(), SecretFault::NotBase64),
            Self::Hex => {
                let bytes = super::form::Encoding::Hex.decode(text).ok_or(SecretFault::NotHex)?;
                (bytes, SecretFault::NotHex)
            }
            Self::Base64 => (base64(text, SecretFault::NotBase64)?, SecretFault::NotBase64),
            Self::Whsec => {
                let text = text.strip_prefix("v1,").unwrap_or(text);
                let text = text.strip_prefix("whsec_").unwrap_or(text);
                (base64(text, SecretFault::NotWhsec)?, SecretFault::NotWhsec)
            }
        };
        if bytes.is_empty() { Err(fault) } else { Ok(Zeroizing::new(bytes)) }
    }
}

/// The reason why a secret can't be one of this scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretFault {
    /// A Standard Webhooks secret is base64.
    #[error("not `whsec_` and base64, as the scheme's secrets are")]
    NotWhsec,
    /// The secret is base64.
    #[error("not base64, as the scheme's secrets are")]
    NotBase64,
    /// The secret is hexadecimal.
    #[error("not hexadecimal, as the scheme's secrets are")]
    NotHex,
    /// An Ed25519 public key has 32 bytes.
    #[error("not `whpk_` and the base64 of a public key of 32 bytes")]
    NotAWhpk,
    /// No known form of a public key.
    #[error("not a public key in PEM, in base64 of DER, or in the scheme's own form")]
    NotAKey,
    /// A private key.
    #[error("the provider's private key; use the public one (`whpk_…` in Standard Webhooks)")]
    PrivateKey,
    /// A key of another algorithm.
    #[error("a public key of another kind than the scheme's algorithm")]
    WrongKind,
    /// An elliptic curve that is not P-256.
    #[error("a public key on another curve than P-256")]
    WrongCurve,
    /// An RSA key that is too small or too large.
    #[error("an RSA key of less than 2048 bits or more than 8192")]
    RsaSize,
    /// A public key as the secret of a MAC.
    #[error("a public key; the scheme signs with a secret, and others know a public key")]
    PublicKeyAsSecret,
}

#[derive(Clone)]
pub(super) enum SignatureKey {
    /// The key of a MAC, prepared for the one algorithm of its scheme.
    Hmac(hmac::Key),
    /// A public key.
    Public(PublicKey),
    /// The SHA-256 of a token that is sent as it is.
    Token([u8; 32]),
    /// A token of an issuer.
    Issued(Arc<RequiredToken>),
    /// The topics of SNS.
    Topics(Arc<[Topic]>),
}

impl SignatureKey {
    pub(super) fn new(parts: &Parts, secret: &Secret) -> Result<Self, SecretFault> {
        let text = secret.expose();
        if parts.place.has_ed25519() {
            if text.starts_with("whsk_") {
                return Err(SecretFault::PrivateKey);
            }
            if text.starts_with("whpk_") {
                let key = PublicKey::read(Algorithm::Ed25519, text);
                return key.map(Self::Public).map_err(|_| SecretFault::NotAWhpk);
            }
        }
        match parts.algorithm.hmac() {
            Some(_) if is_public(text) => Err(SecretFault::PublicKeyAsSecret),
            Some(algorithm) => {
                let bytes = parts.secret.decode(text)?;
                Ok(Self::Hmac(hmac::Key::new(algorithm, &bytes)))
            }
            None if parts.algorithm == Algorithm::Token => Ok(Self::Token(secret.sha256())),
            None => PublicKey::read(parts.algorithm, text).map(Self::Public),
        }
    }

    /// Returns the MAC of what `feed` feeds, if this is a key of one.
    pub(super) fn hmac(&self, feed: impl FnOnce(&mut hmac::Context)) -> Option<hmac::Tag> {
        let Self::Hmac(key) = self else { return None };
        let mut context = hmac::Context::with_key(key);
        feed(&mut context);
        Some(context.sign())
    }
}

/// Returns true if `token` is one of the tokens. All are compared, by their hashes, so the time depends on none.
pub(super) fn any_token(keys: &[(usize, SignatureKey)], token: &[u8], trace: &mut Trace) -> bool {
    let token = sha256(token);
    let mut found = false;
    for (number, key) in keys {
        let SignatureKey::Token(expected) = key else { continue };
        let same = bool::from(expected.ct_eq(&token));
        trace.note(|| format!("secret {number}: {}", if same { "equal" } else { "different" }));
        found |= same;
    }
    found
}
