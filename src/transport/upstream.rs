//! An upstream that requests are sent to: its location, the name in its certificate, and the key of its idle
//! connections.

use super::egress::allowed;
use super::names::{Name, Names, NoAddress};
use super::pool::PoolKey;
use super::tls::{TlsClient, TlsError, server_name};
use crate::config::model::{Host, ServerUrl, ServiceTls};
use crate::secret::sha256;
use http::HeaderValue;
use rustls_pki_types::ServerName;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use url::{Position, Url};

/// The location of a server.
enum Server {
    /// At this address, for which the key of idle connections is computed once.
    At(SocketAddr, PoolKey),
    /// At the addresses of a name, with a port.
    Named(Arc<Name>, u16),
}

/// TLS to one upstream.
pub(super) struct Tls {
    pub(super) client: Arc<TlsClient>,
    host: String,
}

impl Tls {
    /// Returns the name that the certificate must have.
    pub(super) fn name(&self) -> Result<ServerName<'static>, TlsError> {
        server_name(&self.host)
    }
}

/// A `server_url` or `forward_to`, prepared for the request path.
pub struct Upstream {
    server: Server,
    pub(super) tls: Option<Tls>,
    /// The value of `Host`.
    pub authority: HeaderValue,
    /// The path prefix that no request can leave: empty, or it starts with a slash and does not end with one.
    pub prefix: String,
    /// Identifies everything that separates idle connections, except the address.
    group: u64,
    /// True if a name may lead into a private network.
    private_network: bool,
    /// Time of the last logged failure, in milliseconds since the start: one line per ten seconds.
    pub last_warning: AtomicU64,
}

impl Upstream {
    pub(super) fn new(
        sharing: &str,
        url: &ServerUrl,
        (tls, client): (&ServiceTls, Option<Arc<TlsClient>>),
        private_network: bool,
        names: &Names,
    ) -> Self {
        let host = match &url.host {
            Host::Name(name) => name.clone(),
            Host::Ip(ip) => ip.to_string(),
        };
        let host = tls.server_name.clone().unwrap_or(host);
        let group = group(sharing, &host, url.tls.then_some(tls));
        let server = match &url.host {
            Host::Name(name) => Server::Named(names.name(name), url.port),
            Host::Ip(ip) => {
                let address = SocketAddr::new(*ip, url.port);
                Server::At(address, PoolKey::new(group, address))
            }
        };
        Self {
            server,
            group,
            tls: client.map(|client| Tls { client, host }),
            // An authority consists of bytes that a header may contain.
            authority: HeaderValue::from_str(&url.authority).unwrap_or(HeaderValue::from_static("")),
            prefix: url.path.clone(),
            private_network,
            last_warning: AtomicU64::new(0),
        }
    }

    /// Returns true if requests are sent by https.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Returns the target on the upstream for `rest` (empty, or `/…`, with its query): always below the prefix, always
    /// in origin form.
    pub fn target(&self, rest: &[u8]) -> Vec<u8> {
        let mut target = Vec::with_capacity(self.prefix.len() + rest.len() + 1);
        target.extend_from_slice(self.prefix.as_bytes());
        if target.is_empty() && !rest.starts_with(b"/") {
            target.push(b'/');
        }
        target.extend_from_slice(rest);
        target
    }

    /// Returns the addresses to try.
    pub(super) async fn addresses(&self) -> Result<Resolved, NoAddress> {
        match &self.server {
            Server::At(address, _) => Ok(Resolved { allowed: vec![*address], all: None }),
            Server::Named(name, port) => {
                let all = name.addresses().await?;
                let allowed = self.allowed(&all, *port);
                if allowed.is_empty() {
                    Err(NoAddress::Denied)
                } else {
                    Ok(Resolved { allowed, all: Some(all) })
                }
            }
        }
    }

    fn allowed(&self, all: &[IpAddr], port: u16) -> Vec<SocketAddr> {
        allowed(all, self.private_network).map(|ip| SocketAddr::new(ip, port)).collect()
    }

    /// Returns the keys of the idle connections to the addresses that are known and fresh.
    pub(super) fn known_keys(&self) -> SmallKeys {
        match &self.server {
            Server::At(address, key) => SmallKeys::One((*address, *key)),
            Server::Named(name, port) => {
                let known = name.known();
                let allowed = self.allowed(known.as_deref().unwrap_or_default(), *port);
                SmallKeys::Several(allowed.into_iter().map(|address| (address, self.key(address))).collect())
            }
        }
    }

    /// Returns the key of the idle connections to `address`.
    pub(super) fn key(&self, address: SocketAddr) -> PoolKey {
        match &self.server {
            Server::At(_, key) => *key,
            Server::Named(..) => PoolKey::new(self.group, address),
        }
    }

    /// Records that a connection to `address` was made.
    pub(super) fn worked(&self, address: SocketAddr) {
        if let Server::Named(name, _) = &self.server {
            name.worked(address.ip());
        }
    }

    /// Returns addresses other than `tried`, none of which accepted a connection.
    pub(super) async fn moved(&self, tried: &Resolved) -> Option<Vec<SocketAddr>> {
        let (Server::Named(name, port), Some(tried)) = (&self.server, &tried.all) else { return None };
        let allowed = self.allowed(&name.all_failed(tried).await?, *port);
        (!allowed.is_empty()).then_some(allowed)
    }
}

/// The resolved addresses of an upstream.
pub(super) struct Resolved {
    /// The addresses that may be connected to, the best first; at least one.
    pub(super) allowed: Vec<SocketAddr>,
    /// All addresses of the name.
    all: Option<Arc<[IpAddr]>>,
}

/// Addresses with the keys of their idle connections; a single one needs no allocation.
pub(super) enum SmallKeys {
    One((SocketAddr, PoolKey)),
    Several(Vec<(SocketAddr, PoolKey)>),
}

impl std::ops::Deref for SmallKeys {
    type Target = [(SocketAddr, PoolKey)];

    fn deref(&self) -> &[(SocketAddr, PoolKey)] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }
}

/// Returns the server of an http or https URL.
pub(super) fn server_of(url: &Url) -> Option<ServerUrl> {
    let tls = match url.scheme() {
        "http" => false,
        "https" => true,
        _ => return None,
    };
    let host = match url.host()? {
        url::Host::Domain(name) => Host::Name(name.to_owned()),
        url::Host::Ipv4(ip) => Host::Ip(ip.into()),
        url::Host::Ipv6(ip) => Host::Ip(ip.into()),
    };
    let authority = url[Position::BeforeHost..Position::AfterPort].to_owned();
    Some(ServerUrl { tls, host, port: url.port_or_known_default()?, authority, path: String::new() })
}

/// Returns the digest of everything that separates idle connections, except the address. `host` is the name in the
/// certificate, `tls` is `None` for http.
fn group(sharing: &str, host: &str, tls: Option<&ServiceTls>) -> u64 {
    let mut parts: Vec<[u8; 32]> = vec![sha256(sharing.as_bytes())];
    if let Some(tls) = tls {
        parts.push(sha256(host.as_bytes()));
        parts.push(tls.identity.as_ref().map_or([0; 32], |pem| sha256(pem.expose().as_bytes())));
        parts.extend(tls.ca.iter().flat_map(|ca| &ca.certificates).map(|der| sha256(der)));
    }
    let digest = sha256(parts.as_flattened());
    u64::from_le_bytes(std::array::from_fn(|at| digest[at]))
}

#[cfg(test)]
mod tests {
    use super::super::for_tests;
    use super::*;
    use crate::config::model::CaBundle;
    use crate::secret::Secret;

    fn upstream(path: &str) -> Upstream {
        let url = ServerUrl {
            tls: true,
            host: Host::Name("api.example".into()),
            port: 443,
            authority: "api.example".into(),
            path: path.into(),
        };
        for_tests().upstream("mailer", &url, &ServiceTls::default(), false)
    }

    #[test]
    fn targets_stay_below_the_prefix() {
        let cases: [(&str, &[u8], &[u8]); 7] = [
            ("", b"", b"/"),
            ("", b"?x", b"/?x"),
            ("", b"/", b"/"),
            ("", b"/a%2Fb//c?d=%41", b"/a%2Fb//c?d=%41"),
            ("/v3", b"", b"/v3"),
            ("/v3", b"?x", b"/v3?x"),
            ("/v3", b"/mail", b"/v3/mail"),
        ];
        for (prefix, rest, expected) in cases {
            assert_eq!(upstream(prefix).target(rest), expected, "{prefix} + {}", rest.escape_ascii());
        }
    }

    #[test]
    fn the_server_of_a_url() {
        let server = |url: &str| server_of(&url.parse().expect(url));
        for (url, tls, host, port, authority) in [
            ("https://ID.example/token?a=b", true, Host::Name("id.example".into()), 443, "id.example"),
            ("https://id.example:443/", true, Host::Name("id.example".into()), 443, "id.example"),
            ("http://[::1]:8080", false, Host::Ip([0, 0, 0, 0, 0, 0, 0, 1].into()), 8080, "[::1]:8080"),
            ("http://127.0.0.1/", false, Host::Ip([127, 0, 0, 1].into()), 80, "127.0.0.1"),
        ] {
            let expected = ServerUrl { tls, host, port, authority: authority.into(), path: String::new() };
            assert_eq!(server(url), Some(expected), "{url}");
        }
        assert_eq!(server("ftp://id.example/"), None);
        assert_eq!(server("data:text/plain,x"), None);
    }

    #[test]
    fn connections_are_shared_only_where_all_else_is_the_same() {
        let ca = CaBundle { path: "ca.pem".into(), certificates: vec![vec![1]] };
        let (none, identity) = (ServiceTls::default(), |pem: &str| ServiceTls {
            identity: Some(Secret::new(pem)),
            ..ServiceTls::default()
        });
        let groups = [
            group("a", "x", Some(&none)),
            group("b", "x", Some(&none)),
            group("a", "y", Some(&none)),
            group("a", "x", None),
            group("a", "x", Some(&ServiceTls { ca: Some(ca), ..ServiceTls::default() })),
            group("a", "x", Some(&identity("one"))),
            group("a", "x", Some(&identity("two"))),
        ];
        for (at, one) in groups.iter().enumerate() {
            assert!(!groups[at + 1..].contains(one), "{at}");
        }
        assert_eq!(group("", "x", None), group("", "y", None), "the address is in the pool's key");
    }
}
