//! The client's side: one job a file.
//!
//! [`accept`] takes connections in and reads heads; [`table`] bounds their number; [`client`] reads bodies, writes
//! responses and sees the client leave; [`head`], and [`crate::message::chunked`] for bodies, are the only parsers of what a
//! client sends.

pub(crate) mod accept;
pub(crate) mod client;
pub(crate) mod head;
pub(crate) mod socket;
pub(crate) mod table;
