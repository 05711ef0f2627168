//! The JSON Schema in an editor: yaml-language-server reads it, and reports its findings.

use crate::harness::*;
use attache::config::{Mode, load};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Returns what an editor shows for these files, and at these places of the first one.
async fn editor(files: &[PathBuf], completions: &[(u32, u32)], hovers: &[(u32, u32)]) -> Value {
    let places = |all: &[(u32, u32)]| -> Vec<Value> {
        let place = |(line, character)| json!({ "file": files[0], "line": line, "character": character });
        all.iter().copied().map(place).collect()
    };
    let input = json!({
        "schema": "config/attache.schema.json",
        "files": files,
        "completions": places(completions),
        "hovers": places(hovers),
    });
    let finished = node("editor.mjs", &[&input.to_string()], &[]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    serde_json::from_str(&finished.stdout).expect("JSON")
}

/// Collects the YAML files of a folder and its sub-folders, except folders whose files are one configuration.
fn yaml_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if path.is_dir() && ending != Some("d") {
            yaml_files(&path, found);
        } else if ending == Some("yaml") {
            found.push(path);
        }
    }
}

/// Returns the cases that `docs/editor.md` lists as found only by `attache check`.
fn listed() -> BTreeSet<String> {
    let page = std::fs::read_to_string("docs/editor.md").expect("the page");
    let rows = page.lines().skip_while(|line| !line.starts_with("| what |")).skip(2);
    let cells = rows.take_while(|line| line.starts_with('|')).filter_map(|row| row.split('|').nth(2));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_schema_accepts_valid_files_and_refuses_the_others_except_those_listed() {
    let mut files = vec![PathBuf::from("config/attache.yaml")];
    yaml_files(Path::new("examples"), &mut files);
    let cases = files.len();
    yaml_files(Path::new("tests/config_cases"), &mut files);
    assert!(cases > 25 && files.len() > cases + 100, "{cases} {}", files.len());
    let said = editor(&files, &[], &[]).await;
    let said: BTreeMap<PathBuf, Vec<Value>> =
        serde_json::from_value(said["diagnostics"].clone()).expect("diagnostics");
    let (mut refused, mut unseen) = (Vec::new(), BTreeSet::new());
    for (i, file) in files.iter().enumerate() {
        let is_wrong = i >= cases && load(file, Mode::Full).problems.has_errors();
        match (is_wrong, said[file].as_slice()) {
            (false, [first, ..]) => refused.push(format!("{}: {first}", file.display())),
            (true, []) => {
                unseen.insert(file.file_stem().expect("a name").display().to_string());
            }
            _ => {}
        }
    }
    assert!(refused.is_empty(), "good files that the schema refuses:\n{}", refused.join("\n"));
    assert_eq!(unseen, listed(), "left: the cases of which an editor shows nothing; right: docs/editor.md");
}

#[tokio::test]
async fn an_editor_completes_explains_and_corrects() {
    // Patterns match no folder whose name begins with a dot.
    let folder = tempfile::Builder::new().prefix("editor").tempdir().expect("a folder");
    let file = folder.path().join("attache.yaml");
    let text = "\
accounts:
  none: { authorization: none }
services:
  mailer:
    account: none
    server_url: https://api.mailer.example
    timeout: 10 seconds
    timeot_message: Mailer is not answering.
    \n";
    std::fs::write(&file, text).expect("write");
    let said = editor(std::slice::from_ref(&file), &[(9, 4)], &[(7, 6)]).await;
    let errors = &said["diagnostics"][file.to_str().expect("a path")];
    assert_eq!(
        *errors,
        json!([
            { "line": 7, "message": "write it like 500ms, 10s or 1m30s" },
            { "line": 8, "message": "Property timeot_message is not allowed." },
        ])
    );
    let offered: Vec<&str> = said["completions"][0]
        .as_array()
        .expect("a list")
        .iter()
        .map(|label| label.as_str().expect("text"))
        .collect();
    for key in ["idle_timeout", "timeout_message", "tls", "webhook"] {
        assert!(offered.contains(&key), "{key}: {offered:?}");
    }
    assert!(!offered.contains(&"timeout") && !offered.contains(&"grant"), "{offered:?}");
    let hover = said["hovers"][0].as_str().expect("text");
    assert!(
        hover.contains("Time limit from the request's arrival to the provider's response headers."),
        "{hover}"
    );
}
