//! Every grant and every client authentication, with third-party identity providers: each checks the request itself,
//! and confirms that it knows the token that the upstream received.
//!
//! | | provider |
//! | --- | --- |
//! | `client_secret_jwt`, `private_key_jwt`, TLS client certificates, `refresh_token` | npm oidc-provider |
//! | `jwt_bearer`, `password`, `private_key_jwt` | PyPI authlib |
//! | `token_exchange`, `basic_raw` | PyPI idpyoidc |
//! | `authorization_code`, `device_code` | npm oidc-provider, PyPI authlib |
//!
//! Basic and post are in [`crate::peers`].

mod login;
mod rotation;

use crate::harness::*;
use crate::peers::{assert_unsaid, bearer};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use url::form_urlencoded::byte_serialize;

/// A service `crm` with an OAuth2 account; `lines` are the members of its `oauth2`.
fn crm(lines: &str) -> String {
    let mut yaml = String::from("accounts:\n  crm:\n    authorization:\n      oauth2:\n");
    for line in ["token_url: '{{token_url}}'", "client_id: attache"].into_iter().chain(lines.lines()) {
        yaml.push_str(&format!("        {}\n", line.trim()));
    }
    yaml.push_str("services:\n  crm: { account: crm, server_url: '{{third_party}}', timeout: 10s }\n");
    yaml
}

fn attache_at(token_url: impl Into<String>, third_party: &Stub) -> Setup {
    attache().given("token_url", token_url).given("third_party", third_party.url())
}

/// Returns the token that the upstream receives with a request through attache, and asserts that no output shows it.
async fn token_received(attache: &Attache, third_party: &Stub) -> String {
    let answer = attache.send(get("/crm/contacts")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let token = bearer(third_party.requests().last().expect("a request"));
    assert_eq!(attache.status().await["accounts"]["crm"]["token"]["state"], "valid");
    assert_unsaid(attache, &answer, &token).await;
    token
}

/// Asks the provider about a token (RFC 7662).
async fn introspect(provider: &Peer, path: &str, (id, secret): (&str, &str), token: &str) -> Value {
    let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let request = post(path, format!("token={}", encode(token)))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("Authorization", format!("Basic {}", STANDARD.encode(format!("{id}:{secret}"))));
    send(provider.address(), request).await.json()
}

const INSPECTOR: (&str, &str) = ("inspector", "inspector");

/// Returns what npm oidc-provider knows about a token.
async fn oidc_knows(provider: &Peer, token: &str) -> Value {
    introspect(provider, "/token/introspection", INSPECTOR, token).await
}

/// Returns the client's private key, which the provider has created.
async fn client_key(provider: &Peer) -> String {
    serde_json::from_str(&provider.says("key").await).expect("a PEM text")
}

/// Asserts that no line of the key is in any output.
fn assert_key_unsaid(attache: &Attache, pem: &str) {
    let said = attache.said();
    assert!(!pem.lines().any(|line| said.contains(line)), "LEAK: the private key is in what attache says");
}

// Client authentication.

#[tokio::test]
async fn a_client_authenticates_with_a_jwt_signed_by_its_secret() {
    let client_secret = secret("client");
    let environment =
        [("PEER_CLIENT_SECRET", client_secret.as_str()), ("PEER_CLIENT_AUTH", "client_secret_jwt")];
    let provider = Peer::serve("oidc/server.mjs", &environment).await;
    let third_party = third_party();
    let lines = "grant: client_credentials
        client_auth: client_secret_jwt
        client_secret: { env: CLIENT_SECRET }
        scopes: contacts.read";
    let setup = attache_at(format!("{}/token", provider.url()), &third_party);
    let attache = setup.env("CLIENT_SECRET", client_secret).with(&crm(lines)).await;
    let token = token_received(&attache, &third_party).await;
    let known = oidc_knows(&provider, &token).await;
    assert_eq!((&known["active"], &known["scope"]), (&true.into(), &"contacts.read".into()), "{known}");
}

/// Starts attache with a client that signs with the provider's key.
async fn signing_client(provider: &Peer, third_party: &Stub, algorithm: &str) -> (Attache, String) {
    let key = client_key(provider).await;
    // The other algorithms follow from the key.
    let algorithm = if algorithm == "PS256" { ", algorithm: PS256" } else { "" };
    let lines = format!(
        "grant: client_credentials
        client_auth: private_key_jwt
        client_assertion: {{ key: {{ file: '{{{{key}}}}' }}{algorithm} }}
        scopes: contacts.read"
    );
    let setup = attache_at(format!("{}/token", provider.url()), third_party).file("key", &key);
    (setup.with(&crm(&lines)).await, key)
}

#[tokio::test]
async fn a_client_authenticates_with_every_kind_of_key() {
    for algorithm in ["RS256", "PS256", "ES256", "EdDSA"] {
        let environment = [("PEER_ALGORITHM", algorithm), ("PEER_CLIENT_AUTH", "private_key_jwt")];
        let provider = Peer::serve("oidc/server.mjs", &environment).await;
        let third_party = third_party();
        let (attache, key) = signing_client(&provider, &third_party, algorithm).await;
        let token = token_received(&attache, &third_party).await;
        assert_eq!(oidc_knows(&provider, &token).await["active"], true, "{algorithm}");
        assert_key_unsaid(&attache, &key);
    }
}

#[tokio::test]
async fn a_second_provider_accepts_the_clients_signature() {
    let environment = [("PEER_ALGORITHM", "ES256"), ("PEER_CLIENT_AUTH", "private_key_jwt")];
    let provider = Peer::serve("python/authlib_server.py", &environment).await;
    let third_party = third_party();
    let (attache, _key) = signing_client(&provider, &third_party, "ES256").await;
    let token = token_received(&attache, &third_party).await;
    assert_eq!(introspect(&provider, "/introspect", INSPECTOR, &token).await["active"], true);
}

#[tokio::test]
async fn a_client_authenticates_with_a_certificate() {
    let ca = CertificateAuthority::new();
    let (certificate, key) = ca.leaf_pem("127.0.0.1");
    let (client_certificate, client_key) = ca.leaf_pem("attache.test");
    for (method, registered) in [
        ("tls_client_auth", ("PEER_CLIENT_CA", ca.pem())),
        ("self_signed_tls_client_auth", ("PEER_CLIENT_CERTIFICATE", client_certificate.clone())),
    ] {
        let environment = [
            ("PEER_TLS_KEY", key.as_str()),
            ("PEER_TLS_CERTIFICATE", &certificate),
            ("PEER_CLIENT_AUTH", method),
            (registered.0, &registered.1),
        ];
        let provider = Peer::serve("oidc/server.mjs", &environment).await;
        let token_url = format!("https://127.0.0.1:{}/token", provider.says("tls").await);
        let third_party = third_party();
        let with_tls = async |tls: &str| {
            let lines =
                format!("grant: client_credentials\nclient_auth: none\ntls: {{ ca: '{{{{ca}}}}'{tls} }}");
            let setup = attache_at(token_url.as_str(), &third_party).file("ca", &ca.pem());
            setup.file("crt", &client_certificate).file("key", &client_key).with(&crm(&lines)).await
        };
        let attache = with_tls(", client_certificate: '{{crt}}', client_key: '{{key}}'").await;
        let token = token_received(&attache, &third_party).await;
        assert_eq!(oidc_knows(&provider, &token).await["active"], true, "{method}");
        assert_key_unsaid(&attache, &client_key);
        let without_certificate = with_tls("").await.send(get("/crm/contacts")).await;
        without_certificate.problem("token_rejected", 502, "proxy_configuration_error");
        assert_eq!(provider.count("refused invalid_client"), 1, "{method}");
    }
}

#[tokio::test]
async fn a_provider_that_knows_only_the_old_secret_issues_tokens() {
    let (new, old) = (secret("new"), secret("old"));
    let provider = Peer::serve("oidc/server.mjs", &[("PEER_CLIENT_SECRET", &old)]).await;
    let third_party = third_party();
    let lines = "grant: client_credentials\nclient_secret: [{ env: NEW }, { env: OLD }]";
    let setup = attache_at(format!("{}/token", provider.url()), &third_party);
    let attache = setup.env("NEW", new).env("OLD", old).with(&crm(lines)).await;
    let token = token_received(&attache, &third_party).await;
    assert_eq!(oidc_knows(&provider, &token).await["active"], true);
    attache.stderr_line("WARN.*refused the first client secret and accepted the second").await;
    assert_eq!((provider.count("refused invalid_client"), provider.count("issued")), (1, 1));
}

// The grants without a login.

#[tokio::test]
async fn a_signed_assertion_is_exchanged_for_a_token() {
    for algorithm in ["RS256", "ES256"] {
        let provider = Peer::serve("python/authlib_server.py", &[("PEER_ALGORITHM", algorithm)]).await;
        let key = client_key(&provider).await;
        let third_party = third_party();
        let lines = "grant: jwt_bearer
            assertion: { key: { file: '{{key}}' }, subject: robot }
            scopes: contacts.read";
        let setup = attache_at(format!("{}/token", provider.url()), &third_party).file("key", &key);
        let attache = setup.with(&crm(lines)).await;
        let token = token_received(&attache, &third_party).await;
        let known = introspect(&provider, "/introspect", INSPECTOR, &token).await;
        assert_eq!(
            (&known["active"], &known["sub"]),
            (&true.into(), &"robot".into()),
            "{algorithm}: {known}"
        );
        provider.line("the grant", |line| line == "issued urn:ietf:params:oauth:grant-type:jwt-bearer").await;
        assert_key_unsaid(&attache, &key);
    }
}

#[tokio::test]
async fn a_provider_accepts_the_password() {
    let (client_secret, password) = (secret("client"), secret("password"));
    let environment = [("PEER_CLIENT_SECRET", client_secret.as_str()), ("PEER_PASSWORD", &password)];
    let provider = Peer::serve("python/authlib_server.py", &environment).await;
    let third_party = third_party();
    let lines = "grant: password
        username: robot
        password: { env: PASSWORD }
        client_secret: { env: CLIENT_SECRET }
        scopes: contacts.read";
    let setup = attache_at(format!("{}/token", provider.url()), &third_party);
    let attache = setup.env("PASSWORD", password).env("CLIENT_SECRET", client_secret).with(&crm(lines)).await;
    let token = token_received(&attache, &third_party).await;
    let known = introspect(&provider, "/introspect", INSPECTOR, &token).await;
    assert_eq!((&known["active"], &known["sub"]), (&true.into(), &"robot".into()), "{known}");
}

/// Like a token that Kubernetes projects into a pod: a new one every few minutes, in the same file.
#[tokio::test]
async fn each_exchange_reads_the_token_from_its_file_again() {
    // Form-encoding, which this provider doesn't decode, would change it (hence `basic_raw`).
    let client_secret = format!("{} +%&=/?", secret("client"));
    let provider =
        Peer::serve("python/idpyoidc_server.py", &[("PEER_CLIENT_SECRET", client_secret.as_str())]).await;
    let subject =
        async |seconds| send(provider.address(), post(format!("/subject/{seconds}"), "")).await.text();
    let known = async |token: &str| {
        introspect(&provider, "/introspect", ("attache", &client_secret), token).await["active"].clone()
    };
    let third_party = third_party();
    let lines = "grant: token_exchange
        client_auth: basic_raw
        client_secret: { env: CLIENT_SECRET }
        subject_token: { file: '{{subject}}' }
        subject_token_type: access_token";
    let short = subject(5).await;
    let setup = attache_at(format!("{}/token", provider.url()), &third_party).file("subject", &short);
    let attache = setup.env("CLIENT_SECRET", client_secret.as_str()).with(&crm(lines)).await;
    let first = token_received(&attache, &third_party).await;
    assert_eq!(known(&first).await, true);
    let said = |subject: &str| format!("issued {}", sha256_hex(subject));
    assert_eq!(provider.count(&said(&short)), 1);

    let long = subject(600).await;
    attache.rewrite_file("subject", &long);
    provider.line("the second token", |line| line == said(&long)).await;
    let renewed = async || Some(token_received(&attache, &third_party).await).filter(|token| *token != first);
    let second = eventually("the second token to be sent", renewed).await;
    assert_eq!(known(&second).await, true);
    assert_eq!(attache.reloads("applied").await, 0.0, "without a reload");
    for subject in [short, long] {
        assert!(!attache.said().contains(&subject), "LEAK: a subject token is in what attache says");
    }
}
