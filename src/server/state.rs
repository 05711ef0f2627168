//! The state that the tasks of the server share, and what the admin listener shows of it.

use super::acceptors::Acceptors;
use crate::admin::report::{Build, ConfigReport, Moment, ReloadReport, Report};
use crate::admin::{Access, View, status};
use crate::limits::buffered::BodyMemory;
use crate::proxy::Table;
use crate::snapshot::Handle;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::failures::RecentFailures;
use crate::telemetry::metrics::{Exposition, Reloads};
use crate::transport::Transport;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio::sync::watch;

/// State that the tasks share.
pub(super) struct ServerState {
    pub(super) snapshots: Handle,
    pub(super) transport: Arc<Transport>,
    /// The connections of the outbound listener and of the webhook listener.
    pub(super) tables: [Arc<Table>; 2],
    pub(super) acceptors: Acceptors,
    /// Maximum number of file descriptors of the process.
    pub(super) descriptors: usize,
    pub(super) access_log: Arc<AccessLog>,
    pub(super) failures: Arc<RecentFailures>,
    /// The memory of webhook bodies that are read ahead.
    pub(super) body_memory: Arc<BodyMemory>,
    pub(super) reloads: Reloads,
    pub(super) loaded_at: Mutex<SystemTime>,
    pub(super) last_reload: Mutex<ReloadReport>,
    pub(super) draining: watch::Receiver<bool>,
}

impl ServerState {
    /// Returns the counts of what is served and the outcome of the last reload, in one line.
    pub(super) fn summary(&self) -> String {
        let config = Arc::clone(&self.snapshots.load().config);
        let hash = config.hash.get(..12).unwrap_or(&config.hash);
        let services = match config.services.len() {
            1 => "1 service".to_owned(),
            count => format!("{count} services"),
        };
        let last_reload = self.last_reload.lock().unwrap_or_else(PoisonError::into_inner).result;
        format!("{services}, hash {hash}, last reload {last_reload}")
    }
}

impl View for ServerState {
    fn live(&self) -> bool {
        true
    }

    fn ready(&self) -> bool {
        !*self.draining.borrow()
    }

    fn report(&self) -> Report {
        let snapshot = self.snapshots.load();
        let (last_reload, at) = (&self.last_reload, SystemTime::now());
        Report {
            build: Build { version: env!("CARGO_PKG_VERSION"), commit: env!("ATTACHE_COMMIT") },
            config: ConfigReport {
                hash: snapshot.config.hash.clone(),
                loaded_at: Moment(*self.loaded_at.lock().unwrap_or_else(PoisonError::into_inner)),
                restart_needed: self.reloads.restart_needed(),
                last_reload: last_reload.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            },
            parts: status::describe(&snapshot, at),
            failures: status::describe_failures(&self.failures.newest_first()),
            at,
            ready: self.ready(),
        }
    }

    fn access(&self) -> Access {
        Access::of(&self.snapshots.load().config.listen)
    }

    fn key_set(&self) -> Value {
        let snapshot = self.snapshots.load();
        snapshot.assertion.as_ref().map_or_else(|| json!({ "keys": [] }), |signer| signer.key_set())
    }

    fn end_step(&self) {
        self.snapshots.load().statistics().for_each(|stats| stats.end_step());
    }

    fn metrics(&self) -> String {
        let snapshot = self.snapshots.load();
        let mut exposition = Exposition::new();
        status::expose(&snapshot, &mut exposition);
        for table in &self.tables {
            let counts = table.counts();
            exposition.connections(table.listener, counts.active, counts.idle, counts.refused);
        }
        for (listener, acceptor) in self.acceptors.with_tls() {
            for (reason, count) in acceptor.failures().counts() {
                exposition.handshakes_failed(listener, reason, count);
            }
        }
        exposition.buffered(self.body_memory.in_use(), snapshot.config.buffered);
        exposition.reloads(&self.reloads).access_log_dropped(self.access_log.dropped());
        exposition.render()
    }
}
