//! Header names in the file: which name may serve which purpose, and that no name serves two.

use super::decode::{At, Decoder};
use super::problem::Finding;
use super::scalar::Invalid;
use super::source::Span;
use super::tree::View;
use crate::header_name::{FieldName, alike, is_framing, is_reserved, misleads_receiver, same};
use http::HeaderName;

/// The purpose of a header name in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// attache sends it to a service, a token endpoint or a client.
    Sent,
    /// attache sends it to a receiver.
    Told,
    /// A third party sends a key, a signature, a time or an id in it.
    Received,
    /// `{header:NAME}`: the third party signs it.
    Signed,
}

/// Headers of a webhook call that attache sets itself, or removes with every other trace of a proxy.
const OF_PROXIES: [&str; 6] =
    ["via", "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-request-id"];

/// Headers that a receiver's framework interprets before the receiver.
const OF_FRAMEWORKS: [&str; 3] = ["content-type", "content-encoding", "cookie"];

impl Purpose {
    /// Parses a name, and keeps its spelling.
    pub(super) fn parse(self, text: &str) -> Result<FieldName, Invalid> {
        let name = FieldName::parse(text).map_err(|_| Invalid {
            label: "this is not a header name",
            help: Some("a header name has letters, digits and `-`".to_owned()),
        })?;
        self.allow(name.as_str()).map_err(|label| Invalid { label, help: None })?;
        Ok(name)
    }

    /// Checks a name, in every spelling that some program reads as the same. The error is the reason for the refusal.
    pub(super) fn allow(self, name: &str) -> Result<(), &'static str> {
        let is_one_of = |names: &[&str]| names.iter().any(|other| same(name, other));
        if is_framing(name) {
            return Err("this header belongs to the connection and can't be used");
        }
        if self != Self::Sent && is_one_of(&OF_PROXIES) {
            return Err("attache writes or removes this header itself");
        }
        // Fields that describe the body are forwarded unchanged, and some providers sign them.
        let is_signable = self == Self::Signed && !same(name, "cookie");
        if self != Self::Sent && !is_signable && is_one_of(&OF_FRAMEWORKS) {
            return Err("this header has another meaning for the receiver");
        }
        if matches!(self, Self::Received | Self::Signed) && (is_reserved(name) || misleads_receiver(name)) {
            return Err("attache removes this header from every call");
        }
        Ok(())
    }

    /// Reads the name at `at`, or reports it.
    pub(super) fn read(self, decoder: &Decoder<'_>, at: &At<'_>) -> Option<FieldName> {
        let what = match self {
            Self::Sent | Self::Told => "a header name that can be set",
            Self::Received | Self::Signed => "a header name that can be read from a call",
        };
        decoder.parsed(at, "invalid_header", what, |text| self.parse(text))
    }

    /// As [`Self::read`], next to a secret: an invalid name may be the secret, misplaced by one line.
    pub(super) fn read_beside_secret(self, decoder: &Decoder<'_>, at: &At<'_>) -> Option<FieldName> {
        if let View::Scalar { text, .. } = decoder.tree.view(at.node)
            && FieldName::parse(text).is_err()
        {
            decoder.hide(at.node);
        }
        self.read(decoder, at)
    }
}

/// A set of names that must differ in more than case and separators.
#[derive(Debug, Default, Clone)]
pub(super) struct Distinct<'a> {
    /// The names of the whole file, for a part of it.
    above: Option<&'a Distinct<'a>>,
    uses: Vec<Use>,
}

/// A name with its use.
#[derive(Debug, Clone)]
pub(super) struct Use {
    /// The name.
    pub(super) name: HeaderName,
    /// The key that sets it, for messages.
    pub(super) key: String,
    /// Its place. `None` for a default.
    pub(super) place: Option<Span>,
}

impl<'a> Distinct<'a> {
    /// Returns an empty set of names, each of which must differ from those `above` as well.
    pub(super) fn below(above: &'a Distinct<'a>) -> Self {
        Self { above: Some(above), uses: Vec::new() }
    }

    /// Adds a name. If it has a use already, reports it and returns false.
    pub(super) fn add(&mut self, decoder: &Decoder<'_>, new: Use) -> bool {
        let fine = self.check(decoder, &new);
        self.uses.push(new);
        fine
    }

    /// As [`Self::add`], for a name that several webhooks may use.
    pub(super) fn check(&self, decoder: &Decoder<'_>, new: &Use) -> bool {
        let above = self.above.into_iter().flat_map(|above| &above.uses);
        let mut uses = above.chain(&self.uses);
        let Some(first) = uses.find(|first| alike(first.name.as_str(), new.name.as_str())) else {
            return true;
        };
        // Two defaults always differ.
        if let Some(place) = new.place.or(first.place) {
            let message = format!("{} and {} are the same header", first.key, new.key);
            let finding = Finding::error("duplicate_header", place, message)
                .label("the names must differ in more than case and separators");
            decoder.report(match (first.place, new.place) {
                (Some(first), Some(_)) => finding.secondary(first, "used here"),
                _ => finding.help("the other one is the default"),
            });
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::Purpose::{Received, Sent, Signed, Told};

    #[test]
    fn no_spelling_of_a_framing_name_is_allowed_for_any_purpose() {
        for name in [
            "Host",
            "CONNECTION",
            "content-length",
            "Content_Length",
            "transfer.encoding",
            "TE",
            "Trailer",
            "Upgrade",
            "Expect",
            "Keep_Alive",
            "Proxy-Authorization",
            "Proxy_Anything",
            "HTTP2-Settings",
        ] {
            for purpose in [Sent, Told, Received, Signed] {
                assert!(purpose.parse(name).is_err(), "{purpose:?} {name}");
            }
        }
        for text in ["X Key", "", "X-Ü", "a:b"] {
            assert!(Sent.parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn other_names_depend_on_the_purpose() {
        let allowed = |name: &str| {
            [Sent, Told, Received, Signed].map(|purpose| if purpose.allow(name).is_ok() { '+' } else { '-' })
        };
        for (name, expected) in [
            ("X-API-Key", "++++"),
            ("Authorization", "++++"),
            ("Date", "++++"),
            ("X-Hosted", "++++"),
            ("Content-Type", "+--+"),
            ("content_encoding", "+--+"),
            ("Cookie", "+---"),
            ("Via", "+---"),
            ("Forwarded", "+---"),
            ("X-Forwarded-For", "+---"),
            ("x_forwarded.proto", "+---"),
            ("X-Forwarded-Host", "+---"),
            ("X-Request-Id", "+---"),
            ("X-Attache-User", "++--"),
            ("X-Forwarded-User", "++--"),
            ("X-Real-IP", "++--"),
            ("Client_IP", "++--"),
            ("Proxy", "++--"),
        ] {
            assert_eq!(allowed(name).iter().collect::<String>(), expected, "{name}");
        }
    }
}
