//! The admin listener: metrics, health and status for operators and their machines.
//!
//! Invariant: nobody who reads here can slow a request down. What takes time to write is written on a blocking
//! thread, two at a time; a client that sends its head slowly, reads its answer slowly or never leaves is cut off;
//! and the number of connections is bounded. What is shown comes from a [`View`], so this module knows HTTP and
//! nothing else.
//!
//! Rejected: `axum::serve`, which has no time limit of any kind.

mod connections;
pub mod report;
pub mod status;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use report::Report;
use tokio::sync::Semaphore;

/// How many documents are written at the same time.
const WRITERS: usize = 2;

/// How long a document waits for its turn to be written.
const TURN: Duration = Duration::from_secs(10);

/// What is shown. Its methods are called for every request; `report`, `end_step` and `metrics` on a blocking thread.
pub trait View: Send + Sync + 'static {
    /// Whether the process works at all; a supervisor restarts it when not.
    fn live(&self) -> bool;

    /// Whether it takes requests: a configuration is in effect, and it is not draining.
    fn ready(&self) -> bool;

    /// What `/status` and the status page show.
    fn report(&self) -> Report;

    /// The JSON Web Key Set at `/.well-known/jwks.json`: what assertions are checked with.
    fn key_set(&self) -> serde_json::Value;

    /// Ends a step of the activity that a later `report` shows. Called every
    /// [`STEP`](crate::telemetry::metrics::STEP).
    fn end_step(&self);

    /// The text at `/metrics`, in the Prometheus text format 0.0.4.
    fn metrics(&self) -> String;
}

/// Serves the view on a TCP or unix listener until `shutdown`, then for a second what is being answered. Every
/// connection ends with it.
pub async fn serve<L: axum::serve::Listener>(
    listener: L,
    view: Arc<dyn View>,
    shutdown: impl Future<Output = ()> + Send,
) {
    connections::serve(listener, router(view), shutdown).await;
}

#[derive(Clone)]
struct Admin {
    view: Arc<dyn View>,
    turns: Arc<Semaphore>,
}

fn router(view: Arc<dyn View>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .route("/.well-known/jwks.json", get(key_set))
        .fallback(async || (StatusCode::NOT_FOUND, "not found\n"))
        .method_not_allowed_fallback(async || (StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n"))
        .layer(map_response(never_stored))
        .with_state(Admin { view, turns: Arc::new(Semaphore::new(WRITERS)) })
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

async fn key_set(State(admin): State<Admin>) -> Response {
    const JWK_SET: HeaderValue = HeaderValue::from_static("application/jwk-set+json");
    admin.document(JWK_SET, |view| format!("{:#}\n", view.key_set()).into_bytes()).await
}

impl Admin {
    async fn document(&self, content_type: HeaderValue, write: fn(&dyn View) -> Vec<u8>) -> Response {
        let Ok(Ok(turn)) = tokio::time::timeout(TURN, Arc::clone(&self.turns).acquire_owned()).await else {
            return (StatusCode::SERVICE_UNAVAILABLE, "busy\n").into_response();
        };
        let view = Arc::clone(&self.view);
        // The turn goes with the work: a client that leaves doesn't stop it, so it must still count.
        let written = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            write(&*view)
        });
        match written.await {
            Ok(body) => ([(CONTENT_TYPE, content_type)], body).into_response(),
            Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal error\n").into_response(),
        }
    }
}

async fn never_stored(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
