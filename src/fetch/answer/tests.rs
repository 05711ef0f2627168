use super::*;
use crate::message::framing::FramingError;
use proptest::prelude::*;

const LIMIT: usize = 1000;

/// Status and body, or the error in the words of its innermost level.
type Outcome = Result<(u16, Vec<u8>), String>;

/// Reads `bytes`, of which `step` arrive at a time, and then the end of the connection.
fn read_as(method: &Method, bytes: &[u8], step: usize) -> Outcome {
    let mut reader = AnswerReader::new(method, LIMIT);
    let said = |answer: HttpAnswer| (answer.status.as_u16(), answer.body.to_vec());
    for part in bytes.chunks(step) {
        reader.room().extend_from_slice(part);
        if let Some(answer) = reader.received().map_err(words)? {
            return Ok(said(answer));
        }
    }
    reader.closed().map(said).map_err(words)
}

fn words(error: FetchError) -> String {
    let mut error: &dyn std::error::Error = &error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Reads `bytes` at every split, which must not matter.
#[track_caller]
fn read(bytes: &[u8]) -> Outcome {
    let whole = read_as(&Method::POST, bytes, bytes.len().max(1));
    let steps = if bytes.len() > LIMIT { vec![997, 8192] } else { (1..bytes.len()).collect() };
    for step in steps {
        assert_eq!(read_as(&Method::POST, bytes, step), whole, "{step} of {}", bytes.escape_ascii());
    }
    whole
}

fn body(status: u16, body: &[u8]) -> Outcome {
    Ok((status, body.to_vec()))
}

#[test]
fn every_framing_ends_where_it_says() {
    for (answer, expected) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"[..], body(200, b"hello")),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", body(200, b"hello")),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and more", body(200, b"hello")),
        (b"HTTP/1.1 400 \r\nContent-Length: 0\r\n\r\n", body(400, b"")),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", body(200, b"hello")),
        (b"HTTP/1.0 200 OK\r\n\r\n", body(200, b"")),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\nA: b\r\n\r\nmore",
            body(200, b"hello"),
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\nmore", body(204, b"")),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", body(304, b"")),
    ] {
        assert_eq!(read(answer), expected, "{}", answer.escape_ascii());
    }
    let to_head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(read_as(&Method::HEAD, to_head, 3), body(200, b""));
}

#[test]
fn interim_answers_are_skipped() {
    let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n";
    let last = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    assert_eq!(read(&[&interim[..], last].concat()), body(200, b"ok"));
    let one = b"HTTP/1.1 100 Continue\r\n\r\n";
    let fault = Err(AnswerFault::Interim.to_string());
    assert_eq!(read(&[one.repeat(32), last.to_vec()].concat()), body(200, b"ok"));
    assert_eq!(read(&[one.repeat(33), last.to_vec()].concat()), fault);
    assert_eq!(read(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"), fault);
}

#[test]
fn an_answer_that_ends_early_is_none() {
    let (missing, cut) = (AnswerFault::Missing.to_string(), AnswerFault::Cut.to_string());
    assert_eq!(read(b""), Err(missing));
    for answer in [
        &b"HTTP"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ] {
        assert_eq!(read(answer), Err(cut.clone()), "{}", answer.escape_ascii());
    }
}

#[test]
fn garbage_is_refused_at_once() {
    let mut reader = AnswerReader::new(&Method::POST, LIMIT);
    for byte in b"HTTP/1.1 200 OK\r\nA: b\n" {
        reader.room().extend_from_slice(&[*byte]);
        if *byte != b'\n' || reader.raw.ends_with(b"\r\n") {
            assert!(reader.received().expect("fine so far").is_none());
        }
    }
    assert!(matches!(reader.received(), Err(FetchError::Answer(AnswerFault::Head))));
    for answer in [
        &b"SSH-2.0-OpenSSH_9.9\r\n"[..],
        b"\x15\x03\x01\x00\x02\x02\x16",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.2 200 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
    ] {
        let fault = Err(AnswerFault::Head.to_string());
        assert_eq!(read(answer), fault, "{}", answer.escape_ascii());
    }
    let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n";
    assert_eq!(read(chunks), Err("the body is not valid chunked coding".into()));
}

#[test]
fn an_ambiguous_end_is_refused_as_in_the_exchange() {
    for (fields, fault) in [
        ("Content-Length: 5\r\nContent-Length: 6", FramingError::Length),
        ("Content-Length: +5", FramingError::Length),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", FramingError::CodingAndLength),
        ("Transfer-Encoding: gzip, chunked", FramingError::Coding),
        ("Transfer-Encoding: identity", FramingError::Coding),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nhello");
        assert_eq!(read(answer.as_bytes()), Err(fault.to_string()), "{fields}");
    }
}

#[test]
fn a_body_has_at_most_its_limit() {
    let (fits, too_large) = (vec![b'x'; LIMIT], Err(FetchError::TooLarge.to_string()));
    let with = |fields: &str, body: &[u8]| {
        read(&[b"HTTP/1.1 200 OK\r\n", fields.as_bytes(), b"\r\n\r\n", body].concat())
    };
    let chunked = |size: usize| {
        let end = b"\r\n0\r\n\r\n".to_vec();
        [format!("{size:x}\r\n").into_bytes(), vec![b'x'; size], end].concat()
    };
    assert_eq!(with("Content-Length: 1000", &fits), body(200, &fits));
    assert_eq!(with("A: b", &fits), body(200, &fits));
    assert_eq!(with("Transfer-Encoding: chunked", &chunked(LIMIT)), body(200, &fits));
    assert_eq!(with("Content-Length: 1001", b""), too_large);
    assert_eq!(with("Content-Length: 123456789012345678", b""), too_large);
    assert_eq!(with("A: b", &[b'x'; LIMIT + 1]), too_large);
    assert_eq!(with("Transfer-Encoding: chunked", &chunked(LIMIT + 1)), too_large);
}

#[test]
fn heads_have_a_limit_together() {
    let with = |before: &[u8], size: usize| {
        let start = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: ";
        let value = vec![b'x'; size - before.len() - start.len() - 4];
        read(&[before, start, &value, b"\r\n\r\n"].concat())
    };
    let interim = [&b"HTTP/1.1 103 Early Hints\r\nA: "[..], &[b'x'; 1000], b"\r\n\r\n"].concat();
    for before in [&b""[..], &interim] {
        assert_eq!(with(before, MAX_HEAD), body(200, b""));
        assert_eq!(with(before, MAX_HEAD + 1), Err(FetchError::TooLarge.to_string()));
    }
    let endless = [&b"HTTP/1.1 200 OK\r\nA: "[..], &[b'x'; MAX_HEAD]].concat();
    assert_eq!(read(&endless), Err(FetchError::TooLarge.to_string()));
}

proptest! {
    /// Pieces of answers in any order, arriving at any step, have one outcome.
    #[test]
    fn the_outcome_does_not_depend_on_the_packets(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 \r\n", "HTTP/1.0 204 x\r\n", "Content-Length: 3\r\n",
                "Transfer-Encoding: chunked\r\n", "\r\n", "\n", "abc", "3\r\n", "0\r\n", "A: b\r\n", "\0",
            ]),
            0..12,
        ),
    ) {
        let _ = read(pieces.concat().as_bytes());
    }
}

#[test]
fn debug_has_no_values() {
    let mut reader = AnswerReader::new(&Method::GET, LIMIT);
    reader.room().extend_from_slice(b"HTTP/1.1 200 OK\r\nX-Key: k3y\r\nContent-Length: 5\r\n\r\nt0ken");
    let printed = format!("{:?}", reader.received().expect("an answer").expect("complete"));
    assert!(printed.contains("X-Key") && !printed.contains("k3y") && !printed.contains("t0ken"), "{printed}");
}
