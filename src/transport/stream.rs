//! One connection to a server, as the engine's session uses it: it counts, writes behind, and can be held back.
//!
//! - **Counting.** Bytes that the connection below took and gave, above TLS. Whether a request may be sent again is
//!   decided from these alone. TLS session tickets do not count as read; bytes that rustls buffered count as written,
//!   which is the safe direction.
//! - **Write-behind.** A write never waits. Bytes that the socket does not take are kept and leave while the response is
//!   read, or by [`Wire::driven_below`]. So one session can send and receive at the same time, and neither a server that
//!   answers without reading nor a client that does not read can stall the other direction. The feeder stops at
//!   [`BEHIND`].
//! - **Holding.** While held, writes are gathered, so that a head and a small body leave as one segment.
//!
//! The session owns its stream and lends it as a shared reference only, so the connection stands behind a lock that the
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

/// Bytes written behind at which a feeder should wait.
pub(crate) const BEHIND: usize = 64 << 10;
/// Bytes of response heads that are read, interim ones included.
pub(crate) const MAX_HEAD: usize = 64 << 10;

/// The socket, with TLS or without.
pub(crate) enum Io {
    /// Plain.
    Tcp(TcpStream),
    /// With TLS.
    Tls(Box<TlsConnection>),
}

/// The effect of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// They leave, as far as the socket takes them.
    Flowing,
    /// They are dropped: the session writes a head that stands for another one.
    Discarding,
    /// They are gathered.
    Held,
    /// They wait until the server takes them, as on any socket.
    Tunnel,
    /// One has failed. The rest of the request is discarded; the response may still be readable.
    Broken,
}

struct Inner {
    io: Io,
    behind: BytesMut,
    mode: Mode,
    /// Something was written and not yet flushed: TLS keeps records back that the socket did not take.
    is_unflushed: bool,
    written: u64,
    read: u64,
    /// Bytes that may still be read before the final head is complete.
    head_budget: usize,
    /// A request is in hand. A close that comes now is a reset: what the kernel holds of the request must not reach the
    /// server after its client has left, or after the deadline.
    resets_on_close: bool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.resets_on_close {
            // Fails only on a connection that is gone.
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
            mode: Mode::Flowing,
            is_unflushed: false,
            written: 0,
            read: 0,
            head_budget: MAX_HEAD,
            resets_on_close: false,
        }))))
    }

    /// Takes the connection out of an engine's stream, which is one of these.
    pub(crate) fn take(stream: Stream) -> Option<Box<Self>> {
        stream.into_any().downcast().ok()
    }

    /// The exchange's handle.
    pub(crate) fn wire(&self) -> Wire {
        self.0.clone()
    }
}

impl Wire {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts counting anew: the connection carries another request.
    pub(crate) fn renew(&self) {
        let mut inner = self.lock();
        (inner.written, inner.read, inner.head_budget) = (0, 0, MAX_HEAD);
    }

    /// Bytes of the request that the connection took, and of the response that came.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.written, inner.read)
    }

    /// Bytes of the request that wait to be written.
    pub(crate) fn behind(&self) -> usize {
        self.lock().behind.len()
    }

    /// Returns true if every byte that was accepted has left, so that the connection may carry another request.
    pub(crate) fn is_drained(&self) -> bool {
        let inner = self.lock();
        inner.behind.is_empty() && inner.mode == Mode::Flowing
    }

    /// A request begins. Drops writes until [`Self::hold_behind`].
    pub(crate) fn begin(&self) {
        self.set(Mode::Discarding);
        self.lock().resets_on_close = true;
    }

    /// The request has ended as it should.
    pub(crate) fn end(&self) {
        self.lock().resets_on_close = false;
    }

    /// Gathers writes behind `head` until [`Self::let_go`].
    pub(crate) fn hold_behind(&self, head: BytesMut) {
        let mut inner = self.lock();
        if inner.mode != Mode::Broken {
            (inner.mode, inner.behind, inner.is_unflushed) = (Mode::Held, head, true);
        }
    }

    /// Gathers writes until [`Self::let_go`].
    pub(crate) fn hold(&self) {
        self.set(Mode::Held);
    }

    /// Lets gathered writes leave with the next read, write or flush.
    pub(crate) fn let_go(&self) {
        self.set(Mode::Flowing);
    }

    /// From here on the connection is a tunnel: writes wait until the server takes them.
    pub(crate) fn become_tunnel(&self) {
        self.set(Mode::Tunnel);
        self.end();
    }

    fn set(&self, mode: Mode) {
        let mut inner = self.lock();
        if inner.mode != Mode::Broken {
            inner.mode = mode;
        }
    }

    /// The final head is complete: what follows is not bounded as a head is.
    pub(crate) fn head_is_complete(&self) {
        self.lock().head_budget = usize::MAX;
    }

    /// Ready once less than `full` waits to be written. It registers no waker: reading does the writing, so poll it after
    /// the read.
    pub(crate) async fn falls_below(&self, full: usize) {
        poll_fn(|_| if self.behind() < full { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// As [`Self::falls_below`], where nothing is read meanwhile: it does the writing itself. Never ready with a `full` of 0.
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
    /// Writes what waits, as far as the socket takes it. Never pending; a failure is remembered.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if matches!(self.mode, Mode::Held | Mode::Discarding) {
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
        self.mode = Mode::Broken;
        self.behind = BytesMut::new();
        self.is_unflushed = false;
    }

    fn check(&self) -> io::Result<()> {
        if self.mode == Mode::Broken { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
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
            // The end of a tunnel over TLS, without a close_notify.
            Poll::Ready(Err(error))
                if self.mode == Mode::Tunnel && error.kind() == io::ErrorKind::UnexpectedEof =>
            {
                Poll::Ready(Ok(()))
            }
            poll => poll,
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.mode == Mode::Tunnel && !self.behind.is_empty() {
            self.drive(cx);
            if !self.behind.is_empty() {
                return Poll::Pending;
            }
        }
        self.check()?;
        if self.mode == Mode::Discarding {
            return Poll::Ready(Ok(bytes.len()));
        }
        self.is_unflushed = true;
        if self.behind.is_empty() && self.mode != Mode::Held {
            match self.io.poll_write(cx, bytes) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.written += n as u64;
                    return Poll::Ready(Ok(n));
                }
                Poll::Ready(_) => {
                    self.fail();
                    return Poll::Ready(self.check().map(|()| 0));
                }
                Poll::Pending if self.mode == Mode::Tunnel => return Poll::Pending,
                Poll::Pending => {}
            }
        }
        self.behind.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.drive(cx);
        if self.mode == Mode::Tunnel && self.is_unflushed {
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

/// Without what is buffered: the engine may print a stream.
impl fmt::Debug for ServerStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerStream")
    }
}

impl UniqueID for ServerStream {
    /// The descriptor: the engine's pool knows a connection by it.
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
