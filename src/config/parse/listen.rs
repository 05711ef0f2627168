//! `listen`: the addresses, and that only local programs may use credentials without authentication.

use super::{keys, listen_tls};
use crate::config::decode::{At, Decoder};
use crate::config::model::{AdminTokens, Listen, ListenAddr, Listener};
use crate::config::problem::Finding;
use crate::config::scalar;
use crate::config::source::Span;
use crate::config::tree::View;

/// A listener, and the place of its address in the file; `None` for a default.
type Placed = (Listener, Option<Span>);

/// Reads `listen`. The tokens in it are added to `seen`.
pub(super) fn listen(
    decoder: &Decoder<'_>,
    at: Option<&At<'_>>,
    anonymous: bool,
    seen: &mut keys::Seen,
) -> Option<Listen> {
    let map = match at {
        Some(at) => Some(decoder.mapping(at)?),
        None => None,
    };
    let default = Listen::default();
    let read = |key, default| match map.as_ref().and_then(|map| map.get(key)) {
        Some(at) => listener(decoder, &at),
        None => Some((default, None)),
    };
    let outbound = read("outbound", default.outbound);
    let webhooks = read("webhooks", default.webhooks);
    let admin = read("admin", default.admin);
    let tokens = match map.as_ref().and_then(|map| map.get("admin")) {
        Some(at) => admin_tokens(decoder, &at, seen),
        None => Some(AdminTokens::default()),
    };
    if let Some((listener, Some(place))) = &outbound
        && !anonymous
        && !listener.address.stays_on_this_machine()
    {
        let message = "listen.outbound is reachable from other machines, and every client that reaches it may use every credential";
        decoder
            .report(Finding::error("anonymous_callers", *place, message).label("not a loopback address").help(
            "define `callers`, listen on 127.0.0.1 or `unix:/path`, or set `allow_anonymous_callers: true`",
        ));
    }
    report_collisions(decoder, [("outbound", &outbound), ("webhooks", &webhooks), ("admin", &admin)]);
    Some(Listen { outbound: outbound?.0, webhooks: webhooks?.0, admin: admin?.0, admin_tokens: tokens? })
}

const WORDS: keys::Words = keys::Words {
    owner: "listener",
    one: "token",
    other: "token of listen.admin",
    duplicate: "duplicate_token",
    command: "`t=$(openssl rand -hex 32); echo $t; printf %s $t | sha256sum`",
    is_sent_in_header: true,
};

/// Reads `tokens` of the admin listener. They are required even if none of them can be read.
fn admin_tokens(decoder: &Decoder<'_>, at: &At<'_>, seen: &mut keys::Seen) -> Option<AdminTokens> {
    if !matches!(decoder.tree.view(at.node), View::Mapping(_)) {
        return Some(AdminTokens::default());
    }
    let map = decoder.mapping(at)?;
    let Some(at) = map.get("tokens") else { return Some(AdminTokens::default()) };
    let read = || keys::keys(decoder, &at, &WORDS, seen);
    let (list, unread) = decoder.secrets.owned(at.to_string(), read);
    let keys::List { keys, has_unread } = list?;
    if keys.is_empty() && !has_unread {
        return decoder.empty(&at);
    }
    Some(AdminTokens { tokens: keys, are_required: true, unread })
}

/// Reads one listener: an address, or a mapping.
fn listener(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Placed> {
    if !matches!(decoder.tree.view(at.node), View::Mapping(_)) {
        return Some((Listener { address: address(decoder, at)?, tls: None }, Some(decoder.place(at))));
    }
    let map = decoder.mapping(at)?;
    let tls = map.get("tls").map(|at| listen_tls::tls(decoder, &at));
    let at = decoder.required(&map, "address")?;
    let address = address(decoder, &at)?;
    let tls = match tls {
        Some(tls) => Some(Box::new(tls?)),
        None => None,
    };
    Some((Listener { address, tls }, Some(decoder.place(&at))))
}

fn address(decoder: &Decoder<'_>, at: &At<'_>) -> Option<ListenAddr> {
    decoder.parsed(at, "invalid_address", "an address to listen on", scalar::listen_addr)
}

fn report_collisions(decoder: &Decoder<'_>, listeners: [(&str, &Option<Placed>); 3]) {
    for (i, (name, one)) in listeners.iter().enumerate() {
        for (other_name, other) in &listeners[i + 1..] {
            let (Some((a, place)), Some((b, other_place))) = (one, other) else { continue };
            let Some(mark) = other_place.or(*place).filter(|_| collide(&a.address, &b.address)) else {
                continue;
            };
            let message = format!("listen.{name} and listen.{other_name} are the same address");
            let finding = Finding::error("duplicate_address", mark, message).label("already taken");
            decoder.report(match (place, other_place) {
                (Some(first), Some(_)) => finding.secondary(*first, "taken here"),
                _ => finding.help("the other one is the default"),
            });
        }
    }
}

fn collide(a: &ListenAddr, b: &ListenAddr) -> bool {
    match (a, b) {
        (ListenAddr::Tcp(a), ListenAddr::Tcp(b)) => {
            let covers = a.ip() == b.ip()
                || (a.is_ipv4() == b.is_ipv4() && (a.ip().is_unspecified() || b.ip().is_unspecified()));
            a.port() == b.port() && a.port() != 0 && covers
        }
        (ListenAddr::Unix(a), ListenAddr::Unix(b)) => a == b,
        (ListenAddr::Tcp(_), ListenAddr::Unix(_)) | (ListenAddr::Unix(_), ListenAddr::Tcp(_)) => false,
    }
}
