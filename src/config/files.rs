//! The files from which a configuration was read: each path, with the state found there.
//!
//! The watcher compares these readings with the later state, so a change between the read and the first watch counts as
//! well. A digest is of the exact bytes that were used. It is only compared and never shown: it would confirm a guessed
//! secret.

use crate::secret::sha256;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use zeroize::Zeroizing;

/// A file modified more recently may be modified again without a change of its times, since they advance in ticks.
const RACY: Duration = Duration::from_secs(2);

/// Every path that a configuration depends on, including the missing ones.
#[derive(Debug, Clone)]
pub struct Files {
    root: PathBuf,
    readings: BTreeMap<PathBuf, Reading>,
}

/// The paths whose content differs from the reading, with their current content.
pub(super) type Difference = BTreeMap<PathBuf, Content>;

/// The result of a later look at the files.
pub(super) struct Look {
    pub(super) difference: Difference,
    /// The paths with a different stamp and the same content.
    refreshed: Vec<(PathBuf, Reading)>,
}

/// One read of one path.
#[derive(Debug, Clone)]
struct Reading {
    content: Content,
    stamp: Option<Stamp>,
    /// False while an equal stamp does not prove equal content.
    settled: bool,
    /// Maximum number of bytes that are read.
    limit: u64,
}

/// The content of a file, or the list of files in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// Nothing, or an unreadable file.
    Missing,
    /// More bytes than the limit.
    TooLarge,
    /// These bytes.
    Bytes(Digest),
}

/// SHA-256 of some content.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Digest([u8; 32]);

/// The metadata that changes when a file is written or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Files {
    /// Returns an empty set of readings. Only `root` may be a folder.
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), readings: BTreeMap::new() }
    }

    /// Returns the configuration's file or folder.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns every path, in order.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.readings.keys().map(PathBuf::as_path)
    }

    /// Reads up to `limit` bytes of a regular file and records the reading. `None` if there are more.
    pub(super) fn read(&mut self, path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let (bytes, reading) = read(path, limit);
        self.record(path, reading);
        bytes
    }

    /// Adds the readings of `others`.
    pub(super) fn adopt(&mut self, others: Self) {
        for (path, reading) in others.readings {
            self.readings.entry(path).or_insert(reading);
        }
    }

    /// Lists the `*.yaml` and `*.yml` files of the root in lexical order, without hidden ones, and records the reading.
    /// `None` if it is not a folder.
    pub(super) fn list(&mut self) -> io::Result<Option<Vec<PathBuf>>> {
        let root = self.root.clone();
        let metadata = fs::metadata(&root).inspect_err(|_| self.record(&root, Reading::missing(0)))?;
        if !metadata.is_dir() {
            return Ok(None);
        }
        let listed = yaml_files(&root).inspect_err(|_| self.record(&root, Reading::missing(0)))?;
        self.record(&root, Reading::of_list(&listed, Stamp::of(&metadata)));
        Ok(Some(listed))
    }

    /// The first reading of a path counts: a later one that differs is a change.
    fn record(&mut self, path: &Path, reading: Reading) {
        self.readings.entry(path.to_owned()).or_insert(reading);
    }

    /// Compares the current state with the readings. Reads only files whose stamp does not prove that they are
    /// unchanged.
    pub(super) fn look(&self) -> Look {
        let mut look = Look { difference: Difference::new(), refreshed: Vec::new() };
        for (path, before) in &self.readings {
            let Some(now) = before.again(path, *path == self.root) else { continue };
            if now.content == before.content {
                look.refreshed.push((path.clone(), now));
            } else {
                look.difference.insert(path.clone(), now.content);
            }
        }
        look
    }

    /// Records the new stamps of unchanged content, so that it is not read again at the next look.
    pub(super) fn refresh(&mut self, look: &mut Look) {
        self.readings.extend(look.refreshed.drain(..));
    }
}

impl Look {
    pub(super) fn is_news(&self) -> bool {
        !self.refreshed.is_empty()
    }
}

impl Reading {
    fn missing(limit: u64) -> Self {
        Self { content: Content::Missing, stamp: None, settled: true, limit }
    }

    fn of_list(listed: &[PathBuf], stamp: Stamp) -> Self {
        let names: Vec<u8> = listed
            .iter()
            .flat_map(|path| path.as_os_str().as_encoded_bytes().iter().chain(b"\0"))
            .copied()
            .collect();
        Self {
            content: Content::Bytes(Digest(sha256(&names))),
            settled: stamp.is_settled(SystemTime::now()),
            stamp: Some(stamp),
            limit: 0,
        }
    }

    /// Returns the current reading; `None` if the stamp proves that it is the same.
    fn again(&self, path: &Path, is_root: bool) -> Option<Self> {
        let missing = || (self.content != Content::Missing).then(|| Self::missing(self.limit));
        let Ok(metadata) = fs::metadata(path) else { return missing() };
        let readable = metadata.is_file() || (metadata.is_dir() && is_root);
        if !readable {
            return missing();
        }
        let stamp = Stamp::of(&metadata);
        if self.settled && self.stamp == Some(stamp) {
            return None;
        }
        if metadata.is_file() {
            return Some(read(path, self.limit).1);
        }
        match yaml_files(path) {
            Ok(listed) => Some(Self::of_list(&listed, stamp)),
            Err(_) => missing(),
        }
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Returns true if another modification would get another time. A time in the future never does.
    fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let modified = Duration::new(
            u64::try_from(self.modified.0).unwrap_or(0),
            u32::try_from(self.modified.1).unwrap_or(0),
        );
        now.checked_sub(modified).is_some_and(|age| age >= RACY)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[digest]")
    }
}

/// Reads a regular file. The stamp is taken first and from the open file: a later write is detected by it.
fn read(path: &Path, limit: u64) -> (io::Result<Option<Vec<u8>>>, Reading) {
    let open = || {
        // Opening a pipe would wait for its other end.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let file = File::open(path)?;
        let stamp = Stamp::of(&file.metadata()?);
        // One byte more than expected, so that reading to the end does not double the buffer.
        let expected = usize::try_from(stamp.size.min(limit)).unwrap_or(0);
        let mut bytes = Zeroizing::new(Vec::with_capacity(expected + 1));
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok((stamp, bytes))
    };
    match open() {
        Ok((stamp, mut bytes)) => {
            let fits = bytes.len() as u64 <= limit;
            let content = if fits { Content::Bytes(Digest(sha256(&bytes))) } else { Content::TooLarge };
            let settled = stamp.is_settled(SystemTime::now());
            let bytes = fits.then(|| std::mem::take(&mut *bytes));
            (Ok(bytes), Reading { content, stamp: Some(stamp), settled, limit })
        }
        Err(error) => (Err(error), Reading::missing(limit)),
    }
}

fn yaml_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let file = folder.join(&name);
        if is_part_of_a_folder(&name) && !file.is_dir() {
            found.push(file);
        }
    }
    found.sort();
    Ok(found)
}

/// Returns the other files of a folder in lexical order, without hidden ones; a sub-folder with a slash after its name.
pub(super) fn others(folder: &Path) -> Vec<String> {
    let other = |entry: io::Result<fs::DirEntry>| {
        let name = entry.ok()?.file_name();
        let is_folder = folder.join(&name).is_dir();
        let hidden = name.as_encoded_bytes().starts_with(b".");
        let shown = format!("{}{}", name.to_string_lossy(), if is_folder { "/" } else { "" });
        (!hidden && (is_folder || !is_part_of_a_folder(&name))).then_some(shown)
    };
    let mut found: Vec<String> = fs::read_dir(folder).into_iter().flatten().filter_map(other).collect();
    found.sort();
    found
}

/// Returns true if a file of this name in a configuration folder is part of the configuration.
pub(super) fn is_part_of_a_folder(name: &OsStr) -> bool {
    let hidden = name.as_encoded_bytes().starts_with(b".");
    !hidden && Path::new(name).extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::FileTimes;

    fn file(folder: &tempfile::TempDir, text: &str) -> PathBuf {
        let path = folder.path().join("attache.yaml");
        fs::write(&path, text).unwrap();
        path
    }

    fn age(path: &Path, by: Duration) -> SystemTime {
        let then = SystemTime::now() - by;
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_times(FileTimes::new().set_modified(then))
            .unwrap();
        then
    }

    fn read_once(path: &Path, limit: u64) -> Files {
        let mut files = Files::new(path);
        let _unreadable = files.read(path, limit);
        files
    }

    #[test]
    fn a_stamp_proves_unchanged_content_once_the_file_is_two_seconds_old() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, "a");
        let young = read_once(&path, 10);
        assert!(young.look().is_news(), "it is read again");
        age(&path, RACY * 2);
        let mut old = read_once(&path, 10);
        assert!(!old.look().is_news(), "the stamp proves that it is unchanged");
        age(&path, RACY * 3);
        let mut look = old.look();
        assert!(look.is_news() && look.difference.is_empty());
        old.refresh(&mut look);
        assert!(!old.look().is_news(), "the new stamp proves that it is unchanged");
    }

    #[test]
    fn a_change_that_keeps_size_and_time_is_found_in_a_recent_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, "a");
        let modified = age(&path, Duration::from_secs(1));
        let files = read_once(&path, 10);
        fs::write(&path, "b").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        assert_eq!(files.look().difference.len(), 1);
    }

    #[test]
    fn a_time_in_the_future_proves_nothing() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let stamp =
            |seconds| Stamp { device: 1, inode: 1, size: 1, modified: (seconds, 0), changed: (seconds, 0) };
        assert_eq!(
            [97, 98, 99, 101].map(|seconds| stamp(seconds).is_settled(now)),
            [true, true, false, false]
        );
    }

    #[test]
    fn missing_and_too_large_are_separate_states() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, "large");
        let large = read_once(&path, 4);
        assert!(large.look().difference.is_empty());
        fs::write(&path, "fine").unwrap();
        assert!(matches!(large.look().difference[&path], Content::Bytes(_)));
        fs::remove_file(&path).unwrap();
        assert_eq!(large.look().difference[&path], Content::Missing);
        let missing = read_once(&path, 4);
        assert!(missing.look().difference.is_empty());
        fs::create_dir(&path).unwrap();
        let mut secret = Files::new(Path::new("/"));
        secret.adopt(missing);
        assert!(secret.look().difference.is_empty(), "a folder can't be a secret");
    }

    #[test]
    fn a_folder_is_the_list_of_its_yaml_files() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yml", "a.yaml", ".hidden.yaml", "notes.txt"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let mut files = Files::new(folder.path());
        let listed = files.list().unwrap().unwrap();
        assert_eq!(listed, ["a.yaml", "b.yml"].map(|name| folder.path().join(name)));
        fs::write(folder.path().join("more.txt"), "").unwrap();
        assert!(files.look().difference.is_empty());
        fs::write(folder.path().join("c.yml"), "").unwrap();
        assert_eq!(files.look().difference.len(), 1);
    }

    #[test]
    fn a_digest_is_not_printed() {
        let folder = tempfile::tempdir().unwrap();
        let printed = format!("{:?}", read_once(&file(&folder, "a"), 10));
        assert!(printed.contains("[digest]"), "{printed}");
    }
}
