//! Refreshes against a store in memory and an endpoint that takes each refresh token once.

mod unwritten;

use super::super::stub::{self, Memory};
use super::super::token::Token;
use super::super::wire::TokenClient;
use super::*;
use crate::config::model::{BearerTokenType, ClientAuth};
use async_trait::async_trait;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use tokio::runtime::Handle;
use tokio::time::sleep;

/// Refresh tokens are numbers. One that was spent before makes it revoke the grant.
#[derive(Default)]
struct Idp {
    valid: Mutex<u32>,
    revoked: AtomicBool,
    calls: AtomicUsize,
    reply_lost: AtomicBool,
    keeps: AtomicBool,
    takes: Mutex<Duration>,
}

const TAKES: Duration = Duration::from_secs(2);

#[async_trait]
impl Exchange for Idp {
    async fn exchange(&self, _: &OAuth2, token: Option<&Secret>) -> Result<ReceivedToken, Failure> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let takes = (*self.takes.lock().unwrap()).max(TAKES);
        sleep(takes / 2).await;
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
        sleep(takes / 2).await;
        if self.reply_lost.swap(false, Ordering::SeqCst) {
            return Err(Unavailability::Transport.into());
        }
        let refresh_token = (!self.keeps.load(Ordering::SeqCst)).then(|| Secret::new(next));
        Ok(ReceivedToken { refresh_token, ..stub::answer(&format!("access-{call}"), None) })
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
    spending: TaskTracker,
    clock: Clock,
}

impl World {
    fn new() -> Self {
        let (idp, memory, spending) = Default::default();
        Self { idp, memory, spending, clock: stub::clock() }
    }

    fn tokens(&self) -> Tokens {
        let tokens = Tokens::with_clock(stub::client(), Handle::current(), self.clock.clone());
        tokens.store.set(self.memory.clone());
        Tokens { spending: self.spending.clone(), ..tokens }
    }

    /// A process that starts: it knows what is in the store.
    fn process(&self) -> Arc<Refresher> {
        self.account(&self.tokens())
    }

    /// A process whose account is new, or has changed.
    fn account(&self, tokens: &Tokens) -> Arc<Refresher> {
        refresher("erp", self.idp.clone(), tokens)
    }

    async fn entry(&self, config: &OAuth2) -> Option<Entry> {
        self.memory.slot(&store_key("erp", config)).lock().await.0.clone()
    }

    async fn write(&self, config: &OAuth2, entry: Entry) {
        let mut slot = self.memory.slot(&store_key("erp", config)).lock_owned().await;
        *slot = (Some(entry), slot.1 + 1);
    }

    /// The stored refresh token, the number of the entry, and whether it is lost.
    async fn kept(&self, config: &OAuth2) -> Option<(String, u64, bool)> {
        let entry = self.entry(config).await;
        entry.map(|e| (e.refresh_token.unwrap().expose().to_owned(), e.revision, e.lost.is_some()))
    }

    /// Replaces the stored token.
    async fn renew(&self, process: &Arc<Refresher>, config: &OAuth2) -> Result<String, Failure> {
        let stored =
            self.entry(config).await.and_then(|entry| Some(entry.access?.token)).map(Replaced::Other);
        token(process.refresh(config, stored.as_ref(), false).await)
    }

    fn calls(&self) -> usize {
        self.idp.calls.load(Ordering::SeqCst)
    }

    fn now(&self) -> SystemTime {
        self.clock.now().wall
    }
}

fn refresher(account: &str, wire: Arc<dyn Exchange>, tokens: &Tokens) -> Arc<Refresher> {
    let memory = tokens.memories.of(account, &seeded());
    Arc::new(Refresher::new(account, wire, memory, tokens))
}

fn token(result: Result<Obtained, Failed>) -> Result<String, Failure> {
    result.map(|obtained| obtained.issued.secret.expose().to_owned()).map_err(|failed| failed.failure)
}

fn replaced(token: &str) -> Replaced {
    Replaced::Other(Secret::new(token))
}

fn kept(token: &str, revision: u64) -> Option<(String, u64, bool)> {
    Some((token.into(), revision, false))
}

async fn looks(process: &Refresher, config: &OAuth2) -> Looked {
    process.look(config, &mut None, None, false).await
}

fn is_gone(looked: &Looked) -> bool {
    matches!(looked, Looked::Failed(Failure { cause: Cause::GrantGone { .. }, .. }))
}

#[tokio::test(start_paused = true)]
async fn each_refresh_token_is_spent_once_and_the_next_one_kept_over_restarts() {
    let world = World::new();
    for n in 1..=5 {
        assert!(world.renew(&world.process(), &seeded()).await.is_ok());
        assert_eq!(world.kept(&seeded()).await, kept(&n.to_string(), n));
    }
}

#[tokio::test(start_paused = true)]
async fn several_processes_share_one_token() {
    let world = World::new();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let process = world.process();
        tasks.spawn(async move { token(process.refresh(&seeded(), None, false).await).unwrap() });
    }
    assert_eq!(tasks.join_all().await, ["access-1"; 4]);
    assert_eq!(world.kept(&seeded()).await, kept("1", 1));
    // One of them replaces it; the others, whose token is the old one, use the same successor.
    let old = replaced("access-1");
    for _ in 0..3 {
        assert_eq!(token(world.process().refresh(&seeded(), Some(&old), false).await).unwrap(), "access-2");
    }
    assert_eq!(world.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_account_with_other_scopes_does_not_take_the_stored_token() {
    let world = World::new();
    assert!(world.renew(&world.process(), &seeded()).await.is_ok());
    let other = OAuth2 { scopes: vec!["more".into()], ..seeded() };
    assert_eq!(token(world.process().refresh(&other, None, false).await).unwrap(), "access-2");
    let id = OAuth2 { bearer_token_type: BearerTokenType::IdToken, ..seeded() };
    assert_eq!(token(world.process().refresh(&id, None, false).await).unwrap(), "access-3");
}

#[tokio::test(start_paused = true)]
async fn a_stored_token_is_not_used_beyond_its_end() {
    let world = World::new();
    assert!(world.renew(&world.process(), &seeded()).await.is_ok());
    sleep(Duration::from_secs(291)).await;
    assert_eq!(token(world.process().refresh(&seeded(), None, false).await).unwrap(), "access-2");
}

#[tokio::test(start_paused = true)]
async fn a_lock_held_by_another_process_is_waited_for_and_then_given_up() {
    let world = World::new();
    let slot = world.memory.slot(&store_key("erp", &seeded()));
    let _held = slot.lock().await;
    let began = Instant::now();
    let failure = token(world.process().refresh(&seeded(), None, false).await).unwrap_err();
    assert_eq!(failure.cause, Cause::Unavailable(Unavailability::Locked));
    assert_eq!((began.elapsed(), world.calls()), (EXCHANGE_LIMIT + STORE_TIME, 0));
}

#[tokio::test(start_paused = true)]
async fn an_exchange_is_awaited_beyond_the_token_timeout() {
    let world = World::new();
    *world.idp.takes.lock().unwrap() = Duration::from_secs(50);
    let config = OAuth2 { token_timeout: Duration::from_secs(2), ..seeded() };
    assert!(world.renew(&world.process(), &config).await.is_ok());
    assert_eq!(world.kept(&seeded()).await, kept("1", 1));
}

#[tokio::test(start_paused = true)]
async fn the_process_waits_for_an_exchange_and_begins_no_other() {
    let world = World::new();
    let process = world.process();
    let exchange =
        tokio::task::JoinSet::from_iter([
            async move { process.refresh(&seeded(), None, false).await.is_ok() },
        ]);
    while world.calls() == 0 {
        sleep(Duration::from_millis(10)).await;
    }
    world.spending.close();
    world.spending.wait().await;
    assert_eq!(exchange.join_all().await, [true]);
    assert_eq!(world.kept(&seeded()).await, kept("1", 1));
    let failure = world.renew(&world.process(), &seeded()).await.unwrap_err();
    assert_eq!((failure, world.calls()), (Unavailability::Interrupted.into(), 1));
}

#[tokio::test(start_paused = true)]
async fn a_refused_refresh_token_that_came_by_rotation_is_never_sent_again() {
    let world = World::new();
    assert!(world.renew(&world.process(), &seeded()).await.is_ok());
    world.idp.reply_lost.store(true, Ordering::SeqCst);
    let process = world.process();
    assert_eq!(world.renew(&process, &seeded()).await.unwrap_err(), Unavailability::Transport.into());
    // The endpoint has spent it, which cannot be known: the one window that remains.
    let failure = world.renew(&process, &seeded()).await.unwrap_err();
    assert!(matches!(failure.cause, Cause::GrantGone { code: Some(_) }));
    assert_eq!(world.kept(&seeded()).await, Some(("1".into(), 2, true)));
    let calls = world.calls();
    sleep(schedule::RETRY_GRANT * 3).await;
    for process in [process, world.process()] {
        let failure = token(process.refresh(&seeded(), None, true).await).unwrap_err();
        assert!(matches!(failure.cause, Cause::GrantGone { code: None }));
        assert!(is_gone(&looks(&process, &seeded()).await));
    }
    assert_eq!(world.calls(), calls);
}

#[tokio::test(start_paused = true)]
async fn a_refused_first_token_is_tried_again_every_hour_and_when_the_operator_asks() {
    let world = World::new();
    world.idp.revoked.store(true, Ordering::SeqCst);
    let process = world.process();
    assert!(world.renew(&process, &seeded()).await.is_err());
    let (hour, minute) = (schedule::RETRY_GRANT, schedule::NUDGE);
    let second = Duration::from_secs(1);
    for (wait, nudged, calls) in
        [(hour - 5 * second, false, 1), (10 * second, false, 2), (minute / 2, true, 2), (minute, true, 3)]
    {
        sleep(wait).await;
        assert!(process.refresh(&seeded(), None, nudged).await.is_err());
        assert_eq!(world.calls(), calls);
    }
    world.idp.revoked.store(false, Ordering::SeqCst);
    sleep(hour).await;
    assert!(world.process().refresh(&seeded(), None, false).await.is_ok());
    assert_eq!(world.kept(&seeded()).await, kept("1", 4));
}

#[tokio::test(start_paused = true)]
async fn another_first_token_is_another_grant() {
    let world = World::new();
    world.idp.revoked.store(true, Ordering::SeqCst);
    assert!(world.renew(&world.process(), &seeded()).await.is_err());
    assert!(is_gone(&looks(&world.process(), &seeded()).await));
    world.idp.revoked.store(false, Ordering::SeqCst);
    *world.idp.valid.lock().unwrap() = 70;
    let config = OAuth2 { grant: Grant::RefreshToken { refresh_token: Secret::new("70") }, ..seeded() };
    assert!(matches!(looks(&world.process(), &config).await, Looked::Grant(None)));
    assert!(world.renew(&world.process(), &config).await.is_ok());
    assert_eq!(world.kept(&config).await, kept("71", 1));
}

#[tokio::test(start_paused = true)]
async fn a_rotated_client_secret_keeps_the_grant_and_another_client_does_not() {
    let world = World::new();
    assert!(world.renew(&world.process(), &seeded()).await.is_ok());
    let config = OAuth2 { client_auth: ClientAuth::Post(vec![Secret::new("new")]), ..seeded() };
    assert!(world.renew(&world.process(), &config).await.is_ok());
    assert_eq!(world.kept(&seeded()).await, kept("2", 2));
    let other = OAuth2 { client_id: Some("other".into()), ..device() };
    assert!(is_gone(&looks(&world.process(), &other).await));
}

#[tokio::test(start_paused = true)]
async fn an_account_without_a_login_sends_no_request() {
    let world = World::new();
    let process = world.process();
    let failure = world.renew(&process, &device()).await.unwrap_err();
    assert_eq!((failure, world.calls()), (Failure::needs_login(), 0));
    world.write(&device(), stub::entry("erp", &device(), "0", world.now())).await;
    assert!(matches!(looks(&process, &device()).await, Looked::Grant(Some(_))));
    assert!(world.renew(&process, &device()).await.is_ok());
    assert_eq!(world.kept(&device()).await, kept("1", 2));
}

#[tokio::test(start_paused = true)]
async fn a_login_without_a_refresh_token_lasts_as_long_as_its_token() {
    let world = World::new();
    let process = world.process();
    let entry = stub::entry("erp", &device(), "0", world.now());
    world.write(&device(), Entry { refresh_token: None, ..entry }).await;
    assert_eq!(token(process.refresh(&device(), None, false).await).unwrap(), "access-0");
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(token(process.refresh(&device(), None, false).await).unwrap_err(), Failure::needs_login());
}

#[tokio::test(start_paused = true)]
async fn an_older_stored_token_does_not_replace_the_one_in_use() {
    let world = World::new();
    world.idp.keeps.store(true, Ordering::SeqCst);
    world.write(&device(), stub::entry("erp", &device(), "0", world.now())).await;
    let process = world.process();
    let in_use = |age| {
        let (secret, lifetime, took) = (Secret::new("in-use"), Duration::from_secs(3600), Duration::ZERO);
        let issued = Issued { secret, obtained_at: world.now() - age, lifetime, took };
        Token::new(issued, world.clock.now(), 0.5, 1, Duration::ZERO)
    };
    sleep(Duration::from_secs(60)).await;
    let older = Replaced::InUse(Arc::new(in_use(Duration::from_secs(90))));
    let newer = Replaced::InUse(Arc::new(in_use(Duration::ZERO)));
    let obtained = process.refresh(&device(), Some(&older), false).await;
    assert_eq!(token(obtained).unwrap(), "access-0");
    let obtained = process.refresh(&device(), Some(&newer), false).await;
    assert_eq!(token(obtained).unwrap(), "access-1");
}

#[tokio::test(start_paused = true)]
async fn without_a_store_nothing_is_spent() {
    let idp: Arc<Idp> = Arc::default();
    let tokens = Tokens::new(stub::client(), Handle::current());
    let process = refresher("erp", idp.clone(), &tokens);
    let failure = token(process.refresh(&seeded(), None, false).await).unwrap_err();
    assert_eq!(failure.cause, Cause::Unavailable(Unavailability::State));
    assert_eq!(idp.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_refresh_token_beside_a_token_that_cannot_be_sent_is_kept() {
    let answer = |members: &str| stub::http("200 OK", stub::JSON, members);
    let idp = stub::Stub::in_turn([
        answer(r#"{"access_token":"a","refresh_token":"1"}"#),
        answer(r#"{"access_token":"a","token_type":"DPoP","refresh_token":"2"}"#),
        answer(r#"{"access_token":"a b","refresh_token":"3"}"#),
        answer(r#"{"access_token":"a","id_token":"i"}"#),
    ])
    .await;
    let mut config = OAuth2 { grant: seeded().grant, ..idp.config() };
    let tokens = Tokens::new(stub::client(), Handle::current());
    tokens.store.set(Arc::new(Memory::default()));
    let client: TokenClient = stub::client();
    let process = refresher("erp", Arc::new(client), &tokens);
    let refused =
        async |config: &OAuth2| token(process.refresh(config, None, false).await).unwrap_err().cause;
    config.bearer_token_type = BearerTokenType::IdToken;
    assert_eq!(refused(&config).await, Cause::Unavailable(Unavailability::NoIdToken));
    config.bearer_token_type = BearerTokenType::AccessToken;
    assert_eq!(refused(&config).await, Cause::Unavailable(Unavailability::TokenType));
    assert_eq!(refused(&config).await, Cause::Unavailable(Unavailability::TokenCharacters));
    assert!(process.refresh(&config, None, false).await.is_ok());
    let sent: Vec<_> = (0..4).map(|nth| idp.member(nth, "refresh_token").unwrap()).collect();
    assert_eq!(sent, ["0", "1", "2", "3"]);
}

#[tokio::test(start_paused = true)]
async fn a_typo_does_not_lose_the_grant() {
    let world = World::new();
    assert!(world.renew(&world.process(), &seeded()).await.is_ok());
    let typo = OAuth2 { client_id: Some("typo".into()), ..seeded() };
    world.idp.revoked.store(true, Ordering::SeqCst);
    assert!(world.renew(&world.process(), &typo).await.is_err());
    world.idp.revoked.store(false, Ordering::SeqCst);
    assert!(world.renew(&world.process(), &seeded()).await.is_ok());
    assert_eq!(world.kept(&seeded()).await, kept("2", 2));
}

#[tokio::test(start_paused = true)]
async fn another_token_url_does_not_send_a_spent_first_token() {
    let world = World::new();
    assert!(world.renew(&world.process(), &seeded()).await.is_ok());
    let mut moved = seeded();
    moved.token_url.set_path("/v2/token");
    let failure = world.renew(&world.process(), &moved).await.unwrap_err();
    assert_eq!((failure.words.as_deref(), world.calls()), (Some(SPENT), 1));
    // The grant is there again when the change is undone.
    assert!(world.renew(&world.process(), &seeded()).await.is_ok());
    assert_eq!(world.kept(&seeded()).await, kept("2", 2));
}

#[tokio::test(start_paused = true)]
async fn a_renamed_account_goes_on_with_its_grant() {
    let world = World::new();
    assert!(world.renew(&world.process(), &seeded()).await.is_ok());
    let renamed = refresher("crm", world.idp.clone(), &world.tokens());
    assert!(world.renew(&renamed, &seeded()).await.is_ok());
    assert_eq!(world.kept(&seeded()).await, kept("2", 2));
    let (one, other) = (store_key("erp", &device()), store_key("crm", &device()));
    assert_ne!(one, other, "two people may have signed in to one client");
}
