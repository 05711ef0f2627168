//! OAuth2 tokens: asked for once however many requests wait, kept, renewed before they expire, never sent after.
//!
//! A token's way: [`TokenSource`] (who waits, who is told) → `grant` (the form of each grant) → `client_auth` (who asks)
//! → `exchange` (one request, by the client in `wire`) → `response` (what token endpoints really answer, made into what
//! RFC 6749 says) → published. `schedule` says when to renew and how long to pause, as pure functions. Grants that live
//! on a refresh token go by `rotating`, under the lock of [`crate::state`]; `sign_in` and `login` get the first one with a
//! person's help, and `inspect` gets a token to look at.
//!
//! The `oauth2` crate has the types of answers and errors. The requests are ours, because it knows neither assertions
//! nor token exchange; so are caching, single flight, renewal and the judgement of failures.

mod assertion;
mod client_auth;
mod custom;
mod details;
mod error;
mod exchange;
mod flight;
mod form;
mod grant;
mod identity;
mod inspect;
mod login;
mod redact;
mod response;
mod rotating;
mod schedule;
mod sign_in;
mod source;
mod status;
#[cfg(test)]
mod stub;
mod token;
mod tokens;
mod verdict;
mod wire;
mod words;

pub use error::{Cause, Failure, TokenError, Unavailability};
pub use identity::identity;
pub use inspect::{Inspected, inspect};
pub use sign_in::{Authorization, Device, Lasts, Redirected, SignIn, SignInError, SignedIn};
pub use source::{MIN_AGE, TokenSource};
pub use status::{LastOutcome, TokenState, TokenStatus};
pub use token::Token;
pub use tokens::{StoreSlot, Tokens};
pub use wire::{BuildError, TokenClient};
