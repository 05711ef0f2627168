//! `attache render`: the file as it takes effect.

use super::{file, stdout};
use std::path::Path;

/// The arguments of `attache render`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  attache render -c attache.yaml                  with every default and every merge key written out
  attache render -c /etc/attache                  the files of a folder as one

A secret that stands in the file is `[redacted]`, so such a file is for people; where a secret is read from is shown.
No secret is asked for.")]
pub struct RenderArgs {}

/// Prints the effective file; returns the exit status.
pub fn run(_: &RenderArgs, path: Option<&Path>) -> i32 {
    match file::inspect(path) {
        Ok(inspected) => stdout::write(inspected.effective.to_yaml().as_bytes()),
        Err(status) => status,
    }
}
