//! The decision about a delivery, in one place. The proxy reads the body, fetches keys, accesses the store of brought
//! secrets, and carries the verdict out.
//!
//! An [`Admission`] is opened by the head of a call, and asked for a [`Verdict`] with what is known of the delivery. The
//! checks run in this order, and the first that fails is the answer:
//!
//! | check | needs | on failure |
//! | --- | --- | --- |
//! | key | the head | 404 `webhook_unknown`, or 429 `rate_limited` for an address with too many unknown keys |
//! | address: `allow_from` | | 403 `request_denied` |
//! | the webhook's own secrets could be read | | 503 `credential_unavailable` |
//! | user | | 403 `user_inactive` |
//! | (a handshake without a body is answered) | | 400, 401, 403, 404 |
//! | method | | 405 `method_denied` |
//! | path without dot segments, no WebSocket where bodies are read | | 400 `request_invalid` |
//! | size | the announced length, and the body as it is read | 413 `request_too_large` |
//! | no copy of the key in the path | | 400 `request_invalid` |
//! | (a handshake whose provider does not sign it is answered) | the body; a brought secret is stored | 400, 401, 503 |
//! | a secret that the provider brings is there | the store | 503 `credential_unavailable` |
//! | signature | the body; a fetched key for a token or for SNS | 401 `signature_invalid`, or 503 `credential_unavailable` without the key |
//! | (a handshake whose provider signs it is answered; a subscription of SNS is confirmed) | | 400, 401, 503 |
//! | the delivery has one of the headers of `distinguish_by` | | 400 `request_invalid` |
//! | duplicate: `replay` | | 409 `replayed`, or as configured |
//! | rate: `rate_limit` | | 429 `rate_limited` |
//! | `max_concurrent` | | 503 `overloaded` |
//!
//! The rate comes late: a duplicate and a bad signature use up none of it, so only the holder of the secret can. It
//! protects the receiver. The work that attache itself does for a refused call is bounded without it: one look-up for a
//! call without a valid key; else at most `max_body` bytes that are read and hashed once for each secret, in the memory
//! that is set aside for bodies. Where no body has to be read, the rate is checked before a byte of it is.
//! `max_concurrent` comes after the rate: a delivery whose body is still being read must not hold a place, or a client
//! that knows only the URL could hold them all.
//!
//! A handshake uses up none of the rate: the receiver does not see it, and a provider whose question is refused may end
//! its deliveries. A secret that comes with one is kept by a [`StoreAccess`] before it is acknowledged.
//!
//! Time is an argument and nothing here does I/O. Of state, only the budgets of rates and the remembered deliveries
//! change. Counting and logging a refusal is left to the caller, in one place: [`Refused`] has all that is needed.

mod delivery;
mod duplicate;
mod head;
mod question;

pub use delivery::verify_at;
pub use head::open;

use super::address::Client;
use super::endpoint::Endpoint;
use super::fetched_keys::KnownKeys;
use super::keys::{Key, KeyNumber, KeyTable};
use super::rate::UnknownKeyLimiter;
use super::replay::DedupReservation;
use crate::handshake_secrets::{KeepError, Kept};
use crate::limits::Permit;
use crate::message::{Fields, Framing};
use crate::plan::{Refusal, Reply};
use crate::signature::NeededKey;
use crate::signature::sns::Subscription;
use crate::telemetry::metrics::WebhookRefusal;
use http::{HeaderName, Method};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

/// The parts of a snapshot that decide about webhook calls.
#[derive(Clone, Copy)]
pub struct Webhooks<'s> {
    /// The keys, with their endpoints.
    pub keys: &'s KeyTable,
    /// The budgets of guesses at keys.
    pub unknown_keys: &'s UnknownKeyLimiter,
    /// The external URL without a path.
    pub public_url: Option<&'s str>,
    /// The keys that are not in the file.
    pub fetched: KnownKeys<'s>,
    /// Receivers get a signed assertion, which names the delivery's id and the hash of its body.
    pub asserts: bool,
}

/// The head of a webhook call.
pub struct Call<'a> {
    /// The method.
    pub method: &'a Method,
    /// The request target as it came.
    pub target: &'a [u8],
    /// All header fields as they came.
    pub fields: &'a Fields,
    /// The announced body.
    pub body: Framing,
    /// The call asks for a WebSocket.
    pub websocket: bool,
    /// The client.
    pub client: Client,
    /// The time of the clock.
    pub now: SystemTime,
    /// The time since the process began, which goes forwards only.
    pub uptime: Duration,
}

/// A call whose head passed. The decision about the delivery is still open.
#[derive(Debug, Clone)]
pub struct Admission {
    key: KeyNumber,
    now: SystemTime,
    uptime: Duration,
    /// The body may be the question of a handshake.
    is_question: bool,
    asked: Asked,
}

/// The requests of an admission so far. Each is made once: after the second time, the delivery is refused.
#[derive(Debug, Clone, Default)]
struct Asked {
    /// A key was to be fetched.
    key: bool,
    /// The store was to be looked into.
    look: bool,
    /// The secret of the question was to be kept, with the result once it is there.
    kept: Option<Arc<OnceLock<Result<Kept, KeepError>>>>,
}

impl Admission {
    /// Returns the key of the call.
    pub fn key(&self) -> KeyNumber {
        self.key
    }
}

/// A call that is answered at its head.
pub enum Stopped {
    /// A handshake with this key, which attache answers itself.
    Replied(KeyNumber, Reply),
    /// The call is refused.
    Refused(Box<Refused>),
}

impl From<Box<Refused>> for Stopped {
    fn from(refused: Box<Refused>) -> Self {
        Self::Refused(refused)
    }
}

/// The decision about a delivery, as far as it is possible with what is known.
pub enum Verdict {
    /// The body decides: read at most the route's `max_body` bytes, and ask again with the whole of it.
    NeedsBody,
    /// The signature needs a key of an issuer, or a certificate: fetch it within the deadline by [`KnownKeys::fetch`], and
    /// ask again, whether that brought one or not.
    NeedsKey(Box<NeededKey>),
    /// The store has to be read for the secret that the provider brought, or has to keep the one it brings: await the
    /// access within the deadline, and ask again. The admission knows its result.
    NeedsStore(StoreAccess),
    /// The delivery goes to the receiver.
    Forward(Box<Forward>),
    /// The call is a handshake, which attache answers itself.
    Reply(Reply),
    /// The call is the question of a new subscription to a topic of SNS, which attache confirms by a request of its own.
    Confirm(Box<Subscription>),
    /// The delivery is refused.
    Refuse(Box<Refused>),
}

/// An access to the store of the secrets that providers bring. The store is not accessed before the future is polled.
pub type StoreAccess = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A delivery that goes to the receiver.
#[derive(Default)]
pub struct Forward {
    /// The reservation of the delivery, until the receiver's answer is known.
    pub reservation: Option<DedupReservation>,
    /// The provider's id of the delivery.
    pub delivery_id: Option<String>,
    /// The signature covers that id. Else any client can choose it.
    pub is_id_signed: bool,
    /// SHA-256 of the body, if the receiver is told of it.
    pub body_sha256: Option<[u8; 32]>,
    /// A field that holds the secret itself. The receiver does not get it.
    pub removed_field: Option<HeaderName>,
    /// The place among those that `max_concurrent` allows, until its response is relayed.
    pub permit: Option<Permit>,
}

/// A refusal, with all that the log and the metrics need of it.
pub struct Refused {
    /// The answer, with the service's overrides. Its `reason` is set.
    pub refusal: Refusal,
    /// The key of the call, if it is valid. The call then counts under its service and key.
    pub key: Option<KeyNumber>,
    /// A key that is known and not valid, for the access log. The client is not told.
    pub known_key: Option<KeyNumber>,
    /// The cause in more detail than the answer.
    pub reason: WebhookRefusal,
    /// The endpoint under whose service the refusal counts, where it is known though the client is not told.
    pub counts_for: Option<Arc<Endpoint>>,
    /// The text for the operator's log, if the refusal is worth a line.
    pub log: Option<String>,
    /// The provider's id of the delivery, if it is known.
    pub delivery_id: Option<String>,
}

impl Refused {
    /// Returns the refusal of a call with a valid key.
    pub fn new(key: Key<'_>, refusal: Refusal, reason: WebhookRefusal) -> Box<Self> {
        let refusal = if refusal.reason.is_some() { refusal } else { refusal.because(reason.as_str()) };
        Box::new(Self {
            refusal: key.endpoint().apply_refusal_overrides(refusal),
            key: Some(key.number()),
            known_key: None,
            reason,
            counts_for: Some(Arc::clone(key.endpoint())),
            log: None,
            delivery_id: None,
        })
    }

    /// Sets the text for the operator's log.
    fn logged(mut self: Box<Self>, text: impl Into<String>) -> Box<Self> {
        self.log = Some(text.into());
        self
    }
}

#[cfg(test)]
mod tests;
