//! The command line: one file per command. Nothing here ends the process; every command returns its exit status.

mod brought;
pub mod check;
pub mod completions;
pub mod demo;
pub mod diff;
pub mod explain;
mod file;
pub mod keys;
pub mod login;
pub mod man;
pub mod render;
pub mod run;
pub mod schema;
pub mod status;
mod stdout;
mod tips;
pub mod urls;
pub mod verify;

use clap::{CommandFactory as _, Parser as _, Subcommand};
use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;

/// The version that `--version` prints.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("ATTACHE_COMMIT"), ")");

/// A reverse proxy that adds credentials to outbound requests and authenticates inbound webhook calls.
#[derive(Debug, clap::Parser)]
#[command(name = "attache", version = VERSION, about, max_term_width = 100, propagate_version = true)]
#[command(after_help = "Examples:
  attache demo                        try it, on loopback, with made-up services
  attache check -c attache.yaml       read a file as `run` would, before it is deployed
  attache run -c /etc/attache         serve a folder of files")]
struct Cli {
    /// The file or folder; `-` is standard input [default: $ATTACHE_CONFIG, ./attache.yaml, /etc/attache/attache.yaml]
    #[arg(short, long, value_name = "PATH", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve.
    Run(run::RunArgs),
    /// Read the file as `run` would, and print its problems.
    Check(check::CheckArgs),
    /// Show what a reload would change, field by field.
    Diff(diff::DiffArgs),
    /// Print the effective file, with secrets redacted.
    Render(render::RenderArgs),
    /// Print the JSON Schema of the file, for editors.
    Schema(schema::SchemaArgs),
    /// Create a webhook key, or a token of a caller.
    Keys(keys::KeysArgs),
    /// List every webhook URL.
    Urls(urls::UrlsArgs),
    /// Show the service, account, deadline, limits and headers of a request. Sends nothing, and reads no secret.
    Explain(explain::ExplainArgs),
    /// Show what a running attache serves, or wait until it serves a configuration.
    Status(status::StatusArgs),
    /// Explain step by step why the signature of a captured webhook request is valid or not.
    Verify(Box<verify::VerifyArgs>),
    /// Log an account in: authorization code or device code.
    Login(login::LoginArgs),
    /// Try attache with made-up services, on loopback.
    Demo(demo::DemoArgs),
    /// Print a completion script.
    Completions(completions::CompletionsArgs),
    /// Print the manual page of attache or of one command, or write all of them into a folder.
    Man(man::ManArgs),
}

impl Cli {
    /// Parses a command line.
    fn parse<T: Into<OsString> + Clone>(line: impl IntoIterator<Item = T>) -> Result<Self, clap::Error> {
        Self::try_parse_from(line).map_err(tips::add)
    }
}

/// Prints only the place of a panic, since its message may quote a secret that was being parsed.
fn print_places_of_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default();
        // A failure to print can't be reported.
        let _ = writeln!(std::io::stderr(), "thread '{name}' panicked at {place}");
    }));
}

/// Returns the command line as clap knows it: for completions, manual pages, and the test of the documents.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses the command line and runs it; returns the exit status, 2 for an invalid command line.
pub fn main() -> i32 {
    print_places_of_panics();
    let cli = match Cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` end here as well. A failure to print can't be reported.
            let _ = error.print();
            return error.exit_code();
        }
    };
    let config = cli.config.as_deref();
    match cli.command {
        Command::Run(args) => run::run(&args, config),
        Command::Check(args) => check::run(&args, config),
        Command::Diff(args) => diff::run(&args),
        Command::Render(args) => render::run(&args, config),
        Command::Schema(args) => schema::run(&args),
        Command::Keys(args) => keys::run(&args, config),
        Command::Urls(args) => urls::run(&args, config),
        Command::Explain(args) => explain::run(&args, config),
        Command::Status(args) => status::run(&args, config),
        Command::Verify(args) => verify::run(&args, config),
        Command::Login(args) => login::run(&args, config),
        Command::Demo(args) => demo::run(&args),
        Command::Completions(args) => completions::run(&args, command()),
        Command::Man(args) => man::run(&args, command()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_help_has_an_example() {
        fn walk(mut command: clap::Command, path: &str) -> usize {
            let path = format!("{path} {}", command.get_name());
            let help = command.render_long_help().to_string();
            assert!(help.contains("Examples:\n  ") || help.contains("Example:\n  "), "{path}:\n{help}");
            let below: Vec<_> =
                command.get_subcommands().filter(|c| c.get_name() != "help").cloned().collect();
            1 + below.into_iter().map(|command| walk(command, &path)).sum::<usize>()
        }
        let mut root = Cli::command();
        root.build();
        assert!(walk(root, "") > 10);
    }

    #[test]
    fn the_file_may_be_given_before_and_after_the_command() {
        for line in
            ["attache -c a.yaml check", "attache check -c a.yaml", "attache keys -c a.yaml new --service s"]
        {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.config.as_deref(), Some(std::path::Path::new("a.yaml")), "{line}");
        }
    }
}
