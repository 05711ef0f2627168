//! Field names are sent on HTTP/1 as they are spelled: some servers compare them case-sensitively, against RFC 9110
//! section 5.1.

use crate::harness::*;

/// Asserts that each line of `wanted` is in the head as spelled.
#[track_caller]
fn assert_spelled(raw: &[u8], wanted: &[&str]) {
    let head = String::from_utf8_lossy(raw);
    for name in wanted {
        assert!(head.contains(&format!("\r\n{name}: ")), "no {name} in {head}");
    }
}

#[tokio::test]
async fn an_accounts_header_as_the_file_has_it() {
    for name in ["X-API-KEY", "x-api-key", "X-Api-Key", "xApiKey", "APIKEY"] {
        let (third_party, key) = (third_party(), secret("api"));
        let lines =
            format!("account: {{ authorization: {{ header: {{ name: {name}, value: {{ env: KEY }} }} }} }}");
        let attache =
            attache().given("third_party", third_party.url()).env("KEY", &key).with(&mailer(&lines)).await;
        // The client's spelling does not matter.
        attache.send(get("/mailer/x").header("X-Api-Key", "mine").header("apikey", "mine")).await;
        assert_spelled(&third_party.only_request().await.head.raw, &[name]);
    }
}

#[tokio::test]
async fn several_headers_as_the_file_has_them() {
    let third_party = third_party();
    let lines = "account:
          authorization:
            headers:
              - { name: X-APP-Id, value: { env: ID } }
              - { name: x-app-KEY, value: { env: KEY } }";
    let setup = attache().given("third_party", third_party.url());
    let attache = setup.env("ID", secret("id")).env("KEY", secret("key")).with(&mailer(lines)).await;
    attache.send(get("/mailer/x")).await;
    assert_spelled(&third_party.only_request().await.head.raw, &["X-APP-Id", "x-app-KEY"]);
}

#[tokio::test]
async fn authorization_and_host_in_their_usual_case() {
    let third_party = third_party();
    let lines = "account: { authorization: { basic: { username: us, password: { env: PASSWORD } } } }";
    let setup = attache().given("third_party", third_party.url()).env("PASSWORD", secret("password"));
    let attache = setup.with(&mailer(lines)).await;
    attache.send(post("/mailer/x", "body")).await;
    let received = third_party.only_request().await;
    assert_spelled(&received.head.raw, &["Host", "Authorization", "Content-Length"]);
}

#[tokio::test]
async fn a_tokens_header_as_the_file_has_it() {
    let (third_party, endpoint) = (third_party(), token_endpoint().issues(&secret("token")));
    for (header, name) in [("", "Authorization"), ("header: X-ACCESS-TOKEN, prefix: '',", "X-ACCESS-TOKEN")] {
        let lines = format!(
            "account:
          authorization:
            oauth2: {{ grant: client_credentials, {header} token_url: '{{{{token_url}}}}', client_id: id,
                      client_secret: {{ env: CLIENT_SECRET }} }}"
        );
        let setup = attache().given("third_party", third_party.url()).given("token_url", endpoint.url());
        let attache = setup.env("CLIENT_SECRET", secret("client")).with(&mailer(&lines)).await;
        let before = third_party.seen().heads;
        attache.send(get("/mailer/x")).await;
        assert_spelled(&third_party.head(before).await.head.raw, &[name]);
    }
}

#[tokio::test]
async fn a_token_requests_headers_as_the_file_has_them() {
    let (third_party, endpoint) = (third_party(), token_endpoint().issues(&secret("token")));
    let lines = "account:
          authorization:
            oauth2: { grant: client_credentials, token_url: '{{token_url}}', client_id: id,
                      client_secret: { env: CLIENT_SECRET }, token_headers: { X-TENANT: a, x-lower: b } }";
    let setup = attache().given("third_party", third_party.url()).given("token_url", endpoint.url());
    let attache = setup.env("CLIENT_SECRET", secret("client")).with(&mailer(lines)).await;
    attache.send(get("/mailer/x")).await;
    assert_spelled(
        &endpoint.request(0).await.head.raw,
        &["Host", "X-TENANT", "x-lower", "Accept", "Content-Type", "Authorization", "Content-Length"],
    );
}

#[tokio::test]
async fn the_clients_names_as_it_spells_them() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let request = get("/mailer/x").header("X-MiXeD", "1").header("lower", "2").header("UPPER", "3");
    attache.send(request.header("content-TYPE", "text/plain")).await;
    let received = third_party.only_request().await;
    assert_spelled(&received.head.raw, &["X-MiXeD", "lower", "UPPER", "content-TYPE"]);
}

#[tokio::test]
async fn identity_headers() {
    let (app, key) = (app(), webhook_key());
    let yaml = "
        users: { bot: {} }
        services:
          mailer: { webhook: { user: bot, forward_to: '{{app}}', api_keys: [{ id: a, sha256: {{key}} }] } }";
    let setup = attache().given("app", app.url()).given("key", sha256_hex(&key));
    let attache = setup.with(yaml).await;
    attache.hook(post(format!("/webhooks/{key}"), "{}")).await;
    assert_spelled(
        &app.only_request().await.head.raw,
        &[
            "Host",
            "X-Attache-User",
            "X-Attache-Service",
            "X-Attache-Key-Id",
            "X-Request-Id",
            "X-Forwarded-For",
            "X-Forwarded-Proto",
            "X-Forwarded-Host",
            "Via",
        ],
    );
}

#[tokio::test]
async fn identity_headers_of_other_names() {
    let (app, key) = (app(), webhook_key());
    let yaml = "
        identity_headers: { user: X-REMOTE-User, service: x-remote-service, key_id: RemoteKey }
        users: { bot: {} }
        services:
          mailer: { webhook: { user: bot, forward_to: '{{app}}', api_keys: [{ id: a, sha256: {{key}} }] } }";
    let setup = attache().given("app", app.url()).given("key", sha256_hex(&key));
    let attache = setup.with(yaml).await;
    attache.hook(post(format!("/webhooks/{key}"), "{}")).await;
    let received = app.only_request().await;
    assert_spelled(&received.head.raw, &["X-REMOTE-User", "x-remote-service", "RemoteKey"]);
}

#[tokio::test]
async fn what_attache_adds_to_an_answer() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    for answer in [
        attache.send(get("/mailer/x")).await,
        attache.send(get("/unknown/x")).await,
        attache.send(get("/mailer/x").without_host()).await,
    ] {
        assert_spelled(&answer.raw, &["X-Attache-Request-Id", "Content-Length", "Content-Type", "Date"]);
        if answer.status != 200 {
            assert_spelled(&answer.raw, &["Proxy-Status"]);
        }
    }
}
