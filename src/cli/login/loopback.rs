//! The listener for the browser's redirect (RFC 8252 section 7.3): plain HTTP on loopback, for one answer.
//!
//! Any program on the machine can reach it, and browsers open unused connections and request icons. So it serves
//! several connections at a time, each for a few seconds; answers only GET on the one path; keeps waiting unless the
//! state is right; and echoes nothing that it received.

use crate::credentials::oauth2::{AuthorizationRequest, Redirected};
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use url::{Host, Url};

/// Maximum number of concurrent connections; more are closed.
const MAX_CONNECTIONS: usize = 64;
/// Time limit of a connection.
const LIFE: Duration = Duration::from_secs(10);
/// Maximum size of a request head; codes may have more than a kilobyte.
const MAX_HEAD: usize = 32 * 1024;

/// A bound listener.
pub(super) struct Loopback {
    listeners: Vec<TcpListener>,
    uri: Url,
}

impl Loopback {
    /// Binds `redirect_url`'s host and port; without a port, or without a URL, a free one. `localhost` binds both
    /// address families, since a browser may try either.
    ///
    /// # Errors
    ///
    /// The address, and why it can't be bound.
    pub(super) async fn bind(redirect_url: Option<&Url>) -> Result<Self, (String, io::Error)> {
        let mut uri = match redirect_url {
            Some(url) => url.clone(),
            None => Url::parse("http://127.0.0.1/callback")
                .map_err(|e| ("127.0.0.1".to_owned(), io::Error::other(e)))?,
        };
        let (first, second): (IpAddr, Option<IpAddr>) = match uri.host() {
            Some(Host::Ipv4(ip)) => (ip.into(), None),
            Some(Host::Ipv6(ip)) => (ip.into(), None),
            _ => (Ipv4Addr::LOCALHOST.into(), Some(Ipv6Addr::LOCALHOST.into())),
        };
        let wanted = uri.port().unwrap_or(0);
        let failed = |cause| (format!("{}:{wanted}", uri.host_str().unwrap_or_default()), cause);
        let listener = TcpListener::bind((first, wanted)).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let mut listeners = vec![listener];
        if let Some(second) = second {
            // A machine may have no IPv6.
            listeners.extend(TcpListener::bind((second, port)).await);
        }
        let _ = uri.set_port(Some(port));
        Ok(Self { listeners, uri })
    }

    /// Returns the redirect URI for the provider: the same host and path, with the port.
    pub(super) fn uri(&self) -> &Url {
        &self.uri
    }

    /// Serves until the answer to `authorization` was received and its page was sent.
    pub(super) async fn redirected(self, authorization: &Arc<AuthorizationRequest>) -> Redirected {
        let path: Arc<str> = self.uri.path().into();
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.accept() => match accepted {
                    Ok(stream) if connections.len() < MAX_CONNECTIONS => {
                        connections.spawn(serve(stream, Arc::clone(authorization), Arc::clone(&path)));
                    }
                    Ok(stream) => drop(stream),
                    // For example, no descriptors are left.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                },
                Some(ended) = connections.join_next() => {
                    if let Ok(Some(answer)) = ended {
                        return answer;
                    }
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = match &*self.listeners {
            [first, second] => tokio::select! {
                accepted = first.accept() => accepted?,
                accepted = second.accept() => accepted?,
            },
            [only] => only.accept().await?,
            _ => std::future::pending().await,
        };
        Ok(stream)
    }
}

/// Serves one request; returns the answer that it contained, if any.
async fn serve(
    stream: TcpStream,
    authorization: Arc<AuthorizationRequest>,
    path: Arc<str>,
) -> Option<Redirected> {
    let brought = Mutex::new(None);
    let service = service_fn(|request: Request<Incoming>| {
        let (page, answer) = judge(&request, &authorization, &path);
        if answer.is_some() {
            *brought.lock().unwrap_or_else(PoisonError::into_inner) = answer;
        }
        std::future::ready(Ok::<_, Infallible>(page.response()))
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(LIFE)
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    // A browser that left before it read the page has still delivered the answer.
    let _ = timeout(LIFE, serving).await;
    brought.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn judge(
    request: &Request<Incoming>,
    authorization: &AuthorizationRequest,
    path: &str,
) -> (LoginPage, Option<Redirected>) {
    if request.method() != Method::GET || request.uri().path() != path {
        return (LoginPage::NotHere, None);
    }
    match authorization.read(request.uri().query().unwrap_or_default()) {
        Redirected::Foreign => (LoginPage::Foreign, None),
        code @ Redirected::Code(_) => (LoginPage::Taken, Some(code)),
        refused @ (Redirected::Refused { .. } | Redirected::WrongIssuer { .. }) => {
            (LoginPage::Refused, Some(refused))
        }
    }
}

/// The pages for the browser: fixed texts.
#[derive(Clone, Copy)]
enum LoginPage {
    Taken,
    Refused,
    Foreign,
    NotHere,
}

impl LoginPage {
    fn response(self) -> Response<String> {
        let (status, title, text) = match self {
            Self::Taken => (
                StatusCode::OK,
                "Back to the terminal",
                "attache received the answer. The terminal shows the result; this window can be closed.",
            ),
            Self::Refused => (
                StatusCode::OK,
                "Not signed in",
                "The sign-in was refused. The terminal shows the reason; this window can be closed.",
            ),
            Self::Foreign => (
                StatusCode::BAD_REQUEST,
                "Not this login",
                "This is not the answer to the login that attache is waiting for. Open the URL that is shown in the \
                 terminal.",
            ),
            Self::NotHere => (StatusCode::NOT_FOUND, "Not found", "There is nothing here."),
        };
        let body = format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{title} - attache</title>\
             <h1>{title}</h1><p>{text}</p></html>\n"
        );
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers: [(HeaderName, &'static str); 5] = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
            (header::CACHE_CONTROL, "no-store"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ];
        for (name, value) in headers {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
