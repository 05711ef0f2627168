use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use serde_json::Value;

use super::super::Outcome;
use super::{MAX_ID, cut};
use crate::error_code::ErrorCode;
use crate::telemetry::metrics::{Direction, Phase};

/// The line as `serde_json`, `jiff` and the standard library write it.
fn reference(outcome: &Outcome<'_>) -> String {
    let time = jiff::Timestamp::try_from(outcome.time).unwrap();
    let mut line =
        format!("{{\"time\":\"{time:.3}\",\"direction\":{}", json(outcome.direction.as_str().into()));
    let mut field = |name: &str, value: String| write!(line, ",\"{name}\":{value}").unwrap();
    field("service", json(outcome.service.into()));
    field("account", json(outcome.account.into()));
    field("caller", json(outcome.caller.into()));
    field("user", json(outcome.user.into()));
    field("key_id", json(outcome.key_id.into()));
    field("method", json(outcome.method.into()));
    let path: String = outcome
        .path
        .iter()
        .map(
            |&byte| {
                if byte.is_ascii_graphic() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
            },
        )
        .collect();
    field("path", json(path.into()));
    field("status", outcome.status.to_string());
    field("code", json(outcome.code.map(ErrorCode::as_str).into()));
    field("bytes_in", outcome.bytes_in.to_string());
    field("bytes_out", outcome.bytes_out.to_string());
    let millis = |value: Option<Duration>| {
        value.map_or("null".to_owned(), |value| {
            format!("{}.{:03}", value.as_micros() / 1000, value.as_micros() % 1000)
        })
    };
    field("duration_ms", millis(Some(outcome.duration)));
    field("response_headers_ms", millis(outcome.response_headers));
    field("token_wait_ms", millis(outcome.token_wait));
    field("upstream", json(outcome.upstream.map(|address| address.to_string()).into()));
    field("retried", outcome.retried.to_string());
    field("request_id", json(outcome.request_id.into()));
    field("traceparent", json(outcome.traceparent.into()));
    field("client", json(outcome.client.map(|address| address.to_string()).into()));
    field("phase", json(outcome.phase.map(Phase::as_str).into()));
    field("reason", json(outcome.reason.into()));
    field("delivery_id", json(outcome.delivery_id.into()));
    line + "}\n"
}

fn json(value: Value) -> String {
    value.to_string()
}

/// Generates texts with and without characters to escape.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,20}", any::<String>().prop_map(|text| cut(&text, MAX_ID).to_owned())]
}

fn duration() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_nanos)
}

/// Generates times from 1970 to the year 9999.
fn time() -> impl Strategy<Value = SystemTime> {
    (0..253_402_207_200u64, 0..1_000_000_000u32)
        .prop_map(|(seconds, nanos)| UNIX_EPOCH + Duration::new(seconds, nanos))
}

proptest! {
    #[test]
    fn the_fast_line_equals_the_reference(
        (service, request_id, method) in (text(), text(), "[A-Z]{1,32}"),
        [account, caller, user, key_id] in std::array::from_fn::<_, 4, _>(|_| prop::option::of(text())),
        [traceparent, reason, delivery_id] in std::array::from_fn::<_, 3, _>(|_| prop::option::of(text())),
        path in prop::collection::vec(any::<u8>(), 0..40),
        (status, code, bytes_in, bytes_out) in
            (any::<u16>(), prop::option::of(prop::sample::select(ErrorCode::ALL.to_vec())), any::<u64>(), 0..10_000u64),
        (duration, response_headers, token_wait) in
            (duration(), prop::option::of(duration()), prop::option::of(duration())),
        (upstream, client, retried) in (any::<Option<std::net::SocketAddr>>(), any::<Option<std::net::IpAddr>>(), any::<bool>()),
        (time, phase) in (time(), prop::option::of(prop::sample::select(vec![Phase::Token, Phase::Body, Phase::Idle]))),
    ) {
        let outcome = Outcome {
            time,
            direction: Direction::Webhook,
            service: &service,
            account: account.as_deref(),
            caller: caller.as_deref(),
            user: user.as_deref(),
            key_id: key_id.as_deref(),
            method: &method,
            path: &path,
            status,
            code,
            bytes_in,
            bytes_out,
            duration,
            response_headers,
            token_wait,
            upstream,
            retried,
            request_id: &request_id,
            traceparent: traceparent.as_deref(),
            client,
            phase,
            reason: reason.as_deref(),
            delivery_id: delivery_id.as_deref(),
        };
        let mut line = Vec::new();
        outcome.format(&mut line);
        prop_assert_eq!(String::from_utf8(line).unwrap(), reference(&outcome));
    }
}

#[test]
fn a_long_text_is_cut_between_two_characters() {
    assert_eq!(cut("abc", 3), "abc");
    assert_eq!(cut("abcd", 3), "abc");
    assert_eq!(cut("aé", 2), "a");
}

#[test]
fn the_days_of_leap_years_and_centuries_are_right() {
    let mut line = Vec::new();
    for (unix, text) in [
        (0, "1970-01-01T00:00:00"),
        (951_782_399, "2000-02-28T23:59:59"),
        (951_782_400, "2000-02-29T00:00:00"),
        (4_107_542_399, "2100-02-28T23:59:59"),
        (4_107_542_400, "2100-03-01T00:00:00"),
        (253_402_300_799, "9999-12-31T23:59:59"),
    ] {
        line.clear();
        super::second(&mut line, unix);
        assert_eq!(std::str::from_utf8(&line).unwrap(), text);
    }
}
