//! Access to the status page and to `/status`.
//!
//! With `listen.admin.tokens` or a `client_ca`, a request for anything but health, metrics and the JWKS proves who sends it: by
//! `Authorization: Bearer`, by the token as the password of `Basic`, which a browser asks for, or by a client certificate.
//!
//! Without them, both are served only to connections that come from the same machine: over a unix socket, from a loopback address to a loopback address, or from an address of the machine to the same address, which is
//! what the system chooses for a connection to one's own address. The addresses of the connection count, not that of the
//! listener. So a listener on `0.0.0.0` in a container serves them to `kubectl port-forward`, which connects within the pod,
//! and to no other machine. A packet from outside may reach a loopback address (`route_localnet`, CVE-2020-8558), so the
//! client's address counts too.
//!
//! A browser on this machine can be led to attache by any website. The page answers no other origin (no CORS headers), and
//! it refuses what a browser says comes from another site, except for a link that opens the page itself: in a frame, the
//! requests of a website would take the places of the streams. A site whose name resolves to 127.0.0.1 is of the same origin
//! to the browser (DNS rebinding), but its `Host` is its name: only addresses and `localhost` are taken. A reverse proxy in
//! front therefore sends the upstream's address as `Host`, which nginx does by default.
//!
//! A request that proves who sends it may have any `Host`: a browser sends a password or a certificate only to the origin that
//! it was entered for.
//!
//! Rejected: a list of names in the file. Names get onto it that others control, and a proxy can set the header.

use super::View;
use crate::config::model::{AdminTokens, ClientCa, Listen};
use crate::message::authorization::{basic, bearer};
use crate::x509::PeerCertificate;
use axum::extract::{Extension, Request, State};
use axum::http::header::{AUTHORIZATION, HOST, HeaderName, WWW_AUTHENTICATE};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;
use zeroize::Zeroizing;

/// The answer to a request without a proof.
const UNPROVED: &str = "unauthorized: send one of listen.admin.tokens as `Authorization: Bearer TOKEN`, or as a password; or a \
                        client certificate\n";

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// The local end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LocalEnd {
    /// At an address of the machine, from a client's; `None` if the system doesn't say.
    Tcp(Option<(IpAddr, IpAddr)>),
    /// On a unix socket.
    Unix,
}

impl LocalEnd {
    /// Returns the arrival at a TCP address, from another.
    pub(super) fn tcp(local: io::Result<SocketAddr>, peer: io::Result<SocketAddr>) -> Self {
        let ip = |address: SocketAddr| address.ip().to_canonical();
        Self::Tcp(local.ok().zip(peer.ok()).map(|(local, peer)| (ip(local), ip(peer))))
    }

    /// Returns the client's address, if it has one.
    pub(super) fn client(self) -> Option<IpAddr> {
        match self {
            Self::Tcp(Some((_, peer))) => Some(peer),
            Self::Tcp(None) | Self::Unix => None,
        }
    }

    /// Returns true if the client runs on this machine.
    fn is_local(self) -> bool {
        match self {
            Self::Unix => true,
            Self::Tcp(Some((local, peer))) if local.is_loopback() => peer.is_loopback(),
            Self::Tcp(Some((local, peer))) => local == peer,
            Self::Tcp(None) => false,
        }
    }
}

/// The proofs that a client of the listener needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// True if a token or a certificate is asked for.
    pub(crate) is_required: bool,
    /// The tokens.
    pub(crate) tokens: AdminTokens,
    /// The authorities of the certificates, which the handshake verifies. Two values are compared to tell of a change.
    client_ca: Option<ClientCa>,
}

impl Access {
    /// Returns the access that the file configures.
    pub(crate) fn of(listen: &Listen) -> Self {
        let client_ca = listen.admin.tls.as_ref().and_then(|tls| tls.client_ca.clone());
        Self { is_required: listen.admin_asks(), tokens: listen.admin_tokens.clone(), client_ca }
    }
}

/// The certificate that the client of a connection has proved to have.
#[derive(Debug, Clone)]
pub(super) struct ProvedCertificate(pub(super) Option<Arc<PeerCertificate>>);

/// The reason why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Denial {
    Unproved,
    Remote,
    Host,
    CrossSite,
}

/// Passes a request on if it may see what attache does.
pub(super) async fn admit(
    State(view): State<Arc<dyn View>>,
    Extension(arrival): Extension<LocalEnd>,
    Extension(ProvedCertificate(certificate)): Extension<ProvedCertificate>,
    request: Request,
    next: Next,
) -> Response {
    let access = view.access();
    let proved = access.is_required.then(|| proves(&access, certificate.is_some(), request.headers()));
    match check(arrival, proved, request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(denial) => denial.into_response(),
    }
}

/// Passes a request on unless it lacks a proof that is asked for.
pub(super) async fn admit_proved(
    State(view): State<Arc<dyn View>>,
    Extension(ProvedCertificate(certificate)): Extension<ProvedCertificate>,
    request: Request,
    next: Next,
) -> Response {
    let access = view.access();
    if access.is_required && !proves(&access, certificate.is_some(), request.headers()) {
        return Denial::Unproved.into_response();
    }
    next.run(request).await
}

/// Returns true if the client has a certificate, or the request a token. A second `Authorization` is one too many.
fn proves(access: &Access, has_certificate: bool, headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let token = match (fields.next(), fields.next()) {
        (Some(field), None) => token(field.as_bytes()),
        _ => None,
    };
    has_certificate || token.is_some_and(|token| access.tokens.admit(&token, SystemTime::now()))
}

/// Returns the token in `Bearer TOKEN`, or the password in `Basic`, whatever the user.
fn token(field: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let token = bearer(field).map(|token| token.to_vec().into());
    token.or_else(|| Some(basic(field)?.password()?.to_vec().into()))
}

/// Decides on a request. `proved` is `None` if no proof is asked for.
fn check(arrival: LocalEnd, proved: Option<bool>, uri: &Uri, headers: &HeaderMap) -> Result<(), Denial> {
    match proved {
        Some(false) => return Err(Denial::Unproved),
        None if !arrival.is_local() => return Err(Denial::Remote),
        _ => {}
    }
    if arrival == LocalEnd::Unix {
        // No browser opens one.
        return Ok(());
    }
    let named = |host: &str| !host.parse::<Authority>().is_ok_and(|host| is_local(host.host()));
    if proved.is_none()
        && (uri.authority().is_some_and(|authority| !is_local(authority.host()))
            || headers.get_all(HOST).iter().any(|host| host.to_str().map_or(true, named)))
    {
        return Err(Denial::Host);
    }
    let says = |name: &HeaderName| headers.get(name).map(|value| value.as_bytes());
    let is_link = || {
        uri.path() == "/"
            && says(&SEC_FETCH_MODE) == Some(b"navigate")
            && matches!(says(&SEC_FETCH_DEST), None | Some(b"document"))
    };
    match says(&SEC_FETCH_SITE) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) if is_link() => Ok(()),
        Some(_) => Err(Denial::CrossSite),
    }
}

/// Returns true for an address and for `localhost`, which no other machine's name server decides on.
fn is_local(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    address.parse::<IpAddr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
}

impl IntoResponse for Denial {
    fn into_response(self) -> Response {
        match self {
            Self::Unproved => {
                let mut response = (StatusCode::UNAUTHORIZED, UNPROVED).into_response();
                for challenge in ["Bearer realm=\"attache\"", "Basic realm=\"attache\", charset=\"UTF-8\""] {
                    response.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
                }
                return response;
            }
            Self::Remote => (
                StatusCode::NOT_FOUND,
                "not found: /status and the status page are served to clients on the same machine only; use \
                 `ssh -L 9090:127.0.0.1:9090 HOST` or `kubectl port-forward`, and open http://127.0.0.1:9090/, or \
                 give listen.admin tokens\n",
            ),
            Self::Host => (
                StatusCode::FORBIDDEN,
                "forbidden: the Host of the request is neither an address nor localhost; open \
                 http://127.0.0.1:9090/, or let the reverse proxy send the address as Host\n",
            ),
            Self::CrossSite => {
                (StatusCode::FORBIDDEN, "forbidden: the request comes from a page of another site\n")
            }
        }
        .into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const LOOPBACK: LocalEnd = LocalEnd::Tcp(Some((LOCALHOST, LOCALHOST)));

    fn check_with(arrival: LocalEnd, fields: &[(&str, &'static str)]) -> Result<(), Denial> {
        check_at("/", arrival, fields)
    }

    fn check_at(path: &str, arrival: LocalEnd, fields: &[(&str, &'static str)]) -> Result<(), Denial> {
        let fields = fields
            .iter()
            .map(|(name, value)| (HeaderName::try_from(*name).unwrap(), HeaderValue::from_static(value)));
        check(arrival, None, &path.parse().unwrap(), &fields.collect())
    }

    #[test]
    fn only_connections_of_the_same_machine_are_let_in() {
        for (local, peer, expected) in [
            ("127.0.0.1", "127.0.0.1", Ok(())),
            ("127.8.8.8", "127.0.0.1", Ok(())),
            ("::1", "::1", Ok(())),
            ("::ffff:127.0.0.1", "::ffff:127.0.0.1", Ok(())),
            ("10.0.0.7", "10.0.0.7", Ok(())),
            ("::ffff:10.0.0.7", "::ffff:10.0.0.7", Ok(())),
            ("2001:db8::1", "2001:db8::1", Ok(())),
            ("10.0.0.7", "10.0.0.8", Err(Denial::Remote)),
            ("10.0.0.7", "127.0.0.1", Err(Denial::Remote)),
            ("127.0.0.1", "10.0.0.8", Err(Denial::Remote)),
            ("::ffff:10.0.0.7", "::ffff:10.0.0.8", Err(Denial::Remote)),
            ("2001:db8::1", "2001:db8::2", Err(Denial::Remote)),
        ] {
            let address = |ip: &str| Ok(SocketAddr::new(ip.parse().unwrap(), 9));
            let arrival = LocalEnd::tcp(address(local), address(peer));
            assert_eq!(check_with(arrival, &[]), expected, "{peer} to {local}");
        }
        assert_eq!(check_with(LocalEnd::Tcp(None), &[]), Err(Denial::Remote));
        assert_eq!(check_with(LocalEnd::Unix, &[("host", "anything")]), Ok(()));
    }

    #[test]
    fn a_name_that_others_may_own_is_refused() {
        for (host, expected) in [
            ("127.0.0.1:9090", Ok(())),
            ("[::1]:9090", Ok(())),
            ("10.0.0.7", Ok(())),
            ("localhost:9090", Ok(())),
            ("Attache.LocalHost.", Ok(())),
            ("rebind.example:9090", Err(Denial::Host)),
            ("127.0.0.1.rebind.example", Err(Denial::Host)),
            ("notlocalhost", Err(Denial::Host)),
            ("user@localhost", Ok(())),
            ("", Err(Denial::Host)),
            ("a b", Err(Denial::Host)),
        ] {
            assert_eq!(check_with(LOOPBACK, &[("host", host)]), expected, "{host}");
        }
        assert_eq!(check_at("http://rebind.example/", LOOPBACK, &[]), Err(Denial::Host));
    }

    #[test]
    fn another_site_may_link_to_the_page_and_nothing_else() {
        let site = |site, mode| check_with(LOOPBACK, &[("sec-fetch-site", site), ("sec-fetch-mode", mode)]);
        assert_eq!(site("same-origin", "cors"), Ok(()));
        assert_eq!(site("none", "navigate"), Ok(()));
        assert_eq!(site("cross-site", "navigate"), Ok(()));
        assert_eq!(site("cross-site", "no-cors"), Err(Denial::CrossSite));
        assert_eq!(site("same-site", "cors"), Err(Denial::CrossSite));
        for (path, dest, expected) in [
            ("/", "document", Ok(())),
            ("/?q=a", "document", Ok(())),
            ("/", "iframe", Err(Denial::CrossSite)),
            ("/", "object", Err(Denial::CrossSite)),
            ("/events", "document", Err(Denial::CrossSite)),
            ("/status", "document", Err(Denial::CrossSite)),
        ] {
            let fields =
                [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", dest)];
            assert_eq!(check_at(path, LOOPBACK, &fields), expected, "{dest} {path}");
        }
    }
}
