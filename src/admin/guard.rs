//! Access to the status page and to `/status`.
//!
//! The admin listener has no tokens yet, so both are served only to connections that arrive on a loopback address or
//! a unix socket: the address of the connection counts, not that of the listener. So a listener on `0.0.0.0` in a container
//! serves them to `kubectl port-forward`, which connects within the pod, and to no other machine.
//!
//! A browser on this machine can be led to loopback by any website. The page answers no other origin (no CORS headers), and
//! it refuses what a browser says comes from another site. A site whose name resolves to 127.0.0.1 is of the same origin to
//! the browser (DNS rebinding), but its `Host` is its name: only addresses and `localhost` are taken. A reverse proxy in
//! front therefore sends the upstream's address as `Host`, which nginx does by default.
//!
//! Rejected: a list of names in the file. Names get onto it that others control, and a proxy can set the header.

use axum::extract::{Extension, Request};
use axum::http::header::{HOST, HeaderName};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, SocketAddr};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Where a connection arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// At this address of the machine; `None` if the system doesn't say.
    Tcp(Option<IpAddr>),
    /// On a unix socket.
    Unix,
}

impl Arrival {
    /// Returns the arrival at a TCP address.
    pub(super) fn tcp(local: std::io::Result<SocketAddr>) -> Self {
        Self::Tcp(local.ok().map(|address| address.ip()))
    }
}

/// The reason why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Denial {
    Remote,
    Host,
    CrossSite,
}

/// Passes a request on if it may see what attache does.
pub(super) async fn admit(Extension(arrival): Extension<Arrival>, request: Request, next: Next) -> Response {
    let authority = request.uri().authority();
    match check(arrival, authority, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(denial) => denial.into_response(),
    }
}

fn check(arrival: Arrival, authority: Option<&Authority>, headers: &HeaderMap) -> Result<(), Denial> {
    match arrival {
        // No browser opens one.
        Arrival::Unix => return Ok(()),
        Arrival::Tcp(Some(ip)) if ip.to_canonical().is_loopback() => {}
        Arrival::Tcp(_) => return Err(Denial::Remote),
    }
    let named = |host: &str| !host.parse::<Authority>().is_ok_and(|host| is_local(host.host()));
    if authority.is_some_and(|authority| !is_local(authority.host()))
        || headers.get_all(HOST).iter().any(|host| host.to_str().map_or(true, named))
    {
        return Err(Denial::Host);
    }
    let says = |name: &HeaderName| headers.get(name).map(|value| value.as_bytes());
    match says(&SEC_FETCH_SITE) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        // A link on another site.
        Some(_) if says(&SEC_FETCH_MODE) == Some(b"navigate") => Ok(()),
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
            Self::Remote => (
                StatusCode::NOT_FOUND,
                "not found: /status and the status page are served on a loopback address or a unix socket only; use \
                 `ssh -L 9090:127.0.0.1:9090 HOST` or `kubectl port-forward`, and open http://127.0.0.1:9090/\n",
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

    const LOOPBACK: Arrival = Arrival::Tcp(Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)));

    fn check_with(arrival: Arrival, fields: &[(&str, &'static str)]) -> Result<(), Denial> {
        let fields = fields
            .iter()
            .map(|(name, value)| (HeaderName::try_from(*name).unwrap(), HeaderValue::from_static(value)));
        check(arrival, None, &fields.collect())
    }

    #[test]
    fn only_connections_that_arrive_on_loopback_are_let_in() {
        for (address, expected) in [
            ("127.0.0.1", Ok(())),
            ("127.8.8.8", Ok(())),
            ("::1", Ok(())),
            ("::ffff:127.0.0.1", Ok(())),
            ("10.0.0.7", Err(Denial::Remote)),
            ("::ffff:10.0.0.7", Err(Denial::Remote)),
            ("2001:db8::1", Err(Denial::Remote)),
        ] {
            let arrival = Arrival::Tcp(Some(address.parse().unwrap()));
            assert_eq!(check_with(arrival, &[]), expected, "{address}");
        }
        assert_eq!(check_with(Arrival::Tcp(None), &[]), Err(Denial::Remote));
        assert_eq!(check_with(Arrival::Unix, &[("host", "anything")]), Ok(()));
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
        let absolute = Authority::from_static("rebind.example");
        assert_eq!(check(LOOPBACK, Some(&absolute), &HeaderMap::new()), Err(Denial::Host));
    }

    #[test]
    fn another_site_may_link_to_the_page_and_nothing_else() {
        let site = |site, mode| check_with(LOOPBACK, &[("sec-fetch-site", site), ("sec-fetch-mode", mode)]);
        assert_eq!(site("same-origin", "cors"), Ok(()));
        assert_eq!(site("none", "navigate"), Ok(()));
        assert_eq!(site("cross-site", "navigate"), Ok(()));
        assert_eq!(site("cross-site", "no-cors"), Err(Denial::CrossSite));
        assert_eq!(site("same-site", "cors"), Err(Denial::CrossSite));
    }
}
