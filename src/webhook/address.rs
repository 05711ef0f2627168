//! The address of a client behind trusted proxies.

use crate::config::model::TrustedProxies;
use crate::message::Fields;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// The client of a call, as far as it can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Its address; `None` if no trusted source states it.
    pub address: Option<IpAddr>,
    /// True if it used https: to a trusted proxy, or to the listener.
    pub https: bool,
    /// True if a trusted proxy forwarded the call.
    pub forwarded: bool,
}

impl Client {
    /// Reads `X-Forwarded-For` from the right for as long as trusted proxies wrote it: the first address that is not a
    /// trusted proxy's is the client's; a client can forge the entries left of it. `peer` is the other end of the
    /// connection, `None` on a unix socket, and `is_tls` is true if it is encrypted. Without trusted proxies, nothing
    /// is read.
    pub fn of(peer: Option<IpAddr>, is_tls: bool, fields: &Fields, trusted: &TrustedProxies) -> Self {
        let peer = peer.map(|address| address.to_canonical());
        if !peer.map_or(trusted.unix, |address| contains(&trusted.networks, address)) {
            return Self { address: peer, https: is_tls, forwarded: false };
        }
        let (mut address, mut hops) = (peer, 0);
        for entry in entries(fields, FORWARDED_FOR) {
            (address, hops) = (parse(entry), hops + 1);
            if !address.is_some_and(|address| contains(&trusted.networks, address)) {
                break;
            }
        }
        let https = scheme(fields, hops).map_or(is_tls, |scheme| {
            // Traefik writes `wss` for a WebSocket.
            [&b"https"[..], b"wss"].iter().any(|secure| scheme.eq_ignore_ascii_case(secure))
        });
        Self { address, https, forwarded: true }
    }

    /// Returns true if one of `networks` contains the address. An unknown address passes only an empty list.
    pub fn is_within(&self, networks: &[IpNet]) -> bool {
        networks.is_empty() || self.address.is_some_and(|address| contains(networks, address))
    }
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// Returns the scheme that the client used, as the trusted proxy that it called states it. A proxy that appends to
/// `X-Forwarded-For` appends to `X-Forwarded-Proto` too, or replaces it: `hops` entries from the right are of trusted
/// proxies, and of a shorter list all are.
fn scheme(fields: &Fields, hops: usize) -> Option<&[u8]> {
    entries(fields, FORWARDED_PROTO).take(hops.max(1)).last()
}

/// Returns every entry of a list in all its lines, the last one first.
fn entries<'f>(fields: &'f Fields, name: &'static str) -> impl Iterator<Item = &'f [u8]> {
    let lines: Vec<&[u8]> = fields.all(name).collect();
    lines.into_iter().rev().flat_map(|line| line.rsplit(|&b| b == b',')).map(<[u8]>::trim_ascii)
}

/// An address, perhaps with a port.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|with_port| with_port.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, lines: &[&'static str]) -> Option<String> {
        let trusted = TrustedProxies { networks: vec!["10.0.0.0/8".parse().expect("a network")], unix: true };
        let fields = Fields::collect(lines.iter().map(|line| (FORWARDED_FOR.as_bytes(), line.as_bytes())));
        Client::of(peer.parse().ok(), false, &fields, &trusted).address.map(|address| address.to_string())
    }

    #[test]
    fn the_scheme_is_that_of_the_clients_own_connection() {
        let https = |forwarded_for: &[&'static str], protos: &[&'static str], is_tls| {
            let trusted =
                TrustedProxies { networks: vec!["10.0.0.0/8".parse().expect("a network")], unix: false };
            let lines = forwarded_for.iter().map(|line| (FORWARDED_FOR.as_bytes(), line.as_bytes()));
            let lines = lines.chain(protos.iter().map(|line| (FORWARDED_PROTO.as_bytes(), line.as_bytes())));
            let fields = Fields::collect(lines);
            let peer = "10.0.0.1".parse().ok();
            let untrusted = Client::of("192.0.2.9".parse().ok(), is_tls, &fields, &trusted);
            assert_eq!(untrusted.https, is_tls, "the headers of an untrusted peer are not read");
            Client::of(peer, is_tls, &fields, &trusted).https
        };
        const ONE: &[&str] = &["203.0.113.1"];
        const TWO: &[&str] = &["203.0.113.1, 10.0.0.2"];
        for (forwarded_for, protos, is_tls, expected) in [
            (ONE, &["https"][..], false, true),
            (ONE, &["HTTPS"], false, true),
            (ONE, &["Https"], false, true),
            (ONE, &["wss"], false, true),
            (ONE, &["http"], true, false),
            (ONE, &["httpss"], true, false),
            (ONE, &[""], true, false),
            (ONE, &[], true, true),
            (ONE, &[], false, false),
            (TWO, &["https, http"], false, true),
            (TWO, &["https,http"], false, true),
            (TWO, &["http , https"], false, false),
            (TWO, &["https", "http"], false, true),
            (TWO, &["https"], false, true),
            (&[], &["https"], false, true),
            // The client sent `https` itself, and its proxy appended the scheme that it saw.
            (ONE, &["https, http"], false, false),
            (ONE, &["https", "http"], false, false),
            (TWO, &["https, http, http"], false, false),
            (&[], &["https, http"], false, false),
            (&["nonsense"], &["https, http"], false, false),
        ] {
            assert_eq!(
                https(forwarded_for, protos, is_tls),
                expected,
                "{forwarded_for:?} {protos:?} {is_tls}"
            );
        }
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let is = |address: &str| Some(address.to_owned());
        assert_eq!(
            client("192.0.2.9", &["203.0.113.1"]),
            is("192.0.2.9"),
            "the headers of an untrusted peer are not read"
        );
        assert_eq!(client("10.0.0.1", &[]), is("10.0.0.1"));
        assert_eq!(client("10.0.0.1", &["203.0.113.1"]), is("203.0.113.1"));
        assert_eq!(client("::ffff:10.0.0.1", &["203.0.113.1"]), is("203.0.113.1"));
        assert_eq!(client("10.0.0.1", &["198.51.100.7, 203.0.113.1, 10.0.0.2"]), is("203.0.113.1"));
        assert_eq!(client("10.0.0.1", &["198.51.100.7", "203.0.113.1 ,10.0.0.2"]), is("203.0.113.1"));
        assert_eq!(client("10.0.0.1", &["203.0.113.1:4711"]), is("203.0.113.1"));
        assert_eq!(client("10.0.0.1", &["[2001:db8::1]:4711"]), is("2001:db8::1"));
        assert_eq!(client("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), is("10.0.0.3"));
        assert_eq!(client("unix", &["203.0.113.1"]), is("203.0.113.1"));
        assert_eq!(client("unix", &[]), None);
        assert_eq!(
            client("10.0.0.1", &["203.0.113.1, nonsense"]),
            None,
            "an entry that is no address ends the search"
        );
        assert_eq!(client("10.0.0.1", &["203.0.113.1,"]), None);
    }
}
