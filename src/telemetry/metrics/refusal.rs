//! The reasons for which webhook calls are refused.

/// Why a webhook call was refused: more specific than the code of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum WebhookRefusal {
    /// No such key.
    UnknownKey,
    /// A key that is not valid yet.
    NotYetValid,
    /// A key that has expired.
    Expired,
    /// A key that is disabled.
    Disabled,
    /// Too many unknown keys from one address.
    TooManyWrongKeys,
    /// An address that may not call.
    Address,
    /// A secret of the webhook can't be read.
    Unavailable,
    /// The user is not active.
    UserInactive,
    /// The rate limit of the key was exceeded.
    RateLimited,
    /// A method that the webhook does not accept.
    Method,
    /// A path, a query or a body that can't be forwarded, or is too large.
    Request,
    /// Too many bodies are being read.
    Overloaded,
    /// As many calls are being forwarded as `max_concurrent` allows.
    Concurrency,
    /// A header of the signature is missing.
    SignatureMissing,
    /// A header of the signature occurs twice, or is not in the scheme's format.
    SignatureMalformed,
    /// A signature that is too old.
    SignatureStale,
    /// A signature of the future.
    SignatureFuture,
    /// A signature by another secret, or of other content.
    SignatureMismatch,
    /// A key that has to be fetched is not known, and can't be fetched now.
    KeyUnavailable,
    /// A subscription that could not be confirmed.
    Unconfirmed,
    /// A delivery that the receiver has accepted.
    Duplicate,
    /// A delivery that is being forwarded to the receiver.
    UnderWay,
    /// A delivery that the receiver was sent and did not answer.
    OutcomeUnknown,
    /// A delivery without the header that tells it from others, or with it twice.
    Indistinct,
    /// A handshake without the token that was agreed on.
    VerifyToken,
    /// A hub's question about a subscription that is not wanted.
    Topic,
    /// A sender of CloudEvents that may not deliver.
    Origin,
    /// A question that is not in the provider's form.
    Challenge,
    /// A handshake that brought another secret than the one that is kept.
    HandshakeDone,
}

impl WebhookRefusal {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 29] = [
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
        Self::Concurrency,
        Self::SignatureMissing,
        Self::SignatureMalformed,
        Self::SignatureStale,
        Self::SignatureFuture,
        Self::SignatureMismatch,
        Self::KeyUnavailable,
        Self::Unconfirmed,
        Self::Duplicate,
        Self::UnderWay,
        Self::OutcomeUnknown,
        Self::Indistinct,
        Self::VerifyToken,
        Self::Topic,
        Self::Origin,
        Self::Challenge,
        Self::HandshakeDone,
    ];

    /// Returns the value of the label.
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
            Self::Concurrency => "max_concurrent",
            Self::SignatureMissing => "signature_missing",
            Self::SignatureMalformed => "signature_malformed",
            Self::SignatureStale => "signature_stale",
            Self::SignatureFuture => "signature_future",
            Self::SignatureMismatch => "signature_mismatch",
            Self::KeyUnavailable => "key_unavailable",
            Self::Unconfirmed => "subscription_unconfirmed",
            Self::Duplicate => "duplicate",
            Self::UnderWay => "under_way",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Indistinct => "indistinct_delivery",
            Self::VerifyToken => "verify_token",
            Self::Topic => "topic",
            Self::Origin => "origin",
            Self::Challenge => "challenge",
            Self::HandshakeDone => "handshake_done",
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
