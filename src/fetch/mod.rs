//! One HTTP/1.1 request to a URL of the configuration, and its answer: a bounded client for token endpoints.
//!
//! Names, addresses, TLS and connection attempts are those of [`crate::transport`], so an endpoint is reached as a
//! service is. Messages are parsed by [`crate::message`], as strictly as a service's.
//!
//! Invariants:
//! - A request is sent once, on a connection of its own. An endpoint may have closed a kept connection, and a request
//!   that spends a refresh token must not be sent twice.
//! - The request goes to the given URL only: no redirect is followed. A forward proxy is the configuration's.
//! - One deadline covers everything. Head and body of the answer are bounded, so memory is too.
//! - No error text has a URL, a header's value or a part of a body.
//!
//! No `Accept-Encoding` is sent, and no content coding is decoded.

mod answer;
mod error;
mod request;
#[cfg(test)]
mod tests;

pub(crate) use answer::HttpAnswer;
pub(crate) use error::{AnswerFault, FetchError};
pub(crate) use request::HttpRequest;

use crate::config::model::UsedProxy;
use crate::transport::stream::ServerStream;
use crate::transport::tls::{TlsClient, TlsError};
use crate::transport::{Transport, Upstream};
use answer::AnswerReader;
use http::StatusCode;
use std::future::ready;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};
use url::{Origin, Url};

/// Longest time for the lookup of the name, the connection, the proxy's tunnel, and TLS on it.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// See the module's documentation.
pub(crate) struct HttpClient {
    transport: Arc<Transport>,
    tls: Arc<TlsClient>,
    /// True if a name may lead into a private network.
    private_network: bool,
    /// The forward proxy to its servers.
    proxy: UsedProxy,
    /// The server of the last request. It keeps the entry of its name, and so the addresses that are known.
    last: Mutex<Option<(Origin, Arc<Upstream>)>>,
}

impl HttpClient {
    /// Returns a client that uses `tls` for https. `private_network` allows names that lead into a private network.
    pub(crate) fn new(transport: Arc<Transport>, tls: Arc<TlsClient>, private_network: bool) -> Self {
        Self { transport, tls, private_network, proxy: UsedProxy::default(), last: Mutex::default() }
    }

    /// Returns the same client, which reaches its servers through `proxy`.
    pub(crate) fn through(self, proxy: &UsedProxy) -> Self {
        Self { proxy: proxy.clone(), last: Mutex::default(), ..self }
    }

    /// Sends `request` and returns the final answer, whatever its status. Interim answers (1xx) are skipped. Dropping
    /// the future ends the request, but not a lookup of the name.
    ///
    /// # Errors
    ///
    /// [`FetchError`], at `deadline` at the latest.
    pub(crate) async fn send(
        &self,
        request: &HttpRequest<'_>,
        deadline: Instant,
    ) -> Result<HttpAnswer, FetchError> {
        let server = self.server(request.url)?;
        let bytes = request.encode(&server);
        let connected_by = deadline.min(Instant::now() + CONNECT_TIMEOUT);
        let connected = timeout_at(connected_by, self.transport.connect(&server, false, None)).await;
        let (mut stream, _) = connected.map_err(|_| FetchError::ConnectTimedOut)??;
        // The reader has a limit of its own, which counts heads only.
        stream.wire().head_is_complete();
        let reader = AnswerReader::new(request.method, request.max_body);
        let answer = timeout_at(deadline, exchange(&mut *stream, &bytes, reader)).await;
        let answer = answer.map_err(|_| FetchError::AnswerTimedOut)??;
        close(&mut stream).await;
        match server.refused_by_proxy() {
            Some(error) if answer.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED => Err(error.into()),
            _ => Ok(answer),
        }
    }

    fn server(&self, url: &Url) -> Result<Arc<Upstream>, FetchError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = url.origin();
        if let Some((_, server)) = last.as_ref().filter(|(known, _)| *known == origin) {
            return Ok(Arc::clone(server));
        }
        let server = self.transport.endpoint(url, &self.tls, &self.proxy, self.private_network);
        let server = Arc::new(server.ok_or(FetchError::Scheme)?);
        *last = Some((origin, Arc::clone(&server)));
        Ok(server)
    }
}

/// Writes the request and reads the answer. Writing to a [`ServerStream`] never waits, so the answer of a server that
/// does not read the whole request is not missed.
async fn exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &[u8],
    mut reader: AnswerReader,
) -> Result<HttpAnswer, FetchError> {
    // After a failed write the answer may still be readable. Otherwise the read fails too.
    let _ = stream.write_all(request).await;
    let _ = stream.flush().await;
    loop {
        let answer = match stream.read_buf(reader.room()).await {
            Ok(0) => Some(reader.closed()?),
            Ok(_) => reader.received()?,
            Err(error) => return Err(failed(error, &reader)),
        };
        if let Some(answer) = answer {
            return Ok(answer);
        }
    }
}

/// Types a failed read. In TLS 1.3 the server refuses a client certificate after the handshake.
fn failed(error: io::Error, reader: &AnswerReader) -> FetchError {
    let is_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    match error.kind() {
        _ if is_tls => FetchError::Tls(TlsError::from(error)),
        // TLS ended without a close_notify.
        ErrorKind::UnexpectedEof => reader.cut().into(),
        _ => AnswerFault::Io(error).into(),
    }
}

/// Ends TLS without waiting: some servers log a connection that ends without a close_notify.
async fn close(stream: &mut ServerStream) {
    tokio::select! {
        biased;
        _ = stream.shutdown() => {}
        () = ready(()) => {}
    }
}
