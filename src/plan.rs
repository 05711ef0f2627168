//! What is to be done with a request: the one place where the two directions meet.
//!
//! A [`Plan`] or a [`Refusal`] is made from (snapshot, request head, now) without I/O, and carried out by
//! [`crate::proxy`]. What is the same for every request of a service stands prepared in its [`Route`]; the plan adds
//! what this request alone decides.

use crate::error_code::ErrorCode;
use crate::message::request::HeadError;
use crate::route::Route;
use http::StatusCode;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// A request that is passed on.
pub struct Plan {
    /// The service's side of it: upstream, credential, deadline and its answer, limits, metrics.
    pub route: Arc<Route>,
    /// Path and query to send, in origin form.
    pub target: Vec<u8>,
}

/// An answer of ours to a question that is no delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Reply {
    /// What was asked, as text.
    pub fn text(body: Cow<'_, str>) -> Self {
        Self { content_type: "text/plain; charset=utf-8", body: body.into_owned() }
    }

    /// A JSON document.
    pub fn json(body: String) -> Self {
        Self { content_type: "application/json", body }
    }
}

/// A request that attache answers itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub code: ErrorCode,
    /// What happened and what to do, for a person. Holds nothing that came from the other side, and no secret.
    pub detail: Cow<'static, str>,
    /// The service, where one is known that the caller may be told of.
    pub service: Option<Box<str>>,
    /// `Proxy-Status` error, where it is more exact than the code's own.
    pub proxy_status: Option<&'static str>,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u32>,
    /// What `Allow` says with a 405.
    pub allow: Option<Box<str>>,
    /// Another status than the code's own.
    pub status: Option<StatusCode>,
    /// Without a body.
    pub bodiless: bool,
    /// The cause behind the code, for machines: the access log's `reason`.
    pub reason: Option<Cow<'static, str>>,
}

/// The value of `Allow` beside a method that no service or webhook takes (RFC 9110 section 10.2.1).
const ALLOW: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::Malformed(detail) => {
                Self::new(ErrorCode::RequestInvalid, detail).because("malformed_head")
            }
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
    /// A refusal for `code` that tells `detail`.
    pub fn new(code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            service: None,
            proxy_status: None,
            retry_after: None,
            allow: None,
            status: None,
            bodiless: false,
            reason: None,
        }
    }

    /// The status it is answered with.
    pub fn status(&self) -> StatusCode {
        let own = || StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        self.status.unwrap_or_else(own)
    }

    /// Says when to come again: after `wait`, in whole seconds.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait.as_secs_f64().ceil().max(1.0) as u32);
        self
    }

    /// Names the service.
    pub fn of(mut self, service: &str) -> Self {
        self.service = Some(service.into());
        self
    }

    /// Names the cause, for the access log.
    pub fn because(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Sets a more exact `Proxy-Status` error.
    pub fn proxy_status(mut self, error: &'static str) -> Self {
        self.proxy_status = Some(error);
        self
    }
}
