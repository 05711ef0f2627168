//! Credentials as `Authorization` and `Proxy-Authorization` hold them (RFC 9110 section 11.4): a scheme, which has no
//! case, one or more spaces, and one token68.
//!
//! Read strictly: a list, a quoted text, a parameter or a tab is no credential of these forms. Another reader of the same
//! bytes could take another part of them for the token.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

/// Returns true if a field's value begins with `scheme`.
pub fn has_scheme(value: &[u8], scheme: &str) -> bool {
    split_scheme(value).0.eq_ignore_ascii_case(scheme.as_bytes())
}

/// Returns the token in `Bearer TOKEN` (RFC 6750 section 2.1).
pub fn bearer(value: &[u8]) -> Option<&[u8]> {
    token68(value, "bearer")
}

/// Returns the user and the password in `Basic PAIR` (RFC 7617 section 2).
pub fn basic(value: &[u8]) -> Option<UserPass> {
    BASE64_STANDARD.decode(token68(value, "basic")?).ok().map(|pair| UserPass(pair.into()))
}

/// A user and a password. No `Debug`: it is a credential.
pub struct UserPass(Zeroizing<Vec<u8>>);

impl UserPass {
    /// Returns the user, which is everything if there is no colon.
    pub fn user(&self) -> &[u8] {
        &self.0[..self.colon().unwrap_or(self.0.len())]
    }

    /// Returns the password; `None` if there is no colon, or nothing after it.
    pub fn password(&self) -> Option<&[u8]> {
        Some(&self.0[self.colon()? + 1..]).filter(|password| !password.is_empty())
    }

    fn colon(&self) -> Option<usize> {
        self.0.iter().position(|&b| b == b':')
    }
}

/// Returns true if `text` is a token68. It has no space, comma or quote.
pub fn is_token68(text: &[u8]) -> bool {
    let end = text.iter().rposition(|&b| b != b'=').map_or(0, |at| at + 1);
    // Without a branch for each byte.
    end > 0 && text[..end].iter().fold(true, |all, &b| all & is_token68_byte(b))
}

/// Returns true if a token68 may hold the byte anywhere; `=` it may hold only at its end.
#[inline]
pub fn is_token68_byte(byte: u8) -> bool {
    TOKEN68[usize::from(byte)]
}

/// The bytes of a token68. A look-up for each byte of a token is a third of the comparisons.
static TOKEN68: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        let is_mark = matches!(byte as u8, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
        table[byte] = is_mark || (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    table
};

/// Returns the one token68 after a scheme and at least one space.
fn token68<'a>(value: &'a [u8], scheme: &str) -> Option<&'a [u8]> {
    credentials(value, scheme).filter(|text| is_token68(text))
}

/// Returns all that follows a scheme and at least one space.
pub fn credentials<'a>(value: &'a [u8], scheme: &str) -> Option<&'a [u8]> {
    let (found, rest) = split_scheme(value);
    let text = &rest[rest.iter().take_while(|&&b| b == b' ').count()..];
    (text.len() < rest.len() && found.eq_ignore_ascii_case(scheme.as_bytes())).then_some(text)
}

/// Splits a value after its scheme, which is a token (RFC 9110 section 5.6.2).
fn split_scheme(value: &[u8]) -> (&[u8], &[u8]) {
    let is_token_byte = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    value.split_at(value.iter().position(|&b| !is_token_byte(b)).unwrap_or(value.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_has_no_case_and_one_or_more_spaces_follow() {
        for value in ["Bearer T.1-_~+/==", "bEARER T.1-_~+/==", "Bearer    T.1-_~+/=="] {
            assert_eq!(bearer(value.as_bytes()), Some(&b"T.1-_~+/=="[..]), "{value}");
        }
    }

    #[test]
    fn what_is_not_one_token68_after_the_scheme_is_no_credential() {
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "BearerT",
            "Bearer\tT",
            "Bearer \tT",
            " Bearer T",
            "Bearer T ",
            "Bearer a b",
            "Bearer a,b",
            "Bearer a, Bearer b",
            "Bearer \"T\"",
            "Bearer token=T",
            "Bearer =",
            "Bearer T=T",
            "Bearer:T",
            "Bearer,T",
            "Bearers T",
            "Basic T",
            "T",
            "Bearer \u{e9}",
            "Bearer T\u{0}",
        ] {
            assert_eq!(bearer(value.as_bytes()), None, "{value:?}");
        }
    }

    #[test]
    fn basic_credentials_are_split_at_the_first_colon() {
        let of = |pair: &str| {
            let pair = basic(format!("bAsIc  {}", BASE64_STANDARD.encode(pair)).as_bytes()).expect("a pair");
            let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
            (text(pair.user()), pair.password().map(text))
        };
        assert_eq!(of("user:pass:word"), ("user".to_owned(), Some("pass:word".to_owned())));
        assert_eq!(of(":pässword"), (String::new(), Some("pässword".to_owned())));
        assert_eq!((of("user:"), of("user")), (("user".to_owned(), None), ("user".to_owned(), None)));
        for value in ["Basic", "Basic !", "Basic YTpU YTpU", "Basic YTp", "Bearer YTpU", "Basic YTpU=="] {
            assert!(basic(value.as_bytes()).is_none(), "{value}");
        }
    }

    #[test]
    fn a_scheme_ends_where_its_token_ends() {
        for value in ["Bearer T", "bearer", "BEARER,T", "Bearer\tT", "Bearer=T"] {
            assert!(has_scheme(value.as_bytes(), "bearer"), "{value}");
        }
        for value in ["", "Bearers T", "\"Bearer T\"", "Basic a, Bearer T", " Bearer T"] {
            assert!(!has_scheme(value.as_bytes(), "bearer"), "{value}");
        }
    }
}
