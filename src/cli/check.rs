//! `attache check`: reads the file as `run` would, and says what is wrong with it.

use crate::config::{self, Loaded, Mode};
use clap::{Args, ValueEnum};
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

/// What `attache check` takes.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// A file, or a folder of *.yaml [default: $ATTACHE_CONFIG, ./attache.yaml, /etc/attache/attache.yaml]
    #[arg(short, long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Ask for no secret
    #[arg(long)]
    pub offline: bool,
    /// Fail if there are warnings
    #[arg(long)]
    pub deny_warnings: bool,
    /// How problems are printed on stdout; the human form is always on stderr
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub format: Format,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// As a compiler would
    Human,
    /// A JSON array
    Json,
}

const FINE: i32 = 0;
const INVALID: i32 = 1;
const WARNINGS_DENIED: i32 = 3;

/// Runs the command; returns the exit status: 0 valid, 1 invalid, 3 warnings denied.
pub fn run(args: CheckArgs) -> i32 {
    let path = match args.config.map_or_else(config::default_path, Ok) {
        Ok(path) => path,
        Err(message) => {
            print(io::stderr(), &format!("error: {message}\n"));
            if args.format == Format::Json {
                print(io::stdout(), "[]\n");
            }
            return INVALID;
        }
    };
    let loaded = config::load(&path, if args.offline { Mode::Offline } else { Mode::Full });
    let color = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    print(io::stderr(), &loaded.problems.render_human(color));
    let status = status(&loaded, args.deny_warnings);
    match (args.format, &loaded.config) {
        (Format::Json, _) => print(io::stdout(), &format!("{:#}\n", loaded.problems.to_json())),
        (Format::Human, Some(config)) if status == FINE => {
            let count = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
            let services = count(config.services.len(), "service");
            let accounts = count(config.accounts.len(), "account");
            let users = count(config.users.len(), "user");
            print(io::stdout(), &format!("{}: ok, {services}, {accounts}, {users}\n", path.display()));
        }
        (Format::Human, _) => {}
    }
    status
}

fn status(loaded: &Loaded, deny_warnings: bool) -> i32 {
    if loaded.config.is_none() || loaded.problems.has_errors() {
        INVALID
    } else if deny_warnings && loaded.problems.has_warnings() {
        WARNINGS_DENIED
    } else {
        FINE
    }
}

/// A reader that has gone away is no reason to fail.
fn print(mut to: impl io::Write, text: &str) {
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn check(text: &str, deny_warnings: bool) -> i32 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("attache.yaml");
        fs::write(&path, text).unwrap();
        run(CheckArgs { config: Some(path), offline: false, deny_warnings, format: Format::Human })
    }

    #[test]
    fn the_status_says_whether_the_file_can_be_served() {
        let warned = "accounts: { a: { authorization: { query: { name: k, value: abc } } } }";
        assert_eq!(check("services: {}", true), FINE);
        assert_eq!(check(warned, false), FINE);
        assert_eq!(check(warned, true), WARNINGS_DENIED);
        assert_eq!(check("services: []", true), INVALID);
    }
}
