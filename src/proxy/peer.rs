//! Which connection a request goes out on.

use super::connect::{self, Connector};
use super::context::{Context, Exchange};
use crate::telemetry::metrics::Phase;
use pingora::connectors::L4Connect;
use pingora::protocols::Digest;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// Pooled connections are let go before common servers close them on their side, where a request would meet the close.
const POOL_IDLE: Duration = Duration::from_secs(55);

/// An address that has not connected by then is passed over for the next, if there is one.
const NEXT_ADDRESS: Duration = Duration::from_secs(3);

type SharedConnector = LazyLock<Arc<dyn L4Connect + Send + Sync>>;
static CONNECTOR: SharedConnector = LazyLock::new(|| Arc::new(Connector { gated: false }));
static GATED_CONNECTOR: SharedConnector = LazyLock::new(|| Arc::new(Connector { gated: true }));

/// The peer for the next attempt: an address, and what remains of the time.
pub(super) fn next(ctx: &mut Context) -> Result<Box<HttpPeer>> {
    let (Some(plan), Some(deadline)) = (&ctx.plan, ctx.deadline()) else {
        return Error::e_explain(ErrorType::InternalError, "no plan");
    };
    let remaining = deadline.saturating_duration_since(Instant::now());
    let upstream = &plan.route.upstream;
    if ctx.tried == 0 {
        ctx.first_address = upstream.preferred.load(Ordering::Relaxed);
    }
    let index = (ctx.first_address + ctx.tried) % ctx.addresses.len().max(1);
    let Some(&address) = ctx.addresses.get(index) else {
        return Error::e_explain(ErrorType::InternalError, "no address");
    };
    if remaining.is_zero() {
        ctx.timed_out = true;
        return Error::e_explain(ErrorType::ConnectTimedout, "the deadline has passed");
    }
    let server_name = if upstream.tls { upstream.server_name.clone() } else { String::new() };
    let mut peer = HttpPeer::new(address, upstream.tls, server_name);
    peer.group_key = upstream.group_key;
    // An address that does not answer must leave time for the next.
    let last = ctx.tried + 1 >= ctx.addresses.len();
    let options = &mut peer.options;
    options.total_connection_timeout = Some(if last { remaining } else { (remaining / 2).min(NEXT_ADDRESS) });
    options.idle_timeout = Some(POOL_IDLE);
    options.ca = upstream.ca.clone();
    options.custom_l4 = Some(Arc::clone(if ctx.websocket { &GATED_CONNECTOR } else { &CONNECTOR }));
    if ctx.websocket {
        // Neither taken from the pool nor put back.
        peer.group_key = !peer.group_key;
        peer.options.idle_timeout = Some(Duration::ZERO);
    }
    ctx.phase = Phase::Connect;
    ctx.body_seen = 0;
    ctx.request_sent = false;
    ctx.upstream = Some(address);
    Ok(Box::new(peer))
}

/// A connection is there: from now on the watchdog holds the deadline.
pub(super) fn connected(digest: Option<&Digest>, ctx: &mut Context) -> Result<()> {
    let (Some(handle), Some(deadline)) = (connect::handle(digest), ctx.deadline()) else {
        return Error::e_explain(ErrorType::InternalError, "a connection without a handle");
    };
    let idle = ctx.plan.as_ref().map_or(Duration::ZERO, |plan| plan.route.idle_timeout);
    let exchange = Arc::new(Exchange::new(Arc::clone(&ctx.connection), idle));
    ctx.phase = Phase::Send;
    ctx.attempts += 1;
    ctx.exchange = Some(Arc::clone(&exchange));
    ctx.handle = Some(Arc::clone(&handle));
    ctx.arm(deadline, handle, exchange);
    Ok(())
}

/// The response headers are there in time: from now on the watchdog looks for a stall.
pub(super) fn answering(ctx: &mut Context) -> Result<()> {
    let Some(exchange) = ctx.exchange.clone() else {
        return Error::e_explain(ErrorType::InternalError, "an answer without an exchange");
    };
    if !exchange.answering() {
        ctx.timed_out = true;
        return Err(Error::explain(ErrorType::ReadTimedout, "the deadline passed with the headers").into_up());
    }
    ctx.phase = Phase::Idle;
    ctx.response_headers = Some(ctx.arrived.elapsed());
    // The deadline that is armed finds a stall when it passes, unless the idle time ends before that.
    if let (Some(handle), Some(plan), Some(deadline)) = (ctx.handle.take(), &ctx.plan, ctx.deadline()) {
        let stalled_at = Instant::now() + plan.route.idle_timeout;
        if stalled_at < deadline {
            ctx.arm(stalled_at, handle, exchange);
        }
    }
    Ok(())
}
