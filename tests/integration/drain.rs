//! SIGTERM: no new requests, requests in flight end, exit status 0.

use crate::harness::*;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Returns an upstream that answers `ok` after a pause.
fn slow(after: Duration) -> Stub {
    third_party().scripted(move |_request| {
        vec![Step::Pause(after), Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec())]
    })
}

#[tokio::test]
async fn an_idle_attache_ends_at_once() {
    let third_party = third_party();
    let mut attache = attache_for(&third_party, "").await;
    // Kept alive, with no request in flight.
    let mut connection = Connection::open(attache.outbound()).await;
    connection.exchange(get("/mailer/x")).await;
    let start = Instant::now();
    attache.sigterm();
    assert_eq!(attache.wait_exit().await.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[tokio::test]
async fn requests_in_flight_end_and_no_new_ones_begin() {
    let third_party = slow(Duration::from_secs(2));
    let mut attache = attache_for(&third_party, "").await;
    let outbound = attache.outbound();
    let mut in_flight = JoinSet::new();
    in_flight.spawn(send(outbound, get("/mailer/x")));
    third_party.head(0).await;
    attache.sigterm();
    let unready = async || (send(attache.admin(), get("/readyz")).await.status == 503).then_some(());
    eventually("readiness to go down", unready).await;
    assert_eq!(send(attache.admin(), get("/livez")).await.status, 200);
    let closed = async || Connection::try_open(outbound).await.is_err().then_some(());
    eventually("the listener to close", closed).await;
    assert!(Connection::try_open(attache.webhooks()).await.is_err());
    let answer = in_flight.join_next().await.expect("one").expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert!(answer.says_close(), "{:?}", answer.fields);
    assert_eq!(attache.wait_exit().await.code(), Some(0));
}

#[tokio::test]
async fn the_drain_limit_is_kept() {
    let third_party = third_party().hangs();
    let yaml = format!("shutdown: {{ drain: 1s }}\n{}", mailer("timeout: 60s"));
    let mut attache = attache().given("third_party", third_party.url()).with(&yaml).await;
    let outbound = attache.outbound();
    let mut in_flight = JoinSet::new();
    in_flight.spawn(try_send(outbound, get("/mailer/x")));
    third_party.head(0).await;
    let start = Instant::now();
    attache.sigterm();
    assert_eq!(attache.wait_exit().await.code(), Some(0));
    let took = start.elapsed();
    assert!(took >= ms(900) && took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn the_access_log_is_complete_after_the_end() {
    let third_party = slow(ms(500));
    let mut attache = attache_for(&third_party, "").await;
    let outbound = attache.outbound();
    let mut in_flight = JoinSet::new();
    in_flight.spawn(send(outbound, get("/mailer/last")));
    third_party.head(0).await;
    attache.sigterm();
    in_flight.join_next().await.expect("one").expect("an answer");
    attache.wait_exit().await;
    attache.access_log_line("the last request", |line| line["path"] == "/mailer/last").await;
}

#[tokio::test]
async fn a_request_that_the_drain_limit_cuts_has_a_line() {
    let third_party = third_party().scripted(|request| match request.target().as_str() {
        "/hang" => vec![Step::Hang],
        _ => vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".to_vec()), Step::Hang],
    });
    let yaml = format!("shutdown: {{ drain: 500ms }}\n{}", mailer("timeout: 60s"));
    let mut attache = attache().given("third_party", third_party.url()).with(&yaml).await;
    let outbound = attache.outbound();
    let mut in_flight = JoinSet::new();
    in_flight.spawn(try_send(outbound, get("/mailer/hang")));
    let mut half = Connection::open(outbound).await;
    half.write(b"GET /mailer/half HTTP/1.1\r\nHost: x\r\n\r\n").await;
    half.head().await;
    half.bytes(4).await;
    third_party.wait_until("both requests", |seen| seen.heads == 2).await;
    attache.sigterm();
    assert_eq!(attache.wait_exit().await.code(), Some(0));
    for (path, status, bytes_out) in [("/mailer/hang", 503, 0), ("/mailer/half", 200, 4)] {
        let line = attache.access_log_line(path, |line| line["path"] == path).await;
        assert_eq!((&line["status"], &line["reason"]), (&status.into(), &"shutdown".into()), "{line:#}");
        assert_eq!(line["bytes_out"], bytes_out, "{line:#}");
    }
}

#[tokio::test]
async fn an_incomplete_head_does_not_delay_the_drain() {
    let third_party = third_party();
    let yaml = format!("shutdown: {{ drain: 60s }}\n{}", mailer(""));
    let mut attache = attache().given("third_party", third_party.url()).with(&yaml).await;
    let mut connection = Connection::open(attache.outbound()).await;
    connection.write(b"GET /mailer/x HT").await;
    // attache has read it by then.
    assert_eq!(attache.send(get("/mailer/x")).await.status, 200);
    let start = Instant::now();
    attache.sigterm();
    assert_eq!(attache.wait_exit().await.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

/// The body of an HTTP/1.0 response ends with its connection.
#[tokio::test]
async fn a_response_that_the_drain_limit_cuts_does_not_look_complete() {
    use tokio::io::AsyncReadExt as _;
    let third_party = third_party()
        .scripted(|_request| vec![Step::Send(b"HTTP/1.1 200 OK\r\n\r\nhalf".to_vec()), Step::Hang]);
    let yaml = format!("shutdown: {{ drain: 100ms }}\n{}", mailer("timeout: 60s"));
    let mut attache = attache().given("third_party", third_party.url()).with(&yaml).await;
    let mut connection = Connection::open(attache.outbound()).await;
    connection.write(b"GET /mailer/x HTTP/1.0\r\n\r\n").await;
    connection.head().await;
    connection.bytes(4).await;
    attache.sigterm();
    assert_eq!(attache.wait_exit().await.code(), Some(0));
    let end = connection.stream.read(&mut [0; 64]).await;
    assert!(end.is_err(), "a clean end: {end:?}");
}
