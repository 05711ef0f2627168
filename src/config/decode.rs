//! Decoding of a tree: each step asks for the value that it expects, reports what it finds instead, and continues.
//!
//! `None` always means that a problem was reported, so callers may use any fallback value: no configuration is built
//! from it. Key paths are chains of borrowed steps, formatted only for a problem. Each step knows the schema's
//! expectation, so a reader only names a key.

use super::problem::Finding;
use super::scalar::{self, Invalid};
use super::schema::{Kind, SECRET};
use super::secrets::has_placeholder;
use super::source::{Source, Span};
use super::tree::{NodeId, Tree, View};
use http::StatusCode;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::time::Duration;

mod given;
mod inherit;
mod json;
mod map;
mod unknown;

pub(super) use given::Given;
pub(super) use map::{At, Map, is_word};
use map::{Keys, Step, UNKNOWN};

/// Maximum of every duration in the file.
const MAX_DURATION: Duration = Duration::from_secs(24 * 3600);

/// The length up to which a list of known words is shown whole, and the number of words shown of a longer one.
const MAX_KNOWN: usize = 12;
const SHOWN_KNOWN: usize = 8;

/// The code of a text with a placeholder that another program should have replaced.
const PLACEHOLDER: &str = "placeholder";

/// The identity of a reported problem, and the part that it concerns if a value of `defaults` causes it there.
type Reported = ((Span, &'static str, String), Option<Span>);

/// State of one pass over the tree.
pub(super) struct Decoder<'t> {
    pub(super) tree: &'t Tree<'t>,
    pub(super) sources: &'t [Source],
    pub(super) secrets: super::secrets::Secrets<'t>,
    findings: RefCell<Vec<Finding>>,
    reported: RefCell<HashSet<Reported>>,
    inherited: inherit::Inherited,
    hidden: RefCell<Vec<NodeId>>,
    suggestions: Cell<usize>,
}

impl<'t> Decoder<'t> {
    pub(super) fn new(
        tree: &'t Tree<'t>,
        sources: &'t [Source],
        secrets: super::secrets::Secrets<'t>,
    ) -> Self {
        Self {
            tree,
            sources,
            secrets,
            findings: RefCell::default(),
            reported: RefCell::default(),
            inherited: inherit::Inherited::default(),
            hidden: RefCell::default(),
            suggestions: Cell::new(10_000_000),
        }
    }

    /// Returns the findings, and the nodes whose text must not be shown.
    pub(super) fn into_findings(self) -> (Vec<Finding>, Vec<NodeId>) {
        (self.findings.into_inner(), self.hidden.into_inner())
    }

    /// Returns true if a finding refuses the file.
    pub(super) fn refuses(&self) -> bool {
        self.findings.borrow().iter().any(Finding::refuses)
    }

    /// Reports a problem. A problem in shared text (an anchor, `defaults`) is reported once; one that a value of `defaults`
    /// has only in the parts that inherit it, once for each of them.
    pub(super) fn report(&self, finding: Finding) {
        let known = finding.identity().is_some_and(|identity| {
            let heir = self.inherited.heir_of(identity.0);
            let mut reported = self.reported.borrow_mut();
            let of_all = (identity, None);
            if heir.is_some() && reported.contains(&of_all) {
                return true;
            }
            !reported.insert((of_all.0, heir))
        });
        if !known {
            self.findings.borrow_mut().push(finding);
        }
    }

    /// Reports a problem and returns `None`.
    pub(super) fn reject<T>(&self, finding: Finding) -> Option<T> {
        self.report(finding);
        None
    }

    /// Returns the place to mark: the value if it is on its own line, else the key.
    pub(super) fn place(&self, at: &At<'_>) -> Span {
        let span = self.tree.span(at.node);
        match (self.tree.view(at.node), at.key) {
            (View::Scalar { text, plain }, _) if !(text.is_empty() && plain) => span,
            (_, Some(key)) => key,
            (_, None) => span,
        }
    }

    /// Returns the place of the key.
    pub(super) fn key(&self, at: &At<'_>) -> Span {
        at.key.unwrap_or_else(|| self.place(at))
    }

    /// Keeps the node's text out of every excerpt.
    pub(super) fn hide(&self, node: NodeId) {
        self.hidden.borrow_mut().push(node);
    }

    pub(super) fn is_null(&self, at: &At<'_>) -> bool {
        self.tree.is_null(at.node)
    }

    /// Reads a mapping with the keys that the schema declares there, and no others.
    pub(super) fn mapping<'a>(&'a self, at: &'a At<'a>) -> Option<Map<'a>> {
        let shape = at.kind.shape();
        debug_assert!(shape.is_some(), "{at} is no mapping by the schema");
        let shape = shape?;
        let View::Mapping(entries) = self.tree.view(at.node) else {
            if self.is_null(at) {
                return self.empty(at);
            }
            return self.wrong_type(at, "a mapping");
        };
        let map = Map { tree: self.tree, at, entries, keys: Keys::Declared(shape), defaults: None };
        for ((key, _), (name, below)) in entries.iter().zip(map.entries()) {
            if shape.key(name).is_none() {
                unknown::report(self, at, shape, *key, name, &below);
            }
        }
        Some(map)
    }

    /// Reads a mapping whose keys are the operator's own names.
    pub(super) fn names<'a>(&'a self, at: &'a At<'a>) -> Option<Map<'a>> {
        let kind = at.kind.named().unwrap_or(UNKNOWN);
        match self.tree.view(at.node) {
            View::Mapping(entries) => {
                Some(Map { tree: self.tree, at, entries, keys: Keys::Any(kind), defaults: None })
            }
            _ if self.is_null(at) => self.empty(at),
            _ => self.wrong_type(at, "a mapping"),
        }
    }

    /// Reads the mapping that names the source of a secret. The caller reports its unknown keys, since one may be a
    /// secret.
    pub(super) fn secret_source<'a>(&self, at: &'a At<'a>) -> Option<Map<'a>>
    where
        't: 'a,
    {
        match self.tree.view(at.node) {
            View::Mapping(entries) => {
                let keys = Keys::Declared(at.kind.shape().unwrap_or(&SECRET));
                Some(Map { tree: self.tree, at, entries, keys, defaults: None })
            }
            _ => None,
        }
    }

    pub(super) fn required<'a>(&self, map: &Map<'a>, key: &'static str) -> Option<At<'a>> {
        self.required_or(map, key, None)
    }

    /// As [`Self::required`], with help for the case that the key is missing.
    pub(super) fn required_or<'a>(
        &self,
        map: &Map<'a>,
        key: &'static str,
        help: Option<&str>,
    ) -> Option<At<'a>> {
        map.get(key).or_else(|| {
            if self.is_misspelt(map, key) {
                return None;
            }
            let place = self.place(map.at);
            let finding = Finding::error("missing_key", place, format!("{} has no `{key}`", map.at));
            let finding = finding.label(format!("`{key}` is missing"));
            self.reject(match help {
                Some(help) => finding.help(help),
                None => finding,
            })
        })
    }

    /// Returns true if a reported unknown key seems to mean this one, which then is not reported as missing.
    pub(super) fn is_misspelt(&self, map: &Map<'_>, key: &'static str) -> bool {
        let Keys::Declared(shape) = map.keys else { return false };
        map.entries()
            .filter(|(name, _)| shape.key(name).is_none())
            .any(|(name, _)| unknown::meant(self, shape, name).is_some_and(|meant| meant.name == key))
    }

    pub(super) fn sequence<'a>(&'a self, at: &'a At<'a>) -> Option<impl Iterator<Item = At<'a>>> {
        match self.tree.view(at.node) {
            View::Sequence(items) => Some(items.iter().enumerate().map(|(i, node)| at.item(i, *node))),
            _ if self.is_null(at) => self.empty(at),
            _ => self.wrong_type(at, "a list"),
        }
    }

    /// Reads the text of any scalar: a number is accepted where a string is expected.
    pub(super) fn string(&self, at: &At<'_>) -> Option<&'t str> {
        let text = self.string_or_empty(at)?;
        if text.is_empty() { self.empty(at) } else { Some(text) }
    }

    pub(super) fn string_or_empty(&self, at: &At<'_>) -> Option<&'t str> {
        let text = self.verbatim(at)?;
        if has_placeholder(text) {
            return self.reject(self.placeholder(at));
        }
        Some(text)
    }

    /// Reads text for human readers. A placeholder in it is only a warning.
    pub(super) fn free_text(&self, at: &At<'_>) -> Option<&'t str> {
        let text = self.free_text_or_empty(at)?;
        if text.is_empty() { self.empty(at) } else { Some(text) }
    }

    pub(super) fn free_text_or_empty(&self, at: &At<'_>) -> Option<&'t str> {
        let text = self.verbatim(at)?;
        if has_placeholder(text) {
            let message = format!("{at} holds a placeholder, which attache does not replace");
            let finding = Finding::warning(PLACEHOLDER, self.place(at), message);
            self.report(finding.label("this would be shown literally"));
        }
        Some(text)
    }

    /// Returns the finding about a placeholder of another program. The text is not quoted: it may be a secret.
    fn placeholder(&self, at: &At<'_>) -> Finding {
        let message = format!("{at} holds a placeholder, which attache does not replace");
        Finding::error(PLACEHOLDER, self.place(at), message)
            .label("this would be used literally")
            .help("write the value itself, or for a secret `{ env: NAME }` or `{ file: PATH }`")
    }

    /// As [`Self::placeholder`], where a secret is expected.
    pub(super) fn placeholder_for_secret(&self, at: &At<'_>) -> Finding {
        let help =
            "write `{ env: NAME }` or `{ file: PATH }`; `{ literal: TEXT }` if the secret is this very text";
        self.placeholder(at).help(help)
    }

    /// Reads a text without checking it for placeholders.
    pub(super) fn verbatim(&self, at: &At<'_>) -> Option<&'t str> {
        match self.tree.view(at.node) {
            View::Scalar { .. } if self.is_null(at) => self.empty(at),
            View::Scalar { text, .. } => Some(text),
            View::Sequence(_) | View::Mapping(_) => self.wrong_type(at, "a string"),
        }
    }

    pub(super) fn bool(&self, at: &At<'_>) -> Option<bool> {
        match self.tree.view(at.node) {
            View::Scalar { text: "true" | "True" | "TRUE", plain: true } => Some(true),
            View::Scalar { text: "false" | "False" | "FALSE", plain: true } => Some(false),
            _ if self.is_null(at) => self.empty(at),
            View::Scalar { text, .. } if has_placeholder(text) => self.reject(self.placeholder(at)),
            View::Scalar { text, .. } => {
                let meant = matches!(text.to_ascii_lowercase().as_str(), "yes" | "on" | "y" | "1" | "true");
                let finding =
                    Finding::error("wrong_type", self.place(at), format!("{at} must be `true` or `false`"));
                self.reject(finding.label("this is neither").help(format!("write `{meant}`")))
            }
            View::Sequence(_) | View::Mapping(_) => self.wrong_type(at, "`true` or `false`"),
        }
    }

    /// Reads a whole number in the range that the schema declares.
    pub(super) fn integer(&self, at: &At<'_>) -> Option<u32> {
        let Kind::Integer(from, to) = at.kind else {
            debug_assert!(false, "{at} is no number by the schema");
            return None;
        };
        let number = match self.tree.view(at.node) {
            View::Scalar { text, plain: true }
                if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() =>
            {
                Some(text.parse::<u32>().ok())
            }
            _ if self.is_null(at) => return self.empty(at),
            View::Scalar { text, .. } if has_placeholder(text) => {
                return self.reject(self.placeholder(at));
            }
            _ => None,
        };
        match number {
            Some(Some(number)) if (*from..=*to).contains(&number) => Some(number),
            Some(_) => {
                let message = format!("{at} is out of range");
                let label = format!("must be from {from} to {to}");
                self.reject(Finding::error("out_of_range", self.place(at), message).label(label))
            }
            None => self.wrong_type(at, "a whole number"),
        }
    }

    /// Reads an HTTP status.
    pub(super) fn status(&self, at: &At<'_>) -> Option<StatusCode> {
        let number = self.integer(at)?;
        u16::try_from(number).ok().and_then(|number| StatusCode::from_u16(number).ok())
    }

    /// Reads a scalar with one of the parsers of [`scalar`].
    pub(super) fn parsed<T>(
        &self,
        at: &At<'_>,
        code: &'static str,
        what: &str,
        parse: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Option<T> {
        let text = self.string(at)?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(Invalid { label, help }) => {
                let finding = Finding::error(code, self.place(at), format!("{at} is not {what}"));
                if let Some((what, _)) = unknown::invisible(text) {
                    let label = format!("this value contains {what}");
                    return self.reject(finding.label(label).help("type the value again"));
                }
                if text.starts_with(['“', '”', '„', '‘', '’', '«', '»']) {
                    let label = "this begins with a typographic quote, which YAML reads as part of the value";
                    return self.reject(
                        finding.label(label).help("write `\"` or `'` instead, or remove the quotes"),
                    );
                }
                let finding = finding.label(label);
                self.reject(match help {
                    Some(help) => finding.help(help),
                    None => finding,
                })
            }
        }
    }

    /// As [`Self::parsed`], for a value next to a secret: an invalid value may be the secret, misplaced by one line.
    pub(super) fn parsed_or_hidden<T>(
        &self,
        at: &At<'_>,
        code: &'static str,
        what: &str,
        parse: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Option<T> {
        let parsed = self.parsed(at, code, what, parse);
        if parsed.is_none() {
            self.hide(at.node);
        }
        parsed
    }

    /// Reports a key that is valid elsewhere, and has no effect in combination with `what`.
    pub(super) fn no_use(&self, at: &At<'_>, what: &str, label: &str, help: &str) {
        let message = format!("{at} has no effect with {what}");
        self.report(Finding::error("conflicting_keys", self.key(at), message).label(label).help(help));
    }

    /// Reads a duration of at most a day, above zero unless `zero`.
    pub(super) fn duration(&self, at: &At<'_>, zero: bool) -> Option<Duration> {
        let duration = self.parsed(at, "invalid_duration", "a duration", scalar::duration)?;
        let label = match duration {
            Duration::ZERO if !zero => "must be more than zero",
            long if long > MAX_DURATION => "must be at most `24h`",
            fine => return Some(fine),
        };
        self.reject(
            Finding::error("out_of_range", self.place(at), format!("{at} is out of range")).label(label),
        )
    }

    /// Reads one of several words.
    pub(super) fn one_of<T: Copy>(&self, at: &At<'_>, words: &[(&str, T)]) -> Option<T> {
        debug_assert_eq!(
            words.iter().map(|(word, _)| *word).collect::<HashSet<_>>(),
            at.kind.words().iter().copied().collect(),
            "{at}: what is read and what is declared differ"
        );
        let text = self.string(at)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let help =
            self.suggest(text, known.iter().copied()).unwrap_or_else(|| self.known(Some(text), &known));
        let message = format!("{at} is not one of {}", list(&known));
        self.reject(
            Finding::error("unknown_value", self.place(at), message).label("unknown value").help(help),
        )
    }

    pub(super) fn empty<T>(&self, at: &At<'_>) -> Option<T> {
        let finding = Finding::error("empty_value", self.place(at), format!("{at} is empty"));
        let finding = finding.label("a value is missing");
        self.reject(match example(at.kind) {
            Some(example) => finding.help(format!("write it like `{example}`")),
            None => finding,
        })
    }

    pub(super) fn wrong_type<T>(&self, at: &At<'_>, expected: &str) -> Option<T> {
        let finding = Finding::error("wrong_type", self.place(at), format!("{at} must be {expected}"));
        let found = match self.tree.view(at.node) {
            View::Scalar { text, plain: true } => {
                if let Some((label, help)) = unknown::separator(at.kind, text) {
                    return self.reject(finding.label(label).help(help));
                }
                "a single value"
            }
            View::Scalar { .. } => "a single value",
            View::Sequence(_) => "a list",
            View::Mapping(_) => "a mapping",
        };
        let finding = finding.label(format!("this is {found}"));
        self.reject(match (example(at.kind), at.absent) {
            (Some(example), Some(word)) => finding.help(format!("write it like `{example}`, or `{word}`")),
            (Some(example), None) => finding.help(format!("write it like `{example}`")),
            (None, Some(word)) => finding.help(format!("write {expected}, or `{word}`")),
            (None, None) => finding,
        })
    }

    /// Returns "did you mean …?" if a candidate is similar.
    pub(super) fn suggest<'c>(
        &self,
        text: &str,
        candidates: impl Iterator<Item = &'c str>,
    ) -> Option<String> {
        self.nearest(text, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
    }

    /// Returns the most similar candidate, if it is similar enough. Gives up in files with very many mistakes.
    pub(super) fn nearest<'c>(
        &self,
        text: &str,
        candidates: impl Iterator<Item = &'c str>,
    ) -> Option<&'c str> {
        let limit = (text.chars().count() / 3).clamp(1, 3);
        let mut best: Option<(usize, &str)> = None;
        for candidate in candidates {
            self.suggestions.set(self.suggestions.get().checked_sub(1)?);
            if candidate.len().abs_diff(text.len()) > limit || text.len() > 128 {
                continue;
            }
            let distance = match text.eq_ignore_ascii_case(candidate) {
                true => 0,
                false => strsim::damerau_levenshtein(text, candidate),
            };
            if distance <= limit && best.is_none_or(|(least, _)| distance < least) {
                best = Some((distance, candidate));
            }
        }
        best.map(|(_, candidate)| candidate)
    }

    /// Returns "known here: …" with all words, or of a longer list those most similar to `text`. Without `text` they keep
    /// their order: of a possible secret, even the order of similar words would tell something.
    pub(super) fn known(&self, text: Option<&str>, words: &[&str]) -> String {
        if words.len() <= MAX_KNOWN {
            return format!("known here: {}", list(words));
        }
        let mut words = words.to_vec();
        let budget = self.suggestions.get().checked_sub(words.len());
        if let (Some(text), Some(left)) = (text.filter(|text| text.len() <= 128), budget) {
            self.suggestions.set(left);
            let text = text.to_ascii_lowercase();
            let similarity = |word: &&str| strsim::jaro_winkler(&text, &word.to_ascii_lowercase());
            words.sort_by(|a, b| similarity(b).total_cmp(&similarity(a)));
        }
        let quoted: Vec<String> = words[..SHOWN_KNOWN].iter().map(|word| format!("`{word}`")).collect();
        let more = words.len() - SHOWN_KNOWN;
        format!("known here: {} and {more} more, see `attache schema --format markdown`", quoted.join(", "))
    }
}

/// Returns an example of a value of this kind, if it is a mapping or a list.
fn example(kind: &Kind) -> Option<String> {
    match kind {
        Kind::Secret | Kind::SecretText => Some("{ env: NAME }".to_owned()),
        Kind::Map(shape) => Some(shape.example.to_owned()),
        Kind::List(Kind::Map(shape)) => Some(format!("[{}]", shape.example)),
        Kind::List(Kind::Network) => Some("[203.0.113.0/24]".to_owned()),
        Kind::List(Kind::Method) => Some("[POST]".to_owned()),
        Kind::List(Kind::PathPattern) => Some("[/contacts*]".to_owned()),
        Kind::List(Kind::Integer(from, _)) => Some(format!("[{from}]")),
        Kind::List(_) => Some("[A, B]".to_owned()),
        Kind::Names(Kind::Map(shape)) => Some(format!("{{ NAME: {} }}", shape.example)),
        Kind::Names(Kind::OneOf([Kind::Map(shape), ..])) => Some(format!("{{ NAME: {} }}", shape.example)),
        Kind::Names(_) => Some("{ NAME: VALUE }".to_owned()),
        Kind::OneOf(kinds) => kinds.iter().find_map(example),
        _ => None,
    }
}

/// Formats "`a`, `b` and `c`".
pub(super) fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}
