//! The boundaries between the parts of the signed text.
//!
//! If a boundary is uncertain, a client can move bytes from one part to the other, and the signature stays valid for a
//! request that the provider never sent. So the signed text must be one that can be cut in one way only: parts are taken
//! off from the left and from the right for as long as their end is certain, and one part may remain.
//!
//! | part | its end is certain, because |
//! | --- | --- |
//! | any, beside text | a value that contains the text is refused |
//! | a time | Unix seconds have ten digits, milliseconds 13; no RFC 3339 time begins or ends another |
//! | a hash of the body | it has 64 digits |
//! | a method before the URL or the target | a method has no `:` and no `/` |
//! | an id before an RFC 3339 time | an id of letters, digits, `-` and `_` has no `:`, and a time has its first after 13 characters |
//! | the URL or the target before the body | the body is a JSON object or list, and the target has no `{` and no `[` |
//! | the body before the URL or the target | the same with `}` and `]`; `public_url` is fixed |
//!
//! Every other pair is refused: an id or a header before the body, two headers, two members, an id before Unix seconds
//! (digits could belong to either).

use super::member::Members;
use super::place::{LocatedTexts, Place};
use super::template::{Piece, signed_headers};
use super::time::TimeFormat;
use super::trace::Trace;
use super::{Delivery, Fault, one};
use std::borrow::Cow;

/// A condition on a request, so that the parts of its signed text have certain ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Boundaries {
    /// A time has a fixed length.
    pub(super) pinned_time: bool,
    /// An id has letters, digits, `-` and `_` only.
    plain_id: bool,
    /// The body begins with a bracket, and the target has none of its kind.
    opens: bool,
    /// The body ends with a bracket, and the target has none of its kind.
    closes: bool,
    /// Pieces that must not contain the text beside them.
    separated: Vec<(Piece, Side)>,
}

/// The text beside a piece.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Side {
    Before(String),
    After(String),
}

/// Returns what makes the boundaries of a template certain. `None` if nothing does.
pub(super) fn boundaries(pieces: &[Piece], format: TimeFormat) -> Option<Boundaries> {
    let mut all = Boundaries::default();
    let mut core = pieces;
    while let [first, rest @ ..] = core
        && all.ends(first, rest.first(), format)
    {
        core = rest;
    }
    while let [rest @ .., last] = core
        && all.begins(rest.last(), last)
    {
        core = rest;
    }
    match core {
        [] | [_] => {}
        [Piece::Url | Piece::Target, Piece::Body] => all.opens = true,
        [Piece::Body, Piece::Url | Piece::Target] => all.closes = true,
        _ => return None,
    }
    Some(all)
}

impl Boundaries {
    /// Returns true if it is certain where `piece` ends. The last piece ends with the text.
    fn ends(&mut self, piece: &Piece, next: Option<&Piece>, format: TimeFormat) -> bool {
        match (piece, next) {
            (Piece::Text(_) | Piece::BodySha256, _) => true,
            (_, None) => false,
            (Piece::Timestamp, Some(Piece::Text(text)))
                if !text.starts_with(|c: char| c.is_ascii_digit()) =>
            {
                true
            }
            (Piece::Timestamp, _) => {
                self.pinned_time = true;
                true
            }
            (Piece::Body | Piece::Form, _) => false,
            (_, Some(Piece::Text(text))) => {
                self.separated.push((piece.clone(), Side::After(text.clone())));
                true
            }
            (Piece::Method, Some(Piece::Url | Piece::Target)) => true,
            (Piece::Id, Some(Piece::Timestamp)) if format == TimeFormat::Rfc3339 => {
                self.plain_id = true;
                true
            }
            _ => false,
        }
    }

    /// Returns true if it is certain where `piece` begins. The first piece begins with the text.
    fn begins(&mut self, before: Option<&Piece>, piece: &Piece) -> bool {
        match (before, piece) {
            (_, Piece::Text(_) | Piece::BodySha256) => true,
            (None, _) => false,
            (Some(Piece::Text(text)), Piece::Timestamp) if !text.ends_with(|c: char| c.is_ascii_digit()) => {
                true
            }
            (_, Piece::Timestamp) => {
                self.pinned_time = true;
                true
            }
            (_, Piece::Body | Piece::Form) => false,
            (Some(Piece::Text(text)), _) => {
                self.separated.push((piece.clone(), Side::Before(text.clone())));
                true
            }
            _ => false,
        }
    }

    /// Checks a request.
    pub(super) fn check(
        &self,
        place: &Place,
        delivery: &Delivery<'_>,
        located: &LocatedTexts<'_, '_>,
        trace: &mut Trace,
    ) -> Result<(), Fault> {
        let id = located.id.as_deref().unwrap_or_default();
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if self.plain_id && !id.bytes().all(is_plain) {
            return Err(place.id_fault("has a character that makes its end uncertain"));
        }
        for (piece, side) in &self.separated {
            let value = value(piece, id, &located.members, delivery)?;
            let is_certain = match side {
                Side::After(text) => {
                    let both = [&value, text.as_bytes()].concat();
                    memchr::memmem::find(&both, text.as_bytes()) == Some(value.len())
                }
                Side::Before(text) => {
                    let both = [text.as_bytes(), &value].concat();
                    memchr::memmem::rfind(&both, text.as_bytes()) == Some(0)
                }
            };
            if !is_certain {
                return Err(separator_fault(piece, place));
            }
            trace.passed(|| format!("{} has no separator of the signed text in it", piece.title()));
        }
        let is_certain = |end: Option<&u8>, brackets: [u8; 2]| {
            end.is_some_and(|end| brackets.contains(end))
                && !delivery.target.iter().any(|b| brackets.contains(b))
        };
        let is_certain = (!self.opens || is_certain(delivery.body.first(), [b'{', b'[']))
            && (!self.closes || is_certain(delivery.body.last(), [b'}', b']']));
        if is_certain {
            Ok(())
        } else {
            Err(Fault::Content(
                "the scheme signs URL and body without a separator: the body must be a JSON object or list, and the \
                 URL must have no bracket",
            ))
        }
    }
}

/// Returns the part of a value that the client chooses.
fn value<'a>(
    piece: &Piece,
    id: &'a str,
    members: &'a Members<'_>,
    delivery: &Delivery<'a>,
) -> Result<Cow<'a, [u8]>, Fault> {
    Ok(match piece {
        Piece::Id => Cow::Borrowed(id.as_bytes()),
        Piece::Header(name) => Cow::Borrowed(one(delivery.headers, name)?.as_bytes()),
        Piece::SignedHeaders(name) => Cow::Owned(signed_headers(delivery.headers, name)?.into_bytes()),
        Piece::Member(pointer) => Cow::Borrowed(members.value(pointer).as_bytes()),
        Piece::Target | Piece::Url => Cow::Borrowed(delivery.target),
        Piece::Method => Cow::Borrowed(delivery.method.as_bytes()),
        // Digits, which no text beside them begins with.
        _ => Cow::Borrowed(b""),
    })
}

fn separator_fault(piece: &Piece, place: &Place) -> Fault {
    const WHAT: &str = "contains the separator of the signed text";
    match piece {
        Piece::Id => place.id_fault(WHAT),
        Piece::Header(name) | Piece::SignedHeaders(name) => Fault::Malformed(name.clone(), WHAT),
        Piece::Member(_) => Fault::Content("a signed member contains the separator of the signed text"),
        _ => Fault::Content("the URL or the method contains the separator of the signed text"),
    }
}
