//! Keys that are not in the file: those of an issuer of tokens, and the certificates of SNS.
//!
//! Verification asks for what is known now and does no I/O. If a key is missing, [`Fault::NeedsKey`] names it: the
//! request may wait for a fetch, and ask again.

use super::Fault;
use super::sns::{CertificateFault, CertificateUrl, SigningCertificate};
use crate::jwt::verify::JwtRefusal;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::SystemTime;

/// The keys that are known now.
pub trait FetchedKeys: Sync {
    /// Verifies a token of the issuer with this key under `issuers`, and returns its claims.
    ///
    /// # Errors
    ///
    /// Why it proves nothing.
    fn claims(&self, issuer: &str, token: &[u8], now: SystemTime)
    -> Result<Map<String, Value>, TokenRefused>;

    /// Looks a certificate of SNS up.
    fn certificate(&self, url: &CertificateUrl, now: SystemTime) -> Lookup;
}

/// A token that proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenRefused {
    /// Why.
    pub reason: JwtRefusal,
    /// Newer keys of the issuer may make it good.
    pub needs_newer_keys: bool,
}

/// What is known of a certificate.
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
