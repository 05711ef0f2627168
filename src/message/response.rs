//! The head of a response, checked strictly.

use super::{Fields, has_strict_line_ends};
use bytes::Bytes;
use httparse::{Header, Status};
use std::mem::MaybeUninit;

/// Maximum number of fields; a response with more is refused.
const MAX_FIELDS: usize = 256;

/// A response's head.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    /// The status, 100 to 599.
    pub status: u16,
    /// The reason phrase as received, possibly empty.
    pub reason: Bytes,
    /// The minor version, 0 or 1, of HTTP/1.x.
    pub minor: u8,
    /// The header fields.
    pub fields: Fields,
}

impl ResponseHead {
    /// Parses a complete head, with its empty line. `None`: it is not HTTP/1.0 or HTTP/1.1 (RFC 9112 section 4), or
    /// parsers may interpret it differently: line folding, white space before a colon, bare line feeds.
    pub fn parse(head: Bytes) -> Option<Self> {
        if !has_strict_line_ends(&head) {
            return None;
        }
        let mut found = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        match config.parse_response_with_uninit_headers(&mut response, &head, &mut found) {
            Ok(Status::Complete(end)) if end == head.len() => {}
            _ => return None,
        }
        let (status, minor) = (response.code?, response.version?);
        if !(100..600).contains(&status) {
            return None;
        }
        // httparse returns an empty reason phrase for one with obs-text; its bytes are in the head.
        let line_end = head.iter().position(|&b| b == b'\r')?;
        let reason =
            head.get("HTTP/1.1 200 ".len()..line_end).map_or(Bytes::new(), |reason| head.slice_ref(reason));
        let fields = Fields::parsed(head.clone(), response.headers);
        Some(Self { status, reason, minor, fields })
    }

    /// Returns true if the server keeps the connection open after this response (RFC 9112 section 9.3).
    pub fn keeps_alive(&self) -> bool {
        if self.fields.lists("connection", "close") {
            return false;
        }
        self.minor == 1 || self.fields.lists("connection", "keep-alive")
    }

    /// Returns the seconds of `Keep-Alive: timeout=N`, for which the server keeps an idle connection open.
    pub fn keep_alive_timeout(&self) -> Option<u64> {
        self.fields.list("keep-alive").find_map(|parameter| {
            let (name, value) = parameter.split_at(parameter.iter().position(|&b| b == b'=')?);
            if !name.trim_ascii().eq_ignore_ascii_case(b"timeout") {
                return None;
            }
            super::framing::decimal(value[1..].trim_ascii())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &str) -> Option<ResponseHead> {
        ResponseHead::parse(Bytes::copy_from_slice(head.as_bytes()))
    }

    #[test]
    fn ordinary_heads_are_read_whole() {
        let head = parse("HTTP/1.1 200 Just Fine\r\nX-API: y\r\n\r\n").expect("a head");
        assert_eq!((head.status, &head.reason[..], head.minor), (200, &b"Just Fine"[..], 1));
        for (line, reason) in [("HTTP/1.0 404", ""), ("HTTP/1.1 404 ", ""), ("HTTP/1.1 404 \u{e9}", "\u{e9}")]
        {
            let head = parse(&format!("{line}\r\n\r\n")).expect(line);
            assert_eq!((head.status, &head.reason[..]), (404, reason.as_bytes()), "{line}");
        }
    }

    #[test]
    fn malformed_and_ambiguous_heads_are_refused() {
        for head in [
            "HTTP/1.1 200 OK\nA: b\n\n",
            "HTTP/1.1 200 OK\r\nA: b\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
            "HTTP/1.2 200 OK\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 600 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n",
            "HTTP/1.1 200 OK\r\n\r\nrest",
        ] {
            assert!(parse(head).is_none(), "{head:?}");
        }
    }

    #[test]
    fn every_connection_line_counts() {
        let keeps =
            |fields: &str| parse(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).expect("a head").keeps_alive();
        assert!(keeps(""));
        assert!(!keeps("Connection: X-A\r\nConnection: close\r\n"));
        assert!(!parse("HTTP/1.0 200 OK\r\n\r\n").expect("a head").keeps_alive());
        assert!(parse("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n").expect("a head").keeps_alive());
    }

    #[test]
    fn the_servers_keep_alive_time_is_read() {
        let time = |value: &str| {
            parse(&format!("HTTP/1.1 200 OK\r\nKeep-Alive: {value}\r\n\r\n"))
                .expect("a head")
                .keep_alive_timeout()
        };
        assert_eq!(time("timeout=5, max=1000"), Some(5));
        assert_eq!(time("max=3, Timeout = 7"), Some(7));
        assert_eq!(time("5"), None);
        assert_eq!(time("timeout=-1"), None);
    }
}
