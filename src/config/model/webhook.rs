//! Webhooks: which calls are accepted, and what the receiver is told.

use super::{Handshake, ServerUrl, UnreadSecret, User};
use crate::error_code::ErrorCode;
use crate::header_name::FieldName;
use crate::jwt::SigningKey;
use crate::secret::Secret;
use crate::signature::Verifier;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use ipnet::IpNet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The webhook half of a service.
#[derive(Debug, PartialEq)]
pub struct Webhook {
    /// The user of its calls.
    pub user: Arc<User>,
    /// The receiver.
    pub forward_to: ServerUrl,
    /// The API keys.
    pub api_keys: Vec<ApiKey>,
    /// The allowed methods. Default POST.
    pub methods: Vec<Method>,
    /// Maximum size of a body in bytes. Default 1 MiB.
    pub max_body: u64,
    /// Maximum time until the receiver's response headers. Default 10 s.
    pub timeout: Duration,
    /// `key_in`: the place of the key in a call.
    pub key_in: KeyIn,
    /// `allow_from`: the networks that calls may come from. Empty: all.
    pub allow_from: Vec<IpNet>,
    /// `rate_limit`, per key.
    pub rate_limit: Option<Rate>,
    /// `max_concurrent`: maximum number of calls that are being forwarded at the same time. `None`: no limit.
    pub max_concurrent: Option<NonZeroU32>,
    /// `set_headers`: headers with fixed values for the receiver, each marked sensitive.
    pub set_headers: Arc<[(FieldName, HeaderValue)]>,
    /// `verify`: the required signature.
    pub verify: Option<Verifier>,
    /// `verify.secret: { handshake: true }`: `verify` has no secret until the provider has brought it.
    pub is_secret_brought: bool,
    /// `handshake`, or the one that `verify` implies: the provider's question that attache answers.
    pub handshake: Option<Handshake>,
    /// `replay`: the treatment of duplicate deliveries.
    pub replay: Option<Replay>,
    /// `refusals`.
    pub refusals: Refusals,
    /// An unreadable secret of the webhook, or an unreadable key of `identity.assertion`. If it blocks, `verify`,
    /// `replay` and `set_headers` are not filled in, and every call is refused.
    pub unread: Option<UnreadSecret>,
}

/// The parts of `defaults.webhook` that decide how a webhook is called, for one that the file does not have yet.
#[derive(Debug, Clone, Default)]
pub struct WebhookDefaults {
    /// `key_in`.
    pub key_in: KeyIn,
    /// True if `verify` is there.
    pub is_signed: bool,
    /// `methods`. Empty: POST.
    pub methods: Vec<Method>,
    /// `allow_from`. Empty: all.
    pub allow_from: Vec<IpNet>,
    /// `replay.distinguish_by`.
    pub distinguish_by: Vec<HeaderName>,
}

impl Webhook {
    /// Returns a webhook with defaults for all optional keys.
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
            max_concurrent: None,
            set_headers: [].into(),
            verify: None,
            is_secret_brought: false,
            handshake: None,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Time for which a delivery is remembered. Default 10 min.
    pub window: Duration,
    /// `answer`: 409 (the default), or 200 for a provider that treats anything else as a failure.
    pub answer: StatusCode,
    /// `distinguish_by`: the headers that tell deliveries apart where nothing signed does.
    pub distinguish_by: Vec<HeaderName>,
}

/// `webhook.refusals`: changed answers, if a provider requires them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Changed statuses, by error code.
    pub statuses: Vec<(ErrorCode, StatusCode)>,
    /// `body: false`: refusals have no body.
    pub bodiless: bool,
}

/// One of `webhook.api_keys`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The name of the key in logs and metrics.
    pub id: String,
    /// SHA-256 of the key's text.
    pub sha256: [u8; 32],
    /// The key itself, if the file gives a `value`: only `attache urls --reveal` reads it.
    pub value: Option<Secret>,
    /// The key is valid from this time.
    pub not_before: Option<SystemTime>,
    /// The key is valid until this time.
    pub expires_at: Option<SystemTime>,
    /// `disabled`: the key is not valid at any time.
    pub disabled: bool,
}

/// The validity of a key at a given time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// The key is valid.
    Valid,
    /// The key is not valid yet.
    NotYetValid,
    /// The key has expired.
    Expired,
    /// The key is disabled.
    Disabled,
}

impl Validity {
    /// Returns the first that applies: disabled, expired, not valid yet.
    pub fn of(disabled: bool, late: bool, early: bool) -> Self {
        match (disabled, late, early) {
            (true, _, _) => Self::Disabled,
            (_, true, _) => Self::Expired,
            (_, _, true) => Self::NotYetValid,
            _ => Self::Valid,
        }
    }

    /// Returns the word for `/status`.
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
    /// Returns the validity at `now`.
    pub fn validity_at(&self, now: SystemTime) -> Validity {
        let late = self.expires_at.is_some_and(|until| until <= now);
        let early = self.not_before.is_some_and(|from| now < from);
        Validity::of(self.disabled, late, early)
    }

    /// Returns a key that is valid at any time.
    pub fn new(id: impl Into<String>, sha256: [u8; 32]) -> Self {
        Self { id: id.into(), sha256, value: None, not_before: None, expires_at: None, disabled: false }
    }
}

/// `identity.assertion`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityAssertion {
    /// `key`: the first signs, all are published. ES256 or EdDSA. Empty if none of them can be read: then every webhook
    /// is unavailable.
    pub keys: Vec<SigningKey>,
    /// `issuer`: `iss`. Default `public_url`.
    pub issuer: String,
    /// `audience`: `aud`.
    pub audience: String,
    /// `ttl`: from `iat` to `exp`. Default and maximum: one minute.
    pub ttl: Duration,
    /// `header`: the header that carries it. Default `X-Attache-Assertion`.
    pub header: FieldName,
}

/// `trusted_proxies`: the proxies between the third parties and the webhook listener.
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
    /// Number of requests, on average …
    pub requests: u32,
    /// … per this time.
    pub per: Duration,
    /// Maximum number at once. Default: `requests`.
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
