//! The checks of a delivery whose head passed: signature, duplicate, rate.

use super::duplicate::{Identity, MAX_ID};
use super::{Admission, Forward, Refused, Verdict, Webhooks};
use crate::error_code::ErrorCode;
use crate::header_name::{HOP_BY_HOP, is_reserved, misleads_receiver, same};
use crate::jwt::verify::JwtRefusal;
use crate::limits::Permit;
use crate::plan::{Plan, Refusal};
use crate::secret::sha256;
use crate::signature::sns::CertificateFault;
use crate::signature::{Delivery, Fault, FetchedKeys, Signed, Trace, Verifier};
use crate::telemetry::metrics::WebhookRefusal;
use crate::webhook::handshake::sns;
use crate::webhook::keys::Key;
use serde::Deserialize;
use std::borrow::Cow;
use std::mem::replace;
use std::time::{Duration, SystemTime};

impl Admission {
    /// Decides about the delivery, as far as it is known. `delivery` is `None` until the body was read; it has the fields
    /// that the receiver will see.
    pub fn decide(
        &mut self,
        webhooks: &Webhooks<'_>,
        plan: &Plan,
        delivery: Option<&Delivery<'_>>,
    ) -> Verdict {
        let key = webhooks.keys.get(self.key);
        let endpoint = key.endpoint();
        let decided = match delivery {
            None if self.is_question || endpoint.reads_body() => return Verdict::NeedsBody,
            None => self
                .rate(key)
                .and_then(|()| place(key, self.uptime))
                .map_err(Verdict::Refuse)
                .map(|permit| Forward { permit, ..Forward::default() }),
            Some(delivery) => self.with_body(webhooks, key, plan, delivery),
        };
        decided.map_or_else(|verdict| verdict, |forward| Verdict::Forward(Box::new(forward)))
    }

    fn with_body(
        &mut self,
        webhooks: &Webhooks<'_>,
        key: Key<'_>,
        plan: &Plan,
        delivery: &Delivery<'_>,
    ) -> Result<Forward, Verdict> {
        let endpoint = key.endpoint();
        if let Some(verdict) = self.question(key, delivery, None) {
            return Err(verdict);
        }
        let verifier = self.verifier(key)?;
        let signed = match &verifier {
            Some(verifier) => verify_at(verifier, delivery, &webhooks.fetched, self.now, &mut Trace::off())
                .map_err(|fault| self.unsigned(key, fault))?,
            None => Signed::default(),
        };
        if let Some(verdict) =
            verifier.as_deref().and_then(|verifier| self.question(key, delivery, Some(verifier)))
        {
            return Err(verdict);
        }
        if let Some(question) = sns::subscription_of(endpoint, delivery) {
            return Err(question.map_or_else(
                |fault| Verdict::Refuse(unsigned(key, &fault)),
                |subscription| Verdict::Confirm(Box::new(subscription)),
            ));
        }
        let is_id_signed = signed.id.is_some();
        let mut delivery_id = signed.id.clone();
        let reservation = match &endpoint.replay {
            Some(replay) => {
                let identity =
                    Identity::of(key, plan, delivery, &signed, &replay.0).map_err(Verdict::Refuse)?;
                let reserved = identity.reserve_at(key, replay, self.uptime, || self.rate(key));
                delivery_id = delivery_id.or(identity.unsigned_id);
                reserved.map(Some)
            }
            None => self.rate(key).map(|()| None),
        };
        // A delivery that finds no place gives its reservation back: it comes again.
        let admitted = reservation.and_then(|reservation| Ok((reservation, place(key, self.uptime)?)));
        let (reservation, permit) = match admitted {
            Ok(admitted) => admitted,
            Err(refused) => return Err(Verdict::Refuse(Box::new(Refused { delivery_id, ..*refused }))),
        };
        Ok(Forward {
            reservation,
            delivery_id,
            is_id_signed,
            body_sha256: webhooks.asserts.then(|| sha256(delivery.body)),
            removed_field: endpoint.verifier.as_ref().and_then(|verifier| verifier.scheme().token_header()),
            permit,
        })
    }

    /// Returns the verdict on a delivery whose signature is not valid, or can't be verified yet.
    fn unsigned(&mut self, key: Key<'_>, fault: Fault) -> Verdict {
        match fault {
            Fault::NeedsKey(needed) if replace(&mut self.asked.key, true) => {
                Verdict::Refuse(unsigned(key, &needed.otherwise))
            }
            Fault::NeedsKey(needed) => Verdict::NeedsKey(Box::new(needed)),
            fault => Verdict::Refuse(unsigned(key, &fault)),
        }
    }

    /// Takes one of the key's rate.
    fn rate(&self, key: Key<'_>) -> Result<(), Box<Refused>> {
        let Some(limit) = &key.endpoint().limit else { return Ok(()) };
        limit.take_at(&key.stats().rate, self.uptime).map_err(|wait| {
            let refusal = Refusal::new(ErrorCode::RateLimited, "the rate limit of this key is exceeded");
            Refused::new(key, refusal.retry_after(wait), WebhookRefusal::RateLimited)
        })
    }
}

/// Takes a place among the deliveries that `max_concurrent` allows.
fn place(key: Key<'_>, uptime: Duration) -> Result<Option<Permit>, Box<Refused>> {
    let Some(limits) = &key.endpoint().route.limits else { return Ok(None) };
    limits.begin_at(uptime).map(Some).map_err(|_| {
        let detail = "as many deliveries to this webhook are being forwarded as are allowed";
        let refusal = Refusal::new(ErrorCode::Overloaded, detail).retry_soon();
        Refused::new(key, refusal, WebhookRefusal::Concurrency)
    })
}

/// Checks the signature of a delivery, and finds the provider's id of it, which a scheme may have in the signed body.
///
/// # Errors
///
/// The fault of the signature.
pub fn verify_at(
    verifier: &Verifier,
    delivery: &Delivery<'_>,
    fetched: &dyn FetchedKeys,
    now: SystemTime,
    trace: &mut Trace,
) -> Result<Signed, Fault> {
    let mut signed = verifier.verify_with(delivery, fetched, now, trace)?;
    if signed.id.is_none() {
        signed.id = id_in_body(verifier, delivery.body);
    }
    Ok(signed)
}

/// Returns the text of a fault. A provider may sign headers that the receiver does not get. They are removed before the
/// signature is verified, so that all that is verified is forwarded; at the provider's end they are not missing.
fn explained(key: Key<'_>, fault: &Fault) -> String {
    let Fault::Missing(name) = fault else { return fault.to_string() };
    let why = if HOP_BY_HOP.contains(&name.as_str()) {
        "it concerns one connection only"
    } else if is_reserved(name.as_str()) || misleads_receiver(name.as_str()) {
        "the receiver could take it for a fact about the client"
    } else if key.endpoint().route.replaced.iter().any(|replaced| same(name.as_str(), replaced)) {
        "the receiver gets one of attache's, or it holds the key of the call"
    } else {
        return fault.to_string();
    };
    format!("attache removes the header {name} before it verifies: {why}; the provider must not sign it")
}

pub(super) fn unsigned(key: Key<'_>, fault: &Fault) -> Box<Refused> {
    if let Fault::KeyUnavailable(what) = fault {
        let detail = format!("{what} can't be fetched now, so the signature can't be verified");
        let refusal = Refusal::new(ErrorCode::CredentialUnavailable, detail).retry_later();
        return Refused::new(key, refusal, WebhookRefusal::KeyUnavailable).logged(fault.to_string());
    }
    let explained = explained(key, fault);
    let detail = format!("the request's signature is not valid: {explained}");
    let reason = match fault {
        Fault::Missing(_) => WebhookRefusal::SignatureMissing,
        Fault::Duplicate(_) | Fault::Malformed(..) | Fault::Content(_) => WebhookRefusal::SignatureMalformed,
        Fault::Stale(..) => WebhookRefusal::SignatureStale,
        Fault::Future(..) => WebhookRefusal::SignatureFuture,
        Fault::Token(reason) => of_token(*reason),
        Fault::Certificate(CertificateFault::Expired) => WebhookRefusal::SignatureStale,
        Fault::Mismatch
        | Fault::Claim(_)
        | Fault::Certificate(_)
        | Fault::NeedsKey(_)
        | Fault::KeyUnavailable(_) => WebhookRefusal::SignatureMismatch,
    };
    let refusal = Refusal::new(ErrorCode::SignatureInvalid, detail);
    Refused::new(key, refusal, reason).logged(explained)
}

fn of_token(reason: JwtRefusal) -> WebhookRefusal {
    use JwtRefusal::{Critical, Expired, Malformed, MissingClaim, NotYetValid, TooLarge};
    match reason {
        Expired => WebhookRefusal::SignatureStale,
        NotYetValid => WebhookRefusal::SignatureFuture,
        Malformed | TooLarge | Critical | MissingClaim => WebhookRefusal::SignatureMalformed,
        _ => WebhookRefusal::SignatureMismatch,
    }
}

/// Returns the provider's id of the delivery if its scheme has it in the (signed) body.
fn id_in_body(verifier: &Verifier, body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Ids<'a> {
        #[serde(borrow, default)]
        id: Option<Cow<'a, str>>,
        #[serde(borrow, default)]
        event_id: Option<Cow<'a, str>>,
    }
    let member = verifier.scheme().id_member()?;
    let ids: Ids<'_> = serde_json::from_slice(body).ok()?;
    let id = if member == "id" { ids.id } else { ids.event_id }?;
    (1..=MAX_ID).contains(&id.len()).then(|| id.into_owned())
}
