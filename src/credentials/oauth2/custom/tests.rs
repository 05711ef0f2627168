use super::super::error::{Cause, Unavailability};
use super::super::stub::{self, Stub, http};
use super::*;
use crate::config::model::{Assertion, ClientAuth, Grant, OAuth2, Param};
use serde_json::json;
use std::time::Duration;

const JSON: &str = "content-type: application/json\r\n";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

fn pointers(token: &str, expires_at: Option<&str>, error: &str) -> CustomResponse {
    CustomResponse {
        token: token.into(),
        expires_at: expires_at.map(str::to_owned),
        error: error.into(),
        ..CustomResponse::default()
    }
}

fn grant(method: Method, params: CustomParams) -> CustomGrant {
    CustomGrant { method, params, headers: Vec::new(), assertion: None, response: CustomResponse::default() }
}

/// Returns an account of the stub with this grant, which no client authenticates.
fn account(stub: &Stub, grant: CustomGrant) -> OAuth2 {
    let mut config = stub.config();
    config.grant = Grant::Custom(Box::new(grant));
    config.client_id = None;
    config.client_auth = ClientAuth::None;
    config
}

fn text(name: &str, value: &str) -> (String, Param) {
    (name.into(), value.into())
}

#[test]
fn answers_get_the_members_of_the_rfc() {
    let github = pointers("/token", Some("/expires_at"), "/message");
    let lark =
        CustomResponse { expires_in: "/expire".into(), ..pointers("/tenant_access_token", None, "/code") };
    let nested = pointers("/data/0/a~1b", Some("/data/0/end"), "/errors/0/code");
    for (response, answer, expected) in [
        (
            &github,
            json!({ "token": "ghs_1", "expires_at": "2023-11-14T23:13:20Z", "permissions": { "issues": "read" } }),
            json!({ "access_token": "ghs_1", "expires_in": 3600 }),
        ),
        (&github, json!({ "message": "Bad credentials" }), json!({ "error": "Bad credentials" })),
        (
            &lark,
            json!({ "code": 0, "msg": "ok", "tenant_access_token": "t-1", "expire": 7200 }),
            json!({ "access_token": "t-1", "expires_in": 7200 }),
        ),
        (&lark, json!({ "code": 10003, "msg": "invalid param" }), json!({ "error": "10003" })),
        (
            &nested,
            json!({ "data": [{ "a/b": "t", "end": 1_700_000_060.9 }] }),
            json!({ "access_token": "t", "expires_in": 60 }),
        ),
        (
            &nested,
            json!({ "data": [{ "a/b": "t", "end": "1700000060" }], "errors": [{ "code": "E1" }] }),
            json!({ "access_token": "t", "expires_in": 60, "error": "E1" }),
        ),
        // Over, and nothing that is a time.
        (
            &github,
            json!({ "token": "t", "expires_at": "2020-01-01T00:00:00Z" }),
            json!({ "access_token": "t", "expires_in": 0 }),
        ),
        (&github, json!({ "token": "t", "expires_at": "soon" }), json!({ "access_token": "t" })),
        (&github, json!({ "token": "t", "expires_at": -1 }), json!({ "access_token": "t" })),
        (&github, json!({ "token": "t", "expires_at": 0 }), json!({ "access_token": "t" })),
        (
            &github,
            json!({ "token": "t", "expires_at": "0001-01-01T00:00:00Z" }),
            json!({ "access_token": "t" }),
        ),
        (&github, json!({ "token": "t", "expires_at": 1e300 }), json!({ "access_token": "t" })),
        // The end is preferred, if it is there.
        (&github, json!({ "token": "t", "expires_in": 5 }), json!({ "access_token": "t", "expires_in": 5 })),
        (&github, json!({ "token": { "secret": "t" } }), json!({})),
        (&github, json!(["t"]), json!({})),
    ] {
        let found = Value::Object(members(&answer, response, left(&answer, response, now())));
        assert_eq!(found, expected, "{answer}");
    }
}

#[test]
fn the_members_of_an_answer_stay_as_an_explanation_except_those_with_a_meaning_of_their_own() {
    let raw = |body: &str| Raw {
        status: http::StatusCode::OK,
        retry_after: None,
        content_type: None,
        content_encoding: None,
        location: None,
        body: body.as_bytes().to_vec(),
    };
    let mut answer = raw(
        "\u{feff}{\"message\":\"no\",\"access_token\":\"another\",\"refresh_token\":\"r\",\"error\":\"x\"}",
    );
    normalise(&mut answer, &pointers("/token", None, "/code"), now());
    assert_eq!(answer.members().unwrap(), *json!({ "message": "no" }).as_object().unwrap());
    let mut html = raw("<html>");
    normalise(&mut html, &CustomResponse::default(), now());
    assert_eq!(html.body, b"<html>");
}

#[tokio::test]
async fn a_token_whose_end_has_come_is_none() {
    let is_over = Cause::Unavailable(Unavailability::Expired);
    for (answer, expected) in [
        (json!({ "token": "t", "expires_at": "2020-01-01T00:00:00Z" }), is_over.clone()),
        (json!({ "token": "t", "expires_at": 1_577_836_800 }), is_over.clone()),
        (json!({ "token": "t", "expires_at": "1577836800", "expires_in": 3600 }), is_over),
        (json!({ "expires_at": 1_577_836_800 }), Cause::Unavailable(Unavailability::NoToken)),
        (json!({ "expires_at": 1_577_836_800, "message": "no" }), Cause::Rejected { code: "no".into() }),
    ] {
        let stub = Stub::answering(http("200 OK", JSON, &answer.to_string())).await;
        let mut grant = grant(Method::POST, CustomParams::Form(Vec::new()));
        grant.response = pointers("/token", Some("/expires_at"), "/message");
        let config = account(&stub, grant);
        let failure = stub.exchange(&config).await.unwrap_err();
        assert_eq!(failure.cause, expected, "{answer}");
        assert!(!failure.words.unwrap_or_default().contains("\"t\""));
    }
}

#[tokio::test]
async fn a_get_has_its_parameters_in_the_query_and_no_content() {
    let stub =
        Stub::with("200 OK", JSON, r#"{"access_token":"t0ken","expires_in":3599,"token_type":"Bearer"}"#)
            .await;
    let params = vec![text("scopes", "a b"), ("key".into(), Secret::new("k&y").into())];
    let mut metadata = grant(Method::GET, CustomParams::Query(params));
    metadata.headers = vec![(FieldName::from_static("Metadata-Flavor"), HeaderValue::from_static("Google"))];
    let mut config = account(&stub, metadata);
    config.token_url.set_query(Some("x=1"));
    let answer = stub.exchange(&config).await.unwrap();
    assert_eq!((answer.token.expose(), answer.expires_in), ("t0ken", Some(Duration::from_secs(3599))));
    let (head, body) = stub.request();
    assert!(head.starts_with("get /oauth/token?x=1&scopes=a+b&key=k%26y http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nmetadata-flavor: google\r\n") && body.is_empty(), "{head}");
    for absent in ["content-type", "content-length", "authorization"] {
        assert_eq!(stub.header(absent), None, "{absent}");
    }
}

#[tokio::test]
async fn a_json_body_holds_values_of_any_type_and_secrets() {
    let stub = Stub::with("201 Created", JSON, r#"{"data":{"token":"t0ken"}}"#).await;
    let user = vec![
        ("name".to_owned(), JsonParam::Value("us\"er".into())),
        ("password".to_owned(), JsonParam::Secret(Secret::new("pass\"word"))),
    ];
    let params = vec![
        ("user".to_owned(), JsonParam::Object(user)),
        ("ids".to_owned(), JsonParam::List(vec![JsonParam::Value(1.into()), JsonParam::Value(Value::Null)])),
    ];
    let mut json = grant(Method::PUT, CustomParams::Json(params));
    json.response = pointers("/data/token", None, "/error");
    let answer = stub.exchange(&account(&stub, json)).await.unwrap();
    assert_eq!((answer.token.expose(), answer.expires_in), ("t0ken", None));
    let (head, body) = stub.request();
    assert!(head.starts_with("put /oauth/token http/1.1\r\n"), "{head}");
    assert_eq!(stub.header("content-type").as_deref(), Some("application/json"));
    assert_eq!(body, r#"{"user":{"name":"us\"er","password":"pass\"word"},"ids":[1,null]}"#);
}

#[tokio::test]
async fn an_assertion_is_the_bearer_token_of_the_request() {
    let stub =
        Stub::with("201 Created", JSON, r#"{"token":"ghs_1","expires_at":"2100-01-01T00:00:00Z"}"#).await;
    let mut signed = stub::signed_assertion();
    signed.subject = None;
    signed.audience = None;
    let mut app = grant(Method::POST, CustomParams::Form(Vec::new()));
    app.assertion = Some(Assertion::Signed(Box::new(signed)));
    app.response = pointers("/token", Some("/expires_at"), "/message");
    let answer = stub.exchange(&account(&stub, app)).await.unwrap();
    assert!(answer.expires_in.unwrap() > Duration::from_secs(3600));
    let token = stub.header("authorization").unwrap();
    let token = token.strip_prefix("Bearer ").unwrap();
    let (_, claims) = stub::verified(token, &ring::signature::ECDSA_P256_SHA256_FIXED, &stub::public_key());
    let names: Vec<&String> = claims.as_object().unwrap().keys().collect();
    assert_eq!(names, ["exp", "iat", "iss"]);
}

#[tokio::test]
async fn a_client_has_its_second_secret_tried_too() {
    let refused = http("401 Unauthorized", JSON, r#"{"reason":"Invalid client"}"#);
    let good = http("200 OK", JSON, r#"{"access_token":"t0ken","expires_in":3600}"#);
    let stub = Stub::in_turn([refused, good]).await;
    let zoom = vec![text("grant_type", "account_credentials"), text("account_id", "a")];
    let mut config = account(&stub, grant(Method::POST, CustomParams::Form(zoom)));
    config.client_id = Some("c:".into());
    config.client_auth = ClientAuth::BasicRaw(vec![Secret::new("new"), Secret::new("old")]);
    assert!(stub.exchange(&config).await.unwrap().second_secret);
    assert_eq!(
        stub.form(1),
        [("grant_type".into(), "account_credentials".into()), ("account_id".into(), "a".into())]
    );
    assert_eq!(stub.header_of(1, "authorization").as_deref(), Some("Basic Yzo6b2xk"));
}

#[tokio::test]
async fn a_refusal_names_the_error_that_the_pointer_finds_and_none_of_what_was_sent() {
    let answer = r#"{"code":10014,"msg":"app secret s3cret-of-the-app is invalid"}"#;
    let stub = Stub::with("200 OK", JSON, answer).await;
    let params = vec![("app_secret".to_owned(), JsonParam::Secret(Secret::new("s3cret-of-the-app")))];
    let mut lark = grant(Method::POST, CustomParams::Json(params));
    lark.response = pointers("/tenant_access_token", None, "/code");
    let failure = stub.exchange(&account(&stub, lark)).await.unwrap_err();
    assert_eq!(failure.cause, Cause::Rejected { code: "10014".into() });
    assert!(!failure.to_string().contains("s3cret"), "{failure}");
}

#[tokio::test]
async fn an_answer_without_a_token_is_none() {
    let stub = Stub::with("200 OK", JSON, r#"{"access_token":"t0ken"}"#).await;
    let mut elsewhere = grant(Method::POST, CustomParams::Form(Vec::new()));
    elsewhere.response = pointers("/token", None, "/error");
    let failure = stub.exchange(&account(&stub, elsewhere)).await.unwrap_err();
    assert_eq!(failure.cause, Cause::Unavailable(Unavailability::NoToken));
}
