//! Tokens that are shown to the token endpoint: signed here (RFC 7523), or made elsewhere.
//!
//! Each is made or read anew for every request. A signed one says `iat` = now and no `nbf`: a server that refuses a
//! clock a few seconds ahead of its own would have to be told a time that is not true, and those in the field allow for
//! that skew themselves.

use super::error::{Failure, Unavailability};
use crate::config::model::{Assertion, PresentedToken, SignedAssertion};
use crate::jwt::{self, SignError};
use crate::secret::Secret;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::AsyncReadExt as _;
use zeroize::Zeroizing;

/// The largest file that is taken for a token.
const MAX_FILE: u64 = 64 * 1024;

/// An assertion for one request at `now`. `scopes` are for those that carry them in a claim.
pub(super) async fn make(
    assertion: &Assertion,
    scopes: &[String],
    now: SystemTime,
) -> Result<Secret, Failure> {
    match assertion {
        Assertion::Signed(signed) => sign(signed, scopes, now),
        Assertion::Presented(token) => present(token).await,
    }
}

/// The token's text. A file is read now: at most 64 KiB, less the newline at its end.
pub(super) async fn present(token: &PresentedToken) -> Result<Secret, Failure> {
    match token {
        PresentedToken::Fixed(secret) => Ok(secret.clone()),
        PresentedToken::File(path) => read(path).await,
    }
}

/// `client_secret_jwt` of OpenID Connect Core section 9: the client vouches for itself with its secret.
pub(super) fn sign_with_secret(
    client_id: &str,
    secret: &Secret,
    audience: &str,
    now: SystemTime,
) -> Result<Secret, Failure> {
    let claims = claims(client_id, client_id, audience, now, SECRET_LIFETIME);
    jwt::sign_hs256(secret, Map::new(), &claims).map_err(unsigned)
}

/// Between `iat` and `exp` where the file says nothing of it.
const SECRET_LIFETIME: Duration = Duration::from_secs(300);

fn sign(assertion: &SignedAssertion, scopes: &[String], now: SystemTime) -> Result<Secret, Failure> {
    let SignedAssertion {
        key,
        key_id,
        certificate_sha256,
        issuer,
        subject,
        audience,
        lifetime,
        claims: extra,
        scope_claim,
    } = assertion;
    let mut header = Map::new();
    if let Some(id) = key_id {
        header.insert("kid".into(), id.as_str().into());
    }
    if let Some(digest) = certificate_sha256 {
        header.insert("x5t#S256".into(), BASE64_URL_SAFE_NO_PAD.encode(digest).into());
    }
    // What has a meaning of its own is not for `claims` to replace: hence the order.
    let mut all: Map<String, Value> =
        extra.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    if *scope_claim && !scopes.is_empty() {
        all.insert("scope".into(), scopes.join(" ").into());
    }
    all.extend(claims(issuer, subject, audience, now, *lifetime));
    key.sign(header, &all).map_err(unsigned)
}

fn claims(
    issuer: &str,
    subject: &str,
    audience: &str,
    now: SystemTime,
    lifetime: Duration,
) -> Map<String, Value> {
    let issued = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    [
        ("iss", Value::from(issuer)),
        ("sub", subject.into()),
        ("aud", audience.into()),
        ("iat", issued.into()),
        ("exp", issued.saturating_add(lifetime.as_secs()).into()),
        ("jti", uuid::Uuid::now_v7().to_string().into()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

async fn read(path: &Path) -> Result<Secret, Failure> {
    let failed = |why: &dyn Display| unusable(&format!("{}: {why}", path.display()));
    let mut bytes = Zeroizing::new(Vec::with_capacity(8 * 1024));
    let file = tokio::fs::File::open(path).await.map_err(|error| failed(&error))?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).await.map_err(|error| failed(&error))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(failed(&"larger than 64 KiB"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| failed(&"not UTF-8"))?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    match text {
        "" => Err(failed(&"empty")),
        _ if text.chars().any(char::is_control) => Err(failed(&"more than one line, or a control character")),
        _ => Ok(Secret::new(text)),
    }
}

fn unsigned(error: SignError) -> Failure {
    unusable(&error.to_string())
}

fn unusable(why: &str) -> Failure {
    Failure::from(Unavailability::Assertion).with_words(Arc::from(why))
}

#[cfg(test)]
mod tests;
