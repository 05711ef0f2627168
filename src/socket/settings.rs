//! The TLS settings of a listener as rustls takes them: TLS 1.2 and 1.3, `http/1.1` as the only protocol, one certificate
//! for every name, session tickets, optional client certificates.

use crate::config::model::{ClientCa, ListenTls};
use crate::secret::{Secret, sha256};
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ProducesTickets, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(ring::default_provider()));

/// Why the settings of a listener can't be used. No text holds a part of a key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The certificate or the key is not PEM.
    #[error("the certificate or its key is not PEM")]
    Pem,
    /// The key is of an unsupported kind, or that of another certificate.
    #[error("the certificate and the key cannot be used together")]
    Pair(#[source] rustls::Error),
    /// `client_ca` has no usable authority.
    #[error("`client_ca` has no certificate that can be used")]
    ClientCa,
    /// The system has no random numbers.
    #[error("no key for session tickets can be made")]
    Tickets(#[source] rustls::Error),
}

/// The settings of one listener between two reloads.
pub(super) struct ServerTls {
    pub(super) config: Arc<ServerConfig>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// Digest of `client_ca`; zero without one.
    pub(super) authorities: [u8; 32],
}

impl ServerTls {
    /// Converts the settings. Tickets of `before` stay good if it trusts the same authorities: a session that is resumed
    /// brings no certificate, so one that began without `client_ca` would never bring one.
    pub(super) fn new(tls: &ListenTls, before: Option<&Self>) -> Result<Self, SettingsError> {
        let identity = identity(tls.identity.as_ref().ok_or(SettingsError::Pem)?)?;
        let authorities = tls.client_ca.as_ref().map_or([0; 32], digest);
        let verifier = tls.client_ca.as_ref().map(verifier).transpose()?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER));
        // Fails only for a provider without a cipher suite of the default versions.
        let builder = builder
            .with_safe_default_protocol_versions()
            .unwrap_or_else(|_| unreachable!("ring has the default versions"));
        let builder = match &verifier {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.ticketer = match before.filter(|before| before.authorities == authorities) {
            Some(before) => Arc::clone(&before.config.ticketer),
            None => tickets()?,
        };
        Ok(Self { config: Arc::new(config), verifier, authorities })
    }

    /// Returns true if a chain, leaf first, is valid at `now` and leads to an authority of `client_ca`.
    pub(super) fn trusts(&self, chain: &[CertificateDer<'_>], now: SystemTime) -> bool {
        let (Some(verifier), Some((leaf, intermediates))) = (&self.verifier, chain.split_first()) else {
            return false;
        };
        let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
        verifier.verify_client_cert(leaf, intermediates, now).is_ok()
    }
}

/// Keys change every six hours, and a ticket is good for at most twelve.
fn tickets() -> Result<Arc<dyn ProducesTickets>, SettingsError> {
    ring::Ticketer::new().map_err(SettingsError::Tickets)
}

fn identity(pem: &Secret) -> Result<CertifiedKey, SettingsError> {
    let pem = pem.expose().as_bytes();
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = chain.map_err(|_| SettingsError::Pem)?;
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| SettingsError::Pem)?;
    CertifiedKey::from_der(chain, key, &PROVIDER).map_err(SettingsError::Pair)
}

fn verifier(client_ca: &ClientCa) -> Result<Arc<dyn ClientCertVerifier>, SettingsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(
        client_ca.authorities.certificates.iter().map(|der| CertificateDer::from_slice(der)),
    );
    let crls = client_ca.revoked.iter().map(|der| CertificateRevocationListDer::from(der.clone()));
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&PROVIDER))
        .allow_unauthenticated()
        .with_crls(crls)
        // An authority without a list in the file revokes nothing.
        .allow_unknown_revocation_status()
        .build()
        .map_err(|_| SettingsError::ClientCa)
}

/// Digest of the authorities and the revocation lists, independent of their order.
fn digest(client_ca: &ClientCa) -> [u8; 32] {
    let all = client_ca.authorities.certificates.iter().chain(&client_ca.revoked);
    let mut digests: Vec<_> = all.map(|der| sha256(der)).collect();
    digests.sort_unstable();
    sha256(digests.as_flattened())
}
