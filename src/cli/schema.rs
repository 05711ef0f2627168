//! `attache schema`: what the file may say.

use super::stdout;
use crate::config;
use clap::ValueEnum;

/// What `attache schema` takes.
#[derive(Debug, clap::Args)]
pub struct SchemaArgs {
    /// What is printed
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A JSON Schema (draft-07), for editors
    Json,
    /// The reference page
    Markdown,
}

/// Prints the schema; returns the exit status.
pub fn run(args: &SchemaArgs) -> i32 {
    let text = match args.format {
        Format::Json => format!("{:#}\n", config::json_schema()),
        Format::Markdown => config::reference(),
    };
    stdout::write(text.as_bytes())
}
