//! Repeated deliveries: a duplicate if the receiver accepted the first, new if it did not.

use crate::harness::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::time::{SystemTime, UNIX_EPOCH};

async fn topology(replay: &str, verify: &str) -> Vendor {
    let at = vendor(&format!("replay: {{ {replay} }}\ntimeout: 400ms\n{verify}")).await;
    at.app.does(|_| vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec())]);
    at
}

/// Returns a call signed now by Standard Webhooks, with the id of a delivery.
fn signed(at: &Vendor, id: &str, body: &str) -> Request {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let signature = STANDARD.encode(at.mac(format!("{id}.{now}.{body}").as_bytes()));
    at.call("", body)
        .header("webhook-id", id)
        .header("webhook-timestamp", now.to_string())
        .header("webhook-signature", format!("v1,{signature}"))
}

const SIGNED: &str = "verify: { scheme: standard_webhooks, secret: { env: VENDOR_WHSEC } }";

#[tokio::test]
async fn the_same_body_again_is_a_duplicate_and_another_is_not() {
    let at = topology("window: 10m", "").await;
    assert_eq!(at.attache.hook(at.call("/a?b", "one")).await.status, 200);
    at.attache.hook(at.call("/a?b", "one")).await.problem("replayed", 409, "http_request_denied");
    for (rest, body) in [("/a?b", "two"), ("/a?c", "one"), ("/c?b", "one")] {
        assert_eq!(at.attache.hook(at.call(rest, body)).await.status, 200, "{rest} {body}");
    }
    assert_eq!(at.app.seen().heads, 4);
    let metrics = at.attache.metrics().await;
    let labels = [("service", "vendor"), ("reason", "duplicate")];
    assert_eq!(metrics.value("attache_webhook_refused_total", &labels), Some(1.0));
    let remembered = metrics.value("attache_webhook_deliveries_remembered", &[("service", "vendor")]);
    assert_eq!(remembered, Some(4.0));
}

#[tokio::test]
async fn a_duplicate_may_be_answered_with_200() {
    let at = topology("window: 10m, answer: 200", "").await;
    assert_eq!(at.attache.hook(at.call("", "one")).await.status, 200);
    let again = at.attache.hook(at.call("", "one")).await;
    assert_eq!((again.status, again.body_length), (200, 0));
    assert_eq!(again.all("proxy-status"), ["attache; error=http_request_denied"]);
    assert_eq!(at.app.seen().heads, 1);
}

#[tokio::test]
async fn a_signed_id_identifies_a_delivery_whatever_its_body() {
    let at = topology("window: 10m", SIGNED).await;
    assert_eq!(at.attache.hook(signed(&at, "msg_1", "{}")).await.status, 200);
    at.attache.hook(signed(&at, "msg_1", "{}")).await.problem("replayed", 409, "http_request_denied");
    at.attache.hook(signed(&at, "msg_1", "other")).await.problem("replayed", 409, "http_request_denied");
    assert_eq!(at.attache.hook(signed(&at, "msg_2", "{}")).await.status, 200);
    // A client without the secret can't use ids up.
    let forged = signed(&at, "msg_3", "{}").header("webhook-id", "msg_4");
    assert_eq!(at.attache.hook(forged).await.status, 401);
    assert_eq!(at.attache.hook(signed(&at, "msg_3", "{}")).await.status, 200);
}

#[tokio::test]
async fn a_delivery_that_the_receiver_refused_may_come_again_at_once() {
    let at = topology("window: 10m, answer: 200", SIGNED).await;
    let answers = |status: u16| {
        let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").into_bytes();
        at.app.does(move |_| vec![Step::Send(text.clone())]);
    };
    for (n, status) in [500, 503, 429, 404].into_iter().enumerate() {
        answers(status);
        assert_eq!(at.attache.hook(signed(&at, "msg_1", "{}")).await.status, status);
        assert_eq!(at.app.seen().heads, n + 1);
    }
    at.app.does(|_| vec![Step::Hang]);
    assert_eq!(at.attache.hook(signed(&at, "msg_1", "{}")).await.status, 504);
    at.app.does(|_| vec![Step::Reset]);
    assert_eq!(at.attache.hook(signed(&at, "msg_1", "{}")).await.status, 502);
    answers(202);
    assert_eq!(at.attache.hook(signed(&at, "msg_1", "{}")).await.status, 202);
    assert_eq!(at.attache.hook(signed(&at, "msg_1", "{}")).await.status, 200);
    assert_eq!(at.app.seen().heads, 7);
}

#[tokio::test]
async fn a_delivery_with_unknown_outcome_is_not_acknowledged() {
    let at = topology("window: 10m, answer: 200", SIGNED).await;
    at.app.does(|_| {
        vec![Step::Pause(ms(250)), Step::Send(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n".to_vec())]
    });
    let mut first = Connection::open(at.attache.webhooks()).await;
    let slow = first.exchange(signed(&at, "msg_1", "{}"));
    let second = async {
        at.app.head(0).await;
        at.attache.hook(signed(&at, "msg_1", "{}")).await
    };
    let (slow, second) = tokio::join!(slow, second);
    second.problem("replayed", 409, "http_request_denied");
    assert_eq!(second.all("retry-after"), ["1"]);
    assert_eq!(slow.status, 500);
    at.app.does(|_| vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec())]);
    assert_eq!(at.attache.hook(signed(&at, "msg_1", "{}")).await.status, 200);
    assert_eq!(at.app.seen().heads, 2);
}

/// GitHub signs neither an id nor a time nor the URL: an intercepted delivery may be sent again to another path.
#[tokio::test]
async fn unsigned_parts_do_not_make_a_new_delivery() {
    let verify = "verify: { scheme: github, secret: { env: VENDOR_SECRET } }";
    let at = topology("window: 10m", verify).await;
    let call = |rest| at.github(rest, b"{}");
    assert_eq!(at.attache.hook(call("")).await.status, 200);
    for rest in ["", "?x=1", "?", "/", "/other"] {
        at.attache.hook(call(rest)).await.problem("replayed", 409, "http_request_denied");
    }
    assert_eq!(at.app.seen().heads, 1);
}

#[tokio::test]
async fn a_caller_that_leaves_releases_its_reservation() {
    let at = topology("window: 10m", SIGNED).await;
    at.app.does(|_| vec![Step::Hang]);
    let mut leaving = Connection::open(at.attache.webhooks()).await;
    tokio::select! {
        _answer = leaving.try_exchange(signed(&at, "msg_1", "{}")) => panic!("no answer was due"),
        _seen = at.app.head(0) => {}
    }
    drop(leaving);
    at.app.does(|_| vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec())]);
    let again = async || (at.attache.hook(signed(&at, "msg_1", "{}")).await.status == 200).then_some(());
    eventually("the delivery to be new again", again).await;
}

#[tokio::test]
async fn a_reload_forgets_no_delivery() {
    let at = topology("window: 10m", "").await;
    assert_eq!(at.attache.hook(at.call("", "one")).await.status, 200);
    at.attache.reload(&vendor_yaml("replay: { window: 10m, answer: 200 }"), "applied").await;
    let again = at.attache.hook(at.call("", "one")).await;
    assert_eq!((again.status, at.app.seen().heads), (200, 1), "answered with 200, and not forwarded again");
}

/// Without a signature, one third party must not be able to use up the deliveries of another.
#[tokio::test]
async fn two_keys_belong_to_two_third_parties() {
    let (app, one, other) = (app(), webhook_key(), webhook_key());
    let yaml = format!(
        "users: {{ bot: {{}} }}\nservices:\n  vendor:\n    webhook:\n      user: bot\n      forward_to: '{}'\n      \
         api_keys: [{{ id: one, sha256: {} }}, {{ id: other, sha256: {} }}]\n      replay: {{ answer: 200 }}\n",
        app.url(),
        sha256_hex(&one),
        sha256_hex(&other)
    );
    let attache = attache().with(&yaml).await;
    for key in [&one, &other, &one] {
        assert_eq!(attache.hook(post(format!("/webhooks/{key}"), "{}")).await.status, 200);
    }
    assert_eq!(app.seen().heads, 2);
}
