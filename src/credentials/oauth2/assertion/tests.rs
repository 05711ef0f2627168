use super::super::error::Cause;
use super::super::stub;
use super::*;
use crate::config::model::SignedAssertion;
use ring::signature::ECDSA_P256_SHA256_FIXED;
use serde_json::{Value, json};
use std::time::UNIX_EPOCH;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

async fn signed(assertion: SignedAssertion, scopes: &[String]) -> (Value, Value) {
    let token = make(&Assertion::Signed(Box::new(assertion)), scopes, at(1000)).await.unwrap();
    stub::verified(token.expose(), &ECDSA_P256_SHA256_FIXED, &stub::public_key())
}

async fn file(bytes: &[u8]) -> Result<Secret, Failure> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, bytes).unwrap();
    present(&PresentedToken::File(path)).await
}

fn cause(result: Result<Secret, Failure>) -> String {
    match result {
        Err(Failure { cause: Cause::Unavailable(Unavailability::Assertion), words: Some(cause), .. }) => {
            cause.to_string()
        }
        other => panic!("no such failure: {other:?}"),
    }
}

#[tokio::test]
async fn header_and_claims() {
    let (header, mut claims) = signed(stub::signed_assertion(), &[]).await;
    assert_eq!(header, json!({ "alg": "ES256", "typ": "JWT" }));
    let id = claims.as_object_mut().unwrap().remove("jti").unwrap();
    assert!(uuid::Uuid::parse_str(id.as_str().unwrap()).is_ok());
    assert_eq!(
        claims,
        json!({
            "iss": "attache", "sub": "attache", "aud": "https://id.erp.example/token", "iat": 1000, "exp": 1300
        })
    );
}

#[tokio::test]
async fn key_id_and_certificate_are_in_the_header() {
    let mut assertion = stub::signed_assertion();
    assertion.key_id = Some("k1".into());
    assertion.certificate_sha256 = Some([0xfb; 32]);
    let (header, _) = signed(assertion, &[]).await;
    assert_eq!(header["kid"], "k1");
    assert_eq!(header["x5t#S256"], "-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s");
}

#[tokio::test]
async fn further_claims_replace_none_of_ours() {
    let mut assertion = stub::signed_assertion();
    assertion.claims.insert("box_sub_type".into(), json!({ "a": [1, null] }));
    assertion.claims.insert("exp".into(), "never".into());
    let (_, claims) = signed(assertion, &[]).await;
    assert_eq!((&claims["box_sub_type"], &claims["exp"]), (&json!({ "a": [1, null] }), &json!(1300)));
}

#[tokio::test]
async fn no_scopes_make_no_claim() {
    let mut assertion = stub::signed_assertion();
    assertion.scope_claim = true;
    assert!(signed(assertion, &[]).await.1.get("scope").is_none());
}

#[tokio::test]
async fn one_line_break_at_a_files_end_is_cut() {
    for text in ["a.b.c", "a.b.c\n", "a.b.c\r\n"] {
        assert_eq!(file(text.as_bytes()).await.unwrap().expose(), "a.b.c");
    }
}

#[tokio::test]
async fn what_a_file_may_not_hold_is_told_without_telling_what_it_holds() {
    for (bytes, why) in [
        (&b""[..], "empty"),
        (b"\n", "empty"),
        (b"s3cret\n\n", "more than one line, or a control character"),
        (b"s3cret\nmore", "more than one line, or a control character"),
        (b"s3cret\0", "more than one line, or a control character"),
        (b"s3cret\xff", "not UTF-8"),
        (&[b's'; 64 * 1024 + 1], "larger than 64 KiB"),
    ] {
        let cause = cause(file(bytes).await);
        assert!(cause.ends_with(&format!("token: {why}")), "{cause}");
        assert!(!cause.contains("s3cret"), "{cause}");
    }
    assert!(file(&[b's'; 64 * 1024]).await.is_ok());
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let cause = cause(present(&PresentedToken::File("/nowhere/token".into())).await);
    assert!(cause.starts_with("/nowhere/token: No such file"), "{cause}");
}
