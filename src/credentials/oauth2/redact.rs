//! The words of a token endpoint, made fit for a log.
//!
//! Providers put what they were sent into their error texts. Each word with a part of a secret, in any form in which it
//! was sent, is replaced by `[redacted]`, so that the rest still explains the failure. If a secret extends over several
//! words, nothing is left of the text.

use super::error::REGISTERED;
use crate::config::model::{Grant, OAuth2, PresentedToken};
use crate::secret::Secret;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use url::form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

/// Maximum length of a text, in characters.
pub(super) const MAX_TEXT: usize = 1000;
const MAX_CODE: usize = 64;
/// Maximum length of what is searched for secrets: redaction makes a text shorter.
const MAX_READ: usize = 4 * MAX_TEXT;

/// The replacement of a word with a secret.
const REDACTED: &str = "[redacted]";

/// The number of consecutive letters and digits of a secret from which on a text contains a part of it.
const PART: usize = 8;
/// The number of letters and digits below which only the plain and the form-encoded spelling of a secret are looked for.
const SHORT: usize = 4;

/// The secrets that no text may contain: those of the account, and those that one request carried or one answer brought
/// (refresh token, assertion, code).
#[derive(Clone, Default)]
pub(super) struct KnownSecrets(Vec<Arc<PreparedSecret>>);

/// A secret, and the forms of it that are looked for. Prepared once: an answer may have thousands of words beside a long
/// token.
struct PreparedSecret {
    plain: Secret,
    /// Form-encoded.
    encoded: Zeroizing<String>,
    gist: Zeroizing<Vec<u8>>,
}

impl KnownSecrets {
    /// Returns the secrets of the configuration, sent or not.
    pub(super) fn of(config: &OAuth2) -> Self {
        let mut secrets = Self::default();
        config.client_auth.secrets().iter().for_each(|secret| secrets.add(secret));
        match &config.grant {
            Grant::Password { username, password } => {
                secrets.add(username);
                secrets.add(password);
            }
            Grant::RefreshToken { refresh_token } => secrets.add(refresh_token),
            Grant::TokenExchange { subject_token, actor, .. } => {
                for token in
                    [Some(subject_token), actor.as_ref().map(|(token, _)| token)].into_iter().flatten()
                {
                    if let PresentedToken::Fixed(secret) = token {
                        secrets.add(secret);
                    }
                }
            }
            Grant::ClientCredentials
            | Grant::AuthorizationCode { .. }
            | Grant::DeviceCode { .. }
            | Grant::JwtBearer(_)
            // Those of its request are added when they are sent.
            | Grant::Custom(_) => {}
        }
        for (name, value) in &config.token_headers {
            // `Accept-Language: en` is no secret, and is a part of many words.
            let public = name.as_str().starts_with("accept") || *name == http::header::USER_AGENT;
            if let (false, Ok(text)) = (public, std::str::from_utf8(value.as_bytes())) {
                secrets.add(&Secret::new(text));
            }
        }
        secrets
    }

    pub(super) fn add(&mut self, secret: &Secret) {
        // Every text contains the empty one.
        if !secret.expose().is_empty() {
            let plain = secret.expose();
            self.0.push(Arc::new(PreparedSecret {
                plain: secret.clone(),
                encoded: Zeroizing::new(byte_serialize(plain.as_bytes()).collect()),
                gist: gist(plain.as_bytes()),
            }));
        }
    }

    /// Returns a text for people: printable, on one line, at most [`MAX_TEXT`] characters, without the secrets. `None` if
    /// it is empty.
    pub(super) fn text(&self, raw: &str) -> Option<Arc<str>> {
        let raw = raw.char_indices().nth(MAX_READ).map_or(raw, |(end, _)| &raw[..end]);
        let clean: String = raw.chars().map(printable).collect();
        let parts = self.parts_in(&clean);
        let words = clean.split(' ').map(|word| if self.is_in(word, &parts) { REDACTED } else { word });
        let words = words.collect::<Vec<_>>().join(" ");
        let words = words.trim();
        if words.is_empty() {
            return None;
        }
        if self.is_in(words, &self.parts_in(words)) || self.unprintable_in(raw) {
            return Some(REDACTED.into());
        }
        Some(words.chars().take(MAX_TEXT).collect::<String>().trim_end().into())
    }

    /// Returns an error code, or `unspecified` if it is none. A registered one is returned in any case: it reveals nothing
    /// about a short secret that it contains.
    pub(super) fn code(&self, raw: &str) -> Arc<str> {
        if REGISTERED.contains(&raw) || (is_code(raw) && !self.held_by(raw)) {
            return raw.into();
        }
        "unspecified".into()
    }

    fn is_in(&self, text: &str, parts: &HashSet<&[u8]>) -> bool {
        self.held_by(text) || self.partly_held_by(text, parts)
    }

    fn held_by(&self, text: &str) -> bool {
        self.0.iter().any(|secret| text.contains(secret.plain.expose()) || text.contains(&**secret.encoded))
    }

    /// Returns true if the text contains a secret of which [`printable`] leaves something else.
    fn unprintable_in(&self, raw: &str) -> bool {
        let secrets = self.0.iter().map(|secret| secret.plain.expose());
        secrets.filter(|plain| plain.chars().any(|c| printable(c) != c)).any(|plain| raw.contains(plain))
    }

    /// Returns the parts of secrets, [`PART`] consecutive letters and digits each, that the text contains, quoted, escaped
    /// or in another case.
    fn parts_in(&self, text: &str) -> HashSet<&[u8]> {
        let texts = forms(text);
        let contained: HashSet<&[u8]> = texts.iter().flat_map(|text| text.windows(PART)).collect();
        let parts = self.0.iter().flat_map(|secret| secret.gist.windows(PART));
        parts.filter(|part| contained.contains(part)).collect()
    }

    /// Returns true if the text contains one of these parts, or the whole of a shorter secret.
    fn partly_held_by(&self, text: &str, parts: &HashSet<&[u8]>) -> bool {
        let texts = forms(text);
        let short = self.0.iter().filter(|secret| (SHORT..PART).contains(&secret.gist.len()));
        let mut short = short.map(|secret| &secret.gist[..]);
        texts.iter().any(|text| text.windows(PART).any(|part| parts.contains(part)))
            || short.any(|gist| texts.iter().any(|text| text.windows(gist.len()).any(|part| part == gist)))
    }
}

/// Returns the letters and digits of a text, as it is and decoded.
fn forms(text: &str) -> [Zeroizing<Vec<u8>>; 3] {
    [text.as_bytes(), &percent_decode(text), without_entities(text).as_bytes()].map(gist)
}

/// Returns true if the text is one word that may be an error code.
pub(super) fn is_code(text: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    (1..=MAX_CODE).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// Control characters would reach a terminal, and marks of direction mislead its reader.
fn printable(c: char) -> char {
    if c.is_alphanumeric() || c.is_ascii_graphic() { c } else { ' ' }
}

/// Returns the letters and digits, in lower case.
fn gist(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let kept = text.iter().filter(|b| b.is_ascii_alphanumeric() || !b.is_ascii());
    Zeroizing::new(kept.map(u8::to_ascii_lowercase).collect())
}

/// Decodes up to three times: values that passed through a gateway may be encoded more than once.
fn percent_decode(text: &str) -> Vec<u8> {
    let digit =
        |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..3 {
        let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
        while let Some(&byte) = bytes.get(at) {
            let (byte, taken) = match (byte, digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
                (b'%', Some(high), Some(low)) => (high * 16 + low, 3),
                _ => (byte, 1),
            };
            decoded.push(byte);
            at += taken;
        }
        bytes = decoded;
    }
    bytes
}

/// Removes `&amp;` and the like, which stand for a character that is no letter.
fn without_entities(text: &str) -> String {
    let mut parts = text.split('&');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |kept, part| match part.split_once(';') {
        Some((entity, rest)) if entity.len() <= 8 => kept + rest,
        _ => kept + part,
    })
}

impl fmt::Debug for KnownSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::stub;
    use super::*;
    use crate::config::model::ClientAuth;
    use crate::header_name::FieldName;
    use http::HeaderValue;

    fn config() -> OAuth2 {
        stub::config("http://127.0.0.1:1/token")
    }

    #[test]
    fn many_words_beside_a_long_token_cost_little() {
        let mut secrets = KnownSecrets::default();
        let token: String =
            (0..240_000_u64).map(|n| char::from(b'a' + (n * n * 7 / 11 % 26) as u8)).collect();
        secrets.add(&Secret::new(&*token));
        let began = std::time::Instant::now();
        assert!(secrets.text(&"one two ".repeat(500)).is_some());
        // Searching the token anew for each word took half a minute.
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
        let shown = secrets.text(&format!("bad token {}", &token[100..140]));
        assert_eq!(shown.as_deref(), Some("bad token [redacted]"));
    }

    #[test]
    fn control_characters_and_length_are_cut() {
        let secrets = KnownSecrets::of(&config());
        assert_eq!(secrets.text("a\u{1b}[31mb\r\nc\u{202e}d").as_deref(), Some("a [31mb  c d"));
        assert_eq!(secrets.text(&"x".repeat(9999)).map(|t| t.len()), Some(1000));
        assert_eq!(secrets.text(" \n "), None);
    }

    fn is_redacted(secrets: &KnownSecrets, held: &str) {
        let text = secrets.text(&format!("bad: {held} (client a)"));
        let text = text.unwrap();
        assert!(text.contains(REDACTED), "{held}: {text}");
        assert!(!secrets.is_in(&text, &secrets.parts_in(&text)), "{held}: {text}");
    }

    #[test]
    fn a_secret_of_the_account_is_redacted_in_every_form_in_which_it_was_sent() {
        let mut config = config();
        config.client_auth = ClientAuth::Basic(vec![Secret::new("s3cr&t/1"), Secret::new("old-s3cret")]);
        config.grant = Grant::Password { username: Secret::new("bob"), password: Secret::new("p%ss word") };
        config.token_headers = vec![(FieldName::from_static("x-api-key"), HeaderValue::from_static("k3y"))];
        let secrets = KnownSecrets::of(&config);
        for held in
            ["s3cr&t/1", "s3cr%26t%2F1", "old-s3cret", "p%ss word", "p%25ss+word", "bob", "p%ss\nword", "k3y"]
        {
            is_redacted(&secrets, held);
        }
        assert_eq!(secrets.text("bad: client").as_deref(), Some("bad: client"));
    }

    #[test]
    fn the_words_beside_a_secret_stay() {
        let mut secrets = KnownSecrets::of(&config());
        secrets.add(&Secret::new("r3fresh+1"));
        for held in ["r3fresh+1", "r3fresh%2B1"] {
            let text = secrets.text(&format!("token {held} is unknown"));
            assert_eq!(text.as_deref(), Some("token [redacted] is unknown"));
        }
    }

    #[test]
    fn a_secret_of_several_words_takes_the_text_with_it() {
        let mut secrets = KnownSecrets::default();
        secrets.add(&Secret::new("correct horse battery"));
        secrets.add(&Secret::new("a\u{7}b"));
        for text in ["no user with correct horse", "battery", "is 'Correct-Horse Battery' right?", "a\u{7}b"]
        {
            let shown = secrets.text(text).unwrap();
            assert!(
                text == "battery" || &*shown == REDACTED || !secrets.is_in(&shown, &secrets.parts_in(&shown)),
                "{shown}"
            );
        }
        assert_eq!(secrets.text("no user with correct horse").as_deref(), Some(REDACTED));
        assert_eq!(secrets.text("x a\u{7}b y").as_deref(), Some(REDACTED));
    }

    #[test]
    fn tokens_of_the_file_are_redacted() {
        let mut config = config();
        config.grant = Grant::RefreshToken { refresh_token: Secret::new("r3fresh") };
        assert_eq!(KnownSecrets::of(&config).text("r3fresh is old").as_deref(), Some("[redacted] is old"));
        config.grant = Grant::TokenExchange {
            subject_token: PresentedToken::Fixed(Secret::new("subj3ct")),
            subject_token_type: "t".into(),
            actor: Some((PresentedToken::Fixed(Secret::new("act0r")), "t".into())),
            requested_token_type: None,
        };
        for held in ["subj3ct", "act0r"] {
            is_redacted(&KnownSecrets::of(&config), held);
        }
    }

    #[test]
    fn an_error_code_is_one_word() {
        let mut secrets = KnownSecrets::of(&config());
        assert_eq!(&*secrets.code("invalid_client"), "invalid_client");
        assert_eq!(&*secrets.code("Not found"), "unspecified");
        assert_eq!(&*secrets.code(&"x".repeat(65)), "unspecified");
        secrets.add(&Secret::new("k3y"));
        assert_eq!(&*secrets.code("bad_k3y"), "unspecified");
    }

    #[test]
    fn a_registered_code_is_shown_although_it_contains_a_short_secret() {
        let mut config = config();
        config.token_headers = vec![(FieldName::from_static("x-tenant"), HeaderValue::from_static("gra"))];
        assert_eq!(&*KnownSecrets::of(&config).code("invalid_grant"), "invalid_grant");
        config.token_headers =
            vec![(FieldName::from_static("Accept-Language"), HeaderValue::from_static("en"))];
        let text = KnownSecrets::of(&config).text("the client is unknown");
        assert_eq!(text.as_deref(), Some("the client is unknown"));
    }

    #[test]
    fn a_part_of_a_secret_is_redacted_in_any_spelling() {
        let mut secrets = KnownSecrets::of(&config());
        secrets.add(&Secret::new("R3fresh/0.AbCd&EfGh=\"1jKl"));
        secrets.add(&Secret::new("p+7w"));
        for held in [
            "R3fresh/0.AbCd...",
            "...Cd&EfGh=\"1jKl",
            "R3FRESH/0.ABCD&EFGH=\"1JKL",
            "R3fresh%2f0.AbCd%26EfGh%3d%221jKl",
            "R3fresh%252F0%252EAbCd%2526EfGh",
            "R3fresh\\/0.AbCd\\u0026EfGh=\\\"1jKl",
            "R3fresh&#x2F;0.AbCd&amp;EfGh=&quot;1jKl",
        ] {
            is_redacted(&secrets, held);
        }
        // A secret at the end of what is shown is not cut in two.
        let text = secrets.text(&format!("{}R3fresh/0.AbCd", "x ".repeat(495))).unwrap();
        assert!(text.ends_with("x [redacted]"), "{text}");
        assert_eq!(secrets.text("unknown refresh token").as_deref(), Some("unknown refresh token"));
    }

    #[test]
    fn an_empty_secret_redacts_nothing() {
        let mut secrets = KnownSecrets::default();
        secrets.add(&Secret::new(""));
        assert_eq!(secrets.text("a").as_deref(), Some("a"));
    }
}
