//! `attache check --live`: its findings and their display.

use crate::harness::*;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;
use url::form_urlencoded;

const STATE_KEY: &str = "0123456789abcdefghijkl";

fn account(token_url: &str, lines: &str) -> String {
    let secret = "client_secret: { env: CLIENT_SECRET }";
    format!(
        "{{ authorization: {{ oauth2: {{ grant: client_credentials, client_id: attache, {secret}, token_url: '{token_url}', \
         {lines} }} }} }}"
    )
}

/// Runs `check --live` with this file.
async fn live(setup: &Setup, yaml: &str, arguments: &[&str]) -> Finished {
    let path = setup.write(yaml).display().to_string();
    let arguments = [&["check", "--live", "-c", &path], arguments].concat();
    let command = command(&arguments).env("CLIENT_SECRET", &secret("client")).env("STATE_KEY", STATE_KEY);
    let finished = command.finish().await;
    assert_no_leak("stdout", finished.stdout.as_bytes());
    finished
}

/// Returns a JSON Web Token whose signature is the secret.
fn jwt() -> String {
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = serde_json::json!({ "iss": "https://id.example", "aud": "contacts", "exp": 1_900_000_000 });
    format!("{}.{}.{}", part(serde_json::json!({ "alg": "RS256" })), part(claims), secret("signature"))
}

#[tokio::test]
async fn successes_are_listed() {
    let (ca, app) = (CertificateAuthority::new(), app());
    let (plain, secured) = (third_party(), third_party().with_tls(&ca));
    let body = serde_json::json!({ "access_token": jwt(), "token_type": "Bearer", "expires_in": 900, "scope": "a b" });
    let endpoint = token_endpoint().answers(200, &body.to_string());
    let setup = attache()
        .file("ca", &ca.pem())
        .given("plain", plain.url())
        .given("secured", secured.url())
        .given("app", app.url())
        .given("erp", account(&endpoint.url(), "scopes: [a, b]"));
    let yaml = "
accounts: { erp: {{erp}} }
users: { bot: {} }
services:
  two: { account: erp, server_url: '{{secured}}', tls: { ca: '{{ca}}' } }
  one:
    account: erp
    server_url: '{{plain}}/v3'
    webhook:
      user: bot
      forward_to: '{{app}}/hooks'
      api_keys: [{ id: a, sha256: 5e20dfe2397513938b8ab7dbcfd225179d6d504189012a286364ce0a37da168f }]
";
    let found = live(&setup, yaml, &[]).await;
    assert_eq!(found.code, Some(0), "{found:?}");
    let lines: Vec<&str> = found.stdout.lines().skip(1).collect();
    let starts = ["account erp: token in ", "    issuer https://id.example", "    audience contacts"];
    let starts =
        [&starts[..], &["    expires 2030-", "service one: reached ", "service two: reached "]].concat();
    for (line, start) in lines.iter().zip([&starts[..], &["webhook one: reached 127.0.0.1:"]].concat()) {
        assert!(line.starts_with(start), "{start}:\n{}", found.stdout);
    }
    assert_eq!(lines.len(), 7, "{}", found.stdout);
    assert!(lines[0].contains("Bearer, valid for 900 s, scopes a b"), "{}", lines[0]);
    assert!(lines[5].contains("TLS 1.3, certificate until "), "{}", lines[5]);
    // Connected to, without a request.
    assert_eq!((plain.seen().heads, secured.seen().heads, app.seen().heads), (0, 0, 0));
    let json = live(&setup, yaml, &["--format", "json"]).await;
    assert_eq!((json.code, json.stdout.trim()), (Some(0), "[]"));
    assert!(json.stderr.contains("account erp: token in "), "{}", json.stderr);
}

#[tokio::test]
async fn failures_are_problems_without_a_place() {
    let (refused, _held) = refused();
    let secured = third_party().with_tls(&CertificateAuthority::new());
    let endpoint =
        token_endpoint().answers(401, r#"{"errorCode":"invalid_client","errorSummary":"locked since May"}"#);
    let setup = attache()
        .given("refused", refused.to_string())
        .given("erp", account(&endpoint.url(), ""))
        .given("secured", secured.url());
    let yaml = "
accounts: { erp: {{erp}} }
services:
  gone: { account: erp, server_url: 'http://{{refused}}' }
  inside: { account: { authorization: none }, server_url: 'https://inside.localhost:1' }
  untrusted: { account: { authorization: none }, server_url: '{{secured}}' }
";
    let human = live(&setup, yaml, &[]).await;
    assert_eq!(human.code, Some(1), "{human:?}");
    assert!(human.stdout.contains("invalid_client (locked since May)"), "{}", human.stdout);
    let json = live(&setup, yaml, &["--format", "json"]).await;
    assert_eq!(json.code, Some(1));
    let problems: Vec<Value> = serde_json::from_str(&json.stdout).expect("a list");
    let codes: Vec<_> = problems.iter().map(|problem| problem["code"].as_str().expect("a code")).collect();
    assert_eq!(codes, ["live_token", "live_service", "live_service", "live_service"], "{problems:#?}");
    let parts = ["account erp: ", "service gone: ", "service inside: ", "service untrusted: "];
    for (problem, start) in problems.iter().zip(parts) {
        assert_eq!(problem["severity"], "error");
        assert!(problem["message"].as_str().is_some_and(|text| text.starts_with(start)), "{problem}");
        for key in ["file", "line", "column"] {
            assert!(problem.get(key).is_some_and(Value::is_null), "{key}: {problem}");
        }
    }
    assert!(
        problems[2]["help"].as_str().is_some_and(|help| help.contains("private_network")),
        "{problems:#?}"
    );
    let github = live(&setup, yaml, &["--format", "github"]).await;
    assert!(github.stdout.contains("::error title=live_token::account erp: "), "{}", github.stdout);
}

#[tokio::test]
async fn a_scope_that_was_not_granted_is_a_warning() {
    let body = serde_json::json!({ "access_token": secret("token"), "token_type": "Bearer", "scope": "a" });
    let endpoint = token_endpoint().answers(200, &body.to_string());
    let setup = attache().given("erp", account(&endpoint.url(), "scopes: [a, b]"));
    let yaml = "accounts: { erp: {{erp}} }\nservices: {}\n";
    let found = live(&setup, yaml, &[]).await;
    assert_eq!(found.code, Some(0), "{found:?}");
    assert!(found.stdout.contains("account erp: warning: granted without the scopes b"), "{}", found.stdout);
    assert_eq!(live(&setup, yaml, &["--deny-warnings"]).await.code, Some(3));
}

/// Against a provider that accepts each refresh token once.
#[tokio::test]
async fn a_refresh_token_is_spent_under_the_lock_and_its_successor_kept() {
    let tokens: Vec<String> = (0..5).map(|n| secret(&format!("refresh-{n}"))).collect();
    let (all, provider) = (tokens.clone(), third_party());
    provider.does(move |request| {
        let form: std::collections::HashMap<_, _> =
            form_urlencoded::parse(&request.body).into_owned().collect();
        // A new connection for each token request.
        let nth = request.connection;
        let (status, body) = if form["refresh_token"] == all[nth] {
            let next = &all[nth + 1];
            let access = secret("access");
            (
                200,
                serde_json::json!({ "access_token": access, "token_type": "Bearer", "refresh_token": next }),
            )
        } else {
            (400, serde_json::json!({ "error": "invalid_grant" }))
        };
        let body = body.to_string();
        let length = body.len();
        let head = format!("HTTP/1.1 {status} Stubbed\r\nContent-Type: application/json\r\n");
        vec![Step::Send(format!("{head}Content-Length: {length}\r\n\r\n{body}").into_bytes())]
    });
    let (state, service) = (tempfile::tempdir().expect("a folder"), third_party());
    let yaml = "
state: { dir: '{{state}}', key: { env: STATE_KEY } }
accounts:
  erp:
    authorization:
      oauth2: { grant: refresh_token, refresh_token: { file: '{{token}}' }, client_id: attache, client_auth: none,
                token_url: '{{provider}}/token' }
services: { erp: { account: erp, server_url: '{{service}}', timeout: 5s } }
";
    let setup = attache()
        .file("token", &tokens[0])
        .given("provider", provider.url())
        .given("service", service.url())
        .given("state", state.path().display().to_string())
        .env("STATE_KEY", STATE_KEY);
    for _ in 0..2 {
        let found = live(&setup, yaml, &[]).await;
        assert_eq!(found.code, Some(0), "{found:?}");
    }
    let attache = setup.with(yaml).await;
    assert_eq!(attache.send(get("/erp/x")).await.status, 200);
}

#[tokio::test]
async fn an_account_that_needs_a_login_has_help() {
    let state = tempfile::tempdir().expect("a folder");
    let folder = state.path().join("grants");
    let setup = attache().given("state", folder.display().to_string());
    let yaml = "
state: { dir: '{{state}}', key: { env: STATE_KEY } }
accounts:
  crm:
    authorization:
      oauth2: { grant: authorization_code, authorization_url: 'https://id.example/a', token_url: 'https://id.example/t',
                client_id: attache }
services: {}
";
    let found = live(&setup, yaml, &[]).await;
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(found.stdout.contains("attache login crm"), "{}", found.stdout);
    assert!(!folder.exists(), "it may have to belong to another user");
}

#[tokio::test]
async fn live_and_offline_contradict_each_other() {
    let ended = command(&["check", "--live", "--offline"]).finish().await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
}
