//! Questions of hubs, in `hub.…` parameters of a GET: Meta, and WebSub (W3C Recommendation of 2018, section 5.3).

use super::{Outcome, Question, has_token, invalid_challenge, parameter};
use crate::error_code::ErrorCode;
use crate::plan::{Refusal, Reply};
use crate::secret::Secret;
use http::StatusCode;

const TOKEN: &str = "hub.verify_token";

/// Meta's question: `hub.mode=subscribe`, with the agreed token.
pub(super) fn meta(question: &Question<'_>, verify_token: Option<&Secret>) -> Option<Outcome> {
    if question.method != "GET" {
        return None;
    }
    let challenge = parameter(question.query, "hub.challenge")?;
    let subscribes = matches!(parameter(question.query, "hub.mode"), Some(Ok(mode)) if mode == "subscribe");
    if !(subscribes && has_token(question.query, TOKEN, verify_token)) {
        return Some(Outcome::Refuse(Box::new(wrong_token())));
    }
    Some(Outcome::of(challenge.map(Reply::text)))
}

/// A hub's question. The file says which subscriptions are wanted, so the end of a wanted one is not confirmed, and the
/// end of any other is. The notice that a subscription was denied needs no answer but a success.
pub(super) fn websub(
    question: &Question<'_>,
    topics: &[String],
    verify_token: Option<&Secret>,
) -> Option<Outcome> {
    if question.method != "GET" {
        return None;
    }
    let mode = parameter(question.query, "hub.mode")?;
    Some(Outcome::of(mode.and_then(|mode| {
        let ask = |name| parameter(question.query, name).unwrap_or_else(|| Err(invalid_challenge()));
        let topic = ask("hub.topic")?;
        let is_wanted = topics.iter().any(|wanted| *wanted == topic);
        match &*mode {
            "denied" => return Ok(Reply::empty()),
            "subscribe" | "unsubscribe" => {}
            _ => return Err(invalid_challenge()),
        }
        let challenge = ask("hub.challenge")?;
        if !has_token(question.query, TOKEN, verify_token) {
            return Err(wrong_token());
        }
        if (mode == "subscribe") != is_wanted {
            return Err(unwanted());
        }
        Ok(Reply::text(challenge))
    })))
}

fn wrong_token() -> Refusal {
    Refusal::new(ErrorCode::SignatureInvalid, "hub.verify_token is not the configured one")
        .because("verify_token")
}

/// Section 5.3.1 of the Recommendation: a subscriber that does not agree answers 404.
fn unwanted() -> Refusal {
    let detail = "this subscription, or its end, is not wanted: `topics` of the webhook lists those that are";
    let refusal = Refusal::new(ErrorCode::RequestDenied, detail).because("topic");
    Refusal { status: Some(StatusCode::NOT_FOUND), ..refusal }
}
