//! The request id, as it appears in the answer, the error body and the access log.

/// A UUIDv7, or the caller's own well-formed `X-Request-Id`.
///
/// The default is empty: a placeholder for a request whose head was not parsed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// Returns a new UUIDv7 (RFC 9562), which sorts by time.
    pub fn new() -> Self {
        Self(uuid::Uuid::now_v7().to_string())
    }

    /// Returns the caller's id if it is 1 to 128 of `[A-Za-z0-9._-]`, else a new one.
    pub fn from_caller(value: Option<&[u8]>) -> Self {
        value
            .and_then(|value| std::str::from_utf8(value).ok())
            .filter(|id| Self::is_well_formed(id))
            .map_or_else(Self::new, |id| Self(id.to_owned()))
    }

    /// Returns true if a request can have this id: 1 to 128 of `[A-Za-z0-9._-]`.
    pub fn is_well_formed(id: &str) -> bool {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        (1..=128).contains(&id.len()) && id.bytes().all(is_allowed)
    }

    /// Returns the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_well_formed_id_of_the_caller_is_used() {
        let is_used = |id: &'static str| RequestId::from_caller(Some(id.as_bytes())).as_str() == id;
        assert!(is_used("a") && is_used("0192-f._Z") && is_used(&*"x".repeat(128).leak()));
        assert!(!is_used("") && !is_used("a b") && !is_used("a/b") && !is_used(&*"x".repeat(129).leak()));
    }
}
