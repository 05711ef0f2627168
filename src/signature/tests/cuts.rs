//! The signed text of an accepted request can be cut in one way only: every other cut of it is refused.

use crate::signature::template::Piece;
use crate::signature::*;
use http::HeaderValue;
use std::collections::BTreeMap;

const PUBLIC_URL: &str = "https://h";
/// The characters that templates and checks treat in some special way, and two that none does.
const ALPHABET: &[u8] = b"{}[].:-1Ta/";

/// The values of the parts of a request, by their placeholders.
type Values = BTreeMap<String, Vec<u8>>;

/// Returns numbers that look random, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % limit
    }

    fn text(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most + 1)).map(|_| ALPHABET[self.below(ALPHABET.len())]).collect()
    }

    fn value(&mut self, piece: &Piece, format: TimeFormat) -> Vec<u8> {
        match piece {
            Piece::Timestamp => match format {
                TimeFormat::Seconds => b"1111111111".to_vec(),
                TimeFormat::Milliseconds => b"1111111111111".to_vec(),
                TimeFormat::Rfc3339 => {
                    [&b"2011-11-11T11:11:11Z"[..], b"2011-11-11T11:11:11.1-11:11"][self.below(2)].to_vec()
                }
            },
            Piece::Method => b"TaT"[..self.below(3) + 1].to_vec(),
            Piece::Target | Piece::Url => [b"/".to_vec(), self.text(3)].concat(),
            Piece::Body if self.below(2) == 0 => [b"{".to_vec(), self.text(3), b"}".to_vec()].concat(),
            // A time in the body, which the client chose.
            Piece::Body if self.below(2) == 0 => {
                [self.text(1), self.value(&Piece::Timestamp, format), self.text(2)].concat()
            }
            _ => self.text(4),
        }
    }
}

/// Returns true if a request can have these values. With `checked` it must have certain boundaries as well.
fn accepted(parts: &Parts, values: &Values, checked: bool) -> bool {
    let value = |placeholder: &str| values.get(placeholder).map_or(&[][..], Vec::as_slice);
    let mut headers = HeaderMap::new();
    headers.insert("s", HeaderValue::from_static("00"));
    for (name, placeholder) in [("t", "{timestamp}"), ("i", "{id}"), ("x", "{header:x}"), ("y", "{header:y}")]
    {
        headers.insert(name, HeaderValue::from_bytes(value(placeholder)).expect("a value"));
    }
    let target = [value("{target}"), value("{url}")].concat();
    let method = String::from_utf8(value("{method}").to_vec()).expect("ASCII");
    let is_request = method.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-' || b == b'.')
        && (target.is_empty() || target.starts_with(b"/"));
    let body = value("{body}");
    let delivery =
        Delivery { method: &method, target: &target, public_url: Some(PUBLIC_URL), headers: &headers, body };
    let time_is_right = |located: &place::LocatedTexts<'_, '_>| match (&parts.place.time, &located.time) {
        (Some((_, format)), Some(text)) => format.parse(text, parts.signed.boundaries.pinned_time).is_some(),
        _ => true,
    };
    let check = |located: &place::LocatedTexts<'_, '_>| {
        parts.signed.boundaries.check(&parts.place, &delivery, located, &mut Trace::off())
    };
    let fits = |located: place::LocatedTexts<'_, '_>| {
        time_is_right(&located) && (!checked || check(&located).is_ok())
    };
    is_request && parts.locate(&delivery).is_ok_and(fits)
}

/// Calls `visit` with every way to cut `message` into the pieces.
fn cuts(pieces: &[Piece], message: &[u8], values: &mut Values, visit: &mut dyn FnMut(&Values)) {
    let Some((piece, rest)) = pieces.split_first() else {
        if message.is_empty() {
            visit(values);
        }
        return;
    };
    if let Piece::Text(text) = piece {
        if let Some(message) = message.strip_prefix(text.as_bytes()) {
            cuts(rest, message, values, visit);
        }
        return;
    }
    let message = match piece {
        Piece::Url => message.strip_prefix(PUBLIC_URL.as_bytes()),
        _ => Some(message),
    };
    for end in 0..=message.map_or(0, <[u8]>::len) {
        let Some((value, message)) = message.map(|message| message.split_at(end)) else { return };
        values.insert(piece.title(), value.to_vec());
        cuts(rest, message, values, visit);
    }
}

#[test]
fn a_signed_text_has_one_cut() {
    let mut numbers = Numbers(1);
    let (mut checked, mut refused) = (0, 0);
    for (template, format) in [
        ("{timestamp}{body}", TimeFormat::Seconds),
        ("{body}{timestamp}", TimeFormat::Milliseconds),
        ("{body}{timestamp}", TimeFormat::Rfc3339),
        ("{timestamp}{body}", TimeFormat::Rfc3339),
        ("{id}{timestamp}{body}", TimeFormat::Rfc3339),
        ("{method}{url}{body}{timestamp}", TimeFormat::Seconds),
        ("{url}{body}", TimeFormat::Seconds),
        ("{body}{url}", TimeFormat::Seconds),
        ("{method}{target}{body}", TimeFormat::Seconds),
        ("{body}{target}", TimeFormat::Seconds),
        ("{id}.{timestamp}.{body}", TimeFormat::Seconds),
        ("{id}.{timestamp}.{body}", TimeFormat::Rfc3339),
        ("{body}.{header:x}", TimeFormat::Seconds),
        ("{header:x}--{body}--{header:y}", TimeFormat::Seconds),
        ("{header:x}.{target}:{body}.{id}", TimeFormat::Seconds),
        ("{method}.{url}.{header:x}.{body}", TimeFormat::Seconds),
        ("{timestamp}{header:x}:{body}", TimeFormat::Seconds),
        ("1{timestamp}1{body}", TimeFormat::Seconds),
        ("{body}1{timestamp}", TimeFormat::Seconds),
    ] {
        let field = |placeholder: &str, name| {
            template.contains(placeholder).then(|| Field::Header(HeaderName::from_static(name)))
        };
        let signature = SignatureAt::Headers(vec![HeaderName::from_static("s")], Form::Prefixed("".into()));
        let parts = Parts {
            place: Place {
                signature,
                encoding: Encoding::Hex,
                time: field("{timestamp}", "t").map(|field| (field, format)),
                id: field("{id}", "i"),
                require: Vec::new(),
            },
            secret: SecretEncoding::Raw,
            signed: Template::parse(template, format).unwrap_or_else(|fault| panic!("{template}: {fault}")),
            algorithm: Algorithm::Sha256,
        };
        let pieces = &parts.signed.pieces;
        for _ in 0..200 {
            let of = |piece: &Piece| (!matches!(piece, Piece::Text(_))).then(|| piece.title());
            let values: Values = pieces
                .iter()
                .filter_map(|piece| of(piece).map(|title| (title, numbers.value(piece, format))))
                .collect();
            if !accepted(&parts, &values, true) {
                continue;
            }
            let mut message = Vec::new();
            for piece in pieces {
                match piece {
                    Piece::Text(text) => message.extend_from_slice(text.as_bytes()),
                    Piece::Url => message.extend_from_slice(PUBLIC_URL.as_bytes()),
                    _ => {}
                }
                message.extend_from_slice(values.get(&piece.title()).map_or(&[], Vec::as_slice));
            }
            cuts(pieces, &message, &mut Values::new(), &mut |cut| {
                let same = *cut == values;
                assert!(same || !accepted(&parts, cut, true), "{template}: {values:?} and {cut:?}");
            });
            cuts(pieces, &message, &mut Values::new(), &mut |cut| {
                refused += usize::from(*cut != values && accepted(&parts, cut, false));
            });
            checked += 1;
        }
    }
    // Without the check, there are others.
    assert!(checked > 1000 && refused > 1000, "{checked} {refused}");
}
