//! Explains the parser's errors in terms of the file.
//!
//! A scanner detects a mistake where it can't continue, which is often a line too late. So the line of the error and
//! those above it are searched for the usual mistakes first.

use super::flow;
use crate::config::problem::Finding;
use crate::config::scalar;
use crate::config::schema;
use crate::config::source::Span;
use std::ops::Range;

/// Number of lines above the error that are searched.
const LINES_ABOVE: usize = 3;

/// Lines that no YAML file has: their first characters; with a leading space, after their indentation.
const FOREIGN: [(&[&str], &str, &str); 3] = [
    (
        &["<<<<<<< ", "=======", ">>>>>>> ", "||||||| "],
        "this is a conflict marker of git",
        "resolve the conflict, and delete the markers",
    ),
    (
        &[" {{", " {%", " {#"],
        "this is a directive of a template",
        "attache does not render templates: render the file first",
    ),
    (
        &["@@ ", "diff --git ", "+++ ", "--- ", "+"],
        "this is a line of a diff",
        "remove the `+` and `-` at the start of the lines",
    ),
];

/// Messages of the parser with a correct place, and their explanations.
const MEANINGS: [(&str, &str, &str); 6] = [
    (
        "unknown anchor",
        "no anchor with this name is defined above",
        "a value that begins with `*` has to be quoted; an anchor is written `&NAME`",
    ),
    (
        "comments must be separated",
        "a space is missing before `#`",
        "put a space before a comment, or quotes around a value that contains `#`",
    ),
    (
        "escape",
        "YAML has no such escape sequence with `\\` in double quotes",
        "write `\\\\`, or use `'` as quotes",
    ),
    ("quoted scalar", "this quote is not closed", "close it, or remove it"),
    (
        "flow mapping",
        "`,` or `}` is expected here",
        "put `,` between entries, and `}` at the end; a value that contains `: ` or `, ` has to be quoted",
    ),
    (
        "flow sequence",
        "`,` or `]` is expected here",
        "put `,` between entries, and `]` at the end; a value that contains `: ` or `, ` has to be quoted",
    ),
];

/// The label for a range of the text, and what would be right.
pub(super) struct Mistake {
    pub(super) at: Range<usize>,
    pub(super) label: String,
    pub(super) help: String,
}

/// Explains the parser's `info` about the bytes `at` of `text`.
pub(super) fn explain(text: &str, file: u32, at: Range<u32>, info: &str) -> Finding {
    let finding = |at: Range<usize>| {
        let span = Span { file, start: at.start as u32, end: at.end as u32 };
        Finding::error("syntax", span, "the file is not valid YAML")
    };
    let at = at.start as usize..at.end as usize;
    let here = line_at(text, at.start.min(text.len()));
    let below = (here.end < text.len()).then(|| line_at(text, here.end + 1));
    let near = || [here.clone()].into_iter().chain(below.clone()).chain(lines_above(text, here.start));
    // The value of the line above may seem to continue in a line that begins with a tab.
    let lines = || near().filter(|line| Some(line) != below.as_ref() || info.contains("tab"));
    let mistake = near()
        .find_map(|line| foreign(text, line))
        .or_else(|| flow::explain(text, &here, at.start, info))
        .or_else(|| lines().find_map(|line| block_scalar(text, line)))
        .or_else(|| lines().find_map(|line| in_line(text, line)))
        .or_else(|| deeper(text, &here))
        .or_else(|| of_parser(text, here.clone(), at.clone(), info));
    match mistake {
        Some(Mistake { at, label, help }) => finding(at).label(label).help(help),
        None => finding(at).label(info),
    }
}

/// Returns the range of the line that contains a byte, without its line break.
pub(super) fn line_at(text: &str, at: usize) -> Range<usize> {
    let start = text[..at].rfind('\n').map_or(0, |at| at + 1);
    let end = text[start..].find('\n').map_or(text.len(), |length| start + length);
    start..end
}

/// Returns the lines above, nearest first, without empty lines and comments.
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

/// Returns the value that a line gives to its key, or the whole line without the dashes of a list.
pub(super) fn value_of(line: &str) -> &str {
    let mut rest = line.trim();
    while let Some(item) = rest.strip_prefix("- ") {
        rest = item.trim_start();
    }
    if !rest.starts_with(['{', '[', '#'])
        && let Some((_, value)) = rest.split_once(": ")
    {
        rest = value.trim_start();
    }
    match rest.split_once(' ') {
        Some((mark, value)) if mark.starts_with(['&', '!']) => value.trim_start(),
        _ => rest,
    }
}

/// Returns the column at which the content of a line begins, after the dashes of a list.
fn column(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '-']).len()
}

/// Finds a line of another program.
fn foreign(text: &str, range: Range<usize>) -> Option<Mistake> {
    let line = text[range.clone()].trim_end();
    let begins = |start: &&str| match start.strip_prefix(' ') {
        Some(start) => line.trim_start().starts_with(start),
        None => line.starts_with(start),
    };
    let (_, label, help) = FOREIGN.iter().find(|(starts, ..)| starts.iter().any(begins))?;
    let start = range.start + line.len() - line.trim_start().len();
    Some(Mistake {
        at: start..range.start + line.len(),
        label: (*label).to_owned(),
        help: (*help).to_owned(),
    })
}

/// Finds `key: |` whose text is not indented.
fn block_scalar(text: &str, range: Range<usize>) -> Option<Mistake> {
    let line = &text[range.clone()];
    let (key, indicator) = line.trim_end().rsplit_once(": ")?;
    let key = key.trim_start_matches([' ', '-']);
    let is_indicator = indicator.starts_with(['|', '>']) && indicator.len() <= 3;
    let below = line_at(text, (range.end + 1).min(text.len()));
    let below = &text[below];
    let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
    if !is_indicator || !super::is_like_a_key(key) || below.trim().is_empty() || indent(below) > indent(line)
    {
        return None;
    }
    let start = range.start + column(line);
    let label = format!("the text of `{key}` is not indented");
    let help = format!("indent the lines below deeper than `{key}`");
    Some(Mistake { at: start..start + key.len(), label, help })
}

/// Finds a key below one that has a value already.
fn deeper(text: &str, here: &Range<usize>) -> Option<Mistake> {
    let line = &text[here.clone()];
    let above = &text[lines_above(text, here.start).next()?];
    let value = above.split_once(": ")?.1.trim_start();
    let (from, above) = (column(line), column(above));
    if from <= above || value.is_empty() || value.starts_with(['|', '>', '&', '!', '{', '[', '"', '\'', '#'])
    {
        return None;
    }
    let length = line[from..].find(':').filter(|_| !line.trim_start().starts_with('-'))?;
    let label = "this key is indented deeper than the one above, which has a value already".to_owned();
    let help = format!("indent it by {above} spaces");
    Some(Mistake { at: here.start + from..here.start + from + length, label, help })
}

/// Finds a usual mistake in one line.
fn in_line(text: &str, range: Range<usize>) -> Option<Mistake> {
    let line = &text[range.clone()];
    let mistake = |from: usize, length: usize, label: String, help: String| {
        Some(Mistake { at: range.start + from..range.start + from + length, label, help })
    };
    let indent = line.len() - line.trim_start_matches(' ').len();
    if line[indent..].starts_with('\t') {
        let help = "indent with spaces".to_owned();
        return mistake(indent, 1, "the indentation contains a tab".to_owned(), help);
    }
    if let Some((from, c)) = line.char_indices().find(|(_, c)| scalar::invisible(*c).is_some() && *c != '\r')
    {
        let label = format!("this is {} (U+{:04X})", scalar::invisible(c).unwrap_or_default(), c as u32);
        return mistake(
            from,
            c.len_utf8(),
            label,
            "replace it with an ordinary space, or remove it".to_owned(),
        );
    }
    let item = line[indent..].strip_prefix('-').unwrap_or_default();
    if item.starts_with(|c: char| matches!(c, '{' | '[' | '"' | '\'') || c.is_ascii_alphabetic())
        && (item.contains(':') || !item.starts_with(char::is_alphanumeric))
    {
        let help = "a list's entry begins with `- `".to_owned();
        return mistake(indent, 1, "a space is missing after `-`".to_owned(), help);
    }
    let star = line.match_indices('*').map(|(at, _)| at).find(|at| {
        line[..*at].trim_end().ends_with(['[', ',', ':', '-'])
            && line[at + 1..].trim_end().chars().next().is_none_or(|c| matches!(c, ',' | ']' | '}'))
    });
    if let Some(star) = star {
        let help = "put quotes around it: `\"*\"`".to_owned();
        return mistake(star, 1, "`*` alone is not a value".to_owned(), help);
    }
    let start = column(line);
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

/// Explains the parser's message.
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
                    format!("put quotes around the whole value: `{key}: \"…\"`")
                } else {
                    "put quotes around the whole value".to_owned()
                };
                mistake("a value that contains `: ` has to be quoted", &help)
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
    let quote = text[..at.start.min(text.len())].chars().next_back().filter(|c| matches!(c, '"' | '\''));
    if let (Some(quote), true) = (quote, info.contains("quoted scalar")) {
        let help = match quote {
            '\'' => "put quotes around the whole value, and write `''` for a `'` inside",
            _ => "put quotes around the whole value, and `\\\"` for a `\"` inside",
        };
        return mistake("the value ended at the quote before this", help);
    }
    if let Some((_, label, help)) = MEANINGS.iter().find(|(said, ..)| info.contains(said)) {
        return mistake(label, help);
    }
    if let Some(c) = line.get(at.start.saturating_sub(here.start)..).and_then(|rest| rest.chars().next())
        && matches!(c, '@' | '`' | '%')
    {
        return mistake(&format!("a value cannot begin with `{c}`"), "put quotes around the value");
    }
    if text[at.start.min(text.len())..].starts_with(',') {
        return mistake("there is no entry before this `,`", "remove it");
    }
    if info.contains("did not find expected") {
        return mistake(
            "this line does not continue the structure above it",
            "give the keys of one mapping the same indentation",
        );
    }
    None
}
