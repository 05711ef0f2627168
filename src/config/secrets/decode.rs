//! Decoding of a secret in the file: a string, or exactly one source, with an optional `prefix`.

use super::text::{self, Shape, placeholder};
use super::{Failure, Reference};
use crate::config::decode::{At, Decoder, Given, Map};
use crate::config::model::PresentedToken;
use crate::config::problem::Finding;
use crate::config::tree::View;
use crate::secret::Secret;
use zeroize::Zeroizing;

/// The treatment of a secret in the file's own text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum PlainText<'h> {
    /// A warning, with a better way.
    Warn(&'h str),
    /// No warning: a user name.
    Fine,
}

impl PlainText<'static> {
    pub(in crate::config) const WARN: Self =
        Self::Warn("use `{ env: NAME }`, `{ file: PATH }` or `{ credential: NAME }`");
}

pub(super) const SOURCES: [&str; 4] = ["env", "file", "credential", "literal"];

/// Converts a secret's text, or returns why it can't be used.
pub(in crate::config) type Accept<'f, T> = &'f dyn Fn(&str) -> Result<T, Failure>;

impl Decoder<'_> {
    /// Reads a secret: a string, or exactly one of `env`, `file`, `credential`, `literal`, with an optional `prefix`.
    /// Returns a placeholder if it can't be read, for which the owner is responsible.
    pub(in crate::config) fn secret(&self, at: &At<'_>, plain_text: PlainText<'_>) -> Option<Secret> {
        let found = self.secret_as(at, plain_text, &|text| Ok(Secret::new(text)));
        self.or_block(found, || Secret::new(placeholder(at)))
    }

    /// As [`Self::secret`], converted by `accept`. Absent if it can't be read, or if a delivered value can't be
    /// accepted. The owner may have others.
    pub(in crate::config) fn secret_as<T>(
        &self,
        at: &At<'_>,
        plain_text: PlainText<'_>,
        accept: Accept<'_, T>,
    ) -> Given<T> {
        self.shaped(at, plain_text, Shape::Line, accept)
    }

    /// As [`Self::secret_as`], for a secret of several lines.
    pub(in crate::config) fn secret_text_as<T>(
        &self,
        at: &At<'_>,
        plain_text: PlainText<'_>,
        accept: Accept<'_, T>,
    ) -> Given<T> {
        self.shaped(at, plain_text, Shape::Lines, accept)
    }

    /// Returns the value, or a placeholder until the owner drops it; `None` if it is invalid.
    pub(in crate::config) fn or_block<T>(
        &self,
        found: Given<T>,
        placeholder: impl FnOnce() -> T,
    ) -> Option<T> {
        match found {
            Given::Value(value) => Some(value),
            Given::Absent => {
                self.secrets.block();
                Some(placeholder())
            }
            Given::Invalid => None,
        }
    }

    /// Reads one secret, or a list of up to `most` different ones, each with its place. Unreadable or unfit ones are
    /// left out; if none is left, the owner is unavailable.
    pub(in crate::config) fn secrets<'a>(
        &'a self,
        at: &'a At<'a>,
        most: usize,
        fits: impl Fn(&At<'_>, &Secret) -> Result<(), Failure>,
    ) -> Option<Vec<(Secret, At<'a>)>> {
        let mut all: Vec<(Secret, At<'a>)> = Vec::new();
        let (mut count, mut fine) = (0, true);
        let items: Vec<At<'a>> = match self.tree.view(at.node) {
            View::Sequence(_) => self.sequence(at)?.collect(),
            _ => vec![*at],
        };
        for item in items {
            count += 1;
            let accept = |text: &str| {
                let secret = Secret::new(text);
                fits(&item, &secret).map(|()| secret)
            };
            let secret = match self.secret_as(&item, PlainText::WARN, &accept) {
                Given::Value(secret) => secret,
                Given::Absent => continue,
                Given::Invalid => {
                    fine = false;
                    continue;
                }
            };
            if let Some((_, first)) = all.iter().find(|(before, _)| *before == secret) {
                let message = format!("{item} is the same as {first}");
                let finding = Finding::error("duplicate_secret", self.place(&item), message)
                    .label("this is a duplicate")
                    .help("remove one of them");
                if self.is_delivered(&item) {
                    self.report(finding.tolerated());
                    continue;
                }
                self.report(finding);
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
            return self.reject(finding.label("too many").help("remove the oldest"));
        }
        if all.is_empty() && fine {
            self.secrets.block();
        }
        fine.then_some(all)
    }

    /// Returns true if the value is not in the file's text, so that a fault of it concerns only its owner.
    pub(in crate::config) fn is_delivered(&self, at: &At<'_>) -> bool {
        let View::Mapping(entries) = self.tree.view(at.node) else { return false };
        self.secrets.has_owner() && entries.iter().all(|(key, _)| self.tree.key(*key) != "literal")
    }

    /// Reads a token that another program maintains. A `{ file: PATH }` is only stored as a path, since it is read
    /// again for each token request; but it is checked, so that a wrong path is found before it is needed.
    pub(in crate::config) fn presented(&self, at: &At<'_>) -> Option<PresentedToken> {
        if let View::Mapping(_) = self.tree.view(at.node)
            && let Some(map) = self.secret_source(at)
            && let Some(file) = map.get("file")
            && map.entries().all(|(name, _)| matches!(name, "file" | "prefix"))
        {
            if let Some(prefix) = map.get("prefix") {
                let message = format!("{prefix} has no effect for a file");
                let finding = Finding::error("conflicting_keys", self.key(&prefix), message);
                return self.reject(finding.label("the file is sent unchanged").help("remove it"));
            }
            let path = self.resolve(&file, self.string(&file)?);
            self.warn_of_value(&file);
            if !self.secrets.offline {
                let fine = |bytes: &[u8]| self.fit(&file, bytes, Shape::Line).map(drop);
                if self.deliver(&file, Reference::FreshFile(&path), fine).is_none() {
                    self.secrets.block();
                }
            }
            return Some(PresentedToken::File(path));
        }
        self.secret(at, PlainText::WARN).map(PresentedToken::Fixed)
    }

    fn shaped<T>(
        &self,
        at: &At<'_>,
        plain_text: PlainText<'_>,
        shape: Shape,
        accept: Accept<'_, T>,
    ) -> Given<T> {
        match self.tree.view(at.node) {
            View::Scalar { text, .. } => {
                let text = if self.is_null(at) { "" } else { text };
                let checked = self.not_filled_in(at, text);
                checked.and_then(|()| self.written(at, ("", text), plain_text, shape, accept)).into()
            }
            View::Mapping(_) => self.sourced(at, plain_text, shape, accept),
            View::Sequence(_) => {
                self.wrong_type::<T>(at, "a string, or a mapping with `env`, `file` or `credential`").into()
            }
        }
    }

    /// Reads a secret in the file's own text: prefix and text.
    fn written<T>(
        &self,
        at: &At<'_>,
        (prefix, text): (&str, &str),
        plain_text: PlainText<'_>,
        shape: Shape,
        accept: Accept<'_, T>,
    ) -> Option<T> {
        let refuse = |failure: Failure| self.reject(failure.finding(self.place(at)));
        let text = match text::checked(text, shape) {
            Ok(text) => text,
            Err(unfit) => return refuse(Failure::unfit(at, unfit)),
        };
        self.warn_of_space(at, text, shape);
        if let PlainText::Warn(help) = plain_text {
            let message = format!("{at} is written in plain text");
            let finding = Finding::warning("plaintext_secret", self.place(at), message);
            self.report(finding.label("every reader of the file sees it").help(help));
        }
        let text = whole(prefix, text);
        self.secrets.digest(text.as_bytes());
        accept(&text).map_or_else(refuse, Some)
    }

    /// Refuses a secret in the file's own text that looks like a source.
    fn not_filled_in(&self, at: &At<'_>, text: &str) -> Option<()> {
        if text::has_placeholder(text) || text::is_reference(text) {
            return self.reject(self.placeholder_for_secret(at));
        }
        if text::is_lost_source(text) {
            let message = format!("{at} is a text that looks like a source");
            let finding = Finding::error("invalid_secret", self.place(at), message);
            let help = "a source is a mapping, like `{ env: NAME }`; `{ literal: TEXT }` if the secret is this very text";
            return self.reject(finding.label("this text itself would be the secret").help(help));
        }
        Some(())
    }

    fn sourced<T>(
        &self,
        at: &At<'_>,
        plain_text: PlainText<'_>,
        shape: Shape,
        accept: Accept<'_, T>,
    ) -> Given<T> {
        let Some((map, prefix, source)) = self.parts(at) else { return Given::Invalid };
        if map.get("literal").is_some() {
            let text = self.verbatim(&source);
            let value =
                text.and_then(|text| self.written(&source, (prefix, text), plain_text, shape, accept));
            return value.into();
        }
        let Some(name) = self.string(&source) else { return Given::Invalid };
        let path = self.resolve(&source, name);
        let reference = if map.get("env").is_some() {
            self.variable(&source, name)
        } else if map.get("file").is_some() {
            Some(Reference::File(&path))
        } else {
            self.credential(&source, name)
        };
        let Some(reference) = reference else { return Given::Invalid };
        self.warn_of_value(&source);
        if self.secrets.offline {
            return Given::Absent;
        }
        let found = self.deliver(&source, reference, |bytes| {
            let text = whole(prefix, self.fit(&source, bytes, shape)?);
            accept(&text).map(|value| (text, value))
        });
        let Some((text, value)) = found else { return Given::Absent };
        self.secrets.digest(text.as_bytes());
        self.warn_of_space(&source, &text[prefix.len()..], shape);
        Given::Value(value)
    }

    /// Reads the mapping of a secret: its prefix and its one source.
    fn parts<'a>(&'a self, at: &'a At<'a>) -> Option<(Map<'a>, &'a str, At<'a>)> {
        let map = self.secret_source(at)?;
        // An unknown key is not quoted: in `value: {…}` it may be the secret itself.
        let unknown: Vec<At<'_>> = map
            .entries()
            .filter(|(name, _)| !SOURCES.contains(name) && *name != "prefix")
            .map(|(_, below)| below)
            .collect();
        for below in &unknown {
            let message = format!("{at} has an unknown key");
            let finding = Finding::error("unknown_key", below.key.unwrap_or_else(|| self.place(at)), message);
            let help = "a secret is a string, or one of `env`, `file`, `credential` and `literal`";
            self.report(finding.label("unknown key").help(help));
        }
        let prefix = match map.get("prefix") {
            Some(at) => self.secret_prefix(&at),
            None => Some(""),
        };
        let source = self.source(at, &map, !unknown.is_empty());
        if unknown.is_empty() { Some((map, prefix?, source?)) } else { None }
    }

    /// Returns the one source of the mapping.
    fn source<'a>(&self, at: &At<'_>, map: &Map<'a>, has_unknown: bool) -> Option<At<'a>> {
        let given: Vec<At<'a>> = SOURCES.iter().filter_map(|name| map.get(name)).collect();
        match given.as_slice() {
            [one] => Some(*one),
            [] if has_unknown => None,
            [] => {
                let message = format!("{at} has no source of the secret");
                let finding = Finding::error("missing_key", self.place(at), message);
                self.reject(finding.label("one of `env`, `file` and `credential` is missing"))
            }
            [_, second, ..] => {
                let message = format!("{at} has more than one source");
                let finding = Finding::error("conflicting_keys", self.key(second), message);
                self.reject(finding.label("set only one of `env`, `file`, `credential` and `literal`"))
            }
        }
    }

    fn secret_prefix(&self, at: &At<'_>) -> Option<&str> {
        let text = self.string_or_empty(at)?;
        if text.contains(['\0', '\r', '\n']) {
            let message = format!("{at} contains a line break");
            let finding = Finding::error("invalid_secret", self.place(at), message);
            return self.reject(finding.label("one line only"));
        }
        self.warn_of_prefix(at, text);
        Some(text)
    }

    /// Warns of a prefix without a space after it.
    pub(in crate::config) fn warn_of_prefix(&self, at: &At<'_>, text: &str) {
        if text::runs_on(text) {
            let message = format!("{at} has no separator at its end");
            let finding = Finding::warning("prefix_without_space", self.place(at), message);
            let help = "a scheme needs a space after it, as in `'Bearer '`";
            self.report(finding.label("it ends in a letter or digit").help(help));
        }
    }

    fn warn_of_space(&self, at: &At<'_>, value: &str, shape: Shape) {
        // A file of PEM or JSON may start and end with white space.
        if shape == Shape::Line && text::has_outer_space(value) {
            let message = format!("the secret of {at} has white space at its beginning or end");
            let finding = Finding::warning("outer_white_space", self.place(at), message);
            self.report(
                finding
                    .label("the white space is sent too")
                    .help("remove it, unless it belongs to the secret"),
            );
        }
    }

    fn variable<'n>(&self, at: &At<'_>, name: &'n str) -> Option<Reference<'n>> {
        let head = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        if head && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Some(Reference::Env(name));
        }
        // Not quoted and not shown: it may be the secret, in the place of the variable's name.
        self.hide(at.node);
        let finding =
            Finding::error("invalid_name", self.place(at), format!("{at} is not the name of a variable"));
        self.reject(finding.label("a name has letters, digits and `_`"))
    }

    fn credential<'n>(&self, at: &At<'_>, name: &'n str) -> Option<Reference<'n>> {
        if !name.contains('/') && !name.starts_with('.') {
            return Some(Reference::Credential(name));
        }
        self.hide(at.node);
        let message = format!("{at} is not the name of a credential");
        let finding = Finding::error("invalid_name", self.place(at), message);
        self.reject(finding.label("a credential's name is no path").help("use `file` for a path"))
    }
}

fn whole(prefix: &str, text: &str) -> Zeroizing<String> {
    Zeroizing::new([prefix, text].concat())
}
