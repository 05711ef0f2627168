//! The top of the file: listeners, identity headers, log, shutdown, users.

use super::urls;
use crate::config::decode::{At, Decoder};
use crate::config::header::{Distinct, Purpose, Use};
use crate::config::model::{AccessLog, IdentityHeaders, Listen, ListenAddr, Log, LogFormat, LogLevel, User};
use crate::config::problem::Finding;
use crate::config::scalar;
use crate::header_name::FieldName;
use std::num::NonZeroUsize;
use std::time::Duration;

const DEFAULT_DRAIN: Duration = Duration::from_secs(30);

/// Reads `listen`, and enforces that only local programs may use credentials without authentication.
pub(super) fn listen(decoder: &Decoder<'_>, at: Option<&At<'_>>, anonymous: bool) -> Option<Listen> {
    let map = match at {
        Some(at) => Some(decoder.mapping(at)?),
        None => None,
    };
    let default = Listen::default();
    let read = |key, default| {
        let at = map.as_ref().and_then(|map| map.get(key));
        match &at {
            Some(given) => decoder
                .parsed(given, "invalid_address", "an address to listen on", scalar::listen_addr)
                .map(|addr| (addr, at)),
            None => Some((default, None)),
        }
    };
    let outbound = read("outbound", default.outbound);
    let webhooks = read("webhooks", default.webhooks);
    let admin = read("admin", default.admin);
    if let Some((addr, Some(at))) = &outbound
        && !anonymous
        && !stays_on_this_machine(addr)
    {
        let message = format!(
            "{at} is reachable from other machines, and every client that reaches it may use every credential"
        );
        decoder.report(
            Finding::error("anonymous_callers", decoder.place(at), message)
                .label("not a loopback address")
                .help("define `callers`, or listen on 127.0.0.1 or `unix:/path`, or set `allow_anonymous_callers: true`"),
        );
    }
    let listeners = [("outbound", &outbound), ("webhooks", &webhooks), ("admin", &admin)];
    for (i, (name, one)) in listeners.iter().enumerate() {
        for (other_name, other) in &listeners[i + 1..] {
            if let (Some((a, at)), Some((b, other_at))) = (one, other)
                && collide(a, b)
                && let Some(mark) = other_at.as_ref().or(at.as_ref())
            {
                let message = format!("listen.{name} and listen.{other_name} are the same address");
                let finding =
                    Finding::error("duplicate_address", decoder.place(mark), message).label("already taken");
                decoder.report(match (at, other_at) {
                    (Some(first), Some(_)) => finding.secondary(decoder.place(first), "taken here"),
                    _ => finding.help("the other one is the default"),
                });
            }
        }
    }
    Some(Listen { outbound: outbound?.0, webhooks: webhooks?.0, admin: admin?.0 })
}

pub(super) fn stays_on_this_machine(addr: &ListenAddr) -> bool {
    match addr {
        ListenAddr::Tcp(addr) => addr.ip().is_loopback(),
        ListenAddr::Unix(_) => true,
    }
}

fn collide(a: &ListenAddr, b: &ListenAddr) -> bool {
    match (a, b) {
        (ListenAddr::Tcp(a), ListenAddr::Tcp(b)) => {
            let covers = a.ip() == b.ip()
                || (a.is_ipv4() == b.is_ipv4() && (a.ip().is_unspecified() || b.ip().is_unspecified()));
            a.port() == b.port() && a.port() != 0 && covers
        }
        (ListenAddr::Unix(a), ListenAddr::Unix(b)) => a == b,
        (ListenAddr::Tcp(_), ListenAddr::Unix(_)) | (ListenAddr::Unix(_), ListenAddr::Tcp(_)) => false,
    }
}

pub(super) fn public_url(decoder: &Decoder<'_>, at: &At<'_>) -> Option<String> {
    let url = urls::bare_url(decoder, at)?;
    let scheme = if url.tls { "https" } else { "http" };
    Some(format!("{scheme}://{}{}", url.authority, url.path))
}

pub(super) fn threads(decoder: &Decoder<'_>, at: &At<'_>) -> Option<NonZeroUsize> {
    NonZeroUsize::new(decoder.integer(at)? as usize)
}

/// Reads `identity_headers`: three names that differ in every spelling. Each is added to `names`.
pub(super) fn identity_headers(
    decoder: &Decoder<'_>,
    at: Option<&At<'_>>,
    names: &mut Distinct<'_>,
) -> Option<IdentityHeaders> {
    let map = match at {
        Some(at) => Some(decoder.mapping(at)?),
        None => None,
    };
    let mut read = |key, default| {
        let at = map.as_ref().and_then(|map| map.get(key));
        let name = match &at {
            Some(at) => Purpose::Told.read(decoder, at)?,
            None => FieldName::from_static(default),
        };
        let place = at.map(|at| decoder.place(&at));
        let key = format!("identity_headers.{key}");
        names.add(decoder, Use { name: name.as_header_name().clone(), key, place });
        Some(name)
    };
    let (user, service, key_id) = (
        read("user", "X-Attache-User"),
        read("service", "X-Attache-Service"),
        read("key_id", "X-Attache-Key-Id"),
    );
    Some(IdentityHeaders { user: user?, service: service?, key_id: key_id? })
}

pub(super) fn drain(decoder: &Decoder<'_>, at: Option<&At<'_>>) -> Duration {
    let map = at.and_then(|at| decoder.mapping(at));
    let drain = map.and_then(|map| map.get("drain"));
    drain.and_then(|at| decoder.duration(&at, true)).unwrap_or(DEFAULT_DRAIN)
}

pub(super) fn log(decoder: &Decoder<'_>, at: Option<&At<'_>>) -> Log {
    const LEVELS: [(&str, LogLevel); 4] = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
    ];
    const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let map = at.and_then(|at| decoder.mapping(at));
    let get = |key| map.as_ref().and_then(|map| map.get(key));
    let access = get("access").and_then(|at| access_log(decoder, &at)).unwrap_or(AccessLog::Stdout);
    let format = get("format").and_then(|at| decoder.one_of(&at, &FORMATS)).unwrap_or(LogFormat::Text);
    let level = get("level").and_then(|at| decoder.one_of(&at, &LEVELS)).unwrap_or(LogLevel::Info);
    Log { access, format, level }
}

/// Reads the destination of the access log. A path has a slash, so that a misspelt `stdout` creates no file of that
/// name.
fn access_log(decoder: &Decoder<'_>, at: &At<'_>) -> Option<AccessLog> {
    match decoder.string(at)? {
        "stdout" => Some(AccessLog::Stdout),
        "off" => Some(AccessLog::Off),
        path if path.contains('/') => Some(AccessLog::File(path.into())),
        word => {
            let message = format!("{at} must be `stdout`, `off` or a path with a `/` in it");
            let help = match &*word.to_lowercase() {
                "none" | "no" | "false" => Some("did you mean `off`?".to_owned()),
                word => decoder.suggest(word, ["stdout", "off"].into_iter()),
            };
            let help = help.unwrap_or_else(|| format!("a file in the working directory is `./{word}`"));
            let finding = Finding::error("invalid_access_log", decoder.place(at), message);
            decoder.reject(finding.label("neither a word nor a path").help(help))
        }
    }
}

/// Reads a user, which is active by default.
pub(super) fn user(decoder: &Decoder<'_>, at: &At<'_>, key: &str) -> Option<User> {
    if decoder.is_null(at) {
        return Some(User { key: key.to_owned(), name: None, active: true });
    }
    let map = decoder.mapping(at)?;
    let name = map.get("name").and_then(|at| decoder.free_text(&at)).map(str::to_owned);
    let active = map.get("active").and_then(|at| decoder.bool(&at)).unwrap_or(true);
    Some(User { key: key.to_owned(), name, active })
}
