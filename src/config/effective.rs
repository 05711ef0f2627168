//! The effective file: every file of a folder in one, merge keys resolved, defaults written out, secrets hidden.
//!
//! Built from the tree by the schema, so it needs no list of keys. `attache render` prints it, and `attache diff`
//! compares it field by field.

use super::redact::url_secrets;
use super::scalar::invisible;
use super::schema::{FILE, Key, Kind, Shape, is_source};
use super::source::Source;
use super::tree::{NodeId, Tree, View};
use crate::secret::sha256;
use serde_yaml::{Mapping, Value};
use std::collections::BTreeMap;
use std::fmt;

/// The replacement for a secret in the text.
const REDACTED: &str = "[redacted]";
/// Sections that have effect with their defaults if the file leaves them out.
const ALWAYS: [&str; 5] = ["listen", "identity_headers", "limits", "shutdown", "log"];
/// Keys that concern only the text.
const OF_THE_TEXT: [&str; 3] = ["version", "$schema", "defaults"];

/// The effective file.
#[derive(Debug, Default)]
pub struct Effective(Vec<(String, Node)>);

#[derive(Debug)]
enum Node {
    Leaf(Leaf),
    Map(Vec<(String, Node)>),
    List(Vec<Node>),
}

/// The value of one field.
#[derive(Clone)]
pub struct Leaf {
    shown: Value,
    /// Distinguishes values that are displayed alike.
    digest: Option<[u8; 32]>,
    /// The value names the source of a secret, or a file, or is a part of what is made of one.
    source: bool,
}

/// The file makes no difference between the number `409` and the text.
impl PartialEq for Leaf {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest && self.to_string() == other.to_string()
    }
}

impl Eq for Leaf {}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shown {
            Value::String(text) => f.write_str(&printable(text)),
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Number(value) => write!(f, "{value}"),
            Value::Sequence(_) => f.write_str("[]"),
            Value::Mapping(_) | Value::Tagged(_) => f.write_str("{}"),
        }
    }
}

impl Leaf {
    /// Returns true if the configuration shows no change of this value when secrets and files are not read.
    pub fn is_source(&self) -> bool {
        self.source
    }

    fn plain(shown: Value) -> Node {
        Node::Leaf(Self { shown, digest: None, source: false })
    }

    fn secret(text: &str) -> Node {
        Self::redacted(REDACTED.to_owned(), text)
    }

    /// Returns a value of which only `shown` may be displayed.
    fn redacted(shown: String, text: &str) -> Node {
        let digest = Some(sha256(text.as_bytes()));
        Node::Leaf(Self { shown: Value::String(shown), digest, source: false })
    }
}

impl Effective {
    pub(super) fn new(tree: &Tree<'_>, sources: &[Source], root: NodeId) -> Self {
        let reader = Reader { tree, sources };
        let defaults = reader.entry(root, "defaults");
        let of = |name| defaults.and_then(|defaults| reader.entry(defaults, name));
        let (service, webhook) = (of("service"), of("webhook"));
        let Some(shape) = FILE.shape() else { return Self::default() };
        let mut top = reader.map(Some(root), shape, None);
        top.retain(|(name, _)| !OF_THE_TEXT.contains(&name.as_str()));
        if let (Some((_, Node::Map(services))), Some(at)) =
            (top.iter_mut().find(|(name, _)| name == "services"), reader.entry(root, "services"))
        {
            reader.fill(services, at, (service, webhook));
        }
        Self(top)
    }

    /// Returns the file as YAML.
    pub fn to_yaml(&self) -> String {
        serde_yaml::to_string(&mapping(&self.0)).unwrap_or_default()
    }

    /// Returns every field below a path of keys, by the rest of its path. A list entry with an `id` is named by it.
    pub fn fields(&self, path: &[&str]) -> BTreeMap<String, Leaf> {
        let mut below = &self.0;
        let mut fields = BTreeMap::new();
        let mut keys = path.iter().peekable();
        while let Some(key) = keys.next() {
            match below.iter().find(|(name, _)| name == key) {
                Some((_, Node::Map(entries))) => below = entries,
                Some((_, node)) if keys.peek().is_none() => {
                    flatten(String::new(), node, &mut fields);
                    return fields;
                }
                _ => return fields,
            }
        }
        below.iter().for_each(|(name, node)| flatten(name.clone(), node, &mut fields));
        fields
    }
}

/// Returns the text in one line, without characters that move the cursor or change the writing direction.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() || invisible(c).is_some() {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out
}

fn mapping(entries: &[(String, Node)]) -> Value {
    let entries = entries.iter().map(|(name, node)| (Value::String(name.clone()), node.value()));
    Value::Mapping(entries.collect::<Mapping>())
}

impl Node {
    fn value(&self) -> Value {
        match self {
            Self::Leaf(leaf) => leaf.shown.clone(),
            Self::Map(entries) => mapping(entries),
            Self::List(items) => Value::Sequence(items.iter().map(Self::value).collect()),
        }
    }

    fn mark_as_source(&mut self) {
        if let Self::Leaf(leaf) = self {
            leaf.source = true;
        }
    }

    fn id(&self) -> Option<String> {
        let Self::Map(entries) = self else { return None };
        entries.iter().find(|(name, _)| name == "id").map(|(_, node)| match node {
            Self::Leaf(leaf) => leaf.to_string(),
            Self::Map(_) | Self::List(_) => String::new(),
        })
    }
}

fn flatten(path: String, node: &Node, fields: &mut BTreeMap<String, Leaf>) {
    let empty = |shown| Leaf { shown, digest: None, source: false };
    match node {
        Node::Leaf(leaf) => drop(fields.insert(path, leaf.clone())),
        Node::Map(entries) if entries.is_empty() => {
            fields.insert(path, empty(Value::Mapping(Mapping::new())));
        }
        Node::List(items) if items.is_empty() => {
            drop(fields.insert(path, empty(Value::Sequence(Vec::new()))))
        }
        Node::Map(entries) => {
            for (name, node) in entries {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(format!("{path}{dot}{name}"), node, fields);
            }
        }
        Node::List(items) => {
            for (index, node) in items.iter().enumerate() {
                let key = node.id().unwrap_or_else(|| index.to_string());
                flatten(format!("{path}[{key}]"), node, fields);
            }
        }
    }
}

struct Reader<'a, 't> {
    tree: &'a Tree<'t>,
    sources: &'a [Source],
}

impl Reader<'_, '_> {
    fn entry(&self, node: NodeId, name: &str) -> Option<NodeId> {
        let View::Mapping(entries) = self.tree.view(node) else { return None };
        entries.iter().find(|(key, _)| self.tree.key(*key) == name).map(|(_, value)| *value)
    }

    fn node(&self, node: NodeId, kind: &'static Kind) -> Node {
        match self.tree.view(node) {
            View::Scalar { text, plain } => {
                if self.tree.is_null(node) {
                    return match kind.shape() {
                        Some(shape) => Node::Map(self.map(None, shape, None)),
                        None => Leaf::plain(Value::Null),
                    };
                }
                if (kind.is_secret() || kind.hides(text)) && !kind.words().contains(&text) {
                    return Leaf::secret(text);
                }
                scalar(text, plain, kind)
            }
            View::Sequence(items) => {
                let kind = kind.items().or(open(kind)).unwrap_or(&Kind::Sensitive);
                Node::List(items.iter().map(|item| self.node(*item, kind)).collect())
            }
            View::Mapping(entries)
                if kind.is_json()
                    && kind.is_secret()
                    && !is_source(entries.iter().map(|(key, _)| self.tree.key(*key))) =>
            {
                Leaf::secret(&self.text(node))
            }
            View::Mapping(entries) => match (kind.shape(), kind.named().or(open(kind))) {
                (Some(shape), _) => {
                    let mut entries = self.map(Some(node), shape, None);
                    if kind.is_secret() {
                        entries.iter_mut().for_each(|(_, node)| node.mark_as_source());
                    }
                    // It is a part of the signing key, which may not have been read.
                    if shape.key("key").is_some_and(|key| key.kind.is_secret()) {
                        let algorithm = entries.iter_mut().find(|(name, _)| name == "algorithm");
                        algorithm.into_iter().for_each(|(_, node)| node.mark_as_source());
                    }
                    Node::Map(entries)
                }
                (None, Some(kind)) => {
                    let entry = |(key, value): &(NodeId, NodeId)| {
                        (self.tree.key(*key).to_owned(), self.node(*value, kind))
                    };
                    Node::Map(entries.iter().map(entry).collect())
                }
                (None, None) => Leaf::secret(&self.text(node)),
            },
        }
    }

    /// Returns a mapping with its keys in the schema's order: its own, those of `defaults`, and the schema's.
    fn map(
        &self,
        node: Option<NodeId>,
        shape: &'static Shape,
        defaults: Option<NodeId>,
    ) -> Vec<(String, Node)> {
        let entry = |at: Option<NodeId>, name: &str| self.entry(at?, name);
        let value = |key: &'static Key| {
            let given = entry(node, key.name).or_else(|| entry(defaults, key.name));
            let found = match given {
                Some(node) => self.node(node, &key.kind),
                None if ALWAYS.contains(&key.name) && std::ptr::eq(shape, FILE.shape()?) => {
                    Node::Map(self.map(None, key.kind.shape()?, None))
                }
                None => default(key, |name| entry(node, name).map(|node| self.text(node)))?,
            };
            match &found {
                // An empty section that the file does not have is omitted.
                Node::Map(entries) if entries.is_empty() && given.is_none() => None,
                _ => Some((key.name.to_owned(), found)),
            }
        };
        shape.keys().filter_map(value).collect()
    }

    /// Completes services and webhooks with `defaults`, the former only if they have a `server_url`.
    fn fill(&self, services: &mut [(String, Node)], at: NodeId, defaults: (Option<NodeId>, Option<NodeId>)) {
        for (name, service) in services {
            let Some(node) = self.entry(at, name) else { continue };
            let Some(shape) = FILE.shape().and_then(|file| file.key("services")?.kind.named()?.shape())
            else {
                continue;
            };
            let mut filled = self.map(Some(node), shape, defaults.0);
            if self.entry(node, "server_url").is_none() {
                filled.retain(|(name, _)| shape.keys.iter().any(|key| key.name == name));
            }
            let webhook = self.entry(node, "webhook");
            if let (Some(webhook), Some(shape)) =
                (webhook, shape.key("webhook").and_then(|key| key.kind.shape()))
                && let Some((_, filled)) = filled.iter_mut().find(|(name, _)| name == "webhook")
            {
                *filled = Node::Map(self.map(Some(webhook), shape, defaults.1));
            }
            *service = Node::Map(filled);
        }
    }

    fn text(&self, node: NodeId) -> String {
        if let View::Scalar { text, .. } = self.tree.view(node) {
            return text.to_owned();
        }
        let span = self.tree.span(node);
        self.sources[span.file as usize].text()[span.start as usize..span.end as usize].to_owned()
    }
}

/// Returns the default of a key, if it applies beside the values of `sibling`.
fn default(key: &Key, sibling: impl Fn(&str) -> Option<String>) -> Option<Node> {
    let text = key.default?;
    if let Some((name, value)) = key.with
        && sibling(name).as_deref() != Some(value)
    {
        return None;
    }
    if let Some((name, value)) = key.unless
        && sibling(name).as_deref() == Some(value)
    {
        return None;
    }
    Some(node_of(serde_yaml::from_str(text).ok()?))
}

fn node_of(value: Value) -> Node {
    match value {
        Value::Sequence(items) => Node::List(items.into_iter().map(node_of).collect()),
        Value::Mapping(entries) => {
            let entry = |(name, value): (Value, Value)| Some((name.as_str()?.to_owned(), node_of(value)));
            Node::Map(entries.into_iter().filter_map(entry).collect())
        }
        leaf => Leaf::plain(leaf),
    }
}

/// Returns the kind of the values inside a value of any JSON type that is shown.
fn open(kind: &'static Kind) -> Option<&'static Kind> {
    matches!(kind, Kind::OpenJson).then_some(kind)
}

fn scalar(text: &str, plain: bool, kind: &Kind) -> Node {
    match kind {
        Kind::Bool | Kind::Integer(..) | Kind::OpenJson if plain => {
            Leaf::plain(serde_yaml::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())))
        }
        Kind::Path => Node::Leaf(Leaf { shown: Value::String(text.to_owned()), digest: None, source: true }),
        // Its user info and query may be secret.
        Kind::Url if !url_secrets(text).is_empty() => {
            let mut shown = text.to_owned();
            for (from, to) in url_secrets(text).into_iter().rev() {
                shown.replace_range(from..to, REDACTED);
            }
            Leaf::redacted(shown, text)
        }
        _ => Leaf::plain(Value::String(text.to_owned())),
    }
}
