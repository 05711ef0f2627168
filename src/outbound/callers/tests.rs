use super::*;
use crate::config::model::{ApiKey, Caller, CallerRules, CallerServices, Config};
use crate::config::{Mode, load};
use crate::message::Fields;
use crate::secret::sha256;
use std::sync::Arc;
use std::time::Duration;

pub(super) const BILLING: &str = "billing-token-0123456789abcdef";
pub(super) const REPORTS: &str = "reports-token-0123456789abcdef";

pub(super) fn caller(key: &str, token: &str, san: &str) -> Arc<Caller> {
    Arc::new(Caller {
        key: key.to_owned(),
        tokens: vec![ApiKey::new("t", sha256(token.as_bytes()))],
        jwt: None,
        certificate: San::parse(san),
        services: CallerServices::All,
        rate_limit: None,
        max_concurrent: None,
        unread: None,
    })
}

/// Two callers, each with a token and a certificate.
fn callers() -> Callers {
    table([
        caller("billing", BILLING, "spiffe://corp/billing"),
        caller("reports", REPORTS, "Reports.corp.example"),
    ])
}

pub(super) fn table<const N: usize>(all: [Arc<Caller>; N]) -> Callers {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("attache.yaml");
    std::fs::write(
        &path,
        "services: { s: { account: { authorization: none }, server_url: https://s.example } }",
    )
    .unwrap();
    let config: Config = load(&path, Mode::Offline).config.unwrap();
    let callers = all.map(|caller| (caller.key.clone(), caller));
    let config = Config { callers: Some(callers.into()), caller_rules: CallerRules::Enforce, ..config };
    Callers::new(&config, None, |_, _| None).unwrap()
}

/// Returns the caller that fields and the names of a certificate prove.
fn proven(fields: &[(&str, &str)], names: Option<&[&str]>) -> Result<String, CallerRefusal> {
    let callers = callers();
    let fields = Fields::collect(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
    let names: Option<Vec<San>> =
        names.map(|names| names.iter().map(|name| San::parse(name).unwrap()).collect());
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    let shown = Shown { proof: proof::shown(&fields, false), certificate: names.as_deref(), now };
    let outcome = callers.authenticate(&Issuers::default(), shown, &mut LastProof::default());
    outcome.map(|proven| callers.get(proven.caller).key.to_string()).map_err(|unproven| unproven.reason)
}

#[test]
fn a_certificate_proves_the_caller_with_its_name() {
    let of = |names: &[&str]| proven(&[], Some(names));
    assert_eq!(of(&["spiffe://corp/billing"]).as_deref(), Ok("billing"));
    assert_eq!(of(&["other.example", "REPORTS.corp.example"]).as_deref(), Ok("reports"));
    for names in [
        &["spiffe://corp/billing/"][..],
        &["spiffe://corp/Billing"],
        &["spiffe://corp/billing/x", "reports.corp.example.evil"],
        &["x.reports.corp.example"],
        &["*.corp.example"],
        &["billing"],
    ] {
        assert_eq!(of(names), Err(CallerRefusal::UnknownCertificate), "{names:?}");
    }
    assert_eq!(of(&[]), Err(CallerRefusal::NoProof), "a certificate without a name");
    assert_eq!(of(&["spiffe://corp/billing", "reports.corp.example"]), Err(CallerRefusal::TwoCallers));
}

#[test]
fn a_certificate_and_a_token_are_of_one_caller() {
    let with = |name: &str, value: &str| proven(&[(name, value)], Some(&["spiffe://corp/billing"]));
    let bearer = |token: &str| format!("Bearer {token}");
    assert_eq!(with("X-Attache-Token", BILLING).as_deref(), Ok("billing"));
    assert_eq!(with("Authorization", &bearer(BILLING)).as_deref(), Ok("billing"));
    assert_eq!(with("X-Attache-Token", REPORTS), Err(CallerRefusal::TwoCallers));
    assert_eq!(with("Authorization", &bearer(REPORTS)), Err(CallerRefusal::TwoCallers));
    assert_eq!(with("Proxy-Authorization", &bearer(REPORTS)), Err(CallerRefusal::TwoCallers));
    // A field that only attache reads proves a caller, or is a refusal. `Authorization` may be the provider's.
    assert_eq!(with("X-Attache-Token", "unknown"), Err(CallerRefusal::UnknownToken));
    assert_eq!(with("Proxy-Authorization", "Bearer unknown"), Err(CallerRefusal::UnknownToken));
    assert_eq!(with("Authorization", "Bearer unknown").as_deref(), Ok("billing"));
    assert_eq!(with("Authorization", "Bearer a, b"), Err(CallerRefusal::MalformedProof));
    // A certificate that no caller has does not spoil a token.
    assert_eq!(proven(&[("X-Attache-Token", REPORTS)], Some(&["other.example"])).as_deref(), Ok("reports"));
}

#[test]
fn statistics_and_tokens_belong_to_their_caller() {
    let callers = callers();
    let number = callers.named("reports").unwrap();
    let ids: Vec<&str> = callers.tokens_of(number).map(|token| &*token.id).collect();
    assert_eq!((ids.as_slice(), callers.tokens().iter().count()), (&["t"][..], 2));
    assert!(callers.tokens_of(number).all(|token| token.caller == number));
    assert!(callers.named("unknown").is_none());
}

#[test]
fn a_refusal_tells_no_more_than_it_must() {
    let detail = |reason| refusal(reason).detail;
    let invalid = detail(CallerRefusal::UnknownToken);
    for reason in [
        CallerRefusal::TokenExpired,
        CallerRefusal::TokenDisabled,
        CallerRefusal::TokenNotYetValid,
        CallerRefusal::JwtSignature,
        CallerRefusal::JwtAudience,
        CallerRefusal::JwtSubject,
        CallerRefusal::TwoCallers,
    ] {
        assert_eq!(detail(reason), invalid);
    }
    let proxy = for_proxy_client(refusal(CallerRefusal::NoProof));
    assert_eq!((proxy.status().as_u16(), proxy.challenge), (407, Some(Challenge::Proxy)));
    let forbidden = for_proxy_client(refusal(CallerRefusal::Path));
    assert_eq!((forbidden.status().as_u16(), forbidden.challenge), (403, None));
}
