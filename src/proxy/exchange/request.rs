//! The first two stages of an exchange: a request whose head was read, and one that has a plan.
//!
//! Planning is pure but for counters. What the plan decides is fixed here: later stages never look at the head to decide
//! where a request goes or with what.

use super::Stop;
use super::failure::{body_too_large, looping};
use super::headers::{self, Dropped, Unwanted};
use super::record::{Record, warn_of_refusal};
use super::resend::is_idempotent;
use crate::error_code::ErrorCode;
use crate::message::Framing;
use crate::outbound;
use crate::plan::{Plan, Refusal};
use crate::proxy::Entrance;
use crate::proxy::downstream::head::RequestHead;
use crate::request_id::RequestId;
use crate::telemetry::metrics::{Direction, WebhookRefusal};
use crate::webhook::address::Client as Caller;
use crate::webhook::endpoint::{BufferPermit, Endpoint};
use crate::webhook::replay::DedupReservation;
use crate::webhook::{self, Action};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::time::Instant;

/// A request whose head was read.
pub(crate) struct Request {
    pub(crate) head: RequestHead,
    pub(crate) record: Record,
    /// The listener's own address, so that a connection back to it is seen.
    pub(crate) listener: Option<SocketAddr>,
    pub(super) accept: Option<Bytes>,
    pub(super) keeps_alive: bool,
    pub(super) expects_continue: bool,
}

impl Request {
    /// Begins the record of a request.
    pub(crate) fn new(entrance: &Entrance, client: Option<SocketAddr>, head: RequestHead) -> Self {
        let mut record = Record::new(&entrance.proxy, entrance.direction, client);
        record.read(&head);
        Self {
            accept: head.fields.get("accept").map(|value| head.fields.share(value)),
            keeps_alive: head.keeps_alive(),
            expects_continue: head.expects_continue(),
            listener: entrance.address,
            head,
            record,
        }
    }
}

/// The parts of a request that only a webhook call has.
pub(super) struct Delivery {
    pub(super) caller: Caller,
    /// The delivery, until it is known whether the receiver has taken it.
    pub(super) reservation: Option<DedupReservation>,
    /// SHA-256 of a body that was read ahead, where the receiver is told of it.
    pub(super) body_sha256: Option<[u8; 32]>,
    /// The body that was read ahead.
    pub(super) body: Option<Bytes>,
    /// Its share of the memory for such bodies.
    pub(super) permit: Option<BufferPermit>,
}

/// A request that is carried out.
pub(super) struct Planned {
    pub(super) plan: Plan,
    /// The response headers have to be there by then.
    pub(super) deadline: Instant,
    pub(super) is_idempotent: bool,
    /// How the body is sent on.
    pub(super) body: Framing,
    /// Boxed, because every request would carry the room for it.
    pub(super) delivery: Option<Box<Delivery>>,
}

/// Decides what to do with the request, and cleans its fields.
///
/// # Errors
///
/// The answer, if it goes no further.
pub(super) fn plan(request: &mut Request) -> Result<Planned, Stop> {
    let Request { head, record, .. } = request;
    // A client on the outside does not choose the id: it stands in our log.
    let own_id = head.fields.get("x-request-id").filter(|_| record.direction == Direction::Outbound);
    record.id = RequestId::from_caller(own_id);
    let (planned, caller) = match record.direction {
        Direction::Outbound => (outbound(head, record), None),
        Direction::Webhook => {
            let (planned, caller) = webhook(head, record);
            (planned, Some(caller))
        }
    };
    let forwarded = caller.is_some_and(|caller| caller.forwarded);
    let snapshot = Arc::clone(&record.snapshot);
    let plan = match planned {
        Ok(plan) => plan,
        Err(stop) => {
            // The fields of a refused request are not cleaned, but what it tried counts.
            count(record, &Dropped::of(&head.fields, &snapshot.reserved, forwarded));
            return Err(stop);
        }
    };
    record.in_flight = Some(plan.route.stats.started());
    record.route = Some(Arc::clone(&plan.route));
    let (too_large, looping) = (is_too_large(&plan, head.body), headers::is_looping(&head.fields));
    let replaced = &plan.route.replaced;
    let unwanted = Unwanted { reserved: &snapshot.reserved, replaced, forwarded };
    count(record, &headers::clean_request(&mut head.fields, &unwanted));
    if looping {
        return Err(Stop::refused(self::looping().of(&plan.route.service)));
    }
    if too_large {
        return Err(Stop::refused(refuse_request(record, body_too_large(&plan.route))));
    }
    let delivery = |caller| {
        Box::new(Delivery { caller, reservation: None, body_sha256: None, body: None, permit: None })
    };
    Ok(Planned {
        deadline: (record.arrived + plan.route.timeout).into(),
        is_idempotent: is_idempotent(&head.method, &head.fields),
        body: match head.body {
            // A length of zero that the client stated is stated on.
            Framing::Empty if head.fields.contains("content-length") => Framing::Length(0),
            body => body,
        },
        plan,
        delivery: caller.map(delivery),
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

fn outbound(head: &RequestHead, record: &mut Record) -> Result<Plan, Stop> {
    let planned = record.snapshot.routes.plan(&head.target);
    record.path = outbound::log_path(&head.target, planned.is_ok()).to_vec();
    planned.map_err(Stop::refused)
}

fn webhook(head: &RequestHead, record: &mut Record) -> (Result<Plan, Stop>, Caller) {
    let snapshot = Arc::clone(&record.snapshot);
    let caller = Caller::of(record.client, &head.fields, &snapshot.config.trusted_proxies);
    record.client = caller.address;
    let call = webhook::Call {
        method: &head.method,
        target: &head.target,
        fields: &head.fields,
        client: caller,
        now: record.time,
        uptime: crate::proxy::uptime(record.arrived),
    };
    let decided = webhook::plan(&snapshot.keys, &snapshot.unknown_keys, &call);
    record.key = match &decided {
        Ok(admitted) => Some(admitted.key),
        Err(refused) => refused.key,
    };
    let endpoint = record.endpoint().map(|endpoint| &**endpoint);
    record.path = webhook::log_path(&snapshot.keys, &head.target, endpoint);
    let planned = match decided.map(|admitted| admitted.action) {
        Ok(Action::Forward(plan)) => Ok(plan),
        Ok(Action::Reply(reply)) => {
            note_use(record);
            Err(Stop::Replied(reply))
        }
        Err(refused) => {
            record.known_key = refused.known_key;
            let stats = refused.counts_for.as_ref().map(|endpoint| &endpoint.route.stats);
            stats.unwrap_or(snapshot.unmatched(Direction::Webhook)).refused(refused.reason);
            if let (WebhookRefusal::Address, Some(endpoint)) = (refused.reason, record.endpoint()) {
                let why = "it may not be called from this address (allow_from); is a proxy missing in trusted_proxies?";
                warn_of_refusal(endpoint, &why, record);
            }
            Err(Stop::refused(refused.refusal.because(refused.reason.as_str())))
        }
    };
    (planned, caller)
}

/// The key has let a call in.
pub(super) fn note_use(record: &Record) {
    if let Some(key) = record.key() {
        key.stats().used_at(record.time);
    }
}

/// Counts a webhook call that is refused for what it is, and gives the refusal the form that its service wants. Of an
/// outbound request, returns the refusal as it is.
pub(super) fn refuse_request(record: &Record, refusal: Refusal) -> Refusal {
    match record.endpoint() {
        Some(endpoint) => refuse(endpoint, refusal, WebhookRefusal::Request),
        None => refusal,
    }
}

/// Counts the refusal of a webhook call, and gives it the form that its service wants.
pub(super) fn refuse(endpoint: &Endpoint, refusal: Refusal, reason: WebhookRefusal) -> Refusal {
    endpoint.route.stats.refused(reason);
    let refusal = if refusal.code == ErrorCode::RequestTooLarge || refusal.reason.is_some() {
        refusal
    } else {
        refusal.because(reason.as_str())
    };
    endpoint.apply_refusal_overrides(refusal)
}
