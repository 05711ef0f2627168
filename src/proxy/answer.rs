//! attache's own answers: a problem document (RFC 9457), or its bare detail as text where the caller prefers that.
//!
//! Every one carries `Proxy-Status` (RFC 9209) and the request id, so that nobody takes it for the third party's.

use crate::config::model::TimeoutResponse;
use crate::error_code::ErrorCode;
use crate::plan::{Refusal, Reply};
use crate::request_id::RequestId;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use std::fmt::Write as _;

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
/// The header that every answer bears.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-attache-request-id");

/// An answer, ready to be written.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
}

impl Answer {
    /// The answer to a request that is refused, or that failed.
    pub(super) fn new(refusal: &Refusal, id: &RequestId, accept: Option<&[u8]>) -> Self {
        let status = refusal.status();
        let mut headers = marks(refusal, id);
        if let Some(seconds) = refusal.retry_after {
            headers.push((header::RETRY_AFTER, HeaderValue::from(seconds)));
        }
        if let Some(allow) = refusal.allow.as_deref().and_then(|allow| HeaderValue::from_str(allow).ok()) {
            headers.push((header::ALLOW, allow));
        }
        headers.push((header::CACHE_CONTROL, HeaderValue::from_static("no-store")));
        if refusal.bodiless {
            return Self { status, headers, body: Bytes::new() };
        }
        let (content_type, body) = if accept.is_some_and(prefers_text) {
            ("text/plain; charset=utf-8", refusal.detail.to_string())
        } else {
            ("application/problem+json", problem(refusal, id))
        };
        headers.push((header::CONTENT_TYPE, HeaderValue::from_static(content_type)));
        // A page that shows an error must not make something else of it.
        headers.push((header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")));
        Self { status, headers, body: body.into() }
    }

    /// The answer to a question that was for us.
    pub(super) fn reply(reply: Reply, id: &RequestId) -> Self {
        let mut headers = vec![
            (header::CONTENT_TYPE, HeaderValue::from_static(reply.content_type)),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (PROXY_STATUS, HeaderValue::from_static("attache")),
        ];
        headers.extend(HeaderValue::from_str(id.as_str()).ok().map(|id| (REQUEST_ID, id)));
        Self { status: StatusCode::OK, headers, body: reply.body.into() }
    }

    /// The operator's own answer on time-out.
    pub(super) fn custom(response: &TimeoutResponse, refusal: &Refusal, id: &RequestId) -> Self {
        let mut headers = marks(refusal, id);
        headers.retain(|(name, _)| {
            !response.headers.iter().any(|(own, _)| own == name) || *name == PROXY_STATUS
        });
        headers.push((header::CONTENT_TYPE, response.content_type.clone()));
        headers.extend(response.headers.iter().map(|(n, v)| (n.as_header_name().clone(), v.clone())));
        let body = response.body.clone().unwrap_or_else(|| refusal.detail.to_string());
        Self { status: response.status, headers, body: body.into() }
    }

    /// As bytes, for a connection that the engine has not seen: it is closed afterwards.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {}\r\n", self.status);
        for (name, value) in &self.headers {
            // Our own values are ASCII.
            let _ = write!(head, "{name}: {}\r\n", value.to_str().unwrap_or_default());
        }
        let _ = write!(head, "content-length: {}\r\nconnection: close\r\n\r\n", self.body.len());
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// What tells that an answer is attache's.
fn marks(refusal: &Refusal, id: &RequestId) -> Vec<(HeaderName, HeaderValue)> {
    let error = refusal.proxy_status.unwrap_or(refusal.code.proxy_status());
    let mut marks = Vec::with_capacity(8);
    if let Ok(value) = HeaderValue::from_str(&format!("attache; error={error}")) {
        marks.push((PROXY_STATUS, value));
    }
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        marks.push((REQUEST_ID, value));
    }
    marks
}

fn problem(refusal: &Refusal, id: &RequestId) -> String {
    #[derive(serde::Serialize)]
    struct Problem<'a> {
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
    let problem = Problem {
        r#type: format!("urn:attache:error:{}", code.as_str()),
        title: code.title(),
        status: refusal.status().as_u16(),
        detail: &refusal.detail,
        code: code.as_str(),
        service: refusal.service.as_deref(),
        request_id: id.as_str(),
    };
    // Strings and a number: it can't fail.
    serde_json::to_string(&problem).unwrap_or_default()
}

/// Whether `Accept` (RFC 9110 section 12.5.1) puts plain text before JSON. A tie goes to the one that is named more
/// exactly, else to JSON.
fn prefers_text(accept: &[u8]) -> bool {
    let Ok(accept) = std::str::from_utf8(accept) else { return false };
    let text = quality(accept, &["text/plain"], "text/*");
    let json = quality(accept, &["application/problem+json", "application/json"], "application/*");
    text.0 > 0 && text > json
}

/// Quality in thousandths, and how exactly the type is named.
fn quality(accept: &str, types: &[&str], family: &str) -> (u16, u8) {
    let mut best = (0, 0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let exactness = if types.iter().any(|t| name.eq_ignore_ascii_case(t)) {
            3
        } else if name.eq_ignore_ascii_case(family) {
            2
        } else if name == "*/*" {
            1
        } else {
            continue;
        };
        let q = parts
            .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
            .and_then(|q| q.trim().parse::<f32>().ok())
            .filter(|q| (0.0..=1.0).contains(q))
            .unwrap_or(1.0);
        // The most exact range decides.
        if exactness > best.1 || (exactness == best.1 && (q * 1000.0) as u16 > best.0) {
            best = ((q * 1000.0) as u16, exactness);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header_name::FieldName;

    #[test]
    fn text_is_answered_only_where_it_is_preferred() {
        for accept in [
            "text/plain",
            "text/plain, */*",
            "text/plain;q=0.9, application/json;q=0.1",
            "text/*, */*;q=0.1",
            "TEXT/PLAIN",
            "application/json;q=0, text/plain",
        ] {
            assert!(prefers_text(accept.as_bytes()), "{accept}");
        }
        for accept in [
            "*/*",
            "",
            "application/json",
            "application/json, text/plain",
            "text/plain;q=0",
            "text/html, */*;q=0.8",
            "text/plain;q=0.5, application/problem+json",
            "text/plain;q=0.1, */*",
        ] {
            assert!(!prefers_text(accept.as_bytes()), "{accept}");
        }
    }

    #[test]
    fn a_problem_document_has_every_member() {
        let refusal = Refusal::new(ErrorCode::ServiceTimeout, "Mailer is not answering.").of("mailer");
        let id = RequestId::from_caller(Some(&HeaderValue::from_static("id-1")));
        let answer = Answer::new(&refusal, &id, None);
        let expected = concat!(
            r#"{"type":"urn:attache:error:service_timeout","#,
            r#""title":"The connected service did not answer in time","status":504,"#,
            r#""detail":"Mailer is not answering.","code":"service_timeout","service":"mailer","request_id":"id-1"}"#
        );
        assert_eq!(answer.body, expected);
        let bytes = String::from_utf8(answer.to_bytes()).expect("ASCII");
        assert!(bytes.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"), "{bytes}");
        assert!(bytes.contains("proxy-status: attache; error=http_response_timeout\r\n"), "{bytes}");
        assert!(bytes.contains("x-attache-request-id: id-1\r\n"), "{bytes}");
    }

    #[test]
    fn the_operators_answer_keeps_the_marks() {
        let response = TimeoutResponse {
            status: StatusCode::OK,
            content_type: HeaderValue::from_static("application/xml"),
            body: Some("<late/>".into()),
            headers: vec![(FieldName::from_static("Proxy-Status"), HeaderValue::from_static("mine"))],
        };
        let refusal = Refusal::new(ErrorCode::ServiceTimeout, "late");
        let answer = Answer::custom(&response, &refusal, &RequestId::new());
        assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"<late/>"[..]));
        let has = |name| answer.headers.iter().any(|(n, _)| *n == name);
        assert!(has(PROXY_STATUS) && has(REQUEST_ID) && has(header::CONTENT_TYPE));
    }
}
