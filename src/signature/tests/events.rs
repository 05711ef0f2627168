//! The schemes that sign neither the type nor the id of an event.

use super::super::*;
use std::time::Duration;

fn verifier(name: &str, secrets: &[&str]) -> Verifier {
    let scheme = Scheme::by_name(name).expect("a preset");
    let secrets: Vec<Secret> = secrets.iter().map(|secret| Secret::new(*secret)).collect();
    Verifier::new(scheme, &secrets, Duration::from_secs(300)).expect("a verifier")
}

/// The signature of every other preset covers the id or the type of an event, a time in milliseconds, or a body that has
/// one of them. `docs/webhooks.md` has the providers' documentation.
#[test]
fn these_presets_need_a_header_that_tells_events_apart() {
    let presets = Scheme::NAMES.iter().filter(|name| Scheme::by_name(name).is_some());
    let unsigned: Vec<_> =
        presets.filter(|name| !verifier(name, &[]).unsigned_event_headers().is_empty()).collect();
    assert_eq!(unsigned, [&"github", &"shopify", &"bitbucket", &"sentry", &"woocommerce"]);
}

#[test]
fn gitlab_needs_a_header_only_with_the_plain_token() {
    let signs = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    for (secrets, needs, has_id) in [
        (&[signs][..], false, true),
        (&["a plain token"], true, false),
        (&[signs, "a plain token"], true, false),
        (&[], false, false),
    ] {
        let verifier = verifier("gitlab", secrets);
        assert_eq!(!verifier.unsigned_event_headers().is_empty(), needs, "{} secrets", secrets.len());
        assert_eq!(verifier.signs_id(), has_id, "{} secrets", secrets.len());
    }
    assert!(verifier("svix", &[]).signs_id() && verifier("twitch", &[]).signs_id());
    assert!(!verifier("stripe", &[]).signs_id(), "its id is in the body");
}
