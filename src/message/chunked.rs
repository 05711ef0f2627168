//! The chunked transfer coding (RFC 9112 section 7.1), read strictly.
//!
//! A verified body is forwarded with its length, never as the chunks it came in: two parsers of the same chunks could
//! disagree on the signed content.

use bytes::{Buf, BytesMut};

/// Maximum length of a size line with its extensions, or of a trailer line.
const MAX_LINE: usize = 4096;
/// Maximum size of all trailers together.
const MAX_TRAILERS: usize = 16 << 10;

/// A body that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChunkError {
    /// The bytes are not chunked coding.
    #[error("the body is not valid chunked coding")]
    Malformed,
    /// The body exceeds the limit.
    #[error("the body is larger than allowed")]
    TooLarge,
}

#[derive(Debug)]
enum ChunkState {
    Size,
    Data(u64),
    DataEnd,
    Trailers(usize),
    Done,
}

/// Decodes chunks incrementally. Trailers are read and dropped (RFC 9112 section 7.1.2 allows it).
#[derive(Debug)]
pub(crate) struct Chunks {
    state: ChunkState,
    room: u64,
}

impl Chunks {
    /// Returns a decoder for a body of at most `limit` bytes.
    pub(crate) fn new(limit: u64) -> Self {
        Self { state: ChunkState::Size, room: limit }
    }

    /// Moves the decodable bytes from `raw` to `body`. True: the body is complete, and the rest of `raw` belongs to the
    /// next request.
    pub(crate) fn take(&mut self, raw: &mut BytesMut, body: &mut BytesMut) -> Result<bool, ChunkError> {
        self.take_at_most(usize::MAX, raw, |part| body.extend_from_slice(part))
    }

    /// Returns true if bytes of the body are next.
    pub(crate) fn is_in_data(&self) -> bool {
        matches!(self.state, ChunkState::Data(_))
    }

    /// As [`Self::take`], but at most `most` bytes of the body. The end is found even if no more of the body is taken.
    pub(crate) fn take_at_most(
        &mut self,
        mut most: usize,
        raw: &mut BytesMut,
        mut body: impl FnMut(&[u8]),
    ) -> Result<bool, ChunkError> {
        loop {
            match self.state {
                ChunkState::Size => {
                    let Some(line) = line(raw)? else { return Ok(false) };
                    let size = size(&line)?;
                    self.room = self.room.checked_sub(size).ok_or(ChunkError::TooLarge)?;
                    self.state = if size == 0 { ChunkState::Trailers(0) } else { ChunkState::Data(size) };
                }
                ChunkState::Data(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(raw.len()).min(most);
                    body(&raw[..here]);
                    raw.advance(here);
                    most -= here;
                    match left - here as u64 {
                        0 => self.state = ChunkState::DataEnd,
                        left => {
                            self.state = ChunkState::Data(left);
                            return Ok(false);
                        }
                    }
                }
                ChunkState::DataEnd => match raw.get(..2) {
                    Some(b"\r\n") => {
                        raw.advance(2);
                        self.state = ChunkState::Size;
                    }
                    Some(_) => return Err(ChunkError::Malformed),
                    None => return Ok(false),
                },
                ChunkState::Trailers(seen) => {
                    let Some(line) = line(raw)? else { return Ok(false) };
                    let seen = seen + line.len();
                    if seen > MAX_TRAILERS {
                        return Err(ChunkError::Malformed);
                    }
                    self.state = if line.is_empty() { ChunkState::Done } else { ChunkState::Trailers(seen) };
                }
                ChunkState::Done => return Ok(true),
            }
        }
    }
}

/// Returns a line without its end, if it is complete.
fn line(raw: &mut BytesMut) -> Result<Option<BytesMut>, ChunkError> {
    let end = raw.iter().take(MAX_LINE + 2).position(|&b| b == b'\n');
    let Some(end) = end else {
        return if raw.len() > MAX_LINE { Err(ChunkError::Malformed) } else { Ok(None) };
    };
    let mut line = raw.split_to(end + 1);
    if !line.ends_with(b"\r\n") {
        return Err(ChunkError::Malformed);
    }
    line.truncate(end - 1);
    // Some parsers take a bare CR as a line end, and NUL as the end of the text.
    let is_odd = |b: &u8| b.is_ascii_control() && *b != b'\t';
    if line.iter().any(is_odd) { Err(ChunkError::Malformed) } else { Ok(Some(line)) }
}

/// Returns the size at the start of a line. An extension may follow; white space before it is invalid but common
/// (section 7.1.1).
fn size(line: &[u8]) -> Result<u64, ChunkError> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let rest = &line[digits..];
    let fine = (1..=15).contains(&digits) && (rest.is_empty() || rest.trim_ascii_start().starts_with(b";"));
    let text = std::str::from_utf8(&line[..digits]).map_err(|_| ChunkError::Malformed)?;
    if fine {
        u64::from_str_radix(text, 16).map_err(|_| ChunkError::Malformed)
    } else {
        Err(ChunkError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body, and the remaining bytes.
    type Decoded = (Vec<u8>, Vec<u8>);

    #[test]
    fn no_more_of_the_body_is_taken_than_there_is_room() {
        let mut raw = BytesMut::from(&b"4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\nGET"[..]);
        let (mut chunks, mut body) = (Chunks::new(1000), Vec::new());
        for (room, end) in [(3, false), (0, false), (5, false), (1, true)] {
            let (before, taken) = (body.len(), chunks.take_at_most(room, &mut raw, |part| body.extend(part)));
            assert_eq!((taken, body.len() - before), (Ok(end), room));
        }
        assert_eq!((&body[..], &raw[..]), (&b"Wikipedia"[..], &b"GET"[..]));
    }

    /// Decodes `step` bytes at a time.
    fn decode(raw: &[u8], step: usize) -> Result<Option<Decoded>, ChunkError> {
        let (mut chunks, mut buffer, mut body) = (Chunks::new(1000), BytesMut::new(), BytesMut::new());
        let mut pieces = raw.chunks(step);
        while let Some(piece) = pieces.next() {
            buffer.extend_from_slice(piece);
            if chunks.take(&mut buffer, &mut body)? {
                let left = pieces.fold(buffer.to_vec(), |left, piece| [&left, piece].concat());
                return Ok(Some((body.to_vec(), left)));
            }
        }
        Ok(None)
    }

    #[test]
    fn chunks_are_decoded_at_every_split() {
        let raw = b"4\r\nWiki\r\n6;name=value\r\npedia \r\nE \t;x\r\nin \r\n\r\nchunks.\r\n0\r\nTrailer: x\r\n\r\nGET /";
        for step in 1..=raw.len() {
            let (body, left) = decode(raw, step).expect("well-formed").expect("whole");
            assert_eq!(
                (body.as_slice(), left.as_slice()),
                (&b"Wikipedia in \r\n\r\nchunks."[..], &b"GET /"[..])
            );
        }
        assert_eq!(decode(b"0\r\n\r\n", 1), Ok(Some((Vec::new(), Vec::new()))));
        assert_eq!(decode(b"4\r\nWiki\r\n0\r\n", 3), Ok(None), "not whole");
    }

    #[test]
    fn ambiguous_chunks_are_refused() {
        for raw in [
            &b"4\nWiki\r\n0\r\n\r\n"[..],
            b"\r\nWiki\r\n0\r\n\r\n",
            b"+4\r\nWiki\r\n0\r\n\r\n",
            b"0x4\r\nWiki\r\n0\r\n\r\n",
            b" 4\r\nWiki\r\n0\r\n\r\n",
            b"4 4\r\nWiki\r\n0\r\n\r\n",
            b"4\r\nWikip\r\n0\r\n\r\n",
            b"4;a\rb\r\nWiki\r\n0\r\n\r\n",
            b"3;\nxx\r\nabc\r\n0\r\n\r\n",
            b"4;a\0b\r\nWiki\r\n0\r\n\r\n",
            b"10000000000000004\r\nWiki\r\n0\r\n\r\n",
            b"4\r\nWiki\r\n0\r\n\n",
        ] {
            assert_eq!(decode(raw, 7), Err(ChunkError::Malformed), "{}", raw.escape_ascii());
        }
        assert_eq!(decode(&[&b"4;"[..], &[b'x'; 2 * MAX_LINE]].concat(), 100), Err(ChunkError::Malformed));
    }

    #[test]
    fn a_body_over_the_limit_is_refused() {
        assert_eq!(decode(b"3e9\r\n", 1), Err(ChunkError::TooLarge));
        assert_eq!(decode(b"3e8\r\nx", 1), Ok(None));
        assert_eq!(decode(b"ffffffffffffff\r\n", 1), Err(ChunkError::TooLarge));
        let trailers =
            [&b"0\r\n"[..], &b"Trailer: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n".repeat(1000)].concat();
        assert_eq!(decode(&trailers, 100), Err(ChunkError::Malformed));
    }
}
