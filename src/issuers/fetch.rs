//! One request for an issuer's key set.

use crate::config::model::{JwksUrl, PresentedToken};
use crate::fetch::{FetchError, HttpClient, HttpRequest};
use crate::header_name::FieldName;
use crate::jwt::key_set::{KeySet, KeySetError, MAX_KEY_SET};
use crate::secret::Secret;
use crate::transport::Transport;
use crate::transport::names::NoAddress;
use http::{HeaderValue, Method};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

/// Longest time of one fetch.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
/// Maximum size of the file of a token, in bytes.
const MAX_TOKEN_FILE: u64 = 64 << 10;

/// Why there are no new keys. No text holds a token, a URL's query or a part of an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchFailure {
    /// The file of `token` can't be read.
    #[error("the token file {} can't be used", .0.display())]
    Token(PathBuf, #[source] io::Error),
    /// The value of `token` has characters that a header cannot have.
    #[error("the token has a character that a header cannot have")]
    UnfitToken,
    /// There is no answer.
    #[error("no answer")]
    Request(#[from] FetchError),
    /// The answer is a redirect, which is not followed.
    #[error("the answer is a redirect ({0}), which is not followed")]
    Redirect(u16),
    /// The server wants another token.
    #[error("the server refused the request ({0})")]
    Refused(u16),
    /// The answer has another status than 200.
    #[error("the answer has the status {0}")]
    Status(u16),
    /// The answer is a web page.
    #[error("the answer is HTML")]
    Html,
    /// The answer is no usable key set.
    #[error("the answer is no usable key set")]
    KeySet(#[source] KeySetError),
    /// Reading the token or fetching took too long.
    #[error("no answer within 10 s")]
    TimedOut,
}

impl FetchFailure {
    /// Returns what the operator can do.
    pub(crate) fn help(&self) -> &'static str {
        match self {
            Self::UnfitToken => "give the token itself as `jwks.token`: visible ASCII in one line",
            Self::Token(..) => "`jwks.token` names a file that attache can read",
            Self::Request(FetchError::Tls(_)) => "set `jwks.ca` to the certificate authority of the server",
            Self::Request(FetchError::Name(NoAddress::NotFound)) => "correct the host of `jwks.url`",
            Self::Request(FetchError::TooLarge) => "a key set has at most 512 KiB: correct `jwks.url`",
            Self::Request(FetchError::Proxy(_)) => {
                "correct `proxy`, or add the host of `jwks.url` to its `no_proxy`"
            }
            Self::Request(_) | Self::TimedOut => "check that attache reaches the host of `jwks.url`",
            Self::Redirect(_) => "set `jwks.url` to the URL to which the redirect leads",
            Self::Refused(_) => "give a token that the server accepts as `jwks.token`",
            Self::Status(_) | Self::Html => {
                "correct `jwks.url`: it is the `jwks_uri` of the issuer's `/.well-known/openid-configuration`"
            }
            Self::KeySet(_) => "correct `jwks.url`, or the keys that the issuer publishes",
        }
    }
}

/// Fetches key sets from one URL.
pub(crate) struct JwksClient {
    http: HttpClient,
    source: JwksUrl,
}

impl JwksClient {
    /// Returns a client for `source`. Its name may lead into a private network. Blocks if it is the first of the process
    /// to read the system's roots.
    pub(crate) fn new(transport: &Arc<Transport>, source: &JwksUrl) -> Self {
        let tls = transport.tls().for_ca(source.ca.as_ref());
        let http = HttpClient::new(Arc::clone(transport), tls, true).through(&source.proxy);
        Self { http, source: source.clone() }
    }

    /// Fetches the keys, within [`DEADLINE`].
    ///
    /// # Errors
    ///
    /// If there are none.
    pub(crate) async fn fetch(&self) -> Result<KeySet, FetchFailure> {
        let deadline = Instant::now() + DEADLINE;
        let token = match &self.source.token {
            None => None,
            Some(PresentedToken::Fixed(token)) => Some(token.clone()),
            Some(PresentedToken::File(path)) => {
                let read = timeout_at(deadline, read_token(path)).await;
                let read = read.map_err(|_| FetchFailure::TimedOut)?;
                Some(read.map_err(|error| FetchFailure::Token(path.clone(), error))?)
            }
        };
        let accept = HeaderValue::from_static("application/jwk-set+json, application/json");
        let mut headers = vec![(FieldName::from_static("Accept"), accept)];
        if let Some(token) = token {
            headers.push((FieldName::from_static("Authorization"), bearer(&token)?));
        }
        let request = HttpRequest {
            method: &Method::GET,
            url: &self.source.url,
            headers: &headers,
            body: None,
            max_body: MAX_KEY_SET,
        };
        let answer = self.http.send(&request, deadline).await?;
        match answer.status.as_u16() {
            200 => {}
            status @ (301 | 302 | 303 | 307 | 308) => return Err(FetchFailure::Redirect(status)),
            status @ (401 | 403) => return Err(FetchFailure::Refused(status)),
            status => return Err(FetchFailure::Status(status)),
        }
        KeySet::parse(&answer.body).map_err(|error| match answer.body.trim_ascii_start().first() {
            Some(b'<') => FetchFailure::Html,
            _ => FetchFailure::KeySet(error),
        })
    }
}

/// Returns the value of `Authorization`.
fn bearer(token: &Secret) -> Result<HeaderValue, FetchFailure> {
    let text = Zeroizing::new(format!("Bearer {}", token.expose()));
    let mut value = HeaderValue::from_str(&text).map_err(|_| FetchFailure::UnfitToken)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Reads the token in a file, less the line break at its end.
async fn read_token(path: &Path) -> io::Result<Secret> {
    let unfit = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
    let mut bytes = Zeroizing::new(Vec::with_capacity(8 << 10));
    let file = tokio::fs::File::open(path).await?;
    file.take(MAX_TOKEN_FILE + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > MAX_TOKEN_FILE {
        return Err(unfit("larger than 64 KiB"));
    }
    let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    match std::str::from_utf8(text) {
        Ok("") => Err(unfit("empty")),
        Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Secret::new(text)),
        _ => Err(unfit("not a token: visible ASCII in one line")),
    }
}
