//! The keys of signatures that are not in the file: their look-up, and their fetch.

use crate::issuers::{Issuer, Issuers};
use crate::signature::sns::CertificateUrl;
use crate::signature::{FetchedKeys, KeyName, Lookup, NeededKey, NoKeys, TokenRefused};
use crate::sns::{Sns, Way};
use serde_json::{Map, Value};
use std::net::IpAddr;
use std::time::SystemTime;

/// The keys of a snapshot; none of them by default.
#[derive(Clone, Copy, Default)]
pub struct KnownKeys<'s> {
    /// The issuers of tokens.
    pub issuers: Option<&'s Issuers>,
    /// The certificates of SNS, if a webhook needs them.
    pub sns: Option<&'s Sns>,
}

impl KnownKeys<'_> {
    /// Fetches a key for `client`, or waits for the fetch that is under way. Returns at once if none may begin now. Then
    /// the delivery is verified again.
    pub async fn fetch(&self, needed: &NeededKey, client: Option<IpAddr>, way: &Way) {
        match &needed.name {
            KeyName::Issuer(key) => {
                let issuer = self.issuers.and_then(|issuers| issuers.get(key));
                if let Some(newer) = issuer.and_then(Issuer::newer_keys) {
                    newer.fetched().await;
                }
            }
            KeyName::Certificate(url) => {
                if let Some(sns) = self.sns {
                    sns.fetch(url, client, way).await;
                }
            }
        }
    }
}

impl FetchedKeys for KnownKeys<'_> {
    fn claims(
        &self,
        issuer: &str,
        token: &[u8],
        now: SystemTime,
    ) -> Result<Map<String, Value>, TokenRefused> {
        let Some(issuers) = self.issuers else { return NoKeys.claims(issuer, token, now) };
        issuers.verify_of(issuer, token, now).map_err(|refused| TokenRefused {
            reason: refused.reason,
            needs_newer_keys: refused.newer_keys.is_some(),
        })
    }

    fn certificate(&self, url: &CertificateUrl, _: SystemTime) -> Lookup {
        self.sns.map_or(Lookup::Needed, |sns| sns.lookup(url))
    }
}

#[cfg(test)]
mod tests;
