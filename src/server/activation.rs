//! Sockets that the service manager has opened (systemd socket activation, sd_listen_fds(3)), by the names of the listeners.
//!
//! A restart then refuses no connection, and attache needs no right to bind a port below 1024. The file still says where
//! attache listens: a socket at another address is refused, since the checks of the file are about its address.

use super::StartError;
use crate::config::model::ListenAddr;
use crate::proxy::BoundListener;
use listenfd::ListenFd;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener as StdUnixListener;
use tokio::net::{TcpListener, UnixListener};

/// The names that a socket may have.
const NAMES: [&str; 3] = ["outbound", "webhooks", "admin"];

/// The sockets that were passed to this process.
pub(super) struct PassedSockets {
    sockets: ListenFd,
    /// The names by position.
    names: Vec<String>,
}

/// Why a passed socket can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ActivationError {
    #[error(
        "the service manager passes a socket with the name `{0}`; name each with `FileDescriptorName=`: \
         outbound, webhooks or admin"
    )]
    Name(String),
    #[error("the service manager passes two sockets with the name `{0}`")]
    Twice(String),
    #[error("it is neither a TCP nor a unix stream socket")]
    Kind(#[source] io::Error),
    #[error("the service manager's socket is {passed}, and the file says {file}: make them the same")]
    Address { passed: String, file: String },
}

impl PassedSockets {
    /// Takes the sockets that the environment announces for this process. To be called before threads are started: the
    /// variables are removed.
    ///
    /// # Errors
    ///
    /// If a socket is for no listener.
    pub(super) fn take() -> Result<Self, ActivationError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let sockets = ListenFd::from_env();
        let mut names: Vec<String> = names.split(':').map(str::to_owned).collect();
        // The names are this process's only if the sockets are.
        names.resize(sockets.len(), "unknown".to_owned());
        for (at, name) in names.iter().enumerate() {
            if !NAMES.contains(&name.as_str()) {
                return Err(ActivationError::Name(name.clone()));
            }
            if names[..at].contains(name) {
                return Err(ActivationError::Twice(name.clone()));
            }
        }
        Ok(Self { sockets, names })
    }

    /// Returns the listener of this name, if it was passed.
    ///
    /// # Errors
    ///
    /// If it is no socket, or not at the address in the file.
    pub(super) fn listener(
        &mut self,
        name: &'static str,
        address: &ListenAddr,
    ) -> Result<Option<BoundListener>, StartError> {
        let Some(at) = self.names.iter().position(|passed| passed == name) else { return Ok(None) };
        let refused = |cause| StartError::Passed { listener: name, cause };
        let (listener, is_same, shown) = match self.sockets.take_tcp_listener(at) {
            Ok(Some(socket)) => {
                socket.set_nonblocking(true)?;
                let passed = socket.local_addr()?;
                (
                    BoundListener::Tcp(TcpListener::from_std(socket)?),
                    is_at(passed, address),
                    passed.to_string(),
                )
            }
            Ok(None) => return Ok(None),
            Err(_) => match self.sockets.take_unix_listener(at) {
                Ok(Some(socket)) => {
                    socket.set_nonblocking(true)?;
                    let (is_same, shown) = unix_address(&socket, address)?;
                    (BoundListener::Unix(UnixListener::from_std(socket)?), is_same, shown)
                }
                Ok(None) => return Ok(None),
                Err(error) => return Err(refused(ActivationError::Kind(error))),
            },
        };
        if !is_same {
            let file = address.to_string();
            return Err(refused(ActivationError::Address { passed: shown, file }));
        }
        tracing::info!(listener = name, address = %shown, "listening on the service manager's socket");
        Ok(Some(listener))
    }
}

/// Port 0 in the file is any port.
fn is_at(passed: SocketAddr, address: &ListenAddr) -> bool {
    match address {
        ListenAddr::Tcp(address) => {
            passed.ip().to_canonical() == address.ip().to_canonical()
                && (address.port() == 0 || passed.port() == address.port())
        }
        ListenAddr::Unix(_) => false,
    }
}

fn unix_address(socket: &StdUnixListener, address: &ListenAddr) -> io::Result<(bool, String)> {
    let passed = socket.local_addr()?;
    let path = passed.as_pathname();
    let is_same = matches!((path, address), (Some(passed), ListenAddr::Unix(path)) if passed == path);
    Ok((
        is_same,
        path.map_or_else(|| "an unnamed socket".to_owned(), |path| format!("unix:{}", path.display())),
    ))
}
