//! `connect_timeout`: the limit of one connection within the deadline.

use crate::harness::*;
use std::time::Instant;

const LINES: &str = "timeout: 20s
    connect_timeout: 300ms";

/// Asserts that attache gave up long before the deadline.
async fn assert_gives_up(url: String) {
    let attache = attache().given("third_party", url).with(&mailer(LINES)).await;
    let begun = Instant::now();
    let answer = attache.send(post("/mailer/x", "body")).await;
    let problem = answer.problem("service_timeout", 504, "connection_timeout");
    assert_eq!(problem["detail"], "Mailer is not answering.");
    assert!(begun.elapsed() >= ms(295) && begun.elapsed() < ms(5000), "{:?}", begun.elapsed());
    let line = attache.access_log_line("the request", |line| line["path"] == "/mailer/x").await;
    assert_eq!((&line["phase"], &line["reason"]), (&"connect".into(), &"connection_timeout".into()));
    let timeouts = [("service", "mailer"), ("phase", "connect")];
    assert_eq!(attache.metrics().await.value("attache_timeouts_total", &timeouts), Some(1.0));
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_given_up() {
    let (nowhere, _held) = blackhole();
    assert_gives_up(format!("http://{nowhere}")).await;
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_given_up() {
    // Reads the client hello as an incomplete head and waits for the rest.
    let third_party = third_party();
    assert_gives_up(third_party.url().replace("http:", "https:")).await;
    assert_eq!(third_party.seen().heads, 0);
}

#[tokio::test]
async fn a_connection_in_time_leaves_the_whole_deadline_to_the_response() {
    let third_party = third_party().scripted(|_request| {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
        vec![Step::Pause(ms(700)), Step::Send(answer)]
    });
    let attache = attache_for(&third_party, LINES).await;
    assert_eq!(attache.send(get("/mailer/x")).await.status, 200);
}

#[tokio::test]
async fn a_shorter_deadline_wins() {
    let (nowhere, _held) = blackhole();
    let lines = "timeout: 300ms\nconnect_timeout: 20s";
    let attache = attache().given("third_party", format!("http://{nowhere}")).with(&mailer(lines)).await;
    let answer = attache.send(get("/mailer/x")).await;
    answer.problem("service_timeout", 504, "connection_timeout");
    assert!(answer.head_after < ms(3000), "{:?}", answer.head_after);
}
