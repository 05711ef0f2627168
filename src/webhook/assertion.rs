//! Signed assertions: a JSON Web Token about one call, which proves to the receiver that it came through attache.
//!
//! An identity header proves nothing where other hosts reach the receiver; an assertion proves that the call came
//! through attache. The token states the user and what attache saw of the call, and is valid for at most a minute.

use crate::config::model::IdentityAssertion;
use crate::header_name::FieldName;
use crate::jwt::{SignError, SigningKey};
use crate::secret::hex;
use http::HeaderValue;
use serde_json::{Map, Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// Signs assertions, and publishes the keys that verify them.
pub struct Signer {
    header: FieldName,
    keys: Vec<(String, SigningKey)>,
    issuer: String,
    audience: String,
    ttl: u64,
}

/// The call that an assertion describes.
pub struct Subject<'a> {
    /// The user of the call.
    pub user: &'a str,
    /// The service.
    pub service: &'a str,
    /// The id of its API key.
    pub key_id: &'a str,
    /// The request's id.
    pub request_id: &'a str,
    /// The provider's own id of the delivery, if it signs one.
    pub delivery_id: Option<&'a str>,
    /// The method.
    pub method: &'a str,
    /// The path, with `{key}` where the key was.
    pub path: &'a str,
    /// SHA-256 of the query as it is forwarded, if there is one.
    pub query_sha256: Option<[u8; 32]>,
    /// SHA-256 of the body, if it was read.
    pub body_sha256: Option<[u8; 32]>,
}

impl Signer {
    /// Prepares the signer.
    pub fn new(assertion: &IdentityAssertion) -> Self {
        Self {
            header: assertion.header.clone(),
            keys: assertion.keys.iter().map(|key| (key.thumbprint(), key.clone())).collect(),
            issuer: assertion.issuer.clone(),
            audience: assertion.audience.clone(),
            ttl: assertion.ttl.as_secs(),
        }
    }

    /// Returns the header that carries the assertion.
    pub fn header(&self) -> &FieldName {
        &self.header
    }

    /// Returns the assertion as a header value. One signature.
    ///
    /// # Errors
    ///
    /// If the system has no random numbers.
    pub fn sign_at(&self, subject: &Subject<'_>, now: SystemTime) -> Result<HeaderValue, SignError> {
        let (id, key) = self.keys.first().ok_or(SignError)?;
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut claims = Map::new();
        let mut claim = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        claim("iss", self.issuer.as_str().into());
        claim("aud", self.audience.as_str().into());
        claim("sub", subject.user.into());
        claim("iat", now.into());
        claim("exp", (now + self.ttl).into());
        claim("jti", subject.request_id.into());
        claim("service", subject.service.into());
        claim("key_id", subject.key_id.into());
        claim("delivery_id", subject.delivery_id.unwrap_or(subject.request_id).into());
        claim("method", subject.method.into());
        claim("path", subject.path.into());
        if let Some(sha256) = subject.query_sha256 {
            claim("query_sha256", hex(&sha256).into());
        }
        if let Some(sha256) = subject.body_sha256 {
            claim("body_sha256", hex(&sha256).into());
        }
        let header = Map::from_iter([("kid".to_owned(), id.as_str().into())]);
        let token = key.sign(header, &claims)?;
        let mut value = HeaderValue::from_str(token.expose()).map_err(|_| SignError)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Returns the JSON Web Key Set (RFC 7517 section 5): the signing key, and those beside it.
    pub fn key_set(&self) -> Value {
        let keys = self.keys.iter().filter_map(|(id, key)| {
            let mut jwk = key.public_jwk()?;
            jwk.insert("kid".to_owned(), id.as_str().into());
            jwk.insert("alg".to_owned(), key.algorithm().as_str().into());
            jwk.insert("use".to_owned(), "sig".into());
            Some(Value::Object(jwk))
        });
        json!({ "keys": keys.collect::<Vec<_>>() })
    }
}
