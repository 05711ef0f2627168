//! One watcher of `notify`, and the paths that it watches.
//!
//! A mask of events, [`Config::with_event_kinds`], is new in notify 9, hence a release candidate.

use notify::event::EventKindMask;
use notify::{
    Config, Error, ErrorKind, Event, PathOp, RecommendedWatcher, Result, UpdatePathsError, Watcher as _,
};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Device and inode.
pub(super) type Identity = (u64, u64);

/// The paths that one watcher watches, each non-recursively.
#[derive(Debug)]
pub(super) struct WatchedPaths {
    watcher: RecommendedWatcher,
    /// The file at each path when its watch was set.
    identities: HashMap<PathBuf, Identity>,
}

/// The result of [`WatchedPaths::set`].
#[derive(Debug, Default)]
pub(super) struct Set {
    /// A path is newly watched.
    pub(super) is_new: bool,
    /// The paths that could not be watched, except those that no longer exist.
    pub(super) failed: Vec<(PathBuf, Error)>,
}

impl WatchedPaths {
    /// Returns a watcher without paths. `handler` runs on a thread of the watcher.
    pub(super) fn new(
        events: EventKindMask,
        handler: impl FnMut(Result<Event>) + Send + 'static,
    ) -> Result<Self> {
        let watcher = RecommendedWatcher::new(handler, Config::default().with_event_kinds(events))?;
        Ok(Self { watcher, identities: HashMap::new() })
    }

    /// Watches these paths and no others from now on. `notify` keeps watching a file that was renamed away, so a path
    /// with another file or folder than before is watched again.
    pub(super) fn set<'a>(&mut self, paths: impl Iterator<Item = &'a PathBuf>) -> Result<Set> {
        // `notify` forgets removed paths by itself.
        let mut obsolete: HashSet<PathBuf> =
            self.watcher.watched_paths()?.into_iter().map(|(path, _)| path).collect();
        let before = std::mem::take(&mut self.identities);
        let mut added = Vec::new();
        for path in paths {
            // If nothing is there any more, an event has reported it.
            let Some(identity) = identity(path) else { continue };
            let is_kept = before.get(path) == Some(&identity) && obsolete.remove(path);
            if !is_kept {
                added.push(PathOp::watch_non_recursive(path));
            }
            self.identities.insert(path.clone(), identity);
        }
        let attempts = added.len();
        let mut failed = self.update(obsolete.into_iter().map(PathOp::unwatch).chain(added).collect())?;
        let is_new = attempts > failed.len();
        for (path, _) in &failed {
            self.identities.remove(path);
        }
        failed.retain(|(_, error)| !is_gone(error));
        Ok(Set { is_new, failed })
    }

    /// Makes the next [`Self::set`] renew every watch.
    pub(super) fn forget(&mut self) {
        self.identities.clear();
    }

    /// Returns the watched paths, with the identity of their files.
    pub(super) fn identities(&self) -> impl Iterator<Item = (&PathBuf, Identity)> {
        self.identities.iter().map(|(path, identity)| (path, *identity))
    }

    /// Performs all operations, and returns the paths that could not be watched.
    fn update(&mut self, mut operations: Vec<PathOp>) -> Result<Vec<(PathBuf, Error)>> {
        let mut failed = Vec::new();
        while let Err(UpdatePathsError { source, origin, remaining }) = self.watcher.update_paths(operations)
        {
            match origin {
                Some(PathOp::Watch(path, _)) => failed.push((path, source)),
                // The watcher forgot it meanwhile.
                Some(PathOp::Unwatch(_)) => {}
                None => return Err(source),
            }
            operations = remaining;
        }
        Ok(failed)
    }
}

fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

fn is_gone(error: &Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => {
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        }
        _ => false,
    }
}

/// Returns true if the path may not be read.
pub(super) fn is_denied(error: &Error) -> bool {
    matches!(&error.kind, ErrorKind::Io(error) if error.kind() == io::ErrorKind::PermissionDenied)
}
