//! The header names that speak of identity, and every spelling that some program behind us may read as one of them.
//!
//! CGI, WSGI, Rack and PHP fold `-` to `_`; others take `.` for either. So `X_Attache_User` and `x.attache.user` name
//! what `X-Attache-User` names, and all of them are dropped from every request, on every route: a list of exact names is
//! how other proxies were walked past.

use crate::config::model::IdentityHeaders;
use http::HeaderName;

/// Families of which every name is reserved.
const FAMILIES: [&[u8]; 2] = [b"x-forwarded-", b"x-attache-"];

/// The names no caller may send.
#[derive(Debug)]
pub struct Reserved {
    folded: Vec<Box<[u8]>>,
}

impl Reserved {
    /// The families, `Forwarded`, and the configured names.
    pub fn new(identity: &IdentityHeaders) -> Self {
        let names = [&identity.user, &identity.service, &identity.key_id];
        let mut folded: Vec<Box<[u8]>> = vec![(*b"forwarded").into()];
        folded.extend(names.into_iter().map(|name| name.as_str().bytes().map(fold).collect()));
        folded.retain(|name| !FAMILIES.iter().any(|family| name.starts_with(family)));
        Self { folded }
    }

    /// Whether `name` is one of them, in some spelling. No allocation.
    pub fn contains(&self, name: &HeaderName) -> bool {
        let name = name.as_str().as_bytes();
        FAMILIES.iter().any(|family| name.len() > family.len() && same(&name[..family.len()], family))
            || self.folded.iter().any(|reserved| same(name, reserved))
    }
}

/// Whether `name` is `folded` when case and separators don't count.
pub fn same(name: &[u8], folded: &[u8]) -> bool {
    name.len() == folded.len() && name.iter().zip(folded).all(|(&a, &b)| fold(a) == b)
}

/// One spelling for all: lowercase, and `-` for each separator.
pub fn fold(byte: u8) -> u8 {
    match byte {
        b'_' | b'.' => b'-',
        other => other.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserved() -> Reserved {
        Reserved::new(&IdentityHeaders {
            user: HeaderName::from_static("remote_user"),
            service: HeaderName::from_static("x-attache-service"),
            key_id: HeaderName::from_static("x-key"),
        })
    }

    #[test]
    fn every_spelling_of_a_reserved_name_is_reserved() {
        for name in [
            "X-Attache-User",
            "x_attache_user",
            "X.Attache.User",
            "x-attache_anything",
            "X-FORWARDED-FOR",
            "x_forwarded.proto",
            "Forwarded",
            "remote-user",
            "REMOTE_USER",
            "remote.user",
            "X_Key",
        ] {
            assert!(reserved().contains(&HeaderName::from_bytes(name.as_bytes()).expect(name)), "{name}");
        }
    }

    #[test]
    fn other_names_are_not() {
        for name in ["x-attache", "forwarded-for", "x-keys", "user", "x-forward", "x-request-id"] {
            assert!(!reserved().contains(&HeaderName::from_static(name)), "{name}");
        }
    }
}
