//! Reaches an upstream without sending a request: name, connection, TLS. For `attache check --live`.
//!
//! Invariant: resolves, connects and trusts by the same code as requests do. No HTTP request is sent, because no request
//! is known to be harmless to a third party.

use super::dial::{DialError, dial};
use super::names::{Names, NoAddress};
use super::tls::{TlsClient, TlsError, buffered, not_after_day, server_name};
use crate::config::model::{Host, ServerUrl};
use rustls::ProtocolVersion;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// A successful attempt.
#[derive(Debug, PartialEq, Eq)]
pub struct Reached {
    /// The address that answered.
    pub address: SocketAddr,
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
    /// The name has no address that may be used.
    #[error("no address")]
    NoAddress(#[source] NoAddress),
    /// No connection was made.
    #[error("no connection")]
    Connect(#[source] DialError),
    /// A connection was made, but no trusted TLS on it.
    #[error("connected to {address}, but without a trusted TLS connection")]
    Tls {
        /// The address that answered.
        address: SocketAddr,
        /// The failure of the handshake.
        source: TlsError,
    },
    /// The time limit passed.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

/// Reaches `url` within `limit`. Performs a TLS handshake if the URL is https and `tls` is given.
///
/// # Errors
///
/// The step that failed.
pub async fn reach(
    names: &Names,
    url: &ServerUrl,
    private_network: bool,
    tls: Option<&TlsClient>,
    limit: Duration,
) -> Result<Reached, Unreachable> {
    let begun = Instant::now();
    let attempt = async {
        let addresses = match &url.host {
            Host::Ip(ip) => vec![SocketAddr::new(*ip, url.port)],
            Host::Name(name) => {
                let found = names.name(name).allowed(url.port, private_network).await;
                found.map_err(Unreachable::NoAddress)?
            }
        };
        let (stream, address) = dial(&addresses, None, None).await.map_err(Unreachable::Connect)?;
        let Some(tls) = tls.filter(|_| url.tls) else { return Ok((address, None, None)) };
        let host = match &url.host {
            Host::Ip(ip) => ip.to_string(),
            Host::Name(name) => name.clone(),
        };
        let failed = |source| Unreachable::Tls { address, source };
        let name = server_name(&host).map_err(failed)?;
        let secured = tls.handshake(name, buffered(stream)).await.map_err(failed)?;
        let (_, session) = secured.get_ref();
        let version = session.protocol_version().map(|version| match version {
            ProtocolVersion::TLSv1_3 => "TLS 1.3",
            ProtocolVersion::TLSv1_2 => "TLS 1.2",
            _ => "TLS",
        });
        let leaf = session.peer_certificates().and_then(<[_]>::first);
        Ok((address, version, leaf.and_then(|leaf| not_after_day(leaf))))
    };
    let (address, tls, certificate_until) =
        timeout_at(begun + limit, attempt).await.unwrap_or(Err(Unreachable::TimedOut(limit)))?;
    Ok(Reached { address, took: begun.elapsed(), tls, certificate_until })
}

#[cfg(test)]
mod tests {
    use super::super::tls::{TlsClients, testing};
    use super::*;
    use tokio::net::TcpListener;

    const LIMIT: Duration = Duration::from_secs(5);

    fn url(tls: bool, host: Host, port: u16) -> ServerUrl {
        ServerUrl { tls, host, port, authority: String::new(), path: String::new() }
    }

    #[tokio::test]
    async fn reaches_an_open_port_and_reports_a_closed_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (names, url) = (Names::from_system(), url(false, Host::Ip(address.ip()), address.port()));
        let reached = reach(&names, &url, false, None, LIMIT).await.expect("reaches");
        assert_eq!((reached.address, reached.tls), (address, None));
        drop(listener);
        let refused = reach(&names, &url, false, None, LIMIT).await.expect_err("fails");
        assert!(matches!(refused, Unreachable::Connect(DialError::Refused(_))), "{refused}");
    }

    #[tokio::test]
    async fn a_name_needs_permission_for_this_host_and_its_certificate_counts() {
        let identity = testing::self_signed(|_| ());
        let server = testing::server(&identity).await;
        let (names, clients) = (Names::from_system(), TlsClients::default());
        let url = url(true, Host::Name("localhost".into()), server.address.port());
        let denied = reach(&names, &url, false, None, LIMIT).await.expect_err("is denied");
        assert!(matches!(denied, Unreachable::NoAddress(NoAddress::Denied)), "{denied}");
        let trusting = clients.for_ca(Some(&testing::bundle(&[&identity.0])));
        let reached = reach(&names, &url, true, Some(&trusting), LIMIT).await.expect("reaches");
        assert_eq!((reached.address, reached.tls), (server.address, Some("TLS 1.3")));
        assert_eq!(reached.certificate_until.as_deref(), Some("4096-01-01"));
        let other = clients.for_ca(Some(&testing::bundle(&[&testing::self_signed(|_| ()).0])));
        let refused = reach(&names, &url, true, Some(&other), LIMIT).await.expect_err("is refused");
        assert!(
            matches!(refused, Unreachable::Tls { source: TlsError::Certificate { .. }, .. }),
            "{refused}"
        );
    }
}
