//! Decides whether a request may be sent again: by the bytes written and read, never by the text of an error.
//!
//! 1. No byte of it was written: any method.
//! 2. It is idempotent, its connection was a reused one that ended before any byte of a response, and its body is
//!    buffered: once, on a fresh connection. A server that closes an idle connection races with the request that reuses
//!    it.
//! 3. The upstream refused its token, and so states that it did not act: once, with another token.
//!
//! A service with `retries` has more of them (see [`super::retry`]). Everything else is answered with 502. A reused connection without a response byte proves nothing: a server may
//! receive a request, act on it, and close.

use crate::message::Fields;
use bytes::{Bytes, BytesMut};
use http::Method;

/// Maximum number of body bytes buffered for sending them again.
const MAX_REPLAY: usize = 64 << 10;

/// A connection that ended before its response was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BrokenConnection {
    /// Bytes of the request that the connection took.
    pub(super) written: u64,
    /// Bytes of a response that were received.
    pub(super) read: u64,
    /// The connection was taken from the pool.
    pub(super) reused: bool,
    /// A 1xx other than 100 was forwarded to the client.
    pub(super) forwarded_1xx: bool,
}

impl BrokenConnection {
    /// Returns true if the request may be sent once more, on a fresh connection.
    pub(super) fn allows_resend(&self, is_idempotent: bool, body: &BufferedBody) -> bool {
        // A fresh connection that broke shows a fault of the upstream; another would break too.
        self.reused && body.is_whole() && (self.written == 0 || (self.read == 0 && is_idempotent))
    }
}

/// Returns true if sending the request twice has the same effect as sending it once: by its method (RFC 9110 section
/// 9.2.2), or because its sender states it.
pub(super) fn is_idempotent(method: &Method, fields: &Fields) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::OPTIONS)
        || fields.contains("idempotency-key")
}

/// The part of a body that was read so far, if all of it is buffered.
#[derive(Default)]
pub(super) struct BufferedBody {
    parts: Vec<Bytes>,
    bytes: usize,
    is_cut: bool,
}

/// A part below this size is appended to the one before, so that a body in many small parts needs no memory beyond its
/// bytes.
const SMALL: usize = 4 << 10;

impl BufferedBody {
    /// Stores a part; a large one without a copy.
    pub(super) fn keep(&mut self, part: &Bytes) {
        self.bytes += part.len();
        if self.is_cut || self.bytes > MAX_REPLAY {
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

    /// Returns true if every byte that was read is buffered.
    pub(super) fn is_whole(&self) -> bool {
        !self.is_cut
    }

    /// Returns the buffered parts.
    pub(super) fn parts(&self) -> &[Bytes] {
        &self.parts
    }

    /// Drops the parts: nothing will be sent again.
    pub(super) fn forget(&mut self) {
        self.is_cut = true;
        self.parts = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALE: BrokenConnection =
        BrokenConnection { written: 100, read: 0, reused: true, forwarded_1xx: false };

    #[test]
    fn a_request_that_may_have_been_acted_upon_is_not_sent_again() {
        let body = BufferedBody::default();
        assert!(!STALE.allows_resend(false, &body), "a POST over a stale connection");
        assert!(
            !BrokenConnection { read: 1, ..STALE }.allows_resend(true, &body),
            "a part of a response was read"
        );
        assert!(
            !BrokenConnection { reused: false, ..STALE }.allows_resend(true, &body),
            "the connection was fresh"
        );
        assert!(!BrokenConnection { read: 1, ..STALE }.allows_resend(false, &body));
    }

    #[test]
    fn an_idempotent_request_is_sent_again_after_a_stale_connection() {
        assert!(STALE.allows_resend(true, &BufferedBody::default()));
        assert!(BrokenConnection { written: 0, ..STALE }.allows_resend(false, &BufferedBody::default()));
    }

    #[test]
    fn a_body_that_is_not_buffered_is_not_sent_again() {
        let mut body = BufferedBody::default();
        body.keep(&Bytes::from(vec![0; MAX_REPLAY]));
        assert!(STALE.allows_resend(true, &body));
        assert_eq!(body.parts().len(), 1);
        body.keep(&Bytes::from_static(b"x"));
        assert!(!STALE.allows_resend(true, &body) && body.parts().is_empty());
    }

    #[test]
    fn a_body_of_single_bytes_is_kept_in_few_parts() {
        let mut body = BufferedBody::default();
        for n in 0..MAX_REPLAY {
            body.keep(&Bytes::copy_from_slice(&[n as u8]));
        }
        assert!(body.is_whole() && body.parts().len() <= MAX_REPLAY / SMALL, "{}", body.parts().len());
        let all = body.parts().concat();
        assert!(all.iter().enumerate().all(|(n, &b)| b == n as u8) && all.len() == MAX_REPLAY);
    }

    #[test]
    fn method_or_idempotency_key_decides_what_is_idempotent() {
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
