//! Handshakes: the question by which a provider finds out if a URL expects its deliveries, and the answer.
//!
//! Pure over (handshake, request, body, validity of the signature). A question is decided in one of three places: by its
//! head alone, by its body, or by its body once the signature is valid. The last holds for every provider that signs its
//! question.
//!
//! # Invariants
//!
//! - What is repeated in an answer is bounded, holds no control character, and leaves as a type that no browser executes.
//! - No answer is a signature of a delivery. Zoom's is computed only for a question that Zoom signed, and for a token
//!   without `:`, while its deliveries sign a text that begins with `v0:`. X's is computed for a token without a brace,
//!   while its deliveries are JSON objects. Both are bound to the scheme that keeps this apart.
//! - A secret that a provider brings is returned to the caller, which keeps it before the answer leaves.

mod brought;
mod cloudevents;
mod discord;
mod echo;
mod hub;
mod mac;
pub(super) mod sns;
#[cfg(test)]
mod tests;

use crate::config::model::{Handshake, Rate};
use crate::error_code::ErrorCode;
use crate::message::Fields;
use crate::plan::{Refusal, Reply};
use crate::secret::Secret;
use http::HeaderMap;
use std::borrow::Cow;

/// Maximum length of a challenge. Microsoft's, the longest, has a few hundred bytes.
const MAX_CHALLENGE: usize = 2048;
/// A longer body is no question.
const MAX_BODY: usize = 16 * MAX_CHALLENGE;

/// The head of a request that may be a question.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The method.
    pub method: &'a str,
    /// The query, with or without its question mark.
    pub query: &'a [u8],
    /// The header fields.
    pub headers: Headers<'a>,
}

/// Header fields, as they came or without those that no receiver gets.
#[derive(Clone, Copy)]
pub enum Headers<'a> {
    /// As they came.
    Received(&'a Fields),
    /// Without those that no receiver gets.
    Cleaned(&'a HeaderMap),
}

impl<'a> Headers<'a> {
    /// Returns the values of every field `name`.
    fn all(&self, name: &'static str) -> Vec<&'a [u8]> {
        match *self {
            Self::Received(fields) => fields.all(name).collect(),
            Self::Cleaned(map) => map.get_all(name).iter().map(|value| value.as_bytes()).collect(),
        }
    }

    fn contains(&self, name: &'static str) -> bool {
        !self.all(name).is_empty()
    }
}

/// Computes the MAC of a challenge with the webhook's secret.
pub type Sign<'a> = &'a dyn Fn(&[u8]) -> Option<Vec<u8>>;

/// The outcome of a question.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// The question is answered.
    Answer(Reply),
    /// The question is refused.
    Refuse(Box<Refusal>),
    /// The secret in the question is kept, unless another one is kept already; then the question is answered.
    Keep(Secret, Reply),
}

/// A handshake, made ready for requests.
#[derive(Debug, Clone)]
pub struct Responder {
    handshake: Handshake,
    /// `WebHook-Allowed-Rate`, in requests a minute.
    allowed_rate: Option<u64>,
}

impl Responder {
    /// Prepares `handshake` for a webhook with this rate limit.
    pub fn new(handshake: &Handshake, rate: Option<&Rate>) -> Self {
        let per_minute = |rate: &Rate| {
            let requests = u128::from(rate.requests) * 60_000 / rate.per.as_millis().max(1);
            u64::try_from(requests).unwrap_or(u64::MAX).max(1)
        };
        Self { handshake: handshake.clone(), allowed_rate: rate.map(per_minute) }
    }

    /// Returns the name of the handshake.
    pub fn as_str(&self) -> &'static str {
        self.handshake.as_str()
    }

    /// Returns true if a subscription to a topic of SNS is confirmed, by a request and not by an answer.
    pub fn confirms_subscriptions(&self) -> bool {
        self.handshake == Handshake::Sns
    }

    /// Decides by the head alone, before the method is checked. `None`: the request is no such question.
    pub fn at_head(&self, question: &Question<'_>, sign: Sign<'_>) -> Option<Outcome> {
        match &self.handshake {
            Handshake::Meta { verify_token } => hub::meta(question, verify_token.as_ref()),
            Handshake::Websub { topics, verify_token } => {
                hub::websub(question, topics, verify_token.as_ref())
            }
            Handshake::Cloudevents { origins } => cloudevents::answer(question, origins, self.allowed_rate),
            Handshake::X => mac::x(question, sign),
            other => echo::at_head(other, question),
        }
    }

    /// Returns true if the body decides whether the request is a question, so that it has to be read.
    pub fn reads_body(&self, question: &Question<'_>) -> bool {
        match self.handshake {
            Handshake::Asana => brought::is_asana(question),
            Handshake::Notion => brought::may_be_notion(question),
            _ => self.handshake.is_signed() || echo::is_announced(&self.handshake, question),
        }
    }

    /// Decides by the body of a provider that does not sign its question, before any signature is checked.
    pub fn in_body(&self, question: &Question<'_>, body: &[u8]) -> Option<Outcome> {
        match self.handshake {
            Handshake::Asana => brought::asana(question),
            Handshake::Notion => brought::notion(question, body),
            _ if self.handshake.is_signed() => None,
            _ => echo::in_body(&self.handshake, question, body),
        }
    }

    /// Decides by the body of a provider that signs its question, whose signature is valid.
    pub fn in_signed_body(&self, question: &Question<'_>, body: &[u8], sign: Sign<'_>) -> Option<Outcome> {
        match self.handshake {
            Handshake::Zoom => mac::zoom(body, sign),
            Handshake::Discord => discord::answer(body),
            _ if self.handshake.is_signed() => echo::in_body(&self.handshake, question, body),
            _ => None,
        }
    }
}

impl Outcome {
    fn of(decided: Result<Reply, Refusal>) -> Self {
        match decided {
            Ok(reply) => Self::Answer(reply),
            Err(refusal) => Self::Refuse(Box::new(refusal)),
        }
    }
}

/// Returns the only parameter `name` of the query, decoded.
fn parameter<'q>(query: &'q [u8], name: &str) -> Option<Result<Cow<'q, str>, Refusal>> {
    let query = query.strip_prefix(b"?").unwrap_or(query);
    let mut values = url::form_urlencoded::parse(query).filter(|(found, _)| found == name);
    let (_, value) = values.next()?;
    Some(if values.next().is_some() { Err(invalid_challenge()) } else { bounded(value) })
}

/// Returns the only value of a header, in visible ASCII.
fn header<'f>(question: &Question<'f>, name: &'static str) -> Option<Result<&'f str, Refusal>> {
    let values = question.headers.all(name);
    let value = *values.first()?;
    let fine = (1..=MAX_CHALLENGE).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic);
    let text = std::str::from_utf8(value).ok().filter(|_| fine && values.len() == 1);
    Some(text.ok_or_else(invalid_challenge))
}

fn bounded(challenge: Cow<'_, str>) -> Result<Cow<'_, str>, Refusal> {
    let fine = (1..=MAX_CHALLENGE).contains(&challenge.len()) && !challenge.contains(char::is_control);
    if fine { Ok(challenge) } else { Err(invalid_challenge()) }
}

/// Returns true if the question contains the agreed token. They are compared by their hashes. Without an agreed one,
/// the key in the URL proves enough.
fn has_token(query: &[u8], name: &str, agreed: Option<&Secret>) -> bool {
    let Some(agreed) = agreed else { return true };
    let sent = parameter(query, name).and_then(Result::ok);
    sent.is_some_and(|sent| Secret::new(sent) == *agreed)
}

/// Returns a JSON object with these members, in this order.
fn object(members: &[(&str, &str)]) -> Reply {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let members: Vec<String> =
        members.iter().map(|(name, value)| format!("{}:{}", text(name), text(value))).collect();
    Reply::json(format!("{{{}}}", members.join(",")))
}

fn invalid_challenge() -> Refusal {
    Refusal::new(ErrorCode::RequestInvalid, "the challenge is not in the provider's format")
        .because("challenge")
}
