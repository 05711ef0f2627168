//! Bodies stream both ways in constant memory.

use crate::harness::*;
use std::time::Duration;

const MIB: u64 = 1024 * 1024;

/// 256 MiB, or the value of `ATTACHE_STREAM_MIB`.
fn size() -> u64 {
    let asked = std::env::var("ATTACHE_STREAM_MIB").ok().map(|mib| mib.parse::<u64>().expect("a number"));
    asked.unwrap_or(256) * MIB
}

/// Returns the growth of the memory's peak since `before`.
fn assert_constant(attache: &Attache, before: u64) {
    let grown = attache.peak().saturating_sub(before);
    println!("grown by {} KiB for {} MiB", grown / 1024, size() / MIB);
    assert!(grown <= 16 * MIB, "grown by {} KiB", grown / 1024);
}

#[tokio::test]
async fn a_large_upload_takes_constant_memory() {
    let third_party = third_party().counts_bodies();
    let attache = attache_for(&third_party, "timeout: 10m").await;
    attache.send(post("/mailer/x", "warm")).await;
    let before = attache.resident();
    let answer = attache.send(request("PUT", "/mailer/x").zeros(size())).await;
    assert_eq!(answer.status, 200);
    assert_eq!(third_party.head(1).await.body_length, size());
    assert_constant(&attache, before);
}

#[tokio::test]
async fn a_large_download_takes_constant_memory() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "timeout: 10m").await;
    attache.send(get("/mailer/x")).await;
    let before = attache.resident();
    let third_party = third_party.streams(size());
    let answer = attache.send(get("/mailer/x")).await;
    assert_eq!((answer.body_length, answer.complete), (size(), true));
    assert_constant(&attache, before);
    drop(third_party);
}

/// The upstream is faster than the caller, which reads nothing for a while.
#[tokio::test]
async fn a_slow_reader_slows_the_third_party() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    attache.send(get("/mailer/x")).await;
    let before = attache.resident();
    let third_party = third_party.streams(size());
    let mut connection = Connection::open(attache.outbound()).await;
    connection.write(b"GET /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n").await;
    third_party.head(1).await;
    // The test depends on the time in which the buffers fill.
    tokio::time::sleep(ms(1000)).await;
    assert_constant(&attache, before);
}

#[tokio::test]
async fn an_upload_is_forwarded_as_it_arrives() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let mut connection = Connection::open(attache.outbound()).await;
    connection.write(b"POST /mailer/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nfirst").await;
    third_party.wait_until("the first half", |seen| seen.body_bytes == 5).await;
    connection.write(b"-then").await;
    assert_eq!(connection.response_to("POST").await.expect("an answer").status, 200);
    assert_eq!(third_party.only_request().await.body, b"first-then");
}

#[tokio::test]
async fn a_chunked_upload_stays_chunked() {
    let third_party = third_party().echoes();
    let attache = attache_for(&third_party, "").await;
    let answer = attache.send(request("POST", "/mailer/x").chunked([b"one", b"two", b"three"])).await;
    assert_eq!(answer.text(), "onetwothree");
    let received = third_party.only_request().await;
    assert_eq!(
        (received.header("transfer-encoding"), received.header("content-length")),
        (Some("chunked"), None)
    );
}

/// As event streams require: nothing is held back until more arrives.
#[tokio::test]
async fn an_answer_is_forwarded_as_it_arrives() {
    for start in ["Content-Length: 10\r\n\r\nfirst", "Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"] {
        let start = format!("HTTP/1.1 200 OK\r\n{start}").into_bytes();
        let third_party = third_party().scripted(move |_request| vec![Step::Send(start.clone()), Step::Hang]);
        let attache = attache_for(&third_party, "idle_timeout: 60s").await;
        let mut connection = Connection::open(attache.outbound()).await;
        connection.write(b"GET /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let head =
            within(Duration::from_secs(5), "the head of an unfinished answer", connection.head()).await;
        let chunked = head.header("transfer-encoding").is_some();
        let expected: &[u8] = if chunked { b"5\r\nfirst\r\n" } else { b"first" };
        let first = connection.bytes(expected.len());
        assert_eq!(within(Duration::from_secs(5), "the first piece of a body", first).await, expected);
    }
}

/// One byte per segment: each must cost its byte, not a buffer.
#[tokio::test]
async fn an_upload_in_small_parts_takes_constant_memory() {
    let third_party = third_party().counts_bodies();
    let attache = attache_for(&third_party, "timeout: 10m").await;
    attache.send(post("/mailer/x", "warm")).await;
    let before = attache.resident();
    let mut connection = Connection::open(attache.outbound()).await;
    connection.write(b"POST /mailer/x HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n").await;
    for n in 1..=20_000 {
        connection.write(b"x").await;
        if n % 100 == 0 {
            // So that they are read one by one, or nearly.
            third_party.wait_until("the bytes so far", |seen| seen.body_bytes >= 4 + n - 100).await;
        }
    }
    assert_eq!(connection.response().await.expect("an answer").status, 200);
    assert_constant(&attache, before);
}

/// The client sends its whole request before it reads, and the upstream reads while it answers.
#[tokio::test]
async fn an_upload_goes_on_while_its_answer_is_not_read() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    const SIZE: usize = 8 << 20;
    let upstream = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}", upstream.local_addr().expect("an address"));
    let attache = attache().given("third_party", url).with(&mailer("")).await;
    let serving = async {
        let (stream, _) = upstream.accept().await.expect("a connection");
        let (mut from, mut to) = stream.into_split();
        let answer = async {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", SIZE + 1);
            to.write_all(head.as_bytes()).await.expect("write");
            to.write_all(&vec![b'a'; SIZE]).await.expect("write");
            to
        };
        let read = async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(from.read_u8().await.expect("read"));
            }
            // A byte that is left unread would reset the connection, and end the answer.
            let (mut buffer, mut got) = (vec![0; 64 << 10], 0);
            while got < SIZE {
                let count = from.read(&mut buffer).await.expect("read");
                assert_ne!(count, 0, "the request ends after {got} bytes");
                got += count;
            }
        };
        let (mut to, ()) = tokio::join!(answer, read);
        // A response that ends before its request would end the upload.
        to.write_all(b"a").await.expect("write");
    };
    let client = async {
        let mut connection = Connection::open(attache.outbound()).await;
        let head = format!("POST /mailer/x HTTP/1.1\r\nHost: x\r\nContent-Length: {SIZE}\r\n\r\n");
        connection.write(head.as_bytes()).await;
        connection.write(&vec![b'b'; SIZE]).await;
        connection.response().await.expect("an answer")
    };
    let both = within(PATIENCE, "both bodies", async { tokio::join!(serving, client) });
    let (_, answer) = both.await;
    assert_eq!((answer.status, answer.body_length), (200, SIZE as u64 + 1));
}

/// One worker thread, so that an exchange that never yields would hold up the other.
#[tokio::test]
async fn an_exchange_whose_sides_both_take_nothing_holds_up_no_other() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let upstream = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}", upstream.local_addr().expect("an address"));
    let attache = attache().given("third_party", url).with(&format!("threads: 1\n{}", mailer(""))).await;
    let mut client = Connection::open(attache.outbound()).await;
    client
        .write(
            format!("POST /mailer/x HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", 64 * MIB).as_bytes(),
        )
        .await;
    let (mut stream, _) = upstream.accept().await.expect("a connection");
    // From here on it reads nothing, and its answer is not read either.
    stream.read_exact(&mut [0; 64]).await.expect("read");
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 64 * MIB);
    stream.write_all(head.as_bytes()).await.expect("write");
    let part = vec![b'a'; 32 << 10];
    while tokio::time::timeout(ms(200), stream.write_all(&part)).await.is_ok() {}
    let mut other = Connection::open(attache.outbound()).await;
    // In steps that are smaller than any buffer: each fill level of attache's own comes up.
    while tokio::time::timeout(ms(200), client.write(&part[..4 << 10])).await.is_ok() {
        assert_eq!(other.exchange(get("/no-service/x")).await.status, 404);
    }
}

#[tokio::test]
async fn a_running_upload_is_activity() {
    let third_party = third_party().scripted(|_request| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n".to_vec();
        vec![Step::Send(head), Step::Pause(ms(2000)), Step::Send(b"ok".to_vec())]
    });
    third_party.ignores_bodies(true);
    let attache = attache_for(&third_party, "idle_timeout: 1s").await;
    let answer = attache.send(request("PUT", "/mailer/x").dripping(40, 1, ms(100))).await;
    assert_eq!((answer.status, answer.text().as_str(), answer.complete), (200, "ok", true));
}

/// Bytes after the last request of a connection must not turn its response into a reset.
#[tokio::test]
async fn bytes_after_the_last_request_do_not_lose_its_response() {
    const SIZE: u64 = 300_000;
    let third_party = third_party().streams(SIZE);
    let attache = attache_for(&third_party, "").await;
    for _ in 0..5 {
        let mut connection = Connection::open(attache.outbound()).await;
        let mut bytes = b"GET /mailer/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec();
        bytes.resize(200_000, b'x');
        connection.write(&bytes).await;
        let answer = connection.response().await.expect("an answer");
        assert_eq!((answer.body_length, answer.complete), (SIZE, true));
    }
}
