//! Faults that an attack found, each as a test.

use super::clock::Clock;
use super::error::{Cause, Failure, Unavailability};
use super::exchange::{Exchange, ReceivedToken};
use super::machine::{Demand, GrantSource, Machine};
use super::refresh::{Refresher, store_key};
use super::stub::{self, Memory};
use super::token::Issued;
use super::*;
use crate::config::model::{ClientAuth, Grant, OAuth2};
use crate::credentials::AccountStats;
use crate::secret::Secret;
use crate::state::{Entry, LockedEntry, Peek, Stamp, StateError, Store};
use async_trait::async_trait;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn device() -> OAuth2 {
    let device_authorization_url = "https://id.erp.example/device".parse().unwrap();
    OAuth2 {
        grant: Grant::DeviceCode { device_authorization_url },
        ..stub::config("https://id.erp.example/token")
    }
}

/// Rotates; refuses a client secret "old".
struct Idp {
    calls: AtomicUsize,
    takes: Duration,
    lifetime: Duration,
    committed: Mutex<String>,
    refuses_old: bool,
}

impl Idp {
    fn new(takes: Duration, lifetime: Duration) -> Arc<Self> {
        Arc::new(Self {
            calls: AtomicUsize::new(0),
            takes,
            lifetime,
            committed: Mutex::new("r0".into()),
            refuses_old: false,
        })
    }
    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Exchange for Idp {
    async fn exchange(&self, config: &OAuth2, refresh: Option<&Secret>) -> Result<ReceivedToken, Failure> {
        let n = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        sleep(self.takes / 2).await;
        let is_old = config.client_auth.secrets().iter().any(|s| s.expose() == "old");
        if self.refuses_old && is_old && n > 1 {
            return Err(Failure::rejected("invalid_client"));
        }
        let mut next = None;
        if let Some(refresh) = refresh {
            let mut committed = self.committed.lock().unwrap();
            if *committed != refresh.expose() {
                return Err(Cause::GrantGone { code: Some("invalid_grant".into()) }.into());
            }
            *committed = format!("r{n}");
            next = Some(Secret::new(committed.clone()));
        }
        sleep(self.takes / 2).await;
        Ok(ReceivedToken { refresh_token: next, ..stub::answer(&format!("access-{n}"), Some(self.lifetime)) })
    }
}

fn tokens(memory: Arc<dyn Store>, clock: &Clock) -> Tokens {
    let tokens = Tokens::with_clock(stub::client(), Handle::current(), clock.clone());
    tokens.store.set(memory);
    tokens
}

fn source(config: &OAuth2, idp: &Arc<Idp>, tokens: &Tokens) -> Arc<TokenSource> {
    TokenSource::with_exchange("erp", config.clone(), idp.clone(), Arc::new(AccountStats::new()), tokens)
}

async fn login(memory: &Memory, config: &OAuth2, clock: &Clock) {
    let entry = stub::entry("erp", config, "r0", clock.now().wall);
    memory.lock(&store_key("erp", config), secs(1)).await.unwrap().write(&entry).await.unwrap();
}

/// Returns the token requests of an hour in which a service refuses every token of processes that share a store.
async fn always_401(processes: usize) -> usize {
    let (clock, memory, config, idp) =
        (stub::clock(), Arc::new(Memory::default()), device(), Idp::new(secs(1), secs(3600)));
    login(&memory, &config, &clock).await;
    let sources: Vec<_> =
        (0..processes).map(|_| source(&config, &idp, &tokens(memory.clone(), &clock))).collect();
    let mut requests = tokio::task::JoinSet::new();
    for second in 0..3600_u64 {
        for (nth, s) in sources.iter().enumerate() {
            if second % 2 == 0 {
                s.look();
            }
            // They are out of phase.
            if second < 100 * nth as u64 {
                continue;
            }
            let s = s.clone();
            requests.spawn(async move {
                if let Ok(token) = s.get().await {
                    let _ = tokio::time::timeout(secs(20), s.successor(token.generation())).await;
                }
            });
        }
        sleep(secs(1)).await;
    }
    idp.calls()
}

#[tokio::test(start_paused = true)]
async fn processes_together_ask_no_more_often_for_a_service_that_refuses_everything() {
    let requests = [always_401(1).await, always_401(2).await, always_401(4).await];
    assert!(requests.iter().all(|requests| (5..=45).contains(requests)), "{requests:?}");
}

#[test]
fn a_suspect_token_is_renewed_before_its_end_though_its_hold_is_longer() {
    let clock = Clock::system();
    let start = clock.now();
    let at = |n: u64| Now { instant: start.instant + secs(n), wall: start.wall + secs(n) };
    let issued = |n: u64, life: u64| Issued {
        secret: Secret::new(format!("t{n}")),
        obtained_at: at(n).wall,
        lifetime: secs(life),
        took: Duration::ZERO,
    };
    let mut machine = Machine::default();
    assert!(matches!(machine.demand(start), Demand::Wait));
    let mut t = 0;
    let mut token = machine.succeeded(issued(0, 300), at(0), 0.5).unwrap();
    // Service B refuses each token at once; service A uses it.
    for hold in [10, 10, 20, 40, 80, 160, 320] {
        token.mark_used();
        machine.refused(token.generation(), at(t));
        if hold == 320 {
            break;
        }
        t += hold;
        machine.tick(at(t));
        assert!(machine.is_refreshing(), "{hold}");
        token = machine.succeeded(issued(t, 300), at(t), 0.5).unwrap();
    }
    machine.tick(at(t + 289));
    assert!(machine.is_refreshing() && machine.token().is_some());
}

#[test]
fn a_refusal_in_the_store_does_not_end_the_pause_of_a_failed_request() {
    let start = Clock::system().now();
    let at = |n: u64| Now { instant: start.instant + secs(n), wall: start.wall + secs(n) };
    for (cause, asked, pause) in [
        (Cause::Rejected { code: "invalid_client".into() }, None, 30),
        (Cause::Unavailable(Unavailability::Connect), Some(60), 60),
    ] {
        let mut machine = Machine::default();
        assert!(matches!(machine.demand(start), Demand::Wait));
        let failure = Failure { retry_after: asked.map(secs), ..cause.into() };
        machine.failed(failure.clone(), GrantSource::Store, start, 0.0);
        machine.grant_missing(Failure::needs_login(), at(1));
        assert!(machine.needs_login());
        machine.grant_missing(Failure::needs_login(), at(3));
        assert!(
            matches!(machine.demand(at(10)), Demand::Fail(_)),
            "a request would look, and find the grant"
        );
        machine.grant_found(at(12));
        let Demand::Fail(told) = machine.demand(at(12)) else { panic!("a request within the pause") };
        assert_eq!((&*told.failure, told.retry_after), (&failure, secs(pause - 12)));
        assert!(matches!(machine.demand(at(pause)), Demand::Wait));
    }
}

/// A file system that does not answer.
struct Hangs;
#[async_trait]
impl Store for Hangs {
    async fn peek(&self, _: &str, _: Option<Stamp>) -> Result<Peek, StateError> {
        std::future::pending().await
    }
    async fn lock(&self, _: &str, _: Duration) -> Result<Box<dyn LockedEntry>, StateError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_not_blamed_on_the_endpoint() {
    let (clock, config, idp) = (stub::clock(), device(), Idp::new(secs(1), secs(3600)));
    let s = source(&config, &idp, &tokens(Arc::new(Hangs), &clock));
    let error = s.get().await.unwrap_err();
    assert_eq!(error.failure.cause, Cause::Unavailable(Unavailability::State));
}

#[tokio::test(start_paused = true)]
async fn a_replaced_source_that_a_tunnel_keeps_alive_asks_nothing() {
    let mut idp = Idp::new(secs(1), secs(3600));
    Arc::get_mut(&mut idp).unwrap().refuses_old = true;
    let clock = stub::clock();
    let mut config = stub::config("https://id.erp.example/token");
    config.client_auth = ClientAuth::Basic(vec![Secret::new("old")]);
    let tokens = Tokens::with_clock(stub::client(), Handle::current(), clock.clone());
    let old = source(&config, &idp, &tokens);
    old.get().await.unwrap();
    config.client_auth = ClientAuth::Basic(vec![Secret::new("new")]);
    let new = source(&config, &idp, &tokens);
    new.inherit(&old, clock.now());
    old.retire();
    new.fetch().await;
    assert_eq!(idp.calls(), 2);
    sleep(secs(3595)).await;
    assert_eq!(idp.calls(), 2, "the retired source asked with the old secret");
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_could_not_be_stored_is_stored_at_the_next_look_or_at_the_end() {
    let (clock, memory, config, idp) =
        (stub::clock(), Arc::new(Memory::default()), device(), Idp::new(secs(1), secs(3600)));
    login(&memory, &config, &clock).await;
    let tokens = tokens(memory.clone(), &clock);
    let s = source(&config, &idp, &tokens);
    let t = s.get().await.unwrap();
    t.mark_accepted();
    memory.fails_to_write.store(true, Ordering::SeqCst);
    s.successor(t.generation()).await.unwrap();
    memory.fails_to_write.store(false, Ordering::SeqCst);
    let stored =
        async || memory.slot(&store_key("erp", &config)).lock().await.0.clone().unwrap().refresh_token;
    s.look();
    sleep(secs(1)).await;
    assert_eq!(stored().await.unwrap().expose(), *idp.committed.lock().unwrap());

    memory.fails_to_write.store(true, Ordering::SeqCst);
    s.get().await.unwrap().mark_accepted();
    sleep(secs(30)).await;
    s.successor(2).await.unwrap();
    assert!(!tokens.clone().finish().await, "it is not stored");
}

#[tokio::test(start_paused = true)]
async fn an_exchange_goes_on_when_its_caller_is_interrupted() {
    let (clock, memory, config, idp) =
        (stub::clock(), Arc::new(Memory::default()), device(), Idp::new(secs(2), secs(3600)));
    login(&memory, &config, &clock).await;
    let key = store_key("erp", &config);
    {
        let mut held = memory.lock(&key, secs(1)).await.unwrap();
        let mut entry = held.read().await.unwrap().unwrap();
        entry.access = None;
        held.write(&entry).await.unwrap();
    }
    let tokens = tokens(memory.clone(), &clock);
    let refresher = Arc::new(Refresher::new("erp", idp.clone(), tokens.memories.of("erp", &config), &tokens));
    let config2 = config.clone();
    let mut running = tokio::task::JoinSet::new();
    running.spawn(async move {
        let _ = refresher.refresh(&config2, None, true).await;
    });
    let all = async move { running.join_all().await };
    tokio::select! {
        _ = all => {}
        () = sleep(Duration::from_millis(1500)) => {}
    }
    assert!(tokens.finish().await);
    let stored: Entry = memory.slot(&key).lock().await.0.clone().unwrap();
    assert_eq!(stored.refresh_token.unwrap().expose(), *idp.committed.lock().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_must_not_be_inherited_does_not_come_from_the_store() {
    let (clock, memory, mut config, idp) =
        (stub::clock(), Arc::new(Memory::default()), device(), Idp::new(secs(2), secs(3600)));
    login(&memory, &config, &clock).await;
    let tokens = tokens(memory.clone(), &clock);
    let before = source(&config, &idp, &tokens);
    let old = before.get().await.unwrap();
    config.client_auth = ClientAuth::Post(vec![Secret::new("other")]);
    let after = source(&config, &idp, &tokens);
    after.exclude(&before);
    after.look();
    sleep(secs(1)).await;
    assert_ne!(old.secret(), after.get().await.unwrap().secret());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_over_does_not_come_back_when_the_clock_is_set_back() {
    use std::sync::atomic::AtomicU64;
    use std::time::SystemTime;
    let (began, back) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let back2 = back.clone();
    let clock = Clock::new(
        move || {
            SystemTime::UNIX_EPOCH + secs(1_800_000_000) + began.elapsed()
                - secs(back2.load(Ordering::SeqCst))
        },
        || 0.5,
    );
    let (memory, config, idp) = (Arc::new(Memory::default()), device(), Idp::new(secs(2), secs(3600)));
    login(&memory, &config, &clock).await;
    let s = source(&config, &idp, &tokens(memory.clone(), &clock));
    s.look();
    sleep(secs(60)).await;
    back.store(1800, Ordering::SeqCst);
    for _ in 0..1800 {
        s.look();
        sleep(secs(2)).await;
    }
    assert!(s.current(clock.now()).is_none(), "the process knows that it is over");
    let age = began.elapsed();
    let token = s.get().await.unwrap();
    assert_ne!(token.secret().expose(), "access-r0", "sent {age:?} after its birth, for an hour's lifetime");
}
