//! Callers: the internal programs with a name and rights of their own on `listen.outbound`.

use super::{Account, ApiKey, Rate, Rights, UnreadSecret};
use crate::x509::San;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

/// An internal program with rights of its own.
#[derive(Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its key under `callers`.
    pub key: String,
    /// `tokens`: any of them proves the caller. A token whose value can't be read is absent.
    pub tokens: Vec<ApiKey>,
    /// `jwt`: a JWT of an issuer with this subject proves the caller.
    pub jwt: Option<CallerJwt>,
    /// `certificate.san`: a client certificate with this name proves the caller.
    pub certificate: Option<San>,
    /// `services`: what the caller may use.
    pub services: CallerServices,
    /// `rate_limit`.
    pub rate_limit: Option<Rate>,
    /// `max_concurrent`: maximum number of its requests at a time.
    pub max_concurrent: Option<NonZeroU32>,
    /// A token whose value can't be read. It takes down nothing else.
    pub unread: Option<UnreadSecret>,
}

impl Caller {
    /// Returns true if nothing can prove the caller.
    pub fn is_unprovable(&self) -> bool {
        self.tokens.is_empty() && self.jwt.is_none() && self.certificate.is_none()
    }
}

/// `jwt` of a caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CallerJwt {
    /// The key of the issuer under `issuers`.
    pub issuer: String,
    /// The claim `sub`.
    pub subject: String,
}

/// `services` of a caller.
#[derive(Debug, PartialEq, Eq)]
pub enum CallerServices {
    /// `"*"`: every service, without restriction.
    All,
    /// These services, by their key.
    Named(BTreeMap<String, CallerRight>),
}

/// The rights of a caller on one service.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CallerRight {
    /// The allowed methods and paths.
    pub rights: Rights,
    /// The account that opens the service for this caller, instead of the service's own.
    pub account: Option<Arc<Account>>,
}

/// `caller_rules`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CallerRules {
    /// A request without a proof or a right is refused.
    #[default]
    Enforce,
    /// Such a request is forwarded, logged and counted.
    Report,
}

impl CallerRules {
    /// Returns the word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Report => "report",
        }
    }
}
