//! Parses text to a tree in which every node, including mapping keys, knows its place.
//!
//! Nodes are in one arena for all files of a configuration; an alias is the same [`NodeId`] again. Time and memory are
//! linear in the text: nesting, nodes, and the expansion of aliases are limited, so that neither `[[[[…` nor a "billion
//! laughs" file costs more than its bytes.
//!
//! Rejected: deserialising with serde. It stops at the first error, silently keeps the last of two equal keys, turns
//! `key:` into an empty string, and reads nested text in quadratic time.

use super::problem::Finding;
use super::schema;
use super::source::{Source, Span};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

mod flow;
mod syntax;

const MAX_DEPTH: usize = 64;
const MAX_NODES: usize = 16 << 20;
const MAX_ALIASED_NODES: u64 = 1 << 20;

/// A node's number in its [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeId(u32);

/// A key and its value.
pub(super) type Entry = (NodeId, NodeId);

/// 24 bytes: a file of 12 MB has 700,000 nodes.
#[derive(Debug)]
struct Node {
    span: Span,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A scalar whose value is its text in the file.
    Written {
        plain: bool,
    },
    /// A scalar with another value (quoted, folded), by its index in `unescaped`.
    Unescaped {
        index: u32,
        plain: bool,
    },
    Sequence(u32, u32),
    Mapping(u32, u32),
}

/// The kind and content of a node.
#[derive(Debug, Clone, Copy)]
pub(super) enum View<'a> {
    /// A scalar; `plain` if unquoted, so that `null` and `true` have their YAML meaning.
    Scalar {
        text: &'a str,
        plain: bool,
    },
    Sequence(&'a [NodeId]),
    Mapping(&'a [Entry]),
}

/// Every node of every file.
#[derive(Debug, Default)]
pub(super) struct Tree<'t> {
    /// The text of each file.
    texts: Vec<&'t str>,
    nodes: Vec<Node>,
    unescaped: Vec<Box<str>>,
    items: Vec<NodeId>,
    entries: Vec<Entry>,
    /// Entries that were left out because their key is repeated, and whether the key may be shown.
    pub(super) repeated: Vec<(NodeId, NodeId, bool)>,
    /// True if a node is used in more than one place.
    pub(super) has_aliases: bool,
}

impl<'t> Tree<'t> {
    pub(super) fn span(&self, id: NodeId) -> Span {
        self.nodes[id.0 as usize].span
    }

    pub(super) fn view(&self, id: NodeId) -> View<'_> {
        let Node { span, kind } = &self.nodes[id.0 as usize];
        match *kind {
            Kind::Written { plain } => {
                let text = &self.texts[span.file as usize][span.start as usize..span.end as usize];
                View::Scalar { text, plain }
            }
            Kind::Unescaped { index, plain } => View::Scalar { text: &self.unescaped[index as usize], plain },
            Kind::Sequence(from, to) => View::Sequence(&self.items[from as usize..to as usize]),
            Kind::Mapping(from, to) => View::Mapping(&self.entries[from as usize..to as usize]),
        }
    }

    /// Returns the text of a key; keys are always scalars.
    pub(super) fn key(&self, id: NodeId) -> &str {
        match self.view(id) {
            View::Scalar { text, .. } => text,
            View::Sequence(_) | View::Mapping(_) => "",
        }
    }

    /// Returns true if the node is `null`, `~` or empty.
    pub(super) fn is_null(&self, id: NodeId) -> bool {
        matches!(self.view(id), View::Scalar { text: "" | "~" | "null" | "Null" | "NULL", plain: true })
    }

    /// Adds a mapping that is merged from several files.
    pub(super) fn add_mapping(&mut self, span: Span, entries: &[Entry]) -> NodeId {
        let from = self.entries.len() as u32;
        self.entries.extend_from_slice(entries);
        self.push(span, Kind::Mapping(from, self.entries.len() as u32))
    }

    /// Reads one file. `None` if there is no tree; then the last finding is the reason.
    pub(super) fn read(
        &mut self,
        file: u32,
        source: &'t Source,
        findings: &mut Vec<Finding>,
    ) -> Option<NodeId> {
        // Growing would copy the nodes, and hold both copies. Reserved memory that is not written costs nothing.
        self.nodes.reserve(source.text().len() / 16);
        self.texts.resize(self.texts.len().max(file as usize + 1), "");
        self.texts[file as usize] = source.text();
        let offsets = Offsets::new(source.text());
        let mut builder = Builder {
            tree: self,
            findings,
            offsets,
            file,
            stack: Vec::new(),
            spare: Vec::new(),
            anchors: HashMap::new(),
            aliased: 0,
            root: None,
        };
        let read = builder.run(source.text());
        let root = builder.root;
        if let Err(finding) = read {
            findings.push(*finding);
            return None;
        }
        match root {
            Some(root) if !self.is_null(root) => Some(root),
            _ => {
                let span = Span { file, start: 0, end: 0 };
                findings.push(
                    Finding::error("empty_file", span, "the configuration file is empty")
                        .label("the file has no content")
                        .help("a configuration has at least `services`"),
                );
                None
            }
        }
    }

    /// The scanner's copy of a scalar is kept only if it differs from the file's text: the copies took more memory than
    /// the rest of the tree.
    fn push_scalar(&mut self, span: Span, text: &str, plain: bool) -> NodeId {
        let written = self.texts[span.file as usize].get(span.start as usize..span.end as usize);
        let kind = if written == Some(text) {
            Kind::Written { plain }
        } else {
            self.unescaped.push(text.into());
            Kind::Unescaped { index: (self.unescaped.len() - 1) as u32, plain }
        };
        self.push(span, kind)
    }

    fn push(&mut self, span: Span, kind: Kind) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(Node { span, kind });
        id
    }
}

/// A container whose end was not reached yet.
struct Frame {
    mapping: bool,
    anchor: usize,
    start: Marker,
    /// Keys and values alternately, for a mapping.
    children: Vec<NodeId>,
    extent: Extent,
}

/// The size of a node, counted each time it is used.
#[derive(Debug, Clone, Copy)]
struct Extent {
    nodes: u64,
    height: usize,
}

const LEAF: Extent = Extent { nodes: 1, height: 0 };

struct Builder<'b, 't> {
    tree: &'b mut Tree<'t>,
    findings: &'b mut Vec<Finding>,
    offsets: Offsets<'t>,
    file: u32,
    stack: Vec<Frame>,
    /// Emptied lists of children, reused for the next containers: growing one for each would take longer than the rest.
    spare: Vec<Vec<NodeId>>,
    anchors: HashMap<usize, (NodeId, Extent)>,
    aliased: u64,
    root: Option<NodeId>,
}

impl<'t> Builder<'_, 't> {
    fn run(&mut self, text: &'t str) -> Result<(), Box<Finding>> {
        let mut documents = 0;
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, place) = event.map_err(|e| self.syntax(*e.marker(), e.info()))?;
            let span = self.span(place.start, place.end);
            if self.tree.nodes.len() > MAX_NODES {
                return Err(fatal(
                    "too_many_nodes",
                    span,
                    "the file has too many values",
                    "reading stopped here",
                ));
            }
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        let message = "the file has more than one document";
                        let finding = Finding::error("multiple_documents", span, message)
                            .label("a second document starts here")
                            .help("use a folder of files instead");
                        return Err(Box::new(finding));
                    }
                }
                Event::Scalar(text, style, anchor, tag) => {
                    let plain = style == ScalarStyle::Plain && self.keeps_meaning(tag.as_deref(), span);
                    let id = self.tree.push_scalar(span, &text, plain);
                    self.add(id, anchor, LEAF);
                }
                Event::SequenceStart(anchor, tag) => self.open(false, anchor, place.start, tag.as_deref())?,
                Event::MappingStart(anchor, tag) => self.open(true, anchor, place.start, tag.as_deref())?,
                Event::SequenceEnd | Event::MappingEnd => self.close(place.end),
                Event::Alias(anchor) => self.alias(anchor, span)?,
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
        Ok(())
    }

    fn open(
        &mut self,
        mapping: bool,
        anchor: usize,
        start: Marker,
        tag: Option<&Tag>,
    ) -> Result<(), Box<Finding>> {
        let span = self.span(start, start);
        if self.stack.len() >= MAX_DEPTH {
            return Err(too_deep(span));
        }
        self.keeps_meaning(tag, span);
        let extent = Extent { nodes: 1, height: 1 };
        let children = self.spare.pop().unwrap_or_default();
        self.stack.push(Frame { mapping, anchor, start, children, extent });
        Ok(())
    }

    fn close(&mut self, end: Marker) {
        let Some(mut frame) = self.stack.pop() else { return };
        let span = self.span(frame.start, end);
        let kind = if frame.mapping {
            self.mapping(&frame.children)
        } else {
            let from = self.tree.items.len() as u32;
            self.tree.items.extend_from_slice(&frame.children);
            Kind::Sequence(from, self.tree.items.len() as u32)
        };
        frame.children.clear();
        self.spare.push(frame.children);
        let id = self.tree.push(span, kind);
        self.add(id, frame.anchor, frame.extent);
    }

    fn mapping(&mut self, children: &[NodeId]) -> Kind {
        let pairs = || children.chunks_exact(2).map(|pair| (pair[0], pair[1]));
        // Most mappings are small: comparing all pairs is faster than hashing there.
        let large = children.len() > 32;
        let mut first: HashMap<&str, NodeId> =
            HashMap::with_capacity(if large { children.len() / 2 } else { 0 });
        let mut kept: Vec<Entry> = Vec::with_capacity(children.len() / 2);
        let mut repeated = Vec::new();
        let mut odd = Vec::new();
        let mut merged = Vec::new();
        for (key, value) in pairs() {
            let View::Scalar { text, plain } = self.tree.view(key) else {
                odd.push(key);
                repeated.push((key, value, None));
                continue;
            };
            if text == "<<" && plain {
                merged.push((key, value));
                continue;
            }
            let before = if large {
                let before = first.get(text).copied();
                first.entry(text).or_insert(key);
                before
            } else {
                kept.iter().find(|(k, _)| self.tree.key(*k) == text).map(|(k, _)| *k)
            };
            match before {
                Some(before) => repeated.push((key, value, Some(before))),
                None => kept.push((key, value)),
            }
        }
        drop(first);
        let path = if repeated.is_empty() { String::new() } else { self.path() };
        for key in odd {
            let message = format!(
                "{} has a key that is not a string",
                if path.is_empty() { "the file" } else { &path }
            );
            let finding = Finding::error("invalid_key", self.tree.span(key), message)
                .label("a key must be a plain string");
            // `{{ NAME }}` without quotes is a mapping as the key of another.
            self.findings.push(match self.tree.view(key) {
                View::Mapping(_) => finding.help(
                    "if this is a placeholder, attache does not replace it: for a secret write `{ env: NAME }`",
                ),
                View::Scalar { .. } | View::Sequence(_) => finding,
            });
        }
        // Below other keys, a name that is not a key of the schema may be a line of a secret.
        let names = matches!(path.as_str(), "issuers" | "accounts" | "services" | "users");
        for (key, value, before) in repeated {
            let text = self.tree.key(key);
            let shown = names || schema::is_key(text);
            let name = if shown { shown_key(text).to_owned() } else { "a key".to_owned() };
            self.tree.repeated.push((key, value, shown));
            let Some(before) = before else { continue };
            let message = match (path.as_str(), shown) {
                ("", _) => format!("{name} is set twice"),
                (path, true) => format!("{path}.{name} is set twice"),
                (path, false) => format!("{name} of {path} is set twice"),
            };
            self.findings.push(
                Finding::error("duplicate_key", self.tree.span(key), message)
                    .label("set again here")
                    .secondary(self.tree.span(before), "first set here"),
            );
        }
        self.merge(&merged, &mut kept);
        let from = self.tree.entries.len() as u32;
        self.tree.entries.extend_from_slice(&kept);
        Kind::Mapping(from, self.tree.entries.len() as u32)
    }

    /// Merges what each `<<` refers to, a mapping or a list of mappings: an existing key is kept
    /// (<https://yaml.org/type/merge.html>).
    fn merge(&mut self, merged: &[Entry], kept: &mut Vec<Entry>) {
        if merged.is_empty() {
            return;
        }
        let mut known: HashSet<&str> = kept.iter().map(|(key, _)| self.tree.key(*key)).collect();
        for (key, value) in merged {
            let sources = match self.tree.view(*value) {
                View::Sequence(items) => items,
                View::Mapping(_) | View::Scalar { .. } => std::slice::from_ref(value),
            };
            for source in sources {
                let View::Mapping(entries) = self.tree.view(*source) else {
                    let span = self.tree.span(*key);
                    let finding = Finding::error("invalid_merge", span, "`<<` merges mappings only");
                    self.findings.push(
                        finding
                            .label("this refers to something else")
                            .help("write `<<: *NAME`, with `&NAME` at a mapping above"),
                    );
                    break;
                };
                kept.extend(entries.iter().filter(|(key, _)| known.insert(self.tree.key(*key))));
            }
        }
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Box<Finding>> {
        let Some(&(id, extent)) = self.anchors.get(&anchor) else {
            return Err(fatal(
                "syntax",
                span,
                "the alias is inside the node that it refers to",
                "this can't be resolved",
            ));
        };
        self.tree.has_aliases = true;
        self.aliased += extent.nodes;
        if self.aliased > MAX_ALIASED_NODES {
            return Err(fatal(
                "too_many_nodes",
                span,
                "the file's aliases expand to too many values",
                "reading stopped here",
            ));
        }
        if self.stack.len() + extent.height > MAX_DEPTH {
            return Err(too_deep(span));
        }
        self.add(id, 0, extent);
        Ok(())
    }

    fn add(&mut self, id: NodeId, anchor: usize, extent: Extent) {
        if anchor != 0 {
            self.anchors.insert(anchor, (id, extent));
        }
        match self.stack.last_mut() {
            Some(frame) => {
                frame.children.push(id);
                frame.extent.nodes = frame.extent.nodes.saturating_add(extent.nodes);
                frame.extent.height = frame.extent.height.max(extent.height + 1);
            }
            None => self.root = Some(id),
        }
    }

    /// Returns true if the core schema still applies to a plain scalar with this tag; reports tags of other schemas.
    fn keeps_meaning(&mut self, tag: Option<&Tag>, span: Span) -> bool {
        let Some(tag) = tag else { return true };
        if tag.is_yaml_core_schema() {
            return tag.suffix != "str";
        }
        if !(tag.handle.is_empty() && tag.suffix == "!") {
            self.findings.push(
                Finding::error("unsupported_tag", span, "YAML tags are not supported")
                    .label("remove the tag"),
            );
        }
        false
    }

    /// Returns the path of the container that was just popped.
    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.stack {
            if !frame.mapping {
                let _ = write!(path, "[{}]", frame.children.len());
            } else if let Some(key) = frame.children.last() {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(shown_key(self.tree.key(*key)));
            }
        }
        path
    }

    fn syntax(&self, at: Marker, info: &str) -> Box<Finding> {
        let start = self.offsets.byte(at.index());
        let end = self.offsets.byte(at.index() + 1);
        // The scanner looks ahead, and may reach its own limit before this one.
        if info.contains("recursion limit") {
            return too_deep(Span { file: self.file, start, end });
        }
        Box::new(syntax::explain(self.offsets.text, self.file, start..end, info))
    }

    fn span(&self, start: Marker, end: Marker) -> Span {
        let from = self.offsets.byte(start.index());
        let to = if end.index() == start.index() { from } else { self.offsets.byte(end.index()) };
        Span { file: self.file, start: from, end: to.max(from) }
    }
}

fn fatal(code: &'static str, span: Span, message: &str, label: &str) -> Box<Finding> {
    Box::new(Finding::error(code, span, message).label(label))
}

fn too_deep(span: Span) -> Box<Finding> {
    fatal("too_deep", span, "the file is nested deeper than 64 levels", "reading stopped here")
}

/// Converts the scanner's character positions to byte positions.
struct Offsets<'t> {
    text: &'t str,
    /// The byte at which every 64th character starts; `None` if each character is a byte.
    every_64: Option<Vec<u32>>,
}

impl<'t> Offsets<'t> {
    fn new(text: &'t str) -> Self {
        let every_64 = (!text.is_ascii())
            .then(|| text.char_indices().step_by(64).map(|(byte, _)| byte as u32).collect());
        Self { text, every_64 }
    }

    fn byte(&self, char_index: usize) -> u32 {
        let end = self.text.len();
        let byte = match &self.every_64 {
            None => char_index.min(end),
            Some(every_64) => match every_64.get(char_index / 64) {
                None => end,
                Some(&from) => {
                    let rest = &self.text[from as usize..];
                    let within =
                        rest.char_indices().nth(char_index % 64).map_or(rest.len(), |(byte, _)| byte);
                    from as usize + within
                }
            },
        };
        byte as u32
    }
}

/// Returns true if a text looks like a key of the schema or of the operator; else it may be a value, and a secret, in
/// the place of a key (`secret:hunter2`).
pub(super) fn is_like_a_key(text: &str) -> bool {
    text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b' ' | b'$'))
}

/// Returns a key in the form that a message may show.
pub(super) fn shown_key(text: &str) -> &str {
    if is_like_a_key(text) { text } else { "•••" }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
