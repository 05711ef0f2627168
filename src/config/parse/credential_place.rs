//! `{credential}` in a `server_url`, and the accounts that fill it in.

use crate::config::decode::{At, Decoder};
use crate::config::model::{Account, Authorization, CREDENTIAL_PLACE, ServerUrl};
use crate::config::problem::Finding;

/// Reports at `at` a `server_url` with `{credential}` and an account that does not fill it in, or one without it and an
/// account that needs it.
pub(super) fn check(decoder: &Decoder<'_>, at: &At<'_>, url: &ServerUrl, account: &Account) -> Option<()> {
    let place = CREDENTIAL_PLACE;
    let finding = |message: String| Finding::error("credential_place", decoder.place(at), message);
    match (url.has_credential(), &account.authorization) {
        // Its kind is not known, and no request is sent.
        (_, Authorization::Unavailable) | (true, Authorization::Path(_)) => Some(()),
        (true, _) => {
            let message = format!("{at}: nothing takes the place of `{place}` in the service's URL");
            decoder.reject(
                finding(message)
                    .label("the account's credential is of another kind")
                    .help("give the account `authorization: { path: { env: NAME } }`"),
            )
        }
        (false, Authorization::Path(_)) => {
            let message = format!("{at}: the account's `path` credential has no place in the service's URL");
            decoder.reject(
                finding(message)
                    .label(format!("`{place}` is missing in the URL"))
                    .help(format!("write it like `https://api.telegram.org/bot{place}`")),
            )
        }
        (false, _) => Some(()),
    }
}
