//! An upstream that requests are sent to: its location, the name in its certificate, and the key of its idle
//! connections.

use super::ConnectError;
use super::egress::allowed;
use super::names::{Name, Names, NoAddress};
use super::pool::PoolKey;
use super::proxy::{Hop, ProxyError, ProxyPath};
use super::tls::{TlsClient, TlsError, server_name};
use crate::config::model::{ForwardProxy, Host, ServerUrl, ServiceTls};
use crate::log_limit::LogLimit;
use crate::secret::sha256;
use http::HeaderValue;
use rustls_pki_types::ServerName;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The location to connect to: the upstream, or the proxy before it.
enum ConnectTarget {
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
    server: ConnectTarget,
    pub(super) tls: Option<Tls>,
    /// The forward proxy before it.
    pub(super) hop: Option<Box<Hop>>,
    /// The value of `Host`.
    pub authority: HeaderValue,
    /// The path prefix that no request can leave: empty, or it starts with a slash and does not end with one.
    pub prefix: String,
    /// The end of the target of a request for the URL itself: a slash if the URL ends with one, or has no path.
    end: &'static str,
    /// Identifies everything that separates idle connections, except the address.
    group: u64,
    /// True if a name may lead into a private network.
    private_network: bool,
    /// The log lines about failures.
    pub log_limit: LogLimit,
}

impl Upstream {
    pub(super) fn new(
        (sharing, url): (&str, &ServerUrl),
        (tls, client): (&ServiceTls, Option<Arc<TlsClient>>),
        proxy: Option<&ForwardProxy>,
        private_network: bool,
        names: &Names,
    ) -> Self {
        let host = match &url.host {
            Host::Name(name) => name.clone(),
            Host::Ip(ip) => ip.to_string(),
        };
        let host = tls.server_name.clone().unwrap_or(host);
        let group = group(sharing, &host, url.tls.then_some(tls), proxy.map(|proxy| (proxy, url)));
        // The proxy resolves the upstream's name.
        let connects_to = proxy.map_or(url, |proxy| &proxy.url);
        let server = match &connects_to.host {
            Host::Name(name) => ConnectTarget::Named(names.name(name), connects_to.port),
            Host::Ip(ip) => {
                let address = SocketAddr::new(*ip, connects_to.port);
                ConnectTarget::At(address, PoolKey::new(group, address))
            }
        };
        Self {
            server,
            group,
            tls: client.map(|client| Tls { client, host }),
            hop: proxy.map(|proxy| Box::new(Hop::new(proxy, url))),
            // An authority consists of bytes that a header may contain.
            authority: HeaderValue::from_str(&url.authority).unwrap_or(HeaderValue::from_static("")),
            prefix: url.path.trim_end_matches('/').to_owned(),
            end: if url.path.is_empty() || url.path.ends_with('/') { "/" } else { "" },
            // The operator chose the proxy.
            private_network: private_network || proxy.is_some(),
            log_limit: LogLimit::default(),
        }
    }

    /// Returns true if requests are sent by https.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Returns the target on the upstream for `rest` (empty, or `/…`, with its query): always below the prefix, always
    /// in origin form. Without a path in `rest` it is that of the URL as the file has it.
    pub fn target(&self, rest: &[u8]) -> Vec<u8> {
        let end = if rest.starts_with(b"/") { "" } else { self.end };
        [self.prefix.as_bytes(), end.as_bytes(), rest].concat()
    }

    /// Returns what a request to the forward proxy itself has: the text before its target, which makes it one in absolute
    /// form, and the value of `Proxy-Authorization`. `None`: the request goes to the upstream, or through a tunnel.
    pub(crate) fn absolute_form(&self) -> Option<(&str, Option<&HeaderValue>)> {
        match &self.hop.as_ref()?.way {
            ProxyPath::Absolute { prefix, authorization } => Some((prefix, authorization.as_ref())),
            ProxyPath::Tunnel(_) => None,
        }
    }

    /// Returns the meaning of a 407 to a request in absolute form; `None`: the request did not go to a proxy.
    pub(crate) fn refused_by_proxy(&self) -> Option<ConnectError> {
        let hop = self.hop.as_ref().filter(|hop| matches!(hop.way, ProxyPath::Absolute { .. }))?;
        Some(hop.failed(None, ProxyError::Authentication))
    }

    /// Returns host and port of the forward proxy before it.
    pub fn proxy(&self) -> Option<&str> {
        self.hop.as_ref().map(|hop| hop.proxy.as_str())
    }

    /// Returns the addresses to try.
    pub(super) async fn addresses(&self) -> Result<ResolvedAddresses, NoAddress> {
        match &self.server {
            ConnectTarget::At(address, _) => Ok(ResolvedAddresses { allowed: vec![*address], all: None }),
            ConnectTarget::Named(name, port) => {
                let all = name.addresses().await?;
                let allowed = self.allowed(&all, *port);
                if allowed.is_empty() {
                    Err(NoAddress::Denied)
                } else {
                    Ok(ResolvedAddresses { allowed, all: Some(all) })
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
            ConnectTarget::At(address, key) => SmallKeys::One((*address, *key)),
            ConnectTarget::Named(name, port) => {
                let known = name.known();
                let allowed = self.allowed(known.as_deref().unwrap_or_default(), *port);
                SmallKeys::Several(allowed.into_iter().map(|address| (address, self.key(address))).collect())
            }
        }
    }

    /// Returns the key of the idle connections to `address`.
    pub(super) fn key(&self, address: SocketAddr) -> PoolKey {
        match &self.server {
            ConnectTarget::At(_, key) => *key,
            ConnectTarget::Named(..) => PoolKey::new(self.group, address),
        }
    }

    /// Records that a connection to `address` was made.
    pub(super) fn worked(&self, address: SocketAddr) {
        if let ConnectTarget::Named(name, _) = &self.server {
            name.worked(address.ip());
        }
    }

    /// Returns addresses other than `tried`, none of which accepted a connection.
    pub(super) async fn moved(&self, tried: &ResolvedAddresses) -> Option<Vec<SocketAddr>> {
        let (ConnectTarget::Named(name, port), Some(tried)) = (&self.server, &tried.all) else { return None };
        let allowed = self.allowed(&name.all_failed(tried).await?, *port);
        (!allowed.is_empty()).then_some(allowed)
    }
}

/// The resolved addresses of an upstream.
pub(super) struct ResolvedAddresses {
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

/// Returns the digest of everything that separates idle connections, except the address. `host` is the name in the
/// certificate, `tls` is `None` for http.
fn group(
    sharing: &str,
    host: &str,
    tls: Option<&ServiceTls>,
    proxy: Option<(&ForwardProxy, &ServerUrl)>,
) -> u64 {
    let mut parts: Vec<[u8; 32]> = vec![sha256(sharing.as_bytes())];
    if let Some(tls) = tls {
        parts.push(sha256(host.as_bytes()));
        parts.push(tls.identity.as_ref().map_or([0; 32], |pem| sha256(pem.expose().as_bytes())));
        parts.extend(tls.ca.iter().flat_map(|ca| &ca.certificates).map(|der| sha256(der)));
    }
    if let Some((proxy, url)) = proxy {
        // The address is the proxy's, so the upstream's host and port belong here.
        parts.push(sha256(format!("{}\0{}\0{}", proxy.url.authority, url.authority, url.port).as_bytes()));
        parts.push(proxy.authorization.as_ref().map_or([0; 32], |value| sha256(value.as_bytes())));
    }
    let digest = sha256(parts.as_flattened());
    u64::from_le_bytes(std::array::from_fn(|at| digest[at]))
}

#[cfg(test)]
mod tests {
    use super::super::for_tests;
    use super::*;
    use crate::config::model::{CaBundle, UsedProxy};
    use crate::secret::Secret;

    fn upstream(path: &str) -> Upstream {
        let url = ServerUrl {
            tls: true,
            host: Host::Name("api.example".into()),
            port: 443,
            authority: "api.example".into(),
            path: path.into(),
        };
        for_tests().upstream("mailer", &url, &ServiceTls::default(), &UsedProxy::default(), false)
    }

    #[test]
    fn targets_stay_below_the_prefix() {
        let cases: [(&str, &[u8], &[u8]); 11] = [
            ("", b"", b"/"),
            ("", b"?x", b"/?x"),
            ("", b"/", b"/"),
            ("", b"/a%2Fb//c?d=%41", b"/a%2Fb//c?d=%41"),
            ("/v3", b"", b"/v3"),
            ("/v3", b"?x", b"/v3?x"),
            ("/v3", b"/mail", b"/v3/mail"),
            ("/v3/", b"", b"/v3/"),
            ("/v3/", b"?x", b"/v3/?x"),
            ("/v3/", b"/", b"/v3/"),
            ("/v3/", b"/mail", b"/v3/mail"),
        ];
        for (prefix, rest, expected) in cases {
            assert_eq!(upstream(prefix).target(rest), expected, "{prefix} + {}", rest.escape_ascii());
        }
    }

    #[test]
    fn connections_are_shared_only_where_all_else_is_the_same() {
        let ca = CaBundle { path: "ca.pem".into(), certificates: vec![vec![1]] };
        let (none, identity) = (ServiceTls::default(), |pem: &str| ServiceTls {
            identity: Some(Secret::new(pem)),
            ..ServiceTls::default()
        });
        let server = |text: &str| ServerUrl::of(&text.parse().expect(text)).expect(text);
        let proxy = |text: &str, value: Option<&'static str>| ForwardProxy {
            url: server(text),
            authorization: value.map(HeaderValue::from_static),
        };
        let (target, other) = (server("https://x.example"), server("https://x.example:8443"));
        let through = [
            (proxy("http://p.example:1", None), &target),
            (proxy("http://p.example:1", None), &other),
            (proxy("http://q.example:1", None), &target),
            (proxy("http://p.example:1", Some("Basic a")), &target),
            (proxy("http://p.example:1", Some("Basic b")), &target),
        ];
        let mut groups = vec![
            group("a", "x", Some(&none), None),
            group("b", "x", Some(&none), None),
            group("a", "y", Some(&none), None),
            group("a", "x", None, None),
            group("a", "x", Some(&ServiceTls { ca: Some(ca), ..ServiceTls::default() }), None),
            group("a", "x", Some(&identity("one")), None),
            group("a", "x", Some(&identity("two")), None),
        ];
        groups.extend(through.iter().map(|(proxy, url)| group("a", "x", Some(&none), Some((proxy, url)))));
        for (at, one) in groups.iter().enumerate() {
            assert!(!groups[at + 1..].contains(one), "{at}");
        }
        assert_eq!(
            group("", "x", None, None),
            group("", "y", None, None),
            "the address is in the pool's key"
        );
    }
}
