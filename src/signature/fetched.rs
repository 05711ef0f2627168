//! Keys that are not in the file: those of an issuer of tokens, and the certificates of SNS.
//!
//! Verification asks for what is known now and does no I/O. If a key is missing, [`Fault::NeedsKey`] names it: the
//! request may wait for a fetch, and ask again.

use super::bearer::RequiredToken;
use super::key::SignatureKey;
use super::sns::{CertificateFault, CertificateUrl, SigningCertificate, Topic};
use super::{Fault, Verifier};
use crate::jwt::verify::JwtRefusal;
use crate::secret::sha256;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::SystemTime;

/// The keys that are known now.
pub trait FetchedKeys: Sync {
    /// Verifies a token of the issuer with this key under `issuers`, and returns its claims.
    ///
    /// # Errors
    ///
    /// The reason why the token is not valid.
    fn claims(&self, issuer: &str, token: &[u8], now: SystemTime)
    -> Result<Map<String, Value>, TokenRefused>;

    /// Looks a certificate of SNS up.
    fn certificate(&self, url: &CertificateUrl, now: SystemTime) -> Lookup;
}

/// A token that is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenRefused {
    /// The reason.
    pub reason: JwtRefusal,
    /// The token may be valid with newer keys of the issuer.
    pub needs_newer_keys: bool,
}

/// The result of looking a certificate up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// The certificate. Its names and dates are not checked yet.
    Known(Arc<SigningCertificate>),
    /// The certificate is not known, or was fetched long ago.
    Needed,
    /// A fetch found out that no message can be verified with it.
    Refused(CertificateFault),
}

/// The name of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyName {
    /// The keys of the issuer with this key under `issuers`.
    Issuer(String),
    /// A certificate of SNS.
    Certificate(CertificateUrl),
}

/// A key without which a delivery can't be verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeededKey {
    /// The key.
    pub name: KeyName,
    /// The fault if no fetch brings it.
    pub otherwise: Box<Fault>,
}

/// Knows no key. For schemes that need none.
#[derive(Debug, Clone, Copy)]
pub struct NoKeys;

impl FetchedKeys for NoKeys {
    fn claims(&self, _: &str, _: &[u8], _: SystemTime) -> Result<Map<String, Value>, TokenRefused> {
        Err(TokenRefused { reason: JwtRefusal::KeysUnavailable, needs_newer_keys: false })
    }

    fn certificate(&self, _: &CertificateUrl, _: SystemTime) -> Lookup {
        Lookup::Needed
    }
}

/// The values that take the place of secrets.
impl Verifier {
    /// Sets the topics, for SNS.
    #[must_use]
    pub fn with_topics(mut self, topics: Vec<Topic>) -> Self {
        let text = topics.iter().map(Topic::as_str).collect::<Vec<_>>().join("\n");
        self.digests.push(sha256(text.as_bytes()));
        self.add(&SignatureKey::Topics(topics.into()))
    }

    /// Sets the token that a call needs, for a scheme that shows one.
    #[must_use]
    pub fn with_token(mut self, required: RequiredToken) -> Self {
        let claims = serde_json::to_string(&required.claims).unwrap_or_default();
        self.digests.push(sha256(format!("{}\n{claims}", required.issuer).as_bytes()));
        self.add(&SignatureKey::Issued(Arc::new(required)))
    }

    fn add(mut self, key: &SignatureKey) -> Self {
        self.ways.iter_mut().for_each(|way| way.keys.push((1, key.clone())));
        self
    }

    /// Returns the token that a call needs.
    pub fn token(&self) -> Option<&RequiredToken> {
        self.ways.iter().flat_map(|way| &way.keys).find_map(|(_, key)| match key {
            SignatureKey::Issued(required) => Some(&**required),
            _ => None,
        })
    }

    /// Returns the topics of SNS.
    pub fn topics(&self) -> Option<&[Topic]> {
        self.ways.iter().flat_map(|way| &way.keys).find_map(|(_, key)| match key {
            SignatureKey::Topics(topics) => Some(&**topics),
            _ => None,
        })
    }
}
