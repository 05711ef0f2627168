//! The certificate whose key signs the messages of SNS.
//!
//! SNS serves the certificate alone, without the ones between it and a root, so no chain can be verified. It is
//! authenticated by the TLS connection to the SNS host from which it is fetched; its name and dates are checked as
//! well. The validators that Amazon publishes do the same or less.

use super::SnsVersion;
use super::topic::CertificateUrl;
use crate::signature::public_key::rsa_of_certificate;
use crate::x509;
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, RsaParameters,
    UnparsedPublicKey,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::fmt;
use std::time::SystemTime;

/// A certificate of SNS.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningCertificate {
    /// RSAPublicKey (RFC 8017 appendix A.1.1), in DER.
    key: Vec<u8>,
    names: Vec<String>,
    dates: x509::Dates,
}

/// The reason why no message can be verified with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// The host has no such certificate.
    #[error("SNS has no certificate at `SigningCertURL`")]
    Missing,
    /// The answer is not one certificate in PEM with an RSA key of a usual size.
    #[error(
        "the certificate at `SigningCertURL` can't be used: it is not one certificate with an RSA key, in PEM"
    )]
    Malformed,
    /// Its names are others than those of SNS.
    #[error("the certificate at `SigningCertURL` is not named as those of SNS")]
    Name,
    /// Its validity has not begun.
    #[error("the certificate at `SigningCertURL` is not valid yet")]
    NotYetValid,
    /// Its validity has ended.
    #[error("the certificate at `SigningCertURL` has expired")]
    Expired,
}

impl SigningCertificate {
    /// Reads a certificate in PEM.
    ///
    /// # Errors
    ///
    /// [`CertificateFault::Malformed`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertificateFault> {
        let mut all = CertificateDer::pem_slice_iter(pem);
        let (Some(Ok(der)), None) = (all.next(), all.next()) else { return Err(CertificateFault::Malformed) };
        let read = || Some((rsa_of_certificate(&der)?, x509::dns_names(&der)?, x509::dates(&der)?));
        let (key, names, dates) = read().ok_or(CertificateFault::Malformed)?;
        Ok(Self { key, names, dates })
    }

    /// Checks that the certificate is one of SNS, valid at `now`.
    ///
    /// # Errors
    ///
    /// The check that failed.
    pub fn check(&self, url: &CertificateUrl, now: SystemTime) -> Result<(), CertificateFault> {
        let expected = url.names();
        if !self.names.iter().any(|name| expected.contains(name)) {
            return Err(CertificateFault::Name);
        }
        if now < self.dates.not_before {
            return Err(CertificateFault::NotYetValid);
        }
        if self.dates.not_after < now {
            return Err(CertificateFault::Expired);
        }
        Ok(())
    }

    /// Returns true if the certificate's key signed `text`.
    pub(super) fn has_signed(&self, version: SnsVersion, text: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static RsaParameters = match version {
            SnsVersion::Sha1 => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            SnsVersion::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
        };
        UnparsedPublicKey::new(algorithm, &self.key).verify(text, signature).is_ok()
    }
}

impl fmt::Debug for SigningCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningCertificate({})", self.names.join(", "))
    }
}
