//! The file: from text to a [`model::Config`] in which every reference is resolved, or to every problem at once.
//!
//! `schema` declares every key. `load` reads text and secrets, `tree` gives each node its place, `decode` asks the tree
//! for what is expected, `parse` makes the model of it, `problem` shows what is wrong, with `redact` between it and every
//! secret. `watch` says when to do it all again, `changes` what became different.

pub(crate) mod changes;
mod decode;
pub mod effective;
mod files;
mod header;
mod load;
pub mod model;
mod parse;
mod problem;
mod redact;
mod scalar;
mod schema;
mod secrets;
mod source;
mod tree;
pub mod watch;

pub use files::Files;
pub use load::{Loaded, Mode, STDIN, admin_address, check, default_path, inspect, load, load_after};
pub use problem::{Problem, Problems, Severity};
pub use schema::{json_schema, reference};

/// The length of a time that is written as in the file: `500ms`, `10s`, `1m30s`.
pub fn duration(text: &str) -> Option<std::time::Duration> {
    scalar::duration(text).ok()
}
