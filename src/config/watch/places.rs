//! The names in folders that can change the content of the configuration's files.

use crate::config::files::{Files, is_part_of_a_folder};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// The maximum number of symlinks that Linux follows.
const MAX_HOPS: usize = 40;

/// The folders and files to watch, each by its path without symlinks.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) folders: BTreeMap<PathBuf, Arc<Names>>,
    pub(super) files: BTreeSet<PathBuf>,
}

/// The relevant names in one folder.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) folder: PathBuf,
    /// One of the configuration's files, or a symlink to it, is here; else only folders on the path are.
    pub(super) holds_files: bool,
    names: BTreeSet<OsString>,
    /// The configuration is this folder.
    is_root: bool,
}

impl Names {
    pub(super) fn contains(&self, name: &OsStr) -> bool {
        self.names.contains(name) || (self.is_root && is_part_of_a_folder(name))
    }
}

impl Places {
    /// Walks to every path as the system does. Blocks on the file system.
    pub(super) fn of(files: &Files) -> Self {
        let mut walk = Walk::default();
        for path in files.paths() {
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            let Some(real) = walk.to(&absolute, MAX_HOPS, true) else { continue };
            match fs::symlink_metadata(&real) {
                Ok(found) if found.is_file() => drop(walk.files.insert(real)),
                Ok(found) if found.is_dir() && path == files.root() => {
                    let names = walk.folder(&real);
                    (names.is_root, names.holds_files) = (true, true);
                }
                _ => {}
            }
        }
        let folders = walk.folders.into_iter().map(|(folder, names)| (folder, Arc::new(names))).collect();
        Self { folders, files: walk.files }
    }
}

#[derive(Default)]
struct Walk {
    folders: BTreeMap<PathBuf, Names>,
    files: BTreeSet<PathBuf>,
    /// The target of each folder on the path: many files are in few folders.
    known: HashMap<PathBuf, Option<PathBuf>>,
}

impl Walk {
    /// Records every name on the way to the absolute `path`, and returns the path without symlinks; `None` if the path
    /// ends early. The missing name is recorded too, so its creation is detected.
    fn to(&mut self, path: &Path, hops: usize, is_end: bool) -> Option<PathBuf> {
        if let Some(known) = self.known.get(path).filter(|_| !is_end) {
            return known.clone();
        }
        let real = match (path.components().next_back()?, path.parent()) {
            (Component::Normal(name), Some(parent)) => {
                self.to(parent, hops, false).and_then(|folder| self.step(folder, name, hops, is_end))
            }
            (Component::ParentDir, Some(parent)) => self
                .to(parent, hops, false)
                .map(|folder| folder.parent().map_or(folder.clone(), Path::to_owned)),
            _ => Some(path.to_owned()),
        };
        self.known.insert(path.to_owned(), real.clone());
        real
    }

    fn step(&mut self, folder: PathBuf, name: &OsStr, hops: usize, is_end: bool) -> Option<PathBuf> {
        let path = folder.join(name);
        let found = fs::symlink_metadata(&path).ok();
        let is_link = found.as_ref().is_some_and(|found| found.file_type().is_symlink());
        let names = self.folder(&folder);
        names.names.insert(name.to_owned());
        names.holds_files |= is_end || is_link;
        found?;
        if !is_link {
            return Some(path);
        }
        let target = folder.join(fs::read_link(&path).ok()?);
        self.to(&target, hops.checked_sub(1)?, is_end)
    }

    fn folder(&mut self, folder: &Path) -> &mut Names {
        self.folders
            .entry(folder.to_owned())
            .or_insert_with(|| Names { folder: folder.to_owned(), ..Names::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn places(root: &Path, more: &[PathBuf]) -> Places {
        let mut files = Files::new(root);
        let _listed = files.list();
        for path in more.iter().map(PathBuf::as_path).chain([root]) {
            let _unreadable = files.read(path, 1);
        }
        Places::of(&files)
    }

    #[test]
    fn every_symlink_and_folder_on_the_path_counts_and_no_neighbour() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        fs::create_dir_all(base.join("v1/deep")).unwrap();
        fs::write(base.join("v1/deep/key"), "a").unwrap();
        symlink("v1", base.join("..data")).unwrap();
        symlink("..data/deep/../deep/key", base.join("key")).unwrap();
        let places = places(&base.join("key"), &[]);
        let counts = |folder: &str, name: &str| {
            places.folders.get(&base.join(folder)).is_some_and(|names| names.contains(OsStr::new(name)))
        };
        assert!(counts("", "key") && counts("", "..data") && counts("", "v1"));
        assert!(counts("v1", "deep") && counts("v1/deep", "key"));
        assert!(!counts("", "access.log") && !counts("v1/deep", "other"));
        assert!(places.folders[Path::new("/")].names.len() == 1);
        assert_eq!(places.files, [base.join("v1/deep/key")].into());
        assert!(!places.folders[Path::new("/")].holds_files && places.folders[&base].holds_files);
    }

    #[test]
    fn a_missing_folder_is_watched_in_its_nearest_existing_parent() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        let places = places(&base.join("no/such/file"), &[]);
        assert!(places.folders[&base].contains(OsStr::new("no")));
        assert!(!places.folders.contains_key(&base.join("no")));
    }

    #[test]
    fn a_loop_of_symlinks_ends() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("loop");
        symlink("loop", &link).unwrap();
        assert!(places(&link, &[]).files.is_empty());
    }

    #[test]
    fn only_yaml_files_count_in_a_configuration_folder() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        let places = places(&base, &[]);
        let counts = ["a.yaml", "b.yml", ".c.yaml", "d.yaml~", "access.log"]
            .map(|name| places.folders[&base].contains(OsStr::new(name)));
        assert_eq!(counts, [true, true, false, false, false]);
    }
}
