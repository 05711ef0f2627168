use super::*;
use crate::config::model::{ApiKey, KeyIn, Rate, Replay, Webhook};
use crate::route::{Carried, Parts, Route};
use crate::secret::{Secret, hex, sha256};
use crate::signature::{Delivery, Fault, Scheme, Verifier};
use crate::webhook::replay::Deliveries;
use crate::webhook::tests::webhook_with;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::time::UNIX_EPOCH;

const UPTIME: Duration = Duration::from_secs(100);
const HOUR: Duration = Duration::from_secs(3600);
const ID: &str = "x-github-delivery";

/// A property of a call, one for each check.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Flaw {
    Key,
    Address,
    User,
    Method,
    Size,
    Signature,
    Duplicate,
    Rate,
}

/// The checks in their order, with the reasons of their refusals.
const ORDER: [(Flaw, &str); 8] = [
    (Flaw::Key, "unknown_key"),
    (Flaw::Address, "address"),
    (Flaw::User, "user_inactive"),
    (Flaw::Method, "method"),
    (Flaw::Size, "request"),
    (Flaw::Signature, "signature_mismatch"),
    (Flaw::Duplicate, "duplicate"),
    (Flaw::Rate, "rate_limited"),
];

fn webhook(active: bool) -> Webhook {
    let distinguish_by = vec![HeaderName::from_static(ID)];
    Webhook {
        allow_from: vec!["192.0.2.0/24".parse().expect("a network")],
        max_body: 10,
        rate_limit: Some(Rate { requests: 2, per: HOUR, burst: 2 }),
        verify: Verifier::new(Scheme::Github, &[Secret::new("s")], Verifier::DEFAULT_TOLERANCE).ok(),
        replay: Some(Replay { window: HOUR, answer: StatusCode::CONFLICT, distinguish_by }),
        ..webhook_with(vec![ApiKey::new("a", sha256(b"good"))], active)
    }
}

fn table(webhook: &Webhook, deliveries: &Arc<Deliveries>) -> KeyTable {
    let transport = crate::transport::for_tests();
    let mut parts = Parts::new(&transport);
    let route = Arc::new(Route::webhook("vendor", webhook, Carried::default(), &mut parts));
    let endpoint = Arc::new(Endpoint::new(route, webhook, Some(Arc::clone(deliveries))));
    KeyTable::new(vec![(endpoint, &webhook.api_keys)], None)
}

/// Asks about a call with these flaws, as the proxy does.
fn ask(keys: &KeyTable, flaws: &[Flaw], id: &'static str) -> Verdict {
    let has = |flaw| flaws.contains(&flaw);
    let unknown_keys = UnknownKeyLimiter::new(None, None);
    let webhooks = Webhooks {
        keys,
        unknown_keys: &unknown_keys,
        public_url: None,
        fetched: KnownKeys::default(),
        asserts: true,
    };
    let address = if has(Flaw::Address) { "203.0.113.1" } else { "192.0.2.1" };
    let call = Call {
        method: if has(Flaw::Method) { &Method::PUT } else { &Method::POST },
        target: if has(Flaw::Key) { b"/webhooks/wrong" } else { b"/webhooks/good" },
        fields: &Fields::default(),
        body: Framing::Length(if has(Flaw::Size) { 11 } else { 2 }),
        websocket: false,
        client: Client { address: address.parse().ok(), https: true, forwarded: false },
        now: UNIX_EPOCH + HOUR,
        uptime: UPTIME,
    };
    let (mut admission, plan) = match open(&webhooks, &call) {
        Ok(opened) => opened,
        Err(Stopped::Refused(refused)) => return Verdict::Refuse(refused),
        Err(Stopped::Replied(..)) => panic!("it is no handshake"),
    };
    assert!(matches!(admission.decide(&webhooks, &plan, None), Verdict::NeedsBody));
    let tag = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"s"), b"{}");
    let signature = if has(Flaw::Signature) { "00".repeat(32) } else { hex(tag.as_ref()) };
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_str(&format!("sha256={signature}")).expect("a value");
    headers.insert("x-hub-signature-256", value);
    headers.insert(ID, HeaderValue::from_static(id));
    let (method, target) = (call.method.as_str(), call.target);
    let delivery = Delivery { method, target, public_url: None, headers: &headers, body: b"{}" };
    admission.decide(&webhooks, &plan, Some(&delivery))
}

fn forwarded(verdict: Verdict) -> Forward {
    match verdict {
        Verdict::Forward(forward) => *forward,
        Verdict::Refuse(refused) => panic!("refused: {}", refused.reason.as_str()),
        _ => panic!("not decided"),
    }
}

fn reason(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Refuse(refused) => refused.reason.as_str(),
        _ => panic!("not refused"),
    }
}

/// Forwards a delivery that the receiver takes.
fn deliver(keys: &KeyTable, id: &'static str) {
    let forward = forwarded(ask(keys, &[], id));
    forward.reservation.expect("a reservation").settle_at(Some(200), UPTIME);
}

#[test]
fn the_first_flaw_in_the_order_of_checks_is_the_answer() {
    for (at, (flaw, expected)) in ORDER.into_iter().enumerate() {
        let flaws: Vec<Flaw> = ORDER[at..].iter().map(|(flaw, _)| *flaw).collect();
        for flaws in [&flaws[..], &[flaw]] {
            let deliveries = Arc::<Deliveries>::default();
            if flaws.contains(&Flaw::Duplicate) {
                deliver(&table(&webhook(true), &deliveries), "1");
            }
            let keys = table(&webhook(!flaws.contains(&Flaw::User)), &deliveries);
            if flaws.contains(&Flaw::Rate) {
                let key = keys.find(b"good").expect("the key");
                let limit = key.endpoint().limit.expect("a rate");
                while limit.take_at(&key.stats().rate, UPTIME).is_ok() {}
            }
            assert_eq!(reason(ask(&keys, flaws, "1")), expected, "{flaws:?}");
        }
    }
}

#[test]
fn what_is_refused_uses_up_nothing_of_the_rate() {
    let keys = table(&webhook(true), &Arc::default());
    deliver(&keys, "1");
    for flaw in [Flaw::Key, Flaw::Address, Flaw::Method, Flaw::Size, Flaw::Signature, Flaw::Duplicate] {
        for _ in 0..5 {
            assert!(matches!(ask(&keys, &[flaw], "1"), Verdict::Refuse(_)), "{flaw:?}");
        }
    }
    deliver(&keys, "2");
    assert_eq!(reason(ask(&keys, &[], "3")), "rate_limited");
    assert_eq!(reason(ask(&keys, &[], "1")), "duplicate", "whatever the rate");
}

#[test]
fn a_delivery_beyond_the_rate_displaces_none() {
    let deliveries = Arc::default();
    let keys = table(&webhook(true), &deliveries);
    deliver(&keys, "1");
    deliver(&keys, "2");
    for id in ["3", "4", "5"] {
        assert_eq!(reason(ask(&keys, &[], id)), "rate_limited");
    }
    assert_eq!(deliveries.len(), 2);
}

#[test]
fn an_unsigned_id_is_logged_and_not_vouched_for() {
    let keys = table(&webhook(true), &Arc::default());
    let forward = forwarded(ask(&keys, &[], "1"));
    assert_eq!((forward.delivery_id.as_deref(), forward.is_id_signed), (Some("1"), false));
    assert_eq!(forward.body_sha256, Some(sha256(b"{}")));
    forward.reservation.expect("a reservation").settle_at(Some(200), UPTIME);
    let Verdict::Refuse(again) = ask(&keys, &[], "1") else { panic!("it is a duplicate") };
    assert_eq!(again.delivery_id.as_deref(), Some("1"));
    let forward = forwarded(ask(&keys, &[], "with white space"));
    assert_eq!(forward.delivery_id, None, "no id of a provider");
}

/// A provider may sign what no receiver gets; its signature is not missing.
#[test]
fn a_signed_header_that_attache_removes_is_named_as_such() {
    let webhook = Webhook { key_in: KeyIn::Header(HeaderName::from_static("x-key")), ..webhook(true) };
    let keys = table(&webhook, &Arc::default());
    let key = keys.iter().next().expect("a key");
    for (name, text) in [
        ("x-forwarded-for", "the receiver could take it for a fact about the client"),
        ("cf-connecting-ip", "the receiver could take it for a fact about the client"),
        ("te", "it concerns one connection only"),
        ("x-key", "it holds the key of the call"),
        ("x-signature", "the header x-signature is missing"),
    ] {
        let refused = delivery::unsigned(key, &Fault::Missing(HeaderName::from_static(name)));
        let log = refused.log.as_deref().unwrap_or_default();
        assert!(log.contains(text) && refused.refusal.detail.contains(text), "{log}");
    }
}
