//! Sending a request again: decided by what was written and read, never by the text of an error.
//!
//! 1. Not one byte of it was written: whatever its method.
//! 2. It is idempotent, its connection was a reused one that ended before any byte of a response, and its body is at hand:
//!    once, on a fresh connection. A server that closes an idle connection races with the request that reuses it.
//! 3. The server refused its token, and so says itself that it did not act: once, with another token.
//!
//! Everything else is answered 502. That a reused connection gave no byte proves nothing: a server may take a request, act
//! on it, and close.

use crate::message::Fields;
use bytes::{Bytes, BytesMut};
use http::Method;

/// Bytes of a body that are kept for sending it again.
const AT_HAND: usize = 64 << 10;

/// A connection that ended before its response was whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BrokenConnection {
    /// Bytes of the request that the connection took.
    pub(super) written: u64,
    /// Bytes of a response that came.
    pub(super) read: u64,
    /// It was taken from the pool.
    pub(super) reused: bool,
}

impl BrokenConnection {
    /// Returns true if the request may be sent once more, on a fresh connection.
    pub(super) fn allows_resend(&self, is_idempotent: bool, body: &Replay) -> bool {
        // A fresh connection that broke tells of the server, and another would tell the same.
        self.reused && body.is_whole() && (self.written == 0 || (self.read == 0 && is_idempotent))
    }
}

/// Returns true if sending the request twice has the effect of sending it once: by its method (RFC 9110 section 9.2.2), or
/// because its sender says so.
pub(super) fn is_idempotent(method: &Method, fields: &Fields) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS)
        || fields.contains("idempotency-key")
}

/// The part of a body that was read so far, if all of it is at hand.
#[derive(Default)]
pub(super) struct Replay {
    parts: Vec<Bytes>,
    bytes: usize,
    is_cut: bool,
}

/// A smaller part is copied behind the one before, so that a body that drips in costs its bytes and no more.
const SMALL: usize = 4 << 10;

impl Replay {
    /// Keeps a part; a large one without a copy.
    pub(super) fn keep(&mut self, part: &Bytes) {
        self.bytes += part.len();
        if self.is_cut || self.bytes > AT_HAND {
            self.forget();
            return;
        }
        match self.parts.last_mut() {
            _ if part.is_empty() => {}
            Some(last) if part.len() < SMALL && last.len() < SMALL => {
                let mut joined = BytesMut::from(std::mem::take(last));
                joined.extend_from_slice(part);
                *last = joined.freeze();
            }
            _ => self.parts.push(part.clone()),
        }
    }

    /// Returns true if every byte that was read is at hand.
    pub(super) fn is_whole(&self) -> bool {
        !self.is_cut
    }

    /// The parts.
    pub(super) fn parts(&self) -> &[Bytes] {
        &self.parts
    }

    /// Lets go of the parts: nothing will be sent again.
    pub(super) fn forget(&mut self) {
        self.is_cut = true;
        self.parts = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALE: BrokenConnection = BrokenConnection { written: 100, read: 0, reused: true };

    #[test]
    fn a_request_that_may_have_been_acted_upon_is_not_sent_again() {
        let body = Replay::default();
        assert!(!STALE.allows_resend(false, &body), "a POST over a stale connection");
        assert!(
            !BrokenConnection { read: 1, ..STALE }.allows_resend(true, &body),
            "a part of a response came"
        );
        assert!(
            !BrokenConnection { reused: false, ..STALE }.allows_resend(true, &body),
            "the connection was fresh"
        );
        assert!(!BrokenConnection { read: 1, written: 100, reused: true }.allows_resend(false, &body));
    }

    #[test]
    fn a_stale_connection_costs_an_idempotent_request_nothing() {
        assert!(STALE.allows_resend(true, &Replay::default()));
        assert!(BrokenConnection { written: 0, ..STALE }.allows_resend(false, &Replay::default()));
    }

    #[test]
    fn a_body_that_is_not_at_hand_is_not_sent_again() {
        let mut body = Replay::default();
        body.keep(&Bytes::from(vec![0; AT_HAND]));
        assert!(STALE.allows_resend(true, &body));
        assert_eq!(body.parts().len(), 1);
        body.keep(&Bytes::from_static(b"x"));
        assert!(!STALE.allows_resend(true, &body) && body.parts().is_empty());
    }

    #[test]
    fn a_body_that_drips_in_is_kept_in_few_parts() {
        let mut body = Replay::default();
        for n in 0..AT_HAND {
            body.keep(&Bytes::copy_from_slice(&[n as u8]));
        }
        assert!(body.is_whole() && body.parts().len() <= AT_HAND / SMALL, "{}", body.parts().len());
        let all = body.parts().concat();
        assert!(all.iter().enumerate().all(|(n, &b)| b == n as u8) && all.len() == AT_HAND);
    }

    #[test]
    fn the_method_or_the_sender_says_what_is_idempotent() {
        let none = Fields::default();
        let key = Fields::collect([(&b"Idempotency-Key"[..], &b"1"[..])]);
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
            assert!(is_idempotent(&method, &none), "{method}");
        }
        for method in [Method::POST, Method::PATCH] {
            assert!(!is_idempotent(&method, &none) && is_idempotent(&method, &key), "{method}");
        }
    }
}
