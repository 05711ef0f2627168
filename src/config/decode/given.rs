//! What the file gives for a key, or a source for a secret: something, nothing, or something wrong.

/// A value that may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Given<T> {
    /// There is none: no such key, or a secret that can't be read.
    Absent,
    /// It is wrong, which has been reported.
    Invalid,
    /// This one.
    Value(T),
}

/// A value is wrong, which has been reported.
#[derive(Debug)]
pub(in crate::config) struct Wrong;

impl<T> Given<T> {
    /// The value, if there is one and it is right.
    pub(in crate::config) fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Invalid => None,
        }
    }

    /// The value, or `default` where there is none; `None` if it is wrong.
    pub(in crate::config) fn or(self, default: T) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent => Some(default),
            Self::Invalid => None,
        }
    }

    /// The value if there is one, unless it is wrong.
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

/// What a reader made of a value that is there.
impl<T> From<Option<T>> for Given<T> {
    fn from(read: Option<T>) -> Self {
        read.map_or(Self::Invalid, Self::Value)
    }
}
