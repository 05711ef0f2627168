//! The peers of the demo's attache: a third party, a token endpoint, and a receiver.
//!
//! Each on a port of its own, as in life. They show credentials by their first characters only.

use super::{guide::Guide, random_hex};
use crate::secret::Secret;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// The three, bound and not yet answering.
pub(super) struct Stubs {
    third_party: TcpListener,
    token_endpoint: TcpListener,
    internal_app: TcpListener,
    client_secret: Secret,
}

/// Their addresses.
pub(super) struct Addresses {
    pub(super) third_party: SocketAddr,
    pub(super) token_endpoint: SocketAddr,
    pub(super) internal_app: SocketAddr,
}

impl Stubs {
    pub(super) fn bind(client_secret: Secret) -> io::Result<Self> {
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        Ok(Self { third_party: bind()?, token_endpoint: bind()?, internal_app: bind()?, client_secret })
    }

    pub(super) fn addresses(&self) -> io::Result<Addresses> {
        Ok(Addresses {
            third_party: self.third_party.local_addr()?,
            token_endpoint: self.token_endpoint.local_addr()?,
            internal_app: self.internal_app.local_addr()?,
        })
    }

    /// Answers until `stopped` resolves, and prints the guide as soon as attache takes connections.
    pub(super) fn serve(self, guide: Guide, stopped: oneshot::Receiver<()>) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut tasks = JoinSet::new();
            let token_endpoint = Router::new()
                .route("/oauth/token", post(issue_token))
                .with_state(Arc::new(self.client_secret));
            for (listener, router) in [
                (self.third_party, Router::new().fallback(any(third_party))),
                (self.token_endpoint, token_endpoint),
                (self.internal_app, Router::new().fallback(any(internal_app))),
            ] {
                listener.set_nonblocking(true)?;
                let listener = tokio::net::TcpListener::from_std(listener)?;
                tasks.spawn(async move { axum::serve(listener, router).await });
            }
            tasks.spawn(async move {
                introduce(&guide).await;
                std::future::pending().await
            });
            tokio::select! {
                // Its sender is dropped when the server has ended.
                _ = stopped => Ok(()),
                Some(ended) = tasks.join_next() => ended.map_err(io::Error::other)?,
            }
        })
    }
}

async fn introduce(guide: &Guide) {
    for address in [guide.listen.outbound, guide.listen.webhooks, guide.listen.admin] {
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    // A closed stdout is no reason to stop serving.
    let _ = write!(io::stdout().lock(), "{guide}");
}

/// Says what it received; `…/slow` never answers.
async fn third_party(method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    if uri.path().ends_with("/slow") {
        return std::future::pending().await;
    }
    let received: serde_json::Map<String, serde_json::Value> = headers
        .iter()
        .map(|(name, value)| {
            (name.as_str().to_owned(), shown(name.as_str(), &String::from_utf8_lossy(value.as_bytes())))
        })
        .map(|(name, value)| (name, value.into()))
        .collect();
    json(&serde_json::json!({
        "the third party received": {
            "method": method.as_str(),
            "path": uri.path_and_query().map_or("/", |p| p.as_str()),
            "headers": received,
            "body": String::from_utf8_lossy(&body),
        }
    }))
}

/// A credential by its first eight characters; any other header as it is.
fn shown(name: &str, value: &str) -> String {
    if name != header::AUTHORIZATION.as_str() && name != "x-api-key" {
        return value.to_owned();
    }
    let (scheme, credential) = value.rsplit_once(' ').map_or(("", value), |(scheme, rest)| (scheme, rest));
    let start: String = credential.chars().take(8).collect();
    format!("{scheme}{}{start}…", if scheme.is_empty() { "" } else { " " })
}

async fn issue_token(State(secret): State<Arc<Secret>>, headers: HeaderMap, form: Bytes) -> Response {
    let expected = format!("Basic {}", STANDARD.encode(format!("attache-demo:{}", secret.expose())));
    let authorized =
        headers.get(header::AUTHORIZATION).is_some_and(|value| value.as_bytes() == expected.as_bytes());
    let client_credentials = url::form_urlencoded::parse(&form)
        .any(|(name, value)| name == "grant_type" && value == "client_credentials");
    if !authorized || !client_credentials {
        let error = if authorized { "unsupported_grant_type" } else { "invalid_client" };
        let status = if authorized { StatusCode::BAD_REQUEST } else { StatusCode::UNAUTHORIZED };
        return (status, json(&serde_json::json!({ "error": error }))).into_response();
    }
    let Ok(token) = random_hex(16) else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    eprintln!("[token endpoint] issued a token, good for 5 minutes");
    json(&serde_json::json!({
        "access_token": format!("demo-{token}"), "token_type": "Bearer", "expires_in": 300,
    }))
}

/// A receiver: it reads the user from the headers that attache set, and checks nothing itself.
async fn internal_app(uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let said = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("(none)");
    let (user, service, key) = (said("x-attache-user"), said("x-attache-service"), said("x-attache-key-id"));
    eprintln!("[your receiver] {} from user `{user}`", uri.path());
    format!(
        "your receiver: {} came as user `{user}`, from service `{service}`, with the key `{key}`, and {} bytes\n",
        uri.path(),
        body.len(),
    )
    .into_response()
}

fn json(value: &serde_json::Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], format!("{value:#}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn credentials_are_cut_and_other_headers_are_not() {
        assert_eq!(shown("authorization", "Bearer demo-0123456789"), "Bearer demo-012…");
        assert_eq!(shown("x-api-key", "demo-key-0123456789"), "demo-key…");
        assert_eq!(shown("user-agent", "curl/8.0.0-long"), "curl/8.0.0-long");
    }
}
