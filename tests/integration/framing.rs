//! Ambiguous requests are refused by attache itself.

use crate::harness::*;
use std::net::SocketAddr;

async fn raw(at: SocketAddr, bytes: &[u8]) -> Response {
    let mut connection = Connection::open(at).await;
    connection.write(bytes).await;
    connection
        .response()
        .await
        .unwrap_or_else(|error| panic!("{:?}: {error}", String::from_utf8_lossy(bytes)))
}

#[tokio::test]
async fn ambiguous_and_malformed_requests_are_refused() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    for head in [
        "Host: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Host: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        "Host: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Host: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Host: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Host: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        "Host: x\r\nContent-Length: +4\r\n\r\nabcd",
        "Host: x\r\nContent-Length: -1\r\n\r\n",
        "Host: x\r\nX-A: 1\nX-B: 2\r\n\r\n",
        "Host: x\n\n",
        "X-A: 1\r\n\r\n",
        "Host: x\r\nHost: y\r\n\r\n",
        "Host: x\r\nX-A: 1\r\n folded\r\n\r\n",
        "Host: x\r\nX-A : 1\r\n\r\n",
        "Host: x\r\nX-A: a\0b\r\n\r\n",
        "Host: x\r\nno colon\r\n\r\n",
    ] {
        for listener in [attache.outbound(), attache.webhooks()] {
            let answer = raw(listener, format!("POST /mailer/x HTTP/1.1\r\n{head}").as_bytes()).await;
            assert_eq!(answer.status, 400, "{head:?}");
            answer.problem("request_invalid", 400, "http_request_error");
        }
    }
    assert_eq!(third_party.seen().heads, 0);
}

#[tokio::test]
async fn a_malformed_request_line_is_refused() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    for line in ["GET /mailer/x", "GET  /mailer/x HTTP/1.1", "\x16\x03\x01", "GET /mailer/a b HTTP/1.1"] {
        let answer = raw(attache.outbound(), format!("{line}\r\nHost: x\r\n\r\n").as_bytes()).await;
        answer.problem("request_invalid", 400, "http_request_error");
    }
    assert_eq!(third_party.seen().heads, 0);
}

#[tokio::test]
async fn bytes_after_a_refused_request_are_never_a_request() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let mut connection = Connection::open(attache.outbound()).await;
    let smuggled = "GET /mailer/smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let head = "POST /mailer/x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    connection.write(format!("{head}{smuggled}").as_bytes()).await;
    let everything = connection.rest().await;
    assert_eq!(String::from_utf8_lossy(&everything).matches("HTTP/1.1 ").count(), 1);
    assert_eq!(third_party.seen().heads, 0);
}

#[tokio::test]
async fn a_pipelined_request_is_answered_in_turn_or_not_at_all() {
    let third_party = third_party().scripted(|request| {
        let body = request.target();
        vec![Step::Send(
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes(),
        )]
    });
    let attache = attache_for(&third_party, "").await;
    let mut connection = Connection::open(attache.outbound()).await;
    connection
        .write(b"GET /mailer/1 HTTP/1.1\r\nHost: x\r\n\r\nGET /mailer/2 HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    assert_eq!(connection.response().await.expect("an answer").text(), "/1");
    // A server may close instead (RFC 9112 section 9.3.2); then the client sends the second request again.
    assert!(
        connection.response().await.is_ok_and(|second| second.text() == "/2")
            || third_party.seen().heads == 1
    );
}

#[tokio::test]
async fn connect_is_refused_with_the_reason() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    for listener in [attache.outbound(), attache.webhooks()] {
        let answer =
            raw(listener, b"CONNECT api.mailer.example:443 HTTP/1.1\r\nHost: api.mailer.example:443\r\n\r\n")
                .await;
        answer.problem("method_denied", 405, "http_request_denied");
    }
}

#[tokio::test]
async fn a_huge_head_is_refused() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let answer = attache.send(get("/mailer/x").header("X-Huge", vec![b'x'; 1024 * 1024])).await;
    answer.problem("request_head_too_large", 431, "http_request_error");
    assert_eq!(third_party.seen().heads, 0);
}

#[tokio::test]
async fn the_text_of_a_malformed_request_is_in_no_log() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let (token, key) = (secret("token"), webhook_key());
    let lines =
        format!("GET /mailer/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nno colon\r\n\r\n");
    assert_eq!(raw(attache.outbound(), lines.as_bytes()).await.status, 400);
    let lines = format!("POST /webhooks/{key} HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n");
    assert_eq!(raw(attache.webhooks(), lines.as_bytes()).await.status, 400);
}
