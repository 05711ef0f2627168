//! What has to outlive attache: the refresh tokens that rotate. Imports `secret` only.
//!
//! Each use of such a refresh token consumes it and yields the next (RFC 6749 section 6, RFC 9700 section 4.14.2),
//! and a token endpoint that sees one twice may revoke the whole grant. Whoever loses the newest one has to sign
//! in again. So a token is used under its account's lock, held for one token request, in this order:
//! [`Store::lock`], [`Held::read`] (another process may have rotated it meanwhile), [`Held::prepare`] (a full disk
//! must show *before* the old token is spent), the token request, [`Held::write`], and only then is the new token
//! of any use to anyone. A compare-and-set afterwards would be too late: the second use has happened by then.
//!
//! # Invariants
//!
//! - At every moment, a kill or a power cut included, a reader finds the old entry or the new one, whole.
//! - At most one holder an account among all tasks and processes that share the folder, on one machine.
//! - A lock ends with its holder. The kernel keeps it, so that none is ever stale, and none has to be broken.
//! - A refresh token is on disk only sealed, and bound to its account's name.
//!
//! # The window that remains
//!
//! The process dies, or the answer is lost, after the token endpoint has spent the old token and before the new
//! one is in a file. No local scheme can close it: the token endpoint commits first and alone, and what it has
//! committed is known here only through the answer. To write before the request is to write what isn't known yet,
//! and to ask again with the old token is what the endpoint takes for theft. (A few endpoints accept the last
//! token once more for some seconds; so after such a death the old token is tried, and [`Entry::lost`] keeps it
//! from being tried for ever.) What can be done is done: space and permissions are made sure of beforehand,
//! nothing but the parsing of the answer stands between its arrival and the write, and a write that a kill cut
//! short behind its last byte is completed by the next holder of the lock.

mod file;
mod locked;
mod seal;
#[cfg(test)]
mod tests;

pub use file::FileStore;

use crate::secret::Secret;
use async_trait::async_trait;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// One account's grant as kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Digest of what the grant is bound to (token endpoint, client, first token …): an entry bound to something
    /// else is not this account's any more.
    pub bound_to: [u8; 32],
    /// Which of the account's refresh tokens this is, from 1. Counts on after a new login: of two with the same
    /// binding, the higher one is the newer.
    pub rotation: u64,
    /// The newest refresh token.
    pub refresh_token: Secret,
    /// When it was obtained. A time before 1970 is kept as 1970.
    pub obtained_at: SystemTime,
    /// Why the token endpoint refused this token for good, if it did: it must not be sent again.
    pub lost: Option<String>,
}

/// Where grants are kept.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The account's entry without the lock: for a look only (is there one?).
    ///
    /// # Errors
    /// As [`Held::read`].
    async fn peek(&self, account: &str) -> Result<Option<Entry>, StateError>;

    /// Takes the account's lock, waiting at most `wait`; with zero it tries once. Completes the write of a process
    /// that was killed in the middle of it. May be dropped at any point.
    ///
    /// # Errors
    /// [`StateError::Locked`] when `wait` elapses, [`StateError::Io`].
    async fn lock(&self, account: &str, wait: Duration) -> Result<Box<dyn Held>, StateError>;
}

/// The lock on one account's entry; dropping it lets go.
///
/// Once begun, a step is carried through under the lock even if its future is dropped.
#[async_trait]
pub trait Held: Send {
    /// The entry; `None` when there is none.
    ///
    /// # Errors
    /// When there is an entry that can't be read or opened.
    async fn read(&mut self) -> Result<Option<Entry>, StateError>;

    /// Makes sure that a write will succeed (space, permissions) before the old token is spent.
    ///
    /// # Errors
    /// [`StateError::Io`]: it would not, so the token must not be spent.
    async fn prepare(&mut self) -> Result<(), StateError>;

    /// Keeps `entry` in place of the old one, whatever that is (it need not be readable). On success it is on the
    /// disk. On failure the old entry or the new one is there; hold the lock and call this again, since the old
    /// token is spent.
    ///
    /// # Errors
    /// [`StateError::Io`].
    async fn write(&mut self, entry: &Entry) -> Result<(), StateError>;

    /// Forgets the entry; no error if there is none.
    ///
    /// # Errors
    /// [`StateError::Io`].
    async fn remove(&mut self) -> Result<(), StateError>;
}

/// Why a grant could not be read or kept. Holds paths and names, never content.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file system said no.
    #[error("can't {doing} {path}: {cause}", path = path.display())]
    Io {
        /// The verb that goes before the path.
        doing: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The folder is not attache's alone.
    #[error(
        "{path} may be written to by other users (mode {mode:04o}): take that from them (`chmod go-w`), or name a \
         folder inside it, which attache makes for itself",
        path = dir.display()
    )]
    OpenToOthers {
        /// The folder.
        dir: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The folder is somebody else's.
    #[error(
        "{path} belongs to user {owner}, and attache runs as user {ours}: run it as that user, or `chown` the folder",
        path = dir.display()
    )]
    ForeignOwner {
        /// The folder.
        dir: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whose the files are that this process makes.
        ours: u32,
    },
    /// No key to seal with.
    #[error("no key to seal the state with: give `state.key`")]
    NoKey,
    /// Another task or process has held the account's lock all the while.
    #[error(
        "the grant of `{account}` has been in use for {waited:?} by another attache (lock {path}); it will be free \
         when that one's token request ends or the process dies",
        path = path.display()
    )]
    Locked {
        /// The account.
        account: String,
        /// Its lock's file.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// The file doesn't begin as a grant's does.
    #[error(
        "{path} is not a grant that attache has sealed, or is cut short: restore it, or remove it and get the account a new grant",
        path = path.display()
    )]
    NotAGrant {
        /// The file.
        path: PathBuf,
    },
    /// A later attache's file.
    #[error(
        "{path} has version {version} of the format, which this attache can't read: use the attache that wrote it, \
         or remove it and get the account a new grant",
        path = path.display()
    )]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
    /// None of the keys is the one.
    #[error(
        "{path} can't be opened with `state.key`: it was sealed with another key (add that one to the list), or is \
         damaged (restore it, or remove it and get the account a new grant)",
        path = path.display()
    )]
    WrongKey {
        /// The file.
        path: PathBuf,
    },
    /// The key is right, the content isn't.
    #[error(
        "{path} is damaged, or is another account's file under this name: restore it, or remove it and get the \
         account a new grant",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The runtime ends, or the task that does the file work panicked.
    #[error("the work on the state's files was broken off")]
    BrokenOff,
}
