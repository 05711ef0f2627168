//! Rules of a service: the requests that it takes, and how they are changed.

use super::{Rate, Rights};
use crate::header_name::FieldName;
use http::HeaderValue;
use std::num::NonZeroU32;
use std::sync::Arc;

/// The keys of a service that concern each request to it.
#[derive(Debug, Clone)]
pub struct ServiceRules {
    /// `allow`.
    pub allow: Rights,
    /// `set_headers`: headers with fixed values, each marked sensitive. None has a name of the account's credential.
    pub set_headers: Arc<[(FieldName, HeaderValue)]>,
    /// `remove_headers`. None has a name of the account's credential.
    pub remove_headers: Vec<FieldName>,
    /// `max_body`: maximum size of a body in bytes. `None`: no limit.
    pub max_body: Option<u64>,
    /// `rate_limit`, of all requests.
    pub rate_limit: Option<Rate>,
    /// `max_concurrent`: maximum number of requests at the same time. `None`: half of `limits.connections`.
    pub max_concurrent: Option<NonZeroU32>,
}

impl Default for ServiceRules {
    fn default() -> Self {
        Self {
            allow: Rights::default(),
            set_headers: [].into(),
            remove_headers: Vec::new(),
            max_body: None,
            rate_limit: None,
            max_concurrent: None,
        }
    }
}

/// The spelling of a name that is set counts, because it is sent.
impl PartialEq for ServiceRules {
    fn eq(&self, other: &Self) -> bool {
        let Self { allow, set_headers, remove_headers, max_body, rate_limit, max_concurrent } = self;
        let spellings = |headers: &[(FieldName, HeaderValue)]| {
            headers.iter().map(|(name, _)| name.spelling().clone()).collect::<Vec<_>>()
        };
        *allow == other.allow
            && *set_headers == other.set_headers
            && spellings(set_headers) == spellings(&other.set_headers)
            && *remove_headers == other.remove_headers
            && *max_body == other.max_body
            && *rate_limit == other.rate_limit
            && *max_concurrent == other.max_concurrent
    }
}
