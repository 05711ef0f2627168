//! The references in a field's value.

use super::Verdict;
use std::borrow::Cow;

/// `Location`, `Content-Location`: one reference.
pub(super) fn one(value: &[u8], decide: impl FnOnce(&[u8]) -> Verdict) -> Option<Cow<'_, [u8]>> {
    match decide(value) {
        Verdict::Keep => Some(Cow::Borrowed(value)),
        Verdict::Replace(link) => Some(Cow::Owned(link)),
        Verdict::Drop => None,
    }
}

/// `Refresh`: seconds, and a URL, as browsers parse it (HTML, "shared declarative refresh steps"). Written anew unless it
/// has the usual form, since other clients look for `url=` only.
pub(super) fn refresh(value: &[u8], decide: impl FnOnce(&[u8]) -> Verdict) -> Option<Cow<'_, [u8]>> {
    let digits = value.iter().take_while(|b| b.is_ascii_digit()).count();
    let seconds = &value[..digits];
    let rest = &value[digits..];
    let rest = &rest[rest.iter().take_while(|b| b.is_ascii_digit() || **b == b'.').count()..];
    if rest.is_empty() {
        return Some(Cow::Borrowed(value));
    }
    let is_blank = |b: &u8| matches!(b, b' ' | b'\t');
    if digits == 0 || !rest.first().is_some_and(|b| matches!(b, b';' | b',') || is_blank(b)) {
        // Not a refresh to browsers. What others make of it is unknown.
        return None;
    }
    let rest = rest.trim_ascii_start();
    let rest = rest.strip_prefix(b";").or(rest.strip_prefix(b",")).unwrap_or(rest).trim_ascii_start();
    if rest.is_empty() {
        return Some(Cow::Borrowed(value));
    }
    let (link, is_named) = match named(rest) {
        Some(link) => (link, true),
        None => (rest, false),
    };
    let (link, is_quoted) = match link {
        [quote @ (b'"' | b'\''), link @ ..] => {
            let end = link.iter().position(|b| b == quote);
            (end.map_or(link, |end| &link[..end]), true)
        }
        link => (link, false),
    };
    let is_usual = is_named && !is_quoted && !link.iter().any(is_blank) && named_twice(link).is_none();
    let link = link.trim_ascii();
    match decide(link) {
        Verdict::Keep if is_usual => Some(Cow::Borrowed(value)),
        Verdict::Keep => Some(Cow::Owned([seconds, b";url=", &without_blanks(link)].concat())),
        Verdict::Replace(link) => Some(Cow::Owned([seconds, b";url=", &without_blanks(&link)].concat())),
        Verdict::Drop => None,
    }
}

/// Returns the text after `url=`.
fn named(text: &[u8]) -> Option<&[u8]> {
    let rest = text.get(3..).filter(|_| text[..3].eq_ignore_ascii_case(b"url"))?.trim_ascii_start();
    Some(rest.strip_prefix(b"=")?.trim_ascii_start())
}

/// A second `url=` would be the URL to a client that takes the last one.
fn named_twice(link: &[u8]) -> Option<()> {
    link.windows(4).any(|part| part.eq_ignore_ascii_case(b"url=")).then_some(())
}

fn without_blanks(link: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(link.len());
    for &byte in link {
        match byte {
            b' ' => out.extend_from_slice(b"%20"),
            // The end of the URL to a client that looks for quotes or for another `url=`.
            b'"' => out.extend_from_slice(b"%22"),
            b'\'' => out.extend_from_slice(b"%27"),
            byte => out.push(byte),
        }
    }
    out
}

/// Maximum number of links in one field; a head has room for 20,000, each of which costs a microsecond or two.
const MAX_LINKS: usize = 500;

/// `Link` (RFC 8288 section 3): several links, each with parameters, of which `anchor` is a reference too. A malformed
/// remainder is dropped, and so is a parameter with `<` or `>` in it, which simple parsers take for another link, or with
/// the credential, as `holds_credential` tells.
pub(super) fn list(
    value: &[u8],
    mut decide: impl FnMut(&[u8]) -> Verdict,
    holds_credential: impl Fn(&[u8]) -> bool,
) -> Option<Cow<'_, [u8]>> {
    let (mut out, mut changed, mut count) = (Vec::with_capacity(value.len()), false, 0);
    let mut rest = without_commas(value);
    while !rest.is_empty() {
        count += 1;
        let Some((link, after)) = target(rest).filter(|_| count <= MAX_LINKS) else {
            changed = true;
            break;
        };
        let (written, used, was_changed) = parameters(after, &mut decide, &holds_credential);
        let verdict = decide(link);
        changed |= was_changed || verdict != Verdict::Keep;
        let link = match verdict {
            Verdict::Keep => Some(Cow::Borrowed(link)),
            Verdict::Replace(link) => Some(Cow::Owned(link)),
            Verdict::Drop => None,
        };
        if let (Some(link), Some(written)) = (link, written) {
            let comma: &[u8] = if out.is_empty() { b"" } else { b", " };
            out.extend_from_slice(&[comma, b"<", &link, b">", &written].concat());
        }
        let end = &after[used..];
        rest = end.trim_ascii_start();
        let next = without_commas(rest);
        if next.len() == rest.len() && !rest.is_empty() {
            changed = true;
            break;
        }
        rest = next;
    }
    match (changed, out.is_empty()) {
        (false, _) => Some(Cow::Borrowed(value)),
        (true, true) => None,
        (true, false) => Some(Cow::Owned(out)),
    }
}

/// Returns the text behind the commas and blanks at its beginning: a list may have empty members.
fn without_commas(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|b| !matches!(b, b',' | b' ' | b'\t')).unwrap_or(text.len());
    &text[end..]
}

/// Returns the reference between `<` and `>`, and the text behind it.
fn target(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.strip_prefix(b"<")?;
    let end = text.iter().position(|&b| b == b'>')?;
    let link = &text[..end];
    (!link.contains(&b'<')).then_some((link, &text[end + 1..]))
}

/// Reads the parameters of a link. Returns them as they leave, or `None` if the link has to go with its anchor; the number
/// of bytes read; and whether they changed.
fn parameters(
    text: &[u8],
    decide: &mut impl FnMut(&[u8]) -> Verdict,
    holds_credential: &impl Fn(&[u8]) -> bool,
) -> (Option<Vec<u8>>, usize, bool) {
    let (mut out, mut changed, mut at) = (Some(Vec::new()), false, 0);
    loop {
        let blank = text[at..].len() - text[at..].trim_ascii_start().len();
        if text.get(at + blank) != Some(&b';') {
            return (out, at, changed);
        }
        let begin = at;
        at += blank + 1;
        let length =
            text[at..].iter().position(|b| matches!(b, b'=' | b';' | b',' | b'"')).unwrap_or(text.len() - at);
        let name = text[at..at + length].trim_ascii();
        at += length;
        let mut value = None;
        if text.get(at) == Some(&b'=') {
            at += 1;
            at += text[at..].len() - text[at..].trim_ascii_start().len();
            let (read, used) = parameter_value(&text[at..]);
            (value, at) = (Some(read), at + used);
        }
        let raw = &text[begin..at];
        let is_ambiguous = raw.iter().any(|b| matches!(b, b'<' | b'>'));
        let verdict = match &value {
            _ if is_ambiguous => Verdict::Drop,
            Some(value) if name.eq_ignore_ascii_case(b"anchor") => match decide(value) {
                // It would be about another resource without its anchor.
                Verdict::Drop => {
                    out = None;
                    Verdict::Drop
                }
                verdict => verdict,
            },
            value if holds_credential(raw) || value.as_deref().is_some_and(holds_credential) => Verdict::Drop,
            _ => Verdict::Keep,
        };
        changed |= verdict != Verdict::Keep;
        let Some(out) = &mut out else { continue };
        match verdict {
            Verdict::Keep => out.extend_from_slice(raw),
            Verdict::Replace(anchor) => {
                out.extend_from_slice(&[b"; anchor=\"", &*quoted(&anchor), b"\""].concat())
            }
            Verdict::Drop => {}
        }
    }
}

/// Returns a token or a quoted string without its quotes, and the number of bytes read.
fn parameter_value(text: &[u8]) -> (Vec<u8>, usize) {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|b| matches!(b, b';' | b',')).unwrap_or(text.len());
        return (text[..end].trim_ascii().to_vec(), end);
    };
    let (mut value, mut at) = (Vec::new(), 0);
    while let Some(&byte) = quoted.get(at) {
        match byte {
            b'"' => return (value, at + 2),
            b'\\' => {
                at += 1;
                value.extend(quoted.get(at));
            }
            byte => value.push(byte),
        }
        at += 1;
    }
    (value, text.len())
}

fn quoted(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|b| matches!(b, b'"' | b'\\')) {
        return Cow::Borrowed(text);
    }
    let escaped = text.iter().flat_map(|b| match b {
        b'"' => b"%22".to_vec(),
        b'\\' => b"%5C".to_vec(),
        other => vec![*other],
    });
    Cow::Owned(escaped.collect())
}
