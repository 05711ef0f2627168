use super::*;
use crate::config::problem::Problems;
use crate::config::redact::Redaction;
use proptest::prelude::*;
use serde_yaml::Value;
use std::path::Path;

/// Parses the text and passes the tree's root to `look`; returns its result and the problems.
fn read<T>(text: &str, look: impl FnOnce(&Tree<'_>, NodeId, &Source) -> T) -> (Option<T>, Problems) {
    let sources = [Source::new("a.yaml".into(), text.to_owned())];
    let mut tree = Tree::default();
    let mut findings = Vec::new();
    let root = tree.read(0, &sources[0], &mut findings);
    let lines = Problems::lines(&sources, &mut findings);
    let redaction = Redaction::new(&tree, &sources, &[root], &[], &lines);
    (root.map(|root| look(&tree, root, &sources[0])), Problems::new(&sources, &redaction, findings))
}

fn codes(problems: &Problems) -> Vec<&'static str> {
    problems.iter().map(|p| p.code).collect()
}

/// Collects every scalar with the text that its span covers.
fn scalars(tree: &Tree<'_>, node: NodeId, source: &Source, found: &mut Vec<(String, String)>) {
    let span = tree.span(node);
    match tree.view(node) {
        View::Scalar { text, .. } => {
            found.push((text.to_owned(), source.text()[span.start as usize..span.end as usize].to_owned()));
        }
        View::Sequence(items) => items.iter().for_each(|i| scalars(tree, *i, source, found)),
        View::Mapping(entries) => entries.iter().for_each(|(k, v)| {
            scalars(tree, *k, source, found);
            scalars(tree, *v, source, found);
        }),
    }
}

#[test]
fn spans_cover_scalars_exactly_after_wide_characters_and_carriage_returns() {
    let text = format!("\u{feff}ключ: \"значение\"\r\n# {}\r\nb: [ç, 'd']\r\n", "ü".repeat(200));
    let (found, problems) = read(&text, |tree, root, source| {
        let mut found = Vec::new();
        scalars(tree, root, source, &mut found);
        found
    });
    assert!(problems.is_empty());
    let found = found.unwrap();
    let found: Vec<(&str, &str)> = found.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let expected = [("ключ", "ключ"), ("значение", "\"значение\""), ("b", "b"), ("ç", "ç"), ("d", "'d'")];
    assert_eq!(found, expected);
}

#[test]
fn a_hundred_thousand_brackets_are_refused() {
    for open in ["[", "{", "- ", "? "] {
        let (root, problems) = read(&open.repeat(100_000), |_, _, _| ());
        assert_eq!(root, None);
        assert_eq!(codes(&problems), ["too_deep"], "{open}");
        assert!(problems.render_human(false).len() < 2000);
    }
}

#[test]
fn the_expanded_size_of_aliases_is_limited() {
    let (root, problems) = read("a: &a [1, 2]\nb: *a\nc: *a\n", |_, _, _| ());
    assert!(root.is_some() && problems.is_empty());
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let _ = writeln!(laughs, "a{n}: &a{n} [{}]", format!("*a{},", n - 1).repeat(10));
    }
    assert_eq!(codes(&read(&laughs, |_, _, _| ()).1), ["too_many_nodes"]);
    let mut deep = "a0: &a0 [x]\n".to_owned();
    for n in 1..100 {
        let _ = writeln!(deep, "a{n}: &a{n} [*a{}]", n - 1);
    }
    assert_eq!(codes(&read(&deep, |_, _, _| ()).1), ["too_deep"]);
    assert!(read("a: &a [*a]\n", |_, _, _| ()).0.is_none(), "an alias inside its own anchor");
}

#[test]
fn equal_keys_are_found_in_small_and_in_large_mappings() {
    for size in [1, 1000] {
        let mut text: String = (0..size).map(|n| format!("k{n}: 1\n")).collect();
        text.push_str("\"k0\": 2\n");
        let (_, problems) = read(&text, |_, _, _| ());
        assert_eq!(codes(&problems), ["duplicate_key"]);
        assert_eq!(problems.iter().next().and_then(|p| p.line()), Some(size + 1));
    }
}

/// Returns true if another YAML parser reads the same node alike, by the core schema.
fn agrees(tree: &Tree<'_>, node: NodeId, other: &Value) -> bool {
    match (tree.view(node), other) {
        (View::Scalar { .. }, Value::Null) => tree.is_null(node),
        (View::Scalar { text, plain: true }, Value::Bool(b)) => text.eq_ignore_ascii_case(&b.to_string()),
        (View::Scalar { text, plain: true }, Value::Number(n)) => {
            text == n.to_string() || text.parse::<f64>().ok() == n.as_f64()
        }
        (View::Scalar { text, .. }, Value::String(s)) => text == s,
        (View::Sequence(items), Value::Sequence(others)) => {
            items.len() == others.len() && items.iter().zip(others).all(|(i, o)| agrees(tree, *i, o))
        }
        (View::Mapping(entries), Value::Mapping(others)) => {
            entries.len() == others.len()
                && entries
                    .iter()
                    .zip(others)
                    .all(|((k, v), (ok, ov))| agrees(tree, *k, ok) && agrees(tree, *v, ov))
        }
        _ => false,
    }
}

#[test]
fn another_yaml_parser_reads_every_valid_file_alike() {
    let mut compared = 0;
    for folder in ["tests/config_cases", "examples", "config"] {
        let Ok(entries) = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)) else {
            continue;
        };
        for path in entries.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "yaml"))
        {
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.trim_start_matches('\u{feff}');
            let Ok(mut other) = serde_yaml::from_str::<Value>(text) else { continue };
            if other.apply_merge().is_err() {
                continue;
            }
            let (Some(same), problems) = read(text, |tree, root, _| agrees(tree, root, &other)) else {
                continue;
            };
            if problems.is_empty() {
                assert!(same, "{}: {other:?}", path.display());
                compared += 1;
            }
        }
    }
    assert!(compared > 30, "only {compared} files were compared");
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        read(&text, |_, _, _| ());
    }

    #[test]
    fn no_near_yaml_makes_the_reader_panic(text in "([a-c]|ü|: |:|\\n|\\r\\n|\\t|  |- |\\[|\\]|\\{|\\}|,|&a |\\*a|\"|'|#|\\||>|\\?|!|!!str |%|@|---\\n|\\\\|<<|~|\u{feff}){0,60}") {
        let (_, problems) = read(&text, |tree, root, source| scalars(tree, root, source, &mut Vec::new()));
        let _ = (problems.render_human(true), problems.to_json());
    }
}
