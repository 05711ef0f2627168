//! OAuth2 tokens: asked for once however many requests wait, kept, renewed before they expire, never sent after.
//!
//! A token's way: [`TokenSource`] (who waits, who is told) → `grant` (the request of RFC 6749) → `exchange` (over
//! the wire) → `response` (what token endpoints really answer, made into what the RFC says) → published.
//! `schedule` says when to renew and how long to pause, as pure functions.
//!
//! The `oauth2` crate builds the requests and parses the answers; caching, single flight, renewal and the judgement
//! of failures are ours, because it has none of them.

mod error;
mod exchange;
mod flight;
mod grant;
mod identity;
mod redact;
mod response;
mod schedule;
mod source;
mod status;
#[cfg(test)]
mod stub;
mod token;

pub use error::{TokenError, Unavailability};
pub use exchange::{BuildError, CONNECT_TIMEOUT, TokenClient};
pub use flight::TOKEN_TIMEOUT;
pub use identity::identity;
pub use source::TokenSource;
pub use status::{LastOutcome, TokenState, TokenStatus};
pub use token::Token;
