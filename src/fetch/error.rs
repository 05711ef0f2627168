//! Why a request has no answer.

use crate::message::chunked::ChunkError;
use crate::message::framing::FramingError;
use crate::transport::ConnectError;
use crate::transport::dial::DialError;
use crate::transport::names::NoAddress;
use crate::transport::tls::TlsError;
use std::io;

/// Why a request has no answer. No text has a URL, a header's value or a part of a body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The URL is neither http nor https.
    #[error("the URL is neither http nor https")]
    Scheme,
    /// The name has no address that may be used.
    #[error("no address")]
    Name(#[source] NoAddress),
    /// No address accepted a connection.
    #[error("no connection")]
    Connect(#[source] DialError),
    /// The forward proxy made no connection.
    #[error(transparent)]
    Proxy(ConnectError),
    /// No trusted TLS on the connection, or the server refused the client's certificate.
    #[error("no trusted TLS connection")]
    Tls(#[source] TlsError),
    /// No connection within [`super::CONNECT_TIMEOUT`], or before the deadline.
    #[error("no connection in time")]
    ConnectTimedOut,
    /// No complete answer before the deadline.
    #[error("no answer in time")]
    AnswerTimedOut,
    /// Head or body of the answer exceeds its limit.
    #[error("the answer is larger than allowed")]
    TooLarge,
    /// The connection broke, or the answer is not HTTP.
    #[error("no complete answer")]
    Answer(#[from] AnswerFault),
}

impl From<ConnectError> for FetchError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::NoAddress(error) => Self::Name(error),
            ConnectError::Dial(error) => Self::Connect(error),
            ConnectError::Tls { source, .. } => Self::Tls(source),
            proxy @ ConnectError::Proxy { .. } => Self::Proxy(proxy),
        }
    }
}

impl From<ChunkError> for FetchError {
    fn from(error: ChunkError) -> Self {
        match error {
            ChunkError::TooLarge => Self::TooLarge,
            ChunkError::Malformed => AnswerFault::Chunks(error).into(),
        }
    }
}

/// Why the bytes of a connection are no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerFault {
    /// The server closed the connection without a byte.
    #[error("the server closed the connection without an answer")]
    Missing,
    /// The server closed the connection within the answer.
    #[error("the server closed the connection before its answer was complete")]
    Cut,
    /// The head is malformed, or of another protocol.
    #[error("the answer is not HTTP/1.0 or HTTP/1.1")]
    Head,
    /// The end of the body is ambiguous.
    #[error("the end of the answer is ambiguous")]
    Framing(#[source] FramingError),
    /// The body is malformed.
    #[error("the answer is malformed")]
    Chunks(#[source] ChunkError),
    /// More interim answers than a server has reason to send, or a change of the protocol.
    #[error("the server sent interim answers only, or changed the protocol")]
    Interim,
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[source] io::Error),
}
