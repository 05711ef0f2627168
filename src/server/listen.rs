//! Binds the listeners, before anything is served.

use super::StartError;
use crate::config::model::ListenAddr;
use crate::proxy::BoundListener;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream};
use std::path::Path;
use tokio::net::{TcpListener, UnixListener};

/// Binds `address` for the listener `listener`.
pub(super) fn bind(listener: &'static str, address: &ListenAddr) -> Result<BoundListener, StartError> {
    let failed = |address: String| move |cause| StartError::Bind { listener, address, cause };
    let (bound, address) = match address {
        ListenAddr::Tcp(address) => {
            let socket = listen_tcp(*address).map_err(failed(address.to_string()))?;
            let address = socket.local_addr()?.to_string();
            (BoundListener::Tcp(TcpListener::from_std(socket)?), address)
        }
        ListenAddr::Unix(path) => {
            let shown = format!("unix:{}", path.display());
            let socket = listen_unix(path).map_err(failed(shown.clone()))?;
            socket.set_nonblocking(true)?;
            (BoundListener::Unix(UnixListener::from_std(socket)?), shown)
        }
    };
    tracing::info!(listener = %listener, address = %address, "listening");
    Ok(bound)
}

fn listen_tcp(address: SocketAddr) -> io::Result<StdTcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM.nonblocking(),
        Some(socket2::Protocol::TCP),
    )?;
    // A restart must not wait for the connections of the previous process to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

/// Replaces a socket file that a dead process left behind, but not one on which a process answers.
fn listen_unix(path: &Path) -> io::Result<StdUnixListener> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        && UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    {
        fs::remove_file(path)?;
    }
    let socket = StdUnixListener::bind(path)?;
    // A client that can connect can use every credential: only the owner and its group may.
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(socket)
}
