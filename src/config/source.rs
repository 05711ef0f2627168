//! One file's text, and the position of a place in it: line, column, and the line itself.
//!
//! Places are byte ranges. The line table is built for the first problem, since a valid file never needs it.

use std::cell::OnceCell;
use std::path::PathBuf;

/// The byte order mark.
const MARK: &str = "\u{feff}";

/// A byte range of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Span {
    pub(super) file: u32,
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    /// Returns true if `other` is a part of it.
    pub(super) fn contains(self, other: Self) -> bool {
        self.file == other.file && self.start <= other.start && other.end <= self.end
    }
}

/// A file of the configuration.
#[derive(Debug)]
pub(super) struct Source {
    /// The path as the user gave it.
    pub(super) path: PathBuf,
    /// The text without a byte order mark.
    text: String,
    has_mark: bool,
    lines: OnceCell<Vec<u32>>,
    /// Number of characters before every [`STEP`]th byte; empty if each character is a byte.
    characters: OnceCell<Vec<u32>>,
}

/// Number of bytes between two counts of characters.
const STEP: usize = 1024;

/// A line of a file, without its line break.
pub(super) struct Line {
    /// The number, counted from 1.
    pub(super) number: usize,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Source {
    /// Takes the text, and removes its byte order mark.
    pub(super) fn new(path: PathBuf, mut text: String) -> Self {
        let has_mark = text.starts_with(MARK);
        if has_mark {
            text.drain(..MARK.len());
        }
        Self { path, text, has_mark, lines: OnceCell::new(), characters: OnceCell::new() }
    }

    /// Returns the bytes of the file, in two parts: the byte order mark, if it has one, and the text.
    pub(super) fn bytes(&self) -> [&[u8]; 2] {
        let mark = if self.has_mark { MARK } else { "" };
        [mark.as_bytes(), self.text.as_bytes()]
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the number of characters between two bytes, each the first of a character, in constant time.
    pub(super) fn characters(&self, from: usize, to: usize) -> usize {
        let counts = self.characters.get_or_init(|| {
            if self.text.is_ascii() {
                return Vec::new();
            }
            let begins = |byte: &u8| (*byte as i8) >= -0x40;
            let steps = self
                .text
                .as_bytes()
                .chunks(STEP)
                .map(|step| step.iter().filter(|b| begins(b)).count() as u32);
            let sums = steps.scan(0, |sum, count| {
                let before = *sum;
                *sum += count;
                Some(before)
            });
            sums.collect()
        });
        let before = |at: usize| match counts.get(at / STEP) {
            None if counts.is_empty() => at,
            None => self.text.chars().count(),
            Some(count) => {
                let step = &self.text.as_bytes()[at / STEP * STEP..at];
                *count as usize + step.iter().filter(|byte| (**byte as i8) >= -0x40).count()
            }
        };
        before(to) - before(from)
    }

    /// Returns the line that contains the byte `offset`.
    pub(super) fn line(&self, offset: u32) -> Line {
        let starts = self.lines.get_or_init(|| {
            let after = self.text.bytes().zip(1u32..).filter(|(b, _)| *b == b'\n').map(|(_, i)| i);
            std::iter::once(0).chain(after).collect()
        });
        let number = starts.partition_point(|start| *start <= offset).max(1);
        let start = starts[number - 1] as usize;
        let end = starts.get(number).map_or(self.text.len(), |next| *next as usize - 1);
        let end = if self.text[start..end].ends_with('\r') { end - 1 } else { end };
        Line { number, start, end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_by_each_of_its_bytes() {
        let source = Source::new("a".into(), "\u{feff}eins\r\nzwei\n".into());
        let seen = |offset| {
            let line = source.line(offset);
            (line.number, &source.text()[line.start..line.end])
        };
        assert_eq!(seen(0), (1, "eins"));
        assert_eq!(seen(5), (1, "eins"));
        assert_eq!(seen(6), (2, "zwei"));
        assert_eq!(seen(10), (2, "zwei"));
        assert_eq!(seen(11), (3, ""));
    }
}
