//! Takes a changed file up: all of it by one swap, or nothing.

use super::{LastReload, State, level};
use crate::config::model::Config;
use crate::config::{self, Loaded, Mode};
use crate::snapshot::{Snapshot, Tokens};
use crate::telemetry::logging::Logging;
use crate::telemetry::metrics::ReloadResult;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

/// Takes a changed file up.
pub(super) struct Reloader {
    pub(super) path: PathBuf,
    pub(super) state: Arc<State>,
    pub(super) tokens: Tokens,
    pub(super) log: Option<Logging>,
    /// The configuration at the start: what was bound and opened then stays so.
    pub(super) started_with: Arc<Config>,
}

impl Reloader {
    /// Reads the file again; what is good takes effect, what is bad changes nothing. Returns what to watch from now on.
    pub(super) async fn reload(&mut self) -> Option<Vec<PathBuf>> {
        let path = self.path.clone();
        let loaded = tokio::task::spawn_blocking(move || config::load(&path, Mode::Full)).await;
        match loaded {
            Ok(loaded) => Some(self.apply(loaded)),
            Err(error) => {
                tracing::error!(%error, "the configuration could not be read");
                None
            }
        }
    }

    fn apply(&mut self, loaded: Loaded) -> Vec<PathBuf> {
        let now = SystemTime::now();
        let current = self.state.snapshots.load();
        let problems = loaded.problems.to_json();
        let result = match loaded.config {
            None => {
                let problems = loaded.problems.render_human(false);
                tracing::error!(
                    "the changed configuration has problems, the last good one stays in effect\n{problems}"
                );
                ReloadResult::Rejected
            }
            Some(config) => {
                let waiting = self.waiting(&config);
                let unchanged = config.fingerprint == current.config.fingerprint;
                if !unchanged {
                    self.swap(config, &current, now);
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
        self.state.reloads.record(result, now);
        *self.state.last_reload.lock().unwrap_or_else(PoisonError::into_inner) =
            LastReload { at: now, result: result.as_str(), problems };
        loaded.files
    }

    fn swap(&mut self, config: Config, current: &Snapshot, now: SystemTime) {
        if let Some(log) = &self.log {
            log.set_level(level(config.log.level));
        }
        self.state.snapshots.store(Snapshot::build(config, Some(current), &self.tokens));
        *self.state.loaded_at.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// The keys of `config` that differ from what the process was started with, and so wait for the next start.
    fn waiting(&self, config: &Config) -> Vec<&'static str> {
        let fixed = [
            ("listen", config.listen != self.started_with.listen),
            ("threads", config.threads != self.started_with.threads),
            ("log.access", config.log.access != self.started_with.log.access),
        ];
        fixed.into_iter().filter_map(|(key, changed)| changed.then_some(key)).collect()
    }
}
