//! The first two stages of an exchange: a request whose head was read, and one that has a plan.
//!
//! Planning has no side effects except counters. The plan is final: later stages never read the head again to decide on
//! destination or credential.

use super::NotForwarded;
use super::caller::{self, CallerProof, Withheld};
use super::failure::{looping, over_limit};
use super::headers::{self, Dropped, Unwanted};
use super::record::{HANDSHAKE, Record, warn_of_refusal};
use super::resend::is_idempotent;
use crate::limits::buffered::BufferPermit;
use crate::message::Framing;
use crate::message::request::RequestHead;
use crate::outbound;
use crate::plan::{Form, Plan, Refusal, Reply};
use crate::proxy::Entrance;
use crate::request_id::RequestId;
use crate::route::Route;
use crate::telemetry::metrics::{Direction, WebhookRefusal};
use crate::webhook;
use crate::webhook::address::Client as WebhookClient;
use crate::webhook::admission::{self, Admission, Refused, Stopped};
use crate::webhook::replay::DedupReservation;
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::time::Instant;

/// A request whose head was read.
pub(crate) struct Request {
    pub(crate) head: RequestHead,
    pub(crate) record: Record,
    pub(super) accept: Option<Bytes>,
    pub(super) keeps_alive: bool,
    pub(super) expects_continue: bool,
}

impl Request {
    /// Begins the record of a request.
    pub(crate) fn new(
        entrance: &Entrance,
        client: Option<SocketAddr>,
        arrived: std::time::Instant,
        head: RequestHead,
    ) -> Self {
        let mut record = Record::new(&entrance.proxy, entrance.direction, client, arrived);
        record.listener = entrance.address;
        record.read(&head);
        Self {
            accept: head.fields.get("accept").map(|value| head.fields.share(value)),
            keeps_alive: head.keeps_alive(),
            expects_continue: head.expects_continue(),
            head,
            record,
        }
    }
}

/// The parts of a request that only a webhook call has.
pub(super) struct WebhookCall {
    pub(super) client: WebhookClient,
    /// The decision about the delivery.
    pub(super) admission: Admission,
    /// The reservation of the delivery, until the receiver's answer is known.
    pub(super) reservation: Option<DedupReservation>,
    /// The signature covers the delivery's id.
    pub(super) is_id_signed: bool,
    /// SHA-256 of a body that was read ahead, if the receiver is told of it.
    pub(super) body_sha256: Option<[u8; 32]>,
    /// The body that was read ahead.
    pub(super) body: Option<Bytes>,
    /// The memory permit for that body.
    pub(super) permit: Option<BufferPermit>,
}

impl WebhookCall {
    /// Returns the parts of a call whose head passed, before its body is read.
    fn new(client: WebhookClient, admission: Admission) -> Self {
        Self {
            client,
            admission,
            reservation: None,
            is_id_signed: false,
            body_sha256: None,
            body: None,
            permit: None,
        }
    }
}

/// A request that will be carried out.
pub(super) struct Planned {
    pub(super) plan: Plan,
    /// Time at which the response head is due.
    pub(super) deadline: Instant,
    pub(super) is_idempotent: bool,
    /// The framing for the upstream.
    pub(super) body: Framing,
    /// Boxed, because otherwise every request would hold its memory.
    pub(super) delivery: Option<Box<WebhookCall>>,
}

impl Planned {
    /// Returns the reservation of a webhook's delivery.
    pub(super) fn reservation(&self) -> Option<&DedupReservation> {
        self.delivery.as_ref()?.reservation.as_ref()
    }

    /// Ends the reservation of a webhook's delivery. `status` is the receiver's answer, if there is one.
    pub(super) fn settle(&mut self, status: Option<u16>) {
        if let Some(reservation) = self.delivery.as_mut().and_then(|call| call.reservation.take()) {
            reservation.settle_at(status, crate::proxy::uptime(std::time::Instant::now()));
        }
    }

    /// Drops a body that was read ahead, and its memory permit.
    pub(super) fn forget_body(&mut self) {
        if let Some(call) = &mut self.delivery {
            (call.body, call.permit) = (None, None);
        }
    }
}

/// Decides what to do with the request, and cleans its fields.
///
/// # Errors
///
/// The answer, if it is not forwarded.
pub(super) fn plan(request: &mut Request, proof: Option<&CallerProof>) -> Result<Planned, NotForwarded> {
    let Request { head, record, .. } = request;
    record.credential = proof.and_then(|proof| proof.text.clone());
    // An external client does not choose the id, since it appears in attache's log. It must not be a credential.
    let own_id = head.fields.get("x-request-id").filter(|_| record.direction == Direction::Outbound);
    record.id = RequestId::from_caller(own_id.filter(|id| !record.holds_credential(id)));
    let (planned, client) = match record.direction {
        Direction::Outbound => (outbound(head, record, proof).map(|plan| (None, plan)), None),
        Direction::Webhook => {
            let (result, client) = open(head, record);
            (result.map(|(admission, plan)| (Some(admission), plan)), Some(client))
        }
    };
    let forwarded = client.is_some_and(|client| client.forwarded);
    let snapshot = Arc::clone(&record.snapshot);
    let (admission, plan) = match planned {
        Ok(planned) => planned,
        Err(stop) => {
            // The fields of a refused request are not cleaned, but its attempts at spoofing count. A proof is none.
            if proof.is_some() {
                head.fields.retain(|field| !field.is("x-attache-token"));
            }
            count(record, &Dropped::of(&head.fields, &snapshot.reserved, record.direction, forwarded));
            return Err(stop);
        }
    };
    record.in_flight = Some(plan.route.stats.started());
    record.route = Some(Arc::clone(&plan.route));
    let (too_large, looping) = (is_too_large(&plan, head.body), headers::is_looping(&head.fields));
    let (replaced, direction) = (&plan.route.replaced, record.direction);
    let withheld = Withheld::new(&snapshot, record, proof, &plan.route);
    let unwanted = Unwanted {
        reserved: &snapshot.reserved,
        replaced,
        withheld: withheld.as_ref(),
        forwarded,
        direction,
    };
    count(record, &headers::clean_request(&mut head.fields, &unwanted));
    if looping {
        return Err(NotForwarded::refused(self::looping().of(&plan.route.service)));
    }
    if too_large {
        return Err(NotForwarded::refused(Refusal::body_too_large(&plan.route)));
    }
    limit(record, &plan.route)?;
    let delivery =
        client.zip(admission).map(|(client, admission)| Box::new(WebhookCall::new(client, admission)));
    Ok(Planned {
        deadline: (record.arrived + plan.route.timeout).into(),
        is_idempotent: is_idempotent(&head.method, &head.fields),
        body: match head.body {
            // A stated length of zero is forwarded.
            Framing::Empty if head.fields.contains("content-length") => Framing::Length(0),
            body => body,
        },
        plan,
        delivery,
    })
}

fn is_too_large(plan: &Plan, body: Framing) -> bool {
    matches!((body, plan.route.max_body), (Framing::Length(length), Some(max)) if length > max)
}

fn count(record: &Record, dropped: &Dropped) {
    if !dropped.is_empty() {
        record.stats().reserved_headers_dropped(dropped.forwarding, dropped.identity);
    }
}

/// Begins a request within the limits of its service. Those of a webhook are the admission's.
fn limit(record: &mut Record, route: &Route) -> Result<(), NotForwarded> {
    let limits = route.limits.as_ref().filter(|_| record.direction == Direction::Outbound);
    if let Some(limits) = limits {
        let permit = limits.begin_at(crate::proxy::uptime(record.arrived));
        let refused = |exceeded| NotForwarded::refused(over_limit(route, exceeded));
        record.permit = Some(permit.map_err(refused)?);
    }
    Ok(())
}

fn outbound(
    head: &RequestHead,
    record: &mut Record,
    proof: Option<&CallerProof>,
) -> Result<Plan, NotForwarded> {
    let call = outbound::Call {
        method: &head.method,
        target: &head.target,
        fields: &head.fields,
        absolute: head.absolute,
    };
    let snapshot = Arc::clone(&record.snapshot);
    let planned = match (&snapshot.callers, proof) {
        (Some(callers), Some(proof)) => caller::plan(callers, &call, record, proof),
        _ => snapshot.routes.plan(&call),
    };
    if let Err(Refusal { service: Some(service), .. }) = &planned {
        let of_caller = proof.and_then(|proof| caller::route(&snapshot, proof, service));
        record.route = of_caller.or_else(|| snapshot.routes.get(service)).cloned();
    }
    let is_known = planned.is_ok() || record.route.is_some();
    // A client of the HTTP proxy may have put a token in the place of the credential.
    let shown = match (&planned, &record.route) {
        (Ok(plan), _) if plan.form == Form::Proxy && plan.route.has_credential_place() => &plan.target[..],
        (Err(_), Some(route)) if head.absolute && route.has_credential_place() => {
            route.upstream.prefix.as_bytes()
        }
        _ => &head.target,
    };
    record.path = caller::log_path(outbound::log_path(shown, is_known), record);
    planned.map_err(NotForwarded::refused)
}

/// Opens the admission of a webhook call.
fn open(head: &RequestHead, record: &mut Record) -> (Result<(Admission, Plan), NotForwarded>, WebhookClient) {
    let snapshot = Arc::clone(&record.snapshot);
    let trusted = &snapshot.config.trusted_proxies;
    let client = WebhookClient::of(record.client, record.is_tls, &head.fields, trusted);
    record.client = client.address;
    let call = admission::Call {
        method: &head.method,
        target: &head.target,
        fields: &head.fields,
        body: head.body,
        websocket: head.websocket,
        client,
        now: record.time,
        uptime: crate::proxy::uptime(record.arrived),
    };
    let opened = admission::open(&snapshot.webhooks(), &call);
    record.key = match &opened {
        Ok((admission, _)) => Some(admission.key()),
        Err(Stopped::Replied(key, _)) => Some(*key),
        Err(Stopped::Refused(refused)) => refused.key,
    };
    let endpoint = record.endpoint().map(|endpoint| &**endpoint);
    // Before a header that holds it is removed.
    let key =
        webhook::key_text(&head.target, &head.fields, endpoint).map(|key| Bytes::from(key.into_owned()));
    record.path = webhook::log_path(&snapshot.keys, &head.target, endpoint, key.as_deref());
    record.credential = key;
    let result = opened.map_err(|stopped| match stopped {
        Stopped::Replied(_, reply) => replied(record, reply),
        Stopped::Refused(refused) => refuse(record, *refused),
    });
    (result, client)
}

/// Records the use of the key of a webhook call.
pub(super) fn note_use(record: &Record) {
    if let Some(key) = record.key() {
        key.stats().used_at(record.time);
    }
}

/// Answers a handshake.
pub(super) fn replied(record: &mut Record, reply: Reply) -> NotForwarded {
    note_use(record);
    record.reason = Some(HANDSHAKE.into());
    NotForwarded::Replied(reply)
}

/// Counts and logs the refusal of a webhook call.
pub(super) fn refuse(record: &mut Record, refused: Refused) -> NotForwarded {
    record.known_key = refused.known_key;
    if refused.delivery_id.is_some() {
        record.delivery_id = refused.delivery_id;
    }
    if let Some(key) = record.key().or(record.known_key()) {
        key.stats().refused_at(record.time);
    }
    let stats = refused.counts_for.as_ref().map(|endpoint| &endpoint.route.stats);
    stats.unwrap_or(record.snapshot.unmatched(Direction::Webhook)).refused(refused.reason);
    if let (Some(text), Some(endpoint)) = (&refused.log, record.endpoint()) {
        warn_of_refusal(endpoint, text, record);
    }
    NotForwarded::refused(refused.refusal)
}

/// Applies the service's overrides to the refusal of a webhook call. An outbound refusal is returned unchanged.
pub(super) fn overridden(record: &Record, refusal: Refusal) -> Refusal {
    match record.endpoint() {
        Some(endpoint) => endpoint.apply_refusal_overrides(refusal),
        None => refusal,
    }
}

/// Counts and logs the refusal of a webhook call with a valid key that the proxy itself refuses.
pub(super) fn refuse_valid(record: &mut Record, refusal: Refusal, reason: WebhookRefusal) -> NotForwarded {
    match record.key().map(|key| Refused::new(key, refusal.clone(), reason)) {
        Some(refused) => refuse(record, *refused),
        None => NotForwarded::refused(refusal),
    }
}
