//! The top of the file: identity headers, log, shutdown, users.

use super::urls;
use crate::config::decode::{At, Decoder};
use crate::config::header::{Distinct, Purpose, Use};
use crate::config::model::{AccessLog, IdentityHeaders, Log, LogFormat, LogLevel, User};
use crate::config::problem::Finding;
use crate::header_name::FieldName;
use std::num::NonZeroUsize;
use std::time::Duration;

const DEFAULT_DRAIN: Duration = Duration::from_secs(30);

pub(super) fn public_url(decoder: &Decoder<'_>, at: &At<'_>) -> Option<String> {
    let url = urls::bare_url(decoder, at)?;
    let scheme = if url.tls { "https" } else { "http" };
    Some(format!("{scheme}://{}{}", url.authority, url.path.trim_end_matches('/')))
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
