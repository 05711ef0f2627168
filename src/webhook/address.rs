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
    /// True if a trusted proxy speaks for it.
    pub forwarded: bool,
}

impl Client {
    /// Reads `X-Forwarded-For` from the right for as long as trusted proxies wrote it: the first address that is none of
    /// theirs is the client's; entries left of it may be forged. `peer` is the other end of the connection, `None` on a
    /// unix socket, and `is_tls` is true if it is encrypted. Without trusted proxies, nothing is read.
    pub fn of(peer: Option<IpAddr>, is_tls: bool, fields: &Fields, trusted: &TrustedProxies) -> Self {
        let peer = peer.map(|address| address.to_canonical());
        if !peer.map_or(trusted.unix, |address| contains(&trusted.networks, address)) {
            return Self { address: peer, https: is_tls, forwarded: false };
        }
        let mut protos = fields.all(FORWARDED_PROTO);
        let https = match (protos.next(), protos.next()) {
            (None, _) => is_tls,
            (Some(one), None) => one == b"https",
            (Some(_), Some(_)) => false,
        };
        let mut address = peer;
        for entry in entries(fields) {
            address = parse(entry);
            if !address.is_some_and(|address| contains(&trusted.networks, address)) {
                break;
            }
        }
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

/// Every entry, the last one first.
fn entries(fields: &Fields) -> impl Iterator<Item = &[u8]> {
    let lines: Vec<&[u8]> = fields.all(FORWARDED_FOR).collect();
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
    fn only_trusted_proxies_are_believed() {
        let is = |address: &str| Some(address.to_owned());
        assert_eq!(
            client("192.0.2.9", &["203.0.113.1"]),
            is("192.0.2.9"),
            "an untrusted peer is not believed"
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
