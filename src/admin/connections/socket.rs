//! The socket of a connection, which fails if the client does not read its answer.

use super::Bounds;
use super::list::ListedConnection;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// A socket whose writes fail after [`Bounds::stall`] without progress, or [`Bounds::answer`] without an end.
pub(super) struct TimedSocket<S> {
    socket: S,
    connection: Arc<ListedConnection>,
    bounds: Bounds,
    unread: Option<UnreadOutput>,
}

/// Output that waits for the client.
struct UnreadOutput {
    began: Instant,
    /// The time at which the client last read some of it.
    progress: Instant,
    limit: Pin<Box<Sleep>>,
}

impl<S> TimedSocket<S> {
    pub(super) fn new(socket: S, connection: Arc<ListedConnection>, bounds: Bounds) -> Self {
        Self { socket, connection, bounds, unread: None }
    }

    fn written(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let now = Instant::now();
        let bounds = self.bounds;
        if written.is_ready() {
            if let Some(unread) = &mut self.unread {
                unread.progress = now;
            }
            return written;
        }
        let unread = self.unread.get_or_insert_with(|| UnreadOutput {
            began: now,
            progress: now,
            limit: Box::pin(sleep_until(now)),
        });
        let limit = (unread.progress + bounds.stall).min(unread.began + bounds.answer);
        unread.limit.as_mut().reset(limit);
        self.connection.set_unread(Some(unread.progress));
        match unread.limit.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TimedSocket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, parts);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    /// Called by hyper once it has no more output.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unread.take().is_some() {
            self.connection.set_unread(None);
        }
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
