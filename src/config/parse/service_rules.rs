//! Rules of a service: the requests that it takes, and how they are changed.

use super::accounts::plain_text_of;
use super::headers::headers;
use super::{limits, optional, rights};
use crate::config::decode::{At, Decoder, Given, Map};
use crate::config::header::Purpose;
use crate::config::model::{Account, Rights, ServiceRules, UnreadSecret};
use crate::config::problem::Finding;
use crate::config::scalar;
use crate::config::tree::View;
use crate::header_name::{FieldName, alike};
use std::num::NonZeroU32;

/// Reads the rules in `map`, and the secret of `set_headers` that can't be read. Without the secret no header is set: the
/// service sends no request then.
pub(super) fn service_rules(
    decoder: &Decoder<'_>,
    map: &Map<'_>,
) -> (Given<ServiceRules>, Option<UnreadSecret>) {
    let allow = optional(map.get("allow"), |at| allow(decoder, at));
    let set_headers = |at: At<'_>| headers(decoder, &at, Purpose::Sent, plain_text_of, |_| None);
    let set = map.get("set_headers").map(|at| decoder.secrets.owned(at.to_string(), || set_headers(at)));
    let (mut set, unread) = set.map_or((Given::Absent, None), |(set, unread)| (set.into(), unread));
    if unread.as_ref().is_some_and(|unread| unread.blocks) {
        // Drops the placeholders in it.
        set = set.map(|_| Vec::new());
    }
    let remove = optional(map.get("remove_headers"), |at| removed(decoder, at));
    let max_body =
        optional(map.get("max_body"), |at| decoder.parsed(at, "invalid_size", "a size", scalar::size));
    let rate_limit = optional(map.get("rate_limit"), |at| limits::rate(decoder, at));
    let max_concurrent = optional(map.get("max_concurrent"), |at| decoder.integer(at));
    let rules = || {
        Some(ServiceRules {
            allow: allow.or(Rights::default())?,
            set_headers: set.or(Vec::new())?.into(),
            remove_headers: remove.or(Vec::new())?,
            max_body: max_body.checked().ok()?,
            rate_limit: rate_limit.checked().ok()?,
            max_concurrent: max_concurrent.checked().ok()?.and_then(NonZeroU32::new),
        })
    };
    (rules().into(), unread)
}

fn allow(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Rights> {
    let map = decoder.mapping(at)?;
    if map.len() == 0 {
        let finding = Finding::error("missing_key", decoder.key(at), format!("{at} is empty"));
        let help = "write `{ methods: [GET] }` or `{ paths: [/contacts*] }`, or remove it";
        return decoder.reject(finding.label("this would allow everything").help(help));
    }
    rights::rights(decoder, &map)
}

fn removed(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Vec<FieldName>> {
    let all: Vec<Option<FieldName>> =
        decoder.sequence(at)?.map(|item| Purpose::Sent.read(decoder, &item)).collect();
    if all.is_empty() { decoder.empty(at) } else { all.into_iter().collect() }
}

/// Reports a header of `set_headers` or `remove_headers` in `map` that the credential of `account` sets, in any spelling.
pub(super) fn check_headers(decoder: &Decoder<'_>, map: &Map<'_>, account: &Account) -> Option<()> {
    let is_own = |name: &str| sets(account, name);
    let mut fine = true;
    let mut report = |at: &At<'_>, place, does: &str| {
        fine = false;
        let message = format!("{at} {does} a header of the account's credential");
        let finding = Finding::error("duplicate_header", place, message)
            .label("the credential replaces the client's header, and comes last")
            .help("remove it, or change the account");
        decoder.report(finding);
    };
    if let Some(at) = map.get("set_headers")
        && let Some(names) = decoder.names(&at)
    {
        for (_, at) in names.entries().filter(|(name, _)| is_own(name)) {
            report(&at, decoder.key(&at), "sets");
        }
    }
    if let Some(at) = map.get("remove_headers") {
        for item in decoder.sequence(&at).into_iter().flatten() {
            if decoder.string(&item).is_some_and(is_own) {
                report(&item, decoder.place(&item), "removes");
            }
        }
    }
    fine.then_some(())
}

/// Returns the first header of `set_headers` whose value is read from elsewhere, as a secret is.
pub(super) fn secret_header(decoder: &Decoder<'_>, map: &Map<'_>) -> Option<String> {
    let set = map.get("set_headers")?;
    let is_secret = |at: &At<'_>| {
        matches!(decoder.tree.view(at.node), View::Mapping(_))
            && decoder.names(at).is_some_and(|source| source.own("literal").is_none())
    };
    let mut headers = decoder.names(&set)?.entries();
    headers.find(|(_, at)| is_secret(at)).map(|(_, at)| at.to_string())
}

/// Reports at `at` an account that a caller opens the service with, and that sets a header of `rules`.
pub(super) fn check_account(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    rules: &ServiceRules,
    account: &Account,
) -> Option<()> {
    let set = rules.set_headers.iter().map(|(name, _)| name);
    let Some(name) = set.chain(&rules.remove_headers).find(|name| sets(account, name.as_str())) else {
        return Some(());
    };
    let name = String::from_utf8_lossy(name.spelling());
    let message = format!("{at}: the account sets `{name}`, and so does the service, or removes it");
    let finding = Finding::error("duplicate_header", decoder.place(at), message);
    decoder.reject(finding.label("see `set_headers` and `remove_headers` of the service"))
}

/// Returns true if the credential of `account` sets the header, in any spelling.
pub(super) fn sets(account: &Account, name: &str) -> bool {
    let beside = account.headers.iter().map(|(name, _)| name);
    account.authorization.header_names().chain(beside).any(|own| alike(own.as_str(), name))
}
