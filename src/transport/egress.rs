//! The egress guard: the addresses that the name of an upstream may resolve to.
//!
//! The owner of a foreign name decides where it points. Without this guard a third party could direct credentials, or
//! requests in the operator's name, to the operator's own systems.
//!
//! Invariant: an internal address of a name is used only if the operator allowed it with `private_network`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Returns the addresses that may be connected to, in their order. Without `private_network` the internal ones are left
/// out; an empty result for a name that has addresses means that all of them were refused.
pub fn allowed(addresses: &[IpAddr], private_network: bool) -> impl Iterator<Item = IpAddr> {
    addresses.iter().copied().filter(move |&ip| private_network || !is_internal(ip))
}

/// Returns true for an address of this host, of a private network or of a link, also when an IPv6 address embeds it.
pub fn is_internal(ip: IpAddr) -> bool {
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
        || ip.segments()[..2] == [0x2001, 0] // Teredo: the address holds an IPv4 address of the sender's choice
}

/// Returns the IPv4 address that an IPv6 address embeds: mapped, compatible, NAT64 (RFC 6052) and 6to4 (RFC 3056).
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

    #[test]
    fn distinguishes_internal_from_public_addresses() {
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

    #[test]
    fn internal_addresses_need_permission() {
        let addresses = ["1.1.1.1", "10.0.0.1", "::1"].map(|ip| ip.parse::<IpAddr>().expect(ip));
        assert_eq!(allowed(&addresses, false).collect::<Vec<_>>(), addresses[..1]);
        assert_eq!(allowed(&addresses, true).collect::<Vec<_>>(), addresses);
        assert_eq!(allowed(&addresses[1..], false).next(), None);
    }
}
