//! The layout of a file, for lines that are pasted into it.

use super::merge;
use crate::config::source::Source;
use crate::config::tree::{NodeId, Tree, View};

/// The way in which the file writes the entries of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The file does not have the section.
    Absent,
    /// Within a line, or there are none: `{ a: b }`, `{}`, nothing.
    InLine,
    /// On lines of their own, each behind this number of spaces.
    Lines(usize),
}

impl Written {
    /// Returns the number of spaces before an entry, if entries have lines of their own.
    pub fn spaces(self) -> Option<usize> {
        match self {
            Self::Lines(spaces) => Some(spaces),
            Self::Absent | Self::InLine => None,
        }
    }
}

/// Returns the way in which the mapping or list at `path` is written. The first entry decides.
pub(in crate::config) fn written(sources: &[Source], path: &[&str]) -> Written {
    let (mut tree, mut findings) = (Tree::default(), Vec::new());
    let roots: Option<Vec<NodeId>> =
        sources.iter().zip(0..).map(|(source, file)| tree.read(file, source, &mut findings)).collect();
    let Some(mut node) = roots.and_then(|roots| merge(&mut tree, &roots, &mut findings)) else {
        return Written::Absent;
    };
    for name in path {
        let View::Mapping(entries) = tree.view(node) else { return Written::Absent };
        let Some(entry) = entries.iter().find(|(key, _)| tree.key(*key) == *name) else {
            return Written::Absent;
        };
        node = entry.1;
    }
    let (first, is_item) = match tree.view(node) {
        View::Mapping(entries) => (entries.first().map(|(key, _)| *key), false),
        View::Sequence(items) => (items.first().copied(), true),
        View::Scalar { .. } => (None, false),
    };
    let Some(first) = first else { return Written::InLine };
    let span = tree.span(first);
    let before = &sources[span.file as usize].text()[..span.start as usize];
    let line = before.rsplit('\n').next().unwrap_or(before);
    let spaces = line.trim_start_matches(' ');
    let is_alone = if is_item { spaces.trim_end() == "-" } else { spaces.is_empty() };
    if is_alone { Written::Lines(line.len() - spaces.len()) } else { Written::InLine }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_decides_how_a_section_is_written() {
        let text = "services:\n    a:\n      webhook:\n       api_keys:\n       -   id: x\n       - id: y\n    b: { webhook: { user: x } }\nusers: { u: {} }\nissuers: {}\ncallers:\n";
        let sources = [Source::new("a.yaml".into(), text.to_owned())];
        for (path, expected) in [
            (&["services"][..], Written::Lines(4)),
            (&["services", "a"], Written::Lines(6)),
            (&["services", "a", "webhook"], Written::Lines(7)),
            (&["services", "a", "webhook", "api_keys"], Written::Lines(7)),
            (&["services", "b"], Written::InLine),
            (&["services", "c"], Written::Absent),
            (&["users"], Written::InLine),
            (&["issuers"], Written::InLine),
            (&["callers"], Written::InLine),
            (&["accounts"], Written::Absent),
            (&[], Written::Lines(0)),
        ] {
            assert_eq!(written(&sources, path), expected, "{path:?}");
        }
    }
}
