//! An answer on its way back: the third party's, passed on as it is, or one of ours.

use super::answer::{Answer, REQUEST_ID};
use super::context::Context;
use super::headers;
use super::peer;
use super::retry;
use crate::error_code::ErrorCode;
use crate::plan::Refusal;
use http::{Method, StatusCode, Version, header};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};
use std::sync::atomic::Ordering;

/// The answer of ours that `refusal` leads to; on time-out that may be the operator's own.
pub(super) fn answer(refusal: &Refusal, ctx: &Context, accept: Option<&[u8]>) -> Answer {
    let custom = ctx.plan.as_ref().and_then(|plan| plan.route.timeout_response.as_ref());
    match custom {
        Some(response) if refusal.code == ErrorCode::ServiceTimeout => {
            Answer::custom(response, refusal, &ctx.id)
        }
        _ => Answer::new(refusal, &ctx.id, accept),
    }
}

/// Writes an answer of ours.
pub(super) async fn write(session: &mut Session, ctx: &Context, answer: Answer) -> Result<()> {
    let unread = !session.as_downstream_mut().is_body_done();
    ctx.connection.unread.store(unread, Ordering::Relaxed);
    let mut head = ResponseHeader::build(answer.status, Some(answer.headers.len() + 3))?;
    for (name, value) in answer.headers {
        head.append_header(name, value)?;
    }
    head.insert_header(header::CONTENT_LENGTH, answer.body.len())?;
    let bodiless = session.req_header().method == Method::HEAD
        || matches!(answer.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    session.write_response_header(Box::new(head), bodiless).await?;
    let body = if bodiless { None } else { Some(answer.body) };
    session.write_response_body(body, true).await
}

/// Headers came from upstream.
pub(super) fn arrived(session: &mut Session, response: &mut ResponseHeader, ctx: &mut Context) -> Result<()> {
    let switching = response.status == StatusCode::SWITCHING_PROTOCOLS;
    if switching && !ctx.websocket {
        // Nobody asked for it: what follows is bytes that both sides read differently.
        return Err(Error::explain(ErrorType::InvalidHTTPHeader, "an unsolicited 101").into_up());
    }
    let coding = response.headers.get(header::TRANSFER_ENCODING);
    if coding.is_some_and(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")) {
        return Err(
            Error::explain(ErrorType::InvalidHTTPHeader, "a transfer coding that was not offered").into_up()
        );
    }
    if switching || !response.status.is_informational() {
        retry::after_refusal(session, response.status, ctx)?;
        ctx.close_delimited = coding.is_none() && !response.headers.contains_key(header::CONTENT_LENGTH);
        peer::answering(ctx)?;
        if let Some(claim) = ctx.call.as_mut().and_then(|call| call.claim.take())
            && response.status.is_success()
        {
            // Our program has the delivery. Otherwise the provider's next attempt is no duplicate, from before the answer
            // leaves.
            claim.taken();
        }
    } else {
        ctx.informed = true;
        ctx.hinted |= response.status != StatusCode::CONTINUE;
    }
    headers::clean_response(response);
    Ok(())
}

/// Headers go to the caller.
pub(super) fn finish(session: &mut Session, response: &mut ResponseHeader, ctx: &Context) -> Result<()> {
    if response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(());
    }
    response.insert_header(REQUEST_ID, ctx.id.as_str())?;
    if let Some(date) = response.headers.get(header::DATE) {
        ctx.connection.keep_date(date.as_bytes());
    }
    if session.req_header().version == Version::HTTP_10
        && response.remove_header(&header::TRANSFER_ENCODING).is_some()
    {
        // It knows no chunks: the end of the connection ends the body.
        session.set_keepalive(None);
    }
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        // Of a tunnel, either side may be silent for as long as the other speaks: the idle time sees to it.
        session.set_read_timeout(None);
    }
    Ok(())
}

/// A part of the body passes by.
pub(super) fn body(end_of_stream: bool, ctx: &mut Context) -> Result<()> {
    if let Some(exchange) = &ctx.exchange {
        exchange.touch();
    }
    if !end_of_stream {
        return Ok(());
    }
    ctx.answered = true;
    if ctx.request_sent {
        ctx.complete();
    }
    if ctx.timed_out && ctx.close_delimited {
        // It was the watchdog that closed the connection: this end is none.
        return Err(Error::explain(ErrorType::ReadTimedout, "the answer stalled").into_up());
    }
    // What came whole came in time, whatever the clock says now.
    ctx.timed_out = false;
    Ok(())
}
