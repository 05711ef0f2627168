//! Bytes of one upstream are never the answer of another.

use crate::harness::*;

const EVIL: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";

/// Upstream responses whose end is ambiguous.
const AMBIGUOUS: [&str; 10] = [
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding:\r\n identity\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 100\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 100\r\n\r\nok",
    "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
];

/// The start of the script; a complete second response follows 150 ms later.
fn evil(start: &str) -> Vec<Step> {
    vec![Step::Send(start.into()), Step::Pause(ms(150)), Step::Send(EVIL.to_vec()), Step::Hang]
}

/// Time by which the second response of the other upstream must have arrived.
fn slow(request: &Received) -> Vec<Step> {
    let target = request.target();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len());
    vec![Step::Pause(ms(400)), Step::Send(answer.into_bytes())]
}

/// Returns the next answer on a kept connection, or nothing on one that ends.
async fn next(connection: &mut Connection, request: &[u8]) -> Option<Response> {
    use tokio::io::AsyncWriteExt;
    connection.stream.write_all(request).await.ok()?;
    connection.response().await.ok()
}

#[tokio::test]
async fn a_second_response_is_never_the_answer_of_another_service() {
    let other = third_party().scripted(slow);
    for start in AMBIGUOUS {
        let attacker = third_party().scripted(move |_request| evil(start));
        let yaml = format!(
            "{}  other:\n    server_url: {}\n    account: {{ authorization: none }}\n",
            mailer(""),
            other.url()
        );
        let attache = attache().given("third_party", attacker.url()).with(&yaml).await;
        let mut connection = Connection::open(attache.outbound()).await;
        connection.write(b"GET /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let first = connection.response().await.expect("an answer");
        assert_ne!(first.text(), "evil", "{start}");
        let second = next(&mut connection, b"GET /other/y HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(second.is_none_or(|answer| answer.text() == "/y"), "{start}");
    }
}

#[tokio::test]
async fn a_second_response_is_never_the_answer_of_another_webhook() {
    let (taken, key, other_key) = (app().scripted(slow), webhook_key(), webhook_key());
    for start in AMBIGUOUS {
        let attacker = app().scripted(move |_request| evil(start));
        let yaml = format!(
            "users: {{ bot: {{}} }}\nservices:\n  \
             one: {{ webhook: {{ user: bot, methods: [GET], forward_to: '{}', api_keys: [{{ id: a, sha256: {} }}] }} }}\n  \
             two: {{ webhook: {{ user: bot, methods: [GET], forward_to: '{}', api_keys: [{{ id: b, sha256: {} }}] }} }}\n",
            attacker.url(),
            sha256_hex(&key),
            taken.url(),
            sha256_hex(&other_key)
        );
        let attache = attache().with(&yaml).await;
        let mut connection = Connection::open(attache.webhooks()).await;
        connection.write(format!("GET /webhooks/{key} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
        let first = connection.response().await.expect("an answer");
        assert_ne!(first.text(), "evil", "{start}");
        let request = format!("GET /webhooks/{other_key}/y HTTP/1.1\r\nHost: x\r\n\r\n");
        let second = next(&mut connection, request.as_bytes()).await;
        assert!(second.is_none_or(|answer| answer.text() == "/y"), "{start}");
    }
}

/// Two clients of one service share its pool.
#[tokio::test]
async fn a_second_response_is_never_the_answer_of_another_client() {
    for start in AMBIGUOUS {
        let attacker = third_party().scripted(move |request| match request.target().as_str() {
            "/first" => evil(start),
            target => vec![Step::Send(
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len()).into_bytes(),
            )],
        });
        let attache = attache_for(&attacker, "").await;
        attache.send(get("/mailer/first")).await;
        for n in 0..4 {
            let target = format!("/next/{n}");
            assert_eq!(attache.send(get(format!("/mailer{target}"))).await.text(), target, "{start}");
        }
    }
}

/// After a body that the upstream ends early, the position in the client's connection is unknown.
#[tokio::test]
async fn a_response_that_is_cut_ends_the_clients_connection() {
    for start in [
        "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\npart",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\npart",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\nzz\r\n",
    ] {
        let third_party = third_party().answers_raw_and_closes(start);
        let attache = attache_for(&third_party, "").await;
        let mut connection = Connection::open(attache.outbound()).await;
        connection.write(b"GET /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let received = String::from_utf8_lossy(&connection.rest().await).into_owned();
        assert!(received.contains("part") && !received.contains("0\r\n\r\n"), "{received}");
        assert_eq!(received.matches("HTTP/1.1 ").count(), 1, "{received}");
    }
}

/// A server that answers without reading the content parses it as the next request of its connection.
#[tokio::test]
async fn content_that_the_upstream_left_unread_causes_no_answer() {
    let third_party = third_party().scripted(|request| {
        let target = request.target();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", target.len());
        // The content of /x follows its head; the answer to /poison arrives when the connection has another user.
        match target.as_str() {
            "/x" => vec![Step::Send(head.into_bytes()), Step::Pause(ms(100)), Step::Send(b"/x".to_vec())],
            "/poison" => vec![Step::Pause(ms(100)), Step::Send(format!("{head}{target}").into_bytes())],
            _ => vec![Step::Send(format!("{head}{target}").into_bytes())],
        }
    });
    third_party.ignores_bodies(true);
    let attache = attache_for(&third_party, "").await;
    let content = "GET /poison HTTP/1.1\r\nHost: x\r\n\r\n";
    for (fields, early) in [("Expect: 100-continue\r\n", content), ("", "")] {
        for _ in 0..5 {
            let mut attacker = Connection::open(attache.outbound()).await;
            let length = content.len();
            let head =
                format!("POST /mailer/x HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {length}\r\n\r\n");
            attacker.write(format!("{head}{early}").as_bytes()).await;
            attacker.head().await;
            attacker.write(&content.as_bytes()[early.len()..]).await;
            attacker.bytes(2).await;
            assert_eq!(attache.send(get("/mailer/victim")).await.text(), "/victim", "{fields:?}");
        }
    }
}
