//! A token endpoint on loopback for tests: answers every connection with the same bytes, keeps what it was sent.

use super::error::Failure;
use super::exchange::{Answer, Exchange, TokenClient};
use crate::config::model::{BearerTokenType, ClientAuth, Grant, OAuth2};
use crate::secret::Secret;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// An account of client id `attache`, secret `client-s3cret`, no scopes, at this endpoint.
pub(super) fn config(token_url: &str) -> OAuth2 {
    OAuth2 {
        grant: Grant::ClientCredentials,
        token_url: token_url.parse().unwrap(),
        client_id: "attache".into(),
        client_secret: Secret::new("client-s3cret"),
        client_auth: ClientAuth::Basic,
        scopes: Vec::new(),
        bearer_token_type: BearerTokenType::AccessToken,
        token_params: Vec::new(),
    }
}

/// The client that is tested.
pub(super) fn client() -> TokenClient {
    // Another test of this process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    TokenClient::new().unwrap()
}

/// A token endpoint. It ends when it is dropped.
pub(super) struct Stub {
    url: String,
    received: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

impl Stub {
    /// Answers with these bytes, then closes.
    pub(super) async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/oauth/token", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let (answer, kept) = (answer.into(), Arc::clone(&received));
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !is_whole(&request) && socket.read_buf(&mut request).await.is_ok_and(|n| n > 0) {}
                kept.lock().unwrap().push(String::from_utf8(request).unwrap());
                // The client may have seen enough before the end.
                let _ = socket.write_all(&answer).await;
            }
        });
        Self { url, received, _task: task }
    }

    /// Answers with a status line's rest, headers and a body.
    pub(super) async fn with(status: &str, headers: &str, body: &str) -> Self {
        Self::answering(format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
            body.len()
        ))
        .await
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// An account at this endpoint.
    pub(super) fn config(&self) -> OAuth2 {
        config(&self.url)
    }

    pub(super) async fn exchange(&self, config: &OAuth2) -> Result<Answer, Failure> {
        client().exchange(config).await
    }

    /// Head and body of the only request.
    pub(super) fn request(&self) -> (String, String) {
        let received = self.received.lock().unwrap();
        assert_eq!(received.len(), 1);
        let (head, body) = received[0].split_once("\r\n\r\n").unwrap();
        (head.to_ascii_lowercase(), body.to_owned())
    }

    pub(super) fn requests(&self) -> usize {
        self.received.lock().unwrap().len()
    }

    /// A header of the only request, as it was sent.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.received.lock().unwrap()[0].lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.to_ascii_lowercase().lines().find_map(|l| l.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0_usize)
}
