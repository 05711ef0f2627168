//! Rates and networks.

use super::optional;
use crate::config::decode::{At, Decoder};
use crate::config::model::{Rate, TrustedProxies};
use crate::config::problem::Finding;
use crate::config::scalar;
use crate::config::tree::View;
use ipnet::IpNet;
use std::num::NonZeroUsize;
use std::time::Duration;

/// The rate of webhook calls with an unknown key per address, before 429.
const WRONG_KEYS: Rate = Rate { requests: 300, per: Duration::from_secs(60), burst: 300 };

/// Memory of request bodies that are read ahead.
const BUFFERED: u64 = 256 << 20;

/// The values of `limits`.
pub(super) struct Limits {
    pub(super) wrong_keys: Option<Rate>,
    pub(super) connections: Option<NonZeroUsize>,
    pub(super) buffered: u64,
}

/// Reads `limits`.
pub(super) fn limits(decoder: &Decoder<'_>, at: Option<&At<'_>>) -> Option<Limits> {
    let Some(at) = at else {
        return Some(Limits { wrong_keys: Some(WRONG_KEYS), connections: None, buffered: BUFFERED });
    };
    let map = decoder.mapping(at)?;
    let wrong_keys = match map.get("wrong_keys") {
        Some(at) if matches!(decoder.tree.view(at.node), View::Scalar { text: "off", .. }) => None,
        Some(at) => Some(rate(decoder, &at)),
        None => Some(Some(WRONG_KEYS)),
    };
    let connections = optional(map.get("connections"), |at| decoder.integer(at));
    let buffered =
        optional(map.get("buffered"), |at| decoder.parsed(at, "invalid_size", "a size", scalar::size));
    let (connections, buffered) = (connections.checked().ok()?, buffered.checked().ok()?);
    let wrong_keys = match wrong_keys {
        Some(rate) => Some(rate?),
        None => None,
    };
    Some(Limits {
        wrong_keys,
        connections: connections.and_then(|count| NonZeroUsize::new(count as usize)),
        buffered: buffered.unwrap_or(BUFFERED),
    })
}

/// Reads `{requests: 100, per: 1s, burst: 50}`.
pub(super) fn rate(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Rate> {
    let map = decoder.mapping(at)?;
    let count = |at: At<'_>| decoder.integer(&at);
    let requests = decoder.required(&map, "requests").and_then(count);
    let per = decoder.required(&map, "per").and_then(|at| decoder.duration(&at, false));
    let burst = map.get("burst").map(count);
    let requests = requests?;
    Some(Rate { requests, per: per?, burst: burst.unwrap_or(Some(requests))? })
}

/// Reads one or a list of addresses and networks.
pub(super) fn networks(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Vec<IpNet>> {
    let network = |at: &At<'_>| decoder.parsed(at, "invalid_network", "a network", scalar::network);
    if let View::Scalar { .. } = decoder.tree.view(at.node) {
        return network(at).map(|one| vec![one]);
    }
    let all: Vec<Option<IpNet>> = decoder.sequence(at)?.map(|item| network(&item)).collect();
    if all.is_empty() { decoder.empty(at) } else { all.into_iter().collect() }
}

/// Reads `trusted_proxies`: networks, and the word `unix`.
pub(super) fn trusted_proxies(decoder: &Decoder<'_>, at: &At<'_>) -> Option<TrustedProxies> {
    let mut trusted = TrustedProxies::default();
    let mut fine = true;
    let mut take = |item: &At<'_>| match decoder.tree.view(item.node) {
        View::Scalar { text: "unix", .. } => trusted.unix = true,
        _ => match decoder.parsed(item, "invalid_network", "a network", scalar::network) {
            Some(network) if network.prefix_len() == 0 => {
                let message = format!("{item} trusts every address to state where a call comes from");
                let finding = Finding::error("invalid_network", decoder.place(item), message);
                decoder.report(finding.label("name the proxies, or their network"));
                fine = false;
            }
            Some(network) => trusted.networks.push(network),
            None => fine = false,
        },
    };
    match decoder.tree.view(at.node) {
        View::Scalar { .. } => take(at),
        _ => decoder.sequence(at)?.for_each(|item| take(&item)),
    }
    fine.then_some(trusted)
}
