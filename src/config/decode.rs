//! Decoding a tree by hand: each step asks for what it expects, reports what it finds instead, and goes on.
//!
//! `None` always means that a problem has been reported, so callers may fall back on anything: no configuration is
//! made of it. Key paths are chains of borrowed steps, written out only for a problem.

use super::problem::Finding;
use super::scalar::{self, Invalid};
use super::source::{Source, Span};
use super::tree::{Entry, NodeId, Tree, View, is_like_a_key, shown_key};
use http::StatusCode;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The longest time anything may be told to wait.
const MAX_DURATION: Duration = Duration::from_secs(24 * 3600);

/// What one pass over the tree shares.
pub(super) struct Decoder<'t> {
    pub(super) tree: &'t Tree<'t>,
    pub(super) sources: &'t [Source],
    pub(super) secrets: super::secrets::Secrets<'t>,
    findings: RefCell<Vec<Finding>>,
    hidden: RefCell<Vec<NodeId>>,
    suggestions: Cell<usize>,
}

/// A node and the way to it.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
    /// Where its key is, if it has one.
    pub(super) key: Option<Span>,
    pub(super) node: NodeId,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl<'a> At<'a> {
    pub(super) fn root(node: NodeId) -> Self {
        Self { parent: None, step: Step::Root, key: None, node }
    }

    fn item(&'a self, index: usize, node: NodeId) -> Self {
        At { parent: Some(self), step: Step::Index(index), key: None, node }
    }
}

/// The key path: `services.mailer.webhook.api_keys[0]`.
impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else { return f.write_str("the configuration") };
        if !matches!(parent.step, Step::Root) {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Key(key) if matches!(parent.step, Step::Root) => f.write_str(shown_key(key)),
            Step::Key(key) => write!(f, ".{}", shown_key(key)),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// A mapping whose keys have been checked.
#[derive(Clone, Copy)]
pub(super) struct Map<'a> {
    tree: &'a Tree<'a>,
    pub(super) at: &'a At<'a>,
    entries: &'a [Entry],
    /// The schema's keys; none where the keys are the operator's own.
    known: &'static [&'static str],
}

impl<'a> Map<'a> {
    pub(super) fn get(&self, key: &'static str) -> Option<At<'a>> {
        self.entries().find(|(name, _)| *name == key).map(|(_, at)| at)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, At<'a>)> + use<'a> {
        let Self { tree, at, entries, .. } = *self;
        entries.iter().map(move |(key, node)| {
            let name = tree.key(*key);
            (name, At { parent: Some(at), step: Step::Key(name), key: Some(tree.span(*key)), node: *node })
        })
    }

    /// Whether the key is one of the schema's.
    pub(super) fn knows(&self, key: &str) -> bool {
        self.known.contains(&key)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
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
            hidden: RefCell::default(),
            suggestions: Cell::new(10_000_000),
        }
    }

    /// What was found, and the nodes of which nothing may be shown.
    pub(super) fn into_findings(self) -> (Vec<Finding>, Vec<NodeId>) {
        (self.findings.into_inner(), self.hidden.into_inner())
    }

    /// Whether there is an error among what was found.
    pub(super) fn has_errors(&self) -> bool {
        self.findings.borrow().iter().any(Finding::is_error)
    }

    pub(super) fn report(&self, finding: Finding) {
        self.findings.borrow_mut().push(finding);
    }

    /// Reports, and is the `None` that follows from it.
    pub(super) fn reject<T>(&self, finding: Finding) -> Option<T> {
        self.report(finding);
        None
    }

    /// The place to mark: the value if there is any on its own line, else the key.
    pub(super) fn place(&self, at: &At<'_>) -> Span {
        let span = self.tree.span(at.node);
        match (self.tree.view(at.node), at.key) {
            (View::Scalar { text, plain }, _) if !(text.is_empty() && plain) => span,
            (_, Some(key)) => key,
            (_, None) => span,
        }
    }

    /// The place of the key.
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

    /// A mapping with these keys and no others.
    pub(super) fn mapping<'a>(&'a self, at: &'a At<'a>, known: &'static [&'static str]) -> Option<Map<'a>> {
        let map = Map { known, ..self.names(at)? };
        for ((key, _), (name, below)) in map.entries.iter().zip(map.entries()) {
            if !known.contains(&name) {
                self.hide(below.node);
                let span = self.tree.span(*key);
                let suggestion = self.suggest(name, known.iter().copied());
                let finding = if suggestion.is_none() && (self.is_null(&below) || !is_like_a_key(name)) {
                    // `secret:hunter2` is a key without a value, and so is a line of a secret that lost its place.
                    self.hide(*key);
                    Finding::error("unknown_key", span, format!("{at} has something that is no key"))
                        .label("not shown: it may be a secret; is a space missing after a colon?")
                } else {
                    Finding::error("unknown_key", span, format!("{at} has no key `{name}`"))
                        .label("unknown key")
                };
                self.report(
                    finding.help(suggestion.unwrap_or_else(|| format!("known here: {}", list(known)))),
                );
            }
        }
        Some(map)
    }

    /// As [`Self::mapping`], with what it looks like for who wrote something else.
    pub(super) fn mapping_like<'a>(
        &'a self,
        at: &'a At<'a>,
        known: &'static [&'static str],
        example: &str,
    ) -> Option<Map<'a>> {
        if matches!(self.tree.view(at.node), View::Mapping(_)) || self.is_null(at) {
            return self.mapping(at, known);
        }
        // What is there may be a secret, one level too high.
        self.hide(at.node);
        let finding = Finding::error("wrong_type", self.place(at), format!("{at} must be a mapping"));
        self.reject(finding.label("this is none").help(format!("write it like `{example}`")))
    }

    /// A mapping whose keys are the operator's own.
    pub(super) fn names<'a>(&'a self, at: &'a At<'a>) -> Option<Map<'a>> {
        match self.tree.view(at.node) {
            View::Mapping(entries) => Some(Map { tree: self.tree, at, entries, known: &[] }),
            _ if self.is_null(at) => self.empty(at),
            _ => self.wrong_type(at, "a mapping"),
        }
    }

    pub(super) fn required<'a>(&self, map: &Map<'a>, key: &'static str) -> Option<At<'a>> {
        self.required_or(map, key, None)
    }

    /// As [`Self::required`], with what would be right if it is missing.
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

    /// Whether an unknown key, which has been reported, seems to mean this one: then it is not missing as well.
    pub(super) fn is_misspelt(&self, map: &Map<'_>, key: &'static str) -> bool {
        let meant = map.known.iter().position(|known| *known == key);
        map.entries().filter(|(name, _)| !map.known.contains(name)).any(|(name, _)| {
            let nearest = self.nearest(name, map.known.iter().copied());
            nearest.is_some() && nearest == meant.map(|i| map.known[i])
        })
    }

    pub(super) fn sequence<'a>(&'a self, at: &'a At<'a>) -> Option<impl Iterator<Item = At<'a>>> {
        match self.tree.view(at.node) {
            View::Sequence(items) => Some(items.iter().enumerate().map(|(i, node)| at.item(i, *node))),
            _ if self.is_null(at) => self.empty(at),
            _ => self.wrong_type(at, "a list"),
        }
    }

    /// Any scalar by its text: a number is taken where a string is meant.
    pub(super) fn string(&self, at: &At<'_>) -> Option<&'t str> {
        let text = self.string_or_empty(at)?;
        if text.is_empty() { self.empty(at) } else { Some(text) }
    }

    pub(super) fn string_or_empty(&self, at: &At<'_>) -> Option<&'t str> {
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
            View::Scalar { text, .. } => {
                let meant = matches!(text.to_ascii_lowercase().as_str(), "yes" | "on" | "y" | "1" | "true");
                let finding =
                    Finding::error("wrong_type", self.place(at), format!("{at} must be `true` or `false`"));
                self.reject(finding.label("this is neither").help(format!("write `{meant}`")))
            }
            View::Sequence(_) | View::Mapping(_) => self.wrong_type(at, "`true` or `false`"),
        }
    }

    pub(super) fn integer(&self, at: &At<'_>, range: RangeInclusive<u32>) -> Option<u32> {
        let number = match self.tree.view(at.node) {
            View::Scalar { text, plain: true }
                if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() =>
            {
                Some(text.parse::<u32>().ok())
            }
            _ if self.is_null(at) => return self.empty(at),
            _ => None,
        };
        match number {
            Some(Some(number)) if range.contains(&number) => Some(number),
            Some(_) => {
                let message = format!("{at} is out of range");
                let label = format!("must be from {} to {}", range.start(), range.end());
                self.reject(Finding::error("out_of_range", self.place(at), message).label(label))
            }
            None => self.wrong_type(at, "a whole number"),
        }
    }

    /// An HTTP status.
    pub(super) fn status(&self, at: &At<'_>, range: RangeInclusive<u32>) -> Option<StatusCode> {
        let number = self.integer(at, range)?;
        u16::try_from(number).ok().and_then(|number| StatusCode::from_u16(number).ok())
    }

    /// A scalar in one of the small languages of [`scalar`].
    pub(super) fn parsed<T>(
        &self,
        at: &At<'_>,
        code: &'static str,
        what: &str,
        parse: impl FnOnce(&str) -> Result<T, Invalid>,
    ) -> Option<T> {
        match parse(self.string(at)?) {
            Ok(value) => Some(value),
            Err(Invalid { label, help }) => {
                let finding =
                    Finding::error(code, self.place(at), format!("{at} is not {what}")).label(label);
                self.reject(match help {
                    Some(help) => finding.help(help),
                    None => finding,
                })
            }
        }
    }

    /// As [`Self::parsed`], for what stands next to a secret: what does not parse may be the secret, one line off.
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

    /// A key that is fine elsewhere, and of no use beside `what`.
    pub(super) fn no_use(&self, at: &At<'_>, what: &str, label: &str, help: &str) {
        let message = format!("{at} has no use with {what}");
        self.report(Finding::error("conflicting_keys", self.key(at), message).label(label).help(help));
    }

    /// A duration of at most a day, above zero unless `zero`.
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

    /// One of a few words.
    pub(super) fn one_of<T: Copy>(&self, at: &At<'_>, words: &[(&str, T)]) -> Option<T> {
        let text = self.string(at)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let help = self
            .suggest(text, known.iter().copied())
            .unwrap_or_else(|| format!("known here: {}", list(&known)));
        let message = format!("{at} is not one of {}", list(&known));
        self.reject(
            Finding::error("unknown_value", self.place(at), message).label("unknown value").help(help),
        )
    }

    pub(super) fn empty<T>(&self, at: &At<'_>) -> Option<T> {
        let finding = Finding::error("empty_value", self.place(at), format!("{at} is empty"));
        self.reject(finding.label("a value is missing"))
    }

    pub(super) fn wrong_type<T>(&self, at: &At<'_>, expected: &str) -> Option<T> {
        let found = match self.tree.view(at.node) {
            View::Scalar { .. } => "a single value",
            View::Sequence(_) => "a list",
            View::Mapping(_) => "a mapping",
        };
        let finding = Finding::error("wrong_type", self.place(at), format!("{at} must be {expected}"));
        self.reject(finding.label(format!("this is {found}")))
    }

    /// "did you mean …?", if a candidate is near.
    pub(super) fn suggest<'c>(
        &self,
        text: &str,
        candidates: impl Iterator<Item = &'c str>,
    ) -> Option<String> {
        self.nearest(text, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
    }

    /// The nearest of the candidates, if it is near. Gives up in files with absurdly many mistakes.
    fn nearest<'c>(&self, text: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
        let limit = (text.chars().count() / 3).clamp(1, 3);
        let mut best: Option<(usize, &str)> = None;
        for candidate in candidates {
            self.suggestions.set(self.suggestions.get().checked_sub(1)?);
            if candidate.len().abs_diff(text.len()) > limit || text.len() > 128 {
                continue;
            }
            let distance = strsim::damerau_levenshtein(text, candidate);
            if distance <= limit && best.is_none_or(|(least, _)| distance < least) {
                best = Some((distance, candidate));
            }
        }
        best.map(|(_, candidate)| candidate)
    }
}

/// "`a`, `b` and `c`".
pub(super) fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}
