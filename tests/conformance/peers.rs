//! The same exchanges with third-party servers: nginx, Node's HTTP server, and HAProxy in front of it.

use crate::harness::*;
use crate::table::{Report, holds, limited, same, tried};
use serde_json::Value;
use tokio::io::AsyncWriteExt;

/// A request that every server must parse as attache did.
struct Row {
    name: &'static str,
    section: &'static str,
    request: Vec<u8>,
    method: &'static str,
    target: &'static str,
    body: Option<&'static str>,
}

fn row(
    name: &'static str,
    section: &'static str,
    request: impl Into<Vec<u8>>,
    method: &'static str,
    target: &'static str,
) -> Row {
    Row { name, section, request: request.into(), method, target, body: None }
}

fn upload(name: &'static str, section: &'static str, lines: &str, body: &'static str) -> Row {
    let request = format!("POST /mailer/upload HTTP/1.1\r\nHost: x\r\n{lines}");
    Row { body: Some(body), ..row(name, section, request, "POST", "/upload") }
}

/// Returns the rows. nginx refuses a method with other characters than upper-case letters, so there is none.
fn rows() -> Vec<Row> {
    vec![
        row(
            "origin form",
            "RFC 9112 §3.2.1",
            b"GET /mailer/a/b?c=d HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET",
            "/a/b?c=d",
        ),
        row(
            "absolute form",
            "RFC 9112 §3.2.2",
            b"GET http://api.example/mailer/x?y HTTP/1.1\r\nHost: api.example\r\n\r\n",
            "GET",
            "/x?y",
        ),
        row("HTTP/1.0 without Host", "RFC 9112 §3.2", b"GET /mailer/x HTTP/1.0\r\n\r\n", "GET", "/x"),
        row("empty Host", "RFC 9112 §3.2", b"GET /mailer/x HTTP/1.1\r\nHost:\r\n\r\n", "GET", "/x"),
        row(
            "percent-encodings",
            "RFC 9110 §7.6",
            b"GET /mailer/a%2Fb/%7E?q=%20&&x=%25 HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET",
            "/a%2Fb/%7E?q=%20&&x=%25",
        ),
        row(
            "empty segments",
            "RFC 9110 §7.6",
            b"GET /mailer//a//b HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET",
            "//a//b",
        ),
        row("OPTIONS", "RFC 9110 §9.3.7", b"OPTIONS /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n", "OPTIONS", "/x"),
        row("PURGE", "RFC 9110 §9.1", b"PURGE /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n", "PURGE", "/x"),
        row("DELETE", "RFC 9110 §9.3.5", b"DELETE /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n", "DELETE", "/x"),
        row(
            "fields that Connection names",
            "RFC 9110 §7.6.1",
            b"GET /mailer/x HTTP/1.1\r\nHost: x\r\nConnection: X-Bogus, close\r\nX-Bogus: bogus\r\n\r\n",
            "GET",
            "/x",
        ),
        row(
            "upgrade to h2c",
            "RFC 9113 §3.1",
            b"GET /mailer/x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
            "GET",
            "/x",
        ),
        row(
            "octets beyond ASCII in a value",
            "RFC 9110 §5.5",
            b"GET /mailer/x HTTP/1.1\r\nHost: x\r\nX-A: caf\xe9\r\n\r\n",
            "GET",
            "/x",
        ),
        upload("Content-Length", "RFC 9112 §6.2", "Content-Length: 4\r\n\r\nbody", "body"),
        upload(
            "leading zeros in Content-Length",
            "RFC 9110 §8.6",
            "Content-Length: 0004\r\n\r\nbody",
            "body",
        ),
        upload("no body", "RFC 9112 §6.3", "\r\n", ""),
        upload(
            "chunked",
            "RFC 9112 §7.1",
            "Transfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
            "body",
        ),
        upload(
            "chunk extensions",
            "RFC 9112 §7.1.1",
            "Transfer-Encoding: chunked\r\n\r\n4;a=\"b;c\"\r\nbody\r\n0\r\n\r\n",
            "body",
        ),
        upload(
            "trailer fields",
            "RFC 9112 §7.1.2",
            "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Bogus: bogus\r\n\r\n",
            "body",
        ),
        upload("Expect", "RFC 9110 §10.1.1", "Expect: 100-continue\r\nContent-Length: 4\r\n\r\nbody", "body"),
    ]
}

/// Requests that must not reach the server.
const REFUSED: [(&str, &str, &str); 6] = [
    (
        "Content-Length and Transfer-Encoding",
        "RFC 9112 §6.3",
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("two Content-Length", "RFC 9112 §6.3", "Content-Length: 4\r\nContent-Length: 5\r\n\r\nbodyx"),
    ("chunked twice", "RFC 9112 §6.3", "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    (
        "line feed in a chunk extension",
        "RFC 9112 §7.1.1",
        "Transfer-Encoding: chunked\r\n\r\n3;\nxx\r\nabc\r\n0\r\n\r\n",
    ),
    ("a folded field", "RFC 9112 §5.2", "X-A: 1\r\n 2\r\n\r\n"),
    ("bare LF", "RFC 9112 §2.2", "X-A: 1\nX-B: 2\r\n\r\n"),
];

async fn exchange(attache: &Attache, request: &[u8]) -> Result<(Connection, Response), String> {
    let mut connection = tried("connection", Connection::try_open(attache.outbound())).await?;
    let _cut_short = limited("room for the request", connection.stream.write_all(request)).await?;
    let method = request.split(|&byte| byte == b' ').next().unwrap_or_default();
    let method = String::from_utf8_lossy(method).into_owned();
    let answer = tried("answer", connection.response_to(&method)).await?;
    Ok((connection, answer))
}

async fn refusals(attache: &Attache, report: &mut Report) {
    for (name, section, lines) in REFUSED {
        let request = format!("POST /mailer/x HTTP/1.1\r\nHost: x\r\n{lines}");
        let result = match exchange(attache, request.as_bytes()).await {
            Ok((_connection, answer)) => same("status", answer.status, 400)
                .and_then(|()| same("marks of attache", answer.all("proxy-status").len(), 1)),
            Err(error) => Err(error),
        };
        report.add(&format!("refused: {name}"), section, result);
    }
}

#[tokio::test]
async fn nginx() {
    let ca = CertificateAuthority::new();
    let nginx = Nginx::start(&ca, "localhost").await;
    let yaml = mailer("server_url: {{nginx}}/v3\nprivate_network: true\ntls: { ca: '{{ca}}' }");
    let attache = attache().given("nginx", nginx.url()).file("ca", &ca.pem()).with(&yaml).await;
    let mut report = Report::default();
    for row in rows() {
        // nginx normalises neither `..` nor `//` in its log: `$request_uri` is as received.
        let result = async {
            let (_connection, answer) = exchange(&attache, &row.request).await?;
            let wanted = format!("{{\"uri\":\"/v3{}\",\"method\":\"{}\"", row.target, row.method);
            if !answer.text().starts_with(&wanted) {
                return Err(format!("{} {:?}, wanted {wanted}", answer.status, answer.text()));
            }
            same("whole body", answer.complete, true)
        };
        report.add(row.name, row.section, result.await);
    }
    refusals(&attache, &mut report).await;
    for (name, section, lines) in [
        ("stored: Content-Length", "RFC 9112 §6.2", "Content-Length: 4\r\n\r\nbody"),
        (
            "stored: chunked",
            "RFC 9112 §7.1",
            "Transfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
        ),
    ] {
        let path = format!("/files/{}", name.len());
        let request = format!("PUT /mailer{path} HTTP/1.1\r\nHost: x\r\n{lines}");
        let result = async {
            let (_connection, answer) = exchange(&attache, request.as_bytes()).await?;
            same("status", answer.status, 201)?;
            same("file", nginx.file(&format!("/v3{path}")).as_slice(), b"body")
        };
        report.add(name, section, result.await);
    }
    let result = async {
        let (mut connection, answer) =
            exchange(&attache, b"HEAD /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n").await?;
        same("status", answer.status, 200)?;
        answer.header("content-length").ok_or("no Content-Length")?;
        tried(
            "room for another request",
            connection.stream.write_all(b"GET /mailer/y HTTP/1.1\r\nHost: x\r\n\r\n"),
        )
        .await?;
        let next = tried("answer to another request", connection.response()).await?;
        same("answer to another request", next.text().contains("/v3/y"), true)
    };
    report.add("HEAD", "RFC 9110 §9.3.2", result.await);
    let received = nginx.received();
    let bogus = received.iter().filter(|line| line.to_string().contains("bogus")).count();
    report.add("nothing between client and attache arrives", "RFC 9110 §7.6.1", same("lines", bogus, 0));
    report.finish(29);
}

/// Asserts that the document of `tests/peers/echo.mjs` equals the row.
fn compare(row: &Row, answer: &Response) -> Result<(), String> {
    same("status", answer.status, 200)?;
    let document: Value =
        serde_json::from_slice(&answer.body).map_err(|error| format!("{error} in {:?}", answer.text()))?;
    same("method", &document["method"], &row.method.into())?;
    same("target", &document["url"], &row.target.into())?;
    same("version", &document["httpVersion"], &"1.1".into())?;
    if let Some(body) = row.body {
        same("body", &document["body"], &body.into())?;
    }
    if document.to_string().contains("bogus") {
        return Err(format!("bogus in {document}"));
    }
    let lower = document["rawHeaders"].to_string().to_lowercase();
    for name in ["\"upgrade\"", "\"te\"", "\"trailer\"", "\"keep-alive\""] {
        // `keep-alive` as a value of Connection is attache's own.
        if lower.contains(name) && !lower.contains(&format!("\"connection\",{name}")) {
            return Err(format!("{name} in {lower}"));
        }
    }
    Ok(())
}

async fn requests_of_node(attache: &Attache, report: &mut Report) {
    for row in rows() {
        let result = match exchange(attache, &row.request).await {
            Ok((_connection, answer)) => compare(&row, &answer),
            Err(error) => Err(error),
        };
        report.add(row.name, row.section, result);
    }
    refusals(attache, report).await;
}

/// Checks the answers of the server on one connection of the client, which has to stay in step.
async fn answers_of_node(attache: &Attache, report: &mut Report) {
    for (name, section, method, path, status, body) in [
        ("answer with Content-Length", "RFC 9112 §6.2", "GET", "/length", 200, "length"),
        ("answer in chunks", "RFC 9112 §7.1", "GET", "/chunked", 200, "chunked"),
        ("answer with trailer fields", "RFC 9112 §7.1.2", "GET", "/trailers", 200, "body"),
        ("answer with Connection: close", "RFC 9112 §9.6", "GET", "/close", 200, "close"),
        (
            "answer until the end of the connection",
            "RFC 9112 §6.3",
            "GET",
            "/until-close",
            200,
            "until the end",
        ),
        ("answer 204", "RFC 9110 §15.3.5", "GET", "/204", 204, ""),
        ("answer 304", "RFC 9110 §15.4.5", "GET", "/304", 304, ""),
        ("answer after 103", "RFC 9110 §15.2", "GET", "/hints", 200, "hints"),
        ("answer with two Set-Cookie", "RFC 9110 §5.3", "GET", "/cookies", 200, ""),
        ("answer to HEAD with Content-Length", "RFC 9110 §9.3.2", "HEAD", "/length", 200, ""),
        ("answer to HEAD in chunks", "RFC 9110 §9.3.2", "HEAD", "/chunked", 200, ""),
    ] {
        let result = async {
            let request = format!("{method} /mailer{path} HTTP/1.1\r\nHost: x\r\n\r\n");
            let (mut connection, answer) = exchange(attache, request.as_bytes()).await?;
            same("status", answer.status, status)?;
            same("body", answer.text().as_str(), body)?;
            same("whole body", answer.complete, true)?;
            same("trailers", holds(&answer.raw, b"bogus") || answer.header("trailer").is_some(), false)?;
            if path == "/cookies" {
                same("cookies", answer.all("set-cookie"), vec!["a=1", "b=2"])?;
            }
            if path == "/hints" {
                same("interim responses", answer.informational.len(), 1)?;
            }
            let another = b"GET /mailer/another HTTP/1.1\r\nHost: x\r\n\r\n";
            tried("room for another request", connection.stream.write_all(another)).await?;
            let next = tried("answer to another request", connection.response()).await?;
            same("answer to another request", next.text().contains("\"/another\""), true)
        };
        report.add(name, section, result.await);
    }
    let result = match exchange(attache, b"GET /mailer/cut HTTP/1.1\r\nHost: x\r\n\r\n").await {
        Ok((_connection, answer)) => same("whole body", answer.complete, false),
        Err(error) => Err(error),
    };
    report.add("answer that is cut", "RFC 9112 §8", result);
}

#[tokio::test]
async fn node() {
    let node = Peer::serve("echo.mjs", &[]).await;
    let attache = attache().given("third_party", node.url()).with(&mailer("")).await;
    let mut report = Report::default();
    requests_of_node(&attache, &mut report).await;
    answers_of_node(&attache, &mut report).await;
    report.finish(37);
}

#[tokio::test]
async fn haproxy() {
    let node = Peer::serve("echo.mjs", &[]).await;
    let haproxy = Haproxy::start(node.address()).await;
    let attache = attache().given("third_party", haproxy.url()).with(&mailer("")).await;
    let mut report = Report::default();
    requests_of_node(&attache, &mut report).await;
    answers_of_node(&attache, &mut report).await;
    for (name, section, lines, counts) in [
        ("framing of a body with a length", "RFC 9112 §6.2", "Content-Length: 4\r\n\r\nbody", "1 0"),
        (
            "framing of chunks",
            "RFC 9112 §7.1",
            "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
            "0 1",
        ),
    ] {
        let result = async {
            let request = format!("POST /mailer/said HTTP/1.1\r\nHost: x\r\n{lines}");
            let (_connection, answer) = exchange(&attache, request.as_bytes()).await?;
            same("what HAProxy says", answer.text(), format!("POST /said 1.1 {counts}"))
        };
        report.add(name, section, result.await);
    }
    for (path, status) in [("/denied", 429), ("/moved", 302)] {
        let result = async {
            let request = format!("GET /mailer{path} HTTP/1.1\r\nHost: x\r\n\r\n");
            let (_connection, answer) = exchange(&attache, request.as_bytes()).await?;
            same("status", answer.status, status)
        };
        report.add(&format!("HAProxy's own answer {status}"), "RFC 9110 §15", result.await);
    }
    report.finish(41);
}
