//! What a token endpoint writes, made fit for a log.
//!
//! Providers put what they were sent into their error texts. Cutting the secret out would leave its neighbours to
//! guess from, so a text that holds one in any form it was sent in is dropped whole.

use super::error::REGISTERED;
use crate::config::model::{Grant, OAuth2, PresentedToken};
use crate::secret::Secret;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use url::form_urlencoded::byte_serialize;
use zeroize::Zeroizing;

const MAX_TEXT: usize = 200;
const MAX_CODE: usize = 64;

/// So much of a secret is too much.
const PART: usize = 8;
/// Of a secret with fewer letters and digits than this, only its plain and its form-encoded spelling are looked for.
const SHORT: usize = 4;

/// What no text may hold: the account's secrets, and whatever else of the kind one request carried or one answer
/// brought (refresh token, assertion, code).
#[derive(Clone, Default)]
pub(super) struct Secrets(Vec<Secret>);

impl Secrets {
    /// The secrets that the configuration holds, sent or not.
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
            | Grant::JwtBearer(_) => {}
        }
        for (name, value) in &config.token_headers {
            // `Accept-Language: en` is no secret, and stands in most words.
            let public = name.as_str().starts_with("accept") || *name == http::header::USER_AGENT;
            if let (false, Ok(text)) = (public, std::str::from_utf8(value.as_bytes())) {
                secrets.add(&Secret::new(text));
            }
        }
        secrets
    }

    pub(super) fn add(&mut self, secret: &Secret) {
        // Every text holds the empty one.
        if !secret.expose().is_empty() {
            self.0.push(secret.clone());
        }
    }

    /// A text for people: printable, one line, at most 200 characters, and `None` if it holds one of the secrets.
    pub(super) fn text(&self, raw: &str) -> Option<Arc<str>> {
        if self.held_by(raw) {
            return None;
        }
        let printable = |c: char| if c.is_alphanumeric() || c.is_ascii_graphic() { c } else { ' ' };
        let clean: String = raw.chars().map(printable).take(MAX_TEXT).collect();
        let clean = clean.trim();
        // Replacing characters must not be what puts a secret together.
        (!clean.is_empty() && !self.held_by(clean) && !self.partly_held_by(clean)).then(|| clean.into())
    }

    /// An OAuth error code: one word, or `unspecified`. A registered one is told in any case: it says nothing of a short
    /// secret that stands in it, and whether a refresh token is of use rests on it.
    pub(super) fn code(&self, raw: &str) -> Arc<str> {
        if REGISTERED.contains(&raw) {
            return raw.into();
        }
        let word = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
        if raw.is_empty() || raw.len() > MAX_CODE || !raw.bytes().all(word) || self.held_by(raw) {
            return "unspecified".into();
        }
        raw.into()
    }

    fn held_by(&self, text: &str) -> bool {
        self.0.iter().any(|secret| {
            let plain = secret.expose();
            text.contains(plain) || text.contains(&byte_serialize(plain.as_bytes()).collect::<String>())
        })
    }

    /// Whether it holds [`PART`] characters of a secret in a row, however they are quoted, escaped or cased, and whatever
    /// was cut off around them.
    fn partly_held_by(&self, text: &str) -> bool {
        let texts = [text.as_bytes(), &percent_decode(text), without_entities(text).as_bytes()].map(gist);
        let parts: HashSet<&[u8]> = texts.iter().flat_map(|text| text.windows(PART)).collect();
        self.0.iter().any(|secret| {
            let gist = gist(secret.expose().as_bytes());
            gist.windows(PART).any(|part| parts.contains(part))
                || ((SHORT..PART).contains(&gist.len())
                    && texts.iter().any(|text| text.windows(gist.len()).any(|part| part == *gist)))
        })
    }
}

/// Letters and digits, lower case.
fn gist(text: &[u8]) -> Zeroizing<Vec<u8>> {
    let kept = text.iter().filter(|b| b.is_ascii_alphanumeric() || !b.is_ascii());
    Zeroizing::new(kept.map(u8::to_ascii_lowercase).collect())
}

/// As often as it was encoded, within reason.
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

/// Without `&amp;` and its like, which stand for a character that counts for nothing here.
fn without_entities(text: &str) -> String {
    let mut parts = text.split('&');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |kept, part| match part.split_once(';') {
        Some((entity, rest)) if entity.len() <= 8 => kept + rest,
        _ => kept + part,
    })
}

impl fmt::Debug for Secrets {
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
    fn control_characters_and_length_are_cut() {
        let secrets = Secrets::of(&config());
        assert_eq!(secrets.text("a\u{1b}[31mb\r\nc\u{202e}d").as_deref(), Some("a [31mb  c d"));
        assert_eq!(secrets.text(&"x".repeat(999)).map(|t| t.len()), Some(200));
        assert_eq!(secrets.text(" \n "), None);
    }

    #[test]
    fn a_text_with_a_secret_of_the_account_is_dropped_in_every_form_it_was_sent_in() {
        let mut config = config();
        config.client_auth = ClientAuth::Basic(vec![Secret::new("s3cr&t/1"), Secret::new("old-s3cret")]);
        config.grant = Grant::Password { username: Secret::new("bob"), password: Secret::new("p%ss word") };
        config.token_headers = vec![(FieldName::from_static("x-api-key"), HeaderValue::from_static("k3y"))];
        let secrets = Secrets::of(&config);
        for held in
            ["s3cr&t/1", "s3cr%26t%2F1", "old-s3cret", "p%ss word", "p%25ss+word", "bob", "p%ss\nword", "k3y"]
        {
            assert_eq!(secrets.text(&format!("bad: {held}!")), None, "{held}");
        }
        assert!(secrets.text("bad: client").is_some());
    }

    #[test]
    fn so_is_one_with_a_secret_of_the_request() {
        let mut secrets = Secrets::of(&config());
        secrets.add(&Secret::new("r3fresh+1"));
        for held in ["r3fresh+1", "r3fresh%2B1"] {
            assert_eq!(secrets.text(&format!("unknown token {held}")), None, "{held}");
        }
    }

    #[test]
    fn tokens_of_the_file_count_too() {
        let mut config = config();
        config.grant = Grant::RefreshToken { refresh_token: Secret::new("r3fresh") };
        assert_eq!(Secrets::of(&config).text("r3fresh is old"), None);
        config.grant = Grant::TokenExchange {
            subject_token: PresentedToken::Fixed(Secret::new("subj3ct")),
            subject_token_type: "t".into(),
            actor: Some((PresentedToken::Fixed(Secret::new("act0r")), "t".into())),
            requested_token_type: None,
        };
        assert_eq!(Secrets::of(&config).text("subj3ct is old"), None);
        assert_eq!(Secrets::of(&config).text("act0r is old"), None);
    }

    #[test]
    fn an_error_code_is_one_word() {
        let mut secrets = Secrets::of(&config());
        assert_eq!(&*secrets.code("invalid_client"), "invalid_client");
        assert_eq!(&*secrets.code("Not found"), "unspecified");
        assert_eq!(&*secrets.code(&"x".repeat(65)), "unspecified");
        secrets.add(&Secret::new("k3y"));
        assert_eq!(&*secrets.code("bad_k3y"), "unspecified");
    }

    #[test]
    fn a_registered_code_is_told_whatever_short_secret_stands_in_it() {
        let mut config = config();
        config.token_headers = vec![(FieldName::from_static("x-tenant"), HeaderValue::from_static("gra"))];
        assert_eq!(&*Secrets::of(&config).code("invalid_grant"), "invalid_grant");
        config.token_headers =
            vec![(FieldName::from_static("Accept-Language"), HeaderValue::from_static("en"))];
        assert!(Secrets::of(&config).text("the client is unknown").is_some());
    }

    #[test]
    fn a_text_with_a_part_of_a_secret_is_dropped_however_it_is_spelt() {
        let mut secrets = Secrets::of(&config());
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
            assert_eq!(secrets.text(&format!("unknown token {held}")), None, "{held}");
        }
        assert_eq!(secrets.text(&format!("{}R3fresh/0.A", "x ".repeat(50))), None);
        assert!(secrets.text("unknown refresh token").is_some());
    }

    #[test]
    fn an_empty_secret_drops_nothing() {
        let mut secrets = Secrets::default();
        secrets.add(&Secret::new(""));
        assert!(secrets.text("a").is_some());
    }
}
