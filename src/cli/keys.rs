//! `attache keys new`: a new webhook key or token of a caller, shown once, and the lines for the configuration.
//!
//! attache stores only the hash, so this command writes nothing to the file: the operator gives the key to the third
//! party and adds the hash to the configuration. (A command that edits the file would have to keep its comments and
//! would race with the deployment.)

mod caller;

use super::file::{self, File};
use super::stdout;
use crate::config::Mode;
use crate::config::model::{Config, KeyIn, ListenAddr, Service};
use crate::secret::{Secret, hex};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{Timestamp, Unit};
use ring::rand::SecureRandom as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
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
struct NewArgs {
    /// The service of the webhook
    #[arg(long, value_name = "NAME", required_unless_present = "caller", conflicts_with = "caller")]
    service: Option<String>,
    /// The caller that the token proves
    #[arg(long, value_name = "NAME", value_parser = caller::parse_name)]
    caller: Option<String>,
    /// The name of the key in logs and metrics [default: the year and month, as 2026-11]
    #[arg(long, value_name = "ID", value_parser = parse_id)]
    id: Option<String>,
    /// The end of its validity: a time (2026-12-31T00:00:00Z) or a duration from now (90d, 12h)
    #[arg(long, value_name = "WHEN", value_parser = parse_expiry)]
    expires: Option<Expiry>,
}

/// Creates the key and prints it; returns the exit status.
pub fn run(args: &KeysArgs, config: Option<&Path>) -> i32 {
    let KeysCommand::New(args) = &args.command;
    let config = match file::read(config, Mode::Offline) {
        Ok(File::Valid(config)) => Some(config),
        Ok(File::Missing(_)) => None,
        Err(status) => return status,
    };
    if let Some(caller) = &args.caller {
        return finish(caller::page(caller, args, config.as_deref(), Timestamp::now()));
    }
    let service = args.service.as_deref().unwrap_or_default();
    let public_url = config.as_deref().and_then(|c| c.public_url.as_deref());
    if public_url.is_none() {
        let why = if config.is_some() { "the file has no public_url" } else { "no file was found" };
        eprintln!("note: {why}; replace {PLACEHOLDER} by your address");
    }
    finish(
        plan(args, config.as_deref(), Timestamp::now())
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
struct Entry {
    id: String,
    expires_at: Option<Timestamp>,
    /// The service exists and has no webhook yet.
    first: bool,
    /// The user of a first webhook.
    user: ProposedUser,
    /// The webhook exists and has no key yet.
    none: bool,
    /// The place of the webhook's keys.
    key_in: KeyIn,
    /// The address of the webhook listener, for a client on this machine.
    local: Option<SocketAddr>,
}

fn plan(args: &NewArgs, config: Option<&Config>, now: Timestamp) -> Result<Entry, String> {
    let name = args.service.as_deref().unwrap_or_default();
    let service = config.map(|config| find(config, name)).transpose()?;
    let webhook = service.and_then(|service| service.webhook.as_ref());
    let taken: Vec<&str> = webhook.iter().flat_map(|w| &w.api_keys).map(|key| key.id.as_str()).collect();
    let id = new_id(args, &taken, now, &format!("services.{name}.webhook already has a key"))?;
    let expires_at = new_expiry(args, now)?;
    // Without a file, nothing is known to be missing.
    let first = service.is_some() && webhook.is_none();
    let key_in = webhook.map(|webhook| webhook.key_in.clone()).unwrap_or_default();
    let none = webhook.is_some_and(|webhook| webhook.api_keys.is_empty());
    let user = ProposedUser::new(config, name);
    Ok(Entry { id, expires_at, first, user, none, key_in, local: config.and_then(local) })
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

fn find<'a>(config: &'a Config, name: &str) -> Result<&'a Service, String> {
    config.services.get(name).map(Arc::as_ref).ok_or_else(|| {
        let nearest = file::nearest(name, config.services.keys().map(String::as_str));
        let hint = match nearest {
            Some(known) => format!("; did you mean `{known}`?"),
            None => format!("; {}\n{}", services(config), skeleton(config, name)),
        };
        format!("there is no service `{name}`{hint}")
    })
}

/// Lists the first services of the file.
fn services(config: &Config) -> String {
    const SHOWN: usize = 5;
    let mut names: Vec<&str> = config.services.keys().map(String::as_str).collect();
    names.sort_unstable();
    let shown = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => "the file has no services".to_owned(),
        count if count > SHOWN => format!("the file has: {shown} and {} more", count - SHOWN),
        _ => format!("the file has: {shown}"),
    }
}

/// Returns the lines of a service with a webhook that has no key yet.
fn skeleton(config: &Config, name: &str) -> String {
    let ProposedUser { name: user, lines } = ProposedUser::new(Some(config), name);
    format!(
        "Add the service with a `webhook` first, with your user and receiver, then run this command again:\n\
         services:\n  {name}:\n    webhook:\n      user: {user}\n      forward_to: http://127.0.0.1:3000\n      \
         api_keys: []\n{lines}"
    )
}

/// The user of a first webhook: one for the service, because an existing one may belong to another service.
struct ProposedUser {
    name: String,
    /// The lines that add the user to the file, below a comment that says where; empty if the file has the user.
    lines: String,
}

impl ProposedUser {
    fn new(config: Option<&Config>, service: &str) -> Self {
        let name = format!("{service}-bot");
        let lines = match config.map(|config| &config.users) {
            Some(users) if users.contains_key(&name) => String::new(),
            Some(users) if !users.is_empty() => format!("# and under users:\n  {name}: {{}}\n"),
            _ => format!("# and at the left margin, at the end of the file:\nusers:\n  {name}: {{}}\n"),
        };
        Self { name, lines }
    }
}

/// Returns the address at which a client on this machine reaches the webhook listener.
fn local(config: &Config) -> Option<SocketAddr> {
    from_here(&config.listen.webhooks.address)
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

/// A `webhook` for the operator to complete.
#[derive(serde::Serialize)]
struct FirstWebhook<'a> {
    user: &'a str,
    forward_to: &'static str,
}

fn page(service: &str, entry: &Entry, key: &Secret, public_url: Option<&str>) -> Result<String, String> {
    let item = Item {
        id: &entry.id,
        sha256: hex(&key.sha256()),
        expires_at: entry.expires_at.map(|at| at.to_string()),
    };
    let written = |error| format!("can't write the lines to paste: {error}");
    let items = indented(&serde_yaml::to_string(&[item]).map_err(written)?, 8);
    let (lines, place) = if entry.first {
        let ProposedUser { name: user, lines: users } = &entry.user;
        let webhook = FirstWebhook { user, forward_to: "http://127.0.0.1:3000" };
        let webhook = indented(&serde_yaml::to_string(&webhook).map_err(written)?, 6);
        let place = format!("services.{service}, with your receiver in forward_to");
        (format!("    webhook:\n{webhook}      api_keys:\n{items}{users}"), place)
    } else {
        let instead = if entry.none { ", instead of `[]`" } else { "" };
        (items, format!("services.{service}.webhook.api_keys{instead}"))
    };
    let (key, base) = (key.expose(), public_url.unwrap_or(PLACEHOLDER));
    let header = match &entry.key_in {
        KeyIn::Header(name) => Some(format!("{name}: {key}")),
        KeyIn::Path | KeyIn::Query(_) => None,
    };
    let attempt = entry.local.map(|address| {
        let url = entry.key_in.url(&format!("http://{address}"), service, key);
        let header = header.as_ref().map(|header| format!(" -H '{header}'")).unwrap_or_default();
        format!("try: curl -d '{{}}'{header} '{url}'\n")
    });
    Ok(format!(
        "key: {key}\nurl: {url}\n{labelled}{attempt}\n\
         # The key is shown only now: give {what} to the third party.{once}\n\
         # Add these lines under {place}:\n{lines}",
        url = entry.key_in.url(base, service, key),
        labelled = header.as_ref().map(|header| format!("header: {header}\n")).unwrap_or_default(),
        what = if header.is_some() { "URL and header" } else { "the URL" },
        once = if attempt.is_some() { " `try` works here once the lines are saved." } else { "" },
        attempt = attempt.unwrap_or_default(),
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
        let entry = plan(&args, None, now).unwrap();
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
        assert!(plan(&args(Some(Expiry::At(past))), None, now).is_err());
    }
}
