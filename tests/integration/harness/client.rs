//! A raw HTTP/1.1 client. It sends exact bytes, keeps every byte it receives, and fails on a secret.

use super::leaks::assert_no_leak;
use super::wire::{Head, Reader};
use super::{PATIENCE, within};
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::time::{Duration, Instant};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Maximum number of bytes of a body that are kept; the rest is counted.
const KEPT: usize = 1024 * 1024;

#[derive(Debug, Clone)]
pub(crate) struct Request {
    method: String,
    target: Vec<u8>,
    version: &'static str,
    host: bool,
    headers: Vec<(String, Vec<u8>)>,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    None,
    Full(Vec<u8>),
    Chunked(Vec<Vec<u8>>),
    /// Announces `total` bytes, and sends `piece` of them at a time.
    Dripping {
        total: usize,
        piece: usize,
        every: Duration,
    },
    Zeros(u64),
}

pub(crate) fn get(target: impl Into<Vec<u8>>) -> Request {
    request("GET", target)
}

pub(crate) fn post(target: impl Into<Vec<u8>>, body: impl Into<Vec<u8>>) -> Request {
    let mut request = request("POST", target);
    request.body = Body::Full(body.into());
    request
}

pub(crate) fn request(method: &str, target: impl Into<Vec<u8>>) -> Request {
    Request {
        method: method.to_owned(),
        target: target.into(),
        version: "HTTP/1.1",
        host: true,
        headers: Vec::new(),
        body: Body::None,
    }
}

impl Request {
    pub(crate) fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    pub(crate) fn http10(mut self) -> Self {
        self.version = "HTTP/1.0";
        self
    }

    /// Sends no `Host` except those given with [`Request::header`].
    pub(crate) fn without_host(mut self) -> Self {
        self.host = false;
        self
    }

    pub(crate) fn chunked<const N: usize>(mut self, chunks: [&[u8]; N]) -> Self {
        self.body = Body::Chunked(chunks.iter().map(|chunk| chunk.to_vec()).collect());
        self
    }

    /// Announces `total` bytes and sends `piece` of them at a time.
    pub(crate) fn dripping(mut self, total: usize, piece: usize, every: Duration) -> Self {
        self.body = Body::Dripping { total, piece, every };
        self
    }

    /// `n` zero bytes.
    pub(crate) fn zeros(mut self, n: u64) -> Self {
        self.body = Body::Zeros(n);
        self
    }

    fn head(&self, host: SocketAddr) -> Vec<u8> {
        let mut head = Vec::new();
        let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| head.extend_from_slice(part));
        put(&[self.method.as_bytes(), b" ", &self.target, b" ", self.version.as_bytes(), b"\r\n"]);
        if self.host {
            put(&[b"Host: ", host.to_string().as_bytes(), b"\r\n"]);
        }
        for (name, value) in &self.headers {
            put(&[name.as_bytes(), b": ", value, b"\r\n"]);
        }
        match &self.body {
            Body::None => {}
            Body::Full(bytes) => put(&[format!("Content-Length: {}\r\n", bytes.len()).as_bytes()]),
            Body::Dripping { total, .. } => put(&[format!("Content-Length: {total}\r\n").as_bytes()]),
            Body::Zeros(n) => put(&[format!("Content-Length: {n}\r\n").as_bytes()]),
            Body::Chunked(_) => put(&[b"Transfer-Encoding: chunked\r\n"]),
        }
        put(&[b"\r\n"]);
        head
    }

    pub(super) async fn write(
        &self,
        host: SocketAddr,
        stream: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        let mut first = self.head(host);
        match &self.body {
            Body::None => stream.write_all(&first).await?,
            Body::Full(bytes) => {
                first.extend_from_slice(bytes);
                stream.write_all(&first).await?;
            }
            Body::Chunked(chunks) => {
                stream.write_all(&first).await?;
                for chunk in chunks {
                    stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await?;
                    stream.write_all(chunk).await?;
                    stream.write_all(b"\r\n").await?;
                }
                stream.write_all(b"0\r\n\r\n").await?;
            }
            Body::Dripping { total, piece, every } => {
                stream.write_all(&first).await?;
                let mut left = *total;
                while left > 0 {
                    tokio::time::sleep(*every).await;
                    let now = (*piece).min(left);
                    stream.write_all(&vec![b'd'; now]).await?;
                    left -= now;
                }
            }
            Body::Zeros(n) => {
                stream.write_all(&first).await?;
                let block = vec![0; 256 * 1024];
                let mut left = *n;
                while left > 0 {
                    let now = left.min(block.len() as u64);
                    stream.write_all(&block[..usize::try_from(now).unwrap_or(0)]).await?;
                    left -= now;
                }
            }
        }
        stream.flush().await
    }
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) head: Head,
    pub(crate) status: u16,
    /// The 1xx answers before it.
    pub(crate) informational: Vec<Head>,
    /// The decoded body; the first MiB is kept.
    pub(crate) body: Vec<u8>,
    pub(crate) body_length: u64,
    /// True if the body ended as its framing states.
    pub(crate) complete: bool,
    /// Time from the first sent byte to the end of the response's head.
    pub(crate) head_after: Duration,
    /// Time from the first sent byte to the end of the body.
    pub(crate) ended_after: Duration,
    /// The bytes as received, including 1xx, up to 1 MiB.
    pub(crate) raw: Vec<u8>,
}

impl Deref for Response {
    type Target = Head;

    fn deref(&self) -> &Head {
        &self.head
    }
}

impl Response {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    /// Returns true if the connection ends with it.
    pub(crate) fn says_close(&self) -> bool {
        self.head.says("connection", "close")
    }

    pub(crate) fn request_id(&self) -> &str {
        let id = self.header("x-attache-request-id").expect("X-Attache-Request-Id");
        assert!(!id.is_empty(), "an empty request id");
        id
    }

    /// Asserts that this is a complete answer of attache itself, and returns its document.
    #[track_caller]
    pub(crate) fn problem(&self, code: &str, status: u16, proxy_status: &str) -> serde_json::Value {
        let said = String::from_utf8_lossy(&self.raw);
        assert_eq!(self.status, status, "{said}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{said}");
        let expected = format!("attache; error={proxy_status}");
        assert_eq!(self.all("proxy-status"), [expected], "{said}");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{said}");
        assert_eq!(problem["type"], format!("urn:attache:error:{code}"), "{said}");
        assert_eq!(problem["status"], status, "{said}");
        assert_eq!(problem["request_id"], self.request_id(), "{said}");
        for member in ["title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {said}");
        }
        assert!(!said.contains("Pingora"), "{said}");
        problem
    }
}

/// A kept-alive connection.
#[derive(Debug)]
pub(crate) struct Connection {
    peer: SocketAddr,
    pub(crate) stream: TcpStream,
    reader: Reader,
}

impl Connection {
    pub(crate) async fn open(peer: SocketAddr) -> Self {
        Self::try_open(peer).await.unwrap_or_else(|error| panic!("connect to {peer}: {error}"))
    }

    pub(crate) async fn try_open(peer: SocketAddr) -> io::Result<Self> {
        let stream = within(PATIENCE, "a connection", TcpStream::connect(peer)).await?;
        stream.set_nodelay(true)?;
        Ok(Self::on(peer, stream))
    }

    /// Returns the connection on an open stream.
    pub(crate) fn on(peer: SocketAddr, stream: TcpStream) -> Self {
        Self { peer, stream, reader: Reader::default() }
    }

    pub(crate) async fn exchange(&mut self, request: Request) -> Response {
        let asked = format!("{} {}", request.method, String::from_utf8_lossy(&request.target));
        self.try_exchange(request).await.unwrap_or_else(|error| panic!("{asked}: {error}"))
    }

    /// Sends and reads at the same time, so that an early answer is received.
    pub(crate) async fn try_exchange(&mut self, request: Request) -> io::Result<Response> {
        let (from, to) = self.stream.split();
        exchange(&mut self.reader, (from, to), self.peer, &request).await
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("write");
    }

    pub(crate) async fn response(&mut self) -> io::Result<Response> {
        self.response_to("GET").await
    }

    pub(crate) async fn response_to(&mut self, method: &str) -> io::Result<Response> {
        let reading = read(&mut self.reader, &mut self.stream, method, Instant::now());
        within(PATIENCE, "an answer", reading).await
    }

    /// Reads one head, possibly of an interim answer.
    pub(crate) async fn head(&mut self) -> Head {
        let reading = self.reader.head(&mut self.stream);
        let head = within(PATIENCE, "a head", reading).await.expect("read").expect("a head");
        assert_no_leak("a head to the client", &head.raw);
        head
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

    /// Reads until the other side closes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut got = Vec::new();
        let reading = self.reader.rest(&mut self.stream, |part| got.extend_from_slice(part));
        within(2 * PATIENCE, "the end of the connection", reading).await;
        assert_no_leak("bytes to the client", &got);
        got
    }
}

/// Sends a request and reads the answer at the same time.
pub(super) async fn exchange(
    reader: &mut Reader,
    (mut from, mut to): (impl tokio::io::AsyncRead + Unpin, impl AsyncWrite + Unpin),
    peer: SocketAddr,
    request: &Request,
) -> io::Result<Response> {
    let reading = read(reader, &mut from, &request.method, Instant::now());
    let writing = request.write(peer, &mut to);
    tokio::pin!(reading, writing);
    let both = async {
        tokio::select! {
            answer = &mut reading => answer,
            // After a failed write there may be an answer to read.
            _written = &mut writing => reading.await,
        }
    };
    within(2 * PATIENCE, "an answer", both).await
}

pub(super) async fn read(
    reader: &mut Reader,
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
    method: &str,
    start: Instant,
) -> io::Result<Response> {
    let mut informational = Vec::new();
    let (head, status) = loop {
        let closed = || io::Error::new(io::ErrorKind::UnexpectedEof, "closed without an answer");
        let head = reader.head(stream).await?.ok_or_else(closed)?;
        let start_line = String::from_utf8_lossy(&head.start).into_owned();
        let status = start_line.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
        let status = status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, start_line))?;
        if (100..200).contains(&status) && status != 101 {
            informational.push(head);
        } else {
            break (head, status);
        }
    };
    let head_after = start.elapsed();
    let (mut body, mut body_length) = (Vec::new(), 0);
    let framing = head.response_framing(method, status);
    let ended = reader.body(stream, framing, |part| {
        body_length += part.len() as u64;
        let kept = part.len().min(KEPT - body.len());
        body.extend_from_slice(&part[..kept]);
    });
    let complete = ended.await.unwrap_or(false);
    let raw = std::mem::take(&mut reader.tap);
    assert_no_leak("an answer to the client", &raw);
    assert_no_leak("the body of an answer to the client", &body);
    let ended_after = start.elapsed();
    Ok(Response { head, status, informational, body, body_length, complete, head_after, ended_after, raw })
}

/// Performs one exchange on a new connection.
pub(crate) async fn send(peer: SocketAddr, request: Request) -> Response {
    Connection::open(peer).await.exchange(request).await
}

/// As [`send`], for a connection that may fail.
pub(crate) async fn try_send(peer: SocketAddr, request: Request) -> io::Result<Response> {
    Connection::try_open(peer).await?.try_exchange(request).await
}
