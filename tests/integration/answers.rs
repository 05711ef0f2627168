//! The upstream's responses, which are forwarded unchanged, and attache's own answers.

use crate::harness::*;
use regex::Regex;

#[tokio::test]
async fn an_answer_comes_back_unmodified() {
    for status in [200, 201, 302, 400, 401, 404, 418, 429, 500, 502, 503, 504] {
        let third_party = third_party().answers_raw(format!(
            "HTTP/1.1 {status} Theirs\r\nX-Case: Kept\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nServer: theirs\r\n\
             WWW-Authenticate: Basic\r\nProxy-Status: theirs; error=dns_error\r\nX-Request-Id: theirs\r\n\
             Content-Length: 4\r\n\r\nbody"
        ));
        let attache = attache_for(&third_party, "").await;
        let answer = attache.send(get("/mailer/x")).await;
        assert_eq!((answer.status, answer.text().as_str()), (status, "body"));
        assert_eq!(answer.all("set-cookie"), ["a=1", "b=2"]);
        assert_eq!(answer.all("server"), ["theirs"]);
        assert_eq!(answer.all("proxy-status"), ["theirs; error=dns_error"]);
        assert_eq!(answer.all("x-request-id"), ["theirs"]);
        assert_eq!(answer.all("x-attache-request-id").len(), 1);
    }
}

#[tokio::test]
async fn hop_by_hop_headers_of_an_answer_are_not_forwarded() {
    let third_party = third_party().answers_raw(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Theirs\r\nKeep-Alive: timeout=5\r\nX-Theirs: bogus\r\n\
         Proxy-Connection: bogus\r\nProxy-Authenticate: bogus\r\nUpgrade: h2c-bogus\r\nTrailer: bogus\r\n\
         X-Stays: 1\r\nContent-Length: 2\r\n\r\nok",
    );
    let attache = attache_for(&third_party, "").await;
    let answer = attache.send(get("/mailer/x")).await;
    assert!(!String::from_utf8_lossy(&answer.raw).contains("bogus"), "{:?}", answer.fields);
    assert_eq!((answer.header("keep-alive"), answer.header("x-stays")), (None, Some("1")));
}

#[tokio::test]
async fn a_well_formed_request_id_of_the_callers_is_used() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    for id in ["abc.DEF_1-2", &"x".repeat(128)] {
        let answer = attache.send(get("/mailer/x").header("X-Request-Id", id)).await;
        assert_eq!(answer.request_id(), id);
        let refused = attache.send(get("/unknown/x").header("X-Request-Id", id)).await;
        assert_eq!(refused.problem("service_unknown", 404, "destination_not_found")["request_id"], id);
    }
}

#[tokio::test]
async fn an_ill_formed_request_id_is_replaced_by_a_uuid() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let v7 = Regex::new("^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")
        .expect("a pattern");
    for id in ["", "a b", "a/b", "{}", "a\"b", &"x".repeat(129)] {
        let answer = attache.send(get("/mailer/x").header("X-Request-Id", id)).await;
        assert!(v7.is_match(answer.request_id()), "{id:?} became {:?}", answer.request_id());
    }
    let first = attache.send(get("/mailer/x")).await;
    let second = attache.send(get("/mailer/x")).await;
    assert_ne!(first.request_id(), second.request_id());
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    for (method, head) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"),
    ] {
        let third_party = third_party().answers_raw(head);
        let attache = attache_for(&third_party, "").await;
        let mut connection = Connection::open(attache.outbound()).await;
        for _ in 0..2 {
            let answer = connection.exchange(request(method, "/mailer/x")).await;
            assert_eq!(answer.body_length, 0);
            assert_eq!(answer.header("transfer-encoding"), None, "{head}");
        }
        assert_eq!(third_party.seen().opened, 1, "{head}");
    }
}

#[tokio::test]
async fn a_refusal_of_a_head_request_has_no_body() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let mut connection = Connection::open(attache.outbound()).await;
    let refused = connection.exchange(request("HEAD", "/unknown/x")).await;
    assert_eq!((refused.status, refused.header("content-type")), (404, Some("application/problem+json")));
    assert_eq!(connection.exchange(get("/mailer/x")).await.status, 200);
}

#[tokio::test]
async fn informational_answers_pass() {
    let third_party = third_party().answers_raw(
        "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let attache = attache_for(&third_party, "").await;
    let answer = attache.send(get("/mailer/x")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert!(answer.informational.iter().all(|head| head.start.starts_with(b"HTTP/1.1 103")));
}

#[tokio::test]
async fn an_http_1_0_client_gets_no_chunks() {
    let third_party = third_party()
        .answers_raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
    let attache = attache_for(&third_party, "").await;
    let answer = attache.send(get("/mailer/x").http10()).await;
    assert_eq!(answer.header("transfer-encoding"), None);
    assert_eq!((answer.text().as_str(), answer.complete), ("abcde", true));
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_arrives_completely() {
    let third_party = third_party().answers_raw_and_closes("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    let attache = attache_for(&third_party, "").await;
    let answer = attache.send(get("/mailer/x")).await;
    assert_eq!((answer.text().as_str(), answer.complete), ("until the end", true));
}

#[tokio::test]
async fn a_truncated_body_stays_incomplete() {
    for start in ["Content-Length: 9\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n9\r\nhalf"] {
        let third_party = third_party().answers_raw_and_closes(format!("HTTP/1.1 200 OK\r\n{start}"));
        let attache = attache_for(&third_party, "").await;
        let answer = attache.send(get("/mailer/x")).await;
        assert!(!answer.complete, "{start}");
        assert!(!answer.text().contains("urn:attache"), "{start}");
    }
}

#[tokio::test]
async fn an_unsolicited_101_is_refused() {
    let third_party = third_party()
        .answers_raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n");
    let attache = attache_for(&third_party, "").await;
    attache.send(get("/mailer/x")).await.problem("service_protocol", 502, "http_protocol_error");
}

#[tokio::test]
async fn accept_chooses_between_json_and_text() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    for (accept, text) in [
        ("text/plain", true),
        ("text/plain, application/json;q=0.5", true),
        ("text/*", true),
        ("*/*", false),
        ("application/json", false),
        ("application/problem+json, text/plain", false),
        ("text/plain;q=0.1, application/json", false),
        ("text/plain;q=0", false),
        ("nonsense", false),
    ] {
        let answer = attache.send(get("/unknown/x").header("Accept", accept)).await;
        let kind = answer.header("content-type").expect("a content type");
        assert_eq!(kind.starts_with("text/plain"), text, "{accept}: {kind}");
        if text {
            assert!(!answer.text().starts_with('{') && !answer.body.is_empty(), "{}", answer.text());
            assert_eq!(answer.all("proxy-status"), ["attache; error=destination_not_found"]);
            assert!(!answer.request_id().is_empty());
        } else {
            answer.problem("service_unknown", 404, "destination_not_found");
        }
    }
}

#[tokio::test]
async fn a_service_that_cannot_be_reached_is_a_502_with_the_services_message() {
    let (closed, _held) = refused();
    let given = attache().given("third_party", format!("http://{closed}"));
    let attache = given.with(&mailer("timeout_message: Mailer is away.")).await;
    let problem =
        attache.send(get("/mailer/x")).await.problem("service_unreachable", 502, "connection_refused");
    assert_eq!((&problem["detail"], &problem["service"]), (&"Mailer is away.".into(), &"mailer".into()));
}

#[tokio::test]
async fn a_service_that_closes_early_is_unreachable() {
    for third_party in [third_party().resets(), third_party().closes_without_answer()] {
        let attache = attache_for(&third_party, "").await;
        let answer = attache.send(get("/mailer/x")).await;
        let problem = answer.problem("service_unreachable", 502, "connection_terminated");
        assert_eq!(problem["detail"], "Mailer is not answering.");
    }
}

#[tokio::test]
async fn a_service_that_does_not_speak_http_is_a_502() {
    let third_party = third_party().answers_garbage();
    let attache = attache_for(&third_party, "").await;
    attache.send(get("/mailer/x")).await.problem("service_protocol", 502, "http_protocol_error");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_unreachable() {
    let attache = attache().with(&mailer("server_url: https://no-such-host.invalid")).await;
    attache.send(get("/mailer/x")).await.problem("service_unreachable", 502, "dns_error");
}

#[tokio::test]
async fn a_name_that_resolves_to_an_internal_address_is_denied() {
    let third_party = third_party().named("denied.localhost");
    let attache = attache_for(&third_party, "").await;
    attache.send(get("/mailer/x")).await.problem("address_denied", 502, "destination_ip_prohibited");
    assert_eq!(third_party.seen().opened, 0);
}

#[tokio::test]
async fn localhost_needs_no_permission() {
    let third_party = third_party().named("localhost");
    let attache = attache_for(&third_party, "").await;
    assert_eq!(attache.send(get("/mailer/x")).await.status, 200);
    assert_eq!(third_party.only_request().await.all("host"), [third_party.authority()]);
}

#[tokio::test]
async fn a_name_with_an_internal_address_may_be_allowed() {
    let third_party = third_party().named("allowed.localhost");
    let attache = attache_for(&third_party, "private_network: true").await;
    assert_eq!(attache.send(get("/mailer/x")).await.status, 200);
    assert_eq!(third_party.only_request().await.all("host"), [third_party.authority()]);
}

#[tokio::test]
async fn a_head_request_that_is_refused_early_gets_no_body() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let long = format!("HEAD /mailer/x HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(70_000));
    for listener in [attache.outbound(), attache.webhooks()] {
        for (head, status) in [
            ("HEAD /mailer/x HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
            ("HEAD /mailer/x HTTP/1.1\r\n\r\n", 400),
            ("HEAD /mailer/x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            (&long, 431),
        ] {
            let mut connection = Connection::open(listener).await;
            connection.write(head.as_bytes()).await;
            let answer = connection.response_to("HEAD").await.expect("an answer");
            assert_eq!(answer.status, status, "{head:.60}");
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
            assert_eq!(String::from_utf8_lossy(&connection.rest().await), "", "{head:.60}");
        }
    }
}

#[tokio::test]
async fn a_refused_method_is_answered_with_the_allowed_ones() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    for listener in [attache.outbound(), attache.webhooks()] {
        for line in ["TRACE /mailer/x", "CONNECT api.mailer.example:443", "TRACK /mailer/x"] {
            let mut connection = Connection::open(listener).await;
            connection
                .write(format!("{line} HTTP/1.1\r\nHost: api.mailer.example:443\r\n\r\n").as_bytes())
                .await;
            let answer = connection.response().await.expect("an answer");
            answer.problem("method_denied", 405, "http_request_denied");
            let allow = answer.header("allow").unwrap_or_else(|| panic!("{line}: no Allow"));
            assert!(!allow.contains("TRACE") && !allow.contains("CONNECT"), "{line}: {allow}");
        }
    }
    assert_eq!(third_party.seen().heads, 0);
}

/// The upstream has answered; the rest of the upload concerns only the client and attache.
#[tokio::test]
async fn an_upload_that_stalls_after_its_answer_is_not_an_upstream_timeout() {
    let third_party = third_party().reads_no_body().scripted(|_request| {
        let answer = b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno";
        vec![Step::Send(answer.to_vec()), Step::Pause(10 * PATIENCE)]
    });
    let attache = attache_for(&third_party, "timeout: 1s\nidle_timeout: 1s").await;
    let mut connection = Connection::open(attache.outbound()).await;
    connection.write(b"POST /mailer/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nstart").await;
    let answer = connection.response_to("POST").await.expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (417, "no"));
    let line = attache.access_log_line("the request", |line| line["service"] == "mailer").await;
    assert_eq!((&line["status"], &line["code"]), (&417.into(), &serde_json::Value::Null), "{line:#}");
    let labels = [("service", "mailer"), ("phase", "idle")];
    let counted = attache.metrics().await.value("attache_timeouts_total", &labels);
    assert!(counted.is_none_or(|n| n == 0.0), "{counted:?}");
}

/// The upstream never reads the upload, and the client does not stop sending it.
#[tokio::test]
async fn a_large_answer_to_an_upload_that_is_not_read_arrives_whole() {
    let size: u64 = 8 << 20;
    let third_party = third_party().reads_no_body().scripted(move |_request| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
        vec![Step::Send(head.into_bytes()), Step::Zeros(size), Step::Pause(10 * PATIENCE)]
    });
    let attache = attache_for(&third_party, "timeout: 20s\nidle_timeout: 3s").await;
    let answer = attache.send(request("POST", "/mailer/x").zeros(1 << 30)).await;
    assert_eq!((answer.status, answer.body_length, answer.complete), (200, size, true));
}
