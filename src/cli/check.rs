//! `attache check`: reads the file as `run` would, and prints its problems.

mod live;

use super::brought;
use crate::config::model::Config;
use crate::config::{self, Loaded, Mode};
use crate::telemetry::logging::may_color;
use clap::{Args, ValueEnum};
use serde_json::Value;
use std::io;
use std::path::Path;
use std::time::SystemTime;

/// The arguments of `attache check`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  attache check
  attache check -c attache.yaml --deny-warnings
  attache check --offline --format github          # in a workflow, without the secrets
  kubectl get configmap attache -o jsonpath='{.data.attache\\.yaml}' | attache check -c - --offline")]
pub struct CheckArgs {
    /// Read no secret
    #[arg(long)]
    pub offline: bool,
    /// Also request a token for every OAuth2 account, and connect to every service without sending a request. The
    /// results are printed on stdout, or on stderr with a --format other than human; failures are added to the
    /// problems, with the code live_token, live_keys or live_service and without a place
    #[arg(long, conflicts_with = "offline")]
    pub live: bool,
    /// Fail if there are warnings
    #[arg(long)]
    pub deny_warnings: bool,
    /// The format of the problems on stdout; the human form is always on stderr
    #[arg(long, value_enum, default_value_t = CheckFormat::Human)]
    pub format: CheckFormat,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// In the form of compiler errors
    Human,
    /// A JSON array of {severity, code, file, line, column, message, help, secondary}
    Json,
    /// Annotations of a GitHub workflow
    Github,
}

const FINE: i32 = 0;
const INVALID: i32 = 1;
const WARNINGS_DENIED: i32 = 3;

/// Runs the command; returns the exit status: 0 valid, 1 invalid, 3 warnings denied.
pub fn run(args: &CheckArgs, path: Option<&Path>) -> i32 {
    let path = match path.map(Path::to_owned).map_or_else(config::default_path, Ok) {
        Ok(path) => path,
        Err(message) => {
            print(io::stderr(), &format!("error: {message}\n"));
            if args.format == CheckFormat::Json {
                print(io::stdout(), "[]\n");
            }
            return INVALID;
        }
    };
    let mode = if args.offline { Mode::Offline } else { Mode::Full };
    let loaded = config::check(&path, mode, SystemTime::now());
    print(io::stderr(), &loaded.problems.render_human(may_color(&io::stderr())));
    let mut status = status(&loaded, args.deny_warnings);
    if let Some(config) = loaded.config.as_ref().filter(|_| status == FINE) {
        let line = summary(&path, config, loaded.problems.warnings());
        match args.format {
            CheckFormat::Human => print(io::stdout(), &line),
            CheckFormat::Json | CheckFormat::Github => print(io::stderr(), &line),
        }
        if !args.offline {
            print(io::stderr(), &awaited(config));
        }
    }
    let mut warnings = loaded.problems.warnings();
    let mut problems = loaded.problems.to_json();
    if let Some(config) = loaded.config.filter(|_| args.live && status != INVALID) {
        let more = check_live(&config, args, &mut status);
        warnings += more.iter().filter(|problem| problem["severity"] == "warning").count();
        if let Some(all) = problems.as_array_mut() {
            all.extend(more);
        }
    }
    match args.format {
        CheckFormat::Human => {}
        CheckFormat::Json => print(io::stdout(), &format!("{problems:#}\n")),
        CheckFormat::Github => print(io::stdout(), &annotations(&problems)),
    }
    if status == WARNINGS_DENIED {
        let line = format!("error: {}, denied by --deny-warnings\n", count(warnings, "warning"));
        print(io::stderr(), &line);
    }
    status
}

fn count(n: usize, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}

/// Returns the line about a valid file.
fn summary(path: &Path, config: &Config, warnings: usize) -> String {
    let name = if path == Path::new(config::STDIN) { "<stdin>".into() } else { path.to_string_lossy() };
    let mut parts = vec![
        count(config.services.len(), "service"),
        count(config.count_accounts(), "account"),
        count(config.users.len(), "user"),
    ];
    if let Some(callers) = &config.callers {
        parts.push(count(callers.len(), "caller"));
    }
    if warnings > 0 {
        parts.push(count(warnings, "warning"));
    }
    format!("{name}: ok, {}, hash {}\n", parts.join(", "), config.hash)
}

/// Returns a note for each webhook that waits for the secret of its handshake. It is no problem of the file: the provider
/// brings the secret once the file is served.
fn awaited(config: &Config) -> String {
    let waiting = config.brought_secrets().filter(|(service, _)| brought::is_awaited(config, service));
    let note = |(service, handshake)| {
        format!(
            "note: services.{service}.webhook waits for the secret that `{handshake}` brings: set the webhook up at the \
             provider, with the URL of `attache keys new`\n"
        )
    };
    waiting.map(note).collect()
}

/// Prints the results and returns the problems among them; the higher status is kept.
fn check_live(config: &Config, args: &CheckArgs, status: &mut i32) -> Vec<Value> {
    let found = match live::run(config) {
        Ok(found) => found,
        Err(message) => {
            print(io::stderr(), &format!("error: {message}\n"));
            *status = INVALID;
            return vec![live::failure(&message)];
        }
    };
    let lines: String = found.iter().map(live::LiveFinding::human).collect();
    match args.format {
        CheckFormat::Human => print(io::stdout(), &lines),
        CheckFormat::Json | CheckFormat::Github => print(io::stderr(), &lines),
    }
    if found.iter().any(live::LiveFinding::is_error) {
        *status = INVALID;
    } else if args.deny_warnings && found.iter().any(live::LiveFinding::is_warning) {
        *status = WARNINGS_DENIED;
    }
    found.iter().filter_map(live::LiveFinding::problem).collect()
}

/// Returns one workflow command per problem, and a notice for its second place. `%` and line breaks are escaped in all
/// of them; `:` and `,` also in the properties before the message.
fn annotations(problems: &Value) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let mut out = String::new();
    for problem in problems.as_array().into_iter().flatten() {
        let text = |key: &str| problem[key].as_str();
        let mut properties = Vec::new();
        properties.extend(text("file").map(|file| format!("file={}", property(file))));
        properties.extend(problem["line"].as_u64().map(|line| format!("line={line}")));
        properties.extend(problem["column"].as_u64().map(|column| format!("col={column}")));
        properties.extend(text("code").map(|code| format!("title={}", property(code))));
        let mut message = text("message").unwrap_or_default().to_owned();
        if let Some(help) = text("help") {
            message.push_str(&format!(" ({help})"));
        }
        let severity = text("severity").unwrap_or("error");
        out.push_str(&format!("::{severity} {}::{}\n", properties.join(","), data(&message)));
        let second = &problem["secondary"];
        if let Some(file) = second["file"].as_str() {
            let (file, line, column) = (property(file), &second["line"], &second["column"]);
            let label = data(second["label"].as_str().unwrap_or_default());
            out.push_str(&format!("::notice file={file},line={line},col={column}::{label}\n"));
        }
    }
    out
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

/// A closed reader is not a failure.
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
        let args = CheckArgs { offline: false, live: false, deny_warnings, format: CheckFormat::Human };
        run(&args, Some(&path))
    }

    #[test]
    fn the_status_tells_if_the_file_can_be_served() {
        let good = "services: { s: { account: { authorization: none }, server_url: 'https://s.example' } }";
        let warned = "services: {}";
        assert_eq!(check(good, true), FINE);
        assert_eq!(check(warned, false), FINE);
        assert_eq!(check(warned, true), WARNINGS_DENIED);
        assert_eq!(check("services: []", true), INVALID);
    }

    #[test]
    fn an_account_written_in_place_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("attache.yaml");
        let service = "{ account: ACCOUNT, server_url: 'https://s.example' }";
        let in_place = service.replace("ACCOUNT", "{ authorization: none }");
        let shared = service.replace("ACCOUNT", "a");
        let yaml = format!(
            "accounts: {{ a: {{ authorization: none }} }}\nservices: {{ s: {in_place}, t: {shared}, u: {shared} }}"
        );
        fs::write(&path, yaml).unwrap();
        let config = config::check(&path, Mode::Full, SystemTime::now()).config.unwrap();
        assert!(summary(&path, &config, 0).contains("3 services, 2 accounts, 0 users, hash"));
    }

    #[test]
    fn callers_are_counted_where_there_are_some() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("attache.yaml");
        fs::write(&path, "callers: {}\nservices: {}").unwrap();
        let config = config::check(&path, Mode::Full, SystemTime::now()).config.unwrap();
        assert!(summary(&path, &config, 0).contains("0 users, 0 callers, hash"));
    }

    #[test]
    fn annotations_are_escaped() {
        let problems = serde_json::json!([
            { "severity": "error", "code": "c", "file": "a,b:c.yaml", "line": 1, "column": 2, "message": "50%\nx",
              "help": null, "secondary": { "file": "b.yaml", "line": 3, "column": 4, "label": "first\nset" } },
            { "severity": "warning", "code": "live_token", "file": null, "line": null, "column": null,
              "message": "m: n", "help": "h" },
        ]);
        assert_eq!(
            annotations(&problems),
            "::error file=a%2Cb%3Ac.yaml,line=1,col=2,title=c::50%25%0Ax\n\
             ::notice file=b.yaml,line=3,col=4::first%0Aset\n::warning title=live_token::m: n (h)\n"
        );
    }
}
