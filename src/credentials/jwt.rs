//! A token that attache signs itself and sends with every request until shortly before its end.
//!
//! The request that finds no token to send signs one. When the end of a token is near, one request signs its successor
//! and the others go on with it, so no request waits for more than its own signature. There is no task: an account
//! without requests signs nothing.

use super::sign::{Sent, sign};
use crate::config::model::SelfSigned;
use crate::header_name::FieldName;
use crate::jwt::SignError;
use arc_swap::ArcSwapOption;
use http::HeaderValue;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

/// Maximum time before its end from which on a token is not sent: it may still be on its way then.
const MAX_MARGIN: Duration = Duration::from_secs(10);

/// The credential of an account with `jwt`.
pub struct JwtCredential {
    config: SelfSigned,
    current: ArcSwapOption<SignedToken>,
    renewing: AtomicBool,
}

/// A signed token.
pub struct SignedToken {
    value: HeaderValue,
    /// The claim `iat`.
    issued_at: SystemTime,
    renewed_from: SystemTime,
    sent_until: SystemTime,
}

impl SignedToken {
    /// Returns the header's value, marked sensitive.
    pub fn header_value(&self) -> &HeaderValue {
        &self.value
    }

    /// Returns true if it may be sent at `now`. A clock that was set back makes a token one of the future.
    fn may_be_sent_at(&self, now: SystemTime) -> bool {
        (self.issued_at..self.sent_until).contains(&now)
    }
}

impl JwtCredential {
    /// Returns the credential, without a token yet.
    pub fn new(config: &SelfSigned) -> Self {
        Self { config: config.clone(), current: ArcSwapOption::empty(), renewing: AtomicBool::new(false) }
    }

    /// Returns the header that carries the token.
    pub fn header(&self) -> &FieldName {
        &self.config.header
    }

    /// Returns a token that may be sent at `now`. Signs at most one.
    ///
    /// # Errors
    ///
    /// If there is none and none can be signed.
    pub fn token_at(&self, now: SystemTime) -> Result<Arc<SignedToken>, SignError> {
        let Some(current) = self.current.load_full().filter(|token| token.may_be_sent_at(now)) else {
            return self.renew(now);
        };
        if now < current.renewed_from || self.renewing.swap(true, Ordering::Acquire) {
            return Ok(current);
        }
        let renewed = self.renew(now);
        self.renewing.store(false, Ordering::Release);
        Ok(renewed.unwrap_or(current))
    }

    fn renew(&self, now: SystemTime) -> Result<Arc<SignedToken>, SignError> {
        let token = Arc::new(self.sign_at(now)?);
        self.current.store(Some(Arc::clone(&token)));
        Ok(token)
    }

    fn sign_at(&self, now: SystemTime) -> Result<SignedToken, SignError> {
        let SelfSigned { assertion, header: _, prefix } = &self.config;
        let token = sign(assertion, "", Sent::Repeatedly, now)?;
        let text = Zeroizing::new(format!("{prefix}{}", token.expose()));
        let mut value = HeaderValue::from_str(&text).map_err(|_| SignError)?;
        value.set_sensitive(true);
        // The times in the token are whole seconds.
        let whole = |time: Duration| Duration::from_secs(time.as_secs());
        let issued_at = UNIX_EPOCH + whole(now.duration_since(UNIX_EPOCH).unwrap_or_default());
        let lifetime = whole(assertion.lifetime);
        Ok(SignedToken {
            value,
            issued_at,
            renewed_from: issued_at + lifetime.mul_f64(0.7),
            sent_until: issued_at + lifetime - (lifetime / 10).min(MAX_MARGIN),
        })
    }
}

impl fmt::Debug for JwtCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JwtCredential([secret])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::SignedAssertion;
    use crate::jwt::SigningKey;
    use base64::Engine as _;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    fn credential(lifetime: u64) -> JwtCredential {
        let assertion = SignedAssertion {
            key: SigningKey::placeholder().unwrap(),
            key_id: Some("2X9R4HXF34".into()),
            certificate_sha256: None,
            issuer: Some("57246542-96fe-1a63-e053-0824d011072a".into()),
            subject: None,
            audience: Some("appstoreconnect-v1".into()),
            lifetime: Duration::from_secs(lifetime),
            claims: [("scope".to_owned(), json!(["GET /v1/apps"]))].into_iter().collect(),
            scope_claim: false,
        };
        JwtCredential::new(&SelfSigned {
            assertion,
            header: FieldName::from_static("Authorization"),
            prefix: "Bearer ".into(),
        })
    }

    fn at(seconds: f64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000) + Duration::from_secs_f64(seconds)
    }

    /// Returns header and claims of the token that is sent at `now`.
    fn sent(credential: &JwtCredential, now: SystemTime) -> (Value, Value) {
        let token = credential.token_at(now).unwrap();
        assert!(token.header_value().is_sensitive());
        let text = token.header_value().to_str().unwrap().strip_prefix("Bearer ").unwrap();
        let parts: Vec<Value> = text
            .split('.')
            .take(2)
            .map(|part| serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
            .collect();
        (parts[0].clone(), parts[1].clone())
    }

    fn issued(credential: &JwtCredential, now: SystemTime) -> u64 {
        sent(credential, now).1["iat"].as_u64().unwrap() - 1_700_000_000
    }

    #[test]
    fn it_holds_what_the_file_says_and_no_id_by_which_a_second_use_is_a_replay() {
        let (header, claims) = sent(&credential(1200), at(0.4));
        assert_eq!(header, json!({ "alg": "EdDSA", "kid": "2X9R4HXF34", "typ": "JWT" }));
        assert_eq!(
            claims,
            json!({
                "iss": "57246542-96fe-1a63-e053-0824d011072a", "aud": "appstoreconnect-v1",
                "iat": 1_700_000_000, "exp": 1_700_001_200, "scope": ["GET /v1/apps"],
            })
        );
    }

    #[test]
    fn it_is_kept_renewed_before_its_end_and_never_sent_after() {
        let credential = credential(100);
        assert_eq!(issued(&credential, at(0.9)), 0);
        assert_eq!(issued(&credential, at(69.9)), 0);
        assert_eq!(issued(&credential, at(70.1)), 70);
        // The next request comes after its end.
        assert_eq!(issued(&credential, at(170.0)), 170);
    }

    #[test]
    fn one_request_renews_and_the_others_go_on_with_the_old_token() {
        let credential = credential(100);
        assert_eq!(issued(&credential, at(0.0)), 0);
        // Another request is signing.
        credential.renewing.store(true, Ordering::Relaxed);
        assert_eq!(issued(&credential, at(89.9)), 0);
        // The old token has ended: none waits for the one that signs.
        assert_eq!(issued(&credential, at(90.0)), 90);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_a_new_one() {
        let credential = credential(100);
        assert_eq!(issued(&credential, at(50.0)), 50);
        assert_eq!(issued(&credential, at(49.0)), 49);
    }

    #[test]
    fn the_shortest_lifetime() {
        let credential = credential(1);
        assert_eq!(issued(&credential, at(0.5)), 0);
        assert_eq!(issued(&credential, at(1.95)), 1);
        assert!(credential.token_at(at(1.95)).unwrap().sent_until <= at(2.0));
    }

    #[test]
    fn nothing_of_it_is_printed() {
        assert_eq!(format!("{:?}", credential(100)), "JwtCredential([secret])");
    }
}
