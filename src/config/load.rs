//! From a path to a configuration: the files, their content, and the further files that they depend on.
//!
//! This module connects the reader with the machine. Every path that was read, or found missing, is listed for the
//! watcher.

use super::effective::Effective;
use super::files::Files;
use super::model::{Config, LastValues, Listen, ListenAddr, ReadFault};
use super::parse::{self, Written, digest, hash, parse};
use super::problem::{Finding, Problems};
use super::redact::Redaction;
use super::secrets::{ReadError, SecretSource, is_utf16};
use super::source::Source;
use crate::secret::hex;
use nix::unistd::{AccessFlags, access};
use ring::digest::Context;
use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::string::FromUtf8Error;
use std::time::SystemTime;

/// The path that stands for standard input. Paths in it are relative to the working directory.
pub const STDIN: &str = "-";

/// Maximum size of the whole configuration.
const MAX_SIZE: u64 = 64 << 20;
/// Maximum size of one secret or certificate file.
const MAX_SIDE_FILE: u64 = 4 << 20;

/// The treatment of secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Secrets are read, as by `run`.
    Full,
    /// No secret is read; placeholders take their place, so the result must not be served.
    Offline,
}

/// The result of loading a path.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration, unless a problem refuses it.
    pub config: Option<Config>,
    /// Errors and warnings.
    pub problems: Problems,
    /// Every path that was read or found missing: the path itself, its files, secrets, certificates.
    pub files: Files,
    /// SHA-256 of the bytes, in lowercase hex, if they could be read: even if they have problems or are not text.
    pub hash: Option<String>,
}

/// Reads a file, a folder of `*.yaml` and `*.yml` files, or with `-` standard input.
pub fn load(path: &Path, mode: Mode) -> Loaded {
    load_with(path, mode, &LastValues::default(), None)
}

/// As [`load()`], with the secrets of the configuration in effect: each stays in use if it can't be read now.
pub fn load_after(path: &Path, mode: Mode, last: &LastValues) -> Loaded {
    load_with(path, mode, last, None)
}

/// As [`load()`], with warnings about parts of a valid file that have no effect at `now`.
pub fn check(path: &Path, mode: Mode, now: SystemTime) -> Loaded {
    load_with(path, mode, &LastValues::default(), Some(now))
}

/// Returns the address of `listen.admin`, and true if it speaks TLS, if they can be determined, even if other parts are invalid: a process may serve an earlier
/// state of the file. Without a `path`, of the file that `run` would use. Else the default.
pub fn admin_address(path: Option<&Path>) -> (ListenAddr, bool) {
    let path = path.map(Path::to_owned).or_else(|| default_path().ok());
    let found =
        path.and_then(|path| parse::admin_address(&read_texts(&path, &mut Files::new(&path)).sources));
    found.unwrap_or_else(|| (Listen::default().admin.address, false))
}

/// Returns the way in which the file at `path` writes the entries of the section at `section`.
pub fn written(path: &Path, section: &[&str]) -> Written {
    parse::written(&read_texts(path, &mut Files::new(path)).sources, section)
}

/// As [`load()`] offline, with the effective file if it has no errors.
pub fn inspect(path: &Path) -> (Loaded, Option<Effective>) {
    let mut files = Files::new(path);
    let texts = read_texts(path, &mut files);
    let loaded = parse_texts(&texts, files, Mode::Offline, &LastValues::default(), None);
    let effective = loaded.config.as_ref().and_then(|_| parse::effective(&texts.sources));
    (loaded, effective)
}

fn load_with(path: &Path, mode: Mode, last: &LastValues, advice_at: Option<SystemTime>) -> Loaded {
    let mut files = Files::new(path);
    parse_texts(&read_texts(path, &mut files), files, mode, last, advice_at)
}

fn parse_texts(
    texts: &Texts,
    files: Files,
    mode: Mode,
    last: &LastValues,
    advice_at: Option<SystemTime>,
) -> Loaded {
    let Texts { sources, findings, garbled } = texts;
    let refused = findings.iter().any(Finding::refuses);
    let of_files = Problems::new(&[], &Redaction::default(), findings.clone());
    if refused {
        return Loaded { config: None, problems: of_files, files, hash: garbled.clone() };
    }
    let machine = Machine { files: RefCell::new(files) };
    let (config, problems) = parse(sources, &machine, mode == Mode::Offline, last, advice_at);
    let hash = config.as_ref().map_or_else(|| hash(sources), |config| config.hash.clone());
    let problems = problems.and(of_files);
    Loaded { config, problems, files: machine.files.into_inner(), hash: Some(hash) }
}

/// Returns `$ATTACHE_CONFIG`, else the first of `./attache.yaml` and `/etc/attache/attache.yaml` that exists.
///
/// # Errors
/// A message that lists the paths that were tried.
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

/// The texts of the files of one configuration.
#[derive(Default)]
struct Texts {
    sources: Vec<Source>,
    findings: Vec<Finding>,
    /// The hash, if every file could be read and at least one is not text.
    garbled: Option<String>,
}

fn read_texts(path: &Path, files: &mut Files) -> Texts {
    let mut findings = Vec::new();
    let is_stdin = path == Path::new(STDIN);
    let paths = if is_stdin { Some(vec![path.to_owned()]) } else { list(path, files, &mut findings) };
    let Some(paths) = paths else { return Texts { findings, ..Texts::default() } };
    let mut left = MAX_SIZE;
    let mut sources = Vec::new();
    let mut is_whole = true;
    // Digest of all bytes so far, started at the first file that is not text.
    let mut garbled: Option<Context> = None;
    for path in paths {
        let bytes = if is_stdin { take_up_to(io::stdin(), left) } else { files.read(&path, left) };
        let path = if is_stdin { PathBuf::from("<stdin>") } else { path };
        let bytes = match bytes {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                let message = "the configuration is larger than 64 MiB";
                findings.push(Finding::without_place("too_large", path.display().to_string(), message));
                is_whole = false;
                break;
            }
            Err(error) => {
                findings.push(unreadable(&path, &error));
                is_whole = false;
                continue;
            }
        };
        left -= bytes.len() as u64;
        match String::from_utf8(bytes) {
            Ok(text) => {
                if let Some(digest) = &mut garbled {
                    digest.update(text.as_bytes());
                }
                sources.push(Source::new(path, text));
            }
            Err(error) => {
                findings.push(no_text(&path, &error));
                garbled.get_or_insert_with(|| digest(&sources)).update(error.as_bytes());
            }
        }
    }
    let garbled = garbled.filter(|_| is_whole).map(|digest| hex(digest.finish().as_ref()));
    Texts { sources, findings, garbled }
}

/// Returns the files at `path`; `None` if there are none. Problems, and other files in a folder, are added to
/// `findings`.
fn list(path: &Path, files: &mut Files, findings: &mut Vec<Finding>) -> Option<Vec<PathBuf>> {
    match files.list() {
        Ok(None) => Some(vec![path.to_owned()]),
        Ok(Some(listed)) if listed.is_empty() => {
            let name = path.display().to_string();
            let message = format!("{name} has no *.yaml or *.yml files in it");
            findings.push(Finding::without_place("empty_folder", name, message));
            None
        }
        Ok(Some(listed)) => {
            findings.extend(ignored(path));
            Some(listed)
        }
        Err(error) => {
            findings.push(unreadable(path, &error));
            None
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Finding {
    let name = path.display().to_string();
    let message = format!("{name} can't be read: {}", reason(error));
    let finding = Finding::without_place("unreadable_file", name, message);
    let is_pipe = fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir());
    if is_pipe { finding.help("`-c -` reads standard input") } else { finding }
}

/// Returns the problem of a file that is not UTF-8.
fn no_text(path: &Path, error: &FromUtf8Error) -> Finding {
    let name = path.display().to_string();
    if is_utf16(error.as_bytes()) {
        let message = format!("{name} is UTF-16");
        return Finding::without_place("not_utf8", name, message).help("save it as UTF-8");
    }
    let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let message = format!("{name} is not UTF-8: line {line} has an invalid byte");
    Finding::without_place("not_utf8", name, message)
}

/// Returns the warning about files in a folder that are not part of the configuration, without hidden ones.
fn ignored(folder: &Path) -> Option<Finding> {
    const SHOWN: usize = 3;
    let others = super::files::others(folder);
    let shown = others.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let more = match others.len() {
        0 => return None,
        count if count > SHOWN => format!(" and {} more", count - SHOWN),
        _ => String::new(),
    };
    let name = folder.display().to_string();
    let message = format!("ignored in {name}, as they are not part of the configuration: {shown}{more}");
    let help = "a folder's *.yaml and *.yml files are read, without its sub-folders";
    Some(Finding::without_place("ignored_file", name, message).into_warning().help(help))
}

/// Reads up to `limit` bytes; `None` if there are more.
fn take_up_to(from: impl io::Read, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    from.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

/// Returns the system's message, without its error number.
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
        // A file that can't be read is watched, so that its creation is noticed.
        read.inspect_err(|_| self.files.borrow_mut().adopt(alone))
    }

    fn credential(&self, name: &str) -> Result<Vec<u8>, ReadError> {
        match std::env::var_os("CREDENTIALS_DIRECTORY") {
            Some(folder) if !folder.is_empty() => self.file(&Path::new(&folder).join(name)),
            _ => Err(ReadError::new(ReadFault::Missing, "$CREDENTIALS_DIRECTORY is not set")),
        }
    }

    fn can_append(&self, path: &Path) -> Result<(), String> {
        can_append(path)
    }
}

/// Checks that `path` can be opened for appending. A pipe or a device is not opened: that could block.
fn can_append(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Err("is a folder".to_owned()),
        Ok(meta) if !meta.is_file() => Ok(()),
        Ok(_) => File::options().append(true).open(path).map(drop).map_err(|error| reason(&error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let folder = parent.unwrap_or(Path::new("."));
            let flags = AccessFlags::W_OK | AccessFlags::X_OK;
            let shown = folder.display();
            access(folder, flags).map_err(|error| format!("{shown}: {}", reason(&error.into())))
        }
        Err(error) => Err(reason(&error)),
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
    use crate::config::changes::Changes;

    #[test]
    fn the_effective_file_has_the_same_meaning() {
        let folder = |name: &str| std::fs::read_dir(name).unwrap().map(|entry| entry.unwrap().path());
        let mut compared = 0;
        for path in folder("tests/config_cases")
            .chain(folder("examples"))
            .chain([PathBuf::from("config/attache.yaml")])
        {
            let (Loaded { config: Some(config), .. }, Some(effective)) = inspect(&path) else { continue };
            let text = effective.to_yaml();
            // A secret in the text is not rendered.
            if text.contains("[redacted]") {
                continue;
            }
            let beside = if path.is_dir() { path.join("rendered.yaml") } else { path.clone() };
            let rendered = Texts { sources: vec![Source::new(beside, text.clone())], ..Texts::default() };
            let files = Files::new(&path);
            let last = LastValues::default();
            let again = parse_texts(&rendered, files, Mode::Offline, &last, None);
            let problems = again.problems.render_human(false);
            let again = again.config.unwrap_or_else(|| panic!("{}:\n{problems}\n{text}", path.display()));
            let changes = Changes::between(&config, &again);
            assert!(changes.is_empty(), "{}: {changes:?}\n{text}", path.display());
            // Offline, sources of secrets are not part of a configuration.
            let rendered = parse::effective(&rendered.sources).expect("a good file");
            assert_eq!(rendered.fields(&[]), effective.fields(&[]), "{}", path.display());
            compared += 1;
        }
        assert!(compared > 30, "only {compared} files were compared");
    }

    #[test]
    fn the_hash_covers_the_bytes_even_if_they_are_not_text() {
        let folder = tempfile::tempdir().unwrap();
        let files: [&[u8]; 3] = [b"\xEF\xBB\xBFusers: {}\n", b"\xFF\xFEa\0", b"services: {}\n"];
        for (name, bytes) in ["a.yaml", "b.yaml", "c.yaml"].iter().zip(files) {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        let loaded = load(folder.path(), Mode::Offline);
        assert_eq!(loaded.hash, Some(hex(&crate::secret::sha256(&files.concat()))));
        let said = loaded.problems.render_human(false);
        assert!(said.contains("b.yaml is UTF-16") && said.contains("save it as UTF-8"), "{said}");
        fs::write(folder.path().join("b.yaml"), b"\n\xE4").unwrap();
        let said = load(folder.path(), Mode::Offline).problems.render_human(false);
        assert!(said.contains("line 2 has an invalid byte"), "{said}");
        // A file that can't be read has no bytes.
        std::os::unix::fs::symlink("nowhere", folder.path().join("d.yaml")).unwrap();
        assert_eq!(load(folder.path(), Mode::Offline).hash, None);
    }

    #[test]
    fn the_default_path_is_the_first_existing_one() {
        let etc = |path: &Path| path == Path::new("/etc/attache/attache.yaml");
        assert_eq!(default_path_from(Some("a.yaml".into()), |_| false), Ok("a.yaml".into()));
        assert_eq!(default_path_from(None, |_| true), Ok("attache.yaml".into()));
        assert_eq!(default_path_from(Some("".into()), etc), Ok("/etc/attache/attache.yaml".into()));
        assert!(default_path_from(None, |_| false).is_err_and(|e| e.contains("$ATTACHE_CONFIG")));
    }
}
