//! The bytes of a request.

use crate::header_name::FieldName;
use crate::message::writer::{decimal, field};
use crate::transport::Upstream;
use bytes::BytesMut;
use http::{HeaderValue, Method, header};
use url::{Position, Url};

const USER_AGENT: &str = concat!("attache/", env!("CARGO_PKG_VERSION"));

/// A request. No `Debug`: URL, headers and body may hold secrets.
pub(crate) struct HttpRequest<'a> {
    /// The method.
    pub(crate) method: &'a Method,
    /// The target. Its fragment and user info are not sent.
    pub(crate) url: &'a Url,
    /// The fields in this order and spelling. `Host`, `Content-Length` and `Connection` are added, and `User-Agent`
    /// unless it is here; they must not be here.
    pub(crate) headers: &'a [(FieldName, HeaderValue)],
    /// The body, if there is one.
    pub(crate) body: Option<&'a [u8]>,
    /// Maximum size of the answer's body, in bytes.
    pub(crate) max_body: usize,
}

impl HttpRequest<'_> {
    /// Returns head and body, so that they leave in one segment where they fit.
    pub(super) fn encode(&self, server: &Upstream) -> BytesMut {
        let body = self.body.unwrap_or_default();
        let mut out = BytesMut::with_capacity(1024 + body.len());
        out.extend_from_slice(self.method.as_str().as_bytes());
        out.extend_from_slice(b" ");
        let absolute = server.absolute_form();
        out.extend_from_slice(absolute.map_or("", |(prefix, _)| prefix).as_bytes());
        out.extend_from_slice(self.url[Position::BeforePath..Position::AfterQuery].as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        field(&mut out, b"Host", server.authority.as_bytes());
        if let Some((_, Some(value))) = absolute {
            field(&mut out, b"Proxy-Authorization", value.as_bytes());
        }
        if !self.headers.iter().any(|(name, _)| *name == header::USER_AGENT) {
            field(&mut out, b"User-Agent", USER_AGENT.as_bytes());
        }
        for (name, value) in self.headers {
            field(&mut out, name.spelling(), value.as_bytes());
        }
        if self.body.is_some() {
            out.extend_from_slice(b"Content-Length: ");
            decimal(&mut out, body.len() as u64);
            out.extend_from_slice(b"\r\n");
        }
        field(&mut out, b"Connection", b"close");
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body);
        out
    }
}
