//! Links lead somewhere, and every page is part of the book.

use crate::documents::{Document, documents, root};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Why a link is wrong.
fn fault(from: &Document, link: &str, anchors: &HashMap<PathBuf, Vec<String>>) -> Option<&'static str> {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = if file.is_empty() { from.path.clone() } else { from.path.parent()?.join(file) };
    let Ok(target) = fs::canonicalize(target) else { return Some("there is no such file") };
    if from.is_page() && !target.starts_with(root().join("docs")) {
        return Some("it leaves docs/, so the book has no such page; name the file in code instead");
    }
    let known = |anchors: &Vec<String>| anchors.iter().any(|known| known == anchor);
    let leads = anchor.is_empty() || anchors.get(&target).is_some_and(known);
    (!leads).then_some("there is no such heading")
}

#[test]
fn every_relative_link_resolves() {
    let documents = documents();
    let anchors = documents
        .iter()
        .map(|document| (fs::canonicalize(&document.path).expect("a path"), document.anchors()))
        .collect();
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for document in &documents {
        for link in document.links().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            seen += 1;
            if let Some(fault) = fault(document, link, &anchors) {
                wrong.push(format!("{}: {link}: {fault}", document.path.display()));
            }
        }
    }
    assert!(seen > 100, "{seen} links");
    assert!(wrong.is_empty(), "links that lead nowhere:\n{}", wrong.join("\n"));
}

/// mdbook leaves a page out that the summary does not name.
#[test]
fn the_summary_names_every_page_once() {
    let summary = Document::read("docs/SUMMARY.md");
    let mut named: Vec<PathBuf> = summary.links().map(|link| root().join("docs").join(link)).collect();
    let pages = documents().into_iter().map(|document| document.path);
    let is_page = |path: &PathBuf| path.starts_with(root().join("docs")) && *path != summary.path;
    let mut pages: Vec<PathBuf> = pages.filter(is_page).collect();
    named.sort();
    pages.sort();
    assert_eq!(named, pages);
}

/// A newcomer finds a page by the front door or by the overview.
#[test]
fn the_overview_leads_to_every_page() {
    let overview = Document::read("docs/README.md");
    let summary = Document::read("docs/SUMMARY.md");
    for page in summary.links().filter(|page| Path::new(page) != Path::new("README.md")) {
        assert!(overview.links().any(|link| link == page), "docs/README.md does not lead to {page}");
    }
}

/// Pages name files of the repository in code, since the book has no links to them.
#[test]
fn every_file_named_in_code_exists() {
    let roots = [".ci/", "benches/", "config/", "docs/", "examples/", "src/", "tests/"];
    let (mut missing, mut seen) = (Vec::new(), 0);
    for document in documents() {
        let spans = document.code_spans().flat_map(|span| span.split([' ', ':'])).map(str::to_owned);
        let paths = spans.map(|word| word.trim_start_matches("./").to_owned());
        for path in paths.filter(|path| roots.iter().any(|root| path.starts_with(root))) {
            // Installed and built files are not there in a checkout.
            if path.starts_with(".ci/cache") || path.contains(['*', '…', '{']) {
                continue;
            }
            seen += 1;
            if !root().join(&path).exists() {
                missing.push(format!("{}: {path}", document.path.display()));
            }
        }
    }
    assert!(seen > 40, "{seen} paths");
    assert!(missing.is_empty(), "files that are not there:\n{}", missing.join("\n"));
}
