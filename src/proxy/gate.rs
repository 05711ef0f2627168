//! Keeps the engine from tearing a WebSocket down in the moment it is opened.
//!
//! The engine ends a tunnel when the (empty) body of the request that opened it ends, if it happens to read the 101
//! before it gets to that end, which a fast upstream brings about in one upgrade of some thousands
//! (cloudflare/pingora#946). The order can only be forced on the socket: nothing that upstream says is read until the
//! request has been sent to its end, which the engine marks with a second flush after the one of the head.
//!
//! The engine pools no such connection, since a stream of ours has no descriptor to know it by; a tunnel is never reused.

use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Flushes after which a request without a body is sent: the head's, and the end's.
const FLUSHES: u8 = 2;

/// Whether what upstream says may be read.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Flushes to come before the gate opens; it is open at none, as during a TLS handshake.
    flushes: u8,
    reader: Option<Waker>,
}

impl Gate {
    /// From here on nothing is read, until the request that is about to be sent has been sent.
    pub(super) fn close(&self) {
        self.lock().flushes = FLUSHES;
    }

    fn flushed(&self) {
        let mut state = self.lock();
        if state.flushes > 0 {
            state.flushes -= 1;
            if state.flushes == 0
                && let Some(reader) = state.reader.take()
            {
                reader.wake();
            }
        }
    }

    fn is_open(&self, cx: &Context<'_>) -> bool {
        let mut state = self.lock();
        if state.flushes > 0 {
            state.reader = Some(cx.waker().clone());
        }
        state.flushes == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `socket` behind `gate`, as a stream for the engine.
pub(super) fn gated(socket: TcpStream, gate: Arc<Gate>) -> Stream {
    Stream::from(VirtualSocketStream::new(Box::new(Gated { socket, gate })))
}

#[derive(Debug)]
struct Gated {
    socket: TcpStream,
    gate: Arc<Gate>,
}

impl AsyncRead for Gated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.gate.is_open(cx) {
            return Poll::Pending;
        }
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Gated {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.socket).poll_flush(cx);
        if poll.is_ready() {
            self.gate.flushed();
        }
        poll
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl VirtualSocket for Gated {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.socket.set_nodelay(true),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_opens_when_the_request_has_been_sent() {
        let (gate, cx) = (Gate::default(), Context::from_waker(Waker::noop()));
        assert!(gate.is_open(&cx), "before a request");
        gate.close();
        assert!(!gate.is_open(&cx));
        gate.flushed();
        assert!(!gate.is_open(&cx), "only the head");
        gate.flushed();
        assert!(gate.is_open(&cx));
        gate.flushed();
        assert!(gate.is_open(&cx), "and stays open");
    }
}
