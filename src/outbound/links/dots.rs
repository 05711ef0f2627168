//! Removal of dot segments (RFC 3986 section 5.2.4), in every spelling that a server might interpret as one.

use crate::outbound::path::{decoded, has_dot_segment};
use std::borrow::Cow;

/// A path without dot segments.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resolved<'a> {
    pub(super) path: Cow<'a, [u8]>,
    /// A dot segment was not spelled `.` or `..`, so not every client would have removed it.
    pub(super) was_odd: bool,
}

/// Removes the dot segments of a path that begins with a slash.
pub(super) fn remove(path: Cow<'_, [u8]>) -> Resolved<'_> {
    if !has_dot_segment(&path) {
        return Resolved { path, was_odd: false };
    }
    // Those that every client removes first, so that the others do not change what is a segment to them.
    let path = remove_in(&path, Spelling::Plain);
    if !has_dot_segment(&path) {
        return Resolved { path: path.into(), was_odd: false };
    }
    let path = remove_in(&remove_in(&path, Spelling::Encoded), Spelling::Every);
    Resolved { path: path.into(), was_odd: true }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// `.` and `..` between slashes (RFC 3986).
    Plain,
    /// Also with `%2e` (WHATWG URL).
    Encoded,
    /// Also with encoded slashes, backslashes, parameters after `;`, a NUL, overlong UTF-8.
    Every,
}

fn remove_in(path: &[u8], spelling: Spelling) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut starts = Vec::new();
    let mut rest = path;
    out.extend_from_slice(&rest[..rest.len().min(1)]);
    rest = &rest[rest.len().min(1)..];
    while !rest.is_empty() {
        let (segment, separator) = first_segment(rest, spelling);
        let whole = segment + separator;
        match dots(&rest[..segment], spelling) {
            Some(1) => {}
            Some(_) => out.truncate(starts.pop().unwrap_or(1)),
            None => {
                starts.push(out.len());
                out.extend_from_slice(&rest[..whole]);
            }
        }
        rest = &rest[whole..];
    }
    out
}

/// Returns the lengths of the first segment and of the separator behind it.
fn first_segment(path: &[u8], spelling: Spelling) -> (usize, usize) {
    let mut at = 0;
    while at < path.len() {
        let (byte, width) = if spelling == Spelling::Every { decoded(&path[at..]) } else { (path[at], 1) };
        if byte == b'/' || (byte == b'\\' && spelling == Spelling::Every) {
            return (at, width);
        }
        at += width;
    }
    (at, 0)
}

/// Returns the number of dots that a segment consists of, if it is a dot segment.
fn dots(segment: &[u8], spelling: Spelling) -> Option<usize> {
    let (mut count, mut at) = (0, 0);
    while at < segment.len() {
        let (byte, width) = match spelling {
            Spelling::Plain => (segment[at], 1),
            Spelling::Encoded
                if segment[at..].len() >= 3 && segment[at..at + 3].eq_ignore_ascii_case(b"%2e") =>
            {
                (b'.', 3)
            }
            Spelling::Encoded => (segment[at], 1),
            Spelling::Every => decoded(&segment[at..]),
        };
        match byte {
            b'.' => count += 1,
            b';' | 0 if spelling == Spelling::Every => break,
            _ => return None,
        }
        at += width;
    }
    (count == 1 || count == 2).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removed(path: &str) -> (String, bool) {
        let resolved = remove(Cow::Borrowed(path.as_bytes()));
        (String::from_utf8(resolved.path.to_vec()).expect("text"), resolved.was_odd)
    }

    /// The first rows are those of RFC 3986 section 5.4.
    #[test]
    fn dot_segments_are_removed() {
        for (path, expected, was_odd) in [
            ("/b/c/./g", "/b/c/g", false),
            ("/b/c/.", "/b/c/", false),
            ("/b/c/..", "/b/", false),
            ("/b/c/../../../../g", "/g", false),
            ("/b/c/g;x=1/../y", "/b/c/y", false),
            ("/b/c/g..", "/b/c/g..", false),
            ("/..", "/", false),
            ("/a//../b", "/a/b", false),
            ("/a/..//b", "//b", false),
            ("/x%2fy/../z", "/z", false),
            ("/a/%2e%2E/b", "/b", true),
            ("/x%2fy/%2e%2e/z", "/z", true),
            ("/a/..;p/b", "/b", true),
            ("/a/..%2fb", "/b", true),
            ("/a/b%2f..%2fc", "/a/c", true),
            ("/a/..%5cb", "/b", true),
            ("/a/..%00/b", "/b", true),
            ("/a/%c0%ae%c0%ae/b", "/b", true),
            ("/a/%2e;/b", "/a/b", true),
        ] {
            assert_eq!(removed(path), (expected.to_owned(), was_odd), "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_dot_segment_is_left(path in "/(\\.|%2e|%2f|/|;|%5c|\\\\|a|%00|%c0%ae){0,12}") {
            let (path, _) = removed(&path);
            proptest::prop_assert!(path.starts_with('/') && !has_dot_segment(path.as_bytes()), "{}", path);
        }
    }
}
