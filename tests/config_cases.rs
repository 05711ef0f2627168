//! Invalid files with the exact output they cause, and valid ones with none.
//!
//! `UPDATE_GOLDEN=1 cargo test --test config_cases` rewrites the expectations. Every secret in a case contains
//! [`MARKER`], which must appear in no output.

use attache::config::{Mode, load};
use std::fs;
use std::path::{Path, PathBuf};

const CASES: &str = "tests/config_cases";
const MARKER: &str = "hunter2";

/// Returns files and folders of files, without their expectations.
fn cases() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(CASES)
        .expect("the cases are there")
        .map(|entry| Path::new(CASES).join(entry.expect("an entry").file_name()))
        .filter(|path| path.extension().is_some_and(|e| e == "yaml" || e == "d"))
        .collect();
    found.sort();
    found
}

#[test]
fn every_case_prints_exactly_what_is_expected() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let loaded = load(&case, Mode::Full);
        let here = std::env::current_dir().expect("a folder").display().to_string();
        let said = loaded.problems.render_human(false).replace(&here, "/HERE");
        assert_eq!(loaded.config.is_none(), loaded.problems.refuse(), "{}", case.display());
        let golden = case.with_extension("stderr");
        if update {
            fs::write(&golden, &said).expect("the expectation is written");
        } else if fs::read_to_string(&golden).unwrap_or_default() != said {
            wrong.push(format!("{}:\n{said}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "not as expected:\n\n{}", wrong.join("\n\n"));
}

#[test]
fn every_case_has_an_expectation_and_every_expectation_a_case() {
    let golden = fs::read_dir(CASES)
        .expect("the cases are there")
        .filter(|entry| entry.as_ref().is_ok_and(|e| e.path().extension().is_some_and(|e| e == "stderr")))
        .count();
    assert_eq!(golden, cases().len());
}

#[test]
fn no_output_shows_a_secret() {
    let mut seen = 0;
    for case in cases() {
        for mode in [Mode::Full, Mode::Offline] {
            let problems = load(&case, mode).problems;
            for output in
                [problems.render_human(false), problems.render_human(true), problems.to_json().to_string()]
            {
                assert!(!output.contains(MARKER), "{} shows a secret:\n{output}", case.display());
            }
            assert!(!format!("{problems:?}").contains(MARKER), "{}", case.display());
        }
        seen += usize::from(fs::read_to_string(&case).is_ok_and(|text| text.contains(MARKER)));
    }
    assert!(seen > 10, "only {seen} cases have a secret to show");
}

#[test]
fn json_equals_the_human_form() {
    for case in cases() {
        let problems = load(&case, Mode::Full).problems;
        let human = problems.render_human(false);
        let serde_json::Value::Array(json) = problems.to_json() else { panic!("an array") };
        assert_eq!(json.len(), problems.len());
        // Further ones are only counted.
        for problem in json.iter().take(50) {
            let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
            assert!(human.contains(&format!("{}: {}\n", text("severity"), text("message"))), "{problem}");
            if let Some(line) = problem["line"].as_u64() {
                let place = format!("--> {}:{line}:{}\n", text("file"), problem["column"]);
                assert!(human.contains(&place), "{problem}");
            }
        }
    }
}

#[test]
fn offline_reads_no_secret() {
    let problems = load(&Path::new(CASES).join("secret_unavailable.yaml"), Mode::Offline).problems;
    assert!(!problems.has_errors(), "{}", problems.render_human(false));
}

#[test]
fn every_example_is_valid() {
    let listed = |folder| fs::read_dir(folder).expect("the examples are there");
    let examples = listed("examples").chain(listed("examples/providers"));
    let examples = examples.map(|entry| entry.expect("an entry").path());
    let mut seen = 0;
    for path in examples.chain([PathBuf::from("config/attache.yaml")]) {
        // Its files are configurations of their own.
        if path.ends_with("providers") {
            continue;
        }
        // A folder with programs beside the file is not a configuration folder.
        let beside = path.join("attache.yaml");
        let path = if beside.exists() { beside } else { path };
        let loaded = load(&path, Mode::Offline);
        let said = loaded.problems.render_human(false);
        assert!(loaded.config.is_some() && said.is_empty(), "{}:\n{said}", path.display());
        seen += 1;
    }
    assert!(seen > 40, "only {seen} examples");
}

/// `UPDATE_GOLDEN=1` writes them again.
#[test]
fn the_shipped_schema_and_the_reference_page_are_generated_from_the_table() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let schema = format!("{:#}\n", attache::config::json_schema());
    for (path, text) in
        [("config/attache.schema.json", schema), ("docs/reference.md", attache::config::reference())]
    {
        if update {
            fs::write(path, &text).expect("it is written");
        }
        assert_eq!(fs::read_to_string(path).unwrap_or_default(), text, "{path}");
    }
}

#[test]
fn a_token_that_is_read_for_each_request_is_not_watched() {
    let files = load(&Path::new(CASES).join("valid_oauth2_grants.yaml"), Mode::Full).files;
    let watched = |name: &str| files.paths().any(|path| path == Path::new(CASES).join("secrets").join(name));
    assert!(watched("p256.pem") && watched("client-certificate.pem") && watched("state-key"), "{files:?}");
    let files = load(&Path::new(CASES).join("valid_token_exchange.yaml"), Mode::Full).files;
    let paths: Vec<&Path> = files.paths().collect();
    assert_eq!(paths, [Path::new(CASES).join("valid_token_exchange.yaml")]);
    // Its creation is watched.
    let files = load(&Path::new(CASES).join("oauth2_token_exchange.yaml"), Mode::Full).files;
    assert!(files.paths().any(|path| path == Path::new(CASES).join("secrets/missing")), "{files:?}");
}

#[test]
fn read_and_missing_files_are_listed() {
    let files = load(&Path::new(CASES).join("secret_unavailable.yaml"), Mode::Full).files;
    let names: Vec<String> = files.paths().map(|path| path.display().to_string()).collect();
    assert!(names.contains(&format!("{CASES}/secret_unavailable.yaml")), "{names:?}");
    assert!(names.contains(&format!("{CASES}/secrets/missing")), "{names:?}");
}

/// A renamed metric would leave an alert that never fires.
#[test]
fn every_alert_uses_existing_metrics() {
    let alerts = fs::read_to_string("config/prometheus/alerts.yaml").expect("the alerts");
    let parsed: serde_yaml::Value = serde_yaml::from_str(&alerts).expect("YAML");
    let groups = parsed["groups"].as_sequence().expect("groups");
    let subjects = fs::read_dir("src/telemetry/metrics/exposition").expect("the families by subject");
    let files = subjects.map(|entry| entry.expect("a file").path());
    let known: String = files.map(|file| fs::read_to_string(file).expect("the metrics")).collect();
    let mut seen = 0;
    for rule in groups.iter().flat_map(|group| group["rules"].as_sequence().expect("rules")) {
        let expression = rule["expr"].as_str().expect("an expression");
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for metric in words.filter(|word| word.starts_with("attache_")) {
            seen += 1;
            assert!(known.contains(&format!("\"{metric}\"")), "{metric} in {expression}");
        }
        assert!(rule["annotations"]["summary"].is_string(), "{expression}");
    }
    assert!(seen >= 10, "{seen}");
}

/// One mistake can be repeated 10,000 times: 18 MB of JSON.
#[test]
fn no_more_than_fifty_problems_are_served() {
    let problems = load(&Path::new(CASES).join("more_than_fifty_problems.yaml"), Mode::Full).problems;
    let serde_json::Value::Array(short) = problems.to_short_json() else { panic!("an array") };
    assert_eq!(short.len(), 51);
    assert_eq!((&short[50]["code"], &short[50]["severity"]), (&"more_problems".into(), &"error".into()));
    let said = format!("and {} more;", problems.len() - 50);
    assert!(short[50]["message"].as_str().is_some_and(|message| message.starts_with(&said)), "{}", short[50]);
}
