//! `attache keys new`: a new webhook key or token of a caller, shown once, and the lines for the configuration.
//!
//! attache stores only the hash, so this command writes nothing to the file: the operator gives the key to the third
//! party and adds the hash to the configuration. (A command that edits the file would have to keep its comments and
//! would race with the deployment.)

mod attempt;
mod caller;
mod stanza;

use super::file::{self, File};
use super::stdout;
use crate::config::model::{Config, ListenAddr};
use crate::config::{Mode, STDIN, default_path};
use crate::secret::{Secret, hex};
use attempt::Attempt;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{Timestamp, Unit};
use ring::rand::SecureRandom as _;
use stanza::{Lacks, Layout};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// The placeholder for an unknown address in the URL.
const PLACEHOLDER: &str = "https://YOUR-PUBLIC-HOST";

/// The arguments of `attache keys`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  attache keys new --service mailer
  attache keys new --service mailer --id 2026-12 --expires 90d
  attache keys new --caller billing")]
pub struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KeysCommand {
    /// Create a new webhook key, or a new token of a caller; it is shown once
    New(NewArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  attache keys new --service mailer
  attache keys new --service mailer --id 2026-12 --expires 90d
  attache keys new --caller billing")]
#[command(group = clap::ArgGroup::new("owner").args(["service", "caller"]).required(true))]
struct NewArgs {
    /// The service of the webhook
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    service: Option<String>,
    /// The caller that the token proves
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    caller: Option<String>,
    /// The name of the key in logs and metrics [default: the year and month, as 2026-11]
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    id: Option<String>,
    /// The end of its validity: a time (2026-12-31T00:00:00Z) or a duration from now (90d, 12h)
    #[arg(long, value_name = "WHEN", value_parser = parse_expiry)]
    expires: Option<Expiry>,
}

/// Creates the key and prints it; returns the exit status.
pub fn run(args: &KeysArgs, path: Option<&Path>) -> i32 {
    let KeysCommand::New(args) = &args.command;
    let config = match file::read(path, Mode::Offline) {
        Ok(File::Valid(config)) => Some(config),
        Ok(File::Missing(_)) => None,
        Err(status) => return status,
    };
    let path = path.map(Path::to_owned).or_else(|| default_path().ok());
    // Standard input was read to its end.
    let path = path.filter(|path| path != Path::new(STDIN));
    let file = (config.as_deref(), path.as_deref());
    if let Some(caller) = &args.caller {
        return finish(caller::page(caller, args, file, Timestamp::now()));
    }
    let service = args.service.as_deref().unwrap_or_default();
    let public_url = config.as_deref().and_then(|c| c.public_url.as_deref());
    if public_url.is_none() {
        let why = if config.is_some() { "the file has no public_url" } else { "no file was found" };
        eprintln!("note: {why}; replace {PLACEHOLDER} by your address");
    }
    finish(
        plan(args, file, Timestamp::now())
            .and_then(|entry| page(service, &entry, &fresh("whk_")?, public_url)),
    )
}

/// Prints the page; returns the exit status.
fn finish(made: Result<String, String>) -> i32 {
    match made {
        Ok(page) => stdout::write(page.as_bytes()),
        Err(problem) => {
            eprintln!("error: {}", problem.trim_end());
            1
        }
    }
}

/// Returns 256 random bits; the prefix lets secret scanners recognise them.
fn fresh(prefix: &str) -> Result<Secret, String> {
    let mut bytes = zeroize::Zeroizing::new([0_u8; 32]);
    ring::rand::SystemRandom::new()
        .fill(bytes.as_mut_slice())
        .map_err(|_| "the system provides no random bytes".to_owned())?;
    Ok(Secret::new(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes.as_slice()))))
}

/// The decisions that do not depend on the key.
struct KeyEntry<'c> {
    id: String,
    expires_at: Option<Timestamp>,
    lacks: Lacks,
    layout: Layout,
    attempt: Attempt<'c>,
    config: Option<&'c Config>,
}

fn plan<'c>(
    args: &NewArgs,
    (config, path): (Option<&'c Config>, Option<&Path>),
    now: Timestamp,
) -> Result<KeyEntry<'c>, String> {
    let name = args.service.as_deref().unwrap_or_default();
    let webhook = config.and_then(|config| config.services.get(name)?.webhook.as_ref());
    let taken: Vec<&str> = webhook.iter().flat_map(|w| &w.api_keys).map(|key| key.id.as_str()).collect();
    let id = new_id(args, &taken, now, &format!("services.{name}.webhook already has a key"))?;
    let expires_at = new_expiry(args, now)?;
    Ok(KeyEntry {
        id,
        expires_at,
        lacks: lacks(config, name),
        layout: Layout::of(path, name),
        attempt: Attempt::of(config, name),
        config,
    })
}

/// Returns the id of a new key. `taken_by` begins the message about one that exists.
fn new_id(args: &NewArgs, taken: &[&str], now: Timestamp, taken_by: &str) -> Result<String, String> {
    match &args.id {
        Some(id) if taken.contains(&id.as_str()) => Err(format!("{taken_by} with the id `{id}`")),
        Some(id) => Ok(id.clone()),
        None => Ok(free_id(&now.strftime("%Y-%m").to_string(), taken)),
    }
}

/// Returns the end of the validity of a new key.
fn new_expiry(args: &NewArgs, now: Timestamp) -> Result<Option<Timestamp>, String> {
    match args.expires {
        None => Ok(None),
        Some(Expiry::At(at)) if at <= now => Err(format!("--expires {at} is in the past")),
        Some(Expiry::At(at)) => Ok(Some(at)),
        Some(Expiry::In(span)) => now
            .checked_add(span)
            .and_then(|at| at.round(Unit::Second))
            .map(Some)
            .map_err(|_| "--expires is too far in the future".to_owned()),
    }
}

/// Returns what the file lacks for a key of the service. A name like that of another service may be a mistake.
fn lacks(config: Option<&Config>, name: &str) -> Lacks {
    // Without a file, nothing is known to be missing.
    let Some(config) = config else { return Lacks::Nothing };
    let Some(service) = config.services.get(name) else {
        if let Some(known) = file::nearest(name, config.services.keys().map(String::as_str)) {
            eprintln!(
                "note: the file has no service `{name}`; did you mean `{known}`? These lines are of a new one"
            );
        }
        return if config.services.is_empty() { Lacks::Services } else { Lacks::Service };
    };
    match &service.webhook {
        None => Lacks::Webhook,
        Some(webhook) if webhook.api_keys.is_empty() => Lacks::Keys,
        Some(_) => Lacks::Nothing,
    }
}

/// Returns the address at which a client on this machine reaches a listener.
fn from_here(address: &ListenAddr) -> Option<SocketAddr> {
    let ListenAddr::Tcp(address) = address else { return None };
    let ip = match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other.ip(),
    };
    // Port 0 is any port.
    (address.port() != 0).then(|| SocketAddr::new(ip, address.port()))
}

fn free_id(base: &str, taken: &[&str]) -> String {
    if !taken.contains(&base) {
        return base.to_owned();
    }
    (2..).map(|n: u64| format!("{base}-{n}")).find(|id| !taken.contains(&id.as_str())).unwrap_or_default()
}

/// One item of `webhook.api_keys`.
#[derive(serde::Serialize)]
struct Item<'a> {
    id: &'a str,
    sha256: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

fn page(
    service: &str,
    entry: &KeyEntry<'_>,
    key: &Secret,
    public_url: Option<&str>,
) -> Result<String, String> {
    let item = Item {
        id: &entry.id,
        sha256: hex(&key.sha256()),
        expires_at: entry.expires_at.map(|at| at.to_string()),
    };
    let (lines, place) = stanza::lines(service, entry.lacks, &item, entry.config, entry.layout)?;
    let (key, base) = (key.expose(), public_url.unwrap_or(PLACEHOLDER));
    let header = entry.attempt.header(key);
    let (attempt, outcome) = entry.attempt.line(service, key).unwrap_or_default();
    Ok(format!(
        "key: {key}\nurl: {url}\n{labelled}{attempt}\n\
         # The key is shown only now: give {what} to the third party.{outcome}\n\
         # Add these lines {place}:\n{lines}",
        url = entry.attempt.key_in.url(base, service, key),
        labelled = header.as_ref().map(|header| format!("header: {header}\n")).unwrap_or_default(),
        what = if header.is_some() { "URL and header" } else { "the URL" },
    ))
}

/// Shifts the lines to where a file indented by two spaces has them, so that they can be pasted as they are.
fn indented(lines: &str, depth: usize) -> String {
    let indentation = " ".repeat(depth);
    lines.lines().flat_map(|line| [indentation.as_str(), line, "\n"]).collect()
}

/// `--expires`, before the current time is known.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Expiry {
    At(Timestamp),
    In(Duration),
}

fn parse_expiry(text: &str) -> Result<Expiry, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(Expiry::At(at));
    }
    parse_span(text).map(Expiry::In).ok_or_else(|| {
        "neither a time like 2026-12-31T00:00:00Z nor a duration like 90d, 12h or 1d12h".to_owned()
    })
}

fn parse_span(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = match rest[digits..].chars().next()? {
            'w' => 604_800,
            'd' => 86_400,
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        seconds = seconds.checked_add(number.checked_mul(unit)?)?;
        rest = &rest[digits + 1..];
    }
    // Zero and the empty text are not durations; jiff counts in signed seconds.
    (seconds > 0 && i64::try_from(seconds).is_ok()).then(|| Duration::from_secs(seconds))
}

/// Reads the name of a service or a caller.
fn parse_name(text: &str) -> Result<String, String> {
    let fits = text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    fits.then(|| text.to_owned()).ok_or_else(|| {
        "a name has letters, digits, `.`, `_` and `-`, starts with a letter or digit, and is at most 128 long".to_owned()
    })
}

fn parse_id(text: &str) -> Result<String, String> {
    let fits = text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    fits.then(|| text.to_owned()).ok_or_else(|| "an id has letters, digits, `.`, `_` and `-`, starts with a letter or digit, and is at most 64 long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn args(expires: Option<Expiry>) -> NewArgs {
        NewArgs { service: Some("mailer".into()), caller: None, id: None, expires }
    }

    #[test]
    fn a_key_has_256_bits_and_is_unique() {
        let (a, b) = (fresh("whk_").unwrap(), fresh("whk_").unwrap());
        assert_eq!(a.expose().len(), "whk_".len() + 43);
        assert!(a != b);
    }

    #[test]
    fn durations_and_times_are_parsed() {
        assert_eq!(parse_expiry("90d"), Ok(Expiry::In(Duration::from_secs(90 * 86_400))));
        assert_eq!(parse_expiry("1d12h"), Ok(Expiry::In(Duration::from_secs(36 * 3_600))));
        assert!(matches!(parse_expiry("2026-12-31T00:00:00Z"), Ok(Expiry::At(_))));
        for bad in ["", "90", "d", "0d", "-1d", "1y", "soon", "99999999999999999999d"] {
            assert!(parse_expiry(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_are_the_month_and_made_unique() {
        assert_eq!(free_id("2026-11", &[]), "2026-11");
        assert_eq!(free_id("2026-11", &["2026-11", "2026-11-2"]), "2026-11-3");
    }

    #[test]
    fn the_lines_to_paste_have_the_hash_and_the_page_has_key_and_url() {
        let now: Timestamp = "2026-11-23T10:00:00.25Z".parse().unwrap();
        let args = args(Some(Expiry::In(Duration::from_secs(86_400))));
        let entry = plan(&args, (None, None), now).unwrap();
        let page = page("mailer", &entry, &Secret::new("whk_abc"), Some("https://hooks.example")).unwrap();
        assert!(page.starts_with("key: whk_abc\nurl: https://hooks.example/webhooks/whk_abc\n"), "{page}");
        let yaml = page.split_once("api_keys:\n").unwrap().1;
        let items: Vec<BTreeMap<String, String>> = serde_yaml::from_str(yaml).unwrap();
        assert_eq!(items[0]["id"], "2026-11");
        assert_eq!(items[0]["sha256"], hex(&Secret::new("whk_abc").sha256()));
        assert_eq!(items[0]["expires_at"], "2026-11-24T10:00:00Z");
    }

    #[test]
    fn a_time_in_the_past_is_refused() {
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        let past = "2026-11-22T10:00:00Z".parse().unwrap();
        assert!(plan(&args(Some(Expiry::At(past))), (None, None), now).is_err());
    }
}
