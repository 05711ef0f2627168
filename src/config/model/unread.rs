//! Secrets that can't be read, and what becomes of their owners.

use std::fmt;

/// A secret, or a certificate, that can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadSecret {
    /// The key path that says where it is: `accounts.erp.authorization.header.value.env`.
    pub place: String,
    /// Why it can't be read.
    pub fault: ReadFault,
    /// Nothing stands in for it: whatever needs it is refused. Else the last value serves, or another one of a list.
    pub blocks: bool,
}

impl UnreadSecret {
    /// `unavailable` or `degraded`, as `/status` says it.
    pub fn state(&self) -> &'static str {
        if self.blocks { "unavailable" } else { "degraded" }
    }

    /// The one that blocks, else the first.
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
    /// The variable or the file is not there.
    Missing,
    /// The system does not let it be read.
    Unreadable,
    /// There is nothing in it.
    Empty,
    /// Its content is no secret: UTF-16, or with a NUL or a line break in it.
    Malformed,
}

impl ReadFault {
    /// As it stands in the access log's `reason`, and in `/status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "secret_missing",
            Self::Unreadable => "secret_unreadable",
            Self::Empty => "secret_empty",
            Self::Malformed => "secret_malformed",
        }
    }
}
