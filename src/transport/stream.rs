//! One connection to a server, as the engine's session uses it: it counts, writes behind, and can be held back.
//!
//! - **Counting.** Bytes that the connection below took and gave, above TLS. Whether a request may be sent again is
//!   decided from these alone. TLS session tickets do not count as read; what rustls buffered counts as written, which is
//!   the safe direction.
//! - **Write-behind.** A write never waits. What the socket does not take is kept and leaves while the response is read,
//!   so one session can send and receive at the same time, and a server that answers without reading cannot stall the
//!   exchange. The feeder stops at [`BEHIND`].
//! - **Holding.** While held, writes are gathered, so that a head and a small body leave as one segment.

use super::tls::TlsConnection;
use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora::protocols::l4::stream::Stream as Tcp;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID,
};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes written behind at which a feeder should wait.
pub(crate) const BEHIND: usize = 64 << 10;
/// Bytes of response heads that are read, interim ones included.
pub(crate) const MAX_HEAD: usize = 64 << 10;

/// The socket, with TLS or without.
#[expect(
    clippy::large_enum_variant,
    reason = "the connection is boxed as a whole, and TLS is the larger one"
)]
pub(crate) enum Io {
    /// Plain.
    Tcp(Tcp),
    /// With TLS.
    Tls(Box<TlsConnection>),
}

/// See the module's documentation.
pub(crate) struct ServerStream {
    io: Io,
    behind: BytesMut,
    /// The length of `behind`, for the feeder.
    level: Level,
    /// Something was written and not yet flushed: TLS keeps records back that the socket did not take.
    is_unflushed: bool,
    /// A tunnel: writes wait, as on any socket.
    is_tunnel: bool,
    /// A write failed; the rest of the request is discarded, and the response may still be readable.
    broken: bool,
    written: u64,
    read: u64,
    /// Behind a lock-free cell, because the session lends its stream as a shared reference only.
    held: AtomicBool,
    /// Bytes that may still be read before the final head is complete.
    head_budget: AtomicUsize,
}

/// How many bytes are written behind: shared with the feeder, which has no access to the stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Level(Arc<AtomicUsize>);

impl Level {
    /// Bytes that wait to be written.
    pub(crate) fn get(&self) -> usize {
        self.0.load(Relaxed)
    }

    fn set(&self, bytes: usize) {
        self.0.store(bytes, Relaxed);
    }

    /// Ready once there is room. It has no waker of its own: reading does the writing, so poll it after the read.
    pub(crate) fn drained(&self) -> impl Future<Output = ()> {
        poll_fn(|_| if self.get() < BEHIND { Poll::Ready(()) } else { Poll::Pending })
    }
}

/// A response head larger than [`MAX_HEAD`].
#[derive(Debug, thiserror::Error)]
#[error("the response head is larger than {MAX_HEAD} bytes")]
pub(crate) struct HeadTooLarge;

impl ServerStream {
    /// Wraps a connection that carries no request yet.
    pub(crate) fn new(io: Io) -> Self {
        Self {
            io,
            behind: BytesMut::new(),
            level: Level::default(),
            is_unflushed: false,
            is_tunnel: false,
            broken: false,
            written: 0,
            read: 0,
            held: AtomicBool::new(false),
            head_budget: AtomicUsize::new(MAX_HEAD),
        }
    }

    /// The connection inside an engine's stream, which is one of these.
    pub(crate) fn of(stream: &Stream) -> Option<&Self> {
        (**stream).as_any().downcast_ref()
    }

    /// Takes the connection out of an engine's stream.
    pub(crate) fn take(stream: Stream) -> Option<Box<Self>> {
        stream.into_any().downcast().ok()
    }

    /// Starts counting anew: the connection carries another request.
    pub(crate) fn renew(&mut self) {
        self.written = 0;
        self.read = 0;
        *self.head_budget.get_mut() = MAX_HEAD;
    }

    /// Bytes of the request that the connection took.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Bytes of the response that came.
    pub(crate) fn read(&self) -> u64 {
        self.read
    }

    /// How many bytes of the request wait to be written.
    pub(crate) fn level(&self) -> Level {
        self.level.clone()
    }

    /// From here on the connection is a tunnel: writes wait until the server takes them.
    pub(crate) fn become_tunnel(&mut self) {
        self.is_tunnel = true;
    }

    /// Returns true if every byte that was accepted has left, so that the connection may carry another request.
    pub(crate) fn is_drained(&self) -> bool {
        self.behind.is_empty() && !self.broken
    }

    /// Gathers writes until [`Self::let_go`].
    pub(crate) fn hold(&self) {
        self.held.store(true, Relaxed);
    }

    /// Lets gathered writes leave with the next read, write or flush.
    pub(crate) fn let_go(&self) {
        self.held.store(false, Relaxed);
    }

    /// The final head is complete: what follows is not bounded as a head is.
    pub(crate) fn head_is_complete(&self) {
        self.head_budget.store(usize::MAX, Relaxed);
    }

    /// Writes what waits, as far as the socket takes it. Never pending; a failure is remembered.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if *self.held.get_mut() {
            return;
        }
        while !self.behind.is_empty() {
            match self.io.poll_write(cx, &self.behind) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.written += n as u64;
                    self.behind.advance(n);
                }
                Poll::Ready(_) => self.fail(),
                Poll::Pending => return self.level.set(self.behind.len()),
            }
        }
        self.level.set(0);
        match self.io.poll_flush(cx) {
            Poll::Ready(Ok(())) => self.is_unflushed = false,
            Poll::Ready(Err(_)) => self.fail(),
            Poll::Pending => {}
        }
    }

    fn fail(&mut self) {
        self.broken = true;
        self.behind = BytesMut::new();
        self.level.set(0);
    }
}

impl Io {
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
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_unflushed {
            self.drive(cx);
        }
        if *self.head_budget.get_mut() == 0 {
            return Poll::Ready(Err(io::Error::other(HeadTooLarge)));
        }
        let before = buf.filled().len();
        let poll = self.io.poll_read(cx, buf);
        let n = buf.filled().len() - before;
        self.read += n as u64;
        let budget = self.head_budget.get_mut();
        if *budget != usize::MAX {
            *budget = budget.saturating_sub(n);
        }
        poll
    }
}

impl AsyncWrite for ServerStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_tunnel && !self.behind.is_empty() {
            self.drive(cx);
            if !self.behind.is_empty() {
                return Poll::Pending;
            }
        }
        if self.broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.is_unflushed = true;
        if self.behind.is_empty() && !*self.held.get_mut() {
            match self.io.poll_write(cx, bytes) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.written += n as u64;
                    return Poll::Ready(Ok(n));
                }
                Poll::Ready(_) => {
                    self.fail();
                    return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                }
                Poll::Pending if self.is_tunnel => return Poll::Pending,
                Poll::Pending => {}
            }
        }
        self.behind.extend_from_slice(bytes);
        self.level.set(self.behind.len());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.drive(cx);
        if self.is_tunnel && self.is_unflushed && !self.broken {
            return Poll::Pending;
        }
        Poll::Ready(if self.broken { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) })
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.drive(cx);
        if !self.behind.is_empty() {
            return Poll::Pending;
        }
        self.io.poll_shutdown(cx)
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
        match &self.io {
            Io::Tcp(stream) => stream.id(),
            Io::Tls(stream) => stream.get_ref().0.id(),
        }
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
