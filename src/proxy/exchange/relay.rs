//! The response, on its way to the client: its head written anew, its body as it comes.
//!
//! After the head, a failure can only be told by cutting the connection: a response that broke off must not look whole.
//! Once the response is whole the exchange ends, also if the upload has not: a client that still sends gets a lingering
//! close.

use super::answer::REQUEST_ID;
use super::attempt::{Answering, Attempt, RelayTurn, Upload, write_fields};
use super::failure::UpstreamError;
use super::headers::ResponseFilter;
use super::idle::Idle;
use super::request::{Planned, Request};
use super::{End, Stop};
use crate::error_code::ErrorCode;
use crate::message::framing::ResponseFraming;
use crate::message::writer::{Outgoing, Persistence, date, field, status_line};
use crate::message::{Framing, ResponseHead};
use crate::proxy::Entrance;
use crate::proxy::downstream::client::{Client, ClientError};
use crate::telemetry::metrics::Phase;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// Relays a response. `Ok`: it has left whole.
pub(super) async fn relay(
    entrance: &Entrance,
    request: &mut Request,
    planned: &Planned,
    answering: Answering,
    upload: &mut Upload,
    client: &mut Client,
) -> Result<End, Stop> {
    let Answering { mut attempt, head, framing } = answering;
    // What a client sent for a tunnel that is declined must not pass for another request.
    let keep = request.keeps_alive && !request.head.websocket && !entrance.table.is_draining();
    let persistence = if keep { Persistence::KeepAlive } else { Persistence::Close };
    let version = request.head.version;
    let outgoing = Outgoing::new(framing.body, framing.announced, version, persistence);
    write_head(client, &head, &outgoing, request);
    request.record.status = Some(head.status);
    request.record.phase = Some(Phase::Body);
    let mut relayed = Relayed { outgoing, bytes: 0 };
    let result = relayed.body(&mut attempt, framing, upload, client, planned).await;
    request.record.bytes_out = relayed.bytes;
    match result {
        Ok(()) => {}
        Err(Broken::Client(error)) => return Err(Stop::Client(error)),
        Err(Broken::Server(error)) => {
            note(request, error);
            // What came is sent, so that the client sees as much as there was.
            let _ = client.flush().await;
            return Err(Stop::Cut);
        }
    }
    outgoing.finish_body(client.queue());
    client.flush().await?;
    let has_sent = attempt.has_sent();
    attempt.release(&entrance.proxy.transport, &head);
    Ok(match (has_sent && client.body_has_ended(), outgoing.persistence) {
        (true, Persistence::KeepAlive) => End::KeepAlive,
        (true, Persistence::Close) => End::Close { linger: false },
        (false, _) => End::Close { linger: true },
    })
}

fn write_head(client: &mut Client, head: &ResponseHead, outgoing: &Outgoing, request: &Request) {
    let out = client.queue();
    status_line(out, head.status, &head.reason);
    write_fields(out, &head.fields, &ResponseFilter::new(&head.fields, false));
    if !head.fields.contains("date") {
        date(out);
    }
    field(out, REQUEST_ID, request.record.id.as_str().as_bytes());
    outgoing.finish_head(out, request.head.version);
}

/// Notes why a response broke off.
fn note(request: &mut Request, error: UpstreamError) {
    let record = &mut request.record;
    match error {
        UpstreamError::Ended => record.failed(ErrorCode::ServiceUnreachable, "connection_terminated"),
        UpstreamError::Protocol(_) => record.failed(ErrorCode::ServiceProtocol, "http_protocol_error"),
        UpstreamError::Stalled => {
            record.phase = Some(Phase::Idle);
            record.failed(ErrorCode::ServiceTimeout, "idle");
        }
    }
}

/// Which side a relay broke on.
enum Broken {
    Client(ClientError),
    Server(UpstreamError),
}

impl From<ClientError> for Broken {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// A body on its way.
struct Relayed {
    outgoing: Outgoing,
    bytes: u64,
}

impl Relayed {
    async fn body(
        &mut self,
        attempt: &mut Attempt,
        framing: ResponseFraming,
        upload: &mut Upload,
        client: &mut Client,
        planned: &Planned,
    ) -> Result<(), Broken> {
        if framing.body == Framing::Empty {
            return Ok(());
        }
        self.first_part(attempt, client).await?;
        let mut idle = Idle::new(planned.plan.route.idle_timeout);
        while !attempt.session().is_body_done() {
            let may_read = client.has_room();
            match attempt.relay_turn(client, &mut idle, may_read).await? {
                RelayTurn::Client(event) => {
                    if !may_read {
                        // The client was slow, and the server was not even read.
                        idle.touch();
                    }
                    attempt.take(event, &mut upload.replay).await;
                }
                RelayTurn::Part(part) => {
                    idle.touch();
                    self.write(part.unwrap_or_default(), client).await?;
                }
                RelayTurn::Drained => attempt.drained().await,
                RelayTurn::Failed(error) => return Err(Broken::Server(error)),
            }
        }
        Ok(())
    }

    /// The part of the body that came with the head: they leave in one write.
    async fn first_part(&mut self, attempt: &mut Attempt, client: &mut Client) -> Result<(), Broken> {
        let session = attempt.session();
        if session.is_body_done() {
            return Ok(());
        }
        let mut read = pin!(session.read_body_ref());
        let part = poll_fn(|cx| match read.as_mut().poll(cx) {
            Poll::Ready(part) => Poll::Ready(Some(part)),
            Poll::Pending => Poll::Ready(None),
        });
        match part.await {
            None => Ok(()),
            Some(Ok(part)) => Ok(self.write(part.unwrap_or_default(), client).await?),
            Some(Err(error)) => Err(Broken::Server(UpstreamError::of(&error))),
        }
    }

    async fn write(&mut self, part: &[u8], client: &mut Client) -> Result<(), ClientError> {
        if part.is_empty() {
            return Ok(());
        }
        self.bytes += part.len() as u64;
        self.outgoing.begin_part(client.queue(), part.len());
        client.write(part).await?;
        self.outgoing.end_part(client.queue());
        Ok(())
    }
}
