//! The headers of a request, and the credential that is added to them.

use crate::harness::*;
use base64::Engine as _;

fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test]
async fn host_is_the_server_urls_authority() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    attache.send(get("/mailer/x").without_host().header("Host", "somewhere.example")).await;
    assert_eq!(third_party.only_request().await.all("host"), [third_party.authority()]);
}

#[tokio::test]
async fn the_accounts_header_replaces_every_header_of_that_name() {
    let (third_party, key) = (third_party(), secret("api"));
    let lines = "account: { authorization: { header: { name: X-API-KEY, value: { env: KEY } } } }";
    let attache =
        attache().given("third_party", third_party.url()).env("KEY", &key).with(&mailer(lines)).await;
    let request = get("/mailer/x")
        .header("X-API-KEY", "mine")
        .header("x-api-key", "mine")
        .header("X-Api-Key", "mine")
        .header("X_API_KEY", "mine")
        .header("x_api-key", "mine")
        .header("X-API-KEY-2", "other");
    assert_eq!(attache.send(request).await.status, 200);
    let received = third_party.only_request().await;
    assert_eq!(received.all("x-api-key"), [key]);
    assert_eq!(received.header("x-api-key-2"), Some("other"));
    assert!(!String::from_utf8_lossy(&received.head.raw).contains("mine"));
}

#[tokio::test]
async fn an_account_may_have_several_headers() {
    let (third_party, id, key) = (third_party(), secret("id"), secret("key"));
    let lines = "account:
          authorization:
            headers:
              - { name: X-App-Id, value: { env: ID } }
              - { name: X-App-Key, value: { env: KEY, prefix: 'Key ' } }";
    let setup = attache().given("third_party", third_party.url()).env("ID", &id).env("KEY", &key);
    let attache = setup.with(&mailer(lines)).await;
    attache.send(get("/mailer/x").header("x-app-id", "mine")).await;
    let received = third_party.only_request().await;
    assert_eq!(received.all("x-app-id"), [id]);
    assert_eq!(received.all("x-app-key"), [format!("Key {key}")]);
}

#[tokio::test]
async fn headers_may_stand_beside_another_credential() {
    let (third_party, tenant, key) = (third_party(), secret("tenant"), secret("key"));
    for (kind, target) in [
        ("bearer: { env: KEY }", "/x".to_owned()),
        ("query: { name: key, value: { env: KEY } }", format!("/x?key={key}")),
    ] {
        let lines = format!(
            "account:
          authorization:
            {kind}
            headers: [{{ name: X-Tenant, value: {{ env: TENANT }} }}]"
        );
        let setup = attache().given("third_party", third_party.url()).env("TENANT", &tenant).env("KEY", &key);
        let attache = setup.with(&mailer(&lines)).await;
        let request = get("/mailer/x").header("x-tenant", "mine").header("X_Tenant", "mine");
        assert_eq!(attache.send(request).await.status, 200);
        let received = third_party.requests().pop().expect("a request");
        assert_eq!((received.all("x-tenant"), received.target()), (vec![tenant.as_str()], target));
        assert!(!String::from_utf8_lossy(&received.head.raw).contains("mine"));
    }
}

#[tokio::test]
async fn an_account_may_be_basic() {
    let (third_party, password) = (third_party(), secret("password"));
    let lines = "account: { authorization: { basic: { username: us, password: { env: PASSWORD } } } }";
    let setup = attache().given("third_party", third_party.url()).env("PASSWORD", &password);
    let attache = setup.with(&mailer(lines)).await;
    attache.send(get("/mailer/x").header("authorization", "Bearer mine")).await;
    let expected = format!("Basic {}", base64(&format!("us:{password}")));
    assert_eq!(third_party.only_request().await.all("authorization"), [expected]);
}

#[tokio::test]
async fn a_query_credential_replaces_its_parameter_and_nothing_else() {
    let (third_party, key) = (third_party(), secret("key"));
    let lines = "account: { authorization: { query: { name: api_key, value: { env: KEY } } } }";
    let attache =
        attache().given("third_party", third_party.url()).env("KEY", &key).with(&mailer(lines)).await;
    for (n, (asked, expected)) in [
        ("/x", format!("/x?api_key={key}")),
        ("/x?a=%2F&b", format!("/x?a=%2F&b&api_key={key}")),
        ("/x?api_key=mine&a=1&api%5Fkey=mine&api_key", format!("/x?a=1&api_key={key}")),
        ("/x?xapi_key=1", format!("/x?xapi_key=1&api_key={key}")),
    ]
    .into_iter()
    .enumerate()
    {
        attache.send(get(format!("/mailer{asked}"))).await;
        assert_eq!(third_party.head(n).await.target(), expected, "{asked}");
    }
}

#[tokio::test]
async fn with_none_the_callers_headers_are_forwarded_unchanged() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let request = get("/mailer/x")
        .header("AuThOrIzAtIoN", "Bearer mine")
        .header("Cookie", "a=1")
        .header("X-Two", "1")
        .header("X-Two", "2")
        .header("User-Agent", "unit");
    attache.send(request).await;
    let received = third_party.only_request().await;
    assert_eq!(received.all("authorization"), ["Bearer mine"]);
    assert_eq!(received.all("x-two"), ["1", "2"]);
    assert_eq!((received.header("cookie"), received.header("user-agent")), (Some("a=1"), Some("unit")));
}

#[tokio::test]
async fn headers_for_the_proxy_are_not_forwarded() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let dropped = [
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Anything",
        "x_forwarded_for",
        "Forwarded",
        "X-Attache-User",
        "x-attache-token",
        "X_Attache_User",
        "X.Attache.User",
        "Proxy-Authorization",
        "Proxy-Connection",
        "Keep-Alive",
        "TE",
        "Trailer",
        "X-Nominated",
    ];
    let request = dropped.into_iter().fold(get("/mailer/x"), |request, name| request.header(name, "bogus"));
    let request = request.header("Connection", "keep-alive, X-Nominated").header("X-Stays", "1");
    assert_eq!(attache.send(request).await.status, 200);
    let received = third_party.only_request().await;
    assert!(!String::from_utf8_lossy(&received.head.raw).contains("bogus"), "{:?}", received.fields);
    assert_eq!(received.header("x-stays"), Some("1"));
}

#[tokio::test]
async fn connection_cannot_remove_what_attache_adds() {
    let (third_party, key) = (third_party(), secret("api"));
    let lines = "account: { authorization: { header: { name: X-API-KEY, value: { env: KEY } } } }";
    let attache =
        attache().given("third_party", third_party.url()).env("KEY", &key).with(&mailer(lines)).await;
    attache.send(get("/mailer/x").header("Connection", "X-API-KEY, Host, X-Forwarded-For")).await;
    let received = third_party.only_request().await;
    assert_eq!(received.all("x-api-key"), [key]);
    assert_eq!(received.all("host"), [third_party.authority()]);
}

#[tokio::test]
async fn identity_headers_are_dropped_on_the_outbound_side_too() {
    let third_party = third_party();
    let yaml =
        format!("identity_headers: {{ user: X-Forwarded-User, service: X-Via-Service }}\n{}", mailer(""));
    let attache = attache().given("third_party", third_party.url()).with(&yaml).await;
    let names =
        ["X-Forwarded-User", "x_forwarded.user", "X-VIA_Service", "x.via.service", "X-Attache-Key-Id"];
    let request = names.into_iter().fold(get("/mailer/x"), |request, name| request.header(name, "bogus"));
    attache.send(request).await;
    let received = third_party.only_request().await;
    assert!(!String::from_utf8_lossy(&received.head.raw).contains("bogus"), "{:?}", received.fields);
}

/// RFC 9110 section 10.1.1.
#[tokio::test]
async fn expect_travels_with_content_only_and_not_from_http_1_0() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let expecting = |request: Request| request.header("Expect", "100-continue");
    attache.send(expecting(get("/mailer/none"))).await;
    attache.send(expecting(post("/mailer/empty", ""))).await;
    attache.send(expecting(post("/mailer/old", "body")).http10()).await;
    attache.send(expecting(post("/mailer/content", "body"))).await;
    let passed_on: Vec<_> =
        third_party.requests().iter().map(|request| request.header("expect").is_some()).collect();
    assert_eq!(passed_on, [false, false, false, true]);
}
