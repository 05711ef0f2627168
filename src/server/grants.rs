//! The store of refresh tokens: opened when an account needs one, and looked into for logins.

use crate::config::model::{Config, StateStore};
use crate::credentials::oauth2::Tokens;
use crate::snapshot::Handle;
use crate::state::{FileStore, StateError};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::{MissedTickBehavior, interval};

/// How soon is seen without a request that a login is needed, or was made, or that the machine was asleep.
const LOOK: Duration = Duration::from_secs(2);

/// The store in use.
pub(super) struct Grants {
    tokens: Tokens,
    /// Its folder, once there is one. Another one would be empty, and an account whose first token is in the file would
    /// begin anew with that, which is spent: so it stays until the next start.
    dir: Option<PathBuf>,
}

impl Grants {
    /// With the store of `config`, if an account has something to keep there. Blocks on the file system.
    pub(super) fn open(config: &Config, tokens: &Tokens) -> Result<Self, StateError> {
        let mut grants = Self { tokens: tokens.clone(), dir: None };
        if let Some(state) = needed(config) {
            grants.tokens.store.set(Arc::new(FileStore::open(&state.dir, &state.keys)?));
            grants.dir = Some(state.dir.clone());
        }
        Ok(grants)
    }

    /// Returns true if there is a store in use.
    pub(super) fn are_open(&self) -> bool {
        self.dir.is_some()
    }

    /// Opens the store with the keys of another configuration, and its folder if there was none. Away from the thread that
    /// hears the signals.
    pub(super) async fn take_up(&mut self, config: &Config) -> Result<(), StateError> {
        let Some(state) = needed(config) else { return Ok(()) };
        let (dir, keys) = (self.dir.clone().unwrap_or_else(|| state.dir.clone()), state.keys.clone());
        let folder = dir.clone();
        let opened = tokio::task::spawn_blocking(move || FileStore::open(&folder, &keys)).await;
        self.tokens.store.set(Arc::new(opened.unwrap_or(Err(StateError::BrokenOff))?));
        self.dir = Some(dir);
        Ok(())
    }

    /// Returns true if `config` wants another folder than the one in use.
    pub(super) fn moves(&self, config: &Config) -> bool {
        needed(config).is_some_and(|state| self.dir.as_ref().is_some_and(|dir| *dir != state.dir))
    }
}

fn needed(config: &Config) -> Option<&StateStore> {
    config.state.as_ref().filter(|_| config.rotating().next().is_some())
}

/// Looks every other second which accounts need a login (only those that keep a refresh token cost anything), and whether a
/// token's end came while the clock of the process stood still.
pub(super) async fn watch(snapshots: Handle) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let snapshot = snapshots.load();
        for source in snapshot.token_sources() {
            source.expire(SystemTime::now());
            source.look().await;
        }
    }
}
