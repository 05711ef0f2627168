//! A captured request: a head in the form of HTTP/1.1, and a body.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The parts of a captured request.
#[derive(Debug)]
pub(super) struct Captured {
    pub(super) method: String,
    pub(super) target: Vec<u8>,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// Remarks for the user.
    pub(super) remarks: Vec<String>,
}

impl Captured {
    /// Parses a request. Lines of the head may end either way, since editors change that; the body is taken unchanged.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let (head, body) = split(bytes).ok_or(
            "there is no empty line between headers and body: a captured request is a request line, headers, an empty \
             line, and the body",
        )?;
        let head = std::str::from_utf8(head).map_err(|_| "the head is not text")?;
        let mut lines = head.lines();
        let first = lines.next().unwrap_or_default();
        let mut words = first.split(' ');
        let (Some(method), Some(target), Some(_), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(
                "the first line is not a request line such as `POST /webhooks/KEY HTTP/1.1`".to_owned()
            );
        };
        let mut headers = HeaderMap::new();
        for (line, number) in lines.zip(2..) {
            let (name, value) = line.split_once(':').ok_or(format!("line {number} is not a header"))?;
            let name =
                name.parse::<HeaderName>().map_err(|_| format!("line {number} has no valid header name"))?;
            let value = HeaderValue::from_bytes(value.trim().as_bytes())
                .map_err(|_| format!("line {number} has a character that is not allowed in a header"))?;
            headers.append(name, value);
        }
        let mut remarks = Vec::new();
        let announced = headers.get(http::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        if let Some(announced) = announced.and_then(|length| length.parse::<usize>().ok())
            && announced != body.len()
        {
            remarks.push(format!(
                "Content-Length is {announced} bytes, but the body has {}: the capture is incomplete or changed",
                body.len()
            ));
        }
        if headers.contains_key(http::header::TRANSFER_ENCODING) {
            remarks
                .push("the request has a chunked body; the capture must contain the decoded body".to_owned());
        }
        let (method, target) = (method.to_owned(), origin_form(target).as_bytes().to_vec());
        Ok(Self { method, target, headers, body: body.to_vec(), remarks })
    }
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let find =
        |end: &[u8]| bytes.windows(end.len()).position(|window| window == end).map(|at| (at, end.len()));
    let (at, length) = [find(b"\r\n\r\n"), find(b"\n\n")].into_iter().flatten().min()?;
    Some((&bytes[..at], &bytes[at + length..]))
}

/// Captures often contain the whole URL.
fn origin_form(target: &str) -> &str {
    let Some((_, rest)) = target.split_once("://") else { return target };
    rest.find(['/', '?']).map_or("/", |at| &rest[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_parsed_with_either_line_end() {
        for end in ["\r\n", "\n"] {
            let text =
                format!("POST https://h/webhooks/k?x HTTP/1.1{end}A: 1{end}a:2{end}{end}body\r\n\r\nmore\n");
            let captured = Captured::parse(text.as_bytes()).expect("a request");
            assert_eq!(
                (captured.method.as_str(), captured.target.as_slice()),
                ("POST", &b"/webhooks/k?x"[..])
            );
            assert_eq!(captured.headers.get_all("a").iter().count(), 2);
            assert_eq!(captured.body, b"body\r\n\r\nmore\n");
            assert!(captured.remarks.is_empty());
        }
    }

    #[test]
    fn an_invalid_request_is_refused_without_quoting_it() {
        for (text, why) in [
            ("POST / HTTP/1.1\r\nA: hunter2", "no empty line"),
            ("hunter2\r\n\r\n", "not a request line"),
            ("POST / HTTP/1.1\r\nhunter2\r\n\r\n", "line 2 is not a header"),
            ("POST / HTTP/1.1\r\nhun ter2: x\r\n\r\n", "line 2 has no valid header name"),
        ] {
            let problem = Captured::parse(text.as_bytes()).expect_err("no request");
            assert!(problem.contains(why) && !problem.contains("hunter2"), "{problem}");
        }
    }

    #[test]
    fn a_body_of_another_length_causes_a_remark() {
        let captured =
            Captured::parse(b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody\n").expect("a request");
        assert!(captured.remarks[0].contains("is 4 bytes, but the body has 5"), "{:?}", captured.remarks);
    }
}
