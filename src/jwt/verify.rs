//! Verification of a signed token (RFC 7515, RFC 7519; the advice of RFC 8725). Pure: keys and time are arguments.
//!
//! Invariants:
//! - The key decides which algorithms it verifies ([`super::key_set`]). The token's `alg` only has to be one of them.
//! - A token says nothing about where keys are: `jwk`, `jku`, `x5u` and `x5c` are ignored, and `crit` is refused.
//! - One token has one reading: strict base64url, no duplicate names, three parts, nothing before or after them.
//! - Nothing of a token is in a text that this module returns.

use super::Algorithm;
use super::key_set::{KeySet, MAX_KEY_ID};
use super::strict_json;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Maximum size of a token, in bytes.
pub const MAX_TOKEN: usize = 16 << 10;
/// Tolerated difference between the clocks of the issuer and of this machine.
pub const LEEWAY: Duration = Duration::from_secs(60);
/// Maximum number of keys that are tried for one token: without a `kid` there may be many.
const MAX_TRIED: usize = 8;
/// The end of the year 9999, in seconds. A later time is a mistake of the issuer, such as milliseconds.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// Why a token proves nothing, in the order in which it is found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum JwtRefusal {
    /// It is not a signed token in compact form, or a claim has the wrong type.
    #[error("it is malformed")]
    Malformed,
    /// It is larger than [`MAX_TOKEN`].
    #[error("it is larger than 16 KiB")]
    TooLarge,
    /// It has a `crit` header.
    #[error("it requires an extension (`crit`)")]
    Critical,
    /// Its `iss` is none of the configured issuers.
    #[error("it is of another issuer")]
    WrongIssuer,
    /// The issuer's keys are not known: none was fetched yet.
    #[error("the issuer's keys are not known yet")]
    KeysUnavailable,
    /// The issuer has no key with its `kid`.
    #[error("the issuer has no such key")]
    UnknownKey,
    /// Its `alg` is unknown, `none`, a shared secret's, or not one of its key's.
    #[error("its algorithm is not one of the issuer's key")]
    Algorithm,
    /// No key of the issuer made its signature.
    #[error("its signature is wrong")]
    BadSignature,
    /// `iss`, `sub` or `exp` is missing, or a required one is empty.
    #[error("a required claim is missing")]
    MissingClaim,
    /// Its `aud` names none of the configured audiences.
    #[error("it is for another audience")]
    WrongAudience,
    /// Its `exp` is past.
    #[error("it has expired")]
    Expired,
    /// Its `nbf` or `iat` is in the future.
    #[error("it is not valid yet")]
    NotYetValid,
}

/// The claims of a token that was verified. No `Debug`: claims may be personal data.
#[derive(Clone, PartialEq)]
pub struct Claims {
    /// `sub`. Never empty.
    pub subject: String,
    /// The times between which it is valid.
    pub times: Times,
}

/// The times between which a token is valid, without the leeway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// The later of `nbf` and `iat`.
    pub from: Option<SystemTime>,
    /// `exp`.
    pub until: SystemTime,
}

impl Times {
    /// Checks that the token is valid at `now`.
    ///
    /// # Errors
    ///
    /// [`JwtRefusal::Expired`] or [`JwtRefusal::NotYetValid`].
    pub fn check_at(&self, now: SystemTime) -> Result<(), JwtRefusal> {
        if self.until + LEEWAY <= now {
            return Err(JwtRefusal::Expired);
        }
        match self.from.is_some_and(|from| from > now + LEEWAY) {
            true => Err(JwtRefusal::NotYetValid),
            false => Ok(()),
        }
    }
}

/// A token that was read and not verified. No `Debug`: the token is a credential.
pub struct UnverifiedToken<'t> {
    algorithm: Algorithm,
    key_id: Option<String>,
    claims: Map<String, Value>,
    /// Header and payload as they were sent.
    message: &'t [u8],
    signature: Vec<u8>,
}

impl<'t> UnverifiedToken<'t> {
    /// Reads a token in compact form.
    ///
    /// # Errors
    ///
    /// If it cannot be verified by any key.
    pub fn parse(token: &'t [u8]) -> Result<Self, JwtRefusal> {
        if token.len() > MAX_TOKEN {
            return Err(JwtRefusal::TooLarge);
        }
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(JwtRefusal::Malformed);
        };
        let message = &token[..header.len() + 1 + payload.len()];
        let header = strict_json::object(&decode(header)?).ok_or(JwtRefusal::Malformed)?;
        let algorithm = header.get("alg").and_then(Value::as_str).ok_or(JwtRefusal::Malformed)?;
        let algorithm = Algorithm::verifiable(algorithm).ok_or(JwtRefusal::Algorithm)?;
        if header.contains_key("crit") {
            return Err(JwtRefusal::Critical);
        }
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(id)) if id.len() <= MAX_KEY_ID => Some(id.clone()),
            Some(_) => return Err(JwtRefusal::Malformed),
        };
        let claims = strict_json::object(&decode(payload)?).ok_or(JwtRefusal::Malformed)?;
        Ok(Self { algorithm, key_id, claims, message, signature: decode(signature)? })
    }

    /// Returns `iss`, which is not proven. `None` if there is none.
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }

    /// Returns true if the token names the issuer and one of the audiences, which is not proven.
    pub fn is_between(&self, issuer: &str, audiences: &[String]) -> bool {
        self.issuer() == Some(issuer) && self.is_for(audiences) == Ok(true)
    }

    /// Verifies the signature with the keys of `issuer`, then the claims at `now`. The signature comes first, so that
    /// `expired` is said of the issuer's own tokens only.
    ///
    /// # Errors
    ///
    /// The first reason for which the token proves nothing.
    pub fn verify(
        &self,
        keys: &KeySet,
        issuer: &str,
        audiences: &[String],
        now: SystemTime,
    ) -> Result<Claims, JwtRefusal> {
        self.check_signature(keys)?;
        self.check_claims(issuer, audiences, now)
    }

    /// As [`Self::verify`], for a token that need not have a `sub`. Returns every claim.
    ///
    /// # Errors
    ///
    /// The first reason for which the token proves nothing.
    pub fn verify_without_subject(
        &self,
        keys: &KeySet,
        issuer: &str,
        audiences: &[String],
        now: SystemTime,
    ) -> Result<Map<String, Value>, JwtRefusal> {
        self.check_signature(keys)?;
        self.check_addressee(issuer, audiences)?;
        self.check_times(now)?;
        Ok(self.claims.clone())
    }

    /// Returns true if the token, refused for this reason, could be good with other keys of the issuer. A token whose
    /// claims refuse it anyway is no reason to fetch keys; its `sub` is not looked at.
    pub fn may_be_of_newer_key(
        &self,
        refusal: JwtRefusal,
        issuer: &str,
        audiences: &[String],
        now: SystemTime,
    ) -> bool {
        let depends_on_keys = match refusal {
            JwtRefusal::UnknownKey | JwtRefusal::KeysUnavailable => true,
            JwtRefusal::BadSignature | JwtRefusal::Algorithm => self.key_id.is_none(),
            _ => false,
        };
        depends_on_keys && self.check_addressee(issuer, audiences).is_ok() && self.check_times(now).is_ok()
    }

    /// Returns true if the token has a `sub`, which is not proven.
    pub fn has_subject(&self) -> bool {
        self.text("sub").is_ok()
    }

    fn check_claims(
        &self,
        issuer: &str,
        audiences: &[String],
        now: SystemTime,
    ) -> Result<Claims, JwtRefusal> {
        self.check_addressee(issuer, audiences)?;
        let subject = self.text("sub")?.to_owned();
        Ok(Claims { subject, times: self.check_times(now)? })
    }

    fn check_addressee(&self, issuer: &str, audiences: &[String]) -> Result<(), JwtRefusal> {
        if self.text("iss")? != issuer {
            return Err(JwtRefusal::WrongIssuer);
        }
        if self.is_for(audiences)? { Ok(()) } else { Err(JwtRefusal::WrongAudience) }
    }

    /// Checks the times of the token, and returns them.
    fn check_times(&self, now: SystemTime) -> Result<Times, JwtRefusal> {
        let until = self.time("exp")?.ok_or(JwtRefusal::MissingClaim)?;
        let times = Times { from: self.time("nbf")?.max(self.time("iat")?), until };
        times.check_at(now).map(|()| times)
    }

    fn check_signature(&self, keys: &KeySet) -> Result<(), JwtRefusal> {
        let mut named = keys.candidates(self.key_id.as_deref()).peekable();
        if named.peek().is_none() {
            return Err(JwtRefusal::UnknownKey);
        }
        let mut fitting = named.filter(|key| key.fits(self.algorithm)).take(MAX_TRIED).peekable();
        if fitting.peek().is_none() {
            return Err(JwtRefusal::Algorithm);
        }
        let is_good = fitting.any(|key| key.verify(self.algorithm, self.message, &self.signature));
        if is_good { Ok(()) } else { Err(JwtRefusal::BadSignature) }
    }

    /// Returns true if `aud`, a text or a list of them, names one of the audiences.
    fn is_for(&self, audiences: &[String]) -> Result<bool, JwtRefusal> {
        let named = |audience: &str| audiences.iter().any(|expected| expected == audience);
        match self.claims.get("aud") {
            None => Ok(false),
            Some(Value::String(audience)) => Ok(named(audience)),
            Some(Value::Array(list)) => {
                let mut is_for = false;
                for audience in list {
                    is_for |= named(audience.as_str().ok_or(JwtRefusal::Malformed)?);
                }
                Ok(is_for)
            }
            Some(_) => Err(JwtRefusal::Malformed),
        }
    }

    /// Returns a required claim that is text.
    fn text(&self, name: &str) -> Result<&str, JwtRefusal> {
        let value = self.claims.get(name).ok_or(JwtRefusal::MissingClaim)?;
        match value.as_str().ok_or(JwtRefusal::Malformed)? {
            "" => Err(JwtRefusal::MissingClaim),
            text => Ok(text),
        }
    }

    /// Returns a NumericDate (RFC 7519 section 2), if there is one. It may have a fraction.
    fn time(&self, name: &str) -> Result<Option<SystemTime>, JwtRefusal> {
        let Some(value) = self.claims.get(name) else { return Ok(None) };
        let seconds = value.as_f64().filter(|seconds| (0.0..=LAST_SECOND).contains(seconds));
        let since = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Ok(Some(UNIX_EPOCH + since.ok_or(JwtRefusal::Malformed)?))
    }
}

fn decode(part: &[u8]) -> Result<Vec<u8>, JwtRefusal> {
    BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtRefusal::Malformed)
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
