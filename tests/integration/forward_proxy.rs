//! `proxy`: through squid, and past proxies that misbehave.

use crate::harness::*;
use std::time::Duration;

const NAME: &str = "upstream.test";
const KEY_SET: &str = include_str!("../config_cases/secrets/jwks.json");

/// Returns a file with a service `mailer` at a name that only the proxy knows.
fn through(proxy: &str, lines: &str) -> String {
    format!("proxy: {proxy}\n{}", mailer(lines))
}

fn named(stub: &Stub) -> String {
    stub.url().replace("127.0.0.1", NAME)
}

/// Waits until `count` keys of the issuer `k8s` are known.
async fn known_keys(attache: &Attache, count: usize) {
    let known = async || (attache.status().await["issuers"]["k8s"]["keys"] == count).then_some(());
    eventually("the keys", known).await;
}

async fn last_line(attache: &Attache) -> serde_json::Value {
    attache.access_log_line("the request", |line| line["path"] == "/mailer/x").await
}

#[tokio::test]
async fn https_goes_through_a_tunnel_and_http_in_absolute_form() {
    let ca = CertificateAuthority::new();
    let squid = Squid::start(&[NAME], None).await;
    let (tls, plain) = (third_party().with_tls_for(&ca, NAME), third_party());
    let yaml = "
        proxy: { url: '{{proxy}}' }
        services:
          tls: { account: { authorization: none }, server_url: '{{tls}}/v3', tls: { ca: '{{ca}}' } }
          plain: { account: { authorization: none }, server_url: '{{plain}}/v3' }";
    let setup = attache().given("proxy", squid.url()).given("tls", named(&tls)).given("plain", named(&plain));
    let attache = setup.file("ca", &ca.pem()).with(yaml).await;
    for (service, stub) in [("tls", &tls), ("plain", &plain)] {
        for n in 0..2 {
            let answer = attache.send(post(format!("/{service}/a%2Fb?n={n}"), "body")).await;
            assert_eq!(answer.status, 200, "{service}: {}", answer.text());
        }
        let requests = stub.requests();
        assert_eq!(requests.len(), 2, "{service}");
        assert_eq!((requests[0].target().as_str(), &requests[0].body[..]), ("/v3/a%2Fb?n=0", &b"body"[..]));
        let authority = stub.authority().replace("127.0.0.1", NAME);
        assert_eq!(requests[0].header("host"), Some(authority.as_str()));
    }
    assert_eq!(tls.requests()[1].connection, 0, "a tunnel is kept for other requests");
    let log = squid.log();
    assert!(log.contains(&format!("POST http://{NAME}")), "{log}");
    drop(attache);
    eventually("the tunnel's line", async || squid.log().contains(&format!("CONNECT {NAME}")).then_some(()))
        .await;
}

#[tokio::test]
async fn the_password_is_for_the_proxy_only() {
    let ca = CertificateAuthority::new();
    let password = secret("proxy");
    let squid = Squid::start(&[NAME], Some(&password)).await;
    let (tls, plain) = (third_party().with_tls_for(&ca, NAME), third_party());
    let yaml = "
        proxy: { url: '{{proxy}}', username: attache, password: { env: PROXY_PASSWORD } }
        services:
          tls: { account: { authorization: none }, server_url: '{{tls}}', tls: { ca: '{{ca}}' } }
          plain: { account: { authorization: none }, server_url: '{{plain}}' }";
    let setup = || {
        let setup = attache().given("proxy", squid.url()).given("tls", named(&tls));
        setup.given("plain", named(&plain)).file("ca", &ca.pem())
    };
    let attache = setup().env("PROXY_PASSWORD", &password).with(yaml).await;
    for (service, stub) in [("tls", &tls), ("plain", &plain)] {
        let call = get(format!("/{service}/x")).header("Proxy-Authorization", "Basic Y2xpZW50OmNsaWVudA==");
        let answer = attache.send(call).await;
        assert_eq!(answer.status, 200, "{service}: {}", answer.text());
        let request = stub.only_request().await;
        assert!(request.all("proxy-authorization").is_empty(), "{service}: {request:?}");
    }
    drop(attache);

    let attache = setup().env("PROXY_PASSWORD", secret("wrong")).with(yaml).await;
    for service in ["tls", "plain"] {
        let answer = attache.send(get(format!("/{service}/x"))).await;
        answer.problem("service_unreachable", 502, "connection_refused");
        assert_eq!(answer.header("proxy-authenticate"), None);
        let line = attache.access_log_line("it", |line| line["service"] == service).await;
        assert_eq!(line["reason"], "proxy_authentication", "{line:#}");
        assert_eq!(line["phase"], if service == "tls" { "connect" } else { "wait" }, "{line:#}");
    }
    attache.stderr_line("the proxy 127.0.0.1:[0-9]+.*407").await;
    drop(attache);

    // Without its password no request is sent; a service that needs no proxy is served.
    let yaml = format!(
        "{yaml}\n          direct: {{ account: {{ authorization: none }}, server_url: '{{{{plain}}}}', proxy: direct }}"
    );
    let attache = setup().with(&yaml).await;
    attache.send(get("/tls/x")).await.problem("credential_unavailable", 503, "proxy_configuration_error");
    let answer = attache.send(get("/direct/x")).await;
    answer.problem("service_unreachable", 502, "dns_error");
}

#[tokio::test]
async fn a_token_comes_through_the_proxy() {
    let squid = Squid::start(&[NAME, "id.test"], None).await;
    let (third_party, token) = (third_party(), secret("token"));
    let endpoint = token_endpoint().issues(&token);
    let yaml = through(
        "{ url: '{{proxy}}' }",
        "
        account:
          authorization:
            oauth2: { grant: client_credentials, token_url: '{{token_url}}', client_id: id, allow_plaintext: true,
                      client_secret: { env: CLIENT_SECRET } }
        allow_plaintext: true",
    );
    let setup = attache().given("third_party", named(&third_party)).given("proxy", squid.url());
    let setup = setup.given("token_url", endpoint.url().replace("127.0.0.1", "id.test"));
    let attache = setup.env("CLIENT_SECRET", secret("client")).with(&yaml).await;
    let answer = attache.send(get("/mailer/x")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(third_party.only_request().await.all("authorization"), [format!("Bearer {token}")]);
    let log = squid.log();
    assert!(log.contains("POST http://id.test") && log.contains(&format!("GET http://{NAME}")), "{log}");
}

/// TLS is between attache and the server, for a token and for a key set as well.
#[tokio::test]
async fn a_token_and_a_key_set_come_through_a_tunnel() {
    let ca = CertificateAuthority::new();
    let (password, token) = (secret("proxy"), secret("token"));
    let squid = Squid::start(&["id.test", "keys.test"], Some(&password)).await;
    let (third_party, keys) = (third_party(), crate::harness::third_party().with_tls_for(&ca, "keys.test"));
    let keys = keys.answers(200, KEY_SET);
    let tokens = crate::harness::third_party().with_tls_for(&ca, "id.test");
    let issued = format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":900}}"#);
    let tokens = tokens.answers(200, &issued);
    let yaml = "
        proxy: { url: '{{proxy}}', username: attache, password: { env: PROXY_PASSWORD } }
        issuers:
          k8s: { issuer: 'https://id.example', audience: a, jwks: { url: '{{keys}}/jwks', ca: '{{ca}}' } }
        services:
          mailer:
            server_url: '{{third_party}}'
            account:
              authorization:
                oauth2: { grant: client_credentials, token_url: '{{tokens}}/token', client_id: id, tls: { ca: '{{ca}}' },
                          client_secret: { env: CLIENT_SECRET } }";
    let setup = attache().given("proxy", squid.url()).given("third_party", third_party.url());
    let setup = setup.given("keys", keys.url().replace("127.0.0.1", "keys.test")).file("ca", &ca.pem());
    let setup = setup.given("tokens", tokens.url().replace("127.0.0.1", "id.test"));
    let setup = setup.env("PROXY_PASSWORD", &password).env("CLIENT_SECRET", secret("client"));
    let attache = setup.with(yaml).await;
    assert_eq!(attache.send(get("/mailer/x")).await.status, 200);
    assert_eq!(third_party.only_request().await.all("authorization"), [format!("Bearer {token}")]);
    known_keys(&attache, 2).await;
    for (stub, path) in [(&keys, "/jwks"), (&tokens, "/token")] {
        let request = stub.only_request().await;
        assert_eq!((request.target().as_str(), request.all("proxy-authorization").len()), (path, 0));
    }
    let log = squid.log();
    assert!(log.contains("CONNECT id.test") && log.contains("CONNECT keys.test"), "{log}");
}

/// The keys stay in use when the proxy changes, and the next ones come another way.
#[tokio::test]
async fn a_change_of_the_proxy_reaches_the_key_sets() {
    let ca = CertificateAuthority::new();
    let (squid, third_party) = (Squid::start(&["keys.test"], None).await, third_party());
    let keys = crate::harness::third_party().with_tls_for(&ca, "keys.test").answers(200, KEY_SET);
    let other = crate::harness::third_party().answers_raw(*b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
    let yaml = "
        proxy: { url: '{{proxy}}' }
        issuers:
          k8s: { issuer: 'https://id.example', audience: a, jwks: { url: '{{keys}}/jwks', ca: '{{ca}}' } }
        services: { mailer: { account: { authorization: none }, server_url: '{{third_party}}' } }";
    let setup = attache().given("proxy", squid.url()).given("third_party", third_party.url());
    let setup = setup.given("keys", keys.url().replace("127.0.0.1", "keys.test"));
    let mut attache = setup.file("ca", &ca.pem()).with(yaml).await;
    known_keys(&attache, 2).await;
    attache.give("proxy", other.url());
    attache.reload(yaml, "applied").await;
    let request = other.head(0).await;
    let target = keys.authority().replace("127.0.0.1", "keys.test");
    assert_eq!((request.method.as_str(), request.target()), ("CONNECT", target));
    known_keys(&attache, 2).await;
    attache.stderr_line("WARN.*last ones stay in use.*403").await;
}

/// Without the password, no key set is asked for.
#[tokio::test]
async fn a_key_set_waits_for_the_password_of_the_proxy() {
    let (proxy, third_party) = (third_party().hangs(), third_party());
    let yaml = "
        proxy: { url: '{{proxy}}', username: attache, password: { env: PROXY_PASSWORD } }
        issuers: { k8s: { issuer: 'https://id.example', audience: a, jwks: { url: 'https://keys.example' } } }
        services: { mailer: { account: { authorization: none }, server_url: '{{third_party}}' } }";
    let setup = attache().given("proxy", proxy.url()).given("third_party", third_party.url());
    let attache = setup.with(yaml).await;
    let labels = [("issuer", "k8s")];
    assert_eq!(attache.metrics().await.value("attache_credential_unavailable", &labels), Some(1.0));
    for _ in 0..3 {
        assert_eq!(attache.send(get("/mailer/x")).await.status, 200);
    }
    assert_eq!(proxy.seen().opened, 0);
}

/// The proxy of an account is another than the file's, and its refusal has a reason of its own.
#[tokio::test]
async fn a_token_that_the_proxy_does_not_let_through() {
    let third_party = third_party();
    let proxy = crate::harness::third_party().answers_raw(*b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n");
    let lines = "
        account:
          authorization:
            oauth2: { grant: client_credentials, token_url: 'https://id.test/token', client_id: id,
                      client_secret: { env: CLIENT_SECRET }, proxy: { url: '{{proxy}}' } }";
    let setup = attache().given("third_party", third_party.url()).given("proxy", proxy.url());
    let attache = setup.env("CLIENT_SECRET", secret("client")).with(&mailer(lines)).await;
    attache.send(get("/mailer/x")).await.problem("token_unavailable", 503, "destination_unavailable");
    assert_eq!(last_line(&attache).await["reason"], "token_endpoint_proxy");
    assert_eq!(proxy.head(0).await.target(), "id.test:443");
    assert_eq!(third_party.seen().heads, 0);
}

#[tokio::test]
async fn a_name_that_the_proxy_does_not_know_is_its_refusal() {
    let squid = Squid::start(&[], None).await;
    let setup = attache().given("third_party", "https://nowhere.invalid").given("proxy", squid.url());
    let attache = setup.with(&through("{ url: '{{proxy}}' }", "timeout: 20s")).await;
    let answer = attache.send(get("/mailer/x")).await;
    answer.problem("service_unreachable", 502, "connection_refused");
    let line = last_line(&attache).await;
    assert_eq!((&line["reason"], &line["phase"]), (&"proxy_refused".into(), &"connect".into()), "{line:#}");
}

/// This host, `no_proxy` and `proxy: direct` need no proxy; the environment names one on request.
#[tokio::test]
async fn what_is_reached_directly() {
    let third_party = third_party();
    let (nowhere, _socket) = refused();
    let dead = format!("http://{nowhere}");
    let yaml = "
        proxy: { url: '{{dead}}', no_proxy: [corp.example] }
        services:
          here: { account: { authorization: none }, server_url: '{{third_party}}' }
          corp: { account: { authorization: none }, server_url: 'http://a.corp.example' }
          direct: { account: { authorization: none }, server_url: 'http://b.example.invalid', proxy: direct }
          proxied: { account: { authorization: none }, server_url: 'http://c.example.invalid' }";
    let setup = || attache().given("third_party", third_party.url()).given("dead", dead.clone());
    let attache = setup().with(yaml).await;
    assert_eq!(attache.send(get("/here/x")).await.status, 200);
    for (service, reason) in
        [("corp", "dns_error"), ("direct", "dns_error"), ("proxied", "proxy_unreachable")]
    {
        let answer = attache.send(get(format!("/{service}/x"))).await;
        assert_eq!(answer.status, 502, "{service}: {}", answer.text());
        let line = attache.access_log_line(service, |line| line["service"] == service).await;
        let found = line["reason"].as_str().unwrap_or_default();
        assert!(
            found == reason || (reason == "dns_error" && found.starts_with("dns_")),
            "{service}: {line:#}"
        );
    }
    attache.stderr_line(&format!("the proxy {nowhere}")).await;
    drop(attache);

    let yaml = yaml.replace("url: '{{dead}}', no_proxy: [corp.example]", "from_environment: true");
    let setup = setup().env("HTTP_PROXY", &dead).env("no_proxy", "other.example,.CORP.example");
    let attache = setup.with(&yaml).await;
    for (service, reason) in [("corp", "dns_"), ("proxied", "proxy_unreachable")] {
        attache.send(get(format!("/{service}/x"))).await;
        let line = attache.access_log_line(service, |line| line["service"] == service).await;
        assert!(line["reason"].as_str().is_some_and(|found| found.starts_with(reason)), "{line:#}");
    }
}

/// The answers of a proxy to CONNECT, and what becomes of the request.
#[tokio::test]
async fn a_proxy_that_misbehaves_is_named() {
    let head = |text: &str| vec![Step::Send(text.as_bytes().to_vec())];
    let then = |mut steps: Vec<Step>, last| {
        steps.push(last);
        steps
    };
    let huge = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(100 << 10));
    let endless = "HTTP/1.1 102 Processing\r\n\r\n".repeat(64);
    let cases: Vec<(Vec<Step>, &str)> = vec![
        (head("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"), "proxy_refused"),
        (
            head("HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"),
            "proxy_authentication",
        ),
        (head("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), "proxy_protocol_error"),
        (head("HTTP/1.1 200 OK\r\n\r\n\x16\x03\x01"), "proxy_protocol_error"),
        (head("<html><body>200</body></html>"), "proxy_protocol_error"),
        (head(&huge), "proxy_protocol_error"),
        (head(&endless), "proxy_protocol_error"),
        (then(head("HTTP/1.1 200 OK\r\n"), Step::Close), "proxy_terminated"),
        (vec![Step::Close], "proxy_terminated"),
        (vec![Step::Reset], "proxy_terminated"),
        // A tunnel to a server that ends the handshake: no longer the proxy's answer.
        (
            then(
                head("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
                Step::Close,
            ),
            "connection_terminated",
        ),
    ];
    for (steps, reason) in cases {
        let case = format!("{steps:?}");
        let case = &case[..case.len().min(200)];
        let proxy = third_party().scripted(move |_request| steps.clone());
        let setup = attache().given("third_party", "https://api.example").given("proxy", proxy.url());
        let attache = setup.with(&through("{ url: '{{proxy}}' }", "")).await;
        let answer = attache.send(post("/mailer/x", "body")).await;
        assert_eq!(answer.status, 502, "{case}: {}", answer.text());
        let line = last_line(&attache).await;
        assert_eq!(line["reason"], reason, "{case}: {line:#}");
        let request = proxy.head(0).await;
        assert_eq!((request.method.as_str(), request.target().as_str()), ("CONNECT", "api.example:443"));
        assert_eq!(request.header("host"), Some("api.example:443"));
        assert_eq!(proxy.seen().heads, 1, "{case}: not sent again");
    }
}

/// The time of the proxy counts towards the deadline, and towards `connect_timeout`.
#[tokio::test]
async fn a_proxy_that_is_slow_is_a_connection_timeout() {
    for lines in ["timeout: 500ms", "timeout: 20s\nconnect_timeout: 500ms"] {
        let proxy = third_party().drips_its_head(ms(200));
        let setup = attache().given("third_party", "https://api.example").given("proxy", proxy.url());
        let attache = setup.with(&through("{ url: '{{proxy}}' }", lines)).await;
        let answer = attache.send(get("/mailer/x")).await;
        answer.problem("service_timeout", 504, "connection_timeout");
        assert!(answer.head_after < Duration::from_secs(4), "{:?}", answer.head_after);
        assert_eq!(last_line(&attache).await["phase"], "connect");
        if lines.contains("connect_timeout") {
            let named = format!("through the proxy {}", proxy.authority());
            assert!(attache.stderr_line("connect_timeout").await.contains(&named));
        }
    }
}

/// Requests in absolute form: the answer is the proxy's to give, but for its 407.
#[tokio::test]
async fn a_request_in_absolute_form_carries_the_credential_and_the_password() {
    let (password, key) = (secret("proxy"), secret("key"));
    let proxy = third_party().answers(200, "<html>");
    let yaml = through(
        "{ url: '{{proxy}}', username: attache, password: { env: PROXY_PASSWORD } }",
        "
        account: { authorization: { header: { name: X-Key, value: { env: KEY } } } }
        server_url: http://api.example:8080/v3
        allow_plaintext: true",
    );
    let setup = attache().given("third_party", "unused").given("proxy", proxy.url());
    let attache = setup.env("PROXY_PASSWORD", &password).env("KEY", &key).with(&yaml).await;
    let answer = attache.send(get("/mailer/x?a=b")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "<html>"));
    let request = proxy.only_request().await;
    assert_eq!(request.target(), "http://api.example:8080/v3/x?a=b");
    assert_eq!(request.header("host"), Some("api.example:8080"));
    assert_eq!(request.all("x-key"), [key]);
    assert_eq!(request.all("proxy-authorization").len(), 1);
}

/// A change of the proxy leads to other connections, and one of the file's proxy changes no service.
#[tokio::test]
async fn connections_are_shared_only_through_the_same_proxy() {
    let (one, other) = (third_party(), third_party());
    let yaml = through("{ url: '{{proxy}}' }", "server_url: http://api.example");
    let setup = attache().given("third_party", "unused").given("proxy", one.url());
    let mut attache = setup.with(&yaml).await;
    for _ in 0..2 {
        assert_eq!(attache.send(get("/mailer/x")).await.status, 200);
    }
    attache.give("proxy", other.url());
    attache.reload(&yaml, "applied").await;
    assert_eq!(attache.send(get("/mailer/x")).await.status, 200);
    assert_eq!((one.seen().heads, one.seen().opened, other.seen().heads), (2, 1, 1));
    let line = attache.stderr_line("configuration applied").await;
    assert!(line.contains("~proxy") && !line.contains("services="), "{line}");
}
