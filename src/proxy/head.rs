//! Whether a request's head may be handed to the engine.
//!
//! The engine answers what it can't parse itself, before any of our hooks, without a problem document, a metric or a log
//! line, and it passes on what servers behind it read in different ways. So the head is checked first, strictly
//! (RFC 9112): whatever is ambiguous is refused, not repaired, because a repair is a second opinion on where a message
//! ends, which is what request smuggling is made of.

use crate::error_code::ErrorCode;
use crate::plan::Refusal;
use httparse::{Error, Header, Status};
use std::mem::MaybeUninit;

/// A larger head is refused with 431.
pub(super) const MAX_HEAD: usize = 64 << 10;
/// As is one with more fields.
const MAX_FIELDS: usize = 128;

/// What a refusal of a head needs to be answered and logged.
#[derive(Debug)]
pub(super) struct BadHead {
    pub(super) refusal: Refusal,
    pub(super) method: String,
    /// The request target, where it could be told.
    pub(super) target: Vec<u8>,
    pub(super) accept: Option<Vec<u8>>,
}

/// Where the head in `buffer` ends, if all of it is there. Looks only at what came since `seen`, so that a head that
/// drips in costs no more than one that comes at once.
pub(super) fn end(buffer: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(3);
    let new = &buffer[from..];
    let crlf = new.windows(4).position(|w| w == b"\r\n\r\n").map(|at| from + at + 4);
    // Bare line feeds are refused below, but they have to end the wait.
    let lf = new.windows(2).position(|w| w == b"\n\n").map(|at| from + at + 2);
    match (crlf, lf) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// A head that may be handed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// How long the body is, in bytes; `None` where only reading it tells: chunks, and what may become a tunnel.
    pub(super) body: Option<u64>,
    /// It may become a tunnel.
    pub(super) tunnel: bool,
    /// What to hand on instead of what was sent.
    pub(super) origin_form: Option<Vec<u8>>,
}

/// Refuses a head that is malformed, ambiguous, or asks for what attache does not do.
pub(super) fn check(head: &[u8]) -> Result<Head, Box<BadHead>> {
    let mut fields = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(head, &mut fields);
    let verdict = match parsed {
        Ok(Status::Complete(_)) => semantics(&request, head),
        Ok(Status::Partial) => Err(invalid("the request's head is not HTTP/1.1")),
        Err(Error::TooManyHeaders) => {
            Err(Refusal::new(ErrorCode::RequestHeadTooLarge, "the request has more than 128 header fields"))
        }
        Err(Error::HeaderName | Error::HeaderValue | Error::NewLine) => {
            Err(invalid("a header field of the request is malformed"))
        }
        Err(_) => Err(invalid("the request line is not HTTP/1.1")),
    };
    verdict.map_err(|refusal| {
        Box::new(BadHead {
            refusal,
            method: request.method.unwrap_or("-").to_owned(),
            target: request.path.unwrap_or("").as_bytes().to_vec(),
            accept: field(&request, "accept").next().map(<[u8]>::to_vec),
        })
    })
}

fn invalid(detail: &'static str) -> Refusal {
    Refusal::new(ErrorCode::RequestInvalid, detail)
}

fn field<'a>(request: &'a httparse::Request<'_, '_>, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    request.headers.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

fn semantics(request: &httparse::Request<'_, '_>, head: &[u8]) -> Result<Head, Refusal> {
    // Every line feed has its carriage return: httparse takes bare ones.
    if head.iter().enumerate().any(|(i, &b)| b == b'\n' && (i == 0 || head[i - 1] != b'\r')) {
        return Err(invalid("a line of the request's head ends with a bare line feed"));
    }
    if request.method == Some("CONNECT") {
        return Err(Refusal::new(
            ErrorCode::MethodDenied,
            "attache opens no tunnels: it could add no credential inside one. Send the request itself to \
             `/SERVICE/…`",
        ));
    }
    if request.method.is_some_and(|m| m.eq_ignore_ascii_case("TRACE") || m.eq_ignore_ascii_case("TRACK")) {
        // RFC 9110 section 9.3.8: the third party would send back the request as it got it, credential and all.
        return Err(Refusal::new(
            ErrorCode::MethodDenied,
            "TRACE would show the credential that attache adds",
        ));
    }
    let target = request.path.unwrap_or_default();
    let authority = absolute(target).map_or("", |(authority, _)| authority);
    if !is_target(target) || !is_authority(authority.as_bytes()) {
        return Err(invalid(
            "the request target has characters that have to be percent-encoded, or a fragment",
        ));
    }
    let mut hosts = 0;
    let mut lengths = 0;
    let mut codings = 0;
    let mut length = 0;
    let mut upgrade = false;
    for field in request.headers.iter() {
        // The length alone rules out nearly all.
        match field.name.len() {
            7 => {
                upgrade |= field.name.eq_ignore_ascii_case("upgrade")
                    && field.value.trim_ascii().eq_ignore_ascii_case(b"websocket");
            }
            4 if field.name.eq_ignore_ascii_case("host") => {
                hosts += 1;
                if !is_authority(field.value) {
                    return Err(invalid("the Host header is no host"));
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
                    return Err(invalid("the only transfer coding taken is `chunked`, alone"));
                }
            }
            _ => {}
        }
    }
    if hosts > 1 || (hosts == 0 && request.version == Some(1)) {
        return Err(invalid("the request needs exactly one Host header"));
    }
    if lengths > 1 || codings > 1 || (lengths > 0 && codings > 0) {
        return Err(invalid("the request says more than once, or in two ways, how long its body is"));
    }
    if codings > 0 && request.version == Some(0) {
        return Err(invalid("an HTTP/1.0 request can't have a Transfer-Encoding"));
    }
    // As `headers` tells a WebSocket: all else has an end.
    let tunnel = upgrade
        && length == 0
        && codings == 0
        && request.method == Some("GET")
        && request.version == Some(1)
        && field(request, "connection")
            .flat_map(|value| value.split(|&b| b == b','))
            .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
    let body = (codings == 0 && !tunnel).then_some(length);
    Ok(Head { body, tunnel, origin_form: in_origin_form(request) })
}

/// Whether a `Host` is a host, and perhaps a port: no user info, and nothing that some server would read otherwise.
fn is_authority(host: &[u8]) -> bool {
    host.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~%:[]!$&'()*+,;=".contains(b))
}

/// Whether a request target has only bytes that a URI may hold, or that are commonly sent in one and passed on.
fn is_target(target: &str) -> bool {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let plain = |part: &str, not: &[u8]| part.bytes().all(|b| b > 0x20 && b != 0x7f && !not.contains(&b));
    plain(path, b"<>#`") && plain(query, b"<>#\"")
}

/// The target's authority, if it is in absolute form (RFC 9112 section 3.2.2), and where the authority ends.
fn absolute(target: &str) -> Option<(&str, usize)> {
    let scheme = ["http://", "https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme)))?;
    let rest = &target[scheme.len()..];
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    Some((&rest[..end], scheme.len() + end))
}

/// A request in absolute form as one in origin form, with the `Host` that its target names, which goes before the one
/// that was sent. `None`: it is in origin form, as nearly all are.
fn in_origin_form(request: &httparse::Request<'_, '_>) -> Option<Vec<u8>> {
    let (method, target, version) = (request.method?, request.path?, request.version?);
    let (authority, end) = absolute(target)?;
    let slash = if target[end..].starts_with('/') { "" } else { "/" };
    let mut head =
        format!("{method} {slash}{} HTTP/1.{version}\r\nHost: {authority}\r\n", &target[end..]).into_bytes();
    for field in request.headers.iter().filter(|field| !field.name.eq_ignore_ascii_case("host")) {
        head.extend_from_slice(&[field.name.as_bytes(), b": ", field.value, b"\r\n"].concat());
    }
    head.extend_from_slice(b"\r\n");
    Some(head)
}

/// Digits and nothing else, of at most 18 places.
fn decimal(digits: &[u8]) -> Option<u64> {
    let plain = (1..=18).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| digits.iter().fold(0, |n, digit| n * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(head: &str) -> Result<Option<u64>, (ErrorCode, String)> {
        check(head.as_bytes())
            .map(|head| head.body)
            .map_err(|bad| (bad.refusal.code, bad.refusal.detail.into_owned()))
    }

    #[test]
    fn ordinary_heads_pass() {
        for (head, body) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Some(0)),
            ("GET / HTTP/1.0\r\n\r\n", Some(0)),
            ("POST /x?y HTTP/1.1\r\nhost: a\r\nContent-Length: 30\r\n\r\n", Some(30)),
            ("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", None),
            ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\nConnection: x, upgrade\r\n\r\n", None),
            ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", Some(0)),
            ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", Some(0)),
            ("GET / HTTP/1.0\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", Some(0)),
            ("POST / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nContent-Length: 3\r\n\r\n", Some(3)),
            ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nContent-Length: 3\r\n\r\n", Some(3)),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Some(0)),
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
            assert_eq!(verdict(head).map_err(|(code, _)| code), Err(ErrorCode::RequestInvalid), "{head}");
        }
    }

    #[test]
    fn absolute_form_becomes_origin_form_with_the_host_it_names() {
        let origin_form = |head: &str| {
            let head = check(head.as_bytes()).expect("a good head").origin_form;
            head.map(|head| String::from_utf8(head).expect("text"))
        };
        assert_eq!(
            origin_form("GET http://a:1/b?c HTTP/1.1\r\nX: y\r\nHost: z\r\n\r\n").as_deref(),
            Some("GET /b?c HTTP/1.1\r\nHost: a:1\r\nX: y\r\n\r\n")
        );
        assert_eq!(
            origin_form("GET HTTPS://a?c HTTP/1.0\r\n\r\n").as_deref(),
            Some("GET /?c HTTP/1.0\r\nHost: a\r\n\r\n")
        );
        assert_eq!(origin_form("GET /http://a/ HTTP/1.1\r\nHost: z\r\n\r\n"), None);
    }

    #[test]
    fn a_tunnel_is_refused_with_the_reason() {
        let (code, detail) = verdict("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n").expect_err("CONNECT");
        assert_eq!(code, ErrorCode::MethodDenied);
        assert!(detail.contains("tunnels"), "{detail}");
    }

    #[test]
    fn the_end_is_found_however_the_head_comes() {
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
