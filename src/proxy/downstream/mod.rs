//! The client's side: one job a file.
//!
//! [`table`] bounds the number of connections; [`client`] reads bodies, writes responses and sees the client leave. The only
//! parsers of a client's bytes are [`crate::message::request`] for heads and [`crate::message::chunked`] for bodies.

pub(crate) mod client;
pub(crate) mod socket;
pub(crate) mod table;
