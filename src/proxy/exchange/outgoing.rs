//! The request head for an upstream: the client's fields that are forwarded, and those that attache adds.
//!
//! It is written here, byte for byte: the engine's header type keeps two hash maps, which cost more than the rest of a
//! request's head. The session gets a separate head with only what it needs: method, framing, upgrade.

use super::NotForwarded;
use super::failure::internal;
use super::request::{Planned, Request, WebhookCall};
use crate::credentials::{Credential, OAuth2Credential, SentToken, oauth2::Token};
use crate::message::writer::{decimal, field};
use crate::message::{Framing, Version};
use crate::secret::sha256;
use crate::webhook;
use crate::webhook::assertion::Subject;
use crate::webhook::keys::Key;
use bytes::BytesMut;
use http::HeaderValue;
use pingora::http::RequestHeader;
use std::sync::Arc;
use std::time::SystemTime;

/// Initial size of the buffer; most heads fit.
const HEAD_BUFFER: usize = 1024;

/// The head of one attempt.
pub(super) struct Head {
    /// The bytes for the upstream.
    pub(super) bytes: BytesMut,
    /// The head for the engine's session.
    pub(super) for_session: Box<RequestHeader>,
    /// The head asks for `100 Continue`.
    pub(super) expects_continue: bool,
    /// The token in it.
    pub(super) token: Option<SentToken>,
}

/// Builds the head of one attempt. `token` is the account's, if it has tokens. A header name from the file keeps the
/// file's spelling.
pub(super) fn finish_upstream_request(
    request: &Request,
    planned: &Planned,
    token: Option<Arc<Token>>,
) -> Result<Head, NotForwarded> {
    let (route, fields) = (&planned.plan.route, &request.head.fields);
    let mut out = BytesMut::with_capacity(HEAD_BUFFER);
    request_line(&mut out, request, planned)?;
    field(&mut out, b"Host", route.upstream.authority.as_bytes());
    if let Some((_, Some(value))) = route.upstream.absolute_form() {
        field(&mut out, b"Proxy-Authorization", value.as_bytes());
    }
    // `Expect` has no meaning without content to wait for, or from HTTP/1.0 (RFC 9110 section 10.1.1).
    let is_read_ahead = planned.delivery.as_ref().is_some_and(|call| call.body.is_some());
    let has_content = !is_read_ahead && !matches!(planned.body, Framing::Empty | Framing::Length(0));
    let may_expect = has_content && request.head.version == Version::Http11;
    for one in fields.iter() {
        let written_anew = one.is("host") || one.is("content-length") || one.is("transfer-encoding");
        let stays_here = !may_expect && one.is("expect");
        if !(written_anew || stays_here) {
            field(&mut out, one.name, one.value);
        }
    }
    match planned.body {
        Framing::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            decimal(&mut out, length);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => field(&mut out, b"Transfer-Encoding", b"chunked"),
        Framing::Empty | Framing::UntilClose => {}
    }
    if request.head.websocket {
        out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\n");
    }
    if route.redaction.as_ref().is_some_and(|redaction| redaction.searches_bodies()) {
        field(&mut out, b"Accept-Encoding", b"identity");
    }
    for (name, value) in planned.plan.route.set_headers.iter() {
        field(&mut out, name.spelling(), value.as_bytes());
    }
    let token = authorize(&mut out, planned, token)?;
    match (request.record.key(), &planned.delivery) {
        (Some(key), Some(call)) => identify(&mut out, request, planned, key, call)?,
        _ if request.record.snapshot.config.via => field(&mut out, b"Via", b"1.1 attache"),
        _ => {}
    }
    out.extend_from_slice(b"\r\n");
    let expects_continue = may_expect && request.head.expects_continue();
    Ok(Head { bytes: out, for_session: for_session(request, planned)?, expects_continue, token })
}

fn request_line(out: &mut BytesMut, request: &Request, planned: &Planned) -> Result<(), NotForwarded> {
    let target = &planned.plan.target;
    out.extend_from_slice(request.head.method.as_str().as_bytes());
    out.extend_from_slice(b" ");
    let start = out.len();
    if let Some((prefix, _)) = planned.plan.route.upstream.absolute_form() {
        out.extend_from_slice(prefix.as_bytes());
    }
    match &*planned.plan.route.credential {
        Credential::Query(credential) => {
            let mut parts = target.splitn(2, |&b| b == b'?');
            out.extend_from_slice(parts.next().unwrap_or_default());
            out.extend_from_slice(b"?");
            out.extend_from_slice(&credential.replace(parts.next()));
        }
        Credential::Path(credential) => {
            let parts = credential.split(&planned.plan.route.upstream.prefix, target);
            let parts = parts.ok_or_else(|| NotForwarded::refused(internal("no_credential_place")))?;
            parts.into_iter().for_each(|part| out.extend_from_slice(part));
        }
        _ => out.extend_from_slice(target),
    }
    // Both halves were checked at their source. A line that ends early would start another request.
    if out[start..].iter().any(|b| *b <= b' ' || *b == 0x7f) {
        return Err(NotForwarded::refused(internal("unsendable_target")));
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    Ok(())
}

/// Adds the account's credential, and returns the token in it.
fn authorize(
    out: &mut BytesMut,
    planned: &Planned,
    token: Option<Arc<Token>>,
) -> Result<Option<SentToken>, NotForwarded> {
    let route = &planned.plan.route;
    let mut sent = None;
    match &*route.credential {
        Credential::None | Credential::Query(_) | Credential::Path(_) => {}
        // Such a request was refused when it was planned.
        Credential::Unavailable => return Err(NotForwarded::refused(internal("no_credential"))),
        Credential::Headers(headers) => {
            for (name, value) in headers.iter() {
                field(out, name.spelling(), value.as_bytes());
            }
        }
        Credential::Jwt(jwt) => {
            let token = jwt.token_at(SystemTime::now());
            let token = token.map_err(|_| NotForwarded::refused(internal("unsigned_token")))?;
            field(out, jwt.header().spelling(), token.header_value().as_bytes());
            sent = Some(SentToken::Signed(token));
        }
        Credential::OAuth2(OAuth2Credential { header, prefix, .. }) => {
            let token = token.ok_or_else(|| NotForwarded::refused(internal("no_token")))?;
            out.extend_from_slice(header.spelling());
            out.extend_from_slice(b": ");
            out.extend_from_slice(prefix.as_bytes());
            out.extend_from_slice(token.secret().expose().as_bytes());
            out.extend_from_slice(b"\r\n");
            sent = Some(SentToken::OAuth2(token));
        }
    }
    for (name, value) in route.headers.iter() {
        field(out, name.spelling(), value.as_bytes());
    }
    Ok(sent)
}

/// Returns the head for the session, whose bytes the connection discards.
fn for_session(request: &Request, planned: &Planned) -> Result<Box<RequestHeader>, NotForwarded> {
    let head = || -> pingora::Result<RequestHeader> {
        let mut head = RequestHeader::build(request.head.method.clone(), b"/", None)?;
        match planned.body {
            Framing::Length(length) => head.insert_header(http::header::CONTENT_LENGTH, length)?,
            Framing::Chunked => {
                let chunked = HeaderValue::from_static("chunked");
                head.insert_header(http::header::TRANSFER_ENCODING, chunked)?;
            }
            Framing::Empty | Framing::UntilClose => {}
        }
        if request.head.websocket {
            head.insert_header(http::header::UPGRADE, HeaderValue::from_static("websocket"))?;
        }
        Ok(head)
    };
    head().map(Box::new).map_err(|_| NotForwarded::refused(internal("unsendable_head")))
}

/// Adds the caller's identity for the receiver of a webhook.
fn identify(
    out: &mut BytesMut,
    request: &Request,
    planned: &Planned,
    key: Key<'_>,
    call: &WebhookCall,
) -> Result<(), NotForwarded> {
    let (record, endpoint) = (&request.record, key.endpoint());
    let names = &record.snapshot.config.identity_headers;
    field(out, names.user.spelling(), endpoint.identity[0].as_bytes());
    field(out, names.service.spelling(), endpoint.identity[1].as_bytes());
    field(out, names.key_id.spelling(), key.id().as_bytes());
    field(out, b"X-Request-Id", record.id.as_str().as_bytes());
    if let Some(address) = call.client.address {
        field(out, b"X-Forwarded-For", address.to_string().as_bytes());
    }
    field(out, b"X-Forwarded-Proto", if call.client.https { b"https" } else { b"http" });
    let public_host = record.snapshot.config.public_host().map(str::as_bytes);
    if let Some(host) = public_host.or(request.head.fields.get("host")) {
        field(out, b"X-Forwarded-Host", host);
    }
    field(out, b"Via", b"1.1 attache");
    let Some(signer) = &record.snapshot.assertion else { return Ok(()) };
    let path = webhook::template(&request.head.target, endpoint);
    let path = String::from_utf8_lossy(&path);
    let query = planned.plan.target.splitn(2, |&b| b == b'?').nth(1).filter(|query| !query.is_empty());
    let subject = Subject {
        user: &endpoint.user.key,
        service: key.service(),
        key_id: key.id(),
        request_id: record.id.as_str(),
        delivery_id: record.delivery_id().filter(|_| call.is_id_signed),
        method: request.head.method.as_str(),
        path: &path,
        query_sha256: query.map(sha256),
        body_sha256: call.body_sha256,
    };
    let assertion = signer.sign_at(&subject, SystemTime::now());
    let assertion = assertion.map_err(|_| NotForwarded::refused(internal("unsigned_assertion")))?;
    field(out, signer.header().spelling(), assertion.as_bytes());
    Ok(())
}
