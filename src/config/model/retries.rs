//! `retries` of a service.

use http::{Method, StatusCode};

/// `retries`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retries {
    /// `attempts`: the maximum, the first included. Default 2.
    pub attempts: u32,
    /// `on`: the failures after which a request is tried again. Default connect and reset.
    pub on: Vec<RetryOn>,
    /// `methods`: the only ones that are tried again. `None`: those that are idempotent, and any if nothing was sent.
    pub methods: Option<Vec<Method>>,
}

/// An entry of `retries.on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOn {
    /// No connection could be made.
    Connect,
    /// The connection ended before a response head.
    Reset,
    /// The service answered with this status.
    Status(StatusCode),
}

impl RetryOn {
    /// Returns its name in the file.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Status(status) => status.as_str(),
        }
    }
}
