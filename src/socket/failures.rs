//! Failed handshakes of one listener: their number by reason, and a line in the log now and then.

use crate::log_limit::LogLimit;

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Minimum time between two lines about one listener. Scanners of the internet fail handshakes all day.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum HandshakeFailure {
    /// The client speaks HTTP without TLS.
    Plain,
    /// The client's certificate is not valid here.
    ClientCertificate,
    /// The client ended the handshake with an alert: mostly, it does not trust the listener's certificate.
    Alert,
    /// The two have no version, cipher suite or protocol in common.
    Incompatible,
    /// The client sent no TLS, or broke its rules.
    Protocol,
    /// The client left within the handshake.
    Closed,
    /// The handshake took too long.
    Timeout,
}

impl HandshakeFailure {
    /// Every reason, in the order of their numbers.
    pub(crate) const ALL: [Self; 7] = [
        Self::Plain,
        Self::ClientCertificate,
        Self::Alert,
        Self::Incompatible,
        Self::Protocol,
        Self::Closed,
        Self::Timeout,
    ];

    /// Returns the value of the label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain_http",
            Self::ClientCertificate => "client_certificate",
            Self::Alert => "alert_received",
            Self::Incompatible => "incompatible",
            Self::Protocol => "protocol_error",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
        }
    }

    /// Returns the reason that an error of a handshake is.
    pub(crate) fn of(error: &io::Error) -> Self {
        let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
            return Self::Closed;
        };
        match error {
            rustls::Error::InvalidCertificate(_)
            | rustls::Error::InvalidCertRevocationList(_)
            | rustls::Error::NoCertificatesPresented => Self::ClientCertificate,
            rustls::Error::AlertReceived(_) => Self::Alert,
            rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol => Self::Incompatible,
            _ => Self::Protocol,
        }
    }
}

/// The failed handshakes of one listener.
#[derive(Debug)]
pub(crate) struct HandshakeFailures {
    counts: [AtomicU64; HandshakeFailure::ALL.len()],
    log_limit: LogLimit,
}

impl Default for HandshakeFailures {
    fn default() -> Self {
        Self { counts: Default::default(), log_limit: LogLimit::new(WARN_EVERY) }
    }
}

impl HandshakeFailures {
    /// Counts a failure, and logs it if a line is due. A client that speaks plain HTTP gets an answer, which the access
    /// log has.
    pub(crate) fn failed(
        &self,
        listener: &'static str,
        client: Option<IpAddr>,
        reason: HandshakeFailure,
        cause: Option<&dyn Error>,
    ) {
        self.counts[reason as usize].fetch_add(1, Relaxed);
        if reason == HandshakeFailure::Plain {
            return;
        }
        let Some(not_logged) = self.log_limit.take() else { return };
        tracing::warn!(
            listener,
            client = client.map(tracing::field::display),
            reason = reason.as_str(),
            cause = cause.map(tracing::field::display),
            not_logged,
            "a TLS handshake failed; attache_tls_handshakes_failed_total counts them"
        );
    }

    /// Returns the number of failures by reason.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.counts.iter().map(|count| count.load(Relaxed));
        HandshakeFailure::ALL.into_iter().map(HandshakeFailure::as_str).zip(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_every_reason_at_its_number() {
        for (i, reason) in HandshakeFailure::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i, "{}", reason.as_str());
        }
    }

    #[test]
    fn an_error_has_its_reason() {
        use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible};
        let of = |error: rustls::Error| {
            HandshakeFailure::of(&io::Error::new(io::ErrorKind::InvalidData, error)).as_str()
        };
        let unknown = CertificateError::UnknownIssuer;
        assert_eq!(of(rustls::Error::InvalidCertificate(unknown)), "client_certificate");
        assert_eq!(of(rustls::Error::AlertReceived(AlertDescription::UnknownCA)), "alert_received");
        let version = PeerIncompatible::Tls12NotOfferedOrEnabled;
        assert_eq!(of(rustls::Error::PeerIncompatible(version)), "incompatible");
        assert_eq!(of(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)), "protocol_error");
        assert_eq!(HandshakeFailure::of(&io::ErrorKind::UnexpectedEof.into()).as_str(), "closed");
        assert_eq!(HandshakeFailure::of(&io::ErrorKind::ConnectionReset.into()).as_str(), "closed");
    }
}
