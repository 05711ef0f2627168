//! Header hygiene: what a caller's header list may not carry upstream, and what an answer's may not carry back.

use crate::header_name::same;
use crate::webhook::identity::{Reserved, is_forwarding};
use http::{HeaderMap, HeaderName, Method, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};

/// Fields that speak of one connection only (RFC 9110 section 7.6.1), and the proxy's own.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "upgrade",
    "http2-settings",
];

/// Never removed because `Connection` names them: they are not hop-by-hop, and a message without them is another one.
const NOT_NOMINABLE: [&str; 4] = ["host", "content-length", "transfer-encoding", "content-type"];

/// Whether the request asks for a WebSocket (RFC 6455 section 4.1); one with a body does not.
fn is_websocket(request: &RequestHeader) -> bool {
    let headers = &request.headers;
    let bodiless = !headers.contains_key(header::TRANSFER_ENCODING)
        && headers.get(header::CONTENT_LENGTH).is_none_or(|length| length.as_bytes() == b"0");
    let upgrade =
        headers.get(header::UPGRADE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"));
    request.method == Method::GET
        && request.version == Version::HTTP_11
        && bodiless
        && upgrade
        && nominated(headers).any(|token| token.eq_ignore_ascii_case(b"upgrade"))
}

/// Takes out of a request what must not travel on: hop-by-hop fields, those that `Connection` names, the reserved
/// identity names, and every spelling of `replaced` (folded names that the credential will be sent under).
///
/// It works on the caller's own header list, before the engine copies it, so that the engine finds nothing left to
/// object to: it answers 400 to a `Connection` that names `X-Forwarded-For`, where the field is simply to be dropped.
///
/// `forwarded` is whether a trusted proxy sent it, whose `X-Forwarded-…` are no attempt at anything.
pub(super) fn clean_request(
    request: &mut RequestHeader,
    reserved: &Reserved,
    replaced: &[String],
    forwarded: bool,
) -> Cleaned {
    let websocket = is_websocket(request);
    let mut dropped = Dropped::default();
    let mut drop: Vec<HeaderName> = nominated(&request.headers)
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| !NOT_NOMINABLE.contains(&name.as_str()))
        .collect();
    drop.extend(
        request
            .headers
            .keys()
            .filter(|name| {
                if reserved.contains(name) {
                    dropped.count(name, forwarded);
                    return true;
                }
                HOP_BY_HOP.contains(&name.as_str())
                    || is_framing_alias(name.as_str())
                    || replaced.iter().any(|folded| same(name.as_str(), folded))
            })
            .cloned(),
    );
    for name in &drop {
        request.remove_header(name);
    }
    if websocket {
        // Infallible for constants.
        let _ = request.insert_header(header::CONNECTION, "Upgrade");
        let _ = request.insert_header(header::UPGRADE, "websocket");
    }
    Cleaned { websocket, dropped }
}

/// What cleaning a request came to.
pub(super) struct Cleaned {
    /// It asks for a WebSocket.
    pub(super) websocket: bool,
    pub(super) dropped: Dropped,
}

/// How many reserved names a request had.
#[derive(Default)]
pub(super) struct Dropped {
    /// Those that any proxy sends. A trusted one's don't count.
    pub(super) forwarding: usize,
    pub(super) identity: usize,
}

impl Dropped {
    /// Of a request that goes no further, and so is not cleaned.
    pub(super) fn of(request: &RequestHeader, reserved: &Reserved, forwarded: bool) -> Self {
        let mut dropped = Self::default();
        let names = request.headers.keys().filter(|name| reserved.contains(name));
        names.for_each(|name| dropped.count(name, forwarded));
        dropped
    }

    fn count(&mut self, name: &HeaderName, forwarded: bool) {
        match is_forwarding(name) {
            true => self.forwarding += usize::from(!forwarded),
            false => self.identity += 1,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.forwarding + self.identity == 0
    }
}

/// Whether a server that folds `_` to `-` would read `name` as a field that says where the message ends.
fn is_framing_alias(name: &str) -> bool {
    ["content-length", "transfer-encoding"].iter().any(|framing| name != *framing && same(name, framing))
}

/// Takes the hop-by-hop fields out of an answer. Of a 101, `Connection` and `Upgrade` are the message.
pub(super) fn clean_response(response: &mut ResponseHeader) {
    let switching = response.status == http::StatusCode::SWITCHING_PROTOCOLS;
    let mut drop: Vec<HeaderName> = nominated(&response.headers)
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| !NOT_NOMINABLE.contains(&name.as_str()) && *name != header::UPGRADE)
        .collect();
    drop.extend(
        response
            .headers
            .keys()
            .filter(|name| HOP_BY_HOP.contains(&name.as_str()))
            .filter(|name| !(switching && (**name == header::CONNECTION || **name == header::UPGRADE)))
            .cloned(),
    );
    for name in &drop {
        response.remove_header(name);
    }
}

/// The options that `Connection` lists.
fn nominated(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&b| b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(fields: &[(&'static str, &str)], replaced: &[&str]) -> Vec<String> {
        let mut request = RequestHeader::build("GET", b"/", None).expect("request");
        for (name, value) in fields {
            request.append_header(*name, *value).expect("field");
        }
        let names = ["x-attache-user", "x-attache-service", "x-attache-key-id"];
        let reserved = Reserved::new(names.map(HeaderName::from_static).iter());
        let replaced: Vec<String> = replaced.iter().map(|&name| name.to_owned()).collect();
        clean_request(&mut request, &reserved, &replaced, false);
        let mut names: Vec<String> = request.headers.keys().map(|name| name.as_str().to_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_connection_names_is_dropped_and_what_frames_the_message_is_not() {
        let fields = [
            ("Connection", "close, X-Mine"),
            ("connection", "X-Forwarded-For, Host, content-length, \"odd\""),
            ("X-Mine", "1"),
            ("X-Forwarded-For", "1"),
            ("Host", "a"),
            ("Content-Length", "0"),
            ("X-Other", "1"),
        ];
        assert_eq!(cleaned(&fields, &[]), ["content-length", "host", "x-other"]);
    }

    #[test]
    fn every_spelling_of_a_credentials_header_is_dropped() {
        let fields = [("X-API-KEY", "1"), ("x_api_key", "2"), ("X.Api_Key", "3"), ("x-api-keys", "4")];
        assert_eq!(cleaned(&fields, &["x-api-key"]), ["x-api-keys"]);
    }

    #[test]
    fn a_websocket_request_keeps_its_upgrade_and_no_other_does() {
        let socket =
            [("Connection", "keep-alive, Upgrade"), ("Upgrade", "WebSocket"), ("Sec-WebSocket-Key", "x")];
        assert_eq!(cleaned(&socket, &[]), ["connection", "sec-websocket-key", "upgrade"]);
        let h2c = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "x")];
        assert!(cleaned(&h2c, &[]).is_empty());
    }
}
