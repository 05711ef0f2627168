//! Amazon SNS: a message of a listed topic, signed with the key of a certificate that the message names.
//!
//! Invariants:
//! - The certificate and the confirmation of a subscription are at the SNS host of the topic's own region, and nowhere
//!   else. A topic is listed in the file, so a client cannot choose the host.
//! - Every check that needs no certificate comes before the one that does: a client that knows only the webhook's URL
//!   causes no fetch.
//! - The signed text is lines, so a value with a line break could be read in two ways. Only `Message` may have one, and
//!   it is the first: the others are read from the end, and their ends are certain.
//! - The topic and the type are the last lines. A message of another topic or another type cannot have the
//!   same text, even where SHA-1 (`SignatureVersion` 1) has collisions: two colliding messages would have the same end,
//!   and so the same topic.
//!
//! `MessageAttributes` and `UnsubscribeURL` are not signed.

mod certificate;
mod message;
mod topic;

pub use certificate::{CertificateFault, SigningCertificate};
pub use topic::{CertificateUrl, Topic, TopicFault};

use super::time::{TimeFormat, fresh};
use super::trace::Trace;
use super::{Delivery, Fault, FetchedKeys, KeyName, Lookup, NeededKey, Signed, one};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderName;
use message::{MessageKind, SnsMessage};
use std::time::{Duration, SystemTime};

/// The version of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SnsVersion {
    /// RSA PKCS#1 v1.5 with SHA-1.
    Sha1,
    /// The same with SHA-256.
    Sha256,
}

/// Headers that repeat members of the body. They are not signed, so they must not contradict it.
const TYPE: HeaderName = HeaderName::from_static("x-amz-sns-message-type");
const ID: HeaderName = HeaderName::from_static("x-amz-sns-message-id");
const TOPIC: HeaderName = HeaderName::from_static("x-amz-sns-topic-arn");
const RAW: HeaderName = HeaderName::from_static("x-amz-sns-rawdelivery");

/// The question of a new subscription, whose signature was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The topic.
    pub topic: String,
    /// The URL that confirms the subscription, with its token. It is a secret until it was used.
    pub confirm: url::Url,
}

/// Verifies a message of one of `topics`.
pub(super) fn verify(
    topics: &[Topic],
    delivery: &Delivery<'_>,
    fetched: &dyn FetchedKeys,
    (now, tolerance): (SystemTime, Duration),
    trace: &mut Trace,
) -> Result<Signed, Fault> {
    let message = read(delivery)?;
    trace.passed(|| format!("a {} of SNS", message.kind.as_str()));
    let topic = topics.iter().find(|topic| topic.as_str() == message.topic_arn);
    let topic = topic.ok_or(Fault::Content("the message is of a topic that `topics` does not list"))?;
    trace.passed(|| "its topic is listed".to_owned());
    let seconds = TimeFormat::Rfc3339.parse(&message.timestamp, false);
    let seconds = seconds.ok_or(Fault::Content("`Timestamp` is not a time of RFC 3339"))?;
    fresh(seconds, (now, tolerance), trace)?;
    let version = match &*message.signature_version {
        "1" => SnsVersion::Sha1,
        "2" => SnsVersion::Sha256,
        _ => return Err(Fault::Content("`SignatureVersion` is neither 1 nor 2")),
    };
    let signature = BASE64_STANDARD.decode(message.signature.as_bytes());
    let signature = signature.map_err(|_| Fault::Content("`Signature` is not base64"))?;
    let url = topic.certificate_url(&message.signing_cert_url);
    let url =
        url.ok_or(Fault::Content("`SigningCertURL` is not a certificate of SNS in the topic's region"))?;
    trace.passed(|| format!("certificate: {}", url.as_str()));
    let certificate = match fetched.certificate(&url, now) {
        Lookup::Known(certificate) => certificate,
        Lookup::Refused(fault) => return Err(Fault::Certificate(fault)),
        Lookup::Needed => {
            let otherwise = Box::new(Fault::KeyUnavailable("the certificate that `SigningCertURL` names"));
            return Err(Fault::NeedsKey(NeededKey { name: KeyName::Certificate(url), otherwise }));
        }
    };
    certificate.check(&url, now).map_err(Fault::Certificate)?;
    let text = message.signed_text();
    trace.note(|| format!("algorithm: {}", version.title()));
    trace.note(|| format!("signed text: {} bytes: {}", text.len(), message.signed_names().join(", ")));
    if !certificate.has_signed(version, text.as_bytes(), &signature) {
        return Err(Fault::Mismatch);
    }
    Ok(Signed { id: Some(message.message_id.into_owned()), timestamp: Some(seconds) })
}

/// Feeds the signed text, which tells deliveries apart.
pub(super) fn feed(delivery: &Delivery<'_>, mut sink: impl FnMut(&[u8])) {
    match SnsMessage::parse(delivery.body) {
        Ok(message) => sink(message.signed_text().as_bytes()),
        Err(_) => sink(delivery.body),
    }
}

/// Returns the question of a new subscription, if `body` is one. Its signature has to be verified before.
///
/// # Errors
///
/// If `SubscribeURL` is not the confirmation of this subscription at the SNS host of the topic's region.
pub fn subscription(body: &[u8]) -> Option<Result<Subscription, Fault>> {
    let message = SnsMessage::parse(body)
        .ok()
        .filter(|message| message.kind == MessageKind::SubscriptionConfirmation)?;
    let url = || {
        let topic = Topic::parse(&message.topic_arn).ok()?;
        topic.confirmation_url(message.subscribe_url.as_deref()?, message.token.as_deref()?)
    };
    let fault = "`SubscribeURL` is not the confirmation of this subscription by SNS in the topic's region";
    let confirm = url().ok_or(Fault::Content(fault));
    Some(confirm.map(|confirm| Subscription { topic: message.topic_arn.into_owned(), confirm }))
}

/// Reads the message, and checks that the headers beside it say the same.
fn read<'d>(delivery: &Delivery<'d>) -> Result<SnsMessage<'d>, Fault> {
    let header = |name: &HeaderName| match one(delivery.headers, name) {
        Ok(value) => Ok(Some(value.as_bytes())),
        Err(Fault::Missing(_)) => Ok(None),
        Err(fault) => Err(fault),
    };
    if header(&RAW)?.is_some_and(|value| !value.eq_ignore_ascii_case(b"false")) {
        return Err(Fault::Malformed(RAW, "says that the message is raw, and SNS does not sign those"));
    }
    let message = SnsMessage::parse(delivery.body).map_err(Fault::Content)?;
    let same = [(TYPE, message.kind.as_str()), (ID, &message.message_id), (TOPIC, &message.topic_arn)];
    for (name, expected) in same {
        if header(&name)?.is_some_and(|value| value != expected.as_bytes()) {
            return Err(Fault::Malformed(name, "contradicts the signed body"));
        }
    }
    Ok(message)
}

impl SnsVersion {
    fn title(self) -> &'static str {
        match self {
            Self::Sha1 => "RSA PKCS#1 v1.5 with SHA-1",
            Self::Sha256 => "RSA PKCS#1 v1.5 with SHA-256",
        }
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
