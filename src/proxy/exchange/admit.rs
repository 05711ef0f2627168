//! Admission of a webhook call: every check that needs the body runs before the receiver gets a byte.
//!
//! The forwarded bytes are the verified ones: the body is read once, stored once, and forwarded with its length.

use super::NotForwarded;
use super::failure::{bad_body, internal, stalled_upload};
use super::fetched;
use super::request::{Planned, Request, note_use, refuse, refuse_valid, replied};
use crate::error_code::ErrorCode;
use crate::message::Framing;
use crate::plan::Refusal;
use crate::proxy::downstream::client::{Client, ClientError, Event, Wants};
use crate::signature::Delivery;
use crate::telemetry::metrics::{Phase, WebhookRefusal};
use crate::webhook::admission::{Admission, Forward, Verdict, WantedKey};
use crate::webhook::endpoint::BufferPermit;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use std::time::Duration;
use tokio::time::{timeout, timeout_at};

/// Bodies above this size are verified on another thread, so that they do not delay other requests of this one.
const LARGE: usize = 256 << 10;
/// `Retry-After` where the time is not known.
const COME_AGAIN: Duration = Duration::from_secs(1);
/// Maximum number of keys that are fetched for one delivery.
const MAX_FETCHES: usize = 2;
/// Maximum pause within a body that is read ahead, since it occupies memory.
const SILENCE: Duration = Duration::from_secs(10);
/// `100 Continue`, for a client that waits for it.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Carries out what the admission asks for, until it decides: reads the body, and fetches keys.
pub(super) async fn admit(
    request: &mut Request,
    planned: &mut Planned,
    client: &mut Client,
) -> Result<(), NotForwarded> {
    let Some(call) = &planned.delivery else { return Ok(()) };
    let mut admission = call.admission;
    let mut body = None;
    let mut fetches = 0;
    loop {
        let read = body.as_ref().map(|(body, _): &(Bytes, BufferPermit)| body);
        match decide(request, planned, admission, read) {
            Verdict::NeedsBody => {
                request.record.phase = Some(Phase::Send);
                body = Some(read_ahead(request, planned, client).await?);
            }
            Verdict::NeedsKey(key) if fetches < MAX_FETCHES => {
                fetches += 1;
                fetch(key, planned, client).await?;
            }
            Verdict::NeedsKey(_) => return Err(NotForwarded::refused(internal("no_verdict"))),
            Verdict::Fetch(needed) => {
                // Boxed, because otherwise every call would hold the memory that only a fetch needs.
                Box::pin(fetched::key(&needed, request, planned, client)).await?;
                admission = admission.after_fetch();
            }
            Verdict::Confirm(subscription) => {
                return Err(Box::pin(fetched::confirm(&subscription, request, planned, client)).await);
            }
            Verdict::Reply(reply) => return Err(replied(&request.record, reply)),
            Verdict::Refuse(refused) => return Err(refuse(&mut request.record, *refused)),
            Verdict::Forward(forward) => {
                note_use(&request.record);
                forwarded(request, planned, *forward, body);
                return Ok(());
            }
        }
    }
}

/// Asks the admission with what is known.
fn decide(request: &Request, planned: &Planned, admission: Admission, body: Option<&Bytes>) -> Verdict {
    let snapshot = &request.record.snapshot;
    let webhooks = snapshot.webhooks();
    let Some(body) = body else { return admission.decide(&webhooks, &planned.plan, None) };
    let headers: HeaderMap = request.head.fields.to_map();
    let delivery = Delivery {
        method: request.head.method.as_str(),
        target: &request.head.target,
        public_url: webhooks.public_url,
        headers: &headers,
        body,
    };
    let decide = || admission.decide(&webhooks, &planned.plan, Some(&delivery));
    if body.len() >= LARGE { tokio::task::block_in_place(decide) } else { decide() }
}

/// Fetches a key that a signature needs. At the deadline the admission is asked again without it.
async fn fetch(key: WantedKey, planned: &Planned, client: &mut Client) -> Result<(), NotForwarded> {
    tokio::select! {
        biased;
        left = client.left() => Err(NotForwarded::Client(left)),
        _ = timeout_at(planned.deadline, key.fetch()) => Ok(()),
    }
}

/// Prepares the request for the receiver.
fn forwarded(
    request: &mut Request,
    planned: &mut Planned,
    forward: Forward,
    body: Option<(Bytes, BufferPermit)>,
) {
    if let Some(name) = &forward.removed_field {
        request.head.fields.retain(|field| !field.is(name.as_str()));
    }
    if let Some((body, _)) = &body {
        planned.body = match planned.body {
            Framing::Empty => Framing::Empty,
            _ => Framing::Length(body.len() as u64),
        };
        request.record.phase = Some(Phase::Connect);
    }
    request.record.delivery_id = forward.delivery_id;
    if let Some(call) = &mut planned.delivery {
        (call.reservation, call.body_sha256) = (forward.reservation, forward.body_sha256);
        (call.body, call.permit) = body.unzip();
    }
}

/// Reads the whole body.
async fn read_ahead(
    request: &mut Request,
    planned: &Planned,
    client: &mut Client,
) -> Result<(Bytes, BufferPermit), NotForwarded> {
    let Some(endpoint) = request.record.endpoint().cloned() else {
        return Err(NotForwarded::refused(internal("no_endpoint")));
    };
    let mut permit = endpoint.permit();
    let reading = read_parts(request, client, &mut permit);
    let (refusal, reason) = match timeout_at(planned.deadline, reading).await {
        Ok(Ok(body)) => return Ok((body, permit)),
        Ok(Err(ReadBodyError::Client(ClientError::Body(error)))) => {
            (bad_body(&endpoint.route, error), WebhookRefusal::Request)
        }
        Ok(Err(ReadBodyError::Client(error))) => return Err(NotForwarded::Client(error)),
        Ok(Err(ReadBodyError::NoRoom)) => {
            let detail = "too many bodies are being read for this webhook at the same time";
            let refusal = Refusal::new(ErrorCode::Overloaded, detail).retry_after(COME_AGAIN);
            (refusal, WebhookRefusal::Overloaded)
        }
        Ok(Err(ReadBodyError::Silent)) | Err(_) => (stalled_upload(), WebhookRefusal::Request),
    };
    Err(refuse_valid(&mut request.record, refusal, reason))
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
