//! The handshakes of providers, from outside.

use crate::harness::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::time::{SystemTime, UNIX_EPOCH};

async fn topology(verify: &str) -> Vendor {
    vendor(&format!("verify: {{ secret: {{ env: VENDOR_SECRET }}, {verify} }}")).await
}

/// Asserts this answer, that a browser would not execute it, and that the request never reaches the receiver.
async fn answers(at: &Vendor, request: Request, content_type: &str, body: &str) {
    let answer = at.attache.hook(request).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, body));
    assert_eq!(answer.all("content-type"), [content_type]);
    assert_eq!(answer.all("x-content-type-options"), ["nosniff"]);
    assert_eq!(answer.all("cache-control"), ["no-store"]);
    assert!(!answer.request_id().is_empty());
    assert_eq!(at.app.seen().heads, 0, "the receiver got a request");
}

fn ask(at: &Vendor, method: &str, query: &str) -> Request {
    request(method, format!("/webhooks/{}?{query}", at.key))
}

const TEXT: &str = "text/plain; charset=utf-8";

#[tokio::test]
async fn metas_challenge_needs_the_agreed_token() {
    let at = topology("scheme: meta, verify_token: agreed upon").await;
    let good = "hub.mode=subscribe&hub.challenge=%3Cscript%3E1&hub.verify_token=agreed+upon";
    answers(&at, ask(&at, "GET", good), TEXT, "<script>1").await;
    let wrong = at.attache.hook(ask(&at, "GET", &good.replace("agreed", "other"))).await;
    wrong.problem("signature_invalid", 401, "http_request_denied");
    let unknown = request("GET", format!("/webhooks/{}?{good}", webhook_key()));
    at.attache.hook(unknown).await.problem("webhook_unknown", 404, "http_request_denied");
    let posted = post(format!("/webhooks/{}?{good}", at.key), "{}");
    at.attache.hook(posted).await.problem("signature_invalid", 401, "http_request_denied");
}

#[tokio::test]
async fn an_answered_question_is_no_failure_and_a_refused_one_has_the_reason_of_its_line() {
    let at = topology("scheme: meta, verify_token: agreed upon").await;
    let good = "hub.mode=subscribe&hub.challenge=1&hub.verify_token=agreed+upon";
    answers(&at, ask(&at, "GET", good), TEXT, "1").await;
    at.attache.hook(ask(&at, "GET", &good.replace("agreed", "other"))).await;
    let line = at.attache.access_log_line("the refused one", |line| line["status"] == 401).await;
    assert_eq!(line["reason"], "verify_token");
    let answered = at.attache.access_log_line("the answered one", |line| line["status"] == 200).await;
    assert_eq!((&answered["reason"], &answered["phase"]), (&"handshake".into(), &serde_json::Value::Null));
    let status = at.attache.status().await;
    let reasons: Vec<_> =
        status["failures"].as_array().expect("a list").iter().map(|row| &row["reason"]).collect();
    assert_eq!(reasons, ["verify_token"]);
    let metrics = at.attache.metrics().await;
    let counted =
        |reason| metrics.value("attache_webhook_refused_total", &[("service", "vendor"), ("reason", reason)]);
    assert_eq!((counted("verify_token"), counted("signature_mismatch")), (Some(1.0), None));
}

#[tokio::test]
async fn the_challenges_of_dropbox_and_microsoft_are_echoed() {
    let dropbox = topology("scheme: dropbox").await;
    answers(&dropbox, ask(&dropbox, "GET", "challenge=abc123"), TEXT, "abc123").await;
    let graph = topology("scheme: microsoft_graph").await;
    answers(
        &graph,
        ask(&graph, "POST", "validationToken=Validation%3a+Testing+%26"),
        TEXT,
        "Validation: Testing &",
    )
    .await;
    assert_eq!(graph.attache.hook(post(format!("/webhooks/{}", graph.key), "{}")).await.status, 401);
    let long = dropbox.attache.hook(ask(&dropbox, "GET", &format!("challenge={}", "x".repeat(3000)))).await;
    long.problem("request_invalid", 400, "http_request_error");
}

#[tokio::test]
async fn the_challenge_of_x_is_answered_with_a_signature() {
    let at = topology("scheme: x").await;
    let expected = STANDARD.encode(at.mac(b"crc-token_1"));
    let body = format!(r#"{{"response_token":"sha256={expected}"}}"#);
    answers(&at, ask(&at, "GET", "crc_token=crc-token_1&nonce=x"), "application/json", &body).await;
    // A request that could be a delivery gets no signature.
    let forged = at.attache.hook(ask(&at, "GET", "crc_token=%7B%22a%22%3A1%7D")).await;
    forged.problem("request_invalid", 400, "http_request_error");
}

#[tokio::test]
async fn slacks_challenge_is_answered_if_its_signature_is_valid() {
    let at = topology("scheme: slack").await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let body = r#"{"token":"x","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}"#;
    let signature = at.mac(format!("v0:{now}:{body}").as_bytes());
    let signature: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
    let ask =
        || post(format!("/webhooks/{}", at.key), body).header("X-Slack-Request-Timestamp", now.to_string());
    at.attache.hook(ask()).await.problem("signature_invalid", 401, "http_request_denied");
    let signed = ask().header("X-Slack-Signature", format!("v0={signature}"));
    answers(&at, signed, TEXT, "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P").await;
    let labels = [("service", "vendor"), ("key_id", "k1")];
    let used = at.attache.metrics().await.value("attache_webhook_key_last_used_timestamp_seconds", &labels);
    assert!(used.is_some(), "a handshake is a use");
}

#[tokio::test]
async fn no_other_scheme_answers_a_challenge() {
    let at = topology("scheme: github").await;
    for query in ["challenge=x", "hub.mode=subscribe&hub.challenge=x&hub.verify_token=agreed", "crc_token=x"]
    {
        at.attache.hook(ask(&at, "GET", query)).await.problem("method_denied", 405, "http_request_denied");
    }
    let posted = post(
        format!("/webhooks/{}?validationToken=x", at.key),
        r#"{"type":"url_verification","challenge":"x"}"#,
    );
    at.attache.hook(posted).await.problem("signature_invalid", 401, "http_request_denied");
    assert_eq!(at.app.seen().heads, 0);
}

/// A webhook with a handshake and no signature.
async fn unsigned(handshake: &str) -> Vendor {
    vendor(&format!("handshake: {handshake}")).await
}

/// A webhook with the scheme and the handshake of a provider.
async fn signed(name: &str) -> Vendor {
    vendor(&format!("verify: {{ scheme: {name}, secret: {{ env: VENDOR_SECRET }} }}\nhandshake: {name}"))
        .await
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs()
}

#[tokio::test]
async fn the_challenges_of_okta_and_event_grid_are_echoed_as_json() {
    let okta = unsigned("okta").await;
    let challenge = "Me_rShK8JHsTnbyYrWXCEoMGbM_zsZ6k0hLPZ_Pg";
    let asked = ask(&okta, "GET", "").header("X-Okta-Verification-Challenge", challenge);
    answers(&okta, asked, "application/json", &format!(r#"{{"verification":"{challenge}"}}"#)).await;

    let grid = unsigned("event_grid").await;
    let event = r#"[{"id":"2d1781af-3a4c-4d7c-bd0c-e34b19da4e66","topic":"/subscriptions/x","subject":"","data":{"validationCode":"512d38b6-c7b8-40c8-89fe-f46f9e9622b6","validationUrl":"https://rp-eastus2.eventgrid.azure.net:553/validate"},"eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","eventTime":"2022-10-28T04:23:35.1981776Z","metadataVersion":"1","dataVersion":"1"}]"#;
    let asked = || grid.call("", event).header("aeg-event-type", "SubscriptionValidation");
    let expected = r#"{"validationResponse":"512d38b6-c7b8-40c8-89fe-f46f9e9622b6"}"#;
    answers(&grid, asked(), "application/json", expected).await;
    let delivered = grid.attache.hook(grid.call("", event).header("aeg-event-type", "Notification")).await;
    assert_eq!(delivered.status, 202);
}

#[tokio::test]
async fn trello_may_use_head_and_no_one_else() {
    let trello = unsigned("trello").await;
    let asked = trello.attache.hook(ask(&trello, "HEAD", "")).await;
    assert_eq!((asked.status, asked.text().as_str()), (200, ""));
    for method in ["GET", "PUT", "OPTIONS"] {
        let other = trello.attache.hook(ask(&trello, method, "")).await;
        other.problem("method_denied", 405, "http_request_denied");
    }
    let github = topology("scheme: github").await;
    assert_eq!(github.attache.hook(ask(&github, "HEAD", "")).await.status, 405);
    assert_eq!((trello.app.seen().heads, github.app.seen().heads), (0, 0));
}

#[tokio::test]
async fn cloudevents_are_permitted_to_listed_senders() {
    let at = vendor(
        "handshake: { cloudevents: { origins: [eventgrid.azure.net] } }
         rate_limit: { requests: 10, per: 1s }",
    )
    .await;
    let asked = ask(&at, "OPTIONS", "")
        .header("WebHook-Request-Origin", "eventgrid.azure.net")
        .header("WebHook-Request-Rate", "120")
        .header("WebHook-Request-Callback", "http://169.254.169.254/");
    let granted = at.attache.hook(asked).await;
    assert_eq!(granted.status, 200);
    assert_eq!(granted.all("webhook-allowed-origin"), ["eventgrid.azure.net"]);
    assert_eq!(granted.all("webhook-allowed-rate"), ["600"]);
    assert_eq!(granted.all("allow"), ["POST"]);
    let other = ask(&at, "OPTIONS", "").header("WebHook-Request-Origin", "attacker.example");
    let other = at.attache.hook(other).await;
    other.problem("request_denied", 403, "http_request_denied");
    assert!(other.all("webhook-allowed-origin").is_empty());
    let preflight = ask(&at, "OPTIONS", "").header("Origin", "https://attacker.example");
    at.attache.hook(preflight).await.problem("method_denied", 405, "http_request_denied");
    assert_eq!(at.refused("origin").await, 1.0);
}

#[tokio::test]
async fn a_hubs_subscription_is_confirmed_if_it_is_wanted() {
    let at = unsigned("{ websub: { topics: [https://blog.example/feed] } }").await;
    let query = "hub.mode=subscribe&hub.topic=https%3A%2F%2Fblog.example%2Ffeed&hub.challenge=c1&hub.lease_seconds=864000";
    answers(&at, ask(&at, "GET", query), TEXT, "c1").await;
    let other = at.attache.hook(ask(&at, "GET", &query.replace("feed", "other"))).await;
    other.problem("request_denied", 404, "http_request_denied");
    let ended = at.attache.hook(ask(&at, "GET", &query.replace("subscribe", "unsubscribe"))).await;
    ended.problem("request_denied", 404, "http_request_denied");
    assert_eq!(at.attache.hook(at.call("", "<feed/>")).await.status, 202);
}

fn zoom(at: &Vendor, body: &str) -> Request {
    let now = now();
    let signature = hex(&at.mac(format!("v0:{now}:{body}").as_bytes()));
    at.call("", body)
        .header("x-zm-request-timestamp", now.to_string())
        .header("x-zm-signature", format!("v0={signature}"))
}

#[tokio::test]
async fn zooms_question_needs_its_signature() {
    let at = signed("zoom").await;
    let body = r#"{"payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1654503849680,"event":"endpoint.url_validation"}"#;
    let expected = hex(&at.mac(b"qgg8vlvZRS6UYooatFL8Aw"));
    let expected = format!(r#"{{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"{expected}"}}"#);
    answers(&at, zoom(&at, body), "application/json", &expected).await;
    let unsigned = at.attache.hook(at.call("", body)).await;
    unsigned.problem("signature_invalid", 401, "http_request_denied");
    assert!(!unsigned.text().contains("encryptedToken"));
    // A signature of this text would be one of a delivery.
    let forged = body.replace("qgg8vlvZRS6UYooatFL8Aw", &format!("v0:{}:{{}}", now()));
    at.attache.hook(zoom(&at, &forged)).await.problem("request_invalid", 400, "http_request_error");
    let delivered = at.attache.hook(zoom(&at, r#"{"event":"meeting.started","payload":{}}"#)).await;
    assert_eq!(delivered.status, 202);
    let line = at.attache.access_log_line("the answer", |line| line["status"] == 200).await;
    assert_eq!((&line["reason"], &line["code"]), (&"handshake".into(), &serde_json::Value::Null));
}

#[tokio::test]
async fn zooms_answer_is_made_with_the_secret_of_the_question() {
    let other = secret("other");
    let setup = attache().env("NEW", &other);
    let (app, key, old) = (app().answers(202, "accepted"), webhook_key(), secret("old"));
    let setup = setup.env("OLD", &old).given("app", app.url()).given("sha256", sha256_hex(&key));
    let lines = "verify: { scheme: zoom, secret: [{ env: NEW }, { env: OLD }] }\nhandshake: zoom";
    let attache = setup.with(&vendor_yaml(lines)).await;
    let at = Vendor { attache, app, key, secret: old };
    let body = r#"{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"}}"#;
    let answer = at.attache.hook(zoom(&at, body)).await;
    assert_eq!(answer.json()["encryptedToken"], hex(&at.mac(b"qgg8vlvZRS6UYooatFL8Aw")));
}

#[tokio::test]
async fn twitchs_question_needs_its_signature() {
    let at = signed("twitch").await;
    let body = r#"{"challenge":"pogchamp-kappa-360noscope-vohiyo","subscription":{"id":"f1c2a387-161a-49f9-a165-0f21d7a4e1c4","status":"webhook_callback_verification_pending","type":"channel.follow","version":"1"}}"#;
    let (id, time) = ("e76c6bd4-55c9-4987-8304-da1588d8988b", jiff::Timestamp::now().to_string());
    let signature = hex(&at.mac(format!("{id}{time}{body}").as_bytes()));
    let ask = |signature: &str| {
        at.call("", body)
            .header("Twitch-Eventsub-Message-Id", id)
            .header("Twitch-Eventsub-Message-Timestamp", &*time)
            .header("Twitch-Eventsub-Message-Type", "webhook_callback_verification")
            .header("Twitch-Eventsub-Message-Signature", format!("sha256={signature}"))
    };
    let forged = at.attache.hook(ask(&"0".repeat(64))).await;
    forged.problem("signature_invalid", 401, "http_request_denied");
    answers(&at, ask(&signature), TEXT, "pogchamp-kappa-360noscope-vohiyo").await;
}

#[tokio::test]
async fn discords_pings_need_their_signature() {
    use ring::signature::{Ed25519KeyPair, KeyPair as _};
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
    let public = hex(pair.public_key().as_ref());
    let at =
        vendor(&format!("verify: {{ scheme: discord, public_key: '{public}' }}\nhandshake: discord")).await;
    let ask = |body: &str, signed: &str| {
        let now = now();
        let signature = hex(pair.sign(format!("{now}{signed}").as_bytes()).as_ref());
        at.call("", body)
            .header("X-Signature-Ed25519", signature)
            .header("X-Signature-Timestamp", now.to_string())
    };
    let ping = r#"{"app_permissions":"562949953601536","application_id":"1","id":"2","token":"t","type":1,"version":1}"#;
    answers(&at, ask(ping, ping), "application/json", r#"{"type":1}"#).await;
    let event_ping = r#"{"version":1,"application_id":"1234560123453231555","type":0}"#;
    let answer = at.attache.hook(ask(event_ping, event_ping)).await;
    assert_eq!((answer.status, answer.text().as_str()), (204, ""));
    assert_eq!(answer.all("content-type"), ["application/json"]);
    // Discord tries the endpoint with a wrong signature, and wants a 401.
    at.attache.hook(ask(ping, "other")).await.problem("signature_invalid", 401, "http_request_denied");
    let event = r#"{"version":1,"application_id":"1","type":1,"event":{"type":"APPLICATION_AUTHORIZED"}}"#;
    assert_eq!(at.attache.hook(ask(event, event)).await.status, 202);
}

#[tokio::test]
async fn a_handshake_goes_with_any_scheme_and_counts_for_no_rate() {
    let at = vendor(
        "verify: { scheme: github, secret: { env: VENDOR_SECRET } }
         handshake: dropbox
         rate_limit: { requests: 1, per: 1h }
         replay: { window: 10m, distinguish_by: [X-GitHub-Delivery] }",
    )
    .await;
    for _ in 0..3 {
        answers(&at, ask(&at, "GET", "challenge=abc"), TEXT, "abc").await;
    }
    let delivery = at.github("", b"{}").header("X-GitHub-Delivery", "1");
    assert_eq!(at.attache.hook(delivery).await.status, 202);
}

#[tokio::test]
async fn a_handshake_obeys_key_address_and_user() {
    let at = vendor("handshake: dropbox\nallow_from: [203.0.113.0/24]").await;
    at.attache.hook(ask(&at, "GET", "challenge=x")).await.problem(
        "request_denied",
        403,
        "http_request_denied",
    );
    let unknown = request("GET", format!("/webhooks/{}?challenge=x", webhook_key()));
    at.attache.hook(unknown).await.problem("webhook_unknown", 404, "http_request_denied");
    let yaml = vendor_yaml("handshake: dropbox").replace("bot: {}", "bot: { active: false }");
    at.attache.reload(&yaml, "applied").await;
    at.attache.hook(ask(&at, "GET", "challenge=x")).await.problem(
        "user_inactive",
        403,
        "http_request_denied",
    );
}

#[tokio::test]
async fn none_leaves_the_question_to_the_receiver() {
    let at = vendor(
        "verify: { scheme: microsoft_graph, secret: { env: VENDOR_SECRET } }
         handshake: none
         methods: [GET, POST]",
    )
    .await;
    let asked = at.attache.hook(ask(&at, "POST", "validationToken=x")).await;
    asked.problem("signature_invalid", 401, "http_request_denied");
    let plain = vendor("handshake: none\nmethods: [GET]").await;
    assert_eq!(plain.attache.hook(ask(&plain, "GET", "challenge=x")).await.status, 202);
}
