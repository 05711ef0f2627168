//! TLS on the listeners.

use crate::harness::*;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A listener with TLS on every port.
const LISTEN: &str = "listen:
  outbound: { address: 127.0.0.1:0, tls: { certificate: '{{certificate}}', key: '{{key}}' } }
  webhooks: { address: 127.0.0.1:0, tls: { certificate: '{{certificate}}', key: '{{key}}' } }
  admin: 127.0.0.1:0
";

/// The same, with client certificates.
const WITH_CLIENTS: &str = "listen:
  outbound: { address: 127.0.0.1:0, tls: { certificate: '{{certificate}}', key: '{{key}}', client_ca: '{{client_ca}}' } }
  webhooks: 127.0.0.1:0
  admin: 127.0.0.1:0
";

fn setup(ca: &CertificateAuthority, third_party: &Stub) -> Setup {
    let (certificate, key) = ca.leaf_pem("localhost");
    let setup = attache().given("third_party", third_party.url());
    setup.file("certificate", &certificate).file("key", &key)
}

async fn with_tls(ca: &CertificateAuthority, third_party: &Stub, lines: &str) -> Attache {
    setup(ca, third_party).with(&format!("{LISTEN}{}", mailer(lines))).await
}

#[tokio::test]
async fn https_is_spoken_with_both_versions_and_connections_are_kept_and_resumed() {
    let (third_party, ca) = (third_party(), CertificateAuthority::new());
    let attache = with_tls(&ca, &third_party, "").await;
    for (version, number) in [
        (&rustls::version::TLS12, rustls::ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, rustls::ProtocolVersion::TLSv1_3),
    ] {
        let client = TlsClient::with(&ca, None, &[version]).offering(&[b"h2", b"http/1.1"]);
        let mut connection = client.connect(attache.outbound()).await.expect("a handshake");
        for _ in 0..3 {
            assert_eq!(connection.exchange(get("/mailer/x")).await.expect("an answer").status, 200);
        }
        let session = connection.stream.get_ref().1;
        assert_eq!(session.protocol_version(), Some(number));
        assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert!(!connection.is_resumed());
        let mut again = client.connect(attache.outbound()).await.expect("a handshake");
        assert_eq!(again.exchange(get("/mailer/x")).await.expect("an answer").status, 200);
        assert!(again.is_resumed(), "{number:?}");
    }
    let only_h2 = TlsClient::of(&ca).offering(&[b"h2"]);
    assert!(only_h2.connect(attache.outbound()).await.is_err());
}

#[tokio::test]
async fn a_webhook_call_over_tls_is_forwarded_as_https() {
    let (app, ca, key) = (app(), CertificateAuthority::new(), webhook_key());
    let setup = setup(&ca, &app).given("app", app.url()).given("hash", sha256_hex(&key));
    let yaml = format!(
        "{LISTEN}{}",
        "users: { bot: {} }
services:
  mailer:
    webhook: { user: bot, forward_to: '{{app}}', api_keys: [{ id: k, sha256: '{{hash}}' }] }
"
    );
    let attache = setup.with(&yaml).await;
    let answer = TlsClient::of(&ca).send(attache.webhooks(), post(format!("/webhooks/{key}"), "x")).await;
    assert_eq!(answer.expect("an answer").status, 200);
    let received = app.only_request().await;
    assert_eq!(received.header("x-forwarded-proto"), Some("https"));
}

#[tokio::test]
async fn plain_http_on_a_tls_port_gets_an_answer_that_says_so() {
    let (third_party, ca) = (third_party(), CertificateAuthority::new());
    let attache = with_tls(&ca, &third_party, "").await;
    let answer = attache.send(get("/mailer/x")).await;
    let problem = answer.problem("request_invalid", 400, "http_request_error");
    assert!(problem["detail"].as_str().expect("text").contains("https://"), "{problem:#}");
    let line = attache.access_log_line("the request", |line| line["status"] == 400).await;
    assert_eq!(line["reason"], "plain_http");
    assert_eq!(third_party.requests().len(), 0);
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    const SIZE: u64 = 20 << 20;
    let (third_party, ca) = (third_party().streams(SIZE), CertificateAuthority::new());
    let attache = with_tls(&ca, &third_party, "timeout: 60s").await;
    let mut connection = TlsClient::of(&ca).connect(attache.outbound()).await.expect("a handshake");
    for _ in 0..2 {
        let answer = connection.exchange(get("/mailer/x")).await.expect("an answer");
        assert_eq!((answer.body_length, answer.complete), (SIZE, true));
    }
    let counting = crate::harness::third_party().counts_bodies();
    let attache = with_tls(&ca, &counting, "timeout: 60s").await;
    let mut connection = TlsClient::of(&ca).connect(attache.outbound()).await.expect("a handshake");
    let answer = connection.exchange(request("POST", "/mailer/x").zeros(SIZE)).await.expect("an answer");
    assert_eq!(answer.status, 200);
    let line = attache.access_log_line("the upload", |line| line["method"] == "POST").await;
    assert_eq!(line["bytes_in"], SIZE);
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_request() {
    #[derive(Debug, Clone, Copy)]
    enum How {
        /// `close_notify` and a FIN.
        Close,
        /// A FIN alone.
        Fin,
        Drop,
    }
    for how in [How::Close, How::Fin, How::Drop] {
        let (third_party, ca) = (third_party().hangs(), CertificateAuthority::new());
        let attache = with_tls(&ca, &third_party, "timeout: 60s").await;
        let mut connection = TlsClient::of(&ca).connect(attache.outbound()).await.expect("a handshake");
        connection.write(b"GET /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n").await;
        third_party.head(0).await;
        let left = Instant::now();
        let _open = match how {
            How::Close => {
                connection.stream.shutdown().await.expect("shut down");
                Some(connection)
            }
            How::Fin => {
                connection.stream.get_mut().0.shutdown().await.expect("shut down");
                Some(connection)
            }
            How::Drop => {
                drop(connection);
                None
            }
        };
        let line = attache.access_log_line("the request", |_| true).await;
        assert_eq!((&line["status"], &line["phase"]), (&499.into(), &"wait".into()), "{how:?} {line:#}");
        assert!(left.elapsed() < Duration::from_secs(10), "{how:?}");
    }
}

#[tokio::test]
async fn a_tunnel_carries_both_ways() {
    let (third_party, ca) = (third_party().websocket_echo(), CertificateAuthority::new());
    let attache = with_tls(&ca, &third_party, "").await;
    let mut connection = TlsClient::of(&ca).connect(attache.outbound()).await.expect("a handshake");
    connection
        .write(
            b"GET /mailer/socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nearly",
        )
        .await;
    assert_eq!(connection.response().await.expect("an answer").status, 101);
    assert_eq!(connection.bytes(5).await, b"early");
    for message in [vec![b'm'; 10], vec![b'n'; 300_000]] {
        let (mut from, mut to) = tokio::io::split(&mut connection.stream);
        let mut got = vec![0; message.len()];
        let (read, written) = tokio::join!(from.read_exact(&mut got), async {
            to.write_all(&message).await?;
            to.flush().await
        });
        read.and(written.map(|()| 0)).expect("both ways");
        assert_eq!(got, message);
    }
    drop(connection);
    third_party.wait_until("the tunnel's end", |seen| seen.closed == 1).await;
}

/// A client tells a truncated response from a complete one by `close_notify` if the framing does not say it.
#[tokio::test]
async fn the_end_of_a_connection_is_announced() {
    let (third_party, ca) = (third_party(), CertificateAuthority::new());
    let attache = with_tls(&ca, &third_party, "").await;
    let client = TlsClient::of(&ca);
    let mut connection = client.connect(attache.outbound()).await.expect("a handshake");
    let answer = connection.exchange(get("/mailer/x").header("Connection", "close")).await;
    assert_eq!(answer.expect("an answer").status, 200);
    // Without it, rustls reports an unexpected end.
    assert_eq!(connection.stream.read(&mut [0]).await.expect("close_notify"), 0);
    // An idle connection is closed by the drain.
    let mut idle = client.connect(attache.outbound()).await.expect("a handshake");
    assert_eq!(idle.exchange(get("/mailer/x")).await.expect("an answer").status, 200);
    attache.sigterm();
    assert_eq!(idle.stream.read(&mut [0]).await.expect("close_notify"), 0);
}

/// A response that is cut is not announced as complete.
#[tokio::test]
async fn a_truncated_response_is_a_reset() {
    let (third_party, ca) = (
        third_party().answers_raw_and_closes("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"),
        CertificateAuthority::new(),
    );
    let attache = with_tls(&ca, &third_party, "").await;
    let mut connection = TlsClient::of(&ca).connect(attache.outbound()).await.expect("a handshake");
    connection.write(b"GET /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut got = Vec::new();
    let end = connection.stream.read_to_end(&mut got).await.map_err(|error| error.kind());
    assert!(matches!(end, Err(ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof)), "{end:?}");
}

/// A handshake that is never finished takes the place of no other client.
#[tokio::test]
async fn an_unfinished_handshake_gives_way_to_other_clients() {
    let (third_party, ca) = (third_party(), CertificateAuthority::new());
    // A request counts until the last byte of its response was written, which may be after the client has read it.
    let yaml = format!("limits: {{ connections: 2 }}\n{LISTEN}{}", mailer("max_concurrent: 2"));
    let attache = setup(&ca, &third_party).with(&yaml).await;
    let client = TlsClient::of(&ca);
    let mut kept = client.connect(attache.outbound()).await.expect("a handshake");
    assert_eq!(kept.exchange(get("/mailer/x")).await.expect("an answer").status, 200);
    let mut unfinished = TcpStream::connect(attache.outbound()).await.expect("connects");
    // The begin of a record of 512 bytes.
    unfinished.write_all(&[0x16, 3, 1, 2, 0, 1]).await.expect("writes");
    eventually("the begin of a handshake", async || {
        let labels = [("listener", "outbound"), ("state", "idle")];
        attache.metrics().await.value("attache_connections", &labels).filter(|&count| count == 2.0)
    })
    .await;
    let answer = client.send(attache.outbound(), get("/mailer/x")).await;
    assert_eq!(answer.expect("an answer").status, 200);
    assert_eq!(kept.exchange(get("/mailer/x")).await.expect("an answer").status, 200);
    let end = unfinished.read(&mut [0; 64]).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

#[tokio::test]
async fn a_new_pair_is_taken_up_and_a_broken_one_keeps_the_old() {
    let (third_party, ca) = (third_party(), CertificateAuthority::new());
    let attache = with_tls(&ca, &third_party, "").await;
    let client = TlsClient::of(&ca);
    let fresh = client.forgetful();
    let served = async || fresh.connect(attache.outbound()).await.expect("a handshake").certificate();
    let first = served().await;
    let mut kept = client.connect(attache.outbound()).await.expect("a handshake");
    let (certificate, key) = ca.leaf_pem("localhost");
    attache.rewrite_file("certificate", &certificate);
    // Only the certificate is new: the pair does not fit.
    attache.stderr_line("listen.outbound.tls.key does not fit listen.outbound.tls.certificate").await;
    assert_eq!(served().await, first);
    attache.rewrite_file("key", &key);
    attache.stderr_line("every secret can be read again").await;
    let second = served().await;
    assert_ne!(second, first);
    assert_eq!(kept.exchange(get("/mailer/x")).await.expect("an answer").status, 200);
    std::fs::remove_file(attache.path_of("key")).expect("removed");
    attache.stderr_line("listen.outbound.tls.key can't be read").await;
    assert_eq!(served().await, second);
}

#[tokio::test]
async fn a_client_certificate_is_optional_and_one_that_is_not_trusted_fails_the_handshake() {
    let (third_party, ca, clients) =
        (third_party(), CertificateAuthority::new(), CertificateAuthority::new());
    let serial =
        |number: u64| move |params: &mut rcgen::CertificateParams| params.serial_number = Some(number.into());
    let good = clients.changed_leaf_pem(serial(7));
    let revoked = clients.changed_leaf_pem(serial(8));
    let expired = clients.changed_leaf_pem(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let of_another = CertificateAuthority::new().leaf_pem("localhost");
    let server_only = clients.changed_leaf_pem(|params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    let bundle = format!("{}{}", clients.pem(), clients.revocation_list_pem(8));
    let setup = setup(&ca, &third_party).file("client_ca", &bundle);
    let attache = setup.with(&format!("{WITH_CLIENTS}{}", mailer(""))).await;
    let status = async |client: TlsClient| -> io::Result<u16> {
        Ok(client.send(attache.outbound(), get("/mailer/x")).await?.status)
    };
    assert_eq!(status(TlsClient::of(&ca)).await.expect("without a certificate"), 200);
    assert_eq!(status(TlsClient::with_certificate(&ca, &good)).await.expect("a good one"), 200);
    for (what, own) in [
        ("revoked", revoked),
        ("expired", expired),
        ("of another authority", of_another),
        ("server's", server_only),
    ] {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let error = status(TlsClient::with(&ca, Some(&own), &[version])).await.expect_err(what);
            // The alert is received, not a reset.
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{what}: {error}");
        }
    }
}

/// Replaces the pair atomically, as a Kubernetes volume does: a link to a folder with both files.
struct Rotation {
    folder: tempfile::TempDir,
    number: u32,
}

impl Rotation {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), number: 0 }
    }

    fn rotate(&mut self, (certificate, key): &(String, String)) {
        self.number += 1;
        let version = self.folder.path().join(format!("v{}", self.number));
        std::fs::create_dir(&version).expect("a folder");
        std::fs::write(version.join("tls.crt"), certificate).expect("written");
        std::fs::write(version.join("tls.key"), key).expect("written");
        let link = self.folder.path().join("next");
        std::os::unix::fs::symlink(&version, &link).expect("a link");
        std::fs::rename(link, self.folder.path().join("current")).expect("renamed");
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join("current").join(name).display().to_string()
    }
}

#[tokio::test]
async fn certificates_that_rotate_every_second_fail_no_handshake_and_lose_no_request() {
    let rounds = if full("certificates that rotate for a minute; five seconds are tried") { 60 } else { 5 };
    let (third_party, ca, mut rotation) = (third_party(), CertificateAuthority::new(), Rotation::new());
    rotation.rotate(&ca.leaf_pem("localhost"));
    let setup = attache().given("third_party", third_party.url());
    let setup = setup.given("certificate", rotation.path("tls.crt")).given("key", rotation.path("tls.key"));
    let attache = setup.with(&format!("{LISTEN}{}", mailer(""))).await;
    let outbound = attache.outbound();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut load = tokio::task::JoinSet::new();
    for n in 0..8 {
        let (ca_client, stopped) = (TlsClient::of(&ca), stopped.clone());
        load.spawn(async move {
            let (mut requests, mut certificates) = (0, std::collections::HashSet::new());
            let mut kept = ca_client.connect(outbound).await.expect("a handshake");
            while !*stopped.borrow() {
                if n % 2 == 0 {
                    assert_eq!(kept.exchange(get("/mailer/kept")).await.expect("kept alive").status, 200);
                } else {
                    // Without its session store, so that every second one is a full handshake.
                    let new = if n % 4 == 1 { ca_client.forgetful() } else { ca_client.clone() };
                    let mut new = new.connect(outbound).await.expect("a handshake");
                    certificates.insert(new.certificate());
                    assert_eq!(new.exchange(get("/mailer/new")).await.expect("an answer").status, 200);
                }
                requests += 1;
                tokio::time::sleep(ms(5)).await;
            }
            (requests, certificates)
        });
    }
    for _ in 0..rounds {
        tokio::time::sleep(Duration::from_secs(1)).await;
        rotation.rotate(&ca.leaf_pem("localhost"));
    }
    let last = attache.applied();
    eventually("the last pair", async || (attache.applied() >= last.max(2)).then_some(())).await;
    stop.send_replace(true);
    let (mut requests, mut certificates) = (0, std::collections::HashSet::new());
    while let Some(done) = load.join_next().await {
        let (count, seen) = done.expect("no failed handshake, no lost request");
        requests += count;
        certificates.extend(seen);
    }
    assert!(requests > rounds * 20, "{requests} requests");
    assert!(certificates.len() > rounds as usize / 2, "{} certificates were served", certificates.len());
}

/// The reason of each handshake that fails, in the metrics; and one line in the log.
#[tokio::test]
async fn failed_handshakes_are_counted_by_reason_and_logged_once() {
    let (third_party, ca, clients) =
        (third_party(), CertificateAuthority::new(), CertificateAuthority::new());
    let setup = setup(&ca, &third_party).file("client_ca", &clients.pem());
    let attache = setup.with(&format!("{WITH_CLIENTS}{}", mailer(""))).await;
    let failed = async |reason: &str| {
        let labels = [("listener", "outbound"), ("reason", reason)];
        attache.metrics().await.value("attache_tls_handshakes_failed_total", &labels)
    };
    for reason in ["closed", "plain_http", "protocol_error", "incompatible", "alert_received", "timeout"] {
        assert_eq!(failed(reason).await, Some(0.0), "{reason}");
    }
    let other = CertificateAuthority::new();
    // A certificate of another authority; then a client that does not trust the listener's.
    let unknown_client = TlsClient::with_certificate(&ca, &other.leaf_pem("localhost"));
    assert!(unknown_client.send(attache.outbound(), get("/mailer/x")).await.is_err());
    assert!(TlsClient::of(&other).connect(attache.outbound()).await.is_err());
    assert!(TlsClient::of(&ca).offering(&[b"h2"]).connect(attache.outbound()).await.is_err());
    assert_eq!(attache.send(get("/mailer/x")).await.status, 400);
    let raw = async |bytes: &[u8]| {
        let mut stream = TcpStream::connect(attache.outbound()).await.expect("connects");
        stream.write_all(bytes).await.expect("writes");
        stream.shutdown().await.expect("a FIN");
        let _alert = stream.read_to_end(&mut Vec::new()).await;
    };
    raw(&[0x16, 3, 1, 0, 5, 9, 9, 9, 9, 9]).await;
    // Half a record.
    raw(&[0x16, 3, 1, 2, 0, 1]).await;
    // A check by TCP alone fails no handshake.
    raw(&[]).await;
    for reason in
        ["client_certificate", "alert_received", "incompatible", "plain_http", "protocol_error", "closed"]
    {
        eventually(reason, async || failed(reason).await.filter(|&count| count == 1.0)).await;
    }
    assert_eq!(failed("timeout").await, Some(0.0));
    let webhooks = [("listener", "webhooks"), ("reason", "closed")];
    let plain = attache.metrics().await.value("attache_tls_handshakes_failed_total", &webhooks);
    assert_eq!(plain, None, "a listener without TLS has none");
    attache.stderr_line("a TLS handshake failed").await;
    let log = attache.said();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("a TLS handshake failed")).collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("client=127.0.0.1") && lines[0].contains("reason="), "{lines:#?}");
}
