//! The admin listener: metrics, health, status and the status page.
//!
//! Invariant: no client of this listener can slow a request down. A document that takes time is written on a blocking
//! thread, two documents at a time and one update of the page's streams; a client that sends its head slowly, reads its
//! answer slowly or never leaves is cut off; and the numbers of connections and of documents in memory are bounded. The
//! documents come from a [`View`].
//!
//! Rejected: `axum::serve`, which has no time limit of any kind.

mod connections;
mod guard;
mod live;
mod page;
pub mod report;
pub mod status;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::socket::Acceptor;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
pub use guard::Access;
use live::Live;
use page::Query;
use report::Report;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Maximum number of documents that are written at the same time.
const WRITERS: usize = 2;

/// Maximum number of documents in memory. One stays until its client has read it or is cut off; with 10,000
/// services `/metrics` has 35 MB.
const DOCUMENTS: usize = 4;

/// Maximum wait of a request until its document may be written.
const TURN: Duration = Duration::from_secs(10);

/// The source of what is shown. Its methods are called for every request; `report`, `end_step` and `metrics` on a blocking thread.
pub trait View: Send + Sync + 'static {
    /// Returns true if the process works at all; else a supervisor restarts it.
    fn live(&self) -> bool;

    /// Returns true if it takes requests: a configuration is in effect, and it is not draining.
    fn ready(&self) -> bool;

    /// Returns the report that `/status` and the status page show.
    fn report(&self) -> Report;

    /// Returns what clients have to prove.
    fn access(&self) -> Access;

    /// The JSON Web Key Set at `/.well-known/jwks.json`: what assertions are checked with.
    fn key_set(&self) -> serde_json::Value;

    /// Ends a step of the activity that a later `report` shows. Called every
    /// [`STEP`](crate::telemetry::metrics::STEP).
    fn end_step(&self);

    /// The text at `/metrics`, in the Prometheus text format 0.0.4.
    fn metrics(&self) -> String;
}

/// Serves the view on a TCP or unix listener, with TLS if `acceptor` says so, until `shutdown`, then for a second what is being answered. Every
/// connection ends with it.
pub(crate) async fn serve<L: axum::serve::Listener<Io: connections::Arrived>>(
    listener: L,
    acceptor: Arc<Acceptor>,
    view: Arc<dyn View>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let live = Arc::new(Live::default());
    let served =
        connections::serve(listener, acceptor, router(Arc::clone(&view), Arc::clone(&live)), shutdown);
    tokio::select! {
        () = served => {}
        () = live.run(view) => {}
    }
}

#[derive(Clone)]
struct Admin {
    view: Arc<dyn View>,
    writers: Arc<Semaphore>,
    documents: Arc<Semaphore>,
    live: Arc<Live>,
}

/// The answer to an unknown path: those that there are.
const NOT_FOUND: &str =
    "not found; there are /, /status, /metrics, /livez, /readyz, /events and /.well-known/jwks.json\n";

fn router(view: Arc<dyn View>, live: Arc<Live>) -> Router {
    let guarded = Router::new()
        .route("/", get(status_page))
        .route("/events", get(events))
        .route("/status", get(status))
        .layer(from_fn_with_state(Arc::clone(&view), guard::admit));
    let proved = Router::new()
        .route("/page.css", get(async || ([(CONTENT_TYPE, page::CSS_TYPE)], page::CSS)))
        .route("/page.js", get(async || ([(CONTENT_TYPE, page::SCRIPT_TYPE)], page::SCRIPT)))
        .route("/icon.svg", get(async || ([(CONTENT_TYPE, page::ICON_TYPE)], page::ICON)))
        .fallback(async || (StatusCode::NOT_FOUND, NOT_FOUND))
        .layer(from_fn_with_state(Arc::clone(&view), guard::admit_proved));
    Router::new()
        .merge(guarded)
        .merge(proved)
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/.well-known/jwks.json", get(key_set))
        .method_not_allowed_fallback(async || (StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n"))
        .layer(map_response(with_common_fields))
        .with_state(Admin {
            view,
            writers: Arc::new(Semaphore::new(WRITERS)),
            documents: Arc::new(Semaphore::new(DOCUMENTS)),
            live,
        })
}

async fn livez(State(admin): State<Admin>) -> Response {
    health(admin.view.live(), "not live")
}

async fn readyz(State(admin): State<Admin>) -> Response {
    health(admin.view.ready(), "not ready")
}

fn health(good: bool, otherwise: &'static str) -> Response {
    if good { "ok".into_response() } else { (StatusCode::SERVICE_UNAVAILABLE, otherwise).into_response() }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    admin.document(TEXT, |view| view.metrics().into_bytes()).await
}

async fn status(State(admin): State<Admin>) -> Response {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    admin.document(JSON, |view| status_document(&view.report())).await
}

fn status_document(report: &Report) -> Vec<u8> {
    // Fails only for a map whose keys are no strings.
    let mut document = serde_json::to_vec_pretty(report).unwrap_or_default();
    document.push(b'\n');
    document
}

async fn status_page(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let write = move |view: &dyn View| page::document(&view.report(), &query).into_bytes();
    let mut response = admin.document(HTML, write).await;
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY));
    response
}

/// Says what has changed on the status page, as server-sent events.
async fn events(State(admin): State<Admin>, method: Method, RawQuery(query): RawQuery) -> Response {
    const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
    if method == Method::HEAD {
        return [(CONTENT_TYPE, EVENTS)].into_response();
    }
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let opened = if admin.view.ready() { admin.live.open(query, Instant::now()) } else { None };
    match opened {
        Some(events) => ([(CONTENT_TYPE, EVENTS)], Body::new(events)).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "10")], "too many streams, or draining\n")
            .into_response(),
    }
}

async fn key_set(State(admin): State<Admin>) -> Response {
    const JWK_SET: HeaderValue = HeaderValue::from_static("application/jwk-set+json");
    admin.document(JWK_SET, |view| format!("{:#}\n", view.key_set()).into_bytes()).await
}

impl Admin {
    async fn document(
        &self,
        content_type: HeaderValue,
        write: impl FnOnce(&dyn View) -> Vec<u8> + Send + 'static,
    ) -> Response {
        let permits = async {
            let document = Arc::clone(&self.documents).acquire_owned().await.ok()?;
            Some((document, Arc::clone(&self.writers).acquire_owned().await.ok()?))
        };
        let Ok(Some((document, writer))) = tokio::time::timeout(TURN, permits).await else {
            return (StatusCode::SERVICE_UNAVAILABLE, "busy\n").into_response();
        };
        let view = Arc::clone(&self.view);
        // The permits go with the work: a client that leaves doesn't stop it, so it must still count.
        let written = tokio::task::spawn_blocking(move || {
            let _writer = writer;
            Document { text: write(&*view), _permit: document }
        });
        match written.await {
            // hyper drops the body when it has taken its bytes, but the bytes only when they are sent.
            Ok(document) => {
                ([(CONTENT_TYPE, content_type)], Body::from(Bytes::from_owner(document))).into_response()
            }
            Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal error\n").into_response(),
        }
    }
}

/// A document, until it is sent or its client is gone.
struct Document {
    text: Vec<u8>,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Document {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

async fn with_common_fields(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let unframed = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    response.headers_mut().entry(CONTENT_SECURITY_POLICY).or_insert(unframed);
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
        (X_FRAME_OPTIONS, "DENY"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
