use super::testing::{TestIdentity, TlsServer, authority, bundle, is_authority, leaf, self_signed, server};
use super::*;
use crate::config::model::TokenTls;
use crate::secret::Secret;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, date_time_ymd};
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Returns the fault for which a server with this identity is refused.
async fn fault(identity: &TestIdentity, ca: &CaBundle) -> Option<ServerCertificateFault> {
    let client = TlsClients::default().for_ca(Some(ca));
    match server(identity).await.connect(&client).await {
        Ok(_) => None,
        Err(TlsError::Certificate { fault, .. }) => Some(fault),
        Err(error) => panic!("{error}: {error:?}"),
    }
}

#[tokio::test]
async fn each_fault_of_a_certificate_has_its_type() {
    use ServerCertificateFault::*;
    let root = authority("root");
    let ca = bundle(&[root.der()]);
    let expect = async |identity: TestIdentity, expected| {
        assert_eq!(fault(&identity, &ca).await, expected);
    };
    expect(leaf(&root, |_| ()), None).await;
    expect(leaf(&root, |params| params.not_after = date_time_ymd(2020, 1, 1)), Some(Expired)).await;
    expect(leaf(&root, |params| params.not_before = date_time_ymd(2090, 1, 1)), Some(NotYetValid)).await;
    let renamed = |params: &mut CertificateParams| *params = super::testing::params(&["other.example"]);
    expect(leaf(&root, renamed), Some(WrongName)).await;
    let client_only = vec![ExtendedKeyUsagePurpose::ClientAuth];
    expect(leaf(&root, |params| params.extended_key_usages = client_only), Some(WrongPurpose)).await;
    expect(leaf(&authority("another"), |_| ()), Some(UnknownIssuer)).await;
    // The same name with another key.
    let forged = fault(&leaf(&authority("root"), |_| ()), &ca).await;
    assert!(matches!(forged, Some(BadSignature | UnknownIssuer)), "{forged:?}");
    expect(self_signed(|_| ()), Some(SelfSigned)).await;
    expect(self_signed(is_authority), Some(SelfSigned)).await;
}

#[tokio::test]
async fn a_pinned_certificate_needs_no_issuer() {
    let issued = leaf(&authority("root"), |_| ());
    for identity in [self_signed(|_| ()), self_signed(is_authority), issued] {
        assert_eq!(fault(&identity, &bundle(&[&identity.0])).await, None);
    }
}

#[tokio::test]
async fn name_and_dates_of_a_pinned_certificate_count() {
    let mut cases = vec![];
    for base in [is_authority, |_: &mut CertificateParams| ()] {
        let with = |change: fn(&mut CertificateParams)| {
            self_signed(|params| {
                base(params);
                change(params);
            })
        };
        let renamed = self_signed(|params| {
            *params = super::testing::params(&["other.example"]);
            base(params);
        });
        cases.push((renamed, ServerCertificateFault::WrongName));
        cases.push((
            with(|params| params.not_after = date_time_ymd(2020, 1, 1)),
            ServerCertificateFault::Expired,
        ));
        cases.push((
            with(|params| params.not_before = date_time_ymd(2090, 1, 1)),
            ServerCertificateFault::NotYetValid,
        ));
    }
    for (identity, expected) in cases {
        assert_eq!(fault(&identity, &bundle(&[&identity.0])).await, Some(expected));
    }
}

#[tokio::test]
async fn a_certificate_with_the_name_of_the_pinned_one_is_refused() {
    let (pinned, other) = (self_signed(is_authority), self_signed(is_authority));
    assert!(fault(&other, &bundle(&[&pinned.0])).await.is_some());
}

#[tokio::test]
async fn without_a_usable_root_every_certificate_is_refused() {
    let identity = leaf(&authority("root"), |_| ());
    for ca in [bundle(&[]), bundle(&[b"garbage"])] {
        assert_eq!(fault(&identity, &ca).await, Some(ServerCertificateFault::UnknownIssuer));
    }
    let client = TlsClients::default().for_ca(None);
    let refused = server(&identity).await.connect(&client).await.expect_err("refuses");
    assert_eq!(refused.as_str(), "unknown_issuer");
}

#[tokio::test]
async fn a_session_is_resumed_also_with_a_ca_and_after_a_reload() {
    let root = authority("root");
    let server = server(&leaf(&root, |_| ())).await;
    let clients = TlsClients::default();
    let mut kinds = Vec::new();
    let mut former = None;
    for _ in 0..2 {
        let client = clients.for_ca(Some(&bundle(&[root.der()])));
        let mut connection = server.connect(&client).await.expect("connects");
        // The session tickets arrive before the first byte.
        assert_eq!(connection.read_u8().await.expect("a byte"), b'x');
        let (_, session) = connection.get_ref();
        assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
        kinds.push(session.handshake_kind());
        former = Some(client);
    }
    assert_eq!(kinds, [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)]);
    drop(former);
}

/// With a client certificate and without.
#[tokio::test]
async fn the_settings_of_an_account_may_pin_a_certificate() {
    let (identity, client) = (self_signed(is_authority), self_signed(|_| ()));
    let pem = [("CERTIFICATE", client.0), ("PRIVATE KEY", client.1.serialize_der())].map(|(label, der)| {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
    });
    for shown in [None, Some(Secret::new(pem.concat()))] {
        let settings = |ca| TokenTls { ca: Some(ca), identity: shown.clone() };
        let clients = TlsClients::default();
        let connect = async |ca| {
            let client = clients.for_account(&settings(ca)).expect("settings");
            server(&identity).await.connect(&client).await
        };
        assert!(connect(bundle(&[&identity.0])).await.is_ok());
        let refused = connect(bundle(&[authority("root").der()])).await.expect_err("refuses");
        assert_eq!(refused.as_str(), "self_signed");
        let unusable = clients.for_account(&settings(bundle(&[b"garbage"])));
        assert!(matches!(unusable, Err(TlsSettingsError::Root(_))));
    }
}

#[test]
fn there_is_one_client_per_set_of_roots() {
    let [one, other] = ["one", "other"].map(authority);
    let clients = TlsClients::default();
    let both = clients.for_ca(Some(&bundle(&[one.der(), other.der()])));
    assert!(Arc::ptr_eq(&both, &clients.for_ca(Some(&bundle(&[other.der(), one.der(), one.der()])))));
    let single = clients.for_ca(Some(&bundle(&[one.der()])));
    assert!(!Arc::ptr_eq(&both, &single));
    assert!(Arc::ptr_eq(&clients.for_ca(None), &clients.for_ca(None)));
    drop(both);
    drop(clients.for_ca(Some(&bundle(&[other.der()]))));
    drop(clients.for_ca(Some(&bundle(&[]))));
    assert_eq!(clients.by_settings.lock().expect("a lock").len(), 2, "only `single` and the last are left");
}

#[tokio::test]
async fn failures_other_than_the_certificate_have_types() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let server = TlsServer { address: listener.local_addr().expect("an address"), _task: JoinSet::new() };
    let client = TlsClients::default().for_ca(Some(&bundle(&[])));
    let answer = async |bytes: &[u8]| {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        // Read first, since closing with unread bytes resets the connection.
        let _ = socket.read(&mut [0; 4096]).await;
        socket.write_all(bytes).await.expect("writes");
    };
    for (bytes, expected) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "tls_protocol_error"),
        (b"", "connection_terminated"),
        // Alert, TLS 1.2, two bytes: fatal, handshake_failure.
        (b"\x15\x03\x03\x00\x02\x02\x28", "tls_alert_received"),
    ] {
        let (connected, ()) = tokio::join!(server.connect(&client), answer(bytes));
        assert_eq!(connected.expect_err("fails").as_str(), expected);
    }
    assert!(matches!(server_name("no name"), Err(TlsError::ServerName(_))));
    assert!(server_name("::1").is_ok());
}
