//! When a request is sent again.
//!
//! Only where it can't have been acted upon: no connection was made, or a pooled connection turned out to be closed
//! before one byte of an answer came. A server that closes an idle connection races with the request that reuses it; the
//! field's practice (RFC 9110 section 9.2.2 permits it where the request was not processed) is to send it again, whatever
//! the method. A fresh connection is never given a second chance.

use super::context::Context;
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType};
use std::sync::atomic::Ordering;
use std::time::Instant;

/// No connection: the next address, if there is one and time for it.
pub(super) fn after_connect(ctx: &mut Context, mut error: Box<Error>) -> Box<Error> {
    let in_time = ctx.deadline().is_some_and(|deadline| Instant::now() < deadline);
    ctx.timed_out |= !in_time;
    // The same name, and so the same certificate, stands behind every address.
    let about_the_address = !matches!(error.etype(), ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert);
    let more = ctx.tried + 1 < ctx.addresses.len();
    let again = in_time && more && about_the_address;
    if again {
        let failed = ctx.first_address + ctx.tried;
        if let Some(plan) = &ctx.plan {
            // The next request shall not find it out anew; of several that find it out now, one counts.
            let preferred = &plan.route.upstream.preferred;
            let _ = preferred.compare_exchange(failed, failed + 1, Ordering::Relaxed, Ordering::Relaxed);
        }
        ctx.tried += 1;
    }
    error.set_retry(again);
    error
}

/// The exchange broke off.
pub(super) fn after_send(
    session: &mut Session,
    ctx: &mut Context,
    mut error: Box<Error>,
    reused: bool,
) -> Box<Error> {
    ctx.disarm();
    ctx.exchange = None;
    let closed_by_upstream = *error.esource() == ErrorSource::Upstream
        && match error.etype() {
            // The engine tells by this text alone whether a part of the answer's head was read.
            ErrorType::ConnectionClosed | ErrorType::ReadError => error
                .context
                .as_ref()
                .is_some_and(|context| context.as_str().ends_with("bytes already read: 0")),
            ErrorType::WriteError => true,
            _ => false,
        };
    let again = reused
        && closed_by_upstream
        && !ctx.timed_out
        && ctx.failure.is_none()
        && !ctx.informed
        && ctx.response_headers.is_none()
        && !session.as_downstream_mut().retry_buffer_truncated();
    error.set_retry(again);
    error
}
