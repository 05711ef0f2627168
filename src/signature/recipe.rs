//! How a scheme that signs with a MAC does it, as data.

use super::key::Key;
use super::trace::Trace;
use super::{Delivery, Fault, Signed, fresh, one, unix_seconds};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, header};
use ring::hmac;
use std::borrow::Cow;
use std::time::{Duration, SystemTime};
use subtle::ConstantTimeEq as _;

/// Of one header, no more signatures are looked at: a rotation needs two.
const MAX_SIGNATURES: usize = 16;
/// And of these fewer: each is a pass over the body for each key.
const MAX_ED25519: usize = 4;
/// An id that is longer is none.
const MAX_ID: usize = 256;

/// The hash under the MAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-1: fit for a MAC still, though for nothing else.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// Every one, by its name in the file.
    pub const ALL: [(&str, Self); 4] =
        [("sha256", Self::Sha256), ("sha512", Self::Sha512), ("sha384", Self::Sha384), ("sha1", Self::Sha1)];

    pub(super) fn ring(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }
}

/// How a signature is spelt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Hexadecimal, in either case.
    Hex,
    /// Base64 with `+`, `/` and padding.
    Base64,
    /// Base64 with `-`, `_` and none.
    Base64Url,
}

impl Encoding {
    /// Every one, by its name in the file.
    pub const ALL: [(&str, Self); 3] =
        [("hex", Self::Hex), ("base64", Self::Base64), ("base64url", Self::Base64Url)];

    fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Base64 => BASE64_STANDARD.decode(text).ok(),
            Self::Base64Url => BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok(),
            Self::Hex => {
                let digits: Option<Vec<u8>> =
                    text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
                let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
                Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
            }
        }
    }
}

/// How a header holds signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// One, after this text.
    Prefixed(Cow<'static, str>),
    /// `t=TIME,v1=SIGNATURE,v1=…`: the time stands in the same header.
    Pairs,
    /// `v1,SIGNATURE v1a,SIGNATURE …`: MACs, and signatures by Ed25519.
    Versions,
}

/// How a scheme signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Where the signature is.
    pub header: HeaderName,
    /// And how.
    pub form: Form,
    /// The hash.
    pub algorithm: Algorithm,
    /// The spelling.
    pub encoding: Encoding,
    /// Where the time of signing is; with [`Form::Pairs`], in the signature's own header.
    pub timestamp: Option<HeaderName>,
    /// Where the id of the delivery is, if that is signed.
    pub id: Option<HeaderName>,
    /// What is signed.
    pub signed: Template,
}

/// Stands where no recipe is: nothing passes it.
pub(super) static NOTHING: Recipe = Recipe {
    header: header::AUTHORIZATION,
    form: Form::Versions,
    algorithm: Algorithm::Sha256,
    encoding: Encoding::Hex,
    timestamp: Some(header::DATE),
    id: None,
    signed: Template(Vec::new()),
};

impl Recipe {
    pub(super) fn verify(
        &self,
        keys: &[Key],
        delivery: &Delivery<'_>,
        when: (SystemTime, Duration),
        trace: &mut Trace,
    ) -> Result<Signed, Fault> {
        let headers = delivery.headers;
        let mut signed = Signed::default();
        if let Some(name) = &self.id {
            let id = text(headers, name)?;
            if id.is_empty() || id.len() > MAX_ID {
                return Err(Fault::Malformed(name.clone(), "is empty or too long for an id"));
            }
            signed.id = Some(id.to_owned());
        }
        let value = text(headers, &self.header)?;
        trace.passed(|| format!("{} is there, once", self.header));
        let (timestamp, candidates) = self.candidates(value)?;
        let timestamp = match (&self.timestamp, timestamp) {
            (Some(name), _) => Some((name, text(headers, name)?)),
            (None, Some(within)) => Some((&self.header, within)),
            (None, None) => None,
        };
        if let Some((name, text)) = timestamp {
            let seconds = unix_seconds(text)
                .ok_or_else(|| Fault::Malformed(name.clone(), "has no time in Unix seconds"))?;
            trace.passed(|| format!("{name} has the time {seconds}"));
            fresh(seconds, when, trace)?;
            signed.timestamp = Some(seconds);
        }
        self.bordered(headers, trace)?;
        let (macs, signatures) = (candidates.macs.len(), candidates.ed25519.len());
        trace.passed(|| format!("signatures found: {macs} by a MAC, {signatures} by Ed25519"));
        trace.note(|| format!("signed text: {}", self.signed.describe(delivery)));
        self.compare(keys, delivery, &signed, &candidates, trace)?;
        Ok(signed)
    }

    /// An id or a header that has the text in it which ends or begins it could be said to end elsewhere, and what is signed
    /// beside it with it.
    fn bordered(&self, headers: &HeaderMap, trace: &mut Trace) -> Result<(), Fault> {
        let pieces = &self.signed.0;
        for (at, piece) in pieces.iter().enumerate() {
            let Some(name) = (match piece {
                Piece::Id => self.id.as_ref(),
                Piece::Header(name) => Some(name),
                _ => None,
            }) else {
                continue;
            };
            let value = one(headers, name)?.as_bytes();
            let beside =
                [at.checked_sub(1), Some(at + 1)].into_iter().flatten().filter_map(|at| pieces.get(at));
            let holds = |text: &str| value.windows(text.len()).any(|part| part == text.as_bytes());
            if beside.into_iter().any(|piece| matches!(piece, Piece::Text(text) if holds(text))) {
                return Err(Fault::Malformed(name.clone(), "contains the separator of the signed text"));
            }
            trace.passed(|| format!("{name} occurs once, without the separator of the signed text"));
        }
        Ok(())
    }

    /// Every secret is tried, and every signature compared, whatever the outcome of the ones before.
    fn compare(
        &self,
        keys: &[Key],
        delivery: &Delivery<'_>,
        signed: &Signed,
        candidates: &Candidates,
        trace: &mut Trace,
    ) -> Result<(), Fault> {
        let mut found = false;
        // Ed25519 takes a message in one piece.
        let mut message = Vec::new();
        if !candidates.ed25519.is_empty() && keys.iter().any(|key| matches!(key, Key::Public(_))) {
            self.feed(delivery, signed, |part| message.extend_from_slice(part));
        }
        for (i, key) in keys.iter().enumerate() {
            let same = match key {
                Key::Public(_) => {
                    candidates.ed25519.iter().any(|signature| key.has_signed(&message, signature))
                }
                _ if candidates.macs.is_empty() => false,
                _ => key
                    .hmac(self.algorithm, |context| {
                        self.feed(delivery, signed, |part| context.update(part));
                    })
                    .is_some_and(|mac| {
                        candidates.macs.iter().fold(false, |any, c| any | bool::from(c.ct_eq(&mac)))
                    }),
            };
            trace
                .note(|| format!("secret {}: {}", i + 1, if same { "it signed this" } else { "it did not" }));
            found |= same;
        }
        if found { Ok(()) } else { Err(Fault::Mismatch) }
    }

    /// Feeds what is signed, piece by piece.
    pub(super) fn feed(&self, delivery: &Delivery<'_>, signed: &Signed, mut sink: impl FnMut(&[u8])) {
        for piece in &self.signed.0 {
            match piece {
                Piece::Text(text) => sink(text.as_bytes()),
                Piece::Body => sink(delivery.body),
                Piece::Method => sink(delivery.method.as_bytes()),
                Piece::Target => sink(delivery.target),
                Piece::Url => {
                    sink(delivery.public_url.unwrap_or_default().as_bytes());
                    sink(delivery.target);
                }
                Piece::Timestamp => match &self.timestamp {
                    Some(name) => sink(delivery.headers.get(name).map_or(b"", |value| value.as_bytes())),
                    None => sink(signed.timestamp.map(|t| t.to_string()).unwrap_or_default().as_bytes()),
                },
                Piece::Id => sink(signed.id.as_deref().unwrap_or_default().as_bytes()),
                Piece::Header(name) => {
                    sink(delivery.headers.get(name).map_or(b"", |value| value.as_bytes()));
                }
            }
        }
    }

    /// The signatures that a header's value holds, and the time, where it stands among them.
    fn candidates<'a>(&self, value: &'a str) -> Result<(Option<&'a str>, Candidates), Fault> {
        let malformed = |what| Fault::Malformed(self.header.clone(), what);
        let mut found = Candidates::default();
        let mut timestamp = None;
        match &self.form {
            Form::Prefixed(prefix) => {
                let text = value.strip_prefix(&**prefix).ok_or_else(|| {
                    malformed("does not have the scheme's prefix (another algorithm or version?)")
                })?;
                let decoded = self.encoding.decode(text).ok_or_else(|| malformed("is not a signature"))?;
                found.macs.push(decoded);
            }
            Form::Pairs => {
                for pair in value.split(',') {
                    let (name, text) =
                        pair.trim().split_once('=').ok_or_else(|| malformed("is not a list of pairs"))?;
                    match name {
                        "t" if timestamp.is_some() => return Err(malformed("has more than one `t`")),
                        "t" => timestamp = Some(text),
                        "v1" => found.macs.extend(self.encoding.decode(text)),
                        // Other versions may stand beside it.
                        _ => {}
                    }
                }
                if timestamp.is_none() {
                    return Err(malformed("has no `t`"));
                }
            }
            Form::Versions => {
                for entry in value.split(' ').filter(|entry| !entry.is_empty()) {
                    match entry.split_once(',') {
                        Some(("v1", text)) => found.macs.extend(self.encoding.decode(text)),
                        Some(("v1a", text)) => found.ed25519.extend(self.encoding.decode(text)),
                        Some(_) => {}
                        None => return Err(malformed("is not a list of signatures with versions")),
                    }
                }
            }
        }
        match found.macs.len() + found.ed25519.len() {
            0 => Err(malformed("has no signature of a known version")),
            _ if found.ed25519.len() > MAX_ED25519 => Err(malformed("has more than 4 Ed25519 signatures")),
            1..=MAX_SIGNATURES => Ok((timestamp, found)),
            _ => Err(malformed("has more than 16 signatures")),
        }
    }
}

#[derive(Default)]
struct Candidates {
    macs: Vec<Vec<u8>>,
    ed25519: Vec<Vec<u8>>,
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, Fault> {
    one(headers, name)?.to_str().map_err(|_| Fault::Malformed(name.clone(), "is not ASCII"))
}

/// What is signed: pieces in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Body,
    Timestamp,
    Id,
    Method,
    Target,
    Url,
    Header(HeaderName),
}

/// Why a text is no template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TemplateFault {
    /// A brace that has no other.
    #[error("a brace is not closed or not opened")]
    Unclosed,
    /// A placeholder that stands for nothing.
    #[error("unknown placeholder")]
    Unknown,
    /// Two placeholders without a text between them, of which nobody can tell where the one ends.
    #[error("two placeholders are adjacent, so a client could move bytes from one to the other")]
    Touching,
    /// The body would go unsigned.
    #[error("`{{body}}` is missing, so a client could change the body")]
    NoBody,
}

impl Template {
    /// What the file may name between braces.
    pub const PLACEHOLDERS: &str =
        "`{body}`, `{timestamp}`, `{id}`, `{method}`, `{target}`, `{url}` and `{header:NAME}`";

    /// Reads `{timestamp}.{body}` and its like.
    ///
    /// # Errors
    ///
    /// If unknown placeholder, or the body is not signed.
    pub fn parse(text: &str) -> Result<Self, TemplateFault> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(['{', '}']).unwrap_or(rest.len());
            if end > 0 {
                pieces.push(Piece::Text(rest[..end].to_owned()));
                rest = &rest[end..];
                continue;
            }
            let close = rest.strip_prefix('{').and_then(|inside| inside.find('}'));
            let Some(close) = close else { return Err(TemplateFault::Unclosed) };
            pieces.push(match &rest[1..=close] {
                "body" => Piece::Body,
                "timestamp" => Piece::Timestamp,
                "id" => Piece::Id,
                "method" => Piece::Method,
                "target" => Piece::Target,
                "url" => Piece::Url,
                other => {
                    let name = other.strip_prefix("header:").and_then(|n| n.parse::<HeaderName>().ok());
                    Piece::Header(name.ok_or(TemplateFault::Unknown)?)
                }
            });
            rest = &rest[close + 2..];
        }
        // A time is digits, and of a certain length.
        let ends_itself = |piece: &Piece| matches!(piece, Piece::Text(_) | Piece::Timestamp);
        if pieces.windows(2).any(|pair| !ends_itself(&pair[0]) && !matches!(pair[1], Piece::Text(_))) {
            return Err(TemplateFault::Touching);
        }
        if pieces.contains(&Piece::Body) { Ok(Self(pieces)) } else { Err(TemplateFault::NoBody) }
    }

    /// The headers that are signed.
    pub fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Header(name) => Some(name),
            _ => None,
        })
    }

    /// Whether the time of signing is signed.
    pub fn has_timestamp(&self) -> bool {
        self.0.contains(&Piece::Timestamp)
    }

    /// Whether an id is signed.
    pub fn has_id(&self) -> bool {
        self.0.contains(&Piece::Id)
    }

    /// Whether the outside address is signed.
    pub fn has_url(&self) -> bool {
        self.0.contains(&Piece::Url)
    }

    /// The template, with lengths in place of what was sent.
    fn describe(&self, delivery: &Delivery<'_>) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Body => format!("{{body: {} bytes}}", delivery.body.len()),
            Piece::Timestamp => "{timestamp}".to_owned(),
            Piece::Id => "{id}".to_owned(),
            Piece::Method => "{method}".to_owned(),
            Piece::Target => format!("{{target: {} bytes}}", delivery.target.len()),
            Piece::Url => "{url}".to_owned(),
            Piece::Header(name) => format!("{{header:{name}}}"),
        };
        self.0.iter().map(piece).collect()
    }
}
