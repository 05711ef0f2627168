//! The question of CloudEvents: OPTIONS with the sender's name (HTTP 1.1 Web Hooks for Event Delivery, section 4).

use super::{Outcome, Question, header};
use crate::error_code::ErrorCode;
use crate::plan::{Refusal, Reply};

/// Grants the sender the permission to deliver, with the webhook's own rate. `WebHook-Request-Callback` is never called:
/// the permission is in the answer.
pub(super) fn answer(
    question: &Question<'_>,
    origins: &[String],
    allowed_rate: Option<u64>,
) -> Option<Outcome> {
    if question.method != "OPTIONS" {
        return None;
    }
    let origin = header(question, "webhook-request-origin")?;
    Some(Outcome::of(origin.and_then(|origin| {
        let is_allowed = |allowed: &String| allowed.eq_ignore_ascii_case(origin);
        if !origins.is_empty() && !origins.iter().any(is_allowed) {
            let detail = "the sender is not one of the webhook's `origins`";
            return Err(Refusal::new(ErrorCode::RequestDenied, detail).because("origin"));
        }
        let rate = allowed_rate.map_or_else(|| "*".to_owned(), |rate| rate.to_string());
        Ok(Reply::empty()
            .with_header("Allow", "POST".to_owned())
            .with_header("WebHook-Allowed-Origin", origin.to_owned())
            .with_header("WebHook-Allowed-Rate", rate))
    })))
}
