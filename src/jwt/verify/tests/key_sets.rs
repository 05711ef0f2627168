//! Key sets: the keys that are kept, and those that are left out with their reason.

use super::*;
use crate::jwt::key_set::KeyFault::{self, Malformed, Private, Weak, WrongAlgorithm};
use crate::jwt::key_set::{KeySetError, MAX_KEY_SET};

#[test]
fn a_key_set_keeps_what_verifies() {
    let good = with(&P256.jwk(), &json!({ "kid": "good" }));
    // Meant for something else: no warning.
    let others = [
        json!({ "kty": "oct", "k": "AAAA" }),
        json!({ "kty": "unheard-of" }),
        with(&P256.jwk(), &json!({ "use": "enc" })),
        with(&P256.jwk(), &json!({ "key_ops": ["sign"] })),
        with(&P256.jwk(), &json!({ "crv": "secp256k1" })),
        with(&RSA.0.jwk(), &json!({ "alg": "RSA-OAEP" })),
        with(&RSA.0.jwk(), &json!({ "alg": "HS256" })),
        json!({ "kty": "OKP", "crv": "X25519", "x": encode(&[1; 32]) }),
    ];
    for other in others {
        let keys = set(&[other.clone(), good.clone()]);
        assert_eq!((keys.len(), keys.skipped().len()), (1, 0), "{other}");
    }
    assert_eq!(set(&[with(&good, &json!({ "use": "sig", "key_ops": ["verify"], "x5c": [1] }))]).len(), 1);
}

#[test]
fn unfit_keys_are_left_out_with_their_reason() {
    let fault = |key: Value| -> KeyFault {
        let keys = set(&[ED25519.jwk(), key]);
        assert_eq!(keys.len(), 1);
        assert_eq!(keys.skipped()[0].at, 1);
        keys.skipped()[0].fault
    };
    let n = |bits: usize| encode(&[&[0x80][..], &vec![1; bits / 8 - 1]].concat());
    assert_eq!(fault(json!({ "kty": "RSA", "n": n(1024), "e": "AQAB" })), Weak);
    assert_eq!(fault(json!({ "kty": "RSA", "n": n(2040), "e": "AQAB" })), Weak);
    assert_eq!(fault(json!({ "kty": "RSA", "n": n(16384), "e": "AQAB" })), KeyFault::TooLong);
    assert_eq!(fault(json!({ "kty": "RSA", "n": n(2048), "e": "AQ" })), Malformed, "the exponent 1");
    assert_eq!(fault(json!({ "kty": "RSA", "n": n(2048), "e": "Ag" })), Malformed, "the exponent 2");
    assert_eq!(fault(json!({ "kty": "RSA", "n": n(2048) })), Malformed);
    assert_eq!(fault(json!({ "kty": "RSA", "n": "", "e": "AQAB" })), Malformed);
    assert_eq!(fault(with(&RSA.0.jwk(), &json!({ "d": "AQAB" }))), Private);
    assert_eq!(fault(with(&P256.jwk(), &json!({ "alg": "ES384" }))), WrongAlgorithm);
    assert_eq!(fault(with(&P256.jwk(), &json!({ "alg": "RS256" }))), WrongAlgorithm);
    assert_eq!(fault(with(&P256.jwk(), &json!({ "y": encode(&[1; 32]) }))), Malformed, "off the curve");
    assert_eq!(fault(with(&P256.jwk(), &json!({ "x": encode(&[0; 32]), "y": encode(&[0; 32]) }))), Malformed);
    assert_eq!(fault(with(&P256.jwk(), &json!({ "x": encode(&[1; 31]) }))), Malformed);
    assert_eq!(fault(with(&P256.jwk(), &json!({ "x": "AAAA=" }))), Malformed);
    assert_eq!(fault(with(&ED25519.jwk(), &json!({ "x": "AAAA" }))), Malformed);
    assert_eq!(fault(with(&ED25519.jwk(), &json!({ "kid": 1 }))), Malformed);
    assert_eq!(fault(json!({})), Malformed);
    assert_eq!(fault(json!("key")), Malformed);
}

#[test]
fn a_leading_zero_of_the_modulus_changes_nothing() {
    let jwk = RSA.0.jwk();
    let n = decode(jwk["n"].as_str().expect("text").as_bytes()).expect("bytes");
    let keys = set(&[with(&jwk, &json!({ "n": encode(&[&[0][..], &n].concat()) }))]);
    assert!(verify_with(RSA.0.token(&json!({ "alg": "RS256" }), &claims()).as_bytes(), &keys).is_ok());
}

#[test]
fn documents_that_are_no_key_set() {
    let error = |text: &[u8]| KeySet::parse(text).expect_err("is refused");
    for text in ["", "[]", "{}", "<html>", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#, "not json"] {
        assert_eq!(error(text.as_bytes()), KeySetError::NotKeySet, "{text}");
    }
    assert_eq!(error(br#"{"keys":[]}"#), KeySetError::NoKey(None));
    assert_eq!(error(&vec![b' '; MAX_KEY_SET + 1]), KeySetError::TooLarge);
    let many = format!(r#"{{"keys":[{}]}}"#, vec!["{}"; 257].join(","));
    assert_eq!(error(many.as_bytes()), KeySetError::TooMany);
    let weak = json!({ "keys": [{ "kty": "RSA", "n": encode(&[0xff; 128]), "e": "AQAB" }] }).to_string();
    let text = error(weak.as_bytes()).to_string();
    assert!(text.ends_with("keys[0] is a weak RSA key: it has less than 2048 bits"), "{text}");
}
