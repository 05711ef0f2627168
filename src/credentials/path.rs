//! A credential in the path: `{credential}` in a service's `server_url`.
//!
//! The upstream's prefix keeps the text `{credential}`, and so does every plan made with it: the secret is put in only
//! where the request line is written. So nothing that shows a URL can show the secret, and another secret needs no other
//! upstream.

use crate::config::model::CREDENTIAL_PLACE;
use crate::secret::Secret;
use std::fmt;

/// A part of a path segment, encoded once.
#[derive(Clone)]
pub struct PathCredential(Secret);

impl PathCredential {
    /// Encodes the value for one segment: what RFC 3986 section 3.3 allows there stays, but `;`, which begins parameters.
    pub fn new(value: &Secret) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let mut encoded = String::with_capacity(3 * value.expose().len());
        for byte in value.expose().bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte) {
                encoded.push(char::from(byte));
            } else {
                encoded.push('%');
                encoded.push(char::from(DIGITS[usize::from(byte >> 4)]));
                encoded.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
        Self(Secret::new(encoded))
    }

    /// Returns the value, not encoded.
    pub fn value(&self) -> Secret {
        let value: Vec<u8> = percent_encoding::percent_decode_str(self.0.expose()).collect();
        Secret::new(String::from_utf8_lossy(&value))
    }

    /// Returns the value as it is sent, encoded. It is a secret.
    pub fn encoded(&self) -> &Secret {
        &self.0
    }

    /// Returns `target` in three parts: before the credential, the credential, and after it. Only `prefix`, with which
    /// the target begins, is searched: a client may write `{credential}` too. `None` if the prefix has no place for it.
    pub fn split<'a>(&'a self, prefix: &str, target: &'a [u8]) -> Option<[&'a [u8]; 3]> {
        let at = prefix.find(CREDENTIAL_PLACE)?;
        let after = target.get(at + CREDENTIAL_PLACE.len()..)?;
        Some([&target[..at], self.0.expose().as_bytes(), after])
    }
}

impl fmt::Debug for PathCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PathCredential([secret])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(value: &str, prefix: &str, rest: &str) -> String {
        let credential = PathCredential::new(&Secret::new(value));
        let target = format!("{prefix}{rest}");
        let parts = credential.split(prefix, target.as_bytes()).expect("a place");
        String::from_utf8(parts.concat()).unwrap()
    }

    #[test]
    fn it_takes_its_place_within_one_segment() {
        assert_eq!(sent("1:A-b_c", "/bot{credential}", "/sendMessage?x"), "/bot1:A-b_c/sendMessage?x");
        assert_eq!(sent("a/b?c#d;e%f g", "/{credential}/v1", "/x"), "/a%2Fb%3Fc%23d%3Be%25f%20g/v1/x");
        assert_eq!(sent("é", "/{credential}", ""), "/%C3%A9");
    }

    #[test]
    fn a_client_that_writes_the_place_gets_nothing() {
        assert_eq!(sent("s", "/bot{credential}", "/{credential}"), "/bots/{credential}");
        assert!(PathCredential::new(&Secret::new("s")).split("/v3", b"/v3/{credential}").is_none());
    }

    #[test]
    fn debug_shows_nothing() {
        assert!(!format!("{:?}", PathCredential::new(&Secret::new("hunter2"))).contains("hunter2"));
    }
}
