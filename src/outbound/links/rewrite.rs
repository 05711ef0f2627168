//! One reference: resolved against the URL of the request, and written in the form in which the request came.

use super::address::{Leads, Origin};
use super::dots::{self, Resolved};
use super::reference::{Parts, plain};
use super::{Links, Verdict};
use crate::outbound::path::octet;
use crate::plan::Form;
use std::borrow::Cow;
use url::Url;

impl Links<'_> {
    /// Returns what becomes of a reference.
    pub(super) fn rewrite(&self, reference: &[u8]) -> Verdict {
        let Some(plain) = plain(reference, || self.base()) else { return Verdict::Drop };
        let parts = Parts::of(&plain.text);
        let keep = || match plain.is_own {
            true => Verdict::Keep,
            false => Verdict::Replace(encoded(&plain.text)),
        };
        if parts.scheme.is_some() && parts.tls().is_none() {
            // `mailto:`, `urn:`, `javascript:`: no request of a client of attache.
            return keep();
        }
        let Some(own) = self.origin() else { return Verdict::Drop };
        let Some(authority) = parts.authority else { return self.relative(&parts) };
        let tls = parts.tls().unwrap_or(self.route.upstream.is_tls());
        let Some(origin) = Origin::parse(tls, authority) else { return Verdict::Drop };
        let raw = if parts.path.is_empty() { &b"/"[..] } else { parts.path };
        let resolved = dots::remove(Cow::Borrowed(raw));
        if origin.is(&own)
            && let Some(rest) = below(&resolved.path, self.route.upstream.prefix.as_bytes())
        {
            if !self.leads_back(&resolved.path) {
                return self.outside(&resolved.path, &parts);
            }
            return self.inside(&resolved.path, rest, &parts);
        }
        let has_dots = resolved.path.len() != raw.len();
        let is_absolute = parts.scheme.is_some() || !self.route.upstream.is_tls();
        match self.leads(&origin, &resolved.path) {
            Leads::Astray => Verdict::Drop,
            _ if is_absolute && !has_dots => keep(),
            _ => Verdict::Replace(absolute(tls, authority, &resolved.path, &parts)),
        }
    }

    /// Decides about a reference without an authority.
    fn relative(&self, parts: &Parts<'_>) -> Verdict {
        if parts.path.is_empty() {
            // The same resource.
            return Verdict::Keep;
        }
        let Resolved { path, was_odd } = dots::remove(merged(path_of(self.sent), parts.path));
        let Some(rest) = below(&path, self.route.upstream.prefix.as_bytes()) else {
            return self.outside(&path, parts);
        };
        if !self.leads_back(&path) {
            return self.outside(&path, parts);
        }
        // The client resolves it against the URL that it asked for, and must get to the same place.
        let by_client = dots::remove(merged(path_of(self.asked), parts.path));
        let meant: Cow<'_, [u8]> = match self.form {
            Form::Path => [b"/", self.route.service.as_bytes(), rest].concat().into(),
            Form::Host => rest.into(),
            Form::Proxy => (&*path).into(),
        };
        let stays = !was_odd && !by_client.was_odd && by_client.path == meant;
        if stays { Verdict::Keep } else { self.inside(&path, rest, parts) }
    }

    /// Returns a link that lies below `server_url` in the form of the request.
    fn inside(&self, path: &[u8], rest: &[u8], parts: &Parts<'_>) -> Verdict {
        let mut link = Vec::with_capacity(path.len() + self.route.service.len() + 16);
        match self.form {
            Form::Path => link.extend_from_slice(&[b"/", self.route.service.as_bytes(), rest].concat()),
            // Two slashes at the beginning would be a host.
            Form::Host if rest.starts_with(b"//") => link.extend_from_slice(&[b"/.", rest].concat()),
            Form::Host if rest.is_empty() => link.push(b'/'),
            Form::Host => link.extend_from_slice(rest),
            Form::Proxy => {
                let authority = self.route.upstream.authority.as_bytes();
                link.extend_from_slice(&[b"http://", authority, path].concat());
            }
        }
        append(&mut link, parts);
        Verdict::Replace(encoded(&link))
    }

    /// Returns true if a link below `server_url` comes back to the same service. To a client of the HTTP proxy it does not if
    /// another service has a longer path.
    fn leads_back(&self, path: &[u8]) -> bool {
        if self.form != Form::Proxy {
            return true;
        }
        let origin = Origin::parse(false, self.route.upstream.authority.as_bytes());
        origin.is_some_and(|origin| self.leads(&origin, path) == Leads::Back)
    }

    /// Returns a link to another place of the same origin, which is absolute.
    fn outside(&self, path: &[u8], parts: &Parts<'_>) -> Verdict {
        let upstream = &self.route.upstream;
        let leads = self.origin().map(|origin| self.leads(&origin, path));
        match leads {
            None | Some(Leads::Astray) => Verdict::Drop,
            Some(_) => {
                Verdict::Replace(absolute(upstream.is_tls(), upstream.authority.as_bytes(), path, parts))
            }
        }
    }

    fn origin(&self) -> Option<Origin> {
        Origin::parse(self.route.upstream.is_tls(), self.route.upstream.authority.as_bytes())
    }

    /// Returns the URL that the request was sent to.
    fn base(&self) -> Option<Url> {
        let scheme = if self.route.upstream.is_tls() { "https" } else { "http" };
        let authority = self.route.upstream.authority.to_str().ok()?;
        Url::parse(&format!("{scheme}://{authority}{}", String::from_utf8_lossy(self.sent))).ok()
    }
}

/// Returns the path of a target in origin form.
fn path_of(target: &[u8]) -> &[u8] {
    target.split(|&b| b == b'?').next().unwrap_or_default()
}

/// Returns the path of a relative reference behind that of its base (RFC 3986 section 5.2.3).
fn merged<'a>(base: &[u8], path: &'a [u8]) -> Cow<'a, [u8]> {
    if path.starts_with(b"/") {
        return Cow::Borrowed(path);
    }
    let folder = base.iter().rposition(|&b| b == b'/').map_or(&b"/"[..], |end| &base[..=end]);
    Cow::Owned([folder, path].concat())
}

/// Returns the rest of `path` if it is below `prefix`, whichever of their characters are percent-encoded.
fn below<'p>(path: &'p [u8], prefix: &[u8]) -> Option<&'p [u8]> {
    let (mut path, mut prefix) = (path, prefix);
    while !prefix.is_empty() {
        let (own, width) = (!path.is_empty()).then(|| octet(path))?;
        let (other, other_width) = octet(prefix);
        // An encoded slash is part of a segment.
        if own != other || (own == b'/' && width != other_width) {
            return None;
        }
        (path, prefix) = (&path[width..], &prefix[other_width..]);
    }
    (path.is_empty() || path.starts_with(b"/")).then_some(path)
}

fn absolute(tls: bool, authority: &[u8], path: &[u8], parts: &Parts<'_>) -> Vec<u8> {
    let scheme: &[u8] = if tls { b"https://" } else { b"http://" };
    let mut link = [scheme, authority, path].concat();
    append(&mut link, parts);
    encoded(&link)
}

fn append(link: &mut Vec<u8>, parts: &Parts<'_>) {
    for (mark, part) in [(b'?', parts.query), (b'#', parts.fragment)] {
        if let Some(part) = part {
            link.push(mark);
            link.extend_from_slice(part);
        }
    }
}

/// Returns a link with each byte percent-encoded that no URI has and that could end one.
pub(super) fn encoded(link: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(link.len());
    for &byte in link {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(percent_encoding::percent_encode_byte(byte).as_bytes());
        }
    }
    out
}
