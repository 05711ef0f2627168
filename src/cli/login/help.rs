//! Help for a login that failed, or that does not last.

use super::{LoginArgs, LoginError};
use crate::config::model::{Grant, OAuth2};
use crate::credentials::oauth2::{Cause, Failure, SignInError};
use crate::state::StateError;
use std::io;
use std::path::Path;

/// Returns what the user can do about a failed login.
pub(super) fn of(error: &LoginError, args: &LoginArgs, path: Option<&Path>) -> Option<String> {
    Some(match error {
        LoginError::SignIn(SignInError::WrongIssuer { .. }) => {
            "sign in again; if it repeats, compare the account's `issuer` (default: one of the origin of \
             `authorization_url`) with the `issuer` in the provider's metadata"
                .to_owned()
        }
        LoginError::State(StateError::ForeignOwner { owner, .. }) => {
            let config = path.map(|path| format!(" -c {}", path.display())).unwrap_or_default();
            format!("sudo -u '#{owner}' attache login {}{config} --no-browser", args.account)
        }
        LoginError::State(StateError::Io { cause, .. })
            if cause.kind() == io::ErrorKind::PermissionDenied =>
        {
            "run it as the user that `attache run` runs as".to_owned()
        }
        LoginError::SignIn(
            SignInError::Denied(Failure { cause: Cause::Rejected { code }, .. })
            | SignInError::Refused { code, .. },
        ) => match &**code {
            "redirect_uri_mismatch" | "invalid_request" => {
                "is the redirect URL registered with the provider? `redirect_url` sets another one".to_owned()
            }
            "invalid_grant" => "the code was used already, or has expired: sign in again".to_owned(),
            _ => return None,
        },
        _ => return None,
    })
}

/// Returns what providers require for a refresh token, without what the account has already.
pub(super) fn for_refresh_token(oauth2: &OAuth2) -> String {
    let mut remedies = Vec::new();
    if !oauth2.scopes.iter().any(|scope| scope == "offline_access") {
        remedies.push("most providers require the scope `offline_access` for it");
    }
    if let Grant::AuthorizationCode { authorization_params, .. } = &oauth2.grant {
        let has = |wanted: &str| authorization_params.iter().any(|(name, _)| name == wanted);
        if !has("prompt") {
            // OpenID Connect Core 1.0 section 11: without it the scope `offline_access` is ignored.
            remedies.push(
                "many OpenID providers issue one only with `authorization_params: { prompt: consent }`",
            );
        }
        if !has("access_type") {
            remedies
                .push("Google requires `authorization_params: { access_type: offline, prompt: consent }`");
        }
    }
    remedies.push("some give one only at the first consent: withdraw that there, and sign in again");
    remedies.join("; ")
}
