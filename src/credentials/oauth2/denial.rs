//! Why an identity provider gave nothing, in full: for the operator at a terminal, never for a caller.

use super::error::{Failure, Unavailability};
use std::fmt;
use std::sync::Arc;

/// As [`TokenError`](super::TokenError), with the provider's own words, which are redacted already, and without a
/// pause, since nobody is going to ask again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// The provider said no.
    Rejected {
        /// The OAuth `error`.
        error: Arc<str>,
        /// The `error_description`.
        description: Option<Arc<str>>,
    },
    /// A person has to sign in.
    NeedsLogin {
        /// Why the last refresh token is of no use any more, if there was one.
        reason: Option<Arc<str>>,
    },
    /// The provider is down, or what it said makes no sense.
    Unavailable {
        /// What went wrong.
        reason: Unavailability,
        /// The transport's own words or the provider's.
        cause: Option<Arc<str>>,
    },
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = match self {
            Self::Rejected { error, description } => {
                write!(f, "the token endpoint refused the account: {error}")?;
                description
            }
            Self::NeedsLogin { reason } => {
                f.write_str("the account needs a login")?;
                reason
            }
            Self::Unavailable { reason, cause } => {
                write!(f, "{reason}")?;
                cause
            }
        };
        detail.as_ref().map_or(Ok(()), |detail| write!(f, " ({detail})"))
    }
}

impl std::error::Error for Denial {}

impl From<Failure> for Denial {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Rejected { error, description } => Self::Rejected { error, description },
            Failure::NeedsLogin { error, description } => Self::NeedsLogin { reason: description.or(error) },
            Failure::Unavailable { reason, cause, .. } => Self::Unavailable { reason, cause },
            Failure::Unusable { reason, .. } => reason.into(),
        }
    }
}

impl From<Unavailability> for Denial {
    fn from(reason: Unavailability) -> Self {
        Self::Unavailable { reason, cause: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_sentence_with_the_providers_words_behind() {
        let rejected =
            Denial::Rejected { error: "invalid_client".into(), description: Some("locked".into()) };
        assert_eq!(rejected.to_string(), "the token endpoint refused the account: invalid_client (locked)");
        let lost = Failure::NeedsLogin { error: Some("invalid_grant".into()), description: None };
        assert_eq!(Denial::from(lost).to_string(), "the account needs a login (invalid_grant)");
        assert_eq!(Denial::from(Unavailability::Connect).to_string(), "the token endpoint can't be reached");
    }
}
