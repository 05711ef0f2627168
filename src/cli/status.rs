//! `attache status`: shows what a running attache serves, or whether it serves a configuration yet.
//!
//! It speaks HTTP/1 itself, over TCP or a unix socket, so that it can check a container without a shell.

mod client;
mod judge;

use super::stdout;
use crate::config;
use crate::config::effective::printable;
use client::NoDocument;
pub(super) use client::{AdminAddress, AdminClient, AdminProof};
use judge::{Judgement, judge};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Interval between two requests while waiting.
const POLL: Duration = Duration::from_millis(200);
/// Time limit of one answer.
const ANSWER: Duration = Duration::from_secs(5);

/// The most characters of a refusal that are printed.
const MAX_SAID: usize = 300;

/// The command did not reach the admin listener.
const UNREACHABLE: i32 = 2;

/// The arguments of `attache status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  attache status
  attache status --admin unix:/run/attache/admin.sock --format json
  attache status --admin 127.0.0.1:9090 --timeout 2s     as a container's health check
  attache status --admin https://attache.internal:9090 --ca ca.crt --token-file token
  attache status --wait-for-hash $(cat attache.yaml | sha256sum | cut -d' ' -f1) --timeout 2m

In a health check, use --admin: a changed listen.admin takes effect at a restart, and until then
the file has an address on which the process does not listen yet.

Exit status: 0 it serves; 1 it is not ready, or does not serve the hash; 2 it can't be reached.")]
pub struct StatusArgs {
    /// Wait until this configuration is served, nothing waits for a restart, and every credential is available
    #[arg(long, value_name = "HASH", value_parser = parse_hash)]
    wait_for_hash: Option<String>,
    /// The time limit [default: 5s, with --wait-for-hash 1m]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// The admin listener: HOST:PORT, https://HOST:PORT or unix:/path [default: listen.admin of the file, else
    /// 127.0.0.1:9090]
    #[arg(long, value_name = "ADDRESS", value_parser = AdminAddress::parse)]
    admin: Option<AdminAddress>,
    #[command(flatten)]
    proof: AdminProof,
    /// The format of the answer
    #[arg(long, value_enum, default_value_t = StatusFormat::Human)]
    format: StatusFormat,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum StatusFormat {
    /// Lines for display
    Human,
    /// The document at /status
    Json,
}

fn parse_hash(text: &str) -> Result<String, String> {
    let is_hash = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    is_hash
        .then(|| text.to_ascii_lowercase())
        .ok_or_else(|| "not a SHA-256 in hex; give the hash that `attache check` prints".to_owned())
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    crate::config::duration(text).ok_or_else(|| "not a time such as 500ms, 10s or 1m30s".to_owned())
}

/// Requests the status; returns the exit status.
pub fn run(args: &StatusArgs, path: Option<&Path>) -> i32 {
    // An invalid or missing file is not a failure: the running process may serve an earlier one.
    let of_file = || AdminAddress::from(&config::admin_address(path));
    let admin = args.admin.clone().unwrap_or_else(of_file);
    let client = match args.proof.client(admin) {
        Ok(client) => client,
        Err(problem) => {
            eprintln!("error: {problem}");
            return UNREACHABLE;
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: can't start: {error}");
            return UNREACHABLE;
        }
    };
    let limit =
        args.timeout.unwrap_or(if args.wait_for_hash.is_some() { Duration::from_secs(60) } else { ANSWER });
    match runtime.block_on(ask(&client, args.wait_for_hash.as_deref(), limit)) {
        Ok((status, verdict)) => print(args.format, &status, &verdict),
        Err(error) => {
            let help = if args.admin.is_some() {
                ""
            } else {
                "; if listen.admin was changed since the start, give the earlier one with --admin ADDRESS"
            };
            let admin = &client.admin;
            eprintln!("error: the admin listener at {admin} can't be reached: {error}{help}");
            UNREACHABLE
        }
    }
}

/// Requests the status once, or until `hash` is served. Returns the last answer, or the last failure if there was none.
async fn ask(
    admin: &AdminClient,
    hash: Option<&str>,
    limit: Duration,
) -> Result<(Value, Judgement), NoDocument> {
    let end = Instant::now() + limit;
    let (mut last, mut printed) = (Err(NoDocument::Late), Vec::new());
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let answer = timeout(left.min(ANSWER), document(admin)).await.unwrap_or(Err(NoDocument::Late));
        match answer {
            Ok((status, ready)) => {
                let verdict = judge(&status, ready, hash);
                let is_final = hash.is_none() || matches!(verdict, Judgement::Good | Judgement::Rejected);
                if let Judgement::NotYet { waiting, .. } = &verdict
                    && !waiting.is_empty()
                    && *waiting != printed
                {
                    eprintln!("waiting: {}", waiting.join("; "));
                    printed.clone_from(waiting);
                }
                last = Ok((status, verdict));
                if is_final {
                    return last;
                }
            }
            // An earlier answer is more useful than a connection that is refused at the end.
            Err(error) if last.is_err() => last = Err(error),
            Err(_) => {}
        }
        if hash.is_none() || Instant::now() + POLL >= end {
            return last;
        }
        sleep(POLL).await;
    }
}

/// Returns the failures that `/status` of a running attache lists, newest first.
///
/// # Errors
///
/// A sentence, if it can't be reached.
pub(super) fn failures(admin: &AdminClient) -> Result<Vec<Value>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("can't start: {error}"))?;
    let answer = runtime.block_on(async { timeout(ANSWER, document(admin)).await });
    match answer.unwrap_or(Err(NoDocument::Late)) {
        Ok((mut status, _)) => match status["failures"].take() {
            Value::Array(failures) => Ok(failures),
            _ => Ok(Vec::new()),
        },
        Err(error) => Err(format!("the admin listener at {} can't be reached: {error}", admin.admin)),
    }
}

/// Returns the document at `/status`, and true if `/readyz` succeeds.
async fn document(admin: &AdminClient) -> Result<(Value, bool), NoDocument> {
    let (code, body) = admin.get("/status").await?;
    if code != 200 {
        let said = String::from_utf8_lossy(&body);
        let said: String = said.lines().next().unwrap_or_default().chars().take(MAX_SAID).collect();
        return Err(NoDocument::Status(code, printable(&said)));
    }
    let status = serde_json::from_slice(&body).map_err(|_| NoDocument::NotStatus)?;
    let (ready, _) = admin.get("/readyz").await?;
    Ok((status, ready == 200))
}

fn print(format: StatusFormat, status: &Value, verdict: &Judgement) -> i32 {
    let text = match format {
        StatusFormat::Human => judge::page(status),
        StatusFormat::Json => format!("{status:#}\n"),
    };
    let written = stdout::write(text.as_bytes());
    let mut complaint = String::new();
    match verdict {
        Judgement::Good => return written,
        Judgement::Rejected => complaint.push_str("error: the configuration was rejected"),
        // Writing to a String can't fail.
        Judgement::NotYet { reasons, .. } => drop(write!(complaint, "error: {}", reasons.join("; "))),
    }
    eprintln!("{complaint}");
    1
}

#[cfg(test)]
mod tests;
