//! The alerts of `config/prometheus/alerts.yaml`, each tried with promtool.

use serde_yaml::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

const ALERTS: &str = "config/prometheus/alerts.yaml";
/// One file for each interval at which the rules are evaluated: a month of minutes would take minutes.
const CASES: [&str; 2] = ["tests/alerts/minutes.yaml", "tests/alerts/days.yaml"];

fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool").args(arguments).output();
    let output = output.expect("promtool is there: `./.ci/setup test` installs it");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

fn read(path: &str) -> Value {
    let text = std::fs::read_to_string(path).expect("the file is there");
    serde_yaml::from_str(&text).expect("YAML")
}

#[test]
fn every_alert_fires_when_it_should_and_only_then() {
    promtool(&["check", "rules", ALERTS]);
    promtool(&[&["test", "rules"], CASES.as_slice()].concat());
}

#[test]
fn every_alert_has_a_case_that_fires_and_a_quiet_one() {
    let alerts = read(ALERTS);
    let groups = alerts["groups"].as_sequence().expect("groups").iter();
    let rules = groups.flat_map(|group| group["rules"].as_sequence().expect("rules"));
    let alerts: BTreeSet<String> =
        rules.map(|rule| rule["alert"].as_str().expect("an alert").to_owned()).collect();
    let mut cases: BTreeMap<String, BTreeSet<bool>> = BTreeMap::new();
    let files = CASES.map(read);
    let tests = files.iter().flat_map(|file| file["tests"].as_sequence().expect("tests"));
    for case in tests.flat_map(|test| test["alert_rule_test"].as_sequence().expect("cases")) {
        let fires = !case["exp_alerts"].as_sequence().expect("a list").is_empty();
        cases.entry(case["alertname"].as_str().expect("a name").to_owned()).or_default().insert(fires);
    }
    for alert in &alerts {
        assert_eq!(cases.get(alert).map_or(0, BTreeSet::len), 2, "{alert}");
    }
    assert_eq!(cases.len(), alerts.len());
}
