//! Hides secrets in the lines that a problem shows.
//!
//! The schema declares which values are secret. Keys and other values are shown; a value below an unknown key is shown
//! only if no secret could look like it. Everything else in a line (a comment, an anchor, a tag) is hidden, because
//! only the tree's nodes are known not to be secret. Of a file without a tree each line is shown up to its first `:`.

use super::decode::is_word;
use super::scalar::invisible;
use super::schema::{self, FILE, Kind};
use super::source::{Line, Source, Span};
use super::tree::{NodeId, Tree, View, is_like_a_key};
use std::collections::HashSet;

/// The replacement for each character of a hidden value.
const HIDDEN: char = '•';
/// The start of PEM: content where a path is expected.
const PEM: &str = "-----BEGIN";
/// Maximum look-back in a long line for text that decides what a part of it may show.
const MAX_BEFORE: usize = 64 << 10;

/// The parts of files that may be shown.
#[derive(Debug, Default)]
pub(super) struct Redaction {
    shown: Vec<Span>,
    hidden: Vec<Span>,
    /// Files without a tree.
    unparsed: HashSet<u32>,
}

impl Redaction {
    /// `roots`: each file's tree. `hidden`: nodes whose text must not be shown, whatever their keys are. `lines`: the
    /// printed lines, in order; the tree is walked only there, since a valid file of 100,000 keys may have one warning.
    pub(super) fn new(
        tree: &Tree<'_>,
        sources: &[Source],
        roots: &[Option<NodeId>],
        hidden: &[NodeId],
        lines: &[Span],
    ) -> Self {
        // The place of an alias decides about the node that it refers to, so all of them have to be found.
        let lines = if tree.has_aliases { None } else { Some(lines) };
        let mut walk = Walk { tree, sources, lines, redaction: Self::default() };
        for (root, file) in roots.iter().zip(0..) {
            match root {
                Some(root) => walk.node(*root, &FILE, ""),
                None => {
                    walk.redaction.unparsed.insert(file);
                }
            }
        }
        for (key, value, shown) in &tree.repeated {
            // Their parent is not known here.
            if *shown {
                walk.key(*key, true)
            } else {
                walk.hide(*key)
            }
            walk.hide(*value);
        }
        for node in hidden {
            walk.hide(*node);
        }
        let Self { mut shown, mut hidden, unparsed } = walk.redaction;
        for spans in [&mut shown, &mut hidden] {
            spans.sort_unstable();
            spans.dedup_by(|next, before| {
                let overlap = next.file == before.file && next.start < before.end;
                if overlap {
                    before.end = before.end.max(next.end);
                }
                overlap
            });
        }
        Self { shown, hidden, unparsed }
    }

    /// Returns the characters of a line, or of a part of it: offset in the file, and the character to show.
    pub(super) fn redact_line<'a>(
        &'a self,
        source: &'a Source,
        file: u32,
        line: &Line,
    ) -> impl Iterator<Item = (usize, char)> + 'a {
        let text = &source.text()[line.start..line.end];
        let from = line.start;
        // Spaces within a hidden value are hidden as well; those around it keep the excerpt aligned.
        let (first, last) = (from + text.len() - text.trim_start().len(), from + text.trim_end().len());
        let visible = self.visible(source, file, line);
        text.char_indices().map(move |(at, original)| {
            let at = at + from;
            let blank = !(first..last).contains(&at);
            let shown = blank || visible.iter().any(|(from, to)| (*from..*to).contains(&at));
            (at, if shown { original } else { HIDDEN })
        })
    }

    /// Returns the ranges of a line that are shown.
    fn visible(&self, source: &Source, file: u32, line: &Line) -> Vec<(usize, usize)> {
        let text = source.text();
        let whole = source.line(line.start as u32).start;
        if self.unparsed.contains(&file) {
            let near = line.start - whole <= MAX_BEFORE;
            return if near { unparsed(text, whole, line.end) } else { Vec::new() };
        }
        // Text before the part and after the last node may continue in it.
        let before = |spans: &[Span]| {
            let at = spans.partition_point(|s| (s.file, s.start as usize) < (file, line.start));
            spans[..at].last().filter(|s| s.file == file).map_or(0, |s| s.start as usize)
        };
        let begin = before(&self.shown).max(before(&self.hidden)).max(whole);
        let begin = if line.start - begin <= MAX_BEFORE { begin } else { line.start };
        let shown = within(&self.shown, file, begin, line.end);
        let hidden = within(&self.hidden, file, begin, line.end);
        let mut visible = Vec::new();
        for (start, end) in &shown {
            let mut at = *start;
            for (from, to) in hidden.iter().filter(|(from, to)| from < end && to > start) {
                visible.push((at, (*from).max(at)));
                at = (*to).max(at);
            }
            visible.push((at, (*end).max(at)));
        }
        // Between the nodes: punctuation up to any other text.
        let mut nodes: Vec<(usize, usize)> = shown.into_iter().chain(hidden).collect();
        nodes.sort_unstable();
        let mut at = begin;
        for (start, end) in nodes.into_iter().chain([(line.end, line.end)]) {
            if start > at {
                let gap = &text[at..start];
                visible.push((at, at + gap.find(|c| !is_punctuation(c)).unwrap_or(gap.len())));
            }
            at = at.max(end);
        }
        visible
    }
}

fn is_punctuation(c: char) -> bool {
    matches!(c, ' ' | '{' | '}' | '[' | ']' | ',' | ':' | '-' | '?' | '|' | '>' | '"' | '\'')
}

/// Returns the parts of sorted spans that do not overlap within a range of a file.
fn within(spans: &[Span], file: u32, from: usize, to: usize) -> Vec<(usize, usize)> {
    let behind = spans.partition_point(|s| (s.file, s.start as usize) < (file, to));
    let overlaps = |s: &&Span| s.file == file && s.end as usize > from;
    let mut found: Vec<(usize, usize)> = spans[..behind]
        .iter()
        .rev()
        .take_while(overlaps)
        .map(|s| (s.start as usize, s.end as usize))
        .collect();
    found.reverse();
    found
}

/// Returns the visible range of a line in a file that does not parse: up to its first `:`, or a leading word of the
/// schema.
fn unparsed(text: &str, from: usize, to: usize) -> Vec<(usize, usize)> {
    let line = &text[from..to];
    let start = line.len() - line.trim_start_matches([' ', '-', '{', '[', '?', '"', '\'', '\t']).len();
    let rest = &line[start..];
    let word = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
    let shown = match rest.find(':') {
        Some(colon) if is_like_a_key(rest[..colon].trim_end_matches(['"', '\''])) => colon + 1,
        _ if schema::is_key(&rest[..word]) => word,
        _ => 0,
    };
    let blank = rest[shown..].len() - rest[shown..].trim_start().len();
    vec![(from, from + start + shown + blank)]
}

struct Walk<'a, 't> {
    tree: &'a Tree<'t>,
    sources: &'a [Source],
    /// Other lines are skipped.
    lines: Option<&'a [Span]>,
    redaction: Redaction,
}

impl Walk<'_, '_> {
    /// Classifies a value of a known kind, below the key `name`.
    fn node(&mut self, node: NodeId, kind: &'static Kind, name: &str) {
        if !self.is_looked_at(node) {
            return;
        }
        match self.tree.view(node) {
            View::Scalar { text, .. } => {
                if kind.words().contains(&text) {
                    self.show(node);
                } else if kind.holds_secret() || kind.hides(text) {
                    self.hide(node);
                } else if kind.is_scalar() {
                    self.show(node);
                } else {
                    self.unknown(node, name);
                }
            }
            View::Sequence(items) => {
                for item in items {
                    match kind.items() {
                        Some(kind) => self.node(*item, kind, name),
                        None => self.unknown(*item, ""),
                    }
                }
            }
            View::Mapping(entries) => self.mapping(entries, kind, name),
        }
    }

    fn mapping(&mut self, entries: &[(NodeId, NodeId)], kind: &'static Kind, above: &str) {
        let shape = kind.shape().or_else(|| kind.items().and_then(Kind::shape));
        let named = kind.named();
        // `token_headers: { X: … }` may be misplaced in a mapping of the operator's own names.
        let secret = shape.is_none_or(schema::Shape::holds_secret) || schema::may_be_secret(above);
        for (key, value) in entries {
            let name = self.tree.key(*key);
            match (shape.and_then(|shape| shape.key(name)), named) {
                (Some(known), _) => {
                    self.key(*key, false);
                    match known.absent {
                        Some(word) if is_word(self.tree, *value, word) => self.show(*value),
                        _ => self.node(*value, &known.kind, name),
                    }
                }
                (None, Some(kind)) => {
                    self.key(*key, true);
                    self.node(*value, kind, name);
                }
                // In `value: {…}` an unknown key may be the secret itself.
                (None, None) if kind.is_secret() => {
                    self.hide(*key);
                    self.hide(*value);
                }
                (None, None) if secret || name.starts_with("x-") => {
                    // If the reader expects something else, the keys were not checked.
                    if kind.shape().is_none() {
                        self.unknown_key(*key, *value)
                    } else {
                        self.key(*key, true)
                    }
                    self.hide(*value);
                }
                (None, None) => {
                    self.key(*key, false);
                    let seen: String = name.chars().filter(|c| invisible(*c).is_none()).collect();
                    let name = seen.trim();
                    if schema::may_be_secret(name) || !is_like_a_key(name) {
                        self.hide(*value)
                    } else {
                        self.unknown(*value, name)
                    }
                }
            }
        }
    }

    fn is_looked_at(&self, node: NodeId) -> bool {
        let Some(lines) = self.lines else { return true };
        let span = self.tree.span(node);
        let before = lines.partition_point(|line| (line.file, line.end) < (span.file, span.start));
        lines.get(before).is_some_and(|line| line.file == span.file && line.start <= span.end)
    }

    /// Shows a key. A `strict` look hides one that does not look like a key, and may be a secret.
    fn key(&mut self, key: NodeId, strict: bool) {
        let is_scalar = matches!(self.tree.view(key), View::Scalar { .. });
        let text = self.tree.key(key);
        if !is_scalar || (strict && !is_like_a_key(text)) {
            return self.hide(key);
        }
        self.show(key);
        // `secret:hunter2` is a key whose second half may be a secret.
        let span = self.tree.span(key);
        let raw = &self.sources[span.file as usize].text()[span.start as usize..span.end as usize];
        if let Some(at) = raw.find([':', '=']).filter(|_| !is_like_a_key(text)) {
            self.redaction.hidden.push(Span { start: span.start + at as u32 + 1, ..span });
        }
    }

    /// Shows an unknown key. One without a value may be a line of a secret.
    fn unknown_key(&mut self, key: NodeId, value: NodeId) {
        match self.tree.view(value) {
            View::Scalar { text: "", plain: true } => self.hide(key),
            _ => self.key(key, true),
        }
    }

    /// Classifies a value by the name of its key alone.
    fn unknown(&mut self, node: NodeId, name: &str) {
        match self.tree.view(node) {
            View::Scalar { text, .. }
                if name.is_empty() || schema::may_be_secret(name) || schema::source_hides(name, text) =>
            {
                self.hide(node)
            }
            View::Scalar { .. } => self.show(node),
            View::Sequence(items) => items.iter().for_each(|item| self.unknown(*item, name)),
            View::Mapping(entries) => {
                for (key, value) in entries {
                    let name = self.tree.key(*key);
                    self.unknown_key(*key, *value);
                    if schema::never_secret(name) { self.unknown(*value, name) } else { self.hide(*value) }
                }
            }
        }
    }

    fn hide(&mut self, node: NodeId) {
        match self.tree.view(node) {
            View::Scalar { text: "", plain: true } => {}
            View::Scalar { .. } => self.redaction.hidden.push(self.tree.span(node)),
            View::Sequence(items) => items.iter().for_each(|item| self.hide(*item)),
            View::Mapping(entries) => {
                for (key, value) in entries {
                    self.hide(*key);
                    self.hide(*value);
                }
            }
        }
    }

    /// Shows a scalar without the user info, query and fragment of a URL, and nothing of PEM.
    fn show(&mut self, node: NodeId) {
        if let View::Scalar { text: "", plain: true } = self.tree.view(node) {
            return;
        }
        let span = self.tree.span(node);
        let text = &self.sources[span.file as usize].text()[span.start as usize..span.end as usize];
        if text.contains(PEM) {
            return self.hide(node);
        }
        for (from, to) in url_secrets(text) {
            let (start, end) = (span.start + from as u32, span.start + to as u32);
            self.redaction.hidden.push(Span { file: span.file, start, end });
        }
        self.redaction.shown.push(span);
    }
}

/// Returns the ranges of a URL's user info, and of its query and fragment.
pub(super) fn url_secrets(raw: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let scheme = raw.find("//");
    let mut rest = scheme.map_or(0, |at| at + 2);
    if let Some(at) = raw.rfind('@')
        && at > rest
    {
        found.push((rest, at));
        rest = at;
    }
    // Without a scheme it may be a sentence with a question mark.
    if let Some(query) = raw[rest..].find(['?', '#']).map(|at| rest + at + 1)
        && (scheme.is_some() || raw[query..].contains('='))
    {
        found.push((query, raw.len()));
    }
    found
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;
