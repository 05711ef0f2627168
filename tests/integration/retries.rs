//! `retries`: another attempt, where it is safe, in time, and within the budget.

use crate::harness::*;
use std::time::Instant;
use tokio::task::JoinSet;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const THREE: &str = "retries: { attempts: 3, on: [connect, reset, 503] }";

/// Returns an upstream that ends the first `n` requests with `steps`, and answers the others.
fn fails(n: usize, steps: Vec<Step>) -> Stub {
    let failed = std::sync::atomic::AtomicUsize::new(0);
    third_party().scripted(move |_request| {
        let nth = failed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if nth < n { steps.clone() } else { vec![Step::Send(OK.to_vec())] }
    })
}

fn unavailable(fields: &str) -> Vec<Step> {
    let head = format!("HTTP/1.1 503 Service Unavailable\r\n{fields}Content-Length: 4\r\n\r\nbusy");
    vec![Step::Send(head.into_bytes())]
}

async fn retried(attache: &Attache) -> bool {
    let line = attache.access_log_line("the request", |_| true).await;
    line["retried"].as_bool().expect("retried")
}

/// The lines, the method, a field, the failure, and the number of requests that reach the upstream.
type Case<'a> = (&'a str, &'a str, (&'a str, &'a str), Vec<Step>, usize);

#[tokio::test]
async fn a_request_that_failed_is_tried_again() {
    let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".to_vec();
    let part = b"HTTP/1.1 200 OK\r\nContent-Le".to_vec();
    let none = "retries: { attempts: 1, on: [reset, 503] }";
    let key = ("Idempotency-Key", "\"8e03978e\"");
    let other = ("X-Other", "x");
    let cases: Vec<Case<'_>> = vec![
        (THREE, "GET", other, vec![Step::Reset], 3),
        (THREE, "GET", other, vec![Step::Close], 3),
        (THREE, "GET", other, vec![Step::Send(part), Step::Close], 3),
        (THREE, "PUT", other, unavailable(""), 3),
        (THREE, "DELETE", other, vec![Step::Reset], 3),
        (THREE, "POST", other, vec![Step::Reset], 1),
        (THREE, "POST", other, unavailable(""), 1),
        (THREE, "PATCH", other, vec![Step::Reset], 1),
        (THREE, "POST", key, vec![Step::Reset], 3),
        ("retries: { attempts: 3, on: [reset], methods: [POST] }", "POST", other, vec![Step::Reset], 3),
        ("retries: { attempts: 3, on: [reset], methods: [POST] }", "GET", other, vec![Step::Reset], 1),
        ("retries: { attempts: 3, on: [connect] }", "GET", other, vec![Step::Reset], 1),
        ("retries: { attempts: 3, on: [reset] }", "GET", other, unavailable(""), 1),
        ("retries: { attempts: 3, on: [502, 504] }", "GET", other, unavailable(""), 1),
        ("retries: {}", "GET", other, vec![Step::Reset], 2),
        (none, "GET", other, vec![Step::Reset], 1),
        ("", "GET", other, vec![Step::Reset], 1),
        // The client has seen a part of a response.
        (THREE, "GET", other, vec![Step::Send(hints), Step::Reset], 1),
        // Not HTTP at all: another attempt would be no better.
        (THREE, "GET", other, vec![Step::Send(b"\x16\x03\x01\r\n\r\n".to_vec()), Step::Close], 1),
    ];
    for (lines, method, (name, value), steps, expected) in cases {
        let third_party = fails(usize::MAX, steps.clone());
        let attache = attache_for(&third_party, lines).await;
        let call = post("/mailer/x", "body").method(method).header(name, value);
        let answer = attache.send(call).await;
        let case = format!("{lines} {method} {name} {steps:?}");
        assert!(matches!(answer.status, 502 | 503), "{case}: {}", answer.status);
        assert_eq!(third_party.seen().heads, expected, "{case}");
        assert_eq!(retried(&attache).await, expected > 1, "{case}");
        let sent = [("service", "mailer"), ("result", "sent")];
        let sent = attache.metrics().await.value("attache_retries_total", &sent);
        assert_eq!(sent.unwrap_or(0.0) as usize, expected - 1, "{case}");
    }
}

#[tokio::test]
async fn a_retry_carries_the_whole_request_and_its_response_is_the_clients() {
    for steps in [vec![Step::Reset], unavailable(""), unavailable("Retry-After: 0\r\n")] {
        let third_party = fails(2, steps);
        let attache = attache_for(&third_party, THREE).await;
        let answer = attache.send(post("/mailer/x", vec![b'x'; 60 << 10]).method("PUT")).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        let requests = third_party.requests();
        assert_eq!(requests.len(), 3);
        assert!(requests.iter().all(|request| request.body == vec![b'x'; 60 << 10]));
    }
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_is_tried_again_whatever_the_method() {
    let (nowhere, _socket) = refused();
    let url = format!("http://{nowhere}");
    let attache = attache().given("third_party", url).with(&mailer(THREE)).await;
    let begun = Instant::now();
    let answer = attache.send(post("/mailer/x", "body")).await;
    answer.problem("service_unreachable", 502, "connection_refused");
    // Half of 25 ms and of 50 ms at least.
    assert!(begun.elapsed() >= ms(37), "{:?}", begun.elapsed());
    assert!(retried(&attache).await);
    let sent = [("service", "mailer"), ("result", "sent")];
    assert_eq!(attache.metrics().await.value("attache_retries_total", &sent), Some(2.0));
}

/// A certificate that is not trusted now is not trusted in 25 ms.
#[tokio::test]
async fn a_fault_of_the_configuration_is_not_retried() {
    let ca = CertificateAuthority::new();
    let third_party = third_party().with_tls(&ca);
    let attache = attache_for(&third_party, THREE).await;
    attache.send(get("/mailer/x")).await.problem("service_tls", 502, "tls_certificate_error");
    assert!(!retried(&attache).await);
}

#[tokio::test]
async fn a_connect_timeout_leads_to_another_attempt() {
    let (nowhere, _held) = blackhole();
    let lines = "retries: { attempts: 3, on: [connect] }\nconnect_timeout: 200ms\ntimeout: 20s";
    let attache = attache().given("third_party", format!("http://{nowhere}")).with(&mailer(lines)).await;
    let answer = attache.send(get("/mailer/x")).await;
    answer.problem("service_timeout", 504, "connection_timeout");
    assert!(answer.head_after >= ms(600) && answer.head_after < ms(5000), "{:?}", answer.head_after);
}

#[tokio::test]
async fn retry_after_is_waited_for_if_there_is_time() {
    let third_party = fails(1, unavailable("Retry-After: 1\r\n"));
    let attache = attache_for(&third_party, THREE).await;
    let answer = attache.send(get("/mailer/x")).await;
    assert_eq!(answer.status, 200);
    assert!(answer.head_after >= ms(1000), "{:?}", answer.head_after);

    let third_party = fails(1, unavailable("Retry-After: 60\r\n"));
    let attache = attache_for(&third_party, THREE).await;
    let answer = attache.send(get("/mailer/x")).await;
    assert_eq!((answer.status, answer.text().as_str()), (503, "busy"));
    assert_eq!(answer.header("retry-after"), Some("60"));
    assert!(answer.head_after < ms(3000), "{:?}", answer.head_after);
    assert_eq!(third_party.seen().heads, 1);
}

#[tokio::test]
async fn no_retry_begins_that_would_end_after_the_deadline() {
    let slowly = vec![Step::Pause(ms(1200)), Step::Reset];
    let third_party = fails(usize::MAX, slowly);
    let attache = attache_for(&third_party, &format!("{THREE}\ntimeout: 2s")).await;
    let answer = attache.send(get("/mailer/x")).await;
    answer.problem("service_unreachable", 502, "connection_terminated");
    assert_eq!(third_party.seen().heads, 1);
}

#[tokio::test]
async fn a_body_that_is_not_at_hand_is_not_sent_again() {
    let third_party = fails(usize::MAX, vec![Step::Reset]);
    let attache = attache_for(&third_party, THREE).await;
    let answer = attache.send(post("/mailer/x", vec![b'x'; 200 << 10]).method("PUT")).await;
    answer.problem("service_unreachable", 502, "connection_terminated");
    assert_eq!(third_party.seen().heads, 1);
}

#[tokio::test]
async fn a_client_that_leaves_during_the_pause_ends_its_request() {
    let third_party = fails(usize::MAX, unavailable("Retry-After: 3\r\n"));
    let attache = attache_for(&third_party, &format!("{THREE}\ntimeout: 60s")).await;
    let mut connection = Connection::open(attache.outbound()).await;
    connection.write(b"GET /mailer/x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    third_party.wait_until("the first attempt", |seen| seen.complete == 1).await;
    drop(connection);
    let line = attache.access_log_line("the request", |_| true).await;
    assert_eq!(line["status"], 499, "{line:#}");
    assert!(line["duration_ms"].as_f64().expect("a time") < 3000.0, "{line:#}");
    assert_eq!(third_party.seen().heads, 1);
}

#[tokio::test]
async fn each_attempt_carries_a_token_that_is_still_good() {
    let (third_party, endpoint) = (fails(1, vec![Step::Reset]), token_endpoint().issues(&secret("token")));
    let lines = format!(
        "
        {THREE}
        account:
          authorization:
            oauth2: {{ grant: client_credentials, token_url: '{{{{token_url}}}}', client_id: id,
                      client_secret: {{ env: CLIENT_SECRET }} }}"
    );
    let setup = attache().given("third_party", third_party.url()).given("token_url", endpoint.url());
    let attache = setup.env("CLIENT_SECRET", secret("client")).with(&mailer(&lines)).await;
    assert_eq!(attache.send(get("/mailer/x")).await.status, 200);
    let requests = third_party.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests.iter().all(|request| request.header("authorization").is_some()));
    assert_eq!(requests[0].header("authorization"), requests[1].header("authorization"));
}

/// 100 requests a second, each of which the service resets.
#[tokio::test]
async fn an_outage_is_not_multiplied() {
    let seconds: u32 = if full("the long outage") { 20 } else { 4 };
    let third_party = fails(usize::MAX, vec![Step::Reset]);
    let lines = "retries: { attempts: 3, on: [connect, reset] }";
    let attache = attache_for(&third_party, lines).await;
    let (mut clients, mut tick) = (JoinSet::new(), tokio::time::interval(ms(10)));
    let begun = Instant::now();
    for n in 0..100 * seconds {
        tick.tick().await;
        clients.spawn(send(attache.outbound(), get(format!("/mailer/{n}"))));
    }
    while let Some(answer) = clients.join_next().await {
        assert_eq!(answer.expect("an answer").status, 502);
    }
    let (requests, reached) = (f64::from(100 * seconds), third_party.seen().heads as f64);
    let allowed = 1.2 * requests + 10.0 * begun.elapsed().as_secs_f64().ceil();
    let share = (reached - 10.0 * begun.elapsed().as_secs_f64()) / requests;
    println!(
        "{requests} requests, {reached} reached it ({:.3}); less 10 a second: {share:.3}",
        reached / requests
    );
    assert!(reached <= allowed, "{reached} of {allowed}");
    let over = [("service", "mailer"), ("result", "over_budget")];
    assert!(attache.metrics().await.value("attache_retries_total", &over) > Some(0.0));
}

/// A budget that began anew with each reload could be multiplied by reloads.
#[tokio::test]
async fn the_budget_outlives_a_reload() {
    let third_party = fails(usize::MAX, vec![Step::Reset]);
    let attache = attache_for(&third_party, THREE).await;
    let begun = Instant::now();
    for n in 0..4 {
        for _ in 0..10 {
            attache.send(get("/mailer/x")).await;
        }
        let lines = format!("{THREE}\nidle_timeout: {}s", 61 + n);
        attache.reload(&mailer(&lines), "applied").await;
    }
    let allowed = 40.0 * 1.2 + 10.0 * (1.0 + begun.elapsed().as_secs_f64());
    let reached = third_party.seen().heads as f64;
    assert!(reached <= allowed, "{reached} of {allowed} in {:?}", begun.elapsed());
}

/// A client that waits for `100 Continue` is asked for its body once, by whichever attempt the upstream takes it from.
#[tokio::test]
async fn a_request_that_expects_100_continue_is_tried_again() {
    const HEAD: &[u8] =
        b"PUT /mailer/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    for is_before_the_body in [true, false] {
        let third_party = std::sync::Arc::new(third_party());
        third_party.ignores_bodies(is_before_the_body);
        let (stub, failed) =
            (std::sync::Arc::downgrade(&third_party), std::sync::atomic::AtomicBool::new(false));
        third_party.does(move |_request| {
            if failed.swap(true, std::sync::atomic::Ordering::Relaxed) {
                return vec![Step::Send(OK.to_vec())];
            }
            stub.upgrade().expect("the stub").ignores_bodies(false);
            if is_before_the_body { [unavailable(""), vec![Step::Hang]].concat() } else { vec![Step::Reset] }
        });
        let attache = attache_for(&third_party, THREE).await;
        let mut connection = Connection::open(attache.outbound()).await;
        connection.write(HEAD).await;
        assert!(connection.head().await.start.starts_with(b"HTTP/1.1 100 "), "{is_before_the_body}");
        connection.write(b"body").await;
        let answer = connection.response_to("PUT").await.expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "{is_before_the_body}");
        assert_eq!(answer.informational.len(), 0, "one 100 is enough: {is_before_the_body}");
        let requests = third_party.requests();
        assert_eq!(requests.len(), 2, "{is_before_the_body}");
        assert!(requests.iter().all(|request| request.header("expect").is_some()));
        assert_eq!(requests[1].body, b"body", "{is_before_the_body}");
        // The connection serves the next request.
        connection.write(b"GET /mailer/y HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(connection.response().await.expect("an answer").status, 200, "{is_before_the_body}");
    }
}

/// The request of a client that left holds no place, neither the service's nor its caller's.
#[tokio::test]
async fn a_client_that_leaves_between_attempts_frees_its_place() {
    let third_party = fails(1, unavailable("Retry-After: 30\r\n"));
    let yaml = format!(
        "
        callers: {{ billing: {{ tokens: [{{ id: a, sha256: {{{{token}}}} }}], services: [mailer], max_concurrent: 1 }} }}
        services:
          mailer:
            account: {{ authorization: none }}
            server_url: '{{{{third_party}}}}'
            {THREE}
            timeout: 60s
            max_concurrent: 1"
    );
    let token = webhook_key();
    let setup = attache().given("third_party", third_party.url()).given("token", sha256_hex(&token));
    let attache = setup.with(&yaml).await;
    let ask = || get("/mailer/x").header("X-Attache-Token", token.as_str());
    let mut connection = Connection::open(attache.outbound()).await;
    let head = format!("GET /mailer/x HTTP/1.1\r\nHost: a\r\nX-Attache-Token: {token}\r\n\r\n");
    connection.write(head.as_bytes()).await;
    third_party.wait_until("the first attempt", |seen| seen.complete == 1).await;
    // The pause is a part of the request.
    attache.send(ask()).await.problem("overloaded", 503, "connection_limit_reached");
    drop(connection);
    attache.access_log_line("the end", |line| line["status"] == 499).await;
    assert_eq!(attache.send(ask()).await.status, 200);
    assert_eq!(third_party.seen().heads, 2);
}
