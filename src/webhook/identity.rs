//! The header names that speak of identity, which no caller may send, on any route, in any spelling.

use crate::config::model::Config;
use crate::header_name::{fold, in_family, same};
use http::HeaderName;

/// Families of which every name is reserved.
const FAMILIES: [&str; 2] = ["x-forwarded-", "x-attache-"];

/// The names no caller may send.
#[derive(Debug)]
pub struct Reserved {
    folded: Vec<String>,
}

impl Reserved {
    /// The families, `Forwarded`, and the configured names.
    pub fn of(config: &Config) -> Self {
        let assertion = config.assertion.as_ref().map(|assertion| &assertion.header);
        Self::new(config.identity_headers.all().into_iter().chain(assertion))
    }

    /// As [`Self::of`], with these configured names.
    pub fn new<'a>(names: impl Iterator<Item = &'a HeaderName>) -> Self {
        let mut folded = vec!["forwarded".to_owned()];
        folded.extend(names.map(|name| fold(name.as_str())));
        folded.retain(|name| !FAMILIES.iter().any(|family| in_family(name, family)));
        Self { folded }
    }

    /// Whether `name` is one of them, in some spelling. No allocation.
    pub fn contains(&self, name: &HeaderName) -> bool {
        let name = name.as_str();
        FAMILIES.iter().any(|family| in_family(name, family))
            || self.folded.iter().any(|reserved| same(name, reserved))
    }
}

/// Whether `name` is one that every proxy sends, and a trusted one may.
pub fn is_forwarding(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-forwarded-") || name == http::header::FORWARDED
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserved() -> Reserved {
        Reserved::new(["remote_user", "x-attache-service", "x-key"].map(HeaderName::from_static).iter())
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
            "remote~user",
            "_Remote--User",
            "X_Key",
        ] {
            assert!(reserved().contains(&HeaderName::from_bytes(name.as_bytes()).expect(name)), "{name}");
        }
    }

    #[test]
    fn other_names_are_not() {
        for name in
            ["x-attache", "forwarded-for", "x-keys", "user", "x-forward", "x-request-id", "x-attached-file"]
        {
            assert!(!reserved().contains(&HeaderName::from_static(name)), "{name}");
        }
    }
}
