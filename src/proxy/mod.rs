//! Carries plans out: the one place that speaks with the engine.
//!
//! Each hook of [`ProxyHttp`] is a few lines that name a step; the steps stand in the modules beside this one.

mod accept;
mod admit;
mod answer;
mod chunks;
mod connect;
mod context;
pub(crate) mod deadline;
mod downstream;
mod failure;
mod gate;
mod head;
mod headers;
mod peer;
pub(crate) mod reach;
mod record;
mod request;
pub(crate) mod resolve;
mod response;
mod retry;
mod socket;

pub(crate) use accept::{Gate, Listener, serve};

use crate::snapshot::Handle;
use crate::telemetry::access_log::AccessLog;
use answer::Answer;
use async_trait::async_trait;
use bytes::Bytes;
use context::{Context, Origin};
use deadline::Watchdog;
use http::StatusCode;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};
use request::Stop;
use resolve::Resolver;
use std::any::Any;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// `instant` on a clock that nobody sets, for rates and windows: it counts from the first time it was asked.
fn uptime(instant: Instant) -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    instant.saturating_duration_since(*START.get_or_init(|| instant))
}

/// What every request needs.
pub(crate) struct Proxy {
    pub(crate) snapshots: Handle,
    pub(crate) watchdog: Arc<Watchdog>,
    pub(crate) resolver: Resolver,
    pub(crate) access_log: Arc<AccessLog>,
    /// True once the process drains.
    pub(crate) draining: watch::Receiver<bool>,
}

impl Proxy {
    /// Everything before a connection is chosen.
    async fn take_in(&self, session: &mut Session, ctx: &mut Context) -> std::result::Result<(), Box<Stop>> {
        request::plan(session, ctx)?;
        if ctx.call.is_some() {
            // Boxed, because every request would carry the room for what only webhooks do.
            Box::pin(admit::admit(session, ctx)).await?;
        }
        Ok(request::prepare(self, ctx).await?)
    }

    /// Writes an answer of ours, if the caller has not got another one yet.
    async fn answer(&self, session: &mut Session, ctx: &mut Context, answer: Answer) {
        // After a 101 the connection is a tunnel, and whatever is written there is taken for the other side's.
        let is_last =
            |status: StatusCode| !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS;
        if session.response_written().is_some_and(|written| is_last(written.status)) {
            return;
        }
        // Whoever is told that it failed may come again at once.
        if let Some(call) = &mut ctx.call {
            call.claim = None;
            if call.held.is_some() {
                // From memory; a connection whose request is read to its end can be kept.
                let _ = session.as_downstream_mut().drain_request_body().await;
            }
        }
        if !session.as_downstream_mut().is_body_done() || *self.draining.borrow() {
            session.set_keepalive(None);
        }
        // The caller may have left: nothing is owed to it then.
        let _ = response::write(session, ctx, answer).await;
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new(self.snapshots.load(), Arc::clone(&self.watchdog))
    }

    // The engine hands over what the accept loop gave it by this hook, for the first request of a connection too.
    fn on_connection_reuse(&self, _: &mut Session, ctx: &mut Context, origin: Box<dyn Any + Send + Sync>) {
        if let Ok(origin) = origin.downcast::<Origin>() {
            ctx.direction = origin.direction;
            ctx.connection = Arc::clone(&origin.connection);
            ctx.arrived = origin.arrived;
        }
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        match self.take_in(session, ctx).await {
            Ok(()) => return Ok(false),
            Err(stop) => match *stop {
                Stop::Refused(refusal) => {
                    if let Some(key) = ctx.key() {
                        key.stats().refused_at(ctx.time);
                    }
                    let accept = request::accept(session);
                    let answer = response::answer(&refusal, ctx, accept.as_deref());
                    ctx.failure = Some(refusal);
                    self.answer(session, ctx, answer).await;
                }
                Stop::Replied(reply) => {
                    let answer = Answer::reply(reply, &ctx.id);
                    self.answer(session, ctx, answer).await;
                }
                Stop::Gone => session.set_keepalive(None),
            },
        }
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
        request::replace_token(ctx).await?;
        peer::next(ctx)
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        _reused: bool,
        _: &HttpPeer,
        _: std::os::fd::RawFd,
        digest: Option<&Digest>,
        ctx: &mut Context,
    ) -> Result<()> {
        peer::connected(digest, ctx)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        request::seal(session, request, ctx)
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        request::body(body, end_of_stream, ctx)
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        response::arrived(session, response, ctx)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        if *self.draining.borrow() {
            session.set_keepalive(None);
        }
        response::finish(session, response, ctx)
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        _: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<Option<Duration>> {
        response::body(end_of_stream, ctx)?;
        Ok(None)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        ctx: &mut Context,
        error: Box<Error>,
    ) -> Box<Error> {
        retry::after_connect(ctx, error)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        retry::after_send(session, ctx, error, reused)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Context) -> FailToProxy {
        ctx.disarm();
        let refusal = failure::refusal(error, ctx);
        record::warn(ctx, error, refusal.as_ref());
        if let Some(refusal) = refusal {
            let accept = request::accept(session);
            let answer = response::answer(&refusal, ctx, accept.as_deref());
            ctx.failure = Some(refusal);
            // The engine ends the connection after any failure.
            session.set_keepalive(None);
            self.answer(session, ctx, answer).await;
        }
        FailToProxy { error_code: 0, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, ctx: &mut Context) {
        ctx.disarm();
        record::request(session, ctx, &self.access_log);
    }

    // The engine's own lines hold paths, and so webhook keys.
    fn suppress_error_log(&self, _: &Session, _: &Context, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Context, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }

    fn request_summary(&self, _: &Session, ctx: &Context) -> String {
        ctx.id.as_str().to_owned()
    }
}
