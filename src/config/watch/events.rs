//! The kernel's events about the configuration's files (inotify).
//!
//! A folder is watched without `IN_MODIFY`, and each file by itself with it: so a neighbour that is appended to, such as
//! an access log, costs nothing at all, and the file that is being written is still known. `notify` watches a folder
//! with every event on, which costs a wake-up and some allocations for each line of such a log.

use super::places::{Names, Places};
use super::rest::Hint;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags as On, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::unix::AsyncFd;

/// What a folder on the way tells: that a name in it leads elsewhere.
const ON_THE_WAY: On = On::IN_CREATE
    .union(On::IN_DELETE)
    .union(On::IN_MOVED_FROM)
    .union(On::IN_MOVED_TO)
    .union(On::IN_DELETE_SELF)
    .union(On::IN_MOVE_SELF)
    .union(On::IN_ONLYDIR);
/// And one that holds files: that they are closed, or may be read now.
const WITH_FILES: On = ON_THE_WAY.union(On::IN_CLOSE_WRITE).union(On::IN_ATTRIB);
const FILE: On = On::IN_MODIFY
    .union(On::IN_CLOSE_WRITE)
    .union(On::IN_ATTRIB)
    .union(On::IN_DELETE_SELF)
    .union(On::IN_MOVE_SELF);

/// The watches of one configuration.
#[derive(Debug)]
pub(super) struct Watches {
    inotify: AsyncFd<Descriptor>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    folders: HashMap<WatchDescriptor, Vec<Arc<Names>>>,
    files: HashMap<WatchDescriptor, PathBuf>,
}

/// What came of setting the watches.
#[derive(Debug, Default)]
pub(super) struct Armed {
    /// A folder is watched that was not before: what happened in it until now, no event told.
    pub(super) is_new: bool,
    /// Why some of them could not be set.
    pub(super) error: Option<io::Error>,
}

#[derive(Debug)]
struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Watches {
    /// No watches yet.
    pub(super) fn new() -> io::Result<Self> {
        let inotify = Descriptor(Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?);
        #[expect(
            deprecated,
            reason = "its successor is an unsafe function; the descriptor lives as long as its owner"
        )]
        let inotify = AsyncFd::new(inotify)?;
        Ok(Self { inotify, known: Mutex::default() })
    }

    /// Watches these places and no others from now on. Blocks on the file system.
    pub(super) fn arm(&self, places: &Places) -> Armed {
        let mut next = Known::default();
        let mut armed = Armed::default();
        let add = |path: &Path, on: On| self.inotify.get_ref().0.add_watch(path, on);
        for (folder, names) in &places.folders {
            match add(folder, if names.holds_files { WITH_FILES } else { ON_THE_WAY }) {
                Ok(watch) => next.folders.entry(watch).or_default().push(Arc::clone(names)),
                // It went away meanwhile: an event tells. A folder on the way that may not be listed is left to the poll.
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(Errno::EACCES) if !names.holds_files => {}
                Err(error) => armed.error = Some(error.into()),
            }
        }
        for file in &places.files {
            match add(file, FILE) {
                Ok(watch) => drop(next.files.insert(watch, file.clone())),
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => {}
                Err(error) => armed.error = Some(error.into()),
            }
        }
        let before = std::mem::replace(&mut *self.lock(), next);
        let now = self.lock();
        armed.is_new = now.folders.keys().any(|watch| !before.folders.contains_key(watch));
        let is_known =
            |watch: &WatchDescriptor| now.folders.contains_key(watch) || now.files.contains_key(watch);
        for watch in
            before.folders.into_keys().chain(before.files.into_keys()).filter(|watch| !is_known(watch))
        {
            // The kernel has removed it if its folder or file is gone.
            let _ = self.inotify.get_ref().0.rm_watch(watch);
        }
        armed
    }

    /// Waits for events, and returns what they say; nothing if none is about the configuration. Cancel-safe.
    pub(super) async fn hints(&self) -> Vec<Hint> {
        let read = |descriptor: &Descriptor| match descriptor.0.read_events() {
            Ok(events) => Ok(events),
            Err(error) => Err(error.into()),
        };
        match self.inotify.readable().await {
            Ok(mut ready) => match ready.try_io(|inotify| read(inotify.get_ref())) {
                Ok(Ok(events)) => {
                    let mut known = self.lock();
                    events.into_iter().filter_map(|event| known.hint(event)).collect()
                }
                Ok(Err(_)) => vec![Hint::Touched],
                Err(_would_block) => Vec::new(),
            },
            // The runtime is shutting down.
            Err(_) => std::future::pending().await,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn hint(&mut self, event: InotifyEvent) -> Option<Hint> {
        let InotifyEvent { wd, mask, name, .. } = event;
        if mask.contains(On::IN_IGNORED) {
            // The kernel may use the number again. One that was removed here is not known any more.
            let known = self.folders.remove(&wd).is_some() | self.files.remove(&wd).is_some();
            return known.then_some(Hint::Touched);
        }
        if let Some(file) = self.files.get(&wd) {
            return Some(match mask {
                mask if mask.contains(On::IN_MODIFY) => Hint::Writing(file.clone()),
                mask if mask.contains(On::IN_CLOSE_WRITE) => Hint::Done(file.clone()),
                _ => Hint::Touched,
            });
        }
        // Of a watch that was removed, of one that is just being set, or an overflow.
        let Some(folders) = self.folders.get(&wd) else { return Some(Hint::Touched) };
        let Some(name) = name else { return Some(Hint::Touched) };
        let names = folders.iter().find(|names| names.contains(&name))?;
        let path = names.folder.join(&name);
        Some(match mask {
            mask if mask.contains(On::IN_CREATE) && is_new_file(&path) => Hint::Writing(path),
            mask if mask.contains(On::IN_ATTRIB) => Hint::Touched,
            _ => Hint::Done(path),
        })
    }
}

/// Returns true if the name stands for a new file without a second link: an event will report its close.
fn is_new_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.nlink() == 1)
}
