//! Issuers against a key set server on a real socket.

use super::fetched::FetchTask;
use super::*;
use crate::config::model::{JwksUrl, PresentedToken, UsedProxy};
use crate::jwt::verify::testing::{TestKey, with};
use crate::secret::Secret;
use crate::transport::for_tests;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const SECOND: Duration = Duration::from_secs(1);

/// A key set server on loopback. It keeps each request that it receives.
struct Server {
    url: url::Url,
    /// The bytes of each answer; without any, none is sent.
    answer: Arc<Mutex<Vec<u8>>>,
    requests: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a listener");
        let url = format!("http://{}/openid/v1/jwks?key=s3cret", listener.local_addr().expect("an address"));
        let (answer, requests) = (Arc::<Mutex<Vec<u8>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (mut task, mut open) = (JoinSet::new(), Vec::new());
        let (answers, kept) = (Arc::clone(&answer), Arc::clone(&requests));
        task.spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.expect("a connection");
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n")
                    && socket.read_buf(&mut request).await.is_ok_and(|n| n > 0)
                {}
                kept.lock().expect("no panic").push(String::from_utf8(request).expect("text"));
                let answer = answers.lock().expect("no panic").clone();
                if answer.is_empty() {
                    open.push(socket);
                } else {
                    let _ = socket.write_all(&answer).await;
                }
            }
        });
        Self { url: url.parse().expect("a URL"), answer, requests, _task: task }
    }

    fn answer(&self, status: &str, body: &[u8]) {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        *self.answer.lock().expect("no panic") = [head.as_bytes(), body].concat();
    }

    fn serve(&self, keys: &[u8]) {
        self.answer("200 OK", &set(keys));
    }

    fn be_silent(&self) {
        self.answer.lock().expect("no panic").clear();
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no panic").clone()
    }

    fn source(&self) -> JwksUrl {
        JwksUrl { url: self.url.clone(), ca: None, token: None, proxy: UsedProxy::default() }
    }
}

/// The key set of these keys, each named by its seed.
fn set(seeds: &[u8]) -> Vec<u8> {
    let key = |seed: &u8| with(&TestKey::ed25519(*seed).jwk(), &json!({ "kid": seed.to_string() }));
    json!({ "keys": seeds.iter().map(key).collect::<Vec<Value>>() }).to_string().into_bytes()
}

fn token(seed: u8, more: &Value) -> Vec<u8> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_secs();
    let claims = json!({ "iss": ISSUER, "aud": "attache", "sub": "billing", "exp": now + 3600 });
    let header = json!({ "alg": "EdDSA", "kid": seed.to_string() });
    TestKey::ed25519(seed).token(&header, &with(&claims, more)).into_bytes()
}

/// An attache with one issuer, and the task that fetches its keys.
struct Topology {
    issuers: Issuers,
    fetched: Arc<Fetched>,
    tasks: JoinSet<()>,
}

impl Topology {
    fn of(source: JwksUrl) -> Self {
        let fetched = Arc::new(Fetched::new("k8s", source, Arc::default()));
        let issuers = Issuers(vec![issuer("k8s", Keys::Fetched(Arc::clone(&fetched)))]);
        let transport = Arc::new(for_tests());
        let task = FetchTask::new(&fetched);
        let client = JwksClient::new(&transport, task.source());
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run(client));
        Self { issuers, fetched, tasks }
    }

    async fn verify(&self, token: &[u8]) -> Result<String, JwtRefusal> {
        let deadline = Instant::now() + 30 * SECOND;
        let verified = self.issuers.verify_by(token, deadline, SystemTime::now).await;
        verified.map(|verified| verified.claims.subject).map_err(|refused| refused.reason)
    }

    /// Lets time pass, and waits for the fetch that is due then.
    async fn after(&self, time: Duration) {
        let mut ended = self.fetched.fetches();
        tokio::time::pause();
        tokio::time::advance(time).await;
        tokio::time::resume();
        ended.changed().await.expect("a fetch");
    }

    fn failure(&self) -> Option<String> {
        Some(self.fetched.status().failure?.1)
    }
}

fn issuer(key: &str, keys: Keys) -> Issuer {
    Issuer { key: key.into(), issuer: ISSUER.to_owned(), audiences: vec!["attache".to_owned()], keys }
}

fn good() -> Result<String, JwtRefusal> {
    Ok("billing".to_owned())
}

#[tokio::test]
async fn the_first_request_waits_for_the_first_fetch() {
    let server = Server::start().await;
    server.serve(&[1]);
    let topology = Topology::of(server.source());
    assert_eq!(topology.verify(&token(1, &json!({}))).await, good());
    let expected = format!(
        "GET /openid/v1/jwks?key=s3cret HTTP/1.1\r\nHost: {}\r\nUser-Agent: attache/{}\r\nAccept: \
         application/jwk-set+json, application/json\r\nConnection: close\r\n\r\n",
        server.url.authority(),
        env!("CARGO_PKG_VERSION"),
    );
    assert_eq!(server.requests(), [expected]);
}

#[tokio::test]
async fn keys_rotate_while_serving_and_a_removed_one_dies() {
    let server = Server::start().await;
    server.serve(&[1]);
    let topology = Topology::of(server.source());
    assert_eq!(topology.verify(&token(1, &json!({}))).await, good());

    // A new key, 10 s after the last fetch: the first token that it signs waits for it.
    server.serve(&[1, 2]);
    assert_eq!(topology.verify(&token(2, &json!({}))).await, Err(JwtRefusal::UnknownKey));
    assert_eq!(server.requests().len(), 1, "10 s are not over");
    tokio::time::pause();
    tokio::time::advance(10 * SECOND).await;
    tokio::time::resume();
    assert_eq!(topology.verify(&token(2, &json!({}))).await, good());
    assert_eq!(topology.verify(&token(1, &json!({}))).await, good());
    assert_eq!(server.requests().len(), 2);

    // The old key goes: within 10 min its tokens are refused, without a request that asks for it.
    server.serve(&[2]);
    assert_eq!(topology.verify(&token(1, &json!({}))).await, good());
    topology.after(super::schedule::REFRESH).await;
    assert_eq!(topology.verify(&token(1, &json!({}))).await, Err(JwtRefusal::UnknownKey));
    assert_eq!(topology.verify(&token(2, &json!({}))).await, good());
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn tokens_that_cannot_be_good_fetch_nothing() {
    let server = Server::start().await;
    server.serve(&[1]);
    let topology = Topology::of(server.source());
    assert_eq!(topology.verify(&token(1, &json!({}))).await, good());
    tokio::time::pause();
    tokio::time::advance(10 * SECOND).await;
    tokio::time::resume();
    let cases = [
        (token(9, &json!({ "exp": 1 })), JwtRefusal::UnknownKey),
        (token(9, &json!({ "aud": "vault" })), JwtRefusal::UnknownKey),
        (token(9, &json!({ "sub": null })), JwtRefusal::UnknownKey),
        (token(1, &json!({ "exp": 1 })), JwtRefusal::Expired),
        (token(1, &json!({ "iss": format!("{ISSUER}/") })), JwtRefusal::WrongIssuer),
        (token(1, &json!({ "iss": null })), JwtRefusal::MissingClaim),
        (b"not.a.token".to_vec(), JwtRefusal::Malformed),
    ];
    for (token, expected) in cases {
        assert_eq!(topology.verify(&token).await, Err(expected));
    }
    assert_eq!(server.requests().len(), 1);
    // A flood of unknown keys is one fetch.
    let (first, second) = (token(8, &json!({})), token(9, &json!({})));
    let both = tokio::join!(topology.verify(&first), topology.verify(&second));
    assert_eq!(both, (Err(JwtRefusal::UnknownKey), Err(JwtRefusal::UnknownKey)));
    for seed in 10..60 {
        assert_eq!(topology.verify(&token(seed, &json!({}))).await, Err(JwtRefusal::UnknownKey));
    }
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn keys_survive_failed_fetches() {
    let server = Server::start().await;
    server.serve(&[1]);
    let topology = Topology::of(server.source());
    assert_eq!(topology.verify(&token(1, &json!({}))).await, good());
    let huge = vec![b' '; crate::jwt::key_set::MAX_KEY_SET + 1];
    let cases: [(&str, &[u8], &str); 9] = [
        (
            "302 Found\r\nLocation: http://127.0.0.1:1/",
            b"",
            "the answer is a redirect (302), which is not followed",
        ),
        ("401 Unauthorized", b"", "the server refused the request (401)"),
        ("403 Forbidden", b"{}", "the server refused the request (403)"),
        ("404 Not Found", b"", "the answer has the status 404"),
        ("503 Service Unavailable", b"", "the answer has the status 503"),
        ("200 OK", b"<!doctype html><title>Sign in</title>", "the answer is HTML"),
        (
            "200 OK",
            br#"{"issuer":"x","jwks_uri":"y"}"#,
            "the answer is no usable key set: it is not a JSON Web Key Set",
        ),
        (
            "200 OK",
            br#"{"keys":[]}"#,
            "the answer is no usable key set: it has no key that can verify a signature",
        ),
        ("200 OK", &huge, "no answer: the answer is larger than allowed"),
    ];
    for (nth, (status, body, expected)) in cases.iter().enumerate() {
        server.answer(status, body);
        topology.after(super::schedule::REFRESH).await;
        let failure = topology.failure().expect("a failure");
        assert!(failure.starts_with(expected), "{failure}");
        assert!(!failure.contains("s3cret"), "{failure}");
        assert_eq!(topology.verify(&token(1, &json!({}))).await, good(), "{failure}");
        assert_eq!(topology.fetched.stats.failed(), nth as u64 + 1);
    }
    server.serve(&[2]);
    topology.after(super::schedule::REFRESH).await;
    assert_eq!(topology.failure(), None);
    assert_eq!(topology.verify(&token(1, &json!({}))).await, Err(JwtRefusal::UnknownKey));
}

#[tokio::test]
async fn nothing_answers_and_known_keys_do_not_wait() {
    let server = Server::start().await;
    server.serve(&[1]);
    let topology = Topology::of(server.source());
    assert_eq!(topology.verify(&token(1, &json!({}))).await, good());
    server.be_silent();
    tokio::time::pause();
    tokio::time::advance(10 * SECOND).await;
    tokio::time::resume();
    let (unknown, begun) = (token(9, &json!({})), Instant::now());
    let refused = topology.issuers.verify_by(&unknown, begun + SECOND / 10, SystemTime::now).await;
    assert_eq!(refused.err().map(|refused| refused.reason), Some(JwtRefusal::UnknownKey));
    assert!(begun.elapsed() >= SECOND / 10, "its own deadline");
    assert_eq!(topology.verify(&token(1, &json!({}))).await, good());
    topology.after(super::fetch::DEADLINE).await;
    assert_eq!(topology.failure().as_deref(), Some("no answer: no answer in time"));
}

#[tokio::test]
async fn a_server_that_is_down_at_the_start_refuses_tokens_until_it_is_up() {
    let server = Server::start().await;
    server.answer("503 Service Unavailable", b"");
    let topology = Topology::of(server.source());
    assert_eq!(topology.verify(&token(1, &json!({}))).await, Err(JwtRefusal::KeysUnavailable));
    server.serve(&[1]);
    // The pauses after failures begin with a second.
    topology.after(SECOND).await;
    assert_eq!(topology.verify(&token(1, &json!({}))).await, good());
}

#[tokio::test]
async fn the_operator_asks_for_newer_keys() {
    let server = Server::start().await;
    server.serve(&[1]);
    let topology = Topology::of(server.source());
    assert_eq!(topology.verify(&token(1, &json!({}))).await, good());
    server.serve(&[2]);
    let mut ended = topology.fetched.fetches();
    topology.issuers.nudge();
    ended.changed().await.expect("a fetch");
    assert_eq!(topology.verify(&token(1, &json!({}))).await, Err(JwtRefusal::UnknownKey));
}

#[tokio::test]
async fn a_request_that_waits_is_told_when_the_issuer_is_gone() {
    let server = Server::start().await;
    let mut topology = Topology::of(server.source());
    let waiting = topology.fetched.ask().map(|mut ended| async move { ended.changed().await.is_ok() });
    topology.tasks.shutdown().await;
    assert!(waiting.expect("is allowed").await);
    assert_eq!(topology.verify(&token(1, &json!({}))).await, Err(JwtRefusal::KeysUnavailable));
}

#[tokio::test]
async fn the_token_is_read_for_each_fetch() {
    let server = Server::start().await;
    server.serve(&[1]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    std::fs::write(&path, "first-token\n").expect("a file");
    let token = Some(PresentedToken::File(path.clone()));
    let topology = Topology::of(JwksUrl { token, ..server.source() });
    assert_eq!(topology.verify(&self::token(1, &json!({}))).await, good());
    let sent = || {
        let requests = server.requests();
        let last = requests.last().expect("a request").to_lowercase();
        last.lines().find_map(|line| line.strip_prefix("authorization: ").map(str::to_owned))
    };
    assert_eq!(sent().as_deref(), Some("bearer first-token"));
    std::fs::write(&path, "second-token").expect("a file");
    topology.after(super::schedule::REFRESH).await;
    assert_eq!(sent().as_deref(), Some("bearer second-token"));

    for (content, expected) in [
        ("", "empty"),
        ("two\nlines", "not a token: visible ASCII in one line"),
        ("tab\there", "not a token: visible ASCII in one line"),
        (&"x".repeat(70_000), "larger than 64 KiB"),
    ] {
        std::fs::write(&path, content).expect("a file");
        topology.after(super::schedule::REFRESH).await;
        let failure = topology.failure().expect("a failure");
        assert!(failure.ends_with(&format!("can't be used: {expected}")), "{failure}");
    }
    assert_eq!(server.requests().len(), 2);
    assert_eq!(topology.verify(&self::token(1, &json!({}))).await, good());
}

#[tokio::test]
async fn a_token_that_no_header_can_hold_is_not_sent() {
    let server = Server::start().await;
    let token = Some(PresentedToken::Fixed(Secret::new("a\u{1}b")));
    let topology = Topology::of(JwksUrl { token, ..server.source() });
    assert_eq!(topology.verify(&self::token(1, &json!({}))).await, Err(JwtRefusal::KeysUnavailable));
    let failure = topology.failure();
    assert_eq!(failure.as_deref(), Some("the token has a character that a header cannot have"));
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn a_reload_keeps_the_keys_of_the_same_source() {
    let source = |url: &str| JwksUrl {
        url: url.parse().expect("a URL"),
        ca: None,
        token: None,
        proxy: UsedProxy::default(),
    };
    let configured = |source| model::Issuer {
        key: "k8s".to_owned(),
        issuer: ISSUER.to_owned(),
        audiences: vec!["attache".to_owned()],
        jwks: Jwks::Url(Box::new(source)),
        unread: None,
    };
    let before = Keys::new(&configured(source("https://a.example/keys")), None);
    let Keys::Fetched(first) = &before else { panic!("is fetched") };
    let after = |source| match Keys::new(&configured(source), Some(&before)) {
        Keys::Fetched(after) => after,
        _ => panic!("is fetched"),
    };
    assert!(Arc::ptr_eq(first, &after(source("https://a.example/keys"))));
    let token = Some(PresentedToken::File("/token".into()));
    for other in [source("https://b.example/keys"), JwksUrl { token, ..source("https://a.example/keys") }] {
        let other = after(other);
        assert!(!Arc::ptr_eq(first, &other));
        assert!(Arc::ptr_eq(&first.stats, &other.stats), "counters go on");
    }
}

#[test]
fn of_issuers_with_the_same_name_one_is_enough() {
    let keys = |seeds: &[u8]| Keys::Fixed(Arc::new(KeySet::parse(&set(seeds)).expect("a key set")));
    let issuers = Issuers(vec![
        issuer("one", keys(&[1])),
        issuer("two", keys(&[2])),
        issuer("down", Keys::Unavailable),
    ]);
    let verify = |token: &[u8]| {
        let verified = issuers.verify(token, SystemTime::now());
        verified.map(|found| found.issuer.to_string()).map_err(|refused| (refused.reason, refused.issuer))
    };
    assert_eq!(verify(&token(1, &json!({}))), Ok("one".to_owned()));
    assert_eq!(verify(&token(2, &json!({}))), Ok("two".to_owned()));
    // The reason is that of the issuer whose key it is.
    let expired = (JwtRefusal::Expired, Some("two".into()));
    assert_eq!(verify(&token(2, &json!({ "exp": 1 }))), Err(expired));
    assert_eq!(verify(&token(3, &json!({}))).map_err(|(reason, _)| reason), Err(JwtRefusal::UnknownKey));
    assert_eq!(verify(&token(1, &json!({ "iss": "x" }))), Err((JwtRefusal::WrongIssuer, None)));
}
