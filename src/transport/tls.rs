//! TLS to upstreams: the trusted certificates, and the handshake.
//!
//! There is one client configuration per distinct set of roots and client's identity, in the whole process. It holds the
//! sessions to resume, so a reload that keeps `tls` keeps them too. A resumed session does not verify the certificate
//! again, and keeps the client's identity; therefore another set of roots, or another identity, needs another
//! configuration.
//!
//! Invariants: verification cannot be switched off. Without a usable root every certificate is refused.

mod certificate;
mod error;
mod settings;
#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
mod verifier;

pub use certificate::not_after_day;
pub use error::{ServerCertificateFault, TlsError};
pub use settings::TlsSettingsError;

use crate::config::model::CaBundle;
use crate::secret::sha256;
use pingora::tls::{ClientTlsStream, TlsConnector};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::TcpStream;
use verifier::CertificateVerifier;

/// Number of servers whose sessions are kept: by the configuration without `tls.ca`, and by each one with a CA.
const SESSIONS: (usize, usize) = (1024, 64);

/// TCP below TLS. rustls reads a record in small steps, each of which would otherwise be a system call.
pub type Buffered = BufReader<TcpStream>;

/// A TLS connection to an upstream, over TCP unless it says otherwise.
pub type TlsConnection<S = Buffered> = ClientTlsStream<S>;

/// Sets of trusted root certificates.
struct Roots;

static SYSTEM_ROOTS: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| Arc::new(Roots::load_system()));
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(ring::default_provider()));

impl Roots {
    /// Returns the roots of the operating system, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name. The first call
    /// in the process reads them and blocks.
    fn system() -> Arc<RootCertStore> {
        Arc::clone(&SYSTEM_ROOTS)
    }

    fn load_system() -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let loaded = rustls_native_certs::load_native_certs();
        for error in &loaded.errors {
            tracing::warn!(%error, "cannot read a part of the system's root certificates");
        }
        let (added, skipped) = roots.add_parsable_certificates(loaded.certs);
        if added == 0 {
            tracing::error!("the system has no usable root certificate; https needs `tls.ca`");
        } else if skipped > 0 {
            tracing::warn!(added, skipped, "some of the system's root certificates are unusable");
        }
        roots
    }

    fn of(ca: &CaBundle) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let ders = ca.certificates.iter().map(|der| CertificateDer::from_slice(der));
        let (_, skipped) = roots.add_parsable_certificates(ders);
        if skipped > 0 {
            tracing::warn!(path = %ca.path.display(), skipped, "some certificates of `tls.ca` are unusable as roots");
        }
        roots
    }
}

/// Buffers a connection for [`TlsClient::handshake`]; the buffer fits one record.
pub fn buffered(stream: TcpStream) -> Buffered {
    BufReader::with_capacity(17 << 10, stream)
}

/// The client configurations of the process. Created once; it outlives snapshots.
#[derive(Default)]
pub struct TlsClients {
    system: Mutex<Option<Arc<TlsClient>>>,
    /// By a digest of the certificates and the client's identity. An entry ends with the last user of it.
    by_settings: Mutex<HashMap<[u8; 32], Weak<TlsClient>>>,
}

impl TlsClients {
    /// Returns the one client that trusts the certificates of `ca` only, or the system's roots. The first call for the
    /// latter blocks while it reads them.
    pub fn for_ca(&self, ca: Option<&CaBundle>) -> Arc<TlsClient> {
        let Some(ca) = ca else {
            let mut system = self.system.lock().unwrap_or_else(PoisonError::into_inner);
            let client = system
                .get_or_insert_with(|| Arc::new(TlsClient::new(Roots::system(), &[], None, SESSIONS.0)));
            return Arc::clone(client);
        };
        let make = || TlsClient::new(Arc::new(Roots::of(ca)), &ca.certificates, None, SESSIONS.1);
        self.shared(digest(&ca.certificates), make)
    }

    /// Returns the client of `digest`, made by `make` if there is none.
    fn shared(&self, digest: [u8; 32], make: impl FnOnce() -> TlsClient) -> Arc<TlsClient> {
        let mut clients = self.by_settings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&digest).and_then(Weak::upgrade) {
            return client;
        }
        clients.retain(|_, client| client.strong_count() > 0);
        let client = Arc::new(make());
        clients.insert(digest, Arc::downgrade(&client));
        client
    }
}

/// Digest of a set of certificates, independent of their order.
fn digest(certificates: &[Vec<u8>]) -> [u8; 32] {
    let mut digests: Vec<_> = certificates.iter().map(|der| sha256(der)).collect();
    digests.sort_unstable();
    digests.dedup();
    sha256(digests.as_flattened())
}

/// A client configuration: its roots, its client certificate, the sessions to resume, HTTP/1.1 as the only protocol.
pub struct TlsClient {
    connector: TlsConnector,
}

impl TlsClient {
    fn new(
        roots: Arc<RootCertStore>,
        pinned: &[Vec<u8>],
        identity: Option<CertifiedKey>,
        sessions: usize,
    ) -> Self {
        let verifier = Arc::new(CertificateVerifier::new(roots, pinned, &PROVIDER));
        let builder = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER));
        // Fails only for a provider without a cipher suite of the default versions.
        let builder = builder
            .with_safe_default_protocol_versions()
            .unwrap_or_else(|_| unreachable!("ring has the default versions"));
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity))),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::in_memory_sessions(sessions);
        Self { connector: TlsConnector::from(Arc::new(config)) }
    }

    /// Performs the handshake over `io` with the server `server_name`. Has no timeout of its own.
    ///
    /// # Errors
    ///
    /// [`TlsError::Certificate`] if the certificate is refused, else the failure of the protocol or the connection.
    pub async fn handshake<S>(
        &self,
        server_name: ServerName<'static>,
        io: S,
    ) -> Result<TlsConnection<S>, TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.connector.connect(server_name, io).await.map_err(TlsError::from)
    }
}

/// Returns the name that the certificate of a host must have: a DNS name or an IP address.
///
/// # Errors
///
/// [`TlsError::ServerName`] if it is neither.
pub fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(host.to_owned()).map_err(|_| TlsError::ServerName(host.to_owned()))
}
