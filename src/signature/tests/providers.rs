//! Presets are data: what a row does, and that a provider is one row.

use super::vectors::vectors;
use crate::secret::{Secret, hex};
use crate::signature::form::Encoding::Hex;
use crate::signature::row::ValueAt::{Header, Pair};
use crate::signature::row::{Preset, Row};
use crate::signature::*;
use http::HeaderValue;
use ring::hmac;
use std::time::{Duration, UNIX_EPOCH};

/// A provider that does not exist: the whole of what is added for a new one.
static ACME: Preset = Preset::new(
    Row::header("acme-signature", Algorithm::Sha512, Hex)
        .pairs(';', "s")
        .time(Pair("at"), TimeFormat::Milliseconds)
        .id(Header("acme-id"))
        .signed("{id}/{timestamp}/{body}"),
);

#[test]
fn a_new_provider_is_one_row() {
    let parts = ACME.parts("").pop().expect("one way");
    let secret = Secret::new("acme's");
    let verifier = Verifier::new(Scheme::Custom(Box::new(parts)), &[secret], Duration::from_secs(300));
    let verifier = verifier.expect("a verifier");
    let key = hmac::Key::new(hmac::HMAC_SHA512, b"acme's");
    let signature = hex(hmac::sign(&key, b"7/1767225600123/{}").as_ref());
    let mut headers = HeaderMap::new();
    headers.insert("acme-id", HeaderValue::from_static("7"));
    let value = format!("at=1767225600123;s=00;s={signature};x=1");
    headers.insert("acme-signature", HeaderValue::from_str(&value).expect("a value"));
    let delivery =
        Delivery { method: "POST", target: b"/w", public_url: None, headers: &headers, body: b"{}" };
    let now = UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    let signed = verifier.verify_at(&delivery, now, &mut Trace::off()).expect("signed");
    assert_eq!(signed, Signed { id: Some("7".into()), timestamp: Some(1_767_225_600) });
    let other = Delivery { body: b"[]", ..delivery };
    assert_eq!(verifier.verify_at(&other, now, &mut Trace::off()), Err(Fault::Mismatch));
}

#[test]
fn every_row_can_be_read_and_has_a_vector() {
    let vectors = vectors();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/webhook-providers.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let (presets, parts) = Scheme::NAMES.split_at(Scheme::NAMES.len() - 2);
    assert_eq!(parts, ["hmac", "custom"]);
    for name in presets {
        let scheme = Scheme::by_name(name).expect("a preset");
        assert_eq!(scheme.as_str(), *name);
        // Proved by `sns::tests` and `tests::tokens`.
        let is_fetched = matches!(scheme.key_source(), KeySource::Issuer | KeySource::Topics);
        assert!(!scheme.ways().is_empty() && scheme.ways().iter().all(|parts| parts.headers().count() < 9));
        assert!(is_fetched || vectors.iter().any(|vector| vector.scheme == scheme), "{name} has no vector");
        let is_listed = |line: &str| line.starts_with('|') && line.contains(&format!("`{name}`"));
        assert!(page.lines().any(is_listed), "{name} is not in docs/webhook-providers.md");
        // The proxy reads these two only.
        assert!(matches!(scheme.id_member(), None | Some("id" | "event_id")), "{name}");
    }
}

#[test]
fn a_rows_body_is_signed_but_for_the_known_ones() {
    let partial = |name: &&&str| {
        let scheme = Scheme::by_name(name).expect("a preset");
        scheme.ways().iter().any(|parts| !parts.signed.covers_body())
    };
    let presets = &Scheme::NAMES[..Scheme::NAMES.len() - 2];
    assert_eq!(presets.iter().filter(partial).collect::<Vec<_>>(), [&"adyen", &"mailgun", &"paypal"]);
}
