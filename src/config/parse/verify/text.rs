//! Texts that attache looks for in a header of a call: some are in none.

use crate::config::decode::{At, Decoder};
use crate::config::problem::Finding;
use crate::config::scalar::Invalid;

/// Reads text that a header can begin with.
pub(super) fn beginning<'t>(decoder: &Decoder<'t>, at: &At<'_>) -> Option<&'t str> {
    let text = decoder.string_or_empty(at)?;
    check(decoder, at, text, text.starts_with(is_blank)).map(|()| text)
}

/// Reads text that can be the whole value of a header.
pub(super) fn whole<'t>(decoder: &Decoder<'t>, at: &At<'_>) -> Option<&'t str> {
    let text = decoder.string(at)?;
    check(decoder, at, text, text.starts_with(is_blank) || text.ends_with(is_blank)).map(|()| text)
}

/// Reads the key of a pair in a header.
pub(super) fn key<'t>(decoder: &Decoder<'t>, at: &At<'_>, separator: char, assign: char) -> Option<&'t str> {
    let text = whole(decoder, at)?;
    if !text.contains([separator, assign]) {
        return Some(text);
    }
    let finding =
        Finding::error("invalid_value", decoder.place(at), format!("{at} is not the key of a pair"));
    decoder.reject(finding.label("`=` or the separator ends a key").help("write the key alone"))
}

/// Reads the character between two pairs, which is in no signature and no key.
pub(super) fn separator(decoder: &Decoder<'_>, at: &At<'_>, assign: char) -> Option<char> {
    decoder.parsed(at, "invalid_value", "a character between two pairs", |text| {
        let mut characters = text.chars();
        let label = match (characters.next(), characters.next()) {
            (Some(one), None) if one == assign => "`=` stands between a key and its value",
            (Some(one), None) if one.is_ascii_alphanumeric() => "a signature has letters and digits",
            (Some(one), None) if one.is_ascii() && !one.is_ascii_control() => return Ok(one),
            (Some(_), None) => "no header holds it",
            _ => "this is not one character",
        };
        Err(Invalid { label, help: Some("write it like `,` or `;`".to_owned()) })
    })
}

fn check(decoder: &Decoder<'_>, at: &At<'_>, text: &str, has_outer_blank: bool) -> Option<()> {
    let label = if has_outer_blank {
        "the value of a header has no white space at its ends"
    } else if !text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        "the header of a call has visible ASCII characters and spaces only"
    } else {
        return Some(());
    };
    let message = format!("{at} is not a text that a header can hold");
    decoder.reject(Finding::error("invalid_value", decoder.place(at), message).label(label))
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}
