//! The third stage: one try of a request on one connection. It is dropped whole, and its connection with it, unless the
//! exchange ends well and [`Attempt::release`] gives the connection back.
//!
//! Reading and writing go on at the same time: a write never waits (see [`crate::transport::stream`]), the client is fed
//! from only while there is room, and its leaving is seen in every turn.

use super::failure::UpstreamError;
use super::headers::ResponseFilter;
use super::idle::Idle;
use super::outgoing::Head;
use super::record::Record;
use super::resend::{BrokenConnection, Replay};
use crate::message::framing::ResponseFraming;
use crate::message::request::RequestHead;
use crate::message::writer::{field, status_line};
use crate::message::{Fields, Framing, ResponseHead, Version, proxy_status};
use crate::proxy::downstream::client::{Client, ClientError, Event, Wants};
use crate::telemetry::metrics::Phase;
use crate::transport::stream::{BEHIND, ServerStream, Wire};
use crate::transport::{Connection, Transport};
use bytes::{Bytes, BytesMut};
use pingora::protocols::Stream;
use pingora::protocols::http::v1::client::HttpSession;
use std::time::Duration;

/// A server that sends more interim responses is at fault.
const MAX_INTERIM: u32 = 32;
/// A part of a body from memory that is written at once.
const PART: usize = BEHIND;
/// Longest pause of an upload that has room; then 408.
const UPLOAD_STALL: Duration = Duration::from_secs(60);

/// Why an attempt ended without a response.
#[derive(Debug)]
pub(super) enum AttemptError {
    /// The client's side failed.
    Client(ClientError),
    /// The client stopped sending its own body.
    UploadStalled,
    /// The server's side failed.
    Upstream(UpstreamError, BrokenConnection),
}

impl From<ClientError> for AttemptError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// The request's body, over all attempts.
pub(super) struct Upload {
    /// The body, if it was read ahead.
    memory: Option<Bytes>,
    /// The parts that were read from the client.
    pub(super) replay: Replay,
}

impl Upload {
    pub(super) fn new(memory: Option<Bytes>) -> Self {
        let mut replay = Replay::default();
        if let Some(body) = &memory {
            replay.keep(body);
        }
        Self { memory, replay }
    }

    /// Lets go of the body: it has been sent, and will not be sent again.
    pub(super) fn forget(&mut self) {
        self.memory = None;
        self.replay.forget();
    }
}

/// How far the body of this attempt is.
enum Feeding {
    /// More is to come from the client.
    Client,
    /// More is to come from memory.
    Memory(Bytes),
    /// The server has all of it.
    Sent,
    /// The server takes no more. Its response may still come.
    Broken,
}

/// See the module's documentation.
pub(super) struct Attempt {
    session: HttpSession,
    wire: Wire,
    connection: Connection,
    feeding: Feeding,
    is_chunked: bool,
    /// The client may send its body: it does not wait for `100 Continue`, or has got it.
    is_invited: bool,
    /// The server was asked for `100 Continue`, and has not sent it.
    awaits_continue: bool,
    /// The connection is not to be trusted further than this response.
    is_suspect: bool,
    /// The generation of the token that the request carries.
    pub(super) sent_token: Option<u64>,
    /// A 1xx other than 100 was passed on.
    pub(super) forwarded_1xx: bool,
}

/// An attempt whose final response head is here.
pub(super) struct Answering {
    pub(super) attempt: Attempt,
    pub(super) head: ResponseHead,
    pub(super) framing: ResponseFraming,
}

/// The result of one turn before the response head.
enum Turn {
    Client(Event),
    Server(Result<(), UpstreamError>),
    /// The server took bytes that were written behind.
    HasRoom,
    UploadStalled,
}

impl Attempt {
    /// Writes the head, and of the body what is at hand. Nothing waits.
    pub(super) async fn begin(
        stream: Box<ServerStream>,
        connection: Connection,
        head: Head,
        body: Framing,
        upload: &Upload,
        client: &Client,
    ) -> Self {
        let wire = stream.wire();
        wire.begin();
        let mut attempt = Self {
            session: HttpSession::new(stream as Stream),
            wire,
            connection,
            feeding: upload.memory.clone().map_or(Feeding::Client, Feeding::Memory),
            is_chunked: body == Framing::Chunked,
            is_invited: true,
            awaits_continue: head.expects_continue,
            is_suspect: false,
            sent_token: None,
            forwarded_1xx: false,
        };
        if attempt.session.write_request_header(head.for_session).await.is_err() {
            attempt.feeding = Feeding::Broken;
        }
        attempt.wire.hold_behind(head.bytes);
        if upload.memory.is_some() {
            attempt.feed_from_memory().await;
        } else {
            for part in upload.replay.parts() {
                attempt.feed(part, false).await;
            }
            if client.body_has_ended() {
                attempt.feed(&[], true).await;
            }
        }
        attempt.wire.let_go();
        attempt
    }

    /// Passes a part of the body on.
    async fn feed(&mut self, part: &[u8], end: bool) {
        if matches!(self.feeding, Feeding::Broken | Feeding::Sent) {
            return;
        }
        // The lines around a chunk leave with it. An empty chunk would be the end.
        let holds = self.is_chunked && !part.is_empty();
        if holds {
            self.wire.hold();
        }
        let mut fine = part.is_empty() || self.session.write_body(part).await.is_ok();
        if end {
            fine = fine && self.session.finish_body().await.is_ok();
        }
        if holds {
            self.wire.let_go();
        }
        if !fine {
            self.feeding = Feeding::Broken;
        } else if end {
            self.feeding = Feeding::Sent;
        }
    }

    /// Goes on with a body from memory.
    pub(super) async fn feed_from_memory(&mut self) {
        let Feeding::Memory(body) = &mut self.feeding else { return };
        let part = body.split_to(body.len().min(PART));
        let end = body.is_empty();
        self.feed(&part, end).await;
    }

    /// Handles an event of the client.
    pub(super) async fn take(&mut self, event: Event, replay: &mut Replay) {
        if let Event::Body { part, end } = event {
            self.is_invited = true;
            replay.keep(&part);
            self.feed(&part, end).await;
        }
    }

    /// Returns true if nothing more of the request is to be read: it was passed on, or cannot be.
    pub(super) fn has_sent(&self) -> bool {
        matches!(self.feeding, Feeding::Sent | Feeding::Broken)
    }

    /// Returns true if the whole request has left.
    fn has_left(&self) -> bool {
        match self.feeding {
            Feeding::Sent => self.wire.behind() == 0,
            Feeding::Client | Feeding::Memory(_) | Feeding::Broken => false,
        }
    }

    /// The events of the client that are wanted, and whether the server is waited for to take what was written behind.
    fn wants(&self, room: bool) -> (Wants, bool) {
        let has_room = self.has_room();
        let body = has_room && matches!(self.feeding, Feeding::Client);
        (Wants { body, room }, !has_room || matches!(self.feeding, Feeding::Memory(_)))
    }

    /// Bytes written behind at which there is nothing to do.
    fn full(&self) -> usize {
        // The end of sending is an event too: what follows is waiting.
        if matches!(self.feeding, Feeding::Sent) { 1 } else { BEHIND }
    }

    fn has_room(&self) -> bool {
        self.wire.behind() < self.full()
    }

    fn broken(&self) -> BrokenConnection {
        let (written, read) = self.wire.counts();
        BrokenConnection { written, read, reused: self.connection.reused }
    }

    /// Reads the final response head. Interim ones are passed on to a client that knows them (RFC 9110 section 15.2).
    pub(super) async fn response(
        mut self,
        upload: &mut Upload,
        client: &mut Client,
        request: &RequestHead,
        record: &mut Record,
    ) -> Result<Answering, AttemptError> {
        let to_head = request.method == http::Method::HEAD;
        self.is_invited = client.body_has_ended() || client.body_bytes > 0 || !self.awaits_continue;
        let mut stall = Idle::new(UPLOAD_STALL);
        let mut interim = 0;
        loop {
            let is_sending = !self.has_left() && !matches!(self.feeding, Feeding::Broken);
            record.phase = Some(if is_sending { Phase::Send } else { Phase::Wait });
            record.bytes_in = client.body_bytes;
            match self.turn(client, &mut stall, record).await? {
                Turn::Client(event) => {
                    stall.touch();
                    self.take(event, &mut upload.replay).await;
                }
                Turn::HasRoom => {
                    stall.touch();
                    self.feed_from_memory().await;
                }
                Turn::UploadStalled => return Err(AttemptError::UploadStalled),
                Turn::Server(Err(error)) => return Err(AttemptError::Upstream(error, self.broken())),
                Turn::Server(Ok(())) => {
                    let (head, framing) = self
                        .response_head(to_head)
                        .map_err(|error| AttemptError::Upstream(error, self.broken()))?;
                    self.is_suspect |= framing.is_suspect;
                    if head.status == 101 || head.status >= 200 {
                        // A server that answers before it has the content may take what comes of it for a request.
                        self.is_suspect |= !self.has_left() || self.awaits_continue;
                        self.wire.head_is_complete();
                        return Ok(Answering { attempt: self, head, framing });
                    }
                    self.awaits_continue &= head.status != 100;
                    interim += 1;
                    if interim > MAX_INTERIM {
                        let error = UpstreamError::Protocol("too many interim responses");
                        return Err(AttemptError::Upstream(error, self.broken()));
                    }
                    self.pass_interim_on(client, &head, request.version);
                    stall.touch();
                }
            }
        }
    }

    /// Waits for the client, for the server's head, and for room, in this order: nothing is written after a FIN that is
    /// already here.
    async fn turn(
        &mut self,
        client: &mut Client,
        stall: &mut Idle,
        record: &mut Record,
    ) -> Result<Turn, AttemptError> {
        let (wants, waits_for_room) = self.wants(false);
        let waits_for_client = wants.body && self.is_invited;
        record.waits_for_client = waits_for_client;
        let full = self.full();
        Ok(tokio::select! {
            biased;
            event = client.event(wants) => Turn::Client(event?),
            read = self.session.read_response() => Turn::Server(match read {
                Ok(_) => Ok(()),
                Err(error) => Err(UpstreamError::of(&error)),
            }),
            () = self.wire.falls_below(full), if waits_for_room => Turn::HasRoom,
            () = stall.elapsed(), if waits_for_client => Turn::UploadStalled,
        })
    }

    /// Queues an interim response for a client that knows them, without the fields that it must not have.
    fn pass_interim_on(&mut self, client: &mut Client, head: &ResponseHead, version: Version) {
        if version == Version::Http10 {
            return;
        }
        self.is_invited = true;
        self.forwarded_1xx |= head.status != 100;
        let filter = ResponseFilter::new(&head.fields, false);
        let out = client.queue();
        status_line(out, head.status, &head.reason);
        write_fields(out, &head.fields, &filter);
        out.extend_from_slice(b"\r\n");
    }

    /// The head that the session has just read, read again, strictly: the session's own is too lenient to trust a body
    /// to.
    fn response_head(&self, to_head: bool) -> Result<(ResponseHead, ResponseFraming), UpstreamError> {
        let head = ResponseHead::parse(self.session.get_headers_raw_bytes())
            .ok_or(UpstreamError::Protocol("malformed head"))?;
        let framing = ResponseFraming::decide(to_head, head.status, head.minor, &head.fields);
        let framing = framing.map_err(|_| UpstreamError::Protocol("ambiguous framing"))?;
        if head.status == 101 && head.minor == 0 {
            return Err(UpstreamError::Protocol("HTTP/1.0 has no 101"));
        }
        Ok((head, framing))
    }

    // After the head.

    /// The session, to read the response's body.
    pub(super) fn session(&mut self) -> &mut HttpSession {
        &mut self.session
    }

    /// One turn of relaying: the client's side, and a part of the response's body if `may_read`.
    pub(super) async fn relay_turn(
        &mut self,
        client: &mut Client,
        idle: &mut Idle,
        may_read: bool,
    ) -> Result<RelayTurn<'_>, ClientError> {
        let (wants, waits_for_room) = self.wants(!may_read);
        // Room that nothing waits for must not end the turn: an exchange that turns without an event never yields.
        let (wire, full) = (&self.wire, if waits_for_room { self.full() } else { 0 });
        Ok(tokio::select! {
            biased;
            event = client.event(wants) => RelayTurn::Client(event?),
            part = self.session.read_body_ref(), if may_read => match part {
                Ok(part) => RelayTurn::Part(part),
                Err(error) => RelayTurn::Failed(UpstreamError::of(&error)),
            },
            () = wire.falls_below(full), if may_read => RelayTurn::HasRoom,
            // The upload goes on also while the client takes nothing of the response.
            () = wire.driven_below(full), if !may_read => RelayTurn::HasRoom,
            () = idle.elapsed(), if may_read => RelayTurn::Failed(UpstreamError::Stalled),
        })
    }

    /// Gives the connection back if it can carry another request: everything was sent, the response has ended where it
    /// should, and both sides keep the connection open.
    pub(super) fn release(mut self, transport: &Transport, head: &ResponseHead) {
        self.wire.end();
        if self.is_suspect
            || !matches!(self.feeding, Feeding::Sent)
            || !head.keeps_alive()
            || !self.session.is_body_done()
        {
            return;
        }
        self.session.respect_keepalive();
        if !self.session.will_keepalive() {
            return;
        }
        let Some(stream) = ServerStream::take(self.session.into_inner()) else { return };
        if self.wire.is_drained() {
            transport.keep(&self.connection, stream, head.keep_alive_timeout());
        }
    }

    /// The stream of a connection that has become a tunnel.
    pub(super) fn into_stream(self) -> Option<Box<ServerStream>> {
        self.wire.become_tunnel();
        ServerStream::take(self.session.into_inner())
    }
}

/// The result of one turn of relaying.
pub(super) enum RelayTurn<'a> {
    Client(Event),
    /// A part of the response's body; `None` at its end.
    Part(Option<&'a [u8]>),
    HasRoom,
    Failed(UpstreamError),
}

/// Writes the fields of a response that come back.
pub(super) fn write_fields(out: &mut BytesMut, fields: &Fields, filter: &ResponseFilter) {
    for one in fields.iter().filter(|one| filter.keeps(one)) {
        if one.is("x-attache-request-id") {
            continue;
        }
        if !one.is("proxy-status") {
            field(out, one.name, one.value);
        } else if let Some(value) = proxy_status::foreign(one.value) {
            field(out, one.name, &value);
        }
    }
}
