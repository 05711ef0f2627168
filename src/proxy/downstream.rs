//! The caller's side of a connection, as the engine sees it.
//!
//! The engine takes any stream, so it gets ours, which adds five things that it does not do itself: it gives no byte beyond
//! the request in hand, so that a request that comes early is kept for its turn; it can read a request's body ahead, of any
//! size, before the engine asks for it (the engine's own way holds 64 KiB, and hangs beyond); it tells whether a
//! write is waiting for the caller (so that a slow caller is not mistaken for a stalled third party), it keeps the third
//! party's own `Date` where the engine puts its clock's, and when the engine lets go of it, it comes back instead of
//! being closed with unread bytes, which would make the kernel send a reset that destroys the answer on its way.

use super::chunks::{Bad, Chunks};
use super::socket::Socket;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID,
};
use std::fmt;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter, ReadBuf};

/// An answer's head and a small body leave in one write.
const WRITE_BUFFER: usize = 4096;
/// How long, and for how many bytes, a caller that is still sending is listened to after its answer.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 4 << 20;
/// How much of later requests is read while one is in hand.
const MAX_EARLY: usize = 64 << 10;
/// A body that is read ahead takes room, so a caller who falls silent in the middle of it is not waited for longer.
const SILENCE: Duration = Duration::from_secs(10);
/// How much of a body is asked for at a time when it is read ahead.
const READ_AHEAD: usize = 64 << 10;

/// What a connection's parts tell each other.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// The caller's address; none on a unix socket.
    pub(super) peer: Option<SocketAddr>,
    /// A write is waiting for the caller to read.
    pub(super) write_blocked: AtomicBool,
    /// The request's body was not read to its end.
    pub(super) unread: AtomicBool,
    /// The third party's `Date`, to stand in the answer's head that is written next.
    date: Mutex<Option<Box<[u8]>>>,
    /// The stream that the engine let go of.
    parting: Mutex<Option<BufWriter<Socket>>>,
}

impl Connection {
    /// A connection from `peer`.
    pub(super) fn new(peer: Option<SocketAddr>) -> Self {
        Self { peer, ..Self::default() }
    }

    /// Keeps `date` for the head that is written next.
    pub(super) fn keep_date(&self, date: &[u8]) {
        *self.date.lock().unwrap_or_else(PoisonError::into_inner) = Some(date.into());
    }

    /// Ends the connection in the caller's interest: what is written is flushed and, if the caller may still be
    /// sending, it is heard out for a bounded while, so that it gets to read its answer.
    pub(super) async fn part(&self) {
        let parting = self.parting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(stream) = parting {
            part(stream, self.unread.load(Ordering::Relaxed)).await;
        }
    }
}

async fn part(mut stream: BufWriter<Socket>, unread: bool) {
    let farewell = async {
        stream.shutdown().await?;
        let mut heard = 0;
        let mut buffer = [0; 4096];
        while unread && heard < LINGER_BYTES {
            match stream.read(&mut buffer).await? {
                0 => break,
                n => heard += n,
            }
        }
        io::Result::Ok(())
    };
    // The caller may be gone already: nothing is owed to it then.
    let _ = tokio::time::timeout(LINGER, farewell).await;
}

/// The stream handed to the engine, request after request.
pub(super) struct Downstream {
    // `None` only while it is being dropped.
    stream: Option<BufWriter<Socket>>,
    connection: Arc<Connection>,
    blocked: bool,
    // The engine lends the stream out as a shared reference only; its own reads go around the lock.
    held: Mutex<Held>,
}

/// What has been read and not yet asked for.
#[derive(Default)]
struct Held {
    /// How many more bytes belong to the request in hand, those of `ahead` among them; `None` where only the engine can
    /// tell (chunks, tunnels).
    remaining: Option<u64>,
    /// Of the request in hand.
    ahead: Bytes,
    /// What came beyond it.
    early: BytesMut,
}

/// How a request says where its body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
}

/// Why a body could not be read ahead.
#[derive(Debug)]
pub(super) enum Unread {
    /// The caller left, or the connection broke.
    Gone,
    /// It is larger than allowed.
    TooLarge,
    /// Its chunks are malformed.
    Malformed,
    /// There is no room for it.
    NoRoom,
    /// The caller stopped sending.
    Silent,
}

impl Downstream {
    pub(super) fn new(socket: Socket, connection: Arc<Connection>) -> Self {
        Self {
            stream: Some(BufWriter::with_capacity(WRITE_BUFFER, socket)),
            connection,
            blocked: false,
            held: Mutex::default(),
        }
    }

    /// Reads on behalf of the accept loop: first what came early, then the socket.
    pub(super) async fn read_head(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        let held = self.held();
        if !held.ahead.is_empty() {
            // Of a tunnel that did not come about: what a caller meant by bytes that it sent into it, nobody can tell.
            return Ok(0);
        }
        held.remaining = None;
        if held.early.is_empty() {
            return self.read_buf(buffer).await;
        }
        let early = mem::take(&mut held.early);
        buffer.extend_from_slice(&early);
        Ok(early.len())
    }

    /// Of `buffer`, which starts with a head of `head` bytes and has a body of `body` bytes (`None`: chunks), keeps what
    /// lies beyond the request, and holds back whatever else comes before its turn. With `hold`, the part of the body that
    /// is here is kept as well, so that [`Self::read_ahead`] finds it.
    pub(super) fn confine(&mut self, buffer: &mut BytesMut, head: usize, body: Option<u64>, hold: bool) {
        let held = self.held();
        if let Some(body) = body {
            let here = (buffer.len() - head) as u64;
            if here > body {
                held.early = buffer.split_off(head + body as usize);
            }
            held.remaining = Some(if hold { body } else { body.saturating_sub(here) });
        }
        if hold && buffer.len() > head {
            held.ahead = buffer.split_off(head).freeze();
        }
    }

    /// The whole body of the request in hand, if it is no larger than `limit`. The engine will read it from here, as one
    /// of this length. With `expects`, the caller waits to be told that it may send it.
    ///
    /// `room` is asked for whatever comes. The bytes are kept as they come and once: what is returned and what the engine
    /// reads are the same memory.
    pub(super) async fn read_ahead(
        &self,
        framing: Framing,
        limit: u64,
        expects: bool,
        room: &mut (dyn FnMut(usize) -> bool + Send),
    ) -> Result<Bytes, Unread> {
        if matches!(framing, Framing::Length(length) if length > limit) {
            return Err(Unread::TooLarge);
        }
        let socket = self.stream.as_ref().map(BufWriter::get_ref).ok_or(Unread::Gone)?;
        let mut raw = BytesMut::from(mem::take(&mut self.lock().ahead));
        if let Framing::Length(length) = framing
            && raw.len() as u64 > length
        {
            // `confine` cut it off already, but for chunks and tunnels, whose end the head's length does not say.
            self.lock().early = raw.split_off(length as usize);
        }
        let mut body = BytesMut::new();
        let mut chunks = Chunks::new(limit);
        let mut expects = expects;
        loop {
            let missing = match framing {
                Framing::Length(length) => {
                    usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(raw.len())
                }
                Framing::Chunked => {
                    let done = chunks.take(&mut raw, &mut body).map_err(|bad| match bad {
                        Bad::Malformed => Unread::Malformed,
                        Bad::TooLarge => Unread::TooLarge,
                    })?;
                    if done { 0 } else { READ_AHEAD }
                }
            };
            if missing == 0 {
                break;
            }
            if mem::take(&mut expects) {
                socket.write_now(b"HTTP/1.1 100 Continue\r\n\r\n").await.map_err(|_| Unread::Gone)?;
            }
            // Room for what comes, not for what was announced; with chunks, for what they are read from too.
            raw.reserve(missing.min(READ_AHEAD));
            match tokio::time::timeout(SILENCE, socket.read_now(&mut raw, missing)).await {
                Err(_) => return Err(Unread::Silent),
                Ok(Ok(0) | Err(_)) => return Err(Unread::Gone),
                Ok(Ok(read)) if !room(read) => return Err(Unread::NoRoom),
                Ok(Ok(_)) => {}
            }
        }
        let mut held = self.lock();
        let body = match framing {
            Framing::Length(_) => raw.freeze(),
            Framing::Chunked => {
                // What was read beyond the last chunk is the next request's.
                held.early = raw;
                body.freeze()
            }
        };
        held.remaining = Some(body.len() as u64);
        held.ahead = body.clone();
        Ok(body)
    }

    /// Reads no further than the request in hand goes; beyond it, only the end of the connection is told.
    fn poll_confined(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        remaining: u64,
    ) -> Poll<io::Result<()>> {
        if remaining > 0 {
            let limit = usize::try_from(remaining).unwrap_or(usize::MAX).min(buf.remaining());
            let mut part = ReadBuf::new(buf.initialize_unfilled_to(limit));
            ready!(self.stream()?.poll_read(cx, &mut part))?;
            let read = part.filled().len();
            buf.advance(read);
            self.held().remaining = Some(remaining - read as u64);
            return Poll::Ready(Ok(()));
        }
        let mut space = [0; 1024];
        while self.held().early.len() < MAX_EARLY {
            let mut part = ReadBuf::new(&mut space);
            ready!(self.stream()?.poll_read(cx, &mut part))?;
            if part.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.held().early.extend_from_slice(part.filled());
        }
        // Whoever asks waits for other things as well, and the rest waits in the kernel.
        Poll::Pending
    }

    /// Without taking the lock: nobody else has the stream.
    fn held(&mut self) -> &mut Held {
        self.held.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stream(&mut self) -> io::Result<Pin<&mut BufWriter<Socket>>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Remembers, where it changes, whether a write is waiting for the caller.
    fn note<T>(&mut self, poll: Poll<T>) -> Poll<T> {
        if self.blocked != poll.is_pending() {
            self.blocked = poll.is_pending();
            self.connection.write_blocked.store(self.blocked, Ordering::Relaxed);
        }
        poll
    }
}

impl Drop for Downstream {
    fn drop(&mut self) {
        *self.connection.parting.lock().unwrap_or_else(PoisonError::into_inner) = self.stream.take();
    }
}

impl fmt::Debug for Downstream {
    // The engine may print a stream: not what is buffered in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Downstream")
    }
}

impl AsyncRead for Downstream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let held = self.held();
        if !held.ahead.is_empty() {
            let part = held.ahead.split_to(held.ahead.len().min(buf.remaining()));
            buf.put_slice(&part);
            held.remaining = held.remaining.map(|remaining| remaining.saturating_sub(part.len() as u64));
            return Poll::Ready(Ok(()));
        }
        let poll = match held.remaining {
            Some(remaining) => self.poll_confined(cx, buf, remaining),
            None => self.stream()?.poll_read(cx, buf),
        };
        // The engine does not flush an answer of known length before its end. While it waits for more of it, it also
        // waits for the caller, here: so what is buffered leaves now and is not held back until more comes.
        if poll.is_pending() && self.stream.as_ref().is_some_and(|stream| !stream.buffer().is_empty()) {
            let flush = self.stream()?.poll_flush(cx);
            if let Poll::Ready(Err(error)) = self.note(flush) {
                return Poll::Ready(Err(error));
            }
        }
        poll
    }
}

impl AsyncWrite for Downstream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let date = self.connection.date.lock().unwrap_or_else(PoisonError::into_inner).take();
        let poll = match date.and_then(|date| with_date(buf, &date)) {
            // A head fits the buffer or is written at once; a part of it can't be taken, since the rest of `buf` would
            // then come again with the engine's date. `poll_write` of the buffered writer takes all of what fits.
            Some(head) if head.len() <= WRITE_BUFFER => self.stream()?.poll_write(cx, &head),
            _ => self.stream()?.poll_write(cx, buf),
        };
        self.note(poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = self.stream()?.poll_flush(cx);
        self.note(poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = self.stream()?.poll_write_vectored(cx, bufs);
        self.note(poll)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

/// `head` with `date` in place of its own, if it is an answer's head and both are of the one length that an
/// IMF-fixdate has.
fn with_date(head: &[u8], date: &[u8]) -> Option<Vec<u8>> {
    const NAME: &[u8] = b"\r\ndate: ";
    if !head.starts_with(b"HTTP/1.") || date.len() != "Sun, 06 Nov 1994 08:49:37 GMT".len() {
        return None;
    }
    let at = head.windows(NAME.len()).position(|window| window.eq_ignore_ascii_case(NAME))? + NAME.len();
    let mut head = head.to_vec();
    let own = head.get_mut(at..at + date.len())?;
    own.copy_from_slice(date);
    (head.get(at + date.len()..at + date.len() + 2)? == b"\r\n").then_some(head)
}

impl UniqueID for Downstream {
    fn id(&self) -> i32 {
        self.stream.as_ref().map_or(-1, |stream| stream.get_ref().as_raw_fd())
    }
}

#[async_trait]
impl Shutdown for Downstream {
    async fn shutdown(&mut self) {
        if let Some(stream) = &mut self.stream {
            // The connection ends either way.
            let _ = stream.flush().await;
        }
    }
}

impl Ssl for Downstream {}
impl Peek for Downstream {}

impl GetTimingDigest for Downstream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Downstream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Downstream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";

    #[test]
    fn the_third_partys_date_replaces_the_engines() {
        let head = b"HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 00:00:00 GMT\r\nX: y\r\n\r\n";
        let expected = b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nX: y\r\n\r\n";
        assert_eq!(with_date(head, DATE).as_deref(), Some(&expected[..]));
    }

    #[test]
    fn what_is_no_head_or_no_date_stays_as_it_is() {
        assert_eq!(with_date(b"body\r\nDate: Mon, 23 Nov 2026 00:00:00 GMT\r\n", DATE), None);
        assert_eq!(with_date(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n", DATE), None);
        assert_eq!(with_date(b"HTTP/1.1 200 OK\r\nDate: short\r\n\r\n", DATE), None);
        assert_eq!(
            with_date(b"HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 00:00:00 GMT\r\n\r\n", b"yesterday"),
            None
        );
    }
}
