//! Services that refuse tokens, machines that sleep, stores that change.

use super::*;
use crate::config::model::Grant;
use crate::state::Store;

const MS: Duration = Duration::from_millis(1);

/// A source whose token was accepted, and lives for an hour.
async fn accepted(idp: &Arc<Idp>) -> (Arc<TokenSource>, u64) {
    let source = idp.source();
    let token = source.get().await.unwrap();
    token.mark_accepted();
    (source, token.generation())
}

#[tokio::test(start_paused = true)]
async fn fifty_refusals_at_once_cost_one_token_and_the_old_one_serves_meanwhile() {
    let idp = Idp::new(|_| token(3600));
    let (source, refused) = accepted(&idp).await;
    let mut callers = JoinSet::new();
    for late in 0..50 {
        let source = source.clone();
        callers.spawn(async move {
            // Some refusals arrive while the next token is on its way, some later.
            sleep(late * 40 * MS).await;
            source.successor(refused).await.unwrap().generation()
        });
    }
    sleep(500 * MS).await;
    assert_eq!(usable_now(&source), Some(refused));
    assert_eq!(callers.join_all().await, vec![refused + 1; 50]);
    assert_eq!(idp.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_one_service_refuses_is_not_lost_for_the_others_when_the_endpoint_is_down() {
    let idp = Idp::new(|call| if call == 1 { token(3600) } else { down() });
    let (source, first) = accepted(&idp).await;
    assert!(source.successor(first).await.is_none());
    for _ in 0..58 {
        assert_eq!(usable_now(&source), Some(first));
        sleep(secs(60)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_never_accepted_is_replaced_after_ten_seconds() {
    let idp = Idp::new(|_| token(3600));
    let source = idp.source();
    let first = source.get().await.unwrap().generation();
    assert!(source.successor(first).await.is_none(), "not at once");
    sleep(MIN_HOLD - MS).await;
    assert_eq!((usable_now(&source), idp.calls()), (Some(first), 1));
    sleep(secs(1) + 2 * MS).await;
    assert_eq!(usable_now(&source), Some(first + 1));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_refuses_everything_costs_fewer_and_fewer_tokens() {
    let idp = Idp::slow(MS, |_| token(36_000));
    let source = idp.source();
    let began = Instant::now();
    let mut in_the_first_minutes = 0;
    while began.elapsed() < secs(7200) {
        let token = source.get().await.unwrap();
        source.report_refusal(token.generation());
        // Another service accepts them.
        token.mark_accepted();
        sleep(250 * MS).await;
        if began.elapsed() < secs(300) {
            in_the_first_minutes = idp.calls();
        }
    }
    assert!((4..=7).contains(&in_the_first_minutes), "{in_the_first_minutes}");
    assert!((14..=18).contains(&idp.calls()), "{}", idp.calls());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_revoked_later_is_replaced_at_once_again() {
    let idp = Idp::slow(MS, |_| token(36_000));
    let (source, mut generation) = accepted(&idp).await;
    for _ in 0..5 {
        let next = source.successor(generation).await.unwrap();
        assert_eq!(next.generation(), generation + 1);
        next.mark_accepted();
        generation += 1;
        sleep(secs(30)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_refused_during_its_renewal_is_replaced_by_that_renewal() {
    let idp = Idp::slow(secs(5), |_| token(100));
    let (source, first) = accepted(&idp).await;
    while idp.calls() < 2 {
        sleep(secs(1)).await;
    }
    assert_eq!(usable_now(&source), Some(first));
    assert_eq!(source.successor(first).await.unwrap().generation(), first + 1);
    assert_eq!(idp.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_whose_end_came_while_the_machine_slept_is_not_sent() {
    let idp = Idp::new(|_| token(100));
    let source = idp.source();
    let token = source.get().await.unwrap();
    let at = |wall| source.current(Now { wall, ..now(&source) }).is_some();
    assert!(at(token.expires_at() - secs(11)));
    assert!(!at(token.expires_at() - secs(9)));
}

#[tokio::test(start_paused = true)]
async fn a_password_that_is_refused_is_not_sent_again_before_sighup() {
    let password = || Failure::from(Cause::GrantGone { code: Some("invalid_grant".into()) });
    let idp = Idp::new(move |_| Err(password()));
    let grant = Grant::Password { username: Secret::new("u"), password: Secret::new("p") };
    let source = source_of(OAuth2 { grant, ..stub::config("https://id.erp.example/token") }, idp.clone());
    for _ in 0..100 {
        assert!(source.get().await.is_err());
        sleep(secs(600)).await;
    }
    assert_eq!(idp.calls(), 1);
    for _ in 0..10 {
        source.nudge();
        sleep(secs(5)).await;
    }
    assert_eq!(idp.calls(), 2, "at most once a minute");
}

#[tokio::test(start_paused = true)]
async fn sighup_forgets_a_pause() {
    let idp = Idp::new(|call| if call == 1 { refused() } else { token(3600) });
    let source = idp.source();
    assert!(source.get().await.is_err());
    source.nudge();
    assert!(source.get().await.is_ok());
}

/// A wire that is not used.
struct NoWire;

#[async_trait]
impl Exchange for NoWire {
    async fn exchange(&self, _: &OAuth2, _: Option<&Secret>) -> EndpointReply {
        Err(Unavailability::Connect.into())
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_shows_a_missing_login_before_the_first_request_and_is_logged_once() {
    let (log, _guard) = capture();
    let device_authorization_url = "https://id.erp.example/device".parse().unwrap();
    let grant = Grant::DeviceCode { device_authorization_url };
    let config = OAuth2 { grant, ..stub::config("https://id.erp.example/token") };
    let tokens = Tokens::with_clock(stub::client(), Handle::current(), stub::clock());
    let memory = Arc::new(stub::Memory::default());
    tokens.store.set(memory.clone());
    let stats = Arc::new(AccountStats::new());
    let source = TokenSource::with_exchange("erp", config.clone(), Arc::new(NoWire), stats, &tokens);
    let look = async || {
        source.look();
        sleep(MS).await;
        source.status(now(&source)).state
    };
    for _ in 0..3 {
        assert_eq!(look().await, TokenState::NeedsLogin);
    }
    let key = super::super::super::refresh::store_key("erp", &config);
    let entry = stub::entry("erp", &config, "refresh", now(&source).wall);
    memory.lock(&key, secs(1)).await.unwrap().write(&entry).await.unwrap();
    assert_eq!(look().await, TokenState::Valid, "the login's token is used at once");
    let first = source.get().await.unwrap();
    // Another person signs in.
    sleep(secs(1)).await;
    let again = stub::entry("erp", &config, "another", now(&source).wall);
    memory.lock(&key, secs(1)).await.unwrap().write(&again).await.unwrap();
    look().await;
    assert_ne!(source.get().await.unwrap().secret(), first.secret());
    let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    assert_eq!(log.lines().filter(|line| line.contains("needs a login")).count(), 1, "{log}");
}
