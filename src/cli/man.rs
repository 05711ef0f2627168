//! `attache man`: the manual pages, generated from the program's own command definition.

use super::stdout;
use clap::Command;
use std::io;
use std::path::{Path, PathBuf};

/// The arguments of `attache man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  attache man | man -l -
  attache man keys new | man -l -
  attache man --output /usr/local/share/man/man1")]
pub struct ManArgs {
    /// The command, such as `check` or `keys new`; without one, attache itself
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
    /// Write a page for attache and one for each command into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    output: Option<PathBuf>,
}

/// Prints or writes the pages of `root`, the whole command; returns the exit status.
pub fn run(args: &ManArgs, mut root: Command) -> i32 {
    root.build();
    if let Some(folder) = &args.output {
        return match write_all(&root, folder) {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("error: can't write manual pages into {}: {error}", folder.display());
                1
            }
        };
    }
    let mut command = &root;
    for name in &args.command {
        match command.find_subcommand(name) {
            Some(below) => command = below,
            None => {
                eprintln!(
                    "error: {} has no command `{name}`",
                    command.get_display_name().unwrap_or("attache")
                );
                return 2;
            }
        }
    }
    match page(command) {
        Ok(page) => stdout::write(&page),
        Err(error) => {
            eprintln!("error: {error}");
            1
        }
    }
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut page)?;
    Ok(page)
}

fn write_all(command: &Command, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let name = command.get_display_name().unwrap_or(command.get_name());
    std::fs::write(folder.join(format!("{name}.1")), page(command)?)?;
    let below = command.get_subcommands().filter(|below| below.get_name() != "help");
    below.into_iter().try_for_each(|below| write_all(below, folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_its_own_page() {
        let folder = tempfile::tempdir().unwrap();
        let below =
            Command::new("keys").subcommand(Command::new("new").after_help("Example:\n  attache keys new"));
        let args = ManArgs { command: Vec::new(), output: Some(folder.path().join("man1")) };
        assert_eq!(run(&args, Command::new("attache").subcommand(below)), 0);
        let page = |name: &str| std::fs::read_to_string(folder.path().join("man1").join(name)).unwrap();
        assert!(page("attache.1").contains(".TH attache 1"));
        assert!(page("attache-keys-new.1").contains("Example"));
        assert_eq!(std::fs::read_dir(folder.path().join("man1")).unwrap().count(), 3);
    }
}
