//! The first part of a signature: its place in the request, and those of the time and the id that are signed beside it.

use super::form::{Encoding, Form, Pairs, SignatureText};
use super::member::{Members, Pointer};
use super::time::TimeFormat;
use super::{Delivery, Fault, one};
use http::{HeaderMap, HeaderName};
use std::borrow::Cow;

/// Maximum number of MACs in a request: a rotation needs two.
const MAX_SIGNATURES: usize = 16;
/// Maximum number of signatures that a public key verifies: each is a pass over the body for each key.
const MAX_BY_PUBLIC_KEY: usize = 4;
/// Maximum length of an id.
const MAX_ID: usize = 256;

/// The places of a scheme's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The signature.
    pub signature: SignatureAt,
    /// Its encoding.
    pub encoding: Encoding,
    /// The time of signing, if there is one.
    pub time: Option<(Field, TimeFormat)>,
    /// The provider's id of the delivery, if it is signed by itself.
    pub id: Option<Field>,
    /// Headers that must have this value, such as a version.
    pub require: Vec<(HeaderName, String)>,
}

/// The place of the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureAt {
    /// In at least one of these headers.
    Headers(Vec<HeaderName>, Form),
    /// In a member of the JSON body.
    Member(Pointer),
}

/// The place of a value beside the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// In a header.
    Header(HeaderName),
    /// In a member of the JSON body.
    Member(Pointer),
    /// Among the pairs of the signature's header, under this key.
    Pair(Cow<'static, str>),
}

/// The texts that a request has where the scheme looks for them.
#[derive(Debug)]
pub(super) struct LocatedTexts<'d, 'p> {
    /// The signatures, and the headers in which they are.
    pub(super) signatures: Vec<SignatureText<'d>>,
    /// The time of signing.
    pub(super) time: Option<Cow<'d, str>>,
    /// The id.
    pub(super) id: Option<Cow<'d, str>>,
    /// The members of the body that the scheme needs.
    pub(super) members: Members<'p>,
}

/// Decoded signatures.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    pub(super) macs: Vec<Vec<u8>>,
    pub(super) by_public_key: Vec<Vec<u8>>,
}

impl Place {
    /// Returns the headers of this place.
    pub(super) fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        let signature = match &self.signature {
            SignatureAt::Headers(names, _) => names.as_slice(),
            SignatureAt::Member(_) => &[],
        };
        let beside = [self.time.as_ref().map(|(field, _)| field), self.id.as_ref()];
        let beside = beside.into_iter().flatten().filter_map(|field| match field {
            Field::Header(name) => Some(name),
            Field::Member(_) | Field::Pair(_) => None,
        });
        signature.iter().chain(beside).chain(self.require.iter().map(|(name, _)| name))
    }

    /// Returns the members of the body that this place needs.
    pub(super) fn members(&self) -> impl Iterator<Item = &Pointer> {
        let signature = match &self.signature {
            SignatureAt::Headers(..) => None,
            SignatureAt::Member(pointer) => Some(pointer),
        };
        let beside = [self.time.as_ref().map(|(field, _)| field), self.id.as_ref()];
        let beside = beside.into_iter().flatten().filter_map(|field| match field {
            Field::Member(pointer) => Some(pointer),
            Field::Header(_) | Field::Pair(_) => None,
        });
        signature.into_iter().chain(beside)
    }

    /// Returns true if signatures by Ed25519 may stand beside MACs.
    pub(super) fn has_ed25519(&self) -> bool {
        matches!(&self.signature, SignatureAt::Headers(_, Form::Pairs(Pairs { ed25519: Some(_), .. })))
    }

    /// Returns true if a request has a header in which a signature may be.
    pub(super) fn is_in(&self, headers: &HeaderMap) -> bool {
        match &self.signature {
            SignatureAt::Headers(names, _) => names.iter().any(|name| headers.contains_key(name)),
            SignatureAt::Member(_) => true,
        }
    }

    /// Returns the place of a request's signatures, for an explanation.
    pub(super) fn found_in(&self, headers: &HeaderMap) -> String {
        match &self.signature {
            SignatureAt::Headers(names, _) => {
                let found = names.iter().filter(|name| headers.contains_key(*name));
                found.map(HeaderName::as_str).collect::<Vec<_>>().join(", ")
            }
            SignatureAt::Member(pointer) => format!("the member {} of the body", pointer.as_str()),
        }
    }

    /// Finds signatures, time and id.
    pub(super) fn locate<'d, 'p>(
        &self,
        delivery: &Delivery<'d>,
        members: Members<'p>,
    ) -> Result<LocatedTexts<'d, 'p>, Fault> {
        let headers = delivery.headers;
        for (name, value) in &self.require {
            if !text(headers, name)?.eq_ignore_ascii_case(value) {
                return Err(Fault::Malformed(
                    name.clone(),
                    "does not have the value that the scheme requires",
                ));
            }
        }
        let read = |field: &Field| match field {
            Field::Header(name) => text(headers, name).map(|text| Some(Cow::Borrowed(text))),
            Field::Member(pointer) => Ok(Some(Cow::Owned(members.value(pointer).to_owned()))),
            Field::Pair(_) => Ok(None),
        };
        let id = match &self.id {
            Some(field) => read(field)?,
            None => None,
        };
        if id.as_ref().is_some_and(|id| id.is_empty() || id.len() > MAX_ID) {
            return Err(self.id_fault("is empty or too long for an id"));
        }
        let (mut signatures, mut pair) = (Vec::new(), None);
        match &self.signature {
            SignatureAt::Headers(names, form) => {
                let is_there = |name: &HeaderName| headers.contains_key(name);
                if let Some(first) = names.first()
                    && !names.iter().any(is_there)
                {
                    return Err(Fault::Missing(first.clone()));
                }
                for name in names.iter().filter(|name| is_there(name)) {
                    form.read(name, text(headers, name)?, self.pair(), &mut signatures, &mut pair)?;
                }
            }
            SignatureAt::Member(pointer) => {
                let text =
                    |value: &String| SignatureText { text: Cow::Owned(value.clone()), is_ed25519: false };
                signatures.extend(members.values(pointer).iter().map(text));
            }
        }
        let time = match &self.time {
            Some((field, _)) => read(field)?.or(pair.map(Cow::Borrowed)),
            None => None,
        };
        Ok(LocatedTexts { signatures, time, id, members })
    }

    /// Decodes the signatures. If several are in pairs, those that can't be decoded are ignored.
    pub(super) fn decode(
        &self,
        texts: &[SignatureText<'_>],
        by_public_key: bool,
    ) -> Result<Candidates, Fault> {
        let mut found = Candidates::default();
        for SignatureText { text, is_ed25519 } in texts {
            let decoded = self.encoding.decode(text);
            match decoded {
                Some(bytes) if *is_ed25519 || by_public_key => found.by_public_key.push(bytes),
                Some(bytes) => found.macs.push(bytes),
                None if matches!(&self.signature, SignatureAt::Headers(_, Form::Pairs(_))) => {}
                None => return Err(self.malformed("is not a signature")),
            }
        }
        if found.by_public_key.len() > MAX_BY_PUBLIC_KEY {
            return Err(self.malformed("has more than 4 signatures of public keys"));
        }
        match found.macs.len() + found.by_public_key.len() {
            0 => Err(self.malformed("has no signature of a known version")),
            1..=MAX_SIGNATURES => Ok(found),
            _ => Err(self.malformed("has more than 16 signatures")),
        }
    }

    fn pair(&self) -> Option<&str> {
        match &self.time {
            Some((Field::Pair(key), _)) => Some(key),
            _ => None,
        }
    }

    /// Returns the fault of the signature.
    pub(super) fn malformed(&self, what: &'static str) -> Fault {
        match &self.signature {
            SignatureAt::Headers(names, _) => match names.first() {
                Some(name) => Fault::Malformed(name.clone(), what),
                None => Fault::Mismatch,
            },
            SignatureAt::Member(_) => Fault::Content("the member for the signature holds none"),
        }
    }

    /// Returns the fault of the id.
    pub(super) fn id_fault(&self, what: &'static str) -> Fault {
        match &self.id {
            Some(Field::Header(name)) => Fault::Malformed(name.clone(), what),
            _ => Fault::Content("the id in the body is empty, too long, or has other characters than an id"),
        }
    }

    /// Returns the fault of the time.
    pub(super) fn time_fault(&self, format: TimeFormat) -> Fault {
        match (&self.time, &self.signature) {
            (Some((Field::Header(name), _)), _) => Fault::Malformed(name.clone(), format.complaint()),
            (Some((Field::Pair(_), _)), SignatureAt::Headers(..)) => self.malformed(format.complaint()),
            _ => Fault::Content("the time of signing in the body is not in the scheme's format"),
        }
    }
}

pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, Fault> {
    one(headers, name)?.to_str().map_err(|_| Fault::Malformed(name.clone(), "is not ASCII"))
}
