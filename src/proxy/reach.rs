//! Reaching an upstream without asking it anything: name, connection, TLS. For `attache check --live`.
//!
//! It trusts what the engine trusts and resolves as requests do. No HTTP request is sent, since nobody knows of a third
//! party which one would be harmless.

use super::resolve::{NoAddress, Resolver};
use crate::config::model::{CaBundle, ServerUrl};
use crate::upstream::Upstream;
use pingora::tls::load_platform_certs_incl_env_into_store;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

/// The TLS settings of one kind of upstream: those of a `tls.ca`, or the system's. Made once, since reading the system's
/// roots takes a while.
#[derive(Clone)]
pub(crate) struct Trust(Arc<ClientConfig>);

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    /// Which of the addresses answered.
    pub(crate) address: SocketAddr,
    /// How long all of it took.
    pub(crate) took: Duration,
    /// `TLS 1.3`.
    pub(crate) tls: Option<&'static str>,
    /// The day (`2027-01-31`) up to which the server's certificate is good.
    pub(crate) certificate_until: Option<String>,
}

/// Why an upstream can't be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreachable {
    #[error("the name does not resolve")]
    NotFound,
    #[error("the name leads into a private network")]
    Denied,
    #[error("can't connect to {address}: {cause}")]
    Connect { address: SocketAddr, cause: io::Error },
    #[error("connected to {address}, but there is no trusted tls connection: {cause}")]
    Tls { address: SocketAddr, cause: io::Error },
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("the system's root certificates can't be used")]
    Roots,
}

impl Trust {
    /// Only these roots, or the system's. Blocks while it reads those. A rustls provider must be installed.
    pub(crate) fn new(ca: Option<&CaBundle>) -> Result<Self, Unreachable> {
        let mut roots = RootCertStore::empty();
        match ca {
            Some(ca) => {
                let ders = ca.certificates.iter().map(|der| CertificateDer::from_slice(der));
                roots.add_parsable_certificates(ders);
            }
            None => load_platform_certs_incl_env_into_store(&mut roots).map_err(|_| Unreachable::Roots)?,
        }
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

/// Reaches `url` within `limit`, its addresses in turn. `trust` is for https.
pub(crate) async fn reach(
    resolver: &Resolver,
    url: &ServerUrl,
    private_network: bool,
    trust: Option<&Trust>,
    limit: Duration,
) -> Result<Reached, Unreachable> {
    let begun = Instant::now();
    let deadline = begun + limit;
    let attempt = async {
        let upstream = Upstream::new("", url, None, private_network);
        let addresses = resolver.addresses(&upstream).await.map_err(|none| match none {
            NoAddress::NotFound => Unreachable::NotFound,
            NoAddress::Denied => Unreachable::Denied,
        })?;
        let (address, stream) = connect(&addresses, deadline, limit).await?;
        let Some(trust) = trust.filter(|_| url.tls) else {
            return Ok((address, None, None));
        };
        let failed = |cause| Unreachable::Tls { address, cause };
        let name = ServerName::try_from(upstream.server_name).map_err(|e| failed(io::Error::other(e)))?;
        let secured = TlsConnector::from(Arc::clone(&trust.0)).connect(name, stream).await.map_err(failed)?;
        let (_, session) = secured.get_ref();
        let version = session.protocol_version().map(|version| match version {
            rustls::ProtocolVersion::TLSv1_3 => "TLS 1.3",
            rustls::ProtocolVersion::TLSv1_2 => "TLS 1.2",
            _ => "TLS",
        });
        let leaf = session.peer_certificates().and_then(<[_]>::first);
        Ok((address, version, leaf.and_then(|leaf| not_after(leaf))))
    };
    let (address, tls, certificate_until) =
        timeout_at(deadline, attempt).await.unwrap_or(Err(Unreachable::TimedOut(limit)))?;
    Ok(Reached { address, took: begun.elapsed(), tls, certificate_until })
}

async fn connect(
    addresses: &[SocketAddr],
    deadline: Instant,
    limit: Duration,
) -> Result<(SocketAddr, TcpStream), Unreachable> {
    let mut last = Unreachable::NotFound;
    for (tried, &address) in addresses.iter().enumerate() {
        // An address that does not answer must leave time for the next.
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        last = match timeout_at(Instant::now() + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok((address, stream)),
            Ok(Err(cause)) => Unreachable::Connect { address, cause },
            Err(_) => Unreachable::TimedOut(limit),
        };
    }
    Err(last)
}

/// The day on which a certificate ends (RFC 5280 section 4.1.2.5), if the DER is as expected. rustls has checked the
/// certificate, but shows nothing of it; this is for people to read, and nothing depends on it.
fn not_after(certificate: &[u8]) -> Option<String> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    // The version has a tag of its own and may be left out; then serial number, algorithm, issuer.
    let first = element(fields)?;
    if first.0 == 0xa0 {
        fields = first.2;
    }
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    let (_, validity, _) = element(fields)?;
    let (_, _, rest) = element(validity)?;
    let (tag, time, _) = element(rest)?;
    let text =
        std::str::from_utf8(time).ok().filter(|text| text.bytes().all(|b| b.is_ascii_alphanumeric()))?;
    let (year, rest) = match tag {
        // UTCTime: 50 to 99 are of the last century.
        0x17 => {
            let (year, rest) = text.split_at_checked(2)?;
            (format!("{}{year}", if year < "50" { "20" } else { "19" }), rest)
        }
        0x18 => text.split_at_checked(4).map(|(year, rest)| (year.to_owned(), rest))?,
        _ => return None,
    };
    Some(format!("{year}-{}-{}", rest.get(..2)?, rest.get(2..4)?))
}

/// Tag, content and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        (length.iter().try_fold(0_usize, |sum, &b| sum.checked_mul(256)?.checked_add(usize::from(b)))?, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Host;

    #[test]
    fn the_end_of_a_certificate() {
        for (year, expected) in [(2031, "2031-02-03"), (2077, "2077-02-03")] {
            let mut params = rcgen::CertificateParams::new(vec!["a.example".into()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 2, 3);
            let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
            assert_eq!(not_after(certificate.der()).as_deref(), Some(expected));
            for cut in 0..certificate.der().len().min(200) {
                assert_eq!(not_after(&certificate.der()[..cut]), None);
            }
        }
    }

    #[tokio::test]
    async fn a_port_that_is_closed_and_one_that_is_open() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = ServerUrl {
            tls: false,
            host: Host::Ip(address.ip()),
            port: address.port(),
            authority: address.to_string(),
            path: String::new(),
        };
        let resolver = Resolver::from_system();
        let limit = Duration::from_secs(5);
        let reached = reach(&resolver, &url, false, None, limit).await.unwrap();
        assert_eq!((reached.address, reached.tls), (address, None));
        drop(listener);
        let refused = reach(&resolver, &url, false, None, limit).await.unwrap_err();
        assert!(matches!(refused, Unreachable::Connect { .. }), "{refused}");
    }
}
