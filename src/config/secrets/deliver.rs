//! From a source to its value: the delivered value, else the last delivered one, else none.

use super::text::{self, Shape, Unfit};
use super::{ReadError, Reference};
use crate::config::decode::{At, Decoder};
use crate::config::model::ReadFault;
use crate::config::problem::Finding;
use crate::config::schema::Kind;
use crate::config::source::Span;
use crate::config::tree::View;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a delivered value can't be used, as a message.
pub(in crate::config) struct Failure {
    pub(in crate::config) fault: ReadFault,
    pub(in crate::config) code: &'static str,
    pub(in crate::config) message: String,
    pub(in crate::config) label: String,
    pub(in crate::config) help: Option<String>,
}

impl Failure {
    /// Returns the failure for a value that exists and can't be used.
    pub(in crate::config) fn malformed(
        code: &'static str,
        message: String,
        label: impl Into<String>,
        help: Option<&str>,
    ) -> Self {
        let fault = ReadFault::Malformed;
        Self { fault, code, message, label: label.into(), help: help.map(str::to_owned) }
    }

    pub(super) fn unfit(at: &At<'_>, Unfit { fault, what, label }: Unfit) -> Self {
        let message = format!("the secret of {at} {what}");
        Self { fault, ..Self::malformed("invalid_secret", message, label, None) }
    }

    pub(in crate::config) fn finding(self, place: Span) -> Finding {
        let finding = Finding::error(self.code, place, self.message).label(self.label);
        match self.help {
            Some(help) => finding.help(help),
            None => finding,
        }
    }
}

impl Decoder<'_> {
    /// Returns the secret in the bytes that a source delivers.
    pub(super) fn fit<'b>(&self, at: &At<'_>, bytes: &'b [u8], shape: Shape) -> Result<&'b str, Failure> {
        let text = text::decoded(bytes).and_then(|text| text::checked(text, shape));
        text.map_err(|unfit| Failure::unfit(at, unfit))
    }

    /// As [`Self::deliver`], for a file of certificates or keys. Offline, existing files are read, and no failure is
    /// reported.
    pub(in crate::config) fn deliver_file<T>(
        &self,
        at: &At<'_>,
        path: &Path,
        accept: impl Fn(&[u8]) -> Result<T, Failure>,
    ) -> Option<T> {
        if self.secrets.offline && self.secrets.read(Reference::Certificate(path)).is_err() {
            return None;
        }
        self.deliver(at, Reference::Certificate(path), accept)
    }

    /// Returns the delivered value, converted by `accept`; else the value that the owner last read there. `None` if
    /// there is neither. A problem was reported.
    pub(in crate::config) fn deliver<T>(
        &self,
        at: &At<'_>,
        reference: Reference<'_>,
        accept: impl Fn(&[u8]) -> Result<T, Failure>,
    ) -> Option<T> {
        let read = self.secrets.read(reference).map_err(|error| self.unread(at, reference, error));
        let failure = match read.and_then(|bytes| Ok((accept(&bytes)?, bytes))) {
            Ok((value, bytes)) => {
                self.secrets.remember(reference, Arc::new(bytes));
                return Some(value);
            }
            Err(failure) => failure,
        };
        let last = self.secrets.last(reference);
        let value = last.as_ref().and_then(|bytes| accept(bytes).ok());
        self.secrets.note_unread(at.to_string(), failure.fault);
        let mut failure = failure;
        if let (Some(_), Some(bytes)) = (&value, last) {
            self.secrets.remember(reference, bytes);
            let stays = "the last value read stays in use".to_owned();
            failure.help = Some(failure.help.map_or(stays.clone(), |help| format!("{stays}; {help}")));
        }
        let finding = failure.finding(self.place(at));
        self.report(if self.secrets.has_owner() { finding.tolerated() } else { finding });
        value
    }

    /// Resolves a path in the file, relative to the file's folder.
    pub(in crate::config) fn resolve(&self, at: &At<'_>, path: &str) -> PathBuf {
        let source = &self.sources[self.tree.span(at.node).file as usize];
        source.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// Returns the failure to read. Adds the resolved path if the message does not contain it. A name or path that may
    /// be the secret itself is not quoted.
    pub(super) fn unread(&self, at: &At<'_>, reference: Reference<'_>, error: ReadError) -> Failure {
        let ReadError { fault, reason, path } = error;
        let code = match reference {
            Reference::Certificate(_) => "unreadable_file",
            _ => "secret_unavailable",
        };
        if let Some((label, help)) = self.value_for_name(at) {
            let message = match reference {
                Reference::Env(_) => format!("{at}: the environment variable {reason}"),
                _ => format!("{at} can't be read: {reason}"),
            };
            return Failure { fault, code, message, label: label.to_owned(), help: Some(help.to_owned()) };
        }
        let (message, help) = match reference {
            Reference::Env(name) => (
                format!("{at}: environment variable `{name}` {reason}"),
                Some(
                    "set it where attache is started (a running process sees no new ones), or use `{ file: PATH }`; `check --offline` needs none"
                        .to_owned(),
                ),
            ),
            Reference::File(_)
            | Reference::FreshFile(_)
            | Reference::Certificate(_)
            | Reference::Credential(_) => (
                format!("{at} can't be read: {reason}"),
                path.map(|path| format!("the path is {}", path.display())),
            ),
        };
        Failure { fault, code, message, label: reason, help }
    }

    /// Returns label and help if the name or path at `at` looks like a secret's value, and is therefore hidden.
    fn value_for_name(&self, at: &At<'_>) -> Option<(&'static str, &'static str)> {
        let View::Scalar { text, .. } = self.tree.view(at.node) else { return None };
        if !at.kind.hides(text) {
            return None;
        }
        Some(match at.kind {
            Kind::Variable => (
                "this looks like a value; `env` takes the NAME of a variable",
                "only a name of capital letters, digits and `_` is shown",
            ),
            Kind::Credential => (
                "this looks like a value; `credential` takes the NAME of a credential",
                "if it is a name, one without long words of letters and digits is shown",
            ),
            _ => (
                "this looks like a value; a PATH belongs here",
                "if it is a path, it is shown with `./` before it",
            ),
        })
    }

    /// Warns of a name or path that looks like a secret's value. Offline only: `run` finds out whether it exists.
    pub(super) fn warn_of_value(&self, at: &At<'_>) {
        if self.secrets.offline
            && let Some((label, help)) = self.value_for_name(at)
        {
            let message = format!("{at} may be the secret itself");
            let finding = Finding::warning("value_as_name", self.place(at), message);
            self.report(finding.label(label).help(help));
        }
    }
}
