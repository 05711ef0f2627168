//! The reasons for which webhook calls are not let in.

/// Why a webhook call was not let in: finer than the code it is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum WebhookRefusal {
    /// No such key.
    UnknownKey,
    /// A key whose time has not come.
    NotYetValid,
    /// A key whose time has passed.
    Expired,
    /// A key that is switched off.
    Disabled,
    /// One wrong key too many from one address.
    TooManyWrongKeys,
    /// From an address that may not call.
    Address,
    /// A secret of the webhook can't be read.
    Unavailable,
    /// The user is not active.
    UserInactive,
    /// One call too many with one key.
    RateLimited,
    /// A method that the webhook does not take.
    Method,
    /// A path, a query or a body that can't be passed on, or is too large.
    Request,
    /// More bodies are being read than there is room for.
    Overloaded,
    /// A header of the signature is missing.
    SignatureMissing,
    /// A header of the signature is there twice, or says nothing that the scheme knows.
    SignatureMalformed,
    /// Signed too long ago.
    SignatureStale,
    /// Signed in the future.
    SignatureFuture,
    /// Signed with another secret, or altered since.
    SignatureMismatch,
    /// A delivery that our program has.
    Duplicate,
    /// A delivery that is on its way to our program.
    UnderWay,
}

impl WebhookRefusal {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 19] = [
        Self::UnknownKey,
        Self::NotYetValid,
        Self::Expired,
        Self::Disabled,
        Self::TooManyWrongKeys,
        Self::Address,
        Self::Unavailable,
        Self::UserInactive,
        Self::RateLimited,
        Self::Method,
        Self::Request,
        Self::Overloaded,
        Self::SignatureMissing,
        Self::SignatureMalformed,
        Self::SignatureStale,
        Self::SignatureFuture,
        Self::SignatureMismatch,
        Self::Duplicate,
        Self::UnderWay,
    ];

    /// As it stands in the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownKey => "unknown_key",
            Self::NotYetValid => "not_yet_valid",
            Self::Expired => "expired",
            Self::Disabled => "disabled",
            Self::TooManyWrongKeys => "too_many_wrong_keys",
            Self::Address => "address",
            Self::Unavailable => "credential_unavailable",
            Self::UserInactive => "user_inactive",
            Self::RateLimited => "rate_limited",
            Self::Method => "method",
            Self::Request => "request",
            Self::Overloaded => "overloaded",
            Self::SignatureMissing => "signature_missing",
            Self::SignatureMalformed => "signature_malformed",
            Self::SignatureStale => "signature_stale",
            Self::SignatureFuture => "signature_future",
            Self::SignatureMismatch => "signature_mismatch",
            Self::Duplicate => "duplicate",
            Self::UnderWay => "under_way",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::WebhookRefusal;

    #[test]
    fn all_lists_every_reason_at_its_number() {
        for (i, reason) in WebhookRefusal::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i, "{}", reason.as_str());
        }
    }
}
