//! `attache run`: serve.

use crate::{config, server};
use std::path::Path;

/// The arguments of `attache run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  attache run
  attache run -c /etc/attache/attache.yaml")]
pub struct RunArgs {
    /// Refuse to start while a secret can't be read
    #[arg(long)]
    strict: bool,
}

/// Serves until SIGTERM; returns the exit status.
pub fn run(args: &RunArgs, config: Option<&Path>) -> i32 {
    if config == Some(Path::new(config::STDIN)) {
        eprintln!(
            "error: `attache run` can't read standard input, because it reads its file again whenever it changes"
        );
        return 2;
    }
    match config.map(Path::to_owned).map_or_else(config::default_path, Ok) {
        Ok(config) => server::run(server::Options { config, strict: args.strict }),
        Err(message) => {
            eprintln!("error: {message}");
            1
        }
    }
}
