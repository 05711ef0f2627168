//! An issuer for tests: it signs any bytes, good or bad.

use super::super::{Algorithm, Pair, SigningKey};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512,
    RsaEncoding,
};
use serde_json::{Value, json};

/// A private key that signs with any algorithm of its kind.
pub(crate) struct TestKey(SigningKey);

impl TestKey {
    pub(crate) fn from_pem(pem: &str) -> Self {
        Self(SigningKey::from_pem(pem, None).expect("a key"))
    }

    pub(crate) fn ed25519(seed: u8) -> Self {
        let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a key");
        let pair = std::sync::Arc::new(Pair::Ed25519(pair));
        Self(SigningKey { algorithm: Algorithm::EdDsa, pair, digest: [seed; 32] })
    }

    /// Returns the public key as a JWK without `kid` and `alg`.
    pub(crate) fn jwk(&self) -> Value {
        use ring::signature::KeyPair as _;
        match &*self.0.pair {
            Pair::Rsa(pair) => {
                let public: ring::rsa::PublicKeyComponents<Vec<u8>> = pair.public().into();
                json!({ "kty": "RSA", "n": encode(&public.n), "e": encode(&public.e) })
            }
            Pair::P256(pair) | Pair::P384(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let crv = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({ "kty": "EC", "crv": crv, "x": encode(x), "y": encode(y) })
            }
            Pair::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref()) })
            }
        }
    }

    /// Signs with the algorithm of this name; another kind of key signs with its own.
    pub(crate) fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &*self.0.pair {
            Pair::Rsa(pair) => {
                let encoding: &'static dyn RsaEncoding = match algorithm {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(encoding, &random, message, &mut signature).expect("a signature");
                signature
            }
            Pair::P256(pair) | Pair::P384(pair) => {
                pair.sign(&random, message).expect("a signature").as_ref().to_vec()
            }
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// Returns the token of these texts, which need not be JSON.
    pub(crate) fn token_of(&self, algorithm: &str, header: &[u8], claims: &[u8]) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = self.sign(algorithm, message.as_bytes());
        format!("{message}.{}", encode(&signature))
    }

    /// Returns a well-formed token.
    pub(crate) fn token(&self, header: &Value, claims: &Value) -> String {
        let algorithm = header["alg"].as_str().unwrap_or_default();
        self.token_of(algorithm, header.to_string().as_bytes(), claims.to_string().as_bytes())
    }
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Returns `object` with the members of `more`; `null` removes one.
pub(crate) fn with(object: &Value, more: &Value) -> Value {
    let mut all = object.as_object().expect("an object").clone();
    for (name, value) in more.as_object().expect("an object") {
        match value {
            Value::Null => drop(all.remove(name)),
            value => drop(all.insert(name.clone(), value.clone())),
        }
    }
    Value::Object(all)
}
