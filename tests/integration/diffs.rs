//! `attache diff` and `attache render`, from outside.

use crate::harness::*;
use std::path::PathBuf;

/// Creates a folder with files of these names and texts.
fn files(texts: &[(&str, String)]) -> (tempfile::TempDir, Vec<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |(name, text): &(&str, String)| {
        let path: PathBuf = folder.path().join(name);
        std::fs::write(&path, text).expect("the file is written");
        path.display().to_string()
    };
    let paths = texts.iter().map(write).collect();
    (folder, paths)
}

fn config(timeout: &str, value: &str) -> String {
    format!(
        "x-slow: &slow {{ idle_timeout: 5m }}\ndefaults: {{ service: {{ timeout: {timeout} }} }}\n\
         accounts: {{ m: {{ authorization: {{ header: {{ name: X-Key, value: {value} }} }} }} }}\n\
         services: {{ s: {{ account: m, server_url: https://s.example, <<: *slow }} }}\n"
    )
}

#[tokio::test]
async fn differences_are_listed_by_field_and_secrets_as_changed() {
    let (old, new) = (secret("old"), secret("new"));
    let (_folder, paths) = files(&[
        ("old.yaml", config("5s", &old)),
        ("new.yaml", config("6s", &new)),
        ("bad.yaml", "services: []".into()),
    ]);
    let [before, after, bad] = [&paths[0], &paths[1], &paths[2]];
    let differs = command(&["diff", before, after]).finish().await;
    assert_eq!(differs.code, Some(1), "{differs:?}");
    assert_eq!(
        differs.stdout,
        "services\n  ~ s\n      timeout: 5s → 6s\naccounts\n  ~ m\n      authorization.header.value: changed\n"
    );
    for format in ["json", "markdown"] {
        let said = command(&["diff", before, after, "--format", format]).finish().await;
        assert_no_leak("diff", said.stdout.as_bytes());
        assert!(said.stdout.contains("timeout"), "{}", said.stdout);
    }
    assert_eq!(command(&["diff", before, before]).finish().await.code, Some(0));
    assert_eq!(command(&["diff", before, bad]).finish().await.code, Some(2));
}

#[tokio::test]
async fn the_effective_file_is_rendered_with_its_defaults_and_without_secrets() {
    let (_folder, paths) = files(&[("a.yaml", config("5s", &secret("value")))]);
    let rendered = command(&["render", "-c", &paths[0]]).finish().await;
    assert_eq!(rendered.code, Some(0), "{rendered:?}");
    assert_no_leak("render", rendered.stdout.as_bytes());
    for part in ["timeout: 5s", "idle_timeout: 5m", "drain: 30s", "value: '[redacted]'"] {
        assert!(rendered.stdout.contains(part), "{part}:\n{}", rendered.stdout);
    }
    assert!(!rendered.stdout.contains("x-slow"), "{}", rendered.stdout);
}

#[tokio::test]
async fn another_source_of_a_secret_is_a_difference() {
    let file = |name: &str| {
        format!(
            "accounts: {{ m: {{ authorization: {{ bearer: {{ env: {name} }} }} }} }}\n\
             services: {{ s: {{ account: m, server_url: https://s.example }} }}\n"
        )
    };
    let (_folder, paths) = files(&[("old.yaml", file("ONE")), ("new.yaml", file("TWO"))]);
    let said = command(&["diff", &paths[0], &paths[1]]).finish().await;
    assert_eq!(
        (said.code, &*said.stdout),
        (Some(1), "accounts\n  ~ m\n      authorization.bearer.env: ONE → TWO\n")
    );
}

#[tokio::test]
async fn another_file_is_a_difference() {
    let file = |listener: &str, token: &str, account: &str, service: &str| {
        format!(
            "listen:
  outbound: {{ address: 127.0.0.1:8080, tls: {{ certificate: {listener}.pem, key: {listener}.key }} }}
  admin: {{ address: 127.0.0.1:9090, tokens: [{{ id: ops, value: {{ env: {token} }} }}] }}
accounts:
  m:
    authorization:
      oauth2:
        grant: client_credentials
        token_url: https://id.example/token
        client_id: attache
        client_secret: {{ env: SECRET }}
        tls: {{ client_certificate: {account}.pem, client_key: {account}.key }}
services:
  s: {{ account: m, server_url: https://s.example{service} }}
"
        )
    };
    let identity = ", tls: { client_certificate: s.pem, client_key: s.key }";
    let old = file("one", "ONE", "one", "");
    let cases = [
        (file("two", "ONE", "one", ""), "listen\n      outbound.tls.certificate: one.pem → two.pem\n"),
        (file("one", "TWO", "one", ""), "listen\n      admin.tokens[ops].value.env: ONE → TWO\n"),
        (
            file("one", "ONE", "two", ""),
            "m\n      authorization.oauth2.tls.client_certificate: one.pem → two.pem\n",
        ),
        (file("one", "ONE", "one", identity), "s\n      tls.client_certificate: s.pem (new)\n"),
    ];
    for (new, expected) in cases {
        let (_folder, paths) = files(&[("old.yaml", old.clone()), ("new.yaml", new)]);
        let said = command(&["diff", &paths[0], &paths[1]]).finish().await;
        assert_eq!(said.code, Some(1), "{}{}", said.stdout, said.stderr);
        assert!(said.stdout.contains(expected), "{}", said.stdout);
        assert!(!said.stdout.contains("needs a restart"), "{}", said.stdout);
    }
}

#[tokio::test]
async fn another_algorithm_is_a_difference() {
    let file = |algorithm: &str| {
        format!(
            "accounts: {{ m: {{ authorization: {{ jwt: {{ key: {{ file: k.pem }}, algorithm: {algorithm}, issuer: i }} }} }} }}\n\
             services: {{ s: {{ account: m, server_url: https://s.example }} }}\n"
        )
    };
    let (_folder, paths) = files(&[("old.yaml", file("RS256")), ("new.yaml", file("PS256"))]);
    let said = command(&["diff", &paths[0], &paths[1]]).finish().await;
    let expected = "accounts\n  ~ m\n      authorization.jwt.algorithm: RS256 → PS256\n";
    assert_eq!((said.code, &*said.stdout), (Some(1), expected));
}

#[tokio::test]
async fn a_name_cannot_write_lines_of_its_own() {
    let file = |name: &str| format!("users: {{ u: {{ name: \"{name}\" }} }}\nservices: {{}}\n");
    let (_folder, paths) = files(&[("old.yaml", file("a")), ("new.yaml", file("b`\\n# heading \\e[31m"))]);
    for format in ["human", "markdown"] {
        let said = command(&["diff", &paths[0], &paths[1], "--format", format]).finish().await;
        assert!(!said.stdout.contains("\n#") && !said.stdout.contains('\u{1b}'), "{}", said.stdout);
    }
}

#[tokio::test]
async fn a_request_of_the_operators_own_shows_none_of_its_values() {
    let yaml = |value: &str| {
        let params = format!("{{ a: {{ b: [{value}] }}, c: {{ env: NAME }} }}");
        format!(
            "accounts: {{ m: {{ authorization: {{ oauth2: {{ grant: custom, token_url: https://i.example, request: {{ format: json, params: {params} }} }} }} }} }}\n\
             services: {{ s: {{ account: m, server_url: https://s.example }} }}\n"
        )
    };
    let (one, other) = (yaml(&secret("one")), yaml(&secret("other")));
    let (_folder, paths) = files(&[("one.yaml", one), ("other.yaml", other)]);
    let rendered = command(&["render", "-c", &paths[0]]).finish().await;
    assert_no_leak("render", rendered.stdout.as_bytes());
    for part in ["format: json", "a: '[redacted]'", "env: NAME", "method: POST"] {
        assert!(rendered.stdout.contains(part), "{part}:\n{}", rendered.stdout);
    }
    // A key that has no effect with this grant is no part of the file.
    assert!(!rendered.stdout.contains("scope_separator"), "{}", rendered.stdout);
    let differs = command(&["diff", &paths[0], &paths[1]]).finish().await;
    let field = "authorization.oauth2.request.params.a: changed";
    assert!(differs.stdout.contains(field), "{}", differs.stdout);
}

#[tokio::test]
async fn the_claims_that_a_token_must_have_are_no_secret() {
    let file = |claims: &str| {
        format!(
            "issuers: {{ g: {{ issuer: https://g.example, audience: a, jwks: {{ url: https://g.example/keys }} }} }}\n\
             users: {{ u: {{}} }}\n\
             services:\n  s:\n    webhook:\n      user: u\n      forward_to: http://127.0.0.1:3000\n      api_keys: []\n      \
             verify: {{ scheme: google_pubsub, issuer: g, claims: {{ email: {claims}, n: 7, text: '7', deep: {{ a: [true] }} }} }}\n"
        )
    };
    let (_folder, paths) = files(&[("old.yaml", file("one@g.example")), ("new.yaml", file("two@g.example"))]);
    let said = command(&["diff", &paths[0], &paths[1]]).finish().await;
    let expected = "webhook.verify.claims.email: one@g.example → two@g.example\n";
    assert!(said.stdout.ends_with(expected), "{said:?}");
    let rendered = command(&["render", "-c", &paths[0]]).finish().await;
    for part in ["email: one@g.example", "n: 7\n", "text: '7'", "- true"] {
        assert!(rendered.stdout.contains(part), "{part}:\n{}", rendered.stdout);
    }
}

#[tokio::test]
async fn callers_that_appear_are_listed_once() {
    let before = "services: { s: { account: { authorization: none }, server_url: https://s.example } }\n";
    let hash = sha256_hex("a token of the test, long enough");
    let callers =
        format!("callers: {{ billing: {{ tokens: [{{ id: a, sha256: {hash} }}], services: [s] }} }}\n");
    let (_folder, paths) = files(&[("old.yaml", before.into()), ("new.yaml", format!("{before}{callers}"))]);
    let appear = command(&["diff", &paths[0], &paths[1]]).finish().await;
    assert_eq!(
        (appear.code, &*appear.stdout),
        (Some(1), "callers\n  + billing\nsettings\n  ~ callers\n      clients have to be callers\n")
    );
    let go = command(&["diff", &paths[1], &paths[0], "--format", "markdown"]).finish().await;
    assert_eq!(
        go.stdout,
        "**callers**\n\n- `billing` removed\n\n**settings**\n\n- `callers` changed\n  - `clients need not be callers any more`\n"
    );
}
