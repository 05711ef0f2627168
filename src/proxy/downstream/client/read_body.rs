//! Reading of a body that is read ahead: from the socket into the buffer that is given, with no other buffer between
//! them that grows with the body.

use super::{Body, Client, ClientError, HEAD_BUFFER};
use bytes::{Buf as _, BufMut as _};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio_util::io::poll_read_buf;

/// The outcome of one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyRead {
    /// A part was read.
    Part,
    /// The client has sent more than the buffer has room for.
    Full,
    /// The body is complete.
    End,
}

impl Client {
    /// Reads a part of the request's body into `body`, up to its capacity. The buffer may have no capacity at first, so
    /// that nothing is allocated for a client that sends nothing. Beside it, chunks occupy as much as a head. Cancel safe.
    ///
    /// # Errors
    ///
    /// If the client left or stalled, or its body cannot be read.
    pub(crate) async fn read_body(&mut self, body: &mut Vec<u8>) -> Result<BodyRead, ClientError> {
        poll_fn(|cx| self.poll_read_body(cx, body)).await
    }

    fn poll_read_body(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Vec<u8>,
    ) -> Poll<Result<BodyRead, ClientError>> {
        if self.has_output() {
            // The client may send before it reads.
            let _ = self.poll_drain(cx)?;
        }
        loop {
            if let Some(read) = self.take_early(body)? {
                return Poll::Ready(Ok(read));
            }
            ready!(self.socket.poll_readable(cx))?;
            match &mut self.body {
                Body::Ended => {}
                Body::Length(_) if body.len() == body.capacity() => return Poll::Ready(Ok(BodyRead::Full)),
                Body::Length(left) => {
                    let room = body.capacity() - body.len();
                    let most = usize::try_from(*left).unwrap_or(usize::MAX).min(room);
                    let mut rest = (&mut *body).limit(most);
                    let read = some(ready!(poll_read_buf(Pin::new(&mut self.socket), cx, &mut rest)))?;
                    *left -= read;
                    self.body_bytes += read;
                    return Poll::Ready(Ok(if *left == 0 { self.ended() } else { BodyRead::Part }));
                }
                Body::Chunked(_) => {
                    self.make_room(HEAD_BUFFER);
                    some(ready!(poll_read_buf(Pin::new(&mut self.socket), cx, &mut self.input)))?;
                }
            }
        }
    }

    /// Moves bytes that were read before to `body`. `None`: there are none.
    fn take_early(&mut self, body: &mut Vec<u8>) -> Result<Option<BodyRead>, ClientError> {
        let (before, room) = (body.len(), body.capacity() - body.len());
        let (end, needs_room) = match &mut self.body {
            Body::Ended => (true, false),
            Body::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(self.input.len()).min(room);
                body.extend_from_slice(&self.input[..here]);
                self.input.advance(here);
                *left -= here as u64;
                (*left == 0, true)
            }
            Body::Chunked(chunks) => {
                let take = |part: &[u8]| body.extend_from_slice(part);
                let end = chunks.take_at_most(room, &mut self.input, take).map_err(ClientError::Body)?;
                (end, chunks.is_in_data())
            }
        };
        let read = body.len() - before;
        self.body_bytes += read as u64;
        Ok(match read {
            _ if end => Some(self.ended()),
            0 if needs_room && room == 0 && !self.input.is_empty() => Some(BodyRead::Full),
            0 => None,
            _ => Some(BodyRead::Part),
        })
    }

    fn ended(&mut self) -> BodyRead {
        self.body = Body::Ended;
        BodyRead::End
    }
}

/// Returns the number of bytes that were read. None is the end of the connection.
fn some(read: io::Result<usize>) -> Result<u64, ClientError> {
    match read {
        Ok(read @ 1..) => Ok(read as u64),
        Ok(0) | Err(_) => Err(ClientError::Left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Framing;
    use crate::socket::Socket;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::UnixStream;

    /// Returns a client that has sent `sent`, of which `early` bytes were read with the head.
    async fn client(sent: &[u8], early: usize, framing: Framing, limit: u64) -> (Client, UnixStream) {
        let (mut theirs, ours) = UnixStream::pair().expect("a pair");
        theirs.write_all(&sent[early..]).await.expect("write");
        let mut client = Client::new(Socket::from(ours), None);
        client.input().extend_from_slice(&sent[..early]);
        client.begin(framing, limit);
        (client, theirs)
    }

    /// Reads a whole body into a buffer that grows by `step`, and returns it.
    async fn read(client: &mut Client, step: usize) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        loop {
            match client.read_body(&mut body).await? {
                BodyRead::Part => {}
                BodyRead::Full => {
                    assert_eq!(body.len(), body.capacity(), "there was room");
                    body.reserve_exact(step);
                }
                BodyRead::End => return Ok(body),
            }
        }
    }

    #[tokio::test]
    async fn a_body_ends_where_its_framing_says() {
        const CHUNKS: &[u8] = b"4\r\nWiki\r\n5;x\r\npedia\r\n0\r\nTrailer: x\r\n\r\n";
        for (framing, whole) in [(Framing::Length(9), &b"Wikipedia"[..]), (Framing::Chunked, CHUNKS)] {
            let sent = [whole, b"GET / HTTP/1.1"].concat();
            for early in 0..=whole.len() {
                for step in [1, 2, 9, 100] {
                    let (mut client, _theirs) = client(&sent, early, framing, 1000).await;
                    assert_eq!(read(&mut client, step).await, Ok(b"Wikipedia".to_vec()), "{early} {step}");
                    assert_eq!(client.body_bytes, 9);
                    assert!(client.body_has_ended());
                    while client.input().len() < 14 {
                        client.more().await.expect("the next request");
                    }
                    assert_eq!(&client.input()[..], b"GET / HTTP/1.1");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_body_that_is_cut_or_too_large_is_an_error() {
        for (framing, sent, error) in [
            (Framing::Length(10), &b"Wikipedia"[..], ClientError::Left),
            (Framing::Chunked, b"4\r\nWi", ClientError::Left),
            (Framing::Chunked, b"4\r\nWiki", ClientError::Left),
            (Framing::Chunked, b"3e9\r\n", ClientError::Body(crate::message::chunked::ChunkError::TooLarge)),
        ] {
            let (mut client, theirs) = client(sent, 0, framing, 1000).await;
            drop(theirs);
            assert_eq!(read(&mut client, 100).await, Err(error));
        }
    }

    /// A client that announces much and sends nothing or one byte.
    #[tokio::test]
    async fn nothing_is_allocated_before_it_is_sent() {
        for framing in [Framing::Length(1 << 20), Framing::Chunked] {
            let (mut client, mut theirs) = client(b"", 0, framing, 1 << 20).await;
            let mut body = Vec::new();
            assert!(poll(&mut client, &mut body).await.is_pending());
            assert_eq!(client.input.capacity(), 0);
            theirs
                .write_all(if framing == Framing::Chunked { b"100000\r\nx" } else { b"x" })
                .await
                .expect("write");
            assert_eq!(client.read_body(&mut body).await, Ok(BodyRead::Full));
            body.reserve_exact(4096);
            assert_eq!(client.read_body(&mut body).await, Ok(BodyRead::Part));
            assert!(poll(&mut client, &mut body).await.is_pending());
            assert_eq!((&body[..], body.capacity()), (&b"x"[..], 4096));
            assert!(client.input.capacity() <= HEAD_BUFFER, "{}", client.input.capacity());
        }
    }

    async fn poll(client: &mut Client, body: &mut Vec<u8>) -> Poll<Result<BodyRead, ClientError>> {
        poll_fn(|cx| Poll::Ready(client.poll_read_body(cx, body))).await
    }

    /// Parts that are kept, as for sending them again, keep their buffers.
    #[tokio::test]
    async fn a_body_in_many_parts_keeps_few_buffers() {
        use super::super::{Event, Wants};
        let (mut client, mut theirs) = client(b"", 0, Framing::Length(64 << 10), 1 << 20).await;
        let mut parts = Vec::new();
        for _ in 0..16 {
            theirs.write_all(&[b'x'; 4096]).await.expect("write");
            let Ok(Event::Body { part, .. }) = client.event(Wants { body: true, room: false }).await else {
                panic!("no part");
            };
            parts.push(part);
        }
        // Parts of one buffer lie side by side.
        let ends = parts.windows(2).filter(|pair| pair[0].as_ptr_range().end != pair[1].as_ptr());
        assert!(ends.count() <= 4);
    }
}
