//! The listener that a refused request may have been meant for. The answer does not name it: a client learns no addresses.

use super::ExplainedRequest;
use crate::config::model::{Config, ListenAddr};
use crate::telemetry::metrics::Direction;

/// The first segments of the paths of `listen.admin`; the empty one is that of `/`, the status page.
const ADMIN: [&str; 5] = ["", "metrics", "livez", "readyz", "status"];

/// Returns a sentence about the other listener that has this path, if one is known to.
pub(super) fn other(asked: &ExplainedRequest, config: &Config) -> Option<String> {
    let first = asked.target.strip_prefix('/')?.split(['/', '?', '#']).next()?;
    // The rest of the path may be a key.
    let (name, address, path) = match asked.direction {
        _ if ADMIN.contains(&first) => ("admin", &config.listen.admin.address, format!("/{first}")),
        Direction::Outbound if first == "webhooks" => {
            ("webhooks", &config.listen.webhooks.address, "/webhooks/…".to_owned())
        }
        Direction::Webhook if config.services.get(first)?.outbound.is_some() => {
            ("outbound", &config.listen.outbound.address, format!("/{first}/…"))
        }
        _ => return None,
    };
    Some(format!("{path} is a path of listen.{name} ({})", at(address)))
}

fn at(address: &ListenAddr) -> String {
    match address {
        ListenAddr::Tcp(address) => address.to_string(),
        ListenAddr::Unix(path) => format!("unix:{}", path.display()),
    }
}
