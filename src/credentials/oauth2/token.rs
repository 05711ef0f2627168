//! A token that knows how long it may be sent.

use super::clock::Now;
use super::schedule;
use crate::secret::Secret;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// One token and its times. Immutable but for two marks: that it was used, and that a service accepted it.
pub struct Token {
    secret: Secret,
    generation: u64,
    /// The time at which this process got it.
    born: Instant,
    obtained_at: SystemTime,
    expires_at: SystemTime,
    /// The expiry less the skew, on both clocks.
    usable_until: Now,
    renew_at: Instant,
    /// A refusal before this age does not replace it at once; zero unless its predecessor was refused.
    hold: Duration,
    /// It was inherited from a source that gets another token.
    is_foreign: bool,
    used: AtomicBool,
    accepted: AtomicBool,
}

/// A token and its times, from a token endpoint or the store.
pub(super) struct Issued {
    pub(super) secret: Secret,
    /// The time of the request: its lifetime began then or later, so this errs on the safe side.
    pub(super) obtained_at: SystemTime,
    pub(super) lifetime: Duration,
    /// The duration of the request; zero for a stored token.
    pub(super) took: Duration,
}

impl Token {
    /// Returns a token that arrived at `now`. `random` (0 to 1) spreads the renewals of many accounts.
    pub(super) fn new(issued: Issued, now: Now, random: f64, generation: u64, hold: Duration) -> Self {
        let Issued { secret, obtained_at, lifetime, took } = issued;
        // The wall clock may have been set back meanwhile.
        let age = now.wall.duration_since(obtained_at).unwrap_or_default().max(took);
        let usable = schedule::usable_for(lifetime);
        let renewal = schedule::renew_after(lifetime, took, random);
        Self {
            secret,
            generation,
            born: now.instant,
            obtained_at,
            expires_at: obtained_at + lifetime,
            usable_until: Now {
                instant: now.instant + usable.saturating_sub(age),
                wall: now.wall + usable.saturating_sub(age),
            },
            renew_at: now.instant + renewal.saturating_sub(age),
            hold,
            is_foreign: false,
            used: AtomicBool::new(false),
            accepted: AtomicBool::new(false),
        }
    }

    /// Returns the same token for another source, which did not obtain it: its generation is 0. `same_kind`: that source
    /// would get the same token, so that the hold goes on.
    pub(super) fn inherited(&self, same_kind: bool) -> Self {
        Self {
            secret: self.secret.clone(),
            generation: 0,
            hold: if same_kind { self.hold } else { Duration::ZERO },
            is_foreign: self.is_foreign || !same_kind,
            used: AtomicBool::new(self.is_used()),
            accepted: AtomicBool::new(self.is_accepted()),
            ..*self
        }
    }

    /// Returns true if its source did not obtain it.
    pub(super) fn is_inherited(&self) -> bool {
        self.generation == 0
    }

    /// Returns true if a source like its own would get another token.
    pub(super) fn is_foreign(&self) -> bool {
        self.is_foreign
    }

    /// Returns true if a token that was requested at `obtained_at` is newer.
    pub(super) fn is_older_than(&self, obtained_at: SystemTime, now: SystemTime) -> bool {
        // If the clock was set back, the times do not tell which one is newer.
        obtained_at > self.obtained_at || self.obtained_at > now
    }

    /// The token, without a prefix: visible ASCII.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Number of this token within its source, from 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Its expiry, as the token endpoint states it.
    pub fn expires_at(&self) -> SystemTime {
        self.expires_at
    }

    /// Returns true if it may be sent.
    pub fn is_usable(&self, now: Now) -> bool {
        now.instant < self.usable_until.instant && now.wall < self.usable_until.wall
    }

    pub(super) fn usable_until(&self) -> Instant {
        self.usable_until.instant
    }

    pub(super) fn renew_at(&self) -> Instant {
        self.renew_at
    }

    /// Returns the time from which a refusal at `now` replaces it.
    pub(super) fn replaceable_from(&self, now: Now) -> Instant {
        if self.is_accepted() && self.hold.is_zero() {
            return now.instant;
        }
        self.born + self.hold.max(schedule::MIN_HOLD)
    }

    /// Returns the hold of its successor, given when a service refused it first: doubled if that was soon.
    pub(super) fn next_hold(&self, refused_at: Instant) -> Duration {
        let is_fresh = refused_at < self.born + self.hold.max(schedule::MIN_HOLD);
        match (self.is_inherited(), is_fresh) {
            // Replaced for a change of the account, whatever the services say.
            (true, _) => self.hold,
            (false, true) => schedule::next_hold(self.hold),
            (false, false) => schedule::MIN_HOLD,
        }
    }

    pub(super) fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    /// Returns true the first time. Reads before it writes, so that a busy token's cache line stays shared.
    pub(super) fn mark_used(&self) -> bool {
        !self.is_used() && !self.used.swap(true, Ordering::Relaxed)
    }

    fn is_accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Records that a service did not refuse it.
    pub fn mark_accepted(&self) {
        if !self.is_accepted() {
            self.accepted.store(true, Ordering::Relaxed);
        }
    }
}

/// The token that a refresh replaces.
#[derive(Clone)]
pub(super) enum Replaced {
    /// One in use, which only a newer one replaces. An older one is over before it.
    InUse(Arc<Token>),
    /// One that is over, or of another kind: any other one replaces it.
    Other(Secret),
}

impl Replaced {
    /// Returns true if this token, which was requested at `obtained_at`, may replace it.
    pub(super) fn yields_to(&self, token: &Secret, obtained_at: SystemTime, now: SystemTime) -> bool {
        match self {
            Self::InUse(old) => *old.secret() != *token && old.is_older_than(obtained_at, now),
            Self::Other(secret) => *secret != *token,
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("generation", &self.generation)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}
