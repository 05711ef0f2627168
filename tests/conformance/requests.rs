//! Requests as clients send them, and the result of each: a refusal, or the request that the upstream receives.

use crate::harness::*;
use crate::table::{Report, holds, limited, same, tried};
use tokio::io::AsyncWriteExt;

/// The state of the client's connection after the answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    /// It serves another request.
    Kept,
    /// It ends without another byte.
    Closed,
    /// The connection is closed, or kept and announced by `Connection: keep-alive` as an HTTP/1.0 client needs it.
    KeptIfAnnounced,
    /// Either is conforming.
    Either,
}

enum Outcome {
    /// attache's own answer. No upstream receives a complete request.
    Refused { status: u16, code: &'static str },
    /// The upstream receives this request.
    Passed { method: &'static str, target: Vec<u8> },
}

struct Row {
    name: String,
    section: &'static str,
    request: Vec<u8>,
    /// Sent after `100 Continue`.
    rest: Option<Vec<u8>>,
    outcome: Outcome,
    has: Vec<(&'static str, &'static str)>,
    lacks: Vec<&'static str>,
    on_the_wire: Vec<&'static [u8]>,
    not_on_the_wire: Vec<&'static [u8]>,
    answer_has: Vec<&'static str>,
    body: Option<Vec<u8>>,
    pipelined: Vec<&'static str>,
    after: After,
}

fn row(
    name: impl Into<String>,
    section: &'static str,
    request: impl Into<Vec<u8>>,
    outcome: Outcome,
    after: After,
) -> Row {
    Row {
        name: name.into(),
        section,
        request: request.into(),
        rest: None,
        outcome,
        has: Vec::new(),
        lacks: Vec::new(),
        on_the_wire: Vec::new(),
        not_on_the_wire: Vec::new(),
        answer_has: Vec::new(),
        body: None,
        pipelined: Vec::new(),
        after,
    }
}

/// The request reaches the upstream with this method and target.
fn passed(
    name: impl Into<String>,
    section: &'static str,
    request: impl Into<Vec<u8>>,
    method: &'static str,
    target: impl Into<Vec<u8>>,
) -> Row {
    row(name, section, request, Outcome::Passed { method, target: target.into() }, After::Kept)
}

/// 400 `request_invalid`, and the connection ends: bytes after such a request can't be parsed reliably.
fn invalid(name: impl Into<String>, section: &'static str, request: impl Into<Vec<u8>>) -> Row {
    refused(name, section, request, 400, "request_invalid").then(After::Closed)
}

fn refused(
    name: impl Into<String>,
    section: &'static str,
    request: impl Into<Vec<u8>>,
    status: u16,
    code: &'static str,
) -> Row {
    row(name, section, request, Outcome::Refused { status, code }, After::Either)
}

impl Row {
    fn then(mut self, after: After) -> Self {
        self.after = after;
        self
    }

    fn has(mut self, name: &'static str, value: &'static str) -> Self {
        self.has.push((name, value));
        self
    }

    fn lacks(mut self, names: &[&'static str]) -> Self {
        self.lacks.extend(names);
        self
    }

    fn on_the_wire(mut self, bytes: &'static [u8]) -> Self {
        self.on_the_wire.push(bytes);
        self
    }

    fn not_on_the_wire(mut self, bytes: &'static [u8]) -> Self {
        self.not_on_the_wire.push(bytes);
        self
    }

    fn answer_has(mut self, name: &'static str) -> Self {
        self.answer_has.push(name);
        self
    }

    fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    fn after_continue(mut self, rest: impl Into<Vec<u8>>) -> Self {
        self.rest = Some(rest.into());
        self
    }

    /// Another request of the same write, by the target that the upstream receives.
    fn pipelined(mut self, target: &'static str) -> Self {
        self.pipelined.push(target);
        self
    }

    async fn check(&self, attache: &Attache, stub: &Stub) -> Result<(), String> {
        let before = stub.requests().len();
        let mut connection = tried("connection", Connection::try_open(attache.outbound())).await?;
        // A refusal may close before the whole request is written.
        let _cut_short = limited("room for the request", connection.stream.write_all(&self.request)).await?;
        if let Some(rest) = &self.rest {
            let interim = limited("100 Continue", connection.head()).await?;
            same("interim status line", &interim.start[..13], b"HTTP/1.1 100 ")?;
            tried("the rest of the request", connection.stream.write_all(rest)).await?;
        }
        let method = self.request.trim_ascii_start().split(|&byte| byte == b' ').next().unwrap_or_default();
        let method = String::from_utf8_lossy(method).into_owned();
        let answer = tried("answer", connection.response_to(&method)).await?;
        for name in &self.answer_has {
            answer.header(name).ok_or_else(|| format!("the answer lacks {name}"))?;
        }
        match &self.outcome {
            Outcome::Refused { status, code } => {
                same("status", answer.status, *status)?;
                if method == "HEAD" {
                    same("length of the body", answer.body_length, 0)?;
                } else {
                    let document: serde_json::Value = serde_json::from_slice(&answer.body)
                        .map_err(|error| format!("{error} in {:?}", answer.text()))?;
                    same("code", document["code"].as_str(), Some(*code))?;
                }
                let whole = stub.requests()[before..].iter().filter(|request| request.complete).count();
                same("whole requests upstream", whole, 0)?;
            }
            Outcome::Passed { method, target } => {
                same("status", answer.status, 200)?;
                let requests = stub.requests();
                let received = requests.get(before).ok_or("no request upstream")?;
                self.compare(received, method, target)?;
            }
        }
        for target in &self.pipelined {
            let next = tried("answer to the next request", connection.response()).await?;
            same("answer to the next request", next.text().as_str(), *target)?;
        }
        let keeps = answer.all("connection").concat().eq_ignore_ascii_case("keep-alive");
        match self.after {
            After::Either => Ok(()),
            After::KeptIfAnnounced if keeps => probe(&mut connection).await,
            After::Kept => probe(&mut connection).await,
            After::Closed | After::KeptIfAnnounced => {
                let rest = limited("end of the connection", connection.rest()).await?;
                same("bytes before the end", String::from_utf8_lossy(&rest).as_ref(), "")
            }
        }
    }

    fn compare(&self, received: &Received, method: &str, target: &[u8]) -> Result<(), String> {
        same("method upstream", received.method.as_str(), method)?;
        same("target upstream", received.target().as_str(), &String::from_utf8_lossy(target))?;
        for (name, value) in &self.has {
            same(name, received.all(name), vec![*value])?;
        }
        for name in &self.lacks {
            same(name, received.all(name), Vec::new())?;
        }
        for bytes in &self.on_the_wire {
            if !holds(&received.wire, bytes) {
                return Err(format!("{} is not upstream", bytes.escape_ascii()));
            }
        }
        for bytes in &self.not_on_the_wire {
            if holds(&received.wire, bytes) {
                return Err(format!("{} is upstream", bytes.escape_ascii()));
            }
        }
        if let Some(body) = &self.body {
            same("whole body", received.complete, true)?;
            let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
            same("body upstream", shown(&received.body), shown(body))?;
        }
        Ok(())
    }
}

async fn probe(connection: &mut Connection) -> Result<(), String> {
    let written = connection.stream.write_all(b"GET /mailer/probe HTTP/1.1\r\nHost: x\r\n\r\n");
    tried("room for another request", written).await?;
    let next = tried("answer to another request", connection.response()).await?;
    same("answer to another request", (next.status, next.text().as_str()), (200, "/probe"))
}

async fn run(rows: Vec<Row>, least: usize) {
    let stub = third_party().scripted(|request| {
        let target = request.target();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", target.len());
        let body = if request.method == "HEAD" { "" } else { &target };
        vec![Step::Send([head.as_bytes(), body.as_bytes()].concat())]
    });
    let attache = attache_for(&stub, "").await;
    let mut report = Report::default();
    for row in rows {
        let result = row.check(&attache, &stub).await;
        report.add(&row.name, row.section, result);
    }
    report.finish(least);
}

/// A request with these lines after its `Host`.
fn with(lines: &str) -> Vec<u8> {
    format!("POST /mailer/x HTTP/1.1\r\nHost: x\r\n{lines}").into_bytes()
}

/// A GET of this target.
fn get_of(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
}

/// A chunked upload with this body on the wire.
fn chunks(body: &str) -> Vec<u8> {
    with(&format!("Transfer-Encoding: chunked\r\n\r\n{body}"))
}

#[tokio::test]
async fn request_lines() {
    let mut rows = vec![
        passed("origin form", "RFC 9112 §3.2.1", get_of("/mailer/a/b?c=d"), "GET", "/a/b?c=d"),
        passed("origin form of the service itself", "RFC 9112 §3.2.1", get_of("/mailer/"), "GET", "/"),
        passed(
            "absolute form",
            "RFC 9112 §3.2.2",
            b"GET http://api.example/mailer/x?y HTTP/1.1\r\nHost: api.example\r\n\r\n",
            "GET",
            "/x?y",
        ),
        passed(
            "absolute form goes before Host",
            "RFC 9112 §3.2.2",
            b"GET http://api.example/mailer/x HTTP/1.1\r\nHost: other.example\r\n\r\n",
            "GET",
            "/x",
        )
        .not_on_the_wire(b"other.example"),
        passed(
            "absolute form with a scheme in capitals",
            "RFC 3986 §3.1",
            b"GET HTTP://api.example/mailer/x HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET",
            "/x",
        ),
        passed(
            "absolute form of https",
            "RFC 9112 §3.2.2",
            b"GET https://api.example/mailer/x HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET",
            "/x",
        ),
        refused(
            "absolute form without a path",
            "RFC 9112 §3.2.1",
            b"GET http://api.example HTTP/1.1\r\nHost: x\r\n\r\n",
            404,
            "service_unknown",
        ),
        invalid(
            "absolute form with user information",
            "RFC 9110 §4.2.4",
            b"GET http://a@api.example/mailer/x HTTP/1.1\r\nHost: x\r\n\r\n",
        ),
        refused(
            "asterisk form",
            "RFC 9112 §3.2.4",
            b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
            400,
            "request_invalid",
        ),
        refused(
            "authority form",
            "RFC 9112 §3.2.3",
            b"CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n\r\n",
            405,
            "method_denied",
        )
        .answer_has("allow"),
        passed(
            "an empty line before the request line",
            "RFC 9112 §2.2",
            b"\r\nGET /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n",
            "GET",
            "/x",
        ),
        passed("HTTP/1.0 without Host", "RFC 9112 §3.2", b"GET /mailer/x HTTP/1.0\r\n\r\n", "GET", "/x")
            .on_the_wire(b"GET /x HTTP/1.1\r\n")
            .then(After::Closed),
        passed(
            "HTTP/1.0 with Host",
            "RFC 9112 §3.2",
            b"GET /mailer/x HTTP/1.0\r\nHost: x\r\n\r\n",
            "GET",
            "/x",
        )
        .then(After::Closed),
        passed(
            "HTTP/1.0 with a body",
            "RFC 9112 §6.3",
            b"POST /mailer/x HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc",
            "POST",
            "/x",
        )
        .body("abc")
        .then(After::Closed),
        passed(
            "HTTP/1.0 with keep-alive",
            "RFC 9112 §C.2.2",
            b"GET /mailer/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            "GET",
            "/x",
        )
        .then(After::KeptIfAnnounced),
    ];
    for (name, section, head) in [
        ("empty target", "RFC 9112 §3.2", &b"GET  HTTP/1.1\r\nHost: x\r\n\r\n"[..]),
        ("no target", "RFC 9112 §3", b"GET HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("two spaces after the method", "RFC 9112 §3", b"GET  /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("two spaces before the version", "RFC 9112 §3", b"GET /mailer/x  HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("tab after the method", "RFC 9112 §3", b"GET\t/mailer/x HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("tab before the version", "RFC 9112 §3", b"GET /mailer/x\tHTTP/1.1\r\nHost: x\r\n\r\n"),
        ("space before the method", "RFC 9112 §3", b" GET /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("space after the version", "RFC 9112 §3", b"GET /mailer/x HTTP/1.1 \r\nHost: x\r\n\r\n"),
        ("space in the target", "RFC 9112 §3.2", b"GET /mailer/a b HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("bare LF after the request line", "RFC 9112 §2.2", b"GET /mailer/x HTTP/1.1\nHost: x\r\n\r\n"),
        ("bare LF throughout", "RFC 9112 §2.2", b"GET /mailer/x HTTP/1.1\nHost: x\n\n"),
        ("bare CR in the request line", "RFC 9112 §2.2", b"GET /mailer/x\rHTTP/1.1\r\nHost: x\r\n\r\n"),
        ("CR in the target", "RFC 9112 §2.2", b"GET /mailer/a\rb HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("NUL in the target", "RFC 9112 §3.2", b"GET /mailer/a\0b HTTP/1.1\r\nHost: x\r\n\r\n"),
        (
            "control character in the target",
            "RFC 9112 §3.2",
            b"GET /mailer/a\x01b HTTP/1.1\r\nHost: x\r\n\r\n",
        ),
        ("DEL in the target", "RFC 9112 §3.2", b"GET /mailer/a\x7fb HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("fragment", "RFC 9112 §3.2.1", b"GET /mailer/x#y HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("angle brackets in the target", "RFC 3986 §2", b"GET /mailer/<x> HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("grave accent in the path", "RFC 3986 §2", b"GET /mailer/`x HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("quotation mark in the query", "RFC 3986 §2", b"GET /mailer/x?\"y\" HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("HTTP/0.9", "RFC 9112 §2.3", b"GET /mailer/x\r\n\r\n"),
        ("HTTP/2 preface", "RFC 9113 §3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("HTTP/2.0", "RFC 9112 §2.3", b"GET /mailer/x HTTP/2.0\r\nHost: x\r\n\r\n"),
        ("HTTP/1.2", "RFC 9112 §2.3", b"GET /mailer/x HTTP/1.2\r\nHost: x\r\n\r\n"),
        ("HTTP/1.10", "RFC 9112 §2.3", b"GET /mailer/x HTTP/1.10\r\nHost: x\r\n\r\n"),
        ("HTTP/01.1", "RFC 9112 §2.3", b"GET /mailer/x HTTP/01.1\r\nHost: x\r\n\r\n"),
        ("HTTP/1", "RFC 9112 §2.3", b"GET /mailer/x HTTP/1\r\nHost: x\r\n\r\n"),
        ("version in lower case", "RFC 9112 §2.3", b"GET /mailer/x http/1.1\r\nHost: x\r\n\r\n"),
        ("another protocol", "RFC 9112 §2.3", b"BREW /mailer/x HTCPCP/1.0\r\nHost: x\r\n\r\n"),
        ("TLS on a plain port", "RFC 9112 §3", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    ] {
        rows.push(invalid(name, section, head));
    }
    for (name, target) in [
        ("percent-encoded slash", "/a%2Fb%2f"),
        ("percent-encodings that decode to nothing", "/a%zz%?x=%"),
        ("percent-encoded octets", "/%00%ff%C3%A9"),
        ("double encoding", "/%252e%252e/x"),
        ("empty segments", "//a///b//"),
        ("sub-delimiters and parameters", "/a;b=c,d/!$&'()*+,;=:@"),
        ("curly brackets, bar and caret", "/{x}|^~"),
        ("three dots", "/.../x"),
        ("dots within a segment", "/a..b/..c/d.."),
        ("dot segments in the query", "/x?y=/../z&.."),
        ("question marks in the query", "/x?a=?&b=/?"),
        ("square brackets in the query", "/x?a[0]=1&b[]=`{}|^\\"),
        ("empty query", "/x?"),
        ("octets beyond ASCII", "/\u{e9}"),
    ] {
        rows.push(passed(
            format!("path and query byte for byte: {name}"),
            "RFC 9110 §7.6",
            get_of(&format!("/mailer{target}")),
            "GET",
            target,
        ));
    }
    for segment in [
        "..", ".", "%2e%2e", "%2E.", ".%2e", "%2e", "..%2f", "..%2Fx", "..\\", "..%5c", "..;a", "..;",
        "..%00",
    ] {
        for path in [format!("/mailer/{segment}"), format!("/mailer/a/{segment}/b")] {
            let name = format!("dot segment in {path}");
            rows.push(refused(name, "RFC 3986 §5.2.4", get_of(&path), 400, "request_invalid"));
        }
    }
    for segment in ["%c0%ae%c0%ae", "%C0%AE.", "%e0%80%ae%e0%80%ae"] {
        let name = format!("dot segment in overlong UTF-8: {segment}");
        let request = get_of(&format!("/mailer/{segment}/x"));
        rows.push(refused(name, "RFC 3629 §10", request, 400, "request_invalid"));
    }
    run(rows, 80).await;
}

#[tokio::test]
async fn methods() {
    let mut rows = Vec::new();
    for method in
        ["GET", "HEAD", "OPTIONS", "DELETE", "PURGE", "M-SEARCH", "PROPFIND", "get", "!#$%&'*+-.^_`|~0A"]
    {
        let request = format!("{method} /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n");
        rows.push(passed(format!("method {method}"), "RFC 9110 §9.1", request, method, "/x"));
    }
    for method in ["POST", "PUT", "PATCH", "DELETE", "GET", "QUERY"] {
        let request = format!("{method} /mailer/x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
        rows.push(
            passed(format!("{method} with a body"), "RFC 9110 §9.3", request, method, "/x").body("abc"),
        );
    }
    rows.push(passed("POST without a body", "RFC 9110 §8.6", with("\r\n"), "POST", "/x").body(""));
    for method in ["TRACE", "trace", "TRACK", "CONNECT"] {
        let request = format!("{method} /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n");
        let name = format!("method {method} is refused");
        rows.push(refused(name, "RFC 9110 §9.3.8", request, 405, "method_denied").answer_has("allow"));
    }
    for method in ["GE(T", "G@T", "G\"ET", "G\u{e9}T", "GET,POST"] {
        let request = format!("{method} /mailer/x HTTP/1.1\r\nHost: x\r\n\r\n");
        rows.push(invalid(format!("method {method} is no token"), "RFC 9110 §9.1", request));
    }
    rows.push(
        refused(
            "HEAD refused has no body",
            "RFC 9110 §9.3.2",
            b"HEAD /nowhere/x HTTP/1.1\r\nHost: x\r\n\r\n",
            404,
            "service_unknown",
        )
        .then(After::Kept),
    );
    rows.push(
        refused(
            "HEAD refused for its head has no body",
            "RFC 9110 §9.3.2",
            b"HEAD /mailer/x HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
            400,
            "request_invalid",
        )
        .then(After::Closed),
    );
    run(rows, 25).await;
}

#[tokio::test]
async fn fields() {
    let mut rows = Vec::new();
    for (name, section, lines) in [
        ("bare LF after a field", "RFC 9112 §2.2", "X-A: 1\nX-B: 2\r\n\r\n"),
        ("bare LF for the empty line", "RFC 9112 §2.2", "X-A: 1\r\n\n"),
        ("bare CR in a value", "RFC 9112 §2.2", "X-A: a\rb\r\n\r\n"),
        ("NUL in a value", "RFC 9110 §5.5", "X-A: a\0b\r\n\r\n"),
        ("NUL in a name", "RFC 9110 §5.1", "X\0A: b\r\n\r\n"),
        ("control character in a value", "RFC 9110 §5.5", "X-A: a\x01b\r\n\r\n"),
        ("DEL in a value", "RFC 9110 §5.5", "X-A: a\x7fb\r\n\r\n"),
        ("folded with a space", "RFC 9112 §5.2", "X-A: 1\r\n 2\r\n\r\n"),
        ("folded with a tab", "RFC 9112 §5.2", "X-A: 1\r\n\t2\r\n\r\n"),
        ("space before the colon", "RFC 9112 §5.1", "X-A : 1\r\n\r\n"),
        ("tab before the colon", "RFC 9112 §5.1", "X-A\t: 1\r\n\r\n"),
        ("empty name", "RFC 9110 §5.1", ": 1\r\n\r\n"),
        ("no colon", "RFC 9112 §5", "no colon\r\n\r\n"),
        ("space in a name", "RFC 9110 §5.1", "X A: 1\r\n\r\n"),
        ("parenthesis in a name", "RFC 9110 §5.1", "X(A): 1\r\n\r\n"),
        ("slash in a name", "RFC 9110 §5.1", "X/A: 1\r\n\r\n"),
        ("octets beyond ASCII in a name", "RFC 9110 §5.1", "X-\u{c4}: 1\r\n\r\n"),
        ("second Host, the same", "RFC 9112 §3.2", "Host: x\r\n\r\n"),
        ("second Host, another", "RFC 9112 §3.2", "Host: y\r\n\r\n"),
        ("second Host, empty", "RFC 9112 §3.2", "Host:\r\n\r\n"),
        ("second Host, in another case", "RFC 9112 §3.2", "hOST: x\r\n\r\n"),
    ] {
        rows.push(invalid(name, section, with(lines)));
    }
    rows.push(invalid(
        "white space before the first field",
        "RFC 9112 §2.2",
        b"GET /mailer/x HTTP/1.1\r\n Host: x\r\n\r\n",
    ));
    rows.push(invalid("no Host in HTTP/1.1", "RFC 9112 §3.2", b"GET /mailer/x HTTP/1.1\r\nX-A: 1\r\n\r\n"));
    for (name, host) in [
        ("user information", "a@b"),
        ("a space", "a b"),
        ("a slash", "a/b"),
        ("a question mark", "a?b"),
        ("a number sign", "a#b"),
        ("a backslash", "a\\b"),
        ("octets beyond ASCII", "\u{e9}"),
    ] {
        let request = format!("GET /mailer/x HTTP/1.1\r\nHost: {host}\r\n\r\n");
        rows.push(invalid(format!("Host with {name}"), "RFC 9112 §3.2", request));
    }
    for host in ["", " x ", "x:8080", "[::1]:80", "EXAMPLE.com", "127.0.0.1"] {
        let request = format!("GET /mailer/x HTTP/1.1\r\nHost:{host}\r\n\r\n");
        rows.push(passed(format!("Host {host:?}"), "RFC 9112 §3.2", request, "GET", "/x"));
    }
    rows.extend([
        passed("empty value", "RFC 9110 §5.5", with("X-A:\r\n\r\n"), "POST", "/x").has("x-a", ""),
        passed("white space around a value", "RFC 9112 §5.1", with("X-A: \t b \t\r\n\r\n"), "POST", "/x")
            .on_the_wire(b"b"),
        passed("no white space before a value", "RFC 9112 §5.1", with("X-A:b\r\n\r\n"), "POST", "/x")
            .has("x-a", "b"),
        passed("tab in a value", "RFC 9110 §5.5", with("X-A: a\tb\r\n\r\n"), "POST", "/x").has("x-a", "a\tb"),
        passed(
            "octets beyond ASCII in a value",
            "RFC 9110 §5.5",
            b"POST /mailer/x HTTP/1.1\r\nHost: x\r\nX-A: caf\xe9\r\n\r\n",
            "POST",
            "/x",
        )
        .on_the_wire(b" caf\xe9\r\n"),
        passed(
            "every character of a token in a name",
            "RFC 9110 §5.6.2",
            with("!#$%&'*+-.^_`|~0aZ: 1\r\n\r\n"),
            "POST",
            "/x",
        )
        .on_the_wire(b"!#$%&'*+-.^_`|~0aZ: 1\r\n"),
        passed("case of names", "RFC 9110 §5.1", with("X-MiXeD-cAsE: 1\r\n\r\n"), "POST", "/x")
            .on_the_wire(b"X-MiXeD-cAsE: 1\r\n"),
        passed(
            "order of equal names",
            "RFC 9110 §5.3",
            with("X-A: 1\r\nX-B: 2\r\nX-A: 3\r\n\r\n"),
            "POST",
            "/x",
        )
        .has("x-b", "2"),
        passed(
            "128 fields",
            "RFC 9110 §5.4",
            with(&format!("{}\r\n", "X-A: 1\r\n".repeat(127))),
            "POST",
            "/x",
        ),
        refused(
            "129 fields",
            "RFC 6585 §5",
            with(&format!("{}\r\n", "X-A: 1\r\n".repeat(128))),
            431,
            "request_head_too_large",
        ),
        passed(
            "head of 60 KiB",
            "RFC 9110 §5.4",
            with(&format!("X-A: {}\r\n\r\n", "a".repeat(60 << 10))),
            "POST",
            "/x",
        ),
        refused(
            "head of 66 KiB",
            "RFC 6585 §5",
            with(&format!("X-A: {}\r\n\r\n", "a".repeat(66 << 10))),
            431,
            "request_head_too_large",
        )
        .then(After::Closed),
        refused(
            "target of 66 KiB",
            "RFC 9112 §3",
            get_of(&format!("/mailer/{}", "a".repeat(66 << 10))),
            431,
            "request_head_too_large",
        )
        .then(After::Closed),
        passed(
            "target of 8,000 octets",
            "RFC 9112 §3",
            get_of(&format!("/mailer/{}", "a".repeat(8000))),
            "GET",
            format!("/{}", "a".repeat(8000)),
        ),
    ]);
    run(rows, 50).await;
}

#[tokio::test]
async fn lengths() {
    let mut rows = vec![
        passed("Content-Length", "RFC 9112 §6.2", with("Content-Length: 4\r\n\r\nabcd"), "POST", "/x")
            .body("abcd"),
        passed("Content-Length 0", "RFC 9112 §6.2", with("Content-Length: 0\r\n\r\n"), "POST", "/x").body(""),
        passed(
            "white space around Content-Length",
            "RFC 9112 §5.1",
            with("Content-Length: \t4 \t\r\n\r\nabcd"),
            "POST",
            "/x",
        )
        .body("abcd"),
        passed(
            "leading zeros in Content-Length",
            "RFC 9110 §8.6",
            with("Content-Length: 0004\r\n\r\nabcd"),
            "POST",
            "/x",
        )
        .body("abcd"),
        passed("no length", "RFC 9112 §6.3", with("\r\n"), "POST", "/x").body(""),
        passed("chunked", "RFC 9112 §7.1", chunks("3\r\nabc\r\n0\r\n\r\n"), "POST", "/x").body("abc"),
        passed(
            "chunked in capitals",
            "RFC 9112 §7",
            with("Transfer-Encoding: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
            "POST",
            "/x",
        )
        .body("abc"),
        passed(
            "chunked GET",
            "RFC 9110 §9.3.1",
            b"GET /mailer/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "GET",
            "/x",
        )
        .body("abc"),
        passed("chunked and empty", "RFC 9112 §7.1", chunks("0\r\n\r\n"), "POST", "/x").body(""),
        invalid(
            "Transfer-Encoding in HTTP/1.0",
            "RFC 9112 §6.1",
            b"POST /mailer/x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
    ];
    for (name, value) in [
        ("two equal values", "4, 4"),
        ("two values", "4, 5"),
        ("a plus sign", "+4"),
        ("a minus sign", "-4"),
        ("hexadecimal", "0x4"),
        ("a fraction", "4.0"),
        ("an exponent", "4e0"),
        ("a space inside", "4 4"),
        ("nothing", ""),
        ("a letter", "4a"),
        ("a parameter", "4;a=b"),
        ("quotation marks", "\"4\""),
        ("an underscore", "1_0"),
        ("a comma at its end", "4,"),
        ("twenty digits", "99999999999999999999"),
        ("a number that wraps to 4", "18446744073709551620"),
        ("other digits than ASCII's", "\u{664}"),
        ("a form feed", "\x0c4"),
    ] {
        let request = with(&format!("Content-Length: {value}\r\n\r\nabcd"));
        rows.push(invalid(format!("Content-Length with {name}"), "RFC 9112 §6.3", request));
    }
    for (name, lines) in [
        ("two Content-Length, equal", "Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd"),
        ("two Content-Length, differing", "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde"),
        ("two Content-Length, one empty", "Content-Length: 4\r\nContent-Length:\r\n\r\nabcd"),
        (
            "Content-Length, then Transfer-Encoding",
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "Transfer-Encoding, then Content-Length",
            "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        ),
        (
            "Content-Length 0 with Transfer-Encoding",
            "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "Transfer-Encoding in two lines",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "identity in a second line",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        ),
        (
            "chunked in a second line",
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("Transfer-Encoding with a space before its colon", "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
        ("Transfer-Encoding that is folded", "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    ] {
        rows.push(invalid(name, "RFC 9112 §6.3", with(lines)));
    }
    for coding in [
        "gzip",
        "identity",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked, identity",
        "identity, chunked",
        "xchunked",
        "chunkedx",
        "chunked;q=1",
        "chunked,",
        ", chunked",
        "\"chunked\"",
        "",
        "\x0bchunked",
        "chun ked",
        "c\u{301}hunked",
    ] {
        let request = with(&format!("Transfer-Encoding: {coding}\r\n\r\n0\r\n\r\n"));
        rows.push(invalid(format!("transfer coding {coding:?}"), "RFC 9112 §6.1", request));
    }
    rows.push(
        passed(
            "framing fields with underscores",
            "RFC 9112 §6.3",
            with("Content_Length: 9\r\nTransfer_Encoding: chunked\r\n\r\n"),
            "POST",
            "/x",
        )
        .lacks(&["content_length", "transfer_encoding"])
        .body(""),
    );
    run(rows, 55).await;
}

#[tokio::test]
async fn chunked_bodies() {
    let mut rows = Vec::new();
    for (name, section, body, decoded) in [
        ("several chunks", "RFC 9112 §7.1", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "abcde"),
        ("size in lower-case hexadecimal", "RFC 9112 §7.1", "a\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ("size in upper-case hexadecimal", "RFC 9112 §7.1", "A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ("leading zeros in a size", "RFC 9112 §7.1", "0003\r\nabc\r\n000\r\n\r\n", "abc"),
        ("line breaks in the data", "RFC 9112 §7.1", "4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n"),
        ("extension", "RFC 9112 §7.1.1", "3;a=b\r\nabc\r\n0\r\n\r\n", "abc"),
        ("extension without a value", "RFC 9112 §7.1.1", "3;a\r\nabc\r\n0;b\r\n\r\n", "abc"),
        ("several extensions", "RFC 9112 §7.1.1", "3;a=b;c=d\r\nabc\r\n0\r\n\r\n", "abc"),
        ("quoted extension", "RFC 9112 §7.1.1", "3;a=\"b;c\"\r\nabc\r\n0\r\n\r\n", "abc"),
        ("escape in a quoted extension", "RFC 9112 §7.1.1", "3;a=\"b\\\"c\"\r\nabc\r\n0\r\n\r\n", "abc"),
        ("white space before an extension", "RFC 9112 §7.1.1", "3 ;a=b\r\nabc\r\n0\r\n\r\n", "abc"),
        ("trailer field", "RFC 9112 §7.1.2", "3\r\nabc\r\n0\r\nX-Trailing: 1\r\n\r\n", "abc"),
        (
            "several trailer fields",
            "RFC 9112 §7.1.2",
            "3\r\nabc\r\n0\r\nX-Trailing: 1\r\nX-Trailing: 2\r\n\r\n",
            "abc",
        ),
        (
            "Content-Length as a trailer",
            "RFC 9110 §6.5.1",
            "3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n",
            "abc",
        ),
    ] {
        rows.push(
            passed(name, section, chunks(body), "POST", "/x")
                .body(decoded)
                .not_on_the_wire(b"X-Trailing")
                .not_on_the_wire(b";a")
                .not_on_the_wire(b"Content-Length: 9"),
        );
    }
    for (name, section, body) in [
        ("line feed in an extension", "RFC 9112 §7.1.1", "3;\nxx\r\nabc\r\n0\r\n\r\n"),
        ("bare CR in an extension", "RFC 9112 §7.1.1", "3;a\rb\r\nabc\r\n0\r\n\r\n"),
        ("NUL in an extension", "RFC 9112 §7.1.1", "3;a\0b\r\nabc\r\n0\r\n\r\n"),
        ("bare LF after a size", "RFC 9112 §7.1", "3\nabc\r\n0\r\n\r\n"),
        ("bare LF after the data", "RFC 9112 §7.1", "3\r\nabc\n0\r\n\r\n"),
        ("bare LF after the last chunk", "RFC 9112 §7.1", "3\r\nabc\r\n0\n\r\n"),
        ("bare LF at the end", "RFC 9112 §7.1", "3\r\nabc\r\n0\r\n\n"),
        ("no line break after the data", "RFC 9112 §7.1", "3\r\nabc0\r\n\r\n"),
        ("more data than its size", "RFC 9112 §7.1", "3\r\nabcd\r\n0\r\n\r\n"),
        ("no size", "RFC 9112 §7.1", "\r\nabc\r\n0\r\n\r\n"),
        ("extension without a size", "RFC 9112 §7.1", ";a=b\r\nabc\r\n0\r\n\r\n"),
        ("size with 0x", "RFC 9112 §7.1", "0x3\r\nabc\r\n0\r\n\r\n"),
        ("size with a plus sign", "RFC 9112 §7.1", "+3\r\nabc\r\n0\r\n\r\n"),
        ("size with a minus sign", "RFC 9112 §7.1", "-3\r\nabc\r\n0\r\n\r\n"),
        ("size with a space before it", "RFC 9112 §7.1", " 3\r\nabc\r\n0\r\n\r\n"),
        ("size with a letter beyond F", "RFC 9112 §7.1", "3g\r\nabc\r\n0\r\n\r\n"),
        ("two sizes", "RFC 9112 §7.1", "3 3\r\nabc\r\n0\r\n\r\n"),
        ("size with an underscore", "RFC 9112 §7.1", "0_3\r\nabc\r\n0\r\n\r\n"),
        ("size of 17 digits", "RFC 9112 §7.1", "10000000000000003\r\nabc\r\n0\r\n\r\n"),
        ("size that wraps to 3", "RFC 9112 §7.1", "ffffffff00000000000000003\r\nabc\r\n0\r\n\r\n"),
    ] {
        let mut row = invalid(format!("chunk: {name}"), section, chunks(body));
        // The head and complete chunks before the fault may have been forwarded; the end of the body never is.
        row.after = After::Closed;
        rows.push(row);
    }
    let long = format!("3;a={}\r\nabc\r\n0\r\n\r\n", "b".repeat(20_000));
    rows.push(invalid("chunk: extension of 20,000 octets", "RFC 9112 §7.1.1", chunks(&long)));
    let long = format!("3\r\nabc\r\n0\r\n{}\r\n", "X-Trailing: 1\r\n".repeat(10_000));
    rows.push(refused("trailer section of 150 KB", "RFC 9112 §7.1.2", chunks(&long), 400, "request_invalid"));
    run(rows, 35).await;
}

#[tokio::test]
async fn connections() {
    let rows = vec![
        passed("Connection in several lines", "RFC 9110 §7.6.1", with("Connection: X-A\r\nX-A: 1\r\nConnection: X-B\r\nX-B: 2\r\nX-C: 3\r\n\r\n"), "POST", "/x")
            .lacks(&["x-a", "x-b"])
            .has("x-c", "3"),
        passed("Connection with empty elements", "RFC 9110 §5.6.1", with("Connection: , keep-alive,, X-A ,\r\nX-A: 1\r\n\r\n"), "POST", "/x")
            .lacks(&["x-a"]),
        passed("Connection names a field in another case", "RFC 9110 §7.6.1", with("connection: x-a\r\nX-A: 1\r\n\r\n"), "POST", "/x")
            .lacks(&["x-a"]),
        passed("Connection names every line of a field", "RFC 9110 §7.6.1", with("Connection: X-A\r\nX-A: 1\r\nX-A: 2\r\n\r\n"), "POST", "/x")
            .lacks(&["x-a"]),
        passed("Connection can not strip Content-Length", "RFC 9110 §7.6.1", with("Connection: Content-Length\r\nContent-Length: 3\r\n\r\nabc"), "POST", "/x")
            .body("abc"),
        passed("Connection can not strip Transfer-Encoding", "RFC 9110 §7.6.1", with("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), "POST", "/x")
            .body("abc"),
        passed("Connection can not strip Host", "RFC 9110 §7.6.1", with("Connection: Host\r\n\r\n"), "POST", "/x")
            .on_the_wire(b"127.0.0.1"),
        passed("close", "RFC 9112 §9.6", with("Connection: close\r\n\r\n"), "POST", "/x").then(After::Closed),
        passed("close in capitals", "RFC 9110 §7.6.1", with("Connection: CLOSE\r\n\r\n"), "POST", "/x")
            .then(After::Closed),
        passed("close in a list", "RFC 9112 §9.6", with("Connection: X-A, close\r\nX-A: 1\r\n\r\n"), "POST", "/x")
            .lacks(&["x-a"])
            .then(After::Closed),
        passed("close in a second line", "RFC 9112 §9.6", with("Connection: X-A\r\nX-A: 1\r\nConnection: close\r\n\r\n"), "POST", "/x")
            .lacks(&["x-a"])
            .then(After::Closed),
        passed("close beside keep-alive", "RFC 9112 §9.3", with("Connection: keep-alive\r\nConnection: close\r\n\r\n"), "POST", "/x")
            .then(After::Closed),
        passed("keep-alive", "RFC 9112 §9.3", with("Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\n"), "POST", "/x")
            .lacks(&["keep-alive"]),
        passed("close is between client and attache", "RFC 9110 §7.6.1", with("Connection: close\r\n\r\n"), "POST", "/x")
            .not_on_the_wire(b": close")
            .then(After::Closed),
        passed(
            "fields between client and attache",
            "RFC 9110 §7.6.1",
            with("Keep-Alive: 1\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nTrailer: X-A\r\nUpgrade: h2c\r\nProxy-Authorization: Basic YTpi\r\n\r\n"),
            "POST",
            "/x",
        )
        .lacks(&["keep-alive", "proxy-connection", "te", "trailer", "upgrade", "proxy-authorization"]),
        passed(
            "upgrade to h2c",
            "RFC 9113 §3.1",
            b"GET /mailer/x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
            "GET",
            "/x",
        )
        .lacks(&["upgrade", "http2-settings"]),
        passed(
            "upgrade without Connection",
            "RFC 9110 §7.8",
            b"GET /mailer/x HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n",
            "GET",
            "/x",
        )
        .lacks(&["upgrade"]),
        passed("Expect, with the body at once", "RFC 9110 §10.1.1", with("Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"), "POST", "/x")
            .body("abc"),
        passed("Expect, and the body after 100", "RFC 9110 §10.1.1", with("Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"), "POST", "/x")
            .after_continue("abc")
            .body("abc"),
        passed("Expect in another case", "RFC 9110 §10.1.1", with("expect: 100-Continue\r\nContent-Length: 3\r\n\r\n"), "POST", "/x")
            .after_continue("abc")
            .body("abc"),
        passed("Expect, and chunks after 100", "RFC 9110 §10.1.1", with("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"), "POST", "/x")
            .after_continue("3\r\nabc\r\n0\r\n\r\n")
            .body("abc"),
        passed("Expect without a body", "RFC 9110 §10.1.1", with("Expect: 100-continue\r\n\r\n"), "POST", "/x").body(""),
        passed(
            "Expect in HTTP/1.0",
            "RFC 9110 §10.1.1",
            b"POST /mailer/x HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
            "POST",
            "/x",
        )
        .body("abc")
        .then(After::Closed),
        passed("two requests in one write", "RFC 9112 §9.3.2", [get_of("/mailer/1"), get_of("/mailer/2")].concat(), "GET", "/1")
            .pipelined("/2"),
        passed(
            "three requests in one write",
            "RFC 9112 §9.3.2",
            [get_of("/mailer/1"), get_of("/mailer/2"), get_of("/mailer/3")].concat(),
            "GET",
            "/1",
        )
        .pipelined("/2")
        .pipelined("/3"),
        passed(
            "a request behind a body with a length",
            "RFC 9112 §9.3.2",
            [with("Content-Length: 3\r\n\r\nabc"), get_of("/mailer/2")].concat(),
            "POST",
            "/x",
        )
        .body("abc")
        .pipelined("/2"),
        passed(
            "a request behind a chunked body",
            "RFC 9112 §9.3.2",
            [chunks("3\r\nabc\r\n0\r\n\r\n"), get_of("/mailer/2")].concat(),
            "POST",
            "/x",
        )
        .body("abc")
        .pipelined("/2"),
        passed(
            "a request behind a chunked body with trailers",
            "RFC 9112 §9.3.2",
            [chunks("3\r\nabc\r\n0\r\nX-Trailing: 1\r\n\r\n"), get_of("/mailer/2")].concat(),
            "POST",
            "/x",
        )
        .body("abc")
        .pipelined("/2"),
        passed("a line break behind a chunked body", "RFC 9112 §2.2", chunks("3\r\nabc\r\n0\r\n\r\n\r\n"), "POST", "/x")
            .body("abc"),
        passed("a line break behind a body with a length", "RFC 9112 §2.2", with("Content-Length: 3\r\n\r\nabc\r\n"), "POST", "/x")
            .body("abc"),
        passed(
            "nothing is served behind close",
            "RFC 9112 §9.6",
            [with("Connection: close\r\n\r\n"), get_of("/mailer/2")].concat(),
            "POST",
            "/x",
        )
        .then(After::Closed),
        invalid(
            "nothing is served behind an ambiguous request",
            "RFC 9112 §11.2",
            [with("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), get_of("/mailer/2")].concat(),
        ),
        refused(
            "a request that is refused before its body",
            "RFC 9112 §9.3",
            {
                let inner = get_of("/mailer/inner");
                let head =
                    format!("POST /nowhere/x HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", inner.len());
                [head.into_bytes(), inner].concat()
            },
            404,
            "service_unknown",
        ),
    ];
    run(rows, 30).await;
}
