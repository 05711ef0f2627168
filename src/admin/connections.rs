//! Accepts connections and bounds them: their number, the time for a head, and their life.

use super::guard::Arrival;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The bounds of every connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// How many are served at once; more wait to be accepted.
    pub(super) connections: usize,
    /// From the connection, or the last answer, to a complete head.
    pub(super) head: Duration,
    /// After this, a connection ends with the answer it is at.
    pub(super) life: Duration,
    /// How long it may take to end; after that it is cut off.
    pub(super) end: Duration,
}

impl Bounds {
    /// A scraper that comes every minute keeps its connection; one that doesn't read is gone in six.
    const ADMIN: Self = Self {
        connections: 128,
        head: Duration::from_secs(70),
        life: Duration::from_secs(300),
        end: Duration::from_secs(60),
    };
}

/// How long, after the shutdown, an answer that has begun may take.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// A connection that knows where it arrived.
pub(crate) trait Arrived {
    /// Returns where.
    fn arrival(&self) -> Arrival;
}

impl Arrived for TcpStream {
    fn arrival(&self) -> Arrival {
        Arrival::tcp(self.local_addr(), self.peer_addr())
    }
}

impl Arrived for UnixStream {
    fn arrival(&self) -> Arrival {
        Arrival::Unix
    }
}

pub(super) async fn serve<L: axum::serve::Listener<Io: Arrived>>(
    listener: L,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) {
    serve_within(Bounds::ADMIN, listener, router, shutdown).await;
}

pub(super) async fn serve_within<L: axum::serve::Listener<Io: Arrived>>(
    bounds: Bounds,
    mut listener: L,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) {
    let free = Arc::new(Semaphore::new(bounds.connections));
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = async {
            let place = Arc::clone(&free).acquire_owned().await;
            (place, listener.accept().await.0)
        };
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            (place, io) = accepted => {
                let connection = connection(io, router.clone(), bounds, stopped.clone());
                connections.spawn(async move {
                    let _place = place;
                    connection.await;
                });
            }
        }
    }
    drop(listener);
    drop(stop);
    // What is left after that ends with the set.
    let _ = timeout(LAST_ANSWERS, async { while connections.join_next().await.is_some() {} }).await;
}

/// Serves one connection until it ends, is too old, or the listener stops. A client's fault is no one's news.
async fn connection(
    io: impl AsyncRead + AsyncWrite + Arrived + Unpin + Send + 'static,
    router: Router,
    bounds: Bounds,
    mut stopped: watch::Receiver<()>,
) {
    let (arrival, router) = (io.arrival(), TowerToHyperService::new(router));
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(arrival);
        router.call(request)
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(bounds.head)
            .serve_connection(TokioIo::new(io), service)
    );
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopped.changed() => {}
        () = tokio::time::sleep(bounds.life) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(bounds.end, connection).await;
}
