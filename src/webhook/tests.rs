use super::address::Client;
use super::admission::{Call, Refused, Stopped, Verdict, Webhooks, open};
use super::endpoint::Endpoint;
use super::fetched_keys::KnownKeys;
use super::keys::KeyTable;
use super::rate::UnknownKeyLimiter;
use super::*;
use crate::config::model::{ApiKey, Handshake, Host, KeyIn, Rate, Refusals, ServerUrl, User, Webhook};
use crate::error_code::ErrorCode;
use crate::message::{Fields, Framing};
use crate::route::{Carried, Parts, Route};
use crate::secret::{Secret, sha256};
use crate::signature::{Scheme, Verifier};
use http::{HeaderName, Method, StatusCode};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

const NOW: Duration = Duration::from_secs(1_000_000);

fn webhook() -> Webhook {
    webhook_with(vec![key("good")], true)
}

/// A webhook with these keys, of a user who is active or not, before the receiver `http://app/hooks`.
pub(super) fn webhook_with(keys: Vec<ApiKey>, active: bool) -> Webhook {
    let forward_to = ServerUrl {
        tls: false,
        host: Host::Name("app".into()),
        port: 80,
        authority: "app".into(),
        path: "/hooks".into(),
    };
    let user = Arc::new(User { key: "bot".into(), name: None, active });
    Webhook::new(user, forward_to, keys)
}

/// A key whose text and id are `text`.
fn key(text: &str) -> ApiKey {
    ApiKey::new(text, sha256(text.as_bytes()))
}

fn table(webhooks: &[(&str, Webhook)]) -> KeyTable {
    let endpoints = webhooks.iter().map(|(service, webhook)| {
        let route = Arc::new(Route::webhook(
            service,
            webhook,
            Carried::default(),
            &mut Parts::new(&crate::transport::for_tests()),
        ));
        (Arc::new(Endpoint::new(route, webhook, None)), webhook.api_keys.as_slice())
    });
    KeyTable::new(endpoints.collect(), None)
}

/// Returns the target of a call's request to the receiver, the answer to a handshake, or the status and reason of a refusal.
fn call(
    keys: &KeyTable,
    method: &Method,
    target: &str,
    headers: &[(&'static str, &str)],
) -> Result<String, String> {
    call_from(keys, &UnknownKeyLimiter::new(None, None), method, target, headers, "192.0.2.1")
}

fn call_from(
    keys: &KeyTable,
    unknown_keys: &UnknownKeyLimiter,
    method: &Method,
    target: &str,
    headers: &[(&'static str, &str)],
    from: &str,
) -> Result<String, String> {
    let fields = Fields::collect(headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
    let webhooks =
        Webhooks { keys, unknown_keys, public_url: None, fetched: KnownKeys::default(), asserts: false };
    let (mut admission, plan) = match open(&webhooks, &head(method, target, &fields, from)) {
        Ok(opened) => opened,
        Err(Stopped::Replied(_, reply)) => return Ok(reply.body),
        Err(Stopped::Refused(refused)) => return Err(told(&refused)),
    };
    match admission.decide(&webhooks, &plan, None) {
        Verdict::Refuse(refused) => Err(told(&refused)),
        _ => Ok(String::from_utf8(plan.target).expect("text")),
    }
}

fn head<'a>(method: &'a Method, target: &'a str, fields: &'a Fields, from: &str) -> Call<'a> {
    Call {
        method,
        target: target.as_bytes(),
        fields,
        body: Framing::Empty,
        websocket: false,
        client: Client { address: from.parse().ok(), https: false, forwarded: false },
        now: UNIX_EPOCH + NOW,
        uptime: Duration::from_secs(100),
    }
}

/// Returns the id of a key that is known and not valid.
fn known_key<'k>(keys: &'k KeyTable, target: &str) -> Option<&'k str> {
    let unknown_keys = UnknownKeyLimiter::new(None, None);
    let webhooks = Webhooks {
        keys,
        unknown_keys: &unknown_keys,
        public_url: None,
        fetched: KnownKeys::default(),
        asserts: false,
    };
    match open(&webhooks, &head(&Method::POST, target, &Fields::default(), "192.0.2.1")) {
        Err(Stopped::Refused(refused)) => refused.known_key.map(|key| keys.get(key).id()),
        _ => None,
    }
}

fn told(refused: &Refused) -> String {
    format!("{} {}", refused.refusal.status().as_u16(), refused.reason.as_str())
}

fn post(keys: &KeyTable, target: &str) -> Result<String, String> {
    call(keys, &Method::POST, target, &[])
}

#[test]
fn the_log_never_shows_what_stands_where_a_key_belongs() {
    const LONG: &str = "a-long-key-of-another-service";
    let elsewhere = Webhook { key_in: KeyIn::Query("key".into()), api_keys: vec![key(LONG)], ..webhook() };
    let keys = table(&[("a", webhook()), ("b", elsewhere)]);
    let [path, query] = keys.endpoints() else { panic!("two endpoints") };
    let shown = |target: &str, endpoint: Option<&Arc<Endpoint>>| {
        String::from_utf8(log_path(&keys, target.as_bytes(), endpoint.map(|e| &**e), None)).expect("text")
    };
    let path = |target: &str| shown(target, Some(path));
    assert_eq!(path("/webhooks/k1/a?b"), "/webhooks/{key}/a");
    assert_eq!(path("/webhooks/k1/a/k1/b"), "/webhooks/{key}/a/{key}/b");
    assert_eq!(path(&format!("/webhooks/k1//{LONG}/")), "/webhooks/{key}//{key}/", "another service's");
    assert_eq!(path("/webhooks/k1/%61-long-key-of-another-service"), "/webhooks/{key}/{key}");
    for beside in [
        "x=a-long-key-of-another-service",
        "a-long-key-of-another-service;a",
        "b%2Fa-long-key-of-another-service",
        "%2561-long-key-of-another-service",
        "%252561-long-key-of-another-service",
    ] {
        assert_eq!(path(&format!("/webhooks/k1/{beside}/c")), "/webhooks/{key}/{key}/c", "{beside}");
    }
    assert_eq!(path("/webhooks/k1/a-long-text-that-is-no-key"), "/webhooks/{key}/a-long-text-that-is-no-key");
    assert_eq!(shown("/webhooks/b/rest?key=k1", Some(query)), "/webhooks/b/rest");
    assert_eq!(shown(&format!("/webhooks/b/{LONG}"), Some(query)), "/webhooks/b/{key}", "in the wrong place");
    for copy in ["k2", "%6b2", "%256b2"] {
        let own = log_path(&keys, format!("/webhooks/b/{copy}/c").as_bytes(), Some(query), Some(b"k2"));
        assert_eq!(own, b"/webhooks/b/{key}/c", "{copy}: the call's own");
    }
    let own = log_path(&keys, format!("/webhooks/b/x{LONG}y").as_bytes(), Some(query), Some(LONG.as_bytes()));
    assert_eq!(own, b"/webhooks/b/{key}", "inside a word");
    assert_eq!(shown("/webhooks/k1/a", None), "/webhooks/{key}");
    assert_eq!(shown("/k1", None), "{unmatched}");
    assert_eq!(template(b"/webhooks/k1/a/k1?x", &keys.endpoints()[0]), b"/webhooks/{key}/a/k1");
    assert_eq!(template(b"/webhooks/b/a", query), b"/webhooks/b/a");
}

#[test]
fn a_key_leads_to_its_service_while_it_is_valid() {
    let at = |seconds| Some(UNIX_EPOCH + NOW + Duration::from_secs(seconds) - Duration::from_secs(10));
    let api_keys = vec![
        key("good"),
        ApiKey { expires_at: at(11), not_before: at(10), ..key("just") },
        ApiKey { expires_at: at(10), ..key("old") },
        ApiKey { not_before: at(11), ..key("new") },
        ApiKey { disabled: true, ..key("off") },
        ApiKey { expires_at: at(10).map(|t| t + Duration::from_millis(900)), ..key("rounded") },
    ];
    let keys = table(&[("a", Webhook { api_keys, ..webhook() })]);
    assert_eq!(post(&keys, "/webhooks/good/x?y"), Ok("/hooks/x?y".into()));
    assert_eq!(post(&keys, "/webhooks/just"), Ok("/hooks".into()));
    for (text, reason) in [
        ("old", "expired"),
        ("new", "not_yet_valid"),
        ("off", "disabled"),
        ("rounded", "expired"),
        ("none", "unknown_key"),
    ] {
        assert_eq!(post(&keys, &format!("/webhooks/{text}")), Err(format!("404 {reason}")), "{text}");
        let known = known_key(&keys, &format!("/webhooks/{text}"));
        assert_eq!(known, (text != "none").then_some(text), "for the log");
    }
}

#[test]
fn a_key_may_hold_what_a_path_can_not() {
    let keys = table(&[("a", Webhook { api_keys: vec![key("a/b+c==")], ..webhook() })]);
    assert_eq!(post(&keys, "/webhooks/a%2Fb%2Bc%3d="), Ok("/hooks".into()));
    assert_eq!(post(&keys, "/webhooks/a%2Fb+c==/x"), Ok("/hooks/x".into()));
    assert_eq!(post(&keys, "/webhooks/a/b+c=="), Err("404 unknown_key".into()));
}

#[test]
fn a_key_in_a_header_or_in_the_query_is_valid_only_there() {
    let header = Webhook { key_in: KeyIn::Header(HeaderName::from_static("x-api-key")), ..webhook() };
    let query = Webhook { key_in: KeyIn::Query("key".into()), api_keys: vec![key("asked")], ..webhook() };
    let path = Webhook { api_keys: vec![key("path")], ..webhook() };
    let keys = table(&[("h", header), ("p", path), ("q", query)]);
    let with = |target: &str, headers: &[(&'static str, &str)]| call(&keys, &Method::POST, target, headers);
    let unknown = || Err("404 unknown_key".to_owned());
    assert_eq!(with("/webhooks/h/x?y", &[("x-api-key", "good")]), Ok("/hooks/x?y".into()));
    assert_eq!(with("/webhooks/h", &[]), unknown());
    let bearer =
        Webhook { key_in: KeyIn::Header(http::header::AUTHORIZATION), api_keys: vec![key("b")], ..webhook() };
    let bearer = table(&[("s", bearer)]);
    for value in ["Bearer b", "bearer  b", "b"] {
        let called = call(&bearer, &Method::POST, "/webhooks/s", &[("authorization", value)]);
        assert_eq!(called, Ok("/hooks".into()), "{value}");
    }
    assert_eq!(with("/webhooks/h", &[("x-api-key", "good"), ("x-api-key", "good")]), unknown());
    assert_eq!(with("/webhooks/h", &[("x-api-key", "path")]), unknown(), "another service's");
    assert_eq!(with("/webhooks/good", &[]), unknown(), "in the path");
    assert_eq!(with("/webhooks/p", &[("x-api-key", "path")]), unknown(), "its key is in the path");
    assert_eq!(with("/webhooks/path", &[]), Ok("/hooks".into()));
    assert_eq!(with("/webhooks/q?a=%20&key=asked&b", &[]), Ok("/hooks?a=%20&b".into()));
    assert_eq!(with("/webhooks/q/r?k%65y=%61sked", &[]), Ok("/hooks/r".into()), "it is gone from the query");
    assert_eq!(with("/webhooks/q?key=asked&key=asked", &[]), unknown());
    assert_eq!(with("/webhooks/q?key=good", &[]), unknown());
}

#[test]
fn a_refused_client_is_told_why_only_with_a_valid_key() {
    let inactive = Arc::new(User { key: "bot".into(), name: None, active: false });
    let keys = table(&[
        ("a", Webhook { allow_from: vec!["203.0.113.0/24".parse().expect("a network")], ..webhook() }),
        ("b", Webhook { user: inactive, api_keys: vec![key("inactive")], ..webhook() }),
    ]);
    let unknown_keys = UnknownKeyLimiter::new(None, None);
    let from = |from| call_from(&keys, &unknown_keys, &Method::POST, "/webhooks/good", &[], from);
    assert_eq!(from("203.0.113.9"), Ok("/hooks".into()));
    assert_eq!(from("192.0.2.1"), Err("403 address".into()));
    assert_eq!(from("unknown"), Err("403 address".into()), "without an address");
    assert_eq!(post(&keys, "/webhooks/inactive"), Err("403 user_inactive".into()));
    assert_eq!(post(&keys, "/webhooks/wrong"), Err("404 unknown_key".into()));
}

#[test]
fn only_an_unknown_key_uses_up_the_budget_of_an_address() {
    let keys = table(&[("a", webhook())]);
    let unknown_keys =
        UnknownKeyLimiter::new(Some(&Rate { requests: 3, per: Duration::from_secs(60), burst: 3 }), None);
    let from = |target: &str, from| call_from(&keys, &unknown_keys, &Method::POST, target, &[], from);
    for _ in 0..3 {
        assert_eq!(from("/webhooks/wrong", "192.0.2.1"), Err("404 unknown_key".into()));
    }
    assert_eq!(from("/webhooks/wrong", "192.0.2.1"), Err("429 too_many_wrong_keys".into()));
    assert_eq!(from("/nothing", "192.0.2.1"), Err("429 too_many_wrong_keys".into()));
    assert_eq!(from("/webhooks/good", "192.0.2.1"), Ok("/hooks".into()));
    assert_eq!(from("/webhooks/wrong", "192.0.2.2"), Err("404 unknown_key".into()));
    let after_a_reload = UnknownKeyLimiter::new(
        Some(&Rate { requests: 3, per: Duration::from_secs(60), burst: 3 }),
        Some(unknown_keys.budgets()),
    );
    let again = |from| call_from(&keys, &after_a_reload, &Method::POST, "/webhooks/wrong", &[], from);
    assert_eq!(again("192.0.2.1"), Err("429 too_many_wrong_keys".into()));
    assert_eq!(again("192.0.2.2"), Err("404 unknown_key".into()));
}

#[test]
fn a_key_has_a_rate_of_its_own() {
    let rate = Rate { requests: 2, per: Duration::from_secs(1), burst: 2 };
    let api_keys = vec![key("one"), key("two")];
    let keys = table(&[("a", Webhook { rate_limit: Some(rate), api_keys, ..webhook() })]);
    for text in ["one", "two"] {
        let target = format!("/webhooks/{text}");
        assert_eq!([0; 3].map(|_| post(&keys, &target).is_ok()), [true, true, false], "{text}");
        assert_eq!(post(&keys, &target), Err("429 rate_limited".into()));
    }
}

#[test]
fn refusals_of_a_webhook_change_the_status() {
    let inactive = Arc::new(User { key: "bot".into(), name: None, active: false });
    let statuses = vec![(ErrorCode::UserInactive, StatusCode::UNAUTHORIZED)];
    let refusals = Refusals { statuses, bodiless: true };
    let keys = table(&[("a", Webhook { user: inactive, refusals, ..webhook() })]);
    assert_eq!(post(&keys, "/webhooks/good"), Err("401 user_inactive".into()));
}

#[test]
fn a_question_is_answered_whatever_the_methods() {
    let verify = Verifier::new(Scheme::Dropbox, &[Secret::new("s")], Duration::from_secs(300)).ok();
    let keys = table(&[("a", Webhook { verify, handshake: Some(Handshake::Dropbox), ..webhook() })]);
    assert_eq!(call(&keys, &Method::GET, "/webhooks/good?challenge=c", &[]), Ok("c".into()));
    assert_eq!(call(&keys, &Method::GET, "/webhooks/good", &[]), Err("405 method".into()));
    assert_eq!(call(&keys, &Method::GET, "/webhooks/wrong?challenge=c", &[]), Err("404 unknown_key".into()));
}

#[test]
fn statistics_carry_over_only_to_the_same_key() {
    let before = table(&[("a", Webhook { api_keys: vec![key("good"), key("same")], ..webhook() })]);
    for text in [&b"good"[..], b"same"] {
        before.find(text).expect("the key").stats().used_at(UNIX_EPOCH + NOW);
    }
    let renewed = ApiKey { sha256: sha256(b"other"), ..key("good") };
    let route = Arc::new(Route::webhook(
        "a",
        &webhook(),
        Carried::default(),
        &mut Parts::new(&crate::transport::for_tests()),
    ));
    let endpoint = Arc::new(Endpoint::new(route, &webhook(), None));
    let api_keys = [renewed, key("same"), key("fresh")];
    let after = KeyTable::new(vec![(endpoint, &api_keys[..])], Some(&before));
    let last_used = |text: &[u8]| after.find(text).expect("the key").stats().last_used();
    assert_eq!(last_used(b"same"), Some(UNIX_EPOCH + NOW));
    assert_eq!(last_used(b"other"), None, "under an id that another key had");
    assert_eq!(last_used(b"fresh"), None);
}
