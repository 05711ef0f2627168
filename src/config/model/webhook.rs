//! Webhooks: which calls are accepted, and what the receiver is told.

use super::{ServerUrl, UnreadSecret, User};
use crate::error_code::ErrorCode;
use crate::header_name::FieldName;
use crate::jwt::SigningKey;
use crate::secret::Secret;
use crate::signature::Verifier;
use http::{HeaderName, Method, StatusCode};
use ipnet::IpNet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The webhook half of a service.
#[derive(Debug, PartialEq)]
pub struct Webhook {
    /// As whom calls are let in.
    pub user: Arc<User>,
    /// Our program.
    pub forward_to: ServerUrl,
    /// What a third party may call with.
    pub api_keys: Vec<ApiKey>,
    /// Default POST.
    pub methods: Vec<Method>,
    /// In bytes. Default 1 MiB.
    pub max_body: u64,
    /// Until our program's response headers. Default 10 s.
    pub timeout: Duration,
    /// `key_in`: where a call has its key.
    pub key_in: KeyIn,
    /// `allow_from`: the networks calls may come from. Empty: all.
    pub allow_from: Vec<IpNet>,
    /// `rate_limit`, of each key.
    pub rate_limit: Option<Rate>,
    /// `verify`: what a call has to be signed with besides.
    pub verify: Option<Verifier>,
    /// `verify.verify_token`: what Meta shows before it sends anything.
    pub verify_token: Option<Secret>,
    /// `replay`: what becomes of a delivery that comes again.
    pub replay: Option<Replay>,
    /// `refusals`.
    pub refusals: Refusals,
    /// One of its secrets, or a key of `identity.assertion`, that can't be read. Where it blocks, `verify` and `replay` are
    /// not filled in, and no call is let in.
    pub unread: Option<UnreadSecret>,
}

impl Webhook {
    /// A webhook of which the file says no more than it must: everything else is as it is by default.
    pub fn new(user: Arc<User>, forward_to: ServerUrl, api_keys: Vec<ApiKey>) -> Self {
        Self {
            user,
            forward_to,
            api_keys,
            methods: vec![Method::POST],
            max_body: 1 << 20,
            timeout: Duration::from_secs(10),
            key_in: KeyIn::Path,
            allow_from: Vec::new(),
            rate_limit: None,
            verify: None,
            verify_token: None,
            replay: None,
            refusals: Refusals::default(),
            unread: None,
        }
    }
}

/// `webhook.key_in`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum KeyIn {
    /// In the path, after `/webhooks/`.
    #[default]
    Path,
    /// In this header; the path is `/webhooks/SERVICE`.
    Header(HeaderName),
    /// In this parameter of the query; the path is `/webhooks/SERVICE`.
    Query(String),
}

impl KeyIn {
    /// Returns where a provider sends to. `key` is encoded for a URL, or stands for a key; one that belongs in a header is
    /// not part of the URL.
    pub fn url(&self, base: &str, service: &str, key: &str) -> String {
        match self {
            Self::Path => format!("{base}/webhooks/{key}"),
            Self::Header(_) => format!("{base}/webhooks/{service}"),
            Self::Query(name) => {
                let name: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
                format!("{base}/webhooks/{service}?{name}={key}")
            }
        }
    }
}

/// `webhook.replay`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    /// How long a delivery is remembered. Default 10 min.
    pub window: Duration,
    /// `answer`: 409 (the default), or 200 for a provider that takes anything else for a failure.
    pub answer: StatusCode,
}

/// `webhook.refusals`: other answers than attache's own, where a provider insists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Other statuses, by the code they stand for.
    pub statuses: Vec<(ErrorCode, StatusCode)>,
    /// `body: false`: no body either.
    pub bodiless: bool,
}

/// One of `webhook.api_keys`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// What stands for the key wherever it is spoken of.
    pub id: String,
    /// SHA-256 of the key's text.
    pub sha256: [u8; 32],
    /// The key itself, where the file gives a `value`: only `attache urls --reveal` reads it.
    pub value: Option<Secret>,
    /// Good from then on.
    pub not_before: Option<SystemTime>,
    /// Good until then.
    pub expires_at: Option<SystemTime>,
    /// `disabled`: not good, whatever the time.
    pub disabled: bool,
}

/// Whether a key is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// It is.
    Valid,
    /// Its time has not come.
    NotYetValid,
    /// Its time has passed.
    Expired,
    /// The file says so.
    Disabled,
}

impl Validity {
    /// Of a key that is switched off, whose time has passed, whose time has not come: the first of these counts.
    pub fn of(disabled: bool, late: bool, early: bool) -> Self {
        match (disabled, late, early) {
            (true, _, _) => Self::Disabled,
            (_, true, _) => Self::Expired,
            (_, _, true) => Self::NotYetValid,
            _ => Self::Valid,
        }
    }

    /// As `/status` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "active",
            Self::NotYetValid => "not_yet_valid",
            Self::Expired => "expired",
            Self::Disabled => "disabled",
        }
    }
}

impl ApiKey {
    /// Whether it is good at `now`.
    pub fn validity_at(&self, now: SystemTime) -> Validity {
        let late = self.expires_at.is_some_and(|until| until <= now);
        let early = self.not_before.is_some_and(|from| now < from);
        Validity::of(self.disabled, late, early)
    }

    /// A key that is good at any time.
    pub fn new(id: impl Into<String>, sha256: [u8; 32]) -> Self {
        Self { id: id.into(), sha256, value: None, not_before: None, expires_at: None, disabled: false }
    }
}

/// `identity.assertion`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityAssertion {
    /// `key`: the first signs, all are published. ES256 or EdDSA. Empty if none of them can be read: then every webhook is
    /// unavailable.
    pub keys: Vec<SigningKey>,
    /// `issuer`: `iss`. Default `public_url`.
    pub issuer: String,
    /// `audience`: `aud`.
    pub audience: String,
    /// `ttl`: from `iat` to `exp`, a minute at most and by default.
    pub ttl: Duration,
    /// `header`: what it is sent in. Default `X-Attache-Assertion`.
    pub header: FieldName,
}

/// `trusted_proxies`: who stands between the third parties and the webhook listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    /// Addresses and networks.
    pub networks: Vec<IpNet>,
    /// `unix`: every client of the unix socket.
    pub unix: bool,
}

/// `{requests, per, burst}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many, on the average …
    pub requests: u32,
    /// … in this time.
    pub per: Duration,
    /// How many at once. Default: `requests`.
    pub burst: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_where_its_webhook_wants_it() {
        let header = KeyIn::Header(HeaderName::from_static("x-api-key"));
        assert_eq!(KeyIn::Path.url("https://h", "s", "k"), "https://h/webhooks/k");
        assert_eq!(KeyIn::Query("a b".into()).url("https://h", "s", "k"), "https://h/webhooks/s?a+b=k");
        assert_eq!(header.url("", "s", "k"), "/webhooks/s");
    }
}
