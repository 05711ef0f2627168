//! Says when a configuration may read differently than it did.
//!
//! Events of the file system are hints only: a watch on a file goes silent after the first rename over it, a folder
//! made anew is not the folder that was watched, and network file systems send nothing. So folders are watched: the
//! parent of every path and of every symlink on the way to it. An event of any kind, or the poll, makes the watcher
//! read everything and compare digests; a change counts when two reads 250 ms apart agree, so that half-written
//! files are not taken.
//!
//! Rejected: `notify-debouncer`. It debounces events, but it is the content that has to come to rest.

use super::load::yaml_files;
use crate::secret::sha256;
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long content must rest before it counts.
const SETTLE: Duration = Duration::from_millis(250);
/// As deep as Linux follows symlinks.
const MAX_HOPS: usize = 40;
/// A file beyond this is no part of a configuration.
const MAX_READ: u64 = 65 << 20;

/// What is at each path: `None` where nothing can be read.
type Contents = BTreeMap<PathBuf, Option<[u8; 32]>>;

/// Each folder that is watched, and which folder that was: device and inode.
type Folders = BTreeSet<(PathBuf, u64, u64)>;

/// Watches the files a configuration was read from.
///
/// Start it before the configuration is read and [`rearm`](Self::rearm) it with the files afterwards; then a change
/// in between is not lost.
#[derive(Debug)]
pub struct Watcher {
    files: Arc<[PathBuf]>,
    seen: Contents,
    poll: Duration,
    next_poll: Instant,
    /// An event came, or the poll was due, and no read has yet shown that nothing changed.
    due: bool,
    events: Arc<Notify>,
    armed: Option<Armed>,
    warned: bool,
}

#[derive(Debug)]
struct Armed {
    folders: Folders,
    /// Ends its watches when dropped.
    _watcher: RecommendedWatcher,
}

impl Watcher {
    /// Takes what the files hold now as known. Reads every `poll` even without an event.
    pub fn start(files: &[PathBuf], poll: Duration) -> Self {
        let mut watcher = Self {
            files: files.into(),
            seen: Contents::new(),
            poll,
            next_poll: Instant::now() + poll,
            due: false,
            events: Arc::new(Notify::new()),
            armed: None,
            warned: false,
        };
        watcher.arm(folders(files));
        watcher.seen = contents(files);
        watcher
    }

    /// Resolves when some content differs from what was last seen. Cancel-safe: nothing is lost if it is dropped.
    pub async fn changed(&mut self) {
        loop {
            if !self.due {
                tokio::select! {
                    () = self.events.notified() => {}
                    () = tokio::time::sleep_until(self.next_poll) => {}
                }
                self.due = true;
            }
            self.next_poll = Instant::now() + self.poll;
            // Armed anew before reading: what changes from here on is either read now or makes an event.
            let files = Arc::clone(&self.files);
            if let Some(folders) = blocking(move || folders(&files)).await {
                self.arm(folders);
            }
            let Some(first) = self.read().await else { continue };
            if first == self.seen {
                self.due = false;
                continue;
            }
            tokio::time::sleep(SETTLE).await;
            let Some(second) = self.read().await else { continue };
            if first == second {
                self.seen = second;
                self.due = false;
                return;
            }
        }
    }

    /// Watches these files from now on. Those that were watched before keep what was last seen of them, so that a
    /// change since then still counts.
    pub fn rearm(&mut self, files: &[PathBuf]) {
        self.files = files.into();
        self.arm(folders(files));
        let known = std::mem::take(&mut self.seen);
        self.seen = files
            .iter()
            .map(|file| {
                let content = known.get(file).copied().unwrap_or_else(|| content(file));
                (file.clone(), content)
            })
            .collect();
        // Whatever changed between the last read and this call must be looked at once more.
        self.due = true;
    }

    async fn read(&self) -> Option<Contents> {
        let files = Arc::clone(&self.files);
        blocking(move || contents(&files)).await
    }

    /// Makes the watches fit the folders, if they don't already. Going without is a warning, said once: the poll
    /// remains.
    fn arm(&mut self, folders: Folders) {
        if self.armed.as_ref().is_some_and(|armed| armed.folders == folders) {
            return;
        }
        // The old one goes first, so that limits on watches are not hit by having two.
        self.armed = None;
        let events = Arc::clone(&self.events);
        let started = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.as_ref().is_ok_and(|event| is_our_own_reading(&event.kind)) {
                return;
            }
            events.notify_one();
        });
        let mut watcher = match started {
            Ok(watcher) => watcher,
            Err(error) => return self.warn(&error),
        };
        let mut failed = None;
        for (folder, ..) in &folders {
            // One that went away meanwhile is found missing at the next look.
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive)
                && folder.exists()
            {
                failed = Some(error);
            }
        }
        // Half of it is better than nothing, but not remembered as done: the next look tries again.
        let folders = if failed.is_some() { Folders::new() } else { folders };
        match failed {
            Some(error) => self.warn(&error),
            None => self.warned = false,
        }
        self.armed = Some(Armed { folders, _watcher: watcher });
    }

    fn warn(&mut self, error: &notify::Error) {
        if !self.warned {
            self.warned = true;
            tracing::warn!(%error, "files can't be watched; they are read every {:?} instead", self.poll);
        }
    }
}

/// Reading a file is an event, too; taking it as a hint would make one read cause the next.
fn is_our_own_reading(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        _ => false,
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    // Fails only while the runtime shuts down, when nobody waits for the answer any more.
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => Some(value),
        Err(_) => std::future::pending().await,
    }
}

fn contents(files: &[PathBuf]) -> Contents {
    files.iter().map(|file| (file.clone(), content(file))).collect()
}

/// A file's digest; a folder's is that of the names in it that belong to a configuration.
fn content(path: &Path) -> Option<[u8; 32]> {
    if let Some(listed) = yaml_files(path).ok()? {
        let names: Vec<u8> = listed
            .iter()
            .flat_map(|p| p.as_os_str().as_encoded_bytes().iter().chain(b"\0"))
            .copied()
            .collect();
        return Some(sha256(&names));
    }
    // A pipe would be waited on, and drained.
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    File::open(path).ok()?.take(MAX_READ).read_to_end(&mut bytes).ok()?;
    Some(sha256(&bytes))
}

/// The folders in which a change may change what the files hold.
fn folders(files: &[PathBuf]) -> Folders {
    let mut found = BTreeSet::new();
    for file in files {
        let absolute = std::path::absolute(file).unwrap_or_else(|_| file.clone());
        follow(&absolute, &mut found, MAX_HOPS);
        if file.is_dir() {
            found.insert(absolute);
        }
    }
    let identified = |folder: PathBuf| {
        let (device, inode) = identity(&folder)?;
        Some((folder, device, inode))
    };
    found.into_iter().filter_map(identified).collect()
}

/// Walks to the path as the system does, and notes the folder of every symlink on the way, the path's own folder,
/// and that folder's parent, which learns of it being made anew. Where a folder is missing, the nearest one above.
fn follow(path: &Path, found: &mut BTreeSet<PathBuf>, hops: usize) {
    let mut here = PathBuf::new();
    for component in path.components() {
        if component == Component::ParentDir {
            here.pop();
            continue;
        }
        let parent = here.clone();
        here.push(component);
        match fs::symlink_metadata(&here) {
            Ok(meta) if meta.file_type().is_symlink() && hops > 0 => {
                found.insert(parent.clone());
                if let Ok(target) = fs::read_link(&here) {
                    let target = parent.join(target);
                    follow(&target, found, hops - 1);
                    here = fs::canonicalize(&here).unwrap_or(target);
                }
            }
            Ok(_) => {}
            Err(_) => {
                found.insert(parent);
                return;
            }
        }
    }
    if let Some(parent) = here.parent() {
        found.extend([Some(parent), parent.parent()].into_iter().flatten().map(Path::to_owned));
    }
}

#[cfg(unix)]
fn identity(folder: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = fs::metadata(folder).ok()?;
    Some((meta.dev(), meta.ino()))
}

#[cfg(not(unix))]
fn identity(folder: &Path) -> Option<(u64, u64)> {
    folder.is_dir().then_some((0, 0))
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
