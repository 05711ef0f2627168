//! The client against a real socket: what it sends, byte for byte, and what it makes of what comes.

use super::super::stub::{self, Stub};
use super::*;
use crate::config::model::{ClientAuth, Grant};
use crate::secret::Secret;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::net::TcpListener;

const TOKEN: &str = r#"{"access_token":"t0ken","token_type":"Bearer","expires_in":3600}"#;
const JSON: &str = "content-type: application/json\r\n";

async fn good() -> Stub {
    Stub::with("200 OK", JSON, TOKEN).await
}

fn reason(result: Result<Answer, Failure>) -> Unavailability {
    match result {
        Err(Failure::Unavailable { reason, .. }) => reason,
        other => panic!("not unavailable: {other:?}"),
    }
}

#[tokio::test]
async fn client_credentials_with_basic_authentication() {
    let idp = good().await;
    let answer = idp.exchange(&idp.config()).await.unwrap();
    assert_eq!(answer.header, "Bearer t0ken");
    assert!(answer.header.is_sensitive());
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
async fn basic_authentication_form_encodes_id_and_secret_first() {
    let idp = good().await;
    let mut config = idp.config();
    config.client_id = "https://app.example/:ä".into();
    config.client_secret = Secret::new("p+ss w%rd:&=/ü~");
    idp.exchange(&config).await.unwrap();
    let basic = idp.header("authorization").unwrap();
    let decoded = BASE64_STANDARD.decode(basic.strip_prefix("Basic ").unwrap()).unwrap();
    assert_eq!(
        String::from_utf8(decoded).unwrap(),
        "https%3A%2F%2Fapp.example%2F%3A%C3%A4:p%2Bss+w%25rd%3A%26%3D%2F%C3%BC%7E"
    );
    assert_eq!(idp.request().1, "grant_type=client_credentials");
}

#[tokio::test]
async fn post_authentication_puts_id_and_secret_into_the_form() {
    let idp = good().await;
    let mut config = idp.config();
    config.client_auth = ClientAuth::Post;
    config.client_secret = Secret::new("a&b=c d");
    idp.exchange(&config).await.unwrap();
    assert_eq!(idp.request().1, "grant_type=client_credentials&client_id=attache&client_secret=a%26b%3Dc+d");
    assert_eq!(idp.header("authorization"), None);
}

#[tokio::test]
async fn scopes_are_separated_by_spaces_and_extra_members_follow() {
    let idp = good().await;
    let mut config = idp.config();
    config.scopes = vec!["contacts.read".into(), "contacts.write".into()];
    config.token_params =
        vec![("audience".into(), "https://erp.example/".into()), ("resource".into(), "a b".into())];
    idp.exchange(&config).await.unwrap();
    assert_eq!(
        idp.request().1,
        "grant_type=client_credentials&scope=contacts.read+contacts.write\
         &audience=https%3A%2F%2Ferp.example%2F&resource=a+b"
    );
}

#[tokio::test]
async fn the_password_grant_sends_user_name_and_password() {
    let idp = good().await;
    let mut config = idp.config();
    config.grant = Grant::Password { username: Secret::new("bob@x"), password: Secret::new("p&w 1") };
    config.scopes = vec!["all".into()];
    config.token_params = vec![("audience".into(), "erp".into())];
    idp.exchange(&config).await.unwrap();
    assert_eq!(
        idp.request().1,
        "grant_type=password&username=bob%40x&password=p%26w+1&scope=all&audience=erp"
    );
}

#[tokio::test]
async fn the_id_token_is_sent_when_it_is_wanted() {
    let idp =
        Stub::with("200 OK", JSON, r#"{"access_token":"a","id_token":"i","token_type":"Bearer"}"#).await;
    let mut config = idp.config();
    assert_eq!(idp.exchange(&config).await.unwrap().header, "Bearer a");
    config.bearer_token_type = BearerTokenType::IdToken;
    assert_eq!(idp.exchange(&config).await.unwrap().header, "Bearer i");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = good().await;
    let location = format!("location: {}\r\n", elsewhere.url());
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let idp = Stub::with(status, &location, "").await;
        assert_eq!(reason(idp.exchange(&idp.config()).await), Unavailability::Redirect);
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
        let Err(Failure::Unavailable { retry_after, .. }) = idp.exchange(&idp.config()).await else {
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
        Failure::Rejected { error: "invalid_client".into(), description: Some("Unknown client".into()) }
    );
    assert_eq!(
        refused(r#"{"error":"invalid_client","error_description":"not 'client-s3cret'"}"#).await,
        Failure::Rejected { error: "invalid_client".into(), description: None }
    );
}

#[tokio::test]
async fn a_token_that_fits_no_header_is_none() {
    for token in [r"a\nb", r"a\u0000b", "tökén", " a", "a "] {
        let body = format!(r#"{{"access_token":"{token}","token_type":"Bearer"}}"#);
        let idp = Stub::with("200 OK", JSON, &body).await;
        assert_eq!(reason(idp.exchange(&idp.config()).await), Unavailability::TokenCharacters, "{token}");
    }
}

#[tokio::test]
async fn nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", listener.local_addr().unwrap());
    drop(listener);
    let result = stub::client().exchange(&stub::config(&url)).await;
    let Err(Failure::Unavailable { reason, cause, .. }) = result else { panic!("not unavailable") };
    assert_eq!(reason, Unavailability::Connect);
    assert!(cause.unwrap().to_lowercase().contains("refused"));
}

#[tokio::test]
async fn a_certificate_of_nobody_we_trust() {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der());
    let _client = stub::client();
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
    let result = stub::client().exchange(&stub::config(&url)).await;
    let Err(Failure::Unavailable { reason, cause, .. }) = result else { panic!("not unavailable") };
    assert_eq!(reason, Unavailability::Tls);
    assert!(cause.unwrap().ends_with("invalid peer certificate: UnknownIssuer"));
}

#[tokio::test]
async fn what_is_not_http_and_what_ends_early() {
    let idp = Stub::answering("SSH-2.0-OpenSSH_9.9\r\n\r\n").await;
    assert_eq!(reason(idp.exchange(&idp.config()).await), Unavailability::Transport);
    let idp = Stub::answering("").await;
    assert_eq!(reason(idp.exchange(&idp.config()).await), Unavailability::Transport);
    let idp = Stub::answering("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"access_token\":\"a").await;
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
    let idp = good().await;
    let printed = format!("{:?}", idp.exchange(&idp.config()).await.unwrap());
    assert!(!printed.contains("t0ken"), "{printed}");
}
