//! One run: processes that share a grant, and what happens to them.

use super::super::clock::{Clock, Now};
use super::super::error::TokenError;
use super::super::identity::{grant_identity, token_identity};
use super::super::inspect::inspect_by;
use super::super::schedule;
use super::super::source::TokenSource;
use super::super::stub;
use super::super::token::Token;
use super::super::tokens::Tokens;
use super::Random;
use super::endpoint::{EndpointMode, EndpointPace, Provider, SimulatedWire, Traits};
use super::store::{Disk, SimStore};
use crate::config::model::{ClientAuth, Grant, OAuth2};
use crate::credentials::AccountStats;
use crate::secret::Secret;
use crate::state::{Entry, StoredAccess};
use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// Steps of one run.
const STEPS: u64 = 80;
const PROCESSES: usize = 3;

/// The sums over all runs.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct RunTotals {
    requests: u64,
    token_requests: u64,
    kills: u64,
    reloads: u64,
}

impl AddAssign for RunTotals {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.token_requests += other.token_requests;
        self.kills += other.kills;
        self.reloads += other.reloads;
    }
}

struct SimulatedProcess {
    source: Arc<TokenSource>,
    /// Those of earlier snapshots, which long requests hold.
    old: Vec<Arc<TokenSource>>,
    tokens: Tokens,
    config: OAuth2,
    is_dead: Arc<AtomicBool>,
    paces: Vec<Arc<Mutex<EndpointPace>>>,
    /// The numbers of its sources.
    sources: Vec<usize>,
    /// The token that was in use after the last step, for invariant 2.
    seen: Option<Arc<Token>>,
    waiting: JoinSet<()>,
}

pub(super) struct Run {
    random: Arc<Random>,
    provider: Arc<Provider>,
    disk: Arc<Disk>,
    processes: Vec<SimulatedProcess>,
    requests: Arc<AtomicU64>,
    sources: usize,
    /// `check --live` beside the processes.
    checks: JoinSet<()>,
    /// The machine sleeps now and then; otherwise its clock is set.
    sleeps: bool,
    totals: RunTotals,
}

impl Run {
    pub(super) fn of(seed: u64) -> RunTotals {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut run = Self::new(Arc::new(Random::new(seed)));
            for _ in 0..STEPS {
                run.step().await;
            }
            run.end().await
        })
    }

    fn new(random: Arc<Random>) -> Self {
        let lifetimes = [5, 10, 30, 300, 3600, 36_000];
        let traits = Traits {
            rotates: random.chance(60),
            ends_old: random.chance(50),
            lifetime: Duration::from_secs(lifetimes[random.below(6) as usize]),
            latency: Duration::from_millis([5, 100, 900][random.below(3) as usize]),
            stored: random.chance(75),
        };
        let disk = Arc::<Disk>::default();
        let provider = Arc::new(Provider::new(traits, disk.clone(), random.clone()));
        let (processes, requests, sources, checks) = Default::default();
        let (totals, sleeps) = (RunTotals::default(), provider.traits.stored || random.chance(50));
        let mut run = Self { random, provider, disk, processes, requests, sources, checks, sleeps, totals };
        run.sign_in();
        for nth in 0..PROCESSES {
            let process = run.process(nth);
            run.processes.push(process);
        }
        run
    }

    fn config(&self) -> OAuth2 {
        let config = stub::config("https://id.erp.example/token");
        if !self.provider.traits.stored {
            return config;
        }
        let device_authorization_url = "https://id.erp.example/device".parse().unwrap();
        OAuth2 { grant: Grant::DeviceCode { device_authorization_url }, ..config }
    }

    /// Starts a process.
    fn process(&mut self, nth: usize) -> SimulatedProcess {
        let (time, random) = (self.provider.time.clone(), self.random.clone());
        let clock = Clock::new(move || time.wall(), move || random.fraction());
        let tokens = Tokens::with_clock(stub::client(), Handle::current(), clock);
        let is_dead = Arc::new(AtomicBool::new(false));
        let (disk, random) = (self.disk.clone(), self.random.clone());
        tokens.store.set(Arc::new(SimStore { disk, process: nth, is_dead: is_dead.clone(), random }));
        let config = self.config();
        let (mut paces, mut sources) = (Vec::new(), Vec::new());
        let source = self.source(&config, &tokens, &is_dead, &mut paces, &mut sources);
        let (old, seen, waiting) = Default::default();
        SimulatedProcess { source, old, tokens, config, is_dead, paces, sources, seen, waiting }
    }

    fn source(
        &mut self,
        config: &OAuth2,
        tokens: &Tokens,
        is_dead: &Arc<AtomicBool>,
        paces: &mut Vec<Arc<Mutex<EndpointPace>>>,
        sources: &mut Vec<usize>,
    ) -> Arc<TokenSource> {
        self.sources += 1;
        let pace = Arc::new(Mutex::new(EndpointPace::default()));
        paces.push(pace.clone());
        sources.push(self.sources);
        let (provider, is_dead) = (self.provider.clone(), is_dead.clone());
        let wire = Arc::new(SimulatedWire { provider, pace, is_dead, source: self.sources });
        TokenSource::with_exchange("erp", config.clone(), wire, Arc::new(AccountStats::new()), tokens)
    }

    /// A person signs in with `attache login`.
    fn sign_in(&self) {
        let (refresh, access) = self.provider.sign_in();
        let (config, wall) = (self.config(), self.provider.time.wall());
        self.disk.write(|before| Entry {
            bound_to: grant_identity("erp", &config),
            revision: before.map_or(0, |entry| entry.revision) + 1,
            refresh_token: Some(Secret::new(refresh)),
            rotated: false,
            reusable: false,
            obtained_at: wall,
            access: Some(StoredAccess {
                bound_to: token_identity(&config),
                token: Secret::new(access),
                obtained_at: wall,
                expires_at: wall + self.provider.traits.lifetime,
            }),
            lost: None,
        });
    }

    async fn step(&mut self) {
        let wait = match self.random.below(20) {
            0..8 => self.random.below(50),
            8..14 => 500 + self.random.below(3000),
            14..19 => 10_000 + self.random.below(190_000),
            _ => 3_700_000,
        };
        self.pass(Duration::from_millis(wait)).await;
        let nth = self.random.below(PROCESSES as u64) as usize;
        match self.random.below(100) {
            0..55 => (0..=self.random.below(4)).for_each(|_| self.request(nth)),
            55..63 => self.set_mode(),
            63..70 => self.reload(nth),
            70..76 => self.kill(nth),
            76..78 => self.processes[nth].waiting.abort_all(),
            78..80 => self.check_live(),
            80..84 => self.nudge(nth),
            84..88 => self.break_disk(),
            // A clock that is set back after a token was stored is beyond what stored times can tell, and so is one that
            // is set on a machine that sleeps.
            88..94 if self.sleeps => {
                self.provider.time.sleep_machine(Duration::from_secs(self.random.below(7200)));
                self.suspect();
            }
            88..94 => {
                let fast = if self.random.chance(50) { 0 } else { self.random.below(7200) };
                self.provider.time.set_fast(Duration::from_secs(fast));
                self.suspect();
            }
            // The command waits for the lock, as a refresh does.
            _ if self.provider.traits.stored && !self.disk.is_locked() => {
                self.sign_in();
                self.tell_signed_in();
            }
            _ => {}
        }
        self.check();
    }

    /// Lets time pass, in which every process looks into the store a few times, as the server has it do.
    async fn pass(&mut self, time: Duration) {
        let looks = time.as_secs().div_ceil(2).clamp(1, 6) as u32;
        for _ in 0..looks {
            sleep(time / looks).await;
            self.processes.iter().for_each(|process| process.source.look());
            self.check();
        }
        self.collect();
    }

    /// A panic in a request is one in the run.
    fn collect(&mut self) {
        let waiting = self.processes.iter_mut().map(|process| &mut process.waiting);
        for waiting in waiting.chain([&mut self.checks]) {
            while let Some(ended) = waiting.try_join_next() {
                rethrow(ended);
            }
        }
    }

    fn request(&mut self, nth: usize) {
        let (provider, requests) = (self.provider.clone(), self.requests.clone());
        let (refuser, process) = (self.random.chance(10), &self.processes[nth]);
        let old = process.old.len() as u64;
        let paces = process.paces.clone();
        let source = match old {
            1.. if self.random.chance(20) => process.old[self.random.below(old) as usize].clone(),
            _ => process.source.clone(),
        };
        self.processes[nth].waiting.spawn(async move {
            requests.fetch_add(1, Ordering::Relaxed);
            let began = Instant::now();
            let time = provider.time.clone();
            let had_one = source.current(Now { instant: began, wall: time.wall() }).is_some();
            let got = timeout(Duration::from_secs(12), source.get()).await.expect("invariant 6: an answer");
            assert!(!had_one || began.elapsed().is_zero(), "invariant 2: it waited though there was a token");
            let Ok(token) = got else { return };
            let accepts = provider.accepts(&token_secret(&token));
            if accepts && !refuser {
                token.mark_accepted();
                return;
            }
            paces.iter().for_each(|pace| pace.lock().unwrap().is_suspect = true);
            let successor = timeout(Duration::from_secs(30), source.successor(token.generation())).await;
            if let Ok(Some(successor)) = successor {
                assert!(successor.secret() != token.secret(), "a refused token is its own successor");
                provider.accepts(&token_secret(&successor));
            }
        });
    }

    /// The command in a process of its own. It tries a refused grant again, as SIGHUP does, and the others go on with its
    /// token.
    fn check_live(&mut self) {
        let mut process = self.process(PROCESSES);
        let (config, wire) = (self.config(), process.wire(&self.provider));
        process.paces.clear();
        let (provider, disk) = (self.provider.clone(), self.disk.clone());
        self.checks.spawn(async move {
            let checked =
                timeout(Duration::from_secs(70), inspect_by("erp", &config, wire, &process.tokens)).await;
            let _ = checked.expect("invariant 6: an answer");
            // It warns that what it could not store is lost, and ends all the same: as for a process that is killed, the
            // spent token is the only one that the next holder of the lock finds.
            if !process.tokens.finish().await {
                provider.killed(&process.sources, disk.refresh_token(), disk.knows_refusal());
            }
        });
    }

    fn set_mode(&self) {
        let mode = match self.random.below(12) {
            0..5 => EndpointMode::Works,
            5 => EndpointMode::Down,
            6 => EndpointMode::Later(self.random.below(5000)),
            7 => EndpointMode::Refuses,
            8 | 9 => EndpointMode::Suspended,
            10 => EndpointMode::LosesAnswers,
            _ => EndpointMode::Hangs,
        };
        *self.provider.mode.lock().unwrap() = mode;
    }

    /// The account changes: settings alone, or what determines the token.
    fn reload(&mut self, nth: usize) {
        self.totals.reloads += 1;
        let mut process = self.processes.remove(nth);
        if self.random.chance(50) {
            process.config.token_timeout = Duration::from_secs(2 + self.random.below(8));
            process.source.reconfigure(&process.config);
        } else {
            let secret = Secret::new(format!("client-{}", self.random.next()));
            process.config.client_auth = ClientAuth::Post(vec![secret]);
            let SimulatedProcess { config, tokens, is_dead, paces, sources, .. } = &mut process;
            let source = self.source(config, tokens, is_dead, paces, sources);
            source.inherit(&process.source, self.now());
            process.source.retire();
            process.old.push(std::mem::replace(&mut process.source, source));
        }
        self.processes.insert(nth, process);
    }

    fn kill(&mut self, nth: usize) {
        self.totals.kills += 1;
        let process = &mut self.processes[nth];
        process.is_dead.store(true, Ordering::SeqCst);
        process.waiting.abort_all();
        self.totals.token_requests += token_requests(process);
        let sources = process.sources.clone();
        self.provider.killed(&sources, self.disk.refresh_token(), self.disk.knows_refusal());
        self.disk.release(nth);
        let started = self.process(nth);
        self.processes[nth] = started;
    }

    fn nudge(&self, nth: usize) {
        self.processes[nth].source.nudge();
        for pace in &self.processes[nth].paces {
            pace.lock().unwrap().is_excused = true;
        }
    }

    fn tell_signed_in(&self) {
        for pace in self.processes.iter().flat_map(|process| &process.paces) {
            pace.lock().unwrap().signed_in();
        }
    }

    /// A token may be over, or seem so, before its time.
    fn suspect(&self) {
        for pace in self.processes.iter().flat_map(|process| &process.paces) {
            pace.lock().unwrap().is_suspect = true;
        }
    }

    fn break_disk(&self) {
        self.disk.is_full.store(self.random.chance(50), Ordering::SeqCst);
        let fails = self.random.chance(20);
        self.disk.fails_to_write.store(fails, Ordering::SeqCst);
    }

    fn now(&self) -> Now {
        Now { instant: Instant::now(), wall: self.provider.time.wall() }
    }

    /// Checks invariants 1 and 2 for every process.
    fn check(&mut self) {
        assert_eq!(self.provider.violations(), [""; 0]);
        let now = self.now();
        for process in &mut self.processes {
            let current = process.source.peek().filter(|token| token.is_usable(now));
            if let Some(token) = &current {
                self.provider.accepts(&token_secret(token));
            }
            match (&process.seen, &current) {
                (Some(seen), None) => assert!(!seen.is_usable(now), "invariant 2: a usable token is lost"),
                (Some(seen), Some(current)) if seen.is_usable(now) => {
                    let (before, after) = (seen.generation(), current.generation());
                    assert!(after >= before || after == 0, "invariant 2: an older token is back");
                }
                _ => {}
            }
            process.seen = current;
        }
    }

    /// Mends the world, and checks that all is well then: invariant 6.
    async fn end(mut self) -> RunTotals {
        *self.provider.mode.lock().unwrap() = EndpointMode::Works;
        self.provider.time.set_fast(Duration::ZERO);
        self.suspect();
        self.disk.is_full.store(false, Ordering::SeqCst);
        self.disk.fails_to_write.store(false, Ordering::SeqCst);
        self.pass(schedule::MAX_RETRY_AFTER * 2).await;
        // The grant may be gone for good: then a person signs in.
        if self.provider.traits.stored && self.all_get_a_token().await.is_err() {
            self.sign_in();
            self.tell_signed_in();
            self.pass(Duration::from_secs(10)).await;
        }
        self.all_get_a_token().await.expect("invariant 6: all is well again");
        self.check();
        for process in &mut self.processes {
            while let Some(ended) = process.waiting.join_next().await {
                rethrow(ended);
            }
        }
        self.totals.token_requests += self.processes.iter().map(token_requests).sum::<u64>();
        self.totals.requests = self.requests.load(Ordering::Relaxed);
        self.totals
    }
}

impl Run {
    async fn all_get_a_token(&self) -> Result<(), TokenError> {
        for process in &self.processes {
            let token = timeout(Duration::from_secs(60), process.source.get()).await;
            let token = token.expect("invariant 6: an answer")?;
            assert!(token.is_usable(self.now()), "invariant 1: a token that is over");
        }
        Ok(())
    }
}

impl SimulatedProcess {
    /// Returns the way of its first source to the endpoint.
    fn wire(&self, provider: &Arc<Provider>) -> Arc<SimulatedWire> {
        let (provider, pace) = (provider.clone(), self.paces[0].clone());
        Arc::new(SimulatedWire { provider, pace, is_dead: self.is_dead.clone(), source: self.sources[0] })
    }
}

fn token_requests(process: &SimulatedProcess) -> u64 {
    process.paces.iter().map(|pace| pace.lock().unwrap().requests).sum()
}

fn token_secret(token: &Token) -> Secret {
    token.secret().clone()
}

fn rethrow(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}
