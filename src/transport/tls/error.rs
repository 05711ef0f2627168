//! Typed failures of a TLS handshake.

use super::verifier::SelfSignedCertificate;
use rustls::CertificateError;
use std::fmt;
use std::io::{self, ErrorKind};

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate is refused.
    #[error("{fault}")]
    Certificate {
        /// The kind of fault, with what to do about it.
        fault: ServerCertificateFault,
        /// The fault in detail.
        source: rustls::Error,
    },
    /// The server does not speak TLS, or ended the handshake with an alert.
    #[error("the TLS handshake failed")]
    Protocol(#[source] rustls::Error),
    /// The server closed or reset the connection during the handshake.
    #[error("the server closed the connection during the TLS handshake")]
    Closed(#[source] io::Error),
    /// The connection failed in another way.
    #[error("the connection failed during the TLS handshake")]
    Io(#[source] io::Error),
    /// No certificate can contain the host.
    #[error("`{0}` is not a name that a certificate can have")]
    ServerName(String),
}

impl TlsError {
    /// Returns the machine-readable reason, for logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Certificate { fault, .. } => fault.as_str(),
            Self::Protocol(rustls::Error::AlertReceived(_)) => "tls_alert_received",
            Self::Protocol(_) => "tls_protocol_error",
            Self::Closed(_) => "connection_terminated",
            Self::Io(_) => "connection_failed",
            Self::ServerName(_) => "invalid_server_name",
        }
    }
}

impl From<io::Error> for TlsError {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(source @ rustls::Error::InvalidCertificate(cause)) => {
                Self::Certificate { fault: ServerCertificateFault::from(cause), source: source.clone() }
            }
            Some(source) => Self::Protocol(source.clone()),
            None => match error.kind() {
                ErrorKind::UnexpectedEof
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe => Self::Closed(error),
                _ => Self::Io(error),
            },
        }
    }
}

/// Why a server's certificate is refused. Prints as a sentence that says what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerCertificateFault {
    /// The certificate's last day has passed.
    Expired,
    /// The certificate's first day is in the future.
    NotYetValid,
    /// The certificate is for another name than that of the URL.
    WrongName,
    /// No trusted root issued the certificate.
    UnknownIssuer,
    /// The certificate is self-signed and not in `tls.ca`.
    SelfSigned,
    /// The certificate is not for servers.
    WrongPurpose,
    /// The issuer revoked the certificate.
    Revoked,
    /// A signature in the chain does not match, or its algorithm is not supported.
    BadSignature,
    /// Any other fault.
    Other,
}

impl ServerCertificateFault {
    /// Returns the machine-readable reason, for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongName => "wrong_name",
            Self::UnknownIssuer => "unknown_issuer",
            Self::SelfSigned => "self_signed",
            Self::WrongPurpose => "wrong_purpose",
            Self::Revoked => "revoked",
            Self::BadSignature => "bad_signature",
            Self::Other => "invalid_certificate",
        }
    }
}

impl fmt::Display for ServerCertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "the server's certificate has expired; the server needs a new one",
            Self::NotYetValid => {
                "the server's certificate is not valid yet; compare its dates with the clock of this host"
            }
            Self::WrongName => "the server's certificate is for another name than the URL's; correct the URL",
            Self::UnknownIssuer => {
                "the server's certificate is from an unknown issuer; if you trust it, set `tls.ca` to the \
                 issuer's root certificate"
            }
            Self::SelfSigned => {
                "the server's certificate is self-signed; if you trust it, set `tls.ca` to that certificate"
            }
            Self::WrongPurpose => "the server's certificate is not for servers; the server needs another one",
            Self::Revoked => "the server's certificate is revoked; the server needs a new one",
            Self::BadSignature => {
                "a signature in the server's certificate chain does not match or has an unsupported \
                 algorithm; check that `tls.ca` holds the current root certificate"
            }
            Self::Other => "the server's certificate is invalid",
        })
    }
}

impl From<&CertificateError> for ServerCertificateFault {
    fn from(error: &CertificateError) -> Self {
        use CertificateError as E;
        match error {
            E::Expired | E::ExpiredContext { .. } => Self::Expired,
            E::NotValidYet | E::NotValidYetContext { .. } => Self::NotYetValid,
            E::NotValidForName | E::NotValidForNameContext { .. } => Self::WrongName,
            E::UnknownIssuer => Self::UnknownIssuer,
            E::InvalidPurpose | E::InvalidPurposeContext { .. } => Self::WrongPurpose,
            E::Revoked => Self::Revoked,
            E::BadSignature
            | E::UnsupportedSignatureAlgorithmContext { .. }
            | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => Self::BadSignature,
            E::Other(other) if other.0.is::<SelfSignedCertificate>() => Self::SelfSigned,
            _ => Self::Other,
        }
    }
}
