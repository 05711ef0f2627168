//! The layout of a file, for lines that are pasted into it.

use super::merge;
use crate::config::source::Source;
use crate::config::tree::{NodeId, Tree, View};

/// Returns the number of spaces before the first entry of the mapping or list at `path`. `None`: the file has no such
/// entry, or writes it within a line.
pub(in crate::config) fn indentation(sources: &[Source], path: &[&str]) -> Option<usize> {
    let (mut tree, mut findings) = (Tree::default(), Vec::new());
    let roots: Option<Vec<NodeId>> =
        sources.iter().zip(0..).map(|(source, file)| tree.read(file, source, &mut findings)).collect();
    let mut node = merge(&mut tree, &roots?, &mut findings)?;
    for name in path {
        let View::Mapping(entries) = tree.view(node) else { return None };
        node = entries.iter().find(|(key, _)| tree.key(*key) == *name)?.1;
    }
    let (first, is_item) = match tree.view(node) {
        View::Mapping(entries) => (entries.first()?.0, false),
        View::Sequence(items) => (*items.first()?, true),
        View::Scalar { .. } => return None,
    };
    let span = tree.span(first);
    let before = &sources[span.file as usize].text()[..span.start as usize];
    let line = before.rsplit('\n').next().unwrap_or(before);
    let spaces = line.trim_start_matches(' ');
    let is_alone = if is_item { spaces.trim_end() == "-" } else { spaces.is_empty() };
    is_alone.then(|| line.len() - spaces.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_indentation_is_that_of_the_first_entry() {
        let text = "services:\n    a:\n      webhook:\n       api_keys:\n       -   id: x\n       - id: y\n    b: { webhook: { user: x } }\nusers: { u: {} }\nissuers: {}\n";
        let sources = [Source::new("a.yaml".into(), text.to_owned())];
        for (path, expected) in [
            (&["services"][..], Some(4)),
            (&["services", "a"], Some(6)),
            (&["services", "a", "webhook"], Some(7)),
            (&["services", "a", "webhook", "api_keys"], Some(7)),
            (&["services", "b"], None),
            (&["services", "c"], None),
            (&["users"], None),
            (&["issuers"], None),
            (&["accounts"], None),
            (&[], Some(0)),
        ] {
            assert_eq!(indentation(&sources, path), expected, "{path:?}");
        }
    }
}
