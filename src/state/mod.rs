//! State that must outlive the process: each account's grant, with its refresh token and its access token, and the secrets
//! that providers bring in a handshake. Imports `secret` only.
//!
//! Each use of such a refresh token consumes it and returns the next (RFC 6749 section 6, RFC 9700 section 4.14.2), and
//! a token endpoint that sees one twice may revoke the whole grant. If the newest token is lost, the account needs a
//! new login. So a token is used under its account's lock, held for one token request, in this order: [`Store::lock`],
//! [`LockedEntry::read`] (another process may have rotated it meanwhile), [`LockedEntry::prepare`] (a full disk must be
//! detected *before* the old token is spent), the token request, [`LockedEntry::write`], and only then is the new token
//! used. A compare-and-set afterwards would be too late: the second use would have happened.
//!
//! # Invariants
//!
//! - At every moment, a kill or a power cut included, a reader finds the old entry or the new one, complete.
//! - At most one holder per account among all tasks and processes that share the folder, on one machine.
//! - A lock ends with its holder. The kernel keeps it, so no lock is ever stale, and none has to be broken.
//! - A refresh token is on disk only sealed, and bound to its account's name.
//!
//! # The remaining window
//!
//! A token is lost if the process dies, or the answer is lost, after the token endpoint has spent the old token and
//! before the new one is in a file. No local scheme can close this window: the token endpoint commits first and alone,
//! and only its answer tells what it committed. Writing before the request would write an unknown token, and a second
//! request with the old token looks like theft to the endpoint. (A few endpoints accept the last token once more for
//! some seconds; so after such a death the old token is tried, and [`Entry::lost`] keeps it from being tried for ever.)
//! The window is as short as possible: space and permissions are checked before the request, only the parsing of the
//! answer lies between its arrival and the write, and a write that a kill interrupted after its last byte is completed
//! by the next holder of the lock.

mod file;
mod locked;
mod seal;
mod slot;
#[cfg(test)]
mod tests;

pub use file::FileStore;
pub use slot::StoreSlot;

use crate::secret::Secret;
use async_trait::async_trait;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// The beginning of the names of entries that are secrets of handshakes; the service follows. No account has a name with a
/// slash.
pub const HANDSHAKES: &str = "handshakes/";

/// The stored grant of one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Digest of the properties that the grant is bound to (token endpoint, client, first token …): an entry with
    /// another digest no longer belongs to this account.
    pub bound_to: [u8; 32],
    /// Number of this version of the entry, from 1, raised by each write. Continues after a new login: of two entries
    /// with the same binding, the higher number is the newer.
    pub revision: u64,
    /// The newest refresh token. `None` after a login that returned none.
    pub refresh_token: Option<Secret>,
    /// True if the refresh token was issued by a refresh, so that its refusal is final.
    pub rotated: bool,
    /// True if the last refresh left the refresh token as it was: the next one can probably do without a write.
    pub reusable: bool,
    /// The time at which the refresh token was obtained. A time before 1970 is stored as 1970.
    pub obtained_at: SystemTime,
    /// The newest token that may be sent, if any.
    pub access: Option<StoredAccess>,
    /// The refusal of the refresh token, if it was refused.
    pub lost: Option<Lost>,
}

/// A stored access token, or ID token if the account sends that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAccess {
    /// Digest of the properties that determine the token (scopes, audience, kind of token …).
    pub bound_to: [u8; 32],
    /// The token without a prefix.
    pub token: Secret,
    /// The time at which it was requested.
    pub obtained_at: SystemTime,
    /// Its expiry.
    pub expires_at: SystemTime,
}

/// The refusal of a refresh token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The provider's words, redacted.
    pub reason: String,
    /// The time of the refusal; 1970 if it was stored by a version that did not record it.
    pub at: SystemTime,
}

/// A store of grants.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Returns the account's entry without taking the lock, for inspection only; [`Peek::Unchanged`] if it is still the
    /// one that has the stamp `known`.
    ///
    /// # Errors
    /// Those of [`LockedEntry::read`].
    async fn peek(&self, account: &str, known: Option<Stamp>) -> Result<Peek, StateError>;

    /// Takes the account's lock, waiting at most `wait`; with zero it tries once. Completes the interrupted write of a
    /// process that was killed. May be dropped at any point.
    ///
    /// # Errors
    /// [`StateError::Locked`] when `wait` elapses, [`StateError::Io`].
    async fn lock(&self, account: &str, wait: Duration) -> Result<Box<dyn LockedEntry>, StateError>;
}

/// The result of [`Store::peek`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peek {
    /// The entry is the one that the caller has seen.
    Unchanged,
    /// There is no entry.
    Absent,
    /// Another entry, and its stamp.
    Found(Box<Entry>, Stamp),
}

/// A value that differs between any two versions of an entry that one store returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp([u64; 4]);

impl Stamp {
    /// Returns a stamp of these numbers.
    pub fn new(parts: [u64; 4]) -> Self {
        Self(parts)
    }
}

/// The lock on one account's entry; dropping it releases the lock.
///
/// Once begun, a step is completed under the lock even if its future is dropped.
#[async_trait]
pub trait LockedEntry: Send {
    /// Returns the entry; `None` if there is none. An entry that was sealed with another than the first key is sealed
    /// again, so that the other keys can be removed.
    ///
    /// # Errors
    /// If there is an entry that can't be read or opened.
    async fn read(&mut self) -> Result<Option<Entry>, StateError>;

    /// Makes sure that a write will succeed (space, permissions) before the old token is spent.
    ///
    /// # Errors
    /// [`StateError::Io`]: the write would fail, so the token must not be spent.
    async fn prepare(&mut self) -> Result<(), StateError>;

    /// Stores `entry` in place of the old one, whatever that is (it need not be readable). On success it is on the
    /// disk. On failure the old entry or the new one is there; keep the lock and call this again, since the old token
    /// is spent.
    ///
    /// # Errors
    /// [`StateError::Io`].
    async fn write(&mut self, entry: &Entry) -> Result<(), StateError>;

    /// Removes the entry; no error if there is none.
    ///
    /// # Errors
    /// [`StateError::Io`].
    async fn remove(&mut self) -> Result<(), StateError>;
}

/// Why an entry could not be read or stored. Holds paths and names, never content.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file system returned an error.
    #[error("can't {doing} {path}: {cause}", path = path.display())]
    Io {
        /// The action, as the words that go before the path.
        doing: &'static str,
        /// The path.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// Other users may write to the folder.
    #[error(
        "{path} is writable by other users (mode {mode:04o}): remove that permission (`chmod go-w`), or set `state.dir` to a \
         folder inside it, which attache creates",
        path = dir.display()
    )]
    OpenToOthers {
        /// The folder.
        dir: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The folder belongs to another user.
    #[error(
        "{path} belongs to user {owner}, and attache runs as user {ours}: run it as that user, or `chown` the folder",
        path = dir.display()
    )]
    ForeignOwner {
        /// The folder.
        dir: PathBuf,
        /// Its owner.
        owner: u32,
        /// The owner of files that this process creates.
        ours: u32,
    },
    /// There is no key to seal with.
    #[error("no key to seal the state with: give `state.key`")]
    NoKey,
    /// Another task or process has held the entry's lock during the whole wait.
    #[error(
        "{what} has been in use for {waited:?} by another attache process (lock {path}); it is released when that process \
         has stored the next one or ends",
        what = described(account),
        path = path.display()
    )]
    Locked {
        /// The entry's name.
        account: String,
        /// The path of its lock.
        path: PathBuf,
        /// The duration of the wait.
        waited: Duration,
    },
    /// The file doesn't start with the header of an entry.
    #[error(
        "{path} is not sealed by attache, or is truncated: restore it, or {}",
        replaced(account),
        path = path.display()
    )]
    NotAGrant {
        /// The entry's name.
        account: String,
        /// The file.
        path: PathBuf,
    },
    /// A later version of attache wrote the file.
    #[error(
        "{path} has version {version} of the format, which this version of attache can't read: use the version that wrote it, \
         or {}",
        replaced(account),
        path = path.display()
    )]
    UnknownVersion {
        /// The entry's name.
        account: String,
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
    /// None of the keys opens the file.
    #[error(
        "{path} can't be opened with `state.key`: it was sealed with another key (add that one to the list), or is \
         damaged (restore it, or {})",
        replaced(account),
        path = path.display()
    )]
    WrongKey {
        /// The entry's name.
        account: String,
        /// The file.
        path: PathBuf,
    },
    /// A change of the keys would leave an entry without its key.
    #[error(
        "{path} was sealed with a key that the changed `state.key` lacks: add that key at the end of the list; once the \
         change is in effect, the entry is sealed with the first key, and the other one can be removed",
        path = path.display()
    )]
    Orphaned {
        /// The file.
        path: PathBuf,
    },
    /// The key is right, but the content is not.
    #[error(
        "{path} is damaged, or is another entry's file under this name: restore it, or {}",
        replaced(account),
        path = path.display()
    )]
    Damaged {
        /// The entry's name.
        account: String,
        /// The file.
        path: PathBuf,
    },
    /// The runtime ended, or the task that performs the file work panicked.
    #[error("the work on the state's files was interrupted")]
    BrokenOff,
}

/// Names the content of an entry.
fn described(name: &str) -> String {
    match name.strip_prefix(HANDSHAKES) {
        Some(service) => format!("the secret of the handshake of `{service}`"),
        None => format!("the grant `{name}`"),
    }
}

/// Says how an entry that can't be read is replaced by another one.
fn replaced(name: &str) -> String {
    match name.strip_prefix(HANDSHAKES) {
        Some(service) => format!(
            "remove it by `attache urls --reset-handshake {service}` and set the webhook up anew at the provider, whose \
             handshake brings another secret"
        ),
        None => "remove it and log the account in again (`attache login`), or give it another refresh token"
            .to_owned(),
    }
}
