//! Misbehaving clients and upstreams; each case is a former fault.

use crate::harness::*;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

async fn raw(attache: &Attache, bytes: &[u8]) -> Response {
    let mut connection = Connection::open(attache.outbound()).await;
    connection.write(bytes).await;
    connection.response().await.expect("an answer")
}

#[tokio::test]
async fn an_early_answer_holds_nothing_once_the_caller_has_left() {
    let third_party = third_party().reads_no_body().scripted(|_| {
        vec![Step::Send(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno".to_vec()), Step::Hang]
    });
    let attache = attache_for(&third_party, "idle_timeout: 1s").await;
    let mut caller = TcpStream::connect(attache.outbound()).await.expect("connect");
    let head = b"POST /mailer/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n";
    caller.write_all(head).await.expect("write");
    // More bytes than the sockets on the path hold, so that attache is blocked until it ends the connection.
    let upload = async { while caller.write_all(&[0; 65536]).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, upload).await.expect("the upload is cut off");
    eventually("the request to be let go of", async || {
        let metrics = attache.metrics().await;
        let labels = [("direction", "outbound"), ("service", "mailer")];
        metrics.value("attache_requests_in_flight", &labels).filter(|&n| n == 0.0)
    })
    .await;
}

#[tokio::test]
async fn a_stall_is_not_the_end_of_an_answer_that_ends_with_its_connection() {
    let third_party = third_party().scripted(|_| {
        vec![Step::Send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npartial".to_vec()), Step::Hang]
    });
    let attache = attache_for(&third_party, "idle_timeout: 300ms").await;
    let mut connection = Connection::open(attache.outbound()).await;
    connection.write(b"GET /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let received = String::from_utf8(connection.rest().await).expect("text");
    assert!(received.contains("partial") && !received.contains("0\r\n\r\n"), "{received}");
}

#[tokio::test]
async fn every_head_is_answered_by_attache_itself() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    for head in [
        "GET http://other/mailer/x HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /mailer/x HTTP/1.1\r\nHost: a@b\r\n\r\n",
        "GET /mailer/<x> HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /mailer/`x HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /mailer/x?\"y\" HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /mailer/x#y HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /mailer/{x}|^~ HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /mailer/x?[a]=`{}|^\\ HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        "GET /mailer/\u{e9} HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /mailer/x HTTP/1.1\r\nHost:\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        "TRACE /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n",
        "trace /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n",
        "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n",
    ] {
        let answer = raw(&attache, head.as_bytes()).await;
        assert!(answer.header("x-attache-request-id").is_some(), "{head:?}: {answer:?}");
        assert_eq!(answer.header("server"), None, "{head:?}");
        assert!(answer.status == 200 || answer.header("proxy-status").is_some(), "{head:?}: {answer:?}");
    }
}

#[tokio::test]
async fn absolute_form_is_routed_by_its_path() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    raw(&attache, b"GET http://whatever:1/mailer/x?y HTTP/1.1\r\nHost: other\r\n\r\n").await;
    assert_eq!(third_party.only_request().await.target(), "/x?y");
}

#[tokio::test]
async fn a_request_is_not_sent_again_after_a_part_of_its_answer() {
    let third_party = third_party().scripted(|request| match request.target().as_str() {
        "/warm" => vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec())],
        _ => vec![Step::Send(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".to_vec()), Step::Close],
    });
    let attache = attache_for(&third_party, "").await;
    attache.send(get("/mailer/warm")).await;
    let mut connection = Connection::open(attache.outbound()).await;
    let head = b"POST /mailer/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx";
    connection.write(head).await;
    let received = String::from_utf8(connection.rest().await).expect("text");
    assert!(received.contains("HTTP/1.1 502 "), "{received}");
    assert_eq!(received.matches(" 103 ").count(), 1, "{received}");
    assert_eq!(third_party.seen().heads, 2);
}

#[tokio::test]
async fn an_upgrade_in_http_1_0_opens_no_tunnel() {
    let third_party = third_party().scripted(|_| {
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
        vec![Step::Send(switch.to_vec()), Step::Mirror]
    });
    let attache = attache_for(&third_party, "").await;
    let head = b"GET /mailer/x HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    raw(&attache, head).await.problem("service_protocol", 502, "http_protocol_error");
}

#[tokio::test]
async fn an_unsupported_transfer_coding_is_refused() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, identity\r\nContent-Length: 3\r\n\r\nabc";
    let third_party = third_party().scripted(|_| vec![Step::Send(answer.as_bytes().to_vec())]);
    let attache = attache_for(&third_party, "").await;
    attache.send(get("/mailer/x")).await.problem("service_protocol", 502, "http_protocol_error");
}

#[tokio::test]
async fn framing_headers_in_other_spellings_are_not_forwarded() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let spelt = get("/mailer/x").header("Transfer_Encoding", "chunked").header("Content_Length", "9");
    attache.send(spelt).await;
    let received = third_party.only_request().await;
    assert_eq!((received.header("transfer_encoding"), received.header("content_length")), (None, None));
}

#[tokio::test]
async fn an_unauthenticated_client_cannot_write_long_lines_or_control_characters_to_the_log() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let long = "x".repeat(30_000);
    let target = [b"/mailer/\xc2\x9b".as_slice(), long.as_bytes()].concat();
    attache.send(get(target).header("traceparent", long)).await;
    let line = attache.access_log_line("the request", |line| line["service"] == "mailer").await;
    let path = line["path"].as_str().expect("a path");
    assert!(path.starts_with("/mailer/%C2%9B") && path.len() < 3000, "{}", path.len());
    assert!(line["traceparent"].is_null());
}

/// A client with `https://` in its base URL waits for the answer to its ClientHello.
#[tokio::test]
async fn a_tls_handshake_is_answered_before_the_time_limit_of_a_head() {
    let attache = attache_for(&third_party(), "").await;
    // The beginning of a ClientHello; the rest would be sent as well.
    let answer = raw(&attache, &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]).await;
    assert_eq!(answer.status, 400);
    attache.access_log_line("the handshake", |line| line["reason"] == "tls").await;
}
