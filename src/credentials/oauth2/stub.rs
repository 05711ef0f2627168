//! A token endpoint on loopback for tests: answers connections in turn, keeps what it was sent.

use super::clock::Clock;
use super::details::Details;
use super::error::Failure;
use super::exchange::{Exchange, ReceivedToken};
use super::identity::{grant_identity, token_identity};
use super::wire::TokenClient;
use crate::config::model::{BearerTokenType, ClientAuth, Grant, OAuth2, SignedAssertion, TokenTls};
use crate::header_name::FieldName;
use crate::jwt::SigningKey;
use crate::secret::Secret;
use crate::state::{Entry, LockedEntry, Peek, Stamp, StateError, Store, StoredAccess};
use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{UnparsedPublicKey, VerificationAlgorithm};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use url::form_urlencoded;

/// An account of client id `attache`, secret `client-s3cret`, no scopes, at this endpoint.
pub(super) fn config(token_url: &str) -> OAuth2 {
    OAuth2 {
        grant: Grant::ClientCredentials,
        token_url: token_url.parse().unwrap(),
        client_id: Some("attache".into()),
        client_auth: ClientAuth::Basic(vec![Secret::new("client-s3cret")]),
        tls: TokenTls::default(),
        proxy: Default::default(),
        scopes: Vec::new(),
        scope_separator: " ".into(),
        bearer_token_type: BearerTokenType::AccessToken,
        token_params: Vec::new(),
        token_headers: Vec::new(),
        header: FieldName::from_static("Authorization"),
        prefix: "Bearer ".into(),
        default_lifetime: Duration::from_secs(300),
        token_timeout: Duration::from_secs(10),
        retry_on: vec![http::StatusCode::UNAUTHORIZED],
        login_required_on: Vec::new(),
    }
}

/// A token that came without a refresh token.
pub(super) fn answer(token: &str, expires_in: Option<Duration>) -> ReceivedToken {
    ReceivedToken {
        token: Secret::new(token),
        expires_in,
        refresh_token: None,
        details: Details::default(),
        second_secret: false,
    }
}

/// A wall clock that goes with tokio's, and 0.5 for every random number.
pub(super) fn clock() -> Clock {
    let (began, wall) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    Clock::new(move || wall + began.elapsed(), || 0.5)
}

/// The grant of a login at `now`, with an access token for an hour.
pub(super) fn entry(account: &str, config: &OAuth2, refresh_token: &str, now: SystemTime) -> Entry {
    Entry {
        bound_to: grant_identity(account, config),
        revision: 1,
        refresh_token: Some(Secret::new(refresh_token)),
        rotated: false,
        reusable: false,
        obtained_at: now,
        access: Some(StoredAccess {
            bound_to: token_identity(config),
            token: Secret::new(format!("access-{refresh_token}")),
            obtained_at: now,
            expires_at: now + Duration::from_secs(3600),
        }),
        lost: None,
    }
}

type StoredSlot = Arc<AsyncMutex<(Option<Entry>, u64)>>;

/// A store in memory.
#[derive(Default)]
pub(super) struct Memory {
    entries: Mutex<HashMap<String, StoredSlot>>,
    /// Nothing can be reserved.
    pub(super) full: Arc<AtomicBool>,
    pub(super) fails_to_write: Arc<AtomicBool>,
}

struct MemoryLock {
    slot: OwnedMutexGuard<(Option<Entry>, u64)>,
    full: Arc<AtomicBool>,
    fails: Arc<AtomicBool>,
}

impl Memory {
    pub(super) fn slot(&self, name: &str) -> StoredSlot {
        self.entries.lock().unwrap().entry(name.to_owned()).or_default().clone()
    }
}

#[async_trait]
impl Store for Memory {
    async fn peek(&self, name: &str, known: Option<Stamp>) -> Result<Peek, StateError> {
        let (entry, version) = self.slot(name).lock().await.clone();
        let stamp = Stamp::new([version, 0, 0, 0]);
        Ok(match entry {
            _ if known == Some(stamp) => Peek::Unchanged,
            Some(entry) => Peek::Found(Box::new(entry), stamp),
            None => Peek::Absent,
        })
    }

    async fn lock(&self, name: &str, wait: Duration) -> Result<Box<dyn LockedEntry>, StateError> {
        let locked = timeout(wait, self.slot(name).lock_owned()).await;
        let slot = locked.map_err(|_| StateError::Locked {
            account: name.into(),
            path: "x".into(),
            waited: wait,
        })?;
        Ok(Box::new(MemoryLock { slot, full: self.full.clone(), fails: self.fails_to_write.clone() }))
    }
}

#[async_trait]
impl LockedEntry for MemoryLock {
    async fn read(&mut self) -> Result<Option<Entry>, StateError> {
        Ok(self.slot.0.clone())
    }

    async fn prepare(&mut self) -> Result<(), StateError> {
        if self.full.load(Ordering::SeqCst) { Err(StateError::BrokenOff) } else { Ok(()) }
    }

    async fn write(&mut self, entry: &Entry) -> Result<(), StateError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(StateError::BrokenOff);
        }
        *self.slot = (Some(entry.clone()), self.slot.1 + 1);
        Ok(())
    }

    async fn remove(&mut self) -> Result<(), StateError> {
        *self.slot = (None, self.slot.1 + 1);
        Ok(())
    }
}

/// Signed with a key of its own, by and for `attache`.
pub(super) fn signed_assertion() -> SignedAssertion {
    SignedAssertion {
        key: signing_key(&SIGNING_KEY),
        key_id: None,
        certificate_sha256: None,
        issuer: Some("attache".into()),
        subject: Some("attache".into()),
        audience: Some("https://id.erp.example/token".into()),
        lifetime: Duration::from_secs(300),
        claims: serde_json::Map::new(),
        scope_claim: false,
    }
}

/// Another key than that of [`signed_assertion`].
pub(super) fn other_signing_key() -> SigningKey {
    signing_key(&OTHER_KEY)
}

fn signing_key(pem: &LazyLock<String>) -> SigningKey {
    SigningKey::from_pem(pem, None).unwrap()
}

static SIGNING_KEY: LazyLock<String> = LazyLock::new(|| rcgen::KeyPair::generate().unwrap().serialize_pem());
static OTHER_KEY: LazyLock<String> = LazyLock::new(|| rcgen::KeyPair::generate().unwrap().serialize_pem());

/// The client that is tested.
pub(super) fn client() -> TokenClient {
    TokenClient::new(&Arc::new(crate::transport::for_tests()))
}

/// A token endpoint. It ends when it is dropped.
pub(super) struct Stub {
    url: String,
    received: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

impl Stub {
    /// Answers with these bytes, then closes.
    pub(super) async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        Self::in_turn([answer.into()]).await
    }

    /// Answers the n-th connection with the n-th answer, and those after the last as the last.
    pub(super) async fn in_turn(answers: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/oauth/token", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let (answers, kept) = (answers.into_iter().collect::<Vec<_>>(), Arc::clone(&received));
        let mut task = JoinSet::new();
        task.spawn(async move {
            for nth in 0.. {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !is_whole(&request) && socket.read_buf(&mut request).await.is_ok_and(|n| n > 0) {}
                kept.lock().unwrap().push(String::from_utf8(request).unwrap());
                // The client may have seen enough before the end.
                let _ = socket.write_all(&answers[nth.min(answers.len() - 1)]).await;
            }
        });
        Self { url, received, _task: task }
    }

    /// Answers with a status line's rest, headers and a body.
    pub(super) async fn with(status: &str, headers: &str, body: &str) -> Self {
        Self::answering(http(status, headers, body)).await
    }

    /// Gives `t0ken`.
    pub(super) async fn good() -> Self {
        Self::with("200 OK", JSON, TOKEN).await
    }

    /// Refuses with this error as often as it says, then gives `t0ken`.
    pub(super) async fn refusing(status: &str, errors: &[&str]) -> Self {
        let refusals = errors.iter().map(|error| http(status, JSON, &format!(r#"{{"error":"{error}"}}"#)));
        Self::in_turn(refusals.chain([http("200 OK", JSON, TOKEN)])).await
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// An account at this endpoint.
    pub(super) fn config(&self) -> OAuth2 {
        config(&self.url)
    }

    pub(super) async fn exchange(&self, config: &OAuth2) -> Result<ReceivedToken, Failure> {
        client().exchange(config, None).await
    }

    /// The n-th request's form, from 0, decoded.
    pub(super) fn form(&self, nth: usize) -> Vec<(String, String)> {
        let received = self.received.lock().unwrap();
        let (_, body) = received[nth].split_once("\r\n\r\n").unwrap();
        form_urlencoded::parse(body.as_bytes()).into_owned().collect()
    }

    /// The only member of this name in the n-th request's form.
    pub(super) fn member(&self, nth: usize, name: &str) -> Option<String> {
        let mut found = self.form(nth).into_iter().filter(|(found, _)| found == name);
        let member = found.next().map(|(_, value)| value);
        assert!(found.next().is_none(), "{name} twice");
        member
    }

    /// Head and body of the only request.
    pub(super) fn request(&self) -> (String, String) {
        let received = self.received.lock().unwrap();
        assert_eq!(received.len(), 1);
        let (head, body) = received[0].split_once("\r\n\r\n").unwrap();
        (head.to_ascii_lowercase(), body.to_owned())
    }

    pub(super) fn requests(&self) -> usize {
        self.received.lock().unwrap().len()
    }

    /// A header of the first request, as it was sent.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.header_of(0, name)
    }

    /// A header of the n-th request, from 0.
    pub(super) fn header_of(&self, nth: usize, name: &str) -> Option<String> {
        self.received.lock().unwrap()[nth].lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    }
}

/// An answer's bytes.
pub(super) fn http(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}")
        .into_bytes()
}

pub(super) const JSON: &str = "content-type: application/json\r\n";
pub(super) const TOKEN: &str = r#"{"access_token":"t0ken","token_type":"Bearer","expires_in":3600}"#;

/// Header and claims of a signed token, whose signature this checks.
pub(super) fn verified(
    token: &str,
    algorithm: &'static dyn VerificationAlgorithm,
    key: &[u8],
) -> (Value, Value) {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
    UnparsedPublicKey::new(algorithm, key).verify(message.as_bytes(), &decode(signature)).unwrap();
    parts(message)
}

/// The same of one signed with a shared secret (HS256).
pub(super) fn verified_hs256(token: &str, secret: &str) -> (Value, Value) {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    ring::hmac::verify(&key, message.as_bytes(), &signature).unwrap();
    parts(message)
}

fn parts(message: &str) -> (Value, Value) {
    let (header, claims) = message.split_once('.').unwrap();
    let json = |part| serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    (json(header), json(claims))
}

/// The P-256 public key of [`signed_assertion`].
pub(super) fn public_key() -> Vec<u8> {
    rcgen::KeyPair::from_pem(&SIGNING_KEY).unwrap().public_key_raw().to_vec()
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.to_ascii_lowercase().lines().find_map(|l| l.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0_usize)
}
