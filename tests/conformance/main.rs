//! attache's HTTP/1 against RFC 9110 and RFC 9112: tables of bytes in and bytes out.
//!
//! Each row names the section that decides it. A table runs to its end and reports every row that fails.

#[path = "../integration/harness/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the harness serves the integration tests as well")]
mod harness;
mod peers;
mod requests;
mod responses;
mod table;
