//! Verification of a server's certificate.
//!
//! A server's own certificate in `tls.ca` is pinned: it needs no issuer, and it may be that of an authority (`openssl
//! req -x509` creates such), which webpki refuses as a server's. Name and dates count for it as for any other, and the
//! handshake proves that the server has its key.

use super::certificate::Certificate;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;

/// The certificate is self-signed, where an issuer was expected. Travels inside a [`CertificateError::Other`].
#[derive(Debug, thiserror::Error)]
#[error("the certificate is self-signed")]
pub(super) struct SelfSignedCertificate;

#[derive(Debug)]
pub(super) struct CertificateVerifier {
    /// `None` if there is no usable root: then every certificate that is not pinned is refused.
    webpki: Option<Arc<WebPkiServerVerifier>>,
    pinned: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl CertificateVerifier {
    pub(super) fn new(roots: Arc<RootCertStore>, pinned: &[Vec<u8>], provider: &Arc<CryptoProvider>) -> Self {
        let webpki = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
        Self {
            webpki: webpki.ok(),
            pinned: pinned.iter().map(|der| CertificateDer::from(der.clone())).collect(),
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for CertificateVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.pinned.iter().any(|pinned| pinned == end_entity) {
            verify_dates(end_entity, now)?;
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        let verified = match &self.webpki {
            Some(webpki) => {
                webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        verified.map_err(|error| match error {
            // webpki refuses an authority's certificate before it looks for the issuer.
            Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_))
                if Certificate::parse(end_entity).is_some_and(|it| it.issuer == it.subject) =>
            {
                CertificateError::Other(OtherError(Arc::new(SelfSignedCertificate))).into()
            }
            error => error,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn verify_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let dates = Certificate::parse(certificate).ok_or(CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < dates.not_before {
        return Err(CertificateError::NotValidYet);
    }
    if now > dates.not_after {
        return Err(CertificateError::Expired);
    }
    Ok(())
}
