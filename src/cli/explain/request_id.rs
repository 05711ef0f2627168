//! `attache explain --request ID`: why a request failed, from its line in the access log, or from the last failures of a
//! running attache; and the plan that it would get now.

use super::report::ExplainReport;
use super::{ExplainArgs, ExplainedRequest, print, snapshot};
use crate::cli::status::{self, AdminAddress};
use crate::config::effective::printable;
use crate::config::model::{AccessLog, Config, ListenAddr};
use crate::config::{self, Mode};
use crate::request_id::RequestId;
use crate::telemetry::remedies;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;
use std::time::SystemTime;

/// Maximum length of a line of the access log, in bytes. attache's own are shorter.
const MAX_LINE: u64 = 512 << 10;
/// Maximum number of places in a line at which an object is looked for.
const MAX_STARTS: usize = 16;
/// The status of a client that left.
const CLIENT_LEFT: u64 = 499;

/// The first bytes of a gzip file (RFC 1952, section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The length of a UUID as text.
const UUID: usize = 36;

/// Explains; returns the exit status.
pub(super) fn run(id: &str, args: &ExplainArgs, path: Option<&Path>) -> i32 {
    let is_stdin = |path: &Path| path.as_os_str() == "-";
    if args.log.as_deref().is_some_and(is_stdin) && path.is_some_and(is_stdin) {
        eprintln!("error: --log and -c can't both be standard input");
        return 2;
    }
    let id = match clean(id) {
        Ok(id) => id,
        Err(problem) => {
            eprintln!("error: {problem}");
            return 2;
        }
    };
    // Only the plan needs the file, so its problems are those of `attache check`.
    let file = path.map_or_else(config::default_path, |path| Ok(path.to_owned()));
    let config = file.and_then(|file| {
        let invalid = || format!("{} is invalid; `attache check` prints why", file.display());
        config::load(&file, Mode::Offline).config.ok_or_else(invalid)
    });
    match find(id, args, path, config.as_ref().ok()) {
        Ok(line) => {
            let mut report = ExplainReport::default();
            report.failure(&line);
            report.plan_now(&line, config);
            print(&report, args.format, 0)
        }
        Err(problem) => {
            eprintln!("error: {problem}");
            2
        }
    }
}

/// Returns the id in a part of a log line or of an answer: `request_id=ID`, `"request_id":"ID"`, `X-Attache-Request-Id: ID`.
///
/// # Errors
///
/// A sentence, if no request can have this id.
fn clean(text: &str) -> Result<&str, String> {
    let is_around = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | '{' | '}');
    let is_label = |name: &str| {
        let name = name.trim_matches(is_around).to_ascii_lowercase();
        name.ends_with("request_id") || name.ends_with("request-id")
    };
    let id = text.split_once(['=', ':']).filter(|(name, _)| is_label(name)).map_or(text, |(_, id)| id);
    let id = id.trim_matches(is_around);
    RequestId::is_well_formed(id).then_some(id).ok_or_else(|| {
        let text = printable(text);
        format!("`{text}` is no request id: an id is 1 to 128 letters, digits, `.`, `_` and `-`")
    })
}

/// A note about an id that attache did not make. It may be a cut-off one, or the client's own.
fn note(id: &str) -> &'static str {
    match uuid::Uuid::try_parse(id).is_ok() && id.len() == UUID {
        true => "",
        false => {
            "\nnote: attache's own ids are UUIDs of 36 characters; this is one only if a client sent it as X-Request-Id"
        }
    }
}

/// Looks for the request where the arguments say, else in the access log of the file, else in the running attache.
fn find(id: &str, args: &ExplainArgs, path: Option<&Path>, config: Option<&Config>) -> Result<Value, String> {
    let note = note(id);
    if let Some(log) = &args.log {
        let (name, more) = (log_name(log), rotated(id, log));
        return in_log(id, log)?
            .ok_or_else(|| format!("no line of {name} has the request id {id}{more}{note}"));
    }
    let mut searched = String::new();
    let mut help = "search the access log with --log PATH".to_owned();
    if let (None, Some(AccessLog::File(log))) = (&args.admin, config.map(|config| &config.log.access)) {
        // Reading a pipe would wait for its writer, or take the lines from its reader.
        let is_pipe = std::fs::metadata(log).is_ok_and(|metadata| !metadata.is_file());
        let found = match is_pipe {
            true => Err(format!("the access log {} is no file", log.display())),
            false => in_log(id, log),
        };
        match found {
            Ok(Some(line)) => return Ok(line),
            Ok(None) => {
                searched = format!("no line of {} has the request id {id}; ", log.display());
                help = format!("rotated logs: {}", unpack(id, &format!("{}.1.gz", log.display())));
            }
            Err(problem) => searched = format!("{problem}; "),
        }
    }
    let admin = args.admin.clone().unwrap_or_else(|| AdminAddress::from(&config::admin_address(path)));
    let shown = admin.to_string();
    let admin = args.proof.client(admin)?;
    let failures = status::failures(&admin).map_err(|error| format!("{searched}{error}; {help}{note}"))?;
    let found = failures.into_iter().find(|failure| failure["request_id"] == id);
    found.ok_or_else(|| {
        format!(
            "{searched}request {id} is not among the last failures of the attache at {shown}; {help}{note}"
        )
    })
}

fn log_name(log: &Path) -> String {
    if log.as_os_str() == "-" { "standard input".to_owned() } else { log.display().to_string() }
}

/// Says how the logs are searched that were rotated from this one.
fn rotated(id: &str, log: &Path) -> String {
    match log.as_os_str() == "-" {
        true => String::new(),
        false => format!("; rotated logs: {}", unpack(id, &format!("{}.1.gz", log.display()))),
    }
}

/// Returns the command that searches a packed log.
fn unpack(id: &str, log: &str) -> String {
    format!("`zcat {log} | attache explain --request {id} --log -`")
}

/// Returns the last failure in an access log with the request id, else the last line with it: a client may use an id twice,
/// and one whose retry succeeded asks about the failure. With the `lines` that there are, if it is more than one.
fn in_log(id: &str, path: &Path) -> Result<Option<Value>, String> {
    let failed = |error: io::Error| format!("can't read the access log {}: {error}", log_name(path));
    let is_stdin = path.as_os_str() == "-";
    let mut reader: Box<dyn BufRead> = match is_stdin {
        true => Box::new(io::stdin().lock()),
        false => Box::new(BufReader::new(File::open(path).map_err(failed)?)),
    };
    if reader.fill_buf().map_err(failed)?.starts_with(&GZIP) {
        let log = if is_stdin { "FILE".to_owned() } else { path.display().to_string() };
        return Err(format!("{} is packed with gzip: {}", log_name(path), unpack(id, &log)));
    }
    let (mut last, mut last_failure, mut count, mut line) = (None, None, 0, Vec::new());
    while read_line(&mut reader, &mut line).map_err(failed)? {
        let Some(found) = parse(id, &line) else { continue };
        count += 1;
        let failed = !found["code"].is_null() || !found["reason"].is_null();
        *(if failed { &mut last_failure } else { &mut last }) = Some(found);
    }
    let mut found = last_failure.or(last);
    if let Some(found) = found.as_mut().filter(|_| count > 1) {
        found["lines"] = json!(count);
    }
    Ok(found)
}

/// Reads a line, up to [`MAX_LINE`] of it. Returns false at the end.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    if reader.by_ref().take(MAX_LINE).read_until(b'\n', line)? == 0 {
        return Ok(false);
    }
    if line.last() != Some(&b'\n') {
        reader.skip_until(b'\n')?;
    }
    Ok(true)
}

/// Returns the line as an object, if it is of the request. A collector of logs may have put a prefix before it, with braces
/// of its own.
fn parse(id: &str, line: &[u8]) -> Option<Value> {
    let line = String::from_utf8_lossy(line);
    if !line.contains(id) {
        return None;
    }
    let starts = line.match_indices("{\"").map(|(at, _)| &line[at..]).take(MAX_STARTS);
    // Text after the object is the collector's, or a line that was torn.
    let objects =
        starts.filter_map(|text| serde_json::Deserializer::from_str(text).into_iter::<Value>().next()?.ok());
    let mut lines = objects.filter_map(|value| match value["log"].as_str() {
        // A container's log keeps the line as text.
        Some(log) => serde_json::from_str(log).ok(),
        None => Some(value),
    });
    lines.find(|value: &Value| value["request_id"] == id)
}

impl ExplainReport {
    /// Adds the facts of a line of the access log, or of a failure of `/status`.
    fn failure(&mut self, line: &Value) {
        let text = |key: &str| line[key].as_str().filter(|text| !text.is_empty()).map(printable);
        self.only("request", line.clone());
        let id = text("request_id").unwrap_or_default();
        self.line("request id", id);
        let took = line["duration_ms"].as_f64().unwrap_or_default();
        let time = text("time").or_else(|| text("at")).unwrap_or_default();
        let tense = if line["at"].is_null() { "arrived" } else { "failed" };
        self.line(tense, format!("{time}, took {took} ms"));
        let asked = [text("method"), text("path"), text("direction").map(|way| format!("({way})"))];
        self.line("request", asked.into_iter().flatten().collect::<Vec<_>>().join(" "));
        for key in ["service", "account", "caller", "user", "key_id", "client", "upstream"] {
            if let Some(text) = text(key) {
                self.line(if key == "key_id" { "key" } else { key }, text);
            }
        }
        if let Some(count) = line["lines"].as_u64() {
            self.line(
                "note",
                format!("{count} requests have this id; this is the last that failed, or the last"),
            );
        }
        let (code, reason) = (line["code"].as_str(), line["reason"].as_str());
        let status = line["status"].as_u64().unwrap_or_default();
        self.line("status", status.to_string());
        for key in ["code", "reason"] {
            if let Some(text) = text(key) {
                self.line(key, text);
            }
        }
        if let Some(phase) = text("phase") {
            let words = remedies::phase(&phase).map(|words| format!(": {words}"));
            self.line("phase", format!("{phase}{}", words.unwrap_or_default()));
        }
        if code.is_none() && reason.is_none() && status != CLIENT_LEFT {
            let cause = "attache did not fail: the status is that of the upstream's own response";
            return self.add("cause", json!(cause), "cause", cause.to_owned());
        }
        let reason = reason.unwrap_or("client_left");
        let Some(remedy) = remedies::find(code, reason) else { return };
        self.add("cause", json!(remedy.cause), "cause", remedy.cause.to_owned());
        self.add("action", json!(remedy.action), "what to do", remedy.action.to_owned());
        if !remedy.see.is_empty() {
            self.add("see", json!(remedy.see), "see", format!("docs/{}", remedy.see));
        }
    }

    /// The plan that an outbound request would get from the file now, or why the file has none. A line has no query, no
    /// key and no header.
    fn plan_now(&mut self, line: &Value, config: Result<Config, String>) {
        let (Some(method), Some(path)) = (line["method"].as_str(), line["path"].as_str()) else { return };
        if line["direction"] != "outbound" || !path.starts_with('/') {
            return;
        }
        let config = match config {
            Ok(config) => config,
            Err(problem) => return self.add("now", Value::Null, "now", format!("not known: {problem}")),
        };
        let url = match &config.listen.outbound.address {
            // The scheme is not looked at.
            ListenAddr::Tcp(address) => format!("http://{address}{path}"),
            ListenAddr::Unix(_) => path.to_owned(),
        };
        let caller = line["caller"].as_str().filter(|_| line["code"] != "caller_unauthenticated");
        if config.callers.is_some() && caller.is_none() {
            let why = "not known: the log has no proof of the caller; `attache explain --caller NAME METHOD URL` needs none";
            return self.add("now", Value::Null, "now", why.to_owned());
        }
        let planned = ExplainedRequest::of(method, &url, &[], None, &config).and_then(|asked| {
            let snapshot = snapshot(config)?;
            let asked = asked.sent_by(caller.filter(|_| snapshot.callers.is_some()), &snapshot)?;
            let decision = asked.decide(&snapshot, SystemTime::now());
            Ok(ExplainReport::new(&asked, &snapshot, &decision))
        });
        match planned {
            Ok(plan) => self.add("now", plan.json(), "now", plan.human()),
            Err(problem) => self.add("now", Value::Null, "now", format!("not known: {problem}")),
        }
    }
}

#[cfg(test)]
mod tests;
