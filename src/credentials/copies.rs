//! The spellings in which a service may send a credential back, and what finds them in a response.

use super::{Credential, SentToken};
use crate::config::model::RedactionScope;
use crate::message::redact::Redactor;
use crate::secret::{MIN_REDACTED, sha256, without_scheme};
use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use std::sync::Arc;

/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The characters that JavaScript's `encodeURIComponent` encodes.
const COMPONENT: &AsciiSet = &RESERVED.remove(b'!').remove(b'\'').remove(b'(').remove(b')').remove(b'*');
/// The characters that are encoded in a segment of a path, as RFC 3986 has it.
const SEGMENT: &AsciiSet =
    &COMPONENT.remove(b'$').remove(b'&').remove(b'+').remove(b',').remove(b'=').remove(b':').remove(b'@');
/// The characters that a form encodes, but for the space.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_').remove(b' ');

/// `redact_responses`, prepared for one account.
pub struct ResponseRedaction {
    /// The parts of a response that are searched.
    scope: RedactionScope,
    /// The account's headers beside a token, and what the forward proxy is sent.
    beside: Vec<Vec<u8>>,
    /// Finds the credential, if it is fixed.
    fixed: Option<Arc<Redactor>>,
    /// Finds the last token, which is known by its hash.
    of_token: ArcSwapOption<([u8; 32], Arc<Redactor>)>,
}

impl ResponseRedaction {
    /// Prepares the search for copies of a credential, and of the values of headers beside it.
    pub fn new<'a>(
        scope: RedactionScope,
        credential: &Credential,
        beside: impl IntoIterator<Item = &'a HeaderValue>,
    ) -> Self {
        let of_value = |value: &HeaderValue| spellings(without_scheme(value.as_bytes()));
        let beside: Vec<Vec<u8>> = beside.into_iter().flat_map(of_value).collect();
        let own: Vec<Vec<u8>> = match credential {
            Credential::Headers(headers) => headers.iter().flat_map(|(_, value)| of_value(value)).collect(),
            Credential::Query(query) => spellings(&query.value()),
            Credential::Path(path) => spellings(path.value().expose().as_bytes()),
            Credential::None | Credential::Unavailable | Credential::Jwt(_) | Credential::OAuth2(_) => {
                Vec::new()
            }
        };
        let fixed = Redactor::new([own, beside.clone()].concat()).map(Arc::new);
        Self { scope, beside, fixed, of_token: ArcSwapOption::empty() }
    }

    /// Returns true if bodies are searched, which must come without a coding.
    pub fn searches_bodies(&self) -> bool {
        self.scope == RedactionScope::Body
    }

    /// Returns what finds the credential that a request carried, with this token if its account has tokens; `None` if it
    /// carried none.
    pub fn redactor(&self, token: Option<&SentToken>) -> Option<Arc<Redactor>> {
        match token {
            Some(SentToken::OAuth2(token)) => self.of(token.secret().expose().as_bytes()),
            Some(SentToken::Signed(token)) => self.of(without_scheme(token.header_value().as_bytes())),
            None => self.fixed.clone(),
        }
    }

    fn of(&self, token: &[u8]) -> Option<Arc<Redactor>> {
        let hash = sha256(token);
        if let Some(last) = self.of_token.load().as_deref().filter(|last| last.0 == hash) {
            return Some(Arc::clone(&last.1));
        }
        let redactor = Arc::new(Redactor::new([spellings(token), self.beside.clone()].concat())?);
        self.of_token.store(Some(Arc::new((hash, Arc::clone(&redactor)))));
        Some(redactor)
    }
}

/// Returns the spellings of a secret: itself, percent-encoded, in a string of JSON, in HTML, and in base64 at any place of
/// a longer text. None if it is too short.
fn spellings(secret: &[u8]) -> Vec<Vec<u8>> {
    if secret.len() < MIN_REDACTED {
        return Vec::new();
    }
    let mut all = vec![secret.to_vec()];
    for set in [RESERVED, COMPONENT, SEGMENT, FORM] {
        let encoded = percent_encode(secret, set).to_string().replace(' ', "+");
        all.extend([lower_escapes(&encoded), encoded.into_bytes()]);
    }
    // Some writers of JSON escape what HTML would interpret.
    let for_html = [(b'&', &b"\\u0026"[..]), (b'<', b"\\u003c"), (b'>', b"\\u003e")];
    all.push(replaced(secret, &[&for_html[..], &[(b'\\', b"\\\\"), (b'"', b"\\\"")]].concat()));
    all.push(replaced(secret, &[(b'\\', b"\\\\"), (b'"', b"\\\""), (b'/', b"\\/")]));
    all.push(replaced(secret, &[(b'\\', b"\\\\"), (b'"', b"\\\"")]));
    all.push(replaced(secret, &[(b'&', b"&amp;"), (b'<', b"&lt;"), (b'>', b"&gt;"), (b'"', b"&quot;")]));
    for before in 0..3 {
        all.extend(in_base64(&[&vec![0; before], secret].concat(), before));
    }
    all.sort();
    all.dedup();
    all
}

/// Returns the digits that stand for the text behind its first bytes alone, in both alphabets.
fn in_base64(text: &[u8], before: usize) -> [Vec<u8>; 2] {
    let (begin, end) = ((before * 8).div_ceil(6), text.len() * 8 / 6);
    [STANDARD_NO_PAD.encode(text), URL_SAFE_NO_PAD.encode(text)]
        .map(|digits| digits.as_bytes()[begin..end].to_vec())
}

fn lower_escapes(encoded: &str) -> Vec<u8> {
    let mut out = encoded.as_bytes().to_vec();
    let escapes: Vec<usize> = encoded.match_indices('%').map(|(at, _)| at).collect();
    for at in escapes {
        out[at..at + 3].make_ascii_lowercase();
    }
    out
}

fn replaced(secret: &[u8], table: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = Vec::with_capacity(secret.len());
    for byte in secret {
        match table.iter().find(|(from, _)| from == byte) {
            Some((_, to)) => out.extend_from_slice(to),
            None => out.push(*byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::PathCredential;
    use crate::header_name::FieldName;
    use crate::secret::Secret;
    use base64::engine::general_purpose::STANDARD;

    fn redacted(secret: &str, text: &str) -> String {
        let redactor = Redactor::new(spellings(secret.as_bytes())).expect("a secret");
        String::from_utf8(redactor.whole(text.as_bytes()).into_owned()).expect("text")
    }

    #[test]
    fn a_credential_is_found_in_each_spelling() {
        let secret = "s3cr+t/\"&=x";
        for copy in [
            secret,
            "s3cr%2Bt%2F%22%26%3Dx",
            "s3cr%2bt%2f%22%26%3dx",
            "s3cr+t%2F%22&=x",
            "s3cr+t/\\\"\\u0026=x",
            "s3cr+t\\/\\\"&=x",
            "s3cr+t/\\\"&=x",
            "s3cr+t/&quot;&amp;=x",
        ] {
            assert_eq!(redacted(secret, &format!("a{copy}b")), "a[redacted]b", "{copy}");
        }
        for before in ["", "u", "us", "user:", "a longer text "] {
            let text = STANDARD.encode(format!("{before}{secret} and more"));
            let found = redacted(secret, &text);
            assert!(found.contains("[redacted]"), "{before}: {text}");
        }
        assert!(spellings(b"1234567").is_empty());
        for (secret, copy) in [
            ("a secret~(of 3)!", "a+secret%7E%28of+3%29%21"),
            ("a secret~(of 3)!", "a%20secret~(of%203)!"),
            ("123456:AA/b;c", "123456:AA%2Fb%3Bc"),
        ] {
            assert_eq!(redacted(secret, copy), "[redacted]", "{copy}");
            let credential = Credential::Path(PathCredential::new(&Secret::new(secret)));
            let redaction = ResponseRedaction::new(RedactionScope::Headers, &credential, []);
            let Credential::Path(path) = &credential else { panic!("a path") };
            let sent = path.encoded().expose();
            let redactor = redaction.redactor(None).expect("a redactor");
            assert_eq!(&*redactor.whole(sent.as_bytes()), b"[redacted]", "{sent}");
        }
    }

    #[test]
    fn a_scheme_is_no_part_of_the_credential() {
        let headers = |value: &'static str| {
            Credential::Headers([(FieldName::from_static("X-Key"), HeaderValue::from_static(value))].into())
        };
        for (value, copy, expected) in [
            ("Bearer abcdefgh", "Bearer abcdefgh", "Bearer [redacted]"),
            ("Bearer abcdefgh", "abcdefgh", "[redacted]"),
            ("key=abcd efgh", "key=abcd efgh", "[redacted]"),
        ] {
            let credential = headers(value);
            let redaction = ResponseRedaction::new(RedactionScope::Headers, &credential, []);
            let redactor = redaction.redactor(None).expect("a redactor");
            assert_eq!(&*redactor.whole(copy.as_bytes()), expected.as_bytes(), "{value}");
        }
    }
}
