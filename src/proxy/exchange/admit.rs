//! Admission of a webhook call: every check that needs the body runs before the receiver gets a byte.
//!
//! The forwarded bytes are the verified ones: the body is read once, stored once, and forwarded with its length.

use super::NotForwarded;
use super::failure::internal;
use super::fetched;
use super::read_ahead::{read_ahead, turn};
use super::request::{Planned, Request, note_use, refuse, replied};
use crate::limits::buffered::BufferPermit;
use crate::message::Framing;
use crate::proxy::Proxy;
use crate::proxy::downstream::client::Client;
use crate::signature::Delivery;
use crate::telemetry::metrics::Phase;
use crate::webhook::admission::{Admission, Forward, Verdict};
use crate::webhook::key_copies;
use bytes::Bytes;
use http::HeaderMap;
use tokio::time::{Instant, timeout_at};

/// Minimum size of a body that is verified while the other tasks of its thread move to another thread. The number of such
/// verifications is bounded, since each occupies some multiple of the body's size.
const LARGE: usize = 256 << 10;
/// Maximum number of questions to the admission: for the head, the body, a look into the store, a key, and a secret that
/// was kept.
const MAX_QUESTIONS: usize = 5;

/// Carries out what the admission asks for, until it decides: reads the body, fetches a key, accesses the store.
pub(super) async fn admit(
    proxy: &Proxy,
    request: &mut Request,
    planned: &mut Planned,
    client: &mut Client,
) -> Result<(), NotForwarded> {
    let Some(call) = &planned.delivery else { return Ok(()) };
    let mut admission = call.admission.clone();
    let mut body = None;
    for _ in 0..MAX_QUESTIONS {
        let read = body.as_ref().map(|(body, _): &(Bytes, BufferPermit)| body);
        let turn = match read {
            Some(body) if body.len() >= LARGE => {
                Some(turn(&proxy.verifications, request, planned, client).await?)
            }
            _ => None,
        };
        let verdict = decide(request, planned, &mut admission, read);
        drop(turn);
        match verdict {
            Verdict::NeedsBody => {
                request.record.phase = Some(Phase::Send);
                body = Some(read_ahead(request, planned, client, &proxy.body_memory).await?);
            }
            // At the deadline the admission is asked again without the key, or without the result of the store.
            Verdict::NeedsKey(needed) => {
                // Boxed, because otherwise every call would hold the memory that only a fetch needs.
                Box::pin(fetched::key(&needed, request, planned, client)).await?;
            }
            Verdict::NeedsStore(access) => {
                within(planned.deadline, client, access).await?;
            }
            Verdict::Confirm(subscription) => {
                return Err(Box::pin(fetched::confirm(&subscription, request, planned, client)).await);
            }
            Verdict::Reply(reply) => return Err(replied(&mut request.record, reply)),
            Verdict::Refuse(refused) => return Err(refuse(&mut request.record, *refused)),
            Verdict::Forward(forward) => {
                note_use(&request.record);
                forwarded(request, planned, *forward, body);
                return Ok(());
            }
        }
    }
    Err(NotForwarded::refused(internal("no_verdict")))
}

/// Awaits work for a call until its deadline. `None`: it passed.
///
/// # Errors
///
/// If the client leaves.
pub(super) async fn within<T>(
    deadline: Instant,
    client: &mut Client,
    work: impl Future<Output = T>,
) -> Result<Option<T>, NotForwarded> {
    tokio::select! {
        biased;
        left = client.left() => Err(NotForwarded::Client(left)),
        done = timeout_at(deadline, work) => Ok(done.ok()),
    }
}

/// Asks the admission with what is known.
fn decide(request: &Request, planned: &Planned, admission: &mut Admission, body: Option<&Bytes>) -> Verdict {
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
    let mut decide = || admission.decide(&webhooks, &planned.plan, Some(&delivery));
    if body.len() >= LARGE { tokio::task::block_in_place(decide) } else { decide() }
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
    if let Some(key) = &request.record.credential {
        key_copies::drop_fields(&mut request.head.fields, key);
    }
    if let Some((body, _)) = &body {
        planned.body = match planned.body {
            Framing::Empty => Framing::Empty,
            _ => Framing::Length(body.len() as u64),
        };
        request.record.phase = Some(Phase::Connect);
    }
    request.record.delivery_id = forward.delivery_id;
    request.record.permit = forward.permit;
    if let Some(call) = &mut planned.delivery {
        (call.reservation, call.body_sha256) = (forward.reservation, forward.body_sha256);
        call.is_id_signed = forward.is_id_signed;
        (call.body, call.permit) = body.unzip();
    }
}
