//! The forward proxy on the way to an upstream: a tunnel by CONNECT (RFC 9110 section 9.3.6) for https, requests in
//! absolute form (RFC 9112 section 3.2.2) for http.
//!
//! The proxy resolves the upstream's name, so the egress guard does not see its addresses. The proxy's own name may lead
//! into a private network.
//!
//! Invariants: `Proxy-Authorization` is sent to the proxy only, before a tunnel or on a request to the proxy itself. Not
//! one byte that the proxy sends behind the head of its answer is taken for the upstream's. No text of an error holds a
//! part of an answer or of a credential.

use super::ConnectError;
use super::dial::DialError;
use super::names::NoAddress;
use super::stream::MAX_HEAD;
use crate::config::model::{ForwardProxy, Host, ServerUrl};
use crate::message::writer::field;
use crate::message::{ResponseHead, has_strict_line_ends};
use bytes::BytesMut;
use http::HeaderValue;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Maximum number of interim answers.
const MAX_INTERIM: u32 = 32;

/// Why the proxy made no connection.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The proxy's name has no address.
    #[error("its name has no address")]
    NoAddress(#[source] NoAddress),
    /// The proxy accepted no connection.
    #[error("no connection to it")]
    Dial(#[source] DialError),
    /// The proxy asks for other credentials.
    #[error("it asks for `username` and `password`, or refuses them (407)")]
    Authentication,
    /// The proxy refused to connect to the upstream.
    #[error("it refused to connect to the upstream, with status {0}")]
    Refused(u16),
    /// The proxy's answer is not valid HTTP, or has bytes behind its head.
    #[error("its answer to CONNECT is not a valid head, or more than that")]
    Protocol,
    /// The connection to the proxy ended before its answer was complete.
    #[error("it ended the connection before its answer to CONNECT was complete")]
    Ended(#[source] io::Error),
}

impl ProxyError {
    /// Returns the machine-readable reason, for logs.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NoAddress(_) | Self::Dial(_) => "proxy_unreachable",
            Self::Authentication => "proxy_authentication",
            Self::Refused(_) => "proxy_refused",
            Self::Protocol => "proxy_protocol_error",
            Self::Ended(_) => "proxy_terminated",
        }
    }

    /// Returns true if another attempt may fare better.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::NoAddress(error) => matches!(error, NoAddress::NameServer(_)),
            Self::Dial(_) | Self::Ended(_) => true,
            Self::Refused(status) => matches!(status, 502..=504),
            Self::Authentication | Self::Protocol => false,
        }
    }
}

/// A proxy, prepared for one upstream.
pub(super) struct Hop {
    /// The proxy's host and port.
    pub(super) proxy: String,
    pub(super) way: ProxyPath,
}

/// The way through a proxy.
pub(super) enum ProxyPath {
    /// CONNECT, with this head.
    Tunnel(Vec<u8>),
    /// Requests to the proxy, with this text before a target in origin form.
    Absolute { prefix: String, authorization: Option<HeaderValue> },
}

impl Hop {
    /// Returns the error that names the proxy.
    pub(super) fn failed(&self, address: Option<SocketAddr>, source: ProxyError) -> ConnectError {
        ConnectError::Proxy { proxy: self.proxy.clone(), address, source }
    }

    pub(super) fn new(proxy: &ForwardProxy, upstream: &ServerUrl) -> Self {
        let authorization = proxy.authorization.clone();
        let way = if upstream.tls {
            ProxyPath::Tunnel(connect_request(upstream, authorization.as_ref()))
        } else {
            ProxyPath::Absolute { prefix: format!("http://{}", upstream.authority), authorization }
        };
        Self { proxy: proxy.url.authority.clone(), way }
    }
}

/// Returns the head of a CONNECT request. Its target always has a port.
fn connect_request(upstream: &ServerUrl, authorization: Option<&HeaderValue>) -> Vec<u8> {
    let target = match &upstream.host {
        Host::Name(name) => format!("{name}:{}", upstream.port),
        Host::Ip(ip) => SocketAddr::new(*ip, upstream.port).to_string(),
    };
    let mut out = BytesMut::new();
    out.extend_from_slice(format!("CONNECT {target} HTTP/1.1\r\n").as_bytes());
    field(&mut out, b"Host", target.as_bytes());
    if let Some(value) = authorization {
        field(&mut out, b"Proxy-Authorization", value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.to_vec()
}

/// Asks the proxy at the other end of `stream` for a tunnel. Has no timeout of its own.
pub(super) async fn open_tunnel(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &[u8],
) -> Result<(), ProxyError> {
    stream.write_all(request).await.map_err(ProxyError::Ended)?;
    let mut received = BytesMut::new();
    let (mut size, mut interim) = (0, 0);
    loop {
        while let Some(head) = take_head(&mut received, &mut size)? {
            match head.status {
                101 => return Err(ProxyError::Protocol),
                100..=199 if interim < MAX_INTERIM => interim += 1,
                // Content-Length and Transfer-Encoding mean nothing here. The upstream does not speak first.
                200..=299 if received.is_empty() => return Ok(()),
                407 => return Err(ProxyError::Authentication),
                300.. => return Err(ProxyError::Refused(head.status)),
                _ => return Err(ProxyError::Protocol),
            }
        }
        let read = stream.read_buf(&mut received).await.map_err(ProxyError::Ended)?;
        if read == 0 {
            return Err(ProxyError::Ended(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

/// Takes a head from the bytes that were received; `None`: it is not complete. `size` is that of all heads before.
fn take_head(received: &mut BytesMut, size: &mut usize) -> Result<Option<ResponseHead>, ProxyError> {
    let start = &b"HTTP/1."[..];
    let compared = received.len().min(start.len());
    if received[..compared] != start[..compared] {
        return Err(ProxyError::Protocol);
    }
    let end = memchr::memmem::find(received, b"\r\n\r\n").map(|at| at + 4);
    if *size + end.unwrap_or(received.len()) > MAX_HEAD
        || !has_strict_line_ends(&received[..end.unwrap_or(received.len())])
    {
        return Err(ProxyError::Protocol);
    }
    let Some(end) = end else { return Ok(None) };
    *size += end;
    ResponseHead::parse(received.split_to(end).freeze()).map(Some).ok_or(ProxyError::Protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(url: &str) -> ServerUrl {
        ServerUrl::of(&url.parse().expect(url)).expect(url)
    }

    #[test]
    fn a_connect_request_has_the_port_and_the_credentials() {
        let value = HeaderValue::from_static("Basic dTpw");
        for (url, target) in [
            ("https://api.example/v3", "api.example:443"),
            ("https://api.example:8443", "api.example:8443"),
            ("https://192.0.2.1", "192.0.2.1:443"),
            ("https://[2001:db8::1]", "[2001:db8::1]:443"),
        ] {
            let expected = format!(
                "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic dTpw\r\n\r\n"
            );
            assert_eq!(connect_request(&upstream(url), Some(&value)), expected.as_bytes());
        }
        let bare = connect_request(&upstream("https://a.example"), None);
        assert!(!bare.windows(5).any(|part| part == b"Proxy"));
    }

    /// Answers a CONNECT with `bytes`, in two parts, and closes.
    async fn answered(bytes: &[u8], split: usize) -> Result<(), &'static str> {
        let (mut ours, mut proxys) = tokio::io::duplex(256 << 10);
        let request = connect_request(&upstream("https://a.example"), None);
        let answer = async {
            let mut seen = vec![0; request.len()];
            proxys.read_exact(&mut seen).await.expect("the request");
            let (first, second) = bytes.split_at(split.min(bytes.len()));
            proxys.write_all(first).await.expect("writes");
            tokio::task::yield_now().await;
            // The other side may have given up.
            let _ = proxys.write_all(second).await;
            drop(proxys);
        };
        let (opened, ()) = tokio::join!(open_tunnel(&mut ours, &request), answer);
        opened.map_err(|error| error.reason())
    }

    #[tokio::test]
    async fn only_a_complete_2xx_head_opens_a_tunnel() {
        let huge = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(MAX_HEAD));
        let endless = "HTTP/1.1 102 Processing\r\n\r\n".repeat(40);
        let cases: [(&str, Result<(), &str>); 22] = [
            ("HTTP/1.1 200 Connection established\r\n\r\n", Ok(())),
            ("HTTP/1.0 200 OK\r\n\r\n", Ok(())),
            ("HTTP/1.1 204 No Content\r\n\r\n", Ok(())),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Ok(())),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Ok(())),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", Ok(())),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Err("proxy_protocol_error")),
            ("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>", Err("proxy_protocol_error")),
            ("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", Err("proxy_protocol_error")),
            ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n<html>", Err("proxy_authentication")),
            ("HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\nforbidden", Err("proxy_refused")),
            ("HTTP/1.1 302 Found\r\nLocation: http://login/\r\n\r\n", Err("proxy_refused")),
            ("HTTP/1.1 502 Bad Gateway\r\n\r\n", Err("proxy_refused")),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", Err("proxy_protocol_error")),
            ("<html>200</html>", Err("proxy_protocol_error")),
            ("SSH-2.0-x\r\n", Err("proxy_protocol_error")),
            ("HTTP/1.1 200 OK\n\n", Err("proxy_protocol_error")),
            ("HTTP/1.1 200 OK\r\nX : y\r\n\r\n", Err("proxy_protocol_error")),
            ("HTTP/1.1 200 OK\r\n", Err("proxy_terminated")),
            ("", Err("proxy_terminated")),
            (&huge, Err("proxy_protocol_error")),
            (&endless, Err("proxy_protocol_error")),
        ];
        for (answer, expected) in cases {
            for split in [0, 1, 9, answer.len().saturating_sub(3), answer.len()] {
                let shown = &answer[..answer.len().min(60)];
                assert_eq!(answered(answer.as_bytes(), split).await, expected, "{shown:?} at {split}");
            }
        }
    }
}
