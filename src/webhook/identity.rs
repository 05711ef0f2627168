//! The header names that state an identity, which no client may send, in any spelling: some on no route, some on no
//! webhook.

use crate::config::model::Config;
use crate::header_name::{CLIENT_ADDRESS, FieldName, fold, is_reserved, misleads_receiver, same};
use crate::telemetry::metrics::Direction;
use http::HeaderName;

/// The names that no client may send.
#[derive(Debug)]
pub struct Reserved {
    folded: Vec<String>,
}

impl Reserved {
    /// Returns the names that are always reserved, and the configured ones.
    pub fn of(config: &Config) -> Self {
        let assertion = config.assertion.as_ref().map(|assertion| &assertion.header);
        Self::new(config.identity_headers.all().into_iter().chain(assertion).map(FieldName::as_header_name))
    }

    /// As [`Self::of`], with these configured names.
    pub fn new<'a>(names: impl Iterator<Item = &'a HeaderName>) -> Self {
        Self { folded: names.map(|name| fold(name.as_str())).filter(|name| !is_reserved(name)).collect() }
    }

    /// Returns true if `name` is one of them, in some spelling. No allocation.
    pub fn contains(&self, name: &str) -> bool {
        is_reserved(name) || self.folded.iter().any(|reserved| same(name, reserved))
    }

    /// As [`Self::contains`], with the names that are reserved on webhooks only.
    pub fn contains_on(&self, name: &str, direction: Direction) -> bool {
        self.contains(name) || (direction == Direction::Webhook && misleads_receiver(name))
    }
}

/// Returns true if `name` is one that proxies add, as they spell it.
pub fn is_forwarding(name: &str) -> bool {
    let is_usual = |usual: &&str| name.eq_ignore_ascii_case(usual);
    /// The names beside those of [`CLIENT_ADDRESS`].
    const USUAL: [&str; 7] = [
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-forwarded-scheme",
        "x-forwarded-server",
    ];
    USUAL.iter().chain(&CLIENT_ADDRESS).any(is_usual)
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
            assert!(reserved().contains(name), "{name}");
        }
    }

    #[test]
    fn other_names_are_not() {
        for name in
            ["x-attache", "forwarded-for", "x-keys", "user", "x-forward", "x-request-id", "x-attached-file"]
        {
            assert!(!reserved().contains(name), "{name}");
        }
    }
}
