//! The system's events about the configuration's files, received through `notify`.
//!
//! A mask of events belongs to a watcher, so there are two: one of folders, without write events, and one of the files
//! themselves, with them. So a neighbour that stays open, such as an access log, costs nothing, and a file that is
//! being written is still detected. Each has a thread, which leaves hints in the inbox and never blocks.

use super::paths::{Identity, WatchedPaths, is_denied};
use super::places::{Names, Places};
use super::rest::Hint;
use notify::event::{AccessKind, EventKindMask as On, ModifyKind};
use notify::{Error, Event, EventKind};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The events of a folder: a name in it was replaced, a file was closed, or became readable.
const FOLDER: On =
    On::CREATE.union(On::REMOVE).union(On::MODIFY_NAME).union(On::MODIFY_META).union(On::ACCESS_CLOSE);
const FILE: On =
    On::MODIFY_DATA.union(On::REMOVE).union(On::MODIFY_NAME).union(On::MODIFY_META).union(On::ACCESS_CLOSE);

/// The watches of one configuration.
#[derive(Debug)]
pub(super) struct Watches {
    inbox: Arc<Inbox>,
    /// Never locked by a watcher's thread, because setting a watch waits for that thread.
    watched: Mutex<Watched>,
}

#[derive(Debug)]
struct Watched {
    folders: WatchedPaths,
    files: WatchedPaths,
}

/// The result of setting the watches.
#[derive(Debug, Default)]
pub(super) struct Armed {
    /// A folder is newly watched: no event reported earlier changes in it.
    pub(super) is_new: bool,
    /// Why some of them could not be set.
    pub(super) error: Option<Error>,
}

impl Watches {
    /// Returns a value without watches.
    pub(super) fn new() -> notify::Result<Self> {
        let inbox = Arc::<Inbox>::default();
        let (of_folders, of_files) = (Arc::clone(&inbox), Arc::clone(&inbox));
        let watched = Watched {
            folders: WatchedPaths::new(FOLDER, move |event| of_folders.receive(event, Inbox::in_folder))?,
            files: WatchedPaths::new(FILE, move |event| of_files.receive(event, Inbox::of_file))?,
        };
        Ok(Self { inbox, watched: Mutex::new(watched) })
    }

    /// Watches these places and no others from now on. Blocks on the file system.
    pub(super) fn arm(&self, places: &Places) -> Armed {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if self.inbox.lock().begin_arming() {
            watched.folders.forget();
            watched.files.forget();
        }
        match watched.set(places) {
            Ok((armed, known)) => {
                self.inbox.lock().known = known;
                armed
            }
            Err(error) => Armed { is_new: true, error: Some(error) },
        }
    }

    /// Waits for events, and returns their hints; for each file, the last one. Cancel-safe.
    pub(super) async fn hints(&self) -> Vec<Hint> {
        loop {
            let hints = std::mem::take(&mut self.inbox.lock().hints);
            if !hints.is_empty() {
                return hints.into_values().collect();
            }
            self.inbox.arrived.notified().await;
        }
    }
}

impl Watched {
    fn set(&mut self, places: &Places) -> notify::Result<(Armed, Known)> {
        let files = self.files.set(places.files.iter())?;
        let folders = self.folders.set(places.folders.keys())?;
        // An unlistable folder on the path and an unreadable file are left to the poll.
        let is_needed = |path: &Path| places.folders.get(path).is_some_and(|names| names.holds_files);
        let error = (folders.failed.into_iter().chain(files.failed))
            .find(|(path, error)| !is_denied(error) || is_needed(path))
            .map(|(_, error)| error);
        let mut by_identity: HashMap<Identity, Vec<Arc<Names>>> = HashMap::new();
        for (folder, identity) in self.folders.identities() {
            by_identity.entry(identity).or_default().extend(places.folders.get(folder).map(Arc::clone));
        }
        let known = Known {
            folders: (self.folders.identities())
                .filter_map(|(folder, identity)| Some((folder.clone(), by_identity.get(&identity)?.clone())))
                .collect(),
            files: self.files.identities().map(|(file, _)| file.clone()).collect(),
        };
        Ok((Armed { is_new: folders.is_new, error }, known))
    }
}

/// The inbox in which the threads of the watchers leave their hints.
#[derive(Debug, Default)]
struct Inbox {
    contents: Mutex<Contents>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Contents {
    known: Known,
    /// The last hint about each file, and without a path that something was touched: a busy writer takes no more
    /// memory.
    hints: HashMap<Option<PathBuf>, Hint>,
    /// Paths at which another file is since the watches were set: the watch is on the previous file.
    replaced: HashSet<PathBuf>,
    /// Events were lost.
    overflowed: bool,
}

/// The watched folders and files.
#[derive(Debug, Default)]
struct Known {
    /// The relevant names in each folder. Several paths may lead to one folder, by mounts: `notify` reports one of
    /// them, so each has the names of all.
    folders: HashMap<PathBuf, Vec<Arc<Names>>>,
    files: HashSet<PathBuf>,
}

impl Contents {
    /// Returns true if no watch is known to be alive.
    fn begin_arming(&mut self) -> bool {
        self.replaced.clear();
        std::mem::take(&mut self.overflowed)
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receive(&self, event: notify::Result<Event>, hint: fn(&Self, &EventKind, &Path) -> Option<Hint>) {
        let hints: Vec<Hint> = match event {
            Ok(event) if !event.need_rescan() => {
                event.paths.iter().filter_map(|path| hint(self, &event.kind, path)).collect()
            }
            _ => {
                self.lock().overflowed = true;
                vec![Hint::Touched]
            }
        };
        if hints.is_empty() {
            return;
        }
        let mut contents = self.lock();
        for hint in hints {
            let file = match &hint {
                Hint::Writing(file) | Hint::Done(file) => Some(file.clone()),
                Hint::Touched => None,
            };
            contents.hints.insert(file, hint);
        }
        drop(contents);
        self.arrived.notify_one();
    }

    /// Handles an event of a file's own watch.
    fn of_file(&self, kind: &EventKind, file: &Path) -> Option<Hint> {
        let is_current = !self.lock().replaced.contains(file);
        Some(match kind {
            EventKind::Modify(ModifyKind::Data(_)) if is_current => Hint::Writing(file.to_owned()),
            EventKind::Access(AccessKind::Close(_)) if is_current => Hint::Done(file.to_owned()),
            _ => Hint::Touched,
        })
    }

    /// Handles an event of a folder: of a name in it, or of itself.
    fn in_folder(&self, kind: &EventKind, path: &Path) -> Option<Hint> {
        let mut contents = self.lock();
        // An event of a folder that is newly watched or no longer watched, or of the root itself.
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Some(Hint::Touched);
        };
        let Some(folders) = contents.known.folders.get(folder) else { return Some(Hint::Touched) };
        let Some(names) = folders.iter().find(|names| names.contains(name)) else {
            return contents.known.folders.contains_key(path).then_some(Hint::Touched);
        };
        let path = names.folder.join(name);
        match kind {
            EventKind::Modify(ModifyKind::Metadata(_)) => Some(Hint::Touched),
            EventKind::Access(_) => {
                // The file's own watch reports too, on another thread: a late close must not hide a newer write.
                let is_told = contents.known.files.contains(&path) && !contents.replaced.contains(&path);
                (!is_told).then_some(Hint::Done(path))
            }
            kind => {
                contents.replaced.insert(path.clone());
                drop(contents);
                Some(if kind.is_create() && is_new_file(&path) {
                    Hint::Writing(path)
                } else {
                    Hint::Done(path)
                })
            }
        }
    }
}

/// Returns true if the name is a newly created file, not a link: its close will be reported.
fn is_new_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.nlink() == 1)
}

#[cfg(test)]
mod tests;
