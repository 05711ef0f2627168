use super::super::details::Details;
use super::super::login::{DeviceAuthorization, Polled};
use super::super::stub;
use super::*;
use crate::config::model::{ClientAuth, Grant};
use crate::state::FileStore;
use std::cell::RefCell;
use tokio::time::Instant;
use url::{Url, form_urlencoded};

fn config() -> OAuth2 {
    let mut config = stub::config("https://id.example/token");
    config.grant = Grant::AuthorizationCode {
        authorization_url: "https://id.example/authorize?tenant=t".parse().unwrap(),
        redirect_url: None,
        issuer: None,
        authorization_params: vec![("prompt".into(), "consent please".into())],
    };
    config.client_auth = ClientAuth::None;
    config.scopes = vec!["a".into(), "offline_access".into()];
    config
}

fn authorization() -> AuthorizationRequest {
    authorization_of(&config())
}

fn authorization_of(config: &OAuth2) -> AuthorizationRequest {
    AuthorizationRequest::new(config, &"http://127.0.0.1:4711/callback".parse().unwrap()).unwrap()
}

fn param(url: &Url, name: &str) -> String {
    let mut found = url.query_pairs().filter(|(key, _)| key == name);
    let (_, value) = found.next().unwrap_or_else(|| panic!("no {name} in {url}"));
    assert!(found.next().is_none(), "{name} twice in {url}");
    value.into_owned()
}

#[test]
fn the_request_has_what_the_rfcs_require() {
    let authorization = authorization();
    let url = authorization.url();
    assert!(url.as_str().starts_with("https://id.example/authorize?tenant=t&"), "{url}");
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "attache"),
        ("redirect_uri", "http://127.0.0.1:4711/callback"),
        ("scope", "a offline_access"),
        ("code_challenge_method", "S256"),
        ("prompt", "consent please"),
    ] {
        assert_eq!(param(url, name), value);
    }
    assert!(param(url, "state").len() >= 22);
    let verifier = oauth2::PkceCodeVerifier::new(authorization.verifier().expose().to_owned());
    let challenge = oauth2::PkceCodeChallenge::from_code_verifier_sha256(&verifier);
    assert_eq!(param(url, "code_challenge"), challenge.as_str());
    assert!(!url.as_str().contains(authorization.verifier().expose()));
}

#[test]
fn no_two_requests_are_alike() {
    let (a, b) = (authorization(), authorization());
    assert_ne!(param(a.url(), "state"), param(b.url(), "state"));
    assert!(a.verifier() != b.verifier());
}

#[test]
fn only_the_right_state_is_an_answer() {
    let authorization = authorization();
    let state = param(authorization.url(), "state");
    let code = Redirected::Code(Secret::new("c o/d"));
    assert_eq!(authorization.read(&format!("code=c+o%2Fd&state={state}&session_state=x")), code);
    for foreign in [
        "",
        "code=c",
        "code=c&state=",
        "code=c&state=other",
        "error=access_denied",
        &format!("state={state}"),
        &format!("code=&state={state}"),
        &format!("code=c&state={state}x"),
        &format!("code=c&code=d&state={state}"),
        &format!("code=c&state=other&state={state}"),
    ] {
        assert_eq!(authorization.read(foreign), Redirected::Foreign, "{foreign}");
    }
}

#[test]
fn a_refusal_is_shown_on_one_line_and_without_secrets() {
    let authorization = authorization();
    let state = param(authorization.url(), "state");
    let refused = |error: &str, description: Option<&str>| Redirected::Refused {
        error: error.into(),
        description: description.map(Into::into),
    };
    let query = format!("state={state}&code=c&error=access_denied&error_description=not%0d%0atoday");
    assert_eq!(authorization.read(&query), refused("access_denied", Some("not  today")));
    let query = format!("state={state}&error=%1b%5b2J&error_description=state+{state}+is+odd");
    assert_eq!(authorization.read(&query), refused("unspecified", Some("state [redacted] is odd")));
}

#[test]
fn a_redirect_of_another_issuer_is_refused() {
    let read = |issuer: Option<&str>, iss: &str| {
        let mut config = config();
        if let Grant::AuthorizationCode { issuer: configured, .. } = &mut config.grant {
            *configured = issuer.map(str::to_owned);
        }
        let authorization = authorization_of(&config);
        let state = param(authorization.url(), "state");
        let mut query = form_urlencoded::Serializer::new(format!("code=c&state={state}"));
        authorization.read(&query.append_pair("iss", iss).finish())
    };
    let code = Redirected::Code(Secret::new("c"));
    for (issuer, iss) in [
        (None, "https://id.example"),
        (None, "https://id.example/tenant"),
        (Some("https://login.example/t"), "https://login.example/t"),
        (Some("https://login.example/t"), "https://login.example/t/"),
    ] {
        assert_eq!(read(issuer, iss), code, "{issuer:?} {iss}");
    }
    for (issuer, iss) in [
        (None, "https://evil.example"),
        (None, "http://id.example"),
        (None, "https://id.example:8443"),
        (None, "id.example"),
        (None, ""),
        (Some("https://login.example/t"), "https://login.example/u"),
        (Some("https://login.example/t"), "https://login.example/T"),
        (Some("https://login.example/t"), "https://id.example"),
    ] {
        assert!(matches!(read(issuer, iss), Redirected::WrongIssuer { .. }), "{issuer:?} {iss}");
    }
    let authorization = authorization();
    let state = param(authorization.url(), "state");
    let refusal = format!("error=access_denied&state={state}&iss=https%3A%2F%2Fevil.example");
    let Redirected::WrongIssuer { named } = authorization.read(&refusal) else { panic!("not refused") };
    assert_eq!(
        authorization.wrong_issuer(named).to_string(),
        "the redirect names the issuer https://evil.example, and `authorization_url` is at https://id.example: its code \
         was not used"
    );
    let twice = format!("code=c&state={state}&iss=https%3A%2F%2Fid.example&iss=https%3A%2F%2Fid.example");
    assert_eq!(authorization.read(&twice), Redirected::Foreign);
}

async fn stored(members: &str) -> (SignedIn, Entry) {
    let body = format!(r#"{{"access_token":"t0ken"{members}}}"#);
    let idp = stub::Stub::with("200 OK", stub::JSON, &body).await;
    // A time limit for callers, which must not lose the tokens of a code that is spent.
    let token_timeout = Duration::from_nanos(1);
    let config = OAuth2 { token_url: idp.url().parse().unwrap(), token_timeout, ..config() };
    let folder = tempfile::tempdir().unwrap();
    let keys = [Secret::new("0123456789abcdefghijklmnop")];
    let store = Arc::new(FileStore::open(&folder.path().join("grants"), &keys).unwrap());
    let sign_in = SignIn::new("crm", &config, &stub::client(), store.clone()).unwrap();
    let signed_in = sign_in.finish(&authorization_of(&config), &Secret::new("c0de")).await.unwrap();
    let mut held = store.lock(&store_key("crm", &config), Duration::ZERO).await.unwrap();
    (signed_in, held.read().await.unwrap().unwrap())
}

#[tokio::test]
async fn both_tokens_of_a_login_are_stored() {
    let (signed_in, entry) = stored(r#","refresh_token":"r3fresh","expires_in":3600"#).await;
    let access = entry.access.unwrap();
    assert_eq!((signed_in.lasts, entry.refresh_token), (Lasts::Refreshed, Some(Secret::new("r3fresh"))));
    assert_eq!(access.token, Secret::new("t0ken"));
    assert_eq!(access.expires_at.duration_since(access.obtained_at).unwrap(), Duration::from_secs(3600));
}

#[tokio::test]
async fn a_login_without_a_refresh_token_lasts_as_long_as_its_access_token() {
    for (members, seconds) in [(r#","expires_in":3600"#, 3600), ("", UNTIL_REVOKED.as_secs())] {
        let (signed_in, entry) = stored(members).await;
        let access = entry.access.unwrap();
        assert_eq!((entry.refresh_token, access.token), (None, Secret::new("t0ken")));
        assert_eq!(access.expires_at.duration_since(access.obtained_at).unwrap().as_secs(), seconds);
        match signed_in.lasts {
            Lasts::Until(_) => assert_eq!(seconds, 3600),
            lasts => assert_eq!((lasts, members), (Lasts::UntilRevoked, "")),
        }
    }
}

fn device(expires_in: u64) -> Device {
    Device::new(DeviceAuthorization {
        device_code: Secret::new("d3vice"),
        user_code: "ABCD".into(),
        verification_uri: "https://id.example/device".parse().unwrap(),
        verification_uri_complete: None,
        expires_in: Duration::from_secs(expires_in),
        interval: Duration::from_secs(5),
    })
}

fn granted() -> Result<Polled, Failure> {
    let answer = ReceivedToken {
        token: Secret::new("t"),
        expires_in: None,
        refresh_token: Some(Secret::new("r")),
        details: Details::default(),
        second_secret: false,
    };
    Ok(Polled::Granted(Box::new(answer)))
}

/// Polls with these answers in turn, the last for ever; when each was asked for, in seconds.
async fn poll(
    device: &Device,
    answers: &[fn() -> Result<Polled, Failure>],
) -> (Result<ReceivedToken, SignInError>, Vec<u64>) {
    let (begun, times) = (Instant::now(), RefCell::new(Vec::new()));
    let result = device
        .poll(async || {
            let mut times = times.borrow_mut();
            times.push(begun.elapsed().as_secs());
            answers[(times.len() - 1).min(answers.len() - 1)]()
        })
        .await;
    (result, times.into_inner())
}

const PENDING: fn() -> Result<Polled, Failure> = || Ok(Polled::Pending);
const SLOW_DOWN: fn() -> Result<Polled, Failure> = || Ok(Polled::SlowDown);
const DOWN: fn() -> Result<Polled, Failure> = || Err(Unavailability::Connect.into());

#[tokio::test(start_paused = true)]
async fn a_device_is_polled_by_its_interval_and_more_slowly_after_slow_down() {
    let (result, times) = poll(&device(600), &[PENDING, SLOW_DOWN, PENDING, SLOW_DOWN, granted]).await;
    assert!(result.is_ok());
    assert_eq!(times, [5, 10, 20, 30, 45]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_doubles_the_pause_until_it_ends() {
    let (result, times) = poll(&device(600), &[DOWN, DOWN, DOWN, DOWN, DOWN, PENDING, granted]).await;
    assert!(result.is_ok());
    assert_eq!(times, [5, 15, 35, 75, 135, 195, 200]);
}

#[tokio::test(start_paused = true)]
async fn no_poll_follows_the_expiry_of_the_code() {
    let begun = Instant::now();
    let (result, times) = poll(&device(12), &[PENDING]).await;
    assert!(matches!(result, Err(SignInError::Expired)));
    assert_eq!((times, begun.elapsed().as_secs()), (vec![5, 10], 12));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_the_polling() {
    let refusals: [fn() -> Result<Polled, Failure>; 3] = [
        || Err(Failure::rejected("access_denied")),
        || Err(Failure::rejected("expired_token")),
        || Err(Unavailability::NoToken.into()),
    ];
    for refusal in refusals {
        let (result, times) = poll(&device(600), &[PENDING, refusal]).await;
        assert!(result.is_err());
        assert_eq!(times, [5, 10]);
    }
}

#[test]
fn the_scopes_of_a_sign_in_are_separated_as_the_file_says() {
    let scope = |separator: &str| {
        let config = OAuth2 { scope_separator: separator.into(), ..config() };
        let url = AuthorizationRequest::new(&config, &"http://127.0.0.1:4711/callback".parse().unwrap())
            .unwrap()
            .url()
            .clone();
        let scope = url.query_pairs().find(|(name, _)| name == "scope").map(|(_, value)| value.into_owned());
        scope.unwrap()
    };
    assert_eq!((scope(" "), scope(",")), ("a offline_access".into(), "a,offline_access".into()));
}
