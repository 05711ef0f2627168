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
            Some(config) if config.fingerprint == current.config.fingerprint => ReloadResult::Unchanged,
            Some(config) => self.swap(config, &current, now),
        };
        if result != ReloadResult::Rejected {
            tracing::info!(result = result.as_str(), "configuration read");
        }
        self.state.reloads.record(result, now);
        *self.state.last_reload.lock().unwrap_or_else(PoisonError::into_inner) =
            LastReload { at: now, result: result.as_str(), problems };
        loaded.files
    }

    fn swap(&mut self, config: Config, current: &Snapshot, now: SystemTime) -> ReloadResult {
        let running = &current.config;
        let fixed = [
            ("listen", config.listen != running.listen),
            ("threads", config.threads != running.threads),
            ("log.access", config.log.access != running.log.access),
        ];
        let waiting: Vec<&str> =
            fixed.into_iter().filter_map(|(key, changed)| changed.then_some(key)).collect();
        if let Some(log) = &self.log {
            log.set_level(level(config.log.level));
        }
        self.state.snapshots.store(Snapshot::build(config, Some(current), &self.tokens));
        *self.state.loaded_at.lock().unwrap_or_else(PoisonError::into_inner) = now;
        if waiting.is_empty() {
            ReloadResult::Applied
        } else {
            tracing::warn!(
                keys = waiting.join(", "),
                "these take effect at the next start; the rest is in effect"
            );
            ReloadResult::NeedsRestart
        }
    }
}
