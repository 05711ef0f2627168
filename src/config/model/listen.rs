//! The listeners.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// `listen`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The address for internal programs. Default `127.0.0.1:8080`.
    pub outbound: ListenAddr,
    /// The address for third parties. Default `127.0.0.1:8081`.
    pub webhooks: ListenAddr,
    /// The address for metrics, health and status. Default `127.0.0.1:9090`.
    pub admin: ListenAddr,
}

impl Default for Listen {
    fn default() -> Self {
        let [outbound, webhooks, admin] =
            [8080, 8081, 9090].map(|port| ListenAddr::Tcp((Ipv4Addr::LOCALHOST, port).into()));
        Self { outbound, webhooks, admin }
    }
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddr {
    /// `127.0.0.1:8080`, `[::1]:8080`.
    Tcp(SocketAddr),
    /// `unix:/run/attache/outbound.sock`.
    Unix(PathBuf),
}
