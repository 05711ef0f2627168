//! A secret in the place of its name or its path, from outside: no output shows it.

use crate::harness::*;

const VALUE: &str = "sk_live_4eC39HqLyjWDarjtT1zdp7dc";
const OTHER: &str = "sk_live_9fD48JrMzkXEbskuU2aeq8ed";

fn yaml(value: &str) -> String {
    format!(
        "accounts:
  a: {{ authorization: {{ bearer: {{ env: {value} }} }} }}
  b: {{ authorization: {{ bearer: {{ file: {value} }} }} }}
  c: {{ authorization: {{ bearer: {{ credential: {value} }} }} }}
services:
  a: {{ account: a, server_url: https://a.example }}
  b: {{ account: b, server_url: https://b.example }}
  c: {{ account: c, server_url: https://c.example }}
"
    )
}

#[tokio::test]
async fn a_value_in_the_place_of_its_source_is_in_no_output() {
    let attache = attache().with(&yaml(VALUE)).await;
    attache.stderr_line("ready").await;
    attache.send(get("/a/x")).await.problem("credential_unavailable", 503, "proxy_configuration_error");
    let path = attache.config().display().to_string();
    let admin = attache.admin().to_string();
    let before = attache.config().with_file_name("before.yml").display().to_string();
    std::fs::write(&before, yaml(OTHER)).expect("write");
    let mut outputs = vec![attache.said(), attache.status().await.to_string()];
    for words in [
        &["check", "-c", &path][..],
        &["check", "-c", &path, "--format", "json"],
        &["check", "-c", &path, "--format", "github"],
        &["check", "-c", &path, "--offline"],
        &["render", "-c", &path],
        &["diff", &before, &path],
        &["diff", &before, &path, "--format", "json"],
        &["diff", &before, &path, "--format", "markdown"],
        &["explain", "-c", &path, "GET", "/a/x"],
        &["status", "--admin", &admin],
        &["verify", "--scheme", "github", "--secret", &format!("env:{VALUE}"), "--request", &path],
    ] {
        let Finished { stdout, stderr, .. } = command(words).finish().await;
        assert!(stdout.len() + stderr.len() > 50, "{words:?}: {stdout}{stderr}");
        outputs.push(format!("{words:?}\n{stdout}{stderr}").replace(&format!("env:{VALUE}"), "env:"));
    }
    for output in outputs {
        assert!(!output.contains(VALUE) && !output.contains(OTHER), "{output}");
    }
}

#[tokio::test]
async fn offline_a_value_in_the_place_of_its_source_is_a_warning() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("attache.yaml");
    std::fs::write(&path, yaml(VALUE)).expect("write");
    let path = path.display().to_string();
    let said = command(&["check", "--offline", "-c", &path]).finish().await;
    assert_eq!((said.code, said.stderr.matches("this looks like a value").count()), (Some(0), 3), "{said:?}");
    // A variable in small letters is legal.
    std::fs::write(&path, GOOD_IN_SMALL_LETTERS).expect("write");
    let said = command(&["check", "-c", &path]).env("mailer_key", &secret("key")).finish().await;
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
}

const GOOD_IN_SMALL_LETTERS: &str = "services:\n  a: { account: { authorization: { bearer: { env: mailer_key } } }, server_url: https://a.example }\n";
