//! A client that leaves ends its request at once, whatever the request waits for.

use crate::harness::*;
use serde_json::Value;
use socket2::SockRef;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

/// Far above what a shared machine needs, far below every deadline of these tests.
const PROMPT: Duration = Duration::from_secs(5);
const LONG: &str = "timeout: 60s\nidle_timeout: 60s";

#[derive(Debug, Clone, Copy)]
enum How {
    /// A FIN, with the socket still open: RFC 9112 section 9.6 lets a server treat it as the client's end.
    HalfClose,
    Close,
    Reset,
}

async fn leave(mut connection: Connection, how: How) -> Option<Connection> {
    match how {
        How::HalfClose => {
            connection.stream.shutdown().await.expect("shut down");
            return Some(connection);
        }
        How::Close => {}
        How::Reset => {
            SockRef::from(&connection.stream).set_linger(Some(Duration::ZERO)).expect("linger");
        }
    }
    drop(connection);
    None
}

async fn in_flight(attache: &Attache, direction: &str, wanted: f64) {
    eventually(&format!("{wanted} requests in flight"), async || {
        let labels = [("direction", direction), ("service", "mailer")];
        let now = attache.metrics().await.value("attache_requests_in_flight", &labels).unwrap_or(0.0);
        (now == wanted).then_some(())
    })
    .await;
}

/// Asserts that the request ended since `left`, and that its access log line states it.
async fn assert_ended(attache: &Attache, direction: &str, left: Instant, status: u16, phase: &str) -> Value {
    in_flight(attache, direction, 0.0).await;
    assert!(left.elapsed() < PROMPT, "{phase}: in flight for {:?}", left.elapsed());
    let line = attache.access_log_line("the request", |line| line["path"] != "/mailer/after").await;
    assert_eq!((&line["status"], &line["phase"]), (&status.into(), &phase.into()), "{line:#}");
    line
}

const OAUTH2: &str = "timeout: 60s
        account:
          authorization:
            oauth2: { grant: client_credentials, token_url: '{{token_url}}', client_id: id,
                      client_secret: { env: CLIENT_SECRET }, token_timeout: 30s }";

async fn with_tokens(third_party: &Stub, endpoint: &TokenEndpoint) -> Attache {
    let setup = attache().given("third_party", third_party.url()).given("token_url", endpoint.url());
    setup.env("CLIENT_SECRET", secret("client")).with(&mailer(OAUTH2)).await
}

#[tokio::test]
async fn while_a_token_is_waited_for() {
    for how in [How::HalfClose, How::Close, How::Reset] {
        let third_party = third_party();
        let endpoint = token_endpoint().issues(&secret("token")).delays(Duration::from_secs(8));
        let attache = with_tokens(&third_party, &endpoint).await;
        let mut connection = Connection::open(attache.outbound()).await;
        connection.write(b"POST /mailer/x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody").await;
        endpoint.request(0).await;
        let left = Instant::now();
        let _half_open = leave(connection, how).await;
        assert_ended(&attache, "outbound", left, 499, "token").await;
        // The token request continues, and serves the next client; only that one's request is sent.
        assert_eq!(attache.send(get("/mailer/after")).await.status, 200);
        assert_eq!(endpoint.count(), 1);
        assert_eq!(third_party.only_request().await.target(), "/after", "{how:?}");
    }
}

#[tokio::test]
async fn while_a_connection_is_made() {
    let (nowhere, _held) = blackhole();
    let attache = attache().given("third_party", format!("http://{nowhere}")).with(&mailer(LONG)).await;
    let mut connection = Connection::open(attache.outbound()).await;
    connection.write(b"DELETE /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n").await;
    in_flight(&attache, "outbound", 1.0).await;
    let left = Instant::now();
    drop(connection);
    assert_ended(&attache, "outbound", left, 499, "connect").await;
}

/// The connection is established after the client has left, when the kernel retries. Nothing is sent over it.
#[tokio::test]
async fn before_a_slow_connection_is_there() {
    let (address, mut held) = blackhole();
    let attache = attache().given("third_party", format!("http://{address}")).with(&mailer(LONG)).await;
    let mut connection = Connection::open(attache.outbound()).await;
    connection.write(b"DELETE /mailer/gone HTTP/1.1\r\nHost: x\r\n\r\n").await;
    in_flight(&attache, "outbound", 1.0).await;
    drop(connection);
    let listener = held.remove(0);
    let stop = listener.try_clone().expect("a second handle");
    let upstream = std::thread::spawn(move || {
        let mut connections = Vec::new();
        while let Ok((connection, _peer)) = listener.accept() {
            connections.push(std::thread::spawn(move || {
                let mut connection = std::net::TcpStream::from(connection);
                connection.set_read_timeout(Some(ms(1000))).expect("a time limit");
                let mut head = [0; 1024];
                // The connections that fill the backlog send nothing.
                let read = std::io::Read::read(&mut connection, &mut head).unwrap_or(0);
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
                let _gone = std::io::Write::write_all(&mut connection, answer);
                String::from_utf8_lossy(&head[..read]).into_owned()
            }));
        }
        connections.into_iter().map(|connection| connection.join().expect("a connection")).collect::<Vec<_>>()
    });
    let line = attache.access_log_line("the one that was left", |line| line["path"] == "/mailer/gone").await;
    // A connection for the abandoned request is accepted before this one.
    let answer = attache.send(get("/mailer/after")).await;
    let _not_connected = stop.shutdown(std::net::Shutdown::Both);
    let first_bytes = upstream.join().expect("the upstream");
    assert_eq!(answer.status, 200);
    assert!(!first_bytes.iter().any(|bytes| bytes.contains("DELETE")), "{first_bytes:?}");
    assert_eq!(line["status"], 499, "{line:#}");
}

#[tokio::test]
async fn many_while_connections_are_made() {
    let (nowhere, _held) = blackhole();
    let attache = attache().given("third_party", format!("http://{nowhere}")).with(&mailer(LONG)).await;
    let mut clients = Vec::new();
    for _ in 0..25 {
        let mut connection = Connection::open(attache.outbound()).await;
        connection.write(b"GET /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n").await;
        clients.push(connection);
    }
    in_flight(&attache, "outbound", 25.0).await;
    let left = Instant::now();
    drop(clients);
    assert_ended(&attache, "outbound", left, 499, "connect").await;
}

#[tokio::test]
async fn while_the_request_is_sent() {
    for how in [How::HalfClose, How::Close, How::Reset] {
        let third_party = third_party();
        let attache = attache_for(&third_party, LONG).await;
        let mut connection = Connection::open(attache.outbound()).await;
        connection.write(b"POST /mailer/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nstart").await;
        third_party.wait_until("the start of the body", |seen| seen.body_bytes == 5).await;
        let left = Instant::now();
        let _half_open = leave(connection, how).await;
        assert_ended(&attache, "outbound", left, 499, "send").await;
        third_party.wait_until("the connection's end", |seen| seen.closed == 1).await;
        assert!(!third_party.requests()[0].complete);
    }
}

#[tokio::test]
async fn while_a_chunked_request_is_sent() {
    let third_party = third_party();
    let attache = attache_for(&third_party, LONG).await;
    let mut connection = Connection::open(attache.outbound()).await;
    connection
        .write(b"POST /mailer/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nstart\r\n")
        .await;
    third_party.wait_until("the start of the body", |seen| seen.body_bytes == 5).await;
    let left = Instant::now();
    drop(connection);
    assert_ended(&attache, "outbound", left, 499, "send").await;
    third_party.wait_until("the connection's end", |seen| seen.closed == 1).await;
    assert!(!third_party.requests()[0].complete, "a body that was cut has no end");
}

#[tokio::test]
async fn while_the_answer_is_waited_for() {
    for how in [How::HalfClose, How::Close, How::Reset] {
        let third_party = third_party().hangs();
        let attache = attache_for(&third_party, LONG).await;
        let mut connection = Connection::open(attache.outbound()).await;
        connection.write(b"POST /mailer/x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody").await;
        third_party.wait_until("the request", |seen| seen.complete == 1).await;
        let left = Instant::now();
        let _half_open = leave(connection, how).await;
        assert_ended(&attache, "outbound", left, 499, "wait").await;
        third_party.wait_until("the connection's end", |seen| seen.closed == 1).await;
        assert_eq!(third_party.seen().heads, 1, "{how:?}: sent again for a client that has left");
    }
}

#[tokio::test]
async fn while_the_answer_comes() {
    for how in [How::HalfClose, How::Close, How::Reset] {
        let third_party = third_party().stalls_after(10);
        let attache = attache_for(&third_party, LONG).await;
        let mut connection = Connection::open(attache.outbound()).await;
        connection.write(b"GET /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n").await;
        connection.head().await;
        connection.bytes(10).await;
        let left = Instant::now();
        let _half_open = leave(connection, how).await;
        assert_ended(&attache, "outbound", left, 200, "body").await;
        third_party.wait_until("the connection's end", |seen| seen.closed == 1).await;
    }
}

#[tokio::test]
async fn after_100_continue() {
    let third_party = third_party();
    let attache = attache_for(&third_party, LONG).await;
    let mut connection = Connection::open(attache.outbound()).await;
    connection
        .write(b"POST /mailer/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        .await;
    assert!(connection.head().await.start.starts_with(b"HTTP/1.1 100 "));
    let left = Instant::now();
    drop(connection);
    assert_ended(&attache, "outbound", left, 499, "send").await;
}

#[tokio::test]
async fn after_103() {
    let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let third_party = third_party().scripted(|_request| vec![Step::Send(hints.to_vec()), Step::Hang]);
    let attache = attache_for(&third_party, LONG).await;
    let mut connection = Connection::open(attache.outbound()).await;
    connection.write(b"GET /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(connection.head().await.start.starts_with(b"HTTP/1.1 103 "));
    let left = Instant::now();
    drop(connection);
    assert_ended(&attache, "outbound", left, 499, "wait").await;
}

/// The next request on the connection was received already, which does not hide that the client has left.
#[tokio::test]
async fn with_a_pipelined_request_behind() {
    let third_party = third_party().hangs();
    let attache = attache_for(&third_party, LONG).await;
    let mut connection = Connection::open(attache.outbound()).await;
    let request = b"GET /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n";
    connection.write(&[&request[..], request].concat()).await;
    third_party.head(0).await;
    let left = Instant::now();
    drop(connection);
    assert_ended(&attache, "outbound", left, 499, "wait").await;
    assert_eq!(third_party.seen().heads, 1, "the second request is not sent for a client that has left");
}

#[tokio::test]
async fn a_webhooks_client() {
    let (app, key) = (app().hangs(), webhook_key());
    let yaml = "
        users: { bot: {} }
        services:
          mailer:
            webhook:
              user: bot
              forward_to: '{{app}}'
              timeout: 60s
              api_keys: [{ id: a, sha256: {{key}} }]";
    let attache = attache().given("app", app.url()).given("key", sha256_hex(&key)).with(yaml).await;
    let mut connection = Connection::open(attache.webhooks()).await;
    let head = format!("POST /webhooks/{key} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}");
    connection.write(head.as_bytes()).await;
    app.wait_until("the call", |seen| seen.complete == 1).await;
    let left = Instant::now();
    drop(connection);
    let line = assert_ended(&attache, "webhook", left, 499, "wait").await;
    assert_eq!(line["key_id"], "a");
    app.wait_until("the connection's end", |seen| seen.closed == 1).await;
    assert_eq!(app.seen().heads, 1);
}

/// A tunnel has two directions, and each ends by itself.
#[tokio::test]
async fn a_half_closed_tunnel_goes_on_the_other_way() {
    let third_party = third_party().websocket_echo();
    let attache = attache_for(&third_party, LONG).await;
    let mut connection = Connection::open(attache.outbound()).await;
    let ask = get("/mailer/socket")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(connection.exchange(ask).await.status, 101);
    connection.write(b"last words").await;
    connection.stream.shutdown().await.expect("shut down");
    assert_eq!(connection.rest().await, b"last words");
}

/// The whole request and the client's FIN arrive before attache reads.
#[tokio::test]
async fn before_its_request_was_read() {
    for how in [How::HalfClose, How::Close, How::Reset] {
        let third_party = third_party();
        let attache = attache_for(&third_party, LONG).await;
        assert_eq!(attache.send(get("/mailer/warm")).await.status, 200);
        let mut connection = Connection::open(attache.outbound()).await;
        assert_eq!(connection.exchange(get("/mailer/warm")).await.status, 200);
        attache.sigstop();
        connection.write(b"POST /mailer/x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody").await;
        let _half_open = leave(connection, how).await;
        attache.sigcont();
        attache.access_log_line("the request", |line| line["status"] == 499).await;
        let targets: Vec<_> = third_party.requests().iter().map(|request| request.target()).collect();
        assert!(!targets.contains(&"/x".to_owned()), "{how:?}: {targets:?}");
    }
}
