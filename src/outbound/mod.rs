//! Outbound routing: from a request target to its service.

pub mod path;
pub mod rights;

use crate::error_code::ErrorCode;
use crate::plan::{Plan, Refusal};
use crate::route::Route;
use http::Method;
use path::{Target, has_dot_segment};
use std::collections::HashMap;
use std::sync::Arc;

/// The outbound services, by the first segment of the path.
#[derive(Default)]
pub struct Routes(HashMap<Box<[u8]>, Arc<Route>>);

impl Routes {
    /// Collects the routes under their services' keys.
    pub fn new(routes: impl IntoIterator<Item = Arc<Route>>) -> Self {
        Self(routes.into_iter().map(|route| (route.service.as_bytes().into(), route)).collect())
    }

    /// Returns every route, in arbitrary order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.0.values()
    }

    /// Returns the route of a service.
    pub fn get(&self, service: &str) -> Option<&Arc<Route>> {
        self.0.get(service.as_bytes())
    }

    /// Decides what to do with a request of `method` for `raw_target`. Pure; one look-up, one allocation (the upstream target).
    pub fn plan(&self, method: &Method, raw_target: &[u8]) -> Result<Plan, Refusal> {
        let Some(target) = Target::parse(raw_target) else {
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
        let (service, rest) = target.first_segment();
        let Some(route) = self.0.get(service) else {
            return Err(Refusal::new(
                ErrorCode::ServiceUnknown,
                "no service has the name that the path begins with; a path is `/SERVICE/…`",
            ));
        };
        if let Some(rights) = &route.rights {
            rights::check(rights, method, rest)
                .map_err(|denied| denied.refusal(rights).of(&route.service))?;
        }
        if let Some(unread) = &route.unavailable {
            return Err(unavailable(&route.service, unread.fault.as_str()));
        }
        // The rest of the path and the query are adjacent in the received bytes.
        let tail = &raw_target[raw_target.len() - rest.len() - target.query.len()..];
        Ok(Plan { route: Arc::clone(route), target: route.upstream.target(tail) })
    }
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
