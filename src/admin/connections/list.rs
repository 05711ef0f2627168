//! The open connections: their number, the state of each, and which one is closed at the limit.
//!
//! At the limit the connection that has waited longest for a request is closed, else the one whose client has read nothing
//! for the longest time, else the new one. So neither idle clients nor clients that do not read keep a probe of `/livez`
//! from being answered.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// See the module's documentation.
pub(super) struct ConnectionList {
    limit: usize,
    open: Mutex<Vec<Arc<ListedConnection>>>,
}

/// One connection of the list.
pub(super) struct ListedConnection {
    state: Mutex<AnswerState>,
    task: OnceLock<AbortHandle>,
}

#[derive(Debug, Clone, Copy)]
struct AnswerState {
    /// A request is in progress, or its answer is not written out yet.
    is_answering: bool,
    /// Since when the client has read nothing of an answer that waits for it.
    unread_since: Option<Instant>,
    /// The time at which the connection was accepted, or its last answer written.
    idle_since: Instant,
    /// No complete head was received yet.
    is_new: bool,
}

/// A connection's entry in the list, removed when this is dropped.
pub(super) struct ListEntry {
    list: Arc<ConnectionList>,
    pub(super) connection: Arc<ListedConnection>,
}

/// Marks a request as in progress until it is dropped.
pub(super) struct InProgress(Arc<ListedConnection>);

impl ConnectionList {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, open: Mutex::default() })
    }

    /// Adds a connection. `None` if there are as many as there may be, and none can be closed for it.
    pub(super) fn add(self: &Arc<Self>, now: Instant) -> Option<ListEntry> {
        let mut open = self.lock();
        if open.len() >= self.limit {
            let candidates = open.iter().enumerate().filter_map(|(at, one)| Some((one.lock().order()?, at)));
            let (_, at) = candidates.min()?;
            if let Some(task) = open.swap_remove(at).task.get() {
                task.abort();
            }
        }
        let state = AnswerState { is_answering: false, unread_since: None, idle_since: now, is_new: true };
        let connection = Arc::new(ListedConnection { state: Mutex::new(state), task: OnceLock::new() });
        open.push(Arc::clone(&connection));
        drop(open);
        Some(ListEntry { list: Arc::clone(self), connection })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<ListedConnection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AnswerState {
    /// Returns the order in which connections are closed at the limit. `None` for one that is not.
    fn order(&self) -> Option<(bool, Instant)> {
        match self.unread_since {
            Some(since) => Some((true, since)),
            None if self.is_answering => None,
            None => Some((false, self.idle_since)),
        }
    }
}

impl ListedConnection {
    /// Records the task that serves the connection.
    pub(super) fn served_by(&self, task: AbortHandle) {
        // There is one task a connection.
        let _ = self.task.set(task);
    }

    /// Records a complete head.
    pub(super) fn begin(self: &Arc<Self>) -> InProgress {
        let mut state = self.lock();
        (state.is_answering, state.is_new) = (true, false);
        drop(state);
        InProgress(Arc::clone(self))
    }

    /// Returns true if no complete head was received yet.
    pub(super) fn is_new(&self) -> bool {
        self.lock().is_new
    }

    /// Records since when the client has read nothing. `None`: everything is written out.
    pub(super) fn set_unread(&self, since: Option<Instant>) {
        let mut state = self.lock();
        if state.unread_since.is_some() && since.is_none() {
            state.idle_since = Instant::now();
        }
        state.unread_since = since;
    }

    fn lock(&self) -> MutexGuard<'_, AnswerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        (state.is_answering, state.idle_since) = (false, Instant::now());
    }
}

impl Drop for ListEntry {
    fn drop(&mut self) {
        // One that was closed at the limit was removed already.
        self.list.lock().retain(|other| !Arc::ptr_eq(other, &self.connection));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn at_the_limit_the_longest_idle_gives_way_then_one_that_does_not_read_then_none() {
        let list = ConnectionList::new(4);
        let mut entries = Vec::new();
        for _ in 0..4 {
            entries.push(list.add(Instant::now()).unwrap());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let listed = |entry: &ListEntry| list.lock().iter().any(|one| Arc::ptr_eq(one, &entry.connection));
        // The first has had an answer since, the second does not read one, the third is at one, the fourth is idle.
        drop(entries[0].connection.begin());
        let _unread = entries[1].connection.begin();
        entries[1].connection.set_unread(Some(Instant::now()));
        let _answering = entries[2].connection.begin();
        for expected in [3, 0, 1] {
            let new = list.add(Instant::now()).unwrap();
            assert!(!listed(&entries[expected]), "{expected}");
            std::mem::forget(new.connection.begin());
            entries.push(new);
        }
        assert!(list.add(Instant::now()).is_none() && listed(&entries[2]));
        drop(entries);
        assert!(list.lock().is_empty());
    }
}
