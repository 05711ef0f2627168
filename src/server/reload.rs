//! Applies a changed file: all of it by one swap, or nothing. Never waits for a token endpoint.

use super::bound::connection_limit;
use super::grants::Grants;
use super::state::ServerState;
use super::{is_json, level};
use crate::admin::report::{Moment, ReloadReport};
use crate::config::changes::{Changes, RestartKey};
use crate::config::model::{AccessLog, Config, LastValues, ListenAddr};
use crate::config::{self, Files, Loaded, Mode, Problems};
use crate::credentials::oauth2::{Now, TokenSource, Tokens};
use crate::snapshot::Snapshot;
use crate::state::StateError;
use crate::telemetry::logging::Logging;
use crate::telemetry::metrics::ReloadResult;
use serde_json::{Value, json};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, SystemTime};
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;

/// Maximum number of concurrent token requests for changed accounts.
const AT_ONCE: usize = 32;
/// Interval at which an old snapshot is checked for remaining requests.
const RETIRE: Duration = Duration::from_millis(200);

/// Applies changed files.
pub(super) struct Reloader {
    pub(super) path: PathBuf,
    pub(super) state: Arc<ServerState>,
    pub(super) tokens: Tokens,
    pub(super) grants: Grants,
    pub(super) log: Option<Logging>,
    pub(super) fixed: Fixed,
    /// Work that remains after a swap.
    pub(super) background: JoinSet<()>,
}

/// Resources that were bound and opened at the start, and stay unchanged.
pub(super) struct Fixed {
    listen: [ListenAddr; 3],
    threads: Option<NonZeroUsize>,
    access: AccessLog,
}

const EXPOSED: &str = "without `callers`, every client could use every credential, and the listener for internal programs \
                       is reachable from other machines until attache is restarted";

/// The problems of a reload: for `/status`, and as `attache check` draws them.
struct Said {
    problems: Value,
    drawn: String,
}

/// A configuration that is ready to be served.
struct PreparedReload {
    changes: Changes,
    /// `None` if neither the text nor a secret differs.
    next: Option<Snapshot>,
    /// The accounts that should get their own token at once.
    cold: Vec<Weak<TokenSource>>,
}

impl Fixed {
    pub(super) fn of(config: &Config) -> Self {
        Self { listen: addresses(config), threads: config.threads, access: config.log.access.clone() }
    }
}

impl Reloader {
    /// Reads the file again; a valid one takes effect, an invalid one changes nothing. Returns the files that were
    /// read.
    pub(super) async fn reload(&mut self) -> Option<Files> {
        self.reload_by(|path, last| config::load_after(path, Mode::Full, last)).await
    }

    async fn reload_by(
        &mut self,
        load: impl FnOnce(&Path, &LastValues) -> Loaded + Send + 'static,
    ) -> Option<Files> {
        let (path, current) = (self.path.clone(), Arc::clone(&self.state.snapshots.load().config));
        match tokio::task::spawn_blocking(move || load(&path, &current.last_values)).await {
            Ok(loaded) => Some(self.apply(loaded).await),
            Err(_) => {
                self.record(ReloadResult::Rejected, broken_off(), None);
                None
            }
        }
    }

    async fn apply(&mut self, loaded: Loaded) -> Files {
        let Loaded { config, problems, files, hash } = loaded;
        let mut said = Said { problems: problems.to_short_json(), drawn: problems.render_human(false) };
        let result = match config {
            None => {
                self.log_problems(&problems);
                ReloadResult::Rejected
            }
            // `listen` of the file is another address, which takes effect at the next start.
            Some(config) if config.exposes_services_at(&self.fixed.listen[0]) => {
                tracing::error!("{EXPOSED}; the last valid configuration stays in effect");
                said = problem("anonymous_callers", EXPOSED);
                ReloadResult::Rejected
            }
            Some(config) => match self.open_store(&config).await {
                Ok(()) => match self.take(config, &problems).await {
                    Ok(result) => result,
                    Err(_) => {
                        said = broken_off();
                        ReloadResult::Rejected
                    }
                },
                Err(error) => {
                    tracing::error!(
                        %error,
                        "refresh tokens can't be stored in state.dir; the last valid configuration stays in effect"
                    );
                    said = problem("state_unusable", &error.to_string());
                    ReloadResult::Rejected
                }
            },
        };
        self.record(result, said, hash);
        files
    }

    fn record(&self, result: ReloadResult, said: Said, hash: Option<String>) {
        let (at, Said { problems, drawn }) = (SystemTime::now(), said);
        self.state.reloads.record(result, at);
        *self.state.last_reload.lock().unwrap_or_else(PoisonError::into_inner) =
            ReloadReport { at: Moment(at), result: result.as_str(), problems, drawn, hash };
    }

    fn log_problems(&self, problems: &Problems) {
        if self.log.as_ref().is_some_and(Logging::is_json) {
            let problems = problems.to_short_json();
            tracing::error!(%problems, "the changed configuration has problems; the last valid one stays in effect");
        } else {
            let problems = problems.render_human(false);
            tracing::error!(
                "the changed configuration has problems; the last valid one stays in effect\n{problems}"
            );
        }
    }

    async fn open_store(&mut self, config: &Config) -> Result<(), StateError> {
        if config.state == self.state.snapshots.load().config.state && self.grants.are_open() {
            return Ok(());
        }
        self.grants.take_up(config).await?;
        self.background.spawn(self.grants.seal_again(config));
        Ok(())
    }

    /// Puts a valid configuration into effect.
    async fn take(&mut self, config: Config, problems: &Problems) -> Result<ReloadResult, JoinError> {
        let (waiting, hash) = (self.waiting(&config), config.hash.clone());
        let PreparedReload { changes, next, cold } = self.prepare(config).await?;
        if let Some(next) = next {
            super::unread::log_change(problems, &self.state.snapshots.load().config, &next.config);
            self.swap(next);
        }
        self.background.spawn(fetch(cold));
        let result = match (waiting.as_slice(), changes.is_empty()) {
            ([], false) => ReloadResult::Applied,
            ([], true) => ReloadResult::Unchanged,
            _ => ReloadResult::NeedsRestart,
        };
        tell(&changes, &hash);
        if !waiting.is_empty() {
            let keys = waiting.join(" ");
            tracing::warn!(keys, "changes of these keys take effect at the next start");
        }
        self.state.reloads.set_restart_needed(waiting);
        Ok(result)
    }

    fn swap(&mut self, next: Snapshot) {
        if let Some(log) = &self.log {
            log.set_level(level(next.config.log.level));
            log.set_json(is_json(&next.config));
        }
        let limit = connection_limit(&next.config, self.state.descriptors);
        for table in &self.state.tables {
            table.set_limit(limit);
        }
        let listen = next.config.listen.clone();
        let old = self.state.snapshots.swap(next);
        self.state.acceptors.follow(&old.config.listen, &listen);
        old.retire_sources(&self.state.snapshots.load());
        *self.state.loaded_at.lock().unwrap_or_else(PoisonError::into_inner) = SystemTime::now();
        while self.background.try_join_next().is_some() {}
        self.background.spawn(retire(old));
    }

    /// Compares and builds on a thread that serves no requests: with 10,000 services it takes a while.
    async fn prepare(&self, config: Config) -> Result<PreparedReload, JoinError> {
        let current = self.state.snapshots.load();
        let (tokens, transport) = (self.tokens.clone(), Arc::clone(&self.state.transport));
        let descriptors = self.state.descriptors;
        let prepare = move || {
            // The fingerprint covers the text too: a changed comment changes the hash, which `status --wait-for-hash`
            // may wait for.
            if config.fingerprint == current.config.fingerprint {
                return PreparedReload { changes: Changes::default(), next: None, cold: Vec::new() };
            }
            let changes = Changes::between(&current.config, &config);
            let connections = connection_limit(&config, descriptors);
            let next = Snapshot::build(config, Some(&current), &tokens, &transport, connections);
            let cold = next.changed_sources(&current, Now::system());
            PreparedReload { changes, next: Some(next), cold }
        };
        tokio::task::spawn_blocking(prepare).await
    }

    /// Returns the keys of `config` that differ from those at the start of the process, and so wait for the next start.
    fn waiting(&self, config: &Config) -> Vec<&'static str> {
        let changed = |key: &RestartKey| match key {
            RestartKey::Listen => addresses(config) != self.fixed.listen,
            RestartKey::Threads => config.threads != self.fixed.threads,
            RestartKey::AccessLog => config.log.access != self.fixed.access,
            RestartKey::StateDir => self.grants.moves(config),
        };
        RestartKey::ALL.into_iter().filter(changed).map(RestartKey::as_str).collect()
    }
}

/// Returns the addresses of the listeners.
fn addresses(config: &Config) -> [ListenAddr; 3] {
    config.listen.all().map(|(_, listener)| listener.address.clone())
}

fn tell(changes: &Changes, hash: &str) {
    if changes.is_empty() {
        tracing::info!(hash, "configuration unchanged");
        return;
    }
    tracing::info!(
        services = changes.services_field(),
        issuers = changes.issuers_field(),
        accounts = changes.accounts_field(),
        users = changes.users_field(),
        callers = changes.callers_field(),
        keys = changes.keys_field(),
        settings = changes.settings_field(),
        hash,
        "configuration applied"
    );
}

/// Returns the problems of a reload that a panic ended. The panic's message may quote the file, so neither the log nor
/// `/status` repeats it; the panic hook has reported its place.
fn broken_off() -> Said {
    let message = "attache failed to apply the configuration; the last valid one stays in effect";
    tracing::error!("{message}; this is a fault of attache, please report it");
    problem("internal", message)
}

/// Returns the problems of a reload that fails for a reason outside the file.
fn problem(code: &str, message: &str) -> Said {
    Said {
        problems: json!([{ "severity": "error", "code": code, "message": message }]),
        drawn: format!("error: {message}\n"),
    }
}

/// Requests a token for each account whose token is in use but not its own, so that no request waits for it. A failure
/// is logged, and the source tries again.
async fn fetch(sources: Vec<Weak<TokenSource>>) {
    let mut asking = JoinSet::new();
    for source in sources {
        if asking.len() >= AT_ONCE {
            asking.join_next().await;
        }
        asking.spawn(async move {
            // Dropped with a snapshot that was replaced meanwhile.
            if let Some(source) = source.upgrade() {
                source.fetch().await;
            }
        });
    }
    asking.join_all().await;
}

/// Drops a snapshot once it serves no request. The last request must not drop it: freeing 100,000 keys would delay the
/// other requests of its worker.
async fn retire(old: Arc<Snapshot>) {
    while Arc::strong_count(&old) > 1 {
        sleep(RETIRE).await;
    }
    // Fails only while the runtime shuts down.
    let _ = tokio::task::spawn_blocking(move || drop(old)).await;
}

#[cfg(test)]
mod tests;
