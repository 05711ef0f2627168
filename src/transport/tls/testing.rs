//! Certificates and TLS servers on loopback for tests.

use super::{PROVIDER, TlsClient, TlsConnection, TlsError, buffered, server_name};
use crate::config::model::CaBundle;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub(in super::super) type TestAuthority = CertifiedIssuer<'static, KeyPair>;
pub(in super::super) type TestIdentity = (Vec<u8>, KeyPair);

pub(in super::super) fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

pub(in super::super) fn authority(name: &str) -> TestAuthority {
    let mut params = params(&[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, key()).expect("an authority")
}

pub(in super::super) fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    CertificateParams::new(names).expect("names")
}

pub(in super::super) fn leaf(
    authority: &TestAuthority,
    change: impl FnOnce(&mut CertificateParams),
) -> TestIdentity {
    let (mut params, key) = (params(&["localhost"]), key());
    params.distinguished_name.push(DnType::CommonName, "leaf");
    change(&mut params);
    (params.signed_by(&key, authority).expect("a certificate").der().to_vec(), key)
}

pub(in super::super) fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> TestIdentity {
    let (mut params, key) = (params(&["localhost"]), key());
    change(&mut params);
    (params.self_signed(&key).expect("a certificate").der().to_vec(), key)
}

/// Makes the certificate that of an authority, as `openssl req -x509` does.
pub(in super::super) fn is_authority(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
}

pub(in super::super) fn bundle(certificates: &[&[u8]]) -> CaBundle {
    let certificates = certificates.iter().map(|der| der.to_vec()).collect();
    CaBundle { path: "ca.pem".into(), certificates }
}

pub(in super::super) struct TlsServer {
    pub(in super::super) address: std::net::SocketAddr,
    pub(in super::super) _task: JoinSet<()>,
}

/// Starts a server that sends one byte after each handshake.
pub(in super::super) async fn server((certificate, key): &TestIdentity) -> TlsServer {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let builder = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER));
    let builder = builder.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    let mut config =
        builder.with_single_cert(vec![CertificateDer::from(certificate.clone())], key).expect("an identity");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let mut task = JoinSet::new();
    task.spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.expect("a connection");
            // The client may refuse the certificate.
            let Ok(mut socket) = acceptor.accept(socket).await else { continue };
            let _ = socket.write_all(b"x").await;
        }
    });
    TlsServer { address, _task: task }
}

impl TlsServer {
    pub(in super::super) async fn connect(&self, client: &TlsClient) -> Result<TlsConnection, TlsError> {
        let tcp = TcpStream::connect(self.address).await.expect("connects");
        client.handshake(server_name("localhost").expect("a name"), buffered(tcp)).await
    }
}
