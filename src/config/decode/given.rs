//! The value of a key, or of a source of a secret: present, absent or invalid.

/// An optional value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Given<T> {
    /// There is no value: no such key, or a secret that can't be read.
    Absent,
    /// The value is invalid, which was reported.
    Invalid,
    /// The value.
    Value(T),
}

/// The value is invalid, which was reported.
#[derive(Debug)]
pub(in crate::config) struct Wrong;

impl<T> Given<T> {
    /// Returns the value if it is present and valid.
    pub(in crate::config) fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Invalid => None,
        }
    }

    /// Returns the value, or `default` if there is none; `None` if it is invalid.
    pub(in crate::config) fn or(self, default: T) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent => Some(default),
            Self::Invalid => None,
        }
    }

    /// Returns the value if there is one, unless it is invalid.
    pub(in crate::config) fn checked(self) -> Result<Option<T>, Wrong> {
        match self {
            Self::Value(value) => Ok(Some(value)),
            Self::Absent => Ok(None),
            Self::Invalid => Err(Wrong),
        }
    }

    pub(in crate::config) fn as_ref(&self) -> Given<&T> {
        match self {
            Self::Value(value) => Given::Value(value),
            Self::Absent => Given::Absent,
            Self::Invalid => Given::Invalid,
        }
    }

    pub(in crate::config) fn map<U>(self, f: impl FnOnce(T) -> U) -> Given<U> {
        match self {
            Self::Value(value) => Given::Value(f(value)),
            Self::Absent => Given::Absent,
            Self::Invalid => Given::Invalid,
        }
    }

    pub(in crate::config) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    pub(in crate::config) fn is_invalid(&self) -> bool {
        matches!(self, Self::Invalid)
    }
}

/// Converts the result of a reader for a value that is present.
impl<T> From<Option<T>> for Given<T> {
    fn from(read: Option<T>) -> Self {
        read.map_or(Self::Invalid, Self::Value)
    }
}
