//! What a valid file means: every reference resolved, every secret in hand, every default filled in.
//!
//! A [`Config`] is only ever made by [`super::load()`]; nothing that holds one has to check it again.

mod unread;
mod webhook;

pub use super::secrets::LastValues;
pub use unread::{ReadFault, UnreadSecret};
pub use webhook::{
    ApiKey, IdentityAssertion, KeyIn, Rate, Refusals, Replay, TrustedProxies, Validity, Webhook,
};

use crate::header_name::FieldName;
use crate::jwt::SigningKey;
use crate::secret::Secret;
use http::{HeaderName, HeaderValue, StatusCode};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The whole file.
#[derive(Debug)]
pub struct Config {
    /// Where attache listens. A change needs a restart.
    pub listen: Listen,
    /// The outside address of the webhook listener, without a trailing slash.
    pub public_url: Option<String>,
    /// `via`: whether outbound requests carry `Via: 1.1 attache` (RFC 9110 section 7.6.3). Default false, because some
    /// servers switch compression off for it.
    pub via: bool,
    /// Worker threads; `None` is one a core. A change needs a restart.
    pub threads: Option<NonZeroUsize>,
    /// The names under which a webhook's identity is told to our programs.
    pub identity_headers: IdentityHeaders,
    /// `identity.assertion`: what vouches for a webhook's identity, if anything does.
    pub assertion: Option<IdentityAssertion>,
    /// Whose `X-Forwarded-For` is believed on the webhook listener.
    pub trusted_proxies: TrustedProxies,
    /// `limits.wrong_keys`: how many calls with a wrong key a client address has before it is told to wait. `None`: any
    /// number.
    pub wrong_keys: Option<Rate>,
    /// `limits.connections`: the most connections of one listener. `None`: a quarter of the process's descriptors.
    pub max_connections: Option<NonZeroUsize>,
    /// How long requests in flight may go on after SIGTERM.
    pub drain: Duration,
    /// Where the access log goes, and how much the log on stderr says.
    pub log: Log,
    /// Where refresh tokens are kept. Never `None` if a grant has one to keep.
    pub state: Option<StateStore>,
    /// Reusable accounts by their key under `accounts`.
    pub accounts: BTreeMap<String, Arc<Account>>,
    /// Users by their key under `users`.
    pub users: BTreeMap<String, Arc<User>>,
    /// Services by their key under `services`.
    pub services: BTreeMap<String, Arc<Service>>,
    /// Lowercase hex SHA-256 of the configuration's text (not of the secrets behind it): what `/status` and
    /// `attache_config_info` show.
    pub hash: String,
    /// SHA-256 over the text *and* every secret and certificate it refers to. Two configurations with the same
    /// fingerprint behave alike. Never shown: it would confirm a guessed secret.
    pub fingerprint: [u8; 32],
    /// The secrets that were read, which serve on if the next reading finds one missing.
    pub last_values: LastValues,
}

impl Config {
    /// Every account, those written in place included. One that several services share comes several times.
    pub fn all_accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        let used = self.services.values().filter_map(|service| Some(&service.outbound.as_ref()?.account));
        self.accounts.values().chain(used)
    }

    /// The accounts with a secret that can't be read.
    pub fn unread_accounts(&self) -> BTreeMap<&str, &UnreadSecret> {
        self.all_accounts().filter_map(|account| Some((&*account.name, account.unread.as_ref()?))).collect()
    }

    /// The services with a secret of their own that can't be read: a certificate, or a secret of the webhook.
    pub fn unread_services(&self) -> BTreeMap<&str, &UnreadSecret> {
        self.services.values().filter_map(|service| Some((&*service.key, service.unread()?))).collect()
    }

    /// The OAuth2 accounts that have a refresh token to keep, those written in place included.
    pub fn rotating(&self) -> impl Iterator<Item = &OAuth2> {
        self.all_accounts().filter_map(|account| match &account.authorization {
            Authorization::OAuth2(oauth2) if oauth2.grant.refreshes() => Some(&**oauth2),
            _ => None,
        })
    }
}

/// `listen`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Our programs send here. Default `127.0.0.1:8080`.
    pub outbound: ListenAddr,
    /// Third parties call here. Default `127.0.0.1:8081`.
    pub webhooks: ListenAddr,
    /// Metrics, health, status. Default `127.0.0.1:9090`.
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
    /// Default `X-Attache-User`.
    pub user: FieldName,
    /// Default `X-Attache-Service`.
    pub service: FieldName,
    /// Default `X-Attache-Key-Id`.
    pub key_id: FieldName,
}

impl IdentityHeaders {
    /// The three of them: user, service, key id.
    pub fn all(&self) -> [&FieldName; 3] {
        [&self.user, &self.service, &self.key_id]
    }
}

/// `state`. Another `dir` needs a restart, so that the files can be moved along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateStore {
    /// `dir`. Default `$STATE_DIRECTORY`, else `state` beside the configuration.
    pub dir: PathBuf,
    /// `key`: what the files are sealed with; the first seals, all open. Empty if none of them can be read: then every
    /// account with a refresh token to keep is unavailable.
    pub keys: Vec<Secret>,
}

/// `log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Where the access log goes. A change needs a restart.
    pub access: AccessLog,
    /// How the log on stderr is written. A change takes effect at once.
    pub format: LogFormat,
    /// How much is said on stderr.
    pub level: LogLevel,
}

/// `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people (the default).
    Text,
    /// One JSON object a line.
    Json,
}

/// `log.access`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLog {
    /// One JSON line a request on stdout (the default).
    Stdout,
    /// None.
    Off,
    /// Appended to a file.
    File(PathBuf),
}

/// `log.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Only what needs a person.
    Error,
    /// And what may soon.
    Warn,
    /// And what happened (the default).
    Info,
    /// And why.
    Debug,
}

/// A user: an identity of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its key under `users`: what is sent upstream.
    pub key: String,
    /// `name`, for people.
    pub name: Option<String>,
    /// `active`: false shuts its webhooks.
    pub active: bool,
}

/// Reusable credentials.
#[derive(Debug, PartialEq, Eq)]
pub struct Account {
    /// The key under `accounts`; for one written in place, `services/NAME`.
    pub name: String,
    /// How it opens a service.
    pub authorization: Authorization,
    /// One of its secrets that can't be read, or the store's key that its refresh token is sealed with.
    pub unread: Option<UnreadSecret>,
}

impl Account {
    /// Returns true if it is written in place, in a service.
    pub fn is_inline(&self) -> bool {
        self.name.contains('/')
    }
}

/// `authorization`.
#[derive(Debug, PartialEq, Eq)]
pub enum Authorization {
    /// `none`: the caller's headers go as they are.
    None,
    /// A secret can't be read, and there is no earlier value of it: no request is sent.
    Unavailable,
    /// `header`, `headers` or `basic`: headers with fixed values, each marked sensitive.
    Headers(Vec<(FieldName, HeaderValue)>),
    /// `query`: a parameter with a fixed value.
    Query {
        /// The parameter's name, not yet percent-encoded.
        name: String,
        /// Its value, not yet percent-encoded.
        value: Secret,
    },
    /// `oauth2`: a token that is asked for, kept and renewed.
    OAuth2(Box<OAuth2>),
}

/// `authorization.oauth2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth2 {
    /// How the token is asked for.
    pub grant: Grant,
    /// The token endpoint. Checked: https, or loopback, or `allow_plaintext`.
    pub token_url: url::Url,
    /// `client_id`. May be absent only where the grant speaks for itself: `jwt_bearer`, `token_exchange`.
    pub client_id: Option<String>,
    /// How the client proves itself.
    pub client_auth: ClientAuth,
    /// `tls`: for the token endpoint's connections.
    pub tls: TokenTls,
    /// In the file's order; sent separated by spaces, left out if empty.
    pub scopes: Vec<String>,
    /// Which member of the answer is sent.
    pub bearer_token_type: BearerTokenType,
    /// Extra form members; a name may stand more than once.
    pub token_params: Vec<(String, String)>,
    /// Extra headers of the token request, marked sensitive.
    pub token_headers: Vec<(HeaderName, HeaderValue)>,
    /// `header`: what the token is sent in. Default `Authorization`.
    pub header: FieldName,
    /// `prefix`: what stands before the token there. Default `Bearer `, with its space.
    pub prefix: String,
    /// What a token lives whose answer does not say. Default 5 min.
    pub default_lifetime: Duration,
    /// How long one token request may take. Default 10 s.
    pub token_timeout: Duration,
    /// The third party's statuses that mean "this token is not good". Default 401; empty is none.
    pub retry_on: Vec<StatusCode>,
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
    /// RFC 6749 section 6, from a token that the operator got by other means.
    RefreshToken {
        /// `refresh_token`: the first one; those that follow are kept in the state store.
        refresh_token: Secret,
    },
    /// RFC 6749 section 4.1 with PKCE (RFC 7636), through `attache login`.
    AuthorizationCode {
        /// `authorization_url`.
        authorization_url: url::Url,
        /// `redirect_url`: a loopback URL. `None`: `http://127.0.0.1:PORT/callback` with any port (RFC 8252 section 7.3).
        redirect_url: Option<url::Url>,
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
}

impl Grant {
    /// Its name in the file.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::Password { .. } => "password",
            Self::RefreshToken { .. } => "refresh_token",
            Self::AuthorizationCode { .. } => "authorization_code",
            Self::DeviceCode { .. } => "device_code",
            Self::JwtBearer(_) => "jwt_bearer",
            Self::TokenExchange { .. } => "token_exchange",
        }
    }

    /// Whether its tokens come from a refresh token that has to be kept in the state store.
    pub fn refreshes(&self) -> bool {
        matches!(self, Self::RefreshToken { .. } | Self::AuthorizationCode { .. } | Self::DeviceCode { .. })
    }

    /// What a person does for `account` if its refresh token is missing or refused. Begins with a verb.
    pub fn remedy(&self, account: &str) -> String {
        match self {
            // It has no login: the token came by other means.
            Self::RefreshToken { .. } => "give the account another `refresh_token`".to_owned(),
            _ => format!("run `attache login {account}`"),
        }
    }
}

/// A token that another program made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresentedToken {
    /// The same as long as the configuration is.
    Fixed(Secret),
    /// Read anew for every token request: a projected service-account token rotates without a reload.
    File(PathBuf),
}

/// `assertion` (RFC 7523 section 2.1) or `client_assertion` (section 2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assertion {
    /// Signed here, anew for every token request.
    Signed(Box<SignedAssertion>),
    /// `token`: made elsewhere.
    Presented(PresentedToken),
}

/// An assertion that attache signs. Defaults are filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedAssertion {
    /// `key` and `algorithm`.
    pub key: SigningKey,
    /// `key_id`: the header's `kid`.
    pub key_id: Option<String>,
    /// SHA-256 of the DER of `certificate`: the header's `x5t#S256`.
    pub certificate_sha256: Option<[u8; 32]>,
    /// `issuer`: `iss`.
    pub issuer: String,
    /// `subject`: `sub`.
    pub subject: String,
    /// `audience`: `aud`.
    pub audience: String,
    /// `lifetime`: from `iat` to `exp`. Default 5 min.
    pub lifetime: Duration,
    /// `claims`: further claims, as texts.
    pub claims: Vec<(String, String)>,
    /// Whether the scopes go into the claim `scope` (Google) instead of the form.
    pub scope_claim: bool,
}

/// `client_auth`. Of several client secrets the first is tried first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientAuth {
    /// `none`: the client's id in the form, if there is one, and nothing more (but what `tls` shows, RFC 8705).
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
    /// `private_key_jwt`: an assertion signed with a private key, or one made elsewhere.
    PrivateKeyJwt(Assertion),
}

impl ClientAuth {
    /// The client secrets, in the order in which they are tried.
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
    /// `ca`: the only roots trusted; `None` is the system's.
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

/// A connected service.
#[derive(Debug, PartialEq)]
pub struct Service {
    /// Its key under `services`: the first path segment of outbound requests.
    pub key: String,
    /// `name`, for people.
    pub name: Option<String>,
    /// Its upstream, if it has a `server_url`.
    pub outbound: Option<Outbound>,
    /// Its webhook, if it has one.
    pub webhook: Option<Webhook>,
}

impl Service {
    /// A secret of its own that can't be read: a certificate, or a secret of the webhook.
    pub fn unread(&self) -> Option<&UnreadSecret> {
        let outbound = self.outbound.as_ref().and_then(|outbound| outbound.unread.as_ref());
        UnreadSecret::worse(outbound, self.webhook.as_ref().and_then(|webhook| webhook.unread.as_ref()))
    }
}

/// The outbound half of a service.
#[derive(Debug, PartialEq)]
pub struct Outbound {
    /// Which account opens it.
    pub account: Arc<Account>,
    /// Where it is.
    pub server_url: ServerUrl,
    /// From the request's arrival to the third party's response headers. Default 30 s.
    pub timeout: Duration,
    /// What the answer on time-out says. `None`: a sentence of ours.
    pub timeout_message: Option<String>,
    /// The whole answer on time-out, if the operator wants another one than ours.
    pub timeout_response: Option<TimeoutResponse>,
    /// How long a started answer may stall. Default 60 s.
    pub idle_timeout: Duration,
    /// Whether a request is sent once more after the third party refused its token. Default true.
    pub retry_on_401: bool,
    /// `tls.ca`: the only roots trusted for this service; `None` is the system's.
    pub ca: Option<CaBundle>,
    /// The file of `tls.ca`, if it can't be read.
    pub unread: Option<UnreadSecret>,
    /// Whether a *name* may resolve to a loopback, private or link-local address.
    pub private_network: bool,
}

/// `server_url` or `forward_to`: an http or https URL without query, fragment and user info.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerUrl {
    /// https.
    pub tls: bool,
    /// The host.
    pub host: Host,
    /// The port, the scheme's default filled in.
    pub port: u16,
    /// What `Host` says: the host, and the port unless it is the scheme's default.
    pub authority: String,
    /// The path prefix, as written and without a trailing slash: empty, or it starts with a slash.
    pub path: String,
}

/// The address at which a connection to `ip` arrives: the unspecified one leads to this host.
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
    /// `body`. Default: the service's `timeout_message`, or ours.
    pub body: Option<String>,
    /// `headers`.
    pub headers: Vec<(FieldName, HeaderValue)>,
}

/// `tls.ca`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaBundle {
    /// The file it came from.
    pub path: PathBuf,
    /// DER, at least one.
    pub certificates: Vec<Vec<u8>>,
}
