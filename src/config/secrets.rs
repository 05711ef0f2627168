//! Where secrets come from: the text itself, the environment, a file, systemd's credentials.
//!
//! Reading goes through [`SecretSource`], so that decoding stays pure and `check --offline` asks for nothing. Whatever
//! is taken in is also digested for [`super::model::Config::fingerprint`]. No message here quotes a value.

use super::decode::{At, Decoder};
use super::model::PresentedToken;
use super::problem::Finding;
use super::tree::View;
use crate::secret::Secret;
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// The machine, as far as secrets and certificates are concerned. An error is a reason to print, never a value.
pub(super) trait SecretSource {
    /// An environment variable.
    fn env(&self, name: &str) -> Result<String, String>;
    /// A file.
    fn file(&self, path: &Path) -> Result<Vec<u8>, String>;
    /// A file that is read anew whenever its content is put to use: a change of it is no change of the configuration.
    fn fresh_file(&self, path: &Path) -> Result<Vec<u8>, String>;
    /// A systemd credential.
    fn credential(&self, name: &str) -> Result<Vec<u8>, String>;
    /// Whether a file can be appended to, or be created if it is missing. It is not created.
    fn can_append(&self, _path: &Path) -> Result<(), String> {
        Ok(())
    }
}

/// The secrets of one configuration.
pub(super) struct Secrets<'t> {
    source: &'t dyn SecretSource,
    /// Ask for none: placeholders stand in.
    pub(super) offline: bool,
    digest: RefCell<ring::digest::Context>,
}

impl<'t> Secrets<'t> {
    pub(super) fn new(source: &'t dyn SecretSource, offline: bool) -> Self {
        Self { source, offline, digest: RefCell::new(ring::digest::Context::new(&ring::digest::SHA256)) }
    }

    /// Takes bytes the configuration's meaning depends on into its fingerprint.
    pub(super) fn digest(&self, bytes: &[u8]) {
        let mut digest = self.digest.borrow_mut();
        digest.update(&(bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    }

    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.digest.borrow().clone().finish().as_ref());
        out
    }

    /// A file that is not secret.
    pub(super) fn file(&self, path: &Path) -> Result<Vec<u8>, String> {
        let bytes = self.source.file(path)?;
        self.digest(&bytes);
        Ok(bytes)
    }

    /// A variable that need not be set.
    pub(super) fn env_if_set(&self, name: &str) -> Option<String> {
        if self.offline { None } else { self.source.env(name).ok().filter(|value| !value.is_empty()) }
    }
}

/// What is said about a secret in the file's own text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PlainText<'h> {
    /// Warned about, with what would be better.
    Warn(&'h str),
    /// Nothing: a user name.
    Fine,
}

impl PlainText<'static> {
    pub(super) const WARN: Self =
        Self::Warn("use `{ env: NAME }`, `{ file: PATH }` or `{ credential: NAME }`");
}

/// What a secret may look like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// What fits into a header or a form.
    Line,
    /// And line breaks: PEM, JSON.
    Lines,
}

const SOURCES: [&str; 3] = ["env", "file", "credential"];

impl Decoder<'_> {
    /// A secret: a string, or exactly one of `env`, `file`, `credential`, with an optional `prefix`.
    pub(super) fn secret(&self, at: &At<'_>, plain_text: PlainText<'_>) -> Option<Secret> {
        self.shaped(at, plain_text, Shape::Line)
    }

    /// As [`Self::secret`], of several lines.
    pub(super) fn secret_text(&self, at: &At<'_>, plain_text: PlainText<'_>) -> Option<Secret> {
        self.shaped(at, plain_text, Shape::Lines)
    }

    /// Whether a placeholder stands in for what this secret says.
    pub(super) fn is_placeholder(&self, at: &At<'_>) -> bool {
        self.secrets.offline && matches!(self.tree.view(at.node), View::Mapping(_))
    }

    /// One secret, or a list of up to `most`, no two of which are the same.
    pub(super) fn secrets(&self, at: &At<'_>, most: usize) -> Option<Vec<Secret>> {
        let View::Sequence(_) = self.tree.view(at.node) else {
            return Some(vec![self.secret(at, PlainText::WARN)?]);
        };
        let mut all: Vec<(Secret, At<'_>)> = Vec::new();
        let (mut count, mut fine) = (0, true);
        for item in self.sequence(at)? {
            count += 1;
            let Some(secret) = self.secret(&item, PlainText::WARN) else {
                fine = false;
                continue;
            };
            if let Some((_, first)) = all.iter().find(|(before, _)| *before == secret) {
                let message = format!("{item} is the same as {first}");
                let finding = Finding::error("duplicate_secret", self.place(&item), message);
                self.report(finding.label("the same again").help("leave one of them out"));
                fine = false;
            }
            all.push((secret, item));
        }
        if count == 0 {
            return self.empty(at);
        }
        if count > most {
            let message = format!("{at} has more than {most} entries");
            let finding = Finding::error("out_of_range", self.key(at), message);
            return self.reject(finding.label("too many").help("leave the oldest out"));
        }
        fine.then(|| all.into_iter().map(|(secret, _)| secret).collect())
    }

    /// A token that somebody else keeps good. A `{ file: PATH }` is only named here, since it is read anew for each
    /// token request; but it must be there now, so that a wrong path is found before it is needed.
    pub(super) fn presented(&self, at: &At<'_>) -> Option<PresentedToken> {
        if let View::Mapping(_) = self.tree.view(at.node)
            && let Some(map) = self.names(at)
            && let Some(file) = map.get("file")
            && map.entries().all(|(name, _)| matches!(name, "file" | "prefix"))
        {
            if let Some(prefix) = map.get("prefix") {
                let message = format!("{prefix} has no use before a file");
                let finding = Finding::error("conflicting_keys", self.key(&prefix), message);
                return self.reject(finding.label("the file is sent as it is").help("leave it out"));
            }
            let path = self.resolve(&file, self.string(&file)?);
            if !self.secrets.offline {
                let text = self.text(&file, self.secrets.source.fresh_file(&path))?;
                drop(Secret::new(self.checked(&file, text, Shape::Line)?));
            }
            return Some(PresentedToken::File(path));
        }
        self.secret(at, PlainText::WARN).map(PresentedToken::Fixed)
    }

    fn shaped(&self, at: &At<'_>, plain_text: PlainText<'_>, shape: Shape) -> Option<Secret> {
        let value = match self.tree.view(at.node) {
            View::Scalar { text, .. } => {
                let text = if self.is_null(at) { "" } else { text };
                let value = self.checked(at, text.to_owned(), shape)?;
                if let PlainText::Warn(help) = plain_text {
                    let message = format!("{at} is written in plain text");
                    let finding = Finding::warning("plaintext_secret", self.place(at), message);
                    self.report(finding.label("anyone who reads the file knows it").help(help));
                }
                value
            }
            View::Mapping(_) => self.sourced(at, shape)?,
            View::Sequence(_) => {
                return self.wrong_type(at, "a string, or a mapping with `env`, `file` or `credential`");
            }
        };
        self.secrets.digest(value.as_bytes());
        Some(Secret::new(value))
    }

    fn sourced(&self, at: &At<'_>, shape: Shape) -> Option<String> {
        let map = self.names(at)?;
        // An unknown key is not quoted: in `value: {…}` it may be the secret itself.
        let unknown: Vec<At<'_>> = map
            .entries()
            .filter(|(name, _)| !SOURCES.contains(name) && *name != "prefix")
            .map(|(_, below)| below)
            .collect();
        for below in &unknown {
            let message = format!("{at} has an unknown key");
            let finding = Finding::error("unknown_key", below.key.unwrap_or_else(|| self.place(at)), message);
            self.report(
                finding
                    .label("unknown key")
                    .help("a secret is a string, or one of `env`, `file` and `credential`"),
            );
        }
        let prefix = match map.get("prefix") {
            Some(prefix) => self.string_or_empty(&prefix).map(|text| (prefix, text)),
            None => None,
        };
        if let Some((prefix_at, text)) = prefix
            && text.contains(['\0', '\r', '\n'])
        {
            let message = format!("{prefix_at} has a line break in it");
            return self.reject(
                Finding::error("invalid_secret", self.place(&prefix_at), message).label("one line only"),
            );
        }
        let given: Vec<At<'_>> = SOURCES.iter().filter_map(|name| map.get(name)).collect();
        let source = match given.as_slice() {
            [one] => one,
            [] if !unknown.is_empty() => return None,
            [] => {
                let finding = Finding::error(
                    "missing_key",
                    self.place(at),
                    format!("{at} does not say where the secret is"),
                );
                return self.reject(finding.label("one of `env`, `file` and `credential` is missing"));
            }
            [_, second, ..] => {
                let finding = Finding::error(
                    "conflicting_keys",
                    self.key(second),
                    format!("{at} has more than one source"),
                );
                return self.reject(finding.label("give only one of `env`, `file` and `credential`"));
            }
        };
        let text = self.string(source)?;
        if !unknown.is_empty() {
            return None;
        }
        let value = if map.get("env").is_some() {
            self.read_env(source, text)?
        } else {
            self.read_bytes(source, text, map.get("file").is_some())?
        };
        let value = self.checked(source, value, shape)?;
        Some(prefix.map_or_else(String::new, |(_, text)| text.to_owned()) + &value)
    }

    fn read_env(&self, at: &At<'_>, name: &str) -> Option<String> {
        let head = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        if !head || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            // Not quoted and not shown: it may be the secret, written where its variable's name belongs.
            self.hide(at.node);
            let finding =
                Finding::error("invalid_name", self.place(at), format!("{at} is not the name of a variable"));
            return self.reject(finding.label("a name has letters, digits and `_`"));
        }
        if self.secrets.offline {
            return Some(placeholder(at));
        }
        match self.secrets.source.env(name) {
            Ok(value) => Some(value),
            Err(reason) => {
                let message = format!("{at}: environment variable `{name}` {reason}");
                self.reject(Finding::error("secret_unavailable", self.place(at), message).label(reason))
            }
        }
    }

    fn read_bytes(&self, at: &At<'_>, text: &str, is_file: bool) -> Option<String> {
        if !is_file && (text.contains('/') || text.starts_with('.')) {
            let finding = Finding::error(
                "invalid_name",
                self.place(at),
                format!("{at} is not the name of a credential"),
            );
            return self
                .reject(finding.label("a credential's name is no path").help("use `file` for a path"));
        }
        if self.secrets.offline {
            return Some(placeholder(at));
        }
        let read = if is_file {
            self.secrets.source.file(&self.resolve(at, text))
        } else {
            self.secrets.source.credential(text)
        };
        self.text(at, read)
    }

    fn text(&self, at: &At<'_>, read: Result<Vec<u8>, String>) -> Option<String> {
        match read.map(String::from_utf8) {
            Ok(Ok(value)) => Some(value),
            Ok(Err(_)) => {
                let finding = Finding::error(
                    "invalid_secret",
                    self.place(at),
                    format!("{at} leads to bytes that are not UTF-8"),
                );
                self.reject(finding.label("this is not text"))
            }
            Err(reason) => {
                let message = format!("{at} can't be read: {reason}");
                self.reject(Finding::error("secret_unavailable", self.place(at), message).label(reason))
            }
        }
    }

    /// Cuts one line break at the end, and refuses what no credential can hold.
    fn checked(&self, at: &At<'_>, mut value: String, shape: Shape) -> Option<String> {
        if value.ends_with('\n') {
            value.pop();
            if value.ends_with('\r') {
                value.pop();
            }
        }
        let (what, label) = match &*value {
            "" => ("is empty", "there is no secret here"),
            v if v.contains('\0') => ("has a NUL character in it", "a secret is text"),
            v if shape == Shape::Line && v.contains(['\r', '\n']) => {
                ("has a line break in it", "a secret is one line of text")
            }
            _ => return Some(value),
        };
        self.reject(
            Finding::error("invalid_secret", self.place(at), format!("the secret of {at} {what}"))
                .label(label),
        )
    }

    /// A path in the file, relative to the file's folder.
    pub(super) fn resolve(&self, at: &At<'_>, path: &str) -> PathBuf {
        let source = &self.sources[self.tree.span(at.node).file as usize];
        source.path.parent().unwrap_or(Path::new("")).join(path)
    }
}

/// Differs from place to place, as secrets do, and is fit for every use a secret has.
fn placeholder(at: &At<'_>) -> String {
    format!("not asked for offline - {at}")
}
