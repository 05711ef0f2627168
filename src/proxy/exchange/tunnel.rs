//! A tunnel, after the upstream has switched protocols (RFC 9110 section 7.8): bytes both ways, including half-closes.
//!
//! It ends after the service's idle time without a byte, and when the client reads nothing for [`STALL`].

use super::answer::REQUEST_ID;
use super::attempt::Answering;
use super::edits::Edits;
use super::failure::no_response;
use super::headers::ResponseFilter;
use super::record::Record;
use super::relay::poll_once;
use super::request::{Planned, Request};
use super::{End, NotForwarded, UpstreamError};
use crate::error_code::ErrorCode;
use crate::message::writer::{field, status_line};
use crate::proxy::downstream::client::{Client, STALL};
use crate::telemetry::metrics::Phase;
use bytes::{Buf as _, BytesMut};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

/// Size of the copy buffer.
const BUFFER: usize = 8 << 10;

/// Forwards the 101 and copies until both sides have ended.
pub(super) async fn open(
    request: &mut Request,
    planned: &Planned,
    mut answering: Box<Answering>,
    client: &mut Client,
) -> Result<End, NotForwarded> {
    check_upgrade(request, planned, &answering)?;
    queue_head(request, planned, &answering, client);
    // A tunnel is no request in progress: neither `max_concurrent` counts it.
    (request.record.permit, request.record.caller_permit) = (None, None);
    // The session may have read beyond the 101.
    if let Some(Ok(Some(part))) = poll_once(answering.attempt.session().read_body_ref()).await {
        request.record.bytes_out = part.len() as u64;
        client.queue().extend_from_slice(part);
    }
    client.flush().await?;
    let Some(mut server) = answering.attempt.into_stream() else { return Ok(End::Abort) };
    let (socket, early) = client.lend_to_tunnel();
    let traffic = Traffic::default();
    let tally = Tally { record: &mut request.record, traffic: &traffic };
    let early = std::mem::take(early);
    let mut near = TunnelSide {
        io: socket,
        early,
        read: &traffic.up,
        blocked: Some(&traffic.blocked),
        traffic: &traffic,
    };
    let mut far = TunnelSide {
        io: &mut *server,
        early: BytesMut::new(),
        read: &traffic.down,
        blocked: None,
        traffic: &traffic,
    };
    let copied = {
        let copy = pin!(tokio::io::copy_bidirectional_with_sizes(&mut near, &mut far, BUFFER, BUFFER));
        tokio::select! {
            biased;
            copied = copy => Some(copied),
            () = traffic.silent(planned.plan.route.idle_timeout) => None,
        }
    };
    drop(tally);
    let record = &mut request.record;
    match copied {
        Some(Ok(_)) => return Ok(End::Close),
        Some(Err(_)) => record.reason = Some("connection_terminated".into()),
        None if traffic.blocked_for() >= STALL => record.reason = Some("client_stalled".into()),
        None => {
            record.phase = Some(Phase::Idle);
            record.failed(ErrorCode::ServiceTimeout, "idle");
        }
    }
    Ok(End::Abort)
}

/// Returns the refusal of a 101 that the request did not ask for.
fn check_upgrade(request: &Request, planned: &Planned, answering: &Answering) -> Result<(), NotForwarded> {
    let refused = |fault| {
        let error = UpstreamError::Protocol(fault);
        Err(NotForwarded::refused(no_response(&planned.plan.route, error)))
    };
    if !request.head.websocket {
        // The request was no upgrade: the two sides would parse the following bytes differently.
        return refused("an unsolicited 101");
    }
    if !answering.head.fields.lists("upgrade", "websocket") {
        return refused("a 101 to another protocol than requested");
    }
    Ok(())
}

/// Queues the head of the 101, and records it.
fn queue_head(request: &mut Request, planned: &Planned, answering: &Answering, client: &mut Client) {
    let head = &answering.head;
    let out = client.queue();
    let edits = Edits::of(&request.record, planned, &request.head, answering.attempt.sent_token.as_ref());
    status_line(out, head.status, &edits.reason(&head.reason));
    edits.write_fields(out, &head.fields, &ResponseFilter::new(&head.fields, true));
    field(out, REQUEST_ID, request.record.id.as_str().as_bytes());
    out.extend_from_slice(b"\r\n");
    request.record.status = Some(head.status);
    request.record.phase = Some(Phase::Body);
}

/// The bytes that passed, and when.
struct Traffic {
    start: Instant,
    up: AtomicU64,
    down: AtomicU64,
    /// Milliseconds from the start to the last byte.
    last: AtomicU64,
    /// Milliseconds from the start to the write that the client has not taken since; 0 if none is pending.
    blocked: AtomicU64,
}

impl Default for Traffic {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self { start: Instant::now(), up: zero(), down: zero(), last: zero(), blocked: zero() }
    }
}

impl Traffic {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    /// Returns the time for which a write to the client has been pending.
    fn blocked_for(&self) -> Duration {
        match self.blocked.load(Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis(self.now().saturating_sub(since)),
        }
    }

    /// Resolves when no byte has passed for `idle`, or the client has taken nothing for [`STALL`].
    async fn silent(&self, idle: Duration) {
        loop {
            let quiet = self.start + Duration::from_millis(self.last.load(Relaxed)) + idle;
            let stalled = Instant::now() + (STALL - self.blocked_for().min(STALL));
            let due = quiet.min(stalled);
            if due <= Instant::now() {
                return;
            }
            sleep_until(due).await;
        }
    }
}

/// Records the bytes of a tunnel when it ends, however it ends.
struct Tally<'a> {
    record: &'a mut Record,
    traffic: &'a Traffic,
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        self.record.bytes_out += self.traffic.down.load(Relaxed);
        self.record.bytes_in += self.traffic.up.load(Relaxed);
    }
}

/// One side of the tunnel. Counts the bytes read from it.
struct TunnelSide<'a, T> {
    io: &'a mut T,
    /// Bytes that this side sent before the tunnel was open.
    early: BytesMut,
    read: &'a AtomicU64,
    /// The time since which this side takes nothing, if that is monitored.
    blocked: Option<&'a AtomicU64>,
    traffic: &'a Traffic,
}

impl<T: AsyncRead + Unpin> AsyncRead for TunnelSide<'_, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = if self.early.is_empty() {
            Pin::new(&mut *self.io).poll_read(cx, buf)
        } else {
            let part = self.early.len().min(buf.remaining());
            buf.put_slice(&self.early[..part]);
            self.early.advance(part);
            Poll::Ready(Ok(()))
        };
        let n = (buf.filled().len() - before) as u64;
        if n > 0 {
            self.read.fetch_add(n, Relaxed);
            self.traffic.last.store(self.traffic.now(), Relaxed);
        }
        poll
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for TunnelSide<'_, T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut *self.io).poll_write(cx, bytes);
        match self.blocked {
            Some(blocked) if poll.is_ready() => blocked.store(0, Relaxed),
            Some(blocked) if blocked.load(Relaxed) == 0 => blocked.store(self.traffic.now(), Relaxed),
            _ => {}
        }
        poll
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_shutdown(cx)
    }
}
