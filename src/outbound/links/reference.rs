//! The parts of a URI reference, and the question whether every client reads it alike.

use std::borrow::Cow;
use url::Url;

/// The parts of a reference, by the expression of RFC 3986 appendix B.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) scheme: Option<&'a [u8]>,
    pub(super) authority: Option<&'a [u8]>,
    pub(super) path: &'a [u8],
    pub(super) query: Option<&'a [u8]>,
    pub(super) fragment: Option<&'a [u8]>,
}

impl<'a> Parts<'a> {
    pub(super) fn of(reference: &'a [u8]) -> Self {
        let (rest, fragment) = cut(reference, b'#');
        let (rest, query) = cut(rest, b'?');
        let (scheme, rest) = match rest.iter().position(|b| matches!(b, b':' | b'/')) {
            Some(at) if rest[at] == b':' && is_scheme(&rest[..at]) => (Some(&rest[..at]), &rest[at + 1..]),
            _ => (None, rest),
        };
        let (authority, path) = match rest.strip_prefix(b"//") {
            Some(rest) => {
                let (authority, path) =
                    rest.split_at(rest.iter().position(|&b| b == b'/').unwrap_or(rest.len()));
                (Some(authority), path)
            }
            None => (None, rest),
        };
        Self { scheme, authority, path, query, fragment }
    }

    /// Returns true for http, false for https, `None` for another scheme or none.
    pub(super) fn tls(&self) -> Option<bool> {
        match self.scheme? {
            scheme if scheme.eq_ignore_ascii_case(b"https") => Some(true),
            scheme if scheme.eq_ignore_ascii_case(b"http") => Some(false),
            _ => None,
        }
    }

    /// Returns true if a client of RFC 3986 and a browser (WHATWG URL) read the reference alike, apart from dot segments.
    fn is_plain(&self) -> bool {
        let is_web = self.scheme.is_none() || self.tls().is_some();
        let needs_authority = is_web && (self.scheme.is_some() || self.authority.is_some());
        if needs_authority && !self.authority.is_some_and(is_plain_authority) {
            return false;
        }
        // A backslash is a slash to browsers, and a colon in the first segment the end of a scheme to some clients.
        let first = self.path.split(|&b| b == b'/').next().unwrap_or_default();
        let is_relative = self.scheme.is_none() && self.authority.is_none();
        !(is_web && self.path.contains(&b'\\') || is_relative && first.contains(&b':'))
    }
}

/// A reference of one meaning: itself, or the one that a browser would make of it.
pub(super) struct Plain<'a> {
    pub(super) text: Cow<'a, [u8]>,
    /// The text is the provider's own.
    pub(super) is_own: bool,
}

/// Returns a reference that every client reads alike, relative to `base` if necessary; `None` if it is not one to a
/// browser either.
pub(super) fn plain<'a>(reference: &'a [u8], base: impl FnOnce() -> Option<Url>) -> Option<Plain<'a>> {
    let parts = Parts::of(reference);
    let has_control = reference.iter().any(|b| b.is_ascii_control());
    if !has_control && parts.is_plain() {
        return Some(Plain { text: Cow::Borrowed(reference), is_own: true });
    }
    // To a browser, any number of slashes before a host is two.
    let slashes = reference.iter().take_while(|b| matches!(b, b'/' | b'\\')).count();
    let reference = if slashes > 2 { &reference[slashes - 2..] } else { reference };
    let joined = base()?.join(&ascii(reference)).ok()?;
    Some(Plain { text: Cow::Owned(joined.as_str().as_bytes().to_vec()), is_own: false })
}

/// Returns the text with each byte beyond ASCII percent-encoded.
fn ascii(text: &[u8]) -> String {
    percent_encoding::percent_encode(text, &percent_encoding::AsciiSet::EMPTY).to_string()
}

fn is_scheme(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_alphabetic)
        && text.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b))
}

fn is_plain_authority(authority: &[u8]) -> bool {
    !authority.is_empty()
        && authority.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@[]%".contains(b))
        && authority.iter().filter(|b| **b == b'@').count() <= 1
}

fn cut(text: &[u8], at: u8) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|&b| b == at) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_split_as_rfc_3986_says() {
        let parts = |text: &'static str| {
            let parts = Parts::of(text.as_bytes());
            let text = |part: &'static [u8]| std::str::from_utf8(part).expect("text");
            (
                parts.scheme.map(text),
                parts.authority.map(text),
                text(parts.path),
                parts.query.map(text),
                parts.fragment.map(text),
            )
        };
        assert_eq!(
            parts("http://a@h:1/p//q?x?y#f#g"),
            (Some("http"), Some("a@h:1"), "/p//q", Some("x?y"), Some("f#g"))
        );
        assert_eq!(parts("//h"), (None, Some("h"), "", None, None));
        assert_eq!(parts("a/b:c"), (None, None, "a/b:c", None, None));
        assert_eq!(parts("mailto:x"), (Some("mailto"), None, "x", None, None));
        assert_eq!(parts("1a:b"), (None, None, "1a:b", None, None));
        assert_eq!(parts("?q:r"), (None, None, "", Some("q:r"), None));
        assert_eq!(parts(""), (None, None, "", None, None));
    }
}
