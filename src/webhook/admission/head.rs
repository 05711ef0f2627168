//! The checks that need only the head of a call.

use super::{Admission, Asked, Call, Refused, Stopped, Webhooks, question};
use crate::config::model::Validity;
use crate::error_code::ErrorCode;
use crate::message::Framing;
use crate::outbound::path::has_dot_segment;
use crate::plan::{Form, Plan, Refusal};
use crate::telemetry::metrics::WebhookRefusal;
use crate::webhook::endpoint::Endpoint;
use crate::webhook::key_copies;
use crate::webhook::keys::Key;
use crate::webhook::target::CallTarget;
use http::Method;
use std::borrow::Cow;
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
    let (key, text) = key(webhooks, call, &target)?;
    let endpoint = key.endpoint();
    let refused = |(refusal, reason)| Refused::new(key, refusal, reason);
    entrance(key, call)?;
    if let Some(answer) = question::at_head(endpoint, call, target.query) {
        return Err(Stopped::Replied(key.number(), answer.map_err(refused)?));
    }
    method(endpoint, call.method).map_err(refused)?;
    let is_question = question::reads_body(endpoint, call, target.query);
    form(endpoint, call, target.rest, is_question).map_err(refused)?;
    if key_copies::holds(target.rest, &text) {
        return Err(refused((key_in_path(), WebhookRefusal::Request)).into());
    }
    let plan = Plan {
        route: Arc::clone(&endpoint.route),
        target: target.forwarded(endpoint, &text),
        form: Form::Path,
    };
    let (key, asked) = (key.number(), Asked::default());
    Ok((Admission { key, now: call.now, uptime: call.uptime, is_question, asked }, plan))
}

/// Returns the valid key of a call, with its text.
fn key<'s, 'a>(
    webhooks: &Webhooks<'s>,
    call: &Call<'a>,
    target: &CallTarget<'a>,
) -> Result<(Key<'s>, Cow<'a, [u8]>), Box<Refused>> {
    let keys = webhooks.keys;
    let named = keys.named(target.segment);
    let Some((key, text)) = target.key(keys, named, call.fields) else {
        return Err(unknown(webhooks, call, WebhookRefusal::UnknownKey, named));
    };
    let reason = match key.validity_at(call.now) {
        Validity::Valid => return Ok((key, text)),
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

/// Returns the answer to a call whose path holds its key once more. The receiver is told the path, and must not learn the
/// key.
fn key_in_path() -> Refusal {
    let detail = "the path holds the key twice; compare the URL with the one that you received";
    Refusal::new(ErrorCode::RequestInvalid, detail).because("key_in_path")
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
fn form(
    endpoint: &Endpoint,
    call: &Call<'_>,
    rest: &[u8],
    asks: bool,
) -> Result<(), (Refusal, WebhookRefusal)> {
    let invalid = |detail| Refusal::new(ErrorCode::RequestInvalid, detail);
    if has_dot_segment(rest) {
        let refusal = invalid("the path has a dot segment (`.` or `..`, in some spelling)");
        return Err((refusal.because("dot_segment"), WebhookRefusal::Request));
    }
    if call.websocket && (asks || endpoint.reads_body()) {
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
