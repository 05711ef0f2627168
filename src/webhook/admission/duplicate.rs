//! The check for duplicates: the identity of a delivery, and its reservation.

use super::Refused;
use crate::config::model::Replay;
use crate::error_code::ErrorCode;
use crate::plan::{Plan, Refusal};
use crate::secret::sha256;
use crate::signature::{Delivery, Fault, Signed, one};
use crate::telemetry::metrics::WebhookRefusal;
use crate::webhook::keys::Key;
use crate::webhook::replay::{DedupReservation, Deliveries, Seen};
use http::HeaderName;
use std::sync::Arc;
use std::time::Duration;

/// Maximum length of a delivery's id. A longer one is ignored: it is neither logged nor passed on.
pub(super) const MAX_ID: usize = 256;

/// The identity of a delivery.
pub(super) struct Identity {
    digest: [u8; 32],
    /// The provider's id of the delivery, from a header that is not signed.
    pub(super) unsigned_id: Option<String>,
}

impl Identity {
    /// Returns the identity: what is signed, or what was sent if nothing is; and the headers of `distinguish_by`, if no id is signed.
    /// Other unsigned parts of a signed request make no difference, since a client can change them.
    ///
    /// # Errors
    ///
    /// The refusal of a delivery that its headers do not tell apart.
    pub(super) fn of(
        key: Key<'_>,
        plan: &Plan,
        delivery: &Delivery<'_>,
        signed: &Signed,
        replay: &Replay,
    ) -> Result<Self, Box<Refused>> {
        let digest = match (&signed.id, &key.endpoint().verifier) {
            (Some(id), _) => {
                let digest = sha256(&[b"id\0", id.as_bytes()].concat());
                return Ok(Self { digest, unsigned_id: None });
            }
            (None, Some(verifier)) if verifier.signs(delivery) => verifier.digest(delivery, signed),
            // Nothing is signed, so nothing of it is less certain than the rest. The key distinguishes the providers.
            (None, _) => {
                let (body, method) = (sha256(delivery.body), delivery.method.as_bytes());
                sha256(&[&body[..], key.id().as_bytes(), b"\0", method, b" ", &plan.target].concat())
            }
        };
        if replay.distinguish_by.is_empty() {
            return Ok(Self { digest, unsigned_id: None });
        }
        let (mut parts, mut unsigned_id) = (digest.to_vec(), None);
        for name in &replay.distinguish_by {
            let value = match one(delivery.headers, name) {
                Ok(value) => value.as_bytes(),
                Err(Fault::Missing(_)) => {
                    parts.push(0);
                    continue;
                }
                Err(fault) => return Err(indistinct(key, fault.to_string())),
            };
            // The length keeps the end of each value certain.
            parts.push(1);
            parts.extend_from_slice(&value.len().to_be_bytes());
            parts.extend_from_slice(value);
            unsigned_id = unsigned_id.or(Some(logged(value)));
        }
        match unsigned_id {
            Some(unsigned_id) => Ok(Self { digest: sha256(&parts), unsigned_id }),
            None => Err(indistinct(key, missing(&replay.distinguish_by))),
        }
    }

    /// Reserves the delivery at `now`, if `admit` lets in one that is new.
    ///
    /// # Errors
    ///
    /// The refusal of a duplicate, or the error of `admit`.
    pub(super) fn reserve_at(
        &self,
        key: Key<'_>,
        (replay, deliveries): &(Replay, Arc<Deliveries>),
        now: Duration,
        admit: impl FnOnce() -> Result<(), Box<Refused>>,
    ) -> Result<DedupReservation, Box<Refused>> {
        let again = |detail| Refusal::new(ErrorCode::Replayed, detail);
        let of = (replay, key.endpoint().route.timeout);
        let (refusal, reason) = match deliveries.reserve_at(&self.digest, now, of, admit)? {
            Seen::First(reservation) => return Ok(reservation),
            Seen::Taken => {
                let refusal = again("this delivery was accepted before");
                (Refusal { status: Some(replay.answer), ..refusal }, WebhookRefusal::Duplicate)
            }
            Seen::UnderWay => {
                let detail = "this delivery is being forwarded to its receiver; whether it was accepted is not \
                              known yet";
                (again(detail).retry_soon(), WebhookRefusal::UnderWay)
            }
            Seen::Unknown(left) => {
                let detail =
                    "the receiver was sent this delivery and did not answer; it may still be working on it";
                (again(detail).retry_after(left), WebhookRefusal::OutcomeUnknown)
            }
        };
        Err(Refused::new(key, refusal, reason))
    }
}

/// Returns the value of a header as the id of a delivery, if the log may show it.
fn logged(value: &[u8]) -> Option<String> {
    let is_fit = (1..=MAX_ID).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic);
    is_fit.then(|| String::from_utf8_lossy(value).into_owned())
}

fn missing(names: &[HeaderName]) -> String {
    match names {
        [name] => format!("the header {name} is missing"),
        names => {
            let names: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
            format!("the headers {} are missing", names.join(", "))
        }
    }
}

/// Refuses a delivery that can't be told from others. Forwarding it would forward every duplicate of it, and comparing
/// the rest alone would drop other events.
fn indistinct(key: Key<'_>, fault: String) -> Box<Refused> {
    let detail = format!("the delivery can't be told from others: {fault}");
    let refusal = Refusal::new(ErrorCode::RequestInvalid, detail).because("indistinct_delivery");
    Refused::new(key, refusal, WebhookRefusal::Indistinct).logged(format!("{fault} (replay.distinguish_by)"))
}
