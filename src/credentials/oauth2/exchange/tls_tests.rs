//! An account's own `tls`, against an endpoint that speaks it.

use super::super::error::Cause;
use super::super::stub::{self, JSON, TOKEN, http};
use super::*;
use crate::config::model::{CaBundle, TokenTls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Returns the value of `tls.ca`.
    fn bundle(&self) -> Option<CaBundle> {
        Some(CaBundle { path: "ca.pem".into(), certificates: vec![self.0.der().to_vec()] })
    }

    fn leaf(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    /// Returns the values of `tls.client_certificate` and `tls.client_key`.
    fn identity(&self) -> Option<Secret> {
        let (leaf, key) = self.leaf("attache");
        Some(Secret::new(format!("{}{}", leaf.pem(), key.serialize_pem())))
    }
}

/// An endpoint at `localhost` that `server` vouches for and that lets in whom `clients` vouches for.
async fn endpoint(server: &Authority, clients: Option<&Authority>) -> (OAuth2, JoinSet<()>) {
    let (leaf, key) = server.leaf("localhost");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let config = match clients {
        None => config.unwrap().with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.0.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            config.unwrap().with_client_cert_verifier(verifier.unwrap())
        }
    };
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let acceptor =
        TlsAcceptor::from(Arc::new(config.with_single_cert(vec![leaf.der().clone()], key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/token", listener.local_addr().unwrap().port());
    let mut task = JoinSet::new();
    task.spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            // The client may trust no authority, or not be trusted.
            let Ok(mut socket) = acceptor.accept(socket).await else { continue };
            let mut request = Vec::new();
            while !request.ends_with(b"grant_type=client_credentials") {
                if socket.read_buf(&mut request).await.unwrap() == 0 {
                    break;
                }
            }
            socket.write_all(&http("200 OK", JSON, TOKEN)).await.unwrap();
            let _ = socket.shutdown().await;
        }
    });
    (stub::config(&url), task)
}

async fn exchange(config: &OAuth2, tls: TokenTls) -> Result<ReceivedToken, Failure> {
    stub::client().with_tls(&tls).unwrap().exchange(config, None).await
}

fn is_refused(result: &Result<ReceivedToken, Failure>) -> bool {
    matches!(result, Err(Failure { cause: Cause::Unavailable(Unavailability::Tls), .. }))
}

#[tokio::test]
async fn an_account_trusts_the_roots_of_its_own() {
    let server = Authority::new();
    let (config, _endpoint) = endpoint(&server, None).await;
    let tls = TokenTls { ca: server.bundle(), identity: None };
    assert_eq!(exchange(&config, tls).await.unwrap().token.expose(), "t0ken");
}

#[tokio::test]
async fn and_no_others() {
    let (config, _endpoint) = endpoint(&Authority::new(), None).await;
    let tls = TokenTls { ca: Authority::new().bundle(), identity: None };
    assert!(is_refused(&exchange(&config, tls).await));
    assert!(is_refused(&exchange(&config, TokenTls::default()).await));
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_an_endpoint_that_demands_one() {
    let (server, clients) = (Authority::new(), Authority::new());
    let (config, _endpoint) = endpoint(&server, Some(&clients)).await;
    let tls = TokenTls { ca: server.bundle(), identity: clients.identity() };
    assert_eq!(exchange(&config, tls).await.unwrap().token.expose(), "t0ken");
}

#[tokio::test]
async fn without_one_or_with_another_there_is_no_token() {
    let (server, clients) = (Authority::new(), Authority::new());
    let (config, _endpoint) = endpoint(&server, Some(&clients)).await;
    for identity in [None, Authority::new().identity()] {
        let result = exchange(&config, TokenTls { ca: server.bundle(), identity }).await;
        assert!(is_refused(&result), "{result:?}");
    }
}

#[test]
fn what_is_no_identity() {
    let (mine, other) = (Authority::new().leaf("a"), Authority::new().leaf("a"));
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    for pem in [
        "nothing".to_owned(),
        mine.0.pem(),
        mine.1.serialize_pem(),
        format!("{}{}", mine.0.pem(), other.1.serialize_pem()),
        format!("{}{encrypted}", mine.0.pem()),
    ] {
        let tls = TokenTls { ca: None, identity: Some(Secret::new(pem)) };
        assert!(stub::client().with_tls(&tls).is_err());
    }
}

#[test]
fn what_is_no_root() {
    let ca = CaBundle { path: "ca.pem".into(), certificates: vec![b"nothing".to_vec()] };
    assert!(stub::client().with_tls(&TokenTls { ca: Some(ca), identity: None }).is_err());
}
