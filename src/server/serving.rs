//! Serves what is bound: starts the tasks, follows the file and the signals, and drains.

use super::POLL;
use super::StartError;
use super::acceptors::Acceptors;
use super::admin_thread::AdminThread;
use super::bound::{BoundListeners, BoundServer};
use super::grants;
use super::issuers::KeyFetches;
use super::reload::{Fixed, Reloader};
use super::service_manager::ServiceManager;
use super::signals::{Hangup, Termination};
use super::state::ServerState;
use crate::admin::View;
use crate::config::Files;
use crate::config::model::Config;
use crate::config::watch::Watcher;
use crate::proxy::{BoundListener, Entrance, Proxy, serve};
use crate::telemetry::metrics::Direction;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

impl BoundServer {
    /// Serves until a signal ends it, and drains.
    pub(super) async fn serve(self, files: Files) -> Result<(), StartError> {
        let Self { path, state, tokens, grants, log, drain, listeners } = self;
        let BoundListeners { outbound, webhooks, admin, sockets } = listeners;
        let hangup = Hangup::listen()?;
        let mut termination = Termination::listen()?;

        // Started before readiness is announced, so that every later change causes an event.
        let watcher = Watcher::start(files, POLL, Arc::clone(&state.reloads.watch_failed));
        let mut background = JoinSet::new();
        background.spawn(grants::watch(state.snapshots.clone()));
        background.spawn(grants.seal_again(&state.snapshots.load().config));
        let mut key_fetches = KeyFetches::default();
        key_fetches.follow(&state.snapshots.load(), &state.transport);
        let view: Arc<dyn View> = Arc::clone(&state) as _;
        let admin = AdminThread::start(admin, Arc::clone(&state.acceptors.admin), view)?;
        let mut requests = RequestTasks::start(outbound, webhooks, &state);
        announce(&path, &state.snapshots.load().config);
        tracing::info!("ready");
        let manager = ServiceManager::from_environment();
        manager.ready(&state.summary());

        let reloader = Reloader {
            path,
            state: Arc::clone(&state),
            tokens: tokens.clone(),
            grants,
            log,
            fixed: Fixed::of(&state.snapshots.load().config),
            background: JoinSet::new(),
        };
        let mut changes = ChangeSources { watcher, hangup, reloader, key_fetches, manager };
        changes.follow(&mut termination).await;

        let limit = state.snapshots.load().config.drain;
        tracing::info!(limit = ?limit, "draining");
        changes.manager.stopping();
        // Readiness goes down and the listeners close at the same moment.
        drain.send_replace(true);
        for socket in &sockets {
            // The socket file may be gone already.
            let _ = std::fs::remove_file(socket);
        }
        requests.drain(limit, &mut termination).await;
        // The answer to a request that spent a refresh token must not be lost: it holds the next token.
        if !tokens.finish().await {
            tracing::error!("ended while a refresh token was being exchanged: its account may need a login");
        }
        let log = Arc::clone(&state.access_log);
        // Writes the lines of the last requests; waits for the reader of the log for at most two seconds.
        let _ = tokio::task::spawn_blocking(move || log.flush(Duration::from_secs(2))).await;
        drop(admin);
        tracing::info!("stopped");
        Ok(())
    }
}

/// The sources of changes, and what applies them.
struct ChangeSources {
    watcher: Watcher,
    hangup: Hangup,
    reloader: Reloader,
    key_fetches: KeyFetches,
    manager: ServiceManager,
}

impl ChangeSources {
    /// Applies each change until a signal ends the process.
    async fn follow(&mut self, termination: &mut Termination) {
        while let Some(is_asked) = self.next(termination).await {
            // Must not block signal handling: a file system may hang.
            tokio::select! {
                files = self.reloader.reload() => self.applied(files, is_asked),
                () = termination.received() => return,
            }
        }
    }

    /// Waits for a change of the files or a SIGHUP. Returns if it was a SIGHUP; `None` if the process should end.
    async fn next(&mut self, termination: &mut Termination) -> Option<bool> {
        tokio::select! {
            () = self.watcher.changed() => {
                self.manager.reloading();
                Some(false)
            }
            () = self.hangup.received() => {
                // At once: systemd waits for the end of a reload only if it knows of it when ExecReload= ends.
                self.manager.reloading();
                let next_read = self.watcher.next_read();
                tokio::select! {
                    () = self.hangup.join(next_read) => {}
                    () = termination.received() => return None,
                }
                tracing::info!("SIGHUP: reading the configuration");
                Some(true)
            }
            () = termination.received() => None,
        }
    }

    /// Continues after a reload that read `files`.
    fn applied(&mut self, files: Option<Files>, is_asked: bool) {
        if let Some(files) = files {
            self.watcher.reread(files);
        }
        let state = &self.reloader.state;
        self.key_fetches.follow(&state.snapshots.load(), &state.transport);
        if is_asked {
            state.snapshots.load().issuers.nudge();
            // After the reload, so that a mended secret is tried and not the one before it.
            state.snapshots.load().token_sources().for_each(|source| source.nudge());
        }
        self.manager.ready(&state.summary());
    }
}

/// The tasks that serve the two listeners of requests.
struct RequestTasks {
    tasks: JoinSet<()>,
    cut: CancellationToken,
}

impl RequestTasks {
    fn start(outbound: BoundListener, webhooks: BoundListener, state: &Arc<ServerState>) -> Self {
        let proxy = Arc::new(Proxy {
            snapshots: state.snapshots.clone(),
            transport: Arc::clone(&state.transport),
            access_log: Arc::clone(&state.access_log),
            failures: Arc::clone(&state.failures),
            body_memory: Arc::clone(&state.body_memory),
            verifications: Semaphore::new(tokio::runtime::Handle::current().metrics().num_workers()),
        });
        let (mut tasks, cut) = (JoinSet::new(), CancellationToken::new());
        let Acceptors { outbound: for_outbound, webhooks: for_webhooks, admin: _ } = &state.acceptors;
        let listeners =
            [(outbound, Direction::Outbound, for_outbound), (webhooks, Direction::Webhook, for_webhooks)];
        for ((listener, direction, acceptor), table) in listeners.into_iter().zip(&state.tables) {
            let (proxy, table) = (Arc::clone(&proxy), Arc::clone(table));
            let (address, acceptor) = (listener.address(), Arc::clone(acceptor));
            let entrance = Arc::new(Entrance { proxy, direction, address, table, acceptor });
            tasks.spawn(serve(listener, entrance, state.draining.clone(), cut.clone().cancelled_owned()));
        }
        Self { tasks, cut }
    }

    /// Waits for the requests in flight, for at most `limit`, and ends those that remain.
    async fn drain(&mut self, limit: Duration, termination: &mut Termination) {
        let tasks = &mut self.tasks;
        let all_ended = tokio::select! {
            ended = tokio::time::timeout(limit, async { while tasks.join_next().await.is_some() {} }) => ended.is_ok(),
            // A second signal aborts the drain.
            () = termination.received() => false,
        };
        if !all_ended {
            tracing::warn!("ended with requests in flight");
            self.cut.cancel();
            // Their access log lines are written when this ends.
            while self.tasks.join_next().await.is_some() {}
        }
    }
}

/// Logs what is served.
fn announce(path: &Path, config: &Config) {
    let webhooks = config.services.values().filter_map(|service| service.webhook.as_ref());
    tracing::info!(
        path = %path.display(),
        hash = config.hash,
        services = config.services.len(),
        accounts = config.count_accounts(),
        users = config.users.len(),
        callers = config.callers.as_ref().map(|callers| callers.len()),
        keys = webhooks.map(|webhook| webhook.api_keys.len()).sum::<usize>(),
        "attache {} serving",
        env!("CARGO_PKG_VERSION")
    );
}
