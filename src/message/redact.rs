//! Replacement of secrets in a text, which may arrive in parts.
//!
//! Memory is bounded: what is held back between two parts is shorter than the longest secret, and only where the text ends
//! like the beginning of one, so that a stream is not delayed.

use aho_corasick::{AhoCorasick, Input, MatchKind};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The replacement.
pub const REDACTED: &[u8] = b"[redacted]";

/// Finds the spellings of some secrets.
pub struct Redactor {
    finder: AhoCorasick,
    needles: Vec<Zeroizing<Vec<u8>>>,
    /// The first bytes of the needles.
    begins: [bool; 256],
    longest: usize,
}

impl Redactor {
    /// Returns a finder of these spellings; `None` if there are none.
    pub fn new(needles: Vec<Vec<u8>>) -> Option<Self> {
        let needles: Vec<_> =
            needles.into_iter().filter(|needle| !needle.is_empty()).map(Zeroizing::new).collect();
        let longest = needles.iter().map(|needle| needle.len()).max()?;
        let mut builder = AhoCorasick::builder();
        let finder = builder.match_kind(MatchKind::LeftmostLongest);
        let finder = finder.build(needles.iter().map(|needle| needle.as_slice())).ok()?;
        let mut begins = [false; 256];
        needles.iter().for_each(|needle| begins[usize::from(needle[0])] = true);
        Some(Self { finder, needles, begins, longest })
    }

    /// Returns a whole text without them.
    pub fn whole<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        self.replace(text, text.len()).0
    }

    /// Returns the text up to `end`, with each secret replaced that begins before it, and the end of what was used.
    fn replace<'t>(&self, text: &'t [u8], end: usize) -> (Cow<'t, [u8]>, usize) {
        let (mut out, mut at) = (Vec::new(), 0);
        while let Some(found) = self.finder.find(Input::new(text).range(at..)) {
            if found.start() >= end {
                break;
            }
            out.extend_from_slice(&text[at..found.start()]);
            out.extend_from_slice(REDACTED);
            at = found.end();
        }
        if at == 0 {
            return (Cow::Borrowed(&text[..end]), end);
        }
        let end = end.max(at);
        out.extend_from_slice(&text[at..end]);
        (Cow::Owned(out), end)
    }

    /// Returns the place from which on the text may be the beginning of a secret that goes on in the next part.
    fn open_end(&self, text: &[u8]) -> usize {
        let from = text.len().saturating_sub(self.longest - 1);
        let is_open = |at: &usize| {
            let rest = &text[*at..];
            self.begins[usize::from(rest[0])]
                && self.needles.iter().any(|needle| needle.len() > rest.len() && needle.starts_with(rest))
        };
        (from..text.len()).find(is_open).unwrap_or(text.len())
    }
}

/// Never shows what is looked for.
impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor([secret])")
    }
}

/// A text that arrives in parts.
#[derive(Debug)]
pub struct RedactedStream {
    redactor: Arc<Redactor>,
    held: Zeroizing<Vec<u8>>,
}

impl RedactedStream {
    /// Returns an empty text.
    pub fn new(redactor: Arc<Redactor>) -> Self {
        Self { redactor, held: Zeroizing::default() }
    }

    /// Adds a part, and returns what may leave; possibly nothing.
    pub fn add<'p>(&mut self, part: &'p [u8]) -> Cow<'p, [u8]> {
        if self.held.is_empty() {
            let (out, used) = self.redactor.replace(part, self.redactor.open_end(part));
            self.held.extend_from_slice(&part[used..]);
            return out;
        }
        let mut text = std::mem::take(&mut self.held);
        text.extend_from_slice(part);
        let (out, used) = self.redactor.replace(&text, self.redactor.open_end(&text));
        self.held.extend_from_slice(&text[used..]);
        Cow::Owned(out.into_owned())
    }

    /// Returns the rest.
    pub fn end(&mut self) -> Vec<u8> {
        let text = std::mem::take(&mut self.held);
        self.redactor.whole(&text).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(needles: &[&str]) -> Arc<Redactor> {
        let needles = needles.iter().map(|needle| needle.as_bytes().to_vec()).collect();
        Arc::new(Redactor::new(needles).expect("a needle"))
    }

    fn streamed(redactor: &Arc<Redactor>, parts: &[&[u8]]) -> String {
        let mut stream = RedactedStream::new(Arc::clone(redactor));
        let mut out = Vec::new();
        for part in parts {
            out.extend_from_slice(&stream.add(part));
            assert!(stream.held.len() < redactor.longest, "held: {}", stream.held.len());
        }
        out.extend_from_slice(&stream.end());
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn each_spelling_is_replaced() {
        let redactor = redactor(&["secret-1", "secret-1%2B", "c2VjcmV0"]);
        for (text, expected) in [
            ("a secret-1 b", "a [redacted] b"),
            ("secret-1secret-1%2B", "[redacted][redacted]"),
            ("c2VjcmV0!", "[redacted]!"),
            ("secret-secret-1", "secret-[redacted]"),
            ("secret-", "secret-"),
            ("", ""),
        ] {
            assert_eq!(String::from_utf8_lossy(&redactor.whole(text.as_bytes())), expected, "{text}");
            assert_eq!(streamed(&redactor, &[text.as_bytes()]), expected, "{text}");
        }
        assert!(Redactor::new(vec![Vec::new()]).is_none());
    }

    #[test]
    fn a_secret_is_found_across_every_boundary() {
        let redactor = redactor(&["secret-1", "aabaab", "aabaabaac"]);
        let text = b"xsecret-1secret-secret-1yaabaabaabaacaabaabz";
        let expected = String::from_utf8(redactor.whole(text).into_owned()).expect("text");
        assert_eq!(
            expected,
            "x[redacted]secret-[redacted]y[redacted]aab[redacted][redacted]z"
                .replace("aab[redacted][", "aabaac[")
        );
        for size in 1..text.len() {
            let parts: Vec<&[u8]> = text.chunks(size).collect();
            assert_eq!(streamed(&redactor, &parts), expected, "{size}");
        }
    }

    #[test]
    fn a_stream_is_not_delayed() {
        let mut stream = RedactedStream::new(redactor(&["secret-1"]));
        assert_eq!(&*stream.add(b"data: 1\n\n"), b"data: 1\n\n");
        assert_eq!(&*stream.add(b"data: secr"), b"data: ");
        assert_eq!(&*stream.add(b"ets\n\n"), b"secrets\n\n");
    }

    proptest::proptest! {
        #[test]
        fn parts_give_what_the_whole_gives(text in "[ab]{0,60}", size in 1usize..9) {
            let redactor = redactor(&["abaab", "aab", "bbaba", "abaabb"]);
            let parts: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let whole = String::from_utf8(redactor.whole(text.as_bytes()).into_owned()).expect("text");
            proptest::prop_assert_eq!(streamed(&redactor, &parts), whole);
        }
    }
}
