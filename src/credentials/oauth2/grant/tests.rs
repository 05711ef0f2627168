//! The request of each grant, as it arrives at an endpoint.

use super::super::error::Cause;
use super::super::stub::{self, Stub};
use super::*;
use crate::config::model::{ClientAuth, PresentedToken};
use crate::credentials::oauth2::error::Unavailability;
use crate::credentials::oauth2::exchange::Exchange;
use crate::jwt::Algorithm;
use ring::signature::ECDSA_P256_SHA256_FIXED;
use serde_json::json;
use std::time::UNIX_EPOCH;

fn url(text: &str) -> url::Url {
    text.parse().unwrap()
}

fn authorization_code() -> Grant {
    Grant::AuthorizationCode {
        authorization_url: url("https://id.example/authorize"),
        redirect_url: None,
        issuer: None,
        authorization_params: vec![("prompt".into(), "consent".into())],
    }
}

fn device_code() -> Grant {
    Grant::DeviceCode { device_authorization_url: url("https://id.example/device") }
}

/// The form that arrives, with two scopes and a parameter configured.
async fn sent(grant: Grant, refresh_token: Option<&str>) -> String {
    let idp = Stub::good().await;
    let mut config = idp.config();
    config.grant = grant;
    config.scopes = vec!["contacts.read".into(), "a:b".into()];
    config.token_params = vec![("audience".into(), "https://erp.example/".into())];
    let refresh_token = refresh_token.map(Secret::new);
    stub::client().exchange(&config, refresh_token.as_ref()).await.unwrap();
    idp.request().1
}

#[tokio::test]
async fn client_credentials() {
    assert_eq!(
        sent(Grant::ClientCredentials, None).await,
        "grant_type=client_credentials&scope=contacts.read+a%3Ab&audience=https%3A%2F%2Ferp.example%2F"
    );
}

#[tokio::test]
async fn password() {
    let grant = Grant::Password { username: Secret::new("bob@x"), password: Secret::new("p&w 1") };
    assert_eq!(
        sent(grant, None).await,
        "grant_type=password&username=bob%40x&password=p%26w+1\
         &scope=contacts.read+a%3Ab&audience=https%3A%2F%2Ferp.example%2F"
    );
}

#[tokio::test]
async fn refresh_token_names_the_scopes_and_sends_the_token_it_is_given() {
    let grant = Grant::RefreshToken { refresh_token: Secret::new("the-first") };
    assert_eq!(
        sent(grant, Some("r+1/2")).await,
        "grant_type=refresh_token&refresh_token=r%2B1%2F2\
         &scope=contacts.read+a%3Ab&audience=https%3A%2F%2Ferp.example%2F"
    );
}

#[tokio::test]
async fn after_a_login_the_scopes_are_those_that_were_granted() {
    for grant in [authorization_code(), device_code()] {
        assert_eq!(
            sent(grant, Some("r1")).await,
            "grant_type=refresh_token&refresh_token=r1&audience=https%3A%2F%2Ferp.example%2F"
        );
    }
}

#[tokio::test]
async fn without_a_refresh_token_nobody_is_asked() {
    for grant in
        [authorization_code(), device_code(), Grant::RefreshToken { refresh_token: Secret::new("the-first") }]
    {
        let idp = Stub::good().await;
        let mut config = idp.config();
        config.grant = grant;
        let failure = idp.exchange(&config).await.unwrap_err();
        assert_eq!(failure, Failure::needs_login());
        assert_eq!(idp.requests(), 0);
    }
}

#[tokio::test]
async fn jwt_bearer_with_an_assertion_of_our_own() {
    let idp = Stub::good().await;
    let mut config = idp.config();
    let mut assertion = stub::signed_assertion();
    assertion.issuer = Some("svc@example".into());
    assertion.subject = Some("boss@example".into());
    config.grant = Grant::JwtBearer(Assertion::Signed(Box::new(assertion)));
    config.client_auth = ClientAuth::None;
    config.client_id = None;
    config.scopes = vec!["a".into(), "b".into()];
    idp.exchange(&config).await.unwrap();
    let names: Vec<_> = idp.form(0).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["grant_type", "assertion", "scope"]);
    assert_eq!(idp.member(0, "grant_type").unwrap(), "urn:ietf:params:oauth:grant-type:jwt-bearer");
    assert_eq!(idp.member(0, "scope").unwrap(), "a b");
    let token = idp.member(0, "assertion").unwrap();
    let (_, claims) = stub::verified(&token, &ECDSA_P256_SHA256_FIXED, &stub::public_key());
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("svc@example"), &json!("boss@example")));
    assert!(claims.get("scope").is_none());
}

#[tokio::test]
async fn scopes_in_the_claim_are_not_in_the_form() {
    let idp = Stub::good().await;
    let mut config = idp.config();
    let mut assertion = stub::signed_assertion();
    assertion.scope_claim = true;
    config.grant = Grant::JwtBearer(Assertion::Signed(Box::new(assertion)));
    config.scopes = vec!["a".into(), "b".into()];
    idp.exchange(&config).await.unwrap();
    assert_eq!(idp.member(0, "scope"), None);
    let token = idp.member(0, "assertion").unwrap();
    let (_, claims) = stub::verified(&token, &ECDSA_P256_SHA256_FIXED, &stub::public_key());
    assert_eq!(claims["scope"], "a b");
}

#[tokio::test]
async fn each_request_has_an_assertion_of_its_own() {
    let idp = Stub::good().await;
    let mut config = idp.config();
    config.grant = Grant::JwtBearer(Assertion::Signed(Box::new(stub::signed_assertion())));
    idp.exchange(&config).await.unwrap();
    idp.exchange(&config).await.unwrap();
    let jti = |nth| {
        let token = idp.member(nth, "assertion").unwrap();
        stub::verified(&token, &ECDSA_P256_SHA256_FIXED, &stub::public_key()).1["jti"].clone()
    };
    assert_ne!(jti(0), jti(1));
}

#[tokio::test]
async fn jwt_bearer_with_an_assertion_made_elsewhere() {
    let grant = Grant::JwtBearer(Assertion::Presented(PresentedToken::Fixed(Secret::new("a.b.c"))));
    assert_eq!(
        sent(grant, None).await,
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=a.b.c\
         &scope=contacts.read+a%3Ab&audience=https%3A%2F%2Ferp.example%2F"
    );
}

#[tokio::test]
async fn token_exchange() {
    let grant = Grant::TokenExchange {
        subject_token: PresentedToken::Fixed(Secret::new("subj3ct")),
        subject_token_type: "urn:ietf:params:oauth:token-type:jwt".into(),
        actor: None,
        requested_token_type: None,
    };
    assert_eq!(
        sent(grant, None).await,
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token=subj3ct\
         &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt\
         &scope=contacts.read+a%3Ab&audience=https%3A%2F%2Ferp.example%2F"
    );
}

#[tokio::test]
async fn token_exchange_with_an_actor_and_a_wish() {
    let idp = Stub::good().await;
    let mut config = idp.config();
    config.grant = Grant::TokenExchange {
        subject_token: PresentedToken::Fixed(Secret::new("subj3ct")),
        subject_token_type: "s".into(),
        actor: Some((PresentedToken::Fixed(Secret::new("act0r")), "a".into())),
        requested_token_type: Some("r".into()),
    };
    idp.exchange(&config).await.unwrap();
    assert_eq!(
        idp.request().1.split_once('&').unwrap().1,
        "subject_token=subj3ct&subject_token_type=s&actor_token=act0r&actor_token_type=a&requested_token_type=r"
    );
}

#[tokio::test]
async fn a_subject_token_in_a_file_is_read_for_each_request() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let idp = Stub::good().await;
    let mut config = idp.config();
    config.grant = Grant::TokenExchange {
        subject_token: PresentedToken::File(path.clone()),
        subject_token_type: "s".into(),
        actor: None,
        requested_token_type: None,
    };
    for (nth, token) in ["first", "second"].into_iter().enumerate() {
        std::fs::write(&path, token).unwrap();
        idp.exchange(&config).await.unwrap();
        assert_eq!(idp.member(nth, "subject_token").as_deref(), Some(token));
    }
    std::fs::remove_file(&path).unwrap();
    let Err(Failure { cause: Cause::Unavailable(reason), .. }) = idp.exchange(&config).await else {
        panic!("a token")
    };
    assert_eq!((reason, idp.requests()), (Unavailability::Assertion, 2));
}

#[tokio::test]
async fn time_is_an_argument() {
    let mut config = stub::config("https://id.example/token");
    let mut assertion = stub::signed_assertion();
    assert_eq!(assertion.key.algorithm(), Algorithm::Es256);
    assertion.lifetime = std::time::Duration::from_secs(60);
    config.grant = Grant::JwtBearer(Assertion::Signed(Box::new(assertion)));
    let now = UNIX_EPOCH + std::time::Duration::from_millis(1_700_000_000_900);
    let form = form(&config, None, now).await.unwrap().encode();
    let token = url::form_urlencoded::parse(form.as_bytes()).find(|(name, _)| name == "assertion").unwrap().1;
    let (_, claims) = stub::verified(&token, &ECDSA_P256_SHA256_FIXED, &stub::public_key());
    assert_eq!((&claims["iat"], &claims["exp"]), (&json!(1_700_000_000), &json!(1_700_000_060)));
}
