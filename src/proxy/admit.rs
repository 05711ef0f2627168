//! Lets a webhook call in, or not: whatever has to be seen of its body is seen before our program sees a byte.

use super::context::Context;
use super::downstream::{Downstream, Framing, Unread};
use super::request::{Stop, body_too_large, content_length};
use crate::error_code::ErrorCode;
use crate::plan::Refusal;
use crate::secret::sha256;
use crate::signature::{Delivery, Fault, Signed, Trace, Verifier};
use crate::telemetry::metrics::WebhookRefusal;
use crate::webhook::endpoint::Endpoint;
use crate::webhook::replay::Seen;
use crate::webhook::{self, handshake};
use bytes::Bytes;
use http::{Version, header};
use pingora::proxy::Session;
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout_at;

/// A larger body is verified where it holds up no other request of the same thread.
const LARGE: usize = 256 << 10;
/// A duplicate that comes while its original is under way may come again after this.
const COME_AGAIN: Duration = Duration::from_secs(1);
/// An id of a delivery in a body that is longer is none.
const MAX_ID: usize = 256;

/// Reads, verifies and remembers the call, as far as its endpoint asks for it.
pub(super) async fn admit(session: &mut Session, ctx: &mut Context) -> Result<(), Box<Stop>> {
    let Some(endpoint) = ctx.endpoint().cloned() else { return Ok(()) };
    if endpoint.reads_body() {
        if ctx.websocket {
            let detail = "this webhook verifies bodies, and a WebSocket has none that ends";
            let refusal = Refusal::new(ErrorCode::RequestInvalid, detail);
            return Err(refuse(&endpoint, refusal, WebhookRefusal::Request));
        }
        let body = read(session, ctx, &endpoint).await?;
        let verified = match body.len() {
            LARGE.. => tokio::task::block_in_place(|| verify(session, ctx, &endpoint, &body)),
            _ => verify(session, ctx, &endpoint, &body),
        };
        if let Err(stop) = verified {
            if let Stop::Replied(_) = &*stop {
                used(ctx);
            }
            return Err(stop);
        }
        if let Some(token) = endpoint.verifier.as_ref().and_then(|verifier| verifier.scheme().token_header())
        {
            session.req_header_mut().remove_header(&token);
        }
    }
    used(ctx);
    Ok(())
}

/// The key has let a call in.
pub(super) fn used(ctx: &Context) {
    if let Some(key) = ctx.key() {
        key.stats().used_at(ctx.time);
    }
}

/// Counts a refusal, and gives it the form that the third party is told.
fn refuse(endpoint: &Endpoint, refusal: Refusal, reason: WebhookRefusal) -> Box<Stop> {
    endpoint.route.stats.refused(reason);
    Box::new(Stop::Refused(endpoint.told(refusal)))
}

/// The whole body, which the engine then reads from memory and passes on with its length.
async fn read(
    session: &mut Session,
    ctx: &mut Context,
    endpoint: &Arc<Endpoint>,
) -> Result<Bytes, Box<Stop>> {
    let max = endpoint.route.max_body.unwrap_or(u64::MAX);
    let head = session.req_header();
    let chunked = head.headers.contains_key(header::TRANSFER_ENCODING);
    let framing = if chunked { Framing::Chunked } else { Framing::Length(content_length(head).unwrap_or(0)) };
    // A server must not mind it in an HTTP/1.0 request (RFC 9110 section 10.1.1).
    let expects = head.version == Version::HTTP_11
        && head
            .headers
            .get(header::EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let Some(stream) =
        session.as_downstream().stream().and_then(|stream| stream.as_any().downcast_ref::<Downstream>())
    else {
        return Err(Box::new(Stop::Refused(super::failure::internal())));
    };
    let deadline = ctx.arrived + endpoint.route.timeout;
    let request =
        |code, detail: &'static str| refuse(endpoint, Refusal::new(code, detail), WebhookRefusal::Request);
    let mut held = endpoint.hold();
    let mut room = |bytes| held.take(bytes);
    let reading = stream.read_ahead(framing, max, expects, &mut room);
    let body = match timeout_at(deadline.into(), reading).await {
        Ok(Ok(body)) => body,
        Ok(Err(Unread::Gone)) => return Err(Box::new(Stop::Gone)),
        Ok(Err(Unread::TooLarge)) => {
            return Err(refuse(endpoint, body_too_large(&endpoint.route), WebhookRefusal::Request));
        }
        Ok(Err(Unread::Malformed)) => {
            return Err(request(ErrorCode::RequestInvalid, "the request's body is not valid HTTP"));
        }
        Ok(Err(Unread::NoRoom)) => {
            let detail = "too many bodies are being read for this webhook at the same time";
            let refusal = Refusal::new(ErrorCode::Overloaded, detail).retry_after(COME_AGAIN);
            return Err(refuse(endpoint, refusal, WebhookRefusal::Overloaded));
        }
        Ok(Err(Unread::Silent)) | Err(_) => {
            return Err(request(ErrorCode::RequestTimeout, "the request's body did not come in time"));
        }
    };
    if let Some(call) = &mut ctx.call {
        call.held = Some(held);
    }
    let head = session.req_header_mut();
    head.remove_header(&header::EXPECT);
    if chunked {
        head.remove_header(&header::TRANSFER_ENCODING);
        // A number is a header's value.
        let _ = head.insert_header(header::CONTENT_LENGTH, body.len());
    }
    Ok(body)
}

fn verify(
    session: &Session,
    ctx: &mut Context,
    endpoint: &Arc<Endpoint>,
    body: &[u8],
) -> Result<(), Box<Stop>> {
    let snapshot = Arc::clone(&ctx.snapshot);
    let head = session.req_header();
    let delivery = Delivery {
        method: head.method.as_str(),
        target: head.raw_path(),
        public_url: snapshot.config.public_url.as_deref(),
        headers: &head.headers,
        body,
    };
    let mut signed = Signed::default();
    if let Some(verifier) = &endpoint.verifier {
        signed = verifier.verify_at(&delivery, ctx.time, &mut Trace::off()).map_err(|fault| {
            super::record::warn_of_refusal(endpoint, &fault, ctx);
            let detail = format!("the request's signature is not valid: {fault}");
            refuse(endpoint, Refusal::new(ErrorCode::SignatureInvalid, detail), reason(&fault))
        })?;
        if let (Some(limit), Some(key)) = (&endpoint.limit, ctx.key())
            && let Err(wait) = limit.take_at(&key.stats().rate, super::uptime(ctx.arrived))
        {
            return Err(refuse(endpoint, webhook::too_often(wait), WebhookRefusal::RateLimited));
        }
        if let Some(answer) = handshake::in_body(verifier, body) {
            return Err(match answer {
                Ok(reply) => Box::new(Stop::Replied(reply)),
                Err(refusal) => refuse(endpoint, refusal, WebhookRefusal::Request),
            });
        }
    }
    let asserts = snapshot.assertion.is_some();
    if signed.id.is_none() && (endpoint.replay.is_some() || asserts) {
        signed.id = endpoint.verifier.as_ref().and_then(|verifier| id_in_body(verifier, body));
    }
    if let Some(call) = ctx.call.as_mut().filter(|_| asserts) {
        call.body_sha256 = Some(sha256(body));
    }
    remember(ctx, endpoint, &delivery, &signed)?;
    if let Some(call) = &mut ctx.call {
        call.delivery_id = signed.id;
    }
    Ok(())
}

/// Claims the delivery, unless it has been here.
fn remember(
    ctx: &mut Context,
    endpoint: &Arc<Endpoint>,
    delivery: &Delivery<'_>,
    signed: &Signed,
) -> Result<(), Box<Stop>> {
    let Some((replay, deliveries)) = &endpoint.replay else { return Ok(()) };
    let digest = match (&signed.id, &endpoint.verifier) {
        (Some(id), _) => sha256(&[b"id\0", id.as_bytes()].concat()),
        // Of what is not signed, nothing may make a difference.
        (None, Some(verifier)) => verifier.digest(delivery, signed),
        // Where nothing is signed, the key tells one third party from another.
        (None, None) => {
            let body = sha256(delivery.body);
            let target = ctx.plan.as_ref().map_or(&[][..], |plan| &plan.target);
            let key = ctx.key().map_or("", |key| key.id());
            sha256(&[&body[..], key.as_bytes(), b"\0", target].concat())
        }
    };
    match deliveries.claim_at(&digest, super::uptime(ctx.arrived), replay) {
        Seen::First(claim) => {
            if let Some(call) = &mut ctx.call {
                call.claim = Some(claim);
            }
            Ok(())
        }
        Seen::Taken => {
            let refusal = Refusal::new(ErrorCode::Replayed, "this delivery was taken before");
            let refusal = Refusal { status: Some(replay.answer), ..refusal };
            Err(refuse(endpoint, refusal, WebhookRefusal::Duplicate))
        }
        Seen::UnderWay => {
            let detail = "this delivery is on its way to its receiver; whether it was taken is not known yet";
            let refusal = Refusal::new(ErrorCode::Replayed, detail).retry_after(COME_AGAIN);
            Err(refuse(endpoint, refusal, WebhookRefusal::UnderWay))
        }
    }
}

fn reason(fault: &Fault) -> WebhookRefusal {
    match fault {
        Fault::Missing(_) => WebhookRefusal::SignatureMissing,
        Fault::Duplicate(_) | Fault::Malformed(..) | Fault::Content(_) => WebhookRefusal::SignatureMalformed,
        Fault::Stale(..) => WebhookRefusal::SignatureStale,
        Fault::Future(..) => WebhookRefusal::SignatureFuture,
        Fault::Mismatch => WebhookRefusal::SignatureMismatch,
    }
}

/// The provider's id of the delivery, where its scheme has it in the body, which is signed.
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
