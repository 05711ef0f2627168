//! The places to which a URL leads: the service itself, attache, or elsewhere.

use super::Links;
use super::dots;
use crate::outbound::http_proxy::Found;
use crate::outbound::path::Target;
use crate::plan::Form;
use std::borrow::Cow;
use std::net::IpAddr;
use url::{Host, Url};

/// An origin (RFC 6454), and the text that named it.
pub(super) struct Origin {
    tls: bool,
    host: Host<String>,
    port: u16,
}

impl Origin {
    /// Parses an authority as a browser does; `None` if it is none.
    pub(super) fn parse(tls: bool, authority: &[u8]) -> Option<Self> {
        let scheme = if tls { "https" } else { "http" };
        let url = Url::parse(&format!("{scheme}://{}/", std::str::from_utf8(authority).ok()?)).ok()?;
        Some(Self { tls, host: url.host()?.to_owned(), port: url.port_or_known_default()? })
    }

    /// Returns true if both are the same.
    pub(super) fn is(&self, other: &Self) -> bool {
        (self.tls, self.port, &self.host) == (other.tls, other.port, &other.host)
    }

    /// Returns the host as text, without a dot at its end.
    fn name(&self) -> String {
        match &self.host {
            Host::Domain(name) => name.trim_end_matches('.').to_owned(),
            Host::Ipv4(ip) => ip.to_string(),
            Host::Ipv6(ip) => format!("[{ip}]"),
        }
    }

    /// Returns true if the host is this machine by its very name.
    fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Domain(name) => matches!(name.trim_end_matches('.'), "localhost"),
            Host::Ipv4(ip) => ip.is_loopback() || ip.is_unspecified(),
            Host::Ipv6(ip) => {
                let ip = IpAddr::V6(*ip).to_canonical();
                ip.is_loopback() || ip.is_unspecified()
            }
        }
    }

    fn is_ip(&self, ip: IpAddr) -> bool {
        match &self.host {
            Host::Domain(_) => false,
            Host::Ipv4(own) => IpAddr::V4(*own) == ip,
            Host::Ipv6(own) => IpAddr::V6(*own).to_canonical() == ip,
        }
    }
}

/// The place to which an absolute URL leads the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leads {
    /// Not to attache, as far as it can tell.
    Elsewhere,
    /// To attache, and there to the same service.
    Back,
    /// To attache, and there to another service or none.
    Astray,
}

impl Links<'_> {
    /// Returns the place to which a URL leads the client.
    pub(super) fn leads(&self, origin: &Origin, path: &[u8]) -> Leads {
        let same = |service: &str| if service == self.route.service { Leads::Back } else { Leads::Astray };
        let name = origin.name();
        if self.form == Form::Proxy && !origin.tls {
            // The client sends every such URL through attache.
            let authority = format!("{name}:{}", origin.port);
            match self.routes.by_url.as_ref().map(|servers| servers.find(authority.as_bytes(), path)) {
                Some(Found::One(route, _)) => return same(&route.service),
                Some(Found::Tie(..)) => return Leads::Astray,
                Some(Found::None) | None => {}
            }
        }
        if let Some(route) = self.routes.by_host.get(name.as_bytes()) {
            return same(&route.service);
        }
        if !self.is_attache(origin) {
            return Leads::Elsewhere;
        }
        let path = dots::remove(Cow::Borrowed(path)).path;
        let target = Target::parse(&path);
        let first = target.as_ref().map(|target| target.first_segment().0);
        if first == Some(self.route.service.as_bytes()) { Leads::Back } else { Leads::Astray }
    }

    /// Returns true if the origin is that under which the client knows attache, or the listener's own.
    fn is_attache(&self, origin: &Origin) -> bool {
        let own_port = self.listener.map(|listener| listener.port());
        let is_listener = self.listener.is_some_and(|own| origin.is_ip(own.ip().to_canonical()));
        if own_port == Some(origin.port) && (is_listener || origin.is_loopback()) {
            return true;
        }
        if self.form == Form::Proxy {
            return false;
        }
        let host = self.fields.get("host").unwrap_or_default();
        // The client's scheme is not known: something before attache may speak TLS.
        [false, true].into_iter().filter_map(|tls| Origin::parse(tls, host)).any(|known| {
            let is_near = known.is_loopback() && origin.is_loopback();
            (is_near || known.name() == origin.name()) && (known.port == origin.port)
        })
    }
}
