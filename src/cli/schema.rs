//! `attache schema`: prints the keys of the file.

use super::stdout;
use crate::config;
use clap::ValueEnum;

/// The arguments of `attache schema`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  attache schema > attache.schema.json            for `# yaml-language-server: $schema=attache.schema.json`
  attache schema --format markdown                every key, for people")]
pub struct SchemaArgs {
    /// The format
    #[arg(long, value_enum, default_value_t = SchemaFormat::Json)]
    format: SchemaFormat,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemaFormat {
    /// A JSON Schema (draft-07), for editors
    Json,
    /// The reference page
    Markdown,
}

/// Prints the schema; returns the exit status.
pub fn run(args: &SchemaArgs) -> i32 {
    let text = match args.format {
        SchemaFormat::Json => format!("{:#}\n", config::json_schema()),
        SchemaFormat::Markdown => config::reference(),
    };
    stdout::write(text.as_bytes())
}
