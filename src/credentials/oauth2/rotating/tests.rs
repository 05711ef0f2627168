//! The rotation against a store in memory and an endpoint that takes each refresh token once.

use super::super::stub;
use super::*;
use crate::state::Stamp;
use http::HeaderValue;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::time::{Instant, sleep};

/// Refresh tokens are numbers. One that was spent before makes it revoke the grant.
#[derive(Default)]
struct Idp {
    valid: Mutex<u32>,
    revoked: AtomicBool,
    calls: AtomicUsize,
    reply_lost: AtomicBool,
    keeps: AtomicBool,
}

const TAKES: Duration = Duration::from_secs(2);

#[async_trait]
impl Exchange for Idp {
    async fn exchange(&self, _: &OAuth2, token: Option<&Secret>) -> Result<Answer, Failure> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        sleep(TAKES / 2).await;
        let next = {
            let mut valid = self.valid.lock().unwrap();
            if token.unwrap().expose() != valid.to_string() {
                self.revoked.store(true, Ordering::SeqCst);
            }
            if self.revoked.load(Ordering::SeqCst) {
                return Err(Cause::GrantGone { code: Some("invalid_grant".into()) }.into());
            }
            if !self.keeps.load(Ordering::SeqCst) {
                *valid += 1;
            }
            valid.to_string()
        };
        sleep(TAKES / 2).await;
        if self.reply_lost.swap(false, Ordering::SeqCst) {
            return Err(Unavailability::Transport.into());
        }
        Ok(Answer {
            token: Secret::new("t0ken"),
            header: HeaderValue::from_static("Bearer t0ken"),
            expires_in: None,
            refresh_token: (!self.keeps.load(Ordering::SeqCst)).then(|| Secret::new(next)),
            details: Default::default(),
            second_secret: false,
        })
    }
}

type Slot = Arc<AsyncMutex<Option<Entry>>>;

#[derive(Default)]
struct Memory {
    entries: Mutex<HashMap<String, Slot>>,
    full: AtomicBool,
    fails_to_write: Arc<AtomicBool>,
}

struct Lock {
    entry: OwnedMutexGuard<Option<Entry>>,
    full: bool,
    fails: Arc<AtomicBool>,
}

impl Memory {
    fn slot(&self, name: &str) -> Slot {
        self.entries.lock().unwrap().entry(name.to_owned()).or_default().clone()
    }

    fn of(&self, config: &OAuth2) -> Slot {
        self.slot(&store_key("erp", config))
    }
}

#[async_trait]
impl Store for Memory {
    async fn peek(&self, name: &str, _: Option<Stamp>) -> Result<Peek, StateError> {
        let entry = self.slot(name).lock().await.clone();
        Ok(entry.map_or(Peek::Absent, |entry| Peek::Found(Box::new(entry), Stamp::new([0; 4]))))
    }

    async fn lock(&self, name: &str, wait: Duration) -> Result<Box<dyn LockedEntry>, StateError> {
        let locked = timeout(wait, self.slot(name).lock_owned()).await;
        let entry = locked.map_err(|_| StateError::Locked {
            account: name.into(),
            path: "x".into(),
            waited: wait,
        })?;
        let (full, fails) = (self.full.load(Ordering::SeqCst), self.fails_to_write.clone());
        Ok(Box::new(Lock { entry, full, fails }))
    }
}

#[async_trait]
impl LockedEntry for Lock {
    async fn read(&mut self) -> Result<Option<Entry>, StateError> {
        Ok(self.entry.clone())
    }

    async fn prepare(&mut self) -> Result<(), StateError> {
        if self.full { Err(StateError::BrokenOff) } else { Ok(()) }
    }

    async fn write(&mut self, entry: &Entry) -> Result<(), StateError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(StateError::BrokenOff);
        }
        *self.entry = Some(entry.clone());
        Ok(())
    }

    async fn remove(&mut self) -> Result<(), StateError> {
        *self.entry = None;
        Ok(())
    }
}

/// An account whose first refresh token is `0`.
fn seeded() -> OAuth2 {
    OAuth2 {
        grant: Grant::RefreshToken { refresh_token: Secret::new("0") },
        ..stub::config("https://id.erp.example/token")
    }
}

fn device() -> OAuth2 {
    let device_authorization_url = "https://id.erp.example/device".parse().unwrap();
    OAuth2 { grant: Grant::DeviceCode { device_authorization_url }, ..seeded() }
}

struct World {
    idp: Arc<Idp>,
    memory: Arc<Memory>,
    tasks: TaskTracker,
}

impl World {
    fn new() -> Self {
        Self { idp: Arc::default(), memory: Arc::default(), tasks: TaskTracker::new() }
    }

    fn tokens(&self) -> Tokens {
        let tokens =
            Tokens { rotations: self.tasks.clone(), ..Tokens::new(stub::client(), Handle::current()) };
        tokens.store.set(self.memory.clone());
        tokens
    }

    /// As a process that starts: it knows what is in the store.
    fn process(&self) -> Arc<dyn Exchange> {
        self.account(&self.tokens())
    }

    /// As a process whose account is new, or has changed.
    fn account(&self, tokens: &Tokens) -> Arc<dyn Exchange> {
        Arc::new(Rotating::new("erp", self.idp.clone(), tokens))
    }

    async fn kept(&self, config: &OAuth2) -> Option<(String, u64, bool)> {
        let entry = self.memory.of(config).lock().await.clone();
        entry.map(|e| (e.refresh_token.unwrap().expose().to_owned(), e.revision, e.lost.is_some()))
    }

    fn calls(&self) -> usize {
        self.idp.calls.load(Ordering::SeqCst)
    }
}

fn kept(token: &str, rotation: u64) -> Option<(String, u64, bool)> {
    Some((token.into(), rotation, false))
}

#[tokio::test(start_paused = true)]
async fn each_refresh_token_is_spent_once_and_the_next_one_kept_over_restarts() {
    let world = World::new();
    for n in 1..=5 {
        let process = world.process();
        assert!(process.exchange(&seeded(), None).await.is_ok());
        assert_eq!(world.kept(&seeded()).await, kept(&n.to_string(), n));
    }
}

#[tokio::test(start_paused = true)]
async fn several_processes_take_turns() {
    let world = World::new();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let process = world.process();
        tasks.spawn(async move { process.exchange(&seeded(), None).await.is_ok() });
    }
    assert_eq!(tasks.join_all().await, [true; 4]);
    assert_eq!(world.kept(&seeded()).await, kept("4", 4));
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_somebody_holds_is_waited_for_and_then_given_up() {
    let world = World::new();
    let slot = world.memory.of(&seeded());
    let _held = slot.lock().await;
    let began = Instant::now();
    let failure = world.process().exchange(&seeded(), None).await.unwrap_err();
    assert!(matches!(failure, Failure { cause: Cause::Unavailable(Unavailability::Locked), .. }));
    assert_eq!((began.elapsed(), world.calls()), (seeded().token_timeout + STORE_TIME, 0));
}

#[tokio::test(start_paused = true)]
async fn a_rotation_goes_on_when_its_account_is_gone() {
    let world = World::new();
    let process = world.process();
    assert!(timeout(TAKES / 4, process.exchange(&seeded(), None)).await.is_err());
    drop(process);
    world.tasks.close();
    world.tasks.wait().await;
    assert_eq!(world.kept(&seeded()).await, kept("1", 1));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_does_not_rotate_leaves_nothing_to_keep() {
    let world = World::new();
    world.idp.keeps.store(true, Ordering::SeqCst);
    assert!(world.process().exchange(&seeded(), None).await.is_ok());
    assert!(world.process().exchange(&seeded(), None).await.is_ok());
    assert_eq!(world.kept(&seeded()).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_refused_refresh_token_is_never_sent_again() {
    let world = World::new();
    world.idp.reply_lost.store(true, Ordering::SeqCst);
    let process = world.process();
    assert!(matches!(
        process.exchange(&seeded(), None).await,
        Err(Failure { cause: Cause::Unavailable(_), .. })
    ));
    // The endpoint has spent it, and we can't know: the one window that remains.
    let failure = process.exchange(&seeded(), None).await.unwrap_err();
    assert!(matches!(failure, Failure { cause: Cause::GrantGone { code: Some(_) }, .. }));
    assert_eq!(world.kept(&seeded()).await, Some(("0".into(), 0, true)));
    let calls = world.calls();
    for process in [process, world.process()] {
        let failure = process.exchange(&seeded(), None).await.unwrap_err();
        assert!(matches!(failure, Failure { cause: Cause::GrantGone { code: None }, .. }));
        assert!(matches!(process.look(&seeded()).await, Err(Failure { cause: Cause::GrantGone { .. }, .. })));
    }
    assert_eq!(world.calls(), calls);
}

#[tokio::test(start_paused = true)]
async fn another_first_token_is_another_grant() {
    let world = World::new();
    world.idp.revoked.store(true, Ordering::SeqCst);
    assert!(world.process().exchange(&seeded(), None).await.is_err());
    assert!(world.process().look(&seeded()).await.is_err());
    world.idp.revoked.store(false, Ordering::SeqCst);
    *world.idp.valid.lock().unwrap() = 70;
    let config = OAuth2 { grant: Grant::RefreshToken { refresh_token: Secret::new("70") }, ..seeded() };
    assert!(world.process().look(&config).await.is_ok());
    assert!(world.process().exchange(&config, None).await.is_ok());
    assert_eq!(world.kept(&config).await, kept("71", 1));
}

#[tokio::test(start_paused = true)]
async fn a_rotated_client_secret_keeps_the_grant_and_another_client_does_not() {
    let world = World::new();
    assert!(world.process().exchange(&seeded(), None).await.is_ok());
    let mut config = seeded();
    config.client_auth = crate::config::model::ClientAuth::Post(vec![Secret::new("new")]);
    assert!(world.process().exchange(&config, None).await.is_ok());
    assert_eq!(world.kept(&seeded()).await, kept("2", 2));
    let other = OAuth2 { client_id: Some("other".into()), ..device() };
    assert!(matches!(
        world.process().look(&other).await,
        Err(Failure { cause: Cause::GrantGone { .. }, .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn an_account_that_nobody_signed_in_asks_nobody() {
    let world = World::new();
    let process = world.process();
    assert!(matches!(
        process.exchange(&device(), None).await,
        Err(Failure { cause: Cause::GrantGone { code: None }, .. })
    ));
    assert_eq!(world.calls(), 0);
    let login = Entry {
        bound_to: grant_identity("erp", &device()),
        revision: 1,
        rotated: false,
        reusable: false,
        access: None,
        refresh_token: Some(Secret::new("0")),
        obtained_at: SystemTime::now(),
        lost: None,
    };
    *world.memory.of(&device()).lock().await = Some(login);
    assert!(process.look(&device()).await.is_ok());
    assert!(process.exchange(&device(), None).await.is_ok());
    assert_eq!(world.kept(&device()).await, kept("1", 2));
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_shows_before_the_token_is_spent() {
    let world = World::new();
    world.memory.full.store(true, Ordering::SeqCst);
    let failure = world.process().exchange(&seeded(), None).await.unwrap_err();
    assert!(matches!(failure, Failure { cause: Cause::Unavailable(Unavailability::State), .. }));
    assert_eq!(world.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_written_is_remembered_and_written_later() {
    let world = World::new();
    let process = world.process();
    world.memory.fails_to_write.store(true, Ordering::SeqCst);
    assert!(process.exchange(&seeded(), None).await.is_ok());
    assert!(process.exchange(&seeded(), None).await.is_ok());
    assert_eq!(world.kept(&seeded()).await, None);
    world.memory.fails_to_write.store(false, Ordering::SeqCst);
    assert!(process.exchange(&seeded(), None).await.is_ok());
    assert_eq!(world.kept(&seeded()).await, kept("3", 3));
}

#[tokio::test(start_paused = true)]
async fn without_a_store_nothing_is_spent() {
    let idp: Arc<Idp> = Arc::default();
    let tokens = Tokens::new(stub::client(), Handle::current());
    let failure = Rotating::new("erp", idp.clone(), &tokens).exchange(&seeded(), None).await.unwrap_err();
    assert!(matches!(failure, Failure { cause: Cause::Unavailable(Unavailability::State), .. }));
    assert_eq!(idp.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_refresh_token_beside_a_token_that_cannot_be_sent_is_kept() {
    let answer = |members: &str| stub::http("200 OK", stub::JSON, members);
    let idp = stub::Stub::in_turn([
        answer(r#"{"access_token":"a","refresh_token":"1"}"#),
        answer(r#"{"access_token":"a","token_type":"DPoP","refresh_token":"2"}"#),
        answer(r#"{"access_token":"ä","refresh_token":"3"}"#),
        answer(r#"{"access_token":"a","id_token":"i"}"#),
    ])
    .await;
    let mut config = OAuth2 { grant: seeded().grant, ..idp.config() };
    let tokens = Tokens::new(stub::client(), Handle::current());
    tokens.store.set(Arc::new(Memory::default()));
    let process = Rotating::new("erp", Arc::new(stub::client()), &tokens);
    config.bearer_token_type = crate::config::model::BearerTokenType::IdToken;
    assert_eq!(
        process.exchange(&config, None).await.unwrap_err().cause,
        Cause::Unavailable(Unavailability::NoIdToken)
    );
    config.bearer_token_type = crate::config::model::BearerTokenType::AccessToken;
    assert_eq!(
        process.exchange(&config, None).await.unwrap_err().cause,
        Cause::Unavailable(Unavailability::TokenType)
    );
    assert_eq!(
        process.exchange(&config, None).await.unwrap_err().cause,
        Cause::Unavailable(Unavailability::TokenCharacters)
    );
    assert!(process.exchange(&config, None).await.is_ok());
    let sent: Vec<_> = (0..4).map(|nth| idp.member(nth, "refresh_token").unwrap()).collect();
    assert_eq!(sent, ["0", "1", "2", "3"]);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_written_outlives_a_change_of_the_account() {
    let world = World::new();
    let tokens = world.tokens();
    world.memory.fails_to_write.store(true, Ordering::SeqCst);
    assert!(world.account(&tokens).exchange(&seeded(), None).await.is_ok());
    world.memory.fails_to_write.store(false, Ordering::SeqCst);
    let mut config = seeded();
    config.client_auth = crate::config::model::ClientAuth::Post(vec![Secret::new("new")]);
    assert!(world.account(&tokens).exchange(&config, None).await.is_ok());
    assert_eq!(world.kept(&seeded()).await, kept("2", 2));
}

#[tokio::test(start_paused = true)]
async fn a_login_counts_before_what_could_not_be_written() {
    let world = World::new();
    let login = |token: &str, obtained_at| Entry {
        bound_to: grant_identity("erp", &device()),
        revision: 1,
        rotated: false,
        reusable: false,
        access: None,
        refresh_token: Some(Secret::new(token)),
        obtained_at,
        lost: None,
    };
    let process = world.process();
    // The one before it was the account's zeroth, which no file holds any more.
    *world.memory.of(&device()).lock().await = Some(Entry { revision: 0, ..login("0", SystemTime::now()) });
    world.memory.fails_to_write.store(true, Ordering::SeqCst);
    assert!(process.exchange(&device(), None).await.is_ok());
    world.memory.fails_to_write.store(false, Ordering::SeqCst);
    *world.idp.valid.lock().unwrap() = 70;
    *world.memory.of(&device()).lock().await = Some(login("70", SystemTime::now() + Duration::from_secs(60)));
    assert!(process.exchange(&device(), None).await.is_ok());
    assert_eq!(world.kept(&device()).await, kept("71", 2));
}

#[tokio::test(start_paused = true)]
async fn none_begins_once_the_process_waits_for_the_last() {
    let world = World::new();
    let process = world.process();
    world.tasks.close();
    world.tasks.wait().await;
    let failure = process.exchange(&seeded(), None).await.unwrap_err();
    assert_eq!((failure, world.calls()), (Unavailability::Interrupted.into(), 0));
}

#[tokio::test(start_paused = true)]
async fn a_slip_of_the_pen_costs_no_grant() {
    let world = World::new();
    assert!(world.process().exchange(&seeded(), None).await.is_ok());
    let typo = OAuth2 { client_id: Some("typo".into()), ..seeded() };
    world.idp.revoked.store(true, Ordering::SeqCst);
    assert!(world.process().exchange(&typo, None).await.is_err());
    world.idp.revoked.store(false, Ordering::SeqCst);
    assert!(world.process().exchange(&seeded(), None).await.is_ok());
    assert_eq!(world.kept(&seeded()).await, kept("2", 2));
}

#[tokio::test(start_paused = true)]
async fn an_account_with_another_name_goes_on_with_its_grant() {
    let world = World::new();
    assert!(world.process().exchange(&seeded(), None).await.is_ok());
    let renamed = Rotating::new("crm", world.idp.clone(), &world.tokens());
    assert!(renamed.exchange(&seeded(), None).await.is_ok());
    assert_eq!(world.kept(&seeded()).await, kept("2", 2));
    assert_ne!(
        store_key("erp", &device()),
        store_key("crm", &device()),
        "somebody else may have signed in there"
    );
}

/// A file system that answers nobody.
struct Hangs(AtomicUsize);

#[async_trait]
impl Store for Hangs {
    async fn peek(&self, _: &str, _: Option<Stamp>) -> Result<Peek, StateError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }

    async fn lock(&self, _: &str, _: Duration) -> Result<Box<dyn LockedEntry>, StateError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_holds_one_look_and_one_rotation() {
    let world = World::new();
    let (tokens, store) = (world.tokens(), Arc::new(Hangs(AtomicUsize::new(0))));
    tokens.store.set(store.clone());
    let process = world.account(&tokens);
    for _ in 0..5 {
        assert!(timeout(secs(60), process.look(&seeded())).await.unwrap().is_err());
        let _ = timeout(secs(60), process.exchange(&seeded(), None)).await;
    }
    assert_eq!(store.0.load(Ordering::SeqCst), 2);
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
