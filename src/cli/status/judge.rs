//! What a status document says, for people, and whether it is what was waited for.

use crate::config::effective::printable;
use serde_json::Value;
use std::fmt::Write as _;

/// Maximum number of failures on the page.
const MAX_FAILURES: usize = 5;

/// Whether the process serves what it should.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    /// Not, or not yet, for these reasons.
    NotYet(Vec<String>),
    /// The configuration that is waited for has been refused.
    Rejected,
}

/// Judges a document. With a `hash`, that configuration must be in effect, whole.
pub(super) fn judge(status: &Value, ready: bool, hash: Option<&str>) -> Verdict {
    let config = &status["config"];
    let mut reasons = Vec::new();
    if !ready {
        reasons.push("it is not ready".to_owned());
    }
    if let Some(hash) = hash {
        let last = &config["last_reload"];
        if config["hash"] != hash {
            if last["hash"] == hash && last["result"] == "rejected" {
                return Verdict::Rejected;
            }
            reasons.push(format!("it serves {}", text(&config["hash"])));
        }
        let waiting = strings(&config["restart_needed"]);
        if !waiting.is_empty() {
            reasons.push(format!("a restart is needed for {}", waiting.join(", ")));
        }
        let unavailable = unavailable(status);
        if !unavailable.is_empty() {
            reasons.push(format!("a credential is unavailable: {}", unavailable.join(", ")));
        }
    }
    if reasons.is_empty() { Verdict::Good } else { Verdict::NotYet(reasons) }
}

/// The document for people.
pub(super) fn page(status: &Value) -> String {
    let (build, config) = (&status["build"], &status["config"]);
    let mut page = String::new();
    let mut line = |label: &str, text: String| {
        // Writing to a String can't fail.
        let _ = writeln!(page, "{label:<14}{text}");
    };
    line("version", format!("{} ({})", text(&build["version"]), text(&build["commit"])));
    line("hash", text(&config["hash"]).to_owned());
    line("loaded at", text(&config["loaded_at"]).to_owned());
    let last = &config["last_reload"];
    let problems = last["problems"].as_array().map(Vec::as_slice).unwrap_or_default();
    line("last reload", format!("{} at {}", text(&last["result"]), text(&last["at"])));
    for problem in problems {
        line("", problem_line(problem));
    }
    let waiting = strings(&config["restart_needed"]);
    if !waiting.is_empty() {
        line("restart", format!("needed for {}", waiting.join(", ")));
    }
    let unavailable = unavailable(status);
    if !unavailable.is_empty() {
        line("unavailable", unavailable.join(", "));
    }
    for (name, account) in members(&status["accounts"]) {
        if let Some(trouble) = trouble(account) {
            line("in trouble", format!("account {name}: {trouble}"));
        }
    }
    for part in ["services", "accounts", "users", "webhooks"] {
        let count = status[part].as_object().map(serde_json::Map::len);
        let count = count.or(status[part].as_array().map(Vec::len)).unwrap_or(0);
        let label = if part == "webhooks" { "webhook keys" } else { part };
        line(label, count.to_string());
    }
    for (nth, failure) in status["failures"].as_array().into_iter().flatten().take(MAX_FAILURES).enumerate() {
        line(if nth == 0 { "last failures" } else { "" }, failure_line(failure));
    }
    page
}

/// When, where and why a request failed, and its id for `attache explain --request`.
fn failure_line(failure: &Value) -> String {
    let known = |key: &str| failure[key].as_str().map(printable);
    let code = known("code").unwrap_or_else(|| failure["status"].to_string());
    let causes: Vec<String> = ["reason", "phase"].into_iter().filter_map(known).collect();
    let service = known("service").unwrap_or_else(|| "-".to_owned());
    let at = known("at").unwrap_or_default();
    let id = known("request_id").unwrap_or_default();
    format!("{at} {service} {code} ({}) {id}", causes.join(", "))
}

/// Why an account's requests fail, if they do.
fn trouble(account: &Value) -> Option<String> {
    let token = &account["token"];
    let state = token["state"].as_str()?;
    if !matches!(state, "failing" | "needs_login") {
        return None;
    }
    let last = &token["last_request"];
    let reason = last["reason"].as_str().or(last["result"].as_str());
    Some(reason.map_or_else(|| state.to_owned(), |reason| format!("{state}, {reason}")))
}

/// `file:line:column: severity: message`, without what the problem does not have.
fn problem_line(problem: &Value) -> String {
    let mut out = String::new();
    if let Some(file) = problem["file"].as_str() {
        let _ = write!(out, "{file}:");
        for place in [&problem["line"], &problem["column"]].into_iter().filter_map(Value::as_u64) {
            let _ = write!(out, "{place}:");
        }
        out.push(' ');
    }
    let _ = write!(out, "{}: {}", text(&problem["severity"]), text(&problem["message"]));
    out
}

/// The accounts and services with a secret that can't be read, also where the last value serves on.
fn unavailable(status: &Value) -> Vec<String> {
    let kinds = [("account", "accounts"), ("service", "services")];
    let all = kinds.iter().flat_map(|(kind, part)| {
        members(&status[*part]).map(move |(name, of)| (kind, name, &of["credential"]))
    });
    all.filter(|(_, _, credential)| !credential.is_null())
        .map(|(kind, name, credential)| {
            let (state, reason) = (text(&credential["state"]), text(&credential["reason"]));
            format!("{kind} {name} ({state}: {reason})")
        })
        .collect()
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}
