//! From a server's name to its addresses, without ever blocking a worker.
//!
//! Each upstream keeps what its name last resolved to. While that is fresh, a request costs one atomic load; when it is
//! not, one request looks the name up while the others go on with what is known, so that no thundering herd meets the
//! name server and nobody waits who has an address to try. A look-up that fails leaves the last addresses in place.

use crate::config::model::Host;
use crate::upstream::{Resolved, Upstream};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::ResolverConfig;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// However short or long the name server says.
const TTL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// How long a failed look-up is believed.
const NEGATIVE_TTL: Duration = Duration::from_secs(2);
/// How long the one request that asks again waits for the name server, before it goes on with what was known: an outage
/// of the name server costs one request in two seconds this much.
const STALE_WAIT: Duration = Duration::from_millis(250);

/// Looks names up, by the system's configuration (`/etc/resolv.conf`, `/etc/hosts`).
pub(crate) struct Resolver(TokioResolver);

/// Why there is no address.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoAddress {
    /// The name does not resolve.
    NotFound,
    /// All its addresses are of our own network.
    Denied,
}

impl Resolver {
    /// Reads the system's configuration; without one, only `/etc/hosts` answers.
    pub(crate) fn from_system() -> Self {
        let system = TokioResolver::builder_tokio().and_then(|builder| builder.build());
        Self(system.unwrap_or_else(|error| {
            tracing::warn!(%error, "no usable name server configuration; only /etc/hosts will answer");
            TokioResolver::builder_with_config(ResolverConfig::default(), TokioRuntimeProvider::default())
                .build()
                .unwrap_or_else(|_| unreachable!("an empty configuration is a valid one"))
        }))
    }

    /// The addresses of `upstream`, the best first; at least one.
    pub(super) async fn addresses(&self, upstream: &Upstream) -> Result<Vec<SocketAddr>, NoAddress> {
        let name = match &upstream.host {
            Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, upstream.port)]),
            Host::Name(name) => name,
        };
        if let Some(known) = upstream.resolved.load_full() {
            if Instant::now() < known.fresh_until {
                return usable(&known, upstream.port);
            }
            // Somebody else is asking: go on with what is known.
            let Ok(_guard) = upstream.lookup.try_lock() else {
                return usable(&known, upstream.port);
            };
            let look_up = self.look_up(name, upstream.private_network);
            let found =
                tokio::time::timeout(STALE_WAIT, look_up).await.unwrap_or_else(|_| Resolved::failed());
            let kept = if found.addresses.is_empty() && !found.denied && !known.addresses.is_empty() {
                Resolved { addresses: known.addresses.clone(), ..found }
            } else {
                found
            };
            return store(upstream, kept);
        }
        let _guard = upstream.lookup.lock().await;
        if let Some(known) = upstream.resolved.load_full().filter(|known| Instant::now() < known.fresh_until)
        {
            return usable(&known, upstream.port);
        }
        store(upstream, self.look_up(name, upstream.private_network).await)
    }

    async fn look_up(&self, name: &str, private_network: bool) -> Resolved {
        match self.0.lookup_ip(name).await {
            Ok(found) => {
                let now = Instant::now();
                let ttl = found.valid_until().saturating_duration_since(now).clamp(TTL.0, TTL.1);
                let all: Vec<IpAddr> = found.iter().collect();
                let addresses: Vec<IpAddr> =
                    all.iter().copied().filter(|ip| private_network || !is_internal(*ip)).collect();
                Resolved {
                    denied: !all.is_empty() && addresses.is_empty(),
                    addresses,
                    fresh_until: now + ttl,
                }
            }
            Err(_) => Resolved::failed(),
        }
    }
}

impl Resolved {
    fn failed() -> Self {
        Self { addresses: Vec::new(), fresh_until: Instant::now() + NEGATIVE_TTL, denied: false }
    }
}

fn store(upstream: &Upstream, resolved: Resolved) -> Result<Vec<SocketAddr>, NoAddress> {
    let resolved = Arc::new(resolved);
    upstream.resolved.store(Some(Arc::clone(&resolved)));
    usable(&resolved, upstream.port)
}

fn usable(resolved: &Resolved, port: u16) -> Result<Vec<SocketAddr>, NoAddress> {
    match (resolved.addresses.as_slice(), resolved.denied) {
        ([], true) => Err(NoAddress::Denied),
        ([], false) => Err(NoAddress::NotFound),
        (addresses, _) => Ok(addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect()),
    }
}

/// Whether an address belongs to this host, a private network or a link: where a foreign name must not lead, or its
/// owner could point our credentials, or requests in our name, at our own systems.
fn is_internal(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => is_internal_v4(v4),
        IpAddr::V6(v6) => embedded_v4(v6).is_some_and(is_internal_v4) || is_internal_v6(v6),
    }
}

fn is_internal_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    a == 0
        || ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || (a == 100 && (b & 0xc0) == 64) // shared address space, RFC 6598
        || (a == 198 && (b & 0xfe) == 18) // benchmarking, RFC 2544
        || ip.octets()[..3] == [192, 0, 0] // protocol assignments, RFC 6890
        || ip.is_multicast()
        || a >= 240
}

fn is_internal_v6(ip: Ipv6Addr) -> bool {
    ip.is_unspecified()
        || ip.is_loopback()
        || ip.is_multicast()
        || ip.is_unique_local()
        || ip.is_unicast_link_local()
        || (ip.segments()[0] & 0xffc0) == 0xfec0 // site-local, deprecated but routed by some
        || ip.segments()[..3] == [0x64, 0xff9b, 1] // local-use translation, RFC 8215
        || ip.segments()[..2] == [0x2001, 0] // Teredo: leads to an IPv4 address of the sender's choice
}

/// The IPv4 address that an IPv6 one stands for: mapped, compatible, NAT64 (RFC 6052) and 6to4 (RFC 3056).
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let last = |s: [u16; 8]| {
        let [a, b] = s[6].to_be_bytes();
        let [c, d] = s[7].to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match ip.segments() {
        s @ [0, 0, 0, 0, 0, 0 | 0xffff, _, _] if !ip.is_loopback() && !ip.is_unspecified() => Some(last(s)),
        s @ [0x64, 0xff9b, 0, 0, 0, 0, _, _] => Some(last(s)),
        [0x2002, high, low, ..] => {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::ServerUrl;

    #[test]
    fn internal_addresses_are_told_from_public_ones() {
        for ip in [
            "127.0.0.1",
            "127.8.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "fec0::1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "64:ff9b:1::a00:1",
            "2001:0:1::1",
            "192.0.0.8",
            "64:ff9b::127.0.0.1",
            "2002:7f00:1::",
        ] {
            assert!(is_internal(ip.parse().expect(ip)), "{ip}");
        }
        for ip in
            ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1"]
        {
            assert!(!is_internal(ip.parse().expect(ip)), "{ip}");
        }
    }

    fn upstream(name: &str, private_network: bool) -> Upstream {
        let url = ServerUrl {
            tls: false,
            host: Host::Name(name.into()),
            port: 80,
            authority: name.into(),
            path: String::new(),
        };
        Upstream::new("s", &url, None, private_network)
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_host_is_denied_unless_allowed() {
        let resolver = Resolver::from_system();
        assert_eq!(resolver.addresses(&upstream("localhost", false)).await, Err(NoAddress::Denied));
        let allowed = resolver.addresses(&upstream("localhost", true)).await.expect("localhost resolves");
        assert!(allowed.iter().all(|address| address.ip().is_loopback() && address.port() == 80));
    }

    #[tokio::test]
    async fn known_addresses_outlive_a_failed_look_up() {
        let (resolver, upstream) = (Resolver::from_system(), upstream("no-such-host.invalid", false));
        let known =
            Resolved { addresses: vec![[1, 1, 1, 1].into()], fresh_until: Instant::now(), denied: false };
        upstream.resolved.store(Some(Arc::new(known)));
        assert_eq!(resolver.addresses(&upstream).await, Ok(vec![([1, 1, 1, 1], 80).into()]));
    }
}
