//! HTTP/1 messages: header fields, heads, body framing, their parsers and their writer (RFC 9110, RFC 9112), lists and
//! credentials in field values. Pure.
//!
//! Invariant: a message is parsed strictly and once. An ambiguous head is an error and never repaired, because a repair
//! is a second interpretation of where the message ends, which request and response smuggling depend on.

pub(crate) mod accept;
pub mod authorization;
pub(crate) mod chunked;
pub mod fields;
pub mod framing;
pub(crate) mod proxy_status;
pub mod redact;
pub(crate) mod request;
pub mod response;
mod retry_after;
pub(crate) mod writer;

pub use fields::{Field, Fields};
pub use framing::Framing;
pub use response::ResponseHead;
pub(crate) use retry_after::retry_after;

/// The protocol version of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: no chunks, no interim responses, and a connection is kept only if the client asks for it.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// Returns true if every line feed of `head` follows a carriage return. httparse accepts bare ones (RFC 9112 section 2.2 allows
/// it); servers disagree about them.
pub fn has_strict_line_ends(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).all(|at| at > 0 && head[at - 1] == b'\r')
}
