//! `attache urls`: every webhook URL, one per key.
//!
//! Redacted by default, so that the list can be shared. `--reveal` shows a key only if the file (or a source in it) has
//! its `value`; for a `sha256` only the hash is known. A webhook that waits for its provider's handshake says so.

mod handshake;

use super::file;
use super::{brought, stdout};
use crate::config::Mode;
use crate::config::model::{ApiKey, Config, Handshake, KeyIn, User, Validity};
use crate::secret::Secret;
use handshake::Act;
use std::fmt::Write as _;
use std::path::Path;
use std::time::SystemTime;

/// The arguments of `attache urls`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  attache urls
  attache urls --reveal
  attache urls --show-handshake notes
  attache urls --reset-handshake tasks")]
pub struct UrlsArgs {
    /// Show the complete keys that the configuration contains
    #[arg(long)]
    reveal: bool,
    /// Show the secret that the provider of this service brought in its handshake
    #[arg(long, value_name = "SERVICE", conflicts_with_all = ["reveal", "reset_handshake"])]
    show_handshake: Option<String>,
    /// Remove that secret, so that the next handshake brings another one
    #[arg(long, value_name = "SERVICE", conflicts_with = "reveal")]
    reset_handshake: Option<String>,
}

/// Prints the list; returns the exit status.
pub fn run(args: &UrlsArgs, config: Option<&Path>) -> i32 {
    match (&args.show_handshake, &args.reset_handshake) {
        (Some(service), _) => return handshake::run(Act::Show, service, config),
        (_, Some(service)) => return handshake::run(Act::Reset, service, config),
        (None, None) => {}
    }
    // Without `--reveal` no secret is needed, so the command runs where secrets are not available.
    let mode = if args.reveal { Mode::Full } else { Mode::Offline };
    let config = match file::require(config, mode) {
        Ok(config) => config,
        Err(status) => return status,
    };
    if config.public_url.is_none() {
        eprintln!("note: the file has no public_url; the URLs are relative to your address");
    }
    stdout::write(table(&rows(&config, SystemTime::now(), args.reveal)).as_bytes())
}

const HEAD: [&str; 5] = ["SERVICE", "USER", "KEY ID", "STATE", "URL"];

type UrlRow = [String; HEAD.len()];

fn rows(config: &Config, now: SystemTime, reveal: bool) -> Vec<UrlRow> {
    let base = config.public_url.as_deref().unwrap_or("");
    let mut rows = Vec::new();
    for service in config.services.values() {
        let Some(webhook) = &service.webhook else { continue };
        let brings = webhook.handshake.as_ref().is_some_and(Handshake::brings_secret);
        let waits = brings && brought::is_awaited(config, &service.key);
        for key in &webhook.api_keys {
            let (shown, remark) = match (&key.value, reveal) {
                (Some(value), true) if matches!(webhook.key_in, KeyIn::Header(_)) => {
                    (value.expose().to_owned(), "")
                }
                (Some(value), true) => (encoded(value), ""),
                (None, true) => (format!("{{key:{}}}", key.id), " (only the hash is known)"),
                (_, false) => (format!("{{key:{}}}", key.id), ""),
            };
            let url = webhook.key_in.url(base, &service.key, &shown);
            let url = match &webhook.key_in {
                KeyIn::Header(name) => format!("{url} with {name}: {shown}{remark}"),
                KeyIn::Path | KeyIn::Query(_) => url + remark,
            };
            let state = match state(key, &webhook.user, now) {
                "active" if waits => "awaits handshake",
                state => state,
            };
            let state = state.to_owned();
            rows.push([service.key.clone(), webhook.user.key.clone(), key.id.clone(), state, url]);
        }
    }
    rows
}

/// Encodes a key for a path or a query.
fn encoded(key: &Secret) -> String {
    const RESERVED: percent_encoding::AsciiSet =
        percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    percent_encoding::utf8_percent_encode(key.expose(), &RESERVED).to_string()
}

/// Returns the state that a call would meet: an invalid key answers 404 for any user.
fn state(key: &ApiKey, user: &User, now: SystemTime) -> &'static str {
    match key.validity_at(now) {
        Validity::Disabled => "disabled",
        Validity::Expired => "expired",
        Validity::NotYetValid => "not yet valid",
        Validity::Valid if !user.active => "user inactive",
        Validity::Valid => "active",
    }
}

fn table(rows: &[UrlRow]) -> String {
    let mut widths = HEAD.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let head = HEAD.map(str::to_owned);
    for row in std::iter::once(&head).chain(rows) {
        let [service, user, id, state, url] = row;
        let [a, b, c, d, _] = widths;
        // Writing to a String can't fail.
        let _ = writeln!(text, "{service:a$}  {user:b$}  {id:c$}  {state:d$}  {url}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn key(not_before: Option<u64>, expires_at: Option<u64>) -> ApiKey {
        let at = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
        ApiKey {
            id: "k".into(),
            sha256: [0; 32],
            value: None,
            not_before: not_before.map(at),
            expires_at: expires_at.map(at),
            disabled: false,
        }
    }

    #[test]
    fn states_are_those_that_a_call_would_meet() {
        let user = |active| User { key: "u".into(), name: None, active };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        assert_eq!(state(&key(None, None), &user(true), now), "active");
        assert_eq!(state(&key(None, None), &user(false), now), "user inactive");
        assert_eq!(state(&key(None, Some(100)), &user(false), now), "expired");
        assert_eq!(state(&key(Some(101), None), &user(true), now), "not yet valid");
        assert_eq!(state(&key(Some(100), Some(101)), &user(true), now), "active");
        assert_eq!(state(&ApiKey { disabled: true, ..key(None, None) }, &user(true), now), "disabled");
    }

    #[test]
    fn a_key_is_encoded() {
        assert_eq!(encoded(&Secret::new("a/b+c~d")), "a%2Fb%2Bc~d");
    }

    #[test]
    fn the_columns_are_aligned() {
        let row = ["mailer", "bot", "2026-11", "active", "/webhooks/{key:2026-11}"].map(str::to_owned);
        let text = table(&[row]);
        let columns: Vec<_> = text.lines().map(|l| l.find("active").or_else(|| l.find("STATE"))).collect();
        assert_eq!(columns[0], columns[1]);
    }
}
