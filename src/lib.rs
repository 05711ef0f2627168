//! attache is a reverse proxy that adds credentials to outbound requests and authenticates inbound webhook calls.
//!
//! # Three data flows
//!
//! **A request.** [`proxy`] receives it from a `socket`, plain or TLS, and pins the [`snapshot`]; [`outbound`] (the
//! caller, its rights, the service) or [`webhook`] turns (snapshot, request head, now) into a [`plan::Plan`] or a
//! [`plan::Refusal`], without I/O; `proxy` admits it by the [`limits`] of caller and service, carries out the plan through
//! [`transport`], directly or through a forward proxy, and `telemetry` records one outcome. A request
//! may have to wait for a key before it is decided: a JWT for those of its issuer ([`issuers`]), a message of SNS for a
//! certificate ([`sns`]), a delivery for the secret that its provider brought ([`handshake_secrets`]). `webhook` says which
//! one, `proxy` waits for it and asks again.
//!
//! **A file.** [`config`] reads text and secrets, builds a tree in which every node knows its place, and returns a
//! [`config::model::Config`] or every problem at once; [`snapshot`] turns it into routing tables, key tables and
//! prepared header values, takes over the unchanged token caches of the previous snapshot, and is published by one
//! swap.
//!
//! **A token.** A request asks its account's [`credentials::oauth2::TokenSource`]: it returns a valid token (one atomic
//! load), or the request waits for the refresh under way. [`jwt`] signs the account's assertions, and `fetch` sends the
//! request for a token; a rotating refresh token is spent under the lock of [`state`], and its successor is stored there
//! before the token is used.
//!
//! # Invariants
//!
//! - A secret is in [`secret::Secret`] or in a header value marked sensitive, and nowhere else.
//! - One immutable snapshot per request, pinned at its head.
//! - Parsing and planning are pure; time is an argument.
//! - Every task has an owner and ends with it.

pub mod admin;
pub mod cli;
pub mod config;
pub mod credentials;
pub mod error_chain;
pub mod error_code;
pub(crate) mod fetch;
pub mod handshake_secrets;
pub mod header_name;
pub mod issuers;
pub mod jwt;
pub mod limits;
pub mod log_limit;
pub mod message;
pub mod outbound;
pub mod plan;
pub mod proxy;
pub mod request_id;
pub mod route;
pub mod secret;
pub mod server;
pub mod signature;
pub mod snapshot;
pub mod sns;
pub(crate) mod socket;
pub mod state;
pub mod telemetry;
pub mod transport;
pub mod webhook;
pub mod x509;
