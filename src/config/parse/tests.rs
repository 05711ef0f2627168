use super::*;
use crate::config::model::{Authorization, BearerTokenType, ClientAuth, Grant, ListenAddr, ReadFault};
use crate::config::secrets::ReadError;
use crate::header_name::FieldName;
use crate::secret::sha256;
use proptest::prelude::*;
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

/// A machine on which every variable and file has the same content.
struct Says(&'static str);

impl SecretSource for Says {
    fn env(&self, _: &str) -> Result<String, ReadError> {
        Ok(self.0.to_owned())
    }
    fn file(&self, _: &Path) -> Result<Vec<u8>, ReadError> {
        Ok(self.0.into())
    }
    fn fresh_file(&self, _: &Path) -> Result<Vec<u8>, ReadError> {
        Ok(self.0.into())
    }
    fn credential(&self, _: &str) -> Result<Vec<u8>, ReadError> {
        Ok(self.0.into())
    }
}

/// A machine that must not be read from.
struct Silent;

impl SecretSource for Silent {
    fn env(&self, _: &str) -> Result<String, ReadError> {
        panic!("asked for a variable")
    }
    fn file(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        assert!(path.extension().is_some_and(|e| e == "pem"), "asked for {}", path.display());
        Err(ReadError::new(ReadFault::Missing, "missing"))
    }
    fn fresh_file(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        panic!("asked for {}", path.display())
    }
    fn credential(&self, _: &str) -> Result<Vec<u8>, ReadError> {
        panic!("asked for a credential")
    }
}

fn read(text: &str, machine: &dyn SecretSource, offline: bool) -> (Option<Config>, Problems) {
    parse(&[Source::new("a.yaml".into(), text.to_owned())], machine, offline, &LastValues::default(), None)
}

fn good(text: &str) -> Config {
    let (config, problems) = read(text, &Says("s3cret\n"), false);
    config.unwrap_or_else(|| panic!("{}", problems.render_human(false)))
}

fn account(authorization: &str) -> Config {
    good(&format!("accounts: {{ a: {{ authorization: {authorization} }} }}"))
}

fn headers(config: &Config) -> Vec<(String, String)> {
    let Authorization::Headers(headers) = &config.accounts["a"].authorization else { panic!("no headers") };
    assert!(headers.iter().all(|(_, value)| value.is_sensitive()));
    let text = |name: &FieldName| std::str::from_utf8(name.spelling()).unwrap().to_owned();
    headers.iter().map(|(n, v)| (text(n), v.to_str().unwrap().to_owned())).collect()
}

#[test]
fn keys_left_out_have_their_defaults() {
    let config = good("services: {}");
    assert_eq!(config.listen.outbound.address, ListenAddr::Tcp("127.0.0.1:8080".parse().unwrap()));
    assert_eq!(config.listen.webhooks.address, ListenAddr::Tcp("127.0.0.1:8081".parse().unwrap()));
    assert_eq!(config.listen.admin.address, ListenAddr::Tcp("127.0.0.1:9090".parse().unwrap()));
    let names = config.identity_headers.all().map(|name| name.spelling().clone());
    assert_eq!(names, ["X-Attache-User", "X-Attache-Service", "X-Attache-Key-Id"]);
    assert_eq!(config.drain, Duration::from_secs(30));
    assert_eq!((config.max_connections, config.buffered), (None, 256 << 20));
    assert!(!config.via && good("via: true\nservices: {}").via);
    let limited = good("limits: { connections: 4096 }\nservices: {}");
    assert_eq!(limited.max_connections.map(NonZeroUsize::get), Some(4096));
    assert!(limited.wrong_keys.is_some());
    let config = good(
        "accounts: { a: { authorization: none } }\nusers: { u: }\nservices: { s: { account: a, server_url: 'http://b.example', \
         webhook: { user: u, forward_to: 'http://c.example', api_keys: [{ id: k, value: { env: KEY, prefix: 0123456789abcdefghij } }] } } }",
    );
    let service = &config.services["s"];
    let (outbound, webhook) = (service.outbound.as_ref().unwrap(), service.webhook.as_ref().unwrap());
    assert_eq!((outbound.timeout.as_secs(), outbound.idle_timeout.as_secs()), (30, 60));
    assert_eq!(
        (webhook.timeout.as_secs(), webhook.max_body, webhook.methods.as_slice()),
        (10, 1 << 20, &[http::Method::POST][..])
    );
    assert!(webhook.user.active);
    assert_eq!(webhook.api_keys[0].sha256, sha256(b"0123456789abcdefghijs3cret"));
    assert!(webhook.api_keys[0].value.is_some());
}

#[test]
fn each_authorization_becomes_the_sent_headers_or_query() {
    let header = account("{ header: { name: X-API-KEY, value: { env: K, prefix: 'Bearer ' } } }");
    assert_eq!(headers(&header), [("X-API-KEY".into(), "Bearer s3cret".into())]);
    let basic = account("{ basic: { username: us, password: { env: K } } }");
    assert_eq!(headers(&basic), [("Authorization".into(), "Basic dXM6czNjcmV0".into())]);
    let several = account("{ headers: [{ name: a-B, value: { env: K } }, { name: B, value: { file: f } }] }");
    assert_eq!(headers(&several).iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a-B", "B"]);
    let query = account("{ query: { name: key, value: { credential: k } } }");
    let Authorization::Query { name, value } = &query.accounts["a"].authorization else { panic!("no query") };
    assert_eq!((name.as_str(), value.expose()), ("key", "s3cret"));
    assert_eq!(account("none").accounts["a"].authorization, Authorization::None);
}

#[test]
fn headers_may_stand_beside_another_kind() {
    let beside =
        |kind: &str| account(&format!("{{ {kind}, headers: [{{ name: X-Tenant, value: {{ env: K }} }}] }}"));
    let oauth2 = "oauth2: { grant: client_credentials, token_url: 'https://i.example/t', client_id: c, client_secret: { env: S } }";
    let basic = "basic: { username: u, password: { env: K } }";
    for kind in ["bearer: { env: K }", basic, "query: { name: key, value: { env: K } }", oauth2] {
        let config = beside(kind);
        let [(name, value)] = &config.accounts["a"].headers[..] else { panic!("no header") };
        assert_eq!((&name.spelling()[..], value.as_bytes()), (&b"X-Tenant"[..], &b"s3cret"[..]), "{kind}");
        assert!(value.is_sensitive());
    }
}

#[test]
fn configured_header_names_keep_their_spelling() {
    let oauth2 = |more: &str| {
        let config = account(&format!(
            "{{ oauth2: {{ grant: client_credentials, token_url: 'https://i.example/t', client_id: c, client_secret: {{ env: S }}{more} }} }}"
        ));
        let Authorization::OAuth2(oauth2) = &config.accounts["a"].authorization else { panic!("no oauth2") };
        oauth2.header.spelling().clone()
    };
    assert_eq!((oauth2(""), oauth2(", header: x-TOKEN")), ("Authorization".into(), "x-TOKEN".into()));
    let config = good(
        "identity_headers: { user: remote_USER }\naccounts: { a: { authorization: none } }\nservices: { s: { account: a, \
         server_url: 'https://s.example', timeout_response: { headers: { retry-AFTER: 5 } } } }",
    );
    assert_eq!(config.identity_headers.user.spelling(), "remote_USER");
    let outbound = config.services["s"].outbound.as_ref().unwrap();
    assert_eq!(outbound.timeout_response.as_ref().unwrap().headers[0].0.spelling(), "retry-AFTER");
}

#[test]
fn the_three_spellings_of_scopes_are_equal() {
    for scopes in ["[a.b, c]", "'a.b,c'", "a.b c", "'a.b, c'", "\"a.b  ,c,\""] {
        let config = account(&format!(
            "{{ oauth2: {{ grant: client_credentials, token_url: 'https://i.example/t', client_id: 12345, client_secret: {{ env: S }}, scopes: {scopes}, token_params: {{ audience: x, level: 3 }} }} }}"
        ));
        let Authorization::OAuth2(oauth2) = &config.accounts["a"].authorization else { panic!("no oauth2") };
        assert_eq!(oauth2.scopes, ["a.b", "c"], "{scopes}");
        assert_eq!(oauth2.client_id.as_deref(), Some("12345"));
        assert_eq!(
            (&oauth2.client_auth, oauth2.bearer_token_type),
            (&ClientAuth::Basic(vec![crate::secret::Secret::new("s3cret")]), BearerTokenType::AccessToken)
        );
        assert_eq!(oauth2.token_params, [("audience".into(), "x".into()), ("level".into(), "3".into())]);
        assert_eq!(oauth2.grant, Grant::ClientCredentials);
    }
}

#[test]
fn an_account_written_in_place_is_named_after_its_service() {
    let config = good(
        "accounts: { a: { authorization: none } }\nservices:\n  s: { account: a, server_url: 'https://s.example' }\n  t: { account: a, server_url: 'https://t.example' }\n  u: { account: { authorization: none }, server_url: 'https://u.example' }",
    );
    let account = |service: &str| &config.services[service].outbound.as_ref().unwrap().account;
    assert!(Arc::ptr_eq(account("s"), account("t")));
    assert_eq!(account("u").name, "services/u");
    assert!(!config.accounts.contains_key("services/u"));
}

#[test]
fn the_fingerprint_follows_the_secrets_and_the_hash_only_the_text() {
    let text = "accounts: { a: { authorization: { query: { name: k, value: { env: K } } } } }";
    let [one, same, other] = ["s", "s", "t"].map(|secret| match secret {
        "s" => read(text, &Says("s"), false).0.unwrap(),
        _ => read(text, &Says("t"), false).0.unwrap(),
    });
    assert_eq!((one.fingerprint, &one.hash), (same.fingerprint, &other.hash));
    assert_ne!(one.fingerprint, other.fingerprint);
    assert_eq!(one.hash, hex(&sha256(text.as_bytes())));
}

#[test]
fn the_hash_covers_the_bytes_of_all_files() {
    let files = ["\u{feff}users: { u: {} }\n", "services: {}\n"];
    let sources = files.map(|text| Source::new("a.yaml".into(), text.to_owned()));
    let (config, _) = parse(&sources, &Silent, true, &LastValues::default(), None);
    assert_eq!(config.unwrap().hash, hex(&sha256(files.concat().as_bytes())));
    let marked = good(files[0]);
    assert_eq!(marked.hash, hex(&sha256(files[0].as_bytes())));
    // A file in which only the byte order mark changed must count as changed, or its hash would never be served.
    assert_ne!(marked.fingerprint, good(files[0].trim_start_matches('\u{feff}')).fingerprint);
}

#[test]
fn offline_no_secret_is_read() {
    let text = "accounts:\n  a: { authorization: { basic: { username: { env: A }, password: { file: b } } } }\n  b: { authorization: { headers: [{ name: A, value: { env: A } }] } }\nusers: { u: {} }\nservices:\n  s: { account: a, server_url: 'https://s.example', tls: { ca: ca.pem }, webhook: { user: u, forward_to: 'http://127.0.0.1', api_keys: [{ id: a, value: { env: A } }, { id: b, value: { env: B } }] } }";
    let (config, problems) = read(text, &Silent, true);
    assert!(config.is_some(), "{}", problems.render_human(false));
}

#[test]
fn a_hundred_thousand_services_are_read() {
    let mut text = "accounts: { a: { authorization: none } }\nservices:\n".to_owned();
    for n in 0..100_000 {
        let _ = writeln!(
            text,
            "  service-{n}: {{ account: a, server_url: https://s{n}.example/v3, timeout: 10s }}"
        );
    }
    assert_eq!(good(&text).services.len(), 100_000);
}

#[test]
fn check_warns_of_parts_without_effect() {
    const TEXT: &str = "log: { access: /nonexistent/access.log }
accounts:
  used: { authorization: none }
  spare: { authorization: none }
users: { bot: {}, idle: {} }
services:
  s:
    account: used
    server_url: https://s.example
    webhook:
      user: bot
      forward_to: http://127.0.0.1
      api_keys:
        - { id: old, value: { env: K }, expires_at: 2020-01-01T00:00:00Z }
";
    let advice = |text: &str, at: Option<&str>, offline| {
        let now = at.map(|at| SystemTime::try_from(at.parse::<jiff::Timestamp>().unwrap()).unwrap());
        let sources = [Source::new("a.yaml".into(), text.to_owned())];
        let (config, problems) =
            parse(&sources, &Says("0123456789abcdefghijkl"), offline, &LastValues::default(), now);
        let found: Vec<_> = problems.iter().map(|p| (p.code, p.line().unwrap(), p.message.clone())).collect();
        (config.is_some(), found)
    };
    let found = |codes: &[(&'static str, usize, &str)]| {
        codes.iter().map(|(code, line, message)| (*code, *line, (*message).to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(advice(TEXT, None, false), (true, Vec::new()));
    let unused =
        [("unused_account", 4, "accounts.spare is not used"), ("unused_user", 5, "users.idle is not used")];
    assert_eq!(advice(TEXT, Some("2019-01-01T00:00:00Z"), false), (true, found(&unused)));
    let expired = ("expired_key", 14, "services.s.webhook.api_keys[0] has expired");
    let all = [unused[0], unused[1], expired];
    assert_eq!(advice(TEXT, Some("2020-01-01T00:00:00Z"), true), (true, found(&all)));
    let with_replay = TEXT
        .replace("      api_keys:", "      replay: { window: 1m }\n      max_body: 1MiB\n      api_keys:");
    let large = |text: &str, buffered: &str| {
        let text = format!("limits: {{ buffered: {buffered} }}\n{text}");
        advice(&text, Some("2019-01-01T00:00:00Z"), false)
            .1
            .into_iter()
            .find(|(code, ..)| *code == "large_max_body")
    };
    let message = "services.s.webhook.max_body is more than a quarter of limits.buffered";
    assert_eq!(large(&with_replay, "4095KiB"), Some(("large_max_body", 15, message.to_owned())));
    assert_eq!(large(&with_replay, "4MiB"), None);
    assert_eq!(large(TEXT, "1KiB"), None, "it streams");
    let none = ("no_services", 1, "the configuration has no services");
    assert_eq!(advice("services: {}", Some("2020-01-01T00:00:00Z"), false), (true, found(&[none])));
    // A file with errors gets no advice: its references are not resolved.
    assert_eq!(advice("services: []", Some("2020-01-01T00:00:00Z"), false).1[0].0, "wrong_type");
}

#[test]
fn an_issuer_that_neither_a_caller_nor_a_webhook_names_is_reported() {
    const TEXT: &str = "\
issuers:
  of-a-webhook: { issuer: https://a.example, audience: x, jwks: { url: https://a.example/keys } }
  of-a-caller: { issuer: https://b.example, audience: x, jwks: { url: https://b.example/keys } }
  idle: { issuer: https://c.example, audience: x, jwks: { url: https://c.example/keys } }
users: { bot: {} }
callers: { billing: { jwt: { issuer: of-a-caller, subject: billing }, services: '*' } }
services:
  s:
    account: { authorization: none }
    server_url: https://s.example
    webhook:
      user: bot
      forward_to: http://127.0.0.1
      api_keys: [{ id: a, value: { env: K } }]
      verify: { scheme: bot_framework, issuer: of-a-webhook }
";
    let sources = [Source::new("a.yaml".into(), TEXT.to_owned())];
    let now = Some(SystemTime::UNIX_EPOCH);
    let (config, problems) =
        parse(&sources, &Says("0123456789abcdefghijkl"), false, &LastValues::default(), now);
    assert!(config.is_some());
    let found: Vec<_> = problems.iter().map(|p| (p.code, p.line(), p.message.as_str())).collect();
    assert_eq!(found, [("unused_issuer", Some(4), "issuers.idle is not used")]);
}

proptest! {
    #[test]
    fn no_tree_makes_the_decoder_panic_and_no_marked_secret_is_shown(
        words in prop::collection::vec(prop::sample::select(vec![
            "accounts:", "services:", "users:", "listen:", "a:", "authorization:", "header:", "oauth2:", "name: x", "value: hunter2",
            "value:", "client_secret: hunter2", "- hunter2", "vlaue: hunter2", "webhook:", "api_keys:", "- { id: a, value: hunter2 }",
            "account: a", "server_url: https://u:hunter2@a.example/?hunter2", "timeout: 10", "basic: { username: u, password: hunter2 }",
            "password: \"hunter2", "value: hunter2: x",  "value: |", "hunter2", "token: hunter2", "none", "---",
            "state: { key: hunter2 }", "grant: jwt_bearer", "assertion:", "key: |", "key: hunter2", "token_headers: { id: hunter2 }",
            "subject_token: { hunter2 }", "grant: token_exchange", "tls:", "client_key: '-----BEGIN hunter2'", "claims: { sub: hunter2 }",
            "header: hunter2", "refresh_token: [hunter2]", "client_secret: [hunter2, hunter2]",
        ]), 1..20),
        indents in prop::collection::vec(0usize..6, 20),
    ) {
        // A lone word in the place of all services, users or listeners is shown: it is taken for a name.
        prop_assume!(!words.windows(2).any(|pair| matches!(pair, ["services:" | "users:" | "listen:", "hunter2"])));
        let text: String = words.iter().zip(indents).map(|(word, indent)| format!("{}{word}\n", "  ".repeat(indent))).collect();
        let (_, problems) = read(&text, &Says("s3cret"), false);
        for shown in [problems.render_human(false), problems.to_json().to_string()] {
            // A secret may look like a key or a name only if the file declares it as a secret.
            let shown = shown.replace("hunter2: x", "");
            prop_assert!(!shown.contains("hunter2"), "{}\n{}", text, shown);
        }
    }
}

/// Reads the case with its `defaults`, and without.
#[test]
fn a_service_that_leaves_every_default_out_is_as_without_defaults() {
    let text = std::fs::read_to_string("tests/config_cases/valid_defaults_left_out.yaml").unwrap();
    let texts = [text.clone(), text.replace("\ndefaults:", "\nx-defaults:")];
    let [with, without] = texts.each_ref().map(|text| good(text));
    assert!(with.services["own"] == without.services["own"], "{:?}", with.services["own"]);
    assert!(with.services["default"] != without.services["default"]);
    let fields = texts.map(|text| {
        let effective = effective(&[Source::new("a.yaml".into(), text)]).unwrap();
        effective.fields(&["services", "own"])
    });
    assert_eq!(fields[0], fields[1]);
    assert!(!fields[0].keys().any(|field| field.starts_with("webhook.replay")), "{:?}", fields[0]);
}
