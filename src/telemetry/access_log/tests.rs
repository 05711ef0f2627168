use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::sink::{LogFile, Sink};
use super::{AccessLog, Outcome};
use crate::error_code::ErrorCode;
use crate::telemetry::metrics::{Direction, Phase};

const LONG: Duration = Duration::from_secs(20);

/// The members of an access log line, in their order.
const NAMES: [&str; 24] = [
    "time",
    "direction",
    "service",
    "account",
    "caller",
    "user",
    "key_id",
    "method",
    "path",
    "status",
    "code",
    "bytes_in",
    "bytes_out",
    "duration_ms",
    "response_headers_ms",
    "token_wait_ms",
    "upstream",
    "retried",
    "request_id",
    "traceparent",
    "client",
    "phase",
    "reason",
    "delivery_id",
];

fn outcome(request_id: &str) -> Outcome<'_> {
    Outcome {
        time: UNIX_EPOCH + Duration::from_millis(1_700_000_000_007),
        direction: Direction::Outbound,
        service: "mailer",
        account: None,
        caller: None,
        user: None,
        key_id: None,
        method: "GET",
        path: b"/mailer/x",
        status: 200,
        code: None,
        bytes_in: 0,
        bytes_out: 12,
        duration: Duration::from_micros(1234),
        response_headers: None,
        token_wait: None,
        upstream: None,
        retried: false,
        request_id,
        traceparent: None,
        client: None,
        phase: None,
        reason: None,
        delivery_id: None,
    }
}

fn line(outcome: &Outcome<'_>) -> String {
    let mut line = Vec::new();
    outcome.format(&mut line);
    String::from_utf8(line).unwrap()
}

/// A sink for any writer.
struct To<W>(W);

impl<W: Write + Send> Sink for To<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn failed(&mut self, _error: &io::Error, _torn: bool) {}
}

#[test]
fn a_line_has_exactly_the_documented_members_in_order() {
    let line = line(&outcome("id"));
    let mut rest = line.as_str();
    for name in NAMES {
        let at = rest.find(&format!("\"{name}\":")).unwrap_or_else(|| panic!("{name} in {rest}"));
        rest = &rest[at..];
    }
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value.as_object().unwrap().len(), NAMES.len());
    assert!(line.ends_with("}\n") && line.matches('\n').count() == 1);
}

#[test]
fn the_values_are_those_of_the_outcome() {
    let line = line(&Outcome {
        direction: Direction::Webhook,
        account: Some("mail"),
        caller: Some("billing"),
        user: Some("bot"),
        key_id: Some("2026-11"),
        path: b"/a\"\n\x00\xff\xe2\x80\xa8",
        status: 504,
        code: Some(ErrorCode::ServiceTimeout),
        bytes_in: u64::MAX,
        duration: Duration::from_secs(64),
        response_headers: Some(Duration::from_micros(50)),
        token_wait: Some(Duration::from_nanos(1_999)),
        upstream: Some("[::1]:443".parse().unwrap()),
        retried: true,
        traceparent: Some("00-ab-cd-01"),
        client: Some("2001:db8::1".parse().unwrap()),
        phase: Some(Phase::Wait),
        reason: Some("connection_refused"),
        delivery_id: Some("msg_\"1"),
        ..outcome("r1")
    });
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    let expected = serde_json::json!({
        "time": "2023-11-14T22:13:20.007Z", "direction": "webhook", "service": "mailer", "account": "mail",
        "caller": "billing", "user": "bot", "key_id": "2026-11", "method": "GET",
        "path": "/a\"%0A%00%FF%E2%80%A8", "status": 504, "code": "service_timeout",
        "bytes_in": u64::MAX, "bytes_out": 12, "duration_ms": 64000.0, "response_headers_ms": 0.05,
        "token_wait_ms": 0.001, "upstream": "[::1]:443", "retried": true, "request_id": "r1",
        "traceparent": "00-ab-cd-01", "client": "2001:db8::1", "phase": "wait", "reason": "connection_refused",
        "delivery_id": "msg_\"1",
    });
    assert_eq!(value, expected);
}

#[test]
fn absent_values_are_null() {
    let value: serde_json::Value = serde_json::from_str(&line(&outcome("r"))).unwrap();
    for name in ["account", "caller", "user", "key_id", "code", "response_headers_ms", "token_wait_ms"] {
        assert!(value[name].is_null(), "{name}");
    }
    assert!(value["upstream"].is_null() && value["traceparent"].is_null());
    for name in ["client", "phase", "reason", "delivery_id"] {
        assert!(value[name].is_null(), "{name}");
    }
    assert_eq!(value["duration_ms"].as_f64(), Some(1.234));
}

#[test]
fn off_writes_nothing() {
    let log = AccessLog::off();
    log.write(&outcome("r"));
    assert!(!log.is_on() && log.flush(Duration::ZERO));
    assert_eq!(log.dropped(), 0);
}

#[test]
fn a_stalled_reader_blocks_no_request_and_lost_lines_are_counted() {
    let (mut reader, writer) = io::pipe().unwrap();
    let log = AccessLog::with(Box::new(To(writer)), 256 * 1024).unwrap();
    let sent = 10_000;
    for i in 0..sent {
        log.write(&outcome(&i.to_string()));
    }
    let dropped = log.dropped();
    assert!(dropped > 0 && dropped < sent, "{dropped}");
    assert!(!log.flush(Duration::from_millis(1)), "no reader has read");

    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text)
    });
    assert!(log.flush(LONG));
    drop(log);
    let text = reading.join().unwrap().unwrap();
    let lines = text.lines().inspect(|line| assert!(line.ends_with('}'), "{line}"));
    assert_eq!(lines.count() as u64 + dropped, sent);
}

#[test]
fn dropping_writes_what_is_queued() {
    let (reader, writer) = io::pipe().unwrap();
    let log = AccessLog::with(Box::new(To(writer)), 1 << 20).unwrap();
    for i in 0..100 {
        log.write(&outcome(&format!("r{i}")));
    }
    drop(log);
    let ids: Vec<String> = BufReader::new(reader)
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(&line.unwrap()).unwrap()["request_id"].to_string()
        })
        .collect();
    assert_eq!(ids, (0..100).map(|i| format!("\"r{i}\"")).collect::<Vec<_>>());
}

#[test]
fn a_line_longer_than_a_chunk_is_written_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let log = AccessLog::file(&path).unwrap();
    let long = vec![b'a'; 200_000];
    log.write(&Outcome { path: &long, ..outcome("r") });
    log.write(&outcome("s"));
    assert!(log.flush(LONG));
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
}

#[test]
fn a_closed_reader_loses_only_its_lines() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let log = AccessLog::with(Box::new(To(writer)), 1 << 20).unwrap();
    log.write(&outcome("r"));
    assert!(log.flush(LONG));
    log.write(&outcome("s"));
    assert!(log.flush(LONG));
    assert_eq!(log.dropped(), 2);
}

#[test]
fn a_renamed_or_removed_file_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
    let sink = LogFile::open_checked_every(&path, Duration::ZERO).unwrap();
    let log = AccessLog::with(Box::new(sink), 1 << 20).unwrap();
    let write = |id: &str| {
        log.write(&outcome(id));
        assert!(log.flush(LONG));
    };
    write("first");
    std::fs::rename(&path, &old).unwrap();
    write("second");
    assert!(std::fs::read_to_string(&old).unwrap().contains("first"));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("second") && !text.contains("first"), "{text}");
    std::fs::remove_file(&path).unwrap();
    write("third");
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
}

#[test]
fn a_file_is_appended_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    for id in ["one", "two"] {
        AccessLog::file(&path).unwrap().write(&outcome(id));
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    assert!(AccessLog::file(&dir.path().join("no/such/folder")).is_err());
}

/// A sink that takes five bytes of each chunk and fails, until switched.
struct Failing {
    fails: Receiver<()>,
    written: SyncSender<Vec<u8>>,
    torn: Mutex<bool>,
}

impl Sink for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if *self.torn.lock().unwrap() {
            *self.torn.lock().unwrap() = false;
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.fails.try_recv().is_ok() {
            *self.torn.lock().unwrap() = true;
            return Ok(5);
        }
        self.written.send(bytes.to_vec()).unwrap();
        Ok(bytes.len())
    }

    fn failed(&mut self, error: &io::Error, torn: bool) {
        assert!(torn && error.kind() == io::ErrorKind::StorageFull);
    }
}

#[test]
fn a_full_disk_loses_its_lines_and_the_log_continues() {
    let (fail, fails) = sync_channel(1);
    let (written, lines) = sync_channel(10);
    let sink = Failing { fails, written, torn: Mutex::new(false) };
    let log = AccessLog::with(Box::new(sink), 1 << 20).unwrap();
    fail.send(()).unwrap();
    log.write(&outcome("lost"));
    assert!(log.flush(LONG));
    assert_eq!(log.dropped(), 1);
    log.write(&outcome("kept"));
    assert!(log.flush(LONG));
    assert!(String::from_utf8(lines.recv().unwrap()).unwrap().contains("kept"));
}

#[test]
fn dropping_a_log_whose_reader_stalls_is_bounded() {
    let (_reader, writer) = io::pipe().unwrap();
    let log = AccessLog::with(Box::new(To(writer)), 1 << 20).unwrap();
    for _ in 0..1000 {
        log.write(&outcome("r"));
    }
    let before = Instant::now();
    drop(log);
    assert!(before.elapsed() < Duration::from_secs(10));
}
