//! The response on its way to the client: its head with new framing, its body as it arrives.
//!
//! After the head, a failure can only be signalled by aborting the connection: an incomplete response must not look
//! complete. The exchange ends with the response, even if the upload has not: a client that still sends gets a
//! lingering close.

use super::answer::REQUEST_ID;
use super::attempt::{Answering, Attempt, RelayTurn, Upload};
use super::edits::Edits;
use super::failure::UpstreamError;
use super::headers::ResponseFilter;
use super::idle::Idle;
use super::record::Record;
use super::request::{Planned, Request};
use super::{End, NotForwarded};
use crate::error_code::ErrorCode;
use crate::message::framing::ResponseFraming;
use crate::message::redact::RedactedStream;
use crate::message::writer::{Outgoing, Persistence, date, field, status_line};
use crate::message::{Framing, ResponseHead};
use crate::proxy::Entrance;
use crate::proxy::downstream::client::{Client, ClientError};
use crate::telemetry::metrics::Phase;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// Relays a response. `Ok`: it was sent completely.
pub(super) async fn relay(
    entrance: &Entrance,
    request: &mut Request,
    planned: &Planned,
    answering: Box<Answering>,
    upload: &mut Upload,
    client: &mut Client,
) -> Result<End, NotForwarded> {
    let Answering { mut attempt, head, mut framing } = *answering;
    let mut edits = Edits::of(&request.record, planned, &request.head, attempt.sent_token.as_ref());
    let redacted = edits.body(planned, &head, &mut framing).map_err(NotForwarded::refused)?;
    // Bytes that a client sent for a declined tunnel must not be parsed as another request.
    let keep = request.keeps_alive && !request.head.websocket && !entrance.table.is_draining();
    let persistence = if keep { Persistence::KeepAlive } else { Persistence::Close };
    let outgoing = Outgoing::new(framing.body, framing.announced, request.head.version, persistence);
    write_head(client, &head, &outgoing, request, &edits);
    let record = &mut request.record;
    record.status = Some(head.status);
    record.phase = Some(Phase::Body);
    let idle_timeout = planned.plan.route.idle_timeout;
    let mut relayed = Relayed { outgoing, record, redacted };
    match relayed.body(&mut attempt, framing, upload, client, idle_timeout).await {
        Ok(()) => {}
        Err(RelayError::Client(error)) => {
            record.unsent(client.queued());
            return Err(NotForwarded::Client(error));
        }
        Err(RelayError::Server(error)) => {
            note(record, error);
            // The received part is sent, so that the client gets as much as there was.
            let _ = client.flush().await;
            return Err(NotForwarded::Cut);
        }
    }
    outgoing.finish_body(client.queue());
    let whole = attempt.has_sent() && client.body_has_ended();
    // Released before the client has read the rest, so that other requests can use the connection.
    attempt.release(&entrance.proxy.transport, &head);
    if let Err(error) = client.flush().await {
        record.unsent(client.queued());
        return Err(NotForwarded::Client(error));
    }
    let keep = whole && outgoing.persistence == Persistence::KeepAlive;
    Ok(if keep { End::KeepAlive } else { End::Close })
}

fn write_head(
    client: &mut Client,
    head: &ResponseHead,
    outgoing: &Outgoing,
    request: &Request,
    edits: &Edits<'_>,
) {
    let out = client.queue();
    status_line(out, head.status, &edits.reason(&head.reason));
    edits.write_fields(out, &head.fields, &ResponseFilter::new(&head.fields, false));
    if !head.fields.contains("date") {
        date(out);
    }
    field(out, REQUEST_ID, request.record.id.as_str().as_bytes());
    outgoing.finish_head(out, request.head.version);
}

/// Records why a response broke off.
fn note(record: &mut Record, error: UpstreamError) {
    match error {
        UpstreamError::TlsAlert => record.failed(ErrorCode::ServiceTls, "tls_alert_received"),
        UpstreamError::Ended => record.failed(ErrorCode::ServiceUnreachable, "connection_terminated"),
        UpstreamError::Protocol(_) => record.failed(ErrorCode::ServiceProtocol, "http_protocol_error"),
        UpstreamError::Stalled => {
            record.phase = Some(Phase::Idle);
            record.failed(ErrorCode::ServiceTimeout, "idle");
        }
    }
}

/// The side on which a relay failed.
enum RelayError {
    Client(ClientError),
    Server(UpstreamError),
}

impl From<ClientError> for RelayError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// A body in transit. Its bytes are recorded as they pass, so that an aborted request is recorded correctly.
struct Relayed<'a> {
    outgoing: Outgoing,
    record: &'a mut Record,
    /// Replaces copies of the credential. Boxed, because few responses need it.
    redacted: Option<Box<RedactedStream>>,
}

impl Relayed<'_> {
    async fn body(
        &mut self,
        attempt: &mut Attempt,
        framing: ResponseFraming,
        upload: &mut Upload,
        client: &mut Client,
        idle_timeout: Duration,
    ) -> Result<(), RelayError> {
        if framing.body == Framing::Empty {
            return Ok(());
        }
        self.first_part(attempt, client).await?;
        let mut idle = Idle::new(idle_timeout);
        while !attempt.session().is_body_done() {
            let may_read = client.has_room();
            match attempt.relay_turn(client, &mut idle, may_read).await? {
                RelayTurn::Client(event) => {
                    // The client was slow and the upstream was not read, or the client still sends.
                    idle.touch();
                    attempt.take(event, &mut upload.replay).await;
                    self.record.bytes_in = client.body_bytes;
                }
                RelayTurn::Part(part) => {
                    idle.touch();
                    self.write(part.unwrap_or_default(), client).await?;
                }
                RelayTurn::HasRoom => attempt.feed_from_memory().await,
                RelayTurn::Failed(error) => return Err(RelayError::Server(error)),
            }
        }
        if let Some(mut redacted) = self.redacted.take() {
            self.write(&redacted.end(), client).await?;
        }
        Ok(())
    }

    /// Forwards the part of the body that arrived with the head, in the same write.
    async fn first_part(&mut self, attempt: &mut Attempt, client: &mut Client) -> Result<(), RelayError> {
        let session = attempt.session();
        if session.is_body_done() {
            return Ok(());
        }
        match poll_once(session.read_body_ref()).await {
            None => Ok(()),
            Some(Ok(part)) => Ok(self.write(part.unwrap_or_default(), client).await?),
            Some(Err(error)) => Err(RelayError::Server(UpstreamError::of(&error))),
        }
    }

    async fn write(&mut self, part: &[u8], client: &mut Client) -> Result<(), ClientError> {
        let redacted = self.redacted.as_mut().map(|redacted| redacted.add(part));
        let part = redacted.as_deref().unwrap_or(part);
        if part.is_empty() {
            return Ok(());
        }
        self.record.bytes_out += part.len() as u64;
        self.outgoing.begin_part(client.queue(), part.len());
        client.write(part).await?;
        self.outgoing.end_part(client.queue());
        Ok(())
    }
}

/// Returns the future's output if it is ready.
pub(super) async fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(tokio::task::unconstrained(future));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}
