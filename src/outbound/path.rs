//! Checks of a request target before it is joined to a prefix.
//!
//! Paths are forwarded byte for byte, so a dot segment can't be normalised away: it is refused, in every spelling that
//! a server may interpret as one. Normalising would change bytes that may be part of a signature.

/// A request target, split into its parts.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub struct Target<'a> {
    /// The path, which starts with a slash.
    pub path: &'a [u8],
    /// The query with its question mark; empty if there is none.
    pub query: &'a [u8],
}

impl<'a> Target<'a> {
    /// Splits a request target in origin form or absolute form. `None` for `*`, an authority, a fragment.
    pub fn parse(raw: &'a [u8]) -> Option<Self> {
        let origin = if raw.starts_with(b"/") {
            raw
        } else {
            // absolute-form (RFC 9112 section 3.2.2): a server has to accept it
            let after_scheme = [&b"http://"[..], b"https://"].iter().find_map(|scheme| {
                let head = raw.get(..scheme.len())?;
                head.eq_ignore_ascii_case(scheme).then(|| &raw[scheme.len()..])
            })?;
            let path = after_scheme.iter().position(|b| matches!(b, b'/' | b'?'));
            match path {
                Some(at) if after_scheme[at] == b'/' => &after_scheme[at..],
                _ => return None,
            }
        };
        if origin.contains(&b'#') {
            return None;
        }
        let query = origin.iter().position(|&b| b == b'?').unwrap_or(origin.len());
        let (path, query) = origin.split_at(query);
        Some(Self { path, query })
    }

    /// Returns the first path segment, and the rest from its slash on.
    pub fn first_segment(&self) -> (&'a [u8], &'a [u8]) {
        let path = &self.path[1..];
        path.split_at(path.iter().position(|&b| b == b'/').unwrap_or(path.len()))
    }
}

/// Returns true if `path` has a segment that a server might interpret as `.` or `..`: percent-encoded, in overlong
/// UTF-8 (RFC 3629 section 10), ended by a backslash, an encoded slash or a NUL, or with parameters after a semicolon.
///
/// One pass, no allocation.
pub fn has_dot_segment(path: &[u8]) -> bool {
    // Most paths contain no byte that could be a dot.
    if !path.iter().any(|&b| b == b'.' || b == b'%' || b >= 0xc0) {
        return false;
    }
    let mut dots = 0u8; // dots since the segment began
    let mut only_dots = true; // the segment has had nothing else
    let mut i = 0;
    while i < path.len() {
        let (byte, width) = decoded(&path[i..]);
        i += width;
        match byte {
            b'/' | b'\\' => {
                if only_dots && (dots == 1 || dots == 2) {
                    return true;
                }
                (dots, only_dots) = (0, true);
            }
            // `..;x` is `..` to servers that remove path parameters, and `..%00` to those that end strings at NUL.
            b';' | 0 if only_dots && (dots == 1 || dots == 2) => return true,
            b'.' => dots = dots.saturating_add(1),
            _ => only_dots = false,
        }
    }
    only_dots && (dots == 1 || dots == 2)
}

/// Returns the first character, if it is ASCII in some spelling, and the number of its bytes; of any other character,
/// the first byte.
pub(super) fn decoded(bytes: &[u8]) -> (u8, usize) {
    let (first, width) = octet(bytes);
    let more = match first {
        0xc0 | 0xc1 => 1,
        0xe0 => 2,
        0xf0 => 3,
        _ => return (first, width),
    };
    let (mut value, mut at) = (if more == 1 { u32::from(first & 1) } else { 0 }, width);
    for _ in 0..more {
        let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) else { return (first, width) };
        let (next, width_of_next) = octet(rest);
        if next & 0xc0 != 0x80 {
            return (first, width);
        }
        value = value << 6 | u32::from(next & 0x3f);
        at += width_of_next;
    }
    // The only valid UTF-8 form of an ASCII character is one octet.
    u8::try_from(value).ok().filter(u8::is_ascii).map_or((first, width), |byte| (byte, at))
}

/// Returns the first octet, percent-decoded, and the number of its bytes. A `%` that starts no escape is literal.
pub(super) fn octet(bytes: &[u8]) -> (u8, usize) {
    let hex = |digit: u8| char::from(digit).to_digit(16);
    match bytes {
        [b'%', high, low, ..] => match (hex(*high), hex(*low)) {
            (Some(high), Some(low)) => ((high << 4 | low) as u8, 3),
            _ => (b'%', 1),
        },
        _ => (bytes[0], 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments_are_found_in_every_spelling() {
        for path in [
            "/..",
            "/.",
            "/../",
            "/./",
            "/a/..",
            "/a/../b",
            "/%2e%2E",
            "/%2e",
            "/.%2E/x",
            "/..%2f",
            "/..%2Fx",
            "/..\\",
            "/..\\x",
            "/a%5c..",
            "/a%5C..%5cb",
            "/a\\..",
            "/..;",
            "/..;a=b/x",
            "/.;/x",
            "/a/%2e%2e;x",
            "/..%3bx",
            "/a%2f..",
            "/..%00",
            "/a/.%00/b",
            "/%c0%ae%c0%ae",
            "/%C0%AE.",
            "/%e0%80%ae%e0%80%ae",
            "/%f0%80%80%ae./x",
            "/..%c0%afx",
            "/..%c1%9cx",
        ] {
            assert!(has_dot_segment(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn other_dots_are_not_dot_segments() {
        for path in [
            "/",
            "/a",
            "/a..b",
            "/...",
            "/.well-known/x",
            "/a.",
            "/a/..b",
            "/b../c",
            "/%2e%2e%2e",
            "/..a;b",
            "//",
            "/%252e%252e/",
            "/a;..",
            "/x%2e",
            "/a%00",
            "/%c3%a9..",
            "/%c0%ae%c0%aea",
            "/%c0",
            "/%e0%80",
            "/%e0%a4%ae",
            "/%",
            "/%2",
        ] {
            assert!(!has_dot_segment(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn targets_split_into_path_and_query() {
        let target = |raw: &'static str| Target::parse(raw.as_bytes());
        let parts = |path: &'static str, query: &'static str| {
            Some(Target { path: path.as_bytes(), query: query.as_bytes() })
        };
        assert_eq!(target("/a/b?c?d"), parts("/a/b", "?c?d"));
        assert_eq!(target("/a?"), parts("/a", "?"));
        assert_eq!(target("http://x:1/a?b"), parts("/a", "?b"));
        assert_eq!(target("HTTPS://x/"), parts("/", ""));
        for raw in ["*", "x:1", "http://x", "http://x?/y", "/a#b", "", "ftp://x/y", "a/b"] {
            assert_eq!(target(raw), None, "{raw}");
        }
    }

    #[test]
    fn the_first_segment_ends_at_a_slash() {
        let split = |raw: &'static str| Target::parse(raw.as_bytes()).map(|t| t.first_segment());
        assert_eq!(split("/mailer/x/y?z"), Some((&b"mailer"[..], &b"/x/y"[..])));
        assert_eq!(split("/mailer?z"), Some((&b"mailer"[..], &b""[..])));
        assert_eq!(split("/"), Some((&b""[..], &b""[..])));
        assert_eq!(split("//x"), Some((&b""[..], &b"/x"[..])));
    }

    proptest::proptest! {
        #[test]
        fn a_path_without_dots_never_has_a_dot_segment(path in "/[a-z/%0-9A-F\\\\;]*") {
            let dotless = !path.to_ascii_lowercase().contains("%2e");
            proptest::prop_assume!(dotless);
            proptest::prop_assert!(!has_dot_segment(path.as_bytes()));
        }
    }
}
