//! A request on its way out: planned, made ready, and sealed with what only the upstream may see.

use super::Proxy;
use super::context::{Call, Context};
use super::failure;
use super::headers::{self, Dropped};
use super::resolve::NoAddress;
use crate::credentials::{Credential, oauth2::TokenError};
use crate::error_code::ErrorCode;
use crate::outbound;
use crate::plan::{Plan, Refusal, Reply};
use crate::request_id::RequestId;
use crate::route::Route;
use crate::secret::sha256;
use crate::telemetry::metrics::{Direction, Phase, WebhookRefusal};
use crate::webhook::address::Client;
use crate::webhook::assertion::Subject;
use crate::webhook::keys::Key;
use crate::webhook::{self, Action};
use bytes::Bytes;
use http::header::{self, HeaderValue};
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, OrErr as _, Result};
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use tokio::time::timeout_at;

type Refused = std::result::Result<(), Box<Refusal>>;

/// Why a request goes no further.
#[derive(Debug)]
pub(super) enum Stop {
    /// It is refused.
    Refused(Refusal),
    /// It was a question to us.
    Replied(Reply),
    /// The caller has left.
    Gone,
}

impl From<Box<Refusal>> for Box<Stop> {
    fn from(refusal: Box<Refusal>) -> Self {
        Self::new(Stop::Refused(*refusal))
    }
}

/// The caller's `Accept`.
pub(super) fn accept(session: &Session) -> Option<Vec<u8>> {
    session.req_header().headers.get(header::ACCEPT).map(|value| value.as_bytes().to_vec())
}

/// Decides what to do with the request, and cleans its header list.
pub(super) fn plan(session: &mut Session, ctx: &mut Context) -> std::result::Result<(), Box<Stop>> {
    let head = session.req_header();
    // A stranger's id is not taken: it would stand in our logs.
    let callers_id = head.headers.get("x-request-id").filter(|_| ctx.direction == Direction::Outbound);
    ctx.id = RequestId::from_caller(callers_id);
    let planned = match ctx.direction {
        Direction::Outbound => outbound(head, ctx),
        Direction::Webhook => webhook(head, ctx),
    };
    let plan = match planned {
        Ok(plan) => plan,
        Err(stop) => {
            // The rest of a request that goes nowhere is cleaned of nothing, but what it tried counts.
            let dropped = Dropped::of(head, &ctx.snapshot.reserved, ctx.is_forwarded());
            if !dropped.is_empty() {
                ctx.stats().reserved_headers_dropped(dropped.forwarding, dropped.identity);
            }
            return Err(stop);
        }
    };
    let too_large =
        plan.route.max_body.is_some_and(|max| content_length(head).is_some_and(|length| length > max));
    let cleaned = headers::clean_request(
        session.req_header_mut(),
        &ctx.snapshot.reserved,
        &plan.route.replaced,
        ctx.is_forwarded(),
    );
    ctx.websocket = cleaned.websocket;
    if !cleaned.dropped.is_empty() {
        plan.route.stats.reserved_headers_dropped(cleaned.dropped.forwarding, cleaned.dropped.identity);
    }
    ctx.in_flight = Some(plan.route.stats.started());
    let refusal = too_large.then(|| {
        let refusal = body_too_large(&plan.route);
        told(ctx, refusal)
    });
    ctx.plan = Some(plan);
    refusal.map_or(Ok(()), |refusal| Err(Box::new(Stop::Refused(refusal))))
}

fn outbound(head: &RequestHeader, ctx: &mut Context) -> std::result::Result<Plan, Box<Stop>> {
    let target = head.raw_path();
    let planned = ctx.snapshot.routes.plan(target);
    ctx.log_path = outbound::log_path(target, planned.is_ok()).to_vec();
    planned.map_err(|refusal| Box::new(Stop::Refused(refusal)))
}

fn webhook(head: &RequestHeader, ctx: &mut Context) -> std::result::Result<Plan, Box<Stop>> {
    let (target, snapshot) = (head.raw_path(), Arc::clone(&ctx.snapshot));
    let peer = ctx.connection.peer.map(|peer| peer.ip());
    let client = Client::of(peer, &head.headers, &snapshot.config.trusted_proxies);
    let call = webhook::Call {
        method: &head.method,
        target,
        headers: &head.headers,
        client,
        now: ctx.time,
        uptime: super::uptime(ctx.arrived),
    };
    let decided = webhook::plan(&snapshot.keys, &snapshot.guesses, &call);
    let key = match &decided {
        Ok(admitted) => Some(admitted.key),
        Err(refused) => refused.key,
    };
    ctx.call = Some(Box::new(Call { key, ..Call::from(client) }));
    ctx.log_path = webhook::log_path(&snapshot.keys, target, ctx.endpoint().map(|endpoint| &**endpoint));
    match decided.map(|admitted| admitted.action) {
        Ok(Action::Forward(plan)) => Ok(plan),
        Ok(Action::Reply(reply)) => {
            super::admit::used(ctx);
            Err(Box::new(Stop::Replied(reply)))
        }
        Err(refused) => {
            let stats = refused.counts_for.as_ref().map(|endpoint| &endpoint.route.stats);
            stats.unwrap_or(snapshot.unmatched(Direction::Webhook)).refused(refused.reason);
            if let (WebhookRefusal::Address, Some(endpoint)) = (refused.reason, ctx.endpoint()) {
                let why = "it may not be called from this address (allow_from); is a proxy missing in trusted_proxies?";
                super::record::warn_of_refusal(endpoint, &why, ctx);
            }
            Err(Box::new(Stop::Refused(refused.refusal)))
        }
    }
}

/// A request that is refused for what it is, once it is known whose it is.
fn told(ctx: &Context, refusal: Refusal) -> Refusal {
    let (Some(key), Some(endpoint)) = (ctx.key(), ctx.endpoint()) else { return refusal };
    key.stats().refused_at(ctx.time);
    endpoint.route.stats.refused(WebhookRefusal::Request);
    endpoint.told(refusal)
}

pub(super) fn content_length(head: &RequestHeader) -> Option<u64> {
    head.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

pub(super) fn body_too_large(route: &Route) -> Refusal {
    let max = route.max_body.unwrap_or_default();
    Refusal::new(ErrorCode::RequestTooLarge, format!("the largest body taken here is {max} bytes"))
        .of(&route.service)
}

/// Gets what the request needs before a connection is chosen: the token, the addresses. All within the deadline.
pub(super) async fn prepare(proxy: &Proxy, ctx: &mut Context) -> Refused {
    token(ctx).await?;
    let (Some(plan), Some(deadline)) = (&ctx.plan, ctx.deadline()) else {
        return Err(Box::new(failure::internal()));
    };
    ctx.phase = Phase::Connect;
    match timeout_at(deadline.into(), proxy.resolver.addresses(&plan.route.upstream)).await {
        Ok(Ok(addresses)) => {
            ctx.addresses = addresses;
            Ok(())
        }
        Ok(Err(NoAddress::NotFound)) => Err(Box::new(failure::unreachable(plan, "dns_error"))),
        Ok(Err(NoAddress::Denied)) => Err(Box::new(
            Refusal::new(
                ErrorCode::AddressDenied,
                "the service's name resolves to an address of a private network; if that is meant, set \
                 `private_network: true` on the service",
            )
            .of(&plan.route.service),
        )),
        Err(_) => Err(Box::new(failure::timeout(plan, Phase::Connect))),
    }
}

/// Gets the account's token, if it is one that has tokens. Without waiting where there is one.
async fn token(ctx: &mut Context) -> Refused {
    let (Some(plan), Some(deadline)) = (&ctx.plan, ctx.deadline()) else {
        return Err(Box::new(failure::internal()));
    };
    let Credential::OAuth2(source) = &*plan.route.credential else { return Ok(()) };
    ctx.token = source.current(Instant::now().into());
    if ctx.token.is_some() {
        return Ok(());
    }
    ctx.phase = Phase::Token;
    let began = Instant::now();
    let waited = timeout_at(deadline.into(), source.get()).await;
    ctx.token_wait = Some(ctx.token_wait.unwrap_or_default() + began.elapsed());
    match waited {
        Ok(Ok(token)) => {
            ctx.token = Some(token);
            Ok(())
        }
        Ok(Err(error)) => Err(Box::new(no_token(plan, &error))),
        Err(_) => Err(Box::new(failure::timeout(plan, Phase::Token))),
    }
}

/// Before each attempt: if the third party refused the token of the last one, gets another. Where there is none to be
/// had, that is what the caller is told, not the third party's refusal: the caller's request was not at fault.
pub(super) async fn replace_token(ctx: &mut Context) -> Result<()> {
    if ctx.refused_token.is_none() || ctx.token.is_some() {
        return Ok(());
    }
    // Boxed, because every request would carry the room for what hardly any of them does.
    Box::pin(token(ctx)).await.map_err(|refusal| {
        ctx.failure = Some(*refusal);
        Error::explain(ErrorType::InternalError, "no token to send the request again with")
    })
}

fn no_token(plan: &Plan, error: &TokenError) -> Refusal {
    let (code, retry_after) = match error {
        TokenError::Rejected { .. } | TokenError::NeedsLogin { .. } => (ErrorCode::TokenRejected, None),
        TokenError::Unavailable { .. } => {
            (ErrorCode::TokenUnavailable, Some(error.retry_after().as_secs_f64().ceil().max(1.0) as u64))
        }
    };
    let refusal = Refusal::new(code, error.detail()).of(&plan.route.service);
    Refusal { retry_after, ..refusal }
}

/// Adds what the engine must not see earlier, since it strips what `Connection` names before this: the target, the
/// authority, and the credential or the identity.
pub(super) fn seal(session: &Session, request: &mut RequestHeader, ctx: &mut Context) -> Result<()> {
    let Some(plan) = &ctx.plan else {
        return Error::e_explain(ErrorType::InternalError, "no plan");
    };
    let route = &plan.route;
    let host = request.remove_header(&header::HOST);
    match &*route.credential {
        Credential::Query(credential) => {
            let mut parts = plan.target.splitn(2, |&b| b == b'?');
            let path = parts.next().unwrap_or_default();
            let query = credential.replace(parts.next());
            request.set_raw_path(&[path, b"?", &query].concat())?;
        }
        _ => request.set_raw_path(&plan.target)?,
    }
    request.insert_header(header::HOST, route.upstream.authority.clone())?;
    match &*route.credential {
        Credential::None | Credential::Query(_) => {}
        Credential::Headers(headers) => {
            for (name, value) in headers.iter() {
                request.insert_header(name.spelling().clone(), value.clone())?;
            }
        }
        Credential::OAuth2(source) => {
            // Between the plan and here lies a connect: the token may have come to its end.
            let now = Instant::now().into();
            let waited_for = || ctx.token.clone().filter(|token| token.may_be_sent(now));
            let token = source.current(now).or_else(waited_for);
            // Once refused, a token is gone from its source; that it is not sent again does not rest on that alone.
            let token = token.filter(|token| Some(token.generation()) != ctx.refused_token);
            let Some(token) = token else {
                return Error::e_explain(ErrorType::InternalError, "the token expired while connecting");
            };
            ctx.sent_token = Some(token.generation());
            let name = route.token_header.as_ref().unwrap_or(token.header_name());
            request.insert_header(name.spelling().clone(), token.header_value().clone())?;
        }
    }
    if let (Some(key), Some(call)) = (ctx.key(), &ctx.call) {
        let endpoint = key.endpoint();
        let names = &ctx.snapshot.config.identity_headers;
        request.insert_header(names.user.spelling().clone(), endpoint.identity[0].clone())?;
        request.insert_header(names.service.spelling().clone(), endpoint.identity[1].clone())?;
        request.insert_header(names.key_id.spelling().clone(), key.id())?;
        request.insert_header("X-Request-Id", ctx.id.as_str())?;
        if let Some(address) = call.client.address {
            request.insert_header("X-Forwarded-For", address.to_string())?;
        }
        let scheme = if call.client.https { "https" } else { "http" };
        request.insert_header("X-Forwarded-Proto", HeaderValue::from_static(scheme))?;
        if let Some(host) = host.or_else(|| session.req_header().headers.get(header::HOST).cloned()) {
            request.insert_header("X-Forwarded-Host", host)?;
        }
        if let Some(signer) = &ctx.snapshot.assertion {
            let path = webhook::template(session.req_header().raw_path(), endpoint);
            let path = String::from_utf8_lossy(&path);
            let subject = subject(request, ctx, (key, call), &path, &plan.target);
            let assertion = signer.sign_at(&subject, SystemTime::now());
            request.insert_header(
                signer.header().spelling().clone(),
                assertion.or_err(ErrorType::InternalError, "an assertion")?,
            )?;
        }
    }
    Ok(())
}

/// What is asserted of the call that `request` carries on to `target`.
fn subject<'a>(
    request: &'a RequestHeader,
    ctx: &'a Context,
    (key, call): (Key<'a>, &'a Call),
    path: &'a str,
    target: &[u8],
) -> Subject<'a> {
    let query = target.splitn(2, |&b| b == b'?').nth(1).filter(|query| !query.is_empty());
    Subject {
        user: &key.endpoint().user.key,
        service: key.service(),
        key_id: key.id(),
        request_id: ctx.id.as_str(),
        delivery_id: call.delivery_id.as_deref(),
        method: request.method.as_str(),
        path,
        query_sha256: query.map(sha256),
        body_sha256: call.body_sha256,
    }
}

/// A part of the body passes by.
pub(super) fn body(body: &Option<Bytes>, end_of_stream: bool, ctx: &mut Context) -> Result<()> {
    ctx.body_seen += body.as_ref().map_or(0, |bytes| bytes.len() as u64);
    if let Some(exchange) = &ctx.exchange {
        // A tunnel is alive if either side speaks.
        exchange.touch();
    }
    if end_of_stream {
        ctx.request_sent = true;
        if ctx.phase == Phase::Send {
            ctx.phase = Phase::Wait;
        }
        if ctx.answered {
            ctx.complete();
        }
    }
    match &ctx.plan {
        // What passes through a tunnel is no body.
        Some(plan) if !ctx.websocket && plan.route.max_body.is_some_and(|max| ctx.body_seen > max) => {
            ctx.failure = Some(told(ctx, body_too_large(&plan.route)));
            Error::e_explain(ErrorType::HTTPStatus(413), "the body is too large")
        }
        _ => Ok(()),
    }
}
