//! Writes response heads and bodies to a client (RFC 9112 section 6), from one framing.
//!
//! Every head states attache's own HTTP version, its framing once, and `Connection` only where it differs from the
//! version's default.

use super::{Framing, Version};
use bytes::{BufMut as _, BytesMut};
use http::StatusCode;
use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

/// Writes the status line.
pub(crate) fn status_line(out: &mut BytesMut, status: u16, reason: &[u8]) {
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(out, status.into());
    out.put_u8(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

/// Returns the standard reason phrase, if there is one.
pub(crate) fn reason(status: u16) -> &'static [u8] {
    let status = StatusCode::from_u16(status).ok();
    status.and_then(|status| status.canonical_reason()).unwrap_or_default().as_bytes()
}

/// Writes one field.
pub(crate) fn field(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes `Date` (RFC 9110 section 6.6.1), for attache's own responses and for those that came without one.
pub(crate) fn date(out: &mut BytesMut) {
    thread_local! {
        /// The second that was last formatted, and its text: formatting costs more than a request's other fields.
        static LAST: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    LAST.with_borrow_mut(|(last, text)| {
        if *last != second {
            (*last, *text) = (second, httpdate::fmt_http_date(now));
        }
        field(out, b"Date", text.as_bytes());
    });
}

/// Writes a number in decimal.
pub(crate) fn decimal(out: &mut BytesMut, number: u64) {
    let mut digits = [0; 20];
    let (mut at, mut rest) = (digits.len(), number);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The state of the connection after the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persistence {
    KeepAlive,
    Close,
}

/// The framing of a response for one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outgoing {
    /// The framing of the body.
    pub(crate) body: Framing,
    /// The `Content-Length` of a response without a body.
    pub(crate) announced: Option<u64>,
    pub(crate) persistence: Persistence,
}

impl Outgoing {
    /// Adapts the framing of a body to the client. A body without a length is chunked for HTTP/1.1, and ends with the
    /// connection for HTTP/1.0, which has no chunks.
    pub(crate) fn new(
        body: Framing,
        announced: Option<u64>,
        version: Version,
        persistence: Persistence,
    ) -> Self {
        let (body, persistence) = match (body, version) {
            (Framing::Chunked | Framing::UntilClose, Version::Http11) => (Framing::Chunked, persistence),
            (Framing::Chunked | Framing::UntilClose, Version::Http10) => {
                (Framing::UntilClose, Persistence::Close)
            }
            (body, _) => (body, persistence),
        };
        Self { body, announced, persistence }
    }

    /// Writes the end of the head: framing, persistence, empty line.
    pub(crate) fn finish_head(&self, out: &mut BytesMut, version: Version) {
        let length = match self.body {
            Framing::Length(length) => Some(length),
            Framing::Empty => self.announced,
            Framing::Chunked => {
                field(out, b"Transfer-Encoding", b"chunked");
                None
            }
            Framing::UntilClose => None,
        };
        if let Some(length) = length {
            out.extend_from_slice(b"Content-Length: ");
            decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
        match (self.persistence, version) {
            (Persistence::Close, _) => field(out, b"Connection", b"close"),
            (Persistence::KeepAlive, Version::Http10) => field(out, b"Connection", b"keep-alive"),
            (Persistence::KeepAlive, Version::Http11) => {}
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Writes the line before a part of the body. Parts are never empty: an empty chunk would be the end.
    pub(crate) fn begin_part(&self, out: &mut BytesMut, length: usize) {
        if self.body == Framing::Chunked {
            let mut digits = [0; 16];
            let (mut at, mut rest) = (digits.len(), length);
            while rest > 0 {
                at -= 1;
                digits[at] = b"0123456789abcdef"[rest % 16];
                rest /= 16;
            }
            out.extend_from_slice(&digits[at..]);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Writes the line after a part of the body.
    pub(crate) fn end_part(&self, out: &mut BytesMut) {
        if self.body == Framing::Chunked {
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Writes the end of the body.
    pub(crate) fn finish_body(&self, out: &mut BytesMut) {
        if self.body == Framing::Chunked {
            out.extend_from_slice(b"0\r\n\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(body: Framing, announced: Option<u64>, version: Version, persistence: Persistence) -> String {
        let mut out = BytesMut::new();
        status_line(&mut out, 200, reason(200));
        Outgoing::new(body, announced, version, persistence).finish_head(&mut out, version);
        String::from_utf8(out.to_vec()).expect("ASCII")
    }

    #[test]
    fn every_framing_is_stated_once_in_the_clients_version() {
        use Framing::{Chunked, Empty, Length, UntilClose};
        use Persistence::{Close, KeepAlive};
        use Version::{Http10, Http11};
        let chunked = "Transfer-Encoding: chunked\r\n";
        for (body, announced, version, persistence, expected) in [
            (Length(5), None, Http11, KeepAlive, "Content-Length: 5\r\n"),
            (Length(5), None, Http10, KeepAlive, "Content-Length: 5\r\nConnection: keep-alive\r\n"),
            (Length(0), None, Http11, Close, "Content-Length: 0\r\nConnection: close\r\n"),
            (Chunked, None, Http11, KeepAlive, chunked),
            (UntilClose, None, Http11, KeepAlive, chunked),
            (Chunked, None, Http10, KeepAlive, "Connection: close\r\n"),
            (UntilClose, None, Http10, KeepAlive, "Connection: close\r\n"),
            (Empty, None, Http11, KeepAlive, ""),
            (Empty, Some(1_234_567_890), Http11, KeepAlive, "Content-Length: 1234567890\r\n"),
        ] {
            let found = head(body, announced, version, persistence);
            assert_eq!(found, format!("HTTP/1.1 200 OK\r\n{expected}\r\n"), "{body:?} {version:?}");
        }
    }

    #[test]
    fn chunks_have_their_size_in_hex() {
        let (mut out, outgoing) = (
            BytesMut::new(),
            Outgoing::new(Framing::UntilClose, None, Version::Http11, Persistence::KeepAlive),
        );
        for part in [&b"x"[..], &[b'y'; 0x1af]] {
            outgoing.begin_part(&mut out, part.len());
            out.extend_from_slice(part);
            outgoing.end_part(&mut out);
        }
        outgoing.finish_body(&mut out);
        let text = String::from_utf8(out.to_vec()).expect("ASCII");
        assert!(text.starts_with("1\r\nx\r\n1af\r\nyy") && text.ends_with("yy\r\n0\r\n\r\n"), "{text}");
    }
}
