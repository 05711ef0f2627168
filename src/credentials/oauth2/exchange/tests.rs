//! The client against a real socket: what it sends, byte for byte, and what it makes of what comes.

use super::super::error::Cause;
use super::super::stub::{self, JSON, Stub, TOKEN, http};
use super::*;
use crate::config::model::{Assertion, ClientAuth, Grant, PresentedToken};
use crate::secret::Secret;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use std::sync::Arc;
use tokio::net::TcpListener;

fn reason(result: Result<ReceivedToken, Failure>) -> Unavailability {
    match result {
        Err(Failure { cause: Cause::Unavailable(reason), .. }) => reason,
        other => panic!("not unavailable: {other:?}"),
    }
}

#[tokio::test]
async fn client_credentials_with_basic_authentication() {
    let idp = Stub::good().await;
    let answer = idp.exchange(&idp.config()).await.unwrap();
    assert_eq!(answer.token, Secret::new("t0ken"));
    assert_eq!(answer.expires_in, Some(Duration::from_secs(3600)));
    let (head, body) = idp.request();
    assert_eq!(body, "grant_type=client_credentials");
    assert!(head.starts_with("post /oauth/token http/1.1\r\n"), "{head}");
    assert_eq!(idp.header("content-type").as_deref(), Some("application/x-www-form-urlencoded"));
    assert_eq!(idp.header("accept").as_deref(), Some("application/json"));
    let basic = format!("Basic {}", BASE64_STANDARD.encode("attache:client-s3cret"));
    assert_eq!(idp.header("authorization"), Some(basic));
}

#[tokio::test]
async fn the_id_token_is_sent_when_it_is_wanted() {
    let idp =
        Stub::with("200 OK", JSON, r#"{"access_token":"a","id_token":"i","token_type":"Bearer"}"#).await;
    let mut config = idp.config();
    assert_eq!(idp.exchange(&config).await.unwrap().token, Secret::new("a"));
    config.bearer_token_type = BearerTokenType::IdToken;
    assert_eq!(idp.exchange(&config).await.unwrap().token, Secret::new("i"));
}

#[tokio::test]
async fn an_id_token_lasts_no_longer_than_it_states() {
    for (claims, stated) in [
        (r#"{"iat":1000,"exp":1300}"#, Ok(300)),
        (r#"{"iat":1000,"exp":9000}"#, Ok(3600)),
        (r#"{"iat":1000}"#, Ok(3600)),
        (r#"{"exp":1300}"#, Err(Cause::Unavailable(Unavailability::Expired))),
    ] {
        let token = format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims));
        let body = format!(r#"{{"access_token":"a","id_token":"{token}","expires_in":3600}}"#);
        let idp = Stub::with("200 OK", JSON, &body).await;
        let mut config = idp.config();
        config.bearer_token_type = BearerTokenType::IdToken;
        let answer = idp.exchange(&config).await.map_err(|failure| failure.cause);
        assert_eq!(answer.map(|answer| answer.expires_in), stated.map(|s| Some(Duration::from_secs(s))));
        config.bearer_token_type = BearerTokenType::AccessToken;
        assert_eq!(idp.exchange(&config).await.unwrap().expires_in, Some(Duration::from_secs(3600)));
    }
}

#[tokio::test]
async fn the_refresh_token_beside_it() {
    for (member, refresh_token) in [
        (r#","refresh_token":"r1""#, Some(Secret::new("r1"))),
        (r#","refresh_token":null"#, None),
        (r#","refresh_token":"""#, None),
        ("", None),
    ] {
        let idp = Stub::with("200 OK", JSON, &format!(r#"{{"access_token":"t0ken"{member}}}"#)).await;
        assert_eq!(idp.exchange(&idp.config()).await.unwrap().refresh_token, refresh_token, "{member}");
    }
    let idp = Stub::with("200 OK", "", "access_token=t0ken&refresh_token=r%2B1").await;
    assert_eq!(idp.exchange(&idp.config()).await.unwrap().refresh_token, Some(Secret::new("r+1")));
}

#[tokio::test]
async fn what_the_token_says_of_itself() {
    let idp = Stub::with(
        "200 OK",
        JSON,
        r#"{"access_token":"eyJhbGciOiJub25lIn0.eyJhdWQiOiJlcnAiLCJleHAiOjcsImlzcyI6ImlkIn0.",
            "token_type":"BearerToken","scope":["a","b"]}"#,
    )
    .await;
    let details = idp.exchange(&idp.config()).await.unwrap().details;
    assert_eq!(details.token_type.as_deref(), Some("BearerToken"));
    assert_eq!(details.scope.as_deref(), Some("a b"));
    let claims = details.claims.unwrap();
    assert_eq!((claims.iss.as_deref(), claims.aud, claims.exp), (Some("id"), vec!["erp".into()], Some(7)));
}

#[tokio::test]
async fn a_token_where_something_else_belongs_is_not_shown() {
    let body =
        r#"{"access_token":"t0ken","token_type":"t0ken","scope":"a r3fresh","refresh_token":"r3fresh"}"#;
    let idp = Stub::with("200 OK", JSON, body).await;
    let details = idp.exchange(&idp.config()).await.unwrap().details;
    assert_eq!(details.token_type.as_deref(), Some("[redacted]"));
    assert_eq!(details.scope.as_deref(), Some("a [redacted]"));
}

#[tokio::test]
async fn token_headers_are_added_and_do_not_break_the_form() {
    let idp = Stub::good().await;
    let mut config = idp.config();
    config.token_headers = vec![
        (FieldName::from_static("x-api-key"), HeaderValue::from_static("k3y")),
        (FieldName::from_static("Accept"), HeaderValue::from_static("application/vnd.example+json")),
        (FieldName::from_static("Content-Type"), HeaderValue::from_static("text/plain")),
    ];
    idp.exchange(&config).await.unwrap();
    assert_eq!(idp.header("x-api-key").as_deref(), Some("k3y"));
    assert_eq!(idp.header("accept").as_deref(), Some("application/vnd.example+json"));
    assert_eq!(idp.header("content-type").as_deref(), Some("application/x-www-form-urlencoded"));
}

#[tokio::test]
async fn nothing_that_was_sent_comes_back_in_an_error() {
    let mut config = stub::config("http://127.0.0.1:1/token");
    config.token_headers =
        vec![(FieldName::from_static("x-api-key"), HeaderValue::from_static("header-k3y"))];
    config.client_auth = ClientAuth::Basic(vec![Secret::new("first&"), Secret::new("second&")]);
    config.grant = Grant::RefreshToken { refresh_token: Secret::new("initial-token") };
    let basic = BASE64_STANDARD.encode("attache:first%26");
    for echoed in [
        "r3fresh/1",
        "r3fresh%2F1",
        "initial-token",
        "first&",
        "first%26",
        "second&",
        "second%26",
        &basic,
        "header-k3y",
    ] {
        for status in ["400 Bad Request", "401 Unauthorized", "503 Busy"] {
            let body = format!(r#"{{"error":"invalid_client","error_description":"not '{echoed}'"}}"#);
            let idp = Stub::with(status, JSON, &body).await;
            config.token_url = idp.url().parse().unwrap();
            let refresh_token = Secret::new("r3fresh/1");
            let failure = stub::client().exchange(&config, Some(&refresh_token)).await.unwrap_err();
            let words = failure.words.unwrap();
            assert!(words.ends_with("not [redacted]"), "{echoed}: {words}");
        }
    }
}

#[tokio::test]
async fn what_the_first_try_sent_does_not_come_back_in_the_seconds_error() {
    for secret in ["first", "second"] {
        let basic = BASE64_STANDARD.encode(format!("attache:{secret}"));
        let body = format!(r#"{{"error":"invalid_client","error_description":"{basic}"}}"#);
        let idp = Stub::with("401 Unauthorized", JSON, &body).await;
        let mut config = idp.config();
        config.client_auth = ClientAuth::Basic(vec![Secret::new("first"), Secret::new("second")]);
        let refused = Failure::rejected("invalid_client").with_words(Arc::from("[redacted]"));
        assert_eq!(idp.exchange(&config).await.unwrap_err(), refused);
    }
}

#[tokio::test]
async fn an_assertion_does_not_come_back_in_an_error() {
    let assertion = Assertion::Presented(PresentedToken::Fixed(Secret::new("a.b.c")));
    let mut config = stub::config("http://127.0.0.1:1/token");
    config.client_auth = ClientAuth::PrivateKeyJwt(assertion.clone());
    let body = r#"{"error":"invalid_grant","error_description":"not a.b.c"}"#;
    let idp = Stub::with("400 Bad Request", JSON, body).await;
    config.token_url = idp.url().parse().unwrap();
    let refused = Failure::rejected("invalid_grant").with_words(Arc::from("not [redacted]"));
    assert_eq!(idp.exchange(&config).await.unwrap_err(), refused);
    config.client_auth = ClientAuth::None;
    config.grant = Grant::JwtBearer(assertion);
    assert_eq!(idp.exchange(&config).await.unwrap_err(), refused);
}

#[tokio::test]
async fn a_compressed_answer_nobody_asked_for() {
    for status in ["200 OK", "400 Bad Request"] {
        let mut answer = http(status, "content-encoding: gzip\r\n", "");
        answer = String::from_utf8(answer).unwrap().replace("content-length: 0", "content-length: 4").into();
        answer.extend_from_slice(b"\x1f\x8b\x08\x00");
        let idp = Stub::answering(answer).await;
        let result = idp.exchange(&idp.config()).await;
        assert_eq!(idp.header("accept-encoding"), None);
        let words = result.unwrap_err().words;
        assert_eq!(words.as_deref(), Some("content-encoding gzip, which was not requested"));
    }
    let idp = Stub::with("200 OK", "content-encoding: identity\r\n", TOKEN).await;
    assert!(idp.exchange(&idp.config()).await.is_ok());
}

#[tokio::test]
async fn an_answer_that_is_no_token_is_told_by_its_type() {
    let idp = Stub::with("200 OK", "content-type: text/html; charset=utf-8\r\n", "<html>").await;
    let Err(Failure { cause: Cause::Unavailable(reason), words: cause, .. }) =
        idp.exchange(&idp.config()).await
    else {
        panic!("a token")
    };
    assert_eq!(reason, Unavailability::Malformed);
    assert_eq!(cause.as_deref(), Some("content-type text/html; charset=utf-8"));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Stub::good().await;
    let location = format!("location: {}?code=c\r\n", elsewhere.url());
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let idp = Stub::with(status, &location, "").await;
        let failure = idp.exchange(&idp.config()).await.unwrap_err();
        assert_eq!(failure.cause, Cause::Unavailable(Unavailability::Redirect));
        assert_eq!(failure.words.as_deref(), Some(&*format!("location {}", elsewhere.url())));
        assert_eq!(idp.requests(), 1);
    }
    assert_eq!(elsewhere.requests(), 0);
}

#[tokio::test]
async fn an_answer_is_read_up_to_its_limit() {
    let fits = format!("{TOKEN}{}", " ".repeat(MAX_ANSWER - TOKEN.len()));
    let idp = Stub::with("200 OK", JSON, &fits).await;
    assert!(idp.exchange(&idp.config()).await.is_ok());
    let idp = Stub::with("200 OK", JSON, &format!("{fits} ")).await;
    assert_eq!(reason(idp.exchange(&idp.config()).await), Unavailability::TooLarge);
}

#[tokio::test]
async fn retry_after_survives() {
    for status in ["429 Too Many Requests", "503 Service Unavailable"] {
        let idp = Stub::with(status, "retry-after: 7\r\n", "").await;
        let Err(Failure { cause: Cause::Unavailable(_), retry_after, .. }) =
            idp.exchange(&idp.config()).await
        else {
            panic!("not unavailable")
        };
        assert_eq!(retry_after, Some(Duration::from_secs(7)));
    }
}

#[tokio::test]
async fn a_refusal_keeps_code_and_description_but_no_secret() {
    let refused = |body: &'static str| async move {
        let idp = Stub::with("401 Unauthorized", JSON, body).await;
        idp.exchange(&idp.config()).await.unwrap_err()
    };
    assert_eq!(
        refused(r#"{"error":"invalid_client","error_description":"Unknown\nclient"}"#).await,
        Failure::rejected("invalid_client").with_words(Arc::from("Unknown client"))
    );
    assert_eq!(
        refused(r#"{"error":"invalid_client","error_description":"not 'client-s3cret'"}"#).await,
        Failure::rejected("invalid_client").with_words(Arc::from("not [redacted]"))
    );
}

#[tokio::test]
async fn a_token_is_visible_ascii() {
    for token in [r"a\nb", r"a\u0000b", "tökén", " a", "a ", "error: client_secret is invalid", r"a\tb"] {
        let body = format!(r#"{{"access_token":"{token}","token_type":"Bearer"}}"#);
        let idp = Stub::with("200 OK", JSON, &body).await;
        assert_eq!(reason(idp.exchange(&idp.config()).await), Unavailability::TokenCharacters, "{token}");
    }
}

#[tokio::test]
async fn tokens_beyond_the_alphabet_of_the_rfc() {
    for token in ["00D000000000001!AQEAQ.x_y", "id|c2lnbmVk", r#"a\"b\\c"#] {
        let idp = Stub::with("200 OK", JSON, &format!(r#"{{"access_token":"{token}"}}"#)).await;
        assert!(idp.exchange(&idp.config()).await.is_ok(), "{token}");
    }
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    drop(listener);
    let result = stub::client().exchange(&stub::config(&url), None).await;
    let Err(Failure { cause: Cause::Unavailable(reason), words: cause, .. }) = result else {
        panic!("not unavailable")
    };
    assert_eq!(reason, Unavailability::Connect);
    assert!(cause.unwrap().to_lowercase().contains("refused"));
}

#[tokio::test]
async fn a_certificate_of_nobody_we_trust() {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der());
    let server = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![signed.cert.der().clone()], key.into())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/token", listener.local_addr().unwrap().port());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        assert!(acceptor.accept(socket).await.is_err());
    });
    let result = stub::client().exchange(&stub::config(&url), None).await;
    let Err(Failure { cause: Cause::Unavailable(reason), words: cause, .. }) = result else {
        panic!("not unavailable")
    };
    assert_eq!(reason, Unavailability::Tls);
    let cause = cause.unwrap();
    assert!(cause.contains("self-signed; if you trust it, set `tls.ca` to that certificate"), "{cause}");
}

#[tokio::test]
async fn what_is_not_http_and_what_ends_early() {
    let idp = Stub::answering("SSH-2.0-OpenSSH_9.9\r\n\r\n").await;
    assert_eq!(reason(idp.exchange(&idp.config()).await), Unavailability::Transport);
    let idp = Stub::answering("").await;
    assert_eq!(reason(idp.exchange(&idp.config()).await), Unavailability::Transport);
    let idp = Stub::answering("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"access_token\":\"a").await;
    assert_eq!(reason(idp.exchange(&idp.config()).await), Unavailability::Transport);
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"acc\r\n99\r\ness";
    let idp = Stub::answering(chunked).await;
    assert_eq!(reason(idp.exchange(&idp.config()).await), Unavailability::Transport);
}

#[tokio::test]
async fn no_error_prints_a_token_or_a_secret() {
    for body in ["t0ken-in-nonsense", r#"{"access_token":["t0ken"]}"#, r#"{"id_token":"t0ken"}"#] {
        let idp = Stub::with("200 OK", JSON, body).await;
        let failure = idp.exchange(&idp.config()).await.unwrap_err();
        let printed = format!("{failure:?} {failure}");
        assert!(!printed.contains("t0ken") && !printed.contains("s3cret"), "{printed}");
    }
    let idp = Stub::good().await;
    let printed = format!("{:?}", idp.exchange(&idp.config()).await.unwrap());
    assert!(!printed.contains("t0ken"), "{printed}");
}
