//! `redact_responses` of a service, and the accounts that it can be used with.

use crate::config::decode::{At, Decoder, Map};
use crate::config::model::{Account, RedactionScope};
use crate::config::problem::Finding;
use crate::secret::MIN_REDACTED;

const SCOPES: [(&str, RedactionScope); 2] =
    [("headers", RedactionScope::Headers), ("body", RedactionScope::Body)];
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
    if scope.is_none() || !is_short(decoder, account) {
        return Some(());
    }
    let message = format!("{at} has a credential of fewer than {MIN_REDACTED} characters");
    let finding = Finding::error("short_credential", decoder.place(at), message);
    decoder.reject(finding.label("the service's `redact_responses` can't look for it").help(HELP))
}

/// Without the secrets' values, no length is known.
fn is_short(decoder: &Decoder<'_>, account: &Account) -> bool {
    !decoder.secrets.offline && account.authorization.shortest().is_some_and(|length| length < MIN_REDACTED)
}
