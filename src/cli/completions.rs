//! `attache completions SHELL`: the completion script of a shell, on stdout.
//!
//! It is generated from the program's own command definition, so it only names existing options.

use super::stdout;

/// The arguments of `attache completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  attache completions bash > /etc/bash_completion.d/attache
  attache completions zsh > ~/.zfunc/_attache")]
pub struct CompletionsArgs {
    /// The shell to complete for.
    shell: clap_complete::Shell,
}

/// Prints the script for `root`, the whole command; returns the exit status.
pub fn run(args: &CompletionsArgs, root: clap::Command) -> i32 {
    stdout::write(&script(args.shell, root))
}

// Written to memory first: `generate` panics when the reader of the pipe has closed it.
fn script(shell: clap_complete::Shell, mut root: clap::Command) -> Vec<u8> {
    let mut script = Vec::new();
    let name = root.get_name().to_owned();
    clap_complete::generate(shell, &mut root, name, &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::script;
    use clap::ValueEnum as _;

    #[test]
    fn every_shell_has_a_script_that_names_the_commands() {
        for shell in clap_complete::Shell::value_variants() {
            let root = clap::Command::new("attache").subcommand(clap::Command::new("demo"));
            let script = String::from_utf8(script(*shell, root)).expect("a script is text");
            assert!(script.contains("attache") && script.contains("demo"), "{shell}");
        }
    }
}
