//! Public keys that verify signatures: PEM, DER in base64, or the bare key in hexadecimal or base64.

use super::algorithm::Algorithm;
use super::key::SecretFault;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, UnparsedPublicKey,
};

/// A public key with the one algorithm that it verifies.
#[derive(Clone, Debug)]
pub(super) struct PublicKey(UnparsedPublicKey<Vec<u8>>);

/// The kind of a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PublicKeyKind {
    Ed25519,
    P256,
    Rsa,
}

/// Sizes of an RSA modulus, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Object identifiers, in DER.
const ED25519_OID: &[u8] = &[0x2b, 0x65, 0x70];
const EC_OID: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256_OID: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const RSA_OID: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OID: u8 = 0x06;
const VERSION: u8 = 0xa0;

impl PublicKey {
    /// Reads a key for `algorithm`, which is not one of a MAC.
    pub(super) fn read(algorithm: Algorithm, text: &str) -> Result<Self, SecretFault> {
        let (kind, algorithm): (_, &'static dyn ring::signature::VerificationAlgorithm) = match algorithm {
            Algorithm::Ed25519 => (PublicKeyKind::Ed25519, &ED25519),
            Algorithm::EcdsaP256 => (PublicKeyKind::P256, &ECDSA_P256_SHA256_ASN1),
            Algorithm::EcdsaP256Raw => (PublicKeyKind::P256, &ECDSA_P256_SHA256_FIXED),
            Algorithm::RsaSha256 => (PublicKeyKind::Rsa, &RSA_PKCS1_2048_8192_SHA256),
            Algorithm::RsaPssSha256 => (PublicKeyKind::Rsa, &RSA_PSS_2048_8192_SHA256),
            _ => return Err(SecretFault::WrongKind),
        };
        let (found, bytes) = key(kind, text.trim())?;
        match (found, bytes.len()) {
            _ if found != kind => Err(SecretFault::WrongKind),
            (PublicKeyKind::Ed25519, 32) => Ok(Self(UnparsedPublicKey::new(algorithm, bytes))),
            (PublicKeyKind::P256, 65) if bytes[0] == 4 => Ok(Self(UnparsedPublicKey::new(algorithm, bytes))),
            (PublicKeyKind::Rsa, _) if rsa_bits(&bytes).is_some_and(|bits| RSA_BITS.contains(&bits)) => {
                Ok(Self(UnparsedPublicKey::new(algorithm, bytes)))
            }
            (PublicKeyKind::Rsa, _) if rsa_bits(&bytes).is_some() => Err(SecretFault::RsaSize),
            _ => Err(SecretFault::NotAKey),
        }
    }

    /// Returns true if the owner of this key signed `message`.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify(message, signature).is_ok()
    }
}

/// Returns true if `text` is a public key. A MAC with one proves nothing, since others know it.
pub(super) fn is_public(text: &str) -> bool {
    let text = text.trim_start();
    text.starts_with("whpk_")
        || (text.starts_with("-----BEGIN ") && !is_private(text))
        || BASE64_STANDARD.decode(text.trim_end()).is_ok_and(|der| spki(&der).is_ok())
}

fn is_private(text: &str) -> bool {
    text.starts_with("whsk_") || (text.starts_with("-----BEGIN ") && text.contains("PRIVATE KEY-----"))
}

/// Returns the kind of the key, and its bytes as ring takes them.
fn key(expected: PublicKeyKind, text: &str) -> Result<(PublicKeyKind, Vec<u8>), SecretFault> {
    if is_private(text) {
        return Err(SecretFault::PrivateKey);
    }
    if text.starts_with("-----BEGIN ") {
        return pem(text);
    }
    let bare = match expected {
        PublicKeyKind::Ed25519 => 32,
        PublicKeyKind::P256 => 65,
        PublicKeyKind::Rsa => 0,
    };
    let text = text.strip_prefix("whpk_").unwrap_or(text);
    let bytes = match super::form::Encoding::Hex.decode(text) {
        Some(bytes) if bytes.len() == bare => return Ok((expected, bytes)),
        _ => BASE64_STANDARD_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| SecretFault::NotAKey)?,
    };
    if bytes.len() == bare { Ok((expected, bytes)) } else { spki(&bytes) }
}

/// Reads the first block of a PEM text: a public key, or a certificate.
fn pem(text: &str) -> Result<(PublicKeyKind, Vec<u8>), SecretFault> {
    let block = || {
        let (label, rest) = text.strip_prefix("-----BEGIN ")?.split_once("-----")?;
        let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
        let body: String = body.split_ascii_whitespace().collect();
        Some((label, BASE64_STANDARD.decode(body).ok()?))
    };
    let (label, der) = block().ok_or(SecretFault::NotAKey)?;
    match label {
        "PUBLIC KEY" => spki(&der),
        "RSA PUBLIC KEY" => Ok((PublicKeyKind::Rsa, der)),
        "CERTIFICATE" => spki(spki_of_certificate(&der).ok_or(SecretFault::NotAKey)?),
        _ => Err(SecretFault::NotAKey),
    }
}

/// Reads a SubjectPublicKeyInfo (RFC 5280 section 4.1).
fn spki(der: &[u8]) -> Result<(PublicKeyKind, Vec<u8>), SecretFault> {
    let parts = || {
        let info = whole(der, SEQUENCE)?;
        let (algorithm, rest) = element(info, SEQUENCE)?;
        let (oid, parameters) = element(algorithm, OID)?;
        let key = whole(rest, BIT_STRING)?.strip_prefix(&[0])?;
        Some((oid, parameters, key))
    };
    let (oid, parameters, key) = parts().ok_or(SecretFault::NotAKey)?;
    let kind = match oid {
        ED25519_OID => PublicKeyKind::Ed25519,
        RSA_OID => PublicKeyKind::Rsa,
        EC_OID if whole(parameters, OID) == Some(P256_OID) => PublicKeyKind::P256,
        EC_OID => return Err(SecretFault::WrongCurve),
        _ => return Err(SecretFault::WrongKind),
    };
    Ok((kind, key.to_vec()))
}

/// Returns the SubjectPublicKeyInfo of a certificate, whose signature and dates are not checked: the operator pins it.
fn spki_of_certificate(der: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = element(whole(der, SEQUENCE)?, SEQUENCE)?;
    let mut rest = match element(certificate, VERSION) {
        Some((_, rest)) => rest,
        None => certificate,
    };
    // Serial number, algorithm, issuer, validity, subject.
    for tag in [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE] {
        (_, rest) = element(rest, tag)?;
    }
    let (_, after) = element(rest, SEQUENCE)?;
    Some(&rest[..rest.len() - after.len()])
}

/// Returns the RSAPublicKey of a certificate, if it has one of a size that is neither weak nor slow.
pub(super) fn rsa_of_certificate(der: &[u8]) -> Option<Vec<u8>> {
    let (kind, key) = spki(spki_of_certificate(der)?).ok()?;
    let is_fit = kind == PublicKeyKind::Rsa && rsa_bits(&key).is_some_and(|bits| RSA_BITS.contains(&bits));
    is_fit.then_some(key)
}

/// Returns the bits of the modulus of an RSAPublicKey (RFC 8017 appendix A.1.1).
fn rsa_bits(der: &[u8]) -> Option<usize> {
    let (modulus, rest) = element(whole(der, SEQUENCE)?, INTEGER)?;
    whole(rest, INTEGER)?;
    let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
    Some(modulus.len() * 8 - usize::try_from(modulus.first()?.leading_zeros()).ok()?)
}

/// Returns the content of the element that is the whole of `der`.
fn whole(der: &[u8], tag: u8) -> Option<&[u8]> {
    element(der, tag).filter(|(_, rest)| rest.is_empty()).map(|(content, _)| content)
}

/// Returns the content of the first element, which has this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 | 0x82 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    (found == tag).then(|| rest.split_at_checked(length)).flatten()
}
