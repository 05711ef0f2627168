use super::*;
use crate::config::model::Listen;
use crate::config::{Mode, load, scalar};
use std::path::Path;

#[test]
fn every_declared_key_is_read() {
    let cases = std::fs::read_dir("tests/config_cases").unwrap().map(|entry| entry.unwrap().path());
    let files = cases.chain(std::fs::read_dir("examples").unwrap().map(|entry| entry.unwrap().path()));
    let files = files.filter(|path| path.extension().is_some_and(|end| end == "yaml"));
    for file in files.chain([Path::new("config/attache.yaml").to_owned()]) {
        load(&file, Mode::Offline);
    }
    let mut unread = Vec::new();
    every_shape(&mut |shape| {
        unread.extend(
            shape.keys().filter(|key| !was_read(key)).map(|key| format!("{}: {}", shape.name, key.name)),
        );
    });
    assert!(unread.is_empty(), "declared and never read: {unread:?}");
}

#[test]
fn no_name_means_two_keys_of_a_mapping() {
    every_shape(&mut |shape| {
        let mut words: Vec<&str> = shape
            .keys()
            .flat_map(|key| {
                [key.name].into_iter().chain(key.also.iter().copied()).chain(key.formerly.iter().copied())
            })
            .collect();
        words.extend(shape.elsewhere.iter().map(|(word, _)| *word));
        words.sort_unstable();
        let twice: Vec<_> = words.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(twice.is_empty(), "{}: {twice:?}", shape.name);
    });
}

#[test]
fn every_schemes_name_is_declared() {
    let scheme = ROOT.key("services").and_then(|key| {
        key.kind.named()?.shape()?.key("webhook")?.kind.shape()?.key("verify")?.kind.shape()?.key("scheme")
    });
    assert_eq!(scheme.unwrap().kind.words(), crate::signature::Scheme::NAMES);
}

#[test]
fn every_default_is_a_value_of_its_kind() {
    every_shape(&mut |shape| {
        for key in shape.keys() {
            let Some(default) = key.default else { continue };
            let value: serde_json::Value = serde_yaml::from_str(default).unwrap();
            assert!(!value.is_null() || default == "\"\"", "{}.{}: {default}", shape.name, key.name);
        }
    });
}

#[test]
fn the_default_listeners_are_those_of_the_table() {
    for (name, listener) in Listen::default().all() {
        let listen = ROOT.key("listen").unwrap().kind.shape().unwrap();
        let declared = listen.key(name).unwrap().default.unwrap();
        assert_eq!(scalar::listen_addr(declared).as_ref(), Ok(&listener.address), "listen.{name}");
    }
}

#[test]
fn every_rule_is_about_keys_that_are_declared() {
    fn names(of: &serde_json::Value, found: &mut Vec<String>) {
        match of {
            serde_json::Value::Object(members) => {
                for (name, value) in members {
                    if ["properties", "dependencies"].contains(&name.as_str()) {
                        found.extend(value.as_object().unwrap().keys().cloned());
                    }
                    names(value, found);
                }
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| names(item, found)),
            serde_json::Value::String(name) => found.push(name.clone()),
            _ => {}
        }
    }
    let mut ruled = 0;
    every_shape(&mut |shape| {
        let rules = serde_json::Value::Object(rules::rules(shape));
        let mut found = Vec::new();
        names(&rules, &mut found);
        ruled += usize::from(!found.is_empty());
        let words: Vec<&str> = shape.keys().flat_map(|key| key.kind.words()).copied().collect();
        for name in found {
            let known = shape.key(&name).is_some() || words.contains(&name.as_str());
            assert!(known, "{}: {name}", shape.name);
        }
    });
    assert!(ruled >= 7, "{ruled}");
}

#[test]
fn the_shipped_file_has_every_key() {
    let text = std::fs::read_to_string("config/attache.yaml").unwrap();
    let words: std::collections::HashSet<&str> =
        text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '$'))).collect();
    let mut missing = Vec::new();
    every_shape(&mut |shape| {
        missing.extend(shape.keys().map(|key| key.name).filter(|name| !words.contains(name)));
    });
    assert!(missing.is_empty(), "config/attache.yaml does not name {missing:?}");
}

/// One service can do without a default of the file: by a word for a left-out key, or by a value that is the default.
#[test]
fn every_key_of_defaults_can_be_left_out_again() {
    // `user` has no default; `handshake` has its own `none`; `tls: {}` and `proxy: direct` are values; a text and a number
    // that attache chooses can only be replaced.
    const VALUES: [&str; 6] = ["user", "handshake", "tls", "proxy", "timeout_message", "max_concurrent"];
    let defaults = ROOT.key("defaults").and_then(|key| key.kind.shape()).unwrap();
    for section in defaults.keys() {
        for key in section.kind.shape().unwrap().keys() {
            let word = key.absent.is_some_and(|word| ["none", "all"].contains(&word));
            let found = word || key.default.is_some() || VALUES.contains(&key.name);
            assert!(found, "{}.{}", section.name, key.name);
            assert!(!key.absent.is_some_and(|word| key.kind.words().contains(&word)), "{}", key.name);
        }
    }
}
