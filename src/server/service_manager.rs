//! Tells the service manager (systemd) that attache is ready, reloads or stops, as sd_notify(3) describes.

use nix::time::{ClockId, clock_gettime};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The service manager that started this process.
pub(super) struct ServiceManager {
    /// `None` without `$NOTIFY_SOCKET`, or with one that this system has no sockets for.
    socket: Option<(UnixDatagram, SocketAddr)>,
}

impl ServiceManager {
    pub(super) fn from_environment() -> Self {
        let name = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let socket = name.and_then(|name| {
            open(&name)
                .inspect_err(|error| {
                    tracing::warn!(%error, socket = %name.display(), "can't use $NOTIFY_SOCKET: systemd is told of nothing");
                })
                .ok()
        });
        Self { socket }
    }

    /// Tells that the configuration is served. `status` is what `systemctl status` shows.
    pub(super) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}\n"));
    }

    /// A reload begins; [`Self::ready`] ends it.
    pub(super) fn reloading(&self) {
        if self.socket.is_none() {
            return;
        }
        // `Type=notify-reload` wants the time, so that it knows that this follows its SIGHUP.
        match clock_gettime(ClockId::CLOCK_MONOTONIC) {
            Ok(now) => {
                let micros = now.tv_sec() * 1_000_000 + now.tv_nsec() / 1000;
                self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\n"));
            }
            Err(error) => tracing::warn!(%error, "can't tell systemd of the reload: no monotonic clock"),
        }
    }

    /// The drain begins.
    pub(super) fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=draining\n");
    }

    fn send(&self, state: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
            tracing::warn!(%error, "can't write to $NOTIFY_SOCKET: systemd is not told of a change of state");
        }
    }
}

fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = address(name)?;
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not hold requests up.
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// A path, or `@` and the name of an abstract socket (Linux).
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "neither an absolute path nor an abstract socket",
        )),
    }
}
