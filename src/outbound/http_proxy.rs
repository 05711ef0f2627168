//! Requests in absolute form, as a client sends them to its HTTP proxy: the service whose URL they name.
//!
//! Only configured server URLs are found. A browser page whose name was made to resolve to attache's address (DNS
//! rebinding) names its own host, which no service has.

use super::hosts::split;
use crate::config::model::{CREDENTIAL_PLACE, Host, ServerUrl};
use crate::route::Route;
use std::collections::HashMap;
use std::sync::Arc;

/// The services by the host of their URL, those with the longest path first.
pub(super) struct Servers(HashMap<Box<[u8]>, Vec<Server>>);

struct Server {
    port: u16,
    /// The port is the scheme's own, so that a URL without a port means this server.
    is_default: bool,
    route: Arc<Route>,
}

/// The services that a URL names.
pub(super) enum Found<'a> {
    /// One, and the path below its `server_url`.
    One(&'a Arc<Route>, &'a [u8]),
    /// Several, of which two are named.
    Tie(&'a Arc<Route>, &'a Arc<Route>),
    None,
}

impl Servers {
    pub(super) fn new<'a>(urls: impl Iterator<Item = (&'a ServerUrl, &'a Arc<Route>)>) -> Self {
        let mut by_host: HashMap<Box<[u8]>, Vec<Server>> = HashMap::new();
        for (url, route) in urls {
            let host = match &url.host {
                Host::Name(name) => name.trim_end_matches('.').to_owned(),
                Host::Ip(std::net::IpAddr::V6(ip)) => format!("[{ip}]"),
                Host::Ip(ip) => ip.to_string(),
            };
            let is_default = url.port == if url.tls { 443 } else { 80 };
            let server = Server { port: url.port, is_default, route: Arc::clone(route) };
            by_host.entry(host.into_bytes().into()).or_default().push(server);
        }
        for servers in by_host.values_mut() {
            servers.sort_by(|one, other| {
                let length = |server: &Server| server.route.upstream.prefix.len();
                length(other).cmp(&length(one)).then_with(|| one.route.service.cmp(&other.route.service))
            });
        }
        Self(by_host)
    }

    /// Returns true if a service has this authority.
    pub(super) fn has(&self, authority: &[u8]) -> bool {
        self.at(authority).next().is_some()
    }

    /// Returns the service with this authority and the longest path that `path` is below of.
    pub(super) fn find<'a>(&'a self, authority: &[u8], path: &'a [u8]) -> Found<'a> {
        let mut fitting = self.at(authority).filter_map(|server| Some((server, below(path, &server.route)?)));
        let Some((server, rest)) = fitting.next() else { return Found::None };
        // The next one has a path that is as long, and so the same, or a shorter one.
        match fitting.next() {
            Some((other, same)) if same.len() == rest.len() => Found::Tie(&server.route, &other.route),
            _ => Found::One(&server.route, rest),
        }
    }

    /// Returns the services of an authority. The port of a client's URL is that of http; without one, or with 80, it means
    /// the service's usual port, which is 443 with https.
    fn at(&self, authority: &[u8]) -> impl Iterator<Item = &Server> {
        let mut buffer = [0; 255];
        let (host, port) = match split(authority, &mut buffer) {
            Some((host, port)) => (self.0.get(host), port.filter(|port| *port != 80)),
            None => (None, None),
        };
        let is_meant = move |server: &&Server| match port {
            Some(port) => server.port == port,
            None => server.is_default || server.port == 80,
        };
        host.into_iter().flatten().filter(is_meant)
    }
}

/// Returns the rest of `path` if it is below the path of the service's URL. Anything stands for a credential in it: a
/// client that must have one is given a placeholder.
fn below<'a>(path: &'a [u8], route: &Route) -> Option<&'a [u8]> {
    let prefix = route.upstream.prefix.as_str();
    let rest = match prefix.split_once(CREDENTIAL_PLACE) {
        None => path.strip_prefix(prefix.as_bytes())?,
        Some((before, after)) => {
            let rest = path.strip_prefix(before.as_bytes())?;
            let segment = rest.split(|&b| b == b'/').next().unwrap_or_default().len();
            let last = after.split('/').next().unwrap_or_default();
            // The text after the credential in its segment is the end of the segment.
            let begin = segment.checked_sub(last.len())?;
            rest[begin..].strip_prefix(after.as_bytes())?
        }
    };
    (rest.is_empty() || rest.starts_with(b"/")).then_some(rest)
}
