//! The decision about a request, in a form that both directions share.
//!
//! A [`Plan`] or a [`Refusal`] is made from (snapshot, request head, now) without I/O, and carried out by
//! [`crate::proxy`]. Everything that is the same for all requests of a service is prepared in its [`Route`]; the plan
//! adds what is specific to the request.

use crate::error_code::ErrorCode;
use crate::message::request::HeadError;
use crate::route::Route;
use crate::secret::Secret;
use http::StatusCode;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// A request that will be forwarded.
pub struct Plan {
    /// The route of the service: upstream, credential, deadline, limits, metrics.
    pub route: Arc<Route>,
    /// Path and query to send, in origin form.
    pub target: Vec<u8>,
    /// The form in which the request names its service.
    pub form: Form,
}

/// The form in which a request names its service. Links in the response take the same form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// By the first segment of its path, or, on a webhook, by its key.
    Path,
    /// By its `Host`, which is one of the service's `hosts`.
    Host,
    /// By the URL of the service itself, in absolute form, as sent to an HTTP proxy.
    Proxy,
}

impl Form {
    /// Returns its name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Host => "host",
            Self::Proxy => "http_proxy",
        }
    }
}

/// An answer of attache to a handshake request, which is not a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Further fields.
    pub headers: Vec<(&'static str, String)>,
    /// A field whose value is a secret that the client sent.
    pub secret: Option<(&'static str, Secret)>,
    /// The body.
    pub body: String,
}

impl Reply {
    fn new(content_type: &'static str, body: String) -> Self {
        Self { status: StatusCode::OK, content_type, headers: Vec::new(), secret: None, body }
    }

    /// Returns a plain text reply with `body`.
    pub fn text(body: Cow<'_, str>) -> Self {
        Self::new("text/plain; charset=utf-8", body.into_owned())
    }

    /// Returns a JSON reply.
    pub fn json(body: String) -> Self {
        Self::new("application/json", body)
    }

    /// Returns a reply without a body, of status 200.
    pub fn empty() -> Self {
        Self::text(Cow::Borrowed(""))
    }

    /// Returns a reply of status 204. Discord wants a `Content-Type` even there.
    pub fn no_content() -> Self {
        Self { status: StatusCode::NO_CONTENT, ..Self::json(String::new()) }
    }

    /// Adds a field.
    pub fn with_header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Sets the field whose value is a secret.
    pub fn with_secret(self, name: &'static str, value: Secret) -> Self {
        Self { secret: Some((name, value)), ..self }
    }
}

/// The challenge of a 401 or 407 (RFC 9110 section 11.6; RFC 6750 section 3 wants at least one parameter of `Bearer`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// A token. None was shown.
    Token,
    /// Another token than the one that was shown.
    OtherToken,
    /// A token, from a client of an HTTP proxy. Such clients know `Basic`.
    Proxy,
    /// A signature of the request.
    Signature,
}

impl Challenge {
    /// Returns the fields of the answer.
    pub fn fields(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Token => &[("WWW-Authenticate", "Bearer realm=\"attache\"")],
            Self::OtherToken => &[("WWW-Authenticate", "Bearer realm=\"attache\", error=\"invalid_token\"")],
            Self::Proxy => &[
                ("Proxy-Authenticate", "Basic realm=\"attache\""),
                ("Proxy-Authenticate", "Bearer realm=\"attache\""),
            ],
            // No registered scheme is a signature of the provider's own kind. `Bearer` or `Basic` would promise that a token
            // or a password helps.
            Self::Signature => &[("WWW-Authenticate", "Signature realm=\"attache\"")],
        }
    }
}

/// A request that attache answers itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The error code.
    pub code: ErrorCode,
    /// The problem and the remedy, as text. Contains no upstream or client bytes and no secret.
    pub detail: Cow<'static, str>,
    /// The service, if the caller may be told of it.
    pub service: Option<Box<str>>,
    /// The `Proxy-Status` error, if it is more specific than the code's own.
    pub proxy_status: Option<&'static str>,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u32>,
    /// The value of `Allow` for a 405.
    pub allow: Option<Box<str>>,
    /// The challenge of a 401 or 407.
    pub challenge: Option<Challenge>,
    /// A status other than the code's own.
    pub status: Option<StatusCode>,
    /// The answer has no body.
    pub bodiless: bool,
    /// The machine-readable cause behind the code: the access log's `reason`.
    pub reason: Option<Cow<'static, str>>,
}

/// The value of `Allow` for a method that no service or webhook accepts (RFC 9110 section 10.2.1).
const ALLOW: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::Malformed(detail) => {
                Self::new(ErrorCode::RequestInvalid, detail).because("malformed_head")
            }
            HeadError::Tls(detail) => Self::new(ErrorCode::RequestInvalid, detail).because("tls"),
            HeadError::Plain(detail) => Self::new(ErrorCode::RequestInvalid, detail).because("plain_http"),
            HeadError::TooLarge(detail) => {
                Self::new(ErrorCode::RequestHeadTooLarge, detail).because("head_too_large")
            }
            HeadError::Late(detail) => Self::new(ErrorCode::RequestTimeout, detail).because("head_timeout"),
            HeadError::Method(detail) => {
                let refusal = Self::new(ErrorCode::MethodDenied, detail).because("method");
                Self { allow: Some(ALLOW.into()), ..refusal }
            }
        }
    }
}

impl Refusal {
    /// Returns a refusal with `code` and `detail`.
    pub fn new(code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            service: None,
            proxy_status: None,
            retry_after: None,
            allow: None,
            challenge: (code == ErrorCode::SignatureInvalid).then_some(Challenge::Signature),
            status: None,
            bodiless: false,
            reason: None,
        }
    }

    /// Returns the refusal of a body that is larger than the route allows.
    pub fn body_too_large(route: &Route) -> Self {
        let max = route.max_body.unwrap_or_default();
        let detail = format!("the request's body is larger than the limit of {max} bytes");
        Self::new(ErrorCode::RequestTooLarge, detail).of(&route.service).because("body_too_large")
    }

    /// Returns the status of the answer.
    pub fn status(&self) -> StatusCode {
        let own = || StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        self.status.unwrap_or_else(own)
    }

    /// Sets `Retry-After` to `wait`, in whole seconds.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait.as_secs_f64().ceil().max(1.0) as u32);
        self
    }

    /// Sets `Retry-After` to one second, where the time is not known.
    pub fn retry_soon(self) -> Self {
        self.retry_after(Duration::from_secs(1))
    }

    /// Sets `Retry-After` to ten seconds, where a server of a third party does not answer.
    pub fn retry_later(self) -> Self {
        self.retry_after(Duration::from_secs(10))
    }

    /// Sets the service.
    pub fn of(mut self, service: &str) -> Self {
        self.service = Some(service.into());
        self
    }

    /// Sets the reason for the access log.
    pub fn because(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Sets a more specific `Proxy-Status` error.
    pub fn proxy_status(mut self, error: &'static str) -> Self {
        self.proxy_status = Some(error);
        self
    }
}
