//! Recognition of a secret that is written where its name or its path belongs: `{ env: sk_live_… }`.
//!
//! Names and paths are shown in messages, excerpts and the effective file, so one that may be a secret is not.

use super::{Kind, SECRET};

/// Minimum length of a word of letters and digits that looks random.
const RANDOM: usize = 10;
/// Minimum length of an undivided name in capitals, and of a text of mixed case, that looks random.
const LONG: usize = 16;

impl Kind {
    /// Returns true if a text in the place of a name or a path may be a secret, so that it must not be shown.
    pub(in crate::config) fn hides(&self, text: &str) -> bool {
        match self {
            Self::Variable => {
                // A placeholder of another program is explained, so it is shown.
                let name = text.strip_prefix("${").and_then(|name| name.strip_suffix('}')).unwrap_or(text);
                !is_usual_variable(name)
            }
            Self::Path | Self::Credential => is_random(text),
            Self::OneOf(kinds) => kinds.iter().any(|kind| kind.hides(text)),
            _ => false,
        }
    }
}

/// As [`Kind::hides`], for the value of a misplaced key `name`.
pub(in crate::config) fn source_hides(name: &str, text: &str) -> bool {
    SECRET.key(name).is_some_and(|key| key.kind.hides(text))
}

/// Returns true for the name of a variable in capitals, unless it looks like a token in base32.
pub(crate) fn is_usual_variable(name: &str) -> bool {
    let usual = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    let starts = name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    let divided = name.contains('_') || name.len() < LONG;
    starts && name.bytes().all(usual) && (divided || numbers(name) < 2)
}

/// Returns how many numbers a text has: 2 for `OAUTH2KEY01`.
fn numbers(text: &str) -> usize {
    text.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty()).count()
}

/// Returns true for a text that looks like a token or a key, and not like a path or the name of a file.
fn is_random(text: &str) -> bool {
    if ["/", "./", "../", "~"].iter().any(|start| text.starts_with(start)) {
        return false;
    }
    let mixes = |word: &str| {
        let has = |of: fn(&u8) -> bool| word.bytes().any(|b| of(&b));
        // `oauth2clientsecret` is a name.
        let varied = has(u8::is_ascii_uppercase) || numbers(word) > 1;
        word.len() >= RANDOM && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic) && varied
    };
    let case_changes = || {
        let letters: Vec<u8> = text.bytes().filter(u8::is_ascii_alphabetic).collect();
        letters.windows(2).filter(|two| two[0].is_ascii_lowercase() && two[1].is_ascii_uppercase()).count()
    };
    text.split(|c: char| !c.is_ascii_alphanumeric()).any(mixes) || (text.len() >= LONG && case_changes() >= 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_capitals_are_shown() {
        for name in [
            "KEY",
            "_KEY",
            "STRIPE_SECRET_2",
            "A1",
            "ERPCLIENTSECRET2026",
            "OAUTH2CLIENTSECRET",
            "MAILER_1A2B3C4D5E6F7G8H",
        ] {
            assert!(is_usual_variable(name), "{name}");
        }
        for name in ["", "key", "sk_live_SUPERSECRET9", "Key", "9KEY", "JBSWY3DPEHPK3PXP", "A=B"] {
            assert!(!is_usual_variable(name), "{name}");
        }
    }

    #[test]
    fn paths_and_names_of_files_are_shown() {
        for path in [
            "/run/secrets/0a1b2c3d4e5f6a7b8c9d",
            "secrets/mailer-api-key",
            "client-certificate.pem",
            "key-2026-11-26.txt",
            "./sk_live_SUPERSECRET9",
            "mailer_key",
            "EchoApiKey.txt",
            "oauth2clientsecret",
            "p256.pem",
        ] {
            assert!(!is_random(path), "{path}");
        }
        for value in [
            "sk_live_SUPERSECRET9",
            "eyJhbGciOiJIUzI1NiJ9.e30.x",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCY",
            "deadbeef0012cafe47",
        ] {
            assert!(is_random(value), "{value}");
        }
    }
}
