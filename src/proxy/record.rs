//! The one outcome of a request: its metrics, its line in the access log, and, where an operator should know why, in the
//! log.

use super::context::Context;
use super::failure;
use crate::error_code::ErrorCode;
use crate::plan::Refusal;
use crate::telemetry::access_log::{AccessLog, Outcome};
use crate::webhook::endpoint::Endpoint;
use crate::webhook::keys::Key;
use http::HeaderValue;
use pingora::proxy::Session;
use pingora::{Error, ErrorSource};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The status that stands for a caller who left before there was an answer.
const CLIENT_CLOSED_REQUEST: u16 = 499;
/// Trouble with one upstream, or with the signatures of one webhook, is told once in this time.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Records a finished request.
pub(super) fn request(session: &Session, ctx: &mut Context, log: &AccessLog) {
    ctx.in_flight = None;
    let key = ctx.key();
    let route = ctx.plan.as_ref().map(|plan| &plan.route).or(key.map(|key| &key.endpoint().route));
    let status = session.response_written().map_or(CLIENT_CLOSED_REQUEST, |head| head.status.as_u16());
    let code = ctx.failure.as_ref().map(|refusal| refusal.code);
    let duration = ctx.arrived.elapsed();
    let stats = ctx.stats();
    stats.finished(status, code, duration, ctx.response_headers);
    if code == Some(ErrorCode::ServiceTimeout) {
        stats.timed_out(ctx.phase);
    }
    if !log.is_on() {
        return;
    }
    let head = session.req_header();
    log.write(&Outcome {
        time: ctx.time,
        direction: ctx.direction,
        service: route.map_or("", |route| &route.service),
        account: route.and_then(|route| route.account.as_deref()),
        caller: None,
        user: key.map(|key| key.endpoint().user.key.as_str()),
        key_id: key.map(|key| key.id()),
        method: head.method.as_str(),
        path: &ctx.log_path,
        status,
        code,
        bytes_in: session.as_downstream().body_bytes_read() as u64,
        bytes_out: session.as_downstream().body_bytes_sent() as u64,
        duration,
        response_headers: ctx.response_headers,
        token_wait: ctx.token_wait,
        upstream: ctx.upstream,
        retried: ctx.attempts > 1,
        request_id: ctx.id.as_str(),
        traceparent: head.headers.get("traceparent").and_then(trace_parent),
        client: None,
        phase: None,
        reason: None,
        delivery_id: None,
    });
}

/// A `traceparent` as W3C Trace Context defines it; nothing else that stands under the name.
fn trace_parent(value: &HeaderValue) -> Option<&str> {
    let text = value.to_str().ok().filter(|text| text.len() <= 128)?;
    let mut parts = text.split('-');
    let hex = |part: &str, length| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit());
    [2, 32, 16, 2]
        .into_iter()
        .all(|length| parts.next().is_some_and(|part| hex(part, length)))
        .then_some(text)
}

/// Tells the log why an upstream failed: what the caller's answer leaves out, and nothing that came over the wire.
pub(super) fn warn(ctx: &Context, error: &Error, refusal: Option<&Refusal>) {
    let (Some(plan), Some(refusal)) = (&ctx.plan, refusal) else { return };
    if ctx.timed_out || ctx.failure.is_some() || *error.esource() == ErrorSource::Downstream {
        return; // no upstream's fault, or the access log and the metrics say all there is
    }
    let route = &plan.route;
    if !is_due(&route.upstream.last_warning) {
        return;
    }
    tracing::warn!(
        service = %route.service,
        code = refusal.code.as_str(),
        kind = error.etype().as_str(),
        certificate = failure::certificate_fault(error),
        upstream = ctx.upstream.map(tracing::field::display),
        request_id = ctx.id.as_str(),
        "an upstream failed"
    );
}

/// Tells the log why a call with a good key was refused: a secret was rotated on one side, an address is not the one it
/// seems, or a URL is in the wrong hands.
pub(super) fn warn_of_refusal(endpoint: &Endpoint, reason: &dyn std::fmt::Display, ctx: &Context) {
    if !is_due(&endpoint.last_warning) {
        return;
    }
    tracing::warn!(
        service = endpoint.service(),
        key_id = ctx.key().map(Key::id),
        scheme = endpoint.verifier.as_ref().map(|verifier| verifier.scheme().as_str()),
        %reason,
        client = ctx.call.as_ref().and_then(|call| call.client.address).map(tracing::field::display),
        request_id = ctx.id.as_str(),
        "a webhook call with a good key was refused"
    );
}

/// Whether something may be said again, the last time having been long enough ago. Of several at the same time, one may.
fn is_due(last: &AtomicU64) -> bool {
    let now = u64::try_from(super::uptime(Instant::now()).as_millis()).unwrap_or(u64::MAX).max(1);
    let before = last.load(Ordering::Relaxed);
    let due = before == 0 || now - before.min(now) >= WARN_EVERY.as_millis() as u64;
    due && last.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}
