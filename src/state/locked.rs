//! The steps that the holder of an account's lock performs. Blocking; a kill between any two steps, or within one,
//! leaves the old entry or the new one.

use super::file::{Folder, OrFail as _, open_file, read_file, remove_file, try_lock};
use super::seal::Unopened;
use super::{Entry, StateError, seal};
use std::fs::{self, File};
use std::io::{ErrorKind, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

/// Bytes that are reserved before a token is spent: several times the largest refresh tokens in use.
pub(super) const RESERVE: usize = 64 * 1024;

/// An account whose lock is held.
pub(super) struct Locked {
    folder: Arc<Folder>,
    account: String,
    /// `ACCOUNT.new` with allocated blocks, to be filled.
    reserve: Option<File>,
    /// Released last.
    _lock: File,
}

impl Locked {
    /// Takes the lock of `account`; `None` if another process holds it.
    pub(super) fn try_take(folder: Arc<Folder>, account: String) -> Result<Option<Self>, StateError> {
        let path = folder.path(&account, "lock");
        let lock = open_file(&path, false).or_fail("open the lock", &path)?;
        if !try_lock(&lock).or_fail("lock", &path)? || !is_at(&lock, &path)? {
            return Ok(None);
        }
        let locked = Self { folder, account, reserve: None, _lock: lock };
        locked.complete_the_last_write()?;
        Ok(Some(locked))
    }

    /// Completes the last write if its process was killed after the last byte of the new entry: `ACCOUNT.new` is
    /// complete, and the old token is spent. Any other content of the file was a reserve, or a partial entry.
    fn complete_the_last_write(&self) -> Result<(), StateError> {
        let path = self.folder.path(&self.account, "new");
        let Some(sealed) = read_file(&path)? else { return Ok(()) };
        let new = match self.folder.unseal(&self.account, &sealed) {
            Ok((new, _)) => new,
            // Complete, and possibly the only copy of the newest token: it must not be overwritten.
            Err(Unopened::WrongKey) if sealed.len() != RESERVE => {
                return Err(StateError::WrongKey { account: self.account.clone(), path });
            }
            Err(_) => return Ok(()),
        };
        let outdated = matches!(
            self.folder.read(&self.account),
            Ok(Some((kept, _))) if kept.bound_to == new.bound_to && kept.revision > new.revision
        );
        if outdated {
            return Ok(());
        }
        File::open(&path).and_then(|file| file.sync_all()).or_fail("write to the disk", &path)?;
        self.publish()?;
        self.folder.sync()
    }

    pub(super) fn read(&mut self) -> Result<Option<Entry>, StateError> {
        let Some((entry, key)) = self.folder.read(&self.account)? else { return Ok(None) };
        if key != 0 {
            // As long as this fails, the key that opened the entry is still needed; the entry itself is unharmed.
            if let Err(error) = self.write(&entry) {
                let what = super::described(&self.account);
                tracing::warn!(target: "attache", %error, "{what} could not be sealed with the first `state.key`");
            }
        }
        Ok(Some(entry))
    }

    /// Creates `ACCOUNT.new` with room for an entry on the disk, so that a full disk is detected now.
    pub(super) fn reserve(&mut self) -> Result<(), StateError> {
        if self.reserve.is_some() {
            return Ok(());
        }
        let path = self.folder.path(&self.account, "new");
        remove_file(&path)?;
        let mut file = open_file(&path, true).or_fail("create", &path)?;
        // Random bytes, since a compressing file system would reserve next to nothing for zeros.
        let mut filling = vec![0; RESERVE];
        let filled = seal::random(&mut filling)
            .and_then(|()| file.write_all(&filling))
            .and_then(|()| file.sync_all())
            .or_fail("reserve space for a new token in", &path);
        if filled.is_err() {
            let _ = remove_file(&path);
            return filled;
        }
        self.reserve = Some(file);
        Ok(())
    }

    pub(super) fn write(&mut self, entry: &Entry) -> Result<(), StateError> {
        let path = self.folder.path(&self.account, "new");
        let sealed = self.folder.seal(&self.account, entry).or_fail("seal", &path)?;
        self.reserve()?;
        self.fill(&sealed)?;
        self.publish()?;
        self.folder.sync()
    }

    /// Writes the sealed entry over the reserve, into allocated blocks, and then truncates the file.
    pub(super) fn fill(&mut self, sealed: &[u8]) -> Result<(), StateError> {
        let path = self.folder.path(&self.account, "new");
        // From here on the file may hold the newest token, and must not be removed.
        let Some(mut file) = self.reserve.take() else { return Err(StateError::BrokenOff) };
        file.rewind()
            .and_then(|()| file.write_all(sealed))
            .and_then(|()| file.set_len(sealed.len() as u64))
            .and_then(|()| file.sync_all())
            .or_fail("write to", &path)
    }

    /// Makes the new entry the account's.
    pub(super) fn publish(&self) -> Result<(), StateError> {
        let new = self.folder.path(&self.account, "new");
        fs::rename(&new, self.folder.path(&self.account, "grant")).or_fail("rename to .grant", &new)
    }

    pub(super) fn remove(&mut self) -> Result<(), StateError> {
        // The new file first: alone, it would be read as a write to complete.
        self.reserve = None;
        remove_file(&self.folder.path(&self.account, "new"))?;
        remove_file(&self.folder.path(&self.account, "grant"))?;
        self.folder.sync()
    }
}

impl Drop for Locked {
    /// Removes an unused reserve; the one short system call may run on a thread that serves requests.
    fn drop(&mut self) {
        if self.reserve.is_some() {
            let _ = remove_file(&self.folder.path(&self.account, "new"));
        }
    }
}

/// Returns true if `path` still refers to `file`: if the folder was emptied, the lock is on a file that no other
/// process will find.
fn is_at(file: &File, path: &Path) -> Result<bool, StateError> {
    let held = file.metadata().or_fail("look at", path)?;
    match fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (held.dev(), held.ino())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(StateError::Io { doing: "look at", path: path.to_owned(), cause }),
    }
}
