//! Outbound routing: from a request to its service.
//!
//! A service is named by the first segment of the path, by a `Host` that is one of its `hosts`, or, with `http_proxy`, by its
//! own URL in absolute form. As with virtual hosts, a `Host` that is one of these names comes before the path: the whole
//! path is then the service's own, so no path leads from one host to another service.

pub mod callers;
mod hosts;
mod http_proxy;
pub mod links;
pub mod path;
pub mod rights;

use crate::config::model::ServerUrl;
use crate::error_code::ErrorCode;
use crate::message::Fields;
use crate::plan::{Form, Plan, Refusal};
use crate::route::Route;
use hosts::Hosts;
use http::Method;
use http_proxy::{Found, Servers};
use path::{Target, has_dot_segment};
use std::collections::HashMap;
use std::sync::Arc;

/// The outbound services, by the ways in which a request names one.
#[derive(Default)]
pub struct Routes {
    by_path: HashMap<Box<[u8]>, Arc<Route>>,
    by_host: Hosts,
    /// With `http_proxy`.
    by_url: Option<Servers>,
}

/// The parts of a request that decide about it.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target in origin form.
    pub target: &'a [u8],
    /// The header fields.
    pub fields: &'a Fields,
    /// The target was in absolute form; `Host` is its authority.
    pub absolute: bool,
}

/// A request whose service is known.
#[derive(Clone, Copy)]
pub struct Located<'a> {
    /// The service's own route.
    pub route: &'a Arc<Route>,
    /// The path below the service's `server_url`, as received: empty, or it starts with a slash.
    pub rest: &'a [u8],
    method: &'a Method,
    /// `rest` and the query.
    tail: &'a [u8],
    form: Form,
}

impl Located<'_> {
    /// Decides what to do with the request on `route`, which is one of the service.
    pub fn plan(&self, route: &Arc<Route>) -> Result<Plan, Refusal> {
        if let Some(rights) = &route.rights {
            rights::check(rights, self.method, self.rest)
                .map_err(|denied| denied.refusal(rights).of(&route.service))?;
        }
        if let Some(unread) = &route.unavailable {
            return Err(unavailable(&route.service, unread.fault.as_str()));
        }
        let target = match self.form {
            // The client has named the whole path, also one without the slash that ends `server_url`.
            Form::Proxy => [route.upstream.prefix.as_bytes(), self.tail].concat(),
            Form::Path | Form::Host => route.upstream.target(self.tail),
        };
        Ok(Plan { route: Arc::clone(route), target, form: self.form })
    }
}

impl Routes {
    /// Collects the routes under their services' keys.
    pub fn new(routes: impl IntoIterator<Item = Arc<Route>>) -> Self {
        let by_path = routes.into_iter().map(|route| (route.service.as_bytes().into(), route)).collect();
        Self { by_path, ..Self::default() }
    }

    /// Adds names, each with its service.
    pub fn with_hosts<'a>(mut self, hosts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let named = hosts.into_iter().filter_map(|(host, service)| {
            Some((host.as_bytes().into(), Arc::clone(self.by_path.get(service.as_bytes())?)))
        });
        self.by_host = Hosts::new(named.collect());
        self
    }

    /// Allows requests in absolute form to these URLs, each with its service.
    pub fn with_http_proxy<'a>(mut self, urls: impl IntoIterator<Item = (&'a ServerUrl, &'a str)>) -> Self {
        let known =
            urls.into_iter().filter_map(|(url, service)| Some((url, self.by_path.get(service.as_bytes())?)));
        self.by_url = Some(Servers::new(known));
        self
    }

    /// Returns every route, in arbitrary order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.by_path.values()
    }

    /// Returns the route of a service.
    pub fn get(&self, service: &str) -> Option<&Arc<Route>> {
        self.by_path.get(service.as_bytes())
    }

    /// Returns true if the client of an HTTP proxy sent the request.
    pub fn is_proxied(&self, call: &Call<'_>) -> bool {
        call.absolute && self.by_url.is_some()
    }

    /// Returns true if an HTTP proxy's client may have meant one of the services by this authority.
    pub fn proxies(&self, authority: &str) -> bool {
        self.by_url.as_ref().is_some_and(|servers| servers.has(authority.as_bytes()))
    }

    /// Decides what to do with a request of any client. Pure; one look-up, one allocation (the upstream target).
    pub fn plan(&self, call: &Call<'_>) -> Result<Plan, Refusal> {
        let located = self.locate(call)?;
        located.plan(located.route)
    }

    /// Finds the service of a request. Pure; one look-up.
    pub fn locate<'a>(&'a self, call: &Call<'a>) -> Result<Located<'a>, Refusal> {
        let Some(target) = Target::parse(call.target) else {
            return Err(Refusal::new(
                ErrorCode::RequestInvalid,
                "the request target must be a path: `/SERVICE/…`, without a fragment",
            )
            .because("malformed_target"));
        };
        if has_dot_segment(target.path) {
            return Err(Refusal::new(
                ErrorCode::RequestInvalid,
                "the path has a dot segment (`.` or `..`, in some spelling); paths are forwarded byte for byte, so \
                 send it without",
            )
            .because("dot_segment"));
        }
        let (route, rest, form) = self.find(call, &target)?;
        // The rest of the path and the query are adjacent in the received bytes.
        let tail = &call.target[call.target.len() - rest.len() - target.query.len()..];
        Ok(Located { route, rest, method: call.method, tail, form })
    }

    /// Returns the route of a request, the path below its `server_url`, and the form that named it.
    fn find<'a>(
        &'a self,
        call: &Call<'a>,
        target: &Target<'a>,
    ) -> Result<(&'a Arc<Route>, &'a [u8], Form), Refusal> {
        let is_proxied = self.is_proxied(call);
        if is_proxied || !self.by_host.is_empty() {
            let host = call.fields.get("host").unwrap_or_default();
            if is_proxied && let Some(servers) = &self.by_url {
                match servers.find(host, target.path) {
                    Found::One(route, rest) => return Ok((route, rest, Form::Proxy)),
                    Found::Tie(one, other) => return Err(ambiguous(&one.service, &other.service)),
                    Found::None => {}
                }
            }
            if let Some(route) = self.by_host.get(host) {
                return Ok((route, target.path, Form::Host));
            }
            if is_proxied {
                // Not found by its path: an authority that no service has must lead nowhere.
                return Err(Refusal::new(
                    ErrorCode::ServiceUnknown,
                    "no service has a `server_url` with the host and the path of this URL",
                ));
            }
        }
        let (service, rest) = target.first_segment();
        let Some(route) = self.by_path.get(service) else {
            return Err(Refusal::new(
                ErrorCode::ServiceUnknown,
                "no service has the name that the path begins with; a path is `/SERVICE/…`",
            ));
        };
        Ok((route, rest, Form::Path))
    }
}

fn ambiguous(one: &str, other: &str) -> Refusal {
    let detail = format!(
        "the services `{one}` and `{other}` have the same `server_url`; name one of them by its path, `/{one}/…` or \
         `/{other}/…`"
    );
    Refusal::new(ErrorCode::RequestInvalid, detail).because("ambiguous_service")
}

fn unavailable(service: &str, reason: &'static str) -> Refusal {
    let detail =
        format!("a secret of the service `{service}` can't be read; attache's log and `/status` name it");
    Refusal::new(ErrorCode::CredentialUnavailable, detail).of(service).because(reason)
}

/// Returns the path as the access log may show it; `known` is true if it leads to a service. Of another path only a
/// first segment too short for a key is shown: a webhook's URL may have been sent to this listener by mistake.
pub fn log_path(raw_target: &[u8], known: bool) -> &[u8] {
    let Some(target) = Target::parse(raw_target) else { return UNMATCHED };
    match target.first_segment().0 {
        _ if known => target.path,
        first if first.len() < SHORTEST_KEY && !first.eq_ignore_ascii_case(b"webhooks") => {
            &target.path[..=first.len()]
        }
        _ => UNMATCHED,
    }
}

/// Minimum length of the `value` of a webhook key; the parser refuses shorter ones.
pub const SHORTEST_KEY: usize = 22;

/// Placeholder for a path that matches no rule.
pub const UNMATCHED: &[u8] = b"{unmatched}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_shows_no_path_that_may_hold_a_webhook_key() {
        let key = "whk_qI60KVQ2gS3RcLrNZFvWs4PrTuAtj";
        assert_eq!(log_path(b"/mailer/x?y", true), b"/mailer/x");
        assert_eq!(log_path(b"/mailr/x?y", false), b"/mailr");
        for path in
            [format!("/webhooks/{key}"), format!("/{key}"), format!("//webhooks/{key}"), "*".to_owned()]
        {
            let shown = String::from_utf8_lossy(log_path(path.as_bytes(), false)).into_owned();
            assert!(!shown.contains(key), "{shown}");
        }
    }
}
