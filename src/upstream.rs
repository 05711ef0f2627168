//! A server attache sends to: its address, its name, whom it is trusted by, and which pooled connections are its own.

use crate::config::model::{CaBundle, Host, ServerUrl};
use crate::secret::sha256;
use arc_swap::ArcSwapOption;
use http::HeaderValue;
use pingora::protocols::tls::CaType;
use pingora::utils::tls::WrappedX509;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Instant;

/// A `server_url` or `forward_to`, made ready for the request path.
pub struct Upstream {
    /// Speak TLS.
    pub tls: bool,
    /// A name to resolve, or an address.
    pub host: Host,
    /// The port.
    pub port: u16,
    /// What `Host` says.
    pub authority: HeaderValue,
    /// The path that no request can leave: empty, or it starts with a slash and does not end with one.
    pub prefix: String,
    /// The name the certificate is checked against; also sent as SNI when it is a name.
    pub server_name: String,
    /// The only roots trusted, instead of the system's.
    pub ca: Option<Arc<CaType>>,
    /// Isolates pooled connections. The engine's own key leaves the CA out, so that without this a request that
    /// trusts one CA would be sent over a connection that was opened under another.
    pub group_key: u64,
    /// Whether a name may lead into our own network.
    pub private_network: bool,
    /// The addresses last found for the name.
    pub resolved: ArcSwapOption<Resolved>,
    /// Which of the addresses to try first: the one after the last that could not be connected to.
    pub preferred: AtomicUsize,
    /// Serialises look-ups of the name.
    pub lookup: tokio::sync::Mutex<()>,
    /// When trouble with this upstream was last logged, in milliseconds since the start: one line in ten seconds.
    pub last_warning: AtomicU64,
}

/// What a name resolved to.
#[derive(Debug)]
pub struct Resolved {
    /// Usable addresses, in the order of preference. Empty: the look-up failed for `reason`.
    pub addresses: Vec<IpAddr>,
    /// Look it up again from then on.
    pub fresh_until: Instant,
    /// Every address found was one of our own network.
    pub denied: bool,
}

impl Upstream {
    /// Prepares `url`. Connections are shared by requests of the same `sharing` (a service's key, or empty) and the same
    /// trust only, and survive a reload that changes neither.
    pub fn new(sharing: &str, url: &ServerUrl, ca: Option<&CaBundle>, private_network: bool) -> Self {
        let server_name = match &url.host {
            Host::Name(name) => name.clone(),
            Host::Ip(ip) => ip.to_string(),
        };
        let mut identity = Vec::from(sharing.as_bytes());
        for certificate in ca.iter().flat_map(|ca| &ca.certificates) {
            identity.push(0);
            identity.extend_from_slice(&sha256(certificate));
        }
        let digest = sha256(&identity);
        let mut group_key = [0; 8];
        group_key.copy_from_slice(&digest[..8]);
        Self {
            tls: url.tls,
            host: url.host.clone(),
            port: url.port,
            // An authority is made of bytes that a header may hold.
            authority: HeaderValue::from_str(&url.authority).unwrap_or(HeaderValue::from_static("")),
            prefix: url.path.clone(),
            server_name,
            ca: ca.map(|ca| {
                ca.certificates
                    .iter()
                    .map(|der| WrappedX509::new(der.clone(), pingora::utils::tls::parse_x509))
                    .collect::<Vec<_>>()
                    .into()
            }),
            group_key: u64::from_le_bytes(group_key),
            private_network,
            resolved: ArcSwapOption::empty(),
            preferred: AtomicUsize::new(0),
            lookup: tokio::sync::Mutex::new(()),
            last_warning: AtomicU64::new(0),
        }
    }

    /// Where `rest` (empty, or `/…`, with its query) leads: always below the prefix, always in origin form.
    pub fn target(&self, rest: &[u8]) -> Vec<u8> {
        let mut target = Vec::with_capacity(self.prefix.len() + rest.len() + 1);
        target.extend_from_slice(self.prefix.as_bytes());
        if target.is_empty() && !rest.starts_with(b"/") {
            target.push(b'/');
        }
        target.extend_from_slice(rest);
        target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(path: &str) -> Upstream {
        let url = ServerUrl {
            tls: true,
            host: Host::Name("api.example".into()),
            port: 443,
            authority: "api.example".into(),
            path: path.into(),
        };
        Upstream::new("mailer", &url, None, false)
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
}
