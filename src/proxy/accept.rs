//! Takes connections in, checks each request's head, and hands it to the engine.
//!
//! The engine's own server can't bound the time a head takes to come, answers malformed ones before any hook sees them,
//! and on SIGTERM always sleeps its grace period out. So the loop is ours: bytes are read up to the end of a head, under
//! a deadline, checked by [`super::head`], and given to the engine as what it had read already.

use super::Proxy;
use super::answer::Answer;
use super::context::Origin;
use super::downstream::{Connection, Downstream};
use super::head::{self, BadHead};
use super::socket::Socket;
use crate::error_code::ErrorCode;
use crate::plan::Refusal;
use crate::request_id::RequestId;
use crate::telemetry::access_log::Outcome;
use crate::telemetry::metrics::Direction;
use crate::{outbound, webhook};
use bytes::BytesMut;
use pingora::apps::HttpServerApp;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A head has to be complete this long after its first byte.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// A kept-alive connection may be idle this long.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// The engine's time-outs on the caller's side: for a body that stops coming, for a caller that stops reading.
const READ_TIME: Duration = Duration::from_secs(60);
/// First guess at a head's size; most fit.
const HEAD_BUFFER: usize = 4096;
/// After a failed accept (no descriptors left, mostly), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// And is told once in this time.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// A bound listener.
pub(crate) enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket.
    Unix(UnixListener),
}

impl Listener {
    async fn accept(&self) -> io::Result<(Socket, Connection)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // An answer's last segment must not wait for an acknowledgement.
                stream.set_nodelay(true)?;
                Ok((Socket::Tcp(stream), Connection::new(Some(peer))))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Socket::Unix(stream), Connection::new(None)))
            }
        }
    }
}

/// Serves `listener` until the process drains, and then every connection until its request has ended. Dropping the
/// future ends them all.
pub(crate) async fn serve(
    listener: Listener,
    direction: Direction,
    app: Arc<HttpProxy<Proxy>>,
    proxy: Arc<Gate>,
) {
    let mut connections = JoinSet::new();
    let mut draining = proxy.draining.clone();
    let mut warned: Option<Instant> = None;
    loop {
        tokio::select! {
            // Beyond its share, new connections wait in the kernel: a flood of one listener leaves the others alone.
            accepted = listener.accept(), if connections.len() < proxy.max_connections => match accepted {
                Ok((socket, connection)) => {
                    let (app, proxy) = (Arc::clone(&app), Arc::clone(&proxy));
                    connections.spawn(async move { proxy.connection(socket, connection, direction, &app).await });
                }
                Err(error) => {
                    if warned.is_none_or(|at| at.elapsed() > WARN_EVERY) {
                        warned = Some(Instant::now());
                        tracing::warn!(%error, "connections can't be accepted");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            () = begun(&mut draining) => break,
            // Finished connections are let go of as they end.
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Resolves once the process drains.
async fn begun(draining: &mut watch::Receiver<bool>) {
    // The sender gone means the same.
    let _ = draining.wait_for(|draining| *draining).await;
}

/// What the accept loop needs beside the engine.
pub(crate) struct Gate {
    /// Of each listener.
    pub(crate) max_connections: usize,
    pub(crate) snapshots: crate::snapshot::Handle,
    pub(crate) access_log: Arc<crate::telemetry::access_log::AccessLog>,
    pub(crate) draining: watch::Receiver<bool>,
}

/// What reading a head came to.
enum Read {
    Head(BytesMut),
    Bad(Box<BadHead>),
    /// The caller left, was idle for too long, or the process drains.
    Over,
}

impl Gate {
    async fn connection(
        &self,
        socket: Socket,
        connection: Connection,
        direction: Direction,
        app: &Arc<HttpProxy<Proxy>>,
    ) {
        let connection = Arc::new(connection);
        let mut stream = Box::new(Downstream::new(socket, Arc::clone(&connection)));
        let mut draining = self.draining.clone();
        loop {
            let head = match read_head(&mut stream, &mut draining, direction == Direction::Webhook).await {
                Read::Head(head) => head,
                Read::Bad(bad) => {
                    self.refuse(&mut stream, &bad, direction).await;
                    connection.unread.store(true, Ordering::Relaxed);
                    break;
                }
                Read::Over => break,
            };
            let origin = Origin { direction, connection: Arc::clone(&connection), arrived: Instant::now() };
            let mut session = ServerSession::new_http1(stream);
            session.set_pipelined_prefix(head);
            session.set_keepalive(Some(IDLE_TIME.as_secs()));
            session.set_read_timeout(Some(READ_TIME));
            session.set_write_timeout(Some(READ_TIME));
            session.set_connection_user_context(Some(Box::new(origin)));
            let reused = app.process_new_http(session, &self.draining).await;
            match reused.and_then(|reused| reused.consume().0.into_any().downcast::<Downstream>().ok()) {
                Some(returned) => stream = returned,
                None => return connection.part().await,
            }
        }
        drop(stream);
        connection.part().await;
    }

    /// Answers a request that the engine does not get to see, and records it.
    async fn refuse(&self, stream: &mut Downstream, bad: &BadHead, direction: Direction) {
        let (id, arrived, time) = (RequestId::new(), Instant::now(), SystemTime::now());
        let answer = Answer::new(&bad.refusal, &id, bad.accept.as_deref());
        let bytes = answer.to_bytes();
        let written = tokio::time::timeout(READ_TIME, async {
            stream.write_all(&bytes).await?;
            stream.flush().await
        });
        // The caller may have left: nothing is owed to it then.
        let _ = written.await;
        let snapshot = self.snapshots.load();
        let path = match direction {
            Direction::Outbound => outbound::log_path(&bad.target, false).to_vec(),
            Direction::Webhook => webhook::log_path(&snapshot.keys, &bad.target, None),
        };
        let (status, code) = (answer.status.as_u16(), Some(bad.refusal.code));
        snapshot.unmatched(direction).finished(status, code, arrived.elapsed(), None);
        self.access_log.write(&Outcome {
            time,
            direction,
            service: "",
            account: None,
            caller: None,
            user: None,
            key_id: None,
            method: &bad.method,
            path: &path,
            status,
            code,
            bytes_in: 0,
            bytes_out: answer.body.len() as u64,
            duration: arrived.elapsed(),
            response_headers: None,
            token_wait: None,
            upstream: None,
            retried: false,
            request_id: id.as_str(),
            traceparent: None,
            client: None,
            phase: None,
            reason: None,
            delivery_id: None,
        });
    }
}

/// Reads up to the end of a head, or for as long as there is to wait for one.
/// With `hold`, what came of a body stays in the stream.
async fn read_head(stream: &mut Downstream, draining: &mut watch::Receiver<bool>, hold: bool) -> Read {
    let mut buffer = BytesMut::with_capacity(HEAD_BUFFER);
    let first = tokio::select! {
        biased;
        read = tokio::time::timeout(IDLE_TIME, stream.read_head(&mut buffer)) => read,
        () = begun(draining) => return Read::Over,
    };
    if !matches!(first, Ok(Ok(1..))) {
        return Read::Over;
    }
    let deadline = tokio::time::Instant::now() + HEAD_TIME;
    let mut seen = 0;
    loop {
        // Empty lines before a request line are to be ignored (RFC 9112 section 2.2).
        while buffer.starts_with(b"\r\n") {
            buffer = buffer.split_off(2);
            seen = 0;
        }
        if let Some(end) = head::end(&buffer, seen).filter(|&end| end <= head::MAX_HEAD) {
            return match head::check(&buffer[..end]) {
                Ok(head) => {
                    stream.confine(&mut buffer, end, head.body, hold && !head.tunnel);
                    if let Some(origin_form) = head.origin_form {
                        let body = buffer.split_off(end);
                        buffer = BytesMut::from(&origin_form[..]);
                        buffer.unsplit(body);
                    }
                    Read::Head(buffer)
                }
                Err(bad) => Read::Bad(bad),
            };
        }
        if buffer.len() > head::MAX_HEAD {
            return Read::Bad(unfinished(
                ErrorCode::RequestHeadTooLarge,
                "the request's head is larger than 64 KiB",
            ));
        }
        seen = buffer.len();
        match tokio::time::timeout_at(deadline, stream.read_buf(&mut buffer)).await {
            Ok(Ok(1..)) => {}
            Ok(_) => return Read::Over,
            Err(_) => {
                return Read::Bad(unfinished(
                    ErrorCode::RequestTimeout,
                    "the request's head was not complete 30 seconds after its first byte",
                ));
            }
        }
    }
}

fn unfinished(code: ErrorCode, detail: &'static str) -> Box<BadHead> {
    Box::new(BadHead {
        refusal: Refusal::new(code, detail),
        method: "-".to_owned(),
        target: Vec::new(),
        accept: None,
    })
}
