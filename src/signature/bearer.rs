//! A JSON Web Token of one of `issuers`, which proves the sender. It signs nothing of the request.
//!
//! An issuer may sign tokens for all its customers, and some let a customer choose the audience. So a scheme may require
//! claims, and the file may require more. They are compared as JSON values.

use super::key::SignatureKey;
use super::place::LocatedTexts;
use super::trace::Trace;
use super::{Fault, FetchedKeys, KeyName, NeededKey, Signed, TokenRefused};
use crate::jwt::verify::JwtRefusal;
use serde_json::{Map, Value};
use std::time::SystemTime;

/// The token that a call needs.
#[derive(Debug, Clone, PartialEq)]
pub struct RequiredToken {
    /// The key under `issuers` of its issuer.
    pub issuer: String,
    /// The claims that it must have, with their values.
    pub claims: Map<String, Value>,
}

/// Verifies the token of a request.
pub(super) fn verify(
    keys: &[(usize, SignatureKey)],
    located: &LocatedTexts<'_, '_>,
    fetched: &dyn FetchedKeys,
    now: SystemTime,
    trace: &mut Trace,
) -> Result<Signed, Fault> {
    let required = keys.iter().find_map(|(_, key)| match key {
        SignatureKey::Token(_)
        | SignatureKey::Hmac(_)
        | SignatureKey::Public(_)
        | SignatureKey::Topics(_) => None,
        SignatureKey::Issued(required) => Some(required),
    });
    let (Some(required), [token]) = (required, &located.signatures[..]) else { return Err(Fault::Mismatch) };
    let claims = match fetched.claims(&required.issuer, token.text.as_bytes(), now) {
        Ok(claims) => claims,
        Err(TokenRefused { reason, needs_newer_keys }) => {
            let otherwise = match reason {
                JwtRefusal::KeysUnavailable => Fault::KeyUnavailable("the keys of the token's issuer"),
                reason => Fault::Token(reason),
            };
            return Err(match needs_newer_keys {
                true => Fault::NeedsKey(NeededKey {
                    name: KeyName::Issuer(required.issuer.clone()),
                    otherwise: Box::new(otherwise),
                }),
                false => otherwise,
            });
        }
    };
    trace.passed(|| format!("a token of the issuer `{}`, for its audience, and valid now", required.issuer));
    for (name, value) in &required.claims {
        if claims.get(name) != Some(value) {
            return Err(Fault::Claim(name.clone()));
        }
        trace.passed(|| format!("the claim `{name}` has the required value"));
    }
    Ok(Signed::default())
}
