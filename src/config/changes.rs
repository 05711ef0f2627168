//! Differences between two configurations, by name, for the log of a reload and for `attache diff`.
//!
//! The meaning is compared, not the text: a changed comment is no difference. Pure.

use super::model::{
    Account, ApiKey, Caller, CallerRight, CallerServices, Config, Outbound, Service, Webhook,
};
use crate::header_name::FieldName;
use http::HeaderValue;
use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display};
use std::sync::Arc;

/// Maximum number of names in a log line.
const SHOWN: usize = 20;

/// A key whose change takes effect at the next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RestartKey {
    Listen,
    Threads,
    AccessLog,
    StateDir,
}

impl RestartKey {
    /// Every key.
    pub(crate) const ALL: [Self; 4] = [Self::Listen, Self::Threads, Self::AccessLog, Self::StateDir];

    /// Returns true if a change of the field at this path waits for the next start.
    pub(crate) fn covers(self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix(self.as_str()) else { return false };
        // Certificates and tokens of a listener are taken up by a reload.
        let is_reloaded = self == Self::Listen
            && rest.split('.').nth(2).is_some_and(|key| key == "tls" || key.starts_with("tokens"));
        (rest.is_empty() || rest.starts_with('.')) && !is_reloaded
    }

    /// Returns its path in the file.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Listen => "listen",
            Self::Threads => "threads",
            Self::AccessLog => "log.access",
            Self::StateDir => "state.dir",
        }
    }
}

/// The differences between two configurations.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// A service counts as unchanged if only its named account or its user changes; an account written in place is part
    /// of it, and so are its webhook keys.
    pub(crate) services: Named,
    /// Issuers under `issuers`. One whose key file has changed is changed.
    pub(crate) issuers: Named,
    /// Accounts under `accounts`. One with a different secret is changed.
    pub(crate) accounts: Named,
    /// Users under `users`.
    pub(crate) users: Named,
    /// Callers under `callers`. A caller counts as unchanged if only an account that it names changes; its tokens are
    /// part of it.
    pub(crate) callers: Named,
    /// The keys of all webhooks.
    pub(crate) keys: Keys,
    /// The other top-level keys of the file with a different value, in the order of the documentation.
    pub(crate) settings: Vec<&'static str>,
}

/// The changes of the entries of one section, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) added: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) changed: Vec<String>,
}

/// The changes of webhook keys. A key is identified by its service, its id and its hash.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) added: usize,
    pub(crate) removed: usize,
    /// Keys with a different `disabled`, `not_before` or `expires_at`.
    pub(crate) changed: usize,
}

impl Changes {
    /// Compares two configurations.
    pub(crate) fn between(before: &Config, after: &Config) -> Self {
        Self {
            services: named(&before.services, &after.services, same_service),
            issuers: named(&before.issuers, &after.issuers, |before, after| before == after),
            accounts: named(&before.accounts, &after.accounts, same_account),
            users: named(&before.users, &after.users, |before, after| before == after),
            callers: callers(before, after),
            keys: keys(before, after),
            settings: settings(before, after),
        }
    }

    /// Adds entries with another source of a secret or another file, which a configuration does not show that was read
    /// without them. `differs` is called for each entry that exists on both sides.
    pub(crate) fn add_sources(
        &mut self,
        (before, after): (&Config, &Config),
        differs: impl Fn(&[&str]) -> bool,
    ) {
        fn both<'c, T>(
            before: &'c BTreeMap<String, Arc<T>>,
            after: &'c BTreeMap<String, Arc<T>>,
        ) -> impl Iterator<Item = &'c String> {
            after.keys().filter(|name| before.contains_key(*name))
        }
        let add = |names: &mut Named, name: &String| {
            if let Err(at) = names.changed.binary_search(name) {
                names.changed.insert(at, name.clone());
            }
        };
        for name in both(&before.services, &after.services).filter(|name| differs(&["services", name])) {
            add(&mut self.services, name);
        }
        for name in both(&before.issuers, &after.issuers).filter(|name| differs(&["issuers", name])) {
            add(&mut self.issuers, name);
        }
        for name in both(&before.accounts, &after.accounts).filter(|name| differs(&["accounts", name])) {
            add(&mut self.accounts, name);
        }
        if let (Some(before), Some(after)) = (&before.callers, &after.callers) {
            for name in both(before, after).filter(|name| differs(&["callers", name])) {
                add(&mut self.callers, name);
            }
        }
        for key in ["listen", "proxy", "identity", "state"] {
            if !self.settings.contains(&key) && differs(&[key]) {
                self.settings.push(key);
            }
        }
    }

    /// Returns true if nothing differs.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Compares two sections.
fn named<T>(
    before: &BTreeMap<String, Arc<T>>,
    after: &BTreeMap<String, Arc<T>>,
    same: impl Fn(&T, &T) -> bool,
) -> Named {
    let missing_in = |other: &BTreeMap<String, Arc<T>>, names: &BTreeMap<String, Arc<T>>| {
        names.keys().filter(|name| !other.contains_key(*name)).cloned().collect()
    };
    let is_changed = |(name, after): (&String, &Arc<T>)| {
        let before = before.get(name)?;
        (!same(before, after)).then(|| name.clone())
    };
    Named {
        added: missing_in(before, after),
        removed: missing_in(after, before),
        changed: after.iter().filter_map(is_changed).collect(),
    }
}

fn same_service(before: &Service, after: &Service) -> bool {
    let Service { key: _, name, outbound, webhook } = before;
    let same_outbound = match (outbound, &after.outbound) {
        (Some(before), Some(after)) => same_outbound(before, after),
        (None, None) => true,
        _ => false,
    };
    let same_webhook = match (webhook, &after.webhook) {
        (Some(before), Some(after)) => same_webhook(before, after),
        (None, None) => true,
        _ => false,
    };
    *name == after.name && same_outbound && same_webhook
}

// Destructured, so that the compiler reports a new field that is not compared.
fn same_outbound(before: &Outbound, after: &Outbound) -> bool {
    let Outbound {
        account,
        server_url,
        timeout,
        connect_timeout,
        timeout_message,
        timeout_response,
        idle_timeout,
        retry_on_401,
        rules,
        proxy,
        retries,
        tls,
        private_network,
        allow_plaintext,
        unread,
        hosts,
        rewrite_links,
        redact_responses,
    } = before;
    let names_one = !account.is_inline() && !after.account.is_inline();
    (if names_one { account.name == after.account.name } else { same_account(account, &after.account) })
        && *server_url == after.server_url
        && *timeout == after.timeout
        && *connect_timeout == after.connect_timeout
        && *timeout_message == after.timeout_message
        && *timeout_response == after.timeout_response
        && *idle_timeout == after.idle_timeout
        && *retry_on_401 == after.retry_on_401
        && *rules == after.rules
        && *proxy == after.proxy
        && *retries == after.retries
        && *tls == after.tls
        && *private_network == after.private_network
        && *allow_plaintext == after.allow_plaintext
        && *hosts == after.hosts
        && *rewrite_links == after.rewrite_links
        && *redact_responses == after.redact_responses
        && *unread == after.unread
}

fn same_webhook(before: &Webhook, after: &Webhook) -> bool {
    let Webhook {
        user,
        forward_to,
        api_keys,
        methods,
        max_body,
        timeout,
        key_in,
        allow_from,
        rate_limit,
        max_concurrent,
        set_headers,
        verify,
        is_secret_brought,
        handshake,
        replay,
        refusals,
        unread,
    } = before;
    user.key == after.user.key
        && *forward_to == after.forward_to
        && *api_keys == after.api_keys
        && *methods == after.methods
        && *max_body == after.max_body
        && *timeout == after.timeout
        && *key_in == after.key_in
        && *allow_from == after.allow_from
        && *rate_limit == after.rate_limit
        && *max_concurrent == after.max_concurrent
        && *set_headers == after.set_headers
        && spelt(set_headers).eq(spelt(&after.set_headers))
        && *verify == after.verify
        && *is_secret_brought == after.is_secret_brought
        && *handshake == after.handshake
        && *replay == after.replay
        && *refusals == after.refusals
        && *unread == after.unread
}

/// Returns the names as they are sent: some receivers compare the spelling too.
fn spelt(headers: &[(FieldName, HeaderValue)]) -> impl Iterator<Item = &[u8]> {
    headers.iter().map(|(name, _)| spelling(name))
}

fn callers(before: &Config, after: &Config) -> Named {
    let all = |config: &Config| config.callers.clone().unwrap_or_default();
    named(&all(before), &all(after), same_caller)
}

// Destructured, so that the compiler reports a new field that is not compared.
fn same_caller(before: &Caller, after: &Caller) -> bool {
    let Caller { key: _, tokens, jwt, certificate, services, rate_limit, max_concurrent, unread } = before;
    *tokens == after.tokens
        && *jwt == after.jwt
        && *certificate == after.certificate
        && same_rights(services, &after.services)
        && *rate_limit == after.rate_limit
        && *max_concurrent == after.max_concurrent
        && *unread == after.unread
}

fn same_rights(before: &CallerServices, after: &CallerServices) -> bool {
    match (before, after) {
        (CallerServices::All, CallerServices::All) => true,
        (CallerServices::Named(before), CallerServices::Named(after)) => {
            before.len() == after.len()
                && before.iter().zip(after).all(|((name, before), (other, after))| {
                    let CallerRight { rights, account } = before;
                    let account_of =
                        |account: &Option<Arc<Account>>| account.as_ref().map(|a| a.name.clone());
                    name == other
                        && *rights == after.rights
                        && account_of(account) == account_of(&after.account)
                })
        }
        _ => false,
    }
}

/// Compares the spelling of a header's name too: some servers require it.
fn same_account(before: &Account, after: &Account) -> bool {
    before == after && spellings(before).eq(spellings(after))
}

fn spellings(account: &Account) -> impl Iterator<Item = &[u8]> {
    let beside = account.headers.iter().map(|(name, _)| name);
    account.authorization.header_names().chain(beside).map(spelling)
}

fn spelling(name: &FieldName) -> &[u8] {
    name.spelling()
}

fn keys(before: &Config, after: &Config) -> Keys {
    type Known<'c> = HashMap<(&'c str, &'c str, &'c [u8; 32]), &'c ApiKey>;
    fn of<'c>(config: &'c Config, service: &str) -> &'c [ApiKey] {
        let webhook = config.services.get(service).and_then(|service| service.webhook.as_ref());
        webhook.map_or(&[], |webhook| &webhook.api_keys)
    }
    /// The keys of the services whose keys are not the same in `other`.
    fn differing<'c>(
        config: &'c Config,
        other: &Config,
    ) -> impl Iterator<Item = ((&'c str, &'c str, &'c [u8; 32]), &'c ApiKey)> {
        let services = config.services.keys().map(|name| (name, of(config, name)));
        services.filter(|(name, keys)| *keys != of(other, name)).flat_map(|(name, keys)| {
            keys.iter().map(move |key| ((name.as_str(), key.id.as_str(), &key.sha256), key))
        })
    }
    let mut gone: Known<'_> = differing(before, after).collect();
    let mut keys = Keys::default();
    for (identity, key) in differing(after, before) {
        match gone.remove(&identity) {
            None => keys.added += 1,
            Some(before) if before != key => keys.changed += 1,
            Some(_) => {}
        }
    }
    keys.removed = gone.len();
    keys
}

fn settings(before: &Config, after: &Config) -> Vec<&'static str> {
    let Config {
        listen,
        public_url,
        via,
        proxy,
        http_proxy,
        threads,
        identity_headers,
        assertion,
        trusted_proxies,
        wrong_keys,
        max_connections,
        buffered,
        drain,
        log,
        state,
        issuers: _,
        accounts: _,
        users: _,
        services: _,
        webhook_defaults: _,
        callers: _,
        caller_rules,
        allow_anonymous_callers,
        hash: _,
        fingerprint: _,
        last_values: _,
    } = before;
    let respelt =
        |before: [&FieldName; 3], after: [&FieldName; 3]| before.map(spelling) != after.map(spelling);
    let limits = (wrong_keys, max_connections, buffered)
        != (&after.wrong_keys, &after.max_connections, &after.buffered);
    let identity_headers = *identity_headers != after.identity_headers
        || respelt(identity_headers.all(), after.identity_headers.all());
    let all = [
        ("listen", *listen != after.listen),
        ("public_url", *public_url != after.public_url),
        ("via", *via != after.via),
        ("proxy", *proxy != after.proxy),
        ("http_proxy", *http_proxy != after.http_proxy),
        ("threads", *threads != after.threads),
        ("identity_headers", identity_headers),
        ("identity", *assertion != after.assertion),
        ("trusted_proxies", *trusted_proxies != after.trusted_proxies),
        ("limits", limits),
        ("shutdown", *drain != after.drain),
        ("log", *log != after.log),
        ("state", *state != after.state),
        // The first `callers` and the last decide if anonymous clients are let in.
        ("callers", before.callers.is_some() != after.callers.is_some()),
        ("caller_rules", *caller_rules != after.caller_rules),
        ("allow_anonymous_callers", *allow_anonymous_callers != after.allow_anonymous_callers),
    ];
    all.into_iter().filter_map(|(key, changed)| changed.then_some(key)).collect()
}

/// The fields of a log line; `None` if nothing differs.
impl Changes {
    pub(crate) fn services_field(&self) -> Option<String> {
        field(&self.services)
    }

    pub(crate) fn issuers_field(&self) -> Option<String> {
        field(&self.issuers)
    }

    pub(crate) fn accounts_field(&self) -> Option<String> {
        field(&self.accounts)
    }

    pub(crate) fn users_field(&self) -> Option<String> {
        field(&self.users)
    }

    pub(crate) fn callers_field(&self) -> Option<String> {
        field(&self.callers)
    }

    pub(crate) fn keys_field(&self) -> Option<String> {
        field(&self.keys)
    }

    pub(crate) fn settings_field(&self) -> Option<String> {
        let changed: Vec<String> = self.settings.iter().map(|key| format!("~{key}")).collect();
        Some(changed.join(" ")).filter(|text| !text.is_empty())
    }
}

fn field(changes: &impl Display) -> Option<String> {
    Some(changes.to_string()).filter(|text| !text.is_empty())
}

/// Prints `+added -removed ~changed`: the first names of a long list and the number of the others.
impl Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [('+', &self.added), ('-', &self.removed), ('~', &self.changed)];
        let names = all.into_iter().flat_map(|(sign, names)| names.iter().map(move |name| (sign, name)));
        let total = names.clone().count();
        for (at, (sign, name)) in names.take(SHOWN).enumerate() {
            write!(f, "{}{sign}{name}", if at == 0 { "" } else { " " })?;
        }
        if total > SHOWN {
            write!(f, " +{} more", total - SHOWN)?;
        }
        Ok(())
    }
}

/// Prints `+1 -2 ~3`.
impl Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [('+', self.added), ('-', self.removed), ('~', self.changed)];
        for (at, (sign, count)) in all.into_iter().filter(|(_, count)| *count > 0).enumerate() {
            write!(f, "{}{sign}{count}", if at == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Mode, load};

    const FILE: &str = "
limits: { connections: 100 }
accounts:
  a: { authorization: { header: { name: X-Key, value: one } } }
users: { bot: {} }
services:
  s:
    account: a
    server_url: https://s.example
    webhook:
      user: bot
      forward_to: http://127.0.0.1:1
      api_keys:
        - { id: k, sha256: 5e20dfe2397513938b8ab7dbcfd225179d6d504189012a286364ce0a37da168f }
  t: { account: { authorization: { header: { name: X-Key, value: one } } }, server_url: https://t.example }
";

    fn read(text: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("attache.yaml");
        std::fs::write(&path, text).unwrap();
        let loaded = load(&path, Mode::Full);
        loaded.config.unwrap_or_else(|| panic!("{}", loaded.problems.render_human(false)))
    }

    /// Returns the fields after some replacements in [`FILE`].
    fn changes(replacements: &[(&str, &str)]) -> String {
        let mut text = FILE.to_owned();
        for (from, to) in replacements {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        let changes = Changes::between(&read(FILE), &read(&text));
        let fields = [
            changes.services_field(),
            changes.accounts_field(),
            changes.users_field(),
            changes.keys_field(),
            changes.settings_field(),
        ];
        assert_eq!(changes.is_empty(), fields.iter().all(Option::is_none));
        fields.map(Option::unwrap_or_default).join("|")
    }

    #[test]
    fn a_changed_text_with_the_same_meaning_is_no_change() {
        assert_eq!(
            changes(&[("\nlimits:", "\n# A comment.\nlimits:"), ("bot: {}", "\"bot\": { active: true }")]),
            "||||"
        );
    }

    #[test]
    fn each_section_names_what_changed() {
        assert_eq!(changes(&[("connections: 100", "connections: 101")]), "||||~limits");
        assert_eq!(changes(&[("connections: 100", "connections: 100, buffered: 1GiB")]), "||||~limits");
        assert_eq!(changes(&[("connections: 100", "connections: 100, buffered: 256MiB")]), "||||");
        assert_eq!(changes(&[("bot: {}", "bot: { active: false }, other: {}")]), "||+other ~bot||");
        assert_eq!(changes(&[("  t: {", "  u: {")]), "+u -t||||");
        assert_eq!(changes(&[("https://s.example", "https://s.example/v2")]), "~s||||");
        assert_eq!(changes(&[("{ id: k,", "{ id: l,")]), "~s|||+1 -1|");
        assert_eq!(changes(&[("{ id: k,", "{ disabled: true, id: k,")]), "~s|||~1|");
    }

    #[test]
    fn a_named_account_changes_alone_and_one_in_place_with_its_service() {
        assert_eq!(changes(&[("value: one", "value: two")]), "~t|~a|||");
        assert_eq!(changes(&[("X-Key", "X-KEY")]), "~t|~a|||", "the spelling is sent");
    }

    #[test]
    fn a_long_list_of_names_is_shortened() {
        let names: Vec<String> = (0..25).map(|n| format!("s{n:02}")).collect();
        let named = Named { added: names[..15].to_vec(), removed: Vec::new(), changed: names[15..].to_vec() };
        let text = named.to_string();
        assert!(text.starts_with("+s00 +s01 ") && text.ends_with(" ~s19 +5 more"), "{text}");
    }
}
