//! The request target of a webhook call: the key in it, the part that is forwarded, and the path that the log may show.

use super::endpoint::Endpoint;
use super::key_copies::{holds, in_any_decoding, without_copies};
use super::keys::{Key, KeyTable};
use crate::config::model::KeyIn;
use crate::message::Fields;
use crate::message::authorization::credentials;
use crate::outbound::path::Target;
use crate::outbound::{SHORTEST_KEY, UNMATCHED};
use http::header;
use std::borrow::Cow;
use std::sync::Arc;

/// The first path segment of every webhook URL.
const PREFIX: &[u8] = b"/webhooks/";
/// Replaces a key in a path.
const KEY: &[u8] = b"{key}";

/// The target of a webhook call, in parts.
pub(super) struct CallTarget<'a> {
    /// The segment after the prefix: the key, or the name of a service whose key is elsewhere.
    pub(super) segment: &'a [u8],
    /// The path after that segment.
    pub(super) rest: &'a [u8],
    /// The query with its question mark, or nothing.
    pub(super) query: &'a [u8],
    /// `rest` and `query`, and what lies between them.
    tail: &'a [u8],
}

impl<'a> CallTarget<'a> {
    /// Returns `None` if the target is not a webhook URL.
    pub(super) fn parse(raw: &'a [u8]) -> Option<Self> {
        let target = Target::parse(raw)?;
        let after = target.path.strip_prefix(PREFIX)?;
        let (segment, rest) = after.split_at(after.iter().position(|&b| b == b'/').unwrap_or(after.len()));
        let tail = &raw[raw.len() - rest.len() - target.query.len()..];
        (!segment.is_empty()).then_some(Self { segment, rest, query: target.query, tail })
    }

    /// Returns the key that the call shows, with its text, if it stands where its endpoint wants it. `named` is the endpoint
    /// that the path names.
    pub(super) fn key<'t>(
        &self,
        keys: &'t KeyTable,
        named: Option<&Arc<Endpoint>>,
        fields: &'a Fields,
    ) -> Option<(Key<'t>, Cow<'a, [u8]>)> {
        let text = self.key_text(named.map_or(&KeyIn::Path, |endpoint| &endpoint.key_in), fields)?;
        let key = keys.find(&text).filter(|key| match named {
            Some(endpoint) => endpoint.key_is_elsewhere() && Arc::ptr_eq(key.endpoint(), endpoint),
            None => !key.endpoint().key_is_elsewhere(),
        });
        key.map(|key| (key, text))
    }

    /// Returns the text in the place of the key.
    fn key_text(&self, key_in: &KeyIn, fields: &'a Fields) -> Option<Cow<'a, [u8]>> {
        match key_in {
            // A key may hold characters that a path can't.
            KeyIn::Path => Some(percent_encoding::percent_decode(self.segment).into()),
            KeyIn::Header(name) => {
                let mut values =
                    fields.iter().filter(|field| field.is(name.as_str())).map(|field| field.value);
                match (values.next(), values.next()) {
                    (Some(value), None) if *name == header::AUTHORIZATION => {
                        Some(credentials(value, "bearer").unwrap_or(value).into())
                    }
                    (Some(value), None) => Some(value.into()),
                    _ => None,
                }
            }
            KeyIn::Query(name) => {
                let query = self.query.strip_prefix(b"?").unwrap_or_default();
                let mut values = url::form_urlencoded::parse(query).filter(|(found, _)| found == name);
                match (values.next(), values.next()) {
                    (Some((_, Cow::Borrowed(value))), None) => Some(value.as_bytes().into()),
                    (Some((_, Cow::Owned(value))), None) => Some(value.into_bytes().into()),
                    _ => None,
                }
            }
        }
    }

    /// Returns path and query for the receiver, without the key and without parameters that hold a copy of it.
    pub(super) fn forwarded(&self, endpoint: &Endpoint, key: &[u8]) -> Vec<u8> {
        let upstream = &endpoint.route.upstream;
        let query = match &endpoint.key_in {
            KeyIn::Query(name) => Cow::Owned(without(self.query, name)),
            KeyIn::Path | KeyIn::Header(_) => Cow::Borrowed(self.query),
        };
        match (without_copies(&query, key), &query) {
            (Cow::Borrowed(kept), Cow::Borrowed(query)) if kept.len() == query.len() => {
                upstream.target(self.tail)
            }
            (kept, _) => upstream.target(&[self.rest, &kept].concat()),
        }
    }
}

/// Returns a query, with its question mark, without the parameter `name`. The rest keeps its bytes.
fn without(query: &[u8], name: &str) -> Vec<u8> {
    let pairs = query.strip_prefix(b"?").unwrap_or_default().split(|&b| b == b'&');
    let kept: Vec<&[u8]> =
        pairs.filter(|pair| url::form_urlencoded::parse(pair).all(|(found, _)| found != name)).collect();
    if kept.is_empty() { Vec::new() } else { [&b"?"[..], &kept.join(&b'&')].concat() }
}

/// Returns the path in the form that the access log may show. Every known key in it is replaced, also one in the wrong
/// place, percent-encoded, or beside characters that `attache keys new` does not use; and the call's own `key` wherever it
/// is. Without an `endpoint`, no part that the client chose is shown. One hash for each further segment that is as long
/// as a key.
pub fn log_path(
    keys: &KeyTable,
    raw_target: &[u8],
    endpoint: Option<&Endpoint>,
    key: Option<&[u8]>,
) -> Vec<u8> {
    let Some(CallTarget { segment, rest, .. }) = CallTarget::parse(raw_target) else {
        return UNMATCHED.to_vec();
    };
    let Some(endpoint) = endpoint else { return [PREFIX, KEY].concat() };
    let is_known = |text: &[u8]| text.len() >= SHORTEST_KEY && keys.find(text).is_some();
    let is_key = |part: &[u8]| {
        if part == segment && !endpoint.key_is_elsewhere() {
            return true;
        }
        let has_known = |text: &[u8]| {
            let mut words = text.split(|b| !(b.is_ascii_alphanumeric() || b"-_".contains(b)));
            is_known(text) || words.any(is_known)
        };
        key.is_some_and(|key| holds(part, key))
            || (part.len() >= SHORTEST_KEY && in_any_decoding(part, has_known))
    };
    let shown = rest.split(|&b| b == b'/').map(|part| if is_key(part) { KEY } else { part });
    let shown: Vec<&[u8]> = shown.collect();
    [template_head(endpoint).as_slice(), &shown.join(&b'/')].concat()
}

/// Returns the text of the key of a call, whose key leads to `endpoint`; without one, the text in the place of a key in the
/// path.
pub fn key_text<'a>(
    raw_target: &'a [u8],
    fields: &'a Fields,
    endpoint: Option<&Endpoint>,
) -> Option<Cow<'a, [u8]>> {
    let key_in = endpoint.map_or(&KeyIn::Path, |endpoint| &endpoint.key_in);
    CallTarget::parse(raw_target)?.key_text(key_in, fields)
}

/// Returns the path of a call for the receiver, with `{key}` in the place of the key.
pub fn template(raw_target: &[u8], endpoint: &Endpoint) -> Vec<u8> {
    let rest = CallTarget::parse(raw_target).map_or(&[][..], |target| target.rest);
    [template_head(endpoint).as_slice(), rest].concat()
}

fn template_head(endpoint: &Endpoint) -> Vec<u8> {
    [PREFIX, if endpoint.key_is_elsewhere() { endpoint.service().as_bytes() } else { KEY }].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_url_has_its_key_after_the_prefix() {
        let key = |raw: &'static str| CallTarget::parse(raw.as_bytes()).map(|t| (t.segment, t.rest));
        assert_eq!(key("/webhooks/k1/a/b?c"), Some((&b"k1"[..], &b"/a/b"[..])));
        assert_eq!(key("/webhooks/k1?c"), Some((&b"k1"[..], &b""[..])));
        for raw in ["/k1", "/WEBHOOKS/k1", "/webhooks", "/webhooks/", "/webhooks//k1", "//webhooks/k1", "*"] {
            assert_eq!(key(raw), None, "{raw}");
        }
    }
}
