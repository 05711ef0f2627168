//! Evaluates a status document: as lines for display, and against the expected state.

use crate::config::effective::printable;
use serde_json::Value;
use std::fmt::Write as _;

/// Maximum number of kinds of failures on the page.
const MAX_FAILURES: usize = 5;

/// The result of comparing the process with the expected state.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Good,
    /// It does not, or not yet.
    NotYet {
        /// All reasons.
        reasons: Vec<String>,
        /// Those of the expected configuration itself, which end with a restart or a secret, not with time.
        waiting: Vec<String>,
    },
    /// The expected configuration was rejected.
    Rejected,
}

/// Evaluates a document. With a `hash`, that configuration must be completely in effect.
pub(super) fn judge(status: &Value, ready: bool, hash: Option<&str>) -> Judgement {
    let config = &status["config"];
    let (mut reasons, mut waiting) = (Vec::new(), Vec::new());
    if !ready {
        reasons.push("it is not ready".to_owned());
    }
    if let Some(hash) = hash {
        let last = &config["last_reload"];
        if config["hash"] != hash {
            if last["hash"] == hash && last["result"] == "rejected" {
                return Judgement::Rejected;
            }
            reasons.push(format!("it serves {}", text(&config["hash"])));
        }
        let settings = strings(&config["restart_needed"]);
        if !settings.is_empty() {
            waiting.push(format!("a restart is needed for {}", settings.join(", ")));
        }
        let unread = unread(status, |_| true);
        if !unread.is_empty() {
            waiting.push(format!("a credential is unavailable: {}", unread.join(", ")));
        }
        reasons.extend_from_slice(&waiting);
        if config["hash"] != hash {
            // They are those of the earlier configuration.
            waiting.clear();
        }
    }
    if reasons.is_empty() { Judgement::Good } else { Judgement::NotYet { reasons, waiting } }
}

/// Formats the document for display.
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
    let rejected = last["hash"].as_str().filter(|_| last["result"] == "rejected");
    let rejected = rejected.map(|hash| format!(", hash {}", printable(hash))).unwrap_or_default();
    line("last reload", format!("{} at {}{rejected}", text(&last["result"]), text(&last["at"])));
    for problem in problems {
        line("", problem_line(problem));
    }
    let waiting = strings(&config["restart_needed"]);
    if !waiting.is_empty() {
        line("restart", format!("needed for {}", waiting.join(", ")));
    }
    let unavailable = unread(status, |state| state != DEGRADED);
    if !unavailable.is_empty() {
        line("unavailable", unavailable.join(", "));
    }
    let degraded = unread(status, |state| state == DEGRADED);
    if !degraded.is_empty() {
        line("degraded", degraded.join(", "));
        line("", "the last value is in use; a restart would lose it".to_owned());
    }
    for (name, account) in members(&status["accounts"]) {
        if let Some(trouble) = trouble(account) {
            line("in trouble", format!("account {name}: {trouble}"));
        }
    }
    for (name, issuer) in members(&status["issuers"]) {
        let failure = &issuer["last_failure"];
        if !failure.is_null() {
            let what = if issuer["keys"] == 0 { "it has no keys" } else { "its last keys are in use" };
            line("in trouble", format!("issuer {name}: {what}: {}", text(&failure["reason"])));
        }
    }
    for service in with_brought_secret(status, "waiting") {
        line(
            "waiting",
            format!("webhook {service}: its provider's handshake has not brought its secret yet"),
        );
    }
    for part in ["services", "accounts", "users", "webhooks"] {
        let count = status[part].as_object().map(serde_json::Map::len);
        let count = count.or(status[part].as_array().map(Vec::len)).unwrap_or(0);
        let label = if part == "webhooks" { "webhook keys" } else { part };
        line(label, count.to_string());
    }
    if let Some(callers) = status["callers"].as_object().filter(|callers| !callers.is_empty()) {
        line("callers", callers.len().to_string());
    }
    for (nth, (failure, count)) in kinds(&status["failures"]).into_iter().take(MAX_FAILURES).enumerate() {
        line(if nth == 0 { "last failures" } else { "" }, failure_line(failure, count));
    }
    page
}

/// Returns the services with a webhook whose secret, which the provider brings in its handshake, is in this state.
fn with_brought_secret<'s>(status: &'s Value, state: &str) -> Vec<&'s str> {
    let keys = status["webhooks"].as_array().into_iter().flatten();
    let mut services: Vec<&str> =
        keys.filter(|key| key["handshake"]["secret"] == state).map(|key| text(&key["service"])).collect();
    // The keys of a service are in a row.
    services.dedup();
    services
}

/// Returns the newest failure of each kind, newest first, and the number of failures of that kind. A flood of one kind,
/// such as wrong webhook keys, then takes one line.
fn kinds(failures: &Value) -> Vec<(&Value, u64)> {
    let kind = |failure: &Value| ["direction", "service", "code", "reason"].map(|key| failure[key].clone());
    let mut kinds: Vec<(&Value, u64)> = Vec::new();
    for failure in failures.as_array().into_iter().flatten() {
        let count = failure["count"].as_u64().unwrap_or(1);
        match kinds.iter_mut().find(|(newest, _)| kind(newest) == kind(failure)) {
            Some((_, total)) => *total += count,
            None => kinds.push((failure, count)),
        }
    }
    kinds
}

/// The time, service and cause of the newest failure of a kind, its request id for `attache explain --request`, and the
/// number of failures of the kind if there are more.
fn failure_line(failure: &Value, count: u64) -> String {
    let known = |key: &str| failure[key].as_str().map(printable);
    let code = known("code").unwrap_or_else(|| failure["status"].to_string());
    let causes: Vec<String> = ["reason", "phase"].into_iter().filter_map(known).collect();
    let service = known("service").unwrap_or_else(|| "-".to_owned());
    let at = known("at").unwrap_or_default();
    let id = known("request_id").unwrap_or_default();
    let count = if count > 1 { format!(", {count} of this kind") } else { String::new() };
    format!("{at} {service} {code} ({}) {id}{count}", causes.join(", "))
}

/// Returns why an account's requests fail, or will once its token has expired.
fn trouble(account: &Value) -> Option<String> {
    let token = &account["token"];
    let last = &token["last_request"];
    let state = match token["state"].as_str()? {
        state @ ("failing" | "needs_login") => state,
        _ if last["result"].as_str().is_some_and(|result| result != "ok") => "renewal failed",
        _ => return None,
    };
    let reason = last["reason"].as_str().or(last["result"].as_str());
    Some(reason.map_or_else(|| state.to_owned(), |reason| format!("{state}, {reason}")))
}

/// Formats `file:line:column: severity: message`, without missing parts.
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

/// The state of a credential whose secret can't be read while its last value is in use.
const DEGRADED: &str = "degraded";
/// The state of a credential of which nothing is in use.
const UNAVAILABLE: &str = "unavailable";

/// Returns the accounts, services and listeners with an unreadable secret, in the states for which `is_meant` holds. A
/// secret that a provider brought and that can't be used is one: its webhook refuses every delivery. One that has not
/// come yet is none, since the provider brings it only after the roll-out.
fn unread(status: &Value, is_meant: impl Fn(&str) -> bool) -> Vec<String> {
    let kinds = [
        ("account", "accounts"),
        ("issuer", "issuers"),
        ("service", "services"),
        ("caller", "callers"),
        ("listener", "listeners"),
    ];
    let all = kinds.iter().flat_map(|(kind, part)| {
        members(&status[*part]).map(move |(name, of)| (kind, name, &of["credential"]))
    });
    let mut unread: Vec<String> = all
        .filter(|(_, _, credential)| !credential.is_null() && is_meant(text(&credential["state"])))
        .map(|(kind, name, credential)| {
            let (state, reason) = (text(&credential["state"]), text(&credential["reason"]));
            format!("{kind} {name} ({state}: {reason})")
        })
        .collect();
    if is_meant(UNAVAILABLE) {
        let services = with_brought_secret(status, "unusable");
        unread.extend(
            services.iter().map(|name| format!("service {name} ({UNAVAILABLE}: handshake_unusable)")),
        );
    }
    unread
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
