//! The commands: their exit status and their output.

use crate::harness::*;
use regex::Regex;
use serde_json::Value;
use std::path::PathBuf;

/// Writes a file, which exists while the folder does.
fn file(yaml: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("attache.yaml");
    std::fs::write(&path, yaml).expect("write");
    (folder, path)
}

const GOOD: &str = "services:
  mailer:
    account: { authorization: { header: { name: X-Key, value: { env: KEY } } } }
    server_url: https://api.mailer.example/v3
";

async fn check(yaml: &str, arguments: &[&str]) -> Finished {
    let (_folder, path) = file(yaml);
    let path = path.display().to_string();
    let arguments = [&["check", "-c", &path], arguments].concat();
    command(&arguments).env("KEY", &secret("key")).finish().await
}

#[tokio::test]
async fn check_tells_if_a_file_is_valid() {
    let good = check(GOOD, &[]).await;
    assert_eq!(good.code, Some(0), "{good:?}");
    let bad = check(&GOOD.replace("server_url", "server_ulr"), &[]).await;
    assert_eq!(bad.code, Some(1), "{bad:?}");
    assert!(bad.stderr.contains("attache.yaml:4:5") && bad.stderr.contains("server_ulr"), "{}", bad.stderr);
    assert!(bad.stderr.contains("did you mean `server_url`?"), "{}", bad.stderr);
    assert_eq!(bad.stdout, "");
}

#[tokio::test]
async fn check_finds_every_problem_in_one_pass() {
    let yaml = "
accounts: { a: { authorization: nonsense } }
services:
  one: { account: missing, server_url: 'ftp://x' }
  two: { account: a, server_url: https://x.example, timeout: soon, typo: 1 }
";
    let bad = check(yaml, &[]).await;
    assert_eq!(bad.code, Some(1));
    for part in ["accounts.a.authorization", "missing", "ftp", "soon", "typo"] {
        assert!(bad.stderr.contains(part), "{part}:\n{}", bad.stderr);
    }
}

#[tokio::test]
async fn check_prints_json_and_annotations() {
    let bad = check(&GOOD.replace("server_url", "server_ulr"), &["--format", "json"]).await;
    assert_eq!(bad.code, Some(1), "{bad:?}");
    let problems: Vec<Value> = serde_json::from_str(&bad.stdout).expect("a list");
    let problem =
        problems.iter().find(|problem| problem.to_string().contains("server_ulr")).expect("the problem");
    assert_eq!(
        (&problem["severity"], &problem["line"], &problem["column"]),
        (&"error".into(), &4.into(), &5.into())
    );
    assert!(problem["file"].as_str().is_some_and(|file| file.ends_with("attache.yaml")), "{problem}");
    for key in ["code", "message", "help"] {
        assert!(problem.get(key).is_some(), "{key}: {problem}");
    }
    let good = check(GOOD, &["--format", "json"]).await;
    assert_eq!((good.code, good.stdout.trim()), (Some(0), "[]"));
    let annotated = check(GOOD, &["--format", "github"]).await;
    assert_eq!((annotated.code, &*annotated.stdout), (Some(0), ""));
    assert!(annotated.stderr.contains(": ok, 1 service, 1 account, 0 users, hash "), "{annotated:?}");
}

#[tokio::test]
async fn a_secret_in_plain_text_is_a_warning_that_may_be_denied() {
    let plain = GOOD.replace("{ env: KEY }", &secret("plain"));
    let warned = check(&plain, &[]).await;
    assert_eq!(warned.code, Some(0), "{warned:?}");
    assert!(warned.stderr.contains("warning"), "{}", warned.stderr);
    let denied = check(&plain, &["--deny-warnings"]).await;
    assert_eq!(denied.code, Some(3), "{denied:?}");
    assert!(denied.stderr.ends_with("\nerror: 1 warning, denied by --deny-warnings\n"), "{denied:?}");
    assert_eq!(check(GOOD, &["--deny-warnings"]).await.code, Some(0));
}

#[tokio::test]
async fn check_offline_reads_no_secret() {
    let (_folder, path) = file(GOOD);
    let path = path.display().to_string();
    assert_eq!(command(&["check", "-c", &path]).finish().await.code, Some(1));
    assert_eq!(command(&["check", "-c", &path, "--offline"]).finish().await.code, Some(0));
}

#[tokio::test]
async fn check_prints_what_sha256sum_prints() {
    let (folder, path) = file(&format!("\u{feff}{GOOD}"));
    let text = std::fs::read_to_string(&path).expect("read");
    let hash = |text: &str| format!(", hash {}\n", sha256_hex(text));
    let at = path.display().to_string();
    let full = command(&["check", "-c", &at]).env("KEY", &secret("key")).finish().await;
    let offline = command(&["-c", &at, "check", "--offline"]).finish().await;
    let piped = command(&["check", "-c", "-", "--offline"]).reads(&path).finish().await;
    for checked in [&full, &offline, &piped] {
        assert_eq!(checked.code, Some(0), "{checked:?}");
        assert!(checked.stdout.ends_with(&hash(&text)), "{}", checked.stdout);
    }
    assert!(piped.stdout.starts_with("<stdin>: ok, 1 service, 1 account, 0 users, hash"), "{}", piped.stdout);
    std::fs::write(folder.path().join("b.yaml"), "users: { bot: {} }\n").expect("write");
    let folder = folder.path().display().to_string();
    let both = command(&["check", "-c", &folder, "--offline"]).finish().await;
    assert!(both.stdout.contains("1 user, 1 warning"), "{both:?}");
    assert!(both.stdout.ends_with(&hash(&format!("{text}users: {{ bot: {{}} }}\n"))), "{both:?}");
}

#[tokio::test]
async fn a_secret_of_standard_input_is_beside_the_working_directory() {
    let (folder, path) = file(&GOOD.replace("env: KEY", "file: key"));
    std::fs::write(folder.path().join("key"), secret("key")).expect("write");
    let here = command(&["check", "-c", "-"]).reads(&path).in_folder(folder.path()).finish().await;
    assert_eq!(here.code, Some(0), "{here:?}");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let there = command(&["check", "-c", "-"]).reads(&path).in_folder(elsewhere.path()).finish().await;
    assert_eq!(there.code, Some(1), "{there:?}");
    assert_eq!(command(&["run", "-c", "-"]).finish().await.code, Some(2));
}

#[tokio::test]
async fn check_tries_to_open_the_access_log_and_creates_none() {
    let (folder, _path) = file("");
    let log = folder.path().join("access.log");
    let yaml = format!("log: {{ access: '{}' }}\n{GOOD}", log.display());
    assert_eq!(check(&yaml, &[]).await.code, Some(0));
    assert!(!log.exists());
    let missing = check(&yaml.replace("access.log", "missing/access.log"), &[]).await;
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(
        missing.stderr.contains("log.access can't be opened") && missing.stderr.contains("yaml:1:"),
        "{missing:?}"
    );
}

#[tokio::test]
async fn colours_are_for_terminals() {
    for line in [&["check", "--nonsense"] as &[&str], &["--help"], &["check", "-c", "/nonexistent"]] {
        let said = command(line).env("TERM", "xterm-256color").finish().await;
        assert!(!said.stdout.contains('\x1b') && !said.stderr.contains('\x1b'), "{said:?}");
    }
}

#[tokio::test]
async fn explain_reads_no_secret_and_its_status_is_the_outcome() {
    let (_folder, path) = file(GOOD);
    let at = path.display().to_string();
    let plan = command(&["explain", "-c", &at, "GET", "/mailer/x?y", "--format", "json"]).finish().await;
    assert_eq!(plan.code, Some(0), "{plan:?}");
    let json: Value = serde_json::from_str(&plan.stdout).expect("JSON");
    assert_eq!(json["upstream"], "https://api.mailer.example/v3/x?y");
    let refused = command(&["explain", "-c", &at, "GET", "/nothing/x"]).finish().await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stdout.contains("service_unknown") && refused.stdout.contains("404"), "{refused:?}");
    assert_eq!(command(&["explain", "-c", &at, "GET", "mailer/x"]).finish().await.code, Some(2));
}

#[tokio::test]
async fn explain_lists_the_header_that_shows_the_secret_among_those_that_go_no_further() {
    let key = webhook_key();
    let (_folder, path) = file(&format!(
        "users: {{ bot: {{}} }}\nservices:\n  chat:\n    webhook:\n      user: bot\n      forward_to: http://127.0.0.1:3000\n      \
         api_keys: [{{ id: a, sha256: {} }}]\n      verify: {{ scheme: telegram, secret: {{ env: NAME }} }}\n",
        sha256_hex(&key)
    ));
    let at = path.display().to_string();
    let plan = command(&["explain", "-c", &at, "POST", &format!("/webhooks/{key}"), "--format", "json"]);
    let plan: Value = serde_json::from_str(&plan.finish().await.stdout).expect("JSON");
    let dropped = plan["headers_dropped"].as_array().expect("a list");
    assert!(dropped.contains(&"x-telegram-bot-api-secret-token".into()), "{plan:#}");
}

#[tokio::test]
async fn the_manual_has_a_page_for_each_command() {
    let page = command(&["man", "keys", "new"]).finish().await;
    assert!(page.code == Some(0) && page.stdout.contains(".TH attache-keys-new 1"), "{page:?}");
    assert_eq!(command(&["man", "nonsense"]).finish().await.code, Some(2));
}

#[tokio::test]
async fn an_invalid_command_line_has_status_2() {
    assert_eq!(command(&["check", "--nonsense"]).finish().await.code, Some(2));
    assert_eq!(command(&["nonsense"]).finish().await.code, Some(2));
}

#[tokio::test]
async fn keys_that_are_not_implemented_are_unknown() {
    for key in ["http2: true", "load_balancing: round_robin", "cache: true"] {
        let bad = check(&format!("{GOOD}    {key}\n"), &[]).await;
        assert_eq!(bad.code, Some(1), "{key}");
    }
}

#[tokio::test]
async fn anonymous_callers_need_loopback_or_permission() {
    let open = format!("listen: {{ outbound: 0.0.0.0:8080 }}\n{GOOD}");
    assert_eq!(check(&open, &[]).await.code, Some(1));
    assert_eq!(check(&format!("allow_anonymous_callers: true\n{open}"), &[]).await.code, Some(0));
    let unix = format!("listen: {{ outbound: 'unix:/tmp/attache.sock' }}\n{GOOD}");
    assert_eq!(check(&unix, &[]).await.code, Some(0));
}

#[tokio::test]
async fn a_credential_over_http_needs_loopback_or_permission() {
    let plain = GOOD.replace("https:", "http:");
    assert_eq!(check(&plain, &[]).await.code, Some(1));
    assert_eq!(check(&format!("{plain}    allow_plaintext: true\n"), &[]).await.code, Some(0));
    let loopback = plain.replace("api.mailer.example", "127.0.0.1:9");
    assert_eq!(check(&loopback, &[]).await.code, Some(0));
}

#[tokio::test]
async fn run_refuses_a_bad_file_with_its_diagnostic() {
    let (_folder, path) = file("services: { mailer: { account: mailr, server_url: https://x.example } }\n");
    let ended = command(&["run", "-c", &path.display().to_string()]).finish().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("mailr") && ended.stderr.contains("attache.yaml:1:"), "{}", ended.stderr);
}

#[tokio::test]
async fn run_without_a_file_lists_the_default_paths() {
    let folder = tempfile::tempdir().expect("a folder");
    let ended = command(&["run"]).in_folder(folder.path()).finish().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("attache.yaml"), "{}", ended.stderr);
}

#[tokio::test]
async fn the_file_is_found_in_the_environment_and_the_folder() {
    let (folder, path) = file(GOOD);
    let key = secret("key");
    assert_eq!(command(&["check"]).in_folder(folder.path()).env("KEY", &key).finish().await.code, Some(0));
    let elsewhere = tempfile::tempdir().expect("a folder");
    let named = command(&["check"]).in_folder(elsewhere.path()).env("KEY", &key);
    assert_eq!(named.env("ATTACHE_CONFIG", &path.display().to_string()).finish().await.code, Some(0));
}

const HOOK: &str = "public_url: https://hooks.example.com
users: { bot: {} }
services:
  mailer:
    webhook:
      user: bot
      forward_to: http://127.0.0.1:3000/hooks/mailer
      api_keys:
        - { id: by-value, value: { env: HOOK_KEY } }
        - { id: by-digest, sha256: 5e20dfe2397513938b8ab7dbcfd225179d6d504189012a286364ce0a37da168f }
";

#[tokio::test]
async fn a_new_key_matches_its_url_and_its_lines() {
    let (folder, path) = file(HOOK);
    let at = path.display().to_string();
    let made = command(&["keys", "new", "-c", &at, "--service", "mailer", "--id", "2026-11"]);
    let made = made.env("HOOK_KEY", &webhook_key()).finish().await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let url = Regex::new(r"https://hooks\.example\.com/webhooks/([A-Za-z0-9._~-]+)").expect("a pattern");
    let key = url.captures(&made.stdout).unwrap_or_else(|| panic!("no URL in {}", made.stdout))[1].to_owned();
    assert!(key.len() >= 22, "{key}");
    let digest = sha256_hex(&key);
    assert!(made.stdout.contains(&digest), "the digest is that of the key:\n{}", made.stdout);
    assert!(!made.stderr.contains(&key));
    // The lines to paste are printed last; inserted into the file, they are valid.
    let lines = made.stdout.lines().skip_while(|line| !line.trim_start().starts_with("- "));
    let lines: String = lines.flat_map(|line| [line, "\n"]).collect();
    assert!(lines.contains(&digest) && lines.contains("2026-11"), "no lines to paste in {}", made.stdout);
    std::fs::write(folder.path().join("attache.yaml"), format!("{HOOK}{lines}")).expect("write");
    let checked = command(&["check", "-c", &at]).env("HOOK_KEY", &webhook_key()).finish().await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let again = command(&["keys", "new", "-c", &at, "--service", "mailer"]).env("HOOK_KEY", &webhook_key());
    assert!(!again.finish().await.stdout.contains(&key));
}

#[tokio::test]
async fn the_lines_of_a_first_webhook_can_be_pasted_as_they_are() {
    // Below the users of the file, if it has any: another service's, this one's, or none.
    for (users, line) in [
        ("", "users:\n  mailer-bot: {}\n"),
        ("users:\n  shut: { active: false }\n", "  mailer-bot: {}\n"),
        ("users:\n  mailer-bot: {}\n", ""),
    ] {
        let (_folder, path) = file(&format!("{GOOD}{users}"));
        let at = path.display().to_string();
        let made = command(&["keys", "new", "-c", &at, "--service", "mailer"]).finish().await;
        let lines = made.stdout.split_once("# Add these lines under services.mailer");
        let lines = lines.and_then(|(_, rest)| rest.split_once('\n'));
        let lines = lines.unwrap_or_else(|| panic!("no lines in {made:?}")).1;
        let webhook: String = lines.split_inclusive('\n').take_while(|line| line.starts_with(' ')).collect();
        let rest = lines.strip_prefix(&webhook).expect("the first lines");
        let added = rest.split_once('\n').map_or("", |(comment, added)| {
            let where_to = if users.is_empty() { "at the end of the file:" } else { "under users:" };
            assert!(comment.ends_with(where_to), "{made:?}");
            added
        });
        assert_eq!(added, line, "{made:?}");
        assert!(webhook.contains("\n      user: mailer-bot\n"), "{made:?}");
        let save = |items: &str| {
            std::fs::write(&path, format!("{GOOD}{webhook}{items}{users}{added}")).expect("write");
        };
        save("");
        let second = command(&["keys", "new", "-c", &at, "--service", "mailer"]).finish().await;
        let items = second.stdout.split_once("webhook.api_keys:\n");
        let items = items.unwrap_or_else(|| panic!("no lines in {second:?}")).1;
        save(items);
        let checked = command(&["check", "-c", &at, "--deny-warnings"]).env("KEY", &secret("key"));
        let checked = checked.finish().await;
        assert_eq!(checked.code, Some(0), "{webhook}{items}\n{checked:?}");
    }
}

#[tokio::test]
async fn a_new_key_comes_with_a_call_for_this_machine() {
    let webhook =
        |key_in: &str| HOOK.replace("    webhook:\n", &format!("    webhook:\n      key_in: {key_in}\n"));
    let (any, unix) = ("listen: { webhooks: 0.0.0.0:9081 }\n", "listen: { webhooks: 'unix:/run/a.sock' }\n");
    let none = "listen: { webhooks: 127.0.0.1:0 }\n";
    for (yaml, call) in [
        (HOOK.to_owned(), "try: curl -d '{}' 'http://127.0.0.1:8081/webhooks/KEY'\n"),
        (format!("{any}{HOOK}"), "try: curl -d '{}' 'http://127.0.0.1:9081/webhooks/KEY'\n"),
        (
            webhook("{ header: X-Hook }"),
            "try: curl -d '{}' -H 'X-Hook: KEY' 'http://127.0.0.1:8081/webhooks/mailer'\n",
        ),
        (
            format!("{unix}{HOOK}"),
            "try: curl --unix-socket '/run/a.sock' -d '{}' 'http://localhost/webhooks/KEY'\n",
        ),
        (
            "defaults: { webhook: { key_in: { header: X-Hook } } }\nservices: {}\n".to_owned(),
            "try: curl -d '{}' -H 'X-Hook: KEY' 'http://127.0.0.1:8081/webhooks/mailer'\n",
        ),
        (format!("{none}{HOOK}"), ""),
    ] {
        let (_folder, path) = file(&yaml);
        let at = path.display().to_string();
        let made = command(&["keys", "new", "-c", &at, "--service", "mailer"]);
        let made = made.env("HOOK_KEY", &webhook_key()).finish().await;
        let key = made.stdout.lines().next().and_then(|line| line.strip_prefix("key: "));
        let key = key.unwrap_or_else(|| panic!("no key in {made:?}"));
        let printed = made.stdout.to_lowercase();
        assert!(printed.contains(&call.replace("KEY", key).to_lowercase()), "{made:?}");
        assert_eq!(printed.contains("try:"), !call.is_empty(), "{made:?}");
    }
}

/// Returns the lines to paste that `keys new` printed, split at the comment between them.
fn lines_to_paste(printed: &str) -> (String, String) {
    let lines = printed.split_once("# Add these lines ").and_then(|(_, rest)| rest.split_once('\n'));
    let lines = lines.unwrap_or_else(|| panic!("no lines in {printed}")).1;
    match lines.split_once("# and ") {
        Some((first, rest)) => (first.into(), rest.split_once('\n').map_or("", |(_, rest)| rest).into()),
        None => (lines.into(), String::new()),
    }
}

#[tokio::test]
async fn a_key_for_a_new_service_comes_with_the_whole_stanza() {
    let wide = GOOD.replace("\n  ", "\n    ").replace("\n      ", "\n        ");
    assert!(wide.contains("\n    mailer:"), "{wide}");
    for (yaml, users) in [
        (GOOD.to_owned(), ""),
        (GOOD.to_owned(), "users:\n  bot: {}\n"),
        (GOOD.to_owned(), "users:\n  github-bot: {}\n"),
        (wide, "users:\n   bot: {}\n"),
    ] {
        let (_folder, path) = file(&format!("{users}{yaml}"));
        let at = path.display().to_string();
        let made = command(&["keys", "new", "-c", &at, "--service", "github"]).finish().await;
        assert_eq!(made.code, Some(0), "{made:?}");
        let key = made.stdout.lines().find_map(|line| line.strip_prefix("key: ")).expect("a key");
        let call = format!("try: curl -d '{{}}' 'http://127.0.0.1:8081/webhooks/{key}'\n");
        assert!(made.stdout.contains(&call), "{made:?}");
        let (service, user) = lines_to_paste(&made.stdout);
        let (above, below) = if users.is_empty() { ("", &*user) } else { (&*user, "") };
        std::fs::write(&path, format!("{users}{above}{yaml}{service}{below}")).expect("write");
        let checked = command(&["check", "-c", &at]).env("KEY", &secret("key")).finish().await;
        assert_eq!(checked.code, Some(0), "{checked:?}\n{}", std::fs::read_to_string(&path).expect("a file"));
        let explained =
            command(&["explain", "-c", &at, "POST", &format!("http://127.0.0.1:8081/webhooks/{key}")]);
        assert_eq!(explained.finish().await.code, Some(0), "the key leads to its webhook");
        let again = command(&["keys", "new", "-c", &at, "--service", "github"]).finish().await;
        let (items, _) = lines_to_paste(&again.stdout);
        std::fs::write(&path, format!("{users}{above}{yaml}{service}{items}{below}")).expect("write");
        let checked = command(&["check", "-c", &at]).env("KEY", &secret("key")).finish().await;
        assert_eq!(checked.code, Some(0), "{checked:?}");
    }
}

#[tokio::test]
async fn a_key_for_a_file_without_services_and_for_a_name_that_yaml_reads_otherwise() {
    let (_folder, path) = file("public_url: https://hooks.example.com\n");
    let at = path.display().to_string();
    let made = command(&["keys", "new", "-c", &at, "--service", "true"]).finish().await;
    let (service, user) = lines_to_paste(&made.stdout);
    assert!(service.starts_with("services:\n  'true':\n"), "{made:?}");
    std::fs::write(&path, format!("{service}{user}")).expect("write");
    let checked = command(&["check", "-c", &at]).finish().await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let refused = command(&["keys", "new", "-c", &at, "--service", "a b"]).finish().await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    for similar in ["truu", "TRUE"] {
        let made = command(&["keys", "new", "-c", &at, "--service", similar]).finish().await;
        assert!(made.code == Some(0) && made.stderr.contains("did you mean `true`?"), "{made:?}");
    }
}

#[tokio::test]
async fn keys_new_says_how_lines_fit_a_section_without_lines() {
    let own_lines = "after giving each entry there a line of its own";
    let services = "in place of the file's empty `services`";
    let users = "in place of the file's empty `users`";
    let mailer = "mailer: { account: { authorization: none }, server_url: https://api.mailer.example }";
    for (yaml, place) in [
        ("services: {}\n".to_owned(), services),
        ("users: {}\n".to_owned(), users),
        (format!("services: {{ {mailer} }}\n"), own_lines),
        (format!("services:\n  {mailer}\n"), own_lines),
        (format!("services:\n  {mailer}\nusers: {{ bot: {{}} }}\n"), "under users, after giving each"),
    ] {
        let (_folder, path) = file(&yaml);
        let at = path.display().to_string();
        let made = command(&["keys", "new", "-c", &at, "--service", "mailer"]).finish().await;
        assert!(made.code == Some(0) && made.stdout.contains(place), "{yaml}{made:?}");
    }
}

#[tokio::test]
async fn a_callers_token_has_the_indentation_of_the_file() {
    let wide = format!("{GOOD}callers:\n   one:\n       services: [mailer]\n       tokens: []\n");
    let (_folder, path) = file(&wide.replace("       tokens: []\n", ""));
    let at = path.display().to_string();
    let made = command(&["keys", "new", "-c", &at, "--caller", "one"]).finish().await;
    let (first, _) = lines_to_paste(&made.stdout);
    std::fs::write(&path, wide.replace("       tokens: []\n", &first)).expect("write");
    let made = command(&["keys", "new", "-c", &at, "--caller", "one"]).finish().await;
    let (second, _) = lines_to_paste(&made.stdout);
    let other = command(&["keys", "new", "-c", &at, "--caller", "other"]).finish().await;
    let (other, _) = lines_to_paste(&other.stdout);
    let other = other.replace("SERVICE", "mailer");
    std::fs::write(&path, wide.replace("       tokens: []\n", &first) + &second + &other).expect("write");
    let checked = command(&["check", "-c", &at]).env("KEY", &secret("key")).finish().await;
    assert_eq!(checked.code, Some(0), "{checked:?}\n{}", std::fs::read_to_string(&path).expect("a file"));
}

#[tokio::test]
async fn urls_are_redacted_unless_revealed() {
    let (_folder, path) = file(HOOK);
    let (at, key) = (path.display().to_string(), webhook_key());
    let masked = command(&["urls", "-c", &at]).env("HOOK_KEY", &key).finish().await;
    assert_eq!(masked.code, Some(0), "{masked:?}");
    assert_no_leak("urls", masked.stdout.as_bytes());
    for part in ["https://hooks.example.com/webhooks/", "by-value", "by-digest", "mailer"] {
        assert!(masked.stdout.contains(part), "{part}:\n{}", masked.stdout);
    }
    let revealed = command(&["urls", "-c", &at, "--reveal"]).env("HOOK_KEY", &key).finish().await;
    assert!(
        revealed.stdout.contains(&format!("https://hooks.example.com/webhooks/{key}")),
        "{}",
        revealed.stdout
    );
}

#[tokio::test]
async fn a_key_that_is_too_short_is_refused() {
    let (_folder, path) = file(HOOK);
    let ended =
        command(&["check", "-c", &path.display().to_string()]).env("HOOK_KEY", "short").finish().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(!ended.stderr.contains("short\n"), "{}", ended.stderr);
}

#[tokio::test]
async fn completions_are_a_valid_shell_script() {
    let made = command(&["completions", "bash"]).finish().await;
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(made.stdout.contains("complete -F") && made.stdout.contains("attache"), "{}", made.stdout);
    for shell in ["zsh", "fish"] {
        assert_eq!(command(&["completions", shell]).finish().await.code, Some(0), "{shell}");
    }
}

#[tokio::test]
async fn help_names_every_command() {
    let help = command(&["--help"]).finish().await;
    assert_eq!(help.code, Some(0));
    for name in
        ["run", "check", "demo", "explain", "keys", "login", "man", "status", "urls", "verify", "completions"]
    {
        assert!(help.stdout.contains(name), "{name}:\n{}", help.stdout);
    }
    let version = command(&["--version"]).finish().await;
    assert_eq!(version.code, Some(0));
    // A build in a checkout has the commit. The binary under test may be of another build than this test.
    let pattern =
        regex::Regex::new(r"^attache \d+\.\d+\.\d+ \(([0-9a-f]{12}|unknown)\)\n$").expect("a pattern");
    assert!(pattern.is_match(&version.stdout), "{}", version.stdout);
}

/// Runs the printed steps of the demo in each shell: each step shows what it promises, also when repeated.
#[tokio::test]
async fn the_demos_steps_show_what_they_promise() {
    let demo = attache().demo().await;
    let script = Regex::new(r"sh '(\S+)'").expect("a pattern");
    let script = script.captures(&demo.said()).expect("the script")[1].to_owned();
    let steps = std::fs::read_to_string(&script).expect("the script");
    eventually("the steps", async || demo.said().contains(steps.trim()).then_some(())).await;
    // Not every machine has each of them.
    for shell in ["sh", "bash", "zsh"] {
        let found = tokio::process::Command::new(shell).args(["-c", &steps]).output();
        let Ok(ran) = within(PATIENCE, shell, found).await else { continue };
        let shown = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && ran.stderr.is_empty(), "{shell}: {ran:?}");
        promised(&shown);
    }
}

/// In this order, each behind its step.
fn promised(shown: &str) {
    let mut rest = shown;
    for text in [
        "1. ",
        r#""x-api-key": "demo-key"#,
        "2. ",
        "Bearer demo-",
        "Bearer demo-",
        "3. ",
        "504 Gateway Timeout",
        "Mailer is not answering",
        "4. ",
        "/hooks/mailer/delivered came as user `mailer-bot`",
        "5. ",
        "404 Not Found",
        "webhook_unknown",
        "6. ",
        "403 Forbidden",
        "user_inactive",
        "7. ",
        r#"attache_token_requests_total{account="erp",result="ok"} 1"#,
        "8. ",
        r#""state": "valid""#,
        "9. ",
        "service_timeout",
        "after 0.",
        "10. ",
        "unknown account `epr`",
        "/erp/still-served",
    ] {
        let at = rest.find(text).unwrap_or_else(|| panic!("no {text} in its place in:\n{shown}"));
        rest = &rest[at + text.len()..];
    }
}
