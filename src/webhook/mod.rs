//! Webhooks: the decision about an inbound call, from its key to the user that the receiver is told.
//!
//! A key is in the path, where every provider can put it; or in a header or a parameter of the query, and then the path
//! names the service. Keys that are unknown, expired, disabled or in the wrong place all get the same answer after the
//! same work. [`admission`] decides about a delivery; [`crate::proxy`] carries the decision out.

pub mod address;
pub mod admission;
pub mod assertion;
pub mod endpoint;
pub mod fetched_keys;
pub mod handshake;
pub mod identity;
pub mod key_copies;
pub mod keys;
pub mod rate;
pub mod replay;
mod target;

pub use target::{key_text, log_path, template};

#[cfg(test)]
mod tests;
