//! The client's side of a connection.
//!
//! Reading and writing are one operation, [`Client::event`]: it writes the queued output, reads the request's body if
//! more of it is wanted, and detects in every case that the client has left. No phase of an exchange can omit one of
//! the three.
//!
//! - Bytes beyond the current request stay in `input` until the next one, up to [`MAX_EARLY`].
//! - Output is queued and written as fast as the client reads it. The producer stops at [`QUEUE`]. A client that reads
//!   nothing for [`STALL`] is disconnected, during heads and bodies alike.
//! - A FIN counts as leaving if it can be detected: behind [`MAX_EARLY`] unread bytes only a reset can.

mod read_body;

pub(crate) use read_body::BodyRead;

use crate::message::Framing;
use crate::message::chunked::{ChunkError, Chunks};
use crate::outbound::callers::LastProof;
use crate::socket::Socket;
use crate::x509::PeerCertificate;
use bytes::{Buf, Bytes, BytesMut};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};
use tokio::time::{Sleep, timeout};

/// Maximum number of bytes read ahead: of later requests, or of a body that is not wanted yet.
const MAX_EARLY: usize = 64 << 10;
/// Queued output at which the producer stops.
const QUEUE: usize = 64 << 10;
/// A client that reads none of its response for this long is disconnected.
pub(crate) const STALL: Duration = Duration::from_secs(60);
/// Initial size of the input buffer; most heads fit.
const HEAD_BUFFER: usize = 4096;
/// Size of the first read of a body that is forwarded while it arrives. It doubles while the client fills it.
const FIRST_READ: usize = 16 << 10;
/// Maximum size of one read of a body.
const BODY_BUFFER: usize = 64 << 10;
/// Time for which a lingering close reads, so that the response is not lost to a reset.
const LINGER: Duration = Duration::from_secs(2);

/// A part of a body below this size is copied, so that the input buffer can be reused: otherwise a body that arrives
/// byte by byte would hold one buffer per byte.
const SMALL: usize = 4 << 10;

/// The state of the current request's body.
#[derive(Debug)]
enum Body {
    /// The body has ended, or there was none.
    Ended,
    Length(u64),
    Chunked(Chunks),
}

/// An action of the client.
pub(crate) enum Event {
    /// The client sent a part of the request's body; with `end`, the last. The last part may be empty.
    Body { part: Bytes, end: bool },
    /// The client read output, so there is room again.
    Room,
}

/// Why a client's request goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClientError {
    /// The client closed or reset the connection.
    #[error("the client left")]
    Left,
    /// The client did not read its response.
    #[error("the client took none of its response for {STALL:?}")]
    Stalled,
    /// The client's body is malformed or too large.
    #[error("the request's body cannot be read")]
    Body(#[source] ChunkError),
}

impl ClientError {
    /// The reason for the access log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Left => "client_left",
            Self::Stalled => "client_stalled",
            Self::Body(ChunkError::Malformed) => "malformed_body",
            Self::Body(ChunkError::TooLarge) => "body_too_large",
        }
    }
}

impl From<io::Error> for ClientError {
    fn from(_: io::Error) -> Self {
        Self::Left
    }
}

/// The events that [`Client::event`] waits for, besides the end of the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wants {
    /// More of the request's body.
    pub(crate) body: bool,
    /// Room in the output queue, if it is full.
    pub(crate) room: bool,
}

/// See the module's documentation.
pub(crate) struct Client {
    socket: Socket,
    /// The client's address; none on a unix socket.
    pub(crate) peer: Option<SocketAddr>,
    input: BytesMut,
    body: Body,
    /// Size of the next read of a body.
    next_read: usize,
    output: BytesMut,
    stall: Option<Pin<Box<Sleep>>>,
    /// A request is in progress. Closing now resets the connection: an incomplete response must not look complete.
    is_busy: bool,
    /// Bytes read of the current request's body.
    pub(crate) body_bytes: u64,
    /// The last proof of a caller on this connection.
    pub(crate) last_proof: LastProof,
}

impl Client {
    pub(crate) fn new(socket: Socket, peer: Option<SocketAddr>) -> Self {
        Self {
            socket,
            peer,
            input: BytesMut::new(),
            body: Body::Ended,
            next_read: FIRST_READ,
            output: BytesMut::new(),
            stall: None,
            is_busy: false,
            body_bytes: 0,
            last_proof: LastProof::default(),
        }
    }

    /// Returns true if the connection is encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        self.socket.is_tls()
    }

    /// Returns the certificate that the client has proved to have. `None` on a plain connection, without a certificate,
    /// after its end, and once its authority is no longer in `client_ca`.
    pub(crate) fn certificate(&mut self, now: SystemTime) -> Option<&Arc<PeerCertificate>> {
        self.socket.certificate(now)
    }

    // Heads.

    /// Bytes that were read and not consumed.
    pub(crate) fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// Waits for the first byte of a head. An idle connection holds no buffer meanwhile.
    pub(crate) async fn first_byte(&mut self) -> io::Result<()> {
        if !self.input.is_empty() {
            return Ok(());
        }
        self.input = BytesMut::new();
        self.output = BytesMut::new();
        self.socket.readable().await
    }

    /// Reads more of a head. 0 is the end of the connection.
    pub(crate) async fn more(&mut self) -> io::Result<usize> {
        self.input.reserve(HEAD_BUFFER);
        self.socket.read_buf(&mut self.input).await
    }

    /// Marks a request as in progress until [`Self::finish`]. A connection dropped in between is reset.
    pub(crate) fn start(&mut self) {
        self.is_busy = true;
    }

    /// Marks the current request as answered.
    pub(crate) fn finish(&mut self) {
        self.is_busy = false;
    }

    /// Begins the body of the current request.
    pub(crate) fn begin(&mut self, body: Framing, limit: u64) {
        self.body_bytes = 0;
        self.next_read = FIRST_READ;
        self.body = match body {
            Framing::Empty | Framing::UntilClose | Framing::Length(0) => Body::Ended,
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked(Chunks::new(limit)),
        };
    }

    // Bodies.

    /// Returns true if the request's body was read to its end.
    pub(crate) fn body_has_ended(&self) -> bool {
        matches!(self.body, Body::Ended)
    }

    /// Returns true if unconsumed bytes were read.
    pub(crate) fn has_early_bytes(&self) -> bool {
        !self.input.is_empty()
    }

    /// Returns the next event. Cancel safe: bytes that were read or written stay so.
    ///
    /// # Errors
    ///
    /// If the client left, stalled, or its body cannot be read.
    pub(crate) async fn event(&mut self, wants: Wants) -> Result<Event, ClientError> {
        loop {
            if let Some(event) = poll_fn(|cx| self.poll_event(cx, wants)).await? {
                return Ok(event);
            }
            // The input is full: only a reset can be detected now.
            if !self.has_output() {
                self.socket.broken().await;
                return Err(ClientError::Left);
            }
            poll_fn(|cx| self.poll_drain(cx)).await?;
            if wants.room {
                return Ok(Event::Room);
            }
        }
    }

    /// Resolves once the client has left.
    pub(crate) async fn left(&mut self) -> ClientError {
        loop {
            if let Err(error) = self.event(Wants { body: false, room: false }).await {
                return error;
            }
        }
    }

    /// Polls for an event. `None`: the input is full.
    fn poll_event(&mut self, cx: &mut Context<'_>, wants: Wants) -> Poll<Result<Option<Event>, ClientError>> {
        if self.has_output() {
            let drained = self.poll_drain(cx)?;
            if wants.room && (drained.is_ready() || self.has_room()) {
                return Poll::Ready(Ok(Some(Event::Room)));
            }
        }
        loop {
            // Everything available is read before a part is returned: a FIN may follow it, and then nothing is sent
            // upstream.
            while !self.is_full() && self.poll_fill(cx)?.is_ready() {}
            let was_full = self.is_full();
            if wants.body
                && let Some((part, end)) = self.next_part()?
            {
                return Poll::Ready(Ok(Some(Event::Body { part, end })));
            }
            if !was_full {
                return Poll::Pending;
            }
            if self.is_full() {
                return Poll::Ready(Ok(None));
            }
        }
    }

    fn is_full(&self) -> bool {
        self.input.len() >= MAX_EARLY
    }

    /// Reads once into the input.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        let room = match self.body {
            // A waiting client sends nothing, so a small buffer is enough to detect that it leaves.
            Body::Ended => 64,
            Body::Length(left) => usize::try_from(left).unwrap_or(usize::MAX).clamp(1024, self.next_read),
            Body::Chunked(_) => self.next_read,
        };
        // Checked before the buffer is enlarged, which may copy its content.
        ready!(self.socket.poll_readable(cx))?;
        self.make_room(room);
        let room = self.input.capacity() - self.input.len();
        match ready!(tokio_util::io::poll_read_buf(Pin::new(&mut self.socket), cx, &mut self.input)) {
            Ok(read @ 1..) => {
                if read == room {
                    self.next_read = (self.next_read * 2).min(BODY_BUFFER);
                }
                Poll::Ready(Ok(()))
            }
            Ok(0) | Err(_) => Poll::Ready(Err(ClientError::Left)),
        }
    }

    /// Makes room for the next read. A buffer whose parts are kept elsewhere is used up before another is allocated, since
    /// each part keeps the whole buffer.
    fn make_room(&mut self, room: usize) {
        if !self.input.try_reclaim(room) && self.input.capacity() - self.input.len() < room.min(SMALL) {
            self.input.reserve(room);
        }
    }

    /// Returns the available part of the body, and true if it is the last.
    fn next_part(&mut self) -> Result<Option<(Bytes, bool)>, ClientError> {
        let (part, end) = match &mut self.body {
            Body::Ended => return Ok(None),
            Body::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(self.input.len());
                *left -= here as u64;
                (take(&mut self.input, here), *left == 0)
            }
            Body::Chunked(chunks) => {
                let mut part = BytesMut::new();
                let end = chunks.take(&mut self.input, &mut part).map_err(ClientError::Body)?;
                (part.freeze(), end)
            }
        };
        if end {
            self.body = Body::Ended;
        }
        self.body_bytes += part.len() as u64;
        Ok((end || !part.is_empty()).then_some((part, end)))
    }

    /// Discards the available part of the body, so that a request that is answered without reading its body can keep
    /// its connection if the body is small.
    pub(crate) fn discard_body(&mut self) {
        while let Ok(Some((_, false))) = self.next_part() {}
    }

    // Output.

    /// Queues output. Nothing is written before the next [`Self::event`] or [`Self::flush`].
    pub(crate) fn queue(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Returns true if more output should be queued.
    pub(crate) fn has_room(&self) -> bool {
        self.output.len() < QUEUE
    }

    /// Writes `bytes` after the queued output, without copying what the socket takes at once.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let mut rest = bytes;
        if self.output.is_empty() {
            let written = poll_fn(|cx| match Pin::new(&mut self.socket).poll_write(cx, bytes) {
                Poll::Ready(written) => Poll::Ready(written),
                Poll::Pending => Poll::Ready(Ok(0)),
            });
            rest = &bytes[written.await?..];
        }
        self.output.extend_from_slice(rest);
        Ok(())
    }

    /// Bytes that are queued and not yet written.
    pub(crate) fn queued(&self) -> usize {
        self.output.len()
    }

    /// Returns true if output is queued, or waits encrypted.
    fn has_output(&self) -> bool {
        !self.output.is_empty() || self.socket.holds_output()
    }

    /// Writes the whole queue.
    pub(crate) async fn flush(&mut self) -> Result<(), ClientError> {
        poll_fn(|cx| self.poll_drain(cx)).await
    }

    /// Writes the queue. Pending while the client reads nothing, up to [`STALL`].
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        while !self.output.is_empty() {
            match Pin::new(&mut self.socket).poll_write(cx, &self.output) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.output.advance(n);
                    self.stall = None;
                }
                Poll::Ready(_) => return Poll::Ready(Err(ClientError::Left)),
                Poll::Pending => return self.poll_stall(cx),
            }
        }
        if self.socket.holds_output() { self.poll_encrypted(cx) } else { Poll::Ready(Ok(())) }
    }

    /// Writes what TLS holds: it takes more than the network does.
    #[cold]
    fn poll_encrypted(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        let before = self.socket.sent();
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        if self.socket.sent() > before {
            self.stall = None;
        }
        match flushed {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(_)) => Poll::Ready(Err(ClientError::Left)),
            Poll::Pending => self.poll_stall(cx),
        }
    }

    /// Pending until the client has taken nothing for [`STALL`].
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALL)));
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(ClientError::Stalled))
    }

    // Its end.

    /// Ends the connection in stages (RFC 9112 section 9.6): reads until the client closes, for up to [`LINGER`], so that the
    /// response is not lost to a RST.
    pub(crate) async fn close(mut self) {
        let farewell = async {
            self.flush().await.map_err(io::Error::other)?;
            self.socket.shutdown().await?;
            self.input = BytesMut::new();
            loop {
                self.input.clear();
                self.input.reserve(HEAD_BUFFER);
                if self.socket.read_buf(&mut self.input).await? == 0 {
                    return io::Result::Ok(());
                }
            }
        };
        // The client may have closed already.
        let _ = timeout(LINGER, farewell).await;
    }

    /// Lends the socket to a tunnel, with the bytes that the client sent after its request.
    pub(crate) fn lend_to_tunnel(&mut self) -> (&mut Socket, &mut BytesMut) {
        (&mut self.socket, &mut self.input)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.is_busy {
            self.socket.reset_on_close();
        } else {
            self.socket.close_notify();
        }
    }
}

/// Returns the first `length` bytes of `input`; a large part without a copy.
fn take(input: &mut BytesMut, length: usize) -> Bytes {
    if length >= SMALL {
        return input.split_to(length).freeze();
    }
    let part = Bytes::copy_from_slice(&input[..length]);
    input.advance(length);
    part
}
