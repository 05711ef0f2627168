//! The top of the file: listeners, identity headers, log, shutdown, users.

use super::urls;
use crate::config::decode::{At, Decoder};
use crate::config::model::{AccessLog, IdentityHeaders, Listen, ListenAddr, Log, LogLevel, User};
use crate::config::problem::Finding;
use crate::config::scalar;
use crate::header_name::{FieldName, alike};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

const DEFAULT_DRAIN: Duration = Duration::from_secs(30);

/// `listen`, and the rule that only programs of this machine may use credentials without saying who they are.
pub(super) fn listen(decoder: &Decoder<'_>, at: Option<&At<'_>>, anonymous: bool) -> Option<Listen> {
    let map = match at {
        Some(at) => Some(decoder.mapping(at)?),
        None => None,
    };
    let read = |key, port| {
        let at = map.as_ref().and_then(|map| map.get(key));
        let default = ListenAddr::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        match &at {
            Some(given) => decoder
                .parsed(given, "invalid_address", "an address to listen on", scalar::listen_addr)
                .map(|addr| (addr, at)),
            None => Some((default, None)),
        }
    };
    let (outbound, webhooks, admin) = (read("outbound", 8080), read("webhooks", 8081), read("admin", 9090));
    if let Some((addr, Some(at))) = &outbound
        && !anonymous
        && !stays_on_this_machine(addr)
    {
        let message = format!(
            "{at} is reachable from other machines, and anyone who reaches it may use every credential"
        );
        decoder.report(
            Finding::error("anonymous_callers", decoder.place(at), message)
                .label("not a loopback address")
                .help("listen on 127.0.0.1 or `unix:/path`, or set `allow_anonymous_callers: true`"),
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

fn stays_on_this_machine(addr: &ListenAddr) -> bool {
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
    let url = urls::server_url(decoder, at)?;
    let scheme = if url.tls { "https" } else { "http" };
    Some(format!("{scheme}://{}{}", url.authority, url.path))
}

pub(super) fn threads(decoder: &Decoder<'_>, at: &At<'_>) -> Option<NonZeroUsize> {
    NonZeroUsize::new(decoder.integer(at)? as usize)
}

/// `identity_headers`: three names that stay three however a receiver writes them.
pub(super) fn identity_headers(decoder: &Decoder<'_>, at: Option<&At<'_>>) -> Option<IdentityHeaders> {
    let map = match at {
        Some(at) => Some(decoder.mapping(at)?),
        None => None,
    };
    let read = |key, default| {
        let at = map.as_ref().and_then(|map| map.get(key));
        match &at {
            Some(given) => decoder
                .parsed(given, "invalid_header", "a header name that can be set", scalar::field_name)
                .map(|name| (name, at)),
            None => Some((FieldName::from_static(default), None)),
        }
    };
    let headers = [
        ("user", read("user", "X-Attache-User")),
        ("service", read("service", "X-Attache-Service")),
        ("key_id", read("key_id", "X-Attache-Key-Id")),
    ];
    for (i, (key, one)) in headers.iter().enumerate() {
        for (other_key, other) in &headers[i + 1..] {
            if let (Some((a, at)), Some((b, other_at))) = (one, other)
                && alike(a.as_str(), b.as_str())
                && let Some(mark) = other_at.as_ref().or(at.as_ref())
            {
                let message =
                    format!("identity_headers.{key} and identity_headers.{other_key} are the same header");
                let finding = Finding::error("duplicate_header", decoder.place(mark), message);
                decoder.report(finding.label("the names must differ in more than case and separators"));
            }
        }
    }
    let [(_, user), (_, service), (_, key_id)] = headers;
    Some(IdentityHeaders { user: user?.0, service: service?.0, key_id: key_id?.0 })
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
    let map = at.and_then(|at| decoder.mapping(at));
    let get = |key| map.as_ref().and_then(|map| map.get(key));
    let access = match get("access").and_then(|at| decoder.string(&at)) {
        None | Some("stdout") => AccessLog::Stdout,
        Some("off") => AccessLog::Off,
        Some(path) => AccessLog::File(path.into()),
    };
    let level = get("level").and_then(|at| decoder.one_of(&at, &LEVELS)).unwrap_or(LogLevel::Info);
    Log { access, level }
}

/// A user; with nothing said about it, an active one.
pub(super) fn user(decoder: &Decoder<'_>, at: &At<'_>, key: &str) -> Option<User> {
    if decoder.is_null(at) {
        return Some(User { key: key.to_owned(), name: None, active: true });
    }
    let map = decoder.mapping(at)?;
    let name = map.get("name").and_then(|at| decoder.free_text(&at)).map(str::to_owned);
    let active = map.get("active").and_then(|at| decoder.bool(&at)).unwrap_or(true);
    Some(User { key: key.to_owned(), name, active })
}
