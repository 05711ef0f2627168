//! The time and the random numbers of the token engine, both replaceable by tests.

use ring::rand::{SecureRandom as _, SystemRandom};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::time::Instant;

/// One moment on both clocks.
///
/// The monotonic clock measures pauses and lifetimes. It stands still while the machine is suspended, so a token's end
/// is compared with the wall clock as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock.
    pub instant: Instant,
    /// The wall clock.
    pub wall: SystemTime,
}

impl Now {
    /// Reads the system's clocks.
    pub fn system() -> Self {
        Self { instant: Instant::now(), wall: SystemTime::now() }
    }
}

/// The source of time and random numbers.
#[derive(Clone)]
pub(super) struct Clock {
    wall: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    random: Arc<dyn Fn() -> f64 + Send + Sync>,
}

impl Clock {
    /// Returns the system's.
    pub(super) fn system() -> Self {
        Self { wall: Arc::new(SystemTime::now), random: Arc::new(random) }
    }

    /// Returns a clock with this wall clock and these random numbers from 0 to 1.
    #[cfg(test)]
    pub(super) fn new(
        wall: impl Fn() -> SystemTime + Send + Sync + 'static,
        random: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Self {
        Self { wall: Arc::new(wall), random: Arc::new(random) }
    }

    pub(super) fn now(&self) -> Now {
        Now { instant: Instant::now(), wall: (self.wall)() }
    }

    /// Returns a number from 0 to 1.
    pub(super) fn random(&self) -> f64 {
        (self.random)()
    }
}

fn random() -> f64 {
    let mut bytes = [0; 4];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}
