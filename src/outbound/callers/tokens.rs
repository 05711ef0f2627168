//! The tokens of callers by their SHA-256. The token itself is hashed where it is read and not kept.

use super::CallerNumber;
use crate::config::model::{ApiKey, Validity};
use crate::secret::sha256;
use crate::telemetry::metrics::KeyStats;
use hashbrown::HashTable;
use std::sync::Arc;
use std::time::SystemTime;

/// A token of a caller.
pub struct Token {
    sha256: [u8; 32],
    /// Its `id`.
    pub id: Box<str>,
    /// The caller that it proves.
    pub caller: CallerNumber,
    not_before: Option<SystemTime>,
    /// The token is valid until this time.
    pub expires_at: Option<SystemTime>,
    disabled: bool,
    /// The times of its last use and its last refusal.
    pub stats: Arc<KeyStats>,
}

/// Identifies a token of one [`Tokens`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenNumber(u32);

/// Every token of every caller.
#[derive(Default)]
pub struct Tokens {
    all: Vec<Token>,
    index: HashTable<u32>,
}

impl Tokens {
    /// Adds the tokens of a caller.
    pub(super) fn add(
        &mut self,
        caller: CallerNumber,
        tokens: &[ApiKey],
        stats: impl Fn(&ApiKey) -> Arc<KeyStats>,
    ) {
        for token in tokens {
            let number = self.all.len() as u32;
            self.all.push(Token {
                sha256: token.sha256,
                id: token.id.as_str().into(),
                caller,
                not_before: token.not_before,
                expires_at: token.expires_at,
                disabled: token.disabled,
                stats: stats(token),
            });
            let all = &self.all;
            self.index.insert_unique(hash(&token.sha256), number, |&n| hash(&all[n as usize].sha256));
        }
    }

    /// Returns the token whose text is `text`, valid or not. One SHA-256 and one look-up, whatever the outcome: the time
    /// that it takes tells a client only the hash of its own guess.
    pub fn find(&self, text: &[u8]) -> Option<TokenNumber> {
        self.find_hash(&sha256(text))
    }

    pub(super) fn find_hash(&self, sha256: &[u8; 32]) -> Option<TokenNumber> {
        let found = self.index.find(hash(sha256), |&n| self.all[n as usize].sha256 == *sha256);
        found.copied().map(TokenNumber)
    }

    /// Returns the token with this number, which is one of this table's.
    pub fn get(&self, number: TokenNumber) -> &Token {
        &self.all[number.0 as usize]
    }

    /// Returns every token, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Token> {
        self.all.iter()
    }

    pub(super) fn slice(&self) -> &[Token] {
        &self.all
    }
}

impl Token {
    /// Returns the validity at `now`. Everything is compared, whatever the outcome.
    pub fn validity_at(&self, now: SystemTime) -> Validity {
        let late = self.expires_at.is_some_and(|until| until <= now);
        let early = self.not_before.is_some_and(|from| now < from);
        Validity::of(self.disabled, late, early)
    }
}

/// Eight bytes of a SHA-256. They are evenly distributed, and no client can choose the digests in the table.
fn hash(sha256: &[u8; 32]) -> u64 {
    u64::from_le_bytes(*sha256.first_chunk().unwrap_or(&[0; 8]))
}
