//! The bounded queue between the requests and the one thread that writes.
//!
//! Bytes wait in chunks, which are written as a whole: a line costs a copy, and hundreds of lines share one write
//! system call. Invariant: `queued` counts accepted bytes that are neither written nor lost, including the chunk being
//! written, so a flush waits for `queued == 0`.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::sink::Sink;

const CHUNK: usize = 64 * 1024;

/// Time that the writer lets lines accumulate after a write, so that a busy process pays one wake-up for all of them.
const GATHER: Duration = Duration::from_millis(5);

/// Time after which the writer tries a full non-blocking sink again.
const FULL_PAUSE: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
    /// Signals work for the writer.
    work: Condvar,
    /// Signals that `queued` fell to zero during a flush.
    drained: Condvar,
    limit: usize,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct QueueState {
    chunks: VecDeque<Vec<u8>>,
    spare: Option<Vec<u8>>,
    queued: usize,
    /// The writer sleeps until it is notified.
    idle: bool,
    flushing: usize,
    stopped: bool,
}

impl Queue {
    /// Starts the writer; it ends after [`Queue::stop`].
    pub(super) fn start(sink: Box<dyn Sink>, limit: usize) -> std::io::Result<Arc<Self>> {
        let queue = Arc::new(Self {
            state: Mutex::default(),
            work: Condvar::new(),
            drained: Condvar::new(),
            limit,
            dropped: AtomicU64::new(0),
        });
        let writer = Arc::clone(&queue);
        // Not joined: a reader that stalled for good must not keep the process alive. `stop` ends it.
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || writer.run(sink))?;
        Ok(queue)
    }

    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.stopped || state.queued + line.len() > self.limit {
            drop(state);
            self.dropped.fetch_add(1, Relaxed);
            return;
        }
        state.queued += line.len();
        match state.chunks.back_mut() {
            Some(chunk) if chunk.len() + line.len() <= CHUNK => chunk.extend_from_slice(line),
            _ => {
                let mut chunk = state.spare.take().unwrap_or_else(|| Vec::with_capacity(CHUNK));
                chunk.extend_from_slice(line);
                state.chunks.push_back(chunk);
            }
        }
        let wake = std::mem::take(&mut state.idle);
        drop(state);
        if wake {
            self.work.notify_one();
        }
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Waits until the queue is empty, for at most `within`.
    pub(super) fn flush(&self, within: Duration) -> bool {
        let mut state = self.lock();
        state.flushing += 1;
        self.work.notify_one();
        let (mut state, _) = self
            .drained
            .wait_timeout_while(state, within, |state| state.queued > 0 && !state.stopped)
            .unwrap_or_else(PoisonError::into_inner);
        state.flushing -= 1;
        state.queued == 0
    }

    /// Ends the writer; queued lines are lost, so flush first.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.work.notify_one();
    }

    fn run(&self, mut sink: Box<dyn Sink>) {
        let mut gather = false;
        while let Some(chunk) = self.next(gather) {
            self.write(sink.as_mut(), &chunk);
            gather = self.done(chunk);
        }
    }

    /// Returns the next chunk; `None` once stopped. With `gather`, waits for more lines unless a flush is waiting.
    fn next(&self, gather: bool) -> Option<Vec<u8>> {
        let mut state = self.lock();
        if gather {
            (state, _) = self
                .work
                .wait_timeout_while(state, GATHER, |state| state.flushing == 0 && !state.stopped)
                .unwrap_or_else(PoisonError::into_inner);
        }
        while state.chunks.is_empty() && !state.stopped {
            state.idle = true;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle = false;
        if state.stopped { None } else { state.chunks.pop_front() }
    }

    /// Writes the chunk, or counts the lines that were lost.
    fn write(&self, sink: &mut dyn Sink, chunk: &[u8]) {
        let mut rest = chunk;
        while !rest.is_empty() {
            match sink.write(rest) {
                Ok(0) => break,
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.lock().stopped {
                        break;
                    }
                    std::thread::sleep(FULL_PAUSE);
                }
                Err(error) => {
                    let written = &chunk[..chunk.len() - rest.len()];
                    sink.failed(&error, written.last().is_some_and(|byte| *byte != b'\n'));
                    break;
                }
            }
        }
        let lost = rest.iter().filter(|byte| **byte == b'\n').count();
        self.dropped.fetch_add(lost as u64, Relaxed);
    }

    /// Accounts for a chunk; true if the writer has caught up and may let lines accumulate.
    fn done(&self, mut chunk: Vec<u8>) -> bool {
        let mut state = self.lock();
        state.queued -= chunk.len();
        if chunk.capacity() <= 2 * CHUNK {
            chunk.clear();
            state.spare = Some(chunk);
        }
        if state.queued == 0 && state.flushing > 0 {
            self.drained.notify_all();
        }
        state.chunks.len() <= 1
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        // Every update leaves the state consistent, so it is usable after a panic elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
