//! Webhook keys by their SHA-256. The key itself is hashed where it is read, and not kept.
//!
//! A file may name a million keys, so each takes about 110 bytes, its statistics included: the keys are in one array, their
//! ids in one text, and the index holds numbers.

use super::endpoint::Endpoint;
use crate::config::model::{ApiKey, Validity};
use crate::secret::sha256;
use crate::telemetry::metrics::KeyStats;
use hashbrown::HashTable;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A number that no key has.
const NEVER: u32 = u32::MAX;

struct Stored {
    sha256: [u8; 32],
    /// Unix seconds, rounded inwards, so that the key is never valid outside of what the file says. 0: no start.
    not_before: u32,
    /// Unix seconds, rounded inwards. [`NEVER`]: no end.
    expires_at: u32,
    endpoint: u32,
    id_at: u32,
    id_length: u8,
    disabled: bool,
    stats: Arc<KeyStats>,
}

/// Every webhook key, with its endpoint.
#[derive(Default)]
pub struct KeyTable {
    keys: Vec<Stored>,
    ids: String,
    index: HashTable<u32>,
    endpoints: Vec<Arc<Endpoint>>,
    /// The endpoints whose key is not in the path, by service.
    by_name: HashMap<Box<str>, u32>,
}

/// A key of the table.
#[derive(Clone, Copy)]
pub struct Key<'t> {
    table: &'t KeyTable,
    number: KeyNumber,
}

/// The number of a key in its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyNumber(u32);

impl KeyTable {
    /// Collects the endpoints and their keys. The statistics of a key carry over from `previous` only if service, id and hash
    /// all match.
    pub fn new(endpoints: Vec<(Arc<Endpoint>, &[ApiKey])>, previous: Option<&Self>) -> Self {
        let count = endpoints.iter().map(|(_, keys)| keys.len()).sum();
        let mut table = Self {
            keys: Vec::with_capacity(count),
            index: HashTable::with_capacity(count),
            ids: String::with_capacity(
                endpoints.iter().flat_map(|(_, keys)| *keys).map(|k| k.id.len()).sum(),
            ),
            ..Self::default()
        };
        for ((endpoint, keys), number) in endpoints.into_iter().zip(0..) {
            for key in keys {
                let before = previous
                    .and_then(|previous| previous.find_hash(&key.sha256))
                    .filter(|before| before.id() == key.id && before.service() == endpoint.service());
                let stats = before.map(|before| Arc::clone(&before.stored().stats));
                table.add(key, number, stats.unwrap_or_default());
            }
            if endpoint.key_is_elsewhere() {
                table.by_name.insert(endpoint.service().into(), number);
            }
            table.endpoints.push(endpoint);
        }
        table
    }

    fn add(&mut self, key: &ApiKey, endpoint: u32, stats: Arc<KeyStats>) {
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let whole = |seconds: u64| u32::try_from(seconds).unwrap_or(NEVER);
        let from = key
            .not_before
            .map(seconds)
            .map_or(0, |from| whole(from.as_secs() + u64::from(from.subsec_nanos() > 0)));
        let number = self.keys.len() as u32;
        self.keys.push(Stored {
            sha256: key.sha256,
            not_before: from,
            expires_at: key.expires_at.map(seconds).map_or(NEVER, |until| whole(until.as_secs())),
            endpoint,
            id_at: self.ids.len() as u32,
            // The parser refuses longer ids.
            id_length: key.id.len().min(usize::from(u8::MAX)) as u8,
            disabled: key.disabled,
            stats,
        });
        self.ids.push_str(&key.id);
        let keys = &self.keys;
        self.index.insert_unique(hash(&key.sha256), number, |&n| hash(&keys[n as usize].sha256));
    }

    /// Returns the key with this text, valid or not. One SHA-256 and one look-up in any case: the time that it takes shows a
    /// client nothing but the hash of its own guess.
    pub fn find(&self, text: &[u8]) -> Option<Key<'_>> {
        self.find_hash(&sha256(text))
    }

    /// As [`Self::find`], by the SHA-256 of the text. No allocation.
    pub fn find_hash(&self, sha256: &[u8; 32]) -> Option<Key<'_>> {
        let found = self.index.find(hash(sha256), |&n| self.keys[n as usize].sha256 == *sha256);
        found.map(|&number| self.get(KeyNumber(number)))
    }

    /// Returns the key with this number, which must be of this table.
    pub fn get(&self, number: KeyNumber) -> Key<'_> {
        Key { table: self, number }
    }

    /// Returns the endpoint of a service whose key is not in the path.
    pub fn named(&self, service: &[u8]) -> Option<&Arc<Endpoint>> {
        let number = self.by_name.get(std::str::from_utf8(service).ok()?)?;
        Some(&self.endpoints[*number as usize])
    }

    /// Returns every key, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = Key<'_>> {
        (0..self.keys.len() as u32).map(|number| self.get(KeyNumber(number)))
    }

    /// Returns every endpoint, in the order of their services.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }
}

impl<'t> Key<'t> {
    fn stored(self) -> &'t Stored {
        &self.table.keys[self.number.0 as usize]
    }

    /// Returns the id of the key.
    pub fn id(self) -> &'t str {
        let stored = self.stored();
        let at = stored.id_at as usize;
        &self.table.ids[at..at + usize::from(stored.id_length)]
    }

    /// Returns its endpoint.
    pub fn endpoint(self) -> &'t Arc<Endpoint> {
        &self.table.endpoints[self.stored().endpoint as usize]
    }

    /// Returns the key of its service.
    pub fn service(self) -> &'t str {
        self.endpoint().service()
    }

    /// Returns the times of its last uses, and the state of its rate.
    pub fn stats(self) -> &'t KeyStats {
        &self.stored().stats
    }

    /// Returns its number, to be kept beside the table.
    pub fn number(self) -> KeyNumber {
        self.number
    }

    /// Returns its validity at `now`. Every condition is computed in any case, so that the time shows none of them.
    pub fn validity_at(self, now: SystemTime) -> Validity {
        let Stored { not_before, expires_at, disabled, .. } = self.stored();
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let early = now < u64::from(*not_before);
        let late = *expires_at != NEVER && u64::from(*expires_at) <= now;
        Validity::of(*disabled, late, early)
    }

    /// Returns the end of its validity.
    pub fn expires_at(self) -> Option<SystemTime> {
        let seconds = self.stored().expires_at;
        (seconds != NEVER).then(|| UNIX_EPOCH + Duration::from_secs(seconds.into()))
    }
}

/// Returns eight bytes of a SHA-256 as the hash for the index. They are spread evenly, and no client can choose the digests
/// in the table, which come from the operator's file.
fn hash(sha256: &[u8; 32]) -> u64 {
    u64::from_le_bytes(*sha256.first_chunk().unwrap_or(&[0; 8]))
}
