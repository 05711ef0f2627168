//! The socket of a client of a listener: TCP or unix, with or without TLS.
//!
//! [`Acceptor`] performs the handshakes of one listener.

mod acceptor;
mod failures;
mod settings;
mod tls;

pub(crate) use acceptor::{Acceptor, HandshakeError};
pub(crate) use failures::HandshakeFailure;
pub(crate) use settings::SettingsError;
pub(crate) use tls::ClientIdentity;

use crate::x509::PeerCertificate;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};
use tls::TlsSocket;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A TCP or unix socket, or TLS over one of them.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Boxed, so that a plain connection does not hold its memory.
    Tls(Box<TlsSocket>),
}

impl Socket {
    /// Waits until the socket is readable or at its end.
    pub(crate) async fn readable(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Unix(stream) => stream.readable().await,
            Self::Tls(socket) => poll_fn(|cx| socket.poll_readable(cx)).await,
        }
    }

    /// Ready once the socket is readable or at its end.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
            Self::Tls(socket) => socket.poll_readable(cx),
        }
    }

    /// Waits until the connection is broken, for example by a reset. Detects it behind unread data, where a FIN is
    /// invisible.
    pub(crate) async fn broken(&self) {
        // An error while waiting is an error of the socket.
        let _ = match self.raw() {
            Self::Tcp(stream) => stream.ready(Interest::ERROR).await,
            Self::Unix(stream) => stream.ready(Interest::ERROR).await,
            Self::Tls(_) => return,
        };
    }

    /// Makes the next close a reset, which discards the kernel's send buffer. A unix socket needs none: its close
    /// discards the buffer.
    pub(crate) fn reset_on_close(&self) {
        if let Self::Tcp(stream) = self.raw() {
            // Fails only on a closed connection.
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Returns true if written bytes are waiting in the TLS session: they leave by [`AsyncWrite::poll_flush`].
    pub(crate) fn holds_output(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => false,
            Self::Tls(socket) => socket.holds_output(),
        }
    }

    /// Returns the number of bytes that TLS has written to the network, to tell a slow client from a stalled one.
    pub(crate) fn sent(&self) -> u64 {
        match self {
            Self::Tcp(_) | Self::Unix(_) => 0,
            Self::Tls(socket) => socket.sent(),
        }
    }

    /// Tells a TLS client that the connection ends, if the kernel takes the message at once.
    pub(crate) fn close_notify(&mut self) {
        if let Self::Tls(socket) = self {
            socket.close_notify();
        }
    }

    /// Returns true if the connection is encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Returns the certificate that the client has proved to have, if it is valid at `now` and the listener still trusts
    /// its authority.
    pub(crate) fn certificate(&mut self, now: SystemTime) -> Option<&Arc<PeerCertificate>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::Tls(socket) => socket.certificate(now),
        }
    }

    /// Returns what the client has proved by its certificate, which outlives the borrow of the socket.
    pub(crate) fn identity(&self) -> Option<ClientIdentity> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::Tls(socket) => socket.identity(),
        }
    }

    /// Waits for the first byte, and returns it without consuming it. `None` at the end of the connection.
    async fn peek(&mut self) -> io::Result<Option<u8>> {
        loop {
            self.readable().await?;
            let peeked = match self {
                Self::Tcp(stream) => stream.try_io(Interest::READABLE, || peek(stream)),
                Self::Unix(stream) => stream.try_io(Interest::READABLE, || peek(stream)),
                Self::Tls(_) => return Err(io::ErrorKind::Unsupported.into()),
            };
            match peeked {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                peeked => return peeked,
            }
        }
    }

    /// Returns the socket below TLS.
    fn raw(&self) -> &Self {
        match self {
            Self::Tcp(_) | Self::Unix(_) => self,
            Self::Tls(socket) => socket.raw(),
        }
    }
}

fn peek(stream: &impl std::os::fd::AsRawFd) -> io::Result<Option<u8>> {
    use nix::sys::socket::{MsgFlags, recv};
    let mut byte = [0];
    let length = recv(stream.as_raw_fd(), &mut byte, MsgFlags::MSG_PEEK)?;
    Ok((length > 0).then_some(byte[0]))
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl From<UnixStream> for Socket {
    fn from(stream: UnixStream) -> Self {
        Self::Unix(stream)
    }
}

macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Socket::Tcp($stream) => $call,
            Socket::Unix($stream) => $call,
            Socket::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests;
