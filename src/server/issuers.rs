//! The tasks that fetch the issuers' keys: one for each key set of the snapshot in effect.

use crate::issuers::{FetchTask, Fetched, JwksClient};
use crate::snapshot::Snapshot;
use crate::transport::Transport;
use std::sync::Arc;
use tokio::task::{AbortHandle, JoinSet};

/// See the module's documentation. Dropping it ends the tasks.
#[derive(Default)]
pub(super) struct KeyFetches {
    tasks: JoinSet<()>,
    running: Vec<(Arc<Fetched>, AbortHandle)>,
}

impl KeyFetches {
    /// Starts a task for each key set that `snapshot` fetches and has no running task, and ends the others. Does not wait
    /// for a fetch.
    pub(super) fn follow(&mut self, snapshot: &Snapshot, transport: &Arc<Transport>) {
        self.running.retain(|(fetched, task)| {
            let is_kept = snapshot.issuers.fetched().any(|kept| Arc::ptr_eq(kept, fetched));
            if !is_kept {
                task.abort();
            }
            is_kept && !task.is_finished()
        });
        while self.tasks.try_join_next().is_some() {}
        for fetched in snapshot.issuers.fetched() {
            if self.running.iter().any(|(running, _)| Arc::ptr_eq(running, fetched)) {
                continue;
            }
            let (task, transport) = (FetchTask::new(fetched), Arc::clone(transport));
            let task = self.tasks.spawn(async move {
                // Reads the system's root certificates, which blocks.
                let source = task.source().clone();
                let client = tokio::task::spawn_blocking(move || JwksClient::new(&transport, &source)).await;
                if let Ok(client) = client {
                    task.run(client).await;
                }
            });
            self.running.push((Arc::clone(fetched), task));
        }
    }
}
