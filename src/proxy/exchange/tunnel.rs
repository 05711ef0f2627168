//! A tunnel, once the server has switched protocols (RFC 9110 section 7.8): bytes both ways, half-closes included.
//!
//! It is alive while either side speaks; after the service's idle time of silence it is cut.

use super::answer::REQUEST_ID;
use super::attempt::{Answering, write_fields};
use super::failure::no_response;
use super::headers::ResponseFilter;
use super::idle::Idle;
use super::request::{Planned, Request};
use super::{End, Stop, UpstreamError};
use crate::error_code::ErrorCode;
use crate::message::writer::{field, status_line};
use crate::proxy::downstream::client::Client;
use crate::telemetry::metrics::Phase;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

/// Bytes that are copied at a time.
const BUFFER: usize = 8 << 10;

/// Passes the 101 on and copies until both sides have ended.
pub(super) async fn open(
    request: &mut Request,
    planned: &Planned,
    mut answering: Answering,
    client: &mut Client,
) -> Result<End, Stop> {
    let head = &answering.head;
    if !request.head.websocket {
        // Nothing asked for it: the bytes that follow would be read differently by the two sides.
        let error = UpstreamError::Protocol("an unsolicited 101");
        return Err(Stop::refused(no_response(&planned.plan.route, error)));
    }
    let out = client.queue();
    status_line(out, head.status, &head.reason);
    write_fields(out, &head.fields, &ResponseFilter::new(&head.fields, true));
    field(out, REQUEST_ID, request.record.id.as_str().as_bytes());
    out.extend_from_slice(b"\r\n");
    request.record.status = Some(head.status);
    request.record.phase = Some(Phase::Body);
    // The session read ahead of its 101.
    while let Some(part) = poll_once(answering.attempt.session().read_body_ref()).await {
        match part {
            Ok(Some(part)) if !part.is_empty() => client.queue().extend_from_slice(part),
            _ => break,
        }
    }
    client.flush().await?;
    let Some(mut server) = answering.attempt.into_stream() else { return Ok(End::Abort) };
    server.become_tunnel();
    let (socket, early) = client.lend_to_tunnel();
    if server.write_all(early).await.is_err() || server.flush().await.is_err() {
        return Ok(End::Abort);
    }
    early.clear();
    let traffic = Traffic { up: AtomicU64::new(0), down: AtomicU64::new(0) };
    let (mut near, mut far) =
        (Watched { io: socket, read: &traffic.up }, Watched { io: &mut *server, read: &traffic.down });
    let copied = {
        let mut copy = pin!(tokio::io::copy_bidirectional_with_sizes(&mut near, &mut far, BUFFER, BUFFER));
        let mut idle = Idle::new(planned.plan.route.idle_timeout);
        loop {
            let before = traffic.total();
            tokio::select! {
                biased;
                copied = &mut copy => break Some(copied),
                () = idle.elapsed() => {
                    if traffic.total() == before {
                        break None;
                    }
                    idle.touch();
                }
            }
        }
    };
    request.record.bytes_out = traffic.down.load(Relaxed);
    client.body_bytes = traffic.up.load(Relaxed);
    if copied.is_none() {
        request.record.phase = Some(Phase::Idle);
        request.record.failed(ErrorCode::ServiceTimeout, "idle");
    }
    Ok(if matches!(copied, Some(Ok(_))) { End::Close { linger: false } } else { End::Abort })
}

/// The future's output, if it is there now.
async fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(tokio::task::unconstrained(future));
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Bytes that passed.
struct Traffic {
    up: AtomicU64,
    down: AtomicU64,
}

impl Traffic {
    fn total(&self) -> u64 {
        self.up.load(Relaxed) + self.down.load(Relaxed)
    }
}

/// A side of the tunnel that counts what it says.
struct Watched<'a, T> {
    io: &'a mut T,
    read: &'a AtomicU64,
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<'_, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut *self.io).poll_read(cx, buf);
        self.read.fetch_add((buf.filled().len() - before) as u64, Relaxed);
        poll
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<'_, T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_shutdown(cx)
    }
}
