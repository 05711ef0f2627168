//! Tests of the harness itself.

use crate::harness::*;
use std::time::Duration;

#[tokio::test]
async fn the_client_and_the_stub_understand_each_other() {
    let third_party = third_party().answers(201, "made");
    let answer = send(third_party.address(), post("/a?b=%2F", "body").header("X-One", "1")).await;
    assert_eq!((answer.status, answer.text().as_str()), (201, "made"));
    assert!(answer.complete);
    let request = third_party.only_request().await;
    assert_eq!((request.method.as_str(), request.target().as_str()), ("POST", "/a?b=%2F"));
    assert_eq!((request.header("x-one"), request.body.as_slice()), (Some("1"), b"body".as_slice()));
}

#[tokio::test]
async fn a_connection_is_kept_and_counted() {
    let third_party = third_party();
    let mut connection = Connection::open(third_party.address()).await;
    connection.exchange(get("/1")).await;
    connection.exchange(get("/2")).await;
    assert_eq!(third_party.seen().opened, 1);
    assert_eq!(third_party.head(1).await.nth, 1);
    drop(connection);
    third_party.wait_until("the connection's end", |seen| seen.closed == 1).await;
}

#[tokio::test]
async fn chunks_are_decoded_both_ways() {
    let third_party = third_party().answers_raw(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n",
    );
    let answer = send(third_party.address(), request("PUT", "/").chunked([b"one", b"two"])).await;
    assert_eq!(answer.text(), "abcde");
    assert_eq!(third_party.only_request().await.body, b"onetwo");
}

#[tokio::test]
async fn a_truncated_body_is_detected() {
    let third_party =
        third_party().answers_raw_and_closes("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    let answer = send(third_party.address(), get("/")).await;
    assert!(!answer.complete);
    assert_eq!(answer.text(), "half");
}

#[tokio::test]
async fn early_hints_are_kept_apart_from_the_answer() {
    let third_party = third_party().answers_raw(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    );
    let answer = send(third_party.address(), get("/")).await;
    assert_eq!((answer.status, answer.informational.len()), (200, 1));
}

#[tokio::test]
async fn misbehaving_peers_misbehave() {
    let resets = third_party().resets();
    assert!(try_send(resets.address(), get("/")).await.is_err());
    let closes = third_party().closes_without_answer();
    assert!(try_send(closes.address(), get("/")).await.is_err());
    let (closed, _held) = refused();
    assert!(Connection::try_open(closed).await.is_err());
    let hangs = third_party().hangs();
    let waiting = tokio::time::timeout(ms(100), send(hangs.address(), get("/")));
    assert!(waiting.await.is_err());
    hangs.wait_until("the client to leave", |seen| seen.closed == 1).await;
}

#[tokio::test]
async fn a_blackhole_never_completes_a_connection() {
    let (nowhere, _held) = blackhole();
    let waiting = tokio::time::timeout(ms(300), Connection::try_open(nowhere));
    assert!(waiting.await.is_err());
}

#[tokio::test]
async fn an_answer_is_seen_before_the_upload_has_ended() {
    let third_party = third_party().reads_no_body();
    third_party
        .does(|_| vec![Step::Send(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n".to_vec()), Step::Hang]);
    let answer =
        send(third_party.address(), request("PUT", "/").dripping(100, 1, Duration::from_secs(9))).await;
    assert_eq!(answer.status, 413);
}

#[tokio::test]
async fn big_bodies_are_counted() {
    const SIZE: u64 = 20 * 1024 * 1024;
    let third_party = third_party().counts_bodies().streams(SIZE);
    let answer = send(third_party.address(), request("PUT", "/").zeros(SIZE)).await;
    assert_eq!((answer.body_length, answer.complete), (SIZE, true));
    assert_eq!(third_party.only_request().await.body_length, SIZE);
}

#[tokio::test]
async fn a_websocket_echoes() {
    let third_party = third_party().websocket_echo();
    let mut connection = Connection::open(third_party.address()).await;
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    connection
        .write(format!("GET / HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Key: {key}\r\n\r\nearly").as_bytes())
        .await;
    let answer = connection.response().await.expect("an answer");
    // The example of RFC 6455 section 1.3.
    assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    connection.write(b"-late").await;
    assert_eq!(connection.bytes(10).await, b"early-late");
}

#[tokio::test]
async fn the_token_endpoint_counts_what_it_issues() {
    let endpoint = token_endpoint().issues("token").delays(ms(1));
    let at =
        endpoint.url().trim_start_matches("http://").trim_end_matches("/token").parse().expect("an address");
    let answer = send(at, post("/token", "grant_type=client_credentials")).await;
    assert_eq!(answer.json()["access_token"], "token");
    assert_eq!(endpoint.request(0).await.body, b"grant_type=client_credentials");
    let endpoint = endpoint.rejects("invalid_client");
    assert_eq!(send(at, post("/token", "")).await.status, 401);
    assert_eq!(endpoint.count(), 2);
}

#[tokio::test]
#[should_panic(expected = "LEAK in an answer")]
async fn a_secret_in_an_answer_fails_the_test() {
    let third_party = third_party().answers(200, &secret("api"));
    send(third_party.address(), get("/")).await;
}

#[tokio::test]
#[should_panic(expected = "LEAK to App")]
async fn a_secret_in_front_of_the_app_fails_the_test() {
    use base64::Engine as _;
    let app = app();
    let hidden = base64::engine::general_purpose::STANDARD.encode(format!("ab:{}", webhook_key()));
    send(app.address(), get("/").header("Authorization", format!("Basic {hidden}"))).await;
}

#[test]
fn a_webhook_key_is_long_enough_for_the_contract() {
    assert!(webhook_key().len() >= 22);
    assert_ne!(webhook_key(), webhook_key());
    assert_eq!(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}
