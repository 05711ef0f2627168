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

/// A token signs nothing, so a call with one is told from others as a call without `verify` is.
#[tokio::test]
async fn where_nothing_is_signed_method_and_path_tell_calls_apart() {
    let token =
        "verify: { scheme: custom, header: X-Token, algorithm: token, secret: { env: VENDOR_SECRET } }";
    for verify in ["", token] {
        let at = topology("window: 10m", &format!("methods: [POST, PUT, DELETE]\n{verify}")).await;
        for (method, rest) in [("POST", "/a"), ("DELETE", "/a"), ("DELETE", "/b"), ("DELETE", "/b?c")] {
            let call = || match verify {
                "" => at.call(rest, "").method(method),
                _ => at.call(rest, "").method(method).header("x-token", at.secret.clone()),
            };
            assert_eq!(at.attache.hook(call()).await.status, 200, "{method} {rest} {verify}");
            at.attache.hook(call()).await.problem("replayed", 409, "http_request_denied");
        }
    }
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
    for (n, status) in [500, 503, 429, 404].into_iter().enumerate() {
        at.app.does(move |_| answer(status));
        assert_eq!(at.attache.hook(signed(&at, "msg_1", "{}")).await.status, status);
        assert_eq!(at.app.seen().heads, n + 1);
    }
    at.app.does(|_| answer(202));
    assert_eq!(at.attache.hook(signed(&at, "msg_1", "{}")).await.status, 202);
    assert_eq!(at.attache.hook(signed(&at, "msg_1", "{}")).await.status, 200);
    assert_eq!(at.app.seen().heads, 5);
}

fn answer(status: u16) -> Vec<Step> {
    vec![Step::Send(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").into_bytes())]
}

/// A receiver without an answer may still be working, so its delivery is held for another `timeout`.
#[tokio::test]
async fn a_delivery_without_an_answer_is_held_for_another_timeout() {
    for (step, status, code) in [
        (Step::Hang, 504, "service_timeout"),
        (Step::Reset, 502, "service_unreachable"),
        (Step::Close, 502, "service_unreachable"),
        (Step::Send(b"nonsense\r\n\r\n".to_vec()), 502, "service_protocol"),
    ] {
        let at = topology("window: 10m, answer: 200", SIGNED).await;
        at.app.does(move |_| vec![step.clone()]);
        let first = at.attache.hook(signed(&at, "msg_1", "{}")).await;
        assert_eq!((first.status, first.json()["code"].as_str()), (status, Some(code)));
        at.app.does(|_| answer(202));
        let second = at.attache.hook(signed(&at, "msg_1", "{}")).await;
        second.problem("replayed", 409, "http_request_denied");
        assert_eq!(second.all("retry-after"), ["1"], "{code}");
        assert_eq!(at.refused("outcome_unknown").await, 1.0);
        assert_eq!(at.app.seen().heads, 1, "the receiver works on one of them");
        let again = async || (at.attache.hook(signed(&at, "msg_1", "{}")).await.status == 202).then_some(());
        eventually("the delivery to be new again", again).await;
    }
}

#[tokio::test]
async fn the_time_that_an_unknown_delivery_is_held_is_said() {
    let at = vendor(&format!("replay: {{ answer: 200 }}\ntimeout: 20s\n{SIGNED}")).await;
    at.app.does(|_| vec![Step::Close]);
    assert_eq!(at.attache.hook(signed(&at, "msg_1", "{}")).await.status, 502);
    let second = at.attache.hook(signed(&at, "msg_1", "{}")).await;
    assert_eq!((second.status, second.all("retry-after")), (409, vec!["20"]));
}

#[tokio::test]
async fn a_delivery_that_was_never_sent_may_come_again_at_once() {
    let at = topology("window: 10m, answer: 200", SIGNED).await;
    let yaml = vendor_yaml(&format!("replay: {{ answer: 200 }}\n{SIGNED}"));
    let (closed, _held) = refused();
    at.attache.reload(&yaml.replace("{{app}}", &format!("http://{closed}")), "applied").await;
    for _ in 0..2 {
        assert_eq!(at.attache.hook(signed(&at, "msg_1", "{}")).await.status, 502);
    }
    at.attache.reload(&yaml, "applied").await;
    assert_eq!(at.attache.hook(signed(&at, "msg_1", "{}")).await.status, 200);
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

const GITHUB: &str = "verify: { scheme: github, secret: { env: VENDOR_SECRET } }";
const GITHUB_REPLAY: &str = "window: 10m, distinguish_by: X-GitHub-Delivery";

/// GitHub signs neither an id nor a time nor the URL: an intercepted delivery may be sent again to another path.
#[tokio::test]
async fn unsigned_parts_do_not_make_a_new_delivery() {
    let at = topology(GITHUB_REPLAY, GITHUB).await;
    let call = |rest| at.github(rest, b"{}").header("X-GitHub-Delivery", "1");
    assert_eq!(at.attache.hook(call("")).await.status, 200);
    for rest in ["", "?x=1", "?", "/", "/other"] {
        at.attache.hook(call(rest)).await.problem("replayed", 409, "http_request_denied");
    }
    let other = call("").header("X-GitHub-Event", "push").header("User-Agent", "another");
    at.attache.hook(other).await.problem("replayed", 409, "http_request_denied");
    assert_eq!(at.app.seen().heads, 1);
}

/// Shopify signs neither the id nor the topic of an event, and the body of two events may be the same.
#[tokio::test]
async fn events_with_the_same_body_are_told_apart_by_a_header() {
    let verify = "verify: { scheme: shopify, secret: { env: VENDOR_SECRET } }";
    let at = topology("answer: 200, distinguish_by: [X-Shopify-Event-Id, X-Shopify-Topic]", verify).await;
    let body = br#"{"id":820982911946154508}"#;
    let call = |id: &str| {
        let call = at.call("", &body[..]).header("X-Shopify-Hmac-Sha256", STANDARD.encode(at.mac(body)));
        call.header("X-Shopify-Event-Id", id).header("X-Shopify-Topic", "orders/paid")
    };
    for id in ["98880550-7158-44d4-b7cd-2c97c8a091b5", "another", "98880550-7158-44d4-b7cd-2c97c8a091b5"] {
        assert_eq!(at.attache.hook(call(id)).await.status, 200, "{id}");
    }
    assert_eq!(at.app.seen().heads, 2, "the third is a duplicate");
    let third = at.attache.hook(call("another")).await;
    let id = third.request_id().to_owned();
    let line = at.attache.access_log_line("the duplicate", |line| line["request_id"] == id.as_str()).await;
    assert_eq!(line["delivery_id"], "another");
}

/// A front proxy may write the URL of the call, and with it the key, into the header that tells deliveries apart.
#[tokio::test]
async fn an_id_that_holds_the_key_is_not_logged() {
    let at = topology("window: 10m, distinguish_by: X-Event-Id", "").await;
    for (id, status) in [(at.key.clone(), 200), (at.key.clone(), 409), (format!("/webhooks/{}", at.key), 200)]
    {
        let answer = at.attache.hook(at.call("", "{}").header("X-Event-Id", id)).await;
        assert_eq!(answer.status, status);
        let id = answer.request_id().to_owned();
        let line = at.attache.access_log_line("the call", |line| line["request_id"] == id.as_str()).await;
        assert!(line["delivery_id"].is_null(), "{status}");
    }
}

/// Attempts of a client that has one captured call. It can change an unsigned header, which no check can detect; it must
/// not be able to do more.
#[tokio::test]
async fn a_captured_call_is_new_only_with_another_value_of_the_header() {
    let at = topology(&format!("{GITHUB_REPLAY}, answer: 409"), GITHUB).await;
    let call = |name: &'static str, value: &str| at.github("", b"{}").header(name, value.to_owned());
    let name = "X-GitHub-Delivery";
    assert_eq!(at.attache.hook(call(name, "1")).await.status, 200);
    for (what, call, status, code) in [
        ("another spelling", call("x_github_delivery", "1"), 400, "request_invalid"),
        ("none", at.github("", b"{}"), 400, "request_invalid"),
        ("twice", call(name, "1").header(name, "1"), 400, "request_invalid"),
        ("twice, another first", call(name, "2").header(name, "1"), 400, "request_invalid"),
        ("beside another spelling", call(name, "2").header("X_GitHub_Delivery", "1"), 400, "request_invalid"),
        ("another case", call("x-GITHUB-delivery", "1"), 409, "replayed"),
        ("white space around it", call(name, "  1\t"), 409, "replayed"),
    ] {
        let answer = at.attache.hook(call).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (status, Some(code)), "{what}");
    }
    assert_eq!(at.app.seen().heads, 1);
    assert_eq!(at.attache.hook(call(name, "2")).await.status, 200, "documented");
}

/// A duplicate does not use up the rate, and neither does a call without a valid signature.
#[tokio::test]
async fn copies_of_a_captured_call_use_up_nothing_of_the_rate() {
    let rate = "rate_limit: { requests: 2, per: 1h, burst: 2 }";
    let at = topology(GITHUB_REPLAY, &format!("{GITHUB}\n{rate}")).await;
    let call = |body: &[u8], id: &str| at.github("", body).header("X-GitHub-Delivery", id.to_owned());
    assert_eq!(at.attache.hook(call(b"{}", "1")).await.status, 200);
    for _ in 0..7 {
        assert_eq!(at.attache.hook(call(b"{}", "1")).await.status, 409);
    }
    for _ in 0..7 {
        assert_eq!(at.attache.hook(at.call("", "forged").header("X-GitHub-Delivery", "2")).await.status, 401);
    }
    assert_eq!(at.attache.hook(call(b"{\"n\":2}", "2")).await.status, 200, "a genuine one");
    assert_eq!(at.attache.hook(call(b"{}", "1")).await.status, 409, "a duplicate, whatever the rate");
    assert_eq!(at.attache.hook(call(b"{\"n\":3}", "3")).await.status, 429);
    // A delivery beyond the rate was not sent, so it is none that was here.
    assert_eq!(at.attache.hook(call(b"{\"n\":3}", "3")).await.status, 429);
}

#[tokio::test]
async fn without_a_signature_a_duplicate_comes_before_the_rate_too() {
    let at = topology("window: 10m", "rate_limit: { requests: 2, per: 1h, burst: 2 }").await;
    assert_eq!(at.attache.hook(at.call("", "one")).await.status, 200);
    for _ in 0..5 {
        assert_eq!(at.attache.hook(at.call("", "one")).await.status, 409);
    }
    assert_eq!(at.attache.hook(at.call("", "two")).await.status, 200);
    assert_eq!(at.attache.hook(at.call("", "three")).await.status, 429);
}

#[tokio::test]
async fn a_method_and_a_size_come_before_the_rate() {
    let rate = "rate_limit: { requests: 1, per: 1h, burst: 1 }\nmax_body: 10B";
    let at = vendor(rate).await;
    for _ in 0..3 {
        assert_eq!(at.attache.hook(at.call("", "").method("PUT")).await.status, 405);
        assert_eq!(at.attache.hook(at.call("", "eleven bytes")).await.status, 413);
    }
    assert_eq!(at.attache.hook(at.call("", "one")).await.status, 202);
    assert_eq!(at.attache.hook(at.call("", "two")).await.status, 429);
}

#[tokio::test]
async fn a_client_that_leaves_leaves_its_delivery_held() {
    let at = topology("window: 10m", SIGNED).await;
    at.app.does(|_| vec![Step::Hang]);
    let mut leaving = Connection::open(at.attache.webhooks()).await;
    tokio::select! {
        _answer = leaving.try_exchange(signed(&at, "msg_1", "{}")) => panic!("no answer was due"),
        _seen = at.app.head(0) => {}
    }
    drop(leaving);
    at.app.does(|_| answer(200));
    let second = at.attache.hook(signed(&at, "msg_1", "{}")).await;
    second.problem("replayed", 409, "http_request_denied");
    assert_eq!(at.app.seen().heads, 1, "the receiver works on one of them");
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
