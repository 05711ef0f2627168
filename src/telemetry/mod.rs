//! Telemetry for operators: metrics, the access log, the last failures with their causes, and the log on stderr.
//!
//! Invariant: telemetry can neither delay a request nor reveal a secret. Metrics are atomics that their owner holds,
//! access log lines pass through a bounded queue that drops rather than waits, and the log on stderr carries attache's
//! own targets only, because the engine's quote request heads.
//!
//! Rejected: one `tracing` pipeline for all three. A span per request costs more than the request's own bookkeeping,
//! and a layer that forwards foreign targets would have to be trusted with their text.

pub mod access_log;
pub mod failures;
pub mod logging;
pub mod metrics;
pub mod remedies;
