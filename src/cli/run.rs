//! `attache run`: serve.

use crate::{config, server};
use std::path::PathBuf;

/// What `attache run` takes.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// The file or folder [default: $ATTACHE_CONFIG, ./attache.yaml, /etc/attache/attache.yaml]
    #[arg(short, long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Refuse to start while a secret can't be read
    #[arg(long)]
    strict: bool,
}

/// Serves until SIGTERM; returns the exit status.
pub fn run(args: &RunArgs) -> i32 {
    match args.config.clone().map_or_else(config::default_path, Ok) {
        Ok(config) => server::run(server::Options { config, strict: args.strict }),
        Err(message) => {
            eprintln!("error: {message}");
            1
        }
    }
}
