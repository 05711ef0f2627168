//! The checks of a delivery whose head passed: signature, duplicate, rate.

use super::head::handshake_reason;
use super::{Admission, Forward, Refused, Verdict, Webhooks};
use crate::error_code::ErrorCode;
use crate::jwt::verify::JwtRefusal;
use crate::plan::{Plan, Refusal, Reply};
use crate::secret::sha256;
use crate::signature::sns::CertificateFault;
use crate::signature::{Delivery, Fault, FetchedKeys, Signed, Trace, Verifier};
use crate::telemetry::metrics::WebhookRefusal;
use crate::webhook::keys::Key;
use crate::webhook::replay::Seen;
use crate::webhook::{handshake, sns};
use serde::Deserialize;
use std::borrow::Cow;
use std::time::{Duration, SystemTime};

/// `Retry-After` for a duplicate that arrives while its original is in progress.
const COME_AGAIN: Duration = Duration::from_secs(1);
/// `Retry-After` for a signature whose key can't be fetched.
const FETCH_AGAIN: Duration = Duration::from_secs(10);
/// A longer delivery id in a body is ignored.
const MAX_ID: usize = 256;

impl Admission {
    /// Decides about the delivery, as far as it is known. `delivery` is `None` until the body was read; it has the fields
    /// that the receiver will see.
    pub fn decide(&self, webhooks: &Webhooks<'_>, plan: &Plan, delivery: Option<&Delivery<'_>>) -> Verdict {
        let key = webhooks.keys.get(self.key);
        let endpoint = key.endpoint();
        let decided = match delivery {
            None if endpoint.reads_body() => return Verdict::NeedsBody,
            None => self.rate(key).map(|()| Forward::default()).map_err(Verdict::Refuse),
            Some(delivery) => self.with_body(webhooks, key, plan, delivery),
        };
        decided.map_or_else(|verdict| verdict, |forward| Verdict::Forward(Box::new(forward)))
    }

    fn with_body(
        &self,
        webhooks: &Webhooks<'_>,
        key: Key<'_>,
        plan: &Plan,
        delivery: &Delivery<'_>,
    ) -> Result<Forward, Verdict> {
        let endpoint = key.endpoint();
        let answered = |answer: Result<Reply, Refusal>| match answer {
            Ok(reply) => Verdict::Reply(reply),
            Err(refusal) => {
                let reason = handshake_reason(&refusal);
                Verdict::Refuse(Refused::new(key, refusal, reason))
            }
        };
        if let Some(answer) = handshake::in_body(endpoint, delivery, None) {
            return Err(answered(answer));
        }
        let signed = match &endpoint.verifier {
            Some(verifier) => verify_at(verifier, delivery, &webhooks.fetched, self.now, &mut Trace::off())
                .map_err(|fault| self.unsigned(key, fault))?,
            None => Signed::default(),
        };
        if let Some(answer) = handshake::in_body(endpoint, delivery, Some(&signed)) {
            return Err(answered(answer));
        }
        if let Some(question) = sns::subscription_of(endpoint, delivery) {
            return Err(question.map_or_else(
                |fault| Verdict::Refuse(unsigned(key, &fault)),
                |subscription| Verdict::Confirm(Box::new(subscription)),
            ));
        }
        let reservation = match &endpoint.replay {
            Some((replay, deliveries)) => {
                let digest = identity(key, plan, delivery, &signed);
                match deliveries.reserve_at(&digest, self.uptime, replay, || self.rate(key)) {
                    Ok(Seen::First(reservation)) => Ok(Some(reservation)),
                    Ok(Seen::Taken) => {
                        let refusal = Refusal::new(ErrorCode::Replayed, "this delivery was accepted before");
                        let refusal = Refusal { status: Some(replay.answer), ..refusal };
                        Err(Refused::new(key, refusal, WebhookRefusal::Duplicate))
                    }
                    Ok(Seen::UnderWay) => Err(under_way(key)),
                    Err(refused) => Err(refused),
                }
            }
            None => self.rate(key).map(|()| None),
        };
        let reservation = match reservation {
            Ok(reservation) => reservation,
            Err(refused) => {
                return Err(Verdict::Refuse(Box::new(Refused { delivery_id: signed.id, ..*refused })));
            }
        };
        Ok(Forward {
            reservation,
            delivery_id: signed.id,
            body_sha256: webhooks.asserts.then(|| sha256(delivery.body)),
            removed_field: endpoint.verifier.as_ref().and_then(|verifier| verifier.scheme().token_header()),
        })
    }

    /// Returns the verdict on a delivery whose signature is not valid, or can't be verified yet.
    fn unsigned(&self, key: Key<'_>, fault: Fault) -> Verdict {
        match fault {
            Fault::NeedsKey(needed) if self.has_fetched => Verdict::Refuse(unsigned(key, &needed.otherwise)),
            Fault::NeedsKey(needed) => Verdict::Fetch(Box::new(needed)),
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

/// Checks the signature of a delivery, and finds the provider's id of it, which a scheme may have in the signed body.
///
/// # Errors
///
/// Why the signature is not valid.
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

fn unsigned(key: Key<'_>, fault: &Fault) -> Box<Refused> {
    if let Fault::KeyUnavailable(what) = fault {
        let detail = format!("{what} can't be fetched now, so the signature can't be verified");
        let refusal = Refusal::new(ErrorCode::CredentialUnavailable, detail).retry_after(FETCH_AGAIN);
        return Refused::new(key, refusal, WebhookRefusal::KeyUnavailable).logged(fault.to_string());
    }
    let detail = format!("the request's signature is not valid: {fault}");
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
    Refused::new(key, refusal, reason).logged(fault.to_string())
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

fn under_way(key: Key<'_>) -> Box<Refused> {
    let detail = "this delivery is being forwarded to its receiver; whether it was accepted is not known yet";
    let refusal = Refusal::new(ErrorCode::Replayed, detail).retry_after(COME_AGAIN);
    Refused::new(key, refusal, WebhookRefusal::UnderWay)
}

/// Returns the digest that stands for a delivery. Unsigned parts of a signed request make no difference.
fn identity(key: Key<'_>, plan: &Plan, delivery: &Delivery<'_>, signed: &Signed) -> [u8; 32] {
    match (&signed.id, &key.endpoint().verifier) {
        (Some(id), _) => sha256(&[b"id\0", id.as_bytes()].concat()),
        (None, Some(verifier)) => verifier.digest(delivery, signed),
        // Without a signature, the key distinguishes the providers.
        (None, None) => {
            let body = sha256(delivery.body);
            sha256(&[&body[..], key.id().as_bytes(), b"\0", &plan.target].concat())
        }
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
