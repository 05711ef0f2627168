//! The client's side: one job a file.
//!
//! [`accept`] takes connections in and reads heads; [`table`] bounds their number; [`client`] reads bodies, writes
//! responses and sees the client leave; [`head`] and [`chunks`] are the only parsers of what a client sends; [`respond`]
//! writes what it gets.

pub(crate) mod accept;
pub(crate) mod chunks;
pub(crate) mod client;
pub(crate) mod head;
pub(crate) mod respond;
pub(crate) mod socket;
pub(crate) mod table;
