//! Questions that bring the secret of the deliveries.

use super::{MAX_BODY, Outcome, Question, bounded, header, invalid_challenge};
use crate::plan::Reply;
use crate::secret::Secret;
use serde::Deserialize;
use std::borrow::Cow;

/// Asana's header, in the question and in the answer.
const HOOK_SECRET: &str = "X-Hook-Secret";
/// The header of Notion's signatures, which its question does not have.
const NOTION_SIGNATURE: &str = "x-notion-signature";
/// Lengths of a secret. Asana's have 32 or 64 characters, Notion's 50. A shorter one could be guessed.
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=256;

/// Returns true if the request is Asana's question. Its deliveries do not have the header.
pub(super) fn is_asana(question: &Question<'_>) -> bool {
    question.headers.contains(HOOK_SECRET)
}

/// Asana's question: a POST with the secret in a header, which the answer repeats.
pub(super) fn asana(question: &Question<'_>) -> Option<Outcome> {
    Some(match header(question, HOOK_SECRET)? {
        Ok(secret) if LENGTHS.contains(&secret.len()) => {
            let secret = Secret::new(secret);
            Outcome::Keep(secret.clone(), Reply::empty().with_secret(HOOK_SECRET, secret))
        }
        _ => Outcome::Refuse(Box::new(invalid_challenge())),
    })
}

/// Returns true if the body may be Notion's question: it is not signed.
pub(super) fn may_be_notion(question: &Question<'_>) -> bool {
    question.method == "POST" && !question.headers.contains(NOTION_SIGNATURE)
}

/// Notion's question: a POST with the secret in the body.
pub(super) fn notion(question: &Question<'_>, body: &[u8]) -> Option<Outcome> {
    #[derive(Deserialize)]
    struct Verification<'a> {
        #[serde(borrow)]
        verification_token: Cow<'a, str>,
    }
    if !may_be_notion(question) || body.len() > MAX_BODY {
        return None;
    }
    let found: Verification<'_> = serde_json::from_slice(body).ok()?;
    let token = bounded(found.verification_token)
        .ok()
        .filter(|token| LENGTHS.contains(&token.len()) && token.bytes().all(|b| b.is_ascii_graphic()));
    Some(match token {
        Some(token) => Outcome::Keep(Secret::new(token), Reply::empty()),
        None => Outcome::Refuse(Box::new(invalid_challenge())),
    })
}
