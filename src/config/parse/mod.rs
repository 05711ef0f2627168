//! From trees to a [`Config`], or to every problem at once. Pure: no clock, and no file or environment except through
//! [`SecretSource`].
//!
//! "Parse, don't validate": each part is returned complete or not at all, so a [`Config`] needs no second check.

mod accounts;
mod advice;
mod callers;
mod credential_place;
mod forward_proxy;
mod handshake;
mod headers;
mod hosts;
mod identity;
mod issuers;
mod keys;
mod layout;
mod limits;
mod listen;
mod listen_advice;
mod listen_tls;
mod loops;
mod oauth2;
mod redaction;
mod retries;
mod rights;
mod service_rules;
mod services;
mod state;
mod tls;
mod top;
mod urls;
mod verify;
mod webhooks;

pub use layout::Written;
pub(super) use layout::written;

use super::decode::{At, Decoder, Given, Map};
use super::effective::Effective;
use super::header::Distinct;
use super::model::{Config, LastValues, ListenAddr, TrustedProxies};
use super::problem::{Finding, Problems};
use super::redact::Redaction;
use super::scalar;
use super::secrets::{SecretSource, Secrets};
use super::source::{Source, Span};
use super::tree::{Entry, NodeId, Tree, View, shown_key};
use crate::secret::hex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

/// The maps to which several files may contribute.
const MERGED: [&str; 5] = ["issuers", "accounts", "users", "callers", "services"];

/// Keys that each of several files may have.
const OF_EACH_FILE: [&str; 2] = ["version", "$schema"];

/// A section with the operator's own names.
struct Named<T> {
    /// The entry of a name; `None` if it is defined but invalid, which was reported.
    entries: BTreeMap<String, Option<Arc<T>>>,
    /// True if the section is not a mapping, which was reported: then no name is known to be missing.
    is_unreadable: bool,
}

/// Reads the files of one configuration, in their order; at least one. With a time, a valid file is also checked for
/// parts that have no effect at that time.
pub(super) fn parse(
    sources: &[Source],
    machine: &dyn SecretSource,
    offline: bool,
    last: &LastValues,
    advice_at: Option<SystemTime>,
) -> (Option<Config>, Problems) {
    let mut tree = Tree::default();
    let mut findings = Vec::new();
    let roots: Vec<Option<NodeId>> =
        sources.iter().zip(0..).map(|(source, file)| tree.read(file, source, &mut findings)).collect();
    let whole: Option<Vec<NodeId>> = roots.iter().copied().collect();
    let Some(whole) = whole else {
        let lines = Problems::lines(sources, &mut findings);
        let redaction = Redaction::new(&tree, sources, &roots, &[], &lines);
        return (None, Problems::new(sources, &redaction, findings));
    };
    let merged = merge(&mut tree, &whole, &mut findings);
    let decoder = Decoder::new(&tree, sources, Secrets::new(machine, offline, last));
    let config = merged.and_then(|root| decode(&decoder, root));
    if let (Some(root), Some(config), Some(now), false) = (merged, &config, advice_at, decoder.refuses()) {
        advice::report(&decoder, root, config, now);
        if !offline {
            advice::try_access_log(&decoder, root, config, machine);
        }
    }
    let (found, hidden) = decoder.into_findings();
    findings.extend(found);
    let config = if findings.iter().any(Finding::refuses) { None } else { config };
    if findings.is_empty() {
        return (config, Problems::default());
    }
    let lines = Problems::lines(sources, &mut findings);
    let redaction = Redaction::new(&tree, sources, &roots, &hidden, &lines);
    (config, Problems::new(sources, &redaction, findings))
}

/// Returns the address of `listen.admin`, and true if it speaks TLS, of a configuration that may have problems elsewhere.
pub(super) fn admin_address(sources: &[Source]) -> Option<(ListenAddr, bool)> {
    let mut tree = Tree::default();
    let read = sources.iter().zip(0..).map(|(source, file)| tree.read(file, source, &mut Vec::new()));
    let roots: Vec<NodeId> = read.collect::<Vec<_>>().into_iter().flatten().collect();
    let below = |node, key: &str| match tree.view(node) {
        View::Mapping(entries) => entries.iter().find(|(k, _)| tree.key(*k) == key).map(|(_, value)| *value),
        View::Scalar { .. } | View::Sequence(_) => None,
    };
    let found = roots.into_iter().find_map(|root| below(below(root, "listen")?, "admin"))?;
    let is_tls = below(found, "tls").is_some();
    let found = below(found, "address").unwrap_or(found);
    match tree.view(found) {
        View::Scalar { text, .. } => scalar::listen_addr(text).ok().map(|address| (address, is_tls)),
        View::Mapping(_) | View::Sequence(_) => None,
    }
}

/// Returns the effective file of sources that parse.
pub(super) fn effective(sources: &[Source]) -> Option<Effective> {
    let (mut tree, mut findings) = (Tree::default(), Vec::new());
    let roots: Option<Vec<NodeId>> =
        sources.iter().zip(0..).map(|(source, file)| tree.read(file, source, &mut findings)).collect();
    let root = merge(&mut tree, &roots?, &mut findings)?;
    Some(Effective::new(&tree, sources, root))
}

/// Builds one root for all files: the sections of [`MERGED`] by key, every other key from one file.
fn merge(tree: &mut Tree<'_>, roots: &[NodeId], findings: &mut Vec<Finding>) -> Option<NodeId> {
    let mut top: Vec<Entry> = Vec::new();
    let mut merged: [Option<(NodeId, Vec<Entry>)>; MERGED.len()] = [const { None }; MERGED.len()];
    let mut seen: HashMap<(usize, String), Span> = HashMap::new();
    let mut mappings = 0;
    for root in roots {
        let View::Mapping(entries) = tree.view(*root) else {
            let finding =
                Finding::error("wrong_type", tree.span(*root), "the configuration must be a mapping");
            findings.push(finding.label("no keys here").help("a configuration has at least `services`"));
            continue;
        };
        mappings += 1;
        for (key, value) in entries {
            let name = tree.key(*key);
            // Keys for anchors, and for other programs.
            if name.starts_with("x-") {
                continue;
            }
            if name == "version" {
                findings.extend(unknown_version(tree, *key, *value));
            }
            if OF_EACH_FILE.contains(&name) {
                continue;
            }
            let mut claim = |section: usize, path: String, key: NodeId| {
                let span = tree.span(key);
                match seen.get(&(section, path.clone())) {
                    Some(first) => {
                        let shown: Vec<&str> = path.split('.').map(shown_key).collect();
                        let message = format!("{} is set in two files", shown.join("."));
                        let finding = Finding::error("duplicate_key", span, message);
                        findings.push(finding.label("set again here").secondary(*first, "first set here"));
                        false
                    }
                    None => {
                        seen.insert((section, path), span);
                        true
                    }
                }
            };
            let section = MERGED.iter().position(|m| *m == name);
            match (section, tree.view(*value)) {
                // The keys within one file are known to differ.
                _ if roots.len() == 1 => top.push((*key, *value)),
                (Some(section), View::Mapping(below)) => {
                    let (_, all) = merged[section].get_or_insert((*key, Vec::new()));
                    all.extend(
                        below.iter().filter(|(k, _)| claim(section, format!("{name}.{}", tree.key(*k)), *k)),
                    );
                }
                _ => {
                    if claim(MERGED.len(), name.to_owned(), *key) {
                        top.push((*key, *value));
                    }
                }
            }
        }
    }
    for (key, entries) in merged.into_iter().flatten() {
        let value = tree.add_mapping(tree.span(key), &entries);
        top.push((key, value));
    }
    let span = tree.span(*roots.first()?);
    (mappings == roots.len()).then(|| tree.add_mapping(span, &top))
}

/// The schema has one version. In a file for a later one, the same keys could have another meaning.
fn unknown_version(tree: &Tree<'_>, key: NodeId, value: NodeId) -> Option<Finding> {
    if matches!(tree.view(value), View::Scalar { text: "1", .. }) {
        return None;
    }
    let span = if tree.is_null(value) { tree.span(key) } else { tree.span(value) };
    let finding =
        Finding::error("unknown_version", span, "version is not supported by this version of attache");
    Some(finding.label("the version of the file, not of attache").help("write `version: 1`, or remove it"))
}

fn decode(decoder: &Decoder<'_>, root: NodeId) -> Option<Config> {
    for bytes in decoder.sources.iter().flat_map(Source::bytes) {
        decoder.secrets.digest(bytes);
    }
    let root = At::root(root);
    let map = decoder.mapping(&root)?;
    // `merge` has checked them.
    let (_, _) = (map.get("version"), map.get("$schema"));
    let anonymous = map.get("allow_anonymous_callers").and_then(|at| decoder.bool(&at)).unwrap_or(false);
    let via = map.get("via").and_then(|at| decoder.bool(&at)).unwrap_or(false);
    let has_callers = map.get("callers").is_some() || decoder.is_misspelt(&map, "callers");
    let mut admin_tokens = keys::Seen::default();
    let listen =
        listen::listen(decoder, map.get("listen").as_ref(), anonymous || has_callers, &mut admin_tokens);
    let caller_rules = callers::rules(decoder, &map, listen.as_ref(), anonymous);
    let http_proxy = map.get("http_proxy").and_then(|at| decoder.bool(&at)).unwrap_or(false);
    let listeners = loops::Listeners::new(decoder, map.get("listen").as_ref(), listen.as_ref());
    let public_url = map.get("public_url").and_then(|at| top::public_url(decoder, &at));
    let threads = map.get("threads").and_then(|at| top::threads(decoder, &at));
    let mut names = Distinct::default();
    let identity_headers = top::identity_headers(decoder, map.get("identity_headers").as_ref(), &mut names);
    let (assertion, assertion_unread) = match map.get("identity") {
        // An invalid public_url was reported at its own place.
        Some(at) => {
            let issuer = optional(map.get("public_url"), |_| public_url.as_deref());
            let read = || identity::assertion(decoder, &at, issuer, &mut names);
            decoder.secrets.owned(at.to_string(), read)
        }
        None => (Given::Absent, None),
    };
    let trusted_proxies = match map.get("trusted_proxies") {
        Some(at) => limits::trusted_proxies(decoder, &at),
        None => Some(TrustedProxies::default()),
    };
    let limits = limits::limits(decoder, map.get("limits").as_ref());
    let drain = top::drain(decoder, map.get("shutdown").as_ref());
    let log = top::log(decoder, map.get("log").as_ref());

    let state = map.get("state");
    let state = state.map(|at| decoder.secrets.owned(at.to_string(), || state::state(decoder, &at)));
    let (state, sealed_with) =
        state.map_or((Given::Absent, None), |(state, unread)| (Given::from(state), unread));

    let kept = !state.is_absent() || decoder.is_misspelt(&map, "state");
    let proxies = forward_proxy::Proxies::read(decoder, map.get("proxy"), listeners.outbound.as_ref());
    let proxies = Arc::new(proxies);
    let brought = handshake::BroughtSecrets::new(kept, sealed_with.clone());
    let mut refresh_tokens = oauth2::RefreshTokens::new(kept, sealed_with, Arc::clone(&proxies));
    let issuers = named(decoder, &map, "issuers", |at, name| issuers::issuer(decoder, at, name, &proxies));
    let accounts = named(decoder, &map, "accounts", |at, name| {
        accounts::account(decoder, at, name.to_owned(), &mut refresh_tokens)
    });
    let users = named(decoder, &map, "users", |at, name| top::user(decoder, at, name));
    let has_public_url = map.get("public_url").is_some();
    let webhooks = webhooks::All::new(has_public_url, &issuers, &names, assertion_unread, brought);
    let mut webhooks = webhooks.after(admin_tokens);
    let defaults = map.get("defaults");
    let defaults = defaults.as_ref().and_then(|at| decoder.mapping(at));
    let of = |key| defaults.as_ref().and_then(|map| map.get(key));
    let (service_at, webhook_at) = (of("service"), of("webhook"));
    let service_defaults = service_at.as_ref().and_then(|at| decoder.mapping(at));
    let webhook_defaults = webhook_at.as_ref().and_then(|at| decoder.mapping(at));
    let hosts = hosts::Hosts::default();
    let context = services::Context {
        proxies: &proxies,
        hosts: &hosts,
        accounts: &accounts,
        users: &users,
        listeners: &listeners,
        service_defaults: service_defaults.as_ref(),
        webhook_defaults: webhook_defaults.as_ref(),
    };
    if let Some(defaults) = &service_defaults {
        services::check_defaults(decoder, defaults, &context);
    }
    let mut new_webhook = None;
    if let Some(defaults) = &webhook_defaults {
        let check = || webhooks::check_defaults(decoder, defaults, &context, &webhooks);
        // An unreadable secret concerns the webhooks that use it.
        new_webhook = Some(decoder.secrets.owned(defaults.at.to_string(), check).0);
    }
    for defaults in service_defaults.iter().chain(&webhook_defaults) {
        decoder.inherit(defaults);
    }
    let services = named(decoder, &map, "services", |at, name| {
        decoder.inheriting(at, context.service_defaults, || {
            services::service(decoder, at, name, &context, &mut refresh_tokens, &mut webhooks)
        })
    });
    let mut proofs = callers::Proofs::after(webhooks.into_seen_keys());
    let context = callers::Context {
        accounts: &accounts,
        services: &services,
        issuers: &issuers,
        has_client_ca: listen
            .as_ref()
            .is_none_or(|listen| listen.outbound.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some())),
    };
    let callers =
        named(decoder, &map, "callers", |at, name| callers::caller(decoder, at, name, &context, &mut proofs));
    let limits = limits?;
    Some(Config {
        listen: listen?,
        via,
        proxy: proxies.of_file.clone(),
        http_proxy,
        public_url,
        threads,
        identity_headers: identity_headers?,
        assertion: assertion.checked().ok()?,
        trusted_proxies: trusted_proxies?,
        wrong_keys: limits.wrong_keys,
        max_connections: limits.connections,
        buffered: limits.buffered,
        drain,
        log,
        state: state.checked().ok()?,
        issuers: all(issuers)?,
        accounts: all(accounts)?,
        users: all(users)?,
        services: all(services)?,
        webhook_defaults: new_webhook.unwrap_or_default(),
        callers: Some(all(callers)?).filter(|_| has_callers),
        caller_rules,
        allow_anonymous_callers: anonymous,
        hash: hash(decoder.sources),
        fingerprint: decoder.secrets.fingerprint(),
        last_values: decoder.secrets.take_read(),
    })
}

/// Reads a section with the operator's own names.
fn named<T>(
    decoder: &Decoder<'_>,
    root: &Map<'_>,
    section: &'static str,
    mut read: impl FnMut(&At<'_>, &str) -> Option<T>,
) -> Named<T> {
    let is_misspelt = || decoder.is_misspelt(root, section);
    let none = |is_unreadable| Named { entries: BTreeMap::new(), is_unreadable };
    let Some(at) = root.get(section) else { return none(is_misspelt()) };
    // `users:` with all entries commented out is valid.
    if section == "users" && decoder.is_null(&at) {
        return none(false);
    }
    let Some(map) = decoder.names(&at) else { return none(true) };
    let entries = map
        .entries()
        .map(|(name, at)| {
            let fine = scalar::name(name).map_err(|invalid| {
                let finding =
                    Finding::error("invalid_name", decoder.key(&at), format!("{at} is not a valid name"));
                decoder.report(finding.label(invalid.label));
            });
            let value = read(&at, name).filter(|_| fine.is_ok());
            (name.to_owned(), value.map(Arc::new))
        })
        .collect();
    Named { entries, is_unreadable: false }
}

/// Reads the value of a key, if it is present.
fn optional<T>(at: Option<At<'_>>, read: impl FnOnce(&At<'_>) -> Option<T>) -> Given<T> {
    at.map_or(Given::Absent, |at| read(&at).into())
}

fn all<T>(named: Named<T>) -> Option<BTreeMap<String, Arc<T>>> {
    let entries = (!named.is_unreadable).then_some(named.entries)?;
    entries.into_iter().map(|(name, value)| Some((name, value?))).collect()
}

/// Resolves a reference, and suggests a similar name.
fn refer<T>(
    decoder: &Decoder<'_>,
    at: &At<'_>,
    kind: &str,
    named: &Named<T>,
    otherwise: &str,
) -> Option<Arc<T>> {
    let name = decoder.string(at)?;
    if let Some(found) = named.entries.get(name) {
        return found.clone();
    }
    if named.is_unreadable {
        return None;
    }
    let code = match kind {
        "user" => "unknown_user",
        "issuer" => "unknown_issuer",
        _ => "unknown_account",
    };
    // Not a name, so it may be a misplaced credential that belongs in an account.
    decoder.parsed_or_hidden(at, code, &format!("the name of an entry of `{kind}s`"), scalar::name)?;
    let message = format!("{at} refers to unknown {kind} `{name}`");
    let help = decoder
        .suggest(name, named.entries.keys().map(String::as_str))
        .unwrap_or_else(|| otherwise.to_owned());
    let finding = Finding::error(code, decoder.place(at), message);
    decoder.reject(finding.label(format!("no such {kind}")).help(help))
}

/// Returns SHA-256 of the files' bytes in their order, as `cat FILES | sha256sum` prints it.
pub(super) fn hash(sources: &[Source]) -> String {
    hex(digest(sources).finish().as_ref())
}

/// Returns the digest behind [`hash`], to which further bytes can be added.
pub(super) fn digest(sources: &[Source]) -> ring::digest::Context {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    sources.iter().flat_map(Source::bytes).for_each(|bytes| context.update(bytes));
    context
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
