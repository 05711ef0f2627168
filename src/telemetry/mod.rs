//! What attache tells its operators: numbers, one line a request, the last failures with their causes, and the log on
//! stderr.
//!
//! Invariant: nothing here can hold up a request or name a secret. Numbers are atomics that their owner holds,
//! lines go through a bounded queue that drops rather than waits, and the log on stderr carries attache's own
//! targets only, because the engine's quote request heads.
//!
//! Rejected: one `tracing` pipeline for all three. A span a request costs more than the request's own bookkeeping,
//! and a layer that forwards foreign targets would have to be trusted with their text.

pub mod access_log;
pub mod failures;
pub mod logging;
pub mod metrics;
pub mod remedies;
