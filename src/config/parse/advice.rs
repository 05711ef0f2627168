//! Warnings of `attache check` about a valid file: parts that have no effect.
//!
//! `run` omits them: an account that is not used yet should not be logged at every reload.

use super::super::decode::{At, Decoder, Map};
use super::super::model::{AccessLog, ApiKey, Config, Validity, Webhook};
use super::super::problem::Finding;
use super::super::secrets::SecretSource;
use super::super::tree::{NodeId, View};
use super::listen_advice;
use std::collections::{BTreeSet, HashSet};
use std::time::SystemTime;

/// Reports accounts and users without a service, webhook keys that have expired at `now`, and a file without services.
pub(super) fn report(decoder: &Decoder<'_>, root: NodeId, config: &Config, now: SystemTime) {
    let root = At::root(root);
    if config.services.is_empty() {
        let at = section(decoder, &root, "services").unwrap_or(root);
        let finding =
            Finding::warning("no_services", decoder.place(&at), "the configuration has no services");
        decoder.report(finding.label("every request is answered with 404").help("add one under `services`"));
    }
    let services = config.services.values();
    let outbound = services.clone().filter_map(|service| service.outbound.as_ref());
    let of_callers = config.caller_accounts().map(|(_, account)| account.name.as_str());
    let accounts = outbound.map(|outbound| outbound.account.name.as_str()).chain(of_callers).collect();
    report_unused(decoder, &root, "accounts", "unused_account", &accounts);
    let webhooks = services.filter_map(|service| service.webhook.as_ref());
    // An inactive user may be kept for its name.
    let inactive = config.users.values().filter(|user| !user.active).map(|user| user.key.as_str());
    let users = webhooks.map(|webhook| webhook.user.key.as_str()).chain(inactive).collect();
    report_unused(decoder, &root, "users", "unused_user", &users);
    report_unused_issuers(decoder, &root, config);
    report_expired(decoder, &root, config, now);
    listen_advice::report(decoder, &root, config, now);
    report_expired_tokens(decoder, &root, config, now);
    report_large_bodies(decoder, &root, config);
}

/// Reports an access log that `run` could not open.
pub(super) fn try_access_log(
    decoder: &Decoder<'_>,
    root: NodeId,
    config: &Config,
    machine: &dyn SecretSource,
) {
    let AccessLog::File(path) = &config.log.access else { return };
    let Err(reason) = machine.can_append(path) else { return };
    let root = At::root(root);
    let log = section(decoder, &root, "log");
    let at = log.as_ref().and_then(|log| section(decoder, log, "access"));
    let Some(at) = at else { return };
    let message = format!("log.access can't be opened: {reason}");
    let label = format!("`attache run` appends to {}", path.display());
    decoder.report(Finding::error("unwritable_access_log", decoder.place(&at), message).label(label));
}

fn report_unused(
    decoder: &Decoder<'_>,
    root: &At<'_>,
    name: &'static str,
    code: &'static str,
    used: &BTreeSet<&str>,
) {
    let Some(at) = section(decoder, root, name) else { return };
    let Some(map) = mapping(decoder, &at) else { return };
    let label = match code {
        "unused_issuer" => "no caller and no webhook refers to it",
        _ => "no service refers to it",
    };
    for (_, at) in map.entries().filter(|(name, _)| !used.contains(name)) {
        let finding = Finding::warning(code, decoder.key(&at), format!("{at} is not used"));
        decoder.report(finding.label(label));
    }
}

fn report_unused_issuers(decoder: &Decoder<'_>, root: &At<'_>, config: &Config) {
    let callers = config.callers.iter().flatten();
    let of_callers = callers.filter_map(|(_, caller)| Some(caller.jwt.as_ref()?.issuer.as_str()));
    let webhooks = config.services.values().filter_map(|service| service.webhook.as_ref());
    let of_webhooks = webhooks.filter_map(|webhook| Some(webhook.verify.as_ref()?.token()?.issuer.as_str()));
    report_unused(decoder, root, "issuers", "unused_issuer", &of_callers.chain(of_webhooks).collect());
}

fn report_expired(decoder: &Decoder<'_>, root: &At<'_>, config: &Config, now: SystemTime) {
    let Some(services) = section(decoder, root, "services") else { return };
    let Some(services) = mapping(decoder, &services) else { return };
    for (name, at) in services.entries() {
        let webhook = config.services.get(name).and_then(|service| service.webhook.as_ref());
        let keys = webhook.map(|webhook| webhook.api_keys.as_slice()).unwrap_or_default();
        if keys.is_empty() {
            continue;
        }
        let Some(webhook) = section(decoder, &at, "webhook") else { continue };
        let Some(list) = section(decoder, &webhook, "api_keys") else { continue };
        let label = |id: &str| format!("calls with the key `{id}` are answered with 404");
        report_expired_of(decoder, &list, keys, now, ("key", &label));
    }
}

fn report_expired_tokens(decoder: &Decoder<'_>, root: &At<'_>, config: &Config, now: SystemTime) {
    let Some(callers) = section(decoder, root, "callers") else { return };
    let Some(map) = mapping(decoder, &callers) else { return };
    for (name, at) in map.entries() {
        let caller = config.callers.iter().flatten().find(|(key, _)| *key == name);
        let tokens = caller.map(|(_, caller)| caller.tokens.as_slice()).unwrap_or_default();
        let Some(list) = section(decoder, &at, "tokens").filter(|_| !tokens.is_empty()) else { continue };
        let label = |id: &str| format!("requests with the token `{id}` are answered with 401");
        report_expired_of(decoder, &list, tokens, now, ("token", &label));
    }
}

/// Reports webhooks whose largest bodies one client address can't have read.
fn report_large_bodies(decoder: &Decoder<'_>, root: &At<'_>, config: &Config) {
    let share = config.buffered / 4;
    let Some(services) = section(decoder, root, "services") else { return };
    let Some(services) = mapping(decoder, &services) else { return };
    for (name, at) in services.entries() {
        let webhook = config.services.get(name).and_then(|service| service.webhook.as_ref());
        let reads_body = |webhook: &&Webhook| webhook.verify.is_some() || webhook.replay.is_some();
        let Some(max) = webhook.filter(reads_body).map(|webhook| webhook.max_body) else { continue };
        let Some(webhook) = section(decoder, &at, "webhook").filter(|_| max > share) else { continue };
        let max_body = section(decoder, &webhook, "max_body");
        let message = format!("{at}.webhook.max_body is more than a quarter of limits.buffered");
        let place = decoder.place(max_body.as_ref().unwrap_or(&webhook));
        let finding = Finding::warning("large_max_body", place, message);
        let label = format!("a body of more than {share} bytes is answered with 503");
        decoder.report(
            finding.label(label).help("lower `max_body`, or raise `limits.buffered` to four times of it"),
        );
    }
}

/// Reports the keys of one list that have expired, by their ids: one that can't be read is not in `keys`.
fn report_expired_of(
    decoder: &Decoder<'_>,
    list: &At<'_>,
    keys: &[ApiKey],
    now: SystemTime,
    (what, label): (&str, &dyn Fn(&str) -> String),
) {
    let expired: HashSet<&str> = keys
        .iter()
        .filter(|key| key.validity_at(now) == Validity::Expired)
        .map(|key| key.id.as_str())
        .collect();
    if expired.is_empty() {
        return;
    }
    for item in decoder.sequence(list).into_iter().flatten() {
        let Some(id) = section(decoder, &item, "id") else { continue };
        let View::Scalar { text: id, .. } = decoder.tree.view(id.node) else { continue };
        if !expired.contains(id) {
            continue;
        }
        let end = section(decoder, &item, "expires_at");
        let place = decoder.place(end.as_ref().unwrap_or(&item));
        let finding = Finding::warning("expired_key", place, format!("{item} has expired"));
        let help = format!("remove the {what}, or set a later time");
        decoder.report(finding.label(label(id)).help(help));
    }
}

/// Returns the value of a key of a mapping, if there is one.
fn section<'a>(decoder: &'a Decoder<'_>, at: &'a At<'a>, key: &'static str) -> Option<At<'a>> {
    mapping(decoder, at)?.get(key)
}

fn mapping<'a>(decoder: &'a Decoder<'_>, at: &'a At<'a>) -> Option<Map<'a>> {
    matches!(decoder.tree.view(at.node), View::Mapping(_)).then(|| decoder.names(at)).flatten()
}
