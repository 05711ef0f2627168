//! HTTP/1.1 as bytes, parsed by the client and by the stubs: not with a library, because a library would normalise what
//! the tests have to see.

use bytes::{Buf, BytesMut};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The head of a message: start line and fields, in their order and case.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    /// The bytes as received, with the empty line.
    pub(crate) raw: Vec<u8>,
    /// The start line: `GET /x HTTP/1.1`, or `HTTP/1.1 200 OK`.
    pub(crate) start: Vec<u8>,
    pub(crate) fields: Vec<(String, String)>,
}

impl Head {
    pub(super) fn parse(raw: &[u8]) -> Self {
        let mut lines = raw.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let start = lines.next().unwrap_or_default().to_vec();
        let fields = lines
            .filter(|line| !line.is_empty())
            .map(|line| {
                let line = String::from_utf8_lossy(line);
                let (name, value) = line.split_once(':').unwrap_or((&line, ""));
                (name.to_owned(), value.trim().to_owned())
            })
            .collect();
        Self { raw: raw.to_vec(), start, fields }
    }

    /// Returns the first field of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Returns every field of that name.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let of_name = self.fields.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        of_name.map(|(_, value)| value.as_str()).collect()
    }

    pub(super) fn says(&self, name: &str, token: &str) -> bool {
        let values = self.all(name);
        values.iter().flat_map(|value| value.split(',')).any(|found| found.trim().eq_ignore_ascii_case(token))
    }

    fn length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    pub(super) fn request_framing(&self) -> Framing {
        if self.says("transfer-encoding", "chunked") {
            return Framing::Chunked;
        }
        self.length().map_or(Framing::Empty, Framing::Length)
    }

    pub(super) fn response_framing(&self, method: &str, status: u16) -> Framing {
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Framing::Empty;
        }
        if self.says("transfer-encoding", "chunked") {
            return Framing::Chunked;
        }
        self.length().map_or(Framing::UntilClose, Framing::Length)
    }
}

/// The framing of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Empty,
    Length(u64),
    Chunked,
    UntilClose,
}

/// Bytes that were read from a socket and not yet consumed.
#[derive(Debug, Default)]
pub(super) struct Reader {
    buffer: BytesMut,
    /// The first bytes of everything received since it was last taken.
    pub(super) tap: Vec<u8>,
}

const TAP: usize = 1024 * 1024;

impl Reader {
    /// Reads once; false at the end of the stream.
    async fn fill(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<bool> {
        self.buffer.reserve(64 * 1024);
        let before = self.buffer.len();
        let read = stream.read_buf(&mut self.buffer).await?;
        let tapped = read.min(TAP.saturating_sub(self.tap.len()));
        self.tap.extend_from_slice(&self.buffer[before..before + tapped]);
        Ok(read > 0)
    }

    /// Returns the next head; `None` if the stream ends before one begins.
    pub(super) async fn head(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                return Ok(Some(Head::parse(&self.buffer.split_to(end + 4))));
            }
            if !self.fill(stream).await? {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                let got = String::from_utf8_lossy(&self.buffer).into_owned();
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("half a head: {got:?}")));
            }
        }
    }

    /// Passes the decoded body to `sink`, piece by piece. False if the stream ends before the body does.
    pub(super) async fn body(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        framing: Framing,
        mut sink: impl FnMut(&[u8]),
    ) -> io::Result<bool> {
        match framing {
            Framing::Empty => Ok(true),
            Framing::Length(length) => self.exactly(stream, length, &mut sink).await,
            Framing::UntilClose => loop {
                sink(&self.buffer);
                self.buffer.clear();
                if !self.fill(stream).await? {
                    return Ok(true);
                }
            },
            Framing::Chunked => loop {
                let Some(line) = self.line(stream).await? else { return Ok(false) };
                let digits = line.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(digits, 16).map_err(|_| {
                    io::Error::new(io::ErrorKind::InvalidData, format!("chunk size {line:?}"))
                })?;
                if size == 0 {
                    // Trailers, up to the empty line.
                    while let Some(line) = self.line(stream).await? {
                        if line.is_empty() {
                            return Ok(true);
                        }
                    }
                    return Ok(false);
                }
                if !self.exactly(stream, size, &mut sink).await? || self.line(stream).await?.is_none() {
                    return Ok(false);
                }
            },
        }
    }

    /// Reads until the stream ends.
    pub(super) async fn rest(&mut self, stream: &mut (impl AsyncRead + Unpin), mut sink: impl FnMut(&[u8])) {
        loop {
            sink(&self.buffer);
            self.buffer.clear();
            if !matches!(self.fill(stream).await, Ok(true)) {
                return;
            }
        }
    }

    /// Returns what was read beyond the last message.
    pub(super) fn leftover(&mut self) -> BytesMut {
        std::mem::take(&mut self.buffer)
    }

    async fn exactly(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        mut left: u64,
        sink: &mut impl FnMut(&[u8]),
    ) -> io::Result<bool> {
        loop {
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            sink(&self.buffer[..here]);
            self.buffer.advance(here);
            left -= here as u64;
            if left == 0 {
                return Ok(true);
            }
            if !self.fill(stream).await? {
                return Ok(false);
            }
        }
    }

    async fn line(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line = self.buffer.split_to(end + 2);
                return Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()));
            }
            if !self.fill(stream).await? {
                return Ok(None);
            }
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|part| part == needle)
}
