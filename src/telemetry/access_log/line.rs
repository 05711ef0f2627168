//! One request as a line of JSON.
//!
//! Formatting is on the path of every request. Numbers, IPv4 addresses and times are formatted without `serde_json`,
//! and a text without characters to escape is copied. `serde_json` needs several times as many instructions per line.

use std::cell::RefCell;
use std::fmt::Display;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Outcome;
use crate::error_code::ErrorCode;
use crate::telemetry::metrics::Phase;

/// Maximum length of texts that a client chooses.
const MAX_METHOD: usize = 32;
const MAX_PATH: usize = 2048;
const MAX_ID: usize = 256;

thread_local! {
    static CACHE: RefCell<Cache> = const {
        RefCell::new(Cache { second: Last::new(), upstream: Last::new(), client: Last::new() })
    };
}

/// Formatted texts of the thread's previous line that the next one is likely to need.
struct Cache {
    second: Last<u64>,
    upstream: Last<SocketAddr>,
    client: Last<IpAddr>,
}

/// A value and its text.
struct Last<T> {
    value: Option<T>,
    text: Vec<u8>,
}

impl<T: Copy + PartialEq> Last<T> {
    const fn new() -> Self {
        Self { value: None, text: Vec::new() }
    }

    fn text(&mut self, value: T, format: impl FnOnce(&mut Vec<u8>, T)) -> &[u8] {
        if self.value != Some(value) {
            self.text.clear();
            format(&mut self.text, value);
            self.value = Some(value);
        }
        &self.text
    }
}

impl Outcome<'_> {
    /// Appends the line, including its line break.
    pub(super) fn format(&self, line: &mut Vec<u8>) {
        CACHE.with_borrow_mut(|cache| self.format_with(cache, line));
    }

    fn format_with(&self, cache: &mut Cache, line: &mut Vec<u8>) {
        line.extend_from_slice(b"{\"time\":\"");
        time(line, self.time, &mut cache.second);
        line.extend_from_slice(b"\",\"direction\":\"");
        line.extend_from_slice(self.direction.as_str().as_bytes());
        line.push(b'"');
        string(line, b",\"service\":", self.service);
        text(line, b",\"account\":", self.account);
        text(line, b",\"caller\":", self.caller);
        text(line, b",\"user\":", self.user);
        text(line, b",\"key_id\":", self.key_id);
        string(line, b",\"method\":", cut(self.method, MAX_METHOD));
        path(line, b",\"path\":", self.path);
        number(line, b",\"status\":", self.status.into());
        text(line, b",\"code\":", self.code.map(ErrorCode::as_str));
        number(line, b",\"bytes_in\":", self.bytes_in);
        number(line, b",\"bytes_out\":", self.bytes_out);
        millis(line, b",\"duration_ms\":", Some(self.duration));
        millis(line, b",\"response_headers_ms\":", self.response_headers);
        millis(line, b",\"token_wait_ms\":", self.token_wait);
        upstream(line, b",\"upstream\":", self.upstream, &mut cache.upstream);
        line.extend_from_slice(if self.retried { b",\"retried\":true" } else { b",\"retried\":false" });
        string(line, b",\"request_id\":", self.request_id);
        text(line, b",\"traceparent\":", self.traceparent);
        client(line, b",\"client\":", self.client, &mut cache.client);
        text(line, b",\"phase\":", self.phase.map(Phase::as_str));
        text(line, b",\"reason\":", self.reason);
        text(line, b",\"delivery_id\":", self.delivery_id.map(|id| cut(id, MAX_ID)));
        line.extend_from_slice(b"}\n");
    }
}

/// Returns the longest prefix of `text` that has at most `max` bytes.
fn cut(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let end = (0..=max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

fn text(line: &mut Vec<u8>, key: &[u8], value: Option<&str>) {
    match value {
        Some(value) => string(line, key, value),
        None => null(line, key),
    }
}

fn null(line: &mut Vec<u8>, key: &[u8]) {
    line.extend_from_slice(key);
    line.extend_from_slice(b"null");
}

fn string(line: &mut Vec<u8>, key: &[u8], value: &str) {
    line.extend_from_slice(key);
    if value.bytes().fold(true, |plain, byte| plain & is_plain(byte)) {
        line.push(b'"');
        line.extend_from_slice(value.as_bytes());
        line.push(b'"');
    } else {
        serde_json::to_writer(line, value).expect("a string, written to memory, can't fail");
    }
}

/// Returns true if a JSON string may contain the byte as it is.
fn is_plain(byte: u8) -> bool {
    (byte >= b' ') & (byte != b'"') & (byte != b'\\')
}

/// Writes a path as ASCII: any other byte is percent-encoded, so that no terminal interprets it as a control sequence.
fn path(line: &mut Vec<u8>, key: &[u8], path: &[u8]) {
    let path = path.get(..MAX_PATH).unwrap_or(path);
    line.extend_from_slice(key);
    line.push(b'"');
    if path.iter().fold(true, |plain, byte| plain & byte.is_ascii_graphic() & is_plain(*byte)) {
        line.extend_from_slice(path);
    } else {
        for &byte in path {
            match byte {
                b'"' | b'\\' => line.extend_from_slice(&[b'\\', byte]),
                _ if byte.is_ascii_graphic() => line.push(byte),
                _ => display(line, format_args!("%{byte:02X}")),
            }
        }
    }
    line.push(b'"');
}

fn number(line: &mut Vec<u8>, key: &[u8], value: u64) {
    line.extend_from_slice(key);
    digits(line, value);
}

fn digits(line: &mut Vec<u8>, mut value: u64) {
    let mut buffer = [0; 20];
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = digit(value);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    line.extend_from_slice(&buffer[at..]);
}

/// Returns the last decimal digit.
fn digit(value: u64) -> u8 {
    b'0' + (value % 10) as u8
}

fn three_digits(line: &mut Vec<u8>, value: u64) {
    line.extend_from_slice(&[digit(value / 100), digit(value / 10), digit(value)]);
}

/// Writes milliseconds with microsecond precision, as a JSON number.
fn millis(line: &mut Vec<u8>, key: &[u8], value: Option<Duration>) {
    let Some(value) = value else { return null(line, key) };
    line.extend_from_slice(key);
    // 64 bits hold half a million years.
    let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
    digits(line, micros / 1000);
    line.push(b'.');
    three_digits(line, micros % 1000);
}

fn upstream(line: &mut Vec<u8>, key: &[u8], address: Option<SocketAddr>, last: &mut Last<SocketAddr>) {
    let Some(address) = address else { return null(line, key) };
    line.extend_from_slice(key);
    line.push(b'"');
    match address {
        SocketAddr::V4(v4) => {
            ipv4(line, *v4.ip());
            line.push(b':');
            digits(line, v4.port().into());
        }
        SocketAddr::V6(_) => line.extend_from_slice(last.text(address, display)),
    }
    line.push(b'"');
}

fn client(line: &mut Vec<u8>, key: &[u8], address: Option<IpAddr>, last: &mut Last<IpAddr>) {
    let Some(address) = address else { return null(line, key) };
    line.extend_from_slice(key);
    line.push(b'"');
    match address {
        IpAddr::V4(v4) => ipv4(line, v4),
        IpAddr::V6(_) => line.extend_from_slice(last.text(address, display)),
    }
    line.push(b'"');
}

fn ipv4(line: &mut Vec<u8>, address: Ipv4Addr) {
    for (i, octet) in address.octets().into_iter().enumerate() {
        if i > 0 {
            line.push(b'.');
        }
        digits(line, octet.into());
    }
}

fn display(line: &mut Vec<u8>, value: impl Display) {
    write!(line, "{value}").expect("writing to memory can't fail");
}

/// Writes a time as RFC 3339 in UTC, with milliseconds.
fn time(line: &mut Vec<u8>, time: SystemTime, last: &mut Last<u64>) {
    /// The end of the year 9999, where RFC 3339 ends.
    const END: u64 = 253_402_300_800;
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let since = if since.as_secs() < END { since } else { Duration::ZERO };
    line.extend_from_slice(last.text(since.as_secs(), second));
    line.push(b'.');
    three_digits(line, since.subsec_millis().into());
    line.push(b'Z');
}

/// Writes Unix seconds before the year 10000 as `2026-11-30T23:59:59`.
fn second(line: &mut Vec<u8>, unix: u64) {
    let (year, month, day) = civil_from_days(unix / 86_400);
    let in_day = unix % 86_400;
    three_digits(line, year / 10);
    line.push(digit(year));
    for (separator, value) in
        [(b'-', month), (b'-', day), (b'T', in_day / 3600), (b':', in_day / 60 % 60), (b':', in_day % 60)]
    {
        line.extend_from_slice(&[separator, digit(value / 10), digit(value)]);
    }
}

/// Returns the Gregorian date of a day since the Unix epoch: Howard Hinnant's algorithm, in which a year begins in
/// March, so that a leap day is its last.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    // Days from 0000-03-01 to 1970-01-01.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests;
