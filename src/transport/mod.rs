//! Connections to upstreams: names, addresses, TCP, TLS, and the pool of idle connections.
//!
//! This module is the only place that opens a connection to an upstream. State that must outlive a snapshot is in the
//! one [`Transport`] of the process: [`names::Names`] (answers of the name server, the address that worked last),
//! [`tls::TlsClients`] (TLS sessions to resume) and [`pool::Pool`].
//!
//! Invariant: every failure has a type. No decision depends on the text of an error.
//!
//! Parts of the engine in use: its streams, its connection pool (with attache's own peer type) and, above this module,
//! its HTTP/1 client session. TCP is dialled by [`mod@dial`], since the engine's connector tries one address; TLS is
//! configured by [`tls`], since the engine's hides the cause of a failed handshake and resumes no session of a service
//! with a CA.

pub mod dial;
pub mod egress;
pub mod names;
pub(crate) mod pool;
mod proxy;
pub mod reach;
pub(crate) mod stream;
pub mod tls;
mod upstream;

pub use proxy::ProxyError;
use upstream::ResolvedAddresses;
pub use upstream::Upstream;

use crate::config::model::{ServerUrl, ServiceTls, UsedProxy};
use dial::{DialError, dial};
use names::{Names, NoAddress};
use pool::{Pool, PoolKey};
use proxy::ProxyPath;
use std::net::SocketAddr;
use std::sync::Arc;
use stream::{Io, ServerStream};
use tls::{TlsClient, TlsClients, TlsError};
use tokio::net::TcpStream;
use url::Url;

/// See the module's documentation.
pub struct Transport {
    names: Names,
    tls: TlsClients,
    pool: Pool,
}

/// A connection for a request.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) address: SocketAddr,
    /// The connection was taken from the pool.
    pub(crate) reused: bool,
    key: PoolKey,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address that may be used.
    #[error("no address")]
    NoAddress(#[source] NoAddress),
    /// No address accepted a connection.
    #[error("no connection")]
    Dial(#[source] DialError),
    /// The forward proxy made no connection.
    #[error("no connection through the proxy {proxy}")]
    Proxy {
        /// The proxy's host and port.
        proxy: String,
        /// The proxy's address, if it is known.
        address: Option<SocketAddr>,
        /// The proxy's failure.
        source: ProxyError,
    },
    /// A connection was made, but no trusted TLS on it.
    #[error("no trusted TLS connection")]
    Tls {
        /// The address that answered.
        address: SocketAddr,
        /// The failure of the handshake.
        source: TlsError,
    },
}

impl ConnectError {
    /// Returns true if another attempt may fare better: neither the configuration nor a certificate is at fault.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::NoAddress(error) => matches!(error, NoAddress::NameServer(_)),
            Self::Dial(error) => {
                !matches!(error, DialError::Loop(_) | DialError::OutOfDescriptors(_) | DialError::Empty)
            }
            Self::Proxy { source, .. } => source.is_passing(),
            Self::Tls { source, .. } => matches!(source, TlsError::Closed(_) | TlsError::Io(_)),
        }
    }

    /// Returns the address that failed, if there is one.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::NoAddress(_) => None,
            Self::Dial(error) => error.address(),
            Self::Proxy { address, .. } => *address,
            Self::Tls { address, .. } => Some(*address),
        }
    }
}

impl Transport {
    /// Returns a transport that keeps at most `idle` idle connections.
    pub fn new(idle: usize) -> Self {
        Self { names: Names::from_system(), tls: TlsClients::default(), pool: Pool::new(idle) }
    }

    /// Returns the resolver entries, for callers that resolve without an upstream.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Returns the TLS clients.
    pub fn tls(&self) -> &TlsClients {
        &self.tls
    }

    /// Prepares `url`. Connections are shared by requests of the same `sharing` (a service's key, or empty), the same
    /// server, and the same trust and identity only, and survive a reload that changes none of them.
    pub fn upstream(
        &self,
        sharing: &str,
        url: &ServerUrl,
        tls: &ServiceTls,
        proxy: &UsedProxy,
        private_network: bool,
    ) -> Upstream {
        let client = url.tls.then(|| self.tls.for_service(tls));
        let proxy = proxy.for_server(url).map(|proxy| &**proxy);
        Upstream::new((sharing, url), (tls, client), proxy, private_network, &self.names)
    }

    /// Prepares the server of `url` for connections that are never pooled, with `client` if it is https. `None`: `url` is
    /// neither http nor https.
    pub(crate) fn endpoint(
        &self,
        url: &Url,
        client: &Arc<TlsClient>,
        proxy: &UsedProxy,
        private_network: bool,
    ) -> Option<Upstream> {
        let url = ServerUrl::of(url)?;
        let proxy = proxy.for_server(&url).map(|proxy| &**proxy);
        let client = url.tls.then(|| Arc::clone(client));
        let tls = (&ServiceTls::default(), client);
        Some(Upstream::new(("", &url), tls, proxy, private_network, &self.names))
    }

    /// Returns an idle connection to one of the currently known addresses. Does not wait.
    pub(crate) async fn pooled(&self, upstream: &Upstream) -> Option<(Box<ServerStream>, Connection)> {
        self.idle(&upstream.known_keys()).await
    }

    async fn idle(&self, keys: &[(SocketAddr, PoolKey)]) -> Option<(Box<ServerStream>, Connection)> {
        for &(address, key) in keys {
            if let Some(stream) = self.pool.take(key).await {
                return Some((stream, Connection { address, reused: true, key }));
            }
        }
        None
    }

    /// Returns a connection, an idle one if `reuse` allows it. `listener` is where the request was received: an address
    /// that leads back to it is not connected to. Dropping the future ends the attempt, but not a lookup of the name.
    pub(crate) async fn connect(
        &self,
        upstream: &Upstream,
        reuse: bool,
        listener: Option<SocketAddr>,
    ) -> Result<(Box<ServerStream>, Connection), ConnectError> {
        let found = self.resolve(upstream).await?;
        if reuse {
            let keys: Vec<_> =
                found.allowed.iter().map(|&address| (address, upstream.key(address))).collect();
            if let Some(idle) = self.idle(&keys).await {
                return Ok(idle);
            }
        }
        let (io, address) = self.open(upstream, &found, listener).await?;
        let key = upstream.key(address);
        Ok((Box::new(ServerStream::new(io)), Connection { address, reused: false, key }))
    }

    /// Returns the addresses to connect to: those of the upstream, or of the proxy before it.
    async fn resolve(&self, upstream: &Upstream) -> Result<ResolvedAddresses, ConnectError> {
        upstream.addresses().await.map_err(|error| match &upstream.hop {
            None => ConnectError::NoAddress(error),
            Some(hop) => hop.failed(None, ProxyError::NoAddress(error)),
        })
    }

    /// Opens a connection to one of the addresses.
    async fn open(
        &self,
        upstream: &Upstream,
        found: &ResolvedAddresses,
        listener: Option<SocketAddr>,
    ) -> Result<(Io, SocketAddr), ConnectError> {
        let (mut stream, address) = match dial(&found.allowed, listener, None).await {
            Ok(dialled) => dialled,
            Err(error) => dial_again(upstream, found, listener, error).await?,
        };
        upstream.worked(address);
        if let Some(hop) = &upstream.hop
            && let ProxyPath::Tunnel(request) = &hop.way
        {
            let opened = proxy::open_tunnel(&mut stream, request).await;
            opened.map_err(|source| hop.failed(Some(address), source))?;
        }
        Ok((self.secure(upstream, stream, address).await?, address))
    }

    async fn secure(
        &self,
        upstream: &Upstream,
        stream: TcpStream,
        address: SocketAddr,
    ) -> Result<Io, ConnectError> {
        let Some(tls) = &upstream.tls else { return Ok(Io::Tcp(stream)) };
        let failed = |source| ConnectError::Tls { address, source };
        let name = tls.name().map_err(failed)?;
        let secured = tls.client.handshake(name, tls::buffered(stream)).await.map_err(failed)?;
        Ok(Io::Tls(Box::new(secured)))
    }

    /// Keeps an idle connection for another request. `server_limit` is the idle time that the server announced, in
    /// seconds.
    pub(crate) fn keep(&self, connection: &Connection, stream: Box<ServerStream>, server_limit: Option<u64>) {
        self.pool.put(connection.key, stream, server_limit);
    }
}

/// Looks the name up again after no address accepted a connection: the server may have moved.
async fn dial_again(
    upstream: &Upstream,
    tried: &ResolvedAddresses,
    listener: Option<SocketAddr>,
    error: DialError,
) -> Result<(TcpStream, SocketAddr), ConnectError> {
    if matches!(error, DialError::Loop(_) | DialError::OutOfDescriptors(_)) {
        return Err(ConnectError::Dial(error));
    }
    let failed = |error: DialError| match &upstream.hop {
        Some(hop) if !matches!(error, DialError::TimedOut(_) | DialError::Loop(_)) => {
            hop.failed(error.address(), ProxyError::Dial(error))
        }
        _ => ConnectError::Dial(error),
    };
    match upstream.moved(tried).await {
        Some(addresses) => dial(&addresses, listener, None).await.map_err(failed),
        None => Err(failed(error)),
    }
}

/// Returns a transport for tests, which keeps few connections.
#[cfg(test)]
pub(crate) fn for_tests() -> Transport {
    Transport::new(8)
}

/// The same, which resolves by `names`.
#[cfg(test)]
pub(crate) fn for_tests_with(names: Names) -> Transport {
    Transport { names, ..for_tests() }
}
