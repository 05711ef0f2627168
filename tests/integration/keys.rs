//! Webhook keys: their place, their validity, the limit on guesses, and the rate of use.

use crate::harness::*;

const YAML: &str = "
    limits: { wrong_keys: { requests: 5, per: 1h } }
    users: { bot: {} }
    services:
      by-header:
        webhook:
          user: bot
          forward_to: '{{app}}/header'
          key_in: { header: X-API-Key }
          api_keys: [{ id: h1, sha256: {{header}} }]
      by-query:
        webhook:
          user: bot
          forward_to: '{{app}}/query'
          key_in: { query: key }
          api_keys: [{ id: q1, sha256: {{query}} }]
      by-path:
        webhook:
          user: bot
          forward_to: '{{app}}/path'
          rate_limit: { requests: 2, per: 1h }
          api_keys:
            - { id: old, sha256: {{old}}, expires_at: 2020-01-01T00:00:00Z }
            - { id: off, sha256: {{off}}, disabled: true }
            - { id: p1, sha256: {{path}} }
            - { id: p2, sha256: {{other}} }";

struct Topology {
    attache: Attache,
    app: Stub,
    keys: [String; 6],
}

async fn topology() -> Topology {
    let keys: [String; 6] = std::array::from_fn(|_| webhook_key());
    let app = app();
    let names = ["header", "query", "old", "off", "path", "other"];
    let setup = attache().given("app", app.url());
    let setup = names.iter().zip(&keys).fold(setup, |setup, (name, key)| setup.given(name, sha256_hex(key)));
    Topology { attache: setup.with(YAML).await, app, keys }
}

#[tokio::test]
async fn a_key_in_a_header_or_the_query_is_not_forwarded() {
    let Topology { attache, app, keys: [header, query, ..] } = topology().await;
    let by_header = post("/webhooks/by-header/x?y=1", "{}").header("X-API-KEY", header.as_str());
    assert_eq!(attache.hook(by_header.header("x_api.key", "bogus")).await.status, 200);
    let received = app.head(0).await;
    assert_eq!(received.target(), "/header/x?y=1");
    assert!(received.header("x-api-key").is_none() && received.header("x_api.key").is_none());
    assert_eq!(received.all("x-attache-key-id"), ["h1"]);
    let by_query = attache.hook(post(format!("/webhooks/by-query/x?a=%20&key={query}&b"), "{}")).await;
    assert_eq!(by_query.status, 200);
    assert_eq!(app.head(1).await.target(), "/query/x?a=%20&b");
    let id = by_query.request_id().to_owned();
    let line = attache.access_log_line("the call", |line| line["request_id"] == id).await;
    assert_eq!((&line["path"], &line["key_id"]), (&"/webhooks/by-query/x".into(), &"q1".into()), "{line}");
    for wrong in [
        post(format!("/webhooks/{header}"), "{}"),
        post(format!("/webhooks/by-header?key={query}"), "{}"),
        post("/webhooks/by-header", "{}").header("X-API-Key", query.as_str()),
        post("/webhooks/by-path", "{}"),
    ] {
        attache.hook(wrong).await.problem("webhook_unknown", 404, "http_request_denied");
    }
    assert_eq!(app.seen().heads, 2);
}

#[tokio::test]
async fn guesses_are_limited_and_never_block_a_valid_key() {
    let Topology { attache, app, keys: [.., old, off, path, _] } = topology().await;
    for (n, wrong) in
        [&webhook_key(), &old, &off, &webhook_key(), &old, &off, &webhook_key()].into_iter().enumerate()
    {
        let answer = attache.hook(post(format!("/webhooks/{wrong}"), "{}")).await;
        if n < 5 {
            answer.problem("webhook_unknown", 404, "http_request_denied");
        } else {
            answer.problem("rate_limited", 429, "connection_limit_reached");
            let wait = answer.header("retry-after").and_then(|wait| wait.parse::<u64>().ok());
            assert!(wait.is_some_and(|seconds| (1..=720).contains(&seconds)), "{wait:?}");
        }
    }
    assert_eq!(attache.hook(post(format!("/webhooks/{path}"), "{}")).await.status, 200);
    assert_eq!(app.seen().heads, 1);
    let metrics = attache.metrics().await;
    let refused = |service: &str, reason: &str| {
        metrics.value("attache_webhook_refused_total", &[("service", service), ("reason", reason)])
    };
    assert_eq!(refused("", "unknown_key"), Some(2.0), "of no service");
    assert_eq!(refused("by-path", "expired"), Some(2.0));
    assert_eq!(refused("by-path", "disabled"), Some(1.0));
    assert_eq!(
        (refused("", "too_many_wrong_keys"), refused("by-path", "too_many_wrong_keys")),
        (Some(1.0), Some(1.0))
    );
    // The metric that tells if an old key is still in use.
    let tried = |key_id: &str| {
        let labels = [("service", "by-path"), ("key_id", key_id)];
        metrics.value("attache_webhook_key_last_refused_timestamp_seconds", &labels)
    };
    assert!(tried("old").is_some() && tried("off").is_some() && tried("p1").is_none());
}

/// A client that knows the URL and not the secret must not be able to exhaust the key's rate.
#[tokio::test]
async fn only_signed_calls_count_for_the_rate() {
    let at = vendor(
        "rate_limit: { requests: 2, per: 1h }
        verify: { scheme: gitlab, secret: { env: VENDOR_SECRET } }",
    )
    .await;
    let Vendor { attache, app, secret, .. } = &at;
    let call = || at.call("", "{}");
    for _ in 0..5 {
        attache.hook(call()).await.problem("signature_invalid", 401, "http_request_denied");
    }
    for status in [202, 202, 429] {
        let answer = attache.hook(call().header("X-Gitlab-Token", secret.as_str())).await;
        assert_eq!(answer.status, status);
    }
    // The token is a secret, and is not forwarded.
    assert!(app.requests().iter().all(|received| received.header("x-gitlab-token").is_none()));
}

#[tokio::test]
async fn each_key_has_its_own_rate_and_a_reload_does_not_reset_it() {
    let Topology { attache, app: _app, keys: [.., path, other] } = topology().await;
    let call = |key: &str| post(format!("/webhooks/{key}"), "{}");
    for key in [&path, &other] {
        assert_eq!(attache.hook(call(key)).await.status, 200);
        assert_eq!(attache.hook(call(key)).await.status, 200);
        attache.hook(call(key)).await.problem("rate_limited", 429, "connection_limit_reached");
    }
    attache.reload(&YAML.replace("'{{app}}/query'", "'{{app}}/elsewhere'"), "applied").await;
    let answer = attache.hook(call(&path)).await;
    answer.problem("rate_limited", 429, "connection_limit_reached");
    assert!(answer.header("retry-after").is_some());
}
