//! attache's contract, from outside.

mod access_log;
mod admin;
mod answers;
mod commands;
mod crash;
mod deadline;
mod drain;
mod framing;
mod harness;
mod headers;
mod hostile;
mod live;
mod login;
mod outbound;
mod paths;
mod peers;
mod providers;
mod refused;
mod reload;
mod selftest;
mod streaming;
mod tls;
mod tokens;
mod webhooks;
mod websocket;
