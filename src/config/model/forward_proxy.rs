//! `proxy`: the forward proxy through which attache reaches services, token endpoints and key sets.

use super::{Host, ServerUrl, UnreadSecret};
use http::HeaderValue;
use ipnet::IpNet;
use std::sync::Arc;

/// A forward proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardProxy {
    /// Its location, an http URL without a path.
    pub url: ServerUrl,
    /// The value of `Proxy-Authorization`, marked sensitive.
    pub authorization: Option<HeaderValue>,
}

/// The proxies of one `proxy`, and the servers that are reached without them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyRules {
    /// The proxy for http servers.
    pub http: Option<Arc<ForwardProxy>>,
    /// The proxy for https servers.
    pub https: Option<Arc<ForwardProxy>>,
    /// `from_environment`: the proxies are those of the variables, if these were read.
    pub from_environment: bool,
    /// `no_proxy`.
    pub no_proxy: Vec<NoProxy>,
    /// The password, if it can't be read.
    pub unread: Option<UnreadSecret>,
}

/// An entry of `no_proxy`, with a port if it holds for that port only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoProxy {
    /// `*`: every server.
    All,
    /// A domain in lower case without a leading dot: the name itself and all names below it.
    Domain(String, Option<u16>),
    /// A network, for address literals: names are not resolved.
    Network(IpNet, Option<u16>),
}

/// The proxy of a service, an account or a key set: its own, or that of the whole file.
#[derive(Debug, Clone, Default)]
pub struct UsedProxy {
    /// The rules; `None` is direct.
    pub rules: Option<Arc<ProxyRules>>,
    /// The owner has a `proxy` of its own.
    pub is_own: bool,
}

/// A change of the file's `proxy` changes no service and no account.
impl PartialEq for UsedProxy {
    fn eq(&self, other: &Self) -> bool {
        self.is_own == other.is_own && (!self.is_own || self.rules == other.rules)
    }
}

impl Eq for UsedProxy {}

impl UsedProxy {
    /// Returns the proxy on the way to `server`; `None`: it is reached directly.
    pub fn for_server(&self, server: &ServerUrl) -> Option<&Arc<ForwardProxy>> {
        let rules = self.rules.as_ref()?;
        let proxy = if server.tls { &rules.https } else { &rules.http };
        proxy.as_ref().filter(|_| !rules.is_direct(server))
    }

    /// Returns true if variables that were not read, or are not set, may name a proxy on the way to `server`.
    pub fn may_be_of_environment(&self, server: &ServerUrl) -> bool {
        let rules = self.rules.as_ref().filter(|rules| rules.from_environment && !rules.is_direct(server));
        rules.is_some() && self.for_server(server).is_none()
    }

    /// Returns the unreadable password of the proxy on the way to `server`.
    pub fn unread_for(&self, server: &ServerUrl) -> Option<&UnreadSecret> {
        self.for_server(server).and(self.rules.as_ref()?.unread.as_ref())
    }
}

impl ProxyRules {
    /// Returns true if `server` is reached without a proxy. This host always is.
    fn is_direct(&self, server: &ServerUrl) -> bool {
        let is_here = match &server.host {
            Host::Ip(ip) => super::destination(*ip).is_loopback(),
            Host::Name(name) => name.trim_end_matches('.') == "localhost",
        };
        is_here || self.no_proxy.iter().any(|entry| entry.covers(&server.host, server.port))
    }
}

impl NoProxy {
    fn covers(&self, host: &Host, port: u16) -> bool {
        let fits = |only: &Option<u16>| only.is_none_or(|only| only == port);
        match (self, host) {
            (Self::All, _) => true,
            (Self::Domain(domain, only), Host::Name(name)) => {
                let above = name.trim_end_matches('.').strip_suffix(domain.as_str());
                fits(only) && above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
            }
            (Self::Network(network, only), Host::Ip(ip)) => {
                fits(only) && network.contains(&ip.to_canonical())
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::scalar;

    fn proxy(url: &str) -> Option<Arc<ForwardProxy>> {
        let url = scalar::bare_url(url).unwrap();
        Some(Arc::new(ForwardProxy { url, authorization: None }))
    }

    fn used(no_proxy: &[&str]) -> UsedProxy {
        let no_proxy = no_proxy.iter().map(|text| scalar::no_proxy(text).unwrap()).collect();
        let (http, https) = (proxy("http://plain.example:3128"), proxy("http://tls.example:3129"));
        let rules = ProxyRules { http, https, no_proxy, ..ProxyRules::default() };
        UsedProxy { rules: Some(Arc::new(rules)), is_own: false }
    }

    fn port(used: &UsedProxy, url: &str) -> Option<u16> {
        used.for_server(&scalar::server_url(url).unwrap()).map(|proxy| proxy.url.port)
    }

    #[test]
    fn the_scheme_decides_and_this_host_is_direct() {
        let used = used(&[]);
        for (url, expected) in [
            ("https://api.example", Some(3129)),
            ("http://api.example", Some(3128)),
            ("https://10.0.0.1", Some(3129)),
            ("https://localhost.example", Some(3129)),
            ("https://localhost", None),
            ("http://localhost:8080", None),
            ("http://127.0.0.1", None),
            ("http://127.8.9.10", None),
            ("http://2130706433", None),
            ("http://[::1]:1", None),
            ("http://[::ffff:127.0.0.1]", None),
            ("http://0.0.0.0", None),
        ] {
            assert_eq!(port(&used, url), expected, "{url}");
        }
        assert_eq!(port(&UsedProxy::default(), "https://api.example"), None);
    }

    #[test]
    fn no_proxy_by_name_suffix_network_and_port() {
        let is_direct = |entry, url: &str| port(&used(&[entry]), url).is_none();
        for (entry, url, expected) in [
            ("corp.example", "https://corp.example", true),
            ("corp.example", "https://a.b.corp.example", true),
            (".corp.example", "https://a.corp.example", true),
            (".corp.example", "https://corp.example", true),
            ("*.corp.example", "https://a.corp.example", true),
            ("CORP.Example", "https://API.corp.EXAMPLE", true),
            ("corp.example", "https://corp.example.", true),
            ("corp.example.", "https://corp.example", true),
            ("corp.example", "https://notcorp.example", false),
            ("corp.example", "https://corp.example.evil.example", false),
            ("10.0.0.0/8", "https://10.1.2.3", true),
            ("10.0.0.0/8", "https://[::ffff:10.1.2.3]", true),
            ("::ffff:10.0.0.0/104", "https://10.1.2.3", true),
            ("::ffff:10.1.2.3", "https://10.1.2.3", true),
            ("[::ffff:10.1.2.3]:443", "https://10.1.2.3", true),
            ("::ffff:10.1.2.3", "https://[::ffff:10.1.2.3]", true),
            ("10.0.0.0/8", "https://11.1.2.3", false),
            ("10.0.0.0/8", "https://10.example", false),
            ("192.0.2.1", "https://192.0.2.1:8443", true),
            ("2001:db8::/32", "https://[2001:db8::1]", true),
            ("[2001:db8::1]:8443", "https://[2001:db8::1]:8443", true),
            ("[2001:db8::1]:8443", "https://[2001:db8::1]", false),
            ("api.example:8443", "https://api.example:8443", true),
            ("api.example:8443", "https://api.example", false),
            ("*", "https://any.example", true),
        ] {
            assert_eq!(is_direct(entry, url), expected, "{entry} {url}");
        }
        for entry in
            ["", "http://a.example", "a b", "a.example:0", "a.example:x", "10.0.0.1/8", "a*b", "a/b", "-a"]
        {
            assert!(scalar::no_proxy(entry).is_err(), "{entry}");
        }
    }

    #[test]
    fn only_an_own_proxy_is_a_difference() {
        let (one, other) = (used(&[]), used(&["corp.example"]));
        assert_eq!(one, other);
        assert_eq!(one, UsedProxy::default(), "the file's `proxy` was removed");
        let own = |used: &UsedProxy| UsedProxy { is_own: true, ..used.clone() };
        assert_ne!(own(&one), own(&other));
        assert_ne!(own(&one), one);
    }
}
