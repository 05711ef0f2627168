//! Opens upstream connections for the engine, each with a second handle for the [`super::deadline::Watchdog`].
//!
//! The engine's own connector gives hooks a raw descriptor, which may belong to another connection by the time it is
//! used. Here the handle is made while we own the socket, once a connection, without unsafe code, and travels with the
//! connection through the engine's pool: the digest of a "CONNECT proxy" is the one slot that takes data of ours.
//!
//! Connections for WebSockets have a [`Gate`] besides.

use super::deadline::Handle;
use super::gate::{Gate, gated};
use async_trait::async_trait;
use pingora::connectors::L4Connect;
use pingora::http::ResponseHeader;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{Digest, GetProxyDigest};
use pingora::{Error, ErrorType, OrErr, Result};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::sync::Arc;
use tokio::net::TcpStream;

/// Connects by TCP.
#[derive(Debug)]
pub(super) struct Connector {
    /// Give the connection a [`Gate`].
    pub(super) gated: bool,
}

/// What travels with a connection.
struct Companion {
    handle: Handle,
    gate: Option<Arc<Gate>>,
}

#[async_trait]
impl L4Connect for Connector {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let SocketAddr::Inet(address) = address else {
            return Error::e_explain(ErrorType::ConnectError, "upstreams are TCP");
        };
        let socket = TcpStream::connect(address).await.map_err(|e| {
            let kind = match e.kind() {
                ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
                ErrorKind::TimedOut => ErrorType::ConnectTimedout,
                ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => ErrorType::ConnectNoRoute,
                _ => ErrorType::ConnectError,
            };
            Error::because(kind, "while connecting", e)
        })?;
        let second =
            socket.as_fd().try_clone_to_owned().or_err(ErrorType::ConnectError, "no second handle")?;
        let handle: Handle = Arc::new(std::net::TcpStream::from(second));
        let gate = self.gated.then(Arc::<Gate>::default);
        let mut stream = match &gate {
            Some(gate) => gated(socket, Arc::clone(gate)),
            None => Stream::from(socket),
        };
        let response = ResponseHeader::build(200, Some(0))?;
        stream.set_proxy_digest(ProxyDigest::new(
            Box::new(response),
            Some(Box::new(Companion { handle, gate })),
        ));
        Ok(stream)
    }
}

/// The handle of a connection that [`Connector`] opened, at the moment a request is about to be sent on it.
pub(super) fn handle(digest: Option<&Digest>) -> Option<Handle> {
    let companion = digest?.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref::<Companion>()?;
    if let Some(gate) = &companion.gate {
        gate.close();
    }
    Some(Arc::clone(&companion.handle))
}
