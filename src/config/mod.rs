//! config.
pub mod model;
