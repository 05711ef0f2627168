//! `attache login` beside a running attache, with an automated browser.

use super::*;

/// Logs `crm` in while attache runs: `visit` picks the address to open from the output. Returns the token that the
/// upstream received, for a query to the provider.
async fn signed_in(attache: &Attache, third_party: &Stub, visit: impl Fn(&str) -> bool) -> String {
    let before = attache.send(get("/crm/contacts")).await;
    before.problem("token_rejected", 502, "proxy_configuration_error");
    assert_eq!(attache.status().await["accounts"]["crm"]["token"]["state"], "needs_login");

    let login = attache.login("crm");
    let line =
        login.says("the address", |line| line.trim_start().starts_with("http://") && visit(line)).await;
    let browser = node("oidc/browser.mjs", &[line.trim()], &[]).await;
    assert_eq!(browser.code, Some(0), "{browser:?}");
    let login = login.finish().await;
    assert_eq!(login.code, Some(0), "{login:?}");
    assert!(login.stdout.contains("`crm` is signed in"), "{login:?}");

    let served = async || (attache.send(get("/crm/contacts")).await.status == 200).then_some(());
    eventually("attache to take the login up", served).await;
    token_received(attache, third_party).await
}

/// Starts attache with an account whose token is stored in its state folder.
async fn attache_with_state(
    provider: &Peer,
    third_party: &Stub,
    client_secret: &str,
    lines: &str,
) -> Attache {
    let yaml = format!("state: {{ dir: '{{{{state}}}}', key: {{ env: STATE_KEY }} }}\n{}", crm(lines));
    let setup = attache_at(format!("{}/token", provider.url()), third_party).folder("state");
    let setup = setup.given("provider", provider.url()).env("STATE_KEY", secret("state-key"));
    setup.env("CLIENT_SECRET", client_secret).with(&yaml).await
}

#[tokio::test]
async fn a_user_signs_in_with_a_code() {
    let client_secret = secret("client");
    for method in ["none", "client_secret_basic"] {
        let environment = [
            ("PEER_GRANT", "authorization_code"),
            ("PEER_CLIENT_AUTH", method),
            ("PEER_CLIENT_SECRET", client_secret.as_str()),
            ("PEER_TOKEN_TTL", "10"),
        ];
        let provider = Peer::serve("oidc/server.mjs", &environment).await;
        let third_party = third_party();
        let mut lines = String::from(
            "grant: authorization_code
            authorization_url: '{{provider}}/auth'
            authorization_params: { prompt: consent }
            scopes: [openid, offline_access, contacts.read]",
        );
        if method != "none" {
            lines.push_str("\nclient_secret: { env: CLIENT_SECRET }");
        }
        let attache = attache_with_state(&provider, &third_party, &client_secret, &lines).await;
        let token = signed_in(&attache, &third_party, |_| true).await;
        let known = oidc_knows(&provider, &token).await;
        assert_eq!((&known["active"], &known["sub"]), (&true.into(), &"robot".into()), "{method}: {known}");
        let rotated = async || {
            assert_eq!(attache.send(get("/crm/contacts")).await.status, 200);
            (provider.count("rotated 1") == 1).then_some(())
        };
        eventually("the token of the login to be renewed", rotated).await;
        assert_eq!(provider.count("revoked"), 0, "{method}");
    }
}

#[tokio::test]
async fn a_user_confirms_a_device() {
    let environment = [("PEER_GRANT", "device_code"), ("PEER_CLIENT_AUTH", "none")];
    let provider = Peer::serve("oidc/server.mjs", &environment).await;
    let third_party = third_party();
    let lines = "grant: device_code
        device_authorization_url: '{{provider}}/device/auth'
        scopes: [openid, offline_access, contacts.read]";
    let attache = attache_with_state(&provider, &third_party, &secret("unused"), lines).await;
    let token = signed_in(&attache, &third_party, |line| line.contains("user_code=")).await;
    let known = oidc_knows(&provider, &token).await;
    assert_eq!((&known["active"], &known["sub"]), (&true.into(), &"robot".into()), "{known}");
}

#[tokio::test]
async fn a_second_provider_confirms_a_device() {
    let client_secret = secret("client");
    let environment = [("PEER_CLIENT_SECRET", client_secret.as_str())];
    let provider = Peer::serve("python/authlib_server.py", &environment).await;
    let third_party = third_party();
    let lines = "grant: device_code
        device_authorization_url: '{{provider}}/device/auth'
        client_secret: { env: CLIENT_SECRET }
        scopes: contacts.read";
    let attache = attache_with_state(&provider, &third_party, &client_secret, lines).await;
    let token = signed_in(&attache, &third_party, |line| line.contains("user_code=")).await;
    let known = introspect(&provider, "/introspect", INSPECTOR, &token).await;
    assert_eq!((&known["active"], &known["sub"]), (&true.into(), &"robot".into()), "{known}");
    assert_eq!(provider.count("issued refresh_token"), 0, "the token of the login is used");
}
