//! `limits.connections`: which connection is evicted for a new one, and the counters.

use crate::harness::*;
use std::time::{Duration, Instant};

const HALF_A_HEAD: &[u8] = b"GET /mailer/x HTTP/1.1\r\nHo";

/// Starts attache with this limit of connections per listener.
async fn attache_with_room_for(connections: usize, third_party: &Stub, lines: &str) -> Attache {
    let yaml = format!("limits: {{ connections: {connections} }}\n{}", mailer(lines));
    attache().given("third_party", third_party.url()).with(&yaml).await
}

/// Opens a connection that is idle after one request.
async fn idle(attache: &Attache) -> Connection {
    let mut connection = Connection::open(attache.outbound()).await;
    assert_eq!(connection.exchange(get("/mailer/x")).await.status, 200);
    connection
}

async fn half_a_head(attache: &Attache) -> Connection {
    let mut connection = Connection::open(attache.outbound()).await;
    connection.write(HALF_A_HEAD).await;
    connection
}

/// Waits until the outbound listener has this number of connections in this state.
async fn counted(attache: &Attache, state: &str, wanted: f64) {
    let labels = [("listener", "outbound"), ("state", state)];
    eventually(&format!("{wanted} connections that are {state}"), async || {
        let now = attache.metrics().await.value("attache_connections", &labels);
        now.filter(|&now| now == wanted)
    })
    .await;
}

async fn refused(attache: &Attache) -> f64 {
    let labels = [("listener", "outbound")];
    attache.metrics().await.value("attache_connections_refused_total", &labels).unwrap_or(0.0)
}

#[tokio::test]
async fn the_longest_idle_connection_is_evicted() {
    let third_party = third_party();
    let attache = attache_with_room_for(4, &third_party, "").await;
    let mut kept = Vec::new();
    for _ in 0..4 {
        kept.push(idle(&attache).await);
    }
    // Used again, so the second connection is now the longest idle.
    assert_eq!(kept[0].exchange(get("/mailer/x")).await.status, 200);
    let mut new = idle(&attache).await;
    assert_eq!(kept[1].rest().await, b"");
    for n in [0, 2, 3] {
        assert_eq!(kept[n].exchange(get("/mailer/x")).await.status, 200, "{n}");
    }
    assert_eq!(new.exchange(get("/mailer/x")).await.status, 200);
    assert_eq!(refused(&attache).await, 0.0);
}

/// The new connections arrive faster than their first bytes are read: they must not evict each other.
#[tokio::test]
async fn a_burst_of_new_clients_evicts_only_idle_ones() {
    let third_party = third_party();
    let attache = attache_with_room_for(20, &third_party, "").await;
    let mut kept = Vec::new();
    for _ in 0..20 {
        kept.push(idle(&attache).await);
    }
    let mut burst = tokio::task::JoinSet::new();
    for _ in 0..10 {
        burst.spawn(send(attache.outbound(), get("/mailer/x")));
    }
    while let Some(answer) = burst.join_next().await {
        assert_eq!(answer.expect("an answer").status, 200);
    }
}

#[tokio::test]
async fn a_connection_without_a_complete_head_is_evicted_first() {
    let third_party = third_party();
    let attache = attache_with_room_for(4, &third_party, "").await;
    let mut kept = idle(&attache).await;
    let mut slow = Vec::new();
    for _ in 0..3 {
        slow.push(half_a_head(&attache).await);
    }
    let mut new_ones = Vec::new();
    for slow in &mut slow {
        new_ones.push(idle(&attache).await);
        let rest = String::from_utf8_lossy(&slow.rest().await).into_owned();
        assert!(!rest.contains(" 200 "), "{rest}");
    }
    assert_eq!(kept.exchange(get("/mailer/x")).await.status, 200);
}

#[tokio::test]
async fn a_silent_connection_is_evicted_too() {
    let third_party = third_party();
    let attache = attache_with_room_for(3, &third_party, "").await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(Connection::open(attache.outbound()).await);
    }
    idle(&attache).await;
    assert_eq!(silent[0].rest().await, b"");
}

#[tokio::test]
async fn a_connection_in_use_is_not_evicted() {
    let third_party = third_party().scripted(|request| match request.target().as_str() {
        "/hang" => vec![Step::Hang],
        _ => vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec())],
    });
    let attache = attache_with_room_for(2, &third_party, "timeout: 60s\nmax_concurrent: 2").await;
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut connection = Connection::open(attache.outbound()).await;
        connection.write(b"GET /mailer/hang HTTP/1.1\r\nHost: x\r\n\r\n").await;
        busy.push(connection);
    }
    third_party.wait_until("both requests", |seen| seen.heads == 2).await;
    assert!(try_send(attache.outbound(), get("/mailer/x")).await.is_err(), "the new one is closed");
    counted(&attache, "active", 2.0).await;
    assert_eq!(refused(&attache).await, 1.0);
    attache.stderr_line("(?i)warn.*connection").await;
    // A closed connection makes room.
    drop(busy.pop());
    counted(&attache, "active", 1.0).await;
    assert_eq!(attache.send(get("/mailer/x")).await.status, 200);
}

#[tokio::test]
async fn each_listener_has_its_own_limit() {
    let third_party = third_party().hangs();
    let attache = attache_with_room_for(1, &third_party, "timeout: 60s").await;
    let mut busy = Connection::open(attache.outbound()).await;
    busy.write(b"GET /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n").await;
    third_party.head(0).await;
    let answer = attache.hook(post("/webhooks/none", "{}")).await;
    answer.problem("webhook_unknown", 404, "http_request_denied");
}

#[tokio::test]
async fn connections_are_counted_by_state() {
    let third_party = third_party().scripted(|request| match request.target().as_str() {
        "/hang" => vec![Step::Hang],
        _ => vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec())],
    });
    let attache = attache_for(&third_party, "timeout: 60s").await;
    let kept = [idle(&attache).await, idle(&attache).await];
    let mut busy = Connection::open(attache.outbound()).await;
    busy.write(b"GET /mailer/hang HTTP/1.1\r\nHost: x\r\n\r\n").await;
    counted(&attache, "active", 1.0).await;
    counted(&attache, "idle", 2.0).await;
    drop((kept, busy));
    counted(&attache, "active", 0.0).await;
    counted(&attache, "idle", 0.0).await;
}

async fn assert_cut_after_a_minute(attache: &Attache) {
    let start = Instant::now();
    loop {
        let labels = [("direction", "outbound"), ("service", "mailer")];
        let now = attache.metrics().await.value("attache_requests_in_flight", &labels);
        if now == Some(0.0) {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(80), "{now:?} in flight for {:?}", start.elapsed());
        tokio::time::sleep(ms(500)).await;
    }
    assert!(start.elapsed() > Duration::from_secs(50), "cut after {:?}", start.elapsed());
    let line = attache.access_log_line("the request", |line| line["service"] == "mailer").await;
    assert_eq!((&line["status"], &line["phase"]), (&200.into(), &"body".into()), "{line:#}");
}

#[tokio::test]
async fn a_client_that_does_not_read_its_body_is_cut_after_a_minute() {
    if !full("a client that does not read the body of its answer is cut after 60 s") {
        return;
    }
    let third_party = third_party().streams(64 << 20);
    let attache = attache_for(&third_party, "idle_timeout: 10m").await;
    let mut client = Connection::open(attache.outbound()).await;
    client.write(b"GET /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n").await;
    third_party.head(0).await;
    assert_cut_after_a_minute(&attache).await;
}

/// Many pipelined answers with large heads and no body: the heads fill the client's window.
#[tokio::test]
async fn a_client_that_does_not_read_heads_is_cut_after_a_minute() {
    if !full("a client that does not read the heads of its answers is cut after 60 s") {
        return;
    }
    let head = format!("HTTP/1.1 200 OK\r\nX-Filler: {}\r\nContent-Length: 0\r\n\r\n", "f".repeat(30 << 10));
    let third_party = third_party().answers_raw(head);
    let attache = attache_for(&third_party, "idle_timeout: 10m").await;
    let mut client = Connection::open(attache.outbound()).await;
    client.write(&b"GET /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000)).await;
    third_party.head(0).await;
    let (start, mut last) = (Instant::now(), (Instant::now(), 0));
    // No more requests are sent upstream once the heads are blocked; the connection then ends within 80 s.
    while third_party.seen().heads < 1000 && start.elapsed() < Duration::from_secs(120) {
        let heads = third_party.seen().heads;
        if heads != last.1 {
            last = (Instant::now(), heads);
        }
        let ended = attache
            .metrics()
            .await
            .value("attache_requests_in_flight", &[("direction", "outbound"), ("service", "mailer")]);
        if ended == Some(0.0) && last.0.elapsed() > Duration::from_secs(50) {
            return;
        }
        tokio::time::sleep(ms(500)).await;
    }
    panic!("after {:?} the client still holds its request, {} served", start.elapsed(), last.1);
}

/// A client on the webhook listener that reads nothing must not delay the end of attache.
#[tokio::test]
async fn a_webhooks_client_that_does_not_read_is_cut_after_a_minute() {
    if !full("a webhook's client that does not read its answer is cut after 60 s") {
        return;
    }
    let (app, key) = (app().streams(64 << 20), webhook_key());
    let yaml = "
        users: { bot: {} }
        services:
          mailer: { webhook: { user: bot, forward_to: '{{app}}', api_keys: [{ id: a, sha256: {{key}} }] } }";
    let setup = attache().given("app", app.url()).given("key", sha256_hex(&key));
    let attache = setup.with(yaml).await;
    let mut client = Connection::open(attache.webhooks()).await;
    client
        .write(format!("POST /webhooks/{key} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").as_bytes())
        .await;
    app.head(0).await;
    let start = Instant::now();
    while !app.has_ended(0) {
        assert!(start.elapsed() < Duration::from_secs(80), "held for {:?}", start.elapsed());
        tokio::time::sleep(ms(500)).await;
    }
    assert!(start.elapsed() > Duration::from_secs(50), "cut after {:?}", start.elapsed());
}
