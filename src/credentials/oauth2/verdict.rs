//! What an answer of a token endpoint means for the account.

use super::error::{Cause, Failure};
use crate::config::model::{Grant, OAuth2};

/// Judges the answer to a request that presented the account's own grant, a refresh token or a password:
/// `invalid_grant` means that this grant is gone (RFC 6749 section 5.2).
pub(super) fn of_grant(failure: Failure, config: &OAuth2) -> Failure {
    let presented = config.grant.refreshes() || matches!(config.grant, Grant::Password { .. });
    let cause = match failure.cause {
        Cause::Rejected { code } if presented && &*code == "invalid_grant" => {
            Cause::GrantGone { code: Some(code) }
        }
        cause => cause,
    };
    Failure { cause, ..failure }
}
