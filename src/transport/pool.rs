//! Idle connections: the engine's pool, with attache's own peer type and liveness test.
//!
//! The engine's test asks tokio whether the socket is readable, which a busy worker may not know yet. Here the kernel
//! is asked. A connection that turns out to be dead is dropped, and no other pooled one is tried in its place: one
//! stale connection leads to a fresh one.

use super::stream::ServerStream;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::protocols::l4::socket::SocketAddr as EngineAddr;
use pingora::upstreams::peer::Peer;
use std::fmt;
use std::hash::{DefaultHasher, Hasher as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::LazyLock;
use std::time::Duration;

/// Common servers close idle connections after 60 s or more, and a request must not race with that close.
const MAX_IDLE: Duration = Duration::from_secs(55);

/// Identifies connections that are interchangeable: same server address, same trust, same owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PoolKey(u64);

impl PoolKey {
    /// Returns the key of the connections to `address` within `group`, which stands for everything else that separates
    /// connections.
    pub(crate) fn new(group: u64, address: SocketAddr) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(group);
        hasher.write_u16(address.port());
        match address {
            SocketAddr::V4(v4) => hasher.write_u32(v4.ip().to_bits()),
            SocketAddr::V6(v6) => {
                hasher.write_u128(v6.ip().to_bits());
                hasher.write_u32(v6.scope_id());
            }
        }
        Self(hasher.finish())
    }
}

/// The peer type with which the engine's pool is queried.
#[derive(Clone)]
struct PoolLookup(PoolKey);

impl fmt::Display for PoolLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0.0)
    }
}

impl Peer for PoolLookup {
    fn address(&self) -> &EngineAddr {
        // The address is part of the key; the pool does not use this one.
        static NONE: LazyLock<EngineAddr> =
            LazyLock::new(|| EngineAddr::Inet(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))));
        &NONE
    }

    fn tls(&self) -> bool {
        false
    }

    fn sni(&self) -> &str {
        ""
    }

    fn reuse_hash(&self) -> u64 {
        self.0.0
    }

    /// Returns true if the connection is alive and quiet. Pending bytes mean dead: nothing was requested, and a TLS
    /// close_notify hides the FIN behind it.
    fn matches_fd<V: AsRawFd>(&self, fd: V) -> bool {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        matches!(recv(fd.as_raw_fd(), &mut [0], flags), Err(Errno::EAGAIN))
    }
}

/// See the module's documentation.
pub(crate) struct Pool(TransportConnector);

impl Pool {
    /// Returns a pool of at most `size` idle connections.
    pub(crate) fn new(size: usize) -> Self {
        let mut options = ConnectorOptions::new(size);
        // The connector never opens connections. With an empty store it does not load the system's roots.
        options.ca_file = Some("/dev/null".to_owned());
        Self(TransportConnector::new(Some(options)))
    }

    /// Takes an idle connection that is alive.
    pub(crate) async fn take(&self, key: PoolKey) -> Option<Box<ServerStream>> {
        let stream = ServerStream::take(self.0.reused_stream(&PoolLookup(key)).await?)?;
        stream.wire().renew();
        Some(stream)
    }

    /// Keeps an idle connection. `server_limit` is the idle time that the server announced, in seconds.
    pub(crate) fn put(&self, key: PoolKey, stream: Box<ServerStream>, server_limit: Option<u64>) {
        // Earlier than the server's limit, so that a request does not race with its close.
        let idle = match server_limit {
            Some(seconds) => Duration::from_secs(seconds.saturating_sub(1)).min(MAX_IDLE),
            None => MAX_IDLE,
        };
        if !idle.is_zero() {
            self.0.release_stream(stream, key.0, Some(idle));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stream::Io;
    use super::*;
    use tokio::net::{TcpListener, TcpStream};

    const KEEP: Option<u64> = None;

    async fn pair() -> (Box<ServerStream>, TcpStream, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("an address");
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        let ours = Box::new(ServerStream::new(Io::Tcp(ours.expect("connect"))));
        (ours, theirs.expect("accept").0, address)
    }

    #[tokio::test]
    async fn a_connection_is_found_under_its_own_key_only() {
        let (pool, (stream, _peer, address)) = (Pool::new(8), pair().await);
        let (key, other) = (PoolKey::new(1, address), PoolKey::new(2, address));
        pool.put(key, stream, KEEP);
        assert!(pool.take(other).await.is_none());
        assert!(pool.take(key).await.is_some());
        assert!(pool.take(key).await.is_none(), "it is in use");
    }

    /// Between two tasks a worker does not poll the reactor, so the engine's own test would return the dead connection.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_connection_that_the_server_closed_is_not_returned() {
        let (pool, (stream, peer, address)) = (Pool::new(8), pair().await);
        let (key, id) = (PoolKey::new(1, address), pingora::protocols::UniqueID::id(&*stream));
        let mut worker = tokio::task::JoinSet::new();
        worker.spawn(async move {
            pool.put(key, stream, KEEP);
            tokio::task::yield_now().await;
            drop(peer);
            // Until the FIN is in the kernel.
            while recv(id, &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) != Ok(0) {
                std::hint::spin_loop();
            }
            pool.take(key).await.is_none()
        });
        assert!(worker.join_next().await.expect("one task").expect("no panic"));
    }

    #[tokio::test]
    async fn a_connection_with_a_keep_alive_timeout_of_zero_is_not_kept() {
        let (pool, (stream, _peer, address)) = (Pool::new(8), pair().await);
        let key = PoolKey::new(1, address);
        pool.put(key, stream, Some(1));
        assert!(pool.take(key).await.is_none());
    }
}
