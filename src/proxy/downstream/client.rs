//! The client's side of a connection.
//!
//! Reading and writing are one operation, [`Client::event`]: it writes what is queued, reads the request's body while that
//! is wanted, and sees the client leave in any case. So no phase of an exchange can forget one of the three.
//!
//! - What the client sends beyond the request in hand stays in `input` for its turn, up to [`MAX_EARLY`].
//! - Output is queued and leaves as the client takes it. The feeder stops at [`QUEUE`]. A client that takes nothing for
//!   [`STALL`] is cut, in heads and bodies alike.
//! - A FIN counts as leaving, as far as it can be seen: behind [`MAX_EARLY`] unread bytes only a reset can.

use super::socket::Socket;
use crate::message::Framing;
use crate::message::chunked::{ChunkError, Chunks};
use bytes::{Buf, Bytes, BytesMut};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};
use tokio::time::{Sleep, timeout};

/// Bytes of later requests, or of a body that is not wanted yet, that are read ahead.
const MAX_EARLY: usize = 64 << 10;
/// Queued output at which the feeder stops.
const QUEUE: usize = 64 << 10;
/// A client that takes none of its response for this long is cut.
pub(crate) const STALL: Duration = Duration::from_secs(60);
/// Most heads fit.
const HEAD_BUFFER: usize = 4096;
/// Maximum size of one read of a body.
const BODY_BUFFER: usize = 64 << 10;
/// A lingering close reads for so long, so that the response is not lost to a reset.
const LINGER: Duration = Duration::from_secs(2);

/// A smaller part of a body is copied, so that the input buffer can be used again: a body that drips in must not take a
/// buffer a byte.
const SMALL: usize = 4 << 10;

/// How the body of the request in hand ends.
#[derive(Debug)]
enum Body {
    /// It has ended, or there was none.
    Ended,
    Length(u64),
    Chunked(Chunks),
}

/// An action of the client.
pub(crate) enum Event {
    /// It sent a part of the request's body; with `end`, the last. The last part may be empty.
    Body { part: Bytes, end: bool },
    /// It took output, so that there is room again.
    Room,
}

/// Why a client's request goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClientError {
    /// It closed or reset the connection.
    #[error("the client left")]
    Left,
    /// It did not read its response.
    #[error("the client took none of its response for {STALL:?}")]
    Stalled,
    /// Its body is malformed or too large.
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

/// The events that [`Client::event`] waits for, besides the client's leaving.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wants {
    /// More of the request's body.
    pub(crate) body: bool,
    /// Room for output, where there is none.
    pub(crate) room: bool,
}

/// See the module's documentation.
pub(crate) struct Client {
    socket: Socket,
    /// Its address; none on a unix socket.
    pub(crate) peer: Option<SocketAddr>,
    input: BytesMut,
    body: Body,
    output: BytesMut,
    stall: Option<Pin<Box<Sleep>>>,
    /// A request is in hand. A close that comes now is a reset: an incomplete response must not pass for a whole one.
    is_busy: bool,
    /// Bytes of the body of the request in hand.
    pub(crate) body_bytes: u64,
}

impl Client {
    pub(crate) fn new(socket: Socket, peer: Option<SocketAddr>) -> Self {
        Self {
            socket,
            peer,
            input: BytesMut::new(),
            body: Body::Ended,
            output: BytesMut::new(),
            stall: None,
            is_busy: false,
            body_bytes: 0,
        }
    }

    // Heads.

    /// Bytes that have been read and are not used.
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

    /// A request is in hand, until [`Self::finish`]. A connection that is dropped meanwhile is reset.
    pub(crate) fn start(&mut self) {
        self.is_busy = true;
    }

    /// The request in hand was answered.
    pub(crate) fn finish(&mut self) {
        self.is_busy = false;
    }

    /// The body of the request in hand begins.
    pub(crate) fn begin(&mut self, body: Framing, limit: u64) {
        self.body_bytes = 0;
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

    /// Returns true if bytes are here that were read and are not used.
    pub(crate) fn has_early_bytes(&self) -> bool {
        !self.input.is_empty()
    }

    /// The next event. Cancel safe: what was read or written stays so.
    ///
    /// # Errors
    ///
    /// If the request goes no further.
    pub(crate) async fn event(&mut self, wants: Wants) -> Result<Event, ClientError> {
        loop {
            if let Some(event) = poll_fn(|cx| self.poll_event(cx, wants)).await? {
                return Ok(event);
            }
            // The input is full: only a reset can be seen now.
            if self.output.is_empty() {
                self.socket.broken().await;
                return Err(ClientError::Left);
            }
            poll_fn(|cx| self.poll_drain(cx)).await?;
            if wants.room {
                return Ok(Event::Room);
            }
        }
    }

    /// Resolves when the client has left.
    pub(crate) async fn left(&mut self) -> ClientError {
        loop {
            if let Err(error) = self.event(Wants { body: false, room: false }).await {
                return error;
            }
        }
    }

    /// `None`: the input is full.
    fn poll_event(&mut self, cx: &mut Context<'_>, wants: Wants) -> Poll<Result<Option<Event>, ClientError>> {
        if !self.output.is_empty() {
            let drained = self.poll_drain(cx)?;
            if wants.room && (drained.is_ready() || self.has_room()) {
                return Poll::Ready(Ok(Some(Event::Room)));
            }
        }
        loop {
            // All that is here is read before a part is given out: its FIN may be here as well, and then nothing is sent.
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
            // A client that waits sends nothing, so a few bytes do to see it leave.
            Body::Ended => 64,
            Body::Length(left) => usize::try_from(left).unwrap_or(usize::MAX).clamp(1024, BODY_BUFFER),
            Body::Chunked(_) => BODY_BUFFER,
        };
        // Before the room is made, which may cost a copy of what is there.
        ready!(self.socket.poll_readable(cx))?;
        self.input.reserve(room);
        match ready!(tokio_util::io::poll_read_buf(Pin::new(&mut self.socket), cx, &mut self.input)) {
            Ok(1..) => Poll::Ready(Ok(())),
            Ok(0) | Err(_) => Poll::Ready(Err(ClientError::Left)),
        }
    }

    /// The part of the body that is here, and whether it is the last.
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

    /// Discards the part of the body that is here. A request that is answered without its body can then keep its
    /// connection, if the body is small.
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

    /// Writes `bytes` after what is queued, without a copy as far as the socket takes them at once.
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

    /// Bytes that are queued and have not left.
    pub(crate) fn queued(&self) -> usize {
        self.output.len()
    }

    /// Writes all that is queued.
    pub(crate) async fn flush(&mut self) -> Result<(), ClientError> {
        poll_fn(|cx| self.poll_drain(cx)).await
    }

    /// Pending while the client takes nothing, up to [`STALL`].
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        while !self.output.is_empty() {
            match Pin::new(&mut self.socket).poll_write(cx, &self.output) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.output.advance(n);
                    self.stall = None;
                }
                Poll::Ready(_) => return Poll::Ready(Err(ClientError::Left)),
                Poll::Pending => {
                    let stall = self.stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALL)));
                    ready!(stall.as_mut().poll(cx));
                    return Poll::Ready(Err(ClientError::Stalled));
                }
            }
        }
        Poll::Ready(Ok(()))
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
        // The client may be gone already.
        let _ = timeout(LINGER, farewell).await;
    }

    /// Lends the socket to a tunnel, with what the client sent beyond its request.
    pub(crate) fn lend_to_tunnel(&mut self) -> (&mut Socket, &mut BytesMut) {
        (&mut self.socket, &mut self.input)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.is_busy {
            self.socket.reset_on_close();
        }
    }
}

/// The first `length` bytes of `input`; a large part without a copy.
fn take(input: &mut BytesMut, length: usize) -> Bytes {
    if length >= SMALL {
        return input.split_to(length).freeze();
    }
    let part = Bytes::copy_from_slice(&input[..length]);
    input.advance(length);
    part
}
