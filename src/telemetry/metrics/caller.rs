//! The requests of callers, and the reasons for which they are refused.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// Why a request on `listen.outbound` proves no caller, or exceeds the caller's rights or limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CallerRefusal {
    /// No field and no certificate could prove a caller.
    NoProof,
    /// The field that counts is not a token in the form of its scheme.
    MalformedProof,
    /// The field that counts occurs twice.
    RepeatedProof,
    /// The proofs are of two callers.
    TwoCallers,
    /// No caller has the token.
    UnknownToken,
    /// The token is not valid yet.
    TokenNotYetValid,
    /// The token has expired.
    TokenExpired,
    /// The token is disabled.
    TokenDisabled,
    /// No caller has a name of the certificate.
    UnknownCertificate,
    /// The JWT is malformed, too large, or lacks a claim.
    JwtMalformed,
    /// The JWT's algorithm is not one of its key, or it requires an extension.
    JwtAlgorithm,
    /// The JWT is of an issuer that is not configured.
    JwtIssuer,
    /// The issuer's keys are not known, or do not have the JWT's.
    JwtKey,
    /// The JWT's signature is wrong.
    JwtSignature,
    /// The JWT is for another audience.
    JwtAudience,
    /// The JWT has expired.
    JwtExpired,
    /// The JWT is not valid yet.
    JwtNotYetValid,
    /// No caller has the JWT's subject.
    JwtSubject,
    /// The caller has no right on the service.
    Service,
    /// The caller has no right to the method.
    Method,
    /// The caller has no right to the path, or a server could read it as another one.
    Path,
    /// The caller's rate limit is exceeded.
    RateLimited,
    /// The caller has its maximum number of requests in progress.
    Overloaded,
}

impl CallerRefusal {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 23] = [
        Self::NoProof,
        Self::MalformedProof,
        Self::RepeatedProof,
        Self::TwoCallers,
        Self::UnknownToken,
        Self::TokenNotYetValid,
        Self::TokenExpired,
        Self::TokenDisabled,
        Self::UnknownCertificate,
        Self::JwtMalformed,
        Self::JwtAlgorithm,
        Self::JwtIssuer,
        Self::JwtKey,
        Self::JwtSignature,
        Self::JwtAudience,
        Self::JwtExpired,
        Self::JwtNotYetValid,
        Self::JwtSubject,
        Self::Service,
        Self::Method,
        Self::Path,
        Self::RateLimited,
        Self::Overloaded,
    ];

    /// Returns the value of the label, and of the access log's `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoProof => "no_proof",
            Self::MalformedProof => "malformed_proof",
            Self::RepeatedProof => "repeated_proof",
            Self::TwoCallers => "two_callers",
            Self::UnknownToken => "unknown_token",
            Self::TokenNotYetValid => "token_not_yet_valid",
            Self::TokenExpired => "token_expired",
            Self::TokenDisabled => "token_disabled",
            Self::UnknownCertificate => "unknown_certificate",
            Self::JwtMalformed => "jwt_malformed",
            Self::JwtAlgorithm => "jwt_algorithm",
            Self::JwtIssuer => "jwt_issuer",
            Self::JwtKey => "jwt_key",
            Self::JwtSignature => "jwt_signature",
            Self::JwtAudience => "jwt_audience",
            Self::JwtExpired => "jwt_expired",
            Self::JwtNotYetValid => "jwt_not_yet_valid",
            Self::JwtSubject => "jwt_subject",
            Self::Service => "caller_service",
            Self::Method => "caller_method",
            Self::Path => "caller_path",
            Self::RateLimited => "caller_rate",
            Self::Overloaded => "caller_concurrency",
        }
    }
}

/// The statistics of one caller, which belong to its name and outlive reloads.
#[derive(Debug, Default)]
pub struct CallerStats {
    /// Requests that were let in, by service.
    requests: RwLock<HashMap<Box<str>, Arc<AtomicU64>>>,
    refused: OnceLock<Box<[AtomicU64; CallerRefusal::ALL.len()]>>,
}

impl CallerStats {
    /// Returns the count of the requests for a service. A service that the caller names keeps it at hand.
    pub fn requests(&self, service: &str) -> Arc<AtomicU64> {
        if let Some(count) = self.requests.read().unwrap_or_else(PoisonError::into_inner).get(service) {
            return Arc::clone(count);
        }
        let mut requests = self.requests.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(requests.entry(service.into()).or_default())
    }

    /// Counts a request that is refused, or would be.
    pub fn refused(&self, reason: CallerRefusal) {
        self.refused.get_or_init(Box::default)[reason as usize].fetch_add(1, Relaxed);
    }

    /// Forgets the services for which `keep` does not hold.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.requests.write().unwrap_or_else(PoisonError::into_inner).retain(|service, _| keep(service));
    }

    /// Returns the requests that were let in, by service; without those of unused services.
    pub fn counts(&self) -> BTreeMap<Box<str>, u64> {
        let requests = self.requests.read().unwrap_or_else(PoisonError::into_inner);
        let counts = requests.iter().map(|(service, count)| (service.clone(), count.load(Relaxed)));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// Returns the refusals that occurred.
    pub fn refusals(&self) -> impl Iterator<Item = (CallerRefusal, u64)> {
        let counts = self.refused.get().into_iter().flat_map(|counts| counts.iter());
        let all =
            CallerRefusal::ALL.into_iter().zip(counts).map(|(reason, count)| (reason, count.load(Relaxed)));
        all.filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_every_reason_at_its_number() {
        for (i, reason) in CallerRefusal::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i, "{}", reason.as_str());
        }
    }

    #[test]
    fn a_service_that_is_gone_has_no_count() {
        let stats = CallerStats::default();
        stats.requests("a").fetch_add(2, Relaxed);
        stats.requests("b").fetch_add(1, Relaxed);
        stats.requests("c");
        stats.retain(|service| service != "b");
        assert_eq!(stats.counts(), BTreeMap::from([("a".into(), 2)]));
    }
}
