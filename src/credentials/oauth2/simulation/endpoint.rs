//! The simulated token endpoint, and the service that accepts its tokens.

use super::super::error::{Cause, Failure, Unavailability};
use super::super::exchange::{Exchange, ReceivedToken};
use super::super::schedule;
use super::super::stub;
use super::Random;
use super::store::Disk;
use crate::config::model::OAuth2;
use crate::secret::Secret;
use async_trait::async_trait;
use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep};

/// The behaviour of the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndpointMode {
    Works,
    Down,
    /// Down, and asks for so many seconds.
    Later(u64),
    /// Refuses the client.
    Refuses,
    /// Refuses the grant for a while, as for a suspended user.
    Suspended,
    /// Commits, and its answer is lost.
    LosesAnswers,
    /// Commits, and answers after minutes.
    Hangs,
}

/// The properties of the provider.
#[derive(Debug)]
pub(super) struct Traits {
    pub(super) rotates: bool,
    /// A refresh ends the access token before it.
    pub(super) ends_old: bool,
    pub(super) lifetime: Duration,
    pub(super) latency: Duration,
    /// The grant has a refresh token.
    pub(super) stored: bool,
}

/// Time as it really is, and as the machine's clock says.
#[derive(Debug)]
pub(super) struct SimulatedTime {
    began: Instant,
    /// Milliseconds in which the machine slept.
    slept: AtomicI64,
    /// Milliseconds by which the wall clock is fast.
    fast: AtomicI64,
}

impl SimulatedTime {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), slept: AtomicI64::new(0), fast: AtomicI64::new(0) }
    }

    pub(super) fn is(&self) -> SystemTime {
        let base = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        base + self.began.elapsed() + Duration::from_millis(self.slept.load(Ordering::SeqCst) as u64)
    }

    pub(super) fn wall(&self) -> SystemTime {
        self.is() + Duration::from_millis(self.fast.load(Ordering::SeqCst) as u64)
    }

    fn moment(&self) -> MachineMoment {
        let slept = Duration::from_millis(self.slept.load(Ordering::SeqCst) as u64);
        MachineMoment { at: Instant::now(), slept }
    }

    pub(super) fn sleep_machine(&self, time: Duration) {
        self.slept.fetch_add(time.as_millis() as i64, Ordering::SeqCst);
    }

    pub(super) fn set_fast(&self, time: Duration) {
        self.fast.store(time.as_millis() as i64, Ordering::SeqCst);
    }
}

/// A time, and how long the machine had slept then.
#[derive(Debug, Clone, Copy)]
struct MachineMoment {
    at: Instant,
    slept: Duration,
}

impl MachineMoment {
    /// Returns the time until `later` by the wall clock.
    fn until(self, later: Self) -> Duration {
        later.at - self.at + (later.slept - self.slept)
    }
}

#[derive(Debug)]
struct IssuedAccess {
    end: SystemTime,
    is_revoked: bool,
}

/// The provider's own records.
#[derive(Debug, Default)]
struct Records {
    number: u64,
    access: HashMap<String, IssuedAccess>,
    refresh: Option<String>,
    /// Refresh tokens that were spent, and those of them whose answer may not have arrived.
    spent: HashSet<String>,
    answer_lost: HashSet<String>,
    /// Refresh tokens that came by rotation, and those of them whose refusal has arrived.
    rotated: HashSet<String>,
    refused: HashSet<String>,
    is_revoked: bool,
    last_issued: Option<Instant>,
    /// The last refusal of the grant that has arrived.
    last_gone: Option<MachineMoment>,
    /// Refreshes under way, by their source.
    under_way: HashMap<usize, String>,
}

/// The outcome of a request, for the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// With a token, which is not renewed for so long.
    Token(Duration),
    Unavailable(Option<Duration>),
    Rejected,
    Gone,
}

pub(super) struct Provider {
    pub(super) traits: Traits,
    pub(super) time: Arc<SimulatedTime>,
    disk: Arc<Disk>,
    pub(super) mode: Mutex<EndpointMode>,
    records: Mutex<Records>,
    random: Arc<Random>,
    /// Broken invariants. A panic in a refresh would pass for a failure of the endpoint.
    violations: Mutex<Vec<String>>,
}

impl Provider {
    pub(super) fn new(traits: Traits, disk: Arc<Disk>, random: Arc<Random>) -> Self {
        let (time, mode, records) =
            (Arc::new(SimulatedTime::new()), Mutex::new(EndpointMode::Works), Mutex::default());
        Self { traits, time, disk, mode, records, random, violations: Mutex::default() }
    }

    fn must(&self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.violations.lock().unwrap().push(otherwise());
        }
    }

    pub(super) fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap().clone()
    }

    /// A person signs in: returns a new refresh token, an access token, and its lifetime.
    pub(super) fn sign_in(&self) -> (String, String) {
        let mut records = self.records.lock().unwrap();
        records.number += 1;
        let number = records.number;
        records.is_revoked = false;
        let refresh = format!("refresh-{number}");
        records.refresh = Some(refresh.clone());
        (refresh, self.issue(&mut records))
    }

    fn issue(&self, records: &mut Records) -> String {
        records.number += 1;
        if self.traits.ends_old {
            records.access.values_mut().for_each(|token| token.is_revoked = true);
        }
        let token = format!("access-{}", records.number);
        records.last_issued = Some(Instant::now());
        let end = self.time.is() + self.traits.lifetime;
        records.access.insert(token.clone(), IssuedAccess { end, is_revoked: false });
        token
    }

    /// Checks invariant 1, and returns whether the service accepts the token.
    pub(super) fn accepts(&self, token: &Secret) -> bool {
        let records = self.records.lock().unwrap();
        let issued = records.access.get(token.expose()).expect("a token that was issued");
        let late = self.time.is().duration_since(issued.end);
        self.must(late.is_err(), || format!("invariant 1: {} is {late:?} past its end", token.expose()));
        !issued.is_revoked
    }

    /// The provider decides.
    fn commit(&self, refresh: Option<&Secret>) -> Result<ReceivedToken, Failure> {
        let mode = *self.mode.lock().unwrap();
        let gone = || Failure::from(Cause::GrantGone { code: Some("invalid_grant".into()) });
        let mut records = self.records.lock().unwrap();
        match mode {
            EndpointMode::Down => return Err(Unavailability::Status(503).into()),
            EndpointMode::Later(seconds) => {
                let retry_after = Some(Duration::from_secs(seconds));
                return Err(Failure { retry_after, ..Unavailability::Status(429).into() });
            }
            EndpointMode::Refuses => return Err(Failure::rejected("invalid_client")),
            EndpointMode::Suspended if self.traits.stored => return Err(gone()),
            EndpointMode::Suspended => return Err(Failure::rejected("access_denied")),
            EndpointMode::Works | EndpointMode::LosesAnswers | EndpointMode::Hangs => {}
        }
        let mut next = None;
        if let Some(refresh) = refresh {
            let sent = refresh.expose().to_owned();
            if records.spent.contains(&sent) {
                let is_lost = records.answer_lost.contains(&sent);
                self.must(is_lost, || format!("invariant 4: {sent} was spent, and is sent again"));
                records.is_revoked = true;
            }
            if records.is_revoked || records.refresh.as_ref() != Some(&sent) {
                return Err(gone());
            }
            if self.traits.rotates {
                records.number += 1;
                let token = format!("refresh-{}", records.number);
                records.spent.insert(sent);
                records.rotated.insert(token.clone());
                records.refresh = Some(token.clone());
                next = Some(Secret::new(token));
            }
        }
        let token = self.issue(&mut records);
        Ok(ReceivedToken { refresh_token: next, ..stub::answer(&token, Some(self.traits.lifetime)) })
    }

    /// A process was killed, or could not store all before it ended: what its sources were asking for is lost, and so is a token that it had not stored yet.
    pub(super) fn killed(&self, sources: &[usize], stored: Option<String>, knows_refusal: bool) {
        let mut records = self.records.lock().unwrap();
        if !knows_refusal {
            records.refused.clear();
        }
        let asking: Vec<String> =
            sources.iter().filter_map(|source| records.under_way.remove(source)).collect();
        records.answer_lost.extend(asking.into_iter().chain(stored));
    }

    /// The refusal of a refresh token has arrived.
    fn refused(&self, refresh: &Secret) {
        let mut records = self.records.lock().unwrap();
        records.last_gone = Some(self.time.moment());
        if records.rotated.contains(refresh.expose()) {
            records.refused.insert(refresh.expose().to_owned());
        }
    }

    fn ended(&self, source: usize, is_lost: bool) {
        let mut records = self.records.lock().unwrap();
        let asked = records.under_way.remove(&source);
        records.answer_lost.extend(asked.filter(|_| is_lost));
    }
}

/// The schedule as the endpoint sees it: of one source of one process.
#[derive(Debug, Default)]
pub(super) struct EndpointPace {
    last: Option<(MachineMoment, Ended)>,
    failures: u32,
    /// The last refusal of the grant, until there is another token or login.
    refused: Option<MachineMoment>,
    /// The token may be replaced before its time: a service refused it, or the clock has changed.
    pub(super) is_suspect: bool,
    /// A pause may be cut short: SIGHUP, or a login.
    pub(super) is_excused: bool,
    pub(super) requests: u64,
}

impl EndpointPace {
    /// A person has signed in: that ends every pause that a missing grant has caused.
    pub(super) fn signed_in(&mut self) {
        (self.refused, self.is_excused) = (None, true);
    }

    /// Checks invariant 5 when a request begins.
    fn begins(&mut self, provider: &Provider) {
        let now = provider.time.moment();
        self.requests += 1;
        let excused = std::mem::take(&mut self.is_excused);
        // One that turns true while the request is under way may concern its token: the clock has changed.
        let was_suspect = std::mem::take(&mut self.is_suspect);
        // A token that another process got shows that the endpoint works. It may be stored late, if the disk is at fault.
        // The source takes it up only then, and counts anew after it. This is no weakening while the disk works: a token is
        // stored at once then.
        let (renewed, gone) = {
            let records = provider.records.lock().unwrap();
            (records.last_issued.max(provider.disk.renewed_at()), records.last_gone)
        };
        let counts = |moment: MachineMoment| renewed.is_none_or(|renewed| renewed <= moment.at);
        self.refused = self.refused.filter(|refused| counts(*refused));
        let Some((ended, how)) = self.last.filter(|(ended, _)| !excused && counts(*ended)) else {
            self.failures = 0;
            return;
        };
        let least = match how {
            Ended::Token(_) if was_suspect => Duration::ZERO,
            Ended::Token(least) => least,
            Ended::Unavailable(retry_after) => {
                let pause = 500 * 2_u64.pow(self.failures.saturating_sub(1).min(6));
                let pause = Duration::from_millis(pause.min(30_000)).mul_f64(0.8);
                pause.max(retry_after.unwrap_or_default().min(Duration::from_secs(3600)))
            }
            Ended::Rejected => Duration::from_secs(30).mul_f64(0.8),
            Ended::Gone => Duration::ZERO,
        };
        // The source found a refusal in the store, its own or that of another process, and has waited for the end of its
        // hour, which goes by the wall clock.
        let has_waited =
            gone.is_some_and(|gone| gone.at > ended.at || gone.until(ended) < schedule::RETRY_GRANT);
        let pause = if has_waited { ended.until(now) } else { now.at - ended.at };
        let failures = self.failures;
        provider.must(pause >= least, || {
            format!("invariant 5: asked again {pause:?} after {how:?}, {failures} failures")
        });
        // A grant that did not come by rotation is tried again every hour, be it that SIGHUP caused a failed try in
        // between. The hour goes by the wall clock, since it outlives the process.
        let since_refusal = self.refused.map(|refused| refused.until(now));
        provider.must(since_refusal.is_none_or(|since| since >= HOUR), || {
            format!("invariant 5: asked again {since_refusal:?} after a refused grant")
        });
        // Failures are counted anew after that hour. This is no weakening: it happens once an hour and after a SIGHUP, and
        // the check above keeps the hour itself.
        if has_waited {
            self.failures = 0;
        }
    }

    fn ends(&mut self, how: Ended, now: MachineMoment) {
        self.refused = match how {
            Ended::Token(_) => None,
            Ended::Gone => Some(now),
            Ended::Unavailable(_) | Ended::Rejected => self.refused,
        };
        self.failures = if matches!(how, Ended::Token(_) | Ended::Gone) { 0 } else { self.failures + 1 };
        self.last = Some((now, how));
    }
}

/// The time after which a refused grant is tried again, less what rounding takes.
const HOUR: Duration = schedule::RETRY_GRANT.saturating_sub(Duration::from_secs(1));

/// The way of one source to the endpoint.
pub(super) struct SimulatedWire {
    pub(super) provider: Arc<Provider>,
    pub(super) pace: Arc<Mutex<EndpointPace>>,
    /// Its process was killed.
    pub(super) is_dead: Arc<AtomicBool>,
    /// The number of its source.
    pub(super) source: usize,
}

/// A request under way, for invariant 3.
struct UnderWay<'a> {
    wire: &'a SimulatedWire,
    /// The provider has decided, and the answer has not arrived.
    is_committed: bool,
    /// The schedule knows the outcome.
    is_paced: bool,
}

impl UnderWay<'_> {
    fn ends(&mut self, how: Ended) {
        self.is_paced = true;
        self.wire.pace.lock().unwrap().ends(how, self.wire.provider.time.moment());
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.wire.provider.ended(self.wire.source, self.is_committed);
        // A request that is given up has failed.
        if !self.is_paced {
            self.ends(Ended::Unavailable(None));
        }
    }
}

#[async_trait]
impl Exchange for SimulatedWire {
    async fn exchange(&self, _: &OAuth2, refresh_token: Option<&Secret>) -> Result<ReceivedToken, Failure> {
        let provider = &self.provider;
        self.pace.lock().unwrap().begins(provider);
        if let Some(refresh_token) = refresh_token {
            let mut records = provider.records.lock().unwrap();
            provider.must(records.under_way.is_empty(), || "invariant 3: two refreshes of one grant".into());
            let is_refused = records.refused.contains(refresh_token.expose());
            provider.must(!is_refused, || {
                format!("invariant 7: {} was refused, and is sent again", refresh_token.expose())
            });
            records.under_way.insert(self.source, refresh_token.expose().to_owned());
        }
        let began = Instant::now();
        let mut under_way = UnderWay { wire: self, is_committed: false, is_paced: false };
        let half = provider.traits.latency.mul_f64(0.5 + provider.random.fraction()) / 2;
        sleep(half).await;
        self.dies().await;
        let result = provider.commit(refresh_token);
        under_way.is_committed = result.is_ok();
        let mode = *provider.mode.lock().unwrap();
        if mode == EndpointMode::Hangs {
            sleep(Duration::from_secs(300)).await;
        }
        sleep(half).await;
        self.dies().await;
        if mode == EndpointMode::LosesAnswers && result.is_ok() {
            under_way.ends(Ended::Unavailable(None));
            return Err(Unavailability::Transport.into());
        }
        under_way.is_committed = false;
        if let (Some(refresh_token), Err(Failure { cause: Cause::GrantGone { .. }, .. })) =
            (refresh_token, &result)
        {
            provider.refused(refresh_token);
        }
        let how = match &result {
            Ok(_) => Ended::Token(least_use(provider.traits.lifetime, began.elapsed())),
            Err(Failure { cause: Cause::Rejected { .. }, .. }) => Ended::Rejected,
            Err(Failure { cause: Cause::GrantGone { .. }, .. }) => Ended::Gone,
            Err(Failure { retry_after, .. }) => Ended::Unavailable(*retry_after),
        };
        under_way.ends(how);
        result
    }
}

/// Returns the least time for which a token is used that took so long to get, and then at most 40 ms to store.
fn least_use(lifetime: Duration, took: Duration) -> Duration {
    let took = took + Duration::from_millis(40);
    schedule::renew_after(lifetime, took, 0.0).saturating_sub(took)
}

impl SimulatedWire {
    /// A killed process does nothing any more.
    async fn dies(&self) {
        if self.is_dead.load(Ordering::SeqCst) {
            pending::<()>().await;
        }
    }
}
