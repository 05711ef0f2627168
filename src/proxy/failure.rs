//! From what the engine says went wrong to what the caller is told.
//!
//! Only the *kind* of an engine error is used: its text may hold raw bytes of a message, and so a key or a credential.

use super::context::Context;
use crate::error_code::ErrorCode;
use crate::plan::{Plan, Refusal};
use crate::telemetry::metrics::Phase;
use pingora::{Error, ErrorSource, ErrorType};

/// What to answer. `None`: nobody is there to be answered.
pub(super) fn refusal(error: &Error, ctx: &Context) -> Option<Refusal> {
    if let Some(refusal) = &ctx.failure {
        return Some(refusal.clone());
    }
    let plan = ctx.plan.as_ref();
    if ctx.timed_out {
        return plan.map(|plan| timeout(plan, ctx.phase));
    }
    match error.esource() {
        ErrorSource::Downstream => downstream(error),
        ErrorSource::Upstream => plan.map(|plan| upstream(error, plan)),
        ErrorSource::Internal | ErrorSource::Unset => Some(internal()),
    }
}

/// The deadline passed while the request was in `phase`.
pub(super) fn timeout(plan: &Plan, phase: Phase) -> Refusal {
    let refusal =
        Refusal::new(ErrorCode::ServiceTimeout, plan.route.timeout_message.clone()).of(&plan.route.service);
    match phase {
        Phase::Token | Phase::Connect => refusal.proxy_status("connection_timeout"),
        Phase::Send | Phase::Wait | Phase::Idle | Phase::Body => refusal,
    }
}

/// The service can't be reached, for the reason that `proxy_status` tells.
pub(super) fn unreachable(plan: &Plan, proxy_status: &'static str) -> Refusal {
    Refusal::new(ErrorCode::ServiceUnreachable, plan.route.timeout_message.clone())
        .of(&plan.route.service)
        .proxy_status(proxy_status)
}

/// A fault of ours.
pub(super) fn internal() -> Refusal {
    Refusal::new(ErrorCode::Internal, "attache could not carry the request out; its log may say why")
}

fn downstream(error: &Error) -> Option<Refusal> {
    match error.etype() {
        ErrorType::ReadTimedout => {
            Some(Refusal::new(ErrorCode::RequestTimeout, "the request's body stopped coming"))
        }
        ErrorType::ConnectionClosed
        | ErrorType::ReadError
        | ErrorType::WriteError
        | ErrorType::WriteTimedout => None,
        _ => Some(Refusal::new(ErrorCode::RequestInvalid, "the request's body is not valid HTTP")),
    }
}

fn upstream(error: &Error, plan: &Plan) -> Refusal {
    let tls = |proxy_status, detail: &'static str| {
        Refusal::new(ErrorCode::ServiceTls, detail).of(&plan.route.service).proxy_status(proxy_status)
    };
    match error.etype() {
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => timeout(plan, Phase::Connect),
        ErrorType::ConnectRefused => unreachable(plan, "connection_refused"),
        ErrorType::ConnectNoRoute => unreachable(plan, "destination_ip_unroutable"),
        ErrorType::InvalidCert => {
            tls("tls_certificate_error", "the certificate of the service is not trusted")
        }
        ErrorType::TLSHandshakeFailure | ErrorType::HandshakeError => match certificate_fault(error) {
            Some(_) => tls("tls_certificate_error", "the certificate of the service is not trusted"),
            None => tls("tls_protocol_error", "the TLS handshake with the service failed"),
        },
        ErrorType::InvalidHTTPHeader | ErrorType::H1Error | ErrorType::H2Error | ErrorType::InvalidH2 => {
            Refusal::new(ErrorCode::ServiceProtocol, "the service's answer is not valid HTTP")
                .of(&plan.route.service)
        }
        ErrorType::ConnectError | ErrorType::SocketError | ErrorType::BindError => {
            unreachable(plan, "connection_refused")
        }
        ErrorType::InternalError => internal(),
        _ => unreachable(plan, "connection_terminated"),
    }
}

/// What rustls has against the certificate, if that is why the handshake failed. The engine flattens the cause into text;
/// this one part of it names no more than the kind of the fault.
pub(super) fn certificate_fault(error: &Error) -> Option<&str> {
    let context = error.context.as_ref()?.as_str();
    let (_, fault) = context.split_once("invalid peer certificate: ")?;
    let end = fault.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(fault.len());
    Some(&fault[..end])
}
