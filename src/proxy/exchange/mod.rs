//! One exchange: a request that is forwarded to its upstream, and the response that is returned.
//!
//! # Stages
//!
//! A request passes through types, each made from the one before: [`Request`] (head read) → [`request::Planned`]
//! (decided, fields cleaned) → [`attempt::Attempt`] (on a connection) → [`attempt::Answering`] (final response head
//! received) → [`relay`] or [`tunnel`]. The state of one attempt is a value that is dropped as a whole. The
//! [`record::Record`] is written when the request is dropped, however it ended.
//!
//! # Where each guarantee is implemented
//!
//! | guarantee | implemented by |
//! | --- | --- |
//! | one deadline covers everything up to the response head | one [`timeout_at`] around [`Exchange::until_head`] |
//! | one connection takes `connect_timeout` at most | [`connect`] |
//! | work stops when the client leaves | the first arm of every `select!`: [`Client::left`] or [`Client::event`] |
//! | nothing is executed twice | [`resend`], by the counts of [`crate::transport::stream`] |
//! | a request of which nothing was written is sent again, whatever its method | the same |
//! | retries do not multiply an outage, and end before the deadline | [`retry`], by the budget of [`crate::route::retries`] |
//! | a response ends where attache decides | [`attempt`] parses the raw head strictly; [`crate::message::framing`] decides; [`relay`] writes new framing |
//! | a client that does not read is disconnected | [`crate::proxy::downstream::client`] |
//! | a stalled response is aborted | [`idle`], in [`relay`] and [`tunnel`] |
//! | a loop ends | [`headers`] counts `Via`; [`crate::transport::dial`] knows the listener's address |
//! | every request has its access log line | [`record`] |

mod admit;
pub(super) mod answer;
mod attempt;
#[doc(hidden)]
pub mod bench;
mod caller;
mod connect;
mod edits;
mod failure;
mod fetched;
mod headers;
mod idle;
mod outgoing;
mod read_ahead;
pub(super) mod record;
mod relay;
mod request;
mod resend;
mod retry;
mod tunnel;

pub(super) use request::Request;

use crate::credentials::oauth2::{Cause, Now, Token, TokenError, TokenSource};
use crate::credentials::{Credential, SentToken};
use crate::error_code::ErrorCode;
use crate::message::request::BadHead;
use crate::message::writer::Persistence;
use crate::message::{Fields, Version};
use crate::outbound::callers::NewerKeys;
use crate::plan::{Refusal, Reply};
use crate::proxy::Entrance;
use crate::proxy::downstream::client::{Client, ClientError};
use crate::request_id::RequestId;
use crate::route::Route;
use crate::telemetry::metrics::{Direction, Phase};
use crate::webhook::replay::DedupReservation;
use answer::Answer;
use attempt::{Answering, Attempt, AttemptError, Upload};
use caller::CallerProof;
use failure::UpstreamError;
use record::{Record, warn_of_upstream};
use request::{Planned, overridden};
use resend::BrokenConnection;
use retry::FailedAttempt;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;
use tokio::time::{timeout, timeout_at};

/// Why a request is not forwarded, or its response not completed.
#[derive(Debug)]
enum NotForwarded {
    /// The request was refused or failed; the refusal is the answer.
    Refused(Box<Refusal>),
    /// attache answers the request itself.
    Replied(Reply),
    /// The client's connection ended.
    Client(ClientError),
    /// The response broke off after its head.
    Cut,
}

impl NotForwarded {
    fn refused(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl From<ClientError> for NotForwarded {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// The state of the client's connection after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The connection serves another request.
    KeepAlive,
    /// The connection is closed.
    Close,
    /// The connection is reset, so that an incomplete response does not look complete.
    Abort,
}

/// Carries out a request and answers it.
pub(super) async fn serve(entrance: &Entrance, client: &mut Client, mut request: Request) -> End {
    let result = Exchange { entrance, client }.carry_out(&mut request).await;
    request.record.bytes_in = request.record.bytes_in.max(client.body_bytes);
    let end = match result {
        Ok(end) => end,
        Err(NotForwarded::Refused(refusal)) => {
            request.record.refused(&refusal);
            let answer = own_answer(&refusal, &request);
            send(entrance, client, &mut request, &answer).await
        }
        Err(NotForwarded::Replied(reply)) => {
            let answer = Answer::reply(reply, &request.record.id);
            send(entrance, client, &mut request, &answer).await
        }
        Err(NotForwarded::Client(error)) => {
            // The cause of an answer that was on its way says more than that its client left.
            request.record.reason.get_or_insert(error.as_str().into());
            End::Abort
        }
        Err(NotForwarded::Cut) => End::Abort,
    };
    request.record.is_ended = true;
    end
}

/// Returns the answer for a refusal. On timeout it may be the operator's own.
fn own_answer(refusal: &Refusal, request: &Request) -> Answer {
    let record = &request.record;
    let custom = record.route.as_ref().and_then(|route| route.timeout_response.as_ref());
    match custom {
        Some(response) if refusal.code == ErrorCode::ServiceTimeout => {
            Answer::custom(response, refusal, &record.id)
        }
        _ => Answer::new(refusal, &record.id, request.accept.as_deref()),
    }
}

/// Sends one of attache's own answers.
async fn send(entrance: &Entrance, client: &mut Client, request: &mut Request, answer: &Answer) -> End {
    client.discard_body();
    let whole = client.body_has_ended();
    let keep = request.keeps_alive && whole && !entrance.table.is_draining();
    let persistence = if keep { Persistence::KeepAlive } else { Persistence::Close };
    let to_head = request.head.method == http::Method::HEAD;
    answer.write(client.queue(), to_head, request.head.version, persistence);
    request.record.status = Some(answer.status);
    if !to_head {
        request.record.bytes_out = answer.body.len() as u64;
    }
    match client.flush().await {
        Ok(()) if keep => End::KeepAlive,
        Ok(()) => End::Close,
        Err(error) => {
            request.record.reason = Some(error.as_str().into());
            End::Abort
        }
    }
}

/// The two sides of an exchange.
struct Exchange<'a> {
    entrance: &'a Entrance,
    client: &'a mut Client,
}

/// State that outlives one attempt.
#[derive(Default)]
struct Tries {
    /// The request was sent again because its connection was stale.
    is_resent: bool,
    /// The next connection is not taken from the pool.
    is_fresh: bool,
    /// Number of attempts that failed and that `retries` may repeat.
    failed: u32,
    /// The token that replaces a refused one.
    successor: Option<Arc<Token>>,
}

impl Tries {
    /// Returns true if the request is sent again because its connection was stale.
    fn resend(&mut self, broken: &BrokenConnection, planned: &Planned, upload: &Upload) -> bool {
        let may_resend = !self.is_resent && broken.allows_resend(planned.is_idempotent, &upload.replay);
        self.is_resent |= may_resend;
        self.is_fresh |= may_resend;
        may_resend
    }
}

impl Exchange<'_> {
    async fn carry_out(&mut self, request: &mut Request) -> Result<End, NotForwarded> {
        let mut proof = self.caller_proof(request);
        if let Some(newer) = proof.as_mut().and_then(CallerProof::take_newer_keys) {
            // Boxed, because otherwise every request would hold the memory that only a JWT's caller needs.
            proof = Box::pin(self.proof_by_newer_keys(request, proof, newer)).await?;
        }
        let planned = request::plan(request, proof.as_ref());
        drop(proof);
        let limit = planned.as_ref().ok().and_then(|planned| planned.plan.route.max_body);
        self.client.begin(request.head.body, limit.unwrap_or(u64::MAX));
        let mut planned = planned?;
        if planned.delivery.is_some() {
            // Boxed, because otherwise every request would hold the memory that only webhooks need.
            Box::pin(admit::admit(&self.entrance.proxy, request, &mut planned, self.client)).await?;
        }
        let mut upload = Upload::new(planned.delivery.as_ref().and_then(|d| d.body.clone()));
        let within = timeout_at(planned.deadline, self.until_head(request, &planned, &mut upload));
        let answering =
            within.await.unwrap_or_else(|_| Err(NotForwarded::refused(self.late(request, &planned))));
        // Before the response leaves: the provider may send the delivery again as soon as it has the answer.
        planned.settle(answering.as_ref().ok().map(|answering| answering.head.status));
        let answering = answering?;
        upload.replay.forget();
        if answering.attempt.has_sent() {
            // A body that was read ahead is not needed any more, nor is its memory permit.
            upload.forget();
            planned.forget_body();
        }
        let record = &mut request.record;
        record.response_headers = Some(record.arrived.elapsed());
        if answering.head.status == 429 && record.direction == Direction::Outbound {
            record.stats().rate_limited_by_provider();
        }
        if answering.head.status == 101 {
            return Box::pin(tunnel::open(request, &planned, answering, self.client)).await;
        }
        relay::relay(self.entrance, request, &planned, answering, &mut upload, self.client).await
    }

    /// Returns the proof of the request's caller. `None` if the file has no callers.
    fn caller_proof(&mut self, request: &Request) -> Option<CallerProof> {
        if !request.record.asks_for_caller() {
            return None;
        }
        let certificate = self.client.certificate(request.record.time).cloned();
        let last = &mut self.client.last_proof;
        caller::authenticate(&request.head, &request.record, certificate.as_deref(), last)
    }

    /// Waits for newer keys of a JWT's issuer, which may verify it, and returns the proof by them.
    async fn proof_by_newer_keys(
        &mut self,
        request: &Request,
        proof: Option<CallerProof>,
        newer: NewerKeys,
    ) -> Result<Option<CallerProof>, NotForwarded> {
        let (head, record) = (&request.head, &request.record);
        let deadline = record.arrived + caller::patience(head, record);
        let fetched = tokio::select! {
            biased;
            left = self.client.left() => return Err(NotForwarded::Client(left)),
            fetched = timeout_at(deadline.into(), newer.fetched()) => fetched,
        };
        Ok(if fetched == Ok(true) { self.caller_proof(request) } else { proof })
    }

    /// Returns the refusal for a passed deadline.
    fn late(&self, request: &mut Request, planned: &Planned) -> Refusal {
        let record = &mut request.record;
        // A client that stalls its own upload, or used up most of the time for it, is not a timeout of the receiver.
        let is_stalled = record.phase == Some(Phase::Send) && record.waits_for_client;
        let is_slow = record.upload_wait > planned.plan.route.timeout / 2;
        if record.direction == Direction::Webhook && (is_stalled || is_slow) {
            return overridden(record, failure::stalled_upload());
        }
        let phase = record.phase.unwrap_or(Phase::Token);
        failure::timeout(&planned.plan.route, phase)
    }

    /// Runs everything up to the final response head. The caller enforces the deadline.
    async fn until_head(
        &mut self,
        request: &mut Request,
        planned: &Planned,
        upload: &mut Upload,
    ) -> Result<Box<Answering>, NotForwarded> {
        let mut tries = Tries::default();
        if Instant::now() >= planned.deadline.into_std() {
            // Verifying a large body may have used up the time. Then nothing is sent.
            return std::future::pending().await;
        }
        Self::count_for_retries(planned);
        loop {
            if let Some(answering) = self.attempt(request, planned, upload, &mut tries).await? {
                return Ok(answering);
            }
        }
    }

    /// Makes one attempt. `None`: it failed, and another may follow.
    async fn attempt(
        &mut self,
        request: &mut Request,
        planned: &Planned,
        upload: &mut Upload,
        tries: &mut Tries,
    ) -> Result<Option<Box<Answering>>, NotForwarded> {
        let waited_for = self.token(request, planned, tries).await?;
        let began = planned.plan.route.retries.is_some().then(Instant::now);
        request.record.phase = Some(Phase::Connect);
        request.record.attempts += 1;
        let (stream, connection) = match self.connect(planned, tries.is_fresh).await {
            Ok(connected) => connected,
            Err(error) => {
                if let Some(failed) = FailedAttempt::of_connection(&error, began)
                    && self.retries(request, planned, upload, tries, failed).await?
                {
                    return Ok(None);
                }
                return Err(error.refuse(request, planned));
            }
        };
        // A connect may lie between the first check of the token and this one.
        let token = match usable(planned, waited_for, tries) {
            Some(token) => Some(token),
            None => self.token(request, planned, tries).await?,
        };
        let head = outgoing::finish_upstream_request(request, planned, token)?;
        let record = &mut request.record;
        record.upstream = Some(connection.address);
        record.phase = Some(Phase::Send);
        let may_be_sent = planned.reservation().is_some_and(DedupReservation::sending);
        let attempt = Attempt::begin(stream, connection, head, planned.body, upload, self.client).await;
        match attempt.response(upload, self.client, (&request.head, planned), record).await {
            Ok(answering) => {
                if answering.head.status == 407 {
                    self.check_proxy(request, planned)?;
                }
                if let Some(token) = self.successor(request, planned, &answering, upload, tries).await? {
                    tries.successor = Some(token);
                    return Ok(None);
                }
                if let Some(failed) = FailedAttempt::of_response(&answering, began)
                    && self.retries(request, planned, upload, tries, failed).await?
                {
                    return Ok(None);
                }
                Ok(Some(answering))
            }
            Err(error) => {
                if let (AttemptError::Upstream(_, BrokenConnection { written: 0, .. }), false) =
                    (&error, may_be_sent)
                    && let Some(reservation) = planned.reservation()
                {
                    reservation.sent_nothing();
                }
                if let AttemptError::Upstream(UpstreamError::Ended, broken) = &error {
                    if tries.resend(broken, planned, upload) {
                        return Ok(None);
                    }
                    if let Some(failed) = FailedAttempt::of_broken(broken, began)
                        && self.retries(request, planned, upload, tries, failed).await?
                    {
                        return Ok(None);
                    }
                }
                Err(attempt_failed(&request.record, &planned.plan.route, error))
            }
        }
    }

    /// Refuses a 407 of the forward proxy: it is not the service's, and the client has no part in it.
    fn check_proxy(&self, request: &Request, planned: &Planned) -> Result<(), NotForwarded> {
        let route = &planned.plan.route;
        let Some(error) = route.upstream.refused_by_proxy() else { return Ok(()) };
        let refusal = failure::no_connection(route, &error);
        warn_of_upstream(&request.record, &refusal, &error);
        Err(NotForwarded::refused(refusal))
    }

    /// Returns the account's token, waiting for it if necessary. `None` if the account has none.
    async fn token(
        &mut self,
        request: &mut Request,
        planned: &Planned,
        tries: &Tries,
    ) -> Result<Option<Arc<Token>>, NotForwarded> {
        let Some(source) = token_source(planned) else { return Ok(None) };
        if let Some(token) = usable(planned, None, tries) {
            return Ok(Some(token));
        }
        let record = &mut request.record;
        record.phase = Some(Phase::Token);
        let began = Instant::now();
        // Boxed, because otherwise every request would hold the memory that few need.
        let waited = tokio::select! {
            biased;
            left = self.client.left() => Err(NotForwarded::Client(left)),
            token = Box::pin(source.get()) => token.map_err(|error| NotForwarded::refused(no_token(planned, &error))),
        };
        record.token_wait = Some(record.token_wait.unwrap_or_default() + began.elapsed());
        waited.map(Some)
    }

    /// Returns another token if the response refuses the account's, and the request should be sent again with it. The
    /// upstream states that it did not act, so the method does not matter; at most once. `None`: the response is the
    /// answer.
    async fn successor(
        &mut self,
        request: &mut Request,
        planned: &Planned,
        answering: &Answering,
        upload: &Upload,
        tries: &Tries,
    ) -> Result<Option<Arc<Token>>, NotForwarded> {
        let route = &planned.plan.route;
        let (Some(SentToken::OAuth2(sent)), Some(source)) =
            (&answering.attempt.sent_token, token_source(planned))
        else {
            return Ok(None);
        };
        let status = answering.head.status;
        if !route.token_refused_by.iter().any(|refusal| refusal.as_u16() == status) {
            // Other client errors of authorization, and failures of a gateway, prove nothing.
            if !matches!(status, 401 | 403 | 500..) {
                sent.mark_accepted();
            }
            return Ok(None);
        }
        let may_resend = route.retry_on_401
            && tries.successor.is_none()
            && !answering.attempt.forwarded_1xx
            && upload.replay.is_whole();
        if !may_resend {
            source.report_refusal(sent.generation());
            return Ok(None);
        }
        let (began, record) = (Instant::now(), &mut request.record);
        // The rest of the time is for the request with the other token. If there is none by then, the response that is
        // here is better than a time-out.
        let left = planned.deadline.saturating_duration_since(began.into());
        let waited = tokio::select! {
            biased;
            gone = self.client.left() => return Err(NotForwarded::Client(gone)),
            token = Box::pin(timeout(left * 3 / 4, source.successor(sent.generation()))) => token,
        };
        record.token_wait = Some(record.token_wait.unwrap_or_default() + began.elapsed());
        Ok(waited.ok().flatten())
    }
}

fn token_source(planned: &Planned) -> Option<&TokenSource> {
    match &*planned.plan.route.credential {
        Credential::OAuth2(token) => Some(&token.source),
        _ => None,
    }
}

/// Returns the token for an attempt, if there is one that may be sent now: after a refusal its successor.
fn usable(planned: &Planned, waited_for: Option<Arc<Token>>, tries: &Tries) -> Option<Arc<Token>> {
    let (source, now) = (token_source(planned)?, Now::system());
    let usable = |token: &Arc<Token>| token.is_usable(now);
    tries.successor.clone().filter(usable).or_else(|| source.current(now)).or(waited_for.filter(usable))
}

fn attempt_failed(record: &Record, route: &Arc<Route>, error: AttemptError) -> NotForwarded {
    match error {
        AttemptError::Client(ClientError::Body(error)) => {
            NotForwarded::refused(overridden(record, failure::bad_body(route, error)))
        }
        AttemptError::Client(error) => NotForwarded::Client(error),
        AttemptError::UploadStalled => NotForwarded::refused(overridden(record, failure::stalled_upload())),
        AttemptError::Upstream(error, _) => {
            let refusal = failure::no_response(route, error);
            warn_of_upstream(record, &refusal, &error);
            NotForwarded::refused(refusal)
        }
    }
}

fn no_token(planned: &Planned, error: &TokenError) -> Refusal {
    let (code, retry_after) = match error.failure.cause {
        Cause::Rejected { .. } | Cause::GrantGone { .. } => (ErrorCode::TokenRejected, None),
        Cause::Unavailable(_) => {
            let seconds = error.retry_after.as_secs_f64().ceil().max(1.0) as u32;
            (ErrorCode::TokenUnavailable, Some(seconds))
        }
    };
    let refusal = Refusal::new(code, error.detail()).of(&planned.plan.route.service).because(error.reason());
    Refusal { retry_after, ..refusal }
}

/// Answers a malformed head, and records it.
pub(super) async fn refuse_head(entrance: &Entrance, client: &mut Client, arrived: Instant, bad: BadHead) {
    let mut record = Record::new(&entrance.proxy, entrance.direction, client.peer, arrived);
    record.id = RequestId::new();
    let to_head = bad.method == "HEAD";
    record.path = match entrance.direction {
        Direction::Outbound => crate::outbound::log_path(&bad.target, false).to_vec(),
        Direction::Webhook => crate::webhook::log_path(&record.snapshot.keys, &bad.target, None, None),
    };
    if entrance.direction == Direction::Webhook {
        let fields = Fields::default();
        let key = crate::webhook::key_text(&bad.target, &fields, None);
        record.credential = key.map(|key| key.into_owned().into());
    }
    record.method = Cow::Owned(bad.method);
    let refusal = Refusal::from(bad.error);
    record.refused(&refusal);
    let answer = Answer::new(&refusal, &record.id, bad.accept.as_deref());
    answer.write(client.queue(), to_head, Version::Http11, Persistence::Close);
    record.status = Some(answer.status);
    record.bytes_out = if to_head { 0 } else { answer.body.len() as u64 };
    // The client may have left.
    let _ = client.flush().await;
    record.is_ended = true;
}
