//! When a request is sent again.
//!
//! Only where it can't have been acted upon: no connection was made, or a pooled connection turned out to be closed
//! before one byte of an answer came, or the answer was that the token is not good. A server that closes an idle
//! connection races with the request that reuses it; the field's practice (RFC 9110 section 9.2.2 permits it where the
//! request was not processed) is to send it again, whatever the method. A fresh connection is never given a second
//! chance, but for a refused token.
//!
//! The engine keeps the first 64 KiB of a body and replays them before it reads on, so a body that is still on its way
//! is at hand for as long as no more than that was read.

use super::context::Context;
use crate::credentials::Credential;
use http::StatusCode;
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType, Result};
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

/// Stands for an answer that is thrown away, because the request is sent again with another token.
const TOKEN_REFUSED: ErrorType = ErrorType::new("TokenRefused");

/// The final answer is there: if it refuses the token, drops that, and breaks off the exchange where the request can be
/// sent again: once, whatever its method, because the third party says itself that it did not act upon it. Must come
/// before anything remembers the answer. Costs a comparison where no token was sent, and a few where one was.
pub(super) fn after_refusal(session: &mut Session, status: StatusCode, ctx: &mut Context) -> Result<()> {
    let (Some(sent), Some(plan)) = (ctx.sent_token, &ctx.plan) else { return Ok(()) };
    if !plan.route.token_refused_by.contains(&status) {
        return Ok(());
    }
    let Credential::OAuth2(source) = &*plan.route.credential else { return Ok(()) };
    let now = Instant::now();
    let replaced = source.refuse(sent, now.into());
    let again = replaced
        && plan.route.retry_on_401
        && ctx.refused_token.is_none()
        && !ctx.hinted
        && ctx.deadline().is_some_and(|deadline| now < deadline)
        && !session.as_downstream_mut().retry_buffer_truncated();
    if !again {
        return Ok(());
    }
    ctx.refused_token = Some(sent);
    ctx.token = None;
    Err(Error::explain(TOKEN_REFUSED, "the third party refused the token").into_up())
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
    ctx.handle = None;
    if *error.etype() == TOKEN_REFUSED {
        error.set_retry(!ctx.timed_out);
        return error;
    }
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
