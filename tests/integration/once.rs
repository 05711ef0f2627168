//! A request is executed once: it is sent again only if the upstream cannot have acted on it, or if acting twice is
//! harmless.

use crate::harness::*;
use tokio::task::JoinSet;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn ok() -> Vec<Step> {
    vec![Step::Send(OK.to_vec())]
}

/// Returns an upstream that answers the first request of each connection. It reads any other, and closes.
fn answers_once_a_connection() -> Stub {
    third_party().scripted(|request| if request.nth == 0 { ok() } else { vec![Step::Close] })
}

/// Returns the requests for `target`.
fn received(stub: &Stub, target: &str) -> Vec<Received> {
    stub.requests().into_iter().filter(|request| request.target() == target).collect()
}

/// Leaves `n` connections in the pool: `n` requests are answered at the same time. After that, a used connection is
/// stale: the stub reads the request and closes.
async fn fill_the_pool(attache: &Attache, stub: &Stub, n: usize) {
    stub.does(|request| match (request.target().as_str(), request.nth) {
        ("/warm", _) => vec![Step::Pause(ms(600)), Step::Send(OK.to_vec())],
        (_, 0) => ok(),
        _ => vec![Step::Close],
    });
    let mut warm = JoinSet::new();
    for _ in 0..n {
        warm.spawn(send(attache.outbound(), get("/mailer/warm")));
    }
    while let Some(answer) = warm.join_next().await {
        assert_eq!(answer.expect("an answer").status, 200);
    }
    assert!(stub.seen().opened >= n, "{:?}", stub.seen());
}

#[tokio::test]
async fn a_post_is_not_sent_again_when_the_upstream_closes_without_an_answer() {
    let third_party =
        third_party().scripted(|request| if request.method == "GET" { ok() } else { vec![Step::Close] });
    let attache = attache_for(&third_party, "").await;
    let mut reused = false;
    for n in 0..5 {
        assert_eq!(attache.send(get("/mailer/x")).await.status, 200);
        let target = format!("/payments/{n}");
        let answer = attache.send(post(format!("/mailer{target}"), "body")).await;
        let posts = received(&third_party, &target);
        assert_eq!(posts.len(), 1, "sent {} times", posts.len());
        answer.problem("service_unreachable", 502, "connection_terminated");
        reused |= posts[0].nth > 0;
    }
    assert!(reused, "no request came over a pooled connection");
}

#[tokio::test]
async fn a_post_is_not_sent_over_one_pooled_connection_after_the_other() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    fill_the_pool(&attache, &third_party, 20).await;
    let answer = attache.send(post("/mailer/payments", "body")).await;
    let posts = received(&third_party, "/payments");
    assert_eq!(posts.len(), 1, "sent {} times", posts.len());
    assert!(posts[0].nth > 0, "the request came over a pooled connection");
    answer.problem("service_unreachable", 502, "connection_terminated");
}

#[tokio::test]
async fn a_webhook_call_is_not_sent_again() {
    let (app, key) = (app(), webhook_key());
    app.does(|request| if request.body == b"warm" { ok() } else { vec![Step::Close] });
    let yaml = "
        users: { bot: {} }
        services:
          vendor:
            webhook:
              user: bot
              forward_to: '{{app}}'
              api_keys: [{ id: a, sha256: {{key}} }]
              replay: { window: 10m, answer: 200 }";
    let attache = attache().given("app", app.url()).given("key", sha256_hex(&key)).with(yaml).await;
    let target = format!("/webhooks/{key}");
    // The first one fills the pool; it is a duplicate afterwards.
    assert_eq!(attache.hook(post(target.clone(), "warm")).await.status, 200);
    let answer = attache.hook(post(target, "order 1")).await;
    let calls = app.requests().into_iter().filter(|request| request.body == b"order 1").count();
    assert_eq!(calls, 1, "sent {calls} times");
    answer.problem("service_unreachable", 502, "connection_terminated");
}

#[tokio::test]
async fn an_idempotent_request_succeeds_over_a_stale_connection() {
    let third_party = answers_once_a_connection();
    let attache = attache_for(&third_party, "").await;
    let mut resent = 0;
    for (n, method) in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "POST"].into_iter().enumerate() {
        assert_eq!(attache.send(get("/mailer/warm")).await.status, 200);
        let target = format!("/{n}");
        let call = post(format!("/mailer{target}"), "body").method(method);
        let call = if method == "POST" { call.header("Idempotency-Key", "\"8e03978e\"") } else { call };
        assert_eq!(attache.send(call).await.status, 200, "{method}");
        let requests = received(&third_party, &target);
        assert!(requests.len() <= 2, "{method} was sent {} times", requests.len());
        resent += requests.len() - 1;
        let last = requests.last().expect("the request");
        let whole = if method == "HEAD" { last.complete } else { last.body == b"body" };
        assert!(whole, "{method}: {last:?}");
    }
    assert!(resent > 0, "no request came over a stale connection");
}

#[tokio::test]
async fn a_request_that_is_not_idempotent_fails_over_a_stale_connection() {
    let third_party = answers_once_a_connection();
    let attache = attache_for(&third_party, "").await;
    for method in ["POST", "PATCH", "PURGE", "put"] {
        assert_eq!(attache.send(get("/mailer/warm")).await.status, 200);
        let target = format!("/{method}");
        let answer = attache.send(post(format!("/mailer{target}"), "body").method(method)).await;
        let requests = received(&third_party, &target);
        assert_eq!(requests.len(), 1, "{method} was sent {} times", requests.len());
        // The connection may not have been returned to the pool in time.
        assert!(requests[0].nth == 0 || answer.status == 502, "{method}: {}", answer.status);
    }
}

#[tokio::test]
async fn a_body_beyond_64_kib_is_not_sent_again() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    fill_the_pool(&attache, &third_party, 2).await;
    let answer = attache.send(post("/mailer/large", vec![b'x'; 200 << 10]).method("PUT")).await;
    let requests = received(&third_party, "/large");
    assert_eq!(requests.len(), 1, "sent {} times", requests.len());
    assert!(requests[0].nth > 0, "the request came over a pooled connection");
    answer.problem("service_unreachable", 502, "connection_terminated");
}

#[tokio::test]
async fn one_stale_connection_leads_to_a_fresh_one() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    fill_the_pool(&attache, &third_party, 16).await;
    for n in 0..4 {
        let target = format!("/{n}");
        assert_eq!(attache.send(get(format!("/mailer{target}"))).await.status, 200);
        let requests = received(&third_party, &target);
        assert!(requests.len() <= 2, "sent {} times", requests.len());
        assert_eq!(requests.last().expect("the request").nth, 0, "the second try is on a fresh connection");
    }
}

/// No byte was written, so any method may be sent again.
#[tokio::test]
async fn a_connection_that_ended_while_idle_loses_no_request() {
    let third_party =
        third_party().scripted(|_request| vec![Step::Send(OK.to_vec()), Step::Pause(ms(20)), Step::Close]);
    let attache = attache_for(&third_party, "").await;
    for n in 0..20 {
        assert_eq!(attache.send(post(format!("/mailer/{n}"), "body")).await.status, 200, "{n}");
        third_party.wait_until("the connection's end", |seen| seen.closed == seen.opened).await;
    }
    assert_eq!(third_party.seen().heads, 20);
}

#[tokio::test]
async fn a_request_is_not_sent_again_after_an_interim_response() {
    let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let third_party = third_party().scripted(|request| {
        if request.nth == 0 { ok() } else { vec![Step::Send(hints.to_vec()), Step::Close] }
    });
    let attache = attache_for(&third_party, "").await;
    let mut reused = false;
    for n in 0..5 {
        assert_eq!(attache.send(get("/mailer/warm")).await.status, 200);
        let answer = attache.send(get(format!("/mailer/{n}"))).await;
        let requests = received(&third_party, &format!("/{n}"));
        assert_eq!(requests.len(), 1, "sent {} times", requests.len());
        if requests[0].nth > 0 {
            reused = true;
            answer.problem("service_unreachable", 502, "connection_terminated");
        }
    }
    assert!(reused, "no request came over a pooled connection");
}
