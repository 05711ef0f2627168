//! `redact_responses` of a service, and the accounts that it can be used with.

use super::service_rules::sets;
use crate::config::decode::{At, Decoder, Map};
use crate::config::model::{Account, RedactionScope};
use crate::config::problem::Finding;
use crate::header_name::alike;
use crate::secret::MIN_REDACTED;

const SCOPES: [(&str, RedactionScope); 2] =
    [("headers", RedactionScope::Headers), ("body", RedactionScope::Body)];
/// The header that asks for a body without a coding.
const CODING: &str = "accept-encoding";
const HELP: &str = "use a longer credential, or remove `redact_responses`";

pub(super) fn scope(decoder: &Decoder<'_>, at: &At<'_>) -> Option<RedactionScope> {
    decoder.one_of(at, &SCOPES)
}

/// Reports a credential that could be a part of any word, and so is never looked for.
pub(super) fn check_service(
    decoder: &Decoder<'_>,
    map: &Map<'_>,
    scope: Option<RedactionScope>,
    account: &Account,
) {
    let Some(at) = map.get("redact_responses").filter(|_| scope.is_some() && is_short(decoder, account))
    else {
        return;
    };
    let message = format!("{at} can't look for a credential of fewer than {MIN_REDACTED} characters");
    let finding = Finding::error("short_credential", decoder.place(&at), message);
    let finding = finding.label(format!("the account `{}` has one", account.name)).help(HELP);
    decoder.report(match map.own("account") {
        Some(account) => finding.secondary(decoder.place(&account), "the account"),
        None => finding,
    });
}

/// Reports the same of an account that opens the service for one caller.
pub(super) fn check_account(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    scope: Option<RedactionScope>,
    account: &Account,
) -> Option<()> {
    if scope == Some(RedactionScope::Body) && sets(account, CODING) {
        let message =
            format!("{at}: the account sets `Accept-Encoding`, and so does `redact_responses: body`");
        let finding = Finding::error("duplicate_header", decoder.place(at), message);
        return decoder.reject(finding.label("a compressed body can't be searched"));
    }
    if scope.is_none() || !is_short(decoder, account) {
        return Some(());
    }
    let message = format!("{at} has a credential of fewer than {MIN_REDACTED} characters");
    let finding = Finding::error("short_credential", decoder.place(at), message);
    decoder.reject(finding.label("the service's `redact_responses` can't look for it").help(HELP))
}

/// Reports another `Accept-Encoding` than that with which `redact_responses: body` asks for a body that it can search.
pub(super) fn check_coding(
    decoder: &Decoder<'_>,
    map: &Map<'_>,
    scope: Option<RedactionScope>,
    account: Option<&Account>,
) -> Option<()> {
    if scope != Some(RedactionScope::Body) {
        return Some(());
    }
    let mut fine = true;
    let mut report = |at: &At<'_>, place| {
        fine = false;
        let message = format!("{at}: `redact_responses: body` sets `Accept-Encoding` itself");
        let finding = Finding::error("duplicate_header", place, message);
        let finding = finding.label("a compressed body can't be searched");
        decoder.report(finding.help("remove it, or write `redact_responses: headers`"));
    };
    let set = map.get("set_headers");
    let names = set.as_ref().and_then(|set| decoder.names(set));
    for (_, at) in names.iter().flat_map(|names| names.entries()).filter(|(name, _)| alike(name, CODING)) {
        report(&at, decoder.key(&at));
    }
    if let Some(at) = map.get("redact_responses").filter(|_| account.is_some_and(|own| sets(own, CODING))) {
        report(&at, decoder.place(&at));
    }
    fine.then_some(())
}

/// Without the secrets' values, no length is known.
fn is_short(decoder: &Decoder<'_>, account: &Account) -> bool {
    !decoder.secrets.offline && account.authorization.shortest().is_some_and(|length| length < MIN_REDACTED)
}
