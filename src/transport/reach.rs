//! Reaches an upstream without sending a request: name, connection, TLS. For `attache check --live`.
//!
//! Invariant: resolves, connects and trusts by the same code as requests do. No HTTP request is sent, because no request
//! is known to be harmless to a third party.

use super::stream::Io;
use super::tls::not_after_day;
use super::{ConnectError, Transport, Upstream};
use rustls::ProtocolVersion;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// A successful attempt.
#[derive(Debug, PartialEq, Eq)]
pub struct Reached {
    /// The address that answered: the proxy's, if there is one.
    pub address: SocketAddr,
    /// Host and port of the forward proxy.
    pub proxy: Option<String>,
    /// The duration of all steps.
    pub took: Duration,
    /// The TLS version (`TLS 1.3`), or `None` if no TLS was asked for.
    pub tls: Option<&'static str>,
    /// The last day (`2027-01-31`) on which the server's certificate is valid.
    pub certificate_until: Option<String>,
}

/// Why an upstream cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// No connection was made, or no trusted TLS on it.
    #[error(transparent)]
    Connect(ConnectError),
    /// The time limit passed.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

/// Reaches `upstream` within `limit`.
///
/// # Errors
///
/// The step that failed.
pub async fn reach(
    transport: &Transport,
    upstream: &Upstream,
    limit: Duration,
) -> Result<Reached, Unreachable> {
    let begun = Instant::now();
    let attempt = async {
        let found = transport.resolve(upstream).await?;
        transport.open(upstream, &found, None).await
    };
    let Ok(opened) = timeout_at(begun + limit, attempt).await else {
        return Err(Unreachable::TimedOut(limit));
    };
    let (io, address) = opened.map_err(Unreachable::Connect)?;
    let (tls, certificate_until) = match &io {
        Io::Tcp(_) => (None, None),
        Io::Tls(secured) => describe(secured.get_ref().1),
    };
    let proxy = upstream.proxy().map(str::to_owned);
    Ok(Reached { address, proxy, took: begun.elapsed(), tls, certificate_until })
}

/// Returns the version of TLS, and the last day of the server's certificate.
fn describe(session: &rustls::ClientConnection) -> (Option<&'static str>, Option<String>) {
    let version = session.protocol_version().map(|version| match version {
        ProtocolVersion::TLSv1_3 => "TLS 1.3",
        ProtocolVersion::TLSv1_2 => "TLS 1.2",
        _ => "TLS",
    });
    let leaf = session.peer_certificates().and_then(<[_]>::first);
    (version, leaf.and_then(|leaf| not_after_day(leaf)))
}

#[cfg(test)]
mod tests {
    use super::super::dial::DialError;
    use super::super::for_tests;
    use super::super::names::NoAddress;
    use super::super::tls::{TlsError, testing};
    use super::*;
    use crate::config::model::{Host, ServerUrl, ServiceTls, UsedProxy};
    use tokio::net::TcpListener;

    const LIMIT: Duration = Duration::from_secs(5);

    fn url(tls: bool, host: Host, port: u16) -> ServerUrl {
        ServerUrl { tls, host, port, authority: String::new(), path: String::new() }
    }

    #[tokio::test]
    async fn reaches_an_open_port_and_reports_a_closed_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (transport, url) = (for_tests(), url(false, Host::Ip(address.ip()), address.port()));
        let upstream = transport.upstream("", &url, &ServiceTls::default(), &UsedProxy::default(), false);
        let reached = reach(&transport, &upstream, LIMIT).await.expect("reaches");
        assert_eq!((reached.address, reached.tls), (address, None));
        drop(listener);
        let refused = reach(&transport, &upstream, LIMIT).await.expect_err("fails");
        let is_refused = matches!(refused, Unreachable::Connect(ConnectError::Dial(DialError::Refused(_))));
        assert!(is_refused, "{refused}");
    }

    #[tokio::test]
    async fn a_name_needs_permission_for_this_host_and_its_certificate_counts() {
        let identity = testing::self_signed(|_| ());
        let server = testing::server(&identity).await;
        let transport = for_tests();
        let url = url(true, Host::Name("localhost".into()), server.address.port());
        let trusting = |certificate: &[u8], private_network| {
            let ca = Some(testing::bundle(&[certificate]));
            transport.upstream(
                "",
                &url,
                &ServiceTls { ca, ..ServiceTls::default() },
                &UsedProxy::default(),
                private_network,
            )
        };
        let denied = reach(&transport, &trusting(&identity.0, false), LIMIT).await.expect_err("is denied");
        let is_denied = matches!(denied, Unreachable::Connect(ConnectError::NoAddress(NoAddress::Denied)));
        assert!(is_denied, "{denied}");
        let reached = reach(&transport, &trusting(&identity.0, true), LIMIT).await.expect("reaches");
        assert_eq!((reached.address, reached.tls), (server.address, Some("TLS 1.3")));
        assert_eq!(reached.certificate_until.as_deref(), Some("4096-01-01"));
        let other = trusting(&testing::self_signed(|_| ()).0, true);
        let refused = reach(&transport, &other, LIMIT).await.expect_err("is refused");
        let is_refused = matches!(
            refused,
            Unreachable::Connect(ConnectError::Tls { source: TlsError::Certificate { .. }, .. })
        );
        assert!(is_refused, "{refused}");
    }
}
