//! A folder of sealed files: `ACCOUNT.grant`, and beside it `ACCOUNT.lock` and, while a token is being replaced,
//! `ACCOUNT.new`.
//!
//! The lock is `flock` on a file that is never removed: the kernel releases it when its holder dies, so there is no
//! stale lock to detect by age or process id, which is where lock files fail. An entry is replaced by filling
//! `ACCOUNT.new`, whose blocks are allocated already, and renaming it; the name refers to the old entry or to the new
//! one.
//!
//! Rejected: a database. For one row of a kilobyte per account, written once an hour, it adds a dependency and a file
//! format, and the lock across a token request would still be needed.

use super::locked::Locked;
use super::seal::{self, Unopened};
use super::{Entry, LockedEntry, Peek, Stamp, StateError, Store};
use crate::secret::{Secret, hex, sha256};
use async_trait::async_trait;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Pauses between two attempts to take a lock that another process holds: the first and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// Grants in a folder, one file per account. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FileStore(Arc<Folder>);

impl FileStore {
    /// Opens the folder `dir`, which is created (0700) if it is missing. The first of `keys` seals, all open. Blocks
    /// for a write to the disk.
    ///
    /// If the group may write to a folder that attache owns, that permission is removed: a umask of 002 creates such
    /// folders, and so does Kubernetes at each mount of a volume with an `fsGroup`.
    ///
    /// # Errors
    /// The folder can't be created or written to, or others may write to it, or `keys` is empty.
    pub fn open(dir: &Path, keys: &[Secret]) -> Result<Self, StateError> {
        if keys.is_empty() {
            return Err(StateError::NoKey);
        }
        let folder = Folder::new(dir, keys);
        folder.make()?;
        folder.probe()?;
        Ok(Self(Arc::new(folder)))
    }

    /// Returns true if the folder `dir` has an entry of this name. No key is needed, and nothing is created.
    pub fn has_entry(dir: &Path, name: &str) -> bool {
        Folder::new(dir, &[]).path(name, "grant").exists()
    }
}

#[async_trait]
impl Store for FileStore {
    async fn peek(&self, account: &str, known: Option<Stamp>) -> Result<Peek, StateError> {
        let (folder, account) = (Arc::clone(&self.0), account.to_owned());
        blocking(move || folder.peek(&account, known)).await
    }

    async fn lock(&self, account: &str, wait: Duration) -> Result<Box<dyn LockedEntry>, StateError> {
        let begun = Instant::now();
        let (mut pause, longest) = PAUSES;
        loop {
            let (folder, name) = (Arc::clone(&self.0), account.to_owned());
            if let Some(locked) = blocking(move || Locked::try_take(folder, name)).await? {
                return Ok(Box::new(Holder(Arc::new(Mutex::new(locked)))));
            }
            let left = wait.saturating_sub(begun.elapsed());
            if left.is_zero() {
                let path = self.0.path(account, "lock");
                return Err(StateError::Locked {
                    account: account.to_owned(),
                    path,
                    waited: begun.elapsed(),
                });
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 3 / 2).min(longest);
        }
    }
}

/// Shared with the current step, so that the lock is released after it even if its future is dropped.
struct Holder(Arc<Mutex<Locked>>);

impl Holder {
    async fn step<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut Locked) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let locked = Arc::clone(&self.0);
        blocking(move || step(&mut locked.lock().unwrap_or_else(PoisonError::into_inner))).await
    }
}

#[async_trait]
impl LockedEntry for Holder {
    async fn read(&mut self) -> Result<Option<Entry>, StateError> {
        self.step(|locked| locked.read()).await
    }

    async fn prepare(&mut self) -> Result<(), StateError> {
        self.step(Locked::reserve).await
    }

    async fn write(&mut self, entry: &Entry) -> Result<(), StateError> {
        let entry = entry.clone();
        self.step(move |locked| locked.write(&entry)).await
    }

    async fn remove(&mut self) -> Result<(), StateError> {
        self.step(Locked::remove).await
    }
}

/// Runs file work away from the threads that serve requests.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StateError> + Send + 'static,
) -> Result<T, StateError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StateError::BrokenOff))
}

/// The folder and the keys that open its files.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    keys: Vec<Secret>,
}

impl Folder {
    pub(super) fn new(dir: &Path, keys: &[Secret]) -> Self {
        Self { dir: dir.to_owned(), keys: keys.to_vec() }
    }

    fn make(&self) -> Result<(), StateError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .or_fail("create the folder", &self.dir)
    }

    /// Makes sure that only attache's user may write to the folder, and that a file can be created, locked and written
    /// in it.
    fn probe(&self) -> Result<(), StateError> {
        let folder = fs::metadata(&self.dir).or_fail("look at", &self.dir)?;
        let mode = folder.mode() & 0o7777;
        let open_to_others = || StateError::OpenToOthers { dir: self.dir.clone(), mode };
        if mode & 0o002 != 0 {
            return Err(open_to_others());
        }
        let ours = self.try_a_file()?;
        // Root may write anywhere, but the folder's owner could not read root's files.
        if folder.uid() != ours && folder.uid() != 0 {
            return Err(StateError::ForeignOwner { dir: self.dir.clone(), owner: folder.uid(), ours });
        }
        if mode & 0o020 != 0 {
            // Only the owner can change the mode.
            let without_group = Permissions::from_mode(mode & !0o020);
            fs::set_permissions(&self.dir, without_group).map_err(|_| open_to_others())?;
        }
        self.sync()
    }

    /// Returns the user that owns files created by this process.
    fn try_a_file(&self) -> Result<u32, StateError> {
        let mut random = [0; 8];
        seal::random(&mut random).or_fail("choose a name in", &self.dir)?;
        let path = self.dir.join(format!(".probe-{}", hex(&random)));
        // Created exclusively, so that no link placed there by another user is followed.
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .or_fail("create", &path)?;
        let tried = try_lock(&file)
            .or_fail("lock", &path)
            .and_then(|_| {
                file.write_all(b"attache").and_then(|()| file.sync_all()).or_fail("write to", &path)
            })
            .and_then(|()| file.metadata().or_fail("look at", &path));
        remove_file(&path)?;
        tried.map(|metadata| metadata.uid())
    }

    fn peek(&self, account: &str, known: Option<Stamp>) -> Result<Peek, StateError> {
        let path = self.path(account, "grant");
        // Before the content, so that a later version cannot get an earlier stamp.
        let stamp = match fs::metadata(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Peek::Absent),
            found => stamp(&found.or_fail("look at", &path)?),
        };
        if known == Some(stamp) {
            return Ok(Peek::Unchanged);
        }
        Ok(self.read(account)?.map_or(Peek::Absent, |(entry, _)| Peek::Found(Box::new(entry), stamp)))
    }

    /// Reads the entry in an account's file, and the index of the key that opened it.
    pub(super) fn read(&self, account: &str) -> Result<Option<(Entry, usize)>, StateError> {
        let path = self.path(account, "grant");
        let Some(sealed) = read_file(&path)? else { return Ok(None) };
        let unopened = match self.unseal(account, &sealed) {
            Ok(opened) => return Ok(Some(opened)),
            Err(unopened) => unopened,
        };
        let account = account.to_owned();
        Err(match unopened {
            Unopened::NotAGrant => StateError::NotAGrant { account, path },
            Unopened::UnknownVersion(version) => StateError::UnknownVersion { account, path, version },
            Unopened::WrongKey => StateError::WrongKey { account, path },
            Unopened::Damaged => StateError::Damaged { account, path },
        })
    }

    pub(super) fn unseal(&self, account: &str, sealed: &[u8]) -> Result<(Entry, usize), Unopened> {
        seal::open(&self.keys, account, sealed)
    }

    pub(super) fn seal(&self, account: &str, entry: &Entry) -> io::Result<Vec<u8>> {
        let first = self.keys.first().expect("a store opens only with a key");
        seal::seal(first, account, entry)
    }

    pub(super) fn path(&self, account: &str, kind: &str) -> PathBuf {
        self.dir.join(format!("{}.{kind}", stem(account)))
    }

    /// Makes sure that the folder's names, and not only its files' content, are on the disk.
    pub(super) fn sync(&self) -> Result<(), StateError> {
        match File::open(&self.dir).and_then(|dir| dir.sync_all()) {
            // Some network and user-space file systems don't support it.
            Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
            result => result.or_fail("write to the disk the folder", &self.dir),
        }
    }
}

/// Every write creates another file, so the inode differs, or at least the times do.
fn stamp(file: &Metadata) -> Stamp {
    let nanoseconds =
        |seconds: i64, rest: i64| (seconds as u64).wrapping_mul(1_000_000_000).wrapping_add(rest as u64);
    let modified = nanoseconds(file.mtime(), file.mtime_nsec());
    Stamp::new([file.ino(), file.size(), modified, nanoseconds(file.ctime(), file.ctime_nsec())])
}

/// Returns the account's name as a file name: injective, no separator, no leading dot, at most 249 bytes (255 with a
/// suffix).
///
/// A longer name is replaced by its digest, after letters that can't follow `%` in any other name.
pub(super) fn stem(account: &str) -> String {
    let mut stem = String::with_capacity(account.len());
    for (at, byte) in account.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => stem.push(char::from(byte)),
            b'.' if at > 0 => stem.push('.'),
            _ => stem.push_str(&format!("%{byte:02X}")),
        }
    }
    if stem.len() > 249 { format!("%long-{}", hex(&sha256(account.as_bytes()))) } else { stem }
}

/// Opens `path` for writing, 0600, and creates it if it is missing.
pub(super) fn open_file(path: &Path, truncate: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(truncate).mode(0o600).open(path)
}

/// Takes the lock of `file`; `false` if another process holds it.
pub(super) fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

pub(super) fn read_file(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    match fs::read(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some).or_fail("read", path),
    }
}

/// Removes `path` if it exists.
pub(super) fn remove_file(path: &Path) -> Result<(), StateError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        result => result.or_fail("remove", path),
    }
}

pub(super) trait OrFail<T> {
    /// Adds the failed action and its path to the error.
    fn or_fail(self, doing: &'static str, path: &Path) -> Result<T, StateError>;
}

impl<T> OrFail<T> for io::Result<T> {
    fn or_fail(self, doing: &'static str, path: &Path) -> Result<T, StateError> {
        self.map_err(|cause| StateError::Io { doing, path: path.to_owned(), cause })
    }
}
