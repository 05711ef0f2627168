//! Header and form of each way, as they arrive at an endpoint.

use super::super::error::Cause;
use super::super::error::Unavailability;
use super::super::stub::{self, Stub};
use super::*;
use crate::config::model::{Assertion, PresentedToken};
use ring::signature::ECDSA_P256_SHA256_FIXED;
use serde_json::json;

/// Returns what arrives: the `Authorization` header and the form.
async fn sent(id: Option<&str>, auth: ClientAuth) -> (Option<String>, String) {
    let idp = Stub::good().await;
    let mut config = idp.config();
    config.client_id = id.map(str::to_owned);
    config.client_auth = auth;
    idp.exchange(&config).await.unwrap();
    (idp.header("authorization"), idp.request().1)
}

fn basic_of(credentials: &str) -> Option<String> {
    Some(format!("Basic {}", BASE64_STANDARD.encode(credentials)))
}

fn secrets(all: &[&str]) -> Vec<Secret> {
    all.iter().map(|secret| Secret::new(*secret)).collect()
}

#[tokio::test]
async fn none_sends_the_id_if_there_is_one() {
    let form = "grant_type=client_credentials";
    assert_eq!(sent(None, ClientAuth::None).await, (None, form.to_owned()));
    assert_eq!(sent(Some("a b"), ClientAuth::None).await, (None, format!("{form}&client_id=a+b")));
}

#[tokio::test]
async fn basic_encodes_both_as_a_form_does() {
    let auth = ClientAuth::Basic(secrets(&["p+ss w%rd:ü~"]));
    let (header, form) = sent(Some("a:b"), auth).await;
    assert_eq!(header, basic_of("a%3Ab:p%2Bss+w%25rd%3A%C3%BC%7E"));
    assert_eq!(form, "grant_type=client_credentials");
}

#[tokio::test]
async fn basic_raw_encodes_neither() {
    let auth = ClientAuth::BasicRaw(secrets(&["p+ss w%rd:ü~"]));
    let (header, form) = sent(Some("a/b"), auth).await;
    assert_eq!(header, basic_of("a/b:p+ss w%rd:ü~"));
    assert_eq!(form, "grant_type=client_credentials");
}

#[tokio::test]
async fn post_puts_both_into_the_form() {
    let (header, form) = sent(Some("attache"), ClientAuth::Post(secrets(&["a&b=c d"]))).await;
    assert_eq!(header, None);
    assert_eq!(form, "grant_type=client_credentials&client_id=attache&client_secret=a%26b%3Dc+d");
}

#[tokio::test]
async fn client_secret_jwt_signs_with_the_secret() {
    let idp = Stub::good().await;
    let mut config = idp.config();
    config.client_auth = ClientAuth::ClientSecretJwt {
        secrets: secrets(&["client-s3cret"]),
        audience: "https://id.example/token".into(),
    };
    idp.exchange(&config).await.unwrap();
    assert_eq!(idp.header("authorization"), None);
    let names: Vec<_> = idp.form(0).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["grant_type", "client_id", "client_assertion_type", "client_assertion"]);
    assert_eq!(
        idp.member(0, "client_assertion_type").unwrap(),
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    );
    let token = idp.member(0, "client_assertion").unwrap();
    let (header, claims) = stub::verified_hs256(&token, "client-s3cret");
    assert_eq!(header, json!({ "alg": "HS256", "typ": "JWT" }));
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("attache"), &json!("attache")));
    assert_eq!(claims["aud"], "https://id.example/token");
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 300);
    assert!(claims["jti"].is_string());
}

#[tokio::test]
async fn private_key_jwt_signs_with_the_key() {
    let idp = Stub::good().await;
    let mut config = idp.config();
    let mut assertion = stub::signed_assertion();
    assertion.key_id = Some("k1".into());
    config.client_auth = ClientAuth::PrivateKeyJwt(Assertion::Signed(Box::new(assertion)));
    config.scopes = vec!["a".into()];
    idp.exchange(&config).await.unwrap();
    assert_eq!(idp.header("authorization"), None);
    let names: Vec<_> = idp.form(0).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["grant_type", "scope", "client_id", "client_assertion_type", "client_assertion"]);
    let token = idp.member(0, "client_assertion").unwrap();
    let (header, claims) = stub::verified(&token, &ECDSA_P256_SHA256_FIXED, &stub::public_key());
    assert_eq!((&header["alg"], &header["kid"]), (&json!("ES256"), &json!("k1")));
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("attache"), &json!("attache")));
}

#[tokio::test]
async fn private_key_jwt_made_elsewhere() {
    let auth = ClientAuth::PrivateKeyJwt(Assertion::Presented(PresentedToken::Fixed(Secret::new("a.b.c"))));
    let (header, form) = sent(Some("attache"), auth).await;
    assert_eq!(header, None);
    assert_eq!(
        form,
        "grant_type=client_credentials&client_id=attache&client_assertion_type=\
         urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=a.b.c"
    );
}

#[tokio::test]
async fn the_second_secret_is_tried_when_the_first_is_refused() {
    for (status, error) in [
        ("400 Bad Request", "invalid_client"),
        ("401 Unauthorized", "invalid_client"),
        ("401 Unauthorized", "unauthorized_client"),
        ("401 Unauthorized", "Unauthorized"),
        ("401 Unauthorized", ""),
    ] {
        let idp = Stub::refusing(status, &[error]).await;
        let mut config = idp.config();
        config.client_auth = ClientAuth::Basic(secrets(&["new", "old"]));
        assert!(idp.exchange(&config).await.unwrap().second_secret, "{status} {error}");
        assert_eq!(idp.header_of(0, "authorization"), basic_of("attache:new"));
        assert_eq!(idp.header_of(1, "authorization"), basic_of("attache:old"));
        assert_eq!(idp.form(0), idp.form(1));
    }
}

#[tokio::test]
async fn so_it_is_in_the_form_and_in_an_assertion() {
    let idp = Stub::refusing("401 Unauthorized", &["invalid_client"]).await;
    let mut config = idp.config();
    config.client_auth = ClientAuth::Post(secrets(&["new", "old"]));
    idp.exchange(&config).await.unwrap();
    assert_eq!(idp.member(1, "client_secret").as_deref(), Some("old"));

    let idp = Stub::refusing("401 Unauthorized", &["invalid_client"]).await;
    let mut config = idp.config();
    config.client_auth =
        ClientAuth::ClientSecretJwt { secrets: secrets(&["new", "old"]), audience: "x".into() };
    idp.exchange(&config).await.unwrap();
    stub::verified_hs256(&idp.member(0, "client_assertion").unwrap(), "new");
    stub::verified_hs256(&idp.member(1, "client_assertion").unwrap(), "old");
}

#[tokio::test]
async fn the_first_secret_is_enough() {
    let idp = Stub::good().await;
    let mut config = idp.config();
    config.client_auth = ClientAuth::Basic(secrets(&["new", "old"]));
    assert!(!idp.exchange(&config).await.unwrap().second_secret);
    assert_eq!(idp.requests(), 1);
}

#[tokio::test]
async fn no_third_try() {
    let idp = Stub::refusing("401 Unauthorized", &["invalid_client"; 3]).await;
    let mut config = idp.config();
    config.client_auth = ClientAuth::Basic(secrets(&["new", "old"]));
    let Err(Failure { cause: Cause::Rejected { code: error }, .. }) = idp.exchange(&config).await else {
        panic!("not refused")
    };
    assert_eq!((&*error, idp.requests()), ("invalid_client", 2));
}

#[tokio::test]
async fn what_the_second_secret_is_told_counts() {
    let idp = Stub::refusing("400 Bad Request", &["invalid_client", "invalid_scope"]).await;
    let mut config = idp.config();
    config.client_auth = ClientAuth::Basic(secrets(&["new", "old"]));
    let Err(Failure { cause: Cause::Rejected { code: error }, .. }) = idp.exchange(&config).await else {
        panic!("not refused")
    };
    assert_eq!(&*error, "invalid_scope");
}

#[tokio::test]
async fn other_refusals_are_no_reason_for_a_second_try() {
    for (status, error) in [
        ("400 Bad Request", "invalid_grant"),
        ("400 Bad Request", "unauthorized_client"),
        ("401 Unauthorized", "invalid_grant"),
        ("401 Unauthorized", "temporarily_unavailable"),
        ("503 Service Unavailable", "invalid_client"),
    ] {
        let idp = Stub::refusing(status, &[error]).await;
        let mut config = idp.config();
        config.client_auth = ClientAuth::Basic(secrets(&["new", "old"]));
        assert!(idp.exchange(&config).await.is_err());
        assert_eq!(idp.requests(), 1, "{status} {error}");
    }
}

#[tokio::test]
async fn one_secret_is_tried_once() {
    let idp = Stub::refusing("401 Unauthorized", &["invalid_client"]).await;
    assert!(idp.exchange(&idp.config()).await.is_err());
    assert_eq!(idp.requests(), 1);
}

#[tokio::test]
async fn an_assertion_that_cannot_be_had_sends_nothing() {
    let idp = Stub::good().await;
    let mut config = idp.config();
    let nowhere = PresentedToken::File("/nowhere/token".into());
    config.client_auth = ClientAuth::PrivateKeyJwt(Assertion::Presented(nowhere));
    let Err(Failure { cause: Cause::Unavailable(reason), .. }) = idp.exchange(&config).await else {
        panic!("a token")
    };
    assert_eq!((reason, idp.requests()), (Unavailability::Assertion, 0));
}
