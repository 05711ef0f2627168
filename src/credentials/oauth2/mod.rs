//! OAuth2 tokens: asked for once however many requests wait, kept, renewed before they expire, never sent after.
//!
//! A token's way: [`TokenSource`] (requests, messages) → `owner` (one task an account) with its `machine` (the states, pure)
//! → `refresh` (under the lock of [`crate::state`] for grants with a refresh token) → `grant` (the form of each grant) →
//! `client_auth` (the client's authentication) → `exchange` (one request, by the client in `wire`) → `response` (what token
//! endpoints really answer, made into what RFC 6749 says) → published. `schedule` says when to renew and how long to
//! pause, as pure functions. `sign_in` and `login` get the first refresh token with a person's help, and `inspect` gets a
//! token to look at.
//!
//! The `oauth2` crate has the types of answers and errors. The requests are made here, because it knows neither assertions
//! nor token exchange; so are caching, single flight, renewal and the judgement of failures.

mod assertion;
mod client_auth;
mod clock;
mod custom;
mod details;
mod error;
mod exchange;
#[cfg(test)]
mod faults;
mod form;
mod grant;
mod identity;
mod inspect;
mod login;
mod machine;
mod memory;
mod owner;
mod redact;
mod refresh;
mod response;
mod schedule;
mod sign_in;
#[cfg(test)]
mod simulation;
mod source;
mod status;
#[cfg(test)]
mod stub;
mod token;
mod tokens;
mod unsaved;
mod verdict;
mod wire;
mod words;

pub use clock::Now;
pub use error::{Cause, Failure, TokenError, Unavailability};
pub use identity::identity;
pub use inspect::{Inspected, inspect};
pub use sign_in::{AuthorizationRequest, Device, Lasts, Redirected, SignIn, SignInError, SignedIn};
pub use source::TokenSource;
pub use status::{LastOutcome, TokenState, TokenStatus};
pub use token::Token;
pub use tokens::Tokens;
pub use wire::{BuildError, TokenClient};
