//! Facts about pingora's public API that attache's request path relies on.
//!
//! None of attache's own code is used here. A test is named after its fact: when an upgrade of pingora fails one, the code
//! that relies on it has to change. `transport::pool`, `transport::stream` and `proxy::exchange` rely on them.
//!
//! Bytes come over an in-memory pipe, except where the fact is about sockets.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::http::RequestHeader;
use pingora::protocols::http::v1::client::HttpSession;
use pingora::protocols::l4::socket::SocketAddr as EngineAddr;
use pingora::protocols::l4::stream::Stream as Tcp;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID,
};
use pingora::upstreams::peer::{HttpPeer, Peer};
use std::fmt;
use std::future::{Future, poll_fn, ready};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

// The session.

/// Returns a session whose request `GET /x` is written, and the server's end of its pipe.
async fn asked() -> (HttpSession, DuplexStream) {
    asked_with(&[]).await
}

async fn asked_with(fields: &[(&'static str, &'static str)]) -> (HttpSession, DuplexStream) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let mut session = HttpSession::new(Box::new(near));
    let mut head = RequestHeader::build("GET", b"/x", None).expect("a head");
    for (name, value) in [("Host", "a")].iter().chain(fields) {
        head.append_header(*name, *value).expect("a field");
    }
    session.write_request_header(Box::new(head)).await.expect("written");
    (session, far)
}

/// Returns a session that has read the final head of this response.
async fn answered(response: &[u8]) -> HttpSession {
    let (mut session, mut far) = asked().await;
    far.write_all(response).await.expect("written");
    session.read_response().await.expect("a head");
    session
}

async fn body(session: &mut HttpSession) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(part) = session.read_body_bytes().await.expect("a body") {
        body.extend_from_slice(&part);
    }
    body
}

/// Returns the output of `future` if one poll is enough.
async fn at_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[tokio::test]
async fn read_response_is_cancel_safe() {
    let (mut session, mut far) = asked().await;
    let response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\n\r\nok";
    let head_len = response.len() - 2;
    for byte in &response[..head_len - 1] {
        far.write_all(&[*byte]).await.expect("written");
        // Reads the byte, waits for more, and is dropped.
        assert!(at_once(session.read_response()).await.is_none());
    }
    far.write_all(&response[head_len - 1..]).await.expect("written");
    at_once(session.read_response()).await.expect("the head is complete").expect("a head");
    assert_eq!(&session.get_headers_raw_bytes()[..], &response[..head_len]);
    assert_eq!(body(&mut session).await, b"ok");
}

#[tokio::test]
async fn get_headers_raw_bytes_gives_the_head_as_it_came() {
    for head in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-Fold: a\r\n b\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n",
        "HTTP/1.1 204 \r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let session = answered([head, "5\r\nhello\r\n0\r\n\r\n"].concat().as_bytes()).await;
        let raw = session.get_headers_raw_bytes();
        assert_eq!(String::from_utf8_lossy(&raw), head);
    }
}

#[tokio::test]
async fn the_header_map_hides_content_length_beside_transfer_encoding() {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n";
    let session = answered(head).await;
    assert_eq!(session.get_header("content-length"), None, "only the raw head shows it");
}

#[tokio::test]
async fn get_headers_raw_bytes_gives_each_interim_head() {
    let heads = [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early\r\nLink: </a>\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
    ];
    let (mut session, mut far) = asked().await;
    far.write_all([heads.concat().as_bytes(), b"ok"].concat().as_slice()).await.expect("written");
    for head in heads {
        session.read_response().await.expect("a head");
        assert_eq!(String::from_utf8_lossy(&session.get_headers_raw_bytes()), head);
    }
    assert_eq!(body(&mut session).await, b"ok");
}

#[tokio::test]
async fn early_bytes_after_a_101_come_by_read_body_bytes() {
    let (mut session, mut far) = asked_with(&[("Connection", "Upgrade"), ("Upgrade", "websocket")]).await;
    let switch =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly";
    far.write_all(switch).await.expect("written");
    session.read_response().await.expect("a head");
    let early = at_once(session.read_body_bytes()).await.expect("at once").expect("no error");
    assert_eq!(early.as_deref(), Some(&b"early"[..]));
    assert!(at_once(session.read_body_bytes()).await.is_none(), "nothing more is buffered");
    far.write_all(b"later").await.expect("written");
    let mut later = BytesMut::new();
    session.into_inner().read_buf(&mut later).await.expect("read");
    assert_eq!(&later[..], b"later");
}

#[tokio::test]
async fn into_inner_loses_the_early_bytes_that_were_not_read() {
    let (mut session, mut far) = asked_with(&[("Connection", "Upgrade"), ("Upgrade", "websocket")]).await;
    let switch =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly";
    far.write_all(switch).await.expect("written");
    session.read_response().await.expect("a head");
    far.write_all(b"later").await.expect("written");
    let mut rest = BytesMut::new();
    session.into_inner().read_buf(&mut rest).await.expect("read");
    assert_eq!(&rest[..], b"later");
}

#[tokio::test]
async fn names_inserted_as_bytes_keep_their_case_on_the_wire() {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let mut session = HttpSession::new(Box::new(near));
    let mut head = RequestHeader::build("GET", b"/x", None).expect("a head");
    head.insert_header(Bytes::from_static(b"X-API-KEY"), "1").expect("a field");
    head.append_header(Bytes::from_static(b"x-oDd"), "2").expect("a field");
    head.insert_header(http::header::AUTHORIZATION, "3").expect("a field");
    session.write_request_header(Box::new(head)).await.expect("written");
    let mut wire = BytesMut::new();
    far.read_buf(&mut wire).await.expect("read");
    let wire = String::from_utf8_lossy(&wire);
    assert!(wire.contains("\r\nX-API-KEY: 1\r\n") && wire.contains("\r\nx-oDd: 2\r\n"), "{wire}");
    assert!(wire.contains("\r\nauthorization: 3\r\n"), "a `HeaderName` has lost its case: {wire}");
}

#[tokio::test]
async fn a_body_longer_than_its_content_length_is_cut_and_the_connection_is_not_reusable() {
    for response in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"[..],
        b"HTTP/1.1 204 No Content\r\n\r\nok",
    ] {
        let mut session = answered(response).await;
        let expected = if response.starts_with(b"HTTP/1.1 200") { &b"ok"[..] } else { b"" };
        assert_eq!(body(&mut session).await, expected);
        session.respect_keepalive();
        assert!(!session.will_keepalive(), "{}", response.escape_ascii());
        assert!(session.reuse().await.is_none());
    }
}

#[tokio::test]
async fn the_end_of_a_chunked_body_is_found_and_the_connection_is_reusable() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut session = answered(format!("{head}2\r\nok\r\n1;x=y\r\n!\r\n0\r\n\r\n").as_bytes()).await;
    assert_eq!(body(&mut session).await, b"ok!");
    session.respect_keepalive();
    assert!(session.will_keepalive());
    assert!(session.reuse().await.is_some());
}

#[tokio::test]
async fn bytes_behind_a_chunked_body_make_respect_keepalive_refuse() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for extra in ["\r\n", "HTTP/1.1 200 OK\r\n\r\n"] {
        let mut session = answered(format!("{head}2\r\nok\r\n0\r\n\r\n{extra}").as_bytes()).await;
        assert_eq!(body(&mut session).await, b"ok");
        session.respect_keepalive();
        assert!(!session.will_keepalive(), "{extra:?}");
        assert!(session.reuse().await.is_none());
    }
}

// attache therefore decides itself whether a request was written to its end, and reads every `Connection` line.
#[tokio::test]
async fn reuse_looks_at_the_response_only_and_at_its_first_connection_line() {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let mut session = HttpSession::new(Box::new(near));
    let mut head = RequestHeader::build("POST", b"/x", None).expect("a head");
    head.insert_header("Content-Length", "10").expect("a field");
    session.write_request_header(Box::new(head)).await.expect("written");
    session.write_body(b"abc").await.expect("written");
    let response = b"HTTP/1.1 200 OK\r\nConnection: X-A\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    far.write_all(response).await.expect("written");
    session.read_response().await.expect("a head");
    assert_eq!(body(&mut session).await, b"ok");
    session.respect_keepalive();
    assert!(session.reuse().await.is_some());
}

// The pool.

const KEY: u64 = 7;

fn connector() -> TransportConnector {
    let mut options = ConnectorOptions::new(8);
    // Without it, the system's roots are loaded.
    options.ca_file = Some("/dev/null".to_owned());
    TransportConnector::new(Some(options))
}

/// A peer with the pool key `KEY`, whose liveness test is a peek.
#[derive(Clone)]
struct Peeking(EngineAddr);

impl Peeking {
    fn new(address: SocketAddr) -> Self {
        Self(EngineAddr::Inet(address))
    }
}

impl fmt::Display for Peeking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("peeking")
    }
}

impl Peer for Peeking {
    fn address(&self) -> &EngineAddr {
        &self.0
    }

    fn tls(&self) -> bool {
        false
    }

    fn sni(&self) -> &str {
        ""
    }

    fn reuse_hash(&self) -> u64 {
        KEY
    }

    fn matches_fd<V: AsRawFd>(&self, fd: V) -> bool {
        peek(fd.as_raw_fd()) == Err(Errno::EAGAIN)
    }
}

fn peek(fd: i32) -> Result<usize, Errno> {
    recv(fd, &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT)
}

/// Both ends of a connection over loopback.
async fn pair() -> (Tcp, TcpStream, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("an address");
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (Tcp::from(near.expect("connect")), far.expect("accept").0, address)
}

/// Closes the server's end. On return the FIN is in the kernel, and the reactor has had no turn.
fn close(far: TcpStream, near: i32) {
    drop(far);
    while peek(near) != Ok(0) {
        std::hint::spin_loop();
    }
}

/// Returns true if `reused_stream` returns a pooled connection that the server has closed, on a worker that was busy
/// since.
async fn hands_out_a_closed_connection<P: Peer + Send + Sync + 'static>(
    peer: impl FnOnce(SocketAddr) -> P,
) -> bool {
    let (connector, (near, far, address)) = (connector(), pair().await);
    let (id, peer) = (near.id(), peer(address));
    // A task of the only worker: between two of its tasks a worker does not poll the reactor, as `block_on` does.
    let mut worker = JoinSet::new();
    worker.spawn(async move {
        connector.release_stream(Box::new(near), peer.reuse_hash(), None);
        tokio::task::yield_now().await;
        close(far, id);
        connector.reused_stream(&peer).await.is_some()
    });
    worker.join_next().await.expect("one task").expect("no panic")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn reused_stream_hands_out_a_connection_whose_fin_is_in_the_kernel_with_http_peer() {
    assert!(hands_out_a_closed_connection(|address| HttpPeer::new(address, false, String::new())).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn reused_stream_hands_out_no_such_connection_with_a_peek_in_matches_fd() {
    assert!(!hands_out_a_closed_connection(Peeking::new).await);
}

#[tokio::test]
async fn reused_stream_returns_none_after_one_dead_connection_instead_of_trying_the_next() {
    let connector = connector();
    let ((dead, far, address), (alive, _far, _)) = (pair().await, pair().await);
    let (dead_id, alive_id) = (dead.id(), alive.id());
    connector.release_stream(Box::new(dead), KEY, None);
    connector.release_stream(Box::new(alive), KEY, None);
    tokio::task::yield_now().await;
    close(far, dead_id);
    let peer = Peeking::new(address);
    assert!(connector.reused_stream(&peer).await.is_none());
    let next = connector.reused_stream(&peer).await;
    assert_eq!(next.map(|stream| stream.id()), Some(alive_id), "the next was still there");
}

#[tokio::test]
async fn the_pool_is_first_in_first_out_for_each_key() {
    let connector = connector();
    let (mut far, mut released) = (Vec::new(), Vec::new());
    let mut address = None;
    for _ in 0..3 {
        let (near, end, at) = pair().await;
        far.push(end);
        released.push(near.id());
        address = Some(at);
        connector.release_stream(Box::new(near), KEY, None);
    }
    let peer = Peeking::new(address.expect("an address"));
    let (mut taken, mut ids) = (Vec::new(), Vec::new());
    while let Some(stream) = connector.reused_stream(&peer).await {
        ids.push(stream.id());
        // Kept open, so that no descriptor is used twice.
        taken.push(stream);
    }
    assert_eq!(ids, released);
}

/// A custom IO type, with a mark that has to be returned.
#[derive(Debug)]
struct Own {
    io: Tcp,
    mark: u32,
}

impl AsyncRead for Own {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Own {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Own {
    async fn shutdown(&mut self) {
        ready(()).await;
    }
}

impl UniqueID for Own {
    fn id(&self) -> i32 {
        self.io.id()
    }
}

impl Ssl for Own {}
impl Peek for Own {}

impl GetTimingDigest for Own {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Own {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Own {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

#[tokio::test]
async fn own_io_types_survive_a_session_and_the_pool() {
    let (connector, (io, mut far, address)) = (connector(), pair().await);
    let mut session = HttpSession::new(Box::new(Own { io, mark: 42 }));
    let head = RequestHeader::build("GET", b"/x", None).expect("a head");
    session.write_request_header(Box::new(head)).await.expect("written");
    far.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.expect("written");
    session.read_response().await.expect("a head");
    let lent = (**session.stream()).as_any().downcast_ref::<Own>().expect("the own type");
    assert_eq!(lent.mark, 42);
    assert_eq!(body(&mut session).await, b"ok");
    session.respect_keepalive();
    let stream: Stream = session.reuse().await.expect("reusable");
    connector.release_stream(stream, KEY, None);
    let stream = connector.reused_stream(&Peeking::new(address)).await.expect("alive");
    let own = stream.into_any().downcast::<Own>().expect("the own type");
    assert_eq!(own.mark, 42);
}
