//! Clients for the `tls` of a service or an account: roots of its own, and a client certificate (RFC 8705).

use super::{PROVIDER, Roots, SESSIONS, TlsClient, TlsClients, digest};
use crate::config::model::{CaBundle, ServiceTls, TokenTls};
use crate::error_chain::Chain;
use crate::secret::{Secret, sha256};
use rustls::RootCertStore;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;

/// Why there is no client for the `tls` of a service or an account. No text holds a part of a key.
#[derive(Debug, thiserror::Error)]
pub enum TlsSettingsError {
    /// A certificate of `ca` is malformed.
    #[error("a certificate of `tls.ca` cannot be used as a root")]
    Root(#[source] rustls::Error),
    /// The client certificate is not PEM.
    #[error("`tls.client_certificate` is not a certificate in PEM")]
    Certificate,
    /// The client's key is not PEM, or has a passphrase.
    #[error("`tls.client_key` is not a private key in PEM")]
    Key,
    /// The key is of an unsupported kind, or that of another certificate.
    #[error("`tls.client_certificate` and `tls.client_key` cannot be used together")]
    Pair(#[source] rustls::Error),
}

impl TlsClients {
    /// Returns a client with the roots and the client certificate of `settings`. One without a client certificate is
    /// shared, as by [`TlsClients::for_ca`]; the first call without `ca` blocks while it reads the system's roots.
    ///
    /// # Errors
    ///
    /// [`TlsSettingsError`], if a handshake with these settings cannot succeed.
    pub fn for_account(&self, settings: &TokenTls) -> Result<Arc<TlsClient>, TlsSettingsError> {
        self.with_identity(settings.ca.as_ref(), settings.identity.as_ref())
    }

    /// Returns a client for `tls` of a service. The file was checked; one that cannot be used all the same gives a client
    /// that trusts no server.
    pub(in super::super) fn for_service(&self, settings: &ServiceTls) -> Arc<TlsClient> {
        match &settings.identity {
            None => self.for_ca(settings.ca.as_ref()),
            identity => self.with_identity(settings.ca.as_ref(), identity.as_ref()).unwrap_or_else(|error| {
                tracing::error!(error = %Chain(&error), "the `tls` of a service cannot be used");
                Arc::new(TlsClient::new(Arc::new(RootCertStore::empty()), &[], None, 1))
            }),
        }
    }

    fn with_identity(
        &self,
        ca: Option<&CaBundle>,
        pem: Option<&Secret>,
    ) -> Result<Arc<TlsClient>, TlsSettingsError> {
        let pinned = ca.map_or(&[][..], |ca| &ca.certificates);
        let mut roots = RootCertStore::empty();
        for der in pinned {
            roots.add(CertificateDer::from_slice(der)).map_err(TlsSettingsError::Root)?;
        }
        let Some(pem) = pem else { return Ok(self.for_ca(ca)) };
        let identity = identity(pem)?;
        let is_own = [u8::from(ca.is_some())];
        let key = sha256(&[&is_own[..], &digest(pinned), &sha256(pem.expose().as_bytes())].concat());
        Ok(self.shared(key, || {
            let roots = if ca.is_some() { Arc::new(roots) } else { Roots::system() };
            TlsClient::new(roots, pinned, Some(identity), SESSIONS.1)
        }))
    }
}

/// Reads a certificate chain and its key.
fn identity(pem: &Secret) -> Result<CertifiedKey, TlsSettingsError> {
    let pem = pem.expose().as_bytes();
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(TlsSettingsError::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| TlsSettingsError::Key)?;
    CertifiedKey::from_der(chain, key, &PROVIDER).map_err(TlsSettingsError::Pair)
}
