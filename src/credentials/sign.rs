//! Tokens that attache signs with a key of the file (RFC 7519).
//!
//! `iat` is the present, and there is no `nbf`: both would need a false time to satisfy a server whose clock is behind,
//! and servers in the field allow for some seconds of skew.

use crate::config::model::SignedAssertion;
use crate::jwt::SignError;
use crate::secret::Secret;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The number of times a token is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// Once: it has a `jti`, by which the server may refuse a replay.
    Once,
    /// With every request until its end.
    Repeatedly,
}

/// Returns a token that is valid from `now`. `scope` is the claim of that name, unless it is empty.
pub(super) fn sign(
    assertion: &SignedAssertion,
    scope: &str,
    sent: Sent,
    now: SystemTime,
) -> Result<Secret, SignError> {
    let SignedAssertion {
        key,
        key_id,
        certificate_sha256,
        issuer,
        subject,
        audience,
        lifetime,
        claims: extra,
        scope_claim: _,
    } = assertion;
    let mut header = Map::new();
    if let Some(id) = key_id {
        header.insert("kid".into(), id.as_str().into());
    }
    if let Some(digest) = certificate_sha256 {
        header.insert("x5t#S256".into(), BASE64_URL_SAFE_NO_PAD.encode(digest).into());
    }
    // The operator's claims come first, because they must not replace those with keys of their own.
    let mut all = extra.clone();
    if !scope.is_empty() {
        all.insert("scope".into(), scope.into());
    }
    let named = [("iss", issuer), ("sub", subject), ("aud", audience)];
    all.extend(claims(named.map(|(name, text)| (name, text.as_deref())), sent, now, *lifetime));
    key.sign(header, &all)
}

/// Returns the claims that attache sets itself. `named` are those with a text.
pub(super) fn claims(
    named: [(&'static str, Option<&str>); 3],
    sent: Sent,
    now: SystemTime,
    lifetime: Duration,
) -> impl Iterator<Item = (String, Value)> {
    let issued = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let id = (sent == Sent::Once).then(|| uuid::Uuid::now_v7().to_string().into());
    let times = [("iat", issued.into()), ("exp", issued.saturating_add(lifetime.as_secs()).into())];
    let named = named.map(|(name, text)| Some((name, Value::from(text?))));
    let all = named.into_iter().flatten().chain(times).chain(id.map(|id| ("jti", id)));
    all.map(|(name, value)| (name.to_owned(), value))
}
