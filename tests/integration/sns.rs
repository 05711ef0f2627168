//! Amazon SNS: certificates are fetched, subscriptions confirmed, messages passed on; and what a client without Amazon's
//! key can make attache do.

use crate::harness::amazon::{Amazon, CERTIFICATE, TOPIC, notification, question, signed};
use crate::harness::*;
use serde_json::{Value, json};
use std::time::Duration;

struct Topology {
    amazon: Amazon,
    attache: Attache,
    app: Stub,
    key: String,
}

async fn topology(lines: &str) -> Topology {
    let (amazon, app, key) = (Amazon::start().await, app().answers(202, "accepted"), webhook_key());
    let setup = amazon.attache().given("app", app.url()).given("sha256", sha256_hex(&key));
    let yaml = format!(
        "proxy: {{ url: '{{{{proxy}}}}' }}\n{}",
        vendor_yaml(&format!("verify: {{ scheme: sns, topics: ['{TOPIC}'] }}\n{lines}"))
    );
    let attache = setup.with(&yaml).await;
    Topology { amazon, attache, app, key }
}

impl Topology {
    async fn send(&self, body: impl Into<Vec<u8>>) -> Response {
        self.attache.hook(self.call(body)).await
    }

    fn call(&self, body: impl Into<Vec<u8>>) -> Request {
        post(format!("/webhooks/{}", self.key), body).header("Content-Type", "text/plain; charset=UTF-8")
    }

    async fn refused(&self, reason: &str) -> f64 {
        let labels = [("service", "vendor"), ("reason", reason)];
        self.attache.metrics().await.value("attache_webhook_refused_total", &labels).unwrap_or(0.0)
    }
}

#[tokio::test]
async fn a_subscription_is_confirmed_and_its_messages_are_passed_on() {
    let at = topology("replay: { window: 3h, answer: 200 }").await;
    let answer = at.send(signed(&question(&json!({})))).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, ""));
    let confirm = format!("/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37");
    assert_eq!(at.amazon.targets(), [CERTIFICATE.to_owned(), confirm]);
    assert_eq!(at.app.seen().heads, 0, "the receiver got the question");
    assert_eq!(at.send(signed(&question(&json!({})))).await.status, 200);
    assert_eq!(at.amazon.targets().len(), 2, "a question that is sent again is not asked again");
    at.attache.stderr_line("INFO.*subscription.*is confirmed.*orders").await;

    let message = signed(&notification(&json!({ "Subject": "new" })));
    let answer = at.send(message.clone()).await;
    assert_eq!((answer.status, answer.text().as_str()), (202, "accepted"));
    assert_eq!(at.app.only_request().await.body, message.as_bytes(), "byte for byte");
    assert_eq!(at.amazon.targets().len(), 2, "the certificate is known");
    let line = at.attache.access_log_line("the message", |line| line["status"] == 202).await;
    assert_eq!(line["delivery_id"], "165545c9-2a5c-472c-8df2-7ff2be2b3b1b");

    assert_eq!(at.send(message).await.status, 200, "SNS repeats it");
    assert_eq!(at.app.requests().len(), 1);
    let unsubscribed = json!({ "Type": "UnsubscribeConfirmation", "MessageId": "2" });
    assert_eq!(at.send(signed(&question(&unsubscribed))).await.status, 202);
    assert_eq!(at.amazon.targets().len(), 2, "attache does not subscribe again");
    assert!(!at.attache.said().contains("2336412f37"), "a token was logged");
}

#[tokio::test]
async fn what_amazon_did_not_sign_is_refused_without_a_request_to_anywhere() {
    let at = topology("").await;
    let mut forged = Vec::new();
    for more in [
        json!({ "SigningCertURL": "https://sns.evil.amazonaws.com.attacker.example/SimpleNotificationService-1.pem" }),
        json!({ "SigningCertURL": "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem" }),
        json!({ "SigningCertURL": "https://bucket.s3.amazonaws.com/SimpleNotificationService-1.pem" }),
        json!({ "SigningCertURL": "http://169.254.169.254/SimpleNotificationService-1.pem" }),
        json!({ "TopicArn": "arn:aws:sns:eu-central-1:999999999999:orders" }),
        json!({ "Timestamp": "2026-01-01T00:00:00.000Z" }),
        json!({ "SignatureVersion": "3" }),
        json!({ "Type": "SubscriptionConfirmation" }),
    ] {
        forged.push(signed(&notification(&more)));
    }
    let good = signed(&notification(&json!({})));
    forged.push(good.replacen('{', r#"{"Message":"another","#, 1));
    forged.push(good.replacen('{', r#"{"message":"another","#, 1));
    forged.push("an order".to_owned());
    for body in forged {
        let answer = at.send(body.clone()).await;
        answer.problem("signature_invalid", 401, "http_request_denied");
    }
    let raw = at.call("an order").header("x-amz-sns-rawdelivery", "true");
    at.attache.hook(raw).await.problem("signature_invalid", 401, "http_request_denied");
    let turned = at.call(good.clone()).header("x-amz-sns-message-type", "SubscriptionConfirmation");
    at.attache.hook(turned).await.problem("signature_invalid", 401, "http_request_denied");
    assert_eq!(at.amazon.targets(), Vec::<String>::new());

    // With the certificate: another text, and a confirmation elsewhere under a good signature.
    let changed = good.replace("an order", "another");
    at.send(changed).await.problem("signature_invalid", 401, "http_request_denied");
    let elsewhere = json!({ "SubscribeURL": "https://attacker.example/?Action=ConfirmSubscription" });
    at.send(signed(&question(&elsewhere))).await.problem("signature_invalid", 401, "http_request_denied");
    assert_eq!(at.amazon.targets(), [CERTIFICATE]);
    assert_eq!(at.app.seen().heads, 0);
}

#[tokio::test]
async fn a_client_that_names_certificates_causes_few_requests() {
    let at = topology("").await;
    let named = |number: usize| {
        let url = format!("https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-{number}.pem");
        signed(&notification(&json!({ "SigningCertURL": url })))
    };
    for number in [0, 0, 1, 2] {
        at.send(named(number)).await.problem("signature_invalid", 401, "http_request_denied");
    }
    for number in 3..20 {
        let answer = at.send(named(number)).await;
        answer.problem("credential_unavailable", 503, "proxy_configuration_error");
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(at.amazon.targets().len(), 3);
    assert_eq!(at.refused("key_unavailable").await, 17.0);
    at.attache.stderr_line("WARN.*a certificate of SNS is not usable.*-0.pem").await;
}

#[tokio::test]
async fn a_client_that_leaves_during_a_fetch_keeps_no_other_waiting() {
    let at = topology("").await;
    at.amazon.answers_after(Duration::from_millis(500));
    let message = signed(&notification(&json!({})));
    let head =
        format!("POST /webhooks/{} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", at.key, message.len());
    let mut connection = Connection::open(at.attache.webhooks()).await;
    connection.write([head.as_bytes(), message.as_bytes()].concat().as_slice()).await;
    at.amazon.host.wait_until("the fetch", |seen| seen.heads == 1).await;
    drop(connection);
    assert_eq!(at.send(message).await.status, 202);
    assert_eq!(at.amazon.targets(), [CERTIFICATE], "it was fetched for both");
}

/// Answers of the host that bring no certificate.
#[tokio::test]
async fn a_host_that_misbehaves_brings_no_certificate_and_no_delay() {
    let send = |text: String| vec![Step::Send(text.into_bytes())];
    let redirect = "HTTP/1.1 302 Found\r\nLocation: https://attacker.example/\r\nContent-Length: 0\r\n\r\n";
    let huge = format!("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{}", "x".repeat(100_000));
    let cases: [(&str, Vec<Step>); 4] = [
        ("a redirect", send(redirect.to_owned())),
        ("larger than allowed", send(huge)),
        ("status 500", send("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_owned())),
        ("", vec![Step::Hang]),
    ];
    for (reason, steps) in cases {
        let at = topology("timeout: 1s").await;
        at.amazon.host.does(move |_| steps.clone());
        let started = std::time::Instant::now();
        let answer = at.send(signed(&notification(&json!({})))).await;
        answer.problem("credential_unavailable", 503, "proxy_configuration_error");
        assert!(started.elapsed() < PATIENCE / 3, "{reason}");
        assert_eq!(at.amazon.targets(), [CERTIFICATE], "{reason}");
        if !reason.is_empty() {
            at.attache.stderr_line(&format!("ERROR.*can't be fetched.*{reason}")).await;
            at.send(signed(&notification(&json!({})))).await.problem(
                "credential_unavailable",
                503,
                "proxy_configuration_error",
            );
            assert_eq!(at.amazon.targets().len(), 1, "{reason}: not again at once");
        }
        let line = at.attache.access_log_line("it", |line| line["status"] == 503).await;
        assert_eq!(line["reason"], "key_unavailable", "{line:#}");
    }
}

#[tokio::test]
async fn a_subscription_that_sns_does_not_confirm_is_asked_again() {
    let at = topology("").await;
    assert_eq!(at.send(signed(&notification(&json!({})))).await.status, 202);
    at.amazon.host.does(|_| vec![Step::Send(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec())]);
    let answer = at.send(signed(&question(&json!({})))).await;
    answer.problem("service_unreachable", 502, "destination_unavailable");
    at.attache.stderr_line("ERROR.*can't be confirmed.*orders.*status 500").await;
    let line = at.attache.access_log_line("it", |line| line["status"] == 502).await;
    assert_eq!(
        (&line["reason"], &line["service"]),
        (&Value::from("subscription_unconfirmed"), &json!("vendor"))
    );
    assert_eq!(at.app.requests().len(), 1, "the question does not reach the receiver");
}

/// The messages that Amazon signed, and what becomes of them if one of their members is changed.
#[tokio::test]
async fn amazons_own_library_accepts_what_attache_accepts() {
    let amazon: Value = serde_json::from_str(include_str!("../sns/amazon.json")).expect("JSON");
    let mut messages = Vec::new();
    for message in amazon["messages"].as_array().expect("messages") {
        // The library leaves `Token` out of the text of these, and so refuses all of them.
        if message["Type"] == "UnsubscribeConfirmation" {
            continue;
        }
        messages.push(message.clone());
        for name in [
            "Message",
            "MessageId",
            "Subject",
            "SubscribeURL",
            "Timestamp",
            "Token",
            "TopicArn",
            "SignatureVersion",
        ] {
            if name != "Subject" && message[name].is_null() {
                continue;
            }
            let mut changed = message.clone();
            let old = message[name].as_str().unwrap_or_default();
            changed[name] = match name {
                "Timestamp" => {
                    old.replace("2026-03-06T19", "2026-03-06T20").replace("T20:00:26", "T20:00:27")
                }
                "SignatureVersion" => if old == "1" { "2" } else { "1" }.to_owned(),
                _ => format!("{old}x"),
            }
            .into();
            messages.push(changed);
        }
        let mut unsigned = message.clone();
        unsigned["UnsubscribeURL"] = "https://attacker.example".into();
        messages.push(unsigned);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let file = write(
        "messages.json",
        &json!({ "certificate": amazon["certificate"], "messages": messages }).to_string(),
    );
    let finished = node("sns.mjs", &[&file], &[]).await;
    let theirs: Vec<bool> = serde_json::from_str(&finished.stdout).expect("a list");
    let certificate = write("certificate.pem", amazon["certificate"].as_str().expect("PEM"));
    let topic = amazon["messages"][0]["TopicArn"].as_str().expect("an ARN");
    assert_eq!(
        theirs.iter().filter(|is_good| **is_good).count(),
        6,
        "the messages, and with another unsigned member"
    );
    for (message, theirs) in messages.iter().zip(theirs) {
        let request = write("request", &format!("POST / HTTP/1.1\nHost: h\n\n{message}"));
        let arguments =
            ["verify", "--scheme", "sns", "--topic", topic, "--certificate", &certificate, "--at"];
        let arguments = [&arguments[..], &["2026-03-06T19:50:00Z", "--request", &request]].concat();
        let ours = command(&arguments).finish().await.code == Some(0);
        assert_eq!(ours, theirs, "{message:#}");
    }
}
