//! Random interleavings of what can happen to a source, against what must always hold: no token is given out past its
//! end, at most one token request is under way, whoever waits is answered, and nobody waits while there is a token. In the
//! end the endpoint is well again, and so must be the source.

use super::*;
use proptest::prelude::*;
use std::sync::Mutex;
use tokio::task::AbortHandle;

/// Something that happens.
#[derive(Debug, Clone)]
enum Event {
    /// Time goes by, in milliseconds.
    Pass(u64),
    /// So many requests want a token.
    Ask(u8),
    /// The requests that wait leave.
    Leave,
    /// The third party refuses a token: the newest, or the one before it.
    Refuse { newest: bool },
    /// From now on the endpoint behaves like this.
    Endpoint(Mode),
    /// A reload changes the account: a new source is asked, and the old one dropped.
    Replace { while_asking: bool },
}

#[derive(Debug, Clone, Copy)]
enum Mode {
    /// Tokens of so many seconds after so many milliseconds.
    Issues {
        lifetime: u64,
        takes: u64,
    },
    Down,
    Refuses,
    NeedsLogin,
    Hangs,
    Panics,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => prop_oneof![0..50_u64, 500..3000_u64, 10_000..200_000_u64].prop_map(Event::Pass),
        5 => (1..20_u8).prop_map(Event::Ask),
        1 => Just(Event::Leave),
        2 => any::<bool>().prop_map(|newest| Event::Refuse { newest }),
        3 => mode().prop_map(Event::Endpoint),
        1 => any::<bool>().prop_map(|while_asking| Event::Replace { while_asking }),
    ]
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        4 => (0..120_u64, 0..4000_u64).prop_map(|(lifetime, takes)| Mode::Issues { lifetime, takes }),
        1 => Just(Mode::Down),
        1 => Just(Mode::Refuses),
        1 => Just(Mode::NeedsLogin),
        1 => Just(Mode::Hangs),
        1 => Just(Mode::Panics),
    ]
}

/// The endpoint: knows the real end of every token it gave out, which it writes into the token.
struct Endpoint {
    began: Instant,
    mode: Mutex<Mode>,
    at_once: AtomicUsize,
    /// The most there were at once. A panic would not do: it would pass for the endpoint's.
    most_at_once: AtomicUsize,
}

#[async_trait]
impl Exchange for Endpoint {
    async fn exchange(&self, _: &OAuth2, _: Option<&Secret>) -> Reply {
        self.most_at_once.fetch_max(self.at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let _leave = Leave(&self.at_once);
        let mode = *self.mode.lock().unwrap();
        match mode {
            Mode::Issues { lifetime, takes } => {
                // It may count from any moment of the exchange: the earliest is the strictest.
                let end = (self.began.elapsed() + secs(lifetime)).as_millis();
                sleep(Duration::from_millis(takes)).await;
                let header = HeaderValue::try_from(format!("Bearer {end}")).unwrap();
                Ok(Answer { header, ..answer(Some(secs(lifetime)))? })
            }
            Mode::Down => down(),
            Mode::Refuses => refused(),
            Mode::NeedsLogin => Err(Failure::needs_login()),
            Mode::Hangs => std::future::pending().await,
            Mode::Panics => panic!("as the test wants it"),
        }
    }
}

impl Endpoint {
    fn new(began: Instant, mode: Mode) -> Arc<Self> {
        let (at_once, most_at_once) = Default::default();
        Arc::new(Self { began, mode: Mutex::new(mode), at_once, most_at_once })
    }

    fn real_end(&self, token: &Token) -> Instant {
        let value = token.header_value().to_str().unwrap();
        self.began + Duration::from_millis(value.strip_prefix("Bearer ").unwrap().parse().unwrap())
    }
}

struct Run {
    endpoint: Arc<Endpoint>,
    source: Arc<TokenSource>,
    waiting: JoinSet<()>,
    handles: Vec<AbortHandle>,
    /// The generations given out, newest last.
    seen: Arc<Mutex<Vec<u64>>>,
}

impl Run {
    fn new() -> Self {
        let endpoint = Endpoint::new(Instant::now(), Mode::Issues { lifetime: 60, takes: 100 });
        let source = source_at(endpoint.clone());
        let (waiting, handles, seen) = Default::default();
        Self { endpoint, source, waiting, handles, seen }
    }

    fn ask(&mut self) {
        let (source, endpoint, seen) = (self.source.clone(), self.endpoint.clone(), self.seen.clone());
        self.handles.push(self.waiting.spawn(async move {
            let asked = Instant::now();
            let had_one = source.current(asked).is_some();
            // Two requests may follow upon one another before an answer is good for this one.
            let limit = stub::config("http://127.0.0.1:1").token_timeout * 2 + secs(1);
            let result = timeout(limit, source.get()).await.expect("whoever waits is answered");
            assert!(!had_one || asked.elapsed().is_zero(), "nobody waits while there is a token");
            if let Ok(token) = result {
                let now = Instant::now();
                assert!(token.may_be_sent(now));
                assert!(token.is_single_use() || now < endpoint.real_end(&token), "past its real end");
                seen.lock().unwrap().push(token.generation());
            }
        }));
    }

    async fn happen(&mut self, event: Event) {
        match event {
            Event::Pass(ms) => sleep(Duration::from_millis(ms)).await,
            Event::Ask(n) => (0..n).for_each(|_| self.ask()),
            Event::Leave => self.handles.drain(..).for_each(|handle| handle.abort()),
            Event::Refuse { newest } => {
                let generation = self.seen.lock().unwrap().last().copied().unwrap_or(1);
                let refused = if newest { generation } else { generation.saturating_sub(1) };
                let dropped = self.source.refuse(refused, Instant::now());
                let left = usable_now(&self.source);
                assert!(!dropped || left != Some(refused), "a refused token is still given out");
            }
            Event::Endpoint(mode) => *self.endpoint.mode.lock().unwrap() = mode,
            Event::Replace { while_asking } => {
                if while_asking {
                    self.ask();
                    tokio::task::yield_now().await;
                }
                // Callers may still hold the old source: the endpoint counts for one of them.
                let mode = *self.endpoint.mode.lock().unwrap();
                self.endpoint = Endpoint::new(self.endpoint.began, mode);
                self.source = source_at(self.endpoint.clone());
                self.seen.lock().unwrap().clear();
            }
        }
        if let Some(token) = self.source.current(Instant::now()) {
            assert!(Instant::now() < self.endpoint.real_end(&token), "past its real end");
        }
    }

    /// Everybody who still waits is answered, all is well once the endpoint is, and the source's task ends with it.
    async fn end(mut self) {
        *self.endpoint.mode.lock().unwrap() = Mode::Issues { lifetime: 60, takes: 100 };
        // The longest pause, and what may still be under way before it.
        sleep(secs(140)).await;
        self.source.get().await.expect("all is well again");
        while let Some(ended) = self.waiting.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        assert!(self.endpoint.most_at_once.load(Ordering::SeqCst) <= 1, "two requests at once");
        let inner = Arc::downgrade(&self.source.inner);
        drop(self.source);
        sleep(Duration::from_millis(1)).await;
        assert!(inner.upgrade().is_none(), "the task outlives its source");
    }
}

fn source_at(endpoint: Arc<Endpoint>) -> Arc<TokenSource> {
    let stats = Arc::new(AccountStats::new());
    let config = stub::config("https://id.erp.example/token");
    TokenSource::with_exchange("erp", config, endpoint, stats, Handle::current())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens(events in prop::collection::vec(event(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut run = Run::new();
            for event in events {
                run.happen(event).await;
            }
            run.end().await;
        });
    }
}
