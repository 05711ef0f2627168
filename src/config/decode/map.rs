//! The place of a value: its path, what the schema expects there, and the mapping around it.

use crate::config::schema::{FILE, Kind, Shape};
use crate::config::source::Span;
use crate::config::tree::{Entry, NodeId, Tree, View, shown_key};
use std::fmt;

/// A node and its path.
#[derive(Clone, Copy)]
pub(in crate::config) struct At<'a> {
    pub(super) parent: Option<&'a At<'a>>,
    pub(super) step: Step<'a>,
    /// The place of its key, if it has one.
    pub(in crate::config) key: Option<Span>,
    pub(in crate::config) node: NodeId,
    /// The kind that the schema expects.
    pub(in crate::config) kind: &'static Kind,
    /// The word that has the effect of a left-out key, if the schema has one for this key.
    pub(super) absent: Option<&'static str>,
}

/// Returns true if a value is this word.
pub(in crate::config) fn is_word(tree: &Tree<'_>, node: NodeId, word: &str) -> bool {
    matches!(tree.view(node), View::Scalar { text, .. } if text == word)
}

/// The kind of values below a key that the schema does not know.
pub(super) const UNKNOWN: &Kind = &Kind::Sensitive;

#[derive(Clone, Copy)]
pub(super) enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl<'a> At<'a> {
    pub(in crate::config) fn root(node: NodeId) -> Self {
        Self { parent: None, step: Step::Root, key: None, node, kind: &FILE, absent: None }
    }

    /// Returns its key in the mapping around it.
    pub(in crate::config) fn name(&self) -> Option<&'a str> {
        match self.step {
            Step::Key(name) => Some(name),
            Step::Root | Step::Index(_) => None,
        }
    }

    pub(super) fn item(&'a self, index: usize, node: NodeId) -> Self {
        let kind = self.kind.items().unwrap_or(UNKNOWN);
        At { parent: Some(self), step: Step::Index(index), key: None, node, kind, absent: None }
    }
}

/// Prints the key path: `services.mailer.webhook.api_keys[0]`.
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

/// A mapping whose keys were checked.
#[derive(Clone, Copy)]
pub(in crate::config) struct Map<'a> {
    pub(super) tree: &'a Tree<'a>,
    pub(in crate::config) at: &'a At<'a>,
    pub(super) entries: &'a [Entry],
    pub(super) keys: Keys,
    /// The values of keys that are left out.
    pub(super) defaults: Option<&'a Map<'a>>,
}

/// The keys that a mapping may have.
#[derive(Clone, Copy)]
pub(super) enum Keys {
    /// Those of the schema.
    Declared(&'static Shape),
    /// The operator's own names, each with a value of this kind.
    Any(&'static Kind),
}

impl<'a> Map<'a> {
    /// Returns the value of a key, or its default from the file's `defaults`. `None` for the word that has the effect of a
    /// left-out key.
    pub(in crate::config) fn get(&self, key: &'static str) -> Option<At<'a>> {
        let given = self.own(key);
        let given = given.or_else(|| self.defaults.filter(|defaults| defaults.knows(key))?.own(key))?;
        let absent = given.absent.is_some_and(|word| is_word(self.tree, given.node, word));
        (!absent).then_some(given)
    }

    /// Returns the value of a key in the mapping itself.
    pub(in crate::config) fn own(&self, key: &'static str) -> Option<At<'a>> {
        debug_assert!(self.knows(key), "{key} is read and not declared");
        #[cfg(test)]
        if let Keys::Declared(shape) = self.keys {
            crate::config::schema::note_read(shape, key);
        }
        let entry = self.entries.iter().find(|(name, _)| self.tree.key(*name) == key)?;
        Some(self.below(entry).1)
    }

    /// Returns the same mapping with values for the keys that it leaves out.
    pub(in crate::config) fn with_defaults(self, defaults: Option<&'a Map<'a>>) -> Self {
        Self { defaults, ..self }
    }

    pub(in crate::config) fn entries(&self) -> impl Iterator<Item = (&'a str, At<'a>)> + use<'a> {
        let map = *self;
        self.entries.iter().map(move |entry| map.below(entry))
    }

    fn below(&self, &(key, node): &Entry) -> (&'a str, At<'a>) {
        let name = self.tree.key(key);
        let (kind, absent) = match self.keys {
            Keys::Declared(shape) => shape.key(name).map_or((UNKNOWN, None), |key| (&key.kind, key.absent)),
            Keys::Any(kind) => (kind, None),
        };
        let key = Some(self.tree.span(key));
        (name, At { parent: Some(self.at), step: Step::Key(name), key, node, kind, absent })
    }

    /// Returns the entries whose keys the schema knows.
    pub(in crate::config) fn known_entries(&self) -> impl Iterator<Item = (&'a str, At<'a>)> + use<'a> {
        let Self { keys, .. } = *self;
        self.entries().filter(move |(name, _)| {
            let Keys::Declared(shape) = keys else { return true };
            #[cfg(test)]
            crate::config::schema::note_read(shape, name);
            shape.key(name).is_some()
        })
    }

    /// Returns true if the schema knows the key.
    pub(in crate::config) fn knows(&self, key: &str) -> bool {
        match self.keys {
            Keys::Declared(shape) => shape.key(key).is_some(),
            Keys::Any(_) => true,
        }
    }

    pub(in crate::config) fn len(&self) -> usize {
        self.entries.len()
    }
}
