use super::super::error::Cause;
use super::super::stub::{self, JSON, Stub, TOKEN};
use super::*;

fn device(idp: &Stub) -> OAuth2 {
    let mut config = idp.config();
    config.grant = Grant::DeviceCode { device_authorization_url: idp.url().parse().unwrap() };
    config
}

async fn authorized(body: &str) -> Result<DeviceAuthorization, Failure> {
    let idp = Stub::with("200 OK", JSON, body).await;
    stub::client().device_authorization(&device(&idp)).await
}

async fn polled(status: &str, body: &str) -> Result<Polled, Failure> {
    let idp = Stub::with(status, JSON, body).await;
    stub::client().poll_device(&device(&idp), &Secret::new("d3vice")).await
}

#[tokio::test]
async fn a_code_is_exchanged() {
    let idp = Stub::with("200 OK", JSON, r#"{"access_token":"t0ken","refresh_token":"r1"}"#).await;
    let mut config = idp.config();
    config.scopes = vec!["a".into()];
    config.token_params = vec![("resource".into(), "r".into())];
    let (code, verifier) = (Secret::new("c0de"), Secret::new("v3rifier"));
    let redirect = "http://127.0.0.1:7777/callback";
    let answer = stub::client().exchange_code(&config, &code, redirect, &verifier).await.unwrap();
    assert_eq!(answer.refresh_token, Some(Secret::new("r1")));
    assert_eq!(
        idp.request().1,
        "grant_type=authorization_code&code=c0de&redirect_uri=http%3A%2F%2F127.0.0.1%3A7777%2Fcallback\
         &code_verifier=v3rifier&resource=r"
    );
    assert!(idp.header("authorization").unwrap().starts_with("Basic "));
}

#[tokio::test]
async fn a_refused_code_is_not_repeated_to_the_log() {
    for echoed in ["c0de", "v3rifier"] {
        let body = format!(r#"{{"error":"invalid_grant","error_description":"{echoed} is bad"}}"#);
        let idp = Stub::with("400 Bad Request", JSON, &body).await;
        let (code, verifier) = (Secret::new("c0de"), Secret::new("v3rifier"));
        let failure = stub::client().exchange_code(&idp.config(), &code, "http://x", &verifier).await;
        let expected = Failure::rejected("invalid_grant").with_words(Arc::from("[redacted] is bad"));
        assert_eq!(failure.unwrap_err(), expected);
    }
}

#[tokio::test]
async fn a_device_is_authorized() {
    let body = r#"{"device_code":"d3vice","user_code":"WDJB-MJHT","expires_in":900,"interval":7,
        "verification_uri":"https://id.example/device",
        "verification_uri_complete":"https://id.example/device?user_code=WDJB-MJHT"}"#;
    let idp = Stub::with("200 OK", JSON, body).await;
    let mut config = device(&idp);
    config.scopes = vec!["a".into(), "b".into()];
    config.client_auth = crate::config::model::ClientAuth::None;
    let authorization = stub::client().device_authorization(&config).await.unwrap();
    assert_eq!(idp.request().1, "scope=a+b&client_id=attache");
    assert_eq!(authorization.device_code, Secret::new("d3vice"));
    assert_eq!(authorization.user_code, "WDJB-MJHT");
    assert_eq!(authorization.verification_uri.as_str(), "https://id.example/device");
    let complete = authorization.verification_uri_complete.unwrap();
    assert_eq!(complete.as_str(), "https://id.example/device?user_code=WDJB-MJHT");
    assert_eq!(authorization.expires_in, Duration::from_secs(900));
    assert_eq!(authorization.interval, Duration::from_secs(7));
}

#[tokio::test]
async fn what_a_device_authorization_leaves_out() {
    let authorization = authorized(
        r#"{"device_code":"d","user_code":"A B","verification_url":"https://id.example/d","interval":"0"}"#,
    )
    .await
    .unwrap();
    assert_eq!(authorization.verification_uri.as_str(), "https://id.example/d");
    assert!(authorization.verification_uri_complete.is_none());
    assert_eq!(authorization.expires_in, Duration::from_secs(600));
    assert_eq!(authorization.interval, Duration::from_secs(1));
    let authorization =
        authorized(r#"{"device_code":"d","user_code":"A","verification_uri":"https://x/"}"#).await.unwrap();
    assert_eq!(authorization.interval, Duration::from_secs(5));
}

#[tokio::test]
async fn what_must_not_reach_a_terminal_or_a_browser() {
    for body in [
        r#"{"device_code":"d","user_code":"a\u001b[2J","verification_uri":"https://x/"}"#,
        r#"{"device_code":"d","user_code":"A","verification_uri":"file:///etc/passwd"}"#,
        r#"{"device_code":"d","user_code":"A","verification_uri":"javascript:alert(1)"}"#,
        r#"{"user_code":"A","verification_uri":"https://x/"}"#,
        r#"{"device_code":"d","verification_uri":"https://x/"}"#,
    ] {
        let Err(Failure { cause: Cause::Unavailable(reason), .. }) = authorized(body).await else {
            panic!("{body}")
        };
        assert_eq!(reason, Unavailability::NoDeviceCode);
    }
}

#[tokio::test]
async fn a_refused_device_authorization() {
    let idp = Stub::with("400 Bad Request", JSON, r#"{"error":"invalid_scope"}"#).await;
    let failure = stub::client().device_authorization(&device(&idp)).await.unwrap_err();
    assert_eq!(failure, Failure::rejected("invalid_scope"));
}

#[tokio::test]
async fn a_poll_that_is_granted() {
    let idp = Stub::with("200 OK", JSON, TOKEN).await;
    let polled = stub::client().poll_device(&device(&idp), &Secret::new("d3vice")).await.unwrap();
    let Polled::Granted(answer) = polled else { panic!("not granted: {polled:?}") };
    assert_eq!(answer.token.expose(), "t0ken");
    assert_eq!(
        idp.request().1,
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&device_code=d3vice"
    );
}

#[tokio::test]
async fn a_poll_that_has_to_be_repeated() {
    // GitHub answers 200, Google 428.
    for status in ["400 Bad Request", "200 OK", "428 Precondition Required", "429 Too Many", "403 Forbidden"]
    {
        let pending = polled(status, r#"{"error":"authorization_pending"}"#).await;
        assert!(matches!(pending, Ok(Polled::Pending)), "{status} {pending:?}");
        let slow = polled(status, r#"{"error":"slow_down","interval":10}"#).await;
        assert!(matches!(slow, Ok(Polled::SlowDown)), "{status} {slow:?}");
    }
}

#[tokio::test]
async fn a_poll_that_is_over() {
    for code in ["access_denied", "expired_token", "invalid_grant"] {
        let failure = polled("400 Bad Request", &format!(r#"{{"error":"{code}"}}"#)).await.unwrap_err();
        assert_eq!(failure, Failure::rejected(code));
    }
}

#[tokio::test]
async fn an_endpoint_in_trouble_is_no_verdict() {
    let failure = polled("503 Busy", r#"{"error":"authorization_pending"}"#).await.unwrap_err();
    let expected = Failure::from(Unavailability::Status(503));
    assert_eq!(failure, expected.with_words(Arc::from("authorization_pending")));
}
