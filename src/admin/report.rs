//! The report on the process, as `/status` serializes it and the status page shows it. No secret, no key: key ids stand for
//! keys. A server URL is cut to its origin, since its path may be a secret.

use crate::telemetry::metrics::ServiceStats;
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

/// A moment, serialized as RFC 3339 in UTC to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub SystemTime);

impl Moment {
    /// Returns the moment as RFC 3339, to the millisecond: as many digits as the access log has, so that times compare as
    /// text.
    pub fn to_millisecond(self) -> String {
        jiff::Timestamp::try_from(self.0).map(|time| format!("{time:.3}")).unwrap_or_default()
    }

    /// Returns the moment as RFC 3339, to the second.
    pub fn to_second(self) -> String {
        let rounded = jiff::Timestamp::try_from(self.0).and_then(|time| time.round(jiff::Unit::Second));
        rounded.map(|time| time.to_string()).unwrap_or_default()
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_millisecond())
    }
}

/// The document.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The binary.
    pub build: Build,
    /// The configuration in effect, and the last attempt to replace it.
    pub config: ConfigReport,
    /// Services by their key.
    #[serde(flatten)]
    pub parts: SnapshotReport,
    /// The last failures, newest first.
    pub failures: Vec<FailureReport>,
    /// The time of the report.
    #[serde(skip)]
    pub at: SystemTime,
    /// True while the process takes requests.
    #[serde(skip)]
    pub ready: bool,
}

/// The binary.
#[derive(Debug, Serialize)]
pub struct Build {
    /// The version of the package.
    pub version: &'static str,
    /// The commit of the source, or `unknown`.
    pub commit: &'static str,
}

/// The configuration in effect.
#[derive(Debug, Serialize)]
pub struct ConfigReport {
    /// SHA-256 of its text.
    pub hash: String,
    /// The time at which it took effect.
    pub loaded_at: Moment,
    /// Keys whose change waits for a restart.
    pub restart_needed: Vec<&'static str>,
    /// The last reload.
    pub last_reload: ReloadReport,
}

/// A reload, or the first load.
#[derive(Debug, Clone, Serialize)]
pub struct ReloadReport {
    /// The time at which it ended.
    pub at: Moment,
    /// `applied`, `unchanged`, `rejected`, `needs_restart`.
    pub result: &'static str,
    /// The problems, as `attache check --format json` lists them, 50 at most.
    pub problems: serde_json::Value,
    /// The same, as `attache check` draws them.
    #[serde(skip)]
    pub drawn: String,
    /// SHA-256 of the text that was read; `None` where it could not be.
    pub hash: Option<String>,
}

/// The parts of the snapshot in effect.
#[derive(Debug, Default, Serialize)]
pub struct SnapshotReport {
    /// Services by their key.
    pub services: BTreeMap<String, ServiceReport>,
    /// Accounts by their name, those written in place included.
    pub accounts: BTreeMap<String, AccountReport>,
    /// Issuers of tokens by their key.
    pub issuers: BTreeMap<String, IssuerReport>,
    /// Users by their key.
    pub users: BTreeMap<String, UserReport>,
    /// Webhook keys, by service and id.
    pub webhooks: Vec<KeyReport>,
    /// Callers by their key. `None`: every client of `listen.outbound` may use every service.
    pub callers: Option<BTreeMap<String, CallerReport>>,
    /// The treatment of a request that lacks a proof or a right; only with callers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_rules: Option<&'static str>,
    /// The listeners with TLS, by their name.
    pub listeners: BTreeMap<&'static str, ListenerReport>,
    /// Webhooks by their service.
    #[serde(skip)]
    pub endpoints: BTreeMap<String, EndpointReport>,
}

/// A service.
#[derive(Debug, Serialize)]
pub struct ServiceReport {
    /// For people.
    pub name: Option<String>,
    /// Its upstream.
    pub outbound: Option<OutboundReport>,
    /// True if it has a webhook.
    pub webhook: bool,
    /// A secret of its own that can't be read.
    pub credential: Option<UnreadReport>,
    /// Requests in flight, of both directions.
    pub in_flight: i64,
    /// Requests of both directions.
    pub last_5_minutes: Totals,
    /// The last failure of either direction.
    pub last_error: Option<ErrorReport>,
}

/// The upstream of a service.
#[derive(Debug, Serialize)]
pub struct OutboundReport {
    /// The origin.
    pub server: String,
    /// The account's name.
    pub account: String,
    /// The deadline, in milliseconds.
    pub timeout_ms: u64,
    /// The statistics of outbound requests.
    #[serde(skip)]
    pub stats: Arc<ServiceStats>,
}

/// Requests and those of them that attache answered with an error of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Requests that have ended.
    pub requests: u64,
    /// Those that attache itself answered, or broke off, with an error code.
    pub errors: u64,
}

/// The last request that failed.
#[derive(Debug, Serialize)]
pub struct ErrorReport {
    /// The time of the request.
    pub at: Moment,
    /// `outbound` or `webhook`.
    pub direction: &'static str,
    /// The code of the answer.
    pub code: &'static str,
    /// The cause behind the code.
    pub reason: Option<String>,
    /// The request's id.
    pub request_id: String,
}

/// A request that failed, and those of its kind that left the list for it.
#[derive(Debug, Serialize)]
pub struct FailureReport {
    /// The time of the failure.
    pub at: Moment,
    /// `outbound` or `webhook`.
    pub direction: &'static str,
    /// The service; `None` if none matched.
    pub service: Option<Box<str>>,
    /// The service's account.
    pub account: Option<Box<str>>,
    /// The caller that is proved, or whose token is not valid now.
    pub caller: Option<Box<str>>,
    /// The id of the webhook key, or of the caller's token.
    pub key_id: Option<Box<str>>,
    /// The status that was sent; 499 if the client left before one was.
    pub status: u16,
    /// The code of attache's own answer.
    pub code: Option<&'static str>,
    /// The cause behind the code.
    pub reason: Option<Cow<'static, str>>,
    /// The phase in which it failed.
    pub phase: Option<&'static str>,
    /// From its arrival to its end.
    pub duration_ms: u64,
    /// The address that it was sent to, or that failed.
    pub upstream: Option<SocketAddr>,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// The request's id.
    pub request_id: Box<str>,
    /// The number of failures that the row stands for.
    pub count: u64,
    /// The time of the first of them.
    pub first_at: Moment,
}

/// TLS of a listener.
#[derive(Debug, Serialize)]
pub struct ListenerReport {
    /// The end of the certificate's validity.
    pub certificate_expires_at: Option<Moment>,
    /// True if clients may present a certificate.
    pub client_certificates: bool,
    /// A file that can't be read.
    pub credential: Option<UnreadReport>,
}

/// A secret that can't be read.
#[derive(Debug, Serialize)]
pub struct UnreadReport {
    /// `unavailable`, or `degraded` while its last value serves.
    pub state: &'static str,
    /// Why it can't be read.
    pub reason: &'static str,
    /// Its key path in the file.
    pub at: String,
}

/// An account.
#[derive(Debug, Serialize)]
pub struct AccountReport {
    /// The kind.
    pub authorization: &'static str,
    /// The access token of an OAuth2 account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenReport>,
    /// A secret of it that can't be read.
    pub credential: Option<UnreadReport>,
}

/// An issuer of tokens.
#[derive(Debug, Serialize)]
pub struct IssuerReport {
    /// The claim `iss` of its tokens.
    pub issuer: String,
    /// The URL of its keys, without the query; `None` if they are in a file.
    pub jwks_url: Option<String>,
    /// The number of its keys that are known.
    pub keys: usize,
    /// The end of the last successful fetch.
    pub fetched_at: Option<Moment>,
    /// The last fetch, if it failed.
    pub last_failure: Option<FetchFailureReport>,
    /// A file or secret of it that can't be read.
    pub credential: Option<UnreadReport>,
}

/// A fetch of an issuer's keys that failed.
#[derive(Debug, Serialize)]
pub struct FetchFailureReport {
    /// The time at which it ended.
    pub at: Moment,
    /// Why it failed.
    pub reason: String,
}

/// An access token, without the token.
#[derive(Debug, Serialize)]
pub struct TokenReport {
    /// `none`, `valid`, `expired`, `failing`, `needs_login`.
    pub state: &'static str,
    /// The time at which it expires, or expired.
    pub expires_at: Option<Moment>,
    /// Seconds until then, 0 afterwards.
    pub expires_in_seconds: Option<u64>,
    /// Tokens that the provider refused.
    pub refused: u64,
    /// Tokens since the account last changed.
    pub generation: u64,
    /// Token requests.
    pub requests: u64,
    /// The outcome of the last token request.
    pub last_request: Option<TokenRequestReport>,
}

/// A token request.
#[derive(Debug, Serialize)]
pub struct TokenRequestReport {
    /// `ok`, `rejected`, `unavailable`, `timeout`.
    pub result: &'static str,
    /// Why it failed, in the provider's words where it has some.
    pub reason: Option<String>,
    /// The time at which it ended.
    pub at: Moment,
    /// Its duration; `None` if no request was sent.
    pub duration_ms: Option<u64>,
}

/// A user.
#[derive(Debug, Serialize)]
pub struct UserReport {
    /// For people.
    pub name: Option<String>,
    /// False if its webhooks are shut.
    pub active: bool,
}

/// The handshake of a webhook.
#[derive(Debug, Clone, Serialize)]
pub struct HandshakeReport {
    /// Its name.
    pub name: &'static str,
    /// The state of the secret that the provider brings: `waiting`, `kept`, `unusable`. `None`: it brings none.
    pub secret: Option<&'static str>,
    /// The time at which that secret came.
    pub since: Option<Moment>,
    /// Number of other secrets that this process ignored.
    pub ignored: u64,
}

/// A webhook key.
#[derive(Debug, Serialize)]
pub struct KeyReport {
    /// The service.
    pub service: String,
    /// The id of the key.
    pub key_id: String,
    /// The user that calls act as.
    pub user: String,
    /// The state that a call would meet.
    pub state: &'static str,
    /// The signature scheme.
    pub verify: Option<&'static str>,
    /// The handshake that is answered.
    pub handshake: Option<HandshakeReport>,
    /// The time at which it last admitted a call.
    pub last_used_at: Option<Moment>,
    /// The time at which a call with it was last refused.
    pub last_refused_at: Option<Moment>,
    /// Good until then.
    pub expires_at: Option<Moment>,
}

/// A caller.
#[derive(Debug, Serialize)]
pub struct CallerReport {
    /// Its tokens, by their ids.
    pub tokens: Vec<CallerTokenReport>,
    /// The issuer and the subject of the JWTs that prove it.
    pub jwt: Option<CallerJwtReport>,
    /// The name in the certificates that prove it.
    pub certificate: Option<String>,
    /// Its rights, by service; `*` for every service.
    pub services: BTreeMap<String, RightReport>,
    /// A token that can't be read.
    pub credential: Option<UnreadReport>,
    /// Requests in progress.
    pub in_flight: u32,
    /// Requests that were let in, since the start.
    pub requests: u64,
    /// Requests that lacked a right or exceeded a limit, by reason.
    pub refused: BTreeMap<&'static str, u64>,
}

/// A token of a caller, without the token.
#[derive(Debug, Serialize)]
pub struct CallerTokenReport {
    /// The id.
    pub id: String,
    /// `active`, `not_yet_valid`, `expired`, `disabled`.
    pub state: &'static str,
    /// The time at which it last let a request in.
    pub last_used_at: Option<Moment>,
    /// The time at which a request with it was last refused.
    pub last_refused_at: Option<Moment>,
    /// The token is valid until then.
    pub expires_at: Option<Moment>,
}

/// `jwt` of a caller.
#[derive(Debug, Serialize)]
pub struct CallerJwtReport {
    /// The key of the issuer.
    pub issuer: String,
    /// The claim `sub`.
    pub subject: String,
}

/// The rights on one service.
#[derive(Debug, Default, Serialize)]
pub struct RightReport {
    /// The allowed methods; empty allows all.
    pub methods: Vec<String>,
    /// The allowed paths; empty allows all.
    pub paths: Vec<String>,
    /// The account that opens the service for the caller, if it is not the service's own.
    pub account: Option<String>,
}

/// A webhook, for the status page.
#[derive(Debug)]
pub struct EndpointReport {
    /// The user that calls act as.
    pub user: String,
    /// The URL that a provider calls, with `{key}` for the key.
    pub url: String,
    /// The origin of the receiver.
    pub receiver: String,
    /// The statistics of its calls.
    pub stats: Arc<ServiceStats>,
}
