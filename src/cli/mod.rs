//! The command line: one file a command. Nothing here ends the process; every command returns its exit status.

pub mod check;
pub mod completions;
pub mod demo;
mod file;
pub mod keys;
pub mod login;
pub mod run;
pub mod schema;
mod stdout;
pub mod urls;
pub mod verify;

use clap::{CommandFactory as _, Parser, Subcommand};

/// A declarative reverse proxy that carries your credentials to foreign services, and announces foreign callers at home.
#[derive(Debug, Parser)]
#[command(name = "attache", version, about, max_term_width = 100, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve.
    Run(run::RunArgs),
    /// Read the file as `run` would, and say what is wrong with it.
    Check(check::CheckArgs),
    /// Print what the file may say, as a JSON Schema for editors.
    Schema(schema::SchemaArgs),
    /// Make a new webhook key.
    Keys(keys::KeysArgs),
    /// List every webhook URL.
    Urls(urls::UrlsArgs),
    /// Say step by step why the signature of a captured webhook request is valid or not.
    Verify(Box<verify::VerifyArgs>),
    /// Sign an account in: authorization code or device code.
    Login(login::LoginArgs),
    /// Try attache with made-up services, on loopback.
    Demo(demo::DemoArgs),
    /// Print a completion script.
    Completions(completions::CompletionsArgs),
}

/// Parses the command line and runs it; returns the exit status: 2 for a command line that makes no sense.
pub fn main() -> i32 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` come this way as well. Nobody is there to be told if it can't be printed.
            let _ = error.print();
            return error.exit_code();
        }
    };
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(args),
        Command::Schema(args) => schema::run(&args),
        Command::Keys(args) => keys::run(&args),
        Command::Urls(args) => urls::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Login(args) => login::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Completions(args) => completions::run(&args, Cli::command()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
