//! TLS over the socket of a client.

use super::Socket;
use super::acceptor::Acceptor;
use super::settings::ServerTls;
use crate::x509::PeerCertificate;
use rustls::HandshakeKind;
use rustls_pki_types::CertificateDer;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;
use tokio::io::{AsyncBufRead as _, AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

/// A TLS connection.
#[derive(Debug)]
pub(crate) struct TlsSocket {
    stream: TlsStream<Counted>,
    /// Boxed, because most clients have no certificate.
    peer: Option<Box<Peer>>,
}

/// The certificate of a client.
#[derive(Debug, Clone)]
struct Peer {
    certificate: Arc<PeerCertificate>,
    acceptor: Arc<Acceptor>,
    /// The authorities against which the certificate was last verified.
    authorities: [u8; 32],
    is_trusted: bool,
}

/// The proof of a client by its certificate, where the connection itself is out of reach.
#[derive(Debug, Clone)]
pub(crate) struct ClientIdentity {
    peer: Peer,
    chain: Arc<[CertificateDer<'static>]>,
}

impl ClientIdentity {
    /// Returns the certificate while it counts. A chain is verified in each call after the authorities have changed.
    pub(crate) fn certificate(&self, now: SystemTime) -> Option<Arc<PeerCertificate>> {
        self.peer.clone().certificate(&self.chain, now).cloned()
    }
}

impl Peer {
    /// Returns the certificate if it is valid at `now` and the acceptor trusts its authority, with which `chain` ends.
    fn certificate(
        &mut self,
        chain: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Option<&Arc<PeerCertificate>> {
        let current = self.acceptor.current();
        let authorities = current.as_ref().map_or([0; 32], |tls| tls.authorities);
        if self.authorities != authorities {
            self.is_trusted = current.is_some_and(|tls| tls.trusts(chain, now));
            self.authorities = authorities;
        }
        (self.is_trusted && now <= self.certificate.not_after()).then_some(&self.certificate)
    }
}

impl TlsSocket {
    /// Takes a connection whose handshake with `tls` has succeeded at `now`.
    pub(super) fn new(
        stream: TlsStream<Counted>,
        tls: &ServerTls,
        acceptor: &Arc<Acceptor>,
        now: SystemTime,
    ) -> Self {
        let session = stream.get_ref().1;
        let chain = session.peer_certificates().unwrap_or_default();
        let certificate = chain.first().and_then(|der| PeerCertificate::from_der(der));
        let peer = certificate.map(|certificate| {
            // A resumed session has the chain of an earlier handshake, which is not verified again.
            let is_verified = session.handshake_kind().is_some_and(|kind| kind != HandshakeKind::Resumed);
            Box::new(Peer {
                certificate: Arc::new(certificate),
                acceptor: Arc::clone(acceptor),
                authorities: tls.authorities,
                is_trusted: is_verified || tls.trusts(chain, now),
            })
        });
        Self { stream, peer }
    }

    /// Returns the client's certificate. It counts while it is valid and its authority is in `client_ca`, also on a
    /// connection that was opened before a reload.
    pub(super) fn certificate(&mut self, now: SystemTime) -> Option<&Arc<PeerCertificate>> {
        let chain = self.stream.get_ref().1.peer_certificates().unwrap_or_default();
        self.peer.as_deref_mut()?.certificate(chain, now)
    }

    /// Returns the same apart from the connection.
    pub(super) fn identity(&self) -> Option<ClientIdentity> {
        let chain = self.stream.get_ref().1.peer_certificates().unwrap_or_default();
        let chain = chain.iter().map(|der| der.clone().into_owned()).collect();
        Some(ClientIdentity { peer: self.peer.as_deref()?.clone(), chain })
    }

    pub(super) fn raw(&self) -> &Socket {
        &self.stream.get_ref().0.socket
    }

    pub(super) fn holds_output(&self) -> bool {
        self.stream.get_ref().1.wants_write()
    }

    pub(super) fn sent(&self) -> u64 {
        self.stream.get_ref().0.written
    }

    /// Ready once decrypted bytes are there, or the end. Other records are processed meanwhile.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_fill_buf(cx).map_ok(|_| ())
    }

    pub(super) fn close_notify(&mut self) {
        // A full send buffer, or a client that has closed: the connection ends without the message.
        let _ = Pin::new(&mut self.stream).poll_shutdown(&mut Context::from_waker(Waker::noop()));
    }
}

impl AsyncRead for TlsSocket {
    /// A FIN without `close_notify` is an end, as on a plain connection: HTTP's own framing tells a truncated request.
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            poll => poll,
        }
    }
}

impl AsyncWrite for TlsSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A socket that counts the bytes written to it.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) socket: Socket,
    written: u64,
}

impl Counted {
    pub(super) fn new(socket: Socket) -> Self {
        Self { socket, written: 0 }
    }

    fn count(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(length)) = written {
            self.written += length as u64;
        }
        written
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.count(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, parts);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
