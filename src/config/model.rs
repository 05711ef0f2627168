//! The meaning of a valid file: every reference resolved, every secret read, every default filled in.
//!
//! A [`Config`] is only built by [`super::load()`]; code that holds one need not check it again.

mod custom;
mod param;
mod unread;
mod webhook;

pub use super::secrets::LastValues;
pub use custom::{CustomGrant, CustomParams, CustomResponse, JsonParam};
pub use param::Param;
pub use unread::{ReadFault, UnreadSecret};
pub use webhook::{
    ApiKey, IdentityAssertion, KeyIn, Rate, Refusals, Replay, TrustedProxies, Validity, Webhook,
};

use crate::header_name::FieldName;
use crate::jwt::SigningKey;
use crate::secret::Secret;
use http::{HeaderValue, StatusCode};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The whole file.
#[derive(Debug)]
pub struct Config {
    /// The listeners. A change needs a restart.
    pub listen: Listen,
    /// The external address of the webhook listener, without a trailing slash.
    pub public_url: Option<String>,
    /// `via`: true if outbound requests carry `Via: 1.1 attache` (RFC 9110 section 7.6.3). Default false, because some
    /// servers switch compression off for it.
    pub via: bool,
    /// Worker threads; `None` is one per core. A change needs a restart.
    pub threads: Option<NonZeroUsize>,
    /// The headers that tell the receivers a webhook's identity.
    pub identity_headers: IdentityHeaders,
    /// `identity.assertion`: the signer of a webhook's identity, if configured.
    pub assertion: Option<IdentityAssertion>,
    /// The proxies whose `X-Forwarded-For` is trusted on the webhook listener.
    pub trusted_proxies: TrustedProxies,
    /// `limits.wrong_keys`: the rate of calls with an unknown key per client address, before 429. `None`: unlimited.
    pub wrong_keys: Option<Rate>,
    /// `limits.connections`: maximum number of connections of one listener. `None`: a quarter of the process's
    /// descriptors.
    pub max_connections: Option<NonZeroUsize>,
    /// Maximum time for requests in flight after SIGTERM.
    pub drain: Duration,
    /// The destination of the access log, and the level of the log on stderr.
    pub log: Log,
    /// The store of refresh tokens. Never `None` if a grant has one to store.
    pub state: Option<StateStore>,
    /// Reusable accounts by their key under `accounts`.
    pub accounts: BTreeMap<String, Arc<Account>>,
    /// Users by their key under `users`.
    pub users: BTreeMap<String, Arc<User>>,
    /// Services by their key under `services`.
    pub services: BTreeMap<String, Arc<Service>>,
    /// Lowercase hex SHA-256 of the configuration's text (not of the secrets that it refers to), for `/status` and
    /// `attache_config_info`.
    pub hash: String,
    /// SHA-256 over the text *and* every secret and certificate it refers to. Two configurations with the same
    /// fingerprint behave alike. Never shown: it would confirm a guessed secret.
    pub fingerprint: [u8; 32],
    /// The values of the secrets, which stay in use if the next reading finds one missing.
    pub last_values: LastValues,
}

impl Config {
    /// Returns every account, including those written in place. One that several services share is returned several
    /// times.
    pub fn all_accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        let used = self.services.values().filter_map(|service| Some(&service.outbound.as_ref()?.account));
        self.accounts.values().chain(used)
    }

    /// Returns the number of accounts, including those written in place, as `/status` lists them.
    pub fn count_accounts(&self) -> usize {
        self.all_accounts().map(|account| &*account.name).collect::<BTreeSet<_>>().len()
    }

    /// Returns the accounts with a secret that can't be read.
    pub fn unread_accounts(&self) -> BTreeMap<&str, &UnreadSecret> {
        self.all_accounts().filter_map(|account| Some((&*account.name, account.unread.as_ref()?))).collect()
    }

    /// Returns the services with their own unreadable secret: a certificate, or a secret of the webhook.
    pub fn unread_services(&self) -> BTreeMap<&str, &UnreadSecret> {
        self.services.values().filter_map(|service| Some((&*service.key, service.unread()?))).collect()
    }

    /// Returns the names and settings of the OAuth2 accounts with a refresh token to store, including those written in
    /// place.
    pub fn rotating(&self) -> impl Iterator<Item = (&str, &OAuth2)> {
        self.all_accounts().filter_map(|account| match &account.authorization {
            Authorization::OAuth2(oauth2) if oauth2.grant.refreshes() => Some((&*account.name, &**oauth2)),
            _ => None,
        })
    }
}

/// `listen`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The address for internal programs. Default `127.0.0.1:8080`.
    pub outbound: ListenAddr,
    /// The address for third parties. Default `127.0.0.1:8081`.
    pub webhooks: ListenAddr,
    /// The address for metrics, health and status. Default `127.0.0.1:9090`.
    pub admin: ListenAddr,
}

impl Default for Listen {
    fn default() -> Self {
        let [outbound, webhooks, admin] =
            [8080, 8081, 9090].map(|port| ListenAddr::Tcp((Ipv4Addr::LOCALHOST, port).into()));
        Self { outbound, webhooks, admin }
    }
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddr {
    /// `127.0.0.1:8080`, `[::1]:8080`.
    Tcp(SocketAddr),
    /// `unix:/run/attache/outbound.sock`.
    Unix(PathBuf),
}

/// `identity_headers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityHeaders {
    /// The header of the user. Default `X-Attache-User`.
    pub user: FieldName,
    /// The header of the service. Default `X-Attache-Service`.
    pub service: FieldName,
    /// The header of the key id. Default `X-Attache-Key-Id`.
    pub key_id: FieldName,
}

impl IdentityHeaders {
    /// Returns the three headers: user, service, key id.
    pub fn all(&self) -> [&FieldName; 3] {
        [&self.user, &self.service, &self.key_id]
    }
}

/// `state`. Another `dir` needs a restart, so that the files can be moved with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateStore {
    /// `dir`. Default `$STATE_DIRECTORY`, else `state` beside the configuration.
    pub dir: PathBuf,
    /// `key`: the keys that seal the files; the first seals, all open. Empty if none of them can be read: then every
    /// account with a refresh token to store is unavailable.
    pub keys: Vec<Secret>,
}

/// `log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The destination of the access log. A change needs a restart.
    pub access: AccessLog,
    /// The format of the log on stderr. A change takes effect at once.
    pub format: LogFormat,
    /// The level of the log on stderr.
    pub level: LogLevel,
}

/// `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Plain lines (the default).
    Text,
    /// One JSON object per line.
    Json,
}

/// `log.access`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLog {
    /// One JSON line per request on stdout (the default).
    Stdout,
    /// No access log.
    Off,
    /// Lines appended to a file.
    File(PathBuf),
}

/// `log.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Faults that need an operator.
    Error,
    /// Also faults that may need one soon.
    Warn,
    /// Also events (the default).
    Info,
    /// Also causes.
    Debug,
}

/// A user: the identity of a webhook's calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its key under `users`, which is sent to the receiver.
    pub key: String,
    /// `name`, for display.
    pub name: Option<String>,
    /// `active`: false refuses the calls of its webhooks.
    pub active: bool,
}

/// Reusable credentials.
#[derive(Debug, PartialEq, Eq)]
pub struct Account {
    /// The key under `accounts`; for one written in place, `services/NAME`.
    pub name: String,
    /// The credential's kind and values.
    pub authorization: Authorization,
    /// `headers` beside another kind: further headers with fixed values, each marked sensitive. None of them has a name
    /// of [`Authorization::header_names`].
    pub headers: Arc<[(FieldName, HeaderValue)]>,
    /// An unreadable secret of the account, or the unreadable store's key that seals its refresh token.
    pub unread: Option<UnreadSecret>,
}

impl Account {
    /// Returns true if the account is written in place, in a service.
    pub fn is_inline(&self) -> bool {
        self.name.contains('/')
    }
}

/// `authorization`.
#[derive(Debug, PartialEq, Eq)]
pub enum Authorization {
    /// `none`: the caller's headers are forwarded unchanged.
    None,
    /// A secret can't be read, and there is no earlier value of it: no request is sent.
    Unavailable,
    /// `header`, `headers`, `basic` or `bearer`: headers with fixed values, each marked sensitive.
    Headers(Vec<(FieldName, HeaderValue)>),
    /// `query`: a parameter with a fixed value.
    Query {
        /// The parameter's name, not yet percent-encoded.
        name: String,
        /// Its value, not yet percent-encoded.
        value: Secret,
    },
    /// `jwt`: a token that attache signs.
    Jwt(Box<SelfSigned>),
    /// `oauth2`: a token that attache requests, stores and renews.
    OAuth2(Box<OAuth2>),
}

impl Authorization {
    /// Returns the names of the headers that it sets.
    pub fn header_names(&self) -> impl Iterator<Item = &FieldName> {
        let (many, one) = match self {
            Self::Headers(headers) => (&headers[..], None),
            Self::Jwt(jwt) => (&[][..], Some(&jwt.header)),
            Self::OAuth2(oauth2) => (&[][..], Some(&oauth2.header)),
            Self::None | Self::Query { .. } | Self::Unavailable => (&[][..], None),
        };
        many.iter().map(|(name, _)| name).chain(one)
    }
}

/// `authorization.jwt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfSigned {
    /// The token. Its claims have no defaults.
    pub assertion: SignedAssertion,
    /// `header`: the header that carries the token. Default `Authorization`.
    pub header: FieldName,
    /// `prefix`: the text before the token. Default `Bearer `, with its space.
    pub prefix: String,
}

/// `authorization.oauth2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth2 {
    /// The grant that obtains the token.
    pub grant: Grant,
    /// The token endpoint. Checked: https, or loopback, or `allow_plaintext`.
    pub token_url: url::Url,
    /// `client_id`. Absent only for grants in which something else identifies the client: `jwt_bearer`,
    /// `token_exchange`, `custom`.
    pub client_id: Option<String>,
    /// The authentication of the client.
    pub client_auth: ClientAuth,
    /// `tls`: for the token endpoint's connections.
    pub tls: TokenTls,
    /// In the file's order; omitted if empty.
    pub scopes: Vec<String>,
    /// `scope_separator`: the text between two scopes in a request. Default: a space.
    pub scope_separator: String,
    /// The member of the token endpoint's answer that is sent.
    pub bearer_token_type: BearerTokenType,
    /// Extra form members; a name may occur more than once.
    pub token_params: Vec<(String, Param)>,
    /// Extra headers of the token request, marked sensitive.
    pub token_headers: Vec<(FieldName, HeaderValue)>,
    /// `header`: the header that carries the token. Default `Authorization`.
    pub header: FieldName,
    /// `prefix`: the text before the token. Default `Bearer `, with its space.
    pub prefix: String,
    /// The lifetime of a token whose answer does not state it. Default 5 min.
    pub default_lifetime: Duration,
    /// Maximum duration of one token request. Default 10 s.
    pub token_timeout: Duration,
    /// The upstream's statuses that refuse a token. Default 401; may be empty.
    pub retry_on: Vec<StatusCode>,
    /// `login_required_on`: further error codes by which the token endpoint says that the grant is gone.
    pub login_required_on: Vec<String>,
}

impl OAuth2 {
    /// Returns the scopes as a request names them.
    pub fn scope(&self) -> String {
        self.scopes.join(&self.scope_separator)
    }
}

/// `grant`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// RFC 6749 section 4.4.
    ClientCredentials,
    /// RFC 6749 section 4.3.
    Password {
        /// `username`.
        username: Secret,
        /// `password`.
        password: Secret,
    },
    /// RFC 6749 section 6, from a token that the operator obtained by other means.
    RefreshToken {
        /// `refresh_token`: the first one; its successors are kept in the state store.
        refresh_token: Secret,
    },
    /// RFC 6749 section 4.1 with PKCE (RFC 7636), through `attache login`.
    AuthorizationCode {
        /// `authorization_url`.
        authorization_url: url::Url,
        /// `redirect_url`: a loopback URL, or one with https. `None`: `http://127.0.0.1:PORT/callback` with any port
        /// (RFC 8252 section 7.3).
        redirect_url: Option<url::Url>,
        /// `issuer`: the only one that a redirect may name (RFC 9207). `None`: one of the origin of `authorization_url`.
        issuer: Option<String>,
        /// `authorization_params`: extra parameters of the authorization request (`access_type`, `prompt`…).
        authorization_params: Vec<(String, String)>,
    },
    /// RFC 8628, through `attache login`.
    DeviceCode {
        /// `device_authorization_url`.
        device_authorization_url: url::Url,
    },
    /// RFC 7523 section 2.1.
    JwtBearer(Assertion),
    /// RFC 8693.
    TokenExchange {
        /// `subject_token`.
        subject_token: PresentedToken,
        /// `subject_token_type`. Default `urn:ietf:params:oauth:token-type:jwt`.
        subject_token_type: String,
        /// `actor_token` and `actor_token_type`.
        actor: Option<(PresentedToken, String)>,
        /// `requested_token_type`.
        requested_token_type: Option<String>,
    },
    /// A request that is not of RFC 6749.
    Custom(Box<CustomGrant>),
}

impl Grant {
    /// Returns its name in the file.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::Password { .. } => "password",
            Self::RefreshToken { .. } => "refresh_token",
            Self::AuthorizationCode { .. } => "authorization_code",
            Self::DeviceCode { .. } => "device_code",
            Self::JwtBearer(_) => "jwt_bearer",
            Self::TokenExchange { .. } => "token_exchange",
            Self::Custom(_) => "custom",
        }
    }

    /// Returns true if its tokens come from a refresh token that has to be kept in the state store.
    pub fn refreshes(&self) -> bool {
        matches!(self, Self::RefreshToken { .. } | Self::AuthorizationCode { .. } | Self::DeviceCode { .. })
    }

    /// Returns what the operator does for `account` if its refresh token or password is missing or refused. Starts with a
    /// verb.
    pub fn remedy(&self, account: &str) -> String {
        match self {
            // This grant has no login: the token came by other means.
            Self::RefreshToken { .. } => "give the account another `refresh_token`".to_owned(),
            Self::Password { .. } => "give the account another `username` or `password`".to_owned(),
            _ => format!("run `attache login {account}`"),
        }
    }
}

/// A token made by another program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresentedToken {
    /// A constant token.
    Fixed(Secret),
    /// Read again for every token request: a projected service-account token rotates without a reload.
    File(PathBuf),
}

/// `assertion` (RFC 7523 section 2.1) or `client_assertion` (section 2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assertion {
    /// Signed by attache for every token request.
    Signed(Box<SignedAssertion>),
    /// `token`: signed by another program.
    Presented(PresentedToken),
}

/// A token that attache signs. Defaults are filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedAssertion {
    /// `key` and `algorithm`.
    pub key: SigningKey,
    /// `key_id`: the header's `kid`.
    pub key_id: Option<String>,
    /// SHA-256 of the DER of `certificate`: the header's `x5t#S256`.
    pub certificate_sha256: Option<[u8; 32]>,
    /// `issuer`: `iss`.
    pub issuer: Option<String>,
    /// `subject`: `sub`.
    pub subject: Option<String>,
    /// `audience`: `aud`.
    pub audience: Option<String>,
    /// `lifetime`: from `iat` to `exp`. Default 5 min.
    pub lifetime: Duration,
    /// `claims`: further claims.
    pub claims: serde_json::Map<String, serde_json::Value>,
    /// True if the scopes go into the claim `scope` (Google) instead of the form.
    pub scope_claim: bool,
}

/// `client_auth`. Several client secrets are tried in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientAuth {
    /// `none`: only the client's id in the form, if there is one (and the certificate of `tls`, RFC 8705).
    None,
    /// `basic`: HTTP Basic, id and secret form-encoded first (RFC 6749 section 2.3.1; the default).
    Basic(Vec<Secret>),
    /// `basic_raw`: HTTP Basic without the form-encoding.
    BasicRaw(Vec<Secret>),
    /// `post`: in the form.
    Post(Vec<Secret>),
    /// `client_secret_jwt`: an assertion signed with the secret (HS256).
    ClientSecretJwt {
        /// `client_secret`.
        secrets: Vec<Secret>,
        /// `client_assertion.audience`. Default: the token URL.
        audience: String,
    },
    /// `private_key_jwt`: an assertion signed with a private key, or by another program.
    PrivateKeyJwt(Assertion),
}

impl ClientAuth {
    /// Returns the client secrets, in the order in which they are tried.
    pub fn secrets(&self) -> &[Secret] {
        match self {
            Self::Basic(secrets)
            | Self::BasicRaw(secrets)
            | Self::Post(secrets)
            | Self::ClientSecretJwt { secrets, .. } => secrets,
            Self::None | Self::PrivateKeyJwt(_) => &[],
        }
    }
}

/// `oauth2.tls`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenTls {
    /// `ca`: the only trusted roots; `None` is the system's.
    pub ca: Option<CaBundle>,
    /// `client_certificate` and `client_key`, one PEM text (RFC 8705).
    pub identity: Option<Secret>,
}

/// `bearer_token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BearerTokenType {
    /// `access_token` (the default).
    AccessToken,
    /// `id_token`.
    IdToken,
}

impl BearerTokenType {
    /// Returns its name in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "access_token",
            Self::IdToken => "id_token",
        }
    }
}

/// A connected service.
#[derive(Debug, PartialEq)]
pub struct Service {
    /// Its key under `services`: the first path segment of outbound requests.
    pub key: String,
    /// `name`, for display.
    pub name: Option<String>,
    /// Its upstream, if it has a `server_url`.
    pub outbound: Option<Outbound>,
    /// Its webhook, if it has one.
    pub webhook: Option<Webhook>,
}

impl Service {
    /// Returns its own unreadable secret: a certificate, or a secret of the webhook.
    pub fn unread(&self) -> Option<&UnreadSecret> {
        let outbound = self.outbound.as_ref().and_then(|outbound| outbound.unread.as_ref());
        UnreadSecret::worse(outbound, self.webhook.as_ref().and_then(|webhook| webhook.unread.as_ref()))
    }
}

/// The outbound half of a service.
#[derive(Debug, PartialEq)]
pub struct Outbound {
    /// Its account.
    pub account: Arc<Account>,
    /// Its URL.
    pub server_url: ServerUrl,
    /// Maximum time from the request's arrival to the upstream's response headers. Default 30 s.
    pub timeout: Duration,
    /// The detail of the answer on timeout. `None`: a default sentence.
    pub timeout_message: Option<String>,
    /// The whole answer on timeout, if the operator replaces attache's.
    pub timeout_response: Option<TimeoutResponse>,
    /// Maximum pause within a started response. Default 60 s.
    pub idle_timeout: Duration,
    /// True if a request is sent once more after the upstream refused its token. Default true.
    pub retry_on_401: bool,
    /// `tls.ca`: the only roots trusted for this service; `None` is the system's.
    pub ca: Option<CaBundle>,
    /// The file of `tls.ca`, if it can't be read.
    pub unread: Option<UnreadSecret>,
    /// True if a *name* may resolve to a loopback, private or link-local address.
    pub private_network: bool,
}

/// `server_url` or `forward_to`: an http or https URL without query, fragment and user info.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerUrl {
    /// True for https.
    pub tls: bool,
    /// The host.
    pub host: Host,
    /// The port, with the scheme's default filled in.
    pub port: u16,
    /// The value of `Host`: the host, and the port unless it is the scheme's default.
    pub authority: String,
    /// The path prefix, as written and without a trailing slash: empty, or it starts with a slash.
    pub path: String,
}

/// Returns the address at which a connection to `ip` arrives: the unspecified address leads to this host.
pub fn destination(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// A URL's host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name, lowercase, to be resolved.
    Name(String),
    /// An address literal.
    Ip(IpAddr),
}

/// `timeout_response`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeoutResponse {
    /// `status`, 200 to 599. Default 504.
    pub status: StatusCode,
    /// `content_type`. Default `text/plain; charset=utf-8`.
    pub content_type: HeaderValue,
    /// `body`. Default: the service's `timeout_message`, or its default.
    pub body: Option<String>,
    /// `headers`.
    pub headers: Vec<(FieldName, HeaderValue)>,
}

/// `tls.ca`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaBundle {
    /// The file that it was read from.
    pub path: PathBuf,
    /// The certificates in DER, at least one.
    pub certificates: Vec<Vec<u8>>,
}
