//! Tips for command lines that other programs would accept: a positional path, and other programs' command names.

use clap::Error;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::path::Path;

/// Adds a tip to the error of an invalid command line, if one is known.
pub(super) fn add(mut error: Error) -> Error {
    let tip = match error.kind() {
        ErrorKind::UnknownArgument => text(&error, ContextKind::InvalidArg).and_then(of_argument),
        ErrorKind::InvalidSubcommand => text(&error, ContextKind::InvalidSubcommand).and_then(of_command),
        _ => None,
    };
    if let Some(tip) = tip {
        // A command that is only spelt like it would be a second tip.
        error.remove(ContextKind::SuggestedSubcommand);
        let tip = ContextValue::StyledStrs(vec![StyledStr::from(tip)]);
        error.insert(ContextKind::Suggested, tip);
    }
    error
}

fn text(error: &Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text),
        _ => None,
    }
}

fn of_argument(argument: &str) -> Option<String> {
    is_file(argument).then(|| format!("did you mean '-c {argument}'?"))
}

fn of_command(name: &str) -> Option<String> {
    Some(match name {
        "validate" | "test" => "'attache check' checks the file".to_owned(),
        "serve" | "start" => "'attache run' serves".to_owned(),
        "reload" => "save the file, or send SIGHUP with 'kill -HUP PID': the file is watched".to_owned(),
        path if is_file(path) => {
            format!("did you mean 'attache run -c {path}' or 'attache check -c {path}'?")
        }
        _ => return None,
    })
}

/// Returns true if an argument names the configuration: by its ending, since it exists, or as standard input.
fn is_file(argument: &str) -> bool {
    let path = Path::new(argument);
    let has_ending = path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
    argument == "-" || has_ending || (!argument.starts_with('-') && path.exists())
}

#[cfg(test)]
mod tests {
    use crate::cli::Cli;

    fn said(line: &str) -> String {
        Cli::parse(line.split(' ')).unwrap_err().to_string()
    }

    #[test]
    fn a_positional_path_leads_to_c() {
        for command in ["run", "check", "render", "urls", "status", "keys new --service s"] {
            let said = said(&format!("attache {command} attache.yaml"));
            assert!(said.contains("tip: did you mean '-c attache.yaml'?"), "{said}");
        }
        assert!(said("attache check -- -").contains("'-c -'"));
        assert!(said("attache check /").contains("'-c /'"), "a folder that exists");
        assert!(!said("attache check nothing").contains("-c nothing"));
        assert!(!said("attache check --yaml").contains("-c"));
        assert!(said("attache a.yml").contains("'attache run -c a.yml' or 'attache check -c a.yml'"));
    }

    #[test]
    fn a_command_of_other_programs_leads_to_that_of_attache() {
        for (command, tip) in [
            ("validate", "tip: 'attache check'"),
            ("test", "tip: 'attache check'"),
            ("reload", "kill -HUP PID"),
            ("serve", "tip: 'attache run'"),
            ("start", "tip: 'attache run'"),
        ] {
            let said = said(&format!("attache {command}"));
            assert!(said.contains(tip) && said.matches("tip:").count() == 1, "{said}");
        }
        let said = said("attache chek");
        assert!(said.contains("'check'"), "clap's own tip stays: {said}");
    }
}
