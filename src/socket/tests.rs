use super::{Acceptor, HandshakeError, Socket};
use crate::config::model::{CaBundle, ClientCa, ListenTls};
use crate::secret::Secret;
use crate::x509::San;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

type Authority = CertifiedIssuer<'static, KeyPair>;

const SAN: &str = "spiffe://corp/billing";

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Settings whose clients are certified by these.
fn settings(server: &Authority, clients: &[&Authority]) -> ListenTls {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, server).unwrap();
    let certificates: Vec<_> = clients.iter().map(|authority| authority.der().to_vec()).collect();
    ListenTls {
        identity: Some(Secret::new(format!("{}{}", certificate.pem(), key.serialize_pem()))),
        not_after: None,
        client_ca: (!certificates.is_empty()).then(|| ClientCa {
            authorities: CaBundle { path: "ca.pem".into(), certificates },
            revoked: Vec::new(),
        }),
        unread: None,
    }
}

/// A client, with a certificate of `authority`.
fn client(server: &Authority, authority: Option<&Authority>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(server.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    TlsConnector::from(Arc::new(match authority {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.subject_alt_names = vec![SanType::URI(SAN.try_into().unwrap())];
            params.not_after = rcgen::date_time_ymd(2090, 1, 1);
            let certificate = params.signed_by(&key, authority).unwrap();
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
            builder.with_client_auth_cert(vec![CertificateDer::from(certificate)], key).unwrap()
        }
    }))
}

/// Both ends of a connection, after one byte each way, so that the client has its session tickets.
async fn connect(
    acceptor: &Arc<Acceptor>,
    client: &TlsConnector,
) -> (Socket, tokio_rustls::client::TlsStream<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let accept = async {
        let (socket, _) = listener.accept().await.unwrap();
        acceptor.accept(Socket::Tcp(socket), || {}).await.unwrap()
    };
    let (mut socket, connected) = tokio::join!(accept, client.connect(name, tcp));
    let mut connected = connected.unwrap();
    let mut byte = [0];
    socket.write_all(b"x").await.unwrap();
    socket.flush().await.unwrap();
    connected.read_exact(&mut byte).await.unwrap();
    connected.write_all(b"y").await.unwrap();
    socket.read_exact(&mut byte).await.unwrap();
    (socket, connected)
}

fn now() -> SystemTime {
    SystemTime::now()
}

#[tokio::test]
async fn a_client_certificate_proves_its_names_until_it_expires() {
    let (server, clients) = (authority(), authority());
    let acceptor = Arc::new(Acceptor::new(Some(&settings(&server, &[&clients]))).unwrap());
    let (mut socket, _client) = connect(&acceptor, &client(&server, Some(&clients))).await;
    let certificate = socket.certificate(now()).expect("a certificate");
    assert_eq!(certificate.sans(), [San::parse(SAN).unwrap()]);
    let end = certificate.not_after();
    assert!(socket.certificate(end).is_some());
    assert!(socket.certificate(end + Duration::from_secs(1)).is_none());
    let (mut socket, _client) = connect(&acceptor, &client(&server, None)).await;
    assert!(socket.certificate(now()).is_none() && socket.is_tls());
}

#[tokio::test]
async fn a_kept_connection_proves_nothing_once_its_authority_is_gone() {
    let (server, clients, others) = (authority(), authority(), authority());
    let acceptor = Arc::new(Acceptor::new(Some(&settings(&server, &[&clients]))).unwrap());
    let (mut socket, _client) = connect(&acceptor, &client(&server, Some(&clients))).await;
    for (trusted, is_believed) in
        [(&[&clients, &others][..], true), (&[&others], false), (&[], false), (&[&clients], true)]
    {
        acceptor.replace(Some(&settings(&server, trusted))).unwrap();
        assert_eq!(socket.certificate(now()).is_some(), is_believed, "{} authorities", trusted.len());
    }
    acceptor.replace(None).unwrap();
    assert!(socket.certificate(now()).is_none());
}

#[tokio::test]
async fn a_resumed_session_proves_what_its_certificate_proves_now() {
    let (server, clients, others) = (authority(), authority(), authority());
    let acceptor = Arc::new(Acceptor::new(Some(&settings(&server, &[&clients]))).unwrap());
    let client = client(&server, Some(&clients));
    drop(connect(&acceptor, &client).await);
    // Another certificate of the listener: tickets stay good.
    acceptor.replace(Some(&settings(&server, &[&clients]))).unwrap();
    let (mut socket, resumed) = connect(&acceptor, &client).await;
    assert_eq!(resumed.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
    assert!(socket.certificate(now()).is_some());
    drop(resumed);
    // Other authorities: the client has to bring its certificate again.
    acceptor.replace(Some(&settings(&server, &[&clients, &others]))).unwrap();
    let (mut socket, full) = connect(&acceptor, &client).await;
    assert_eq!(full.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full));
    assert!(socket.certificate(now()).is_some());
}

#[tokio::test]
async fn a_session_that_began_without_authorities_is_not_resumed_with_them() {
    let (server, clients) = (authority(), authority());
    let acceptor = Arc::new(Acceptor::new(Some(&settings(&server, &[]))).unwrap());
    let client = client(&server, Some(&clients));
    let (mut socket, connected) = connect(&acceptor, &client).await;
    assert!(socket.certificate(now()).is_none());
    drop(connected);
    acceptor.replace(Some(&settings(&server, &[&clients]))).unwrap();
    let (mut socket, _client) = connect(&acceptor, &client).await;
    assert!(socket.certificate(now()).is_some());
}

#[tokio::test]
async fn plain_http_is_told_from_tls_and_garbage_is_a_failed_handshake() {
    let server = authority();
    let acceptor = Arc::new(Acceptor::new(Some(&settings(&server, &[]))).unwrap());
    for (first, is_plain) in
        [(&b"GET /"[..], true), (b"\r\n", true), (b"\x16\x03\x01\x00\x02xx", false), (b"\x80\x2e", false)]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tcp.write_all(first).await.unwrap();
        tcp.shutdown().await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let outcome = acceptor.accept(Socket::Tcp(socket), || {}).await;
        assert_eq!(matches!(outcome, Err(HandshakeError::Plain(_))), is_plain, "{first:?}");
        assert!(is_plain || matches!(outcome, Err(HandshakeError::Failed(..))), "{first:?}");
    }
}
