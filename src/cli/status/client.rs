//! A GET of a document of the admin listener.

use crate::config::model::{CaBundle, ListenAddr, destination};
use crate::error_chain::Chain;
use crate::transport::tls::{TlsClient, TlsClients, TlsError, server_name};
use http::HeaderValue;
use http::header::AUTHORIZATION;
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

/// Maximum size of a document.
const MAX_BODY: usize = 256 << 20;

/// The address of the admin listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum AdminAddress {
    Tcp(String),
    /// With TLS.
    Tls(String),
    Unix(PathBuf),
}

/// The proof for the admin listener, and the trust in it.
#[derive(Debug, Clone, Default, clap::Args)]
pub(in crate::cli) struct AdminProof {
    /// A file with one of listen.admin.tokens [default: the variable ATTACHE_ADMIN_TOKEN, if it is set]
    #[arg(long, value_name = "PATH")]
    token_file: Option<PathBuf>,
    /// The PEM file of the authority of the admin listener's certificate [default: the system's authorities]
    #[arg(long, value_name = "PATH")]
    ca: Option<PathBuf>,
    /// The name in the admin listener's certificate [default: the host of its address]
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
}

/// The admin listener as a client reaches it.
pub(in crate::cli) struct AdminClient {
    pub(in crate::cli) admin: AdminAddress,
    /// `Authorization`, if there is a token.
    authorization: Option<HeaderValue>,
    tls: Option<(Arc<TlsClient>, ServerName<'static>)>,
}

impl AdminProof {
    /// Prepares requests to `admin`. Reads the files.
    ///
    /// # Errors
    ///
    /// A sentence, if a file can't be used.
    pub(in crate::cli) fn client(&self, admin: AdminAddress) -> Result<AdminClient, String> {
        let tls = match &admin {
            AdminAddress::Tls(address) => Some(self.tls(address)?),
            AdminAddress::Tcp(_) | AdminAddress::Unix(_) => None,
        };
        Ok(AdminClient { admin, authorization: self.authorization()?, tls })
    }

    fn authorization(&self) -> Result<Option<HeaderValue>, String> {
        let token = match &self.token_file {
            Some(path) => {
                let text = std::fs::read_to_string(path);
                Some(Zeroizing::new(text.map_err(|error| format!("can't read {}: {error}", path.display()))?))
            }
            None => std::env::var("ATTACHE_ADMIN_TOKEN")
                .ok()
                .filter(|token| !token.is_empty())
                .map(Zeroizing::new),
        };
        let Some(token) = token else { return Ok(None) };
        let value = HeaderValue::try_from(format!("Bearer {}", token.trim()));
        let mut value = value.map_err(|_| "the token is not one line of visible characters".to_owned())?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn tls(&self, address: &str) -> Result<(Arc<TlsClient>, ServerName<'static>), String> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name =
            server_name(self.server_name.as_deref().unwrap_or(host)).map_err(|error| error.to_string())?;
        let ca = match &self.ca {
            None => None,
            Some(path) => {
                let found =
                    CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
                let found = found.map_err(|error| format!("can't read {}: {error}", path.display()))?;
                let certificates = found.iter().map(|der| der.to_vec()).collect();
                Some(CaBundle { path: path.clone(), certificates })
            }
        };
        Ok((TlsClients::default().for_ca(ca.as_ref()), name))
    }
}

impl AdminAddress {
    /// Parses `HOST:PORT`, `https://HOST:PORT` or `unix:/path`.
    pub(in crate::cli) fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        let (address, kind): (&str, fn(String) -> Self) = match text.strip_prefix("https://") {
            Some(address) => (address, Self::Tls),
            None => (text.strip_prefix("http://").unwrap_or(text), Self::Tcp),
        };
        let address = address.trim_end_matches('/');
        match address.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(kind(address.to_owned()))
            }
            _ => Err("neither HOST:PORT, https://HOST:PORT nor unix:/path".to_owned()),
        }
    }
}

/// The address, and true with TLS.
impl From<&(ListenAddr, bool)> for AdminAddress {
    fn from((address, is_tls): &(ListenAddr, bool)) -> Self {
        match address {
            ListenAddr::Tcp(address) => {
                let address = SocketAddr::new(destination(address.ip()), address.port()).to_string();
                if *is_tls { Self::Tls(address) } else { Self::Tcp(address) }
            }
            ListenAddr::Unix(path) => Self::Unix(path.clone()),
        }
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Tls(address) => write!(f, "https://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoDocument {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{}", Chain(.0))]
    Tls(#[from] TlsError),
    #[error("the answer is not HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("/status is answered with {0}: {1}")]
    Status(u16, String),
    #[error("the answer is not from attache")]
    NotStatus,
    #[error("no answer in time")]
    Late,
}

impl AdminClient {
    /// Sends a GET; returns the status and body of the answer.
    pub(super) async fn get(&self, path: &str) -> Result<(u16, Vec<u8>), NoDocument> {
        let authorization = self.authorization.as_ref();
        match (&self.admin, &self.tls) {
            (AdminAddress::Unix(socket), _) => {
                get_over(UnixStream::connect(socket).await?, path, authorization).await
            }
            (AdminAddress::Tcp(address) | AdminAddress::Tls(address), None) => {
                get_over(TcpStream::connect(address).await?, path, authorization).await
            }
            (AdminAddress::Tcp(address) | AdminAddress::Tls(address), Some((client, name))) => {
                let stream = TcpStream::connect(address).await?;
                let stream = client.handshake(name.clone(), stream).await?;
                get_over(stream, path, authorization).await
            }
        }
    }
}

async fn get_over<S>(
    stream: S,
    path: &str,
    authorization: Option<&HeaderValue>,
) -> Result<(u16, Vec<u8>), NoDocument>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with this function.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    // The page is refused to other names than localhost, and the address may have a name.
    let mut request = hyper::Request::get(path).header("Host", "localhost");
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    let request = request.body(String::new());
    let request = request.map_err(|_| NoDocument::NotStatus)?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    Ok((status, read(response.into_body()).await?))
}

async fn read(mut body: Incoming) -> Result<Vec<u8>, NoDocument> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() > MAX_BODY {
            return Err(NoDocument::NotStatus);
        }
    }
    Ok(bytes)
}
