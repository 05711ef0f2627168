//! Tables that have to be complete, and what README promises.

use crate::documents::Document;
use attache::error_code::ErrorCode;
use attache::telemetry::metrics::{CallerRefusal, Phase, WebhookRefusal};

#[test]
fn every_code_has_its_row_and_its_section() {
    let errors = Document::read("docs/errors.md");
    let anchors = errors.anchors();
    for code in ErrorCode::ALL {
        let name = code.as_str();
        let start = format!("| [`{name}`](#{name}) | {}", code.status());
        let row = errors.text.lines().find(|line| line.starts_with(&start));
        let row = row.unwrap_or_else(|| panic!("no row: {start}"));
        assert!(row.contains(&format!("`{}`", code.proxy_status())), "{row}");
        assert!(anchors.iter().any(|anchor| anchor == name), "no section: {name}");
        let section = errors.text.split(&format!("\n## {name}\n")).nth(1).unwrap_or_default();
        let section = section.split("\n## ").next().unwrap_or_default();
        for part in [&format!("`urn:attache:error:{name}`"), "**Cause**", "**Remedy**"] {
            assert!(section.contains(part), "{name}: no {part}");
        }
    }
}

#[test]
fn every_phase_and_every_refusal_is_explained() {
    let log = Document::read("docs/access-log.md").text;
    let phases = Phase::TIMED.into_iter().chain([Phase::Body]).map(Phase::as_str);
    for value in phases.chain(WebhookRefusal::ALL.into_iter().map(WebhookRefusal::as_str)) {
        let row = |line: &str| line.starts_with('|') && line.contains(&format!("`{value}`"));
        assert!(log.lines().any(row), "{value}");
    }
}

#[test]
fn every_refusal_of_a_token_is_explained() {
    let page = Document::read("docs/issuers.md").text;
    for refusal in CallerRefusal::ALL.into_iter().filter(|refusal| refusal.as_str().starts_with("jwt_")) {
        let start = format!("| `{}` |", refusal.as_str());
        assert!(page.lines().any(|line| line.starts_with(&start)), "{start}");
    }
}

#[test]
fn the_readme_is_a_front_door() {
    let readme = Document::read("README.md").text;
    assert!(readme.len() <= 12 * 1024, "{} bytes", readme.len());
    let first: Vec<&str> = readme.lines().take(20).collect();
    assert!(first.iter().any(|line| line.starts_with("**What is not there")), "{first:?}");
    for command in ["./.ci/setup build && cargo run -- demo", "./.ci/setup test && cargo test"] {
        assert!(readme.lines().any(|line| line == command), "{command}");
    }
}

/// Each "cannot" of the threat model is held by a test.
#[test]
fn every_test_that_the_threat_model_names_exists() {
    let model = Document::read("SECURITY.md");
    let named: Vec<&str> = model.code_spans().filter(|span| span.contains(".rs::")).collect();
    assert!(named.len() > 40, "{named:?}");
    for name in named {
        let (file, function) = name.split_once("::").expect("a file and a function");
        let path = if file.contains('/') { file.to_owned() } else { format!("tests/integration/{file}") };
        let source = Document::read(&path).text;
        assert!(source.contains(&format!("fn {function}(")), "{name}");
    }
    let is_row =
        |line: &&str| line.starts_with("| ") && !line.starts_with("| cannot") && !line.starts_with("| ---");
    for row in model.prose().filter(is_row) {
        assert!(row.contains(".rs::"), "a row without its test: {row}");
    }
}
