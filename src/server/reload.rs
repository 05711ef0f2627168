//! Takes a changed file up: all of it by one swap, or nothing.

use super::grants::Grants;
use super::{LastReload, State, connection_limit, is_json, level};
use crate::config::model::Config;
use crate::config::{self, Loaded, Mode, Problems};
use crate::credentials::oauth2::{TokenSource, Tokens};
use crate::snapshot::Snapshot;
use crate::telemetry::logging::Logging;
use crate::telemetry::metrics::ReloadResult;
use serde_json::json;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// The longest a swap waits for the tokens of changed accounts.
const WARM_UP: Duration = Duration::from_secs(15);
/// How many of them are asked for at the same time.
const AT_ONCE: usize = 32;

/// Takes a changed file up.
pub(super) struct Reloader {
    pub(super) path: PathBuf,
    pub(super) state: Arc<State>,
    pub(super) tokens: Tokens,
    pub(super) grants: Grants,
    pub(super) log: Option<Logging>,
    /// The configuration at the start: what was bound and opened then stays so.
    pub(super) started_with: Arc<Config>,
}

impl Reloader {
    /// Reads the file again; what is good takes effect, what is bad changes nothing. Returns what to watch from now on.
    pub(super) async fn reload(&mut self) -> Option<Vec<PathBuf>> {
        let (path, current) = (self.path.clone(), Arc::clone(&self.state.snapshots.load().config));
        let load = move || config::load_after(&path, Mode::Full, &current.last_values);
        let loaded = tokio::task::spawn_blocking(load).await;
        match loaded {
            Ok(loaded) => Some(self.apply(loaded).await),
            Err(error) => {
                tracing::error!(%error, "the configuration could not be read");
                None
            }
        }
    }

    async fn apply(&mut self, loaded: Loaded) -> Vec<PathBuf> {
        let current = self.state.snapshots.load();
        let mut problems = loaded.problems.to_short_json();
        let opened = match &loaded.config {
            Some(config) if config.state != current.config.state || !self.grants.are_open() => {
                self.grants.take_up(config).await
            }
            _ => Ok(()),
        };
        let result = match (loaded.config, opened) {
            (None, _) => {
                self.log_problems(&loaded.problems);
                ReloadResult::Rejected
            }
            (Some(_), Err(error)) => {
                tracing::error!(
                    %error,
                    "refresh tokens can't be kept in state.dir, the last good configuration stays in effect"
                );
                problems =
                    json!([{ "severity": "error", "code": "state_unusable", "message": error.to_string() }]);
                ReloadResult::Rejected
            }
            (Some(config), Ok(())) => {
                let waiting = self.waiting(&config);
                let unchanged = config.fingerprint == current.config.fingerprint;
                if !unchanged {
                    super::unread::log(&loaded.problems);
                    self.swap(config, current).await;
                }
                if !waiting.is_empty() {
                    let keys = waiting.join(", ");
                    tracing::warn!(keys, "these take effect at the next start; the rest is in effect");
                    ReloadResult::NeedsRestart
                } else if unchanged {
                    ReloadResult::Unchanged
                } else {
                    ReloadResult::Applied
                }
            }
        };
        if result != ReloadResult::Rejected {
            tracing::info!(result = result.as_str(), "configuration read");
        }
        let now = SystemTime::now();
        self.state.reloads.record(result, now);
        *self.state.last_reload.lock().unwrap_or_else(PoisonError::into_inner) =
            LastReload { at: now, result: result.as_str(), problems };
        loaded.files
    }

    fn log_problems(&self, problems: &Problems) {
        if self.log.as_ref().is_some_and(Logging::is_json) {
            let problems = problems.to_short_json();
            tracing::error!(%problems, "the changed configuration has problems, the last good one stays in effect");
        } else {
            let problems = problems.render_human(false);
            tracing::error!(
                "the changed configuration has problems, the last good one stays in effect\n{problems}"
            );
        }
    }

    async fn swap(&mut self, config: Config, current: Arc<Snapshot>) {
        if let Some(log) = &self.log {
            log.set_level(level(config.log.level));
            log.set_json(is_json(&config));
        }
        let limit = connection_limit(&config, self.state.descriptors);
        for table in &self.state.tables {
            table.set_limit(limit);
        }
        let next = self.build(config, Arc::clone(&current)).await;
        warm(next.cold_sources(&current, Instant::now())).await;
        self.state.snapshots.store(next);
        *self.state.loaded_at.lock().unwrap_or_else(PoisonError::into_inner) = SystemTime::now();
    }

    /// Builds the snapshot where it holds up no request: with 10,000 services it takes a while.
    async fn build(&self, config: Config, current: Arc<Snapshot>) -> Snapshot {
        let (tokens, transport) = (self.tokens.clone(), Arc::clone(&self.state.transport));
        let build = move || Snapshot::build(config, Some(&current), &tokens, &transport);
        match tokio::task::spawn_blocking(build).await {
            Ok(snapshot) => snapshot,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// The keys of `config` that differ from what the process was started with, and so wait for the next start.
    fn waiting(&self, config: &Config) -> Vec<&'static str> {
        let fixed = [
            ("listen", config.listen != self.started_with.listen),
            ("threads", config.threads != self.started_with.threads),
            ("log.access", config.log.access != self.started_with.log.access),
            ("state.dir", self.grants.moves(config)),
        ];
        fixed.into_iter().filter_map(|(key, changed)| changed.then_some(key)).collect()
    }
}

/// Gets the tokens of changed accounts while the old ones still serve, so that no request has to wait for one. An account
/// that gets none is served as it is: the file says so, and the failure has been logged.
async fn warm(sources: Vec<Arc<TokenSource>>) {
    let all = async {
        let mut asking = JoinSet::new();
        for source in sources {
            if asking.len() >= AT_ONCE {
                asking.join_next().await;
            }
            asking.spawn(async move { source.get().await.is_ok() });
        }
        while asking.join_next().await.is_some() {}
    };
    if timeout(WARM_UP, all).await.is_err() {
        tracing::warn!("some changed accounts have no token yet");
    }
}
