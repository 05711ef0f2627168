//! attache's own answers: a problem document (RFC 9457), or only its detail as text if the client prefers that.
//!
//! Each carries `Proxy-Status` (RFC 9209) and the request id, so that it can be told from an upstream's response.

use crate::config::model::TimeoutResponse;
use crate::error_code::ErrorCode;
use crate::message::accept::prefers_text;
use crate::message::writer::{Outgoing, Persistence, date, field, reason, status_line};
use crate::message::{Framing, Version};
use crate::plan::{Challenge, Refusal, Reply};
use crate::request_id::RequestId;
use bytes::{Bytes, BytesMut};

/// The header of every response that holds the request id.
pub(crate) const REQUEST_ID: &[u8] = b"X-Attache-Request-Id";
const PROXY_STATUS: &[u8] = b"Proxy-Status";

/// An answer, ready to be written. Has no `Debug`: a field may be a secret that the client sent.
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(Bytes, Bytes)>,
    pub(crate) body: Bytes,
}

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

impl Answer {
    /// Returns the answer to a request that is refused or failed.
    pub(crate) fn new(refusal: &Refusal, id: &RequestId, accept: Option<&[u8]>) -> Self {
        let status = refusal.status().as_u16();
        let mut headers = marks(refusal, id);
        if let Some(seconds) = refusal.retry_after {
            headers.push((text("Retry-After"), seconds.to_string().into()));
        }
        if let Some(allow) = &refusal.allow {
            headers.push((text("Allow"), Bytes::copy_from_slice(allow.as_bytes())));
        }
        // `refusals` may have changed the status. A 401 needs a challenge (RFC 9110 section 15.5.2).
        let challenge = match status {
            401 => refusal.challenge.or(Some(Challenge::Signature)),
            407 => refusal.challenge,
            _ => None,
        };
        headers.extend(
            challenge.into_iter().flat_map(Challenge::fields).map(|(name, value)| (text(name), text(value))),
        );
        headers.push((text("Cache-Control"), text("no-store")));
        if refusal.bodiless {
            return Self { status, headers, body: Bytes::new() };
        }
        let (content_type, body) = if accept.is_some_and(prefers_text) {
            ("text/plain; charset=utf-8", refusal.detail.to_string())
        } else {
            ("application/problem+json", problem(refusal, id))
        };
        headers.push((text("Content-Type"), text(content_type)));
        // A browser must not interpret the text as another type.
        headers.push((text("X-Content-Type-Options"), text("nosniff")));
        Self { status, headers, body: body.into() }
    }

    /// Returns the answer to a request that attache answers itself, such as a handshake.
    pub(crate) fn reply(reply: Reply, id: &RequestId) -> Self {
        let mut headers = vec![
            (text("Content-Type"), text(reply.content_type)),
            (text("X-Content-Type-Options"), text("nosniff")),
            (text("Cache-Control"), text("no-store")),
            (Bytes::from_static(PROXY_STATUS), text("attache")),
            (Bytes::from_static(REQUEST_ID), id.as_str().to_owned().into()),
        ];
        headers.extend(reply.headers.into_iter().map(|(name, value)| (text(name), value.into())));
        if let Some((name, secret)) = &reply.secret {
            headers.push((text(name), Bytes::copy_from_slice(secret.expose().as_bytes())));
        }
        Self { status: reply.status.as_u16(), headers, body: reply.body.into() }
    }

    /// Returns the operator's own answer on timeout.
    pub(crate) fn custom(response: &TimeoutResponse, refusal: &Refusal, id: &RequestId) -> Self {
        let mut headers = marks(refusal, id);
        headers.retain(|(name, _)| {
            let own = |own: &[u8]| own.eq_ignore_ascii_case(name);
            !response.headers.iter().any(|(name, _)| own(name.as_str().as_bytes())) || *name == PROXY_STATUS
        });
        let value = |value: &http::HeaderValue| Bytes::copy_from_slice(value.as_bytes());
        headers.push((text("Content-Type"), value(&response.content_type)));
        headers.extend(response.headers.iter().map(|(name, own)| (name.spelling().clone(), value(own))));
        let body = response.body.clone().unwrap_or_else(|| refusal.detail.to_string());
        Self { status: response.status.as_u16(), headers, body: body.into() }
    }

    /// Writes the answer. The body is omitted for HEAD, and for a status that forbids one.
    pub(crate) fn write(
        &self,
        out: &mut BytesMut,
        to_head: bool,
        version: Version,
        persistence: Persistence,
    ) {
        let length = self.body.len() as u64;
        let (body, announced) = match self.status {
            204 => (Framing::Empty, None),
            304 => (Framing::Empty, None),
            _ if to_head => (Framing::Empty, Some(length)),
            _ => (Framing::Length(length), None),
        };
        out.reserve(512 + self.body.len());
        status_line(out, self.status, reason(self.status));
        date(out);
        for (name, value) in &self.headers {
            field(out, name, value);
        }
        Outgoing::new(body, announced, version, persistence).finish_head(out, version);
        if body != Framing::Empty {
            out.extend_from_slice(&self.body);
        }
    }
}

/// Returns the fields that identify an answer as attache's.
fn marks(refusal: &Refusal, id: &RequestId) -> Vec<(Bytes, Bytes)> {
    let error = refusal.proxy_status.unwrap_or(refusal.code.proxy_status());
    let mut marks = Vec::with_capacity(8);
    marks.push((Bytes::from_static(PROXY_STATUS), format!("attache; error={error}").into()));
    marks.push((Bytes::from_static(REQUEST_ID), id.as_str().to_owned().into()));
    marks
}

fn problem(refusal: &Refusal, id: &RequestId) -> String {
    #[derive(serde::Serialize)]
    struct ProblemDocument<'a> {
        r#type: String,
        title: &'a str,
        status: u16,
        detail: &'a str,
        code: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        service: Option<&'a str>,
        request_id: &'a str,
    }
    let code: ErrorCode = refusal.code;
    let problem = ProblemDocument {
        r#type: format!("urn:attache:error:{}", code.as_str()),
        title: code.title(),
        status: refusal.status().as_u16(),
        detail: &refusal.detail,
        code: code.as_str(),
        service: refusal.service.as_deref(),
        request_id: id.as_str(),
    };
    // Serialising strings and a number cannot fail.
    serde_json::to_string(&problem).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header_name::FieldName;
    use http::{HeaderValue, StatusCode};

    fn written(answer: &Answer, to_head: bool) -> String {
        let mut out = BytesMut::new();
        answer.write(&mut out, to_head, Version::Http11, Persistence::Close);
        String::from_utf8(out.to_vec()).expect("ASCII")
    }

    #[test]
    fn a_problem_document_has_every_member() {
        let refusal = Refusal::new(ErrorCode::ServiceTimeout, "Mailer is not answering.").of("mailer");
        let id = RequestId::from_caller(Some(b"id-1"));
        let answer = Answer::new(&refusal, &id, None);
        let expected = concat!(
            r#"{"type":"urn:attache:error:service_timeout","#,
            r#""title":"The connected service did not answer in time","status":504,"#,
            r#""detail":"Mailer is not answering.","code":"service_timeout","service":"mailer","request_id":"id-1"}"#
        );
        assert_eq!(answer.body, expected);
        let bytes = written(&answer, false);
        assert!(bytes.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"), "{bytes}");
        assert!(bytes.contains("Proxy-Status: attache; error=http_response_timeout\r\n"), "{bytes}");
        assert!(bytes.contains("X-Attache-Request-Id: id-1\r\n"), "{bytes}");
        assert!(bytes.ends_with(expected), "{bytes}");
        let to_head = written(&answer, true);
        assert!(to_head.contains(&format!("Content-Length: {}\r\n", expected.len())), "{to_head}");
        assert!(to_head.ends_with("\r\n\r\n"), "{to_head}");
    }

    #[test]
    fn the_operators_answer_carries_request_id_and_proxy_status() {
        let response = TimeoutResponse {
            status: StatusCode::OK,
            content_type: HeaderValue::from_static("application/xml"),
            body: Some("<late/>".into()),
            headers: vec![(FieldName::from_static("Proxy-Status"), HeaderValue::from_static("mine"))],
        };
        let refusal = Refusal::new(ErrorCode::ServiceTimeout, "late");
        let answer = Answer::custom(&response, &refusal, &RequestId::new());
        assert_eq!((answer.status, &answer.body[..]), (200, &b"<late/>"[..]));
        let has = |name: &[u8]| answer.headers.iter().any(|(n, _)| *n == name);
        assert!(has(PROXY_STATUS) && has(REQUEST_ID) && has(b"Content-Type"));
    }
}
