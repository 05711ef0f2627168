//! Connections to upstreams: names, addresses, TCP, TLS.
//!
//! This module is the only place that opens a connection to an upstream. State that must outlive a snapshot lives in
//! two values that the process makes once: [`names::Names`] (answers of the name server, the address that worked last)
//! and [`tls::TlsClients`] (TLS sessions to resume).
//!
//! Invariant: every failure has a type. No decision rests on the text of an error.

pub mod dial;
pub mod egress;
pub mod names;
pub mod reach;
pub mod tls;
