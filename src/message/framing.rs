//! The end of a response's body (RFC 9112 section 6.3), decided from all of its raw fields.
//!
//! A response gets new framing for the client, so its end must be unambiguous to every parser: anything ambiguous is an
//! error.

use super::Fields;

/// The framing of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    Empty,
    /// The body ends after this number of bytes.
    Length(u64),
    /// The body ends with the last chunk.
    Chunked,
    /// The body ends with the connection.
    UntilClose,
}

/// A response whose end two parsers could place differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// RFC 9112 section 6.1 forbids it.
    #[error("Transfer-Encoding in an HTTP/1.0 response")]
    CodingInHttp10,
    /// The coding is not exactly one `chunked`.
    #[error("a Transfer-Encoding other than one `chunked`")]
    Coding,
    /// RFC 9112 section 6.3 calls it an attempt at smuggling.
    #[error("Transfer-Encoding beside Content-Length")]
    CodingAndLength,
    /// The lengths are not one number, or several equal ones.
    #[error("a Content-Length that is not one number")]
    Length,
}

/// The framing of a response, by its fields, its status and the request's method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseFraming {
    /// The body that follows.
    pub body: Framing,
    /// The `Content-Length` of a response without a body: to HEAD, or 304 (RFC 9110 section 8.6).
    pub announced: Option<u64>,
    /// The response has framing fields that it must not have. Its server may send a body anyway, so the connection must
    /// not be reused.
    pub is_suspect: bool,
}

impl ResponseFraming {
    /// Decides the framing of a final response, or of an interim one, which never has a body.
    ///
    /// # Errors
    ///
    /// If the fields are ambiguous. On 1xx and 204, which have neither field (RFC 9110 section 8.6, RFC 9112 section 6.1),
    /// they are ignored.
    pub fn decide(to_head: bool, status: u16, minor: u8, fields: &Fields) -> Result<Self, FramingError> {
        if status < 200 || status == 204 {
            let is_suspect = fields.contains("content-length") || fields.contains("transfer-encoding");
            return Ok(Self { body: Framing::Empty, announced: None, is_suspect });
        }
        let length = content_length(fields)?;
        let body = match transfer_coding(fields)? {
            true if minor == 0 => return Err(FramingError::CodingInHttp10),
            true if length.is_some() => return Err(FramingError::CodingAndLength),
            true => Framing::Chunked,
            false => length.map_or(Framing::UntilClose, Framing::Length),
        };
        match to_head || status == 304 {
            true => {
                let is_suspect = status == 304 && body == Framing::Chunked;
                Ok(Self { body: Framing::Empty, announced: length, is_suspect })
            }
            false => Ok(Self { body, announced: None, is_suspect: false }),
        }
    }
}

/// Returns true if the body is chunked.
fn transfer_coding(fields: &Fields) -> Result<bool, FramingError> {
    let mut codings = fields.all("transfer-encoding");
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(true),
        _ => Err(FramingError::Coding),
    }
}

/// Returns the one length that every `Content-Length` states, as a list or in several lines (RFC 9110 section 8.6).
fn content_length(fields: &Fields) -> Result<Option<u64>, FramingError> {
    let mut length = None;
    for member in fields.all("content-length").flat_map(|value| value.split(|&b| b == b',')) {
        let stated = decimal(member.trim_ascii()).ok_or(FramingError::Length)?;
        if length.is_some_and(|length| length != stated) {
            return Err(FramingError::Length);
        }
        length = Some(stated);
    }
    Ok(length)
}

/// Parses a number of at most 18 digits and nothing else.
pub fn decimal(digits: &[u8]) -> Option<u64> {
    let plain = (1..=18).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| digits.iter().fold(0, |n, digit| n * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(fields: &[(&str, &str)]) -> Result<Framing, FramingError> {
        decide_for(false, 200, 1, fields).map(|framing| framing.body)
    }

    fn decide_for(
        to_head: bool,
        status: u16,
        minor: u8,
        fields: &[(&str, &str)],
    ) -> Result<ResponseFraming, FramingError> {
        let fields = Fields::collect(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        ResponseFraming::decide(to_head, status, minor, &fields)
    }

    #[test]
    fn a_plain_response_has_one_framing() {
        assert_eq!(decide(&[]), Ok(Framing::UntilClose));
        assert_eq!(decide(&[("content-length", "5")]), Ok(Framing::Length(5)));
        assert_eq!(decide(&[("Transfer-Encoding", "Chunked")]), Ok(Framing::Chunked));
        assert_eq!(decide(&[("Content-Length", "5"), ("content-length", "5, 5")]), Ok(Framing::Length(5)));
    }

    #[test]
    fn an_ambiguous_response_is_an_error() {
        let te = |value| ("Transfer-Encoding", value);
        let cl = |value| ("Content-Length", value);
        for fields in [
            &[te("chunked"), te("identity")][..],
            &[te("identity"), te("chunked")],
            &[te("chunked"), te("chunked")],
            &[te("gzip, chunked")],
            &[te("chunked, chunked")],
            &[te("chunked;q=1")],
            &[te("xchunked")],
            &[te("identity")],
            &[te("")],
        ] {
            assert_eq!(decide(fields), Err(FramingError::Coding), "{fields:?}");
        }
        for fields in [
            &[cl("5"), cl("3")][..],
            &[cl("5, 3")],
            &[cl("+5")],
            &[cl("-1")],
            &[cl("")],
            &[cl("5,")],
            &[cl("0x5")],
            &[cl("1234567890123456789")],
        ] {
            assert_eq!(decide(fields), Err(FramingError::Length), "{fields:?}");
        }
        assert_eq!(decide(&[te("chunked"), cl("5")]), Err(FramingError::CodingAndLength));
        assert_eq!(decide_for(false, 200, 0, &[te("chunked")]), Err(FramingError::CodingInHttp10));
    }

    #[test]
    fn status_and_method_decide_whether_there_is_a_body() {
        let empty =
            |announced, is_suspect| Ok(ResponseFraming { body: Framing::Empty, announced, is_suspect });
        for status in [100, 103, 204] {
            let fields = [("Content-Length", "5"), ("Transfer-Encoding", "gzip")];
            assert_eq!(decide_for(false, status, 1, &fields), empty(None, true), "{status}");
            assert_eq!(decide_for(false, status, 1, &[]), empty(None, false), "{status}");
        }
        assert_eq!(decide_for(false, 304, 1, &[("Content-Length", "5")]), empty(Some(5), false));
        assert_eq!(decide_for(true, 200, 1, &[("Content-Length", "5")]), empty(Some(5), false));
        assert_eq!(decide_for(true, 200, 1, &[("Transfer-Encoding", "chunked")]), empty(None, false));
        assert_eq!(decide_for(false, 304, 1, &[("Transfer-Encoding", "chunked")]), empty(None, true));
    }
}
