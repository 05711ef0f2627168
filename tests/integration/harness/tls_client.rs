//! A client that speaks TLS to attache.

use super::client::{Request, Response, exchange, read};
use super::leaks::assert_no_leak;
use super::tls::CertificateAuthority;
use super::wire::Reader;
use super::{PATIENCE, within};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The settings of a client. Connections of one client resume each other's sessions.
#[derive(Clone)]
pub(crate) struct TlsClient {
    config: Arc<ClientConfig>,
}

impl TlsClient {
    /// Returns a client that trusts `authority`.
    pub(crate) fn of(authority: &CertificateAuthority) -> Self {
        Self::with(authority, None, rustls::ALL_VERSIONS)
    }

    /// The same, with a certificate and a key in PEM of its own.
    pub(crate) fn with_certificate(authority: &CertificateAuthority, own: &(String, String)) -> Self {
        Self::with(authority, Some(own), rustls::ALL_VERSIONS)
    }

    pub(crate) fn with(
        authority: &CertificateAuthority,
        own: Option<&(String, String)>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("PEM")).expect("a root");
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder =
            builder.with_protocol_versions(versions).expect("versions").with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
                builder.with_client_auth_cert(chain, key).expect("a pair")
            }
        };
        Self { config: Arc::new(config) }
    }

    /// Offers these protocols (ALPN).
    pub(crate) fn offering(self, protocols: &[&[u8]]) -> Self {
        let mut config = (*self.config).clone();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Self { config: Arc::new(config) }
    }

    /// The same client, which resumes no session.
    pub(crate) fn forgetful(&self) -> Self {
        let mut config = (*self.config).clone();
        config.resumption = rustls::client::Resumption::disabled();
        Self { config: Arc::new(config) }
    }

    /// Connects to attache under the name `localhost`.
    pub(crate) async fn connect(&self, to: SocketAddr) -> io::Result<TlsConnection> {
        let tcp = within(PATIENCE, "a connection", TcpStream::connect(to)).await?;
        tcp.set_nodelay(true)?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let name = ServerName::try_from("localhost").expect("a name");
        let stream = within(PATIENCE, "a handshake", connector.connect(name, tcp)).await?;
        Ok(TlsConnection { peer: to, stream, reader: Reader::default() })
    }

    /// Performs one exchange on a new connection.
    pub(crate) async fn send(&self, to: SocketAddr, request: Request) -> io::Result<Response> {
        self.connect(to).await?.exchange(request).await
    }
}

/// A kept-alive connection.
pub(crate) struct TlsConnection {
    peer: SocketAddr,
    pub(crate) stream: TlsStream<TcpStream>,
    reader: Reader,
}

impl TlsConnection {
    pub(crate) async fn exchange(&mut self, request: Request) -> io::Result<Response> {
        let halves = tokio::io::split(&mut self.stream);
        exchange(&mut self.reader, halves, self.peer, &request).await
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("write");
        self.stream.flush().await.expect("flush");
    }

    pub(crate) async fn response(&mut self) -> io::Result<Response> {
        let reading = read(&mut self.reader, &mut self.stream, "GET", Instant::now());
        within(PATIENCE, "an answer", reading).await
    }

    /// Reads exactly `n` bytes after the last answer.
    pub(crate) async fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut got = Vec::new();
        let framing = super::wire::Framing::Length(n as u64);
        let reading = self.reader.body(&mut self.stream, framing, |part| got.extend_from_slice(part));
        within(PATIENCE, "bytes", reading).await.expect("read");
        assert_no_leak("bytes to the client", &got);
        got
    }

    /// Returns the certificate that attache presented.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        self.stream.get_ref().1.peer_certificates().expect("a certificate")[0].to_vec()
    }

    /// Returns true if the session of an earlier connection was resumed.
    pub(crate) fn is_resumed(&self) -> bool {
        self.stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }
}
