//! A token, ready to be sent, that knows how long it may be.

use super::schedule;
use crate::header_name::FieldName;
use http::HeaderValue;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// One token and its times. Immutable but for the mark that it was asked for.
pub struct Token {
    name: FieldName,
    value: HeaderValue,
    landed: Instant,
    /// The real expiry less the skew.
    usable_until: Instant,
    renew_at: Instant,
    expires_at: SystemTime,
    generation: u64,
    /// It was over when it came: for those who waited, and nobody after.
    single_use: bool,
    used: AtomicBool,
}

impl Token {
    /// A token that came at `now` and whose lifetime began at `issued` (read on both clocks): when it was asked for,
    /// which is the side to err on. `random` (0 to 1) spreads the renewals of many accounts.
    pub(super) fn new(
        (name, value): (FieldName, HeaderValue),
        issued: (Instant, SystemTime),
        now: Instant,
        lifetime: Duration,
        random: f64,
        generation: u64,
    ) -> Self {
        let usable_until = issued.0 + schedule::usable_for(lifetime);
        Self {
            name,
            value,
            landed: now,
            usable_until,
            renew_at: issued.0 + schedule::renew_after(lifetime, now - issued.0, random),
            expires_at: issued.1 + lifetime,
            generation,
            single_use: now >= usable_until,
            used: AtomicBool::new(false),
        }
    }

    /// The same token for another source, of which it is not one of its own: generation 0.
    pub(super) fn inherited(&self) -> Self {
        Self {
            name: self.name.clone(),
            value: self.value.clone(),
            generation: 0,
            used: AtomicBool::new(true),
            ..*self
        }
    }

    /// Returns true if this source did not obtain it.
    pub(super) fn is_inherited(&self) -> bool {
        self.generation == 0
    }

    /// The header to set. It replaces the caller's.
    pub fn header_name(&self) -> &FieldName {
        &self.name
    }

    /// The prefix and the token, marked sensitive. Cloning it copies no bytes.
    pub fn header_value(&self) -> &HeaderValue {
        &self.value
    }

    /// Which of its source's tokens this is, from 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// When the token endpoint says it expires.
    pub fn expires_at(&self) -> SystemTime {
        self.expires_at
    }

    /// Whether it may still be sent.
    pub fn is_usable(&self, now: Instant) -> bool {
        now < self.usable_until
    }

    /// Whether a request that waited for it may be sent with it: one that is good for a single use is past its end
    /// from the start.
    pub fn may_be_sent(&self, now: Instant) -> bool {
        self.single_use || self.is_usable(now)
    }

    /// When it came.
    pub(super) fn landed(&self) -> Instant {
        self.landed
    }

    pub(super) fn usable_until(&self) -> Instant {
        self.usable_until
    }

    pub(super) fn renew_at(&self) -> Instant {
        self.renew_at
    }

    pub(super) fn is_single_use(&self) -> bool {
        self.single_use
    }

    pub(super) fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    /// True the first time. Reads before it writes, so that a busy token's cache line stays shared.
    pub(super) fn mark_used(&self) -> bool {
        !self.is_used() && !self.used.swap(true, Ordering::Relaxed)
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
