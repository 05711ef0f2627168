//! The third stage: one attempt of a request on one connection. It is dropped as a whole, with its connection, unless
//! the exchange completes and [`Attempt::release`] returns the connection to the pool.
//!
//! Reading and writing go on at the same time: a write never waits (see [`crate::transport::stream`]), the client's
//! body is read only while there is room, and every turn detects that the client has left.

use super::edits::Edits;
use super::failure::UpstreamError;
use super::headers::ResponseFilter;
use super::idle::Idle;
use super::outgoing::Head;
use super::record::Record;
use super::request::Planned;
use super::resend::{BrokenConnection, BufferedBody};
use crate::credentials::SentToken;
use crate::message::framing::ResponseFraming;
use crate::message::request::RequestHead;
use crate::message::writer::status_line;
use crate::message::{Framing, ResponseHead, Version};
use crate::proxy::downstream::client::{Client, ClientError, Event, Wants};
use crate::telemetry::metrics::{Direction, Phase};
use crate::transport::stream::{BEHIND, ServerStream, Wire};
use crate::transport::{Connection, Transport};
use bytes::Bytes;
use pingora::protocols::Stream;
use pingora::protocols::http::v1::client::HttpSession;
use std::time::{Duration, Instant};

/// Maximum number of interim responses; an upstream that sends more is at fault.
const MAX_INTERIM: u32 = 32;
/// Bytes of a body in memory that are written at once.
const PART: usize = BEHIND;
/// Maximum pause of an upload while there is room; then 408.
const UPLOAD_STALL: Duration = Duration::from_secs(60);

/// Why an attempt ended without a response.
#[derive(Debug)]
pub(super) enum AttemptError {
    /// The client's connection failed.
    Client(ClientError),
    /// The client stopped sending its own body.
    UploadStalled,
    /// The upstream's connection failed.
    Upstream(UpstreamError, BrokenConnection),
}

impl From<ClientError> for AttemptError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// The request's body, across all attempts.
pub(super) struct Upload {
    /// The body, if it was read ahead.
    memory: Option<Bytes>,
    /// The parts that were read from the client.
    pub(super) replay: BufferedBody,
    /// The client was asked for its body: it does not wait for `100 Continue`, or received it.
    is_invited: bool,
}

impl Upload {
    pub(super) fn new(memory: Option<Bytes>) -> Self {
        let mut replay = BufferedBody::default();
        if let Some(body) = &memory {
            replay.keep(body);
        }
        Self { memory, replay, is_invited: false }
    }

    /// Drops the body: it was sent, and will not be sent again.
    pub(super) fn forget(&mut self) {
        self.memory = None;
        self.replay.forget();
    }
}

/// The progress of this attempt's body.
enum Feeding {
    /// More is expected from the client.
    Client,
    /// More is left in memory.
    Memory(Bytes),
    /// The whole body was written.
    Sent,
    /// The upstream accepts no more. Its response may still arrive.
    Broken,
}

/// See the module's documentation.
pub(super) struct Attempt {
    session: HttpSession,
    wire: Wire,
    connection: Connection,
    feeding: Feeding,
    is_chunked: bool,
    /// The client may send its body: it does not wait for `100 Continue`, or received it.
    is_invited: bool,
    /// The upstream was asked for `100 Continue`, and has not sent it.
    awaits_continue: bool,
    /// The connection must not be reused after this response.
    is_suspect: bool,
    /// The token that the request carries.
    pub(super) sent_token: Option<SentToken>,
    /// A 1xx other than 100 was forwarded.
    pub(super) forwarded_1xx: bool,
}

/// An attempt whose final response head was received.
pub(super) struct Answering {
    pub(super) attempt: Attempt,
    pub(super) head: ResponseHead,
    pub(super) framing: ResponseFraming,
}

/// The result of one turn before the response head.
enum Turn {
    Client(Event),
    Server(Result<(), UpstreamError>),
    /// The upstream took queued bytes.
    HasRoom,
    UploadStalled,
}

impl Attempt {
    /// Writes the head, and as much of the body as is available. Does not wait.
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
            sent_token: head.token,
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

    /// Forwards a part of the body.
    async fn feed(&mut self, part: &[u8], end: bool) {
        if matches!(self.feeding, Feeding::Broken | Feeding::Sent) {
            return;
        }
        // The chunk's framing lines leave with its data. An empty chunk would end the body.
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

    /// Writes the next part of a body in memory.
    pub(super) async fn feed_from_memory(&mut self) {
        let Feeding::Memory(body) = &mut self.feeding else { return };
        let part = body.split_to(body.len().min(PART));
        let end = body.is_empty();
        self.feed(&part, end).await;
    }

    /// Handles an event of the client.
    pub(super) async fn take(&mut self, event: Event, replay: &mut BufferedBody) {
        if let Event::Body { part, end } = event {
            self.is_invited = true;
            replay.keep(&part);
            self.feed(&part, end).await;
        }
    }

    /// Returns true if no more of the request has to be read: it was forwarded, or cannot be.
    pub(super) fn has_sent(&self) -> bool {
        matches!(self.feeding, Feeding::Sent | Feeding::Broken)
    }

    /// Returns true if the whole request was written to the socket.
    fn has_left(&self) -> bool {
        match self.feeding {
            Feeding::Sent => self.wire.behind() == 0,
            Feeding::Client | Feeding::Memory(_) | Feeding::Broken => false,
        }
    }

    /// Returns the phase of the request before its response head.
    fn phase(&self) -> Phase {
        let is_sending = !self.has_left() && !matches!(self.feeding, Feeding::Broken);
        if is_sending { Phase::Send } else { Phase::Wait }
    }

    /// Returns the client's events to wait for, and true if the upstream's socket should be waited for.
    fn wants(&self, room: bool) -> (Wants, bool) {
        let has_room = self.has_room();
        let body = has_room && matches!(self.feeding, Feeding::Client);
        (Wants { body, room }, !has_room || matches!(self.feeding, Feeding::Memory(_)))
    }

    /// Number of queued bytes at which this attempt waits.
    fn full(&self) -> usize {
        // The end of sending is an event too: the phase changes from send to wait.
        if matches!(self.feeding, Feeding::Sent) { 1 } else { BEHIND }
    }

    fn has_room(&self) -> bool {
        self.wire.behind() < self.full()
    }

    fn broken(&self) -> BrokenConnection {
        let (written, read) = self.wire.counts();
        BrokenConnection { written, read, reused: self.connection.reused, forwarded_1xx: self.forwarded_1xx }
    }

    /// Reads the final response head. Interim responses are forwarded to clients that know them (RFC 9110 section
    /// 15.2).
    pub(super) async fn response(
        mut self,
        upload: &mut Upload,
        client: &mut Client,
        (request, planned): (&RequestHead, &Planned),
        record: &mut Record,
    ) -> Result<Box<Answering>, AttemptError> {
        let to_head = request.method == http::Method::HEAD;
        self.is_invited =
            upload.is_invited || client.body_has_ended() || client.body_bytes > 0 || !self.awaits_continue;
        let mut stall = Idle::new(UPLOAD_STALL);
        let mut interim = 0;
        loop {
            record.phase = Some(self.phase());
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
                Turn::Server(Err(error)) => {
                    // The rest of the request may have left in the same turn.
                    record.phase = Some(self.phase());
                    return Err(AttemptError::Upstream(error, self.broken()));
                }
                Turn::Server(Ok(())) => {
                    let (head, framing) = self.response_head(to_head).map_err(|error| {
                        record.phase = Some(self.phase());
                        AttemptError::Upstream(error, self.broken())
                    })?;
                    self.is_suspect |= framing.is_suspect;
                    if head.status == 101 || head.status >= 200 {
                        // An upstream that answers before it has the content may parse the rest of it as a request.
                        self.is_suspect |= !self.has_left() || self.awaits_continue;
                        self.wire.head_is_complete();
                        return Ok(Box::new(Answering { attempt: self, head, framing }));
                    }
                    self.awaits_continue &= head.status != 100;
                    interim += 1;
                    if interim > MAX_INTERIM {
                        let error = UpstreamError::Protocol("too many interim responses");
                        return Err(AttemptError::Upstream(error, self.broken()));
                    }
                    // A later attempt is attache's own, and so is its `Expect`.
                    let is_known = head.status == 100 && upload.is_invited;
                    if request.version == Version::Http11 && !is_known {
                        upload.is_invited |= head.status == 100;
                        let edits = Edits::of(record, planned, request, self.sent_token.as_ref());
                        self.forwarded_1xx |= head.status != 100;
                        self.is_invited = true;
                        pass_interim_on(client, &head, &edits);
                    }
                    stall.touch();
                }
            }
        }
    }

    /// Waits for the client, the upstream's head and room, in this order: nothing is written after a FIN that was
    /// already received.
    async fn turn(
        &mut self,
        client: &mut Client,
        stall: &mut Idle,
        record: &mut Record,
    ) -> Result<Turn, AttemptError> {
        let (wants, waits_for_room) = self.wants(false);
        let waits_for_client = wants.body && self.is_invited;
        record.waits_for_client = waits_for_client;
        let began = (waits_for_client && record.direction == Direction::Webhook).then(Instant::now);
        let full = self.full();
        let turn = tokio::select! {
            biased;
            event = client.event(wants) => Turn::Client(event?),
            read = self.session.read_response() => Turn::Server(match read {
                Ok(_) => Ok(()),
                Err(error) => Err(UpstreamError::of(&error)),
            }),
            () = self.wire.falls_below(full), if waits_for_room => Turn::HasRoom,
            () = stall.elapsed(), if waits_for_client => Turn::UploadStalled,
        };
        if let Some(began) = began {
            record.upload_wait += began.elapsed();
        }
        Ok(turn)
    }

    /// Parses the head that the session has read, strictly: the session's own parser is too lenient to decide where the
    /// body ends.
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

    /// Returns the session, for reading the response's body.
    pub(super) fn session(&mut self) -> &mut HttpSession {
        &mut self.session
    }

    /// Performs one turn of relaying: the client's side, and a part of the response's body if `may_read`.
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
            // The upload continues while the client reads nothing of the response.
            () = wire.driven_below(full), if !may_read => RelayTurn::HasRoom,
            () = idle.elapsed(), if may_read => RelayTurn::Failed(UpstreamError::Stalled),
        })
    }

    /// Returns the connection to the pool if it can carry another request: everything was sent, the response ended as
    /// framed, and both sides keep the connection open.
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

    /// Returns the stream of a connection that has become a tunnel.
    pub(super) fn into_stream(self) -> Option<Box<ServerStream>> {
        self.wire.become_tunnel();
        ServerStream::take(self.session.into_inner())
    }
}

/// The outcome of one turn of relaying.
pub(super) enum RelayTurn<'a> {
    Client(Event),
    /// A part of the response's body; `None` at its end.
    Part(Option<&'a [u8]>),
    HasRoom,
    Failed(UpstreamError),
}

/// Queues an interim response for a client that knows them, without hop-by-hop fields.
fn pass_interim_on(client: &mut Client, head: &ResponseHead, edits: &Edits<'_>) {
    let filter = ResponseFilter::new(&head.fields, false);
    let out = client.queue();
    status_line(out, head.status, &edits.reason(&head.reason));
    edits.write_fields(out, &head.fields, &filter);
    out.extend_from_slice(b"\r\n");
}
