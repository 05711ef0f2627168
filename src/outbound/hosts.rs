//! The host that a request names.

use crate::route::Route;
use std::collections::HashMap;
use std::sync::Arc;

/// Maximum length of a host name (RFC 1035 section 2.3.4), with room for an address in brackets.
const MAX_HOST: usize = 255;

/// The services by the names of `hosts`, which are in lowercase and have no dot at their end.
#[derive(Default)]
pub(super) struct Hosts(HashMap<Box<[u8]>, Arc<Route>>);

impl Hosts {
    pub(super) fn new(named: HashMap<Box<[u8]>, Arc<Route>>) -> Self {
        Self(named)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the service of a `Host`, whatever its case, its port, and a dot at the end of the name.
    pub(super) fn get(&self, authority: &[u8]) -> Option<&Arc<Route>> {
        if self.is_empty() {
            return None;
        }
        let mut buffer = [0; MAX_HOST];
        let (host, _) = split(authority, &mut buffer)?;
        self.0.get(host)
    }
}

/// Splits an authority into its host, written to `buffer` in lowercase and without a dot at its end, and its port. `None` if
/// it is none.
pub(super) fn split<'b>(authority: &[u8], buffer: &'b mut [u8; MAX_HOST]) -> Option<(&'b [u8], Option<u16>)> {
    let end = match authority.first()? {
        b'[' => authority.iter().position(|&b| b == b']')? + 1,
        _ => authority.iter().position(|&b| b == b':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    let port = match port {
        [] | [b':'] => None,
        [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            Some(std::str::from_utf8(digits).ok()?.parse().ok()?)
        }
        _ => return None,
    };
    let host = host.strip_suffix(b".").unwrap_or(host);
    let folded = buffer.get_mut(..host.len()).filter(|folded| !folded.is_empty())?;
    folded.copy_from_slice(host);
    folded.make_ascii_lowercase();
    Some((folded, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_host_and_a_port() {
        let split = |authority: &str| {
            let mut buffer = [0; MAX_HOST];
            let (host, port) = split(authority.as_bytes(), &mut buffer)?;
            Some((String::from_utf8(host.to_vec()).expect("text"), port))
        };
        for (authority, host, port) in [
            ("mailer.internal", "mailer.internal", None),
            ("MAILER.Internal.:8080", "mailer.internal", Some(8080)),
            ("mailer:", "mailer", None),
            ("[::1]:80", "[::1]", Some(80)),
            ("[FE80::1]", "[fe80::1]", None),
            ("10.0.0.1:65535", "10.0.0.1", Some(65535)),
        ] {
            assert_eq!(split(authority), Some((host.to_owned(), port)), "{authority}");
        }
        let long = "a".repeat(300);
        for authority in ["", ".", ":80", "a:b", "a:65536", "a:1:2", "[::1", "[::1]80", "::1", long.as_str()]
        {
            assert_eq!(split(authority), None, "{authority}");
        }
    }
}
