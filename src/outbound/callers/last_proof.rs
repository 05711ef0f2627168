//! The last proof of a connection. A client that repeats it costs neither a hash nor the verification of a signature.
//!
//! Invariant: [`LastProof::proven`] returns what the verification of the same text would. It counts only for the table that
//! verified it, which a reload replaces, only while its issuer has the same keys, and only between its times.

use super::table::TableId;
use super::{Callers, Proven};
use crate::config::model::Validity;
use crate::issuers::{Issuers, Verified};
use crate::message::authorization::is_token68;
use std::hint::black_box;
use std::time::SystemTime;
use zeroize::Zeroizing;

/// Maximum length of a text that is remembered, since an idle connection holds it.
const MAX_TEXT: usize = 4 << 10;

/// See the module's documentation. No `Debug`: the text is a credential.
#[derive(Default)]
pub struct LastProof(Option<Box<Remembered>>);

struct Remembered {
    text: Zeroizing<Box<[u8]>>,
    table: TableId,
    proven: Proven,
    /// The verified token, if the text is a JWT.
    jwt: Option<Verified>,
}

impl LastProof {
    /// Returns the caller that `text` proves, if it is the last proof and still one.
    pub(super) fn proven(
        &self,
        callers: &Callers,
        issuers: &Issuers,
        text: &[u8],
        now: SystemTime,
    ) -> Option<Proven> {
        let last =
            self.0.as_deref().filter(|last| last.table == *callers.id() && is_same(&last.text, text))?;
        let is_valid = match (last.proven.token, &last.jwt) {
            (Some(number), _) => callers.tokens().get(number).validity_at(now) == Validity::Valid,
            (None, Some(jwt)) => issuers.still_accept(jwt, now),
            (None, None) => false,
        };
        is_valid.then_some(last.proven)
    }

    /// Remembers a text that `callers` verified, unless it is longer than [`MAX_TEXT`], or a password that would be
    /// malformed in another field.
    pub(super) fn set(&mut self, callers: &Callers, text: &[u8], proven: Proven, jwt: Option<Verified>) {
        let remembered = || {
            let text = Zeroizing::new(text.into());
            Box::new(Remembered { text, table: callers.id().clone(), proven, jwt })
        };
        self.0 = (text.len() <= MAX_TEXT && is_token68(text)).then(remembered);
    }
}

/// Compares in a time that depends on the lengths alone: a front proxy may send the requests of several clients over one
/// connection, and none may learn another's token from the time that its guess takes.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let difference = one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b));
    one.len() == other.len() && black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BILLING, REPORTS, caller, table};
    use super::super::{Shown, proof};
    use super::*;
    use crate::config::model::{ApiKey, Caller, CallerJwt, Issuer, Jwks};
    use crate::jwt::key_set::KeySet;
    use crate::jwt::verify::testing::{TestKey, with};
    use crate::message::Fields;
    use crate::secret::sha256;
    use crate::telemetry::metrics::CallerRefusal;
    use serde_json::json;
    use std::sync::Arc;
    use std::time::Duration;

    const ISSUER: &str = "https://id.example";
    const NOW: u64 = 1_790_000_000;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// A connection to a listener whose file has these callers and issuers.
    struct Connection {
        callers: Callers,
        issuers: Issuers,
        last: LastProof,
    }

    impl Connection {
        fn new(of: Caller) -> Self {
            let other = caller("reports", REPORTS, "reports.corp.example");
            Self { callers: table([Arc::new(of), other]), issuers: issuers(&[1]), last: LastProof::default() }
        }

        /// Returns the caller of a request with this token. Fails if verifying it anew proves another one.
        fn request(&mut self, token: &str, now: SystemTime) -> Result<String, CallerRefusal> {
            let fields = Fields::collect([(&b"X-Attache-Token"[..], token.as_bytes())]);
            let shown = || Shown { proof: proof::shown(&fields, false), certificate: None, now };
            let anew = self.callers.authenticate(&self.issuers, shown(), &mut LastProof::default());
            let proven = self.callers.authenticate(&self.issuers, shown(), &mut self.last);
            assert_eq!(proven.as_ref().ok(), anew.as_ref().ok());
            proven.map(|one| self.callers.get(one.caller).key.to_string()).map_err(|unproven| unproven.reason)
        }

        /// Returns true if the next request with this token costs no verification.
        fn remembers(&self, token: &str, now: SystemTime) -> bool {
            self.last.proven(&self.callers, &self.issuers, token.as_bytes(), now).is_some()
        }
    }

    fn billing() -> Caller {
        let token = ApiKey { expires_at: Some(at(NOW + 60)), ..ApiKey::new("t", sha256(BILLING.as_bytes())) };
        let jwt = CallerJwt { issuer: "id".to_owned(), subject: "billing".to_owned() };
        let of = Arc::into_inner(caller("billing", BILLING, "spiffe://corp/billing")).unwrap();
        Caller { tokens: vec![token], jwt: Some(jwt), ..of }
    }

    fn issuers(seeds: &[u8]) -> Issuers {
        Issuers::of([issuer("id", seeds)].iter())
    }

    fn issuer(key_in_file: &str, seeds: &[u8]) -> Arc<Issuer> {
        let key = |seed: &u8| with(&TestKey::ed25519(*seed).jwk(), &json!({ "kid": seed.to_string() }));
        let keys = json!({ "keys": seeds.iter().map(key).collect::<Vec<_>>() }).to_string();
        let keys = KeySet::parse(keys.as_bytes()).unwrap();
        Arc::new(Issuer {
            key: key_in_file.to_owned(),
            issuer: ISSUER.to_owned(),
            audiences: vec!["attache".to_owned()],
            jwks: Jwks::File { path: "jwks.json".into(), keys },
            unread: None,
        })
    }

    fn jwt() -> String {
        let claims = json!({ "iss": ISSUER, "aud": "attache", "sub": "billing", "exp": NOW + 60 });
        TestKey::ed25519(1).token(&json!({ "alg": "EdDSA", "kid": "1" }), &claims)
    }

    #[test]
    fn a_proof_that_repeats_is_remembered() {
        for token in [BILLING, &jwt()] {
            let mut connection = Connection::new(billing());
            assert!(!connection.remembers(token, at(NOW)));
            assert_eq!(connection.request(token, at(NOW)).as_deref(), Ok("billing"));
            assert!(connection.remembers(token, at(NOW)));
            assert_eq!(connection.request(token, at(NOW)).as_deref(), Ok("billing"));
        }
    }

    #[test]
    fn another_text_is_verified() {
        let mut connection = Connection::new(billing());
        let jwt = jwt();
        for (token, proven) in [
            (BILLING, Ok("billing")),
            (REPORTS, Ok("reports")),
            (&BILLING[1..], Err(CallerRefusal::UnknownToken)),
            (&jwt, Ok("billing")),
            (&jwt[..jwt.len() - 1], Err(CallerRefusal::JwtMalformed)),
            (&jwt.replacen('e', "f", 1), Err(CallerRefusal::JwtMalformed)),
        ] {
            assert_eq!(connection.request(token, at(NOW)).as_deref(), proven.as_ref().copied(), "{token}");
        }
    }

    #[test]
    fn a_remembered_proof_ends_with_its_token() {
        for (token, end, reason) in [
            (BILLING, NOW + 60, CallerRefusal::TokenExpired),
            // With the tolerated difference of the clocks.
            (&jwt(), NOW + 120, CallerRefusal::JwtExpired),
        ] {
            let mut connection = Connection::new(billing());
            assert_eq!(connection.request(token, at(end - 1)).as_deref(), Ok("billing"));
            assert_eq!(connection.request(token, at(end)), Err(reason));
        }
    }

    #[test]
    fn a_remembered_jwt_ends_with_its_key() {
        let mut connection = Connection::new(billing());
        assert_eq!(connection.request(&jwt(), at(NOW)).as_deref(), Ok("billing"));
        connection.issuers = issuers(&[2]);
        assert_eq!(connection.request(&jwt(), at(NOW)), Err(CallerRefusal::JwtKey));
        connection.issuers = Issuers::default();
        assert_eq!(connection.request(&jwt(), at(NOW)), Err(CallerRefusal::UnknownToken));
    }

    /// An issuer that is asked before may get the key meanwhile.
    #[test]
    fn a_jwt_of_the_second_issuer_of_a_name_is_verified_each_time() {
        let mut connection = Connection::new(billing());
        connection.issuers = Issuers::of([issuer("other", &[2]), issuer("id", &[1])].iter());
        assert_eq!(connection.request(&jwt(), at(NOW)).as_deref(), Ok("billing"));
        assert!(!connection.remembers(&jwt(), at(NOW)));
    }

    #[test]
    fn a_remembered_proof_ends_with_a_reload() {
        for token in [BILLING, &jwt()] {
            let mut connection = Connection::new(billing());
            assert_eq!(connection.request(token, at(NOW)).as_deref(), Ok("billing"));
            connection.callers = table([caller("reports", REPORTS, "reports.corp.example")]);
            assert!(connection.request(token, at(NOW)).is_err());
        }
    }
}
