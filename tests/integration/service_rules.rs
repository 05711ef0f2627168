//! The rules of a service: the requests that it takes, and how they are changed.

use crate::harness::*;
use std::sync::atomic::{AtomicBool, Ordering};

/// Attempts to use a right that one does not have: method, target below `/mailer`, and the code of the answer.
const ATTEMPTS: [(&str, &str, &str); 36] = [
    ("POST", "/contacts", "method_denied"),
    ("HEAD", "/contacts", "method_denied"),
    ("get", "/contacts", "method_denied"),
    ("GETS", "/contacts", "method_denied"),
    ("GET", "", "request_denied"),
    ("GET", "/", "request_denied"),
    ("GET", "/admin", "request_denied"),
    ("GET", "/contact", "request_denied"),
    ("GET", "/Contacts", "request_denied"),
    ("GET", "/orders", "request_denied"),
    ("GET", "/status/x", "request_denied"),
    ("GET", "/%63ontacts", "request_denied"),
    ("GET", "//contacts", "request_denied"),
    ("GET", "/;/contacts", "request_denied"),
    ("GET", "/admin;/contacts", "request_denied"),
    ("GET", "/admin%3f/contacts", "request_denied"),
    ("GET", "/admin%00/contacts", "request_denied"),
    ("GET", "/admin?/contacts", "request_denied"),
    ("GET", "/\\contacts", "request_denied"),
    ("GET", "/%2fcontacts", "request_denied"),
    ("GET", "/contacts/../admin", "request_invalid"),
    ("GET", "/contacts/%2e%2e/admin", "request_invalid"),
    ("GET", "/contacts/..;/admin", "request_invalid"),
    ("GET", "/contacts/..%2fadmin", "request_invalid"),
    ("GET", "/contacts/..\\admin", "request_invalid"),
    ("GET", "/contacts/%c0%ae%c0%ae/admin", "request_invalid"),
    ("GET", "/contacts/%252e%252e/admin", "request_denied"),
    ("GET", "/contacts/%25252e%25252e%25252fadmin", "request_denied"),
    ("GET", "/contacts/..%252fadmin", "request_denied"),
    ("GET", "/contacts/..%20/admin", "request_denied"),
    ("GET", "/contacts/.%09./admin", "request_denied"),
    ("GET", "/contacts/%u002e%u002e/admin", "request_denied"),
    ("GET", "/contacts/%ef%bc%8e%ef%bc%8e/admin", "request_denied"),
    ("GET", "/contacts/..%ef%bc%8fadmin", "request_denied"),
    ("GET", "/contacts/%ae%ae/admin", "request_denied"),
    ("GET", "/contacts/.../admin", "request_denied"),
];

#[tokio::test]
async fn no_spelling_of_a_request_gets_past_allow() {
    let third_party = third_party();
    let lines = "allow: { methods: [GET, PUT], paths: [/contacts*, /orders/*, /status] }";
    let attache = attache_for(&third_party, lines).await;
    let mut wrong = Vec::new();
    for (method, rest, code) in ATTEMPTS {
        for origin in ["", "http://attache.example"] {
            let answer = attache.send(request(method, format!("{origin}/mailer{rest}"))).await;
            let said = answer.header("proxy-status").unwrap_or_default().to_owned();
            let found = if method == "HEAD" {
                "method_denied".to_owned()
            } else {
                answer.json()["code"].as_str().unwrap_or_default().to_owned()
            };
            if found != code || answer.status < 400 || said.is_empty() {
                wrong.push(format!("{method} {origin}{rest}: {} {found}, not {code}", answer.status));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(third_party.seen().heads, 0, "an attempt reached the service");
    for rest in
        ["/contacts", "/contacts/1?x=/admin", "/contacts/100%25", "/orders/", "/orders/a%2Fb", "/status"]
    {
        assert_eq!(attache.send(get(format!("/mailer{rest}"))).await.status, 200, "{rest}");
    }
    let targets: Vec<String> = third_party.requests().iter().map(Received::target).collect();
    assert_eq!(targets[1..4], ["/contacts/1?x=/admin", "/contacts/100%25", "/orders/"]);
}

#[tokio::test]
async fn a_denied_method_is_told_the_allowed_ones() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "allow: { methods: [GET, PUT] }").await;
    let answer = attache.send(request("DELETE", "/mailer/x")).await;
    let problem = answer.problem("method_denied", 405, "http_request_denied");
    assert_eq!((answer.header("allow"), problem["service"].as_str()), (Some("GET, PUT"), Some("mailer")));
    let denied = attache_for(&third_party, "allow: { paths: [/a] }").await.send(get("/mailer/b")).await;
    denied.problem("request_denied", 403, "http_request_denied");
    let line = attache.access_log_line("the refusal", |line| line["code"] == "method_denied").await;
    assert_eq!([&line["service"], &line["reason"], &line["path"]], ["mailer", "method", "/mailer/x"]);
}

#[tokio::test]
async fn no_header_states_another_method_or_path() {
    let third_party = third_party();
    let overrides =
        ["X-HTTP-Method-Override", "x_http_method", "X-Method-Override", "X-HTTP.Method.Override"];
    let paths = ["X-Original-URL", "X-Rewrite-Url", "x_original_url", "Destination"];
    let stating = async |attache: &Attache| {
        let all = overrides.iter().chain(&paths);
        let request = all.fold(get("/mailer/x"), |request, name| request.header(name, "/admin"));
        assert_eq!(attache.send(request).await.status, 200);
    };
    let attache = attache_for(&third_party, "allow: { methods: [GET], paths: [/x] }").await;
    stating(&attache).await;
    let attache = attache_for(&third_party, "allow: { methods: [GET] }").await;
    stating(&attache).await;
    let attache = attache_for(&third_party, "").await;
    stating(&attache).await;
    let counts: Vec<usize> = third_party
        .requests()
        .iter()
        .map(|request| String::from_utf8_lossy(&request.head.raw).matches(": /admin").count())
        .collect();
    assert_eq!(counts, [0, paths.len(), paths.len() + overrides.len()]);
}

#[tokio::test]
async fn headers_are_removed_then_set_and_the_credential_is_last() {
    let (third_party, tenant, token) = (third_party(), secret("tenant"), secret("token"));
    let setup = attache().given("third_party", third_party.url()).env("TENANT", &tenant).env("TOKEN", &token);
    let lines = "account: { authorization: { bearer: { env: TOKEN } } }\n\
                 set_headers: { X-Tenant: { env: TENANT }, X-API-Version: '3' }\n\
                 remove_headers: [Cookie, X-Debug, X-Tenant]";
    let attache = setup.with(&mailer(lines)).await;
    let spoofed = get("/mailer/x")
        .header("x_tenant", "mine")
        .header("X-TENANT", "mine")
        .header("x-api-version", "1")
        .header("Cookie", "a=b")
        .header("x.debug", "1")
        .header("X-Kept", "1");
    assert_eq!(attache.send(spoofed).await.status, 200);
    let received = third_party.only_request().await;
    let text = String::from_utf8_lossy(&received.head.raw).into_owned();
    assert_eq!(received.all("x-tenant"), [tenant.as_str()]);
    assert!(text.contains("\r\nX-API-Version: 3\r\n"), "{text}");
    assert!(text.ends_with(&format!("\r\nAuthorization: Bearer {token}\r\n\r\n")), "{text}");
    assert!(!text.to_lowercase().contains("mine") && !text.to_lowercase().contains("debug"), "{text}");
    assert_eq!((received.header("cookie"), received.header("x-kept")), (None, Some("1")));
}

#[tokio::test]
async fn a_missing_secret_of_set_headers_takes_down_its_service_alone() {
    let third_party = third_party();
    let yaml = "
    services:
      erp:
        account: { authorization: none }
        server_url: '{{third_party}}'
        set_headers: { X-Tenant: { file: '{{tenant}}' } }
      mailer: { account: { authorization: none }, server_url: '{{third_party}}' }";
    let attache = attache().given("third_party", third_party.url()).folder("tenant").with(yaml).await;
    attache.send(get("/erp/x")).await.problem("credential_unavailable", 503, "proxy_configuration_error");
    assert_eq!(attache.send(get("/mailer/x")).await.status, 200);
    assert_eq!(third_party.seen().heads, 1);
}

#[tokio::test]
async fn no_more_than_max_body_reaches_the_service() {
    let third_party = third_party().counts_bodies();
    let attache = attache_for(&third_party, "max_body: 1KiB").await;
    let too_large = |answer: Response| drop(answer.problem("request_too_large", 413, "http_request_error"));
    assert_eq!(attache.send(post("/mailer/x", vec![b'a'; 1024])).await.status, 200);
    too_large(attache.send(post("/mailer/x", vec![b'a'; 1025])).await);
    assert_eq!(third_party.seen().heads, 1);
    let half = [b'a'; 512];
    assert_eq!(attache.send(request("POST", "/mailer/x").chunked([&half, &half])).await.status, 200);
    let before = third_party.seen().body_bytes;
    too_large(attache.send(request("POST", "/mailer/x").chunked([&half, &half, b"a"])).await);
    too_large(attache.send(request("POST", "/mailer/x").chunked([&[b'a'; 2000]])).await);
    assert!(third_party.seen().body_bytes - before <= 2 * 1024, "{:?}", third_party.seen());
}

#[tokio::test]
async fn a_rate_is_one_of_all_requests_and_outlives_a_reload() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "rate_limit: { requests: 2, per: 1h }").await;
    for _ in 0..2 {
        assert_eq!(attache.send(get("/mailer/x")).await.status, 200);
    }
    let limited = async || {
        let answer = attache.send(get("/mailer/x")).await;
        answer.problem("rate_limited", 429, "connection_limit_reached");
        answer.header("retry-after").and_then(|seconds| seconds.parse::<u32>().ok())
    };
    assert!(limited().await.is_some_and(|seconds| (1790..=1800).contains(&seconds)));
    attache.reload(&mailer("rate_limit: { requests: 2, per: 1h }\nidle_timeout: 7s"), "applied").await;
    assert!(limited().await.is_some());
    assert_eq!(third_party.seen().heads, 2);
    let errors = [("direction", "outbound"), ("service", "mailer"), ("code", "rate_limited")];
    assert_eq!(attache.metrics().await.value("attache_errors_total", &errors), Some(2.0));
}

#[tokio::test]
async fn a_429_of_the_provider_is_passed_on_and_counted() {
    let third_party = third_party()
        .answers_raw(&b"HTTP/1.1 429 Too Many\r\nRetry-After: 17\r\nContent-Length: 4\r\n\r\nlate"[..]);
    let attache = attache_for(&third_party, "").await;
    let answer = attache.send(get("/mailer/x")).await;
    assert_eq!(
        (answer.status, answer.header("retry-after"), answer.text().as_str()),
        (429, Some("17"), "late")
    );
    let metrics = attache.metrics().await;
    assert_eq!(metrics.value("attache_service_rate_limited_total", &[("service", "mailer")]), Some(1.0));
    let errors = [("direction", "outbound"), ("service", "mailer"), ("code", "rate_limited")];
    assert_eq!(metrics.value("attache_errors_total", &errors).unwrap_or_default(), 0.0);
}

#[tokio::test]
async fn a_service_takes_as_many_requests_at_a_time_as_max_concurrent_allows() {
    let third_party = third_party().hangs();
    let attache = attache_for(&third_party, "max_concurrent: 2\ntimeout: 60s").await;
    let mut held = Vec::new();
    for n in 0..2 {
        let mut connection = Connection::open(attache.outbound()).await;
        connection.write(b"GET /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n").await;
        third_party.head(n).await;
        held.push(connection);
    }
    let answer = attache.send(get("/mailer/x")).await;
    answer.problem("overloaded", 503, "connection_limit_reached");
    assert_eq!(answer.header("retry-after"), Some("1"));
    // The requests of before a reload are counted.
    attache.reload(&mailer("max_concurrent: 1\ntimeout: 60s"), "applied").await;
    attache.send(get("/mailer/x")).await.problem("overloaded", 503, "connection_limit_reached");
    drop(held);
    third_party.does(|_| vec![Step::Send(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())]);
    eventually("a request to get through", async || {
        (attache.send(get("/mailer/x")).await.status == 204).then_some(())
    })
    .await;
}

#[tokio::test]
async fn tunnels_are_not_counted_by_max_concurrent() {
    let third_party = third_party().websocket_echo();
    let attache = attache_for(&third_party, "max_concurrent: 1").await;
    let upgrade = b"GET /mailer/x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut tunnels = Vec::new();
    for _ in 0..3 {
        let mut connection = Connection::open(attache.outbound()).await;
        connection.write(upgrade).await;
        assert!(connection.head().await.start.starts_with(b"HTTP/1.1 101"));
        tunnels.push(connection);
    }
}

#[tokio::test]
async fn a_path_credential_is_where_the_url_has_its_place_and_nowhere_else() {
    let (third_party, token) = (third_party(), format!("42:{}/+", secret("bot")));
    let yaml = "
    log: { level: debug }
    accounts: { bot: { authorization: { path: { file: '{{token}}' } } } }
    services:
      bot: { account: bot, server_url: '{{third_party}}/bot{credential}/v1' }";
    let given = attache().given("third_party", third_party.url()).file("token", &token);
    let attache = given.with(yaml).await;
    for rest in ["/sendMessage?chat=%7B", "/{credential}", ""] {
        assert_eq!(attache.send(get(format!("/bot{rest}"))).await.status, 200);
    }
    let sent = token.replace("/+", "%2F+");
    let targets: Vec<String> = third_party.requests().iter().map(Received::target).collect();
    let expected = ["/sendMessage?chat=%7B", "/{credential}", ""];
    assert_eq!(targets, expected.map(|rest| format!("/bot{sent}/v1{rest}")));

    // The harness looks for the secret in every answer, in the log, in /status and in the metrics.
    for command_line in [&["explain", "GET", "/bot/x"][..], &["render"], &["check"]] {
        let config = attache.config().display().to_string();
        let said = command(&[&["-c", &config], command_line].concat()).finish().await;
        assert_no_leak("a command", format!("{said:?}").as_bytes());
    }
    let status = attache.status().await.to_string();
    assert!(!status.contains("/v1"), "{status}");

    let other = secret("rotated");
    attache.rewrite_file("token", &other);
    eventually("the rotated credential", async || {
        attache.send(get("/bot/x")).await;
        third_party.requests().pop()?.target().contains(&other).then_some(())
    })
    .await;
    assert_eq!(third_party.seen().opened, 1, "another secret needs no other connection");
}

#[tokio::test]
async fn a_path_credential_never_remains_in_a_link() {
    let (third_party, token) = (third_party(), format!("42:{}", secret("bot")));
    let encoded = token.replace(':', "%3a");
    for (rewrite, location, expected) in [
        (true, format!("/bot{token}/next?page=2"), "/bot/next?page=2"),
        (true, format!("/bot{encoded}/next"), "/bot/next"),
        (true, "next".to_owned(), "next"),
        (true, format!("https://cdn.example/{token}/x"), "https://cdn.example/%5Bredacted%5D/x"),
        (false, format!("/bot{token}/next"), "/bot%5Bredacted%5D/next"),
    ] {
        let answer = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        third_party.does(move |_| vec![Step::Send(answer.clone().into_bytes())]);
        let yaml = format!(
            "
    services:
      bot:
        account: {{ authorization: {{ path: {{ env: BOT_TOKEN }} }} }}
        server_url: '{{{{third_party}}}}/bot{{credential}}'
        rewrite_links: {rewrite}"
        );
        let given = attache().given("third_party", third_party.url()).env("BOT_TOKEN", &token);
        let answer = given.with(&yaml).await.send(get("/bot/x")).await;
        assert_eq!(answer.header("location"), Some(expected), "{rewrite}");
    }
}

#[tokio::test]
async fn explain_diff_and_render_show_the_rules() {
    let (third_party, tenant) = (third_party(), secret("tenant"));
    let lines = "allow: { methods: [GET], paths: [/contacts*] }\n\
                 set_headers: { X-Tenant: { env: TENANT } }\n\
                 remove_headers: [Cookie]\nmax_body: 1MiB\nmax_concurrent: 7\n\
                 rate_limit: { requests: 5, per: 1s }";
    let attache =
        attache().given("third_party", third_party.url()).env("TENANT", &tenant).with(&mailer(lines)).await;
    let config = attache.config().display().to_string();
    let explained = command(&["explain", "-c", &config, "GET", "/mailer/contacts/1"]).finish().await;
    for shown in [
        "/contacts*",
        "1048576 bytes",
        "5 per 1s",
        "7 requests",
        "X-Tenant: [redacted]",
        "cookie",
        "x-http-method-override",
    ] {
        assert!(explained.stdout.contains(shown), "{shown}:\n{}", explained.stdout);
    }
    let refused = command(&["explain", "-c", &config, "POST", "/mailer/contacts"]).finish().await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stdout.contains("method_denied"), "{}", refused.stdout);
    let folder = tempfile::tempdir().expect("a folder");
    let other = folder.path().join("other.yaml");
    let text = std::fs::read_to_string(&config).expect("the file");
    std::fs::write(&other, text.replace("1MiB", "2MiB").replace("[Cookie]", "[Cookie, X-A]")).expect("write");
    let differs = command(&["diff", &config, &other.display().to_string()]).finish().await;
    assert!(differs.stdout.contains("max_body: 1MiB → 2MiB"), "{differs:?}");
    assert!(differs.stdout.contains("remove_headers[1]"), "{differs:?}");
}

/// A limit that is changed while a request waits for the service does not lose it.
#[tokio::test]
async fn a_rule_that_changes_does_not_concern_a_request_in_flight() {
    static ANSWERS: AtomicBool = AtomicBool::new(false);
    let third_party = third_party();
    third_party.does(|_| match ANSWERS.load(Ordering::Relaxed) {
        true => vec![Step::Send(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())],
        false => vec![Step::Pause(ms(300)), Step::Send(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())],
    });
    let attache = attache_for(&third_party, "").await;
    let mut connection = Connection::open(attache.outbound()).await;
    connection.write(b"POST /mailer/x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
    third_party.head(0).await;
    attache.reload(&mailer("allow: { methods: [GET] }"), "applied").await;
    assert_eq!(connection.response_to("POST").await.expect("an answer").status, 204);
    ANSWERS.store(true, Ordering::Relaxed);
    attache.send(post("/mailer/x", "")).await.problem("method_denied", 405, "http_request_denied");
}
