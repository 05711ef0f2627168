//! Tokens that are shown to the token endpoint: signed here (RFC 7523), or made elsewhere.
//!
//! Each is made or read anew for every request.

use super::error::{Failure, Unavailability};
use crate::config::model::{Assertion, PresentedToken};
use crate::credentials::sign::{Sent, claims, sign};
use crate::jwt::{self, SignError};
use crate::secret::Secret;
use serde_json::Map;
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
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
        Assertion::Signed(signed) => {
            let scope = if signed.scope_claim { scopes.join(" ") } else { String::new() };
            sign(signed, &scope, Sent::Once, now).map_err(unsigned)
        }
        Assertion::Presented(token) => present(token).await,
    }
}

/// Returns the bearer token that `grant: custom` sends at `now`. It has no `jti`: it is no assertion of RFC 7523.
pub(super) async fn make_bearer(assertion: &Assertion, now: SystemTime) -> Result<Secret, Failure> {
    match assertion {
        Assertion::Signed(signed) => sign(signed, "", Sent::Repeatedly, now).map_err(unsigned),
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
    let named = [("iss", Some(client_id)), ("sub", Some(client_id)), ("aud", Some(audience))];
    let claims = claims(named, Sent::Once, now, SECRET_LIFETIME);
    jwt::sign_hs256(secret, Map::new(), &claims.collect()).map_err(unsigned)
}

/// Between `iat` and `exp` where the file says nothing of it.
const SECRET_LIFETIME: Duration = Duration::from_secs(300);

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
