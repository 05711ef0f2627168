//! A message of SNS, and the text of it that is signed.
//!
//! A member is read in one way or not at all: a name that occurs twice, or a second time in another case, is refused, as
//! the receiver may read the other one.

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// The type of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MessageKind {
    Notification,
    SubscriptionConfirmation,
    UnsubscribeConfirmation,
}

/// The members of a message that are signed, or say how.
#[derive(Debug)]
pub(super) struct SnsMessage<'b> {
    pub(super) kind: MessageKind,
    pub(super) message_id: Cow<'b, str>,
    pub(super) topic_arn: Cow<'b, str>,
    pub(super) message: Cow<'b, str>,
    pub(super) subject: Option<Cow<'b, str>>,
    pub(super) timestamp: Cow<'b, str>,
    pub(super) token: Option<Cow<'b, str>>,
    pub(super) subscribe_url: Option<Cow<'b, str>>,
    pub(super) signature_version: Cow<'b, str>,
    pub(super) signature: Cow<'b, str>,
    pub(super) signing_cert_url: Cow<'b, str>,
}

const NAMES: [&str; 11] = [
    "Type",
    "MessageId",
    "TopicArn",
    "Message",
    "Subject",
    "Timestamp",
    "Token",
    "SubscribeURL",
    "SignatureVersion",
    "Signature",
    "SigningCertURL",
];

/// Maximum length of a member other than `Message`.
const MAX_VALUE: usize = 2048;

impl MessageKind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Notification => "Notification",
            Self::SubscriptionConfirmation => "SubscriptionConfirmation",
            Self::UnsubscribeConfirmation => "UnsubscribeConfirmation",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let all = [Self::Notification, Self::SubscriptionConfirmation, Self::UnsubscribeConfirmation];
        all.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl<'b> SnsMessage<'b> {
    /// Reads the body of a delivery.
    ///
    /// # Errors
    ///
    /// The reason, without a part of the body.
    pub(super) fn parse(body: &'b [u8]) -> Result<Self, &'static str> {
        let mut json = serde_json::Deserializer::from_slice(body);
        let mut fault = "the body is not a JSON object";
        let members = json
            .deserialize_map(MessageMembers { fault: &mut fault })
            .and_then(|found| json.end().map(|()| found));
        let mut members = members.map_err(|_| fault)?;
        let mut take = |name: &str| {
            let at = NAMES.iter().position(|known| *known == name)?;
            members[at].take()
        };
        let missing = "the body lacks a member that every message of SNS has";
        let message = take("Message").ok_or(missing)?;
        let subject = take("Subject");
        let (token, subscribe_url) = (take("Token"), take("SubscribeURL"));
        let mut need = |name| take(name).ok_or(missing);
        let kind = MessageKind::parse(&need("Type")?).ok_or("`Type` is none of the types of SNS")?;
        let message = Self {
            kind,
            message_id: need("MessageId")?,
            topic_arn: need("TopicArn")?,
            message,
            subject,
            timestamp: need("Timestamp")?,
            token,
            subscribe_url,
            signature_version: need("SignatureVersion")?,
            signature: need("Signature")?,
            signing_cert_url: need("SigningCertURL")?,
        };
        message.check()?;
        Ok(message)
    }

    /// Checks that every line of the signed text but the first value's has a certain end.
    fn check(&self) -> Result<(), &'static str> {
        let is_question = self.kind != MessageKind::Notification;
        let fits = match (&self.token, &self.subscribe_url) {
            (Some(_), Some(_)) => is_question && self.subject.is_none(),
            (None, None) => !is_question,
            _ => false,
        };
        if !fits {
            return Err("the body has other members than a message of its `Type`");
        }
        let lines =
            [&self.message_id, &self.timestamp, &self.topic_arn, &self.signing_cert_url, &self.signature];
        let optional = [&self.subject, &self.token, &self.subscribe_url];
        let mut lines = lines.into_iter().chain(optional.into_iter().flatten());
        let is_fit = |value: &Cow<'_, str>| {
            value.len() <= MAX_VALUE
                && !value.chars().any(|c| c.is_control() || c == '\u{2028}' || c == '\u{2029}')
        };
        if lines.all(is_fit) {
            Ok(())
        } else {
            Err("a member of the body is too long, or has a line break that SNS does not allow there")
        }
    }

    fn signed(&self) -> Vec<(&'static str, &str)> {
        let always = |name, value| Some((name, value));
        let lines = [
            always("Message", &*self.message),
            always("MessageId", &*self.message_id),
            self.subject.as_deref().map(|value| ("Subject", value)),
            self.subscribe_url.as_deref().map(|value| ("SubscribeURL", value)),
            always("Timestamp", &*self.timestamp),
            self.token.as_deref().map(|value| ("Token", value)),
            always("TopicArn", &*self.topic_arn),
            always("Type", self.kind.as_str()),
        ];
        lines.into_iter().flatten().collect()
    }

    /// Returns the names of the signed members, in their order.
    pub(super) fn signed_names(&self) -> Vec<&'static str> {
        self.signed().into_iter().map(|(name, _)| name).collect()
    }

    /// Returns the text that SNS signs: the name and the value of each member on a line of its own.
    pub(super) fn signed_text(&self) -> String {
        let mut text = String::with_capacity(self.message.len() + 1024);
        for part in self.signed().into_iter().flat_map(|(name, value)| [name, value]) {
            text.push_str(part);
            text.push('\n');
        }
        text
    }
}

/// Reads the members of [`NAMES`], and skips the others.
struct MessageMembers<'f> {
    fault: &'f mut &'static str,
}

#[derive(Deserialize)]
struct MessageText<'b>(#[serde(borrow)] Cow<'b, str>);

type Values<'b> = [Option<Cow<'b, str>>; NAMES.len()];

impl<'b> Visitor<'b> for MessageMembers<'_> {
    type Value = Values<'b>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<Values<'b>, A::Error> {
        let mut values: Values<'b> = Default::default();
        let mut is_seen = [false; NAMES.len()];
        while let Some(MessageText(name)) = map.next_key()? {
            let Some(at) = NAMES.iter().position(|known| is_near(known, &name)) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if NAMES[at] != name || std::mem::replace(&mut is_seen[at], true) {
                *self.fault = "a member of the body occurs more than once, or in another case";
                return Err(A::Error::custom("a member that can be read in two ways"));
            }
            // A null is absent, as SNS means it.
            values[at] = match map.next_value::<Option<MessageText<'b>>>() {
                Ok(value) => value.map(|MessageText(value)| value),
                Err(error) => {
                    *self.fault = "a member of the body is no text";
                    return Err(error);
                }
            };
        }
        Ok(values)
    }
}

/// Returns true if a reader that ignores the case may take `name` for `known`. Some fold two letters beyond ASCII to it.
fn is_near(known: &str, name: &str) -> bool {
    let fold = |c: char| match c {
        'ſ' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    known.len() <= name.len() && name.chars().map(fold).eq(known.chars().map(fold))
}
