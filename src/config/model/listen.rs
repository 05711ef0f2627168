//! The listeners.

use super::{ApiKey, CaBundle, UnreadSecret, Validity};
use crate::secret::{Secret, sha256};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::SystemTime;
use subtle::ConstantTimeEq as _;

/// `listen`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The listener for internal programs. Default `127.0.0.1:8080`.
    pub outbound: Listener,
    /// The listener for third parties. Default `127.0.0.1:8081`.
    pub webhooks: Listener,
    /// The listener for metrics, health and status. Default `127.0.0.1:9090`.
    pub admin: Listener,
    /// `admin.tokens`.
    pub admin_tokens: AdminTokens,
}

/// `tokens` of the admin listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdminTokens {
    /// The tokens that can be read.
    pub tokens: Vec<ApiKey>,
    /// True if the file lists tokens, even if none of them can be read.
    pub are_required: bool,
    /// A token that can't be read.
    pub unread: Option<UnreadSecret>,
}

impl AdminTokens {
    /// Returns true if one of the tokens is `token`, and valid at `now`. Every token is compared, by its SHA-256 and in
    /// constant time.
    pub fn admit(&self, token: &[u8], now: SystemTime) -> bool {
        let given = sha256(token);
        let admits =
            |key: &ApiKey| bool::from(key.sha256.ct_eq(&given)) & (key.validity_at(now) == Validity::Valid);
        self.tokens.iter().fold(false, |admitted, key| admitted | admits(key))
    }
}

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The address. A change needs a restart.
    pub address: ListenAddr,
    /// `tls`. `None`: the listener speaks plain HTTP. Boxed, because most do.
    pub tls: Option<Box<ListenTls>>,
}

/// `tls` of a listener. A change takes effect for new connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenTls {
    /// The certificate chain and its key, in PEM. `None` only if no secret is read (`check --offline`).
    pub identity: Option<Secret>,
    /// The end of the certificate's validity.
    pub not_after: Option<SystemTime>,
    /// `client_ca`: the authorities of client certificates, which are optional.
    pub client_ca: Option<ClientCa>,
    /// A file that could not be read, or a pair that does not fit. The last one stays in use.
    pub unread: Option<UnreadSecret>,
}

/// `client_ca` of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCa {
    /// The certificates of the authorities.
    pub authorities: CaBundle,
    /// The certificate revocation lists of the same file, in DER.
    pub revoked: Vec<Vec<u8>>,
}

impl ListenTls {
    /// Returns true if handshakes with both have the same outcome.
    pub fn acts_like(&self, other: &Self) -> bool {
        self.identity == other.identity && self.client_ca == other.client_ca
    }
}

impl Default for Listen {
    fn default() -> Self {
        let [outbound, webhooks, admin] = [8080, 8081, 9090]
            .map(|port| Listener { address: ListenAddr::Tcp((Ipv4Addr::LOCALHOST, port).into()), tls: None });
        Self { outbound, webhooks, admin, admin_tokens: AdminTokens::default() }
    }
}

impl Listen {
    /// Returns true if clients of the admin listener prove who they are.
    pub fn admin_asks(&self) -> bool {
        let client_ca = self.admin.tls.as_ref().and_then(|tls| tls.client_ca.as_ref());
        self.admin_tokens.are_required || client_ca.is_some()
    }

    /// Returns the listeners with their names in the file.
    pub fn all(&self) -> [(&'static str, &Listener); 3] {
        [("outbound", &self.outbound), ("webhooks", &self.webhooks), ("admin", &self.admin)]
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

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl ListenAddr {
    /// Returns true if only programs on this machine reach the address.
    pub fn stays_on_this_machine(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}
