//! The client's side: one job a file.
//!
//! [`table`] bounds the number of connections; [`client`] reads bodies, writes responses and sees the client leave; [`head`], and [`crate::message::chunked`] for bodies, are the only parsers of what a
//! client sends.

pub(crate) mod client;
pub(crate) mod head;
pub(crate) mod socket;
pub(crate) mod table;
