//! TCP connections to the addresses of one upstream (Happy Eyeballs, RFC 8305 section 5).
//!
//! The next address is tried 250 ms after the former, or at once when one fails, while the former attempts go on. The
//! first connection wins and the other attempts are dropped.
//!
//! Invariant: the returned future owns every attempt. Dropping it closes all of them.

use crate::config::model::destination;
use nix::ifaddrs::getifaddrs;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

/// The Connection Attempt Delay of RFC 8305 section 5.
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The host refused the connection.
    #[error("{0} refused the connection")]
    Refused(SocketAddr),
    /// The connect timeout or the operating system's passed.
    #[error("{0} did not answer in time")]
    TimedOut(SocketAddr),
    /// This host has no route to the address, or a router reported that there is none.
    #[error("there is no route to {0}")]
    Unroutable(SocketAddr),
    /// This process or this host has no file descriptor left (EMFILE, ENFILE).
    #[error("no file descriptor is left to connect to {0}")]
    OutOfDescriptors(SocketAddr),
    /// The address is the listener on which the request came.
    #[error("{0} is the listener on which the request arrived")]
    Loop(SocketAddr),
    /// Any other failure.
    #[error("cannot connect to {address}")]
    Io {
        /// The address that failed.
        address: SocketAddr,
        /// The operating system's error.
        source: io::Error,
    },
    /// The list of addresses was empty.
    #[error("there is no address to connect to")]
    Empty,
}

impl DialError {
    fn new(address: SocketAddr, source: io::Error) -> Self {
        use nix::libc::{EMFILE, ENFILE};
        if matches!(source.raw_os_error(), Some(EMFILE | ENFILE)) {
            return Self::OutOfDescriptors(address);
        }
        match source.kind() {
            ErrorKind::ConnectionRefused => Self::Refused(address),
            ErrorKind::TimedOut => Self::TimedOut(address),
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::AddrNotAvailable => {
                Self::Unroutable(address)
            }
            _ => Self::Io { address, source },
        }
    }

    /// Returns the address that the error is about.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Refused(address)
            | Self::TimedOut(address)
            | Self::Unroutable(address)
            | Self::OutOfDescriptors(address)
            | Self::Loop(address)
            | Self::Io { address, .. } => Some(*address),
            Self::Empty => None,
        }
    }

    /// Returns the rank among the errors of one call: a cause on this host first, then an answer of the upstream, then
    /// silence.
    fn rank(&self) -> u8 {
        match self {
            Self::OutOfDescriptors(_) => 5,
            Self::Loop(_) => 4,
            Self::Refused(_) => 3,
            Self::Io { .. } => 2,
            Self::TimedOut(_) => 1,
            Self::Unroutable(_) | Self::Empty => 0,
        }
    }
}

/// Connects to the first of `addresses` that answers and returns the connection, with `TCP_NODELAY` set, and its
/// address.
///
/// `own_listener` is the local address of the listener on which the request arrived: an address that leads back to it
/// is not connected to. `connect_timeout` covers all attempts.
///
/// # Errors
///
/// The error of the highest rank among all attempts, and the last of equal ones.
pub async fn dial(
    addresses: &[SocketAddr],
    own_listener: Option<SocketAddr>,
    connect_timeout: Option<Duration>,
) -> Result<(TcpStream, SocketAddr), DialError> {
    let mut race = Race::default();
    let connecting = race.run(addresses, own_listener);
    let won = match connect_timeout {
        None => connecting.await,
        Some(limit) => match timeout_at(Instant::now() + limit, connecting).await {
            Ok(ended) => ended,
            Err(_) => {
                return Err(race.pending.first().map_or(DialError::Empty, |it| DialError::TimedOut(it.0)));
            }
        },
    };
    let (stream, address) = won?;
    stream.set_nodelay(true).map_err(|source| DialError::new(address, source))?;
    Ok((stream, address))
}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// The attempts of one call.
#[derive(Default)]
struct Race {
    /// Attempts under way, the oldest first.
    pending: Vec<(SocketAddr, Connecting)>,
    failure: Option<DialError>,
}

impl Race {
    async fn run(
        &mut self,
        addresses: &[SocketAddr],
        own_listener: Option<SocketAddr>,
    ) -> Result<(TcpStream, SocketAddr), DialError> {
        let mut waiting = addresses.iter().copied();
        loop {
            match waiting.next() {
                Some(address) if own_listener.is_some_and(|own| leads_to(address, own)) => {
                    self.failed(DialError::Loop(address));
                    continue;
                }
                Some(address) => self.pending.push((address, Box::pin(TcpStream::connect(address)))),
                None if self.pending.is_empty() => {
                    return Err(self.failure.take().unwrap_or(DialError::Empty));
                }
                None => {}
            }
            let more = waiting.len() > 0;
            tokio::select! {
                biased;
                (address, ended) = self.next() => match ended {
                    Ok(stream) => return Ok((stream, address)),
                    Err(source) => self.failed(DialError::new(address, source)),
                },
                () = sleep(NEXT_ADDRESS), if more => {}
            }
        }
    }

    /// Waits until one of the attempts has ended. Must not be called without any.
    async fn next(&mut self) -> (SocketAddr, io::Result<TcpStream>) {
        poll_fn(|cx| {
            for (index, (address, connecting)) in self.pending.iter_mut().enumerate() {
                if let Poll::Ready(ended) = connecting.as_mut().poll(cx) {
                    let address = *address;
                    drop(self.pending.remove(index));
                    return Poll::Ready((address, ended));
                }
            }
            Poll::Pending
        })
        .await
    }

    fn failed(&mut self, error: DialError) {
        if self.failure.as_ref().is_none_or(|former| former.rank() <= error.rank()) {
            self.failure = Some(error);
        }
    }
}

/// Returns true if a connection to `address` arrives at `listener`.
fn leads_to(address: SocketAddr, listener: SocketAddr) -> bool {
    if address.port() != listener.port() {
        return false;
    }
    let (ip, own) = (destination(address.ip()), listener.ip().to_canonical());
    // An unspecified IPv6 listener takes IPv4 as well.
    let same_family = own.is_ipv6() || ip.is_ipv4();
    let is_here = || ip.is_loopback() || is_local(ip);
    ip == own || (own.is_unspecified() && same_family && is_here())
}

/// Returns true for an address of one of this host's interfaces. Runs only for an upstream that has the listener's port.
fn is_local(ip: IpAddr) -> bool {
    let Ok(interfaces) = getifaddrs() else { return false };
    interfaces.filter_map(|interface| interface.address).any(|address| {
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        let v6 = address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()));
        v4.or(v6) == Some(ip)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::net::{TcpListener, TcpSocket};

    fn address(text: &str) -> SocketAddr {
        text.parse().expect(text)
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        (listener, address)
    }

    /// A port that is bound and does not listen, so that it stays closed.
    fn closed() -> (TcpSocket, SocketAddr) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
        let address = socket.local_addr().expect("an address");
        (socket, address)
    }

    /// A listener that accepts nothing and whose queue is full, so that further connections get no answer.
    async fn silent() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
        let listener = socket.listen(1).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let mut queued = Vec::new();
        while let Ok(Ok(stream)) =
            tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await
        {
            queued.push(stream);
        }
        (listener, queued, address)
    }

    #[tokio::test]
    async fn connects_without_nagle() {
        let (_listener, open) = listener().await;
        let (stream, reached) = dial(&[open], None, None).await.expect("connects");
        assert_eq!(reached, open);
        assert!(stream.nodelay().expect("an option"));
    }

    #[tokio::test]
    async fn tries_the_next_address_at_once_when_one_fails() {
        let ((_listener, open), (_socket, closed)) = (listener().await, closed());
        tokio::time::pause();
        let begun = Instant::now();
        let (_, reached) = dial(&[closed, open], None, None).await.expect("connects");
        assert_eq!(reached, open);
        assert!(begun.elapsed() < NEXT_ADDRESS, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn tries_the_next_address_after_a_delay_while_the_former_goes_on() {
        let ((_full, _queued, silent), (_listener, open)) = (silent().await, listener().await);
        tokio::time::pause();
        let begun = Instant::now();
        let (_, reached) = dial(&[silent, open], None, None).await.expect("connects");
        assert_eq!(reached, open);
        assert!(begun.elapsed() >= NEXT_ADDRESS, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn the_timeout_covers_all_attempts() {
        let ((_full, _queued, silent), (_socket, closed)) = (silent().await, closed());
        tokio::time::pause();
        let error = dial(&[closed, silent], None, Some(Duration::from_secs(3))).await.expect_err("times out");
        assert!(matches!(error, DialError::TimedOut(address) if address == silent), "{error}");
    }

    #[tokio::test]
    async fn reports_the_error_of_the_highest_rank() {
        let (_socket, closed) = closed();
        for list in [vec![closed], vec![closed, address("255.255.255.255:1")]] {
            let error = dial(&list, None, None).await.expect_err("fails");
            assert!(matches!(error, DialError::Refused(address) if address == closed), "{error}");
            assert_eq!(error.address(), Some(closed));
        }
        assert!(matches!(dial(&[], None, None).await, Err(DialError::Empty)));
    }

    #[test]
    fn errors_of_the_operating_system_are_typed() {
        let typed = |errno| DialError::new(address("192.0.2.1:1"), io::Error::from_raw_os_error(errno));
        assert!(matches!(typed(nix::libc::EMFILE), DialError::OutOfDescriptors(_)));
        assert!(matches!(typed(nix::libc::ENFILE), DialError::OutOfDescriptors(_)));
        assert!(matches!(typed(nix::libc::ECONNREFUSED), DialError::Refused(_)));
        assert!(matches!(typed(nix::libc::ETIMEDOUT), DialError::TimedOut(_)));
        assert!(matches!(typed(nix::libc::ENETUNREACH), DialError::Unroutable(_)));
        assert!(matches!(typed(nix::libc::EHOSTUNREACH), DialError::Unroutable(_)));
        assert!(matches!(typed(nix::libc::EACCES), DialError::Io { .. }));
    }

    #[tokio::test]
    async fn does_not_connect_to_the_listener_of_the_request() {
        let ((_own, own), (_other, other)) = (listener().await, listener().await);
        let error = dial(&[own], Some(own), None).await.expect_err("is a loop");
        assert!(matches!(error, DialError::Loop(address) if address == own), "{error}");
        let (_, reached) = dial(&[own, other], Some(own), None).await.expect("connects");
        assert_eq!(reached, other);
    }

    #[test]
    fn recognises_its_own_listener() {
        for (target, listener, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:81", "127.0.0.1:80", false),
            ("127.0.0.2:80", "127.0.0.1:80", false),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "[::ffff:127.0.0.1]:80", true),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("127.9.9.9:80", "[::]:80", true),
            ("[::1]:80", "[::]:80", true),
            ("0.0.0.0:80", "0.0.0.0:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("[::]:80", "[::1]:80", true),
            ("[::ffff:0.0.0.0]:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "127.0.0.2:80", false),
            ("192.0.2.1:80", "0.0.0.0:80", false),
        ] {
            assert_eq!(leads_to(address(target), address(listener)), expected, "{target} {listener}");
        }
    }
}
