//! Admission of a webhook call: every check that needs the body runs before the receiver gets a byte.
//!
//! The forwarded bytes are the verified ones: the body is read once, stored once, and forwarded with its length.

use super::NotForwarded;
use super::failure::{bad_body, body_too_large, stalled_upload};
use super::record::warn_of_refusal;
use super::request::{Planned, Request, note_use, refuse};
use crate::error_code::ErrorCode;
use crate::jwt::verify::JwtRefusal;
use crate::message::Framing;
use crate::message::chunked::ChunkError;
use crate::plan::Refusal;
use crate::proxy::downstream::client::{Client, ClientError, Event, Wants};
use crate::secret::sha256;
use crate::signature::sns::CertificateFault;
use crate::signature::{Fault, Signed, Trace, Verifier};
use crate::telemetry::metrics::{Phase, WebhookRefusal};
use crate::webhook::endpoint::{BufferPermit, Endpoint};
use crate::webhook::replay::Seen;
use crate::webhook::{self, handshake};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{timeout, timeout_at};

/// Bodies above this size are verified on another thread, so that they do not delay other requests of this one.
const LARGE: usize = 256 << 10;
/// `Retry-After` for a duplicate that arrives while its original is in progress.
const COME_AGAIN: Duration = Duration::from_secs(1);
/// A longer delivery id in a body is ignored.
const MAX_ID: usize = 256;
/// Maximum pause within a body that is read ahead, since it occupies memory.
const SILENCE: Duration = Duration::from_secs(10);
/// `100 Continue`, for a client that waits for it.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Reads, verifies and deduplicates the call, as far as its endpoint requires it.
pub(super) async fn admit(
    request: &mut Request,
    planned: &mut Planned,
    client: &mut Client,
) -> Result<(), NotForwarded> {
    let Some(endpoint) = request.record.endpoint().cloned() else { return Ok(()) };
    if endpoint.reads_body() {
        if request.head.websocket {
            let detail = "this webhook verifies bodies, and a WebSocket has none that ends";
            let refusal = Refusal::new(ErrorCode::RequestInvalid, detail);
            return Err(NotForwarded::refused(refuse(
                &request.record,
                &endpoint,
                refusal,
                WebhookRefusal::Request,
            )));
        }
        request.record.phase = Some(Phase::Send);
        let (body, permit) = read(request, planned, client, &endpoint).await?;
        let verified = match body.len() {
            LARGE.. => tokio::task::block_in_place(|| verify(request, planned, &endpoint, &body)),
            _ => verify(request, planned, &endpoint, &body),
        };
        if let Err(stop) = verified {
            if let NotForwarded::Replied(_) = stop {
                note_use(&request.record);
            }
            return Err(stop);
        }
        if let Some(name) = endpoint.verifier.as_ref().and_then(|verifier| verifier.scheme().token_header()) {
            request.head.fields.retain(|field| !field.is(name.as_str()));
        }
        planned.body = match planned.body {
            Framing::Empty => Framing::Empty,
            _ => Framing::Length(body.len() as u64),
        };
        if let Some(delivery) = &mut planned.delivery {
            (delivery.body, delivery.permit) = (Some(body), Some(permit));
        }
        request.record.phase = Some(Phase::Connect);
    }
    note_use(&request.record);
    Ok(())
}

/// Reads the whole body.
async fn read(
    request: &Request,
    planned: &Planned,
    client: &mut Client,
    endpoint: &Arc<Endpoint>,
) -> Result<(Bytes, BufferPermit), NotForwarded> {
    let mut permit = endpoint.permit();
    let reading = read_parts(request, client, &mut permit);
    let record = &request.record;
    let refused = |refusal, reason| NotForwarded::refused(refuse(record, endpoint, refusal, reason));
    let body = match timeout_at(planned.deadline, reading).await {
        Ok(Ok(body)) => body,
        Ok(Err(ReadBodyError::Client(ClientError::Body(ChunkError::TooLarge)))) => {
            return Err(refused(body_too_large(&endpoint.route), WebhookRefusal::Request));
        }
        Ok(Err(ReadBodyError::Client(ClientError::Body(error)))) => {
            return Err(refused(bad_body(&endpoint.route, error), WebhookRefusal::Request));
        }
        Ok(Err(ReadBodyError::Client(error))) => return Err(NotForwarded::Client(error)),
        Ok(Err(ReadBodyError::NoRoom)) => {
            let detail = "too many bodies are being read for this webhook at the same time";
            let refusal = Refusal::new(ErrorCode::Overloaded, detail).retry_after(COME_AGAIN);
            return Err(refused(refusal, WebhookRefusal::Overloaded));
        }
        Ok(Err(ReadBodyError::Silent)) | Err(_) => {
            return Err(refused(stalled_upload(), WebhookRefusal::Request));
        }
    };
    Ok((body, permit))
}

/// Why a body could not be read ahead.
enum ReadBodyError {
    /// The client's connection failed.
    Client(ClientError),
    /// The memory for such bodies is used up.
    NoRoom,
    /// The client stopped sending.
    Silent,
}

/// Joins the parts into one body; a body in one part is not copied.
async fn read_parts(
    request: &Request,
    client: &mut Client,
    permit: &mut BufferPermit,
) -> Result<Bytes, ReadBodyError> {
    let mut first = Bytes::new();
    let mut body = BytesMut::new();
    let mut expects = request.expects_continue;
    while !client.body_has_ended() {
        let wants = Wants { body: true, room: false };
        // Bytes that were received need no `100 Continue`.
        if expects && !client.has_early_bytes() {
            client.queue().extend_from_slice(CONTINUE);
        }
        expects = false;
        let event = timeout(SILENCE, client.event(wants)).await.map_err(|_| ReadBodyError::Silent)?;
        let Event::Body { part, .. } = event.map_err(ReadBodyError::Client)? else { continue };
        if !permit.take(part.len()) {
            return Err(ReadBodyError::NoRoom);
        }
        if first.is_empty() && body.is_empty() {
            first = part;
        } else {
            if body.is_empty() {
                body.extend_from_slice(&first);
            }
            body.extend_from_slice(&part);
        }
    }
    Ok(if body.is_empty() { first } else { body.freeze() })
}

fn verify(
    request: &mut Request,
    planned: &mut Planned,
    endpoint: &Arc<Endpoint>,
    body: &[u8],
) -> Result<(), NotForwarded> {
    let snapshot = Arc::clone(&request.record.snapshot);
    let headers: HeaderMap = request.head.fields.to_map();
    let (method, target) = (request.head.method.clone(), request.head.target.clone());
    let signed_over = crate::signature::Delivery {
        method: method.as_str(),
        target: &target,
        public_url: snapshot.config.public_url.as_deref(),
        headers: &headers,
        body,
    };
    let record = &mut request.record;
    let mut signed = Signed::default();
    if let Some(verifier) = &endpoint.verifier {
        signed = verifier.verify_at(&signed_over, record.time, &mut Trace::off()).map_err(|fault| {
            warn_of_refusal(endpoint, &fault, record);
            let detail = format!("the request's signature is not valid: {fault}");
            let refusal = Refusal::new(ErrorCode::SignatureInvalid, detail);
            NotForwarded::refused(refuse(record, endpoint, refusal, reason(&fault)))
        })?;
        if let (Some(limit), Some(key)) = (&endpoint.limit, record.key())
            && let Err(wait) = limit.take_at(&key.stats().rate, crate::proxy::uptime(record.arrived))
        {
            let refusal = webhook::too_often(wait);
            return Err(NotForwarded::refused(refuse(
                record,
                endpoint,
                refusal,
                WebhookRefusal::RateLimited,
            )));
        }
        if let Some(answer) = handshake::in_body(verifier, body) {
            return Err(match answer {
                Ok(reply) => NotForwarded::Replied(reply),
                Err(refusal) => {
                    NotForwarded::refused(refuse(record, endpoint, refusal, WebhookRefusal::Request))
                }
            });
        }
    }
    let asserts = snapshot.assertion.is_some();
    if signed.id.is_none() && (endpoint.replay.is_some() || asserts) {
        signed.id = endpoint.verifier.as_ref().and_then(|verifier| id_in_body(verifier, body));
    }
    if let Some(delivery) = planned.delivery.as_mut().filter(|_| asserts) {
        delivery.body_sha256 = Some(sha256(body));
    }
    let reserved = reserve(request, planned, endpoint, &signed_over, &signed);
    request.record.delivery_id = signed.id;
    reserved
}

/// Reserves the delivery, unless it was received before.
fn reserve(
    request: &Request,
    planned: &mut Planned,
    endpoint: &Arc<Endpoint>,
    signed_over: &crate::signature::Delivery<'_>,
    signed: &Signed,
) -> Result<(), NotForwarded> {
    let Some((replay, deliveries)) = &endpoint.replay else { return Ok(()) };
    let digest = match (&signed.id, &endpoint.verifier) {
        (Some(id), _) => sha256(&[b"id\0", id.as_bytes()].concat()),
        // Unsigned parts of the request must make no difference.
        (None, Some(verifier)) => verifier.digest(signed_over, signed),
        // Without a signature, the key distinguishes the providers.
        (None, None) => {
            let body = sha256(signed_over.body);
            let key = request.record.key().map_or("", |key| key.id());
            sha256(&[&body[..], key.as_bytes(), b"\0", &planned.plan.target].concat())
        }
    };
    match deliveries.reserve_at(&digest, crate::proxy::uptime(request.record.arrived), replay) {
        Seen::First(reservation) => {
            if let Some(delivery) = &mut planned.delivery {
                delivery.reservation = Some(reservation);
            }
            Ok(())
        }
        Seen::Taken => {
            let refusal = Refusal::new(ErrorCode::Replayed, "this delivery was accepted before");
            let refusal = Refusal { status: Some(replay.answer), ..refusal };
            Err(NotForwarded::refused(refuse(&request.record, endpoint, refusal, WebhookRefusal::Duplicate)))
        }
        Seen::UnderWay => {
            let detail =
                "this delivery is being forwarded to its receiver; whether it was accepted is not known yet";
            let refusal = Refusal::new(ErrorCode::Replayed, detail).retry_after(COME_AGAIN);
            Err(NotForwarded::refused(refuse(&request.record, endpoint, refusal, WebhookRefusal::UnderWay)))
        }
    }
}

fn reason(fault: &Fault) -> WebhookRefusal {
    match fault {
        Fault::Missing(_) => WebhookRefusal::SignatureMissing,
        Fault::Duplicate(_) | Fault::Malformed(..) | Fault::Content(_) => WebhookRefusal::SignatureMalformed,
        Fault::Stale(..) => WebhookRefusal::SignatureStale,
        Fault::Future(..) => WebhookRefusal::SignatureFuture,
        Fault::Mismatch | Fault::Claim(_) => WebhookRefusal::SignatureMismatch,
        Fault::Token(reason) => match reason {
            JwtRefusal::Expired => WebhookRefusal::SignatureStale,
            JwtRefusal::NotYetValid => WebhookRefusal::SignatureFuture,
            JwtRefusal::Malformed
            | JwtRefusal::TooLarge
            | JwtRefusal::Critical
            | JwtRefusal::MissingClaim => WebhookRefusal::SignatureMalformed,
            _ => WebhookRefusal::SignatureMismatch,
        },
        Fault::Certificate(CertificateFault::Expired) => WebhookRefusal::SignatureStale,
        Fault::Certificate(_) => WebhookRefusal::SignatureMismatch,
        Fault::NeedsKey(needed) => reason(&needed.otherwise),
        Fault::KeyUnavailable(_) => WebhookRefusal::KeyUnavailable,
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
