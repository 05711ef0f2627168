//! Removal of a credential that the service's URL carries: a link to the service would hand it to the client.

use crate::credentials::Credential;
use crate::outbound::path::octet;

/// The replacement for a credential that is not the value of its own parameter: `[redacted]`, percent-encoded.
const REDACTED: &[u8] = b"%5Bredacted%5D";
/// A shorter credential is only found between delimiters: it may be part of any word.
const SHORTEST: usize = 8;

/// Returns true if the account's credential is part of the URL.
pub(super) fn is_in_url(credential: &Credential) -> bool {
    matches!(credential, Credential::Query(_) | Credential::Path(_))
}

/// Returns `link` without the credential, in any of its percent-encodings; `None` if it holds none.
pub(super) fn removed(credential: &Credential, link: &[u8]) -> Option<Vec<u8>> {
    let query = match credential {
        Credential::Query(query) => query,
        Credential::Path(path) => return redacted(link, path.value().expose().as_bytes()),
        _ => return None,
    };
    let without = without_parameter(link, |part| query.is(part));
    let value = query.value();
    let redacted = redacted(without.as_deref().unwrap_or(link), &value);
    redacted.or(without)
}

/// Returns `link` without the parameters of its query, and of its fragment, that are the credential.
fn without_parameter(link: &[u8], is_credential: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let begin = link.iter().position(|b| matches!(b, b'?' | b'#'))?;
    let (mut out, mut found) = (link[..begin].to_vec(), false);
    let mut rest = &link[begin..];
    while let Some((&mark, text)) = rest.split_first() {
        let end = match mark {
            b'?' => text.iter().position(|&b| b == b'#').unwrap_or(text.len()),
            _ => text.len(),
        };
        let parts: Vec<&[u8]> = text[..end].split(|&b| b == b'&').collect();
        let kept: Vec<&[u8]> = parts.iter().copied().filter(|part| !is_credential(part)).collect();
        found |= kept.len() != parts.len();
        if !kept.is_empty() {
            out.push(mark);
            out.extend_from_slice(&kept.join(&b'&'));
        }
        rest = &text[end..];
    }
    found.then_some(out)
}

/// Returns `text` with each occurrence of the secret replaced, whichever of its characters are percent-encoded, also several
/// times; `None` if there is none.
fn redacted(text: &[u8], secret: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut found, mut at) = (Vec::new(), false, 0);
    while at < text.len() {
        match occurrence(&text[at..], secret).filter(|length| {
            let is_word = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
            secret.len() >= SHORTEST || !(is_word(text[..at].last()) || is_word(text.get(at + length)))
        }) {
            Some(length) => {
                out.extend_from_slice(REDACTED);
                (found, at) = (true, at + length);
            }
            None => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    found.then_some(out)
}

/// Returns the length of the secret at the beginning of `text`.
fn occurrence(text: &[u8], secret: &[u8]) -> Option<usize> {
    let mut at = 0;
    for &byte in secret {
        at += character(text.get(at..)?, byte)?;
    }
    (!secret.is_empty()).then_some(at)
}

/// Returns the length of a spelling of `byte` at the beginning of `text`: itself, `%XX`, `%25XX`, and so on.
fn character(text: &[u8], byte: u8) -> Option<usize> {
    if text.first()? == &byte {
        return Some(1);
    }
    if byte == b' ' && text[0] == b'+' {
        return Some(1);
    }
    let mut digits = text.strip_prefix(b"%")?;
    let mut length = 1;
    loop {
        let escaped = [b"%", digits.get(..2)?].concat();
        if octet(&escaped) == (byte, 3) {
            return Some(length + 2);
        }
        digits = digits.strip_prefix(b"25")?;
        length += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::QueryCredential;
    use crate::secret::Secret;

    fn clean(secret: &str, link: &str) -> String {
        let credential = Credential::Query(QueryCredential::new("key", &Secret::new(secret)));
        let removed = removed(&credential, link.as_bytes());
        String::from_utf8(removed.unwrap_or_else(|| link.as_bytes().to_vec())).expect("text")
    }

    #[test]
    fn a_query_credential_never_remains() {
        let secret = "s3cret+/val=";
        for (link, expected) in [
            ("/v3/x?key=s3cret%2B%2Fval%3D", "/v3/x"),
            ("/v3/x?a=1&key=s3cret%2B%2fval%3d&b=2#key", "/v3/x?a=1&b=2#key"),
            ("https://cdn.example/x?k%65y=s3cret+/val=#f", "https://cdn.example/x?key=other#f"),
            ("?key=other", "?key=other"),
            ("/x?next=%2Fy%3Fkey%3Ds3cret%252B%252Fval%253D", "/x?next=%2Fy%3Fkey%3D%5Bredacted%5D"),
            ("/x/s3cret+/val=/y", "/x/%5Bredacted%5D/y"),
            ("#key=s3cret%2B/val=", ""),
        ] {
            let expected = if link.contains("k%65y") {
                // `+` is a space in a query, so this is another value to a form decoder, and still the secret's text.
                "https://cdn.example/x?k%65y=%5Bredacted%5D#f"
            } else {
                expected
            };
            assert_eq!(clean(secret, link), expected, "{link}");
        }
    }

    #[test]
    fn a_short_credential_is_found_between_delimiters_only() {
        assert_eq!(clean("abc", "/abc/xabcx?y=abc&key=abc"), "/%5Bredacted%5D/xabcx?y=%5Bredacted%5D");
        assert_eq!(clean("abc", "/xabc"), "/xabc");
    }
}
