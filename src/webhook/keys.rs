//! Webhook keys by their SHA-256. The key itself is hashed where it is read and not kept.

use crate::config::model::{ApiKey, User};
use crate::route::Route;
use crate::secret::sha256;
use crate::telemetry::metrics::KeyStats;
use http::HeaderValue;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::SystemTime;

/// A key, and everything a call with it needs.
pub struct Key {
    /// What stands for the key.
    pub id: String,
    /// As whom the call is let in.
    pub user: Arc<User>,
    /// Where it goes.
    pub route: Arc<Route>,
    /// The identity, ready to be sent: user, service, key id.
    pub identity: [HeaderValue; 3],
    /// When it was last used.
    pub stats: Arc<KeyStats>,
    /// Good from then on.
    pub not_before: Option<SystemTime>,
    /// Good until then.
    pub expires_at: Option<SystemTime>,
}

impl Key {
    /// Prepares `key` of the service `route` leads to.
    pub fn new(key: &ApiKey, user: Arc<User>, route: Arc<Route>, stats: Arc<KeyStats>) -> Self {
        // Names and ids are checked by the parser to hold nothing a header can't.
        let value = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
        Self {
            id: key.id.clone(),
            identity: [value(&user.key), value(&route.service), value(&key.id)],
            user,
            route,
            stats,
            not_before: key.not_before,
            expires_at: key.expires_at,
        }
    }

    fn is_valid_at(&self, now: SystemTime) -> bool {
        self.not_before.is_none_or(|from| from <= now) && self.expires_at.is_none_or(|until| now < until)
    }
}

/// Every webhook key.
#[derive(Default)]
pub struct KeyTable(HashMap<[u8; 32], Arc<Key>, BuildHasherDefault<Prefix>>);

impl KeyTable {
    /// Collects keys under the SHA-256 of their text.
    pub fn new(keys: impl IntoIterator<Item = ([u8; 32], Arc<Key>)>) -> Self {
        Self(keys.into_iter().collect())
    }

    /// The key whose text is `text`, if it is valid at `now`. One SHA-256 and one look-up, whatever the outcome: what a
    /// caller learns from the time it takes is the hash of a guess, which it knew.
    pub fn find_at(&self, text: &[u8], now: SystemTime) -> Option<Arc<Key>> {
        self.0.get(&sha256(text)).filter(|key| key.is_valid_at(now)).cloned()
    }

    /// Every key, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.0.values()
    }
}

/// Hashes a SHA-256 by taking eight of its bytes: they are already spread evenly, and nobody can choose the digests in
/// the table, which come from the operator's file.
#[derive(Default)]
pub struct Prefix(u64);

impl Hasher for Prefix {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(Ok(first)) = bytes.get(..8).map(<[u8; 8]>::try_from) {
            self.0 = u64::from_le_bytes(first);
        }
    }

    // The length prefix of an array.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
