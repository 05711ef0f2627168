//! The public keys of an issuer (JWK Set, RFC 7517).
//!
//! A key's algorithms follow from the key: its `alg`, else its type and curve. A token cannot widen them, so a public
//! key is never used as the secret of an HMAC, and no key stands for `none`.
//!
//! A key that cannot verify a signature is left out, as RFC 7517 section 5 says: other types, other uses, unknown
//! algorithms. One that should verify and is unfit is left out too, with its reason in [`KeySet::skipped`]. A set
//! without a usable key is an error. `x5c`, `x5u` and `x5t` are ignored.

use super::Algorithm;
use super::strict_json;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::agreement::{self, ECDH_P256, ECDH_P384, EphemeralPrivateKey};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::{Map, Value};
use std::fmt;

/// Maximum size of a key set, in bytes.
pub const MAX_KEY_SET: usize = 512 << 10;
/// Maximum number of keys in a set.
pub const MAX_KEYS: usize = 256;

/// Sizes of an RSA modulus, in bits: below it is weak, above it is slow.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Maximum length of a `kid`, in bytes.
pub(super) const MAX_KEY_ID: usize = 1024;

/// The usable keys of an issuer.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySet {
    keys: Vec<VerificationKey>,
    skipped: Vec<SkippedKey>,
}

/// Why a document is no key set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// It is larger than [`MAX_KEY_SET`].
    #[error("it is larger than 512 KiB")]
    TooLarge,
    /// It is not a JSON object with a list `keys`.
    #[error("it is not a JSON Web Key Set: an object with a list `keys`")]
    NotKeySet,
    /// It has more than [`MAX_KEYS`] keys.
    #[error("it has more than 256 keys")]
    TooMany,
    /// None of its keys can verify a signature.
    #[error("it has no key that can verify a signature{}", .0.as_ref().map_or_else(String::new, |key| format!(": {key}")))]
    NoKey(Option<SkippedKey>),
}

/// A key that should verify signatures and cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedKey {
    /// Its position in the list, from 0.
    pub at: usize,
    /// The reason.
    pub fault: KeyFault,
}

/// Names the key by its position: its `kid` is text of another party.
impl fmt::Display for SkippedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keys[{}] {}", self.at, self.fault)
    }
}

/// Why a key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// It is no JSON object, or a member that it needs is missing or malformed.
    #[error("is malformed")]
    Malformed,
    /// An RSA modulus below 2048 bits.
    #[error("is a weak RSA key: it has less than 2048 bits")]
    Weak,
    /// An RSA modulus above 8192 bits.
    #[error("is an RSA key of more than 8192 bits")]
    TooLong,
    /// It holds its private half, so every reader of the set can sign.
    #[error("holds a private key; publish the public key only, and replace the key")]
    Private,
    /// `alg` belongs to another type of key.
    #[error("has an `alg` of another kind of key")]
    WrongAlgorithm,
}

/// One key that verifies signatures.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct VerificationKey {
    pub(super) id: Option<String>,
    material: KeyMaterial,
    /// `alg`: the only algorithm, if the key names one.
    only: Option<Algorithm>,
}

#[derive(Clone, PartialEq, Eq)]
enum KeyMaterial {
    Rsa {
        /// Big-endian, without leading zeros.
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// The uncompressed point.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl KeySet {
    /// Parses a JSON Web Key Set.
    ///
    /// # Errors
    ///
    /// If it is none, or none of its keys can be used.
    pub fn parse(json: &[u8]) -> Result<Self, KeySetError> {
        if json.len() > MAX_KEY_SET {
            return Err(KeySetError::TooLarge);
        }
        let set = strict_json::object(json).ok_or(KeySetError::NotKeySet)?;
        let Some(Value::Array(listed)) = set.get("keys") else { return Err(KeySetError::NotKeySet) };
        if listed.len() > MAX_KEYS {
            return Err(KeySetError::TooMany);
        }
        let (mut keys, mut skipped) = (Vec::new(), Vec::new());
        for (at, key) in listed.iter().enumerate() {
            match VerificationKey::parse(key) {
                Ok(Some(key)) => keys.push(key),
                Ok(None) => {}
                Err(fault) => skipped.push(SkippedKey { at, fault }),
            }
        }
        if keys.is_empty() {
            return Err(KeySetError::NoKey(skipped.into_iter().next()));
        }
        Ok(Self { keys, skipped })
    }

    /// Returns a set that verifies nothing, for a configuration that is only inspected.
    pub(crate) fn empty() -> Self {
        Self { keys: Vec::new(), skipped: Vec::new() }
    }

    /// Returns the number of usable keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns true if it has no usable key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns the keys that should verify signatures and cannot.
    pub fn skipped(&self) -> &[SkippedKey] {
        &self.skipped
    }

    /// Returns the keys with this identifier; without one, all keys.
    pub(super) fn candidates(&self, id: Option<&str>) -> impl Iterator<Item = &VerificationKey> {
        self.keys.iter().filter(move |key| id.is_none_or(|id| key.id.as_deref() == Some(id)))
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySet({} keys)", self.keys.len())
    }
}

impl VerificationKey {
    /// Parses a key. `None`: it is not meant to verify a signature that attache knows.
    fn parse(key: &Value) -> Result<Option<Self>, KeyFault> {
        let key = key.as_object().ok_or(KeyFault::Malformed)?;
        let kind = text(key, "kty")?.ok_or(KeyFault::Malformed)?;
        let is_known = match kind {
            "RSA" => true,
            "EC" => matches!(text(key, "crv")?, Some("P-256" | "P-384")),
            "OKP" => text(key, "crv")? == Some("Ed25519"),
            _ => false,
        };
        if !is_known || !verifies(key)? {
            return Ok(None);
        }
        let only = match text(key, "alg")? {
            None => None,
            Some(name) => match Algorithm::verifiable(name) {
                Some(algorithm) => Some(algorithm),
                None => return Ok(None),
            },
        };
        if key.contains_key("d") {
            return Err(KeyFault::Private);
        }
        let material = KeyMaterial::parse(kind, key)?;
        if only.is_some_and(|algorithm| !material.fits(algorithm)) {
            return Err(KeyFault::WrongAlgorithm);
        }
        let id = text(key, "kid")?.map(str::to_owned);
        if id.as_ref().is_some_and(|id| id.len() > MAX_KEY_ID) {
            return Err(KeyFault::Malformed);
        }
        Ok(Some(Self { id, material, only }))
    }

    /// Returns true if the key is one for `algorithm`.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        let is_only = self.only.is_none_or(|only| only.is_same_as(algorithm));
        is_only && self.material.fits(algorithm)
    }

    /// Returns true if the key fits and the signature is good.
    pub(super) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.fits(algorithm) {
            return false;
        }
        let point = |scheme: &'static dyn VerificationAlgorithm, bytes: &[u8]| {
            UnparsedPublicKey::new(scheme, bytes).verify(message, signature).is_ok()
        };
        match &self.material {
            KeyMaterial::Rsa { n, e } => algorithm.rsa_parameters().is_some_and(|parameters| {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(parameters, message, signature).is_ok()
            }),
            KeyMaterial::P256(bytes) => point(&ECDSA_P256_SHA256_FIXED, bytes),
            KeyMaterial::P384(bytes) => point(&ECDSA_P384_SHA384_FIXED, bytes),
            KeyMaterial::Ed25519(bytes) => point(&ED25519, bytes),
        }
    }
}

impl KeyMaterial {
    fn parse(kind: &str, key: &Map<String, Value>) -> Result<Self, KeyFault> {
        match (kind, text(key, "crv")?) {
            ("RSA", _) => rsa(&bytes(key, "n")?, &bytes(key, "e")?),
            ("EC", Some("P-256")) => Ok(Self::P256(point(key, 32, &ECDH_P256)?)),
            ("EC", Some("P-384")) => Ok(Self::P384(point(key, 48, &ECDH_P384)?)),
            _ => Ok(Self::Ed25519(
                Some(bytes(key, "x")?).filter(|x| x.len() == 32).ok_or(KeyFault::Malformed)?,
            )),
        }
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Rsa { .. } => algorithm.rsa_parameters().is_some(),
            Self::P256(_) => algorithm == Algorithm::Es256,
            Self::P384(_) => algorithm == Algorithm::Es384,
            Self::Ed25519(_) => matches!(algorithm, Algorithm::EdDsa | Algorithm::Ed25519),
        }
    }
}

impl Algorithm {
    /// Returns the algorithm of this name, if a public key verifies it.
    pub(super) fn verifiable(name: &str) -> Option<Self> {
        let all = [
            Self::Rs256,
            Self::Rs384,
            Self::Rs512,
            Self::Ps256,
            Self::Ps384,
            Self::Ps512,
            Self::Es256,
            Self::Es384,
            Self::EdDsa,
            Self::Ed25519,
        ];
        all.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// `EdDSA` and `Ed25519` are two names for the signatures of an Ed25519 key (RFC 9864).
    fn is_same_as(self, other: Self) -> bool {
        let is_ed25519 = |algorithm| matches!(algorithm, Self::EdDsa | Self::Ed25519);
        self == other || (is_ed25519(self) && is_ed25519(other))
    }

    fn rsa_parameters(self) -> Option<&'static RsaParameters> {
        Some(match self {
            Self::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
            Self::Ps256 => &RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &RSA_PSS_2048_8192_SHA512,
            _ => return None,
        })
    }
}

/// Returns a member that is text, if there is one.
fn text<'k>(key: &'k Map<String, Value>, name: &str) -> Result<Option<&'k str>, KeyFault> {
    key.get(name).map(|value| value.as_str().ok_or(KeyFault::Malformed)).transpose()
}

fn bytes(key: &Map<String, Value>, name: &str) -> Result<Vec<u8>, KeyFault> {
    let text = text(key, name)?.ok_or(KeyFault::Malformed)?;
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyFault::Malformed)
}

/// Returns true unless `use` or `key_ops` reserve the key for something else.
fn verifies(key: &Map<String, Value>) -> Result<bool, KeyFault> {
    let is_for_signatures = text(key, "use")?.is_none_or(|usage| usage == "sig");
    let may_verify = match key.get("key_ops") {
        None => true,
        Some(Value::Array(operations)) => operations.iter().any(|operation| operation == "verify"),
        Some(_) => return Err(KeyFault::Malformed),
    };
    Ok(is_for_signatures && may_verify)
}

fn rsa(n: &[u8], e: &[u8]) -> Result<KeyMaterial, KeyFault> {
    // Some servers encode a leading zero, which RFC 7518 section 6.3.1.1 forbids and no number depends on.
    let trim = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        bytes[zeros..].to_vec()
    };
    let (n, e) = (trim(n), trim(e));
    let Some(first) = n.first() else { return Err(KeyFault::Malformed) };
    let bits = n.len() * 8 - first.leading_zeros() as usize;
    if bits < *RSA_BITS.start() {
        return Err(KeyFault::Weak);
    }
    if bits > *RSA_BITS.end() {
        return Err(KeyFault::TooLong);
    }
    // An even number is no product of two large primes and no exponent; with the exponent 1 every text is its own
    // signature.
    let is_odd = |number: &[u8]| number.last().is_some_and(|byte| byte % 2 == 1);
    if !is_odd(&n) || !is_odd(&e) || e == [1] || e.len() > 4 {
        return Err(KeyFault::Malformed);
    }
    Ok(KeyMaterial::Rsa { n, e })
}

/// Returns the uncompressed point of two coordinates of this size.
fn point(
    key: &Map<String, Value>,
    size: usize,
    curve: &'static agreement::Algorithm,
) -> Result<Vec<u8>, KeyFault> {
    let (x, y) = (bytes(key, "x")?, bytes(key, "y")?);
    if x.len() != size || y.len() != size {
        return Err(KeyFault::Malformed);
    }
    let point = [&[4], &x[..], &y[..]].concat();
    // ring checks that a point is on its curve when it is used: here, instead of at each signature.
    let random = SystemRandom::new();
    let own = EphemeralPrivateKey::generate(curve, &random).map_err(|_| KeyFault::Malformed)?;
    let other = agreement::UnparsedPublicKey::new(curve, &point);
    agreement::agree_ephemeral(own, &other, |_| ()).map_err(|_| KeyFault::Malformed)?;
    Ok(point)
}
