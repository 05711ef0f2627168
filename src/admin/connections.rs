//! Accepts connections and bounds them: their number, the time for a head, the time that a client may leave its answer
//! unread, and their life.

mod list;
mod socket;

use super::guard::{LocalEnd, ProvedCertificate};
use crate::socket::{Acceptor, HandshakeError, HandshakeFailure, Socket};
use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, Bytes};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use list::{ConnectionList, InProgress, ListEntry, ListedConnection};
use socket::TimedSocket;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// The bounds of every connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Maximum number of open connections. At this limit, [`ConnectionList`] says which one is closed.
    pub(super) connections: usize,
    /// From the connection to its first complete head.
    pub(super) first_head: Duration,
    /// From an answer to the next complete head.
    pub(super) head: Duration,
    /// After this, a client that reads nothing of its answer is cut off.
    pub(super) stall: Duration,
    /// After this, a client that has not read its answer is cut off, however much it has read.
    pub(super) answer: Duration,
    /// After this, a connection ends with the answer it is at.
    pub(super) life: Duration,
    /// Maximum duration of its end; after that it is cut off.
    pub(super) end: Duration,
}

impl Bounds {
    /// A scraper that comes every minute keeps its connection.
    pub(super) const ADMIN: Self = Self {
        connections: 128,
        first_head: Duration::from_secs(10),
        head: Duration::from_secs(70),
        stall: Duration::from_secs(10),
        answer: Duration::from_secs(60),
        life: Duration::from_secs(300),
        end: Duration::from_secs(60),
    };
}

/// Maximum duration, after the shutdown, of an answer that has begun.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// A connection that knows where it arrived.
pub(crate) trait Arrived: Into<Socket> {
    /// Returns where.
    fn arrival(&self) -> LocalEnd;
}

impl Arrived for TcpStream {
    fn arrival(&self) -> LocalEnd {
        LocalEnd::tcp(self.local_addr(), self.peer_addr())
    }
}

impl Arrived for UnixStream {
    fn arrival(&self) -> LocalEnd {
        LocalEnd::Unix
    }
}

pub(super) async fn serve<L: axum::serve::Listener<Io: Arrived>>(
    listener: L,
    acceptor: Arc<Acceptor>,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) {
    serve_within(Bounds::ADMIN, listener, acceptor, router, shutdown).await;
}

pub(super) async fn serve_within<L: axum::serve::Listener<Io: Arrived>>(
    bounds: Bounds,
    mut listener: L,
    acceptor: Arc<Acceptor>,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) {
    let list = ConnectionList::new(bounds.connections);
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            (io, _) = listener.accept() => {
                let Some(entry) = list.add(Instant::now()) else { continue };
                let listed = Arc::clone(&entry.connection);
                let accepting = Accepting { arrival: io.arrival(), socket: io.into(), acceptor: Arc::clone(&acceptor) };
                let connection = connection(accepting, router.clone(), bounds, stopped.clone(), entry);
                listed.served_by(connections.spawn(connection));
                // A head that has arrived is read before another connection may take the place of this one.
                tokio::task::yield_now().await;
            }
        }
    }
    drop(listener);
    drop(stop);
    // Connections that are left after that end with the set.
    let _ = timeout(LAST_ANSWERS, async { while connections.join_next().await.is_some() {} }).await;
}

/// An accepted connection before its handshake.
struct Accepting {
    arrival: LocalEnd,
    socket: Socket,
    acceptor: Arc<Acceptor>,
}

impl Accepting {
    /// Performs the TLS handshake, if the listener speaks TLS, within this time.
    async fn secured_within(self, time: Duration) -> Option<Socket> {
        let (client, acceptor) = (self.arrival.client(), Arc::clone(&self.acceptor));
        let failed = |reason, cause: Option<&dyn std::error::Error>| {
            acceptor.failures().failed("admin", client, reason, cause);
        };
        let has_begun = AtomicBool::new(false);
        let secured = self.secured(&has_begun, &failed);
        let secured = timeout(time, secured).await;
        // A client that has sent nothing has failed no handshake.
        if secured.is_err() && has_begun.load(Relaxed) {
            failed(HandshakeFailure::Timeout, None);
        }
        secured.ok()?
    }

    async fn secured(
        self,
        has_begun: &AtomicBool,
        failed: &(impl Fn(HandshakeFailure, Option<&dyn std::error::Error>) + Sync),
    ) -> Option<Socket> {
        match self.acceptor.accept(self.socket, || has_begun.store(true, Relaxed)).await {
            Ok(socket) => Some(socket),
            Err(HandshakeError::Plain(mut socket)) => {
                has_begun.store(false, Relaxed);
                failed(HandshakeFailure::Plain, None);
                // A client that does not read it has no answer.
                let _ = socket.write_all(PLAIN).await;
                let _ = socket.shutdown().await;
                // The answer must not be lost to a reset.
                let _ = tokio::io::copy(&mut socket, &mut tokio::io::sink()).await;
                None
            }
            Err(HandshakeError::Failed(error, mut socket)) => {
                has_begun.store(false, Relaxed);
                failed(HandshakeFailure::of(&error), Some(&error));
                let _ = socket.shutdown().await;
                None
            }
            Err(HandshakeError::Left) => None,
        }
    }
}

/// The answer to plain HTTP on a listener with TLS.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 67\r\n\
    Connection: close\r\n\r\nthis is plain HTTP, and the port speaks TLS: open it with https://\n";

/// Serves one connection until it ends, is too old, or the listener stops. A client's fault is no one's news.
async fn connection(
    accepting: Accepting,
    router: Router,
    bounds: Bounds,
    mut stopped: watch::Receiver<()>,
    entry: ListEntry,
) {
    let (arrival, router) = (accepting.arrival, TowerToHyperService::new(router));
    let Some(socket) = accepting.secured_within(bounds.first_head).await else { return };
    let identity = socket.identity();
    let listed = Arc::clone(&entry.connection);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let _in_progress = listed.begin();
        request.extensions_mut().insert(arrival);
        // The authorities may have changed since the connection was opened.
        let certificate = identity.as_ref().and_then(|identity| identity.certificate(SystemTime::now()));
        request.extensions_mut().insert(ProvedCertificate(certificate));
        let response = router.call(request);
        async move { response.await.map(|response| response.map(|body| AnswerBody { body, _in_progress })) }
    });
    let socket = TimedSocket::new(socket, Arc::clone(&entry.connection), bounds);
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(bounds.head)
            .serve_connection(TokioIo::new(socket), service)
    );
    tokio::select! {
        _ = connection.as_mut() => return,
        () = no_head(&entry.connection, bounds.first_head) => return,
        _ = stopped.changed() => {}
        () = sleep(bounds.life) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(bounds.end, connection).await;
}

/// Ends after this time if there is no complete head by then.
async fn no_head(connection: &ListedConnection, time: Duration) {
    sleep(time).await;
    if !connection.is_new() {
        pending().await
    }
}

/// The body of an answer: with it, the request ends.
struct AnswerBody {
    body: Body,
    _in_progress: InProgress,
}

impl hyper::body::Body for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
