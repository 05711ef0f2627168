//! One connection to an upstream, as the engine's session uses it: it counts bytes, writes without waiting, and can be
//! corked.
//!
//! - **Counting.** Bytes that the connection below took and returned, above TLS. These counts alone
//!   decide if a request may be sent again. TLS session tickets do not count as read; bytes that rustls buffered count as
//!   written, which is the safe direction.
//! - **Write-behind.** A write never waits. Bytes that the socket does not take are queued and leave while the response
//!   is read, or by [`Wire::driven_below`]. So one session can send and receive at the same time, and neither a server
//!   that answers without reading nor a client that does not read can stall the other direction. The producer stops at
//!   [`BEHIND`].
//! - **Holding.** While held, writes are gathered, so that a head and a small body leave as one segment.
//!
//! The session owns its stream and lends it as a shared reference only, so the connection is behind a lock that the
//! exchange shares. Only the task of the exchange takes it, never across an await: it is never contended.

use super::tls::TlsConnection;
use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID,
};
use socket2::SockRef;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Number of queued bytes at which a producer should wait.
pub(crate) const BEHIND: usize = 64 << 10;
/// Maximum number of bytes of response heads, interim ones included.
pub(crate) const MAX_HEAD: usize = 64 << 10;

/// The socket, with TLS or without.
pub(crate) enum Io {
    /// Plain.
    Tcp(TcpStream),
    /// With TLS.
    Tls(Box<TlsConnection>),
}

/// The treatment of written bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StreamMode {
    /// They are sent, as far as the socket takes them.
    Flowing,
    /// They are dropped: the session writes a placeholder head.
    Discarding,
    /// They are gathered.
    Held,
    /// Writing waits until the server takes them, as on any socket.
    Tunnel,
    /// A write has failed. The rest of the request is discarded; the response may still be readable.
    Broken,
}

struct Inner {
    io: Io,
    behind: BytesMut,
    mode: StreamMode,
    /// Bytes were written and not yet flushed: TLS buffers records that the socket did not take.
    is_unflushed: bool,
    written: u64,
    read: u64,
    /// Bytes that may still be read before the final head has to be complete.
    head_budget: usize,
    /// A request is in progress. Closing now resets the connection: request bytes in the kernel's buffer must not reach
    /// the server after the client has left, or after the deadline.
    resets_on_close: bool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.resets_on_close {
            // Fails only on a closed connection.
            let _ = SockRef::from(self.io.socket()).set_linger(Some(Duration::ZERO));
        }
    }
}

/// The exchange's handle of a connection.
#[derive(Clone)]
pub(crate) struct Wire(Arc<Mutex<Inner>>);

/// The session's handle of a connection. See the module's documentation.
pub(crate) struct ServerStream(Wire);

/// A response head larger than [`MAX_HEAD`].
#[derive(Debug, thiserror::Error)]
#[error("the response head is larger than {MAX_HEAD} bytes")]
pub(crate) struct HeadTooLarge;

impl ServerStream {
    /// Wraps a connection that carries no request yet.
    pub(crate) fn new(io: Io) -> Self {
        Self(Wire(Arc::new(Mutex::new(Inner {
            io,
            behind: BytesMut::new(),
            mode: StreamMode::Flowing,
            is_unflushed: false,
            written: 0,
            read: 0,
            head_budget: MAX_HEAD,
            resets_on_close: false,
        }))))
    }

    /// Returns the connection inside an engine's stream, which must be of this type.
    pub(crate) fn take(stream: Stream) -> Option<Box<Self>> {
        stream.into_any().downcast().ok()
    }

    /// Returns the exchange's handle.
    pub(crate) fn wire(&self) -> Wire {
        self.0.clone()
    }
}

impl Wire {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resets the counts: the connection serves another request.
    pub(crate) fn renew(&self) {
        let mut inner = self.lock();
        (inner.written, inner.read, inner.head_budget) = (0, 0, MAX_HEAD);
    }

    /// Returns the number of request bytes that the connection took, and of response bytes that arrived.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.written, inner.read)
    }

    /// Returns the number of request bytes that wait to be written.
    pub(crate) fn behind(&self) -> usize {
        self.lock().behind.len()
    }

    /// Returns true if every accepted byte was written, so that the connection may serve another request.
    pub(crate) fn is_drained(&self) -> bool {
        let inner = self.lock();
        inner.behind.is_empty() && inner.mode == StreamMode::Flowing
    }

    /// Begins a request. Drops writes until [`Self::hold_behind`].
    pub(crate) fn begin(&self) {
        self.set(StreamMode::Discarding);
        self.lock().resets_on_close = true;
    }

    /// Ends a request that completed.
    pub(crate) fn end(&self) {
        self.lock().resets_on_close = false;
    }

    /// Gathers writes behind `head` until [`Self::let_go`].
    pub(crate) fn hold_behind(&self, head: BytesMut) {
        let mut inner = self.lock();
        if inner.mode != StreamMode::Broken {
            (inner.mode, inner.behind, inner.is_unflushed) = (StreamMode::Held, head, true);
        }
    }

    /// Gathers writes until [`Self::let_go`].
    pub(crate) fn hold(&self) {
        self.set(StreamMode::Held);
    }

    /// Lets gathered writes leave with the next read, write or flush.
    pub(crate) fn let_go(&self) {
        self.set(StreamMode::Flowing);
    }

    /// Turns the connection into a tunnel: writes wait until the server takes them.
    pub(crate) fn become_tunnel(&self) {
        self.set(StreamMode::Tunnel);
        self.end();
    }

    fn set(&self, mode: StreamMode) {
        let mut inner = self.lock();
        if inner.mode != StreamMode::Broken {
            inner.mode = mode;
        }
    }

    /// Records that the final head is complete: the limit for heads no longer applies.
    pub(crate) fn head_is_complete(&self) {
        self.lock().head_budget = usize::MAX;
    }

    /// Ready once less than `full` waits to be written. It registers no waker: reading performs the writing, so poll it
    /// after the read.
    pub(crate) async fn falls_below(&self, full: usize) {
        poll_fn(|_| if self.behind() < full { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Writes the queue while nothing is read, and is ready once less than `full` bytes are queued. With 0 it is never
    /// ready.
    pub(crate) async fn driven_below(&self, full: usize) {
        poll_fn(|cx| {
            let mut inner = self.lock();
            inner.drive(cx);
            if inner.behind.len() < full { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl Inner {
    /// Writes the queue as far as the socket takes it. Never pending; a failure is stored.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if matches!(self.mode, StreamMode::Held | StreamMode::Discarding) {
            return;
        }
        while !self.behind.is_empty() {
            match self.io.poll_write(cx, &self.behind) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.written += n as u64;
                    self.behind.advance(n);
                }
                Poll::Ready(_) => self.fail(),
                Poll::Pending => return,
            }
        }
        match self.io.poll_flush(cx) {
            Poll::Ready(Ok(())) => self.is_unflushed = false,
            Poll::Ready(Err(_)) => self.fail(),
            Poll::Pending => {}
        }
    }

    fn fail(&mut self) {
        self.mode = StreamMode::Broken;
        self.behind = BytesMut::new();
        self.is_unflushed = false;
    }

    fn check(&self) -> io::Result<()> {
        if self.mode == StreamMode::Broken { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_unflushed {
            self.drive(cx);
        }
        if self.head_budget == 0 {
            return Poll::Ready(Err(io::Error::other(HeadTooLarge)));
        }
        let before = buf.filled().len();
        let poll = self.io.poll_read(cx, buf);
        let n = buf.filled().len() - before;
        self.read += n as u64;
        if self.head_budget != usize::MAX {
            self.head_budget = self.head_budget.saturating_sub(n);
        }
        match poll {
            // A tunnel over TLS ended without a close_notify.
            Poll::Ready(Err(error))
                if self.mode == StreamMode::Tunnel && error.kind() == io::ErrorKind::UnexpectedEof =>
            {
                Poll::Ready(Ok(()))
            }
            poll => poll,
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.mode == StreamMode::Tunnel && !self.behind.is_empty() {
            self.drive(cx);
            if !self.behind.is_empty() {
                return Poll::Pending;
            }
        }
        self.check()?;
        if self.mode == StreamMode::Discarding {
            return Poll::Ready(Ok(bytes.len()));
        }
        self.is_unflushed = true;
        if self.behind.is_empty() && self.mode != StreamMode::Held {
            match self.io.poll_write(cx, bytes) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.written += n as u64;
                    return Poll::Ready(Ok(n));
                }
                Poll::Ready(_) => {
                    self.fail();
                    return Poll::Ready(self.check().map(|()| 0));
                }
                Poll::Pending if self.mode == StreamMode::Tunnel => return Poll::Pending,
                Poll::Pending => {}
            }
        }
        self.behind.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.drive(cx);
        if self.mode == StreamMode::Tunnel && self.is_unflushed {
            return Poll::Pending;
        }
        Poll::Ready(self.check())
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        if self.behind.is_empty() { self.io.poll_shutdown(cx) } else { Poll::Pending }
    }
}

impl Io {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0.get_ref(),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncRead for ServerStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll_read(cx, buf)
    }
}

impl AsyncWrite for ServerStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll_shutdown(cx)
    }
}

/// Prints no buffered bytes: the engine may print a stream.
impl fmt::Debug for ServerStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerStream")
    }
}

impl UniqueID for ServerStream {
    /// Returns the descriptor, by which the engine's pool identifies a connection.
    fn id(&self) -> i32 {
        self.0.lock().io.socket().as_raw_fd()
    }
}

#[async_trait]
impl Shutdown for ServerStream {
    async fn shutdown(&mut self) {}
}

impl Ssl for ServerStream {}
impl Peek for ServerStream {}

impl GetTimingDigest for ServerStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for ServerStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for ServerStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}
