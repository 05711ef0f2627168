//! The service of a request by its `Host`, and by a URL in absolute form.

use crate::harness::*;
use serde_json::json;

/// Two services with credentials of their own, `mailer` below `/v3`, both with a host.
async fn two(mailer: &Stub, bank: &Stub, more: &str) -> Attache {
    let yaml = format!(
        "
        {more}
        services:
          mailer:
            account: {{ authorization: {{ header: {{ name: X-Key, value: {{ env: MAILER_KEY }} }} }} }}
            server_url: '{{{{mailer}}}}/v3'
            hosts: [mailer.internal, Post.Internal.]
          bank:
            account: {{ authorization: {{ header: {{ name: X-Key, value: {{ env: BANK_KEY }} }} }} }}
            server_url: '{{{{bank}}}}'
            hosts: [bank.internal]"
    );
    let setup = attache().given("mailer", mailer.url()).given("bank", bank.url());
    setup.env("MAILER_KEY", secret("mailer")).env("BANK_KEY", secret("bank")).with(&yaml).await
}

fn by_host(target: &str, host: &str) -> Request {
    get(target).without_host().header("Host", host)
}

/// The last target that a stub received.
fn last(stub: &Stub) -> String {
    stub.requests().last().map(|request| request.target()).unwrap_or_default()
}

#[tokio::test]
async fn a_host_of_a_service_comes_before_the_path() {
    let (mailer, bank) = (third_party(), third_party());
    let attache = two(&mailer, &bank, "").await;
    for (host, target, expected) in [
        ("mailer.internal", "/", "/v3/"),
        ("MAILER.Internal.:8080", "/a%2Fb//c?q=%20", "/v3/a%2Fb//c?q=%20"),
        ("post.internal:1", "/bank/pay", "/v3/bank/pay"),
        ("mailer.internal", "/mailer/x", "/v3/mailer/x"),
        ("mailer.internal", "//bank.internal/x", "/v3//bank.internal/x"),
    ] {
        assert_eq!(attache.send(by_host(target, host)).await.status, 200, "{host} {target}");
        assert_eq!(last(&mailer), expected, "{host} {target}");
    }
    // Another `Host` leads by the path.
    for host in [
        "other",
        "127.0.0.1",
        "xmailer.internal",
        "mailer.internal.bank",
        "mailer%2einternal",
        "mailer.internal:x",
    ] {
        assert_eq!(attache.send(by_host("/bank/x", host)).await.status, 200, "{host}");
        assert_eq!(last(&bank), "/x", "{host}");
    }
    assert_eq!(bank.requests().len(), 6);
    let line = attache.access_log_line("a request by its host", |line| line["path"] == "/bank/pay").await;
    assert_eq!((&line["service"], &line["account"]), (&json!("mailer"), &json!("services/mailer")));
    let requests = attache.metrics().await;
    let counted = requests.value(
        "attache_requests_total",
        &[("direction", "outbound"), ("service", "mailer"), ("status", "200")],
    );
    assert_eq!(counted, Some(5.0));
}

/// RFC 9112 section 3.2.2: the authority of the target counts.
#[tokio::test]
async fn a_target_in_absolute_form_counts_more_than_host() {
    let (mailer, bank) = (third_party(), third_party());
    let attache = two(&mailer, &bank, "").await;
    let mixed = by_host("http://mailer.internal/x", "bank.internal");
    assert_eq!(attache.send(mixed).await.status, 200);
    assert_eq!((last(&mailer).as_str(), bank.seen().heads), ("/v3/x", 0));
    // Without `http_proxy` its path leads to a service, whatever its authority.
    assert_eq!(attache.send(by_host("http://elsewhere/bank/x", "mailer.internal")).await.status, 200);
    assert_eq!(last(&bank), "/x");
}

#[tokio::test]
async fn a_refusal_by_host_names_the_service_and_dot_segments_are_refused() {
    let (mailer, bank) = (third_party(), third_party());
    let attache = two(&mailer, &bank, "").await;
    for target in ["/../x", "/%2e%2e/x", "/..;/x", "/a/..%2fbank"] {
        let answer = attache.send(by_host(target, "mailer.internal")).await;
        answer.problem("request_invalid", 400, "http_request_error");
    }
    assert_eq!(mailer.seen().heads, 0);
}

/// Proxies: a URL of a service in absolute form.
#[tokio::test]
async fn an_http_proxy_matches_the_authority_and_the_longest_path() {
    let (mailer, bank) = (third_party(), third_party());
    let (mailer_at, bank_at) = (mailer.address().to_string(), bank.address().to_string());
    let yaml = "
        http_proxy: true
        services:
          mailer: { account: { authorization: none }, server_url: '{{mailer}}/v3', hosts: [mailer.internal] }
          mailer-admin: { account: { authorization: none }, server_url: '{{mailer}}/v3/admin' }
          bank: { account: { authorization: none }, server_url: '{{bank}}' }
          twin: { account: { authorization: none }, server_url: '{{bank}}/twin' }
          other-twin: { account: { authorization: none }, server_url: '{{bank}}/twin' }";
    let attache = attache().given("mailer", mailer.url()).given("bank", bank.url()).with(yaml).await;
    for (url, service) in [
        (format!("http://{mailer_at}/v3/x?y"), "mailer"),
        (format!("HTTP://{mailer_at}/v3"), "mailer"),
        (format!("http://{mailer_at}/v3/admin/x"), "mailer-admin"),
        (format!("http://{mailer_at}/v3/administrator"), "mailer"),
        ("http://mailer.internal/x".to_owned(), "mailer"),
        (format!("http://{bank_at}/mailer/x"), "bank"),
    ] {
        let answer = attache.send(get(url.as_str()).without_host().header("Host", "ignored")).await;
        assert_eq!(answer.status, 200, "{url}");
        let id = answer.request_id().to_owned();
        let line = attache.access_log_line("its line", |line| line["request_id"] == id.as_str()).await;
        assert_eq!(line["service"], service, "{url}");
    }
    let tie = attache.send(get(format!("http://{bank_at}/twin/x"))).await;
    let problem = tie.problem("request_invalid", 400, "http_request_error");
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("`twin`") && detail.contains("`other-twin`"), "{detail}");
    for url in [
        format!("http://{mailer_at}/v2/x"),
        format!("http://{mailer_at}/v33"),
        format!("http://{mailer_at}/mailer/x"),
        format!("http://{}/mailer/x", attache.outbound()),
        "http://evil.example/mailer/x".to_owned(),
        format!("http://evil.example:{}/v3/x", mailer.address().port()),
    ] {
        let answer = attache.send(get(url.as_str())).await;
        answer.problem("service_unknown", 404, "destination_not_found");
    }
    // In origin form nothing changes.
    assert_eq!(attache.send(by_host("/bank/x", &mailer_at)).await.status, 200);
    let connect = attache.send(request("CONNECT", mailer_at)).await;
    let problem = connect.problem("method_denied", 405, "http_request_denied");
    assert!(connect.header("allow").is_some_and(|allow| allow.contains("GET")));
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("http_proxy")), "{problem}");
}

/// As with a Telegram library, whose URL cannot be without a token.
#[tokio::test]
async fn a_placeholder_stands_for_a_credential_in_the_path() {
    let third_party = third_party();
    let yaml = "
        http_proxy: true
        services:
          telegram:
            account: { authorization: { path: { env: TOKEN } } }
            server_url: '{{third_party}}/bot{credential}/v1'";
    let token = format!("123:{}", secret("telegram"));
    let setup = attache().given("third_party", third_party.url()).env("TOKEN", &token);
    let attache = setup.with(yaml).await;
    let at = third_party.address();
    let answer = attache.send(get(format!("http://{at}/botPLACEHOLDER/v1/getMe?x=1"))).await;
    assert_eq!((answer.status, last(&third_party)), (200, format!("/bot{token}/v1/getMe?x=1")));
    let line = attache.access_log_line("its line", |line| line["service"] == "telegram").await;
    assert_eq!(line["path"], "/bot{credential}/v1/getMe");
    for path in ["/bot/a/v1/getMe", "/xbotPLACEHOLDER/v1/getMe", "/botPLACEHOLDER/v2", "/botPLACEHOLDER"] {
        let answer = attache.send(get(format!("http://{at}{path}"))).await;
        answer.problem("service_unknown", 404, "destination_not_found");
    }
}

#[tokio::test]
async fn a_client_of_the_http_proxy_names_the_whole_path() {
    let third_party = third_party();
    let yaml = "
        http_proxy: true
        accounts: { open: { authorization: none } }
        services:
          mailer: { account: open, server_url: '{{third_party}}/v3/', hosts: [mailer.internal] }";
    let attache = attache().given("third_party", third_party.url()).with(yaml).await;
    let url = third_party.url();
    for (target, expected) in
        [(format!("{url}/v3"), "/v3"), (format!("{url}/v3?x"), "/v3?x"), (format!("{url}/v3/"), "/v3/")]
    {
        let before = third_party.seen().heads;
        assert_eq!(attache.send(get(target.clone())).await.status, 200, "{target}");
        assert_eq!(String::from_utf8_lossy(&third_party.head(before).await.target), expected, "{target}");
    }
}
