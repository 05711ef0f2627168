//! Questions that are answered by a MAC with the secret that signs the deliveries.

use super::{MAX_BODY, Outcome, Question, Sign, invalid_challenge, object, parameter};
use crate::plan::Refusal;
use crate::secret::hex;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use std::borrow::Cow;

/// Maximum length of a token.
const MAX_TOKEN: usize = 256;

/// Answers X's `crc_token`. The question is not signed, so its token must be one that no delivery can be.
pub(super) fn x(question: &Question<'_>, sign: Sign<'_>) -> Option<Outcome> {
    if question.method != "GET" {
        return None;
    }
    let token = parameter(question.query, "crc_token")?;
    Some(Outcome::of(token.and_then(|token| {
        let signature = format!("sha256={}", BASE64_STANDARD.encode(mac(&token, sign)?));
        Ok(object(&[("response_token", &*signature)]))
    })))
}

/// Answers Zoom's `endpoint.url_validation`.
pub(super) fn zoom(body: &[u8], sign: Sign<'_>) -> Option<Outcome> {
    #[derive(Deserialize)]
    struct Validation<'a> {
        #[serde(borrow)]
        event: Cow<'a, str>,
        #[serde(borrow)]
        payload: Payload<'a>,
    }
    #[derive(Deserialize)]
    struct Payload<'a> {
        #[serde(borrow, rename = "plainToken")]
        plain_token: Option<Cow<'a, str>>,
    }
    const EVENT: &str = "endpoint.url_validation";
    // Most deliveries are not parsed.
    if body.len() > MAX_BODY || memchr::memmem::find(body, EVENT.as_bytes()).is_none() {
        return None;
    }
    let validation: Validation<'_> = serde_json::from_slice(body).ok()?;
    if validation.event != EVENT {
        return None;
    }
    let token = validation.payload.plain_token.ok_or_else(invalid_challenge);
    Some(Outcome::of(token.and_then(|token| {
        let signature = hex(&mac(&token, sign)?);
        Ok(object(&[("plainToken", &*token), ("encryptedToken", &*signature)]))
    })))
}

/// Returns the MAC of a token that can be no signed text of a delivery: it has no brace, no `:` and no space.
fn mac(token: &str, sign: Sign<'_>) -> Result<Vec<u8>, Refusal> {
    let harmless = |b: u8| b.is_ascii_alphanumeric() || b"-_+/=.".contains(&b);
    let fine = (1..=MAX_TOKEN).contains(&token.len()) && token.bytes().all(harmless);
    fine.then(|| sign(token.as_bytes())).flatten().ok_or_else(invalid_challenge)
}
