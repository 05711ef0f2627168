//! HTTP/1 messages: header fields, heads, body framing, their readers and their writer (RFC 9110, RFC 9112), and the lists
//! that a field's value may be. Pure.
//!
//! Invariant: a message is read strictly and once. An ambiguous head is an error and never repaired, because a repair is
//! a second opinion on where the message ends, and two opinions are what request and response smuggling need.

pub(crate) mod accept;
pub(crate) mod chunked;
pub mod fields;
pub mod framing;
pub(crate) mod proxy_status;
pub(crate) mod request;
pub mod response;
pub(crate) mod writer;

pub use fields::{Field, Fields};
pub use framing::Framing;
pub use response::ResponseHead;

/// A version that a client speaks. The engine of a version stays behind it, so that HTTP/2 can be a third.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: no chunks, no interim responses, and a connection is kept only where the client asks for it.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// Returns true if every line feed of `head` follows a carriage return. httparse accepts bare ones (RFC 9112 section 2.2 allows
/// it); servers disagree about them.
pub fn has_strict_line_ends(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).all(|at| at > 0 && head[at - 1] == b'\r')
}
