//! The file: from text to a [`model::Config`] in which every reference is resolved, or to every problem at once.
//!
//! `schema` declares every key. `load` reads text and secrets, `tree` gives each node its place, `decode` reads the
//! expected values from the tree, `parse` builds the model from them, `problem` displays problems, with `redact`
//! between it and every secret. `watch` decides when to load again, `changes` compares two configurations.

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
pub use load::{Loaded, Mode, STDIN, admin_address, check, default_path, inspect, load, load_after, written};
pub use parse::Written;
pub use problem::{Problem, Problems, Severity};
pub(crate) use schema::is_usual_variable;
pub use schema::{json_schema, reference};

/// Parses a duration as written in the file: `500ms`, `10s`, `1m30s`.
pub fn duration(text: &str) -> Option<std::time::Duration> {
    scalar::duration(text).ok()
}
