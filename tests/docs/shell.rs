//! Commands in documents: `attache …` parses, and a test that is named exists.

use crate::documents::{documents, root};
use std::fs;

/// The words of a line of shell, without comments, redirections and quotes; one list for each simple command.
pub(crate) fn commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, '|' | '&' | ';') => {
                commands.last_mut().expect("one").extend(word.take());
                commands.push(Vec::new());
            }
            (None, ' ') => commands.last_mut().expect("one").extend(word.take()),
            (None, '\\') => word.get_or_insert_default().extend(characters.next()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    commands.last_mut().expect("one").extend(word);
    for command in &mut commands {
        let redirection = command.iter().position(|word| word.starts_with(['>', '<']));
        command.truncate(redirection.unwrap_or(command.len()));
    }
    commands.retain(|command| !command.is_empty());
    commands
}

/// A command without what stands before it: variables, `sudo`.
fn program(command: &[String]) -> &[String] {
    match command {
        [first, rest @ ..] if first.contains('=') && !first.starts_with('-') => program(rest),
        [sudo, rest @ ..] if sudo == "sudo" => match rest {
            [user, _, rest @ ..] if user == "-u" => program(rest),
            rest => program(rest),
        },
        command => command,
    }
}

/// Why a line of shell is wrong: `attache` does not take these arguments, or there is no such test.
pub(crate) fn fault(line: &str) -> Option<String> {
    commands(line).iter().find_map(|command| match program(command) {
        words @ [name, ..] if name == "attache" => {
            // The text that the shell would insert is a hash wherever documents do that.
            let inserted = |word: &String| if word.starts_with("$(") { "0".repeat(64) } else { word.clone() };
            let words = words.iter().map(inserted);
            attache::cli::command().try_get_matches_from(words).err().map(|error| error.to_string())
        }
        [cargo, test, arguments @ ..] if cargo == "cargo" && test == "test" => no_such_test(arguments),
        _ => None,
    })
}

/// Returns an argument of `cargo test` that names no test: it would run nothing, and succeed.
fn no_such_test(arguments: &[String]) -> Option<String> {
    let mut target = None;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--" => break,
            "--test" => target = arguments.next(),
            "--lib" | "--release" => {}
            placeholder if is_placeholder(placeholder) => {}
            option if option.starts_with('-') => return Some(format!("an option unknown here: {option}")),
            filter => match target {
                Some(target) if has_test(target, filter) => {}
                Some(target) => return Some(format!("{target} has no test {filter}")),
                None => {}
            },
        }
    }
    let exists = |target: &String| {
        root().join(format!("tests/{target}.rs")).exists() || root().join("tests").join(target).is_dir()
    };
    target.filter(|target| !exists(target)).map(|target| format!("there is no tests/{target}"))
}

/// `NAME`, `COMMAND`: for the reader to replace.
fn is_placeholder(word: &str) -> bool {
    word.bytes().all(|b| b.is_ascii_uppercase())
}

fn has_test(target: &str, filter: &str) -> bool {
    let folder = root().join("tests").join(target);
    if folder.join(format!("{filter}.rs")).exists() {
        return true;
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let named = |line: &str| line.split_once("fn ").is_some_and(|(_, name)| name.contains(filter));
    texts.into_iter().any(|text| text.lines().any(named))
}

/// Commands in the prose and in tables. Their arguments may be placeholders, so only the name of the command is checked.
#[test]
fn commands_in_the_prose_exist() {
    let known: Vec<String> =
        attache::cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let mut seen = 0;
    let mut wrong = Vec::new();
    let listed = documents();
    for (document, span) in
        listed.iter().flat_map(|document| document.code_spans().map(move |it| (document, it)))
    {
        let mut words = span.split(' ');
        let fault = match (words.next(), words.next()) {
            // Anything else stands for a command.
            (Some("attache"), Some(name)) if name.bytes().all(|b| b.is_ascii_lowercase()) => {
                (!known.iter().any(|it| it == name)).then(|| format!("there is no attache {name}"))
            }
            (Some("cargo"), Some("test")) => fault(span),
            _ => None,
        };
        seen += usize::from(span.starts_with("attache ") || span.starts_with("cargo test"));
        wrong.extend(fault.map(|fault| format!("{}: `{span}`: {fault}", document.path.display())));
    }
    assert!(seen > 50, "{seen} commands");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_line_of_shell_is_taken_apart() {
    let line = r#"A=1 sudo -u x attache status --hash "$(a | b)" >out && cat 'c d' # e"#;
    let commands = commands(line);
    assert_eq!(program(&commands[0]), ["attache", "status", "--hash", "$(a | b)"]);
    assert_eq!(commands[1], ["cat", "c d"]);
    assert!(fault("attache nonsense").is_some() && fault("attache check --offline").is_none());
    assert!(fault("cargo test --test integration no_such_test_anywhere").is_some());
}
