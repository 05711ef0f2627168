//! The third part of a signature: the signed text.

use super::boundary::{Boundaries, boundaries};
use super::crc32::crc32;
use super::member::Pointer;
use super::place::{LocatedTexts, text};
use super::time::TimeFormat;
use super::{Delivery, Fault};
use crate::secret::{hex, sha256};
use http::{HeaderMap, HeaderName};
use std::borrow::Cow;

/// The signed text: fixed text, and parts of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pub(super) pieces: Vec<Piece>,
    pub(super) boundaries: Boundaries,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Body,
    /// The SHA-256 of the body, in hexadecimal.
    BodySha256,
    /// The CRC-32 of the body, in decimal.
    BodyCrc32,
    /// A member of the JSON body.
    Member(Pointer),
    /// The parameters of a form as Twilio signs them.
    Form,
    Timestamp,
    Id,
    Method,
    Target,
    Url,
    Header(HeaderName),
    /// `name:value;name:value` of the headers that this header lists.
    SignedHeaders(HeaderName),
}

/// The reason why a template can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TemplateFault {
    /// A brace without its counterpart.
    #[error("a brace is not closed or not opened")]
    Unclosed,
    /// An unknown placeholder.
    #[error("unknown placeholder")]
    Unknown,
    /// Touching placeholders of which the end of one is not certain.
    #[error("two placeholders are adjacent, so a client could move bytes from one to the other")]
    Touching,
    /// The body, or a part of it, would go unsigned.
    #[error("`{{body}}` is missing, so a client could change the body")]
    NoBody,
}

impl Template {
    /// The placeholders of the file.
    pub const PLACEHOLDERS: &str = "`{body}`, `{timestamp}`, `{id}`, `{method}`, `{target}`, `{url}`, \
         `{header:NAME}`, `{headers:NAME}`, `{body:/MEMBER}`, `{body:sha256}` and `{body:crc32}`";

    /// Parses `{timestamp}.{body}` and its like, for times in this format.
    ///
    /// # Errors
    ///
    /// If a placeholder is unknown, touches another one uncertainly, or the body is not signed.
    pub fn parse(text: &str, format: TimeFormat) -> Result<Self, TemplateFault> {
        let template = Self::parse_partial(text, format)?;
        if template.covers_body() { Ok(template) } else { Err(TemplateFault::NoBody) }
    }

    /// As [`Self::parse`], for a scheme that signs parts of the body.
    ///
    /// # Errors
    ///
    /// If a placeholder is unknown, or touches another one uncertainly.
    pub fn parse_partial(text: &str, format: TimeFormat) -> Result<Self, TemplateFault> {
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
            pieces.push(Piece::parse(&rest[1..=close]).ok_or(TemplateFault::Unknown)?);
            rest = &rest[close + 2..];
        }
        let boundaries = boundaries(&pieces, format).ok_or(TemplateFault::Touching)?;
        Ok(Self { pieces, boundaries })
    }

    /// Returns the headers that are signed.
    pub fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Header(name) | Piece::SignedHeaders(name) => Some(name),
            _ => None,
        })
    }

    /// Returns the header that lists signed headers, if there is one.
    pub(super) fn header_list(&self) -> Option<&HeaderName> {
        self.pieces.iter().find_map(|piece| match piece {
            Piece::SignedHeaders(name) => Some(name),
            _ => None,
        })
    }

    /// Returns the members of the body that are signed.
    pub(super) fn members(&self) -> impl Iterator<Item = &Pointer> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Member(pointer) => Some(pointer),
            _ => None,
        })
    }

    /// Returns true if the time of signing is signed by itself.
    pub fn has_timestamp(&self) -> bool {
        self.pieces.contains(&Piece::Timestamp)
    }

    /// Returns true if an id is signed by itself.
    pub fn has_id(&self) -> bool {
        self.pieces.contains(&Piece::Id)
    }

    /// Returns true if the external URL is signed.
    pub fn has_url(&self) -> bool {
        self.pieces.contains(&Piece::Url) || self.has_form()
    }

    /// Returns true if nothing of the body goes unsigned. A CRC-32 does not count: bodies with the same one are easily
    /// made.
    pub fn covers_body(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Body | Piece::BodySha256 | Piece::Form))
    }

    /// Returns true if the scheme is Twilio's.
    pub(super) fn has_form(&self) -> bool {
        self.pieces.contains(&Piece::Form)
    }

    /// Feeds the signed text, piece by piece.
    pub(super) fn feed(
        &self,
        delivery: &Delivery<'_>,
        located: &LocatedTexts<'_, '_>,
        mut sink: impl FnMut(&[u8]),
    ) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => sink(text.as_bytes()),
                Piece::Body => sink(delivery.body),
                Piece::BodySha256 => sink(hex(&sha256(delivery.body)).as_bytes()),
                Piece::BodyCrc32 => sink(crc32(delivery.body).to_string().as_bytes()),
                Piece::Member(pointer) => sink(located.members.value(pointer).as_bytes()),
                Piece::Form => {}
                Piece::Method => sink(delivery.method.as_bytes()),
                Piece::Target => sink(delivery.target),
                Piece::Url => {
                    sink(delivery.public_url.unwrap_or_default().as_bytes());
                    sink(delivery.target);
                }
                Piece::Timestamp => sink(located.time.as_deref().unwrap_or_default().as_bytes()),
                Piece::Id => sink(located.id.as_deref().unwrap_or_default().as_bytes()),
                Piece::Header(name) => {
                    sink(delivery.headers.get(name).map_or(b"", |value| value.as_bytes()));
                }
                Piece::SignedHeaders(name) => {
                    sink(signed_headers(delivery.headers, name).unwrap_or_default().as_bytes());
                }
            }
        }
    }

    /// Returns the signed text in one piece. The body alone is not copied.
    pub(super) fn message<'d>(
        &self,
        delivery: &Delivery<'d>,
        located: &LocatedTexts<'_, '_>,
    ) -> Cow<'d, [u8]> {
        if self.pieces == [Piece::Body] {
            return Cow::Borrowed(delivery.body);
        }
        let mut message = Vec::with_capacity(delivery.body.len() + delivery.target.len() + 256);
        self.feed(delivery, located, |part| message.extend_from_slice(part));
        Cow::Owned(message)
    }

    /// Returns the template, with lengths in place of what was sent.
    pub(super) fn describe(&self, delivery: &Delivery<'_>) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.escape_debug().to_string(),
            Piece::Body => format!("{{body: {} bytes}}", delivery.body.len()),
            Piece::Target => format!("{{target: {} bytes}}", delivery.target.len()),
            Piece::Url => {
                let url = delivery.public_url.unwrap_or_default();
                format!("{url}{{target: {} bytes}}", delivery.target.len())
            }
            other => other.title(),
        };
        self.pieces.iter().map(piece).collect()
    }
}

impl Piece {
    /// Returns the placeholder.
    pub(super) fn title(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Body => "{body}".to_owned(),
            Self::BodySha256 => "{body:sha256}".to_owned(),
            Self::BodyCrc32 => "{body:crc32}".to_owned(),
            Self::Member(pointer) => format!("{{body:{}}}", pointer.as_str()),
            Self::Form => "{form}".to_owned(),
            Self::Timestamp => "{timestamp}".to_owned(),
            Self::Id => "{id}".to_owned(),
            Self::Method => "{method}".to_owned(),
            Self::Target => "{target}".to_owned(),
            Self::Url => "{url}".to_owned(),
            Self::Header(name) => format!("{{header:{name}}}"),
            Self::SignedHeaders(name) => format!("{{headers:{name}}}"),
        }
    }

    fn parse(placeholder: &str) -> Option<Self> {
        Some(match placeholder {
            "body" => Self::Body,
            "form" => Self::Form,
            "body:sha256" => Self::BodySha256,
            "body:crc32" => Self::BodyCrc32,
            "timestamp" => Self::Timestamp,
            "id" => Self::Id,
            "method" => Self::Method,
            "target" => Self::Target,
            "url" => Self::Url,
            other => {
                if let Some(pointer) = other.strip_prefix("body:") {
                    return Pointer::parse(pointer).filter(|pointer| !pointer.is_many()).map(Self::Member);
                }
                match other.strip_prefix("headers:") {
                    Some(name) => Self::SignedHeaders(name.parse().ok()?),
                    None => Self::Header(other.strip_prefix("header:")?.parse().ok()?),
                }
            }
        })
    }
}

/// Returns the headers that the header `list` lists, which must be among them. A value has no line break, and a `;` in
/// one can't be told from the end of it, so it is refused.
pub(super) fn signed_headers(headers: &HeaderMap, list: &HeaderName) -> Result<String, Fault> {
    let malformed = |what| Err(Fault::Malformed(list.clone(), what));
    let names = text(headers, list)?;
    let mut all = Vec::new();
    for name in names.split(',') {
        let Ok(parsed) = name.parse::<HeaderName>() else {
            return malformed("is not a list of header names");
        };
        if parsed.as_str() != name || all.iter().any(|(before, _)| *before == name) {
            return malformed("lists a header twice or not in lower case");
        }
        let value = text(headers, &parsed)?.trim();
        if value.contains(';') {
            return malformed("lists a header that contains the separator of the signed text");
        }
        all.push((name, value));
    }
    if !all.iter().any(|(name, _)| *name == list.as_str()) {
        return malformed("does not list itself, so a client could change it");
    }
    Ok(all.iter().map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>().join(";"))
}
