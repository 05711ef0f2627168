//! WebSocket: a tunnel once the third party has agreed.

use crate::harness::*;
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

const UPGRADE: &str = "GET /mailer/socket?x=1 HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

async fn upgrade(at: SocketAddr, early: &[u8]) -> (Connection, Response) {
    let mut connection = Connection::open(at).await;
    connection.write(&[UPGRADE.as_bytes(), early].concat()).await;
    let answer = connection.response().await.expect("an answer");
    (connection, answer)
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel() {
    let (third_party, key) = (third_party().websocket_echo(), secret("api"));
    let lines = "account: { authorization: { header: { name: X-API-KEY, value: { env: KEY } } } }";
    let attache =
        attache().given("third_party", third_party.url()).env("KEY", &key).with(&mailer(lines)).await;
    let (mut connection, answer) = upgrade(attache.outbound(), b"").await;
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert!(answer.header("upgrade").is_some_and(|to| to.eq_ignore_ascii_case("websocket")));
    for message in ["one", "two", "three"] {
        connection.write(message.as_bytes()).await;
        assert_eq!(connection.bytes(message.len()).await, message.as_bytes());
    }
    let received = third_party.head(0).await;
    assert_eq!((received.target().as_str(), received.all("x-api-key")), ("/socket?x=1", vec![key.as_str()]));
    assert!(received.header("upgrade").is_some_and(|to| to.eq_ignore_ascii_case("websocket")));
    drop(connection);
    third_party.wait_until("the tunnel's end", |seen| seen.closed == 1).await;
}

#[tokio::test]
async fn two_hundred_instant_upgrades_half_of_them_with_early_bytes() {
    let third_party = third_party().websocket_echo();
    let attache = attache_for(&third_party, "").await;
    let outbound = attache.outbound();
    let mut tunnels = JoinSet::new();
    for n in 0..200 {
        tunnels.spawn(async move {
            let early: &[u8] = if n % 2 == 0 { b"early" } else { b"" };
            let (mut connection, answer) = upgrade(outbound, early).await;
            assert_eq!(answer.status, 101, "upgrade {n}");
            connection.write(b"-late").await;
            let expected = [early, b"-late"].concat();
            assert_eq!(connection.bytes(expected.len()).await, expected, "tunnel {n}");
        });
    }
    while let Some(tunnel) = tunnels.join_next().await {
        tunnel.expect("every tunnel carries both ways");
    }
}

#[tokio::test]
async fn a_tunnel_outlives_the_deadline() {
    let third_party = third_party().websocket_echo();
    let attache = attache_for(&third_party, "timeout: 300ms").await;
    let (mut connection, answer) = upgrade(attache.outbound(), b"").await;
    assert_eq!(answer.status, 101);
    // The test depends on the passing of time.
    tokio::time::sleep(ms(800)).await;
    connection.write(b"still here").await;
    assert_eq!(connection.bytes(10).await, b"still here");
}

#[tokio::test]
async fn a_declined_upgrade_is_an_ordinary_answer() {
    let third_party = third_party().answers(403, "no");
    let attache = attache_for(&third_party, "").await;
    let (_connection, answer) = upgrade(attache.outbound(), b"").await;
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
}

/// RFC 9110 section 8.6 forbids the length; some servers send it.
#[tokio::test]
async fn a_switch_with_a_length_is_a_switch() {
    let third_party = third_party().scripted(|_| {
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Content-Length: 0\r\n\r\nfirst";
        vec![Step::Send(switch.to_vec()), Step::Mirror]
    });
    let attache = attache_for(&third_party, "").await;
    let (mut connection, answer) = upgrade(attache.outbound(), b"").await;
    assert_eq!((answer.status, answer.header("content-length")), (101, None));
    assert_eq!(connection.bytes(5).await, b"first");
    connection.write(b"echo").await;
    assert_eq!(connection.bytes(4).await, b"echo");
    drop(connection);
    let line = attache.access_log_line("the tunnel", |line| line["status"] == 101).await;
    assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&4.into(), &9.into()), "{line:#}");
}

/// Bytes for a tunnel are never parsed as a request.
#[tokio::test]
async fn early_bytes_of_a_declined_upgrade_are_discarded() {
    let third_party = third_party().answers(403, "no");
    let attache = attache_for(&third_party, "").await;
    let early = b"GET /mailer/smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let (mut connection, answer) = upgrade(attache.outbound(), early).await;
    assert_eq!((answer.status, answer.says_close()), (403, true));
    assert_eq!(connection.rest().await, b"");
    assert_eq!(third_party.seen().heads, 1);
}

#[tokio::test]
async fn a_tunnel_forwards_half_closes() {
    let third_party = third_party().websocket_echo();
    let attache = attache_for(&third_party, "").await;
    let (mut connection, _) = upgrade(attache.outbound(), b"").await;
    connection.write(b"last words").await;
    connection.stream.shutdown().await.expect("half-close");
    assert_eq!(connection.rest().await, b"last words");
}

#[tokio::test]
async fn an_upgrade_nobody_answers_is_a_504() {
    let third_party = third_party().hangs();
    let attache = attache_for(&third_party, "timeout: 500ms").await;
    let (_connection, answer) = upgrade(attache.outbound(), b"").await;
    answer.problem("service_timeout", 504, "http_response_timeout");
}

#[tokio::test]
async fn a_switch_to_another_protocol_is_refused() {
    for upgrade_field in ["Upgrade: h2c\r\n", ""] {
        let switch =
            format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n{upgrade_field}\r\n");
        let third_party = third_party().answers_raw(switch);
        let attache = attache_for(&third_party, "").await;
        let (_connection, answer) = upgrade(attache.outbound(), b"").await;
        answer.problem("service_protocol", 502, "http_protocol_error");
    }
}
