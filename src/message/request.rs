//! The head of a request, checked strictly (RFC 9112).
//!
//! An ambiguous head is refused and not repaired: a repair is a second interpretation of where a message ends, which
//! request smuggling depends on.

use super::framing::decimal;
use super::{Fields, Framing, Version, has_strict_line_ends};
use bytes::Bytes;
use http::Method;
use httparse::{Error, Header, Status};
use std::mem::MaybeUninit;

/// Maximum size of a head; a larger one is refused with 431.
pub(crate) const MAX_HEAD: usize = 64 << 10;
/// Maximum number of fields; a head with more is refused with 431.
const MAX_FIELDS: usize = 128;

/// A request's head. Not `Debug`: a target may contain a webhook's key.
pub(crate) struct RequestHead {
    pub(crate) method: Method,
    /// Path and query as received: in origin form, or `*`.
    pub(crate) target: Bytes,
    pub(crate) version: Version,
    pub(crate) fields: Fields,
    /// Never [`Framing::UntilClose`].
    pub(crate) body: Framing,
    /// The request asks for a WebSocket (RFC 6455 section 4.1).
    pub(crate) websocket: bool,
    /// The target was in absolute form (RFC 9112 section 3.2.2), as a client sends it to a proxy. `Host` is its authority.
    pub(crate) absolute: bool,
}

impl RequestHead {
    /// Returns true if the client leaves the connection open (RFC 9112 section 9.3). Every `Connection` line counts.
    pub(crate) fn keeps_alive(&self) -> bool {
        if self.fields.lists("connection", "close") {
            return false;
        }
        self.version == Version::Http11 || self.fields.lists("connection", "keep-alive")
    }

    /// Returns true if the client waits for `100 Continue`. HTTP/1.0 has none (RFC 9110 section 10.1.1).
    pub(crate) fn expects_continue(&self) -> bool {
        self.version == Version::Http11 && self.fields.lists("expect", "100-continue")
    }
}

/// Why a head is refused. Each prints as a sentence for the client, which quotes nothing of the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    /// The head is malformed or ambiguous.
    #[error("{0}")]
    Malformed(&'static str),
    /// A TLS handshake instead of a head.
    #[error("{0}")]
    Tls(&'static str),
    /// A head without the TLS that the listener speaks.
    #[error("{0}")]
    Plain(&'static str),
    /// The head has too many fields, or too many bytes.
    #[error("{0}")]
    TooLarge(&'static str),
    /// The head was not complete in time.
    #[error("{0}")]
    Late(&'static str),
    /// The method is never forwarded.
    #[error("{0}")]
    Method(&'static str),
}

/// A refused head, with what its answer and its access log line need. Not `Debug`, for the reason of [`RequestHead`].
pub(crate) struct BadHead {
    pub(crate) error: HeadError,
    pub(crate) method: String,
    /// The request target, if it could be parsed.
    pub(crate) target: Vec<u8>,
    pub(crate) accept: Option<Vec<u8>>,
}

/// Returns the end of the head in `buffer`, if it is complete. Scans only the bytes since `seen`, so that a head in
/// many small parts costs no more than one in a single part.
pub(crate) fn end(buffer: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(1);
    // Bare line feeds are refused later, but they have to end the wait.
    let is_end = |&at: &usize| {
        let line = &buffer[..at];
        line.ends_with(b"\n\r") || line.ends_with(b"\n")
    };
    memchr::memchr_iter(b'\n', &buffer[from..]).map(|at| from + at).find(is_end).map(|at| at + 1)
}

/// Parses a complete head, with its empty line.
///
/// # Errors
///
/// If it is malformed, ambiguous, or asks for an unsupported function.
pub(crate) fn parse(head: Bytes) -> Result<RequestHead, Box<BadHead>> {
    let mut found = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(&head, &mut found);
    let verdict = match parsed {
        Ok(Status::Complete(_)) => semantics(&request, &head),
        Ok(Status::Partial) => Err(invalid("the request's head is not HTTP/1.1")),
        Err(Error::TooManyHeaders) => Err(HeadError::TooLarge("the request has more than 128 header fields")),
        Err(Error::HeaderName | Error::HeaderValue | Error::NewLine) => {
            Err(invalid("a header field of the request is malformed"))
        }
        Err(_) => Err(invalid("the request line is not HTTP/1.1")),
    };
    let origin_form = match verdict {
        Ok(CheckedHead::Head(head)) => return Ok(head),
        Ok(CheckedHead::OriginForm(head)) => head,
        Err(error) => {
            return Err(Box::new(BadHead {
                error,
                method: request.method.unwrap_or("-").to_owned(),
                target: request.path.unwrap_or("").as_bytes().to_vec(),
                accept: field(&request, "accept").next().map(<[u8]>::to_vec),
            }));
        }
    };
    parse(origin_form).map(|head| RequestHead { absolute: true, ..head })
}

/// The result of the checks.
enum CheckedHead {
    Head(RequestHead),
    /// The request is in absolute form; these are its bytes in origin form.
    OriginForm(Bytes),
}

fn invalid(detail: &'static str) -> HeadError {
    HeadError::Malformed(detail)
}

fn field<'a>(request: &'a httparse::Request<'_, '_>, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    request.headers.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

fn semantics(request: &httparse::Request<'_, '_>, head: &Bytes) -> Result<CheckedHead, HeadError> {
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(invalid("the request line is not HTTP/1.1"));
    };
    if !has_strict_line_ends(head) {
        return Err(invalid("a line of the request's head ends with a bare line feed"));
    }
    check_method(method)?;
    let absolute = absolute(target);
    if !is_target(target) || absolute.is_some_and(|(authority, _)| !is_authority(authority.as_bytes())) {
        return Err(invalid(
            "the request target has characters that have to be percent-encoded, or a fragment",
        ));
    }
    let stated = stated(request, minor)?;
    if let Some((authority, end)) = absolute {
        return Ok(CheckedHead::OriginForm(in_origin_form(
            request,
            method,
            &target[end..],
            authority,
            minor,
        )));
    }
    let fields = Fields::parsed(head.clone(), request.headers);
    // A WebSocket request has no body; one with a body is an ordinary request.
    let websocket = stated.upgrade
        && stated.body == Framing::Empty
        && method == "GET"
        && minor == 1
        && fields.lists("connection", "upgrade");
    Ok(CheckedHead::Head(RequestHead {
        method: Method::from_bytes(method.as_bytes())
            .map_err(|_| invalid("the method has characters that no HTTP method may have"))?,
        target: head.slice_ref(target.as_bytes()),
        version: if minor == 0 { Version::Http10 } else { Version::Http11 },
        fields,
        body: stated.body,
        websocket,
        absolute: false,
    }))
}

fn check_method(method: &str) -> Result<(), HeadError> {
    match method.len() {
        7 if method == "CONNECT" => Err(HeadError::Method(
            "attache does not support CONNECT: it could not add a credential inside a tunnel. Send the request itself to \
             `/SERVICE/…`, or, with `http_proxy: true`, to an `http://` URL",
        )),
        // RFC 9110 section 9.3.8: the server would return the request as received, including the credential.
        5 if method.eq_ignore_ascii_case("TRACE") || method.eq_ignore_ascii_case("TRACK") => {
            Err(HeadError::Method("TRACE would show the credential that attache adds"))
        }
        _ => Ok(()),
    }
}

/// The framing that the fields state.
struct Stated {
    body: Framing,
    upgrade: bool,
}

fn stated(request: &httparse::Request<'_, '_>, minor: u8) -> Result<Stated, HeadError> {
    let (mut hosts, mut lengths, mut codings) = (0, 0, 0);
    let mut length = 0;
    let mut upgrade = false;
    for field in request.headers.iter() {
        // The length of the name rules out nearly all fields.
        match field.name.len() {
            7 if field.name.eq_ignore_ascii_case("upgrade") => {
                upgrade |= field.value.trim_ascii().eq_ignore_ascii_case(b"websocket");
            }
            4 if field.name.eq_ignore_ascii_case("host") => {
                hosts += 1;
                if !is_authority(field.value) {
                    return Err(invalid("the Host header is not a host with an optional port"));
                }
            }
            14 if field.name.eq_ignore_ascii_case("content-length") => {
                lengths += 1;
                length = decimal(field.value.trim_ascii())
                    .ok_or_else(|| invalid("Content-Length is not a number of bytes"))?;
            }
            17 if field.name.eq_ignore_ascii_case("transfer-encoding") => {
                codings += 1;
                if !field.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(invalid("the only supported Transfer-Encoding is one `chunked`"));
                }
            }
            _ => {}
        }
    }
    if hosts > 1 || (hosts == 0 && minor == 1) {
        return Err(invalid("the request needs exactly one Host header"));
    }
    if lengths > 1 || codings > 1 || (lengths > 0 && codings > 0) {
        return Err(invalid("the request states the length of its body more than once, or in two ways"));
    }
    if codings > 0 && minor == 0 {
        return Err(invalid("an HTTP/1.0 request can't have a Transfer-Encoding"));
    }
    let body = match length {
        _ if codings > 0 => Framing::Chunked,
        0 => Framing::Empty,
        length => Framing::Length(length),
    };
    Ok(Stated { body, upgrade })
}

/// Returns true if a `Host` is a host with an optional port: no user info, and no bytes that servers interpret
/// differently.
fn is_authority(host: &[u8]) -> bool {
    host.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~%:[]!$&'()*+,;=".contains(b))
}

/// Returns true if a request target has only bytes that a URI may contain, or that are commonly sent and forwarded.
fn is_target(target: &str) -> bool {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let plain = |part: &str, not: &[u8]| part.bytes().all(|b| b > 0x20 && b != 0x7f && !not.contains(&b));
    plain(path, b"<>#`") && plain(query, b"<>#\"")
}

/// Returns the authority of a target in absolute form (RFC 9112 section 3.2.2), and the index of its end.
fn absolute(target: &str) -> Option<(&str, usize)> {
    let scheme = ["http://", "https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme)))?;
    let rest = &target[scheme.len()..];
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    Some((&rest[..end], scheme.len() + end))
}

/// Rewrites a request in absolute form to origin form. The authority of its target replaces the received `Host` (RFC
/// 9112 section 3.2.2).
fn in_origin_form(
    request: &httparse::Request<'_, '_>,
    method: &str,
    path: &str,
    authority: &str,
    minor: u8,
) -> Bytes {
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut head = format!("{method} {slash}{path} HTTP/1.{minor}\r\nHost: {authority}\r\n").into_bytes();
    for field in request.headers.iter().filter(|field| !field.name.eq_ignore_ascii_case("host")) {
        head.extend_from_slice(&[field.name.as_bytes(), b": ", field.value, b"\r\n"].concat());
    }
    head.extend_from_slice(b"\r\n");
    head.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(head: &str) -> Result<RequestHead, Box<BadHead>> {
        parse(Bytes::copy_from_slice(head.as_bytes()))
    }

    fn verdict(head: &str) -> Result<(Framing, bool), HeadError> {
        parsed(head).map(|head| (head.body, head.websocket)).map_err(|bad| bad.error)
    }

    #[test]
    fn ordinary_heads_pass() {
        for (head, body) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", (Framing::Empty, false)),
            ("GET / HTTP/1.0\r\n\r\n", (Framing::Empty, false)),
            ("POST /x?y HTTP/1.1\r\nhost: a\r\nContent-Length: 30\r\n\r\n", (Framing::Length(30), false)),
            ("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", (Framing::Chunked, false)),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\nConnection: x, upgrade\r\n\r\n",
                (Framing::Empty, true),
            ),
            ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", (Framing::Empty, false)),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
                (Framing::Empty, false),
            ),
            ("GET / HTTP/1.0\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", (Framing::Empty, false)),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nContent-Length: 3\r\n\r\n",
                (Framing::Length(3), false),
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nContent-Length: 3\r\n\r\n",
                (Framing::Length(3), false),
            ),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", (Framing::Empty, false)),
        ] {
            assert_eq!(verdict(head), Ok(body), "{head}");
        }
    }

    #[test]
    fn ambiguous_and_malformed_heads_are_refused() {
        for head in [
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "nonsense\r\n\r\n",
            "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /<a> HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /?\"a\" HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
            "GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n",
        ] {
            assert!(matches!(verdict(head), Err(HeadError::Malformed(_))), "{head}");
        }
    }

    #[test]
    fn absolute_form_becomes_origin_form_with_the_host_it_names() {
        let origin_form = |head: &str| {
            let head = parsed(head).ok().expect("a good head");
            let host = head.fields.get("host").expect("a host").to_vec();
            (String::from_utf8(head.target.to_vec()).expect("text"), String::from_utf8(host).expect("text"))
        };
        let expected = |target: &str, host: &str| (target.to_owned(), host.to_owned());
        assert_eq!(
            origin_form("GET http://a:1/b?c HTTP/1.1\r\nX: y\r\nHost: z\r\n\r\n"),
            expected("/b?c", "a:1")
        );
        assert_eq!(origin_form("GET HTTPS://a?c HTTP/1.0\r\n\r\n"), expected("/?c", "a"));
        let origin = "GET /http://a/ HTTP/1.1\r\nHost: z\r\n\r\n";
        assert_eq!(origin_form(origin), expected("/http://a/", "z"));
    }

    #[test]
    fn every_connection_line_counts() {
        let keeps = |line: &str, fields: &str| {
            parsed(&format!("GET / {line}\r\nHost: a\r\n{fields}\r\n"))
                .ok()
                .expect("a good head")
                .keeps_alive()
        };
        assert!(keeps("HTTP/1.1", "") && keeps("HTTP/1.1", "Connection: X-A\r\n"));
        assert!(!keeps("HTTP/1.1", "Connection: X-A\r\nConnection: close\r\n"));
        assert!(!keeps("HTTP/1.0", "") && keeps("HTTP/1.0", "Connection: x, Keep-Alive\r\n"));
    }

    #[test]
    fn unsupported_methods_are_refused_with_the_reason() {
        for (head, word) in [
            ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "tunnel"),
            ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "credential"),
        ] {
            let error = verdict(head).expect_err(head);
            assert!(matches!(error, HeadError::Method(detail) if detail.contains(word)), "{error}");
        }
    }

    #[test]
    fn the_end_of_a_head_is_found_at_every_split() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody";
        let complete = head.len() - 4;
        for seen in 0..complete - 1 {
            assert_eq!(end(head, seen), Some(complete), "{seen}");
        }
        for length in 0..complete {
            assert_eq!(end(&head[..length], length.saturating_sub(1)), None, "{length}");
        }
    }
}
