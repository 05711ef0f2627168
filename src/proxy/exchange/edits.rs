//! The response's fields on their way to the client: links are rewritten, and copies of the credential replaced.

use super::failure::{UpstreamError, no_response};
use super::headers::ResponseFilter;
use super::record::Record;
use super::request::Planned;
use crate::credentials::SentToken;
use crate::message::framing::ResponseFraming;
use crate::message::redact::{RedactedStream, Redactor};
use crate::message::request::RequestHead;
use crate::message::writer::field;
use crate::message::{Fields, Framing, ResponseHead, proxy_status};
use crate::outbound::links::{Links, is_link};
use crate::plan::Refusal;
use bytes::{Bytes, BytesMut};
use std::borrow::Cow;
use std::sync::Arc;

/// Digests of a body, which no longer hold once it is redacted.
const DIGESTS: [&str; 4] = ["digest", "content-digest", "repr-digest", "content-md5"];

/// The changes to the responses of one request. Most requests have none, but for links.
pub(super) struct Edits<'a> {
    links: Option<Links<'a>>,
    redactor: Option<Arc<Redactor>>,
    searches_body: bool,
}

impl<'a> Edits<'a> {
    /// Returns the changes for a request that carried `token`, if its account has tokens.
    pub(super) fn of(
        record: &'a Record,
        planned: &'a Planned,
        head: &'a RequestHead,
        token: Option<&SentToken>,
    ) -> Self {
        let plan = &planned.plan;
        let links = Links::new(&record.snapshot.routes, plan, &head.target, &head.fields, record.listener);
        let redaction = plan.route.redaction.as_deref();
        let redactor = redaction.and_then(|redaction| redaction.redactor(token));
        Self { links, redactor, searches_body: false }
    }

    /// Writes the fields that are forwarded.
    pub(super) fn write_fields(&self, out: &mut BytesMut, fields: &Fields, filter: &ResponseFilter) {
        for one in fields.iter().filter(|one| filter.keeps(one)) {
            if one.is("x-attache-request-id") {
                continue;
            }
            let value = if one.is("proxy-status") {
                proxy_status::foreign(one.value).map(Cow::Owned)
            } else if let Some(links) = self.links.filter(|_| is_link(&one)) {
                links.edit(&one)
            } else {
                Some(Cow::Borrowed(one.value))
            };
            let Some(value) = value else { continue };
            match &self.redactor {
                None => field(out, one.name, &value),
                Some(_) if self.searches_body && DIGESTS.iter().any(|digest| one.is(digest)) => {}
                Some(redactor) => field(out, one.name, &redactor.whole(&value)),
            }
        }
    }

    /// Returns the reason phrase.
    pub(super) fn reason<'h>(&self, reason: &'h Bytes) -> Cow<'h, [u8]> {
        match &self.redactor {
            None => Cow::Borrowed(reason),
            Some(redactor) => redactor.whole(reason),
        }
    }

    /// Decides whether the body is searched, and adapts the framing, since its length may change.
    ///
    /// # Errors
    ///
    /// If it would have to be searched and is compressed, although the request asked for no coding.
    pub(super) fn body(
        &mut self,
        planned: &Planned,
        head: &ResponseHead,
        framing: &mut ResponseFraming,
    ) -> Result<Option<Box<RedactedStream>>, Refusal> {
        let route = &planned.plan.route;
        let searches = route.redaction.as_ref().is_some_and(|redaction| redaction.searches_bodies());
        // A part of a body cannot be matched with the rest.
        let is_searched = searches && head.status != 206;
        let Some(redactor) = self.redactor.as_ref().filter(|_| is_searched) else { return Ok(None) };
        let has_body = !matches!(framing.body, Framing::Empty | Framing::Length(0));
        if has_body
            && head.fields.list("content-encoding").any(|coding| !coding.eq_ignore_ascii_case(b"identity"))
        {
            let refusal =
                no_response(route, UpstreamError::Protocol("a compressed body, which cannot be redacted"));
            let detail = "the service compressed its response, which `redact_responses` can't search then";
            return Err(Refusal { detail: detail.into(), ..refusal.because("compressed_body") });
        }
        if !head.fields.all("content-type").all(is_text) {
            return Ok(None);
        }
        self.searches_body = true;
        framing.announced = None;
        if !has_body {
            return Ok(None);
        }
        framing.body = Framing::UntilClose;
        Ok(Some(Box::new(RedactedStream::new(Arc::clone(redactor)))))
    }
}

/// Returns true if a media type is text. A response without one is searched.
fn is_text(value: &[u8]) -> bool {
    let media_type = value.split(|&b| b == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    let Some(slash) = media_type.iter().position(|&b| b == b'/') else { return true };
    let (kind, subtype) = (&media_type[..slash], &media_type[slash + 1..]);
    const APPLICATIONS: [&[u8]; 13] = [
        b"json",
        b"xml",
        b"x-www-form-urlencoded",
        b"javascript",
        b"x-javascript",
        b"ecmascript",
        b"x-ndjson",
        b"ndjson",
        b"jsonl",
        b"yaml",
        b"x-yaml",
        b"graphql",
        b"jwt",
    ];
    match kind {
        b"text" => true,
        b"application" if APPLICATIONS.contains(&subtype) => true,
        b"application" | b"image" | b"model" => {
            [&b"+json"[..], b"+xml", b"+yaml"].iter().any(|suffix| subtype.ends_with(suffix))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_known_by_its_type() {
        for text in [
            "text/plain",
            "TEXT/HTML; charset=utf-8",
            "application/json",
            "application/problem+json",
            "image/svg+xml",
            "text/event-stream",
            "nonsense",
            "",
        ] {
            assert!(is_text(text.as_bytes()), "{text}");
        }
        for other in
            ["image/png", "application/octet-stream", "application/pdf", "video/mp4", "multipart/mixed"]
        {
            assert!(!is_text(other.as_bytes()), "{other}");
        }
    }
}
