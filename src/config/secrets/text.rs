//! Checks of a delivered secret and of a value in the file. Pure, and quotes nothing.

use super::super::decode::At;
use crate::config::model::ReadFault;

/// The form of a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Text that fits into a header or a form.
    Line,
    /// Text with line breaks: PEM, JSON.
    Lines,
}

/// Why a text is not a secret: the end of a sentence that begins with "the secret of", and the label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unfit {
    pub(super) fault: ReadFault,
    pub(super) what: &'static str,
    pub(super) label: &'static str,
}

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Returns the text in bytes that a source delivers, without a byte order mark.
pub(super) fn decoded(bytes: &[u8]) -> Result<&str, Unfit> {
    let unfit = |what, label| Unfit { fault: ReadFault::Malformed, what, label };
    if is_utf16(bytes) {
        return Err(unfit("is UTF-16", "save it as UTF-8"));
    }
    let bytes = bytes.strip_prefix(BOM).unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|_| unfit("is not UTF-8", "this is not text"))
}

/// Returns true if the bytes begin with the byte order mark of UTF-16, which is never valid UTF-8, or are ASCII text in
/// UTF-16 without one.
pub(in crate::config) fn is_utf16(bytes: &[u8]) -> bool {
    let is_ascii = |high: usize| {
        let zero = bytes.len() >= 4 && bytes.iter().skip(high).step_by(2).all(|&b| b == 0);
        zero && bytes.iter().skip(1 - high).step_by(2).all(|&b| b != 0)
    };
    bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") || is_ascii(0) || is_ascii(1)
}

/// Removes one line break at the end, and refuses characters that no credential may contain.
pub(super) fn checked(text: &str, shape: Shape) -> Result<&str, Unfit> {
    let text = text.strip_suffix('\n').map_or(text, |cut| cut.strip_suffix('\r').unwrap_or(cut));
    let malformed = |what, label| Err(Unfit { fault: ReadFault::Malformed, what, label });
    match text {
        "" => Err(Unfit { fault: ReadFault::Empty, what: "is empty", label: "there is no secret here" }),
        text if text.contains('\0') => malformed("contains a NUL character", "a secret is text"),
        text if shape == Shape::Line && text.contains(['\r', '\n']) => {
            malformed("contains a line break", "a secret is one line of text")
        }
        text => Ok(text),
    }
}

/// Returns true if the text begins or ends with white space, which is rarely intended.
pub(super) fn has_outer_space(text: &str) -> bool {
    text.trim().len() != text.len()
}

/// Returns true if a prefix has no separator at its end: `Bearer` without its space.
pub(super) fn runs_on(prefix: &str) -> bool {
    prefix.ends_with(|last: char| last.is_alphanumeric())
}

/// Returns true if the text has a placeholder of another program: `${NAME}` or `{{ … }}`.
pub(in crate::config) fn has_placeholder(text: &str) -> bool {
    let encloses =
        |open: &str, close: &str| text.split_once(open).is_some_and(|(_, rest)| rest.contains(close));
    // Almost no value has a brace, and a file may have a million values.
    text.contains('{') && (encloses("${", "}") || encloses("{{", "}}"))
}

/// Returns true if a secret is only a reference, in the notation of a shell, of sops or of Ansible's and other vaults.
pub(super) fn is_reference(text: &str) -> bool {
    let variable = text.strip_prefix('$').is_some_and(|rest| {
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let name = &rest[..end];
        // Hashes of passwords begin with `$P$…` and `$2b$…`.
        name.len() > 1
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && !name.bytes().any(|b| b.is_ascii_lowercase())
    });
    variable || text.starts_with("ENC[") || text.starts_with("vault:")
}

/// Returns true if a text is a source of a secret without its braces: `env:NAME`, `file /path`.
pub(super) fn is_lost_source(text: &str) -> bool {
    let text = text.trim_matches(['{', '}', ' ']);
    let of = |word: &str| {
        let rest = text.strip_prefix(word)?.strip_prefix([':', ' ', '='])?.trim_start_matches([' ', '/']);
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"_-./".contains(&b);
        (!rest.is_empty() && rest.bytes().all(fits)).then_some(rest)
    };
    let is_variable =
        |name: &str| !name.starts_with(|c: char| c.is_ascii_digit()) && !name.contains(['-', '.', '/']);
    of("env").is_some_and(is_variable)
        || of("file").is_some_and(|path| path.contains(['/', '.']))
        || of("credential").is_some()
}

/// Returns the placeholder for a secret that was not read. It differs by place, as secrets do, and is valid in every
/// use of a secret.
pub(in crate::config) fn placeholder(at: &At<'_>) -> String {
    format!("not read - {at}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mark_and_one_line_break_are_removed() {
        let read = |bytes: &'static [u8]| decoded(bytes).and_then(|text| checked(text, Shape::Line));
        assert_eq!(read(b"\xEF\xBB\xBFabc\r\n"), Ok("abc"));
        assert_eq!(read(b"\xEF\xBB\xBF\xEF\xBB\xBFabc"), Ok("\u{feff}abc"));
        assert_eq!(read(b"abc\n\n").unwrap_err().what, "contains a line break");
        assert_eq!(read(b"\xEF\xBB\xBF\n").unwrap_err().fault, ReadFault::Empty);
        for utf16 in [&b"\xFF\xFEa\0b\0"[..], b"\xFE\xFF\0a\0b", b"a\0b\0", b"\0a\0b\0\n"] {
            assert_eq!(decoded(utf16).unwrap_err().what, "is UTF-16");
        }
        for text in [&b"a\0bc"[..], b"a\0", b"\0\0\0\0"] {
            assert_eq!(read(text).unwrap_err().what, "contains a NUL character");
        }
    }

    #[test]
    fn placeholders_of_other_programs_are_recognised() {
        for text in ["${KEY}", "a${KEY:-b}c", "{{ key }}", "x{{key}}"] {
            assert!(has_placeholder(text), "{text}");
        }
        for text in ["$KEY", "{credential}", "{body}.{timestamp}", "$ {", "}}{{", "pa$$word", "a}${"] {
            assert!(!has_placeholder(text), "{text}");
        }
        for text in ["$KEY", "$_A1", "$KEY-x", "ENC[AES256_GCM,data:x]", "vault:secret/data/x#y"] {
            assert!(is_reference(text), "{text}");
        }
        for text in ["$key", "$1A", "$2b$10$abc", "$P$Babc", "$KEYx", "KEY", "a$KEY", "encENC[", "$"] {
            assert!(!is_reference(text), "{text}");
        }
        for text in ["env:HOME", "env HOME", "{ env: HOME }", "file:/run/x", "file ./x", "credential: x"] {
            assert!(is_lost_source(text), "{text}");
        }
        for text in ["env", "environment", "env:a b", "file x", "env:9", "env:a+b", "my env:HOME"] {
            assert!(!is_lost_source(text), "{text}");
        }
    }

    #[test]
    fn a_prefix_without_a_separator_is_recognised() {
        assert!(
            runs_on("Bearer") && runs_on("v1") && !runs_on("Bearer ") && !runs_on("key=") && !runs_on("")
        );
    }
}
