//! The client's side of the proxy.
//!
//! [`table`] limits the number of connections; [`client`] reads bodies, writes responses and detects that the client
//! leaves. The only parsers of a client's bytes are [`crate::message::request`] for heads and
//! [`crate::message::chunked`] for bodies.

pub(crate) mod client;
pub(crate) mod table;
