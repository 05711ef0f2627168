//! How many token requests there are, over minutes of virtual time.

use super::*;

const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn tokens_of_five_seconds_in_constant_use_are_never_waited_for_nor_sent_after_their_end() {
    for latency in [20, 300, 900] {
        let idp = Idp::slow(latency * MS, |_| token(5));
        let source = idp.source();
        let mut ends = Vec::new();
        source.get().await.unwrap();
        let began = Instant::now();
        while began.elapsed() < secs(600) {
            let now = Instant::now();
            let token =
                source.current(now).unwrap_or_else(|| panic!("a request waits at {:?}", began.elapsed()));
            // The endpoint counts from when it answers, and never from before it was asked.
            ends.push((token.generation(), token.usable_until() + secs(1)));
            assert!(now < token.usable_until() + secs(1), "sent after its end");
            sleep(10 * MS).await;
        }
        ends.dedup();
        assert!(ends.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0), "no token was skipped");
        assert_eq!(idp.calls(), ends.len() + usize::from(idp.calls() > ends.len()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_minute_without_the_endpoint_under_a_thousand_requests_a_second_costs_a_handful_of_calls() {
    let idp = Idp::slow(5 * MS, |_| down());
    let source = idp.source();
    let began = Instant::now();
    let mut answered = 0;
    while began.elapsed() < secs(60) {
        let mut callers = JoinSet::new();
        for _ in 0..10 {
            let source = source.clone();
            callers.spawn(async move { source.get().await.is_err() });
        }
        answered += callers.join_all().await.into_iter().filter(|refused| *refused).count();
        sleep(5 * MS).await;
    }
    assert!(answered > 50_000, "{answered}");
    assert!((5..20).contains(&idp.calls()), "{}", idp.calls());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_during_an_outage_costs_a_handful_of_calls_too() {
    let idp = Idp::slow(5 * MS, |call| if call == 1 { token(30) } else { down() });
    let source = idp.source();
    let began = Instant::now();
    while began.elapsed() < secs(90) {
        let _ = source.get().await;
        sleep(MS).await;
    }
    assert!((5..20).contains(&idp.calls()), "{}", idp.calls());
}

#[tokio::test(start_paused = true)]
async fn fifty_refusals_at_once_cost_one_token() {
    let idp = Idp::new(|_| token(3600));
    let source = idp.source();
    let refused = source.get().await.unwrap().generation();
    sleep(MIN_AGE).await;
    let mut callers = JoinSet::new();
    for late in 0..50 {
        let source = source.clone();
        callers.spawn(async move {
            // Some hear of it while the next token is on its way, some when it has come.
            sleep(late * 40 * MS).await;
            assert!(source.refuse(refused, Instant::now()));
            source.get().await.unwrap().generation()
        });
    }
    assert_eq!(callers.join_all().await, vec![refused + 1; 50]);
    assert_eq!(idp.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_young_is_kept() {
    let idp = Idp::new(|_| token(3600));
    let source = idp.source();
    let first = source.get().await.unwrap().generation();
    sleep(MIN_AGE - MS).await;
    assert!(!source.refuse(first, Instant::now()));
    assert_eq!(usable_now(&source), Some(first));
    sleep(MS).await;
    assert!(source.refuse(first, Instant::now()));
    assert_eq!(usable_now(&source), None);
}

#[tokio::test(start_paused = true)]
async fn a_third_party_that_refuses_everything_costs_one_token_in_ten_seconds() {
    let idp = Idp::slow(MS, |_| token(3600));
    let source = idp.source();
    let began = Instant::now();
    while began.elapsed() < secs(100) {
        let token = source.get().await.unwrap();
        source.refuse(token.generation(), Instant::now());
        sleep(50 * MS).await;
    }
    assert!((9..=11).contains(&idp.calls()), "{}", idp.calls());
}

#[tokio::test(start_paused = true)]
async fn a_token_refused_during_its_renewal_is_replaced_by_that_renewal() {
    let idp = Idp::slow(secs(5), |_| token(100));
    let source = idp.source();
    let first = source.get().await.unwrap().generation();
    while idp.calls() < 2 {
        sleep(secs(1)).await;
    }
    assert_eq!(usable_now(&source), Some(first));
    assert!(source.refuse(first, Instant::now()));
    assert_eq!(source.get().await.unwrap().generation(), first + 1);
    assert_eq!(idp.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_not_renewed_for_nobody() {
    let idp = Idp::new(|_| token(100));
    let source = idp.source();
    let first = source.get().await.unwrap().generation();
    sleep(MIN_AGE).await;
    assert!(source.refuse(first, Instant::now()));
    sleep(secs(10_000)).await;
    assert_eq!(idp.calls(), 1);
    assert_eq!(source.get().await.unwrap().generation(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_whose_end_came_while_the_machine_slept_is_dropped() {
    let idp = Idp::new(|_| token(100));
    let source = idp.source();
    let first = source.get().await.unwrap();
    source.expire(first.expires_at() - secs(1));
    assert_eq!(usable_now(&source), Some(1));
    source.expire(first.expires_at());
    assert_eq!(usable_now(&source), None);
    assert_eq!(source.get().await.unwrap().generation(), 2);
    assert_eq!(idp.calls(), 2);
}

/// What a look finds.
struct Kept(Mutex<Result<(), Failure>>);

#[async_trait]
impl Exchange for Kept {
    async fn exchange(&self, _: &OAuth2, _: Option<&Secret>) -> Reply {
        self.0.lock().unwrap().clone().and_then(|()| token(100))
    }

    async fn look(&self, _: &OAuth2) -> Result<(), Failure> {
        self.0.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_look_finds_shows_before_the_first_request_and_is_told_once() {
    let (log, _guard) = capture();
    let kept = Arc::new(Kept(Mutex::new(Err(Failure::needs_login()))));
    let device_authorization_url = "https://id.erp.example/device".parse().unwrap();
    let grant = crate::config::model::Grant::DeviceCode { device_authorization_url };
    let config = OAuth2 { grant, ..stub::config("https://id.erp.example/token") };
    let stats = Arc::new(AccountStats::new());
    let source = TokenSource::with_exchange("erp", config, kept.clone(), stats, Handle::current());
    let state = || source.status(Instant::now()).state;
    for _ in 0..3 {
        source.look().await;
        assert_eq!(state(), TokenState::NeedsLogin);
    }
    *kept.0.lock().unwrap() = Err(Unavailability::State.into());
    for _ in 0..3 {
        source.look().await;
        assert_eq!(state(), TokenState::Failing);
    }
    assert_eq!(source.stats().requests(TokenResult::Unavailable), 0, "nobody was asked");
    *kept.0.lock().unwrap() = Ok(());
    source.look().await;
    assert_eq!(state(), TokenState::None);
    assert!(source.get().await.is_ok());
    assert_eq!(state(), TokenState::Valid);
    let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    let lines = log.lines().filter(|line| line.contains("erp") && !line.contains("token obtained")).count();
    assert_eq!(lines, 2, "{log}");
}
