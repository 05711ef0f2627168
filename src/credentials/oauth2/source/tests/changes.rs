//! State that outlives a change of an account's other settings.

use super::*;
use crate::config::model::Grant;

/// The sources that serve one account of one process after each other.
struct Account {
    tokens: Tokens,
    idp: Arc<Idp>,
}

impl Account {
    fn new(reply: impl Fn(usize) -> EndpointReply + Send + Sync + 'static) -> Self {
        let tokens = Tokens::with_clock(stub::client(), Handle::current(), stub::clock());
        Self { tokens, idp: Idp::new(reply) }
    }

    fn source(&self, config: OAuth2) -> Arc<TokenSource> {
        TokenSource::with_exchange(
            "erp",
            config,
            self.idp.clone(),
            Arc::new(AccountStats::new()),
            &self.tokens,
        )
    }
}

fn password() -> OAuth2 {
    let grant = Grant::Password { username: Secret::new("u"), password: Secret::new("p") };
    OAuth2 { grant, ..stub::config("https://id.erp.example/token") }
}

fn changed(config: &OAuth2, change: fn(&mut OAuth2)) -> OAuth2 {
    let mut config = config.clone();
    change(&mut config);
    config
}

fn gone() -> EndpointReply {
    Err(Failure::from(Cause::GrantGone { code: Some("invalid_grant".into()) }))
}

fn later() -> EndpointReply {
    Err(Failure { retry_after: Some(secs(3000)), ..Unavailability::Status(503).into() })
}

const BESIDE: [fn(&mut OAuth2); 6] = [
    |c| c.scopes = vec!["more".into()],
    |c| c.scope_separator = ",".into(),
    |c| c.token_params = vec![("audience".into(), "b".into())],
    |c| c.token_headers = vec![(FieldName::from_static("X"), HeaderValue::from_static("y"))],
    |c| c.tls.identity = Some(Secret::new("certificate")),
    |c| c.bearer_token_type = BearerTokenType::IdToken,
];

const PROOF: [fn(&mut OAuth2); 6] = [
    |c| c.grant = Grant::Password { username: Secret::new("other"), password: Secret::new("p") },
    |c| c.grant = Grant::Password { username: Secret::new("u"), password: Secret::new("other") },
    |c| c.client_id = Some("other".into()),
    |c| c.client_auth = ClientAuth::Post(vec![Secret::new("other")]),
    |c| c.client_auth = ClientAuth::None,
    |c| c.token_url.set_path("/other"),
];

#[tokio::test(start_paused = true)]
async fn a_refused_password_is_sent_again_only_after_a_change_of_what_was_refused() {
    for (changes, calls) in [(BESIDE, 1), (PROOF, 2)] {
        for change in changes {
            let account = Account::new(|_| gone());
            assert!(account.source(password()).get().await.is_err());
            let source = account.source(changed(&password(), change));
            let needs_login = calls == 1;
            assert_eq!(source.status(now(&source)).state == TokenState::NeedsLogin, needs_login);
            source.fetch().await;
            assert!(source.get().await.is_err());
            assert_eq!(account.idp.calls(), calls);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_password_that_is_restored_is_tried() {
    let account = Account::new(|_| gone());
    for config in [password(), changed(&password(), PROOF[1]), password()] {
        assert!(account.source(config).get().await.is_err());
    }
    assert_eq!(account.idp.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_known_to_every_source_of_the_account() {
    let account = Account::new(|_| gone());
    let (before, after) = (account.source(password()), account.source(changed(&password(), BESIDE[0])));
    // A long request holds the snapshot before.
    assert!(before.get().await.is_err());
    let refused = after.get().await.unwrap_err();
    assert!(refused.failure.to_string().contains("invalid_grant"), "{refused}");
    assert_eq!(account.idp.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn sighup_counts_once_a_minute_whichever_source_serves_the_account() {
    let account = Account::new(|_| gone());
    assert!(account.source(password()).get().await.is_err());
    for (nth, calls) in [(0, 2), (1, 2), (2, 2), (3, 3)] {
        let source = account.source(changed(&password(), BESIDE[nth]));
        source.nudge();
        sleep(secs(25)).await;
        assert_eq!(account.idp.calls(), calls);
    }
}

#[tokio::test(start_paused = true)]
async fn the_old_token_serves_though_the_password_is_refused() {
    let account = Account::new(|call| if call == 1 { token(3600) } else { gone() });
    let before = account.source(password());
    before.get().await.unwrap().mark_accepted();
    assert!(before.successor(1).await.is_none());
    let source = account.source(changed(&password(), BESIDE[0]));
    source.inherit(&before, now(&before));
    source.fetch().await;
    assert_eq!((usable_now(&source), account.idp.calls()), (Some(0), 2));
    sleep(secs(3600)).await;
    assert!(source.get().await.is_err());
    assert_eq!(account.idp.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_the_endpoint_asked_for_outlives_a_change() {
    let config = stub::config("https://id.erp.example/token");
    for (changes, calls) in [(&BESIDE[..], 1), (&PROOF[2..], 2)] {
        for change in changes {
            let account = Account::new(|call| if call == 1 { later() } else { token(3600) });
            assert!(account.source(config.clone()).get().await.is_err());
            sleep(secs(1000)).await;
            let source = account.source(changed(&config, *change));
            let outcome = source.get().await;
            assert_eq!((outcome.is_err(), account.idp.calls()), (calls == 1, calls));
            if let Err(refused) = outcome {
                assert!((1990..=2000).contains(&refused.retry_after.as_secs()), "{refused:?}");
                sleep(refused.retry_after).await;
                assert!(source.get().await.is_ok());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn sighup_forgets_a_pause_that_an_earlier_source_met() {
    let config = stub::config("https://id.erp.example/token");
    let account = Account::new(|call| if call == 1 { later() } else { token(3600) });
    assert!(account.source(config.clone()).get().await.is_err());
    let source = account.source(changed(&config, BESIDE[0]));
    source.nudge();
    assert!(source.get().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_hold_goes_on_where_the_change_makes_no_other_token() {
    // Tokens 2 and 3 were refused while fresh.
    let config = stub::config("https://id.erp.example/token");
    for (change, hold) in [(BESIDE[4], 20), (BESIDE[0], 10)] {
        let account = Account::new(|_| token(36_000));
        let before = account.source(config.clone());
        for _ in 0..2 {
            let refused = before.get().await.unwrap();
            before.report_refusal(refused.generation());
            sleep(secs(12)).await;
        }
        let source = account.source(changed(&config, change));
        source.inherit(&before, now(&before));
        source.fetch().await;
        let (began, calls) = (Instant::now(), account.idp.calls());
        source.get().await.unwrap();
        source.report_refusal(1);
        while account.idp.calls() == calls {
            sleep(secs(1)).await;
        }
        assert!((hold..hold + 2).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_over_does_not_come_back_from_the_store_when_the_clock_is_set_back() {
    use crate::state::Store as _;
    let device_authorization_url = "https://id.erp.example/device".parse().unwrap();
    let grant = Grant::DeviceCode { device_authorization_url };
    let config = OAuth2 { grant, ..stub::config("https://id.erp.example/token") };
    let (began, back) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let (set_back, is_set) = (back.clone(), back.clone());
    let works = move |_| if is_set.load(Ordering::SeqCst) == 0 { down() } else { token(3600) };
    let mut account = Account::new(works);
    let wall = move || {
        let start = SystemTime::UNIX_EPOCH + secs(1_800_000_000);
        start + began.elapsed() - secs(set_back.load(Ordering::SeqCst) as u64)
    };
    account.tokens.clock = Clock::new(wall, || 0.5);
    let memory = Arc::new(stub::Memory::default());
    account.tokens.store.set(memory.clone());
    let key = super::super::super::refresh::store_key("erp", &config);
    let entry = stub::entry("erp", &config, "refresh", account.tokens.clock.now().wall);
    memory.lock(&key, secs(1)).await.unwrap().write(&entry).await.unwrap();
    let before = account.source(config.clone());
    assert_eq!(before.get().await.unwrap().secret().expose(), "access-refresh");
    sleep(secs(3600)).await;
    assert!(before.get().await.is_err());
    back.store(3000, Ordering::SeqCst);
    for inherits in [true, false] {
        let source = account.source(changed(&config, BESIDE[4]));
        if inherits {
            source.inherit(&before, now(&before));
        } else {
            source.exclude(&before);
        }
        assert_ne!(source.get().await.unwrap().secret().expose(), "access-refresh");
    }
}
