//! The handshake within the admission: questions, and a secret that the provider brings.

use super::{Admission, Call, Refused, Verdict};
use crate::error_chain::Chain;
use crate::error_code::ErrorCode;
use crate::handshake_secrets::{HandshakeSecret, KeepError, Kept};
use crate::plan::{Refusal, Reply};
use crate::secret::Secret;
use crate::signature::{Delivery, Verifier};
use crate::telemetry::metrics::WebhookRefusal;
use crate::webhook::endpoint::Endpoint;
use crate::webhook::handshake::{Headers, Outcome, Question};
use crate::webhook::keys::Key;
use std::mem::replace;
use std::ops::Deref;
use std::sync::Arc;

/// The verifier of a delivery.
pub(super) enum InUse<'k> {
    /// With secrets of the file.
    Own(&'k Verifier),
    /// With the secret that the provider brought.
    Brought(Arc<Verifier>),
}

impl Deref for InUse<'_> {
    type Target = Verifier;

    fn deref(&self) -> &Verifier {
        match self {
            Self::Own(verifier) => verifier,
            Self::Brought(verifier) => verifier,
        }
    }
}

/// Decides about a question that the head of a call asks, if it is one.
pub(super) fn at_head(
    endpoint: &Endpoint,
    call: &Call<'_>,
    query: &[u8],
) -> Option<Result<Reply, (Refusal, WebhookRefusal)>> {
    let sign = |text: &[u8]| endpoint.verifier.as_ref()?.sign_challenge(text);
    match endpoint.responder.as_ref()?.at_head(&question(call, query), &sign)? {
        Outcome::Answer(reply) => Some(Ok(reply)),
        Outcome::Refuse(refusal) => {
            let reason = reason(&refusal);
            Some(Err((*refusal, reason)))
        }
        // Nothing is kept before the body is there.
        Outcome::Keep(..) => None,
    }
}

/// Returns true if the body of a call may be a question.
pub(super) fn reads_body(endpoint: &Endpoint, call: &Call<'_>, query: &[u8]) -> bool {
    endpoint.responder.as_ref().is_some_and(|responder| responder.reads_body(&question(call, query)))
}

fn question<'a>(call: &Call<'a>, query: &'a [u8]) -> Question<'a> {
    Question { method: call.method.as_str(), query, headers: Headers::Received(call.fields) }
}

fn reason(refusal: &Refusal) -> WebhookRefusal {
    match refusal.reason.as_deref() {
        Some("verify_token") => WebhookRefusal::VerifyToken,
        Some("topic") => WebhookRefusal::Topic,
        Some("origin") => WebhookRefusal::Origin,
        Some("challenge") => WebhookRefusal::Challenge,
        _ => WebhookRefusal::Request,
    }
}

impl Admission {
    /// Decides about a question that the provider does not sign, or whose signature is valid. `None`: it is a delivery.
    pub(super) fn question(
        &mut self,
        key: Key<'_>,
        delivery: &Delivery<'_>,
        verified: Option<&Verifier>,
    ) -> Option<Verdict> {
        let responder = key.endpoint().responder.as_ref()?;
        let question =
            Question { method: delivery.method, query: b"", headers: Headers::Cleaned(delivery.headers) };
        let outcome = match verified {
            None => responder.in_body(&question, delivery.body),
            Some(verifier) => {
                let sign = |text: &[u8]| verifier.sign_challenge_of(delivery, self.now, text);
                responder.in_signed_body(&question, delivery.body, &sign)
            }
        };
        Some(match outcome? {
            Outcome::Answer(reply) => Verdict::Reply(reply),
            Outcome::Refuse(refusal) => {
                let reason = reason(&refusal);
                Verdict::Refuse(Refused::new(key, *refusal, reason))
            }
            Outcome::Keep(secret, reply) => self.keep(key, secret, reply),
        })
    }

    /// Has a secret kept, and answers once it is.
    fn keep(&mut self, key: Key<'_>, secret: Secret, reply: Reply) -> Verdict {
        let Some(brought) = &key.endpoint().brought else {
            return Verdict::Refuse(not_kept(key, &KeepError::Closed));
        };
        if let Some(kept) = &self.asked.kept {
            return match kept.get() {
                Some(Ok(Kept::First | Kept::Again)) => Verdict::Reply(reply),
                Some(Ok(Kept::Ignored)) => Verdict::Refuse(ignored(key)),
                Some(Err(error)) => Verdict::Refuse(not_kept(key, error)),
                // The deadline passed meanwhile.
                None => Verdict::Refuse(not_kept(key, &KeepError::Late)),
            };
        }
        let kept = Arc::clone(self.asked.kept.insert(Arc::default()));
        let (brought, now) = (Arc::clone(brought), self.now);
        Verdict::NeedsStore(Box::pin(async move {
            // Set once: this is the only attempt.
            let _ = kept.set(brought.keep(&secret, now).await);
        }))
    }

    /// Returns the verifier of the endpoint. One whose secret the provider brings may be missing yet.
    ///
    /// # Errors
    ///
    /// The store has to be asked, or it was and there is no secret.
    pub(super) fn verifier<'k>(&mut self, key: Key<'k>) -> Result<Option<InUse<'k>>, Verdict> {
        let endpoint = key.endpoint();
        let Some(brought) = endpoint.brought.as_ref().filter(|brought| brought.signs()) else {
            return Ok(endpoint.verifier.as_ref().map(InUse::Own));
        };
        if let Some(verifier) = brought.verifier() {
            return Ok(Some(InUse::Brought(verifier)));
        }
        if replace(&mut self.asked.look, true) {
            return Err(Verdict::Refuse(missing(key, brought)));
        }
        let brought = Arc::clone(brought);
        Err(Verdict::NeedsStore(Box::pin(async move {
            // An error becomes part of the secret's state, from which the refusal is made.
            let _ = brought.look().await;
        })))
    }
}

fn unavailable(key: Key<'_>, detail: &'static str, reason: &'static str) -> Box<Refused> {
    let refusal = Refusal::new(ErrorCode::CredentialUnavailable, detail).because(reason);
    Refused::new(key, refusal, WebhookRefusal::Unavailable)
}

/// Refuses a delivery that can't be verified yet.
fn missing(key: Key<'_>, brought: &HandshakeSecret) -> Box<Refused> {
    match brought.status().state {
        "waiting" => {
            let detail = "the provider has not brought the secret of its deliveries yet: its handshake does";
            unavailable(key, detail, "handshake_awaited").logged(
                "it can't be verified before the provider's handshake has brought the secret: set the webhook up there",
            )
        }
        _ => {
            let detail = "the secret that the provider brought can't be used";
            unavailable(key, detail, "handshake_unusable").logged(detail)
        }
    }
}

/// Refuses a question whose secret could not be kept. The provider is not told that it arrived, and tries again.
fn not_kept(key: Key<'_>, error: &KeepError) -> Box<Refused> {
    let detail = "the secret of the handshake could not be kept";
    unavailable(key, detail, "handshake_not_kept").logged(format!("{detail}: {}", Chain(error)))
}

/// Refuses a secret that differs from the kept one.
fn ignored(key: Key<'_>) -> Box<Refused> {
    let detail = "the webhook has the secret of an earlier handshake, so this one is ignored";
    let refusal = Refusal::new(ErrorCode::SignatureInvalid, detail).because("handshake_done");
    Refused::new(key, refusal, WebhookRefusal::HandshakeDone)
}
