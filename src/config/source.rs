//! One file's text, and how a place in it is named: line, column, and the line itself.
//!
//! Places are byte ranges. The line table is made when the first problem asks for it, since a good file never does.

use std::cell::OnceCell;
use std::path::PathBuf;

/// A byte range of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Span {
    pub(super) file: u32,
    pub(super) start: u32,
    pub(super) end: u32,
}

/// A file of the configuration.
#[derive(Debug)]
pub(super) struct Source {
    /// As the user gave it.
    pub(super) path: PathBuf,
    /// Without a byte order mark.
    text: String,
    lines: OnceCell<Vec<u32>>,
}

/// A line of a file, without its line break.
pub(super) struct Line {
    /// Counted from 1.
    pub(super) number: usize,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Source {
    /// Takes the text, and cuts its byte order mark.
    pub(super) fn new(path: PathBuf, mut text: String) -> Self {
        if text.starts_with('\u{feff}') {
            text.drain(..'\u{feff}'.len_utf8());
        }
        Self { path, text, lines: OnceCell::new() }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The line in which the byte `offset` lies.
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
    fn a_line_is_found_by_any_of_its_bytes() {
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
