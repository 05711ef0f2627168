//! Says in the operator's words what a parser reports in its own.
//!
//! A scanner notices a mistake where it can go no further, which is often a line too late. So the line of the error and
//! those above it are looked through for the usual mistakes first.

use crate::config::problem::Finding;
use crate::config::scalar;
use crate::config::schema;
use crate::config::source::Span;
use std::ops::Range;

/// How many lines above the error are looked at.
const LINES_ABOVE: usize = 3;

/// What is wrong at a range of the text, and what would be right.
struct Mistake {
    at: Range<usize>,
    label: String,
    help: String,
}

/// Explains the parser's `info` about the bytes `at` of `text`.
pub(super) fn explain(text: &str, file: u32, at: Range<u32>, info: &str) -> Finding {
    let finding = |at: Range<usize>| {
        let span = Span { file, start: at.start as u32, end: at.end as u32 };
        Finding::error("syntax", span, "the file is not valid YAML")
    };
    let at = at.start as usize..at.end as usize;
    let here = line_at(text, at.start.min(text.len()));
    // The value of the line above may seem to go on in a line that begins with a tab.
    let below = (here.end < text.len() && info.contains("tab")).then(|| line_at(text, here.end + 1));
    let mistake = [here.clone()]
        .into_iter()
        .chain(below)
        .chain(lines_above(text, here.start))
        .find_map(|line| in_line(text, line))
        .or_else(|| of_parser(text, here, at.clone(), info));
    match mistake {
        Some(Mistake { at, label, help }) => finding(at).label(label).help(help),
        None => finding(at).label(info),
    }
}

/// The range of the line in which a byte lies, without its line break.
fn line_at(text: &str, at: usize) -> Range<usize> {
    let start = text[..at].rfind('\n').map_or(0, |at| at + 1);
    let end = text[start..].find('\n').map_or(text.len(), |length| start + length);
    start..end
}

/// The lines above, nearest first, without those that say nothing.
fn lines_above(text: &str, start: usize) -> impl Iterator<Item = Range<usize>> {
    let mut end = start;
    let lines = std::iter::from_fn(move || {
        let line = line_at(text, end.checked_sub(1)?);
        end = line.start;
        Some(line)
    });
    let says_something = |line: &Range<usize>| {
        let line = text[line.clone()].trim();
        !line.is_empty() && !line.starts_with('#')
    };
    lines.filter(says_something).take(LINES_ABOVE)
}

/// A usual mistake in one line.
fn in_line(text: &str, range: Range<usize>) -> Option<Mistake> {
    let line = &text[range.clone()];
    let mistake = |from: usize, length: usize, label: String, help: String| {
        Some(Mistake { at: range.start + from..range.start + from + length, label, help })
    };
    let indent = line.len() - line.trim_start_matches(' ').len();
    if line[indent..].starts_with('\t') {
        let help = "indent with spaces".to_owned();
        return mistake(indent, 1, "a tab stands in the indentation".to_owned(), help);
    }
    if let Some((from, c)) = line.char_indices().find(|(_, c)| scalar::invisible(*c).is_some() && *c != '\r')
    {
        let label = format!("{} (U+{:04X}) stands here", scalar::invisible(c).unwrap_or_default(), c as u32);
        return mistake(from, c.len_utf8(), label, "write an ordinary space, or nothing".to_owned());
    }
    let start = line.len() - line.trim_start_matches([' ', '-']).len();
    let rest = line[start..].trim_end();
    let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
    let (word, after) = rest.split_at(length);
    if !schema::is_key(word) {
        return None;
    }
    let help = format!("write `{word}: VALUE`");
    match after.trim_start_matches(' ').as_bytes() {
        [b':', next, ..] if !next.is_ascii_whitespace() && after.starts_with(':') => {
            mistake(start, length + 1, format!("a space is missing after `{word}:`"), help)
        }
        [b'=', ..] => mistake(start, length, format!("a `:` is expected after `{word}`, and not `=`"), help),
        [] | [b'#', ..] => mistake(start, length, format!("a `:` is missing after `{word}`"), help),
        [next, ..] if *next != b':' && after.starts_with(' ') => {
            mistake(start, length, format!("a `:` is missing after `{word}`"), help)
        }
        _ => None,
    }
}

/// What the parser means.
fn of_parser(text: &str, here: Range<usize>, at: Range<usize>, info: &str) -> Option<Mistake> {
    let mistake = |label: &str, help: &str| {
        Some(Mistake { at: at.clone(), label: label.to_owned(), help: help.to_owned() })
    };
    let line = &text[here.clone()];
    if info.contains("mapping values are not allowed") {
        let before = &text[here.start..at.start.clamp(here.start, here.end)];
        return match before.split_once(": ") {
            Some((key, _)) => {
                let key = key.trim_start_matches([' ', '-']);
                let help = if super::is_like_a_key(key) {
                    format!("write quotes around the whole value: `{key}: \"…\"`")
                } else {
                    "write quotes around the whole value".to_owned()
                };
                mistake("a value with `: ` in it has to be quoted", &help)
            }
            None => {
                let above = lines_above(text, here.start).next()?;
                let name = text[above.clone()].trim_start_matches([' ', '-']);
                let start = above.end - name.len();
                let label = "a `:` is missing at the end of this line".to_owned();
                let help = "a key ends with `:`".to_owned();
                Some(Mistake { at: start..start + name.trim_end().len(), label, help })
            }
        };
    }
    if info.contains("unknown anchor") {
        return mistake(
            "no anchor above has this name",
            "a value that begins with `*` has to be quoted; an anchor is written `&NAME`",
        );
    }
    if info.contains("quoted scalar") {
        return mistake("this quote is not closed", "close it, or leave it out");
    }
    if info.contains("flow mapping") || info.contains("flow sequence") {
        let close = if info.contains("mapping") { "}" } else { "]" };
        let help = format!("close it with `{close}`; a value with `: ` or `, ` in it has to be quoted");
        return mistake(&format!("`,` or `{close}` is expected here"), &help);
    }
    if let Some(c) = line.get(at.start.saturating_sub(here.start)..).and_then(|rest| rest.chars().next())
        && matches!(c, '@' | '`' | '%')
    {
        return mistake(&format!("a value cannot begin with `{c}`"), "write quotes around the value");
    }
    if info.contains("did not find expected") {
        return mistake(
            "this line does not go on with what stands above",
            "give the keys of one mapping the same indentation",
        );
    }
    None
}
