//! attache's contract, from outside.

mod access_log;
mod admin;
mod answers;
mod commands;
mod deadline;
mod drain;
mod framing;
mod harness;
mod headers;
mod hostile;
mod outbound;
mod paths;
mod peers;
mod reload;
mod selftest;
mod streaming;
mod tls;
mod tokens;
mod webhooks;
mod websocket;
