//! The checks that need only the head of a call.

use super::{Admission, Call, Refused, Stopped, Webhooks};
use crate::config::model::Validity;
use crate::error_code::ErrorCode;
use crate::message::Framing;
use crate::outbound::path::has_dot_segment;
use crate::plan::{Form, Plan, Refusal};
use crate::telemetry::metrics::WebhookRefusal;
use crate::webhook::endpoint::Endpoint;
use crate::webhook::handshake;
use crate::webhook::keys::Key;
use crate::webhook::target::CallTarget;
use http::Method;
use std::sync::Arc;

/// Opens the admission of a call: checks all that its head decides.
///
/// # Errors
///
/// The answer, if the call is not forwarded in any case.
pub fn open(webhooks: &Webhooks<'_>, call: &Call<'_>) -> Result<(Admission, Plan), Stopped> {
    let Some(target) = CallTarget::parse(call.target) else {
        return Err(unknown(webhooks, call, WebhookRefusal::UnknownKey, None).into());
    };
    let key = key(webhooks, call, &target)?;
    let endpoint = key.endpoint();
    let refused = |(refusal, reason)| Refused::new(key, refusal, reason);
    entrance(key, call)?;
    if let Some(answer) = handshake::in_head(endpoint, call.method, target.query) {
        let reply = answer.map_err(|refusal| {
            let reason = handshake_reason(&refusal);
            refused((refusal, reason))
        })?;
        return Err(Stopped::Replied(key.number(), reply));
    }
    method(endpoint, call.method).map_err(refused)?;
    form(endpoint, call, target.rest).map_err(refused)?;
    let plan =
        Plan { route: Arc::clone(&endpoint.route), target: target.forwarded(endpoint), form: Form::Path };
    Ok((Admission { key: key.number(), now: call.now, uptime: call.uptime, has_fetched: false }, plan))
}

/// Returns the reason for a refused handshake.
pub(super) fn handshake_reason(refusal: &Refusal) -> WebhookRefusal {
    match refusal.code {
        ErrorCode::SignatureInvalid => WebhookRefusal::SignatureMismatch,
        _ => WebhookRefusal::Request,
    }
}

/// Returns the valid key of a call.
fn key<'s>(
    webhooks: &Webhooks<'s>,
    call: &Call<'_>,
    target: &CallTarget<'_>,
) -> Result<Key<'s>, Box<Refused>> {
    let keys = webhooks.keys;
    let named = keys.named(target.segment);
    let Some(key) = target.key(keys, named, call.fields) else {
        return Err(unknown(webhooks, call, WebhookRefusal::UnknownKey, named));
    };
    let reason = match key.validity_at(call.now) {
        Validity::Valid => return Ok(key),
        Validity::NotYetValid => WebhookRefusal::NotYetValid,
        Validity::Expired => WebhookRefusal::Expired,
        Validity::Disabled => WebhookRefusal::Disabled,
    };
    let refused = unknown(webhooks, call, reason, Some(key.endpoint()));
    Err(Box::new(Refused { known_key: Some(key.number()), ..*refused }))
}

/// Refuses a call without a valid key. The work and the answer are the same for all of them; only what is counted
/// differs.
fn unknown(
    webhooks: &Webhooks<'_>,
    call: &Call<'_>,
    mut reason: WebhookRefusal,
    counts_for: Option<&Arc<Endpoint>>,
) -> Box<Refused> {
    let refusal = match webhooks.unknown_keys.take_at(call.client.address, call.uptime) {
        Err(wait) => {
            reason = WebhookRefusal::TooManyWrongKeys;
            let detail = "too many calls from this address to webhooks that do not exist";
            Refusal::new(ErrorCode::RateLimited, detail).retry_after(wait)
        }
        Ok(()) => {
            let detail = "no webhook has this URL; compare it with the URL that you received";
            Refusal::new(ErrorCode::WebhookUnknown, detail)
        }
    };
    Box::new(Refused {
        refusal: refusal.because(reason.as_str()),
        key: None,
        known_key: None,
        reason,
        counts_for: counts_for.cloned(),
        log: None,
        delivery_id: None,
    })
}

/// Checks the address, the secrets of the webhook, and the user.
fn entrance(key: Key<'_>, call: &Call<'_>) -> Result<(), Box<Refused>> {
    let endpoint = key.endpoint();
    if !call.client.is_within(&endpoint.allow_from) {
        let detail = "the webhook is known, but may not be called from this address";
        let refusal = Refusal::new(ErrorCode::RequestDenied, detail);
        return Err(Refused::new(key, refusal, WebhookRefusal::Address).logged(
            "it may not be called from this address (allow_from); is a proxy missing in trusted_proxies?",
        ));
    }
    if let Some(unread) = &endpoint.route.unavailable {
        let detail = "the webhook is known, but a secret that it needs can't be read";
        let refusal = Refusal::new(ErrorCode::CredentialUnavailable, detail).because(unread.fault.as_str());
        return Err(Refused::new(key, refusal, WebhookRefusal::Unavailable));
    }
    if !endpoint.user.active {
        let detail = "the webhook is known, but its user is not active";
        let refusal = Refusal::new(ErrorCode::UserInactive, detail);
        return Err(Refused::new(key, refusal, WebhookRefusal::UserInactive));
    }
    Ok(())
}

fn method(endpoint: &Endpoint, method: &Method) -> Result<(), (Refusal, WebhookRefusal)> {
    let methods = &endpoint.route.methods;
    if methods.contains(method) {
        return Ok(());
    }
    let allow = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    let refusal = Refusal::new(ErrorCode::MethodDenied, format!("this webhook allows {allow}"));
    Err((Refusal { allow: Some(allow.into()), ..refusal }, WebhookRefusal::Method))
}

/// Checks the path, and the announced body.
fn form(endpoint: &Endpoint, call: &Call<'_>, rest: &[u8]) -> Result<(), (Refusal, WebhookRefusal)> {
    let invalid = |detail| Refusal::new(ErrorCode::RequestInvalid, detail);
    if has_dot_segment(rest) {
        let refusal = invalid("the path has a dot segment (`.` or `..`, in some spelling)");
        return Err((refusal.because("dot_segment"), WebhookRefusal::Request));
    }
    if call.websocket && endpoint.reads_body() {
        let refusal = invalid("this webhook verifies bodies, and a WebSocket has none that ends");
        return Err((refusal, WebhookRefusal::Request));
    }
    match (call.body, endpoint.route.max_body) {
        (Framing::Length(length), Some(max)) if length > max => {
            Err((Refusal::body_too_large(&endpoint.route), WebhookRefusal::Request))
        }
        _ => Ok(()),
    }
}
