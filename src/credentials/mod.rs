//! Prepared upstream credentials: the credential of an account, ready to be put into a request.
//!
//! Everything that can be prepared is prepared here, once a snapshot: header values are built and marked sensitive, the
//! query parameter is percent-encoded. Only an OAuth2 token is obtained at the time of the request, from its
//! [`oauth2::TokenSource`]. The alternative, a trait object with an `apply` that awaits, would hide from the proxy
//! whether a request has to wait for a token endpoint.

mod copies;
mod jwt;
pub mod oauth2;
mod path;
mod query;
mod sign;
mod stats;

pub use copies::ResponseRedaction;
pub use jwt::{JwtCredential, SignedToken};
pub use path::PathCredential;
pub use query::QueryCredential;
pub use stats::{AccountStats, TokenResult};

use crate::config::model::{self, Account, Authorization};
use crate::header_name::FieldName;
use http::HeaderValue;
use std::fmt;
use std::sync::Arc;

/// The prepared credential of an account.
#[derive(Clone)]
pub enum Credential {
    /// The client's headers go as they are.
    None,
    /// A secret can't be read: no request is sent.
    Unavailable,
    /// Headers with fixed values, each replacing the client's of that name.
    Headers(Box<[(FieldName, HeaderValue)]>),
    /// A query parameter with a fixed value.
    Query(QueryCredential),
    /// A part of the path of the service's `server_url`.
    Path(PathCredential),
    /// A token that attache signs.
    Jwt(Arc<JwtCredential>),
    /// A token that is requested, kept and renewed.
    OAuth2(OAuth2Credential),
}

/// The token that a request carries.
pub enum SentToken {
    /// A token of a token endpoint.
    OAuth2(Arc<oauth2::Token>),
    /// Signed by attache.
    Signed(Arc<SignedToken>),
}

/// A token, and how it is sent.
#[derive(Clone)]
pub struct OAuth2Credential {
    /// The source of the token, which outlives changes of the other fields.
    pub source: Arc<oauth2::TokenSource>,
    /// The header that carries it, in the file's spelling.
    pub header: FieldName,
    /// The text before it.
    pub prefix: Box<str>,
}

impl Credential {
    /// Prepares the account's credential. `token_source` returns an OAuth2 account's source: a new one, or that of an
    /// earlier snapshot (see [`oauth2::identity`]).
    pub fn new(
        account: &Account,
        token_source: impl FnOnce(&model::OAuth2) -> Arc<oauth2::TokenSource>,
    ) -> Self {
        match &account.authorization {
            Authorization::None => Self::None,
            Authorization::Unavailable => Self::Unavailable,
            Authorization::Headers(headers) => Self::Headers(headers.iter().map(sensitive).collect()),
            Authorization::Query { name, value } => Self::Query(QueryCredential::new(name, value)),
            Authorization::Path(value) => Self::Path(PathCredential::new(value)),
            Authorization::Jwt(config) => Self::Jwt(Arc::new(JwtCredential::new(config))),
            Authorization::OAuth2(config) => Self::OAuth2(OAuth2Credential {
                source: token_source(config),
                header: config.header.clone(),
                prefix: config.prefix.as_str().into(),
            }),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Unavailable => "Unavailable",
            Self::Headers(_) => "Headers([secret])",
            Self::Query(_) => "Query([secret])",
            Self::Path(_) => "Path([secret])",
            Self::Jwt(_) => "Jwt([secret])",
            Self::OAuth2(_) => "OAuth2([secret])",
        })
    }
}

fn sensitive((name, value): &(FieldName, HeaderValue)) -> (FieldName, HeaderValue) {
    let mut value = value.clone();
    value.set_sensitive(true);
    (name.clone(), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_credential_is_sensitive_and_prints_nothing() {
        let account = Account {
            name: "mailer".into(),
            unread: None,
            headers: [].into(),
            authorization: Authorization::Headers(vec![(
                FieldName::from_static("X-API-KEY"),
                HeaderValue::from_static("hunter2"),
            )]),
        };
        let credential = Credential::new(&account, |_| unreachable!());
        assert!(!format!("{credential:?}").contains("hunter2"));
        let Credential::Headers(headers) = credential else { panic!("not headers") };
        assert!(headers[0].1.is_sensitive());
        assert_eq!(headers[0].0.spelling(), "X-API-KEY");
    }
}
