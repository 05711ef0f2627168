//! A GET of a document of the admin listener.

use crate::config::model::{ListenAddr, destination};
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::TokioIo;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

/// Maximum size of a document.
const MAX_BODY: usize = 256 << 20;

/// The address of the admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Admin {
    Tcp(String),
    Unix(PathBuf),
}

impl Admin {
    /// Parses `HOST:PORT` or `unix:/path`.
    pub(in crate::cli) fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        let address = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        match address.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Self::Tcp(address.to_owned()))
            }
            _ => Err("neither HOST:PORT nor unix:/path".to_owned()),
        }
    }
}

impl From<&ListenAddr> for Admin {
    fn from(address: &ListenAddr) -> Self {
        match address {
            ListenAddr::Tcp(address) => {
                Self::Tcp(SocketAddr::new(destination(address.ip()), address.port()).to_string())
            }
            ListenAddr::Unix(path) => Self::Unix(path.clone()),
        }
    }
}

impl fmt::Display for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreachable {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the answer is not HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("/status is answered with {0}: {1}")]
    Status(u16, String),
    #[error("the answer is not from attache")]
    NotStatus,
    #[error("no answer in time")]
    Late,
}

impl Admin {
    /// Sends a GET; returns the status and body of the answer.
    pub(super) async fn get(&self, path: &str) -> Result<(u16, Vec<u8>), Unreachable> {
        match self {
            Self::Tcp(address) => get_over(TcpStream::connect(address).await?, path).await,
            Self::Unix(socket) => get_over(UnixStream::connect(socket).await?, path).await,
        }
    }
}

async fn get_over<S>(stream: S, path: &str) -> Result<(u16, Vec<u8>), Unreachable>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with this function.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    // The page is refused to other names than localhost, and the address may have a name.
    let request = hyper::Request::get(path).header("Host", "localhost").body(String::new());
    let request = request.map_err(|_| Unreachable::NotStatus)?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    Ok((status, read(response.into_body()).await?))
}

async fn read(mut body: Incoming) -> Result<Vec<u8>, Unreachable> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() > MAX_BODY {
            return Err(Unreachable::NotStatus);
        }
    }
    Ok(bytes)
}
