//! The codes of attache's own answers: status, title, and `Proxy-Status` error (RFC 9209).

/// Why attache answered itself instead of forwarding the upstream's response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ErrorCode {
    /// No service of that name.
    ServiceUnknown,
    /// The request proves no caller.
    CallerUnauthenticated,
    /// The caller has no right to the request.
    CallerForbidden,
    /// The request can't be forwarded: a dot segment, ambiguous framing, a malformed head.
    RequestInvalid,
    /// The head, or the rest of the body, did not arrive in time.
    RequestTimeout,
    /// The head is larger than the limit.
    RequestHeadTooLarge,
    /// The body is larger than the limit.
    RequestTooLarge,
    /// The method is not allowed on this route.
    MethodDenied,
    /// The third party did not send response headers before the deadline.
    ServiceTimeout,
    /// The service refused or reset the connection, or its name does not resolve.
    ServiceUnreachable,
    /// The service's certificate is not trusted, or the handshake failed.
    ServiceTls,
    /// The service's response is not valid HTTP.
    ServiceProtocol,
    /// The service's name resolves to an address of a private network.
    AddressDenied,
    /// The token endpoint refused the request.
    TokenRejected,
    /// The token endpoint is not available, or its answer is not valid.
    TokenUnavailable,
    /// A secret of the account or the webhook can't be read.
    CredentialUnavailable,
    /// No such webhook key.
    WebhookUnknown,
    /// The key is valid, but its user is not active.
    UserInactive,
    /// The caller's address is not allowed.
    RequestDenied,
    /// The rate limit was exceeded.
    RateLimited,
    /// A limit on concurrent work was reached.
    Overloaded,
    /// The webhook's signature matches none of its secrets.
    SignatureInvalid,
    /// The delivery was received before.
    Replayed,
    /// The request passed through this attache before.
    LoopDetected,
    /// A fault of attache itself.
    Internal,
}

impl ErrorCode {
    /// Every code, in the order of their numbers.
    pub const ALL: [Self; 25] = [
        Self::ServiceUnknown,
        Self::CallerUnauthenticated,
        Self::CallerForbidden,
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

    /// Returns the code as it appears in answers, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// Returns the status of the answer.
    pub const fn status(self) -> u16 {
        self.row().1
    }

    /// Returns the error of `Proxy-Status: attache; error=…`, unless the cause has a more specific one.
    pub const fn proxy_status(self) -> &'static str {
        self.row().2
    }

    /// Returns the `title` of the problem document (RFC 9457), which is the same for every occurrence.
    pub const fn title(self) -> &'static str {
        self.row().3
    }

    const fn row(self) -> (&'static str, u16, &'static str, &'static str) {
        match self {
            Self::ServiceUnknown => {
                ("service_unknown", 404, "destination_not_found", "There is no such service")
            }
            Self::CallerUnauthenticated => (
                "caller_unauthenticated",
                401,
                "http_request_denied",
                "The request does not prove which caller sends it",
            ),
            Self::CallerForbidden => {
                ("caller_forbidden", 403, "http_request_denied", "The caller has no right to the request")
            }
            Self::RequestInvalid => {
                ("request_invalid", 400, "http_request_error", "The request can't be forwarded")
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
                "The connected service's name resolves to an address that is not allowed",
            ),
            Self::TokenRejected => (
                "token_rejected",
                502,
                "proxy_configuration_error",
                "The token endpoint refused the account's credentials",
            ),
            Self::TokenUnavailable => (
                "token_unavailable",
                503,
                "destination_unavailable",
                "No token could be obtained for the account",
            ),
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
            Self::Overloaded => (
                "overloaded",
                503,
                "connection_limit_reached",
                "attache has reached a limit on concurrent work",
            ),
            Self::SignatureInvalid => {
                ("signature_invalid", 401, "http_request_denied", "The request's signature is not valid")
            }
            Self::Replayed => ("replayed", 409, "http_request_denied", "The delivery was received before"),
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
    fn an_unavailable_credential_is_a_configuration_error() {
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
