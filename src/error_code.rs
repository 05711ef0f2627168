//! The answers that are attache's own: their code, status, title, and `Proxy-Status` error (RFC 9209).

/// Why attache answered itself instead of passing on what the other side said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ErrorCode {
    /// No service of that name.
    ServiceUnknown,
    /// The request is not one that can be passed on: a dot segment, ambiguous framing, a malformed head.
    RequestInvalid,
    /// The head, or the rest of the body, did not arrive in time.
    RequestTimeout,
    /// The head is larger than attache reads.
    RequestHeadTooLarge,
    /// The body is larger than allowed.
    RequestTooLarge,
    /// The method is not one this route takes.
    MethodDenied,
    /// The third party did not send response headers before the deadline.
    ServiceTimeout,
    /// Refused, reset, or its name does not resolve.
    ServiceUnreachable,
    /// Its certificate, or the handshake.
    ServiceTls,
    /// What it said is not HTTP.
    ServiceProtocol,
    /// Its name resolves to an address of our own network.
    AddressDenied,
    /// The token endpoint said no.
    TokenRejected,
    /// The token endpoint is down or talks nonsense.
    TokenUnavailable,
    /// A secret of the account or the webhook can't be read.
    CredentialUnavailable,
    /// No such webhook key.
    WebhookUnknown,
    /// The key is good, its user is not active.
    UserInactive,
    /// The caller's address is not one that may call here.
    RequestDenied,
    /// More requests than are allowed in a time.
    RateLimited,
    /// More is under way than there is room for.
    Overloaded,
    /// The webhook's signature is not one of its secrets'.
    SignatureInvalid,
    /// The delivery has been here before.
    Replayed,
    /// The request has been through this attache before.
    LoopDetected,
    /// A fault of attache itself.
    Internal,
}

impl ErrorCode {
    /// Every code, in the order of their numbers.
    pub const ALL: [Self; 23] = [
        Self::ServiceUnknown,
        Self::RequestInvalid,
        Self::RequestTimeout,
        Self::RequestHeadTooLarge,
        Self::RequestTooLarge,
        Self::MethodDenied,
        Self::ServiceTimeout,
        Self::ServiceUnreachable,
        Self::ServiceTls,
        Self::ServiceProtocol,
        Self::AddressDenied,
        Self::TokenRejected,
        Self::TokenUnavailable,
        Self::CredentialUnavailable,
        Self::WebhookUnknown,
        Self::UserInactive,
        Self::RequestDenied,
        Self::RateLimited,
        Self::Overloaded,
        Self::SignatureInvalid,
        Self::Replayed,
        Self::LoopDetected,
        Self::Internal,
    ];

    /// The code as it stands in answers, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The status of the answer.
    pub const fn status(self) -> u16 {
        self.row().1
    }

    /// `Proxy-Status: attache; error=…`, where the cause says nothing more exact.
    pub const fn proxy_status(self) -> &'static str {
        self.row().2
    }

    /// `title` of the problem document (RFC 9457): the same for every occurrence.
    pub const fn title(self) -> &'static str {
        self.row().3
    }

    const fn row(self) -> (&'static str, u16, &'static str, &'static str) {
        match self {
            Self::ServiceUnknown => {
                ("service_unknown", 404, "destination_not_found", "There is no such service")
            }
            Self::RequestInvalid => {
                ("request_invalid", 400, "http_request_error", "The request can't be passed on as it is")
            }
            Self::RequestTimeout => {
                ("request_timeout", 408, "http_request_error", "The request did not arrive in time")
            }
            Self::RequestHeadTooLarge => {
                ("request_head_too_large", 431, "http_request_error", "The request's head is too large")
            }
            Self::RequestTooLarge => {
                ("request_too_large", 413, "http_request_error", "The request's body is too large")
            }
            Self::MethodDenied => {
                ("method_denied", 405, "http_request_denied", "The method is not allowed here")
            }
            Self::ServiceTimeout => (
                "service_timeout",
                504,
                "http_response_timeout",
                "The connected service did not answer in time",
            ),
            Self::ServiceUnreachable => {
                ("service_unreachable", 502, "connection_refused", "The connected service can't be reached")
            }
            Self::ServiceTls => (
                "service_tls",
                502,
                "tls_protocol_error",
                "No trusted TLS connection to the connected service",
            ),
            Self::ServiceProtocol => (
                "service_protocol",
                502,
                "http_protocol_error",
                "The connected service did not answer in valid HTTP",
            ),
            Self::AddressDenied => (
                "address_denied",
                502,
                "destination_ip_prohibited",
                "The connected service's name leads to an address that is not allowed",
            ),
            Self::TokenRejected => (
                "token_rejected",
                502,
                "proxy_configuration_error",
                "The token endpoint refused the account's credentials",
            ),
            Self::TokenUnavailable => {
                ("token_unavailable", 503, "destination_unavailable", "No token could be had for the account")
            }
            Self::CredentialUnavailable => (
                "credential_unavailable",
                503,
                "proxy_configuration_error",
                "A secret that the request needs can't be read",
            ),
            Self::WebhookUnknown => {
                ("webhook_unknown", 404, "http_request_denied", "There is no such webhook")
            }
            Self::UserInactive => {
                ("user_inactive", 403, "http_request_denied", "The webhook's user is not active")
            }
            Self::RequestDenied => {
                ("request_denied", 403, "http_request_denied", "The request is not allowed here")
            }
            Self::RateLimited => {
                ("rate_limited", 429, "connection_limit_reached", "Too many requests in too short a time")
            }
            Self::Overloaded => {
                ("overloaded", 503, "connection_limit_reached", "Too much is under way to take this as well")
            }
            Self::SignatureInvalid => {
                ("signature_invalid", 401, "http_request_denied", "The request's signature is not valid")
            }
            Self::Replayed => ("replayed", 409, "http_request_denied", "The delivery has been here before"),
            Self::LoopDetected => {
                ("loop_detected", 508, "proxy_loop_detected", "The request came back to attache")
            }
            Self::Internal => ("internal", 500, "proxy_internal_error", "attache failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorCode;

    #[test]
    fn a_loop_is_508() {
        let code = ErrorCode::LoopDetected;
        assert_eq!(
            (code.as_str(), code.status(), code.proxy_status()),
            ("loop_detected", 508, "proxy_loop_detected")
        );
    }

    #[test]
    fn an_unavailable_credential_is_a_matter_of_the_configuration() {
        let code = ErrorCode::CredentialUnavailable;
        assert_eq!(
            (code.as_str(), code.status(), code.proxy_status()),
            ("credential_unavailable", 503, "proxy_configuration_error")
        );
    }

    #[test]
    fn all_lists_every_code_at_its_number() {
        for (i, code) in ErrorCode::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, i, "{}", code.as_str());
        }
    }
}
