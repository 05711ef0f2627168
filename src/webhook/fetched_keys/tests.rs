//! Tokens of an issuer that webhooks show, and tokens that must prove nothing.

use super::*;
use crate::config::model::{Config, Issuer, Jwks, JwksUrl, UsedProxy};
use crate::config::{Mode, load};
use crate::jwt::key_set::KeySet;
use crate::jwt::verify::JwtRefusal;
use crate::jwt::verify::testing::{TestKey, with};
use crate::signature::{Delivery, Fault, RequiredToken, Scheme, Signed, Trace, Verifier};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

const GOOGLE: &str = "https://accounts.google.com";
const AUDIENCE: &str = "https://hooks.example.com/pubsub";
const EMAIL: &str = "push@project.iam.gserviceaccount.com";
const NOW: u64 = 1_800_000_000;

fn key(seed: u8) -> TestKey {
    TestKey::ed25519(seed)
}

fn issuer(name: &str, issuer: &str, jwks: Jwks) -> (String, Arc<Issuer>) {
    let audiences = vec![AUDIENCE.to_owned()];
    let issuer = Issuer { key: name.to_owned(), issuer: issuer.to_owned(), audiences, jwks, unread: None };
    (name.to_owned(), Arc::new(issuer))
}

/// Google with the key 1, another issuer with the key 2, and one whose keys were never fetched.
fn issuers() -> Issuers {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("attache.yaml");
    std::fs::write(&path, "services: {}").expect("a file");
    let config = load(&path, Mode::Offline).config.expect("a configuration");
    let set = |seed: u8| {
        let keys = json!({ "keys": [with(&key(seed).jwk(), &json!({ "kid": seed.to_string() }))] });
        let keys = KeySet::parse(keys.to_string().as_bytes()).expect("keys");
        Jwks::File { path: PathBuf::from("jwks.json"), keys }
    };
    let url = "https://id.example/keys".parse().expect("a URL");
    let url = JwksUrl { url, ca: None, token: None, proxy: UsedProxy::default() };
    let all = [
        issuer("google", GOOGLE, set(1)),
        issuer("other", "https://other.example", set(2)),
        issuer("far", "https://far.example", Jwks::Url(Box::new(url))),
    ];
    Issuers::new(&Config { issuers: all.into(), ..config }, None)
}

fn claims() -> Value {
    json!({ "iss": GOOGLE, "aud": AUDIENCE, "sub": "113774264463038321964", "email": EMAIL, "email_verified": true,
            "iat": NOW - 10, "exp": NOW + 3600 })
}

fn verifier(scheme: Scheme, issuer: &str, claims: Value) -> Verifier {
    let verifier = Verifier::new(scheme, &[], Duration::ZERO).expect("a verifier");
    let claims = claims.as_object().expect("an object").clone();
    verifier.with_token(RequiredToken { issuer: issuer.to_owned(), claims })
}

fn google() -> Verifier {
    verifier(Scheme::GooglePubsub, "google", json!({ "email": EMAIL, "email_verified": true }))
}

fn check(verifier: &Verifier, fields: &[(&str, &str)]) -> Result<Signed, Fault> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let value = HeaderValue::from_str(value).expect("a value");
        headers.append(name.parse::<HeaderName>().expect("a name"), value);
    }
    let delivery = Delivery {
        method: "POST",
        target: b"/webhooks/key",
        public_url: None,
        headers: &headers,
        body: b"{}",
    };
    let issuers = issuers();
    let keys = KnownKeys { issuers: Some(&issuers), sns: None };
    verifier.verify_with(&delivery, &keys, UNIX_EPOCH + Duration::from_secs(NOW), &mut Trace::off())
}

fn shown(verifier: &Verifier, token: &str) -> Result<Signed, Fault> {
    check(verifier, &[("Authorization", &format!("Bearer {token}"))])
}

fn token(more: &Value) -> String {
    key(1).token(&json!({ "alg": "EdDSA", "kid": "1" }), &with(&claims(), more))
}

#[test]
fn a_token_with_the_required_claims_is_good() {
    assert_eq!(shown(&google(), &token(&json!({}))), Ok(Signed::default()));
    assert_eq!(google().scheme().token_header().expect("a header"), "authorization");
    // The tokens of the Bot Framework have no `sub`.
    let bot = verifier(Scheme::BotFramework, "google", json!({}));
    assert!(shown(&bot, &token(&json!({ "sub": null, "email": null }))).is_ok());
}

#[test]
fn a_token_of_another_customer_or_issuer_proves_nothing() {
    use JwtRefusal::{
        Algorithm, BadSignature, Expired, Malformed, MissingClaim, NotYetValid, WrongAudience, WrongIssuer,
    };
    let claim = |name: &str| Fault::Claim(name.to_owned());
    for (more, fault) in [
        (json!({ "email": "push@other.iam.gserviceaccount.com" }), claim("email")),
        (json!({ "email": [EMAIL] }), claim("email")),
        (json!({ "email": null }), claim("email")),
        (json!({ "email": EMAIL.to_uppercase() }), claim("email")),
        (json!({ "email_verified": false }), claim("email_verified")),
        (json!({ "email_verified": "true" }), claim("email_verified")),
        (json!({ "email_verified": null }), claim("email_verified")),
        (json!({ "aud": "https://other.example" }), Fault::Token(WrongAudience)),
        (json!({ "aud": null }), Fault::Token(WrongAudience)),
        (json!({ "iss": "https://other.example" }), Fault::Token(WrongIssuer)),
        (json!({ "iss": "accounts.google.com" }), Fault::Token(WrongIssuer)),
        (json!({ "exp": NOW - 3600 }), Fault::Token(Expired)),
        (json!({ "exp": null }), Fault::Token(MissingClaim)),
        (json!({ "iat": NOW + 3600 }), Fault::Token(NotYetValid)),
    ] {
        assert_eq!(shown(&google(), &token(&more)), Err(fault), "{more}");
    }
    let own = json!({ "alg": "EdDSA", "kid": "1" });
    assert_eq!(shown(&google(), &key(2).token(&own, &claims())), Err(Fault::Token(BadSignature)));
    // A token of another issuer of the file, good there.
    let other = with(&claims(), &json!({ "iss": "https://other.example" }));
    let other = key(2).token(&json!({ "alg": "EdDSA", "kid": "2" }), &other);
    assert!(shown(&verifier(Scheme::BotFramework, "other", json!({})), &other).is_ok());
    assert!(shown(&google(), &other).is_err());
    for algorithm in ["none", "HS256", "RS256", "ES256"] {
        let header = json!({ "alg": algorithm, "kid": "1" });
        assert_eq!(shown(&google(), &key(1).token(&header, &claims())), Err(Fault::Token(Algorithm)));
    }
    let twice = claims().to_string().replacen('{', r#"{"email":"other","#, 1);
    let twice = key(1).token_of("EdDSA", own.to_string().as_bytes(), twice.as_bytes());
    assert_eq!(shown(&google(), &twice), Err(Fault::Token(Malformed)));
}

#[test]
fn a_token_is_shown_once_in_its_own_field() {
    let good = token(&json!({}));
    let bearer = format!("Bearer {good}");
    for fields in [
        vec![],
        vec![("X-Goog-Token", bearer.as_str())],
        vec![("Authorization", good.as_str())],
        vec![("Authorization", "Basic Zm9vOmJhcg==")],
        vec![("Authorization", "Bearer ")],
        vec![("Authorization", bearer.as_str()), ("Authorization", bearer.as_str())],
        vec![("Authorization", bearer.as_str()), ("Authorization", "Bearer other")],
    ] {
        assert!(check(&google(), &fields).is_err(), "{fields:?}");
    }
}

#[test]
fn a_key_that_is_not_known_is_needed_only_if_it_can_be_fetched() {
    let far = verifier(Scheme::BotFramework, "far", json!({}));
    let of = |kid: u8, more: &Value| {
        let claims = with(&with(&claims(), &json!({ "iss": "https://far.example" })), more);
        key(kid).token(&json!({ "alg": "EdDSA", "kid": kid.to_string() }), &claims)
    };
    let Err(Fault::NeedsKey(needed)) = shown(&far, &of(7, &json!({}))) else { panic!("no key is needed") };
    assert_eq!(needed.name, KeyName::Issuer("far".into()));
    assert!(matches!(*needed.otherwise, Fault::KeyUnavailable(_)), "not the sender's fault");
    // No key makes these good.
    for more in [json!({ "exp": NOW - 3600 }), json!({ "aud": "x" }), json!({ "iss": GOOGLE })] {
        let refused = shown(&far, &of(7, &more)).expect_err("refused");
        assert!(!matches!(refused, Fault::NeedsKey(_)), "{more}: {refused}");
    }
    // The keys of this one are in a file.
    let unknown = key(1).token(&json!({ "alg": "EdDSA", "kid": "9" }), &claims());
    assert_eq!(shown(&google(), &unknown), Err(Fault::Token(JwtRefusal::UnknownKey)));
}
