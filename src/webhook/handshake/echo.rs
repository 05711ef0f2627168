//! Handshakes that repeat the challenge, as data: the place of the challenge, and the form of the answer.

use super::{MAX_BODY, Outcome, Question, bounded, header, invalid_challenge, object, parameter};
use crate::config::model::Handshake;
use crate::plan::{Refusal, Reply};
use serde_json::Value;
use std::borrow::Cow;

/// A question that its head decides.
struct HeadRow {
    method: &'static str,
    challenge: At,
    answer: As,
}

enum At {
    Query(&'static str),
    Header(&'static str),
    Nowhere,
}

/// A question that its body decides.
struct BodyRow {
    /// The header and its value that announce the question.
    announced_by: Option<(&'static str, &'static str)>,
    /// The member of the body and its value that make it a question.
    is: Option<(&'static str, &'static str)>,
    /// The JSON Pointer of the challenge.
    challenge: &'static str,
    answer: As,
}

#[derive(Clone, Copy)]
enum As {
    Text,
    /// The only member of an object.
    Member(&'static str),
    Nothing,
}

fn head_row(handshake: &Handshake) -> Option<HeadRow> {
    let row = |method, challenge, answer| Some(HeadRow { method, challenge, answer });
    match handshake {
        Handshake::Dropbox => row("GET", At::Query("challenge"), As::Text),
        Handshake::MicrosoftGraph => row("POST", At::Query("validationToken"), As::Text),
        Handshake::Okta => {
            row("GET", At::Header("x-okta-verification-challenge"), As::Member("verification"))
        }
        Handshake::Trello => row("HEAD", At::Nowhere, As::Nothing),
        _ => None,
    }
}

fn body_row(handshake: &Handshake) -> Option<BodyRow> {
    Some(match handshake {
        Handshake::Slack => BodyRow {
            announced_by: None,
            is: Some(("/type", "url_verification")),
            challenge: "/challenge",
            answer: As::Text,
        },
        Handshake::Twitch => BodyRow {
            announced_by: Some(("twitch-eventsub-message-type", "webhook_callback_verification")),
            is: None,
            challenge: "/challenge",
            answer: As::Text,
        },
        Handshake::EventGrid => BodyRow {
            announced_by: Some(("aeg-event-type", "SubscriptionValidation")),
            is: None,
            challenge: "/0/data/validationCode",
            answer: As::Member("validationResponse"),
        },
        _ => return None,
    })
}

/// Decides by the head.
pub(super) fn at_head(handshake: &Handshake, question: &Question<'_>) -> Option<Outcome> {
    let row = head_row(handshake).filter(|row| row.method == question.method)?;
    let challenge = match row.challenge {
        At::Query(name) => parameter(question.query, name)?,
        At::Header(name) => header(question, name)?.map(Cow::Borrowed),
        At::Nowhere => Ok(Cow::Borrowed("")),
    };
    Some(Outcome::of(challenge.map(|challenge| row.answer.reply(challenge))))
}

/// Returns true if the head announces a question in the body.
pub(super) fn is_announced(handshake: &Handshake, question: &Question<'_>) -> bool {
    let announced_by = body_row(handshake).and_then(|row| row.announced_by);
    announced_by.is_some_and(|(name, value)| question.headers.all(name).contains(&value.as_bytes()))
}

/// Decides by the body. A question that is announced and is none is refused: the receiver would take it for a delivery.
pub(super) fn in_body(handshake: &Handshake, question: &Question<'_>, body: &[u8]) -> Option<Outcome> {
    let row = body_row(handshake)?;
    if row.announced_by.is_some() {
        return is_announced(handshake, question).then(|| Outcome::of(row.answer(body)));
    }
    let (member, value) = row.is?;
    // Most deliveries are not parsed.
    if body.len() > MAX_BODY || memchr::memmem::find(body, value.as_bytes()).is_none() {
        return None;
    }
    let parsed: Value = serde_json::from_slice(body).ok()?;
    (parsed.pointer(member)?.as_str()? == value).then(|| Outcome::of(row.answer_of(&parsed)))
}

impl BodyRow {
    fn answer(&self, body: &[u8]) -> Result<Reply, Refusal> {
        let parsed = (body.len() <= MAX_BODY).then(|| serde_json::from_slice(body).ok()).flatten();
        self.answer_of(&parsed.ok_or_else(invalid_challenge)?)
    }

    fn answer_of(&self, body: &Value) -> Result<Reply, Refusal> {
        let challenge = body.pointer(self.challenge).and_then(Value::as_str).ok_or_else(invalid_challenge)?;
        bounded(Cow::Borrowed(challenge)).map(|challenge| self.answer.reply(challenge))
    }
}

impl As {
    fn reply(self, challenge: Cow<'_, str>) -> Reply {
        match self {
            Self::Text => Reply::text(challenge),
            Self::Member(name) => object(&[(name, &*challenge)]),
            Self::Nothing => Reply::empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `set_headers` may replace none of them.
    #[test]
    fn the_headers_of_a_question_are_listed() {
        for handshake in Handshake::WORDS.iter().filter_map(|name| Handshake::by_name(name)) {
            let challenge = head_row(&handshake).and_then(|row| match row.challenge {
                At::Header(name) => Some(name),
                At::Query(_) | At::Nowhere => None,
            });
            let announced_by = body_row(&handshake).and_then(|row| row.announced_by).map(|(name, _)| name);
            for name in challenge.into_iter().chain(announced_by) {
                assert!(handshake.headers().contains(&name), "{name}");
            }
        }
    }
}
