//! Maps the cause of a failure to the answer for the client.
//!
//! Causes are types. The text of an error is never inspected or shown: the engine's may contain raw bytes of a message,
//! and so a key or a credential.

use crate::error_code::ErrorCode;
use crate::limits::Exceeded;
use crate::message::chunked::ChunkError;
use crate::plan::Refusal;
use crate::route::Route;
use crate::telemetry::metrics::Phase;
use crate::transport::{ConnectError, ProxyError, dial::DialError, names::NoAddress, tls::TlsError};
use pingora::ErrorType;

/// A failure of an established connection to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum UpstreamError {
    /// The connection was closed or reset before the response was complete.
    #[error("the server ended the connection")]
    Ended,
    /// The response is not valid HTTP.
    #[error("the response is not valid HTTP: {0}")]
    Protocol(&'static str),
    /// The server ended TLS with an alert. In TLS 1.3 it refuses a client's certificate after the handshake.
    #[error("the server ended TLS with an alert; does it want another client certificate?")]
    TlsAlert,
    /// The response stalled.
    #[error("the response stalled")]
    Stalled,
}

impl UpstreamError {
    /// Classifies an error of the engine's session by its type.
    pub(super) fn of(error: &pingora::Error) -> Self {
        match error.etype() {
            ErrorType::ConnectionClosed | ErrorType::WriteError => Self::Ended,
            ErrorType::ReadError if is_too_large(error) => Self::Protocol("its head is too large"),
            ErrorType::ReadError if is_alert(error) => Self::TlsAlert,
            ErrorType::ReadError => Self::Ended,
            _ => Self::Protocol("malformed"),
        }
    }
}

fn is_too_large(error: &pingora::Error) -> bool {
    cause(error).is_some_and(|inner| inner.is::<crate::transport::stream::HeadTooLarge>())
}

fn is_alert(error: &pingora::Error) -> bool {
    let tls = cause(error).and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::AlertReceived(_)))
}

/// Returns the error that the connection's stream gave to the engine.
fn cause(error: &pingora::Error) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
    error.cause.as_ref()?.downcast_ref::<std::io::Error>()?.get_ref()
}

/// The deadline passed while the request was in `phase`.
pub(super) fn timeout(route: &Route, phase: Phase) -> Refusal {
    let refusal = Refusal::new(ErrorCode::ServiceTimeout, route.timeout_message.clone()).of(&route.service);
    match phase {
        Phase::Token | Phase::Connect => refusal.proxy_status("connection_timeout"),
        Phase::Send | Phase::Wait | Phase::Idle | Phase::Body => refusal,
    }
}

/// The client stopped sending its own body.
pub(super) fn stalled_upload() -> Refusal {
    Refusal::new(ErrorCode::RequestTimeout, "the client stopped sending the request's body")
        .because("upload_stalled")
}

/// The client's body cannot be read.
pub(super) fn bad_body(route: &Route, error: ChunkError) -> Refusal {
    match error {
        ChunkError::Malformed => {
            Refusal::new(ErrorCode::RequestInvalid, "the request's body is not valid HTTP")
                .because("malformed_body")
        }
        ChunkError::TooLarge => Refusal::body_too_large(route),
    }
}

/// The request exceeds a limit of its service.
pub(super) fn over_limit(route: &Route, exceeded: Exceeded) -> Refusal {
    let refusal = match exceeded {
        Exceeded::Rate(wait) => {
            Refusal::new(ErrorCode::RateLimited, "the rate limit of the service is exceeded")
                .retry_after(wait)
                .because("rate_limited")
        }
        Exceeded::Concurrency => Refusal::new(
            ErrorCode::Overloaded,
            "as many requests to the service are in progress as are allowed",
        )
        .retry_soon()
        .because("max_concurrent"),
    };
    refusal.of(&route.service)
}

/// An internal fault of attache.
pub(super) fn internal(reason: &'static str) -> Refusal {
    Refusal::new(ErrorCode::Internal, "attache could not carry the request out; its log may say why")
        .because(reason)
}

/// The service cannot be reached.
fn unreachable(route: &Route, proxy_status: &'static str) -> Refusal {
    Refusal::new(ErrorCode::ServiceUnreachable, route.timeout_message.clone())
        .of(&route.service)
        .proxy_status(proxy_status)
}

/// Returns the answer to a request for which no connection could be made.
pub(super) fn no_connection(route: &Route, error: &ConnectError) -> Refusal {
    match error {
        ConnectError::NoAddress(NoAddress::Denied) => Refusal::new(
            ErrorCode::AddressDenied,
            "the service's name resolves to an address of a private network; if that is meant, set \
             `private_network: true` on the service",
        )
        .of(&route.service)
        .because("private_address"),
        ConnectError::NoAddress(error) => unreachable(route, "dns_error").because(error.reason()),
        ConnectError::Dial(DialError::Loop(_)) => looping().of(&route.service),
        ConnectError::Dial(DialError::TimedOut(_)) => timeout(route, Phase::Connect),
        ConnectError::Dial(DialError::Unroutable(_)) => unreachable(route, "destination_ip_unroutable"),
        ConnectError::Dial(DialError::OutOfDescriptors(_)) => {
            Refusal::new(ErrorCode::Overloaded, "no file descriptor is left for a connection to the service")
                .of(&route.service)
                .retry_soon()
                .because("out_of_descriptors")
        }
        ConnectError::Dial(_) => unreachable(route, "connection_refused"),
        ConnectError::Proxy { source, .. } => no_tunnel(route, source),
        ConnectError::Tls { source, .. } => no_tls(route, source),
    }
}

/// Returns the answer to a request for which the forward proxy made no connection.
pub(super) fn no_tunnel(route: &Route, error: &ProxyError) -> Refusal {
    let proxy_status = match error {
        ProxyError::NoAddress(_) => "dns_error",
        ProxyError::Ended(_) => "connection_terminated",
        ProxyError::Dial(_) | ProxyError::Refused(_) | ProxyError::Authentication | ProxyError::Protocol => {
            "connection_refused"
        }
    };
    unreachable(route, proxy_status).because(error.reason())
}

fn no_tls(route: &Route, error: &TlsError) -> Refusal {
    let (code, proxy_status, detail) = match error {
        TlsError::Certificate { .. } | TlsError::ServerName(_) => (
            ErrorCode::ServiceTls,
            "tls_certificate_error",
            "the certificate of the service is not trusted; attache's log says why",
        ),
        TlsError::Protocol(_) => {
            (ErrorCode::ServiceTls, "tls_protocol_error", "the TLS handshake with the service failed")
        }
        TlsError::Closed(_) | TlsError::Io(_) => return unreachable(route, "connection_terminated"),
    };
    Refusal::new(code, detail).of(&route.service).proxy_status(proxy_status).because(error.as_str())
}

/// The request came back to the listener on which it was received.
pub(super) fn looping() -> Refusal {
    Refusal::new(
        ErrorCode::LoopDetected,
        "the service's URL leads back to attache; check `server_url` or `forward_to`",
    )
    .because("loop")
}

/// Returns the answer to a request that an upstream failed to answer.
pub(super) fn no_response(route: &Route, error: UpstreamError) -> Refusal {
    match error {
        UpstreamError::Ended | UpstreamError::Stalled => unreachable(route, "connection_terminated"),
        UpstreamError::TlsAlert => Refusal::new(
            ErrorCode::ServiceTls,
            "the service ended the TLS connection; attache's log says why",
        )
        .of(&route.service)
        .proxy_status("tls_protocol_error")
        .because("tls_alert_received"),
        UpstreamError::Protocol(_) => {
            Refusal::new(ErrorCode::ServiceProtocol, "the service's response is not valid HTTP")
                .of(&route.service)
        }
    }
}
