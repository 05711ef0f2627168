//! Accepts connections, reads the head of each request, and hands it to the exchange.

use super::downstream::client::Client;
use super::downstream::table::{SlotAdmission, Ticket};
use super::exchange::{self, End, Request};
use super::{Entrance, uptime};
use crate::log_limit::LogLimit;
use crate::message::request::{self, BadHead, HeadError, MAX_HEAD, RequestHead};
use crate::socket::{HandshakeError, HandshakeFailure, Socket};
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until, timeout_at};

/// A head has to be complete this long after its first byte.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// The same limit while the process drains: an incomplete head must not delay the end.
const HEAD_AT_DRAIN: Duration = Duration::from_secs(1);
/// The first byte of a TLS connection (RFC 8446 section 5.1). No request begins with it.
const TLS_HANDSHAKE: u8 = 0x16;
/// Pause after a failed accept (usually no descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Interval at which idle connections are checked.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);

/// An accepted connection.
struct Arrival {
    socket: Socket,
    /// None on a unix socket.
    peer: Option<SocketAddr>,
}

/// A bound listener.
pub(crate) enum BoundListener {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

impl BoundListener {
    /// Returns the address of a TCP listener.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    async fn accept(&self) -> io::Result<Arrival> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // The last segment of a response must not wait for an acknowledgement.
                stream.set_nodelay(true)?;
                Ok(Arrival { socket: Socket::Tcp(stream), peer: Some(peer) })
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok(Arrival { socket: Socket::Unix(stream), peer: None })
            }
        }
    }
}

/// Serves `listener` until the process drains, then every connection until its request has ended or until `cut`.
/// Requests that are cut are recorded before this returns.
pub(crate) async fn serve(
    listener: BoundListener,
    entrance: Arc<Entrance>,
    mut draining: watch::Receiver<bool>,
    cut: impl Future<Output = ()>,
) {
    let mut connections = JoinSet::new();
    let log_limit = LogLimit::default();
    let mut expiry = interval(EXPIRE_EVERY);
    expiry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Set while accepting is paused; holds the connection to admit afterwards.
    let mut pause: Option<(tokio::time::Instant, Option<Arrival>)> = None;
    loop {
        let resume = pause.as_ref().map(|(at, _)| *at);
        let waiting = tokio::select! {
            accepted = listener.accept(), if resume.is_none() => match accepted {
                Ok(arrival) => Some((arrival, true)),
                Err(error) => {
                    if let Some(not_logged) = log_limit.take() {
                        tracing::warn!(%error, not_logged, "connections cannot be accepted");
                    }
                    pause = Some((tokio::time::Instant::now() + ACCEPT_PAUSE, None));
                    None
                }
            },
            () = sleep_until(resume.unwrap_or_else(tokio::time::Instant::now)), if resume.is_some() => {
                pause.take().and_then(|(_, arrival)| Some((arrival?, false)))
            }
            () = begun(&mut draining) => break,
            // Reaps finished connections.
            Some(_) = connections.join_next() => None,
            _ = expiry.tick() => {
                entrance.table.expire(uptime(Instant::now()));
                None
            }
        };
        if let Some((arrival, may_wait)) = waiting
            && let Some((arrival, wait)) = admit(arrival, may_wait, &entrance, &mut connections, &log_limit)
        {
            pause = Some((tokio::time::Instant::now() + wait, Some(arrival)));
        }
    }
    drop(listener);
    entrance.table.drain();
    let heads = async {
        sleep(HEAD_AT_DRAIN).await;
        entrance.table.end_heads();
        pending::<()>().await;
    };
    tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => {}
        () = heads => {}
        () = cut => connections.shutdown().await,
    }
}

/// Resolves once the process drains.
async fn begun(draining: &mut watch::Receiver<bool>) {
    // A dropped sender means the same.
    let _ = draining.wait_for(|draining| *draining).await;
}

/// Admits or refuses a new connection. Returns the connection if it should wait a moment.
fn admit(
    arrival: Arrival,
    may_wait: bool,
    entrance: &Arc<Entrance>,
    connections: &mut JoinSet<()>,
    log_limit: &LogLimit,
) -> Option<(Arrival, Duration)> {
    let table = &entrance.table;
    match table.admit(uptime(Instant::now()), may_wait) {
        SlotAdmission::Admitted(ticket) => {
            let (slot, entrance) = (ticket.slot(), Arc::clone(entrance));
            slot.served_by(connections.spawn(connection(arrival, ticket, entrance)));
        }
        SlotAdmission::Wait(wait) => return Some((arrival, wait)),
        SlotAdmission::Full => {
            if let Some(not_logged) = log_limit.take() {
                tracing::warn!(
                    listener = table.listener,
                    limit = table.limit(),
                    refused = table.counts().refused,
                    not_logged,
                    "a connection is refused: as many as limits.connections allows have a request in progress"
                );
            }
        }
    }
    None
}

/// The result of reading a head.
enum NextHead {
    Head(RequestHead),
    /// A malformed head, and when it began.
    Bad(Instant, Box<BadHead>),
    /// The client left, or the connection was evicted.
    Over,
}

/// Serves one connection, one request after another.
async fn connection(arrival: Arrival, mut ticket: Ticket, entrance: Arc<Entrance>) {
    let mut client = if entrance.acceptor.is_tls() {
        // Boxed, so that a plain connection does not hold the memory of a handshake.
        let Some(client) = Box::pin(secure(arrival, &mut ticket, &entrance)).await else { return };
        client
    } else {
        Client::new(arrival.socket, arrival.peer)
    };
    loop {
        let head = match next(&mut client, &ticket).await {
            NextHead::Head(head) => head,
            NextHead::Bad(began, bad) => {
                if ticket.active(uptime(Instant::now())) {
                    exchange::refuse_head(&entrance, &mut client, began, *bad).await;
                    client.close().await;
                }
                return;
            }
            NextHead::Over => return,
        };
        let arrived = Instant::now();
        if !ticket.active(uptime(arrived)) {
            return;
        }
        client.start();
        let mut request = Request::new(&entrance, client.peer, arrived, head);
        request.record.is_tls = client.is_tls();
        // Boxed, so that an idle connection does not hold the memory of an exchange.
        let end = Box::pin(exchange::serve(&entrance, &mut client, request)).await;
        if end == End::Abort {
            return;
        }
        client.finish();
        match end {
            End::KeepAlive => {
                if !ticket.idle(uptime(Instant::now())) {
                    return client.close().await;
                }
            }
            End::Close => return client.close().await,
            End::Abort => {}
        }
    }
}

/// Performs the TLS handshake, within the time for a head. A client that speaks plain HTTP gets an answer that says so.
async fn secure(arrival: Arrival, ticket: &mut Ticket, entrance: &Arc<Entrance>) -> Option<Client> {
    let Arrival { socket, peer } = arrival;
    let (began, has_begun) = oneshot::channel();
    let accepting = entrance.acceptor.accept(socket, || {
        // The receiver is dropped only with the handshake.
        let _ = began.send(ticket.reading());
    });
    let late = async {
        match has_begun.await {
            Ok(true) => {
                sleep(HEAD_TIME).await;
                true
            }
            // It was evicted.
            Ok(false) => false,
            // The first byte never comes; the table ends the connection.
            Err(_) => pending().await,
        }
    };
    let failed = |reason, cause: Option<&dyn std::error::Error>| {
        let client = peer.map(|peer| peer.ip().to_canonical());
        entrance.acceptor.failures().failed(entrance.table.listener, client, reason, cause);
    };
    let accepted = tokio::select! {
        accepted = accepting => accepted,
        is_late = late => {
            if is_late {
                failed(HandshakeFailure::Timeout, None);
            }
            return None;
        }
    };
    match accepted {
        Ok(socket) => ticket.secured().then(|| Client::new(socket, peer)),
        Err(HandshakeError::Plain(socket)) => {
            failed(HandshakeFailure::Plain, None);
            let mut client = Client::new(socket, peer);
            if ticket.active(uptime(Instant::now())) {
                let error = HeadError::Plain("this is plain HTTP, and the port speaks TLS: use https://");
                let bad = BadHead { error, method: "-".to_owned(), target: Vec::new(), accept: None };
                exchange::refuse_head(entrance, &mut client, Instant::now(), bad).await;
                client.close().await;
            }
            None
        }
        Err(HandshakeError::Failed(error, socket)) => {
            failed(HandshakeFailure::of(&error), Some(&error));
            // The alert must not be lost to a reset.
            Client::new(socket, peer).close().await;
            None
        }
        Err(HandshakeError::Left) => None,
    }
}

/// Reads to the end of a head, or until its time limit.
async fn next(client: &mut Client, ticket: &Ticket) -> NextHead {
    let mut seen = 0;
    let mut deadline = None;
    loop {
        if let Some(next) = head_in(client, &mut seen) {
            return next;
        }
        let read = match deadline {
            None if client.input().is_empty() => match client.first_byte().await {
                Ok(()) => client.more().await,
                Err(error) => Err(error),
            },
            None => {
                // Part of a head was received: the time limit for the rest starts.
                let now = Instant::now();
                if !ticket.reading() {
                    return NextHead::Over;
                }
                deadline = Some(now + HEAD_TIME);
                continue;
            }
            Some(deadline) => match timeout_at(deadline.into(), client.more()).await {
                Ok(read) => read,
                Err(_) => {
                    return unfinished(
                        deadline - HEAD_TIME,
                        client.input(),
                        HeadError::Late(
                            "the request's head was not complete 30 seconds after its first byte",
                        ),
                    );
                }
            },
        };
        if !matches!(read, Ok(1..)) {
            return NextHead::Over;
        }
    }
}

/// Returns the head in the input if it is complete, or an error if it cannot become one.
fn head_in(client: &mut Client, seen: &mut usize) -> Option<NextHead> {
    let input = client.input();
    // Empty lines before a request line are ignored (RFC 9112 section 2.2).
    while input.starts_with(b"\r\n") {
        bytes::Buf::advance(input, 2);
        *seen = 0;
    }
    // Waiting for the rest of a handshake would leave the client without an answer until the time limit.
    if input.first() == Some(&TLS_HANDSHAKE) {
        return Some(unfinished(
            Instant::now(),
            input,
            HeadError::Tls("this is a TLS handshake, and the port speaks plain HTTP: use http://"),
        ));
    }
    if let Some(end) = request::end(input, *seen).filter(|&end| end <= MAX_HEAD) {
        let head = input.split_to(end).freeze();
        return Some(match request::parse(head) {
            Ok(head) => NextHead::Head(head),
            Err(bad) => NextHead::Bad(Instant::now(), bad),
        });
    }
    *seen = input.len();
    (input.len() > MAX_HEAD).then(|| {
        unfinished(Instant::now(), input, HeadError::TooLarge("the request's head is larger than 64 KiB"))
    })
}

/// Returns the error for an incomplete head. The answer to HEAD has no body, so the method matters.
fn unfinished(began: Instant, part: &[u8], error: HeadError) -> NextHead {
    let method = if part.starts_with(b"HEAD ") { "HEAD" } else { "-" };
    NextHead::Bad(
        began,
        Box::new(BadHead { error, method: method.to_owned(), target: Vec::new(), accept: None }),
    )
}
