//! Services, and where they are.

use super::{Account, Retries, ServiceRules, UnreadSecret, UsedProxy, Webhook};
use crate::header_name::FieldName;
use crate::secret::Secret;
use http::{HeaderValue, StatusCode};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use url::{Position, Url};

/// A connected service.
#[derive(Debug, PartialEq)]
pub struct Service {
    /// Its key under `services`: the first path segment of outbound requests.
    pub key: String,
    /// `name`, for display.
    pub name: Option<String>,
    /// Its upstream, if it has a `server_url`.
    pub outbound: Option<Outbound>,
    /// Its webhook, if it has one.
    pub webhook: Option<Webhook>,
}

impl Service {
    /// Returns its own unreadable secret: a certificate, or a secret of the webhook.
    pub fn unread(&self) -> Option<&UnreadSecret> {
        let outbound = self.outbound.as_ref().and_then(|outbound| outbound.unread.as_ref());
        UnreadSecret::worse(outbound, self.webhook.as_ref().and_then(|webhook| webhook.unread.as_ref()))
    }
}

/// The outbound half of a service.
#[derive(Debug, PartialEq)]
pub struct Outbound {
    /// Its account.
    pub account: Arc<Account>,
    /// Its URL.
    pub server_url: ServerUrl,
    /// Maximum time from the request's arrival to the upstream's response headers. Default 30 s.
    pub timeout: Duration,
    /// Maximum time for one connection: name, TCP, TLS. `None`: what is left of `timeout`.
    pub connect_timeout: Option<Duration>,
    /// The detail of the answer on timeout. `None`: a default sentence.
    pub timeout_message: Option<String>,
    /// The whole answer on timeout, if the operator replaces attache's.
    pub timeout_response: Option<TimeoutResponse>,
    /// Maximum pause within a started response. Default 60 s.
    pub idle_timeout: Duration,
    /// True if a request is sent once more after the upstream refused its token. Default true.
    pub retry_on_401: bool,
    /// `allow`, `set_headers` and the other rules of its requests.
    pub rules: ServiceRules,
    /// `proxy`: its own forward proxy, or the file's.
    pub proxy: UsedProxy,
    /// `retries`, if the operator has them.
    pub retries: Option<Retries>,
    /// `tls`: trust, the client's identity, and the name in the certificate.
    pub tls: ServiceTls,
    /// A file of `tls`, or a secret of `set_headers`, that can't be read.
    pub unread: Option<UnreadSecret>,
    /// True if a *name* may resolve to a loopback, private or link-local address.
    pub private_network: bool,
    /// True if a credential may be sent over http.
    pub allow_plaintext: bool,
    /// `hosts`: the names by which a request's `Host` reaches it, in lowercase.
    pub hosts: Vec<String>,
    /// `redact_responses`: where copies of the credential are replaced. `None`: nowhere.
    pub redact_responses: Option<RedactionScope>,
    /// True if links in responses are rewritten so that they lead back through attache. Default true.
    pub rewrite_links: bool,
}

/// `redact_responses`: the parts of a response that are searched for copies of the credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedactionScope {
    /// The header fields.
    Headers,
    /// The header fields, and a body of text.
    Body,
}

/// `server_url` or `forward_to`: an http or https URL without query, fragment and user info.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerUrl {
    /// True for https.
    pub tls: bool,
    /// The host.
    pub host: Host,
    /// The port, with the scheme's default filled in.
    pub port: u16,
    /// The value of `Host`: the host, and the port unless it is the scheme's default.
    pub authority: String,
    /// The path, as written: empty, or it starts with a slash. It may end with one slash, but is not one alone. That of a
    /// `server_url` may have [`CREDENTIAL_PLACE`] once.
    pub path: String,
}

/// The text in the path of a `server_url` that an account's `path` credential replaces.
pub const CREDENTIAL_PLACE: &str = "{credential}";

impl ServerUrl {
    /// Returns true if the path has a place for a credential.
    pub fn has_credential(&self) -> bool {
        self.path.contains(CREDENTIAL_PLACE)
    }

    /// Returns the server of an http or https URL, without its path.
    pub fn of(url: &Url) -> Option<Self> {
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let host = match url.host()? {
            url::Host::Domain(name) => Host::Name(name.to_owned()),
            url::Host::Ipv4(ip) => Host::Ip(ip.into()),
            url::Host::Ipv6(ip) => Host::Ip(ip.into()),
        };
        let authority = url[Position::BeforeHost..Position::AfterPort].to_owned();
        Some(Self { tls, host, port: url.port_or_known_default()?, authority, path: String::new() })
    }
}

/// Returns the address at which a connection to `ip` arrives: the unspecified address leads to this host.
pub fn destination(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// A URL's host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name, lowercase, to be resolved.
    Name(String),
    /// An address literal.
    Ip(IpAddr),
}

/// `timeout_response`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeoutResponse {
    /// `status`, 200 to 599. Default 504.
    pub status: StatusCode,
    /// `content_type`. Default `text/plain; charset=utf-8`.
    pub content_type: HeaderValue,
    /// `body`. Default: the service's `timeout_message`, or its default.
    pub body: Option<String>,
    /// `headers`.
    pub headers: Vec<(FieldName, HeaderValue)>,
}

/// `tls` of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceTls {
    /// `ca`: the only roots trusted for this service; `None` is the system's.
    pub ca: Option<CaBundle>,
    /// `client_certificate` and `client_key`, one PEM text; `None` also if they were not read.
    pub identity: Option<Secret>,
    /// The file has a `client_certificate`.
    pub is_mutual: bool,
    /// `server_name`: the name for SNI and in the certificate, instead of the URL's host.
    pub server_name: Option<String>,
}

/// `tls.ca`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaBundle {
    /// The file that it was read from.
    pub path: PathBuf,
    /// The certificates in DER, at least one.
    pub certificates: Vec<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_of_a_url() {
        let server = |url: &str| ServerUrl::of(&url.parse().expect(url));
        for (url, tls, host, port, authority) in [
            ("https://ID.example/token?a=b", true, Host::Name("id.example".into()), 443, "id.example"),
            ("https://id.example:443/", true, Host::Name("id.example".into()), 443, "id.example"),
            ("http://[::1]:8080", false, Host::Ip([0, 0, 0, 0, 0, 0, 0, 1].into()), 8080, "[::1]:8080"),
            ("http://127.0.0.1/", false, Host::Ip([127, 0, 0, 1].into()), 80, "127.0.0.1"),
        ] {
            let expected = ServerUrl { tls, host, port, authority: authority.into(), path: String::new() };
            assert_eq!(server(url), Some(expected), "{url}");
        }
        assert_eq!(server("ftp://id.example/"), None);
        assert_eq!(server("data:text/plain,x"), None);
    }
}
