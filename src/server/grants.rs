//! The store of refresh tokens: opened when an account needs one, and checked for logins.

use crate::config::model::{Config, StateStore};
use crate::credentials::oauth2::Tokens;
use crate::handshake_secrets;
use crate::snapshot::Handle;
use crate::state::{FileStore, StateError, Store};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Interval at which a login, or another process's renewal, is detected without a request.
const LOOK: Duration = Duration::from_secs(2);

/// Maximum wait for another holder of a lock before its entry is sealed again: a token request seals it, too.
const SEAL_AGAIN: Duration = Duration::from_secs(65);

/// The store in use.
pub(super) struct Grants {
    tokens: Tokens,
    /// Its folder, once there is one. It stays until the next start: another folder would be empty, and an account
    /// whose first token is in the file would start again with that token, which is spent.
    dir: Option<PathBuf>,
}

impl Grants {
    /// Opens the store of `config`, if an account needs it. Blocks on the file system.
    pub(super) fn open(config: &Config, tokens: &Tokens) -> Result<Self, StateError> {
        let mut grants = Self { tokens: tokens.clone(), dir: None };
        if let Some(state) = needed(config) {
            grants.tokens.store.set(Arc::new(FileStore::open(&state.dir, &state.keys)?));
            grants.dir = Some(state.dir.clone());
        }
        Ok(grants)
    }

    /// Returns true if a store is in use.
    pub(super) fn are_open(&self) -> bool {
        self.dir.is_some()
    }

    /// Opens the store with the keys of another configuration, and its folder if there was none. Runs on another thread
    /// than signal handling.
    pub(super) async fn take_up(&mut self, config: &Config) -> Result<(), StateError> {
        let Some(state) = needed(config) else { return Ok(()) };
        let (dir, keys) = (self.dir.clone().unwrap_or_else(|| state.dir.clone()), state.keys.clone());
        let folder = dir.clone();
        let opened = tokio::task::spawn_blocking(move || FileStore::open(&folder, &keys)).await;
        let opened: Arc<dyn Store> = Arc::new(opened.unwrap_or(Err(StateError::BrokenOff))?);
        if let Some(before) = self.tokens.store.get() {
            keeps_all(&*before, &*opened, &names(config)).await?;
        }
        self.tokens.store.set(opened);
        self.dir = Some(dir);
        Ok(())
    }

    /// Seals every entry of `config` with the first key. To be run in the background: another process may hold a lock.
    pub(super) fn seal_again(&self, config: &Config) -> impl Future<Output = ()> + Send + use<> {
        let (store, names) = (self.tokens.store.get(), names(config));
        async move {
            let Some(store) = store else { return };
            for name in names {
                // Reading under the lock seals again. A failure is logged there, or when the account needs its entry.
                if let Ok(mut held) = store.lock(&name, SEAL_AGAIN).await {
                    let _ = held.read().await;
                }
            }
        }
    }

    /// Returns true if `config` names another folder than the one in use.
    pub(super) fn moves(&self, config: &Config) -> bool {
        needed(config).is_some_and(|state| self.dir.as_ref().is_some_and(|dir| *dir != state.dir))
    }
}

/// Fails if an entry that `before` opens can't be opened by `after`.
async fn keeps_all(before: &dyn Store, after: &dyn Store, names: &[String]) -> Result<(), StateError> {
    for name in names {
        if let Err(StateError::WrongKey { path, .. }) = after.peek(name, None).await
            && before.peek(name, None).await.is_ok()
        {
            return Err(StateError::Orphaned { path });
        }
    }
    Ok(())
}

fn needed(config: &Config) -> Option<&StateStore> {
    let is_needed = config.rotating().next().is_some() || config.brought_secrets().next().is_some();
    config.state.as_ref().filter(|_| is_needed)
}

/// Returns the names of all entries of a configuration: grants, and secrets that providers bring.
fn names(config: &Config) -> Vec<String> {
    let mut names = Tokens::grants(config);
    names.extend(config.brought_secrets().map(|(service, _)| handshake_secrets::name(service)));
    names
}

/// Has every account that keeps a refresh token look into the store every other second: for a login, and for a token
/// that another process renewed. The same holds for the secrets that providers bring.
pub(super) async fn watch(snapshots: Handle) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let snapshot = snapshots.load();
        for source in snapshot.token_sources() {
            source.look();
        }
        for brought in snapshot.keys.endpoints().iter().filter_map(|endpoint| endpoint.brought.as_ref()) {
            // It logs what it finds, once.
            let _ = brought.look().await;
        }
    }
}
