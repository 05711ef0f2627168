//! Messages that Amazon signed, and what a client may try without Amazon.

use super::testing::{
    CERTIFICATE_URL, OneCertificate, at, certificate, certificate_pem, notification, now, question, signed,
    topic,
};
use super::*;
use crate::secret::Secret;
use crate::signature::{NoKeys, Scheme, Verifier};
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

const AMAZON: &str = include_str!("../../../tests/sns/amazon.json");
/// The time of Amazon's messages.
const THEN: u64 = 1_772_827_000;

fn verifier(arn: &str) -> Verifier {
    let verifier = Verifier::new(Scheme::Sns, &[], Scheme::Sns.default_tolerance()).expect("a verifier");
    verifier.with_topics(vec![Topic::parse(arn).expect("a topic")])
}

fn delivery<'a>(headers: &'a HeaderMap, body: &'a [u8]) -> Delivery<'a> {
    Delivery { method: "POST", target: b"/webhooks/key", public_url: None, headers, body }
}

fn check_at(now: SystemTime, headers: &HeaderMap, body: &[u8]) -> Result<Signed, Fault> {
    let keys = OneCertificate(certificate());
    verifier(topic().as_str()).verify_with(&delivery(headers, body), &keys, now, &mut Trace::off())
}

fn check(message: &Value) -> Result<Signed, Fault> {
    check_at(now(), &HeaderMap::new(), message.to_string().as_bytes())
}

fn value(body: &[u8]) -> Value {
    serde_json::from_slice(body).expect("JSON")
}

fn with(message: &Value, name: &str, value: impl Into<Value>) -> Value {
    let mut changed = message.clone();
    changed[name] = value.into();
    changed
}

#[test]
fn amazons_messages_are_good_and_no_signed_member_may_change() {
    let amazon = value(AMAZON.as_bytes());
    let pem = amazon["certificate"].as_str().expect("PEM");
    let keys = OneCertificate(SigningCertificate::from_pem(pem.as_bytes()).expect("a certificate"));
    let verifier = verifier("arn:aws:sns:us-west-2:131990247566:dongie-standard-topic");
    let headers = HeaderMap::new();
    let check = |message: &Value| {
        let body = message.to_string();
        verifier.verify_with(&delivery(&headers, body.as_bytes()), &keys, at(THEN), &mut Trace::off())
    };
    let messages = amazon["messages"].as_array().expect("messages");
    assert_eq!(messages.len(), 4);
    for message in messages {
        let signed = check(message).expect("a good signature");
        assert_eq!(signed.id.as_deref(), message["MessageId"].as_str());
        for (name, old) in message.as_object().expect("an object") {
            let old = old.as_str().expect("text");
            let changed =
                with(message, name, format!("{}{old}", if old.starts_with('a') { 'b' } else { 'a' }));
            assert_eq!(check(&changed).is_ok(), name == "UnsubscribeURL", "{name}");
            assert_eq!(check(&with(message, name, Value::Null)).is_ok(), name == "UnsubscribeURL", "{name}");
        }
        let other = if message["SignatureVersion"] == "1" { "2" } else { "1" };
        assert_eq!(check(&with(message, "SignatureVersion", other)), Err(Fault::Mismatch));
    }
    let question = subscription(messages[0].to_string().as_bytes()).expect("a question").expect("a URL");
    assert_eq!(question.confirm.as_str(), messages[0]["SubscribeURL"].as_str().expect("a URL"));
    assert!(subscription(messages[1].to_string().as_bytes()).is_none(), "a notification");
    assert!(subscription(messages[3].to_string().as_bytes()).is_none(), "the end of a subscription");
}

#[test]
fn a_message_that_may_not_be_verified_needs_no_certificate() {
    let good = value(&signed(&notification()));
    let no_keys = |message: &Value| {
        let headers = HeaderMap::new();
        let body = message.to_string();
        let verifier = verifier(topic().as_str());
        verifier.verify_with(&delivery(&headers, body.as_bytes()), &NoKeys, now(), &mut Trace::off())
    };
    let Err(Fault::NeedsKey(needed)) = no_keys(&good) else { panic!("no key is needed") };
    assert!(matches!(*needed.otherwise, Fault::KeyUnavailable(_)));
    let KeyName::Certificate(url) = needed.name else { panic!("another key") };
    assert_eq!(url.as_str(), CERTIFICATE_URL);
    let others_topic = "arn:aws:sns:eu-central-1:999999999999:orders";
    for (name, value) in [
        ("Type", json!("Other")),
        ("Type", json!("SubscriptionConfirmation")),
        ("TopicArn", json!(others_topic)),
        ("TopicArn", json!(format!("{}\nType\nNotification\nx", topic().as_str()))),
        ("Timestamp", json!("2025-12-31T00:00:00Z")),
        ("Timestamp", json!("2026-01-02T00:00:00Z")),
        ("Timestamp", json!("now")),
        ("SignatureVersion", json!("3")),
        ("SignatureVersion", json!(1)),
        ("Signature", json!("%%")),
        ("Message", json!(5)),
        ("Message", json!(["an order"])),
        ("MessageId", json!("1\nMessageId\n2")),
        ("Subject", json!("a\nb")),
        ("Subject", json!("a\u{2028}b")),
        ("Token", json!("t")),
        ("message", json!("another case")),
        ("Meſſage", json!("folded")),
        ("SigningCertUrl", json!("https://evil.example/x.pem")),
    ] {
        let refused = no_keys(&with(&good, name, value.clone())).expect_err("refused");
        assert!(!matches!(refused, Fault::NeedsKey(_)), "{name} {value}: {refused}");
    }
    let twice = good.to_string().replacen('{', r#"{"Message":"first","#, 1);
    let escaped = good.to_string().replacen('{', r#"{"M\u0065ssage":"first","#, 1);
    for body in [&twice[..], &escaped, "[]", "", "{}", &format!("{good}{good}"), "\u{feff}{}"] {
        let headers = HeaderMap::new();
        let verdict = check_at(now(), &headers, body.as_bytes());
        assert!(matches!(verdict, Err(Fault::Content(_))), "{body}: {verdict:?}");
    }
}

#[test]
fn a_certificate_is_at_the_sns_host_of_the_topics_region_only() {
    let good = "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0a.pem";
    assert!(topic().certificate_url(good).is_some());
    for url in [
        "http://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "HTTPS://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.eu-central-1.amazonaws.com.attacker.example/SimpleNotificationService-0a.pem",
        "https://sns.eu-central-1.amazonaws.com@attacker.example/SimpleNotificationService-0a.pem",
        "https://attacker.example/sns.eu-central-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://attacker.example\\@sns.eu-central-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.evil.amazonaws.com.attacker/SimpleNotificationService-0a.pem",
        "https://sns.eu-central-1.amazonaws.com.cn/SimpleNotificationService-0a.pem",
        "https://sns.eu-central-1.amazonaws.com./SimpleNotificationService-0a.pem",
        "https://sns.eu-central-1.amazonaws.com:443/SimpleNotificationService-0a.pem",
        "https://sns.eu-central-1.amazonaws.com:8443/SimpleNotificationService-0a.pem",
        "https://user@sns.eu-central-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns-bucket.s3.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://s3.eu-central-1.amazonaws.com/sns/SimpleNotificationService-0a.pem",
        "https://sns.s3.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.eu-central-1.amazonaws.com/other.pem",
        "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-.pem",
        "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0a",
        "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-../x.pem",
        "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0a.pem?x=.pem",
        "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0a.pem#.pem",
        "https://sns.eu-central-1.amazonaws.com/?Action=x&SimpleNotificationService-0a.pem",
        "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-%30a.pem",
        "https://sns.eu-central-1.amazonaws.com\t/SimpleNotificationService-0a.pem",
        "https:/sns.eu-central-1.amazonaws.com/SimpleNotificationService-0a.pem",
        " https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0a.pem",
    ] {
        assert_eq!(topic().certificate_url(url), None, "{url}");
    }
    let china = Topic::parse("arn:aws-cn:sns:cn-north-1:123456789012:orders").expect("a topic");
    let url = "https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-0a.pem";
    assert!(china.certificate_url(url).is_some());
    assert!(china.certificate_url(&url.replace(".cn/", "/")).is_none());
    for arn in [
        "",
        "arn:aws:sns:eu-central-1:123456789012",
        "arn:aws:sqs:eu-central-1:123456789012:orders",
        "arn:aws:sns:eu-central-1:123456789012:orders:b24e11a2",
        "arn:aws:sns:evil.example/:123456789012:orders",
        "arn:aws:sns:*:123456789012:orders",
        "arn:aws:sns:eu-central-1:123456789012:*",
        "arn:aws:sns:eu-central-1:1234:orders",
        "arn:other:sns:eu-central-1:123456789012:orders",
        "arn:aws:sns:EU-central-1:123456789012:orders",
    ] {
        assert_eq!(Topic::parse(arn), None, "{arn}");
    }
}

#[test]
fn a_certificate_has_a_name_of_sns_and_is_valid_now() {
    let url = topic().certificate_url(CERTIFICATE_URL).expect("a URL");
    let of = |change: &dyn Fn(&mut rcgen::CertificateParams)| {
        let certificate = SigningCertificate::from_pem(certificate_pem(change).as_bytes()).expect("one");
        certificate.check(&url, now())
    };
    let named = |name: &'static str| {
        of(&move |params| {
            params.subject_alt_names = vec![rcgen::SanType::DnsName(name.try_into().expect("a name"))];
        })
    };
    for name in
        ["sns.amazonaws.com", "sns-signing.eu-central-1.amazonaws.com", "SNS-eu-central-1.amazonaws.com"]
    {
        assert_eq!(named(name), Ok(()), "{name}");
    }
    for name in [
        "s3.amazonaws.com",
        "*.amazonaws.com",
        "sns.amazonaws.com.attacker.example",
        "sns-signing.us-east-1.amazonaws.com",
    ] {
        assert_eq!(named(name), Err(CertificateFault::Name), "{name}");
    }
    let gov = "https://sns.us-gov-east-1.amazonaws.com/SimpleNotificationService-0a.pem";
    let topic = Topic::parse("arn:aws-us-gov:sns:us-gov-east-1:123456789012:orders").expect("a topic");
    assert!(
        topic
            .certificate_url(gov)
            .expect("a URL")
            .names()
            .contains(&"sns-us-gov-west-1.amazonaws.com".into())
    );
    let date = rcgen::date_time_ymd;
    assert_eq!(of(&|params| params.not_after = date(2025, 12, 31)), Err(CertificateFault::Expired));
    assert_eq!(of(&|params| params.not_before = date(2026, 1, 2)), Err(CertificateFault::NotYetValid));
    let one = certificate_pem(|_| {});
    let two = format!("{one}{one}");
    let elliptic =
        rcgen::generate_simple_self_signed(vec!["sns.amazonaws.com".into()]).expect("one").cert.pem();
    for pem in [&two[..], &elliptic, "", "<html>", &one[..one.len() / 2]] {
        assert_eq!(SigningCertificate::from_pem(pem.as_bytes()), Err(CertificateFault::Malformed));
    }
}

#[test]
fn a_subscription_is_confirmed_where_sns_is_and_nowhere_else() {
    let good = value(&signed(&question()));
    let subscribed = subscription(good.to_string().as_bytes()).expect("a question").expect("a URL");
    assert_eq!(subscribed.topic, topic().as_str());
    assert!(check(&good).is_ok());
    let url = good["SubscribeURL"].as_str().expect("a URL");
    for changed in [
        url.replace("https", "http"),
        url.replace("eu-central-1.amazonaws.com", "eu-central-1.amazonaws.com.attacker.example"),
        url.replace("sns.eu-central-1", "sns.us-east-1"),
        url.replace("com/?", "com:8443/?"),
        url.replace("com/?", "com/x?"),
        url.replace("https://", "https://user@"),
        url.replace("ConfirmSubscription", "DeleteTopic"),
        url.replace("123456789012", "999999999999"),
        url.replace("2336412f37", "2336412f38"),
        format!("{url}&Action=DeleteTopic"),
        format!("{url}&Token=x"),
        format!("{url}&x=y"),
        format!("{url}#x"),
    ] {
        let changed = with(&good, "SubscribeURL", changed);
        let asked = subscription(changed.to_string().as_bytes()).expect("a question");
        assert!(asked.is_err(), "{changed}");
    }
}

#[test]
fn headers_beside_the_body_say_the_same() {
    let body = signed(&notification());
    let check = |name: &'static str, value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        check_at(now(), &headers, &body).is_ok()
    };
    assert!(check("x-amz-sns-message-type", "Notification"));
    assert!(check("x-amz-sns-topic-arn", "arn:aws:sns:eu-central-1:123456789012:orders"));
    assert!(check("x-amz-sns-rawdelivery", "false"));
    assert!(!check("x-amz-sns-message-type", "SubscriptionConfirmation"));
    assert!(!check("x-amz-sns-topic-arn", "arn:aws:sns:eu-central-1:123456789012:other"));
    assert!(!check("x-amz-sns-message-id", "1"));
    assert!(!check("x-amz-sns-rawdelivery", "true"));
}

#[test]
fn a_message_of_another_key_or_type_is_refused() {
    let good = value(&signed(&notification()));
    assert_eq!(check(&good).map(|signed| signed.timestamp), Ok(Some(1_767_225_600)));
    assert_eq!(check(&with(&good, "Subject", "added")), Err(Fault::Mismatch));
    // The members of a question, under the signature of a notification.
    let turned = with(&question(), "Signature", good["Signature"].clone());
    assert_eq!(check(&turned), Err(Fault::Mismatch));
    // An unsigned member may change.
    assert!(check(&with(&good, "UnsubscribeURL", "https://attacker.example")).is_ok());
    let digest = |message: &Value| {
        let (headers, body) = (HeaderMap::new(), message.to_string());
        verifier(topic().as_str()).digest(&delivery(&headers, body.as_bytes()), &Signed::default())
    };
    assert_eq!(digest(&good), digest(&with(&good, "UnsubscribeURL", "x")), "and makes no other delivery");
    assert_ne!(digest(&good), digest(&with(&good, "MessageId", "x")));
    let secret = [Secret::new("no use")];
    assert!(Verifier::new(Scheme::Sns, &secret, std::time::Duration::ZERO).is_err());
}
