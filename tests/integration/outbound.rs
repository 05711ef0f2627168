//! Outbound: the service of a request, and its connection.

use crate::harness::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_request_reaches_the_service_its_path_names() {
    let third_party = third_party().answers(200, "from the mailer");
    let attache = attache_for(&third_party, "").await;
    let answer = attache.send(post("/mailer/messages", "hello")).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "from the mailer"));
    let request = third_party.only_request().await;
    assert_eq!(request.head.start, b"POST /messages HTTP/1.1");
    assert_eq!(request.body, b"hello");
}

#[tokio::test]
async fn an_unknown_service_is_a_404_of_ours() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    for target in ["/mailre/x", "/", "/MAILER/x", "/mailerx/y", "//mailer/x", "/mailer%2fx", "/%6dailer/x"] {
        let answer = attache.send(get(target)).await;
        answer.problem("service_unknown", 404, "destination_not_found");
    }
    assert_eq!(third_party.seen().heads, 0);
}

#[tokio::test]
async fn every_method_is_forwarded() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    for (n, method) in ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"].into_iter().enumerate() {
        assert_eq!(attache.send(request(method, "/mailer/x")).await.status, 200, "{method}");
        assert_eq!(third_party.head(n).await.method, method);
    }
}

#[tokio::test]
async fn a_connection_is_kept_on_both_sides() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let mut connection = Connection::open(attache.outbound()).await;
    for _ in 0..5 {
        assert_eq!(connection.exchange(post("/mailer/x", "body")).await.status, 200);
    }
    assert_eq!(third_party.seen().opened, 1);
}

#[tokio::test]
async fn a_refusal_that_read_the_whole_request_keeps_the_connection() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let mut connection = Connection::open(attache.outbound()).await;
    connection.exchange(get("/unknown/x")).await.problem("service_unknown", 404, "destination_not_found");
    assert_eq!(connection.exchange(get("/mailer/x")).await.status, 200);
}

/// As with a polling client: its body is small, and already received.
#[tokio::test]
async fn a_refused_request_with_a_small_body_keeps_the_connection() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let mut connection = Connection::open(attache.outbound()).await;
    for _ in 0..2 {
        let answer = connection.exchange(post("/unknown/x", "abc")).await;
        answer.problem("service_unknown", 404, "destination_not_found");
    }
    assert_eq!(connection.exchange(get("/mailer/x")).await.status, 200);
}

#[tokio::test]
async fn a_post_on_a_fresh_connection_is_never_sent_again() {
    let third_party = third_party().closes_without_answer();
    let attache = attache_for(&third_party, "").await;
    attache.send(post("/mailer/x", "once")).await.problem(
        "service_unreachable",
        502,
        "connection_terminated",
    );
    assert_eq!(third_party.seen().heads, 1);
}

#[tokio::test]
async fn a_caller_that_leaves_ends_its_exchange() {
    let third_party = third_party().hangs();
    let attache = attache_for(&third_party, "timeout: 60s").await;
    let mut connection = Connection::open(attache.outbound()).await;
    connection.write(b"GET /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n").await;
    third_party.head(0).await;
    drop(connection);
    third_party.wait_until("the end of the upstream exchange", |seen| seen.closed == 1).await;
}

#[tokio::test]
async fn a_request_with_expect_gets_100_continue() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let mut connection = Connection::open(attache.outbound()).await;
    connection
        .write(b"POST /mailer/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        .await;
    assert!(connection.head().await.start.starts_with(b"HTTP/1.1 100"));
    connection.write(b"body").await;
    assert_eq!(connection.response_to("POST").await.expect("an answer").status, 200);
    assert_eq!(third_party.only_request().await.body, b"body");
}

#[tokio::test]
async fn a_unix_socket_may_be_the_listener() {
    let third_party = third_party().answers(200, "through the socket");
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("outbound.sock");
    let listen = format!(
        "listen: {{ outbound: 'unix:{}', webhooks: 127.0.0.1:0, admin: 127.0.0.1:0 }}\n",
        socket.display()
    );
    let setup = attache().given("third_party", third_party.url());
    let _attache = setup.with(&format!("{listen}{}", mailer(""))).await;
    let mut stream = tokio::net::UnixStream::connect(&socket).await.expect("connect");
    let head = b"GET /mailer/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(head).await.expect("write");
    let mut answer = String::new();
    within(PATIENCE, "an answer", stream.read_to_string(&mut answer)).await.expect("read");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("through the socket"), "{answer}");
}
