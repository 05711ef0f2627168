//! The fourth part of a signature: the algorithm.

use ring::hmac;

/// The algorithm of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC-SHA-1. Its weakness as a hash does not concern a MAC.
    Sha1,
    /// HMAC-SHA-256.
    Sha256,
    /// HMAC-SHA-384.
    Sha384,
    /// HMAC-SHA-512.
    Sha512,
    /// Ed25519.
    Ed25519,
    /// ECDSA on P-256 with SHA-256; the signature is DER.
    EcdsaP256,
    /// The same; the signature is the two numbers of 32 bytes.
    EcdsaP256Raw,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RsaSha256,
    /// RSASSA-PSS with SHA-256.
    RsaPssSha256,
    /// None: the request holds the secret itself.
    Token,
    /// A JSON Web Token of an issuer, which signs nothing of the request.
    Jwt,
    /// RSASSA-PKCS1-v1_5 with the key of a certificate of SNS, and the hash that the message names.
    Sns,
}

impl Algorithm {
    /// Every algorithm, by its name in the file.
    pub const ALL: [(&str, Self); 11] = [
        ("sha256", Self::Sha256),
        ("sha512", Self::Sha512),
        ("sha384", Self::Sha384),
        ("sha1", Self::Sha1),
        ("ed25519", Self::Ed25519),
        ("ecdsa_p256", Self::EcdsaP256),
        ("ecdsa_p256_raw", Self::EcdsaP256Raw),
        ("rsa_sha256", Self::RsaSha256),
        ("rsa_pss_sha256", Self::RsaPssSha256),
        ("token", Self::Token),
        ("jwt", Self::Jwt),
    ];

    /// Returns the HMAC, if it is one.
    pub(super) fn hmac(self) -> Option<hmac::Algorithm> {
        match self {
            Self::Sha1 => Some(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
            Self::Sha256 => Some(hmac::HMAC_SHA256),
            Self::Sha384 => Some(hmac::HMAC_SHA384),
            Self::Sha512 => Some(hmac::HMAC_SHA512),
            _ => None,
        }
    }

    /// Returns true if the algorithm is an HMAC.
    pub fn is_hmac(self) -> bool {
        self.hmac().is_some()
    }

    /// Returns true if a public key of the file verifies the signature.
    pub fn is_public_key(self) -> bool {
        !self.is_hmac() && !matches!(self, Self::Token | Self::Jwt | Self::Sns)
    }

    /// Returns true if the request holds a credential, and nothing of it is signed.
    pub fn shows_credential(self) -> bool {
        matches!(self, Self::Token | Self::Jwt)
    }

    /// Returns the name in an explanation.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Sha1 => "HMAC-SHA-1",
            Self::Sha256 => "HMAC-SHA-256",
            Self::Sha384 => "HMAC-SHA-384",
            Self::Sha512 => "HMAC-SHA-512",
            Self::Ed25519 => "Ed25519",
            Self::EcdsaP256 => "ECDSA P-256 with SHA-256, signature in DER",
            Self::EcdsaP256Raw => "ECDSA P-256 with SHA-256, signature of 64 bytes",
            Self::RsaSha256 => "RSA PKCS#1 v1.5 with SHA-256",
            Self::RsaPssSha256 => "RSA-PSS with SHA-256",
            Self::Token => "none: the secret itself is sent",
            Self::Jwt => "a JSON Web Token, which signs nothing of the request",
            Self::Sns => "RSA PKCS#1 v1.5 with the hash of the message's version",
        }
    }
}
