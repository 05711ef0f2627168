//! Mistakes in flow style, and the brackets that are open where the parser stopped.

use super::syntax::{Mistake, line_at, value_of};
use std::ops::Range;

/// A bracket that is not closed, closed twice, or closed in a comment.
pub(super) fn explain(text: &str, here: &Range<usize>, at: usize, info: &str) -> Option<Mistake> {
    let mistake =
        |at: usize, label: String, help: &str| Some(Mistake { at: at..at + 1, label, help: help.to_owned() });
    let rest = text.get(at..)?;
    if rest.starts_with('{') && text[..at].ends_with('$') {
        let help = "write the value itself; for a secret write `{ env: NAME }`";
        return mistake(at, "this is a placeholder, which attache does not replace".to_owned(), help);
    }
    if let (Some(bracket @ ('}' | ']')), true) = (rest.chars().next(), info.contains("misplaced bracket")) {
        return mistake(at, format!("this `{bracket}` has no opening bracket"), "remove it");
    }
    let flow = Flow::at(text, at);
    let open = *flow.open.last()?;
    if let Some(comment) = flow.comment
        && text[comment..line_at(text, comment).end].contains(['}', ']', ','])
    {
        let help = "put quotes around a value that contains ` #`";
        return mistake(comment, "` #` begins a comment".to_owned(), help);
    }
    // Content of brackets is indented deeper than the key that they belong to.
    let indent = |line: &str| line.len() - line.trim_start().len();
    let opens = &text[line_at(text, open)];
    let is_next_key =
        indent(&text[here.clone()]) <= indent(opens) && !opens.trim_start().starts_with(['{', '[']);
    let runs_on = is_next_key
        || ["indentation", "placement"].iter().any(|said| info.contains(said))
        || rest.trim().is_empty();
    if runs_on && !here.contains(&open) {
        let (bracket, close) = if text[open..].starts_with('{') { ('{', '}') } else { ('[', ']') };
        return mistake(open, format!("this `{bracket}` is not closed"), &format!("close it with `{close}`"));
    }
    None
}

/// The flow collections around a place.
#[derive(Debug, Default)]
struct Flow {
    /// The position of each open bracket, the outermost first.
    open: Vec<usize>,
    /// The start of the first comment since the outermost bracket.
    comment: Option<usize>,
    quote: Option<char>,
}

impl Flow {
    /// Scans `text` up to the byte `until`.
    fn at(text: &str, until: usize) -> Self {
        let mut flow = Self::default();
        // Lines that are indented deeper belong to a block scalar.
        let mut scalar: Option<usize> = None;
        let mut next = 0;
        while next < until {
            let range = line_at(text, next);
            next = range.end + 1;
            let line = &text[range.clone()];
            let indent = line.len() - line.trim_start().len();
            let mut from = range.start;
            if flow.open.is_empty() {
                if line.trim().is_empty() || scalar.is_some_and(|above| indent > above) {
                    continue;
                }
                let value = value_of(line);
                scalar = value.starts_with(['|', '>']).then_some(indent);
                if !value.starts_with(['{', '[']) {
                    continue;
                }
                from = range.start + line.trim_end().len() - value.len();
            }
            flow.line(text, from, range.end.min(until));
        }
        flow
    }

    fn line(&mut self, text: &str, from: usize, to: usize) {
        let mut chars = text[from..to.max(from)].char_indices().map(|(at, c)| (from + at, c)).peekable();
        // The previous character without white space, and with it.
        let (mut before, mut last) = (',', ' ');
        while let Some((at, c)) = chars.next() {
            match (self.quote, c) {
                (Some('"'), '\\') => drop(chars.next()),
                (Some('\''), '\'') if chars.next_if(|(_, next)| *next == '\'').is_some() => {}
                (Some(quote), _) => self.quote = Some(quote).filter(|quote| *quote != c),
                (None, '"' | '\'') if matches!(before, '{' | '[' | ',' | ':') => self.quote = Some(c),
                (None, '#') if last.is_whitespace() => {
                    self.comment.get_or_insert(at);
                    return;
                }
                (None, '{' | '[') => self.open.push(at),
                (None, '}' | ']') => {
                    self.open.pop();
                    if self.open.is_empty() {
                        self.comment = None;
                        return;
                    }
                }
                (None, _) => {}
            }
            last = c;
            before = if c.is_whitespace() { before } else { c };
        }
    }
}
