//! JSON Web Tokens (RFC 7519, in the compact form of RFC 7515): those that attache signs, and in [`verify`] those of
//! other issuers, with the keys of [`key_set`].
//!
//! All with `ring`, which is a dependency already. The `jsonwebtoken` crate was considered: it works with `aws-lc-rs`, a
//! second cryptographic library, or with the `rsa` crate, whose private key operations leak their timing
//! (RUSTSEC-2023-0071); with neither, the code for keys and signatures would be attache's own anyway. It also takes the
//! last of two claims of the same name, and refuses no weak RSA key.

pub mod key_set;
mod strict_json;
pub mod verify;

use crate::secret::{Secret, sha256};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding,
    RsaKeyPair,
};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Map, Value};
use std::fmt;
use std::sync::Arc;

/// A signature algorithm (RFC 7518 section 3.1, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384. Verified only.
    Ps384,
    /// RSASSA-PSS with SHA-512. Verified only.
    Ps512,
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// ECDSA over P-384 with SHA-384.
    Es384,
    /// Ed25519, under its usual name.
    EdDsa,
    /// Ed25519 under the name of RFC 9864, which some servers require.
    Ed25519,
}

impl Algorithm {
    /// Returns its name in a token's header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
            Self::Ed25519 => "Ed25519",
        }
    }
}

/// Why a text is not a usable private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No PEM block with a private key.
    #[error("not a private key in PEM")]
    NotPem,
    /// A PEM block without its line breaks, as variables and quoted texts often have it.
    #[error(
        "a private key without its line breaks (they were replaced by spaces or `\\n`); `{{ file: PATH }}` keeps them"
    )]
    NoLines,
    /// `ENCRYPTED PRIVATE KEY`: attache takes no passphrase.
    #[error("a private key with a passphrase; `openssl pkcs8 -in KEY -out NEW` removes it")]
    Encrypted,
    /// `CERTIFICATE` or `PUBLIC KEY`, which belong to the other party.
    #[error("a certificate or a public key, not the private key that belongs to it")]
    Public,
    /// `EC PRIVATE KEY`, which has to be converted.
    #[error("an EC key in SEC1 form; `openssl pkcs8 -topk8 -nocrypt` converts it to PKCS#8")]
    Sec1,
    /// Neither RSA of 2048 to 4096 bits, nor P-256, P-384 or Ed25519.
    #[error("not an RSA key of 2048 to 4096 bits, nor a P-256, P-384 or Ed25519 key")]
    Unsupported,
    /// The key is of another kind than the algorithm.
    #[error("a key of another kind than the algorithm")]
    WrongAlgorithm,
}

impl KeyError {
    /// Classifies a text in which no private key was found. It is never quoted.
    fn of_no_key(text: &str) -> Self {
        let begins = |label: &str| text.contains(&format!("-----BEGIN {label}-----"));
        if begins("ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
            Self::Encrypted
        } else if ["", "RSA ", "EC "].iter().any(|kind| begins(&format!("{kind}PRIVATE KEY"))) {
            let first = text.lines().find(|line| line.contains("-----BEGIN "));
            if first.is_some_and(|line| !line.trim_end().ends_with("-----") || line.contains("-----END ")) {
                Self::NoLines
            } else {
                Self::NotPem
            }
        } else if ["CERTIFICATE", "PUBLIC KEY", "RSA PUBLIC KEY"].iter().any(|label| begins(label)) {
            Self::Public
        } else {
            Self::NotPem
        }
    }
}

/// A private key and its algorithm.
#[derive(Clone)]
pub struct SigningKey {
    algorithm: Algorithm,
    pair: Arc<Pair>,
    digest: [u8; 32],
}

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// Reads a private key in PEM: PKCS#8, or PKCS#1 for RSA. Without `algorithm`, the key's kind decides: RS256, ES256,
    /// ES384 or EdDSA.
    ///
    /// # Errors
    ///
    /// If it is no such key, or not one for `algorithm`.
    pub fn from_pem(pem: &str, algorithm: Option<Algorithm>) -> Result<Self, KeyError> {
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyError::of_no_key(pem))?;
        let pair = match &der {
            PrivateKeyDer::Pkcs1(der) => {
                Pair::Rsa(RsaKeyPair::from_der(der.secret_pkcs1_der()).map_err(|_| KeyError::Unsupported)?)
            }
            PrivateKeyDer::Pkcs8(der) => pkcs8(der.secret_pkcs8_der())?,
            PrivateKeyDer::Sec1(_) => return Err(KeyError::Sec1),
            _ => return Err(KeyError::Unsupported),
        };
        let algorithm = match (&pair, algorithm) {
            (Pair::Rsa(_), None) => Algorithm::Rs256,
            (
                Pair::Rsa(_),
                Some(fits @ (Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512 | Algorithm::Ps256)),
            ) => fits,
            (Pair::P256(_), None | Some(Algorithm::Es256)) => Algorithm::Es256,
            (Pair::P384(_), None | Some(Algorithm::Es384)) => Algorithm::Es384,
            (Pair::Ed25519(_), None) => Algorithm::EdDsa,
            (Pair::Ed25519(_), Some(fits @ (Algorithm::EdDsa | Algorithm::Ed25519))) => fits,
            _ => return Err(KeyError::WrongAlgorithm),
        };
        Ok(Self { algorithm, pair: Arc::new(pair), digest: sha256(der.secret_der()) })
    }

    /// Returns a publicly known key, for a configuration that is only inspected.
    ///
    /// # Errors
    ///
    /// None: 32 bytes are an Ed25519 key.
    pub(crate) fn placeholder() -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[0; 32]).map_err(|_| KeyError::Unsupported)?;
        Ok(Self { algorithm: Algorithm::EdDsa, pair: Arc::new(Pair::Ed25519(pair)), digest: [0; 32] })
    }

    /// Returns the algorithm of its signatures.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns a digest for comparing two keys. Never show it.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Returns the public half as a JSON Web Key (RFC 7517), with the members of its thumbprint. `None` for an RSA or a
    /// P-384 key, which sign nothing that attache's own key set has to verify.
    pub fn public_jwk(&self) -> Option<Map<String, Value>> {
        let encode = |bytes: &[u8]| Value::from(BASE64_URL_SAFE_NO_PAD.encode(bytes));
        let members = match &*self.pair {
            Pair::Rsa(_) | Pair::P384(_) => return None,
            Pair::P256(pair) => {
                // Uncompressed: a prefix byte and the two coordinates.
                let (x, y) = pair.public_key().as_ref().get(1..)?.split_at_checked(32)?;
                vec![("crv", "P-256".into()), ("kty", "EC".into()), ("x", encode(x)), ("y", encode(y))]
            }
            Pair::Ed25519(pair) => {
                let x = encode(pair.public_key().as_ref());
                vec![("crv", "Ed25519".into()), ("kty", "OKP".into()), ("x", x)]
            }
        };
        Some(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// Returns the key's identifier: the SHA-256 of its public half (RFC 7638).
    pub fn thumbprint(&self) -> String {
        // The members in lexical order without white space, as serde_json writes a sorted map.
        let jwk = self.public_jwk().map(|jwk| jwk.into_iter().collect::<std::collections::BTreeMap<_, _>>());
        let json = serde_json::to_vec(&jwk.unwrap_or_default()).unwrap_or_default();
        BASE64_URL_SAFE_NO_PAD.encode(sha256(&json))
    }

    /// Returns a signed token of these claims. `alg` is added to `header`.
    ///
    /// # Errors
    ///
    /// If the system has no random numbers, or the key turns out to be unusable.
    pub fn sign(&self, header: Map<String, Value>, claims: &Map<String, Value>) -> Result<Secret, SignError> {
        compact(self.algorithm, header, claims, |message| {
            let random = SystemRandom::new();
            let rsa = |pair: &RsaKeyPair, encoding: &'static dyn RsaEncoding| {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(encoding, &random, message, &mut signature).map_err(|_| SignError)?;
                Ok(signature)
            };
            match &*self.pair {
                Pair::Rsa(pair) => rsa(
                    pair,
                    match self.algorithm {
                        Algorithm::Ps256 => &RSA_PSS_SHA256,
                        Algorithm::Rs384 => &RSA_PKCS1_SHA384,
                        Algorithm::Rs512 => &RSA_PKCS1_SHA512,
                        _ => &RSA_PKCS1_SHA256,
                    },
                ),
                Pair::P256(pair) | Pair::P384(pair) => {
                    pair.sign(&random, message).map(|s| s.as_ref().to_vec()).map_err(|_| SignError)
                }
                Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            }
        })
    }
}

fn pkcs8(der: &[u8]) -> Result<Pair, KeyError> {
    if let Ok(pair) = RsaKeyPair::from_pkcs8(der) {
        return Ok(Pair::Rsa(pair));
    }
    if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &SystemRandom::new()) {
        return Ok(Pair::P256(pair));
    }
    if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der, &SystemRandom::new()) {
        return Ok(Pair::P384(pair));
    }
    // OpenSSL writes version 1, without the public key that `from_pkcs8` requires.
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Pair::Ed25519).map_err(|_| KeyError::Unsupported)
}

/// Returns a token signed with a shared secret (HS256).
///
/// # Errors
///
/// None today; the signature is that of [`SigningKey::sign`].
pub fn sign_hs256(
    secret: &Secret,
    header: Map<String, Value>,
    claims: &Map<String, Value>,
) -> Result<Secret, SignError> {
    compact(Algorithm::Hs256, header, claims, |message| {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.expose().as_bytes());
        Ok(ring::hmac::sign(&key, message).as_ref().to_vec())
    })
}

/// A token could not be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token could not be signed")]
pub struct SignError;

fn compact(
    algorithm: Algorithm,
    mut header: Map<String, Value>,
    claims: &Map<String, Value>,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, SignError>,
) -> Result<Secret, SignError> {
    header.insert("alg".to_owned(), algorithm.as_str().into());
    header.entry("typ").or_insert_with(|| "JWT".into());
    let part = |map: &Map<String, Value>| {
        serde_json::to_vec(map).map(|json| BASE64_URL_SAFE_NO_PAD.encode(json)).map_err(|_| SignError)
    };
    let mut token = format!("{}.{}", part(&header)?, part(claims)?);
    let signature = sign(token.as_bytes())?;
    token.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(Secret::new(token))
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, [secret])", self.algorithm.as_str())
    }
}

impl PartialEq for SigningKey {
    fn eq(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.digest == other.digest
    }
}

impl Eq for SigningKey {}

#[cfg(test)]
mod tests;
