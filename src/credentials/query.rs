//! A credential in the query: `?rest&name=value`.
//!
//! The caller's own parameters of that name go, in whatever spelling; every other byte of the query stays where
//! it was. So the query is never parsed into pairs and written anew: that would change spellings, drop empty
//! parts, and break third parties that sign or compare the raw query.

use crate::secret::Secret;
use std::fmt;

/// A query parameter with a fixed value, encoded once.
#[derive(Clone)]
pub struct QueryCredential {
    /// As it compares: decoded.
    name: Box<[u8]>,
    /// `name=value`, percent-encoded.
    pair: Secret,
}

impl QueryCredential {
    /// Encodes name and value: every byte but RFC 3986's unreserved ones as `%XX`.
    pub fn new(name: &str, value: &Secret) -> Self {
        let mut pair = String::with_capacity(3 * (name.len() + value.expose().len()) + 1);
        percent_encode(name, &mut pair);
        pair.push('=');
        percent_encode(value.expose(), &mut pair);
        Self { name: name.as_bytes().into(), pair: Secret::new(pair) }
    }

    /// Returns true if a parameter of a query is the credential: its name and its value, in any spelling.
    pub fn is(&self, parameter: &[u8]) -> bool {
        let mut parts = parameter.splitn(2, |b| *b == b'=');
        let name = parts.next().unwrap_or_default();
        let value = parts.next().unwrap_or_default();
        Decoded(name).eq(self.name.iter().copied()) && Decoded(value).eq(self.decoded())
    }

    /// Returns the value, decoded. It is a secret.
    pub fn value(&self) -> Vec<u8> {
        self.decoded().collect()
    }

    fn decoded(&self) -> impl Iterator<Item = u8> {
        let pair = self.pair.expose().as_bytes();
        let value = pair.iter().position(|b| *b == b'=').map_or(&[][..], |end| &pair[end + 1..]);
        Decoded(value)
    }

    /// The query to send instead of `query` (raw, without its `?`): every parameter of the credential's name
    /// removed, names compared after percent and plus decoding, and the credential appended. One allocation.
    pub fn replace(&self, query: Option<&[u8]>) -> Vec<u8> {
        let pair = self.pair.expose().as_bytes();
        let mut out = Vec::with_capacity(query.map_or(0, |q| q.len() + 1) + pair.len());
        let mut kept = 0;
        for part in query.into_iter().flat_map(|q| q.split(|b| *b == b'&')) {
            let name = part.split(|b| *b == b'=').next().unwrap_or_default();
            if !Decoded(name).eq(self.name.iter().copied()) {
                if kept > 0 {
                    out.push(b'&');
                }
                out.extend_from_slice(part);
                kept += 1;
            }
        }
        if !out.is_empty() {
            out.push(b'&');
        }
        out.extend_from_slice(pair);
        out
    }
}

impl fmt::Debug for QueryCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QueryCredential([secret])")
    }
}

fn percent_encode(text: &str, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

/// The bytes a form decoder would see; a `%` that starts no escape stands for itself.
struct Decoded<'a>(&'a [u8]);

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        match (first, rest) {
            (b'+', _) => Some(b' '),
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    self.0 = after;
                    Some(high << 4 | low)
                }
                _ => Some(b'%'),
            },
            _ => Some(first),
        }
    }
}

fn digit(hex: u8) -> Option<u8> {
    char::from(hex).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(name: &str, query: Option<&str>) -> String {
        let credential = QueryCredential::new(name, &Secret::new("v"));
        String::from_utf8(credential.replace(query.map(str::as_bytes))).unwrap()
    }

    #[test]
    fn the_credential_is_the_query_where_there_was_none() {
        assert_eq!(replaced("key", None), "key=v");
        assert_eq!(replaced("key", Some("")), "key=v");
    }

    #[test]
    fn the_rest_keeps_its_bytes_order_and_empty_parts() {
        for rest in ["a=1&&b", "&a", "&&", "a=%7e+%2B&b==&=c&%", "b=2&a=1&b=1"] {
            assert_eq!(replaced("key", Some(rest)), format!("{rest}&key=v"));
        }
        assert_eq!(replaced("key", Some("a=1&")), "a=1&&key=v");
    }

    #[test]
    fn every_parameter_of_that_name_goes_however_it_is_spelled() {
        assert_eq!(replaced("a key", Some("a+key=1&x&a%20key&%61%20ke%79=2&a key=3&y")), "x&y&a%20key=v");
        assert_eq!(replaced("key", Some("key=1")), "key=v");
        assert_eq!(replaced("key", Some("key=1&&key")), "key=v");
        assert_eq!(replaced("%zz", Some("%zz=1&%25zz=2&b")), "b&%25zz=v");
    }

    #[test]
    fn a_name_that_only_looks_alike_stays() {
        for rest in ["KEY=1", "keys=1", "ke=1", "x=key", "key%3D=1", "k%2565y=1"] {
            assert_eq!(replaced("key", Some(rest)), format!("{rest}&key=v"));
        }
    }

    #[test]
    fn name_and_value_are_percent_encoded() {
        let credential = QueryCredential::new("ä b", &Secret::new("a+b&c=d/~%\u{1F511}"));
        assert_eq!(credential.replace(None), b"%C3%A4%20b=a%2Bb%26c%3Dd%2F~%25%F0%9F%94%91");
    }
}
