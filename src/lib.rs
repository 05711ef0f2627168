//! attache carries your credentials to foreign services, and announces foreign callers at home.
//!
//! # Three journeys, each a straight line
//!
//! **A request.** [`proxy`] takes it in and pins the [`snapshot`]; `outbound` or `webhook` turns (snapshot,
//! request head, now) into a [`plan::Plan`] or a [`plan::Refusal`], without I/O; `proxy` carries the plan out and
//! `telemetry` records one outcome.
//!
//! **A file.** [`config`] reads text and secrets, builds a tree in which every node knows its place, and returns
//! a [`config::model::Config`] or every problem at once; [`snapshot`] turns it into routing tables, key tables and
//! prepared header values, takes over the unchanged token caches of its predecessor, and is published by one swap.
//!
//! **A token.** A request asks its account's [`credentials::oauth2::TokenSource`]: a valid token is there (one
//! atomic load), or the request joins the single flight. [`jwt`] signs what proves the account; a refresh token that
//! rotates is spent under the lock of [`state`], and its successor kept there before the token is of use to anyone.
//!
//! # Invariants
//!
//! - A secret lives in [`secret::Secret`] or in a header value marked sensitive, and nowhere else.
//! - One immutable snapshot a request, pinned at its head.
//! - Parsing and planning are pure; time is an argument.
//! - Every task has an owner and ends with it.

pub mod admin;
pub mod cli;
pub mod config;
pub mod credentials;
pub mod error_chain;
pub mod error_code;
pub mod header_name;
pub mod jwt;
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
pub mod state;
pub mod telemetry;
pub mod transport;
pub mod webhook;
