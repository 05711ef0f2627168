//! Callers: which internal program sends a request, and what it may do. Pure: the head, the certificate and the time are
//! arguments.
//!
//! Invariants:
//! - One request proves at most one caller. Proofs of two callers are a refusal.
//! - A field that counts as the proof and does not prove a caller is a refusal; no other field is looked at. Under
//!   `caller_rules: report` it is logged and counted instead.
//! - No field that holds a token of any caller is forwarded ([`Callers::holds_proof`]).

mod last_proof;
pub mod proof;
mod strip;
mod table;
#[cfg(test)]
mod tests;
pub mod tokens;

pub use crate::issuers::NewerKeys;
pub use last_proof::LastProof;
pub use table::{CallerNumber, Callers, Right, RunningCaller};

use super::rights::{self, Denied};
use super::{Call, Located, Routes};
use crate::config::model::{CallerRules, Validity};
use crate::error_code::ErrorCode;
use crate::issuers::{Issuers, Verified};
use crate::jwt::verify::JwtRefusal;
use crate::plan::{Challenge, Plan, Refusal};
use crate::telemetry::metrics::CallerRefusal;
use crate::x509::San;
use http::{Method, StatusCode};
use proof::Proof;
use std::time::SystemTime;
use tokens::TokenNumber;

/// The parts of a request that may prove its caller.
pub struct Shown<'a> {
    /// The proof that the header fields show ([`proof::shown`]).
    pub proof: Result<Option<Proof<'a>>, CallerRefusal>,
    /// The names of the client's certificate.
    pub certificate: Option<&'a [San]>,
    /// The time of the clock.
    pub now: SystemTime,
}

/// A caller that a request proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proven {
    /// The caller.
    pub caller: CallerNumber,
    /// Its token, if a token is the proof.
    pub token: Option<TokenNumber>,
    /// True if a header field is the proof, not a certificate.
    pub by_field: bool,
}

/// A request that proves no caller.
pub struct Unproven {
    /// Why.
    pub reason: CallerRefusal,
    /// A caller's token that is not valid now.
    pub token: Option<TokenNumber>,
    /// Keys of an issuer that may make the proof valid.
    pub newer_keys: Option<NewerKeys>,
}

impl From<CallerRefusal> for Unproven {
    fn from(reason: CallerRefusal) -> Self {
        Self { reason, token: None, newer_keys: None }
    }
}

/// The decision about a request, without its caller's limits.
pub struct Decision<'a> {
    /// The proven caller.
    pub caller: Option<CallerNumber>,
    /// The proof or the right that the request lacks. Under `caller_rules: report` it goes on all the same.
    pub lacks: Option<CallerRefusal>,
    /// The use of a service that the callers' rules let through. The limits of the caller hold for it.
    pub admitted: Option<Admitted<'a>>,
    /// The plan, or the answer if the request is not forwarded.
    pub plan: Result<Plan, Refusal>,
}

/// The use of a service that the callers' rules let through.
#[derive(Clone, Copy)]
pub struct Admitted<'a> {
    /// The service.
    pub service: &'a str,
    /// The caller's right on it.
    pub right: Option<Right<'a>>,
}

impl Callers {
    /// Returns the caller that a request proves. `issuers` are of the same file; `last` is of the request's connection.
    ///
    /// # Errors
    ///
    /// Why it proves none.
    pub fn authenticate(
        &self,
        issuers: &Issuers,
        shown: Shown<'_>,
        last: &mut LastProof,
    ) -> Result<Proven, Unproven> {
        let by_certificate = self.by_certificate(shown.certificate.unwrap_or_default())?;
        let by_field = match shown.proof? {
            None => None,
            Some(proof) => match self.by_text(issuers, &proof, shown.now, last) {
                // Beside a certificate, an unknown `Authorization` is the client's own for the provider.
                Err(Unproven { reason, .. })
                    if by_certificate.is_some() && is_unknown(reason) && proof.is_shared() =>
                {
                    None
                }
                outcome => Some(outcome?),
            },
        };
        match (by_field, by_certificate) {
            (Some(proven), Some(caller)) if proven.caller != caller => Err(CallerRefusal::TwoCallers.into()),
            (Some(proven), _) => Ok(proven),
            (None, Some(caller)) => Ok(Proven { caller, token: None, by_field: false }),
            (None, None) if shown.certificate.is_some_and(|names| !names.is_empty()) => {
                Err(CallerRefusal::UnknownCertificate.into())
            }
            (None, None) => Err(CallerRefusal::NoProof.into()),
        }
    }

    fn by_certificate(&self, names: &[San]) -> Result<Option<CallerNumber>, CallerRefusal> {
        let mut found = names.iter().filter_map(|name| self.of_certificate(name));
        let first = found.next();
        match found.all(|other| Some(other) == first) {
            true => Ok(first),
            false => Err(CallerRefusal::TwoCallers),
        }
    }

    fn by_text(
        &self,
        issuers: &Issuers,
        proof: &Proof<'_>,
        now: SystemTime,
        last: &mut LastProof,
    ) -> Result<Proven, Unproven> {
        if let Some(proven) = last.proven(self, issuers, &proof.text, now) {
            return Ok(proven);
        }
        if !proof.is_well_formed() {
            return Err(CallerRefusal::MalformedProof.into());
        }
        let (proven, jwt) = match self.tokens().find(&proof.text) {
            Some(number) => (self.by_token(number, now)?, None),
            None => self.by_jwt(issuers, &proof.text, now).map(|(proven, jwt)| (proven, Some(jwt)))?,
        };
        last.set(self, &proof.text, proven, jwt);
        Ok(proven)
    }

    fn by_token(&self, number: TokenNumber, now: SystemTime) -> Result<Proven, Unproven> {
        let token = self.tokens().get(number);
        let reason = match token.validity_at(now) {
            Validity::Valid => {
                return Ok(Proven { caller: token.caller, token: Some(number), by_field: true });
            }
            Validity::NotYetValid => CallerRefusal::TokenNotYetValid,
            Validity::Expired => CallerRefusal::TokenExpired,
            Validity::Disabled => CallerRefusal::TokenDisabled,
        };
        Err(Unproven { token: Some(number), ..reason.into() })
    }

    fn by_jwt(
        &self,
        issuers: &Issuers,
        text: &[u8],
        now: SystemTime,
    ) -> Result<(Proven, Verified), Unproven> {
        if issuers.is_empty() || !looks_like_jwt(text) {
            return Err(CallerRefusal::UnknownToken.into());
        }
        let verified = issuers.verify(text, now).map_err(|refused| Unproven {
            newer_keys: refused.newer_keys,
            ..of_jwt(refused.reason).into()
        })?;
        match self.of_subject(&verified.issuer, &verified.claims.subject) {
            Some(caller) => Ok((Proven { caller, token: None, by_field: true }, verified)),
            None => Err(CallerRefusal::JwtSubject.into()),
        }
    }

    /// Decides what to do with a request. Limits and counts are the exchange's, since they change with it.
    pub fn decide<'a>(
        &'a self,
        routes: &'a Routes,
        call: &Call<'a>,
        proven: Result<CallerNumber, CallerRefusal>,
    ) -> Decision<'a> {
        let (caller, unproven) = (proven.ok(), proven.err());
        let refused = |lacks, refusal| Decision { caller, lacks, admitted: None, plan: Err(refusal) };
        // Before the service is looked for: its absence is not told to a client without a proof.
        if let Some(reason) = unproven.filter(|_| self.enforces()) {
            return refused(unproven, unproven_refusal(routes, call, reason));
        }
        let located = match routes.locate(call) {
            Ok(located) => located,
            Err(refusal) => return refused(unproven, refusal),
        };
        let service = &*located.route.service;
        let (right, lacks) = match caller {
            Some(caller) => self.authorize(caller, &located, call.method),
            None => (None, unproven),
        };
        if let Some(reason) = lacks.filter(|_| self.enforces()) {
            return refused(lacks, refusal(reason).of(service));
        }
        let plan = located.plan(right.and_then(Right::route).unwrap_or(located.route));
        Decision { caller, lacks, admitted: Some(Admitted { service, right }), plan }
    }

    /// Checks what a proven caller may do with a request. Returns its right on the service, and what the request lacks.
    fn authorize(
        &self,
        caller: CallerNumber,
        located: &Located<'_>,
        method: &Method,
    ) -> (Option<Right<'_>>, Option<CallerRefusal>) {
        let Some(right) = self.get(caller).right(&located.route.service) else {
            return (None, Some(CallerRefusal::Service));
        };
        let checked = right.rights().map_or(Ok(()), |rights| rights::check(rights, method, located.rest));
        let lacks = checked.err().map(|denied| match denied {
            Denied::Method => CallerRefusal::Method,
            Denied::Path | Denied::AmbiguousPath => CallerRefusal::Path,
        });
        (Some(right), lacks)
    }

    /// Returns true if a request without a proof or a right is refused.
    pub fn enforces(&self) -> bool {
        self.rules() == CallerRules::Enforce
    }
}

/// Returns the answer to a request that proves no caller.
fn unproven_refusal(routes: &Routes, call: &Call<'_>, reason: CallerRefusal) -> Refusal {
    let refusal = refusal(reason);
    if routes.is_proxied(call) { for_proxy_client(refusal) } else { refusal }
}

/// Returns true if nothing says that a text is meant for attache.
fn is_unknown(reason: CallerRefusal) -> bool {
    matches!(
        reason,
        CallerRefusal::UnknownToken
            | CallerRefusal::JwtMalformed
            | CallerRefusal::JwtIssuer
            | CallerRefusal::JwtAudience
    )
}

/// Returns true if a text may be a signed JWT in compact form.
fn looks_like_jwt(text: &[u8]) -> bool {
    text.iter().filter(|&&b| b == b'.').count() == 2
}

fn of_jwt(reason: JwtRefusal) -> CallerRefusal {
    match reason {
        JwtRefusal::Malformed | JwtRefusal::TooLarge | JwtRefusal::MissingClaim => {
            CallerRefusal::JwtMalformed
        }
        JwtRefusal::Algorithm | JwtRefusal::Critical => CallerRefusal::JwtAlgorithm,
        JwtRefusal::WrongIssuer => CallerRefusal::JwtIssuer,
        JwtRefusal::KeysUnavailable | JwtRefusal::UnknownKey => CallerRefusal::JwtKey,
        JwtRefusal::BadSignature => CallerRefusal::JwtSignature,
        JwtRefusal::WrongAudience => CallerRefusal::JwtAudience,
        JwtRefusal::Expired => CallerRefusal::JwtExpired,
        JwtRefusal::NotYetValid => CallerRefusal::JwtNotYetValid,
    }
}

/// Returns the answer to a request that proves no caller, or exceeds its caller's rights.
pub fn refusal(reason: CallerRefusal) -> Refusal {
    let (code, detail, challenge) = match reason {
        CallerRefusal::NoProof | CallerRefusal::UnknownCertificate => (
            ErrorCode::CallerUnauthenticated,
            "the request shows no caller: send a token as `X-Attache-Token: TOKEN` or `Authorization: Bearer TOKEN`",
            Some(Challenge::Token),
        ),
        CallerRefusal::Service => {
            (ErrorCode::CallerForbidden, "the caller has no right on this service", None)
        }
        CallerRefusal::Method => {
            (ErrorCode::CallerForbidden, "the caller has no right to this method on this service", None)
        }
        CallerRefusal::Path => {
            (ErrorCode::CallerForbidden, "the caller has no right to this path of this service", None)
        }
        CallerRefusal::RateLimited => {
            (ErrorCode::RateLimited, "the rate limit of this caller is exceeded", None)
        }
        CallerRefusal::Overloaded => {
            (ErrorCode::Overloaded, "this caller has its maximum number of requests in progress", None)
        }
        // A client learns no more than that its proof is not valid.
        _ => (
            ErrorCode::CallerUnauthenticated,
            "the request's token proves no caller",
            Some(Challenge::OtherToken),
        ),
    };
    Refusal { challenge, ..Refusal::new(code, detail).because(reason.as_str()) }
}

/// Returns the refusal of a request in absolute form that a service's authority led to: a client of an HTTP proxy
/// expects 407, and sends its proof only then.
fn for_proxy_client(refusal: Refusal) -> Refusal {
    if refusal.code != ErrorCode::CallerUnauthenticated {
        return refusal;
    }
    Refusal {
        status: Some(StatusCode::PROXY_AUTHENTICATION_REQUIRED),
        challenge: Some(Challenge::Proxy),
        ..refusal
    }
}
