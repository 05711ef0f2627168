//! Secrets that can't be read, and the effect on their owners.

use std::fmt;

/// A secret, or a certificate, that can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadSecret {
    /// The key path of its source: `accounts.erp.authorization.header.value.env`.
    pub place: String,
    /// Why it can't be read.
    pub fault: ReadFault,
    /// True if nothing takes its place, so requests that need it are refused. Else its last value, or another of a
    /// list, is used.
    pub blocks: bool,
}

impl UnreadSecret {
    /// Returns `unavailable` or `degraded`, as in `/status`.
    pub fn state(&self) -> &'static str {
        if self.blocks { "unavailable" } else { "degraded" }
    }

    /// Returns the one that blocks, else the first.
    pub fn worse<'a>(first: Option<&'a Self>, second: Option<&'a Self>) -> Option<&'a Self> {
        match (first, second) {
            (Some(first), Some(second)) if second.blocks && !first.blocks => Some(second),
            (first, second) => first.or(second),
        }
    }
}

impl fmt::Display for UnreadSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} can't be read ({})", self.place, self.fault.as_str())
    }
}

/// Why a secret can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFault {
    /// The variable or the file does not exist.
    Missing,
    /// The system denies reading it.
    Unreadable,
    /// It is empty.
    Empty,
    /// Its content is not a secret: UTF-16, or with a NUL or a line break.
    Malformed,
}

impl ReadFault {
    /// Returns the value for the access log's `reason` and for `/status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "secret_missing",
            Self::Unreadable => "secret_unreadable",
            Self::Empty => "secret_empty",
            Self::Malformed => "secret_malformed",
        }
    }
}
