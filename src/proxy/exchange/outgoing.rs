//! The head that a server gets: the client's fields that travel on, and what only the server may see.

use super::NotForwarded;
use super::failure::internal;
use super::request::{Planned, Request, WebhookCall};
use crate::credentials::{Credential, oauth2::Token};
use crate::message::Framing;
use crate::secret::sha256;
use crate::webhook;
use crate::webhook::assertion::Subject;
use crate::webhook::keys::Key;
use bytes::Bytes;
use http::{HeaderValue, Method};
use pingora::http::{RequestHeader, header_value_from_raw};
use std::net::IpAddr;
use std::time::SystemTime;

/// Fields that attache adds at most.
const ADDED: usize = 10;

/// Makes the head of one attempt. `token` is the account's, where it has tokens. A header name that the file spells leaves
/// in the file's spelling.
pub(super) fn finish_upstream_request(
    request: &Request,
    planned: &Planned,
    token: Option<&Token>,
) -> Result<Box<RequestHeader>, NotForwarded> {
    let (route, fields) = (&planned.plan.route, &request.head.fields);
    let target = match &*route.credential {
        Credential::Query(credential) => {
            let mut parts = planned.plan.target.splitn(2, |&b| b == b'?');
            let path = parts.next().unwrap_or_default();
            &[path, b"?", &credential.replace(parts.next())].concat()
        }
        _ => &planned.plan.target,
    };
    let method: Method = request.head.method.clone();
    let head = RequestHeader::build(method, target, Some(fields.len() + ADDED));
    let mut head = HeadBuilder(head.map_err(|_| NotForwarded::refused(internal("unsendable_target")))?);
    head.add("Host", route.upstream.authority.clone())?;
    let skip_expect = planned.delivery.as_ref().is_some_and(|delivery| delivery.body.is_some());
    for field in fields.iter() {
        if field.is("host")
            || field.is("content-length")
            || field.is("transfer-encoding")
            || (skip_expect && field.is("expect"))
        {
            continue;
        }
        head.add(fields.share(field.name), header_value_from_raw(fields.share(field.value)))?;
    }
    match planned.body {
        Framing::Length(length) => head.add("Content-Length", HeaderValue::from(length))?,
        Framing::Chunked => head.add("Transfer-Encoding", HeaderValue::from_static("chunked"))?,
        Framing::Empty | Framing::UntilClose => {}
    }
    if request.head.websocket {
        head.add("Connection", HeaderValue::from_static("Upgrade"))?;
        head.add("Upgrade", HeaderValue::from_static("websocket"))?;
    }
    match &*route.credential {
        Credential::None | Credential::Query(_) => {}
        Credential::Headers(headers) => {
            for (name, value) in headers.iter() {
                head.add(name.spelling().clone(), value.clone())?;
            }
        }
        Credential::OAuth2(_) => {
            let token = token.ok_or_else(|| NotForwarded::refused(internal("no_token")))?;
            let name = route.token_header.as_ref().unwrap_or(token.header_name());
            head.add(name.spelling().clone(), token.header_value().clone())?;
        }
    }
    match (request.record.key(), &planned.delivery) {
        (Some(key), Some(delivery)) => identify(&mut head, request, planned, key, delivery)?,
        _ if request.record.snapshot.config.via => {
            head.add("Via", HeaderValue::from_static("1.1 attache"))?;
        }
        _ => {}
    }
    Ok(Box::new(head.0))
}

struct HeadBuilder(RequestHeader);

impl HeadBuilder {
    fn add(
        &mut self,
        name: impl pingora::http::IntoCaseHeaderName,
        value: HeaderValue,
    ) -> Result<(), NotForwarded> {
        let added = self.0.append_header(name, value);
        added.map(|_| ()).map_err(|_| NotForwarded::refused(internal("unsendable_field")))
    }

    fn add_text(&mut self, name: &'static str, text: &str) -> Result<(), NotForwarded> {
        let value =
            HeaderValue::from_str(text).map_err(|_| NotForwarded::refused(internal("unsendable_field")))?;
        self.add(name, value)
    }
}

/// Tells the receiver of a webhook who calls.
fn identify(
    head: &mut HeadBuilder,
    request: &Request,
    planned: &Planned,
    key: Key<'_>,
    delivery: &WebhookCall,
) -> Result<(), NotForwarded> {
    let (record, endpoint) = (&request.record, key.endpoint());
    let names = &record.snapshot.config.identity_headers;
    head.add(names.user.spelling().clone(), endpoint.identity[0].clone())?;
    head.add(names.service.spelling().clone(), endpoint.identity[1].clone())?;
    let key_id =
        HeaderValue::from_str(key.id()).map_err(|_| NotForwarded::refused(internal("unsendable_field")))?;
    head.add(names.key_id.spelling().clone(), key_id)?;
    head.add_text("X-Request-Id", record.id.as_str())?;
    if let Some(address) = delivery.caller.address {
        head.add("X-Forwarded-For", address_value(address))?;
    }
    let scheme = if delivery.caller.https { "https" } else { "http" };
    head.add("X-Forwarded-Proto", HeaderValue::from_static(scheme))?;
    if let Some(host) = request.head.fields.get("host") {
        head.add("X-Forwarded-Host", header_value_from_raw(request.head.fields.share(host)))?;
    }
    head.add("Via", HeaderValue::from_static("1.1 attache"))?;
    let Some(signer) = &record.snapshot.assertion else { return Ok(()) };
    let path = webhook::template(&request.head.target, endpoint);
    let path = String::from_utf8_lossy(&path);
    let query = planned.plan.target.splitn(2, |&b| b == b'?').nth(1).filter(|query| !query.is_empty());
    let subject = Subject {
        user: &endpoint.user.key,
        service: key.service(),
        key_id: key.id(),
        request_id: record.id.as_str(),
        delivery_id: record.delivery_id.as_deref(),
        method: request.head.method.as_str(),
        path: &path,
        query_sha256: query.map(sha256),
        body_sha256: delivery.body_sha256,
    };
    let assertion = signer.sign_at(&subject, SystemTime::now());
    let assertion = assertion.map_err(|_| NotForwarded::refused(internal("unsigned_assertion")))?;
    head.add(signer.header().spelling().clone(), assertion)
}

fn address_value(address: IpAddr) -> HeaderValue {
    header_value_from_raw(Bytes::from(address.to_string()))
}
