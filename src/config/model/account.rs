//! Accounts: how a credential is obtained.

use super::{CaBundle, CustomGrant, Param, UnreadSecret, UsedProxy};
use crate::header_name::FieldName;
use crate::jwt::SigningKey;
use crate::secret::{Secret, without_scheme};
use http::{HeaderValue, StatusCode};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

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
    /// `path`: a part of the path of the service's `server_url`, not yet percent-encoded.
    Path(Secret),
    /// `jwt`: a token that attache signs.
    Jwt(Box<SelfSigned>),
    /// `oauth2`: a token that attache requests, stores and renews.
    OAuth2(Box<OAuth2>),
}

impl Authorization {
    /// Returns the length of its shortest fixed credential, without the name of a scheme such as `Bearer`. `None` if it has
    /// none, or it is not known.
    pub fn shortest(&self) -> Option<usize> {
        match self {
            Self::Headers(headers) => {
                headers.iter().map(|(_, value)| without_scheme(value.as_bytes()).len()).min()
            }
            Self::Query { value, .. } | Self::Path(value) => Some(value.expose().len()),
            Self::None | Self::Unavailable | Self::Jwt(_) | Self::OAuth2(_) => None,
        }
    }

    /// Returns the names of the headers that it sets.
    pub fn header_names(&self) -> impl Iterator<Item = &FieldName> {
        let (many, one) = match self {
            Self::Headers(headers) => (&headers[..], None),
            Self::Jwt(jwt) => (&[][..], Some(&jwt.header)),
            Self::OAuth2(oauth2) => (&[][..], Some(&oauth2.header)),
            Self::None | Self::Query { .. } | Self::Path(_) | Self::Unavailable => (&[][..], None),
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
    /// `proxy`: its own forward proxy to the authorization server, or the file's.
    pub proxy: UsedProxy,
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
