//! What a token endpoint writes, made fit for a log.
//!
//! Providers put what they were sent into their error texts. Cutting the secret out would leave its neighbours to
//! guess from, so a text that holds one in any form it was sent in is dropped whole.

use crate::config::model::{Grant, OAuth2};
use crate::secret::Secret;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::sync::Arc;
use url::form_urlencoded::byte_serialize;

const MAX_TEXT: usize = 200;
const MAX_CODE: usize = 64;

/// A text for people: printable, one line, at most 200 characters, and `None` if it holds a secret of the account.
pub(super) fn text(raw: &str, config: &OAuth2) -> Option<Arc<str>> {
    if holds_secret(raw, config) {
        return None;
    }
    let printable = |c: char| if c.is_alphanumeric() || c.is_ascii_graphic() { c } else { ' ' };
    let clean: String = raw.chars().map(printable).take(MAX_TEXT).collect();
    let clean = clean.trim();
    // Replacing characters must not be what puts a secret together.
    (!clean.is_empty() && !holds_secret(clean, config)).then(|| clean.into())
}

/// An OAuth error code: one word, or `unspecified`.
pub(super) fn code(raw: &str, config: &OAuth2) -> Arc<str> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    if raw.is_empty() || raw.len() > MAX_CODE || !raw.bytes().all(word) || holds_secret(raw, config) {
        return "unspecified".into();
    }
    raw.into()
}

fn holds_secret(text: &str, config: &OAuth2) -> bool {
    let (username, password) = match &config.grant {
        Grant::ClientCredentials => (None, None),
        Grant::Password { username, password } => (Some(username), Some(password)),
    };
    let secrets = [Some(&config.client_secret), username, password];
    secrets.into_iter().flatten().any(|secret| holds(text, secret)) || text.contains(&basic(config))
}

fn holds(text: &str, secret: &Secret) -> bool {
    let plain = secret.expose();
    !plain.is_empty()
        && (text.contains(plain) || text.contains(&byte_serialize(plain.as_bytes()).collect::<String>()))
}

/// The credentials as they stand in the `Authorization` header.
fn basic(config: &OAuth2) -> String {
    let id: String = byte_serialize(config.client_id.as_bytes()).collect();
    let secret: String = byte_serialize(config.client_secret.expose().as_bytes()).collect();
    BASE64_STANDARD.encode(format!("{id}:{secret}"))
}

#[cfg(test)]
mod tests {
    use super::super::stub;
    use super::*;

    #[test]
    fn control_characters_and_length_are_cut() {
        let config = stub::config("http://127.0.0.1:1/token");
        assert_eq!(text("a\u{1b}[31mb\r\nc\u{202e}d", &config).as_deref(), Some("a [31mb  c d"));
        assert_eq!(text(&"x".repeat(999), &config).map(|t| t.len()), Some(200));
        assert_eq!(text(" \n ", &config), None);
    }

    #[test]
    fn a_text_with_a_secret_is_dropped_in_every_form_it_was_sent_in() {
        let mut config = stub::config("http://127.0.0.1:1/token");
        config.client_secret = Secret::new("s3cr&t/1");
        config.grant = Grant::Password { username: Secret::new("bob"), password: Secret::new("p%ss word") };
        let basic = basic(&config);
        for held in ["s3cr&t/1", "s3cr%26t%2F1", "p%ss word", "p%25ss+word", "bob", &basic, "p%ss\nword"] {
            assert_eq!(text(&format!("bad: {held}!"), &config), None, "{held}");
        }
        assert!(text("bad: client", &config).is_some());
    }

    #[test]
    fn an_error_code_is_one_word() {
        let mut config = stub::config("http://127.0.0.1:1/token");
        assert_eq!(&*code("invalid_client", &config), "invalid_client");
        assert_eq!(&*code("Not found", &config), "unspecified");
        assert_eq!(&*code(&"x".repeat(65), &config), "unspecified");
        config.client_secret = Secret::new("invalid_client");
        assert_eq!(&*code("invalid_client", &config), "unspecified");
    }
}
