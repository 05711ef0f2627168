//! Copies of the key of a call, elsewhere than where it was read.
//!
//! A proxy in front may add the URL that was called to the head (`Referer`, `X-Original-URI`, `X-Envoy-Original-Path`),
//! and with it the key. The receiver must not learn the key, so every field that holds it is dropped, and every
//! parameter of the query. Only the key of the call is looked for, since a client that sends the key of another webhook
//! has it already.

use crate::message::Fields;
use crate::outbound::SHORTEST_KEY;
use memchr::memmem;
use percent_encoding::percent_decode;
use std::borrow::Cow;

/// Maximum number of percent-encodings around a copy: a URL nested in two others.
const MAX_DEPTH: usize = 3;

/// Drops the fields that hold `key`. A head without a copy and without a `%` costs one pass over its bytes.
pub fn drop_fields(fields: &mut Fields, key: &[u8]) {
    if may_hold(fields.raw(), key) {
        fields.retain(|field| !holds(field.value, key) && !is_in(field.name, key));
    }
}

/// Returns `query`, with its question mark, without the parameters that hold `key`; the rest keeps its bytes.
pub fn without_copies<'q>(query: &'q [u8], key: &[u8]) -> Cow<'q, [u8]> {
    let Some(pairs) = query.strip_prefix(b"?").filter(|pairs| may_hold(pairs, key) && holds(pairs, key))
    else {
        return Cow::Borrowed(query);
    };
    let kept: Vec<&[u8]> = pairs.split(|&b| b == b'&').filter(|pair| !holds(pair, key)).collect();
    if kept.is_empty() { Cow::Borrowed(&[]) } else { Cow::Owned([&b"?"[..], &kept.join(&b'&')].concat()) }
}

/// Returns false only if [`holds`] returns false. A cheap check first, because nearly every call has no copy.
fn may_hold(text: &[u8], key: &[u8]) -> bool {
    /// Bytes that header fields seldom have, and that nearly every random key has.
    const RARE: [bool; 256] = {
        let (mut rare, letters, mut at) = ([false; 256], b"QZJXKYVqzj", 0);
        while at < letters.len() {
            rare[letters[at] as usize] = true;
            at += 1;
        }
        rare
    };
    if text.len() < key.len() {
        return false;
    }
    let rare = key.iter().position(|byte| RARE[usize::from(*byte)]);
    let Some(at) = rare.or_else(|| key.iter().position(|byte| *byte == b'_')) else {
        return memmem::find(text, key).is_some() || text.contains(&b'%') || key.contains(&b' ');
    };
    // One pass for both, without the tables that a search for the whole key would prepare.
    let mut found = memchr::memchr2_iter(key[at], b'%', text);
    found.any(|found| text[found] == b'%' || text[found.saturating_sub(at)..].starts_with(key))
        || key.contains(&b' ')
}

/// Returns true if `text` holds `key`: raw or percent-encoded, alone or inside a longer text.
pub fn holds(text: &[u8], key: &[u8]) -> bool {
    // No encoding shortens it, and a search prepares tables.
    if text.len() < key.len() {
        return false;
    }
    in_any_decoding(text, |text| {
        if is_in(text, key) {
            return true;
        }
        // A form encodes a space as `+`.
        key.contains(&b' ') && text.contains(&b'+') && {
            let spaced: Vec<u8> = text.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect();
            is_in(&spaced, key)
        }
    })
}

/// Returns true if `is_found` is true of `text`, or of what it is once decoded, up to [`MAX_DEPTH`] times.
pub(super) fn in_any_decoding(text: &[u8], is_found: impl Fn(&[u8]) -> bool) -> bool {
    let mut text = Cow::Borrowed(text);
    for _ in 0..=MAX_DEPTH {
        if is_found(&text) {
            return true;
        }
        match Cow::from(percent_decode(&text)) {
            Cow::Owned(decoded) => text = Cow::Owned(decoded),
            Cow::Borrowed(_) => return false,
        }
    }
    false
}

/// Returns true if `text` has `key` in it. A key so short that it may be a part of a word has to be a whole one.
fn is_in(text: &[u8], key: &[u8]) -> bool {
    if key.len() >= SHORTEST_KEY {
        return memmem::find(text, key).is_some();
    }
    let is_word =
        |at: Option<&u8>| at.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte));
    !key.is_empty()
        && memmem::find_iter(text, key).any(|at| {
            let before = at.checked_sub(1).and_then(|before| text.get(before));
            !is_word(before) && !is_word(text.get(at + key.len()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "whk_0123456789abcdefghijABCDEFGHIJ-_0123456789a";

    #[test]
    fn every_way_to_repeat_a_key_is_found() {
        let encoded: String = KEY.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let twice = encoded.replace('%', "%25");
        let thrice = twice.replace('%', "%25");
        for value in [
            KEY.to_owned(),
            format!("https://hooks.example.com/webhooks/{KEY}"),
            format!("/webhooks/{KEY}/delivered?x=1"),
            format!("a=1; url=/webhooks/{KEY}; b"),
            format!("before{KEY}after"),
            format!("/webhooks/%77{}", &KEY[1..]),
            format!("/login?next=%2Fwebhooks%2F{KEY}"),
            format!("/{encoded}"),
            format!("/?u={twice}"),
            format!("/?u={thrice}"),
            format!("100% {encoded}"),
        ] {
            assert!(holds(value.as_bytes(), KEY.as_bytes()), "{value}");
            assert!(may_hold(value.as_bytes(), KEY.as_bytes()), "{value}");
            let mut fields = Fields::collect([
                (&b"Host"[..], &b"a"[..]),
                (b"Referer", value.as_bytes()),
                (b"X-Else", b"100%"),
            ]);
            drop_fields(&mut fields, KEY.as_bytes());
            assert_eq!(
                fields.iter().map(|field| field.name_str()).collect::<Vec<_>>(),
                ["Host", "X-Else"],
                "{value}"
            );
        }
    }

    #[test]
    fn a_name_is_no_hiding_place() {
        let name = format!("X-{KEY}");
        let mut fields = Fields::collect([(name.as_bytes(), &b"1"[..]), (b"X-Else", b"1")]);
        drop_fields(&mut fields, KEY.as_bytes());
        assert_eq!(fields.len(), 1);
    }

    #[test]
    fn no_other_text_is_taken_for_a_copy() {
        for value in
            ["", "%", "%7", &KEY[1..], &KEY.to_lowercase(), &KEY.replace('_', "%2D"), "whk_", "%25%32%35%zz"]
        {
            assert!(!holds(value.as_bytes(), KEY.as_bytes()), "{value}");
        }
    }

    #[test]
    fn a_short_key_is_a_whole_word() {
        for (value, expected) in [
            ("k1", true),
            ("/webhooks/k1/x", true),
            ("k1=", true),
            ("%6b1", true),
            ("k12", false),
            ("ak1", false),
            ("k1-a", false),
        ] {
            assert_eq!(holds(value.as_bytes(), b"k1"), expected, "{value}");
        }
        assert!(!holds(b"anything", b""));
    }

    #[test]
    fn a_key_with_other_characters_is_found_as_a_url_has_it() {
        let key = "a key of two words & more".as_bytes();
        for value in [
            "/webhooks/a%20key%20of%20two%20words%20%26%20more",
            "k=a+key+of+two+words+%26+more",
            "a key of two words & more",
        ] {
            assert!(may_hold(value.as_bytes(), key) && holds(value.as_bytes(), key), "{value}");
        }
    }

    #[test]
    fn a_query_loses_the_parameters_that_hold_the_key() {
        let encoded = KEY.replace('w', "%77");
        for (query, expected) in [
            (String::new(), ""),
            ("?".to_owned(), "?"),
            ("?a=%20&b".to_owned(), "?a=%20&b"),
            (format!("?a=%20&copy={KEY}&b"), "?a=%20&b"),
            (format!("?u=https://h/{encoded}/x&b=1&{KEY}"), "?b=1"),
            (format!("?{KEY}"), ""),
        ] {
            assert_eq!(without_copies(query.as_bytes(), KEY.as_bytes()), expected.as_bytes(), "{query}");
        }
    }

    #[test]
    fn a_field_that_is_gone_is_no_copy() {
        let mut fields = Fields::collect([(&b"X-API-Key"[..], KEY.as_bytes()), (b"X", b""), (b"Y", b"1")]);
        fields.retain(|field| !field.is("x-api-key"));
        drop_fields(&mut fields, KEY.as_bytes());
        assert_eq!(fields.len(), 2);
        let mut none = Fields::default();
        drop_fields(&mut none, KEY.as_bytes());
    }
}
