//! URLs that lead back to attache's own listeners.

use crate::config::decode::{At, Decoder};
use crate::config::model::{Host, Listen, ListenAddr, ServerUrl, destination};
use crate::config::problem::Finding;
use crate::config::source::Span;
use crate::config::tree::View;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The addresses that no URL of the same direction may name.
#[derive(Default)]
pub(super) struct Listeners {
    /// `listen.outbound`, which no `server_url` may name.
    pub(super) outbound: Option<Listener>,
    /// `listen.webhooks`, which no `forward_to` may name.
    pub(super) webhooks: Option<Listener>,
}

/// A TCP listener and its place in the file; `None` for a default.
pub(super) struct Listener {
    key: &'static str,
    address: SocketAddr,
    place: Option<Span>,
}

impl Listeners {
    /// Takes the addresses from `listen`, and their places from the node at `at`.
    pub(super) fn new(decoder: &Decoder<'_>, at: Option<&At<'_>>, listen: Option<&Listen>) -> Self {
        let Some(listen) = listen else { return Self::default() };
        let map = at
            .filter(|at| matches!(decoder.tree.view(at.node), View::Mapping(_)))
            .and_then(|at| decoder.names(at));
        let listener = |name, key, address: &ListenAddr| match address {
            ListenAddr::Tcp(address) => {
                let place = map.and_then(|map| map.get(key)).map(|at| decoder.place(&at));
                Some(Listener { key: name, address: *address, place })
            }
            ListenAddr::Unix(_) => None,
        };
        Self {
            outbound: listener("listen.outbound", "outbound", &listen.outbound.address),
            webhooks: listener("listen.webhooks", "webhooks", &listen.webhooks.address),
        }
    }
}

/// Reports a URL that leads back to the listener of its requests.
pub(super) fn check(decoder: &Decoder<'_>, at: &At<'_>, url: &ServerUrl, listener: Option<&Listener>) {
    let Some(listener) = listener.filter(|listener| leads_to(url, listener.address)) else { return };
    let Listener { key, address, place } = listener;
    let message = format!("{at} is attache's own {key}");
    let finding = Finding::error("loop", decoder.place(at), message)
        .label("a request would come back to this listener");
    decoder.report(match place {
        Some(place) => finding.secondary(*place, "the listener"),
        None => finding.help(format!("`{key}` is {address} by default")),
    });
}

/// Returns true if a connection to the URL's host and port arrives at a listener on `address`.
fn leads_to(url: &ServerUrl, address: SocketAddr) -> bool {
    const LOCALHOST: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let listener = address.ip().to_canonical();
    let arrives = |ip: IpAddr| {
        let ip = destination(ip);
        // A listener on `::` accepts IPv4 as well.
        let covered = listener.is_unspecified() && (listener.is_ipv6() || ip.is_ipv4());
        ip == listener || (covered && ip.is_loopback())
    };
    url.port == address.port()
        && match &url.host {
            Host::Ip(ip) => arrives(*ip),
            Host::Name(name) => name == "localhost" && LOCALHOST.into_iter().any(arrives),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_leads_to_a_listener_on_its_address_or_on_every_address() {
        let leads = |url: &str, address: &str| {
            leads_to(&crate::config::scalar::server_url(url).unwrap(), address.parse().unwrap())
        };
        for (url, address) in [
            ("http://127.0.0.1:8080/x", "127.0.0.1:8080"),
            ("https://10.0.0.1:8080", "10.0.0.1:8080"),
            ("http://localhost:8080", "127.0.0.1:8080"),
            ("http://localhost:8080", "[::1]:8080"),
            ("http://127.0.0.2:8080", "0.0.0.0:8080"),
            ("http://[::1]:8080", "[::]:8080"),
            ("http://127.0.0.1:8080", "[::]:8080"),
            ("http://[::ffff:127.0.0.1]:8080", "127.0.0.1:8080"),
            ("http://127.0.0.1", "127.0.0.1:80"),
            ("http://0.0.0.0:8080", "127.0.0.1:8080"),
            ("http://0:8080", "0.0.0.0:8080"),
            ("http://[::ffff:0.0.0.0]:8080", "127.0.0.1:8080"),
            ("http://[::]:8080", "[::1]:8080"),
            ("http://[::]:8080", "[::]:8080"),
        ] {
            assert!(leads(url, address), "{url} {address}");
        }
        for (url, address) in [
            ("http://127.0.0.1:8081", "127.0.0.1:8080"),
            ("http://127.0.0.2:8080", "127.0.0.1:8080"),
            ("http://[::1]:8080", "0.0.0.0:8080"),
            ("http://10.0.0.1:8080", "0.0.0.0:8080"),
            ("http://127.0.0.1:8080", "127.0.0.1:0"),
            ("http://a.example:8080", "0.0.0.0:8080"),
        ] {
            assert!(!leads(url, address), "{url} {address}");
        }
    }
}
