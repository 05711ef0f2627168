//! The type of every secret.
//!
//! [`Secret`] has no `Serialize`, prints as `[secret]`, compares in constant time and is wiped when dropped.
//! [`Secret::expose`] is called only where the value is used: a header, a form, a digest.

use std::fmt;
use zeroize::Zeroizing;

/// A credential, key or token in memory.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of the text, which from now on is only reachable through [`Secret::expose`].
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// Returns the value. Call it at the point of use, and keep the result out of every log and error.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the SHA-256 of the value, which represents it where two secrets are compared or looked up.
    pub fn sha256(&self) -> [u8; 32] {
        sha256(self.0.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl PartialEq for Secret {
    // Compares digests, so that neither length nor content shows in the duration.
    fn eq(&self, other: &Self) -> bool {
        self.sha256() == other.sha256()
    }
}

impl Eq for Secret {}

/// Returns the SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref());
    out
}

/// Returns `bytes` as lowercase hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]])
        .map(char::from)
        .collect()
}

/// Minimum length of a secret that is looked for in a text: a shorter one may be a part of any word.
pub const MIN_REDACTED: usize = 8;

/// Returns a header's credential without the name of its scheme (RFC 9110 section 11.4): `abc` of `Bearer abc`.
pub fn without_scheme(value: &[u8]) -> &[u8] {
    match value.iter().position(|&b| b == b' ') {
        Some(end) if value[..end].iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-') => {
            value[end..].trim_ascii_start()
        }
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_value() {
        assert_eq!(format!("{:?}", Some(Secret::new("hunter2"))), "Some([secret])");
    }

    #[test]
    fn sha256_is_the_published_test_vector() {
        assert_eq!(
            hex(&Secret::new("abc").sha256()),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
