//! Sources of secrets: the text itself, the environment, a file, systemd's credentials.
//!
//! Reading goes through [`SecretSource`], so that decoding stays pure and `check --offline` reads no secret. Every
//! value that is read is also digested for [`super::model::Config::fingerprint`]. No message here quotes a value.
//!
//! An unreadable secret concerns only its **owner**: the account, the webhook or the section in whose scope it is read
//! ([`Secrets::owned`]). The value that the same owner last read from the same place stays in use. Without one the
//! owner is unavailable, and the code that opened the scope drops its decoded values, so that no placeholder leaves the
//! scope. Outside of any scope, an unreadable secret refuses the file.

mod decode;
mod deliver;
mod text;
mod together;

pub(super) use decode::PlainText;
pub(super) use deliver::Failure;
pub(super) use text::{has_placeholder, is_utf16, placeholder};
pub(super) use together::Mismatch;

use super::model::{ReadFault, UnreadSecret};
use crate::secret::sha256;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Access to the machine's secrets and certificates.
pub(super) trait SecretSource {
    /// Reads an environment variable.
    fn env(&self, name: &str) -> Result<String, ReadError>;
    /// Reads a file.
    fn file(&self, path: &Path) -> Result<Vec<u8>, ReadError>;
    /// Reads a file whose content is read again for every use: its change does not change the configuration.
    fn fresh_file(&self, path: &Path) -> Result<Vec<u8>, ReadError>;
    /// Reads a systemd credential.
    fn credential(&self, name: &str) -> Result<Vec<u8>, ReadError>;
    /// Checks that a file can be appended to, or created if it is missing. It is not created.
    fn can_append(&self, _path: &Path) -> Result<(), String> {
        Ok(())
    }
}

/// Why a source provides no value. Holds no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReadError {
    pub(super) fault: ReadFault,
    /// The reason as text: `no such file or directory`.
    pub(super) reason: String,
    /// The absolute path that was tried, for a file.
    pub(super) path: Option<PathBuf>,
}

impl ReadError {
    pub(super) fn new(fault: ReadFault, reason: impl Into<String>) -> Self {
        Self { fault, reason: reason.into(), path: None }
    }
}

/// The source of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reference<'a> {
    Env(&'a str),
    File(&'a Path),
    /// As [`Self::File`], for a file that is read again for each use.
    FreshFile(&'a Path),
    /// A file of certificates or of a key in PEM.
    Certificate(&'a Path),
    Credential(&'a str),
}

/// The values that a configuration has read, by owner and source. They stay in use if the next reading finds nothing
/// there.
#[derive(Default)]
pub struct LastValues(HashMap<[u8; 32], Value>);

/// Several owners may read one file: its content is stored once.
type Value = Arc<Zeroizing<Vec<u8>>>;

impl LastValues {
    fn key(owner: &str, reference: Reference<'_>) -> [u8; 32] {
        let (kind, name) = match reference {
            Reference::Env(name) => ("env", name.as_bytes()),
            Reference::File(path) => ("file", path.as_os_str().as_encoded_bytes()),
            Reference::Certificate(path) => ("certificate", path.as_os_str().as_encoded_bytes()),
            Reference::FreshFile(path) => ("fresh", path.as_os_str().as_encoded_bytes()),
            Reference::Credential(name) => ("credential", name.as_bytes()),
        };
        // Neither a key path nor a kind contains a NUL.
        sha256(&[owner.as_bytes(), b"\0", kind.as_bytes(), b"\0", name].concat())
    }
}

impl fmt::Debug for LastValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LastValues({})", self.0.len())
    }
}

/// The part of the file whose secrets are being read.
struct Owner {
    /// Its key path.
    path: String,
    /// The unreadable secret that blocks it, else the first.
    unread: Option<UnreadSecret>,
    latest: Option<UnreadSecret>,
}

/// The secrets of one configuration.
pub(super) struct Secrets<'t> {
    source: &'t dyn SecretSource,
    /// True if no secret is read: placeholders take their place.
    pub(super) offline: bool,
    digest: RefCell<ring::digest::Context>,
    /// The values that the configuration in effect has read.
    last: &'t LastValues,
    read: RefCell<LastValues>,
    /// The values in `read`, by digest.
    contents: RefCell<HashMap<[u8; 32], Value>>,
    owner: RefCell<Option<Owner>>,
}

impl<'t> Secrets<'t> {
    pub(super) fn new(source: &'t dyn SecretSource, offline: bool, last: &'t LastValues) -> Self {
        Self {
            source,
            offline,
            digest: RefCell::new(ring::digest::Context::new(&ring::digest::SHA256)),
            last,
            read: RefCell::default(),
            contents: RefCell::default(),
            owner: RefCell::default(),
        }
    }

    /// Adds bytes that determine the configuration's behaviour to its fingerprint.
    pub(super) fn digest(&self, bytes: &[u8]) {
        let mut digest = self.digest.borrow_mut();
        digest.update(&(bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    }

    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.digest.borrow().clone().finish().as_ref());
        out
    }

    /// Returns the values that were read, for the next reading.
    pub(super) fn take_read(&self) -> LastValues {
        self.read.take()
    }

    /// Returns the value of an optional variable.
    pub(super) fn env_if_set(&self, name: &str) -> Option<String> {
        if self.offline { None } else { self.source.env(name).ok().filter(|value| !value.is_empty()) }
    }

    /// Reads the secrets of the part of the file at `path`, and returns the one that can't be read.
    pub(super) fn owned<T>(&self, path: String, read: impl FnOnce() -> T) -> (T, Option<UnreadSecret>) {
        let outer = self.owner.replace(Some(Owner { path, unread: None, latest: None }));
        let value = read();
        let owner = self.owner.replace(outer);
        (value, owner.and_then(|owner| owner.unread))
    }

    /// Returns true if an unreadable secret concerns a part of the file, not all of it.
    fn has_owner(&self) -> bool {
        self.owner.borrow().is_some()
    }

    /// Reads from the machine.
    fn read(&self, reference: Reference<'_>) -> Result<Zeroizing<Vec<u8>>, ReadError> {
        match reference {
            Reference::Env(name) => self.source.env(name).map(String::into_bytes),
            Reference::File(path) | Reference::Certificate(path) => self.source.file(path),
            Reference::FreshFile(path) => self.source.fresh_file(path),
            Reference::Credential(name) => self.source.credential(name),
        }
        .map(Zeroizing::new)
    }

    /// Stores a usable value for the next reading.
    fn remember(&self, reference: Reference<'_>, value: Value) {
        if let Some(owner) = &*self.owner.borrow() {
            let value = Arc::clone(self.contents.borrow_mut().entry(sha256(&value)).or_insert(value));
            self.read.borrow_mut().0.insert(LastValues::key(&owner.path, reference), value);
        }
    }

    /// Returns the value that the owner last read there.
    fn last(&self, reference: Reference<'_>) -> Option<Value> {
        let owner = self.owner.borrow();
        self.last.0.get(&LastValues::key(&owner.as_ref()?.path, reference)).cloned()
    }

    /// Records that a secret can't be read, for the owner and for the fingerprint.
    fn note_unread(&self, place: String, fault: ReadFault) {
        self.digest(b"unread");
        self.digest(fault.as_str().as_bytes());
        if let Some(owner) = &mut *self.owner.borrow_mut() {
            let unread = UnreadSecret { place, fault, blocks: false };
            owner.unread.get_or_insert_with(|| unread.clone());
            owner.latest = Some(unread);
        }
    }

    /// Records that the owner can't work without the secret that was just found missing. Offline, no secret is missing.
    pub(super) fn block(&self) {
        if let Some(owner) = &mut *self.owner.borrow_mut()
            && let Some(latest) = &owner.latest
            && owner.unread.as_ref().is_none_or(|unread| !unread.blocks)
        {
            owner.unread = Some(UnreadSecret { blocks: true, ..latest.clone() });
        }
    }
}

#[cfg(test)]
mod tests;
