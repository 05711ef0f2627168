//! The source against a token endpoint that is a closure, on a paused clock.

mod changes;
mod counting;
mod inheriting;
mod refusals;

use super::super::error::Cause;
use super::super::exchange::ReceivedToken;
use super::super::schedule::MIN_HOLD;
use super::super::stub;
use super::*;
use crate::config::model::ClientAuth;
use crate::header_name::FieldName;
use crate::secret::Secret;
use async_trait::async_trait;
use http::HeaderValue;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::{sleep, timeout};

type EndpointReply = Result<ReceivedToken, Failure>;

/// Answers the n-th request (from 1) after a second, unless told otherwise.
struct Idp {
    calls: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    takes: Duration,
    reply: Box<dyn Fn(usize) -> EndpointReply + Send + Sync>,
}

impl Idp {
    fn new(reply: impl Fn(usize) -> EndpointReply + Send + Sync + 'static) -> Arc<Self> {
        Self::slow(secs(1), reply)
    }

    fn slow(takes: Duration, reply: impl Fn(usize) -> EndpointReply + Send + Sync + 'static) -> Arc<Self> {
        let (calls, at_once, most_at_once) = Default::default();
        Arc::new(Self { calls, at_once, most_at_once, takes, reply: Box::new(reply) })
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn source(self: &Arc<Self>) -> Arc<TokenSource> {
        source_of(stub::config("https://id.erp.example/token"), self.clone())
    }
}

/// An account `erp`, whose wall clock goes with the paused one.
fn source_of(config: OAuth2, wire: Arc<dyn Exchange>) -> Arc<TokenSource> {
    let tokens = Tokens::with_clock(stub::client(), Handle::current(), stub::clock());
    TokenSource::with_exchange("erp", config, wire, Arc::new(AccountStats::new()), &tokens)
}

fn now(source: &TokenSource) -> Now {
    source.inner.clock.now()
}

#[async_trait]
impl Exchange for Idp {
    async fn exchange(&self, _: &OAuth2, _: Option<&Secret>) -> EndpointReply {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(self.at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let _leave = Leave(&self.at_once);
        sleep(self.takes).await;
        (self.reply)(call)
    }
}

impl Drop for Idp {
    // A panic within the exchange would pass for a failure of the endpoint's.
    fn drop(&mut self) {
        assert!(*self.most_at_once.get_mut() <= 1, "two requests at once");
    }
}

struct Leave<'a>(&'a AtomicUsize);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A token that lives so many seconds from its request on.
fn token(lifetime: u64) -> EndpointReply {
    answer(Some(secs(lifetime)))
}

fn answer(expires_in: Option<Duration>) -> EndpointReply {
    Ok(stub::answer("t0ken", expires_in))
}

fn down() -> EndpointReply {
    Err(Unavailability::Status(503).into())
}

fn refused() -> EndpointReply {
    Err(Failure::rejected("invalid_client").with_words(Arc::from("client is locked")))
}

fn usable_now(source: &TokenSource) -> Option<u64> {
    source.current(now(source)).map(|token| token.generation())
}

#[tokio::test(start_paused = true)]
async fn a_thousand_cold_requests_make_one_token_request() {
    let idp = Idp::new(|_| token(3600));
    let source = idp.source();
    let mut callers = JoinSet::new();
    for _ in 0..1000 {
        let source = source.clone();
        callers.spawn(async move { source.get().await.unwrap().generation() });
    }
    assert_eq!(callers.join_all().await, vec![1; 1000]);
    assert_eq!(idp.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_threads_make_one_token_request() {
    let idp = Idp::slow(Duration::from_millis(20), |_| token(3600));
    let source = idp.source();
    let mut callers = JoinSet::new();
    for _ in 0..1000 {
        let source = source.clone();
        callers.spawn(async move { source.get().await.unwrap().generation() });
    }
    assert_eq!(callers.join_all().await, vec![1; 1000]);
    assert_eq!(idp.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_to_all_who_wait() {
    let idp = Idp::new(|_| refused());
    let source = idp.source();
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let source = source.clone();
        callers.spawn(async move {
            matches!(source.get().await.unwrap_err().failure.cause, Cause::Rejected { .. })
        });
    }
    assert_eq!(callers.join_all().await, vec![true; 100]);
    assert_eq!(idp.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_cancels_nothing() {
    let idp = Idp::slow(secs(2), |_| token(3600));
    let source = idp.source();
    assert!(timeout(secs(1), source.get()).await.is_err());
    let next = timeout(secs(2), source.get()).await.unwrap().unwrap();
    assert_eq!((next.generation(), idp.calls()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_ends_though_no_request_waits_any_more() {
    let idp = Idp::new(|_| token(3600));
    let source = idp.source();
    assert!(timeout(Duration::from_millis(1), source.get()).await.is_err());
    sleep(secs(2)).await;
    assert_eq!(usable_now(&source), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_token_in_use_is_renewed_in_the_background_and_no_request_waits() {
    let idp = Idp::slow(secs(3), |_| token(100));
    let source = idp.source();
    source.get().await.unwrap();
    for second in 4..1000 {
        sleep(secs(1)).await;
        let generation = usable_now(&source).unwrap_or_else(|| panic!("nothing usable at {second} s"));
        assert!(generation >= second / 92, "{generation} at {second} s");
    }
    assert!((12..=15).contains(&idp.calls()), "{}", idp.calls());
}

#[tokio::test(start_paused = true)]
async fn an_unused_token_is_not_renewed_for_ever() {
    let idp = Idp::new(|_| token(100));
    let source = idp.source();
    source.get().await.unwrap();
    sleep(secs(100_000)).await;
    // The first was used; the second, its renewal, was not.
    assert_eq!(idp.calls(), 2);
    assert_eq!(source.status(now(&source)).state, TokenState::Expired);
    assert_eq!(source.get().await.unwrap().generation(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_late_first_use_still_renews_before_the_end() {
    let idp = Idp::new(|_| token(100));
    let source = idp.source();
    source.get().await.unwrap();
    while source.status(now(&source)).generation < 2 {
        sleep(secs(1)).await;
    }
    sleep(secs(86)).await;
    assert_eq!(idp.calls(), 2);
    assert_eq!(usable_now(&source), Some(2));
    sleep(secs(1) + Duration::from_millis(10)).await;
    assert_eq!(usable_now(&source), Some(3));
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_never_given_out_and_the_source_fails_closed() {
    let idp = Idp::new(|call| if call == 1 { token(100) } else { down() });
    let source = idp.source();
    let began = Instant::now();
    source.get().await.unwrap();
    sleep(Duration::from_millis(89_999) - began.elapsed()).await;
    assert_eq!(usable_now(&source), Some(1));
    assert_eq!(source.status(now(&source)).state, TokenState::Valid);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(usable_now(&source), None);
    assert!(matches!(source.get().await.unwrap_err().failure.cause, Cause::Unavailable(_)));
    assert_eq!(source.status(now(&source)).state, TokenState::Failing);
    sleep(secs(1000)).await;
    assert_eq!(usable_now(&source), None);
    assert!(source.get().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_failed_renewal_is_tried_again_while_the_old_token_is_good() {
    let idp = Idp::new(|call| if matches!(call, 2..=4) { down() } else { token(1000) });
    let source = idp.source();
    let began = Instant::now();
    source.get().await.unwrap();
    while began.elapsed() < secs(3000) {
        assert!(source.get().await.is_ok(), "at {:?}", began.elapsed());
        assert!(usable_now(&source).is_some());
        sleep(Duration::from_millis(250)).await;
    }
    assert_eq!(source.stats().requests(TokenResult::Unavailable), 3);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_down_is_asked_with_growing_pauses() {
    let idp = Idp::new(|_| down());
    let source = idp.source();
    let began = Instant::now();
    while began.elapsed() < secs(300) {
        let error = source.get().await.unwrap_err();
        assert!(error.retry_after <= secs(30));
        sleep(Duration::from_millis(100)).await;
    }
    // 0.5 + 1 + 2 + 4 + 8 + 16 + 30…, a fifth less at most, and a second each.
    assert!((13..=19).contains(&idp.calls()), "{}", idp.calls());
    assert_eq!(source.stats().requests(TokenResult::Unavailable), idp.calls() as u64);
}

#[tokio::test(start_paused = true)]
async fn without_requests_a_failure_is_not_repeated() {
    let idp = Idp::new(|_| down());
    let source = idp.source();
    assert!(source.get().await.is_err());
    sleep(secs(10_000)).await;
    assert_eq!(idp.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_the_answer_at_once_until_its_pause_is_over() {
    let idp = Idp::new(|call| if call == 1 { refused() } else { token(100) });
    let source = idp.source();
    let first = source.get().await.unwrap_err().retry_after;
    assert!((secs(24)..=secs(30)).contains(&first));
    sleep(secs(20)).await;
    let asked = Instant::now();
    assert_eq!(source.get().await.unwrap_err().retry_after, first - secs(20));
    assert_eq!((asked.elapsed(), idp.calls()), (Duration::ZERO, 1));
    sleep(secs(10)).await;
    assert!(source.get().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured() {
    let idp = Idp::new(|_| Err(Failure { retry_after: Some(secs(7)), ..Unavailability::Status(429).into() }));
    let source = idp.source();
    assert_eq!(source.get().await.unwrap_err().retry_after, secs(7));
    sleep(secs(6)).await;
    assert!(source.get().await.is_err());
    assert_eq!(idp.calls(), 1);
    sleep(secs(1)).await;
    assert!(source.get().await.is_err());
    assert_eq!(idp.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_over_when_it_arrives_is_a_failure_with_a_pause() {
    let idp = Idp::new(|_| token(1));
    let source = idp.source();
    for _ in 0..2 {
        let error = source.get().await.unwrap_err();
        assert_eq!(error.failure.cause, Cause::Unavailable(Unavailability::Expired));
    }
    assert_eq!(idp.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_expires_in_lives_five_minutes() {
    let idp = Idp::new(|_| answer(None));
    let source = idp.source();
    let token = source.get().await.unwrap();
    assert_eq!(token.usable_until() + secs(10), Instant::now() - secs(1) + secs(300));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_hangs_is_given_up() {
    let idp = Idp::slow(secs(100_000), |_| token(100));
    let source = idp.source();
    let began = Instant::now();
    let error = source.get().await.unwrap_err();
    assert!(matches!(error.failure.cause, Cause::Unavailable(Unavailability::TimedOut)));
    assert_eq!(began.elapsed(), stub::config("http://127.0.0.1:1").token_timeout);
    assert_eq!(source.stats().requests(TokenResult::Timeout), 1);
    assert_eq!(source.status(now(&source)).last.unwrap().result, TokenResult::Timeout);
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_its_source() {
    for asleep in [Duration::from_millis(500), secs(2)] {
        let idp = Idp::new(|_| token(100));
        let source = idp.source();
        let _ = timeout(asleep, source.get()).await;
        let inner = Arc::downgrade(&source.inner);
        drop(source);
        tokio::task::yield_now().await;
        assert!(inner.upgrade().is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_exchange_is_answered() {
    let idp = Idp::new(|call| if call == 1 { panic!("as the test wants it") } else { token(100) });
    let source = idp.source();
    assert!(timeout(secs(5), source.get()).await.unwrap().is_err());
    sleep(secs(1)).await;
    assert!(timeout(secs(5), source.get()).await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_status_tells_state_outcome_and_numbers_but_no_token() {
    let idp = Idp::new(|call| if call == 1 { refused() } else { token(100) });
    let source = idp.source();
    let status = source.status(now(&source));
    assert_eq!((status.state, status.last, status.expires_at), (TokenState::None, None, None));

    assert!(source.get().await.is_err());
    let status = source.status(now(&source));
    assert_eq!((status.state, status.requests, status.generation), (TokenState::Failing, 1, 0));
    let reason = status.last.unwrap().reason.unwrap();
    assert_eq!(reason, "the token endpoint refused the account: invalid_client (client is locked)");

    sleep(secs(30)).await;
    assert!(source.get().await.is_ok());
    let status = source.status(now(&source));
    assert_eq!((status.state, status.requests, status.generation), (TokenState::Valid, 2, 1));
    assert!(status.expires_at.unwrap() > now(&source).wall + secs(90));
    assert_eq!(source.stats().durations().count(), 2);
    assert!(source.stats().expiry_timestamp_seconds().is_some());
    assert!(!format!("{status:?}{source:?}").contains("t0ken"));
}

/// Captures the log of this thread while the guard lives.
fn capture() -> (Arc<Mutex<Vec<u8>>>, tracing::subscriber::DefaultGuard) {
    // A callsite that is first reached in a thread without a subscriber is disabled for good: a global one prevents it.
    static LISTENER: std::sync::Once = std::sync::Once::new();
    LISTENER.call_once(|| {
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry());
    });
    let log = Arc::new(Mutex::new(Vec::new()));
    let sink = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || Sink(sink.clone()))
        .finish();
    (log, tracing::subscriber::set_default(subscriber))
}

struct Sink(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_says_what_went_wrong_and_nothing_secret_at_any_level() {
    let basic = "YXR0YWNoZTpjbGllbnQtczNjcmV0";
    let refusals = [
        r#"{"error":"invalid_client","error_description":"client is locked","hint":"b0dy"}"#,
        r#"{"error":"invalid_client","error_description":"client is locked: client-s3cret"}"#,
        r#"{"error":"invalid_client","error_description":"client is locked: YXR0YWNoZTpjbGllbnQtczNjcmV0"}"#,
    ];
    for body in refusals {
        let (log, _guard) = capture();
        let idp = stub::Stub::with("401 Unauthorized", "", body).await;
        let stats = Arc::new(AccountStats::new());
        let tokens = Tokens::new(stub::client(), Handle::current());
        let source = TokenSource::new("erp", idp.config(), stats, &tokens);
        let error = source.get().await.unwrap_err();
        let shown = source.status(now(&source)).last.unwrap().reason.unwrap();
        assert!(shown.contains("client is locked"), "{shown}");
        let told = format!("{error} {} {shown}", error.detail());
        let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
        assert!(log.contains("account=\"erp\" error=\"invalid_client\""), "{log}");
        assert!(log.contains("client is locked"), "{log}");
        for secret in ["client-s3cret", basic, "b0dy"] {
            assert!(!log.contains(secret) && !told.contains(secret), "{secret}: {log} {told}");
        }
    }
}

#[tokio::test]
async fn a_token_from_a_real_socket_is_logged_without_itself() {
    let (log, _guard) = capture();
    let idp = stub::Stub::with("200 OK", "", r#"{"access_token":"t0ken","expires_in":"60"}"#).await;
    let stats = Arc::new(AccountStats::new());
    let tokens = Tokens::new(stub::client(), Handle::current());
    let source = TokenSource::new("erp", idp.config(), stats.clone(), &tokens);
    let token = source.get().await.unwrap();
    assert_eq!(token.secret().expose(), "t0ken");
    assert_eq!(source.get().await.unwrap().generation(), 1);
    assert_eq!((idp.requests(), stats.requests(TokenResult::Ok)), (1, 1));
    let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    assert!(log.contains("token obtained"), "{log}");
    assert!(!log.contains("t0ken") && !log.contains("s3cret"), "{log}");
}

#[tokio::test]
async fn the_log_says_when_it_took_the_second_secret() {
    let (log, _guard) = capture();
    let idp = stub::Stub::refusing("401 Unauthorized", &["invalid_client"]).await;
    let mut config = idp.config();
    config.client_auth = ClientAuth::Post(vec![Secret::new("n3w"), Secret::new("0ld")]);
    let stats = Arc::new(AccountStats::new());
    let tokens = Tokens::new(stub::client(), Handle::current());
    let source = TokenSource::new("erp", config, stats, &tokens);
    source.get().await.unwrap();
    source.get().await.unwrap();
    let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    let warning =
        "the token endpoint refused the first client secret and accepted the second account=\"erp\"";
    assert_eq!(log.matches(warning).count(), 1, "{log}");
    assert!(!log.contains("n3w") && !log.contains("0ld"), "{log}");
}
