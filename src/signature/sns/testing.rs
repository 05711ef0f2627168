//! An SNS for tests: its own key and certificate, and the messages that Amazon signed.

use super::{CertificateUrl, SigningCertificate, Topic};
use crate::jwt::verify::JwtRefusal;
use crate::signature::{FetchedKeys, Lookup, TokenRefused};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const KEY: &str = include_str!("../../../tests/peers/vectors/keys/rsa.pem");
pub(crate) const CERTIFICATE_URL: &str =
    "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem";
const ARN: &str = "arn:aws:sns:eu-central-1:123456789012:orders";
/// Returns 2026-01-01T00:00:00Z.
pub(crate) fn now() -> SystemTime {
    at(1_767_225_600)
}

pub(crate) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

pub(crate) fn topic() -> Topic {
    Topic::parse(ARN).expect("a topic")
}

/// Returns a certificate of the test's key, in PEM.
pub(crate) fn certificate_pem(change: impl FnOnce(&mut CertificateParams)) -> String {
    let der = PrivatePkcs8KeyDer::from(pkcs8());
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_RSA_SHA256).expect("a key");
    let mut params = CertificateParams::new(vec!["sns.amazonaws.com".to_owned()]).expect("parameters");
    change(&mut params);
    params.self_signed(&key).expect("a certificate").pem()
}

pub(crate) fn certificate() -> SigningCertificate {
    SigningCertificate::from_pem(certificate_pem(|_| {}).as_bytes()).expect("a certificate")
}

fn pkcs8() -> Vec<u8> {
    use rustls_pki_types::pem::PemObject as _;
    PrivatePkcs8KeyDer::from_pem_slice(KEY.as_bytes()).expect("PKCS#8").secret_pkcs8_der().to_vec()
}

/// Returns a notification of the topic, without a signature.
pub(crate) fn notification() -> Value {
    json!({
        "Type": "Notification",
        "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
        "TopicArn": ARN,
        "Message": "an order\nwith two lines",
        "Timestamp": "2026-01-01T00:00:00.123Z",
        "SignatureVersion": "2",
        "SigningCertURL": CERTIFICATE_URL,
        "UnsubscribeURL": "https://sns.eu-central-1.amazonaws.com/?Action=Unsubscribe",
    })
}

/// Returns the question of a new subscription, without a signature.
pub(crate) fn question() -> Value {
    let url = format!(
        "https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={ARN}&Token=2336412f37"
    );
    let mut question = notification();
    let more = json!({
        "Type": "SubscriptionConfirmation", "Token": "2336412f37", "SubscribeURL": url, "UnsubscribeURL": null,
    });
    question.as_object_mut().expect("one").extend(more.as_object().expect("one").clone());
    question
}

/// Returns the body of a message, signed with the test's key.
pub(crate) fn signed(message: &Value) -> Vec<u8> {
    let names = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"];
    let lines = names.iter().filter_map(|name| Some(format!("{name}\n{}\n", message[*name].as_str()?)));
    let text: String = lines.collect();
    let key = RsaKeyPair::from_pkcs8(&pkcs8()).expect("a key");
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).expect("a signature");
    let mut message = message.clone();
    message["Signature"] = BASE64_STANDARD.encode(signature).into();
    message.to_string().into_bytes()
}

/// Knows one certificate.
pub(crate) struct OneCertificate(pub(crate) SigningCertificate);

impl FetchedKeys for OneCertificate {
    fn claims(&self, _: &str, _: &[u8], _: SystemTime) -> Result<Map<String, Value>, TokenRefused> {
        Err(TokenRefused { reason: JwtRefusal::KeysUnavailable, needs_newer_keys: false })
    }

    fn certificate(&self, _: &CertificateUrl, _: SystemTime) -> Lookup {
        Lookup::Known(Arc::new(self.0.clone()))
    }
}
