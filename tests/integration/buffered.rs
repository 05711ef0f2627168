//! `limits.buffered`: the memory of webhook bodies that are read before the receiver gets a byte.

use crate::harness::*;
use std::net::Ipv4Addr;
use tokio::net::TcpSocket;

const MIB: usize = 1 << 20;
const GITHUB: &str = "verify: { scheme: github, secret: { env: VENDOR_SECRET } }";

/// A vendor with these lines at the top of the file and under `webhook`.
async fn vendor(top: &str, lines: &str) -> Vendor {
    let (app, key, secret) = (app().answers(202, "accepted"), webhook_key(), secret("vendor"));
    let setup = attache().given("app", app.url()).given("sha256", sha256_hex(&key));
    let setup = setup.env("VENDOR_SECRET", &secret);
    let attache = setup.with(&format!("{top}\n{}", vendor_yaml(lines))).await;
    Vendor { attache, app, key, secret }
}

/// Returns a connection to `at` from `127.0.0.{host}`.
async fn connection_from(host: u8, at: &Vendor) -> Connection {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((Ipv4Addr::new(127, 0, 0, host), 0).into()).expect("an address of this machine");
    let stream = socket.connect(at.attache.webhooks()).await.expect("connect");
    Connection::on(at.attache.webhooks(), stream)
}

/// Begins a delivery: what follows the fixed part of its head.
async fn begin(connection: &mut Connection, at: &Vendor, rest: &[u8]) {
    let head = format!("POST /webhooks/{} HTTP/1.1\r\nHost: x\r\n", at.key);
    connection.write(&[head.as_bytes(), rest].concat()).await;
}

fn announced(length: usize, sent: usize) -> Vec<u8> {
    [format!("Content-Length: {length}\r\n\r\n").as_bytes(), &vec![b'x'; sent][..]].concat()
}

async fn buffered(at: &Vendor) -> usize {
    at.attache.metrics().await.value("attache_buffered_bytes", &[]).expect("the gauge") as usize
}

async fn until_buffered(at: &Vendor, bytes: usize) {
    eventually(&format!("{bytes} bytes"), async || (buffered(at).await == bytes).then_some(())).await;
}

/// The requests of clients, and the memory that each of them occupies.
#[tokio::test]
async fn what_is_sent_occupies_memory_and_what_is_announced_does_not() {
    let at = vendor("", GITHUB).await;
    let chunked = |rest: &[u8]| [b"Transfer-Encoding: chunked\r\n\r\n", rest].concat();
    let table: [(&str, Vec<u8>, usize); 11] = [
        ("1 MiB is announced", announced(MIB, 0), 0),
        ("one byte of it is sent", announced(MIB, 1), 4096),
        ("less than 4 KiB of it are sent", announced(MIB, 4000), 4096),
        ("more than 4 KiB are sent", announced(MIB, 5000), 8192),
        ("all but one byte is sent", announced(MIB, MIB - 1), MIB),
        ("all but one byte of a small body is sent", announced(10, 9), 10),
        (
            "the client waits for 100 Continue",
            [b"Expect: 100-continue\r\n", &announced(MIB, 0)[..]].concat(),
            0,
        ),
        ("a chunk of 1 MiB is announced", chunked(b"100000\r\n"), 0),
        ("one byte of a chunk is sent", chunked(b"100000\r\nx"), 4096),
        ("chunks of one byte", chunked(&b"1\r\nx\r\n".repeat(5000)), 8192),
        ("a long chunk extension", chunked(&[b"1;", &[b'x'; 3000][..]].concat()), 0),
    ];
    for (what, sent, bytes) in table {
        let mut open = Vec::new();
        for _ in 0..8 {
            let mut connection = connection_from(1, &at).await;
            begin(&mut connection, &at, &sent).await;
            open.push(connection);
        }
        eventually(what, async || (buffered(&at).await == 8 * bytes).then_some(())).await;
        drop(open);
        until_buffered(&at, 0).await;
    }
}

#[tokio::test]
async fn a_thousand_stalled_bodies_occupy_little() {
    let at = vendor("", &format!("{GITHUB}\ntimeout: 60s")).await;
    let before = at.attache.resident();
    let mut open = Vec::new();
    for _ in 0..1000 {
        let mut connection = connection_from(1, &at).await;
        begin(&mut connection, &at, &announced(MIB, 1)).await;
        open.push(connection);
    }
    until_buffered(&at, 1000 * 4096).await;
    let grown = at.attache.resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{} KiB", grown >> 10);
}

#[tokio::test]
async fn a_delivery_is_served_while_another_address_holds_its_share() {
    let at = vendor("limits: { buffered: 4MiB }", GITHUB).await;
    let mut open = Vec::new();
    for _ in 0..32 {
        let mut connection = connection_from(1, &at).await;
        begin(&mut connection, &at, &announced(MIB, 50 << 10)).await;
        open.push(connection);
    }
    // A quarter: 16 buffers of 64 KiB.
    until_buffered(&at, MIB).await;
    let refused = at.attache.access_log_line("a refusal", |line| line["status"] == 503).await;
    assert_eq!(refused["reason"], "buffered_share");
    let answer = connection_from(1, &at).await.exchange(at.github("", b"{}")).await;
    answer.problem("overloaded", 503, "connection_limit_reached");
    assert_eq!(answer.all("retry-after"), ["1"]);
    for size in [10, 100 << 10, MIB / 2] {
        let body = vec![b'x'; size];
        let answer = connection_from(2, &at).await.exchange(at.github("", &body)).await;
        assert_eq!(answer.status, 202, "{size} bytes from another address");
    }
    drop(open);
    until_buffered(&at, 0).await;
    assert_eq!(connection_from(1, &at).await.exchange(at.github("", b"{}")).await.status, 202);
}

/// The clients of a trusted proxy are told apart, an IPv6 network of 64 bits is one.
#[tokio::test]
async fn a_share_belongs_to_the_client_and_not_to_the_proxy() {
    let at = vendor("limits: { buffered: 4MiB }\ntrusted_proxies: 127.0.0.1", GITHUB).await;
    let mut open = Vec::new();
    for n in 0..16 {
        let mut connection = connection_from(1, &at).await;
        let of = format!("X-Forwarded-For: 2001:db8::{n}\r\n");
        begin(&mut connection, &at, &[of.as_bytes(), &announced(MIB, 50 << 10)].concat()).await;
        open.push(connection);
    }
    until_buffered(&at, MIB).await;
    let from = async |address: &str| {
        let call = at.github("", b"{}").header("X-Forwarded-For", address);
        connection_from(1, &at).await.exchange(call).await.status
    };
    assert_eq!(from("2001:db8::ffff:ffff:ffff:ffff").await, 503);
    assert_eq!(from("2001:db8:0:1::1").await, 202);
    assert_eq!(from("203.0.113.7").await, 202);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_and_a_reload_changes_it() {
    let at = vendor("limits: { buffered: 64KiB }", GITHUB).await;
    let body = vec![b'x'; 20_000];
    let answer = at.attache.hook(at.github("", &body)).await;
    answer.problem("overloaded", 503, "connection_limit_reached");
    assert_eq!(at.attache.hook(at.github("", &body[..10_000])).await.status, 202);
    at.attache.reload(&format!("limits: {{ buffered: 1MiB }}\n{}", vendor_yaml(GITHUB)), "applied").await;
    assert_eq!(at.attache.hook(at.github("", &body)).await.status, 202);
    let limit = at.attache.metrics().await.value("attache_buffered_limit_bytes", &[]);
    assert_eq!(limit, Some(MIB as f64));
}

/// Forms that are not genuine and cost far more than their size to sort.
#[tokio::test]
async fn sixteen_forms_of_many_parameters_occupy_little() {
    let at = vendor("", "verify: { scheme: twilio, secret: { env: VENDOR_SECRET } }").await;
    let mut form: Vec<u8> = (0..200_000).flat_map(|n| format!("{n}&").into_bytes()).collect();
    form.truncate(MIB);
    let call = || {
        at.call("", form.clone())
            .header("Content-Type", "application/x-www-form-urlencoded")
            .header("X-Twilio-Signature", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    };
    let before = at.attache.resident();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (peer, call) = (at.attache.webhooks(), call());
        calls.spawn(async move { send(peer, call).await.status });
    }
    assert_eq!(calls.join_all().await, [401; 16]);
    let grown = at.attache.peak().saturating_sub(before);
    assert!(grown < 64 << 20, "{} KiB", grown >> 10);
}

/// The client used up most of the time, whether its body is read ahead or streamed.
#[tokio::test]
async fn a_slow_upload_is_a_408_even_if_it_ends_in_time() {
    for lines in [GITHUB, ""] {
        let at = vendor("", &format!("{lines}\ntimeout: 1s")).await;
        let body = vec![b'x'; 90];
        let hangs = at.app.hangs();
        let at = Vendor { app: hangs, ..at };
        let signature = hex(&at.mac(&body));
        for framing in ["Content-Length: 90\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n5a\r\n"] {
            let mut connection = connection_from(1, &at).await;
            let head = format!("X-Hub-Signature-256: sha256={signature}\r\n{framing}");
            begin(&mut connection, &at, head.as_bytes()).await;
            let mut tick = tokio::time::interval(ms(90));
            for part in body.chunks(10) {
                tick.tick().await;
                connection.write(part).await;
            }
            connection.write(if framing.contains("chunked") { b"\r\n0\r\n\r\n" } else { b"" }).await;
            let answer = connection.response_to("POST").await.expect("an answer");
            answer.problem("request_timeout", 408, "http_request_error");
            assert!(answer.head_after < ms(2000), "{:?}", answer.head_after);
        }
    }
}

/// The receiver is slow, the client is not.
#[tokio::test]
async fn a_receiver_that_is_late_after_a_quick_upload_is_a_504() {
    for lines in [GITHUB, ""] {
        let at = vendor("", &format!("{lines}\ntimeout: 500ms")).await;
        let at = Vendor { app: at.app.hangs(), ..at };
        at.attache.hook(at.github("", b"{}")).await.problem("service_timeout", 504, "http_response_timeout");
    }
}
