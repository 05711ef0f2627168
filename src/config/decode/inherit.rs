//! Problems that a value of `defaults` has in a service or webhook that inherits it.

use super::{At, Decoder, Map};
use crate::config::source::Span;
use std::cell::{Cell, RefCell};

/// The values of `defaults`, and the part that is read with them.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    /// Keys and values.
    spans: RefCell<Vec<Span>>,
    heir: Cell<Option<Span>>,
}

impl Inherited {
    /// Returns the part that is being read, if `span` is in a value that it inherits.
    pub(super) fn heir_of(&self, span: Span) -> Option<Span> {
        self.heir.get().filter(|_| self.spans.borrow().iter().any(|value| value.contains(span)))
    }
}

impl Decoder<'_> {
    /// Takes the values of a section of `defaults`, whose own problems have been reported.
    pub(in crate::config) fn inherit(&self, defaults: &Map<'_>) {
        let spans = defaults.entries().flat_map(|(_, at)| [self.key(&at), self.tree.span(at.node)]);
        self.inherited.spans.borrow_mut().extend(spans);
    }

    /// Reads the part at `at`, which inherits `defaults`. A problem of an inherited value names the part, since the value
    /// alone is valid.
    pub(in crate::config) fn inheriting<T>(
        &self,
        at: &At<'_>,
        defaults: Option<&Map<'_>>,
        read: impl FnOnce() -> T,
    ) -> T {
        let Some(defaults) = defaults else { return read() };
        let first = self.findings.borrow().len();
        let outer = self.inherited.heir.replace(Some(self.key(at)));
        let value = read();
        self.inherited.heir.set(outer);
        for finding in &mut self.findings.borrow_mut()[first..] {
            let is_in = |at: &At<'_>| {
                [self.key(at), self.tree.span(at.node)].iter().any(|value| finding.is_within(*value))
            };
            let Some((key, default)) = defaults.entries().find(|(_, at)| is_in(at)) else { continue };
            let remedy = match default.absent {
                Some(word) => format!("`{key}: {word}` in {at} leaves the default out"),
                None => format!("a `{key}` of its own in {at} replaces the default"),
            };
            finding.concern(&at.to_string(), self.key(at), &remedy);
        }
        value
    }
}
