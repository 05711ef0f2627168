//! Responses as upstreams send them, and what the client receives.
//!
//! After each row the client's connection, if it is kept, is used for a request to another service: excess bytes of the
//! first upstream must not be its answer. The connection to the upstream must be reused only if the end of its response
//! is unambiguous.

use crate::harness::*;
use crate::table::{Report, holds, limited, same, tried};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    /// The body ends with the connection.
    Close,
    /// No framing fields at all.
    Absent,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The upstream's response with this status.
    Passed(u16),
    /// The start of the response, and then the end of the connection; or 502 `service_protocol`.
    Cut,
    /// 502 with this code.
    Refused(&'static str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Upstream {
    Reused,
    /// attache ends the connection.
    Ended,
    Either,
}

struct Row {
    name: String,
    section: &'static str,
    bytes: Vec<u8>,
    /// Sent 150 ms after the rest.
    late: Option<Vec<u8>>,
    closes: bool,
    method: &'static str,
    version: &'static str,
    asks: &'static str,
    outcome: Outcome,
    upstream: Upstream,
    has: Vec<(&'static str, Vec<&'static str>)>,
    lacks: Vec<&'static str>,
    raw_has: Vec<&'static [u8]>,
    raw_lacks: Vec<&'static [u8]>,
    interim: Option<Vec<u16>>,
    body: Option<Vec<u8>>,
    framing: Option<Framing>,
    logged: Option<&'static str>,
}

fn row(name: impl Into<String>, section: &'static str, bytes: impl Into<Vec<u8>>, outcome: Outcome) -> Row {
    Row {
        name: name.into(),
        section,
        bytes: bytes.into(),
        late: None,
        closes: false,
        method: "GET",
        version: "HTTP/1.1",
        asks: "",
        outcome,
        upstream: Upstream::Either,
        has: Vec::new(),
        lacks: Vec::new(),
        raw_has: Vec::new(),
        raw_lacks: Vec::new(),
        interim: None,
        body: None,
        framing: None,
        logged: None,
    }
}

/// The client receives the response with its status, and the upstream's connection serves the next request.
fn passed(name: impl Into<String>, section: &'static str, bytes: impl Into<Vec<u8>>) -> Row {
    let bytes = bytes.into();
    let status = bytes.split(|&byte| byte == b' ').nth(1).and_then(|word| word.get(..3)).unwrap_or(b"200");
    let status = String::from_utf8_lossy(status).parse().unwrap_or(200);
    let mut row = row(name, section, bytes, Outcome::Passed(status));
    row.upstream = Upstream::Reused;
    row
}

/// The client receives 502 `service_protocol`, and the upstream's connection ends.
fn refused(name: impl Into<String>, section: &'static str, bytes: impl Into<Vec<u8>>) -> Row {
    let mut row = row(name, section, bytes, Outcome::Refused("service_protocol"));
    row.upstream = Upstream::Ended;
    row
}

/// The client receives no complete response: it is cut, and logged as `service_protocol`.
fn cut(name: impl Into<String>, section: &'static str, bytes: impl Into<Vec<u8>>) -> Row {
    let mut row = row(name, section, bytes, Outcome::Cut);
    row.upstream = Upstream::Ended;
    row
}

impl Row {
    /// The upstream closes after its response.
    fn closes(mut self) -> Self {
        self.closes = true;
        self.upstream = Upstream::Ended;
        self
    }

    /// The upstream sends this 150 ms later.
    fn late(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.late = Some(bytes.into());
        self.upstream = Upstream::Ended;
        self
    }

    fn head(mut self) -> Self {
        self.method = "HEAD";
        self
    }

    fn http10(mut self) -> Self {
        self.version = "HTTP/1.0";
        self
    }

    fn asks(mut self, lines: &'static str) -> Self {
        self.asks = lines;
        self
    }

    fn status(mut self, status: u16) -> Self {
        self.outcome = Outcome::Passed(status);
        self
    }

    fn upstream(mut self, upstream: Upstream) -> Self {
        self.upstream = upstream;
        self
    }

    fn has(mut self, name: &'static str, values: &[&'static str]) -> Self {
        self.has.push((name, values.to_vec()));
        self
    }

    fn lacks(mut self, names: &[&'static str]) -> Self {
        self.lacks.extend(names);
        self
    }

    fn raw_has(mut self, bytes: &'static [u8]) -> Self {
        self.raw_has.push(bytes);
        self
    }

    fn raw_lacks(mut self, bytes: &'static [u8]) -> Self {
        self.raw_lacks.push(bytes);
        self
    }

    fn interim(mut self, statuses: &[u16]) -> Self {
        self.interim = Some(statuses.to_vec());
        self
    }

    fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    fn framed(mut self, framing: Framing) -> Self {
        self.framing = Some(framing);
        self
    }

    fn logged(mut self, code: &'static str) -> Self {
        self.logged = Some(code);
        self
    }

    async fn check(&self, nth: usize, attache: &Attache, stub: &Stub) -> Result<(), String> {
        let mut connection = tried("connection", Connection::try_open(attache.outbound())).await?;
        let request = format!(
            "{} /mailer/{nth} {}\r\nHost: x\r\nX-Request-Id: row-{nth}\r\n{}\r\n",
            self.method, self.version, self.asks
        );
        tried("room for the request", connection.stream.write_all(request.as_bytes())).await?;
        let answer = tried("answer", connection.response_to(self.method)).await?;
        let asked = format!("/{nth}");
        let received = stub.requests().into_iter().find(|received| received.target() == asked);
        let number = received.ok_or("the upstream has not seen the request")?.connection;
        self.compare(&answer)?;
        if let Some(code) = self.logged {
            let id = format!("row-{nth}");
            let line = attache.access_log_line("the request", |line| line["request_id"] == id.as_str());
            same("code in the access log", limited("line", line).await?["code"].as_str(), Some(code))?;
        }
        self.upstream_ends(number, attache, stub).await?;
        // The table of requests checks if the connection is kept; this one checks the next answer on it.
        let ends = answer.says_close()
            || !answer.complete
            || self.version == "HTTP/1.0"
            || matches!(self.outcome, Outcome::Refused(_));
        if ends {
            return Ok(());
        }
        let written = connection.stream.write_all(b"GET /other/probe HTTP/1.1\r\nHost: x\r\n\r\n");
        tried("room for another request", written).await?;
        let next = tried("answer of another service", connection.response()).await?;
        same("answer of another service", (next.status, next.text().as_str()), (200, "/other/probe"))
    }

    fn compare(&self, answer: &Response) -> Result<(), String> {
        let shown = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let version = answer.start.get(..9).unwrap_or_default();
        same("version", shown(version), "HTTP/1.1 ".to_owned())?;
        same("request ids", answer.all("x-attache-request-id").len(), 1)?;
        match self.outcome {
            Outcome::Passed(status) => {
                same("status", answer.status, status)?;
                same("whole body", answer.complete, true)?;
            }
            Outcome::Cut if answer.status == 502 => {}
            Outcome::Cut => same("whole body", answer.complete, false)?,
            Outcome::Refused(code) => {
                same("status", answer.status, 502)?;
                let document: serde_json::Value = serde_json::from_slice(&answer.body)
                    .map_err(|error| format!("{error} in {:?}", answer.text()))?;
                same("code", document["code"].as_str(), Some(code))?;
            }
        }
        for (name, values) in &self.has {
            same(name, answer.all(name), values.clone())?;
        }
        for name in &self.lacks {
            same(name, answer.all(name), Vec::new())?;
        }
        for bytes in &self.raw_has {
            if !holds(&answer.raw, bytes) {
                return Err(format!("no {} in {}", shown(bytes), shown(&answer.raw)));
            }
        }
        for bytes in &self.raw_lacks {
            if holds(&answer.raw, bytes) {
                return Err(format!("{} in {}", shown(bytes), shown(&answer.raw)));
            }
        }
        if let Some(interim) = &self.interim {
            let text = |line: &[u8]| String::from_utf8_lossy(line).into_owned();
            let statuses = answer.informational.iter().map(|head| text(&head.start[9..12]));
            let wanted = interim.iter().map(u16::to_string);
            same("interim responses", statuses.collect::<Vec<_>>(), wanted.collect::<Vec<_>>())?;
        }
        for head in &answer.informational {
            same("version of an interim response", shown(&head.start[..9]), "HTTP/1.1 ".to_owned())?;
            for name in ["content-length", "transfer-encoding"] {
                same("framing of an interim response", head.all(name), Vec::new())?;
            }
        }
        if let Some(body) = &self.body {
            same("body", shown(&answer.body), shown(body))?;
        }
        if let Some(framing) = self.framing {
            let (lengths, codings) = (answer.all("content-length"), answer.all("transfer-encoding"));
            let got = match (&lengths[..], &codings[..]) {
                ([length], []) => length.parse().map(Framing::Length).map_err(|error| error.to_string())?,
                ([], ["chunked"]) => Framing::Chunked,
                ([], []) if framing == Framing::Absent => Framing::Absent,
                ([], []) => Framing::Close,
                other => return Err(format!("framing fields {other:?}")),
            };
            same("framing", got, framing)?;
        }
        Ok(())
    }

    async fn upstream_ends(&self, number: usize, attache: &Attache, stub: &Stub) -> Result<(), String> {
        let start = Instant::now();
        let patience = Duration::from_secs(3);
        match self.upstream {
            Upstream::Either => Ok(()),
            Upstream::Ended => {
                while !stub.has_ended(number) {
                    if start.elapsed() > patience {
                        return Err("attache keeps the connection to the upstream".to_owned());
                    }
                    tokio::time::sleep(ms(5)).await;
                }
                Ok(())
            }
            // An answer may arrive before its connection is free for the next request.
            Upstream::Reused => loop {
                tried("answer", try_send(attache.outbound(), get("/mailer/probe"))).await?;
                let probes = stub.requests().into_iter().filter(|request| request.target() == "/probe");
                if probes.map(|probe| probe.connection).any(|connection| connection == number) {
                    return Ok(());
                }
                if start.elapsed() > patience || stub.has_ended(number) {
                    return Err("attache does not reuse the connection to the upstream".to_owned());
                }
                tokio::time::sleep(ms(5)).await;
            },
        }
    }
}

const OTHER: &str =
    "  other:\n    server_url: '{{third_party}}/other'\n    account: { authorization: none }\n";

async fn run(rows: Vec<Row>, least: usize) {
    let rows = Arc::new(rows);
    let scripts = Arc::clone(&rows);
    let stub = third_party().scripted(move |request| {
        let target = request.target();
        let nth = target.strip_prefix('/').and_then(|nth| nth.parse::<usize>().ok());
        let Some(row) = nth.and_then(|nth| scripts.get(nth)) else {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len());
            return vec![Step::Send(head.into_bytes())];
        };
        let mut steps = vec![Step::Send(row.bytes.clone())];
        if let Some(late) = &row.late {
            steps.extend([Step::Pause(ms(150)), Step::Send(late.clone())]);
        }
        if row.closes {
            steps.push(Step::Close);
        }
        steps
    });
    // A row that is never answered fails at its own limit, before this one.
    let yaml = format!("{}{OTHER}", mailer("timeout: 20s"));
    let attache = attache().given("third_party", stub.url()).with(&yaml).await;
    let mut report = Report::default();
    for (nth, row) in rows.iter().enumerate() {
        let result = row.check(nth, &attache, &stub).await;
        report.add(&row.name, row.section, result);
    }
    report.finish(least);
}

/// A 200 with these lines and this body.
fn ok(lines: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{lines}").into_bytes()
}

#[tokio::test]
async fn transfer_encodings() {
    let chunked = "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let mut rows = vec![
        passed("chunked", "RFC 9112 §7.1", ok(chunked)).body("abcde").framed(Framing::Chunked),
        passed("chunked in capitals", "RFC 9112 §7", ok(&chunked.replace("chunked", "CHUNKED")))
            .body("abcde")
            .framed(Framing::Chunked),
        passed("chunked and empty", "RFC 9112 §7.1", ok("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"))
            .body("")
            .framed(Framing::Chunked),
        passed("chunked for an HTTP/1.0 client", "RFC 9112 §6.1", ok(chunked))
            .http10()
            .body("abcde")
            .framed(Framing::Close),
        refused(
            "Transfer-Encoding in HTTP/1.0",
            "RFC 9112 §6.1",
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ),
        refused(
            "Transfer-Encoding in HTTP/1.0 with keep-alive",
            "RFC 9112 §6.1",
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ),
    ];
    for (first, second) in [
        ("chunked", "identity"),
        ("identity", "chunked"),
        ("chunked", "gzip"),
        ("gzip", "chunked"),
        ("chunked", "chunked"),
        ("chunked", ""),
    ] {
        let bytes = ok(&format!(
            "Transfer-Encoding: {first}\r\nX-A: 1\r\nTransfer-Encoding: {second}\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        ));
        let name = format!("two lines of Transfer-Encoding: {first:?}, {second:?}");
        rows.push(refused(name, "RFC 9112 §6.3", bytes));
    }
    for coding in [
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked, identity",
        "identity, chunked",
        "gzip",
        "identity",
        "xchunked",
        "chunked;q=1",
        "\"chunked\"",
        "",
        "\x0bchunked",
        "chun ked",
    ] {
        let bytes = ok(&format!("Transfer-Encoding: {coding}\r\n\r\n3\r\nabc\r\n0\r\n\r\n"));
        rows.push(refused(format!("transfer coding {coding:?}"), "RFC 9112 §6.3", bytes));
    }
    for (name, lines) in [
        ("Transfer-Encoding, then Content-Length", "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"),
        ("Content-Length, then Transfer-Encoding", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("Transfer-Encoding with a space before its colon", "Transfer-Encoding : chunked\r\n\r\n"),
        ("Transfer-Encoding that is folded", "Transfer-Encoding:\r\n chunked\r\n\r\n"),
        ("a second coding that is folded", "Transfer-Encoding: chunked,\r\n identity\r\n\r\n"),
    ] {
        let bytes = ok(&format!("{lines}3\r\nabc\r\n0\r\n\r\n"));
        rows.push(refused(name, "RFC 9112 §6.3", bytes));
    }
    run(rows, 28).await;
}

#[tokio::test]
async fn lengths() {
    let mut rows = vec![
        passed("Content-Length", "RFC 9112 §6.2", ok("Content-Length: 5\r\n\r\nabcde"))
            .body("abcde")
            .framed(Framing::Length(5)),
        passed("Content-Length 0", "RFC 9112 §6.2", ok("Content-Length: 0\r\n\r\n"))
            .body("")
            .framed(Framing::Length(0)),
        passed("leading zeros in Content-Length", "RFC 9110 §8.6", ok("Content-Length: 005\r\n\r\nabcde"))
            .body("abcde")
            .framed(Framing::Length(5)),
        passed(
            "two equal Content-Length",
            "RFC 9112 §6.3",
            ok("Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde"),
        )
        .has("content-length", &["5"])
        .body("abcde"),
        passed(
            "three equal Content-Length",
            "RFC 9112 §6.3",
            ok("Content-Length: 5\r\nX-A: 1\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\nabcde"),
        )
        .has("content-length", &["5"])
        .body("abcde"),
        passed(
            "Content-Length as a list of equal ones",
            "RFC 9112 §6.3",
            ok("Content-Length: 5, 5\r\n\r\nabcde"),
        )
        .has("content-length", &["5"])
        .body("abcde"),
        passed("body until the end of the connection", "RFC 9112 §6.3", ok("\r\nuntil the end"))
            .closes()
            .body("until the end")
            .framed(Framing::Chunked),
        passed("body until the end, for an HTTP/1.0 client", "RFC 9112 §6.3", ok("\r\nuntil the end"))
            .closes()
            .http10()
            .body("until the end")
            .framed(Framing::Close),
        passed("empty body until the end of the connection", "RFC 9112 §6.3", ok("\r\n")).closes().body(""),
        passed(
            "body with a length, for an HTTP/1.0 client",
            "RFC 9112 §6.2",
            ok("Content-Length: 5\r\n\r\nabcde"),
        )
        .http10()
        .body("abcde")
        .framed(Framing::Length(5)),
        cut("body shorter than its length", "RFC 9112 §8", ok("Content-Length: 9\r\n\r\nabcde")).closes(),
        cut("no byte of a body with a length", "RFC 9112 §8", ok("Content-Length: 9\r\n\r\n")).closes(),
    ];
    for (name, value) in [
        ("a plus sign", "+5"),
        ("a minus sign", "-5"),
        ("a letter", "5a"),
        ("hexadecimal", "0x5"),
        ("nothing", ""),
        ("a space inside", "5 5"),
        ("a list of differing ones", "5, 6"),
        ("a list that ends with a comma", "5,"),
        ("twenty digits", "99999999999999999999"),
        ("a number that wraps to 5", "18446744073709551621"),
        ("a parameter", "5;a=b"),
    ] {
        let bytes = ok(&format!("Content-Length: {value}\r\n\r\nabcde"));
        rows.push(refused(format!("Content-Length with {name}"), "RFC 9112 §6.3", bytes));
    }
    for (name, lines) in [
        ("two differing Content-Length", "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"),
        ("two Content-Length, one empty", "Content-Length: 5\r\nContent-Length:\r\n\r\nabcde"),
        ("two Content-Length, one with a letter", "Content-Length: 5\r\nContent-Length: 5x\r\n\r\nabcde"),
        ("Content-Length with a space before its colon", "Content-Length : 5\r\n\r\nabcde"),
    ] {
        rows.push(refused(name, "RFC 9112 §6.3", ok(lines)));
    }
    run(rows, 25).await;
}

#[tokio::test]
async fn without_a_body() {
    let either = Upstream::Either;
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let rows = vec![
        passed("204", "RFC 9110 §15.3.5", b"HTTP/1.1 204 No Content\r\n\r\n").framed(Framing::Absent),
        passed(
            "204 with Content-Length 0",
            "RFC 9110 §8.6",
            b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        )
        .framed(Framing::Absent),
        passed(
            "204 with Content-Length",
            "RFC 9110 §8.6",
            b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        )
        .framed(Framing::Absent)
        .upstream(either),
        passed(
            "204 with Transfer-Encoding",
            "RFC 9112 §6.1",
            b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        .framed(Framing::Absent)
        .upstream(either),
        passed("204 with a body", "RFC 9112 §6.3", format!("HTTP/1.1 204 No Content\r\n\r\n{evil}"))
            .framed(Framing::Absent)
            .upstream(Upstream::Ended)
            .raw_lacks(b"evil"),
        passed("304", "RFC 9110 §15.4.5", b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n")
            .has("etag", &["\"x\""]),
        passed(
            "304 with Content-Length",
            "RFC 9110 §8.6",
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        )
        .body("")
        .lacks(&["transfer-encoding"]),
        passed(
            "304 with Transfer-Encoding",
            "RFC 9112 §6.1",
            b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        .body("")
        .lacks(&["content-length"])
        .upstream(either),
        passed("304 with a body", "RFC 9112 §6.3", format!("HTTP/1.1 304 Not Modified\r\n\r\n{evil}"))
            .upstream(Upstream::Ended)
            .raw_lacks(b"evil"),
        passed("205", "RFC 9110 §15.3.6", b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n")
            .body(""),
        passed("HEAD with Content-Length", "RFC 9110 §9.3.2", ok("Content-Length: 5\r\n\r\n"))
            .head()
            .has("content-length", &["5"]),
        passed("HEAD with Transfer-Encoding", "RFC 9110 §9.3.2", ok("Transfer-Encoding: chunked\r\n\r\n"))
            .head(),
        passed("HEAD without framing", "RFC 9110 §9.3.2", ok("X-A: 1\r\n\r\n")).head().has("x-a", &["1"]),
        passed(
            "HEAD with two equal Content-Length",
            "RFC 9112 §6.3",
            ok("Content-Length: 5\r\nContent-Length: 5\r\n\r\n"),
        )
        .head()
        .has("content-length", &["5"]),
        passed("HEAD with a body", "RFC 9112 §6.3", ok("Content-Length: 4\r\n\r\nevil"))
            .head()
            .upstream(Upstream::Ended)
            .raw_lacks(b"evil"),
        passed(
            "HEAD with a second response",
            "RFC 9112 §6.3",
            ok(&format!("Content-Length: 4\r\n\r\n{evil}")),
        )
        .head()
        .upstream(Upstream::Ended)
        .raw_lacks(b"evil"),
        passed(
            "bytes behind a body with a length",
            "RFC 9112 §6.3",
            ok(&format!("Content-Length: 2\r\n\r\nok{evil}")),
        )
        .body("ok")
        .upstream(Upstream::Ended)
        .raw_lacks(b"evil"),
        passed(
            "bytes behind a chunked body",
            "RFC 9112 §6.3",
            ok(&format!("Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{evil}")),
        )
        .body("ok")
        .upstream(Upstream::Ended)
        .raw_lacks(b"evil"),
        passed(
            "a line break behind a body with a length",
            "RFC 9112 §6.3",
            ok("Content-Length: 2\r\n\r\nok\r\n"),
        )
        .body("ok")
        .upstream(Upstream::Ended),
        passed(
            "a late second response behind a body with a length",
            "RFC 9112 §6.3",
            ok("Content-Length: 2\r\n\r\nok"),
        )
        .late(evil)
        .body("ok"),
        passed(
            "a late second response behind a chunked body",
            "RFC 9112 §6.3",
            ok("Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        )
        .late(evil)
        .body("ok"),
        passed("a late second response behind 204", "RFC 9112 §6.3", b"HTTP/1.1 204 No Content\r\n\r\n")
            .late(evil),
        passed("a late body behind HEAD", "RFC 9112 §6.3", ok("Content-Length: 4\r\n\r\n"))
            .head()
            .late("evil"),
        refused(
            "a late second response behind two codings",
            "RFC 9112 §6.3",
            ok("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        )
        .late(evil),
    ];
    run(rows, 24).await;
}

#[tokio::test]
async fn status_lines() {
    let mut rows = vec![
        passed("HTTP/1.0", "RFC 9110 §2.5", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .body("ok")
            .upstream(Upstream::Ended),
        passed(
            "HTTP/1.0 with keep-alive",
            "RFC 9112 §9.3",
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        )
        .body("ok")
        .upstream(Upstream::Either),
        passed("HTTP/1.0 until the end", "RFC 9112 §6.3", b"HTTP/1.0 200 OK\r\n\r\nok")
            .closes()
            .body("ok")
            .framed(Framing::Chunked),
        passed("empty reason", "RFC 9112 §4", b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok").body("ok"),
        passed("no reason", "RFC 9112 §4", b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok")
            .status(200)
            .body("ok"),
        passed(
            "reason in obs-text",
            "RFC 9112 §4",
            b"HTTP/1.1 200 D\xe9j\xe0 vu\r\nContent-Length: 2\r\n\r\nok",
        )
        .body("ok"),
        passed(
            "reason of several words",
            "RFC 9112 §4",
            b"HTTP/1.1 200 As you like it\r\nContent-Length: 2\r\n\r\nok",
        )
        .body("ok"),
    ];
    for status in [201, 203, 206, 299, 300, 307, 399, 400, 407, 418, 451, 499, 500, 511, 599] {
        let bytes = format!("HTTP/1.1 {status} Theirs\r\nContent-Length: 2\r\n\r\nok");
        rows.push(passed(format!("status {status}"), "RFC 9110 §15", bytes).body("ok"));
    }
    for (name, section, line) in [
        ("HTTP/1.2", "RFC 9112 §2.3", &b"HTTP/1.2 200 OK"[..]),
        ("HTTP/2.0", "RFC 9112 §2.3", b"HTTP/2.0 200 OK"),
        ("version in lower case", "RFC 9112 §2.3", b"http/1.1 200 OK"),
        ("another protocol", "RFC 9112 §4", b"ICY 200 OK"),
        ("status 099", "RFC 9110 §15", b"HTTP/1.1 099 OK"),
        ("status 600", "RFC 9110 §15", b"HTTP/1.1 600 OK"),
        ("status 999", "RFC 9110 §15", b"HTTP/1.1 999 OK"),
        ("status of four digits", "RFC 9112 §4", b"HTTP/1.1 1000 OK"),
        ("status of two digits", "RFC 9112 §4", b"HTTP/1.1 20 OK"),
        ("status with letters", "RFC 9112 §4", b"HTTP/1.1 2OO OK"),
        ("no status", "RFC 9112 §4", b"HTTP/1.1 OK"),
        ("two spaces before the status", "RFC 9112 §4", b"HTTP/1.1  200 OK"),
        ("NUL in the reason", "RFC 9112 §4", b"HTTP/1.1 200 O\0K"),
        ("bare CR in the reason", "RFC 9112 §2.2", b"HTTP/1.1 200 O\rK"),
        ("TLS on a plain port", "RFC 9112 §4", b"\x15\x03\x01\x00\x02\x02\x46"),
        ("no status line", "RFC 9112 §4", b"X-A: 1"),
    ] {
        let bytes = [line, b"\r\nContent-Length: 2\r\n\r\nok"].concat();
        rows.push(refused(name, section, bytes));
    }
    rows.push(refused(
        "bare LF after the status line",
        "RFC 9112 §2.2",
        b"HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok",
    ));
    rows.push(refused("bare LF throughout", "RFC 9112 §2.2", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"));
    rows.push(row("no response", "RFC 9112 §9.5", b"", Outcome::Refused("service_unreachable")).closes());
    rows.push(
        row("half a head", "RFC 9112 §8", ok("Content-Le"), Outcome::Refused("service_unreachable")).closes(),
    );
    run(rows, 40).await;
}

#[tokio::test]
async fn fields() {
    let date = "Date: Tue, 15 Nov 1994 08:12:31 GMT\r\n";
    let length = "Content-Length: 2\r\n\r\nok";
    let dated: [&'static str; 1] = ["Tue, 15 Nov 1994 08:12:31 GMT"];
    let filler = |bytes: usize| format!("X-Filler: {}\r\n", "f".repeat(bytes));
    let mut rows = vec![
        passed("Date of the upstream", "RFC 9110 §6.6.1", ok(&format!("{date}{length}"))).has("date", &dated),
        passed("Date behind 5 KiB of head", "RFC 9110 §6.6.1", ok(&format!("{}{date}{length}", filler(5 << 10))))
            .has("date", &dated),
        passed("Date before 20 KiB of head", "RFC 9110 §6.6.1", ok(&format!("{date}{}{length}", filler(20 << 10))))
            .has("date", &dated),
        passed("Date of attache", "RFC 9110 §6.6.1", ok(length)).raw_has(b" GMT\r\n"),
        passed("Server of the upstream", "RFC 9110 §10.2.4", ok(&format!("Server: theirs\r\n{length}")))
            .has("server", &["theirs"]),
        passed("no Server of attache", "RFC 9110 §10.2.4", ok(length)).lacks(&["server"]),
        passed("case of names", "RFC 9110 §5.1", ok(&format!("X-MiXeD-cAsE: 1\r\n{length}"))).raw_has(b"\r\nX-MiXeD-cAsE: 1\r\n"),
        passed("order of Set-Cookie", "RFC 9110 §5.3", ok(&format!("Set-Cookie: a=1\r\nX-A: 1\r\nset-cookie: b=2\r\nSet-Cookie: c=3\r\n{length}")))
            .has("set-cookie", &["a=1", "b=2", "c=3"]),
        passed("order of equal names", "RFC 9110 §5.3", ok(&format!("X-A: 1\r\nX-B: 2\r\nX-A: 3\r\n{length}"))).has("x-a", &["1", "3"]),
        passed("empty value", "RFC 9110 §5.5", ok(&format!("X-A:\r\n{length}"))).has("x-a", &[""]),
        passed("white space around a value", "RFC 9112 §5.1", ok(&format!("X-A: \t 1 \t\r\n{length}"))).has("x-a", &["1"]),
        passed("octets beyond ASCII in a value", "RFC 9110 §5.5", [b"HTTP/1.1 200 OK\r\nX-A: caf\xe9\r\n", length.as_bytes()].concat())
            .raw_has(b" caf\xe9\r\n"),
        passed("every character of a token in a name", "RFC 9110 §5.6.2", ok(&format!("!#$%&'*+-.^_`|~0aZ: 1\r\n{length}")))
            .raw_has(b"!#$%&'*+-.^_`|~0aZ: 1\r\n"),
        passed("120 fields", "RFC 9110 §5.4", ok(&format!("{}{length}", "X-A: 1\r\n".repeat(119)))).body("ok"),
        passed("head of 30 KiB", "RFC 9110 §5.4", ok(&format!("{}{length}", filler(30 << 10)))).body("ok"),
        refused("head of 100 KiB", "RFC 9110 §5.4", ok(&format!("{}{length}", filler(100 << 10)))),
        refused("head of 2 MiB", "RFC 9110 §5.4", ok(&format!("{}{length}", filler(2 << 20)))),
        passed("Connection in several lines", "RFC 9110 §7.6.1", ok(&format!("Connection: X-A\r\nX-A: 1\r\nConnection: X-B, keep-alive\r\nX-B: 2\r\nX-C: 3\r\n{length}")))
            .lacks(&["x-a", "x-b"])
            .has("x-c", &["3"]),
        passed("close", "RFC 9112 §9.6", ok(&format!("Connection: close\r\n{length}")))
            .raw_lacks(b"onnection: close")
            .body("ok")
            .upstream(Upstream::Ended),
        passed("close in a second line", "RFC 9112 §9.6", ok(&format!("Connection: keep-alive\r\nConnection: close\r\n{length}")))
            .raw_lacks(b"onnection: close")
            .upstream(Upstream::Ended),
        passed("close in a list and in capitals", "RFC 9112 §9.6", ok(&format!("Connection: X-A, CLOSE\r\nX-A: 1\r\n{length}")))
            .lacks(&["x-a"])
        .raw_lacks(b"CLOSE")
        .raw_lacks(b"onnection: close")
            .upstream(Upstream::Ended),
        passed("fields between upstream and attache", "RFC 9110 §7.6.1", ok(&format!("Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nTE: trailers\r\n{length}")))
            .lacks(&["keep-alive", "proxy-connection", "proxy-authenticate", "upgrade", "te"]),
        passed("Connection can not strip Content-Length", "RFC 9110 §7.6.1", ok(&format!("Connection: Content-Length\r\n{length}")))
            .body("ok")
            .framed(Framing::Length(2)),
        passed("Connection can not strip the request id", "RFC 9110 §7.6.1", ok(&format!("Connection: X-Attache-Request-Id\r\n{length}")))
            .body("ok"),
        passed("a request id of the upstream", "RFC 9110 §7.6", ok(&format!("X-Attache-Request-Id: theirs\r\n{length}")))
            .raw_lacks(b"theirs"),
        passed("Proxy-Status named attache", "RFC 9209 §2", ok(&format!("Proxy-Status: attache; error=dns_error\r\n{length}")))
            .lacks(&["proxy-status"]),
        passed("Proxy-Status of others and attache", "RFC 9209 §2", ok(&format!("Proxy-Status: cdn; error=dns_error, attache; error=x\r\n{length}")))
            .has("proxy-status", &["cdn; error=dns_error"]),
        passed("Proxy-Status of attache in a second line", "RFC 9209 §2", ok(&format!("Proxy-Status: cdn\r\nProxy-Status: attache\r\n{length}")))
            .has("proxy-status", &["cdn"]),
        passed("Proxy-Status of attache as a string", "RFC 9209 §2", ok(&format!("Proxy-Status: \"attache\"; error=x\r\n{length}")))
            .lacks(&["proxy-status"]),
        passed("Proxy-Status that names attache in a parameter", "RFC 9209 §2", ok(&format!("Proxy-Status: cdn; details=\"a, attache\"\r\n{length}")))
            .has("proxy-status", &["cdn; details=\"a, attache\""]),
        passed("codings of the content", "RFC 9110 §8.4", ok(&format!("Content-Encoding: gzip\r\n{length}")))
            .has("content-encoding", &["gzip"])
            .body("ok"),
    ];
    for (name, section, lines) in [
        ("folded with a space", "RFC 9112 §5.2", "X-A: 1\r\n 2\r\n"),
        ("folded with a tab", "RFC 9112 §5.2", "X-A: 1\r\n\t2\r\n"),
        ("space before the colon", "RFC 9112 §5.1", "X-A : 1\r\n"),
        ("tab before the colon", "RFC 9112 §5.1", "X-A\t: 1\r\n"),
        ("white space before the first field", "RFC 9112 §2.2", " X-A: 1\r\n"),
        ("bare LF after a field", "RFC 9112 §2.2", "X-A: 1\n"),
        ("bare CR in a value", "RFC 9112 §2.2", "X-A: a\rb\r\n"),
        ("NUL in a value", "RFC 9110 §5.5", "X-A: a\0b\r\n"),
        ("control character in a value", "RFC 9110 §5.5", "X-A: a\x01b\r\n"),
        ("empty name", "RFC 9110 §5.1", ": 1\r\n"),
        ("no colon", "RFC 9112 §5", "no colon\r\n"),
        ("space in a name", "RFC 9110 §5.1", "X A: 1\r\n"),
        ("NUL in a name", "RFC 9110 §5.1", "X\0A: 1\r\n"),
    ] {
        rows.push(refused(name, section, ok(&format!("{lines}{length}"))));
    }
    rows.push(
        refused("bare LF for the empty line", "RFC 9112 §2.2", ok("Content-Length: 2\r\n\nok")).closes(),
    );
    run(rows, 40).await;
}

#[tokio::test]
async fn interim_responses() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let end = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let switch = "101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let rows = vec![
        passed("103", "RFC 9110 §15.2", format!("{hints}{end}"))
            .status(200)
            .interim(&[103])
            .body("ok")
            .raw_has(b"\r\nLink: </mailer/a>\r\n"),
        passed("103 several times", "RFC 9110 §15.2", format!("{hints}{hints}{hints}{end}"))
            .status(200)
            .interim(&[103, 103, 103])
            .body("ok"),
        passed("102, then 103", "RFC 9110 §15.2", format!("HTTP/1.1 102 Processing\r\n\r\n{hints}{end}"))
            .status(200)
            .interim(&[102, 103])
            .body("ok"),
        passed("103 for an HTTP/1.0 client", "RFC 9110 §15.2", format!("{hints}{end}"))
            .status(200)
            .http10()
            .interim(&[])
            .body("ok"),
        passed(
            "100 that no request asked for",
            "RFC 9110 §15.2.1",
            format!("HTTP/1.1 100 Continue\r\n\r\n{end}"),
        )
        .status(200)
        .body("ok"),
        passed(
            "103 with Content-Length",
            "RFC 9110 §8.6",
            format!("HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\nLink: </a>\r\n\r\n{end}"),
        )
        .status(200)
        .interim(&[103])
        .body("ok"),
        passed(
            "103 with Transfer-Encoding",
            "RFC 9112 §6.1",
            format!("HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\nLink: </a>\r\n\r\n{end}"),
        )
        .status(200)
        .interim(&[103])
        .body("ok"),
        passed(
            "103 with Connection",
            "RFC 9110 §7.6.1",
            format!(
                "HTTP/1.1 103 Early Hints\r\nConnection: X-A\r\nX-A: bogus\r\nKeep-Alive: bogus\r\n\r\n{end}"
            ),
        )
        .status(200)
        .interim(&[103])
        .raw_lacks(b"bogus"),
        refused(
            "103 with a folded field",
            "RFC 9112 §5.2",
            format!("HTTP/1.1 103 Early Hints\r\nLink: </a>,\r\n </b>\r\n\r\n{end}"),
        ),
        refused(
            "103 with a space before a colon",
            "RFC 9112 §5.1",
            format!("HTTP/1.1 103 Early Hints\r\nLink : </a>\r\n\r\n{end}"),
        ),
        refused("a flood of 103", "RFC 9110 §15.2", format!("{}{end}", hints.repeat(1000))),
        row(
            "103 and the end of the connection",
            "RFC 9112 §8",
            hints,
            Outcome::Refused("service_unreachable"),
        )
        .closes(),
        refused("101 that no request asked for", "RFC 9110 §15.2.2", format!("HTTP/1.1 {switch}")),
        refused("101 for an HTTP/1.0 client", "RFC 9110 §7.8", format!("HTTP/1.1 {switch}"))
            .http10()
            .asks(upgrade),
        refused("101 in HTTP/1.0", "RFC 9110 §7.8", format!("HTTP/1.0 {switch}")).asks(upgrade),
        refused(
            "101 for an upgrade that was not passed on",
            "RFC 9110 §7.8",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        )
        .asks("Connection: Upgrade\r\nUpgrade: h2c\r\n"),
        passed("an upgrade that is declined", "RFC 9110 §7.8", end)
            .asks(upgrade)
            .body("ok")
            .upstream(Upstream::Either),
    ];
    run(rows, 17).await;
}

#[tokio::test]
async fn chunked_bodies() {
    let chunked = |body: &str| ok(&format!("Transfer-Encoding: chunked\r\n\r\n{body}"));
    let mut rows = vec![
        passed("trailer fields", "RFC 9112 §7.1.2", ok("Trailer: X-Trailing\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Trailing: 1\r\n\r\n"))
            .body("abc")
            .lacks(&["trailer"])
            .raw_lacks(b"X-Trailing"),
        passed("trailer fields that were not announced", "RFC 9112 §7.1.2", chunked("3\r\nabc\r\n0\r\nX-Trailing: 1\r\nX-Trailing: 2\r\n\r\n"))
            .body("abc")
            .raw_lacks(b"X-Trailing"),
        passed("Trailer without trailer fields", "RFC 9110 §6.6.2", ok("Trailer: X-Trailing\r\nContent-Length: 3\r\n\r\nabc"))
            .body("abc")
            .lacks(&["trailer"]),
        passed("size in upper-case hexadecimal", "RFC 9112 §7.1", chunked("A\r\n0123456789\r\n0\r\n\r\n")).body("0123456789"),
        passed("leading zeros in a size", "RFC 9112 §7.1", chunked("0003\r\nabc\r\n000\r\n\r\n")).body("abc"),
        passed("extension", "RFC 9112 §7.1.1", chunked("3;a=b\r\nabc\r\n0\r\n\r\n")).body("abc").raw_lacks(b"a=b"),
        passed("quoted extension", "RFC 9112 §7.1.1", chunked("3;a=\"b;c\"\r\nabc\r\n0\r\n\r\n")).body("abc").raw_lacks(b"a="),
        passed("line breaks in the data", "RFC 9112 §7.1", chunked("4\r\n\r\n\r\n\r\n0\r\n\r\n")).body("\r\n\r\n"),
        cut("no last chunk", "RFC 9112 §8", chunked("3\r\nabc\r\n")).closes(),
        cut("half a chunk", "RFC 9112 §8", chunked("9\r\nabc")).closes(),
        cut("no chunk at all", "RFC 9112 §8", chunked("")).closes(),
    ];
    for (name, body) in [
        ("size without digits", "zz\r\nabc\r\n0\r\n\r\n"),
        ("size with a minus sign", "-3\r\nabc\r\n0\r\n\r\n"),
        ("size with 0x", "0x3\r\nabc\r\n0\r\n\r\n"),
        ("no line break after the data", "3\r\nabcX3\r\nabc\r\n0\r\n\r\n"),
        ("more data than its size", "3\r\nabcdef\r\n0\r\n\r\n"),
        ("size of 20 digits", "10000000000000000003\r\nabc\r\n0\r\n\r\n"),
    ] {
        rows.push(cut(format!("chunk: {name}"), "RFC 9112 §7.1", chunked(body)).logged("service_protocol"));
        let later = format!("3\r\nabc\r\n{body}");
        let name = format!("second chunk: {name}");
        rows.push(cut(name, "RFC 9112 §7.1", chunked(&later)).logged("service_protocol"));
    }
    run(rows, 23).await;
}
