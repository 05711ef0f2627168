//! Reads one answer from the bytes of a connection. Pure.

use super::error::{AnswerFault, FetchError};
use crate::message::chunked::Chunks;
use crate::message::framing::ResponseFraming;
use crate::message::{Fields, Framing, ResponseHead, has_strict_line_ends};
use crate::transport::stream::MAX_HEAD;
use bytes::BytesMut;
use http::{Method, StatusCode};
use std::fmt;

/// Maximum number of interim answers.
const MAX_INTERIM: u32 = 32;
/// Bytes that are read at once.
const PART: usize = 8 << 10;

/// A final answer.
pub(crate) struct HttpAnswer {
    /// The status, 200 to 599.
    pub(crate) status: StatusCode,
    /// The header fields.
    pub(crate) fields: Fields,
    /// The body, without its framing. A content coding is not decoded.
    pub(crate) body: BytesMut,
}

/// Without the body, which may be a token.
impl fmt::Debug for HttpAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpAnswer")
            .field("status", &self.status)
            .field("fields", &self.fields)
            .finish_non_exhaustive()
    }
}

enum AnswerProgress {
    Head,
    /// This many bytes of the body are missing.
    Length(usize),
    Chunked(Chunks),
    UntilClose,
    Complete,
}

/// Reads one answer incrementally.
pub(super) struct AnswerReader {
    to_head: bool,
    max_body: usize,
    /// Received and not yet interpreted.
    raw: BytesMut,
    state: AnswerProgress,
    /// Size and number of the interim heads so far.
    interim: (usize, u32),
    head: Option<(StatusCode, Fields)>,
    body: BytesMut,
}

impl AnswerReader {
    /// Returns a reader for the answer to a request of this method, with a body of at most `max_body` bytes.
    pub(super) fn new(method: &Method, max_body: usize) -> Self {
        Self {
            to_head: *method == Method::HEAD,
            max_body,
            raw: BytesMut::new(),
            state: AnswerProgress::Head,
            interim: (0, 0),
            head: None,
            body: BytesMut::new(),
        }
    }

    /// Returns the buffer to which received bytes are appended.
    pub(super) fn room(&mut self) -> &mut BytesMut {
        self.raw.reserve(PART);
        &mut self.raw
    }

    /// Interprets the bytes in the buffer. Returns the answer once it is complete; later bytes are ignored.
    ///
    /// # Errors
    ///
    /// As soon as the bytes cannot become an answer within the limits.
    pub(super) fn received(&mut self) -> Result<Option<HttpAnswer>, FetchError> {
        while matches!(self.state, AnswerProgress::Head) {
            if !self.take_head()? {
                return Ok(None);
            }
        }
        self.take_body()?;
        Ok(if matches!(self.state, AnswerProgress::Complete) { self.finish() } else { None })
    }

    /// Returns the answer that ends with the connection.
    ///
    /// # Errors
    ///
    /// If the answer is not complete.
    pub(super) fn closed(&mut self) -> Result<HttpAnswer, FetchError> {
        match self.state {
            AnswerProgress::UntilClose => self.finish().ok_or_else(|| self.cut().into()),
            _ => Err(self.cut().into()),
        }
    }

    /// Returns the fault of an answer that ends here.
    pub(super) fn cut(&self) -> AnswerFault {
        let nothing = self.raw.is_empty() && self.head.is_none() && self.interim.1 == 0;
        if nothing { AnswerFault::Missing } else { AnswerFault::Cut }
    }

    fn finish(&mut self) -> Option<HttpAnswer> {
        let (status, fields) = self.head.take()?;
        Some(HttpAnswer { status, fields, body: self.body.split() })
    }

    /// Takes a head from the buffer. False: it is not complete.
    fn take_head(&mut self) -> Result<bool, FetchError> {
        let start = &b"HTTP/1."[..];
        let compared = self.raw.len().min(start.len());
        let end = memchr::memmem::find(&self.raw, b"\r\n\r\n").map(|at| at + 4);
        let size = self.interim.0 + end.unwrap_or(self.raw.len());
        if self.raw[..compared] != start[..compared] {
            return Err(AnswerFault::Head.into());
        }
        if size > MAX_HEAD {
            return Err(FetchError::TooLarge);
        }
        let Some(end) = end else {
            let is_strict = has_strict_line_ends(&self.raw);
            return if is_strict { Ok(false) } else { Err(AnswerFault::Head.into()) };
        };
        let head = ResponseHead::parse(self.raw.split_to(end).freeze()).ok_or(AnswerFault::Head)?;
        let status = StatusCode::from_u16(head.status).map_err(|_| AnswerFault::Head)?;
        if status.is_informational() {
            self.interim = (size, self.interim.1 + 1);
            let fine = status != StatusCode::SWITCHING_PROTOCOLS && self.interim.1 <= MAX_INTERIM;
            return if fine { Ok(true) } else { Err(AnswerFault::Interim.into()) };
        }
        let framing = ResponseFraming::decide(self.to_head, head.status, head.minor, &head.fields);
        self.state = match framing.map_err(AnswerFault::Framing)?.body {
            Framing::Empty => AnswerProgress::Complete,
            Framing::Length(length) => {
                let length = usize::try_from(length).ok().filter(|length| *length <= self.max_body);
                AnswerProgress::Length(length.ok_or(FetchError::TooLarge)?)
            }
            Framing::Chunked => AnswerProgress::Chunked(Chunks::new(self.max_body as u64)),
            Framing::UntilClose => AnswerProgress::UntilClose,
        };
        self.head = Some((status, head.fields));
        Ok(true)
    }

    fn take_body(&mut self) -> Result<(), FetchError> {
        match &mut self.state {
            AnswerProgress::Length(missing) => {
                let part = self.raw.split_to(self.raw.len().min(*missing));
                *missing -= part.len();
                self.body.extend_from_slice(&part);
                if *missing == 0 {
                    self.state = AnswerProgress::Complete;
                }
            }
            AnswerProgress::Chunked(chunks) => {
                if chunks.take(&mut self.raw, &mut self.body)? {
                    self.state = AnswerProgress::Complete;
                }
            }
            AnswerProgress::UntilClose => {
                if self.body.len() + self.raw.len() > self.max_body {
                    return Err(FetchError::TooLarge);
                }
                let part = self.raw.split();
                self.body.extend_from_slice(&part);
            }
            AnswerProgress::Head | AnswerProgress::Complete => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
