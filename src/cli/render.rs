//! `attache render`: prints the effective file.

use super::{file, stdout};
use std::path::Path;

/// The arguments of `attache render`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  attache render -c attache.yaml                  with every default and every merge key written out
  attache render -c /etc/attache                  the files of a folder as one

A secret in the file is shown as `[redacted]`, so the output may not be a usable file;
sources of secrets are shown. No secret is read.")]
pub struct RenderArgs {}

/// Prints the effective file; returns the exit status.
pub fn run(_: &RenderArgs, path: Option<&Path>) -> i32 {
    match file::inspect(path) {
        Ok(inspected) => stdout::write(inspected.effective.to_yaml().as_bytes()),
        Err(status) => status,
    }
}
