use super::*;
use crate::config::model::{
    Account, Authorization, ClientAuth, Config, CustomParams, Grant, Handshake, JsonParam, PresentedToken,
};
use crate::config::parse::parse;
use crate::config::problem::Problems;
use crate::config::source::Source;
use crate::header_name::FieldName;
use crate::jwt::SigningKey;
use crate::secret::Secret;
use http::HeaderValue;
use std::cell::RefCell;
use std::collections::HashMap;

/// A machine with these variables and files, by name.
#[derive(Default)]
struct Has(RefCell<HashMap<String, Vec<u8>>>);

impl Has {
    fn set(&self, name: &str, value: impl Into<Vec<u8>>) {
        self.0.borrow_mut().insert(name.to_owned(), value.into());
    }

    fn remove(&self, name: &str) {
        self.0.borrow_mut().remove(name);
    }

    fn get(&self, name: &str) -> Result<Vec<u8>, ReadError> {
        let found = self.0.borrow().get(name).cloned();
        found.ok_or_else(|| ReadError::new(ReadFault::Missing, "is not there"))
    }
}

impl SecretSource for Has {
    fn env(&self, name: &str) -> Result<String, ReadError> {
        self.get(name).map(|bytes| String::from_utf8(bytes).unwrap())
    }
    fn file(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        self.get(&path.display().to_string())
    }
    fn fresh_file(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        self.file(path)
    }
    fn credential(&self, name: &str) -> Result<Vec<u8>, ReadError> {
        self.get(name)
    }
}

fn read(text: &str, machine: &Has, last: &LastValues) -> (Option<Config>, Problems) {
    parse(&[Source::new("a.yaml".into(), text.to_owned())], machine, false, last, None)
}

fn accepted(text: &str, machine: &Has, last: &LastValues) -> Config {
    let (config, problems) = read(text, machine, last);
    config.unwrap_or_else(|| panic!("{}", problems.render_human(false)))
}

fn header(config: &Config, account: &str) -> Option<String> {
    match &config.accounts[account].authorization {
        Authorization::Headers(headers) => Some(headers[0].1.to_str().unwrap().to_owned()),
        Authorization::Unavailable => None,
        other => panic!("{other:?}"),
    }
}

const TWO: &str = "accounts:
  a: { authorization: { header: { name: X, value: { env: A, prefix: 'Key ' } } } }
  b: { authorization: { header: { name: X, value: { file: b } } } }
";

#[test]
fn an_unreadable_secret_concerns_only_its_account() {
    let machine = Has::default();
    machine.set("A", "one");
    let config = accepted(TWO, &machine, &LastValues::default());
    assert_eq!((header(&config, "a").as_deref(), header(&config, "b")), (Some("Key one"), None));
    assert_eq!(config.accounts["a"].unread, None);
    let unread = config.accounts["b"].unread.clone().unwrap();
    assert_eq!(
        (unread.place.as_str(), unread.fault),
        ("accounts.b.authorization.header.value.file", ReadFault::Missing)
    );
    assert!(unread.blocks);
    let (_, problems) = read(TWO, &machine, &LastValues::default());
    assert!(problems.has_errors() && !problems.refuse());
    assert_eq!(problems.unread().count(), 1);
}

#[test]
fn a_caller_without_another_proof_is_unavailable_and_with_one_degraded() {
    let machine = Has::default();
    machine.set("A", "att_0123456789abcdefghijkl");
    let text = "callers:
  a: { tokens: [{ id: t, value: { env: B } }], services: [s] }
  b: { tokens: [{ id: t, value: { env: C } }, { id: u, value: { env: A } }], services: [s] }
services: { s: { account: { authorization: none }, server_url: 'https://s.example' } }
";
    let config = accepted(text, &machine, &LastValues::default());
    let state = |name: &str| config.callers.as_ref().unwrap()[name].unread.as_ref().map(UnreadSecret::state);
    assert_eq!((state("a"), state("b")), (Some("unavailable"), Some("degraded")));
}

#[test]
fn the_last_value_is_kept_from_reading_to_reading() {
    let machine = Has::default();
    machine.set("A", "one");
    machine.set("b", "two\n");
    let first = accepted(TWO, &machine, &LastValues::default());
    machine.remove("b");
    let second = accepted(TWO, &machine, &first.last_values);
    let messages = read(TWO, &machine, &second.last_values).1.render_human(false);
    assert!(messages.contains("is not there; the last value read stays in use"), "{messages}");
    machine.set("A", "other");
    let third = accepted(TWO, &machine, &second.last_values);
    assert_eq!(
        (header(&third, "a").as_deref(), header(&third, "b").as_deref()),
        (Some("Key other"), Some("two"))
    );
    assert!(third.accounts["b"].unread.as_ref().is_some_and(|unread| !unread.blocks));
    // An unusable value counts as none.
    machine.set("b", b"\xFF\xFEb\0".as_slice());
    let fourth = accepted(TWO, &machine, &third.last_values);
    assert_eq!(header(&fourth, "b").as_deref(), Some("two"));
    assert_eq!(fourth.accounts["b"].unread.as_ref().map(|unread| unread.fault), Some(ReadFault::Malformed));
}

#[test]
fn the_last_value_belongs_to_one_owner_and_one_reference() {
    let machine = Has::default();
    machine.set("A", "one");
    machine.set("b", "two");
    let first = accepted(TWO, &machine, &LastValues::default());
    machine.remove("b");
    for (changed, account) in [
        (TWO.replace("  b:", "  c:"), "c"),
        (TWO.replace("file: b", "file: ./b"), "b"),
        (TWO.replace("file: b", "env: b"), "b"),
        (TWO.replace("file: b", "credential: b"), "b"),
    ] {
        assert_eq!(header(&accepted(&changed, &machine, &first.last_values), account), None, "{changed}");
    }
    // Another prefix makes another header, of the same secret.
    let prefixed = TWO.replace("{ file: b }", "{ file: b, prefix: 'x ' }");
    assert_eq!(header(&accepted(&prefixed, &machine, &first.last_values), "b").as_deref(), Some("x two"));
}

#[test]
fn the_fingerprint_depends_on_which_secrets_can_be_read() {
    let machine = Has::default();
    machine.set("A", "one");
    machine.set("b", "two");
    let first = accepted(TWO, &machine, &LastValues::default());
    assert_eq!(accepted(TWO, &machine, &first.last_values).fingerprint, first.fingerprint);
    machine.remove("b");
    let kept = accepted(TWO, &machine, &first.last_values);
    let lost = accepted(TWO, &machine, &LastValues::default());
    assert_eq!(accepted(TWO, &machine, &kept.last_values).fingerprint, kept.fingerprint);
    machine.set("b", "");
    let emptied = accepted(TWO, &machine, &kept.last_values);
    let mut all = vec![first.fingerprint, kept.fingerprint, lost.fingerprint, emptied.fingerprint];
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 4);
}

/// Returns every secret that an account would use.
fn secrets_of(account: &Account) -> Vec<String> {
    let text = |secret: &Secret| secret.expose().to_owned();
    let presented = |token: &PresentedToken| match token {
        PresentedToken::Fixed(secret) => text(secret),
        PresentedToken::File(_) => String::new(),
    };
    let sent = |headers: &[(FieldName, HeaderValue)]| -> Vec<String> {
        headers.iter().map(|(_, value)| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    };
    let own = match &account.authorization {
        Authorization::None | Authorization::Unavailable => Vec::new(),
        Authorization::Jwt(jwt) => {
            assert_ne!(jwt.assertion.key, SigningKey::placeholder().unwrap());
            Vec::new()
        }
        Authorization::Headers(all) => sent(all),
        Authorization::Query { value, .. } => vec![text(value)],
        Authorization::Path(value) => vec![text(value)],
        Authorization::OAuth2(oauth2) => {
            let mut all: Vec<String> = oauth2.client_auth.secrets().iter().map(text).collect();
            assert!(
                !all.is_empty()
                    || matches!(oauth2.client_auth, ClientAuth::None | ClientAuth::PrivateKeyJwt(_))
            );
            match &oauth2.grant {
                Grant::Password { username, password } => all.extend([text(username), text(password)]),
                Grant::RefreshToken { refresh_token } => all.push(text(refresh_token)),
                Grant::TokenExchange { subject_token, .. } => all.push(presented(subject_token)),
                Grant::Custom(custom) => {
                    all.extend(sent(&custom.headers));
                    match &custom.params {
                        CustomParams::Query(all_of) | CustomParams::Form(all_of) => {
                            all.extend(all_of.iter().map(|(_, value)| value.expose().to_owned()));
                        }
                        CustomParams::Json(members) => {
                            all.extend(members.iter().map(|(_, value)| match value {
                                JsonParam::Secret(secret) => text(secret),
                                other => format!("{other:?}"),
                            }))
                        }
                    }
                }
                _ => {}
            }
            all
        }
    };
    [own, sent(&account.headers)].concat()
}

#[test]
fn no_placeholder_reaches_the_model() {
    let machine = Has::default();
    for case in ["valid_full", "valid_oauth2_grants", "valid_token_exchange", "valid_webhooks"] {
        let text = std::fs::read_to_string(format!("tests/config_cases/{case}.yaml")).unwrap();
        let config = accepted(&text, &machine, &LastValues::default());
        for account in config.all_accounts() {
            let secrets = secrets_of(account);
            assert!(secrets.iter().all(|text| !text.contains("not read")), "{case}: {}", account.name);
            let blocked = account.unread.as_ref().is_some_and(|unread| unread.blocks);
            assert_eq!(
                account.authorization == Authorization::Unavailable,
                blocked,
                "{case}: {}",
                account.name
            );
        }
        let mut blocked = 0;
        for webhook in config.services.values().filter_map(|service| service.webhook.as_ref()) {
            let held = webhook
                .handshake
                .iter()
                .filter_map(Handshake::verify_token)
                .chain(webhook.api_keys.iter().filter_map(|key| key.value.as_ref()));
            assert!(held.into_iter().all(|secret| !secret.expose().contains("not read")), "{case}");
            let is_blocked = webhook.unread.as_ref().is_some_and(|unread| unread.blocks);
            assert!(
                is_blocked || webhook.verify.as_ref().is_none_or(|verifier| verifier.has_secrets()),
                "{case}"
            );
            blocked += usize::from(is_blocked);
        }
        assert!(case != "valid_webhooks" || blocked > 0);
        let kept = config.state.iter().flat_map(|state| &state.keys);
        assert!(kept.into_iter().all(|key| !key.expose().contains("not read")), "{case}");
        assert!(config.assertion.iter().all(|assertion| assertion.keys.is_empty()), "{case}");
    }
}

#[test]
fn the_sources_are_those_of_the_schema() {
    let mut declared: Vec<&str> = crate::config::schema::SECRET.keys().map(|key| key.name).collect();
    declared.retain(|name| *name != "prefix");
    assert_eq!(declared, super::decode::SOURCES);
}
