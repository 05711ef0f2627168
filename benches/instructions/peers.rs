//! The two ends of a request: a client with one connection, and a stub that acts as upstream, receiver and token
//! endpoint.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const RESPONSE: &str = "HTTP/1.1 200 OK\r\nDate: Thu, 26 Nov 2026 12:00:00 GMT\r\nContent-Type: application/json\r\n\
    Content-Length: 204\r\nCache-Control: no-store\r\nETag: \"0123456789abcdef\"\r\nServer: stub\r\nVary: Accept\r\n\r\n";
const BODY_LEN: usize = 204;

/// A server on its own port. Its tasks end when it is dropped.
pub(crate) struct Stub {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Stub {
    pub(crate) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // An error ends the connection, and the client's exchange fails.
                connections.spawn(async move { serve(stream).await.unwrap_or_default() });
            }
        });
        Ok(Self { address, _tasks: tasks })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(stream: TcpStream) -> io::Result<()> {
    let response = [RESPONSE.as_bytes(), &[b'x'; BODY_LEN]].concat();
    // Valid for longer than a run takes.
    let token =
        format!(r#"{{"access_token":"{}","token_type":"Bearer","expires_in":86400}}"#, "t".repeat(64));
    let token = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nContent-Length: {}\r\n\r\n{token}",
        token.len()
    );
    let mut peer = Messages::new(stream)?;
    while let Some(is_token_request) = peer.next(|head| head.starts_with(b"POST /token ")).await? {
        peer.stream.write_all(if is_token_request { token.as_bytes() } else { &response }).await?;
    }
    Ok(())
}

/// The client.
pub(crate) struct Load(Messages);

impl Load {
    pub(crate) async fn connect(to: SocketAddr) -> io::Result<Self> {
        Messages::new(TcpStream::connect(to).await?).map(Self)
    }

    /// Sends `request` and reads its response, which must be a 200.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<(), Box<dyn Error>> {
        self.0.stream.write_all(request).await?;
        let head = self.0.next(|head| String::from_utf8_lossy(head).into_owned()).await?;
        match head {
            Some(head) if head.starts_with("HTTP/1.1 200 ") => Ok(()),
            Some(head) => Err(format!("not a 200: {head}").into()),
            None => Err("attache closed the connection".into()),
        }
    }
}

/// Messages with a `Content-Length` or without a body, one after the other.
struct Messages {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Messages {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::with_capacity(32 << 10) })
    }

    /// Reads a complete message and returns the result of `look` for its head. `None`: the peer closed.
    async fn next<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> io::Result<Option<T>> {
        self.read.clear();
        let head = loop {
            if let Some(at) = self.read.windows(4).position(|end| end == b"\r\n\r\n") {
                break at + 4;
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Ok(None);
            }
        };
        let end = head + content_length(&self.read[..head]);
        while self.read.len() < end {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Some(look(&self.read[..head])))
    }
}

fn content_length(head: &[u8]) -> usize {
    let text = String::from_utf8_lossy(head);
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths.next().and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0)
}
