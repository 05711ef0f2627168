//! The handshakes of one listener.
//!
//! A reload replaces the settings for later connections; a handshake ends with the settings with which it began. The name
//! that a client asks for (SNI) is not looked at: a listener has one certificate.

use super::Socket;
use super::failures::HandshakeFailures;
use super::settings::{ServerTls, SettingsError};
use super::tls::{Counted, TlsSocket};
use crate::config::model::ListenTls;
use arc_swap::ArcSwapOption;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;
use tokio_rustls::TlsAcceptor;

/// The type of the first record of a handshake (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 0x16;

/// Maximum number of bytes that a connection holds encrypted for a slow client.
const BUFFER: usize = 32 << 10;

/// The TLS settings of one listener, which a reload replaces.
pub(crate) struct Acceptor {
    /// `None`: the listener speaks plain HTTP.
    tls: ArcSwapOption<ServerTls>,
    failures: HandshakeFailures,
}

/// Why there is no TLS connection.
#[derive(Debug)]
pub(crate) enum HandshakeError {
    /// The client speaks HTTP without TLS. Nothing was read.
    Plain(Socket),
    /// The handshake failed. The client was sent an alert, if it can be.
    Failed(io::Error, Socket),
    /// The client left before it sent anything.
    Left,
}

impl Acceptor {
    /// Returns the acceptor of a listener with these settings.
    ///
    /// # Errors
    ///
    /// If no handshake can succeed with them.
    pub(crate) fn new(tls: Option<&ListenTls>) -> Result<Self, SettingsError> {
        let tls = tls.map(|tls| ServerTls::new(tls, None)).transpose()?;
        Ok(Self { tls: ArcSwapOption::new(tls.map(Arc::new)), failures: HandshakeFailures::default() })
    }

    /// Replaces the settings. Later connections have the new ones.
    ///
    /// # Errors
    ///
    /// If no handshake can succeed with them; then the earlier ones stay.
    pub(crate) fn replace(&self, tls: Option<&ListenTls>) -> Result<(), SettingsError> {
        let before = self.tls.load_full();
        let tls = tls.map(|tls| ServerTls::new(tls, before.as_deref())).transpose()?;
        self.tls.store(tls.map(Arc::new));
        Ok(())
    }

    /// Returns true if the listener speaks TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls.load().is_some()
    }

    /// Returns the failed handshakes. They are counted by the caller of [`Self::accept`], which knows the time limit.
    pub(crate) fn failures(&self) -> &HandshakeFailures {
        &self.failures
    }

    pub(super) fn current(&self) -> Option<Arc<ServerTls>> {
        self.tls.load_full()
    }

    /// Performs the handshake, if the listener speaks TLS. `began` is called with the client's first byte.
    ///
    /// # Errors
    ///
    /// If there is no TLS connection. Has no timeout of its own.
    pub(crate) async fn accept(
        self: &Arc<Self>,
        mut socket: Socket,
        began: impl FnOnce(),
    ) -> Result<Socket, HandshakeError> {
        if !self.is_tls() {
            return Ok(socket);
        }
        let first = match socket.peek().await {
            Ok(Some(first)) => first,
            Ok(None) | Err(_) => return Err(HandshakeError::Left),
        };
        began();
        // The settings of the moment of the handshake: the client may have waited.
        let Some(tls) = self.current() else { return Ok(socket) };
        if first != HANDSHAKE && begins_http(first) {
            return Err(HandshakeError::Plain(socket));
        }
        let acceptor = TlsAcceptor::from(Arc::clone(&tls.config));
        let limited = |session: &mut rustls::ServerConnection| session.set_buffer_limit(Some(BUFFER));
        match acceptor.accept_with(Counted::new(socket), limited).into_fallible().await {
            Ok(stream) => {
                let socket = TlsSocket::new(stream, &tls, self, SystemTime::now());
                Ok(Socket::Tls(Box::new(socket)))
            }
            Err((error, Counted { socket, .. })) => Err(HandshakeError::Failed(error, socket)),
        }
    }
}

/// Returns true for the first byte of a request line, or of an empty line before it (RFC 9112 section 2.2).
fn begins_http(first: u8) -> bool {
    first.is_ascii_alphabetic() || matches!(first, b'\r' | b'\n')
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("is_tls", &self.is_tls()).finish_non_exhaustive()
    }
}
