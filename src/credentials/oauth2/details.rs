//! The contents of a token, for the operator who asks whether it is the right one.
//!
//! A JSON Web Token is read and not verified: it is the third party that it has to convince.

use super::redact::KnownSecrets;
use super::response::{Granted, MAX_LIFETIME};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use oauth2::TokenResponse as _;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Never the token itself. Texts are redacted and cut as those of an error are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Details {
    /// `token_type` as it came.
    pub(super) token_type: Option<Arc<str>>,
    /// `scope`, separated by spaces.
    pub(super) scope: Option<Arc<str>>,
    /// The claims of a JSON Web Token.
    pub(super) claims: Option<AudienceClaims>,
}

/// The claims of RFC 7519 that say whom a token is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct AudienceClaims {
    /// `iss`.
    pub(super) iss: Option<Arc<str>>,
    /// `aud`, one or several.
    pub(super) aud: Vec<Arc<str>>,
    /// `exp`: seconds since 1970.
    pub(super) exp: Option<u64>,
}

impl Details {
    /// Returns the details of an answer whose `token` is sent.
    pub(super) fn of(granted: &Granted, token: &str, secrets: &KnownSecrets) -> Self {
        let scope = granted
            .scopes()
            .map(|scopes| scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" "));
        Self {
            token_type: granted.extra_fields().said_type.as_deref().and_then(|said| secrets.text(said)),
            scope: scope.and_then(|scope| secrets.text(&scope)),
            claims: payload(token).map(|claims| AudienceClaims::of(&claims, secrets)),
        }
    }
}

/// Maximum number of audiences that are shown.
const MAX_AUDIENCES: usize = 16;

impl AudienceClaims {
    fn of(claims: &Map<String, Value>, secrets: &KnownSecrets) -> Self {
        let text = |value: &Value| value.as_str().and_then(|text| secrets.text(text));
        Self {
            iss: claims.get("iss").and_then(text),
            aud: match claims.get("aud") {
                Some(Value::Array(all)) => all.iter().take(MAX_AUDIENCES).filter_map(text).collect(),
                Some(one) => text(one).into_iter().collect(),
                None => Vec::new(),
            },
            exp: claims
                .get("exp")
                .and_then(|exp| exp.as_u64().or_else(|| exp.as_f64().map(|exp| exp as u64))),
        }
    }
}

/// Returns the lifetime that a JSON Web Token states: `exp` less `iat`, since both are of one clock, or what is left until
/// `exp` if there is no `iat`. `None` if it states no end. A year at most.
pub(super) fn lifetime(token: &str, now: SystemTime) -> Option<Duration> {
    let claims = payload(token)?;
    let seconds = |name| claims.get(name).and_then(Value::as_f64);
    let since_1970 = || now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let stated = seconds("exp")? - seconds("iat").unwrap_or_else(since_1970);
    Some(Duration::from_secs_f64(stated.clamp(0.0, MAX_LIFETIME.as_secs_f64())))
}

/// The claims, if it is a signed token in the compact form (RFC 7515 section 7.1).
fn payload(token: &str) -> Option<Map<String, Value>> {
    let mut parts = token.split('.');
    let (header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let decode = |part: &str| {
        let json = BASE64_URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice::<Map<String, Value>>(&json).ok()
    };
    decode(header)?;
    decode(claims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn jwt(header: &str, claims: &Value) -> String {
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.c2ln", part(header), part(&claims.to_string()))
    }

    fn claims(of: &Value) -> Option<AudienceClaims> {
        payload(&jwt(r#"{"alg":"RS256"}"#, of)).map(|all| AudienceClaims::of(&all, &KnownSecrets::default()))
    }

    #[test]
    fn the_claims_of_a_token() {
        let claims =
            claims(&json!({ "iss": "https://id.example", "aud": ["a", 7, "b"], "exp": 1.7e9, "x": {} }));
        let claims = claims.unwrap();
        assert_eq!(claims.iss.as_deref(), Some("https://id.example"));
        assert_eq!(claims.aud, ["a".into(), "b".into()]);
        assert_eq!(claims.exp, Some(1_700_000_000));
    }

    #[test]
    fn one_audience() {
        assert_eq!(claims(&json!({ "aud": "a" })).unwrap().aud, ["a".into()]);
        assert_eq!(claims(&json!({ "exp": -1 })).unwrap().exp, Some(0));
    }

    #[test]
    fn the_lifetime_that_a_token_states() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let of = |claims: Value| lifetime(&jwt("{}", &claims), now).map(|stated| stated.as_secs());
        // The clock of the issuer may differ.
        assert_eq!(of(json!({ "iat": 5000, "exp": 5300.0 })), Some(300));
        assert_eq!(of(json!({ "exp": 1300 })), Some(300));
        assert_eq!(of(json!({ "exp": 900 })), Some(0));
        assert_eq!(of(json!({ "exp": 1e300 })), Some(366 * 24 * 3600));
        assert_eq!(of(json!({ "iat": 900 })), None);
        assert_eq!(lifetime("t0ken", now), None);
    }

    #[test]
    fn what_is_no_token_of_that_kind() {
        let good = jwt("{}", &json!({}));
        for other in ["t0ken", "a.b.c", &format!("{good}.x.y"), &jwt("7", &json!({})), &jwt("{}", &json!([]))]
        {
            assert_eq!(payload(other), None, "{other}");
        }
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(claims(&json!({ "iss": "a\u{1b}[2Jb" })).unwrap().iss.as_deref(), Some("a [2Jb"));
    }
}
