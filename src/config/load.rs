//! From a path to a configuration: which files, what they say, and which others they depend on.
//!
//! This is where the reader meets the machine. Everything it reads, or finds missing, is listed, for the watcher.

use super::files::Files;
use super::model::{Config, LastValues, ReadFault};
use super::parse::{hash, parse};
use super::problem::{Finding, Problems};
use super::redact::Redaction;
use super::secrets::{ReadError, SecretSource};
use super::source::Source;
use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};

/// Of the whole configuration.
const MAX_SIZE: u64 = 64 << 20;
/// Of one secret or certificate file.
const MAX_SIDE_FILE: u64 = 4 << 20;

/// Whether secrets are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As `run` does.
    Full,
    /// No secret is asked for; placeholders stand in, so the result must not be served.
    Offline,
}

/// What came of a path.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration, unless a problem refuses it.
    pub config: Option<Config>,
    /// Errors and warnings.
    pub problems: Problems,
    /// Everything that was read or found missing: the path itself, its files, secrets, certificates.
    pub files: Files,
    /// SHA-256 of the text, in lowercase hex: also of one with problems, where it could be read.
    pub hash: Option<String>,
}

/// Reads a file, or a folder of `*.yaml` and `*.yml`.
pub fn load(path: &Path, mode: Mode) -> Loaded {
    load_after(path, mode, &LastValues::default())
}

/// As [`load()`], with the secrets of the configuration in effect: each serves on if it can't be read now.
pub fn load_after(path: &Path, mode: Mode, last: &LastValues) -> Loaded {
    let mut files = Files::new(path);
    let (sources, findings) = read_texts(path, &mut files);
    if !findings.is_empty() {
        let problems = Problems::new(&[], &Redaction::default(), findings);
        return Loaded { config: None, problems, files, hash: None };
    }
    let machine = Machine { files: RefCell::new(files) };
    let (config, problems) = parse(&sources, &machine, mode == Mode::Offline, last);
    let hash = config.as_ref().map_or_else(|| hash(&sources), |config| config.hash.clone());
    Loaded { config, problems, files: machine.files.into_inner(), hash: Some(hash) }
}

/// `$ATTACHE_CONFIG`, else the first that exists of `./attache.yaml` and `/etc/attache/attache.yaml`.
///
/// # Errors
/// A message that lists what was looked for.
pub fn default_path() -> Result<PathBuf, String> {
    default_path_from(std::env::var_os("ATTACHE_CONFIG").map(PathBuf::from), Path::exists)
}

fn default_path_from(given: Option<PathBuf>, exists: impl Fn(&Path) -> bool) -> Result<PathBuf, String> {
    if let Some(path) = given.filter(|p| !p.as_os_str().is_empty()) {
        return Ok(path);
    }
    let places = ["attache.yaml", "/etc/attache/attache.yaml"];
    places.iter().map(PathBuf::from).find(|path| exists(path)).ok_or_else(|| {
        "no configuration: $ATTACHE_CONFIG is not set, and neither ./attache.yaml nor /etc/attache/attache.yaml exists; \
         give one with -c PATH"
            .to_owned()
    })
}

fn read_texts(path: &Path, files: &mut Files) -> (Vec<Source>, Vec<Finding>) {
    let unreadable = |path: &Path, error: &io::Error| {
        let name = path.display().to_string();
        let message = format!("{name} can't be read: {}", reason(error));
        Finding::without_place("unreadable_file", name, message)
    };
    let mut findings = Vec::new();
    let paths = match files.list() {
        Ok(None) => vec![path.to_owned()],
        Ok(Some(listed)) if listed.is_empty() => {
            let name = path.display().to_string();
            let message = format!("{name} has no *.yaml or *.yml files in it");
            return (Vec::new(), vec![Finding::without_place("empty_folder", name, message)]);
        }
        Ok(Some(listed)) => listed,
        Err(error) => return (Vec::new(), vec![unreadable(path, &error)]),
    };
    let mut left = MAX_SIZE;
    let mut sources = Vec::new();
    for path in paths {
        let bytes = match files.read(&path, left) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                let message = "the configuration is larger than 64 MiB";
                findings.push(Finding::without_place("too_large", path.display().to_string(), message));
                break;
            }
            Err(error) => {
                findings.push(unreadable(&path, &error));
                continue;
            }
        };
        left -= bytes.len() as u64;
        match String::from_utf8(bytes) {
            Ok(text) => sources.push(Source::new(path, text)),
            Err(error) => {
                let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
                    .iter()
                    .filter(|b| **b == b'\n')
                    .count();
                let name = path.display().to_string();
                let message =
                    format!("{name} is not UTF-8: line {} has a byte that is no character", line + 1);
                findings.push(Finding::without_place("not_utf8", name, message));
            }
        }
    }
    (sources, findings)
}

/// What the system says, without its error number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

/// The real environment and file system.
struct Machine {
    files: RefCell<Files>,
}

impl SecretSource for Machine {
    fn env(&self, name: &str) -> Result<String, ReadError> {
        std::env::var(name).map_err(|error| match error {
            std::env::VarError::NotPresent => ReadError::new(ReadFault::Missing, "is not set"),
            std::env::VarError::NotUnicode(_) => ReadError::new(ReadFault::Malformed, "is not UTF-8"),
        })
    }

    fn file(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        let read = self.files.borrow_mut().read(path, MAX_SIDE_FILE);
        side_file(path, read)
    }

    fn fresh_file(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        let mut alone = Files::new(path);
        let read = side_file(path, alone.read(path, MAX_SIDE_FILE));
        // The coming of one that can't be read is waited for.
        read.inspect_err(|_| self.files.borrow_mut().adopt(alone))
    }

    fn credential(&self, name: &str) -> Result<Vec<u8>, ReadError> {
        match std::env::var_os("CREDENTIALS_DIRECTORY") {
            Some(folder) if !folder.is_empty() => self.file(&Path::new(&folder).join(name)),
            _ => Err(ReadError::new(ReadFault::Missing, "$CREDENTIALS_DIRECTORY is not set")),
        }
    }
}

fn side_file(path: &Path, read: io::Result<Option<Vec<u8>>>) -> Result<Vec<u8>, ReadError> {
    let failed = |fault, reason: String| ReadError {
        path: std::path::absolute(path).ok(),
        ..ReadError::new(fault, reason)
    };
    let io = |error: &io::Error| match error.kind() {
        io::ErrorKind::NotFound => failed(ReadFault::Missing, reason(error)),
        _ => failed(ReadFault::Unreadable, reason(error)),
    };
    let unreadable = |reason: &str| failed(ReadFault::Unreadable, reason.to_owned());
    match read {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(unreadable("larger than 4 MiB")),
        Err(error) => Err(io(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_path_is_the_first_that_exists() {
        let etc = |path: &Path| path == Path::new("/etc/attache/attache.yaml");
        assert_eq!(default_path_from(Some("a.yaml".into()), |_| false), Ok("a.yaml".into()));
        assert_eq!(default_path_from(None, |_| true), Ok("attache.yaml".into()));
        assert_eq!(default_path_from(Some("".into()), etc), Ok("/etc/attache/attache.yaml".into()));
        assert!(default_path_from(None, |_| false).is_err_and(|e| e.contains("$ATTACHE_CONFIG")));
    }
}
