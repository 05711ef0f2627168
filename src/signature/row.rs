//! A row of the presets: the four parts of a signature in constants, and further facts about a provider.

use super::Verifier;
use super::algorithm::Algorithm;
use super::form::{Encoding, Form, Pairs};
use super::key::SecretEncoding;
use super::member::Pointer;
use super::parts::Parts;
use super::place::{Field, Place, SignatureAt};
use super::template::Template;
use super::time::TimeFormat;
use http::HeaderName;
use std::borrow::Cow;

/// A named scheme, as a row of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Preset {
    /// One way to sign, and another one if the provider has two.
    ways: [Option<Row>; 2],
    /// Seconds that a signed time may be from now, if the file does not say it.
    pub(super) tolerance: u64,
    /// The top-level member of the signed JSON body that holds the provider's id of the delivery.
    pub(super) id_member: Option<&'static str>,
    /// Equal deliveries are usual.
    pub(super) repeats_itself: bool,
    /// A body that is no JSON object is not signed by a delivery.
    pub(super) objects_only: bool,
    /// The text for `{webhook_id}` comes from the file.
    pub(super) needs_webhook_id: bool,
    /// The claims that the file must require of the token.
    pub(super) needed_claims: &'static [&'static str],
    /// The claims that have to be true.
    pub(super) true_claims: &'static [&'static str],
    /// The name of the handshake that is answered if the file does not say it.
    pub(super) handshake: Option<&'static str>,
}

/// One way to sign: the four parts in constants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    at: ValueAt,
    more_headers: &'static [&'static str],
    prefix: &'static str,
    pairs: Option<PairsRow>,
    encoding: Encoding,
    time: Option<(ValueAt, TimeFormat)>,
    id: Option<ValueAt>,
    require: &'static [(&'static str, &'static str)],
    secret: SecretEncoding,
    signed: &'static str,
    algorithm: Algorithm,
    event_headers: &'static [&'static str],
}

/// The place of a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum ValueAt {
    Header(&'static str),
    Member(&'static str),
    Pair(&'static str),
}

/// Pairs in the signature's header.
#[derive(Debug, Clone, Copy)]
struct PairsRow {
    separator: char,
    assign: char,
    signature: &'static str,
    ed25519: Option<&'static str>,
}

/// Stands for the webhook id in a template.
const WEBHOOK_ID: &str = "{webhook_id}";

impl Row {
    /// Returns a signature in a header, of the body alone.
    pub(super) const fn header(name: &'static str, algorithm: Algorithm, encoding: Encoding) -> Self {
        Self::at(ValueAt::Header(name), algorithm, encoding)
    }

    /// Returns a signature in a member of the body.
    pub(super) const fn member(pointer: &'static str, algorithm: Algorithm, encoding: Encoding) -> Self {
        Self::at(ValueAt::Member(pointer), algorithm, encoding)
    }

    const fn at(at: ValueAt, algorithm: Algorithm, encoding: Encoding) -> Self {
        Self {
            at,
            more_headers: &[],
            prefix: "",
            pairs: None,
            encoding,
            time: None,
            id: None,
            require: &[],
            secret: SecretEncoding::Raw,
            signed: "{body}",
            algorithm,
            event_headers: &[],
        }
    }

    /// Adds headers in which a signature may be as well.
    pub(super) const fn or_in(self, more_headers: &'static [&'static str]) -> Self {
        Self { more_headers, ..self }
    }

    /// Sets the text before the signature.
    pub(super) const fn prefix(self, prefix: &'static str) -> Self {
        Self { prefix, ..self }
    }

    /// Sets that the header has pairs like `KEY=SIGNATURE`.
    pub(super) const fn pairs(self, separator: char, signature: &'static str) -> Self {
        let pairs = PairsRow { separator, assign: '=', signature, ed25519: None };
        Self { pairs: Some(pairs), ..self }
    }

    /// Sets that the header has pairs like `v1,SIGNATURE v1a,SIGNATURE`.
    pub(super) const fn versions(self) -> Self {
        let pairs = PairsRow { separator: ' ', assign: ',', signature: "v1", ed25519: Some("v1a") };
        Self { pairs: Some(pairs), ..self }
    }

    /// Sets the place of the time of signing.
    pub(super) const fn time(self, at: ValueAt, format: TimeFormat) -> Self {
        Self { time: Some((at, format)), ..self }
    }

    /// Sets the place of the delivery's id.
    pub(super) const fn id(self, at: ValueAt) -> Self {
        Self { id: Some(at), ..self }
    }

    /// Sets headers that must have a value.
    pub(super) const fn require(self, require: &'static [(&'static str, &'static str)]) -> Self {
        Self { require, ..self }
    }

    /// Sets the encoding of the secret.
    pub(super) const fn secret(self, secret: SecretEncoding) -> Self {
        Self { secret, ..self }
    }

    /// Sets the signed text.
    pub(super) const fn signed(self, signed: &'static str) -> Self {
        Self { signed, ..self }
    }

    /// Sets that the signature covers neither the type nor the id of an event. One of these headers, which the provider
    /// sends beside it, tells deliveries apart.
    pub(super) const fn unsigned_event(self, event_headers: &'static [&'static str]) -> Self {
        Self { event_headers, ..self }
    }

    fn parts(&self, webhook_id: &str) -> Parts {
        let name = |name: &&'static str| HeaderName::from_static(name);
        let pointer = |text| Pointer::parse(text).expect("the rows are tested");
        let field = |at: ValueAt| match at {
            ValueAt::Header(name) => Field::Header(HeaderName::from_static(name)),
            ValueAt::Member(text) => Field::Member(pointer(text)),
            ValueAt::Pair(key) => Field::Pair(Cow::Borrowed(key)),
        };
        let form = match self.pairs {
            None => Form::Prefixed(Cow::Borrowed(self.prefix)),
            Some(row) => Form::Pairs(Pairs {
                separator: row.separator,
                assign: row.assign,
                signatures: vec![Cow::Borrowed(row.signature)],
                ed25519: row.ed25519.map(Cow::Borrowed),
            }),
        };
        let signature = match self.at {
            ValueAt::Header(first) | ValueAt::Pair(first) => {
                SignatureAt::Headers([&[first], self.more_headers].concat().iter().map(name).collect(), form)
            }
            ValueAt::Member(text) => SignatureAt::Member(pointer(text)),
        };
        let format = self.time.map(|(_, format)| format).unwrap_or_default();
        let signed = self.signed.replace(WEBHOOK_ID, webhook_id);
        Parts {
            place: Place {
                signature,
                encoding: self.encoding,
                time: self.time.map(|(at, format)| (field(at), format)),
                id: self.id.map(field),
                require: self.require.iter().map(|(n, value)| (name(n), (*value).to_owned())).collect(),
            },
            secret: self.secret,
            signed: Template::parse_partial(&signed, format).expect("the rows are tested"),
            algorithm: self.algorithm,
        }
    }
}

impl Preset {
    /// Returns a scheme with one way to sign.
    pub(super) const fn new(row: Row) -> Self {
        Self {
            ways: [Some(row), None],
            tolerance: Verifier::DEFAULT_TOLERANCE.as_secs(),
            id_member: None,
            repeats_itself: false,
            objects_only: false,
            needs_webhook_id: false,
            needed_claims: &[],
            true_claims: &[],
            handshake: None,
        }
    }

    /// Adds another way to sign.
    pub(super) const fn or(self, row: Row) -> Self {
        Self { ways: [self.ways[0], Some(row)], ..self }
    }

    /// Sets another default tolerance, in seconds.
    pub(super) const fn tolerance(self, tolerance: u64) -> Self {
        Self { tolerance, ..self }
    }

    /// Sets the member `id` or `event_id` of the body that tells deliveries apart.
    pub(super) const fn id_member(self, name: &'static str) -> Self {
        Self { id_member: Some(name), ..self }
    }

    /// Sets that equal deliveries are usual.
    pub(super) const fn repeating(self) -> Self {
        Self { repeats_itself: true, ..self }
    }

    /// Sets that only JSON objects are deliveries.
    pub(super) const fn objects_only(self) -> Self {
        Self { objects_only: true, ..self }
    }

    /// Sets that the signed text has the webhook's id in it, which the file must give.
    pub(super) const fn with_webhook_id(self) -> Self {
        Self { needs_webhook_id: true, ..self }
    }

    /// Sets the claims of the token that the file must require, and those that have to be true.
    pub(super) const fn claims(
        self,
        needed_claims: &'static [&'static str],
        true_claims: &'static [&'static str],
    ) -> Self {
        Self { needed_claims, true_claims, ..self }
    }

    /// Sets the handshake that is answered if the file does not say it.
    pub(super) const fn handshake(self, name: &'static str) -> Self {
        Self { handshake: Some(name), ..self }
    }

    /// Returns the header that holds the secret itself.
    pub(super) fn token_header(&self) -> Option<&'static str> {
        self.ways.iter().flatten().find_map(|row| match row.at {
            ValueAt::Header(name) if row.algorithm.shows_credential() => Some(name),
            _ => None,
        })
    }

    /// Returns for each way the headers that tell deliveries apart, if nothing signed does.
    pub(super) fn event_headers(&self) -> impl Iterator<Item = &'static [&'static str]> {
        self.ways.iter().flatten().map(|row| row.event_headers)
    }

    /// Returns the parts of each way.
    pub(super) fn parts(&self, webhook_id: &str) -> Vec<Parts> {
        self.ways.iter().flatten().map(|row| row.parts(webhook_id)).collect()
    }
}
