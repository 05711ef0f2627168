//! The SNS hosts of Amazon: a forward proxy that leads to a stub with a certificate of the test's own authority. attache
//! trusts it by `SSL_CERT_FILE`, so that what runs is the program as it is published.

use super::attache::{Setup, attache};
use super::stub::{Received, Step, Stub, third_party};
use super::tls::CertificateAuthority;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const KEY: &str = include_str!("../../peers/vectors/keys/rsa.pem");
const HOST: &str = "sns.eu-central-1.amazonaws.com";
pub(crate) const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:orders";
pub(crate) const CERTIFICATE: &str = "/SimpleNotificationService-0123456789abcdef.pem";

/// See the module's documentation.
pub(crate) struct Amazon {
    ca: CertificateAuthority,
    /// The SNS host.
    pub(crate) host: Stub,
    proxy: SocketAddr,
    _tunnels: JoinSet<()>,
}

impl Amazon {
    /// Starts it. It serves the certificate, and confirms every subscription.
    pub(crate) async fn start() -> Self {
        let ca = CertificateAuthority::new();
        let host = third_party().with_tls_for(&ca, HOST);
        let certificate = certificate();
        host.does(move |request| vec![answer(&certificate, request)]);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a listener");
        let proxy = listener.local_addr().expect("an address");
        let behind = host.authority();
        let mut tunnels = JoinSet::new();
        tunnels.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                open.spawn(tunnel(client, behind.clone()));
            }
        });
        Self { ca, host, proxy, _tunnels: tunnels }
    }

    /// Returns an attache that reaches this host, and gives the lines of the file that lead to it.
    pub(crate) fn attache(&self) -> Setup {
        let setup = attache().file("roots", &self.ca.pem()).given("proxy", format!("http://{}", self.proxy));
        let roots = setup.value("roots");
        setup.env("SSL_CERT_FILE", roots)
    }

    /// Answers after this time.
    pub(crate) fn answers_after(&self, pause: Duration) {
        let certificate = certificate();
        self.host.does(move |request| vec![Step::Pause(pause), answer(&certificate, request)]);
    }

    /// Returns the targets of the requests so far.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.host.requests().iter().map(|request| request.target()).collect()
    }
}

fn answer(certificate: &str, request: &Received) -> Step {
    let target = request.target();
    let body = match target.as_str() {
        CERTIFICATE => certificate,
        target if target.starts_with("/?Action=ConfirmSubscription") => "<xml/>",
        _ => return Step::Send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_vec()),
    };
    Step::Send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

async fn tunnel(mut client: TcpStream, behind: String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if client.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    assert!(
        head.starts_with(format!("CONNECT {HOST}:443 ").as_bytes()),
        "{}",
        String::from_utf8_lossy(&head)
    );
    let mut server = TcpStream::connect(behind).await.expect("the host");
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("written");
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

fn pkcs8() -> PrivatePkcs8KeyDer<'static> {
    PrivatePkcs8KeyDer::from_pem_slice(KEY.as_bytes()).expect("a key")
}

fn certificate() -> String {
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8(), &PKCS_RSA_SHA256).expect("a key");
    let params = CertificateParams::new(vec!["sns.amazonaws.com".to_owned()]).expect("parameters");
    params.self_signed(&key).expect("a certificate").pem()
}

/// Returns a notification of now, with these members besides.
pub(crate) fn notification(more: &Value) -> Value {
    let now = jiff::Timestamp::now();
    let message = json!({
        "Type": "Notification",
        "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
        "TopicArn": TOPIC,
        "Message": "an order",
        "Timestamp": now.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string(),
        "SignatureVersion": "2",
        "SigningCertURL": format!("https://{HOST}{CERTIFICATE}"),
        "UnsubscribeURL": format!("https://{HOST}/?Action=Unsubscribe"),
    });
    with(&message, more)
}

/// Returns the question of a new subscription, with these members besides.
pub(crate) fn question(more: &Value) -> Value {
    let url = format!("https://{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37");
    let question = json!({
        "Type": "SubscriptionConfirmation", "Token": "2336412f37", "SubscribeURL": url, "UnsubscribeURL": null,
    });
    with(&notification(&question), more)
}

fn with(message: &Value, more: &Value) -> Value {
    let mut message = message.clone();
    let more = more.as_object().expect("an object").clone();
    message.as_object_mut().expect("an object").extend(more);
    message
}

/// Returns the body of a message, signed as Amazon signs.
pub(crate) fn signed(message: &Value) -> String {
    let names = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"];
    let lines = names.iter().filter_map(|name| Some(format!("{name}\n{}\n", message[*name].as_str()?)));
    let text: String = lines.collect();
    let key = RsaKeyPair::from_pkcs8(pkcs8().secret_pkcs8_der()).expect("a key");
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).expect("a signature");
    let signature = STANDARD.encode(signature);
    let message = with(message, &json!({ "Signature": signature }));
    message.to_string()
}
