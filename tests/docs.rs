//! The documents: their relative links resolve, and the tables of codes and reasons are complete.

use attache::error_code::ErrorCode;
use attache::telemetry::metrics::{Phase, WebhookRefusal};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every document, by its path.
fn documents() -> HashMap<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in [root.to_owned(), root.join("docs"), root.join("examples/verify-assertion")] {
        let entries = fs::read_dir(&folder).expect("a folder of documents");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        found.extend(paths.filter(|path| path.extension().is_some_and(|it| it == "md")));
    }
    assert!(found.len() >= 6, "{found:?}");
    found.into_iter().map(|path| (path.clone(), fs::read_to_string(path).expect("a document"))).collect()
}

/// The lines of a document outside of its code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    })
}

/// The anchor that GitHub makes of a heading.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn has_anchor(text: &str, wanted: &str) -> bool {
    prose(text).filter(|line| line.starts_with('#')).any(|heading| anchor(heading) == wanted)
}

/// The targets of the links in a line.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

#[test]
fn every_relative_link_resolves() {
    let documents = documents();
    let (mut broken, mut seen) = (Vec::new(), 0);
    for (path, text) in &documents {
        for link in prose(text).flat_map(links) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            seen += 1;
            let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
            let folder = path.parent().expect("a folder");
            let target = if file.is_empty() { path.clone() } else { folder.join(file) };
            let resolves = match fs::canonicalize(&target) {
                Err(_) => false,
                Ok(_) if fragment.is_empty() => true,
                Ok(target) => documents.iter().any(|(path, text)| {
                    fs::canonicalize(path).is_ok_and(|path| path == target) && has_anchor(text, fragment)
                }),
            };
            if !resolves {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(seen > 20, "{seen} links");
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn every_code_has_its_row() {
    let answers = include_str!("../docs/answers.md");
    for code in ErrorCode::ALL {
        let row = format!("| `{}` | {}", code.as_str(), code.status());
        let row =
            answers.lines().find(|line| line.starts_with(&row)).unwrap_or_else(|| panic!("no row: {row}"));
        assert!(row.contains(&format!("`{}`", code.proxy_status())), "{row}");
    }
}

#[test]
fn every_phase_and_every_refusal_is_explained() {
    let log = include_str!("../docs/access-log.md");
    let phases = Phase::TIMED.into_iter().chain([Phase::Body]).map(Phase::as_str);
    for value in phases.chain(WebhookRefusal::ALL.into_iter().map(WebhookRefusal::as_str)) {
        assert!(
            log.lines().any(|line| line.starts_with('|') && line.contains(&format!("`{value}`"))),
            "{value}"
        );
    }
}
