//! A webhook's signature is checked before the receiver gets a byte, with the providers' own libraries as callers.

use crate::harness::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::Value;
use std::time::{SystemTime, UNIX_EPOCH};

/// A delivery made by a library, and its answer.
async fn deliver(at: &Vendor, library: &str, scheme: &str, environment: &[(&str, &str)]) -> (Value, Value) {
    let public_url = format!("https://hooks.example.com/webhooks/{}", at.key);
    let mut all = vec![("PEER_SECRET", at.secret.as_str()), ("PEER_PUBLIC_URL", &public_url)];
    all.extend_from_slice(environment);
    let url = format!("http://{}/webhooks/{}", at.attache.webhooks(), at.key);
    let finished = match library.ends_with(".py") {
        true => python(library, &[scheme, &url], &all).await,
        false => node(library, &[scheme, &url], &all).await,
    };
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let said: Value = serde_json::from_str(&finished.stdout).expect("JSON");
    let problem = said["body"].as_str().and_then(|body| serde_json::from_str(body).ok());
    (said["status"].clone(), problem.unwrap_or(Value::Null))
}

const GITHUB: &str = "verify: { scheme: github, secret: { env: VENDOR_SECRET } }";

/// Calls signed by each library are accepted; altered, too old or too new ones never reach the receiver.
async fn live(library: &str, scheme: &str, secret: &str, timed: bool) {
    let verify = format!("verify: {{ scheme: {scheme}, secret: {{ env: VENDOR_SECRET }} }}");
    let at = vendor_with(secret, &verify).await;
    assert_eq!(deliver(&at, library, scheme, &[]).await.0, 202, "{library} {scheme}");
    assert_eq!(at.app.only_request().await.all("x-attache-user"), ["bot"]);
    let mut wrong = vec![
        (("PEER_TAMPER", "body"), "signature_mismatch"),
        (("PEER_TAMPER", "signature"), "signature_mismatch"),
        (("PEER_SECRET", "d3Jvbmctc2VjcmV0LW9mLXRoZS10ZXN0"), "signature_mismatch"),
    ];
    if timed {
        wrong.push((("PEER_AGE", "400"), "signature_stale"));
        wrong.push((("PEER_AGE", "-400"), "signature_future"));
    }
    for (change, reason) in wrong {
        let before = at.refused(reason).await;
        let (status, problem) = deliver(&at, library, scheme, &[change]).await;
        assert_eq!((&status, &problem["code"]), (&401.into(), &"signature_invalid".into()), "{change:?}");
        assert_eq!(at.refused(reason).await, before + 1.0, "{change:?}");
    }
    assert_eq!(at.app.seen().heads, 1, "the receiver got only the valid one");
}

#[tokio::test]
async fn what_githubs_library_signs() {
    live("deliver.mjs", "github", &secret("github"), false).await;
}

#[tokio::test]
async fn what_stripes_library_signs() {
    live("deliver.mjs", "stripe", &format!("whsec_{}", secret("stripe")), true).await;
}

#[tokio::test]
async fn what_slacks_library_signs() {
    live("python/deliver.py", "slack", &secret("slack"), true).await;
}

#[tokio::test]
async fn what_twilios_library_signs() {
    live("python/deliver.py", "twilio", &secret("twilio"), false).await;
}

#[tokio::test]
async fn what_svixs_library_signs() {
    let secret = format!("whsec_{}", STANDARD.encode(secret("svix")));
    live("python/deliver.py", "svix", &secret, true).await;
}

#[tokio::test]
async fn what_the_libraries_of_standard_webhooks_sign() {
    let secret = format!("whsec_{}", STANDARD.encode(secret("standard")));
    live("deliver.mjs", "standard_webhooks", &secret, true).await;
    live("python/deliver.py", "standard_webhooks", &secret, true).await;
}

#[tokio::test]
async fn a_key_and_a_signature_are_both_needed() {
    let at = vendor(GITHUB).await;
    let unsigned = post(format!("/webhooks/{}", at.key), "{}");
    let problem = at.attache.hook(unsigned).await.problem("signature_invalid", 401, "http_request_denied");
    assert!(problem["detail"].as_str().is_some_and(|d| d.contains("x-hub-signature-256")), "{problem}");
    at.attache
        .stderr_line(
            "with a valid key was refused.*service=\"?vendor.*key_id=\"?k1.*x-hub-signature-256 is missing",
        )
        .await;
    let signature = hex(&at.mac(b"{}"));
    let keyless = post(format!("/webhooks/{}", webhook_key()), "{}").header("X-Hub-Signature-256", signature);
    at.attache.hook(keyless).await.problem("webhook_unknown", 404, "http_request_denied");
    assert_eq!(at.app.seen().heads, 0);
    assert_eq!(at.attache.hook(at.github("", b"{}")).await.status, 202);
}

/// Every size on both sides of 64 KiB, in one piece and in chunks, with arbitrary bytes.
#[tokio::test]
async fn bodies_of_any_size_and_framing_arrive_unchanged() {
    let at = vendor(&format!("{GITHUB}\nmax_body: 2MiB")).await;
    let bytes: Vec<u8> = (0..=255).cycle().take(2 << 20).collect();
    let mut connection = Connection::open(at.attache.webhooks()).await;
    let mut heads = 0;
    for size in [0, 1, 100, 65_535, 65_536, 65_537, 200_000, 1 << 20, 2 << 20] {
        let body = &bytes[..size];
        assert_eq!(connection.exchange(at.github("", body)).await.status, 202, "{size}");
        assert_eq!(at.app.head(heads).await.all("content-length"), [size.to_string()]);
        heads += 1;
        // On the same connection: the body that was read ahead did not include the next request.
        let chunked = || {
            request("POST", format!("/webhooks/{}", at.key))
                .header("X-Hub-Signature-256", format!("sha256={}", hex(&at.mac(body))))
        };
        if size < 3 {
            let whole = if size == 0 { chunked().chunked([]) } else { chunked().chunked([body]) };
            assert_eq!(connection.exchange(whole).await.status, 202, "{size} in a chunk");
        } else {
            let (first, second) = body.split_at(size / 3);
            let swapped = connection.exchange(chunked().chunked([second, first])).await;
            assert_eq!(swapped.status, 401, "{size}: chunks in another order");
            let right = connection.exchange(chunked().chunked([first, second])).await;
            assert_eq!(right.status, 202, "{size} in chunks");
        }
        assert_eq!(at.app.head(heads).await.all("content-length"), [size.to_string()]);
        heads += 1;
    }
    assert_eq!(at.app.seen().heads, heads);
    let bodies: Vec<Vec<u8>> = at.app.requests().into_iter().map(|received| received.body).collect();
    for body in &bodies {
        assert!(bytes.starts_with(body), "{} bytes, altered", body.len());
    }
    assert!(at.app.requests().iter().all(|received| received.header("transfer-encoding").is_none()));
}

#[tokio::test]
async fn the_receiver_gets_nothing_of_an_incomplete_body() {
    let at = vendor(GITHUB).await;
    let body = vec![b'x'; 100_000];
    let head = format!(
        "POST /webhooks/{} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nX-Hub-Signature-256: sha256={}\r\n\r\n",
        at.key,
        hex(&at.mac(&body))
    );
    let mut connection = Connection::open(at.attache.webhooks()).await;
    connection.write(head.as_bytes()).await;
    connection.write(&body[..99_999]).await;
    // Another call is forwarded in the meantime.
    assert_eq!(at.attache.hook(at.github("", b"{}")).await.status, 202);
    assert_eq!(at.app.seen().heads, 1);
    connection.write(&body[99_999..]).await;
    assert_eq!(connection.response_to("POST").await.expect("an answer").status, 202);
    assert_eq!(at.app.head(1).await.body_length, 100_000);
}

#[tokio::test]
async fn a_caller_with_expect_gets_100_continue() {
    let at = vendor(GITHUB).await;
    let head = format!(
        "POST /webhooks/{} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\
         X-Hub-Signature-256: sha256={}\r\n\r\n",
        at.key,
        hex(&at.mac(b"{}"))
    );
    let mut connection = Connection::open(at.attache.webhooks()).await;
    connection.write(head.as_bytes()).await;
    assert_eq!(connection.head().await.start, b"HTTP/1.1 100 Continue");
    connection.write(b"{}").await;
    let answer = connection.response_to("POST").await.expect("an answer");
    assert_eq!((answer.status, answer.informational.len()), (202, 0));
    assert_eq!(at.app.only_request().await.header("expect"), None);
}

#[tokio::test]
async fn a_body_in_chunks_is_bounded_and_strict() {
    let at = vendor(&format!("{GITHUB}\nmax_body: 2MiB")).await;
    let target = format!("/webhooks/{}", at.key);
    let piece = vec![b'x'; 1 << 20];
    let large = request("POST", target.clone()).chunked([&piece, &piece, b"x"]);
    at.attache.hook(large).await.problem("request_too_large", 413, "http_request_error");
    let odd = format!(
        "POST {target} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2 2\r\n{{}}\r\n0\r\n\r\n"
    );
    let mut connection = Connection::open(at.attache.webhooks()).await;
    connection.write(odd.as_bytes()).await;
    let answer = connection.response_to("POST").await.expect("an answer");
    answer.problem("request_invalid", 400, "http_request_error");
    assert_eq!(at.app.seen().heads, 0);
}

#[tokio::test]
async fn a_body_that_does_not_come_in_time_is_a_408() {
    let at = vendor(&format!("{GITHUB}\ntimeout: 300ms")).await;
    let head = format!("POST /webhooks/{} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf", at.key);
    let mut connection = Connection::open(at.attache.webhooks()).await;
    connection.write(head.as_bytes()).await;
    let answer = connection.response_to("POST").await.expect("an answer");
    answer.problem("request_timeout", 408, "http_request_error");
    assert!(answer.head_after >= ms(295), "{:?}", answer.head_after);
}

#[tokio::test]
async fn a_caller_that_leaves_within_its_body_has_no_other_effect() {
    let at = vendor(GITHUB).await;
    let head = format!("POST /webhooks/{} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf", at.key);
    let mut connection = Connection::open(at.attache.webhooks()).await;
    connection.write(head.as_bytes()).await;
    drop(connection);
    let line = at.attache.access_log_line("the call", |line| line["status"] == 499).await;
    assert_eq!((&line["service"], &line["code"]), (&"vendor".into(), &Value::Null), "{line}");
    assert_eq!(at.attache.hook(at.github("", b"{}")).await.status, 202);
    assert_eq!(at.app.seen().heads, 1);
}

/// A request with a body is not a WebSocket, whatever its `Upgrade` states: the body is verified and ends at its
/// length.
#[tokio::test]
async fn a_body_beside_an_upgrade_ends_where_it_says() {
    let at = vendor(GITHUB).await;
    let call = |more: &str, body: &str| {
        format!(
            "POST /webhooks/{} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {}\r\nX-Hub-Signature-256: sha256={}\r\n\r\n{body}",
            at.key,
            body.len(),
            hex(&at.mac(body.as_bytes()))
        )
    };
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let mut connection = Connection::open(at.attache.webhooks()).await;
    connection.write([call(upgrade, "one"), call("", "two")].concat().as_bytes()).await;
    assert_eq!(connection.response_to("POST").await.expect("an answer").status, 202);
    assert_eq!(connection.response_to("POST").await.expect("an answer").status, 202);
    let bodies: Vec<Vec<u8>> = at.app.requests().into_iter().map(|received| received.body).collect();
    assert_eq!(bodies, [&b"one"[..], b"two"]);
}

#[tokio::test]
async fn a_connection_outlives_a_refusal_and_pipelined_calls_keep_their_bodies() {
    let at = vendor(GITHUB).await;
    let mut connection = Connection::open(at.attache.webhooks()).await;
    let wrong = post(format!("/webhooks/{}", at.key), "tampered");
    assert_eq!(connection.exchange(wrong).await.status, 401);
    let call = |body: &str| {
        format!(
            "POST /webhooks/{} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\nX-Hub-Signature-256: sha256={}\r\n\r\n{body}",
            at.key,
            body.len(),
            hex(&at.mac(body.as_bytes()))
        )
    };
    connection.write([call("one"), call("second"), call("3")].concat().as_bytes()).await;
    for _ in 0..3 {
        assert_eq!(connection.response_to("POST").await.expect("an answer").status, 202);
    }
    let bodies: Vec<Vec<u8>> = at.app.requests().into_iter().map(|received| received.body).collect();
    assert_eq!(bodies, [&b"one"[..], b"second", b"3"]);
}

#[tokio::test]
async fn a_secret_that_is_rotated_is_good_beside_the_new_one_and_a_file_is_watched() {
    let (old, new) = (secret("old"), secret("new"));
    let (app, key) = (app(), webhook_key());
    let yaml = vendor_yaml("verify: { scheme: github, secrets: [{ file: '{{current}}' }, { env: OLD }] }");
    let setup = attache().given("app", app.url()).given("sha256", sha256_hex(&key)).env("OLD", &old);
    let attache = setup.file("current", &secret("unused")).with(&yaml).await;
    let signed = |secret: &str| {
        let signature = hex(&mac(secret, b"{}"));
        post(format!("/webhooks/{key}"), "{}").header("X-Hub-Signature-256", format!("sha256={signature}"))
    };
    assert_eq!(attache.hook(signed(&old)).await.status, 200);
    assert_eq!(attache.hook(signed(&new)).await.status, 401);
    let before = attache.reloads("applied").await;
    attache.rewrite_file("current", &new);
    attache.reloaded("applied", before).await;
    assert_eq!(attache.hook(signed(&new)).await.status, 200);
    assert_eq!(attache.hook(signed(&old)).await.status, 200);
}

#[tokio::test]
async fn a_missing_secret_is_an_error_and_refuses_calls() {
    let at = vendor(GITHUB).await;
    let unresolved = vendor_yaml("verify: { scheme: github, secret: { env: NO_SUCH_SECRET } }");
    at.attache.reload(&unresolved, "applied").await;
    for call in [at.call("", "{}"), at.github("", b"{}")] {
        at.attache.hook(call).await.problem("credential_unavailable", 503, "proxy_configuration_error");
    }
    let starts = command(&["check", "-c", &at.attache.config().display().to_string()]).finish().await;
    assert_eq!(starts.code, Some(1), "{starts:?}");
}

#[tokio::test]
async fn refusals_can_be_changed_for_a_provider() {
    let refusals = "refusals: { statuses: { signature_invalid: 400 }, body: false }";
    let at = vendor(&format!("{GITHUB}\n{refusals}")).await;
    let answer = at.attache.hook(post(format!("/webhooks/{}", at.key), "{}")).await;
    assert_eq!((answer.status, answer.body_length), (400, 0));
    assert_eq!(answer.header("content-type"), None);
    assert_eq!(answer.all("proxy-status"), ["attache; error=http_request_denied"]);
    let id = answer.request_id().to_owned();
    let line = at.attache.access_log_line("the refusal", |line| line["request_id"] == id).await;
    assert_eq!((&line["status"], &line["code"]), (&400.into(), &"signature_invalid".into()), "{line}");
    assert_eq!((&line["service"], &line["key_id"]), (&"vendor".into(), &"k1".into()), "{line}");
}

#[tokio::test]
async fn xero_is_told_401_without_a_body() {
    let at = vendor(
        "verify: { scheme: hmac, secret: { env: VENDOR_SECRET }, header: X-Xero-Signature, encoding: base64 }
        refusals: { body: false }",
    )
    .await;
    let signed = |body: &'static str| {
        let signature = STANDARD.encode(at.mac(body.as_bytes()));
        post(format!("/webhooks/{}", at.key), body).header("X-Xero-Signature", signature)
    };
    assert_eq!(at.attache.hook(signed("{}")).await.status, 202);
    let wrong =
        post(format!("/webhooks/{}", at.key), "{}").header("X-Xero-Signature", STANDARD.encode([0; 32]));
    let answer = at.attache.hook(wrong).await;
    assert_eq!((answer.status, answer.body_length, answer.header("set-cookie")), (401, 0, None));
}

#[tokio::test]
async fn the_command_explains_why_a_captured_request_fails() {
    let vendor = secret("vendor");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("request");
    let signature = hex(&mac(&vendor, b"{}"));
    let head =
        format!("POST /webhooks/KEY HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: sha256={signature}\r\n\r\n");
    let request = path.to_str().expect("a path");
    let explain = async |body: &str| {
        std::fs::write(&path, format!("{head}{body}")).expect("write");
        let arguments =
            ["verify", "--scheme", "github", "--secret", "env:VENDOR_SECRET", "--request", request];
        command(&arguments).env("VENDOR_SECRET", &vendor).finish().await
    };
    let good = explain("{}").await;
    assert_eq!(good.code, Some(0), "{good:?}");
    assert!(good.stdout.contains("the signature is valid"), "{good:?}");
    let bad = explain("{ }").await;
    assert_eq!(bad.code, Some(1), "{bad:?}");
    assert!(bad.stdout.contains("secret 1: it did not"), "{bad:?}");
    std::fs::write(&path, format!("{head}{{}}")).expect("write");
    let arguments = ["verify", "--scheme", "github", "--secret", "env:VENDOR_SECRET"];
    let piped = command(&arguments).env("VENDOR_SECRET", &vendor).reads(&path).finish().await;
    assert_eq!(piped.stdout.lines().last(), Some("the signature is valid"), "{piped:?}");
    assert!(!format!("{good:?}{bad:?}").contains(&signature), "a signature is as good as the secret");
}

/// Signs as the scheme's documentation says: returns what follows the URL, and the headers.
fn signed(scheme: &str, secret: &str, body: &[u8], url: &str) -> (String, Vec<(&'static str, String)>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs().to_string();
    let standard = |id: &'static str, time: &'static str, signature: &'static str| {
        let mac = mac(secret, &[b"msg_1.", now.as_bytes(), b".", body].concat());
        let signed = format!("v1,{}", STANDARD.encode(mac));
        vec![(id, "msg_1".to_owned()), (time, now.clone()), (signature, signed)]
    };
    let of_body = mac(secret, body);
    let headers = match scheme {
        "github" | "meta" => vec![("X-Hub-Signature-256", format!("sha256={}", hex(&of_body)))],
        "dropbox" => vec![("X-Dropbox-Signature", hex(&of_body))],
        "shopify" => vec![("X-Shopify-Hmac-Sha256", STANDARD.encode(of_body))],
        "x" => vec![("X-Twitter-Webhooks-Signature", format!("sha256={}", STANDARD.encode(of_body)))],
        "hmac" => vec![("X-Signature", hex(&of_body))],
        "slack" => {
            let mac = mac(secret, &[b"v0:", now.as_bytes(), b":", body].concat());
            vec![
                ("X-Slack-Request-Timestamp", now.clone()),
                ("X-Slack-Signature", format!("v0={}", hex(&mac))),
            ]
        }
        "stripe" => {
            let mac = mac(secret, &[now.as_bytes(), b".", body].concat());
            vec![("Stripe-Signature", format!("t={now},v1={}", hex(&mac)))]
        }
        "twilio" => {
            let rest =
                format!("?bodySHA256={}", hex(ring::digest::digest(&ring::digest::SHA256, body).as_ref()));
            let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
            let signature = STANDARD.encode(hmac::sign(&key, format!("{url}{rest}").as_bytes()));
            return (rest, vec![("X-Twilio-Signature", signature)]);
        }
        "svix" => standard("svix-id", "svix-timestamp", "svix-signature"),
        "standard_webhooks" | "gitlab" => standard("webhook-id", "webhook-timestamp", "webhook-signature"),
        other => panic!("how does {other} sign?"),
    };
    (String::new(), headers)
}

/// Arbitrary bytes, in one piece and in chunks, small and large: accepted unchanged, refused with one byte changed.
#[tokio::test]
async fn every_scheme_accepts_any_bytes_in_any_framing() {
    const SCHEMES: [&str; 12] = [
        "github",
        "gitlab",
        "stripe",
        "slack",
        "shopify",
        "twilio",
        "standard_webhooks",
        "svix",
        "meta",
        "dropbox",
        "x",
        "hmac",
    ];
    let (app, secret) = (app().answers(202, "accepted"), secret("vendor"));
    let encoded = format!("whsec_{}", STANDARD.encode(&secret));
    let keys: Vec<String> = SCHEMES.iter().map(|_| webhook_key()).collect();
    let mut yaml = String::from("public_url: https://hooks.example.com\nusers: { bot: {} }\nservices:\n");
    for (scheme, key) in SCHEMES.iter().zip(&keys) {
        let secret =
            if ["gitlab", "standard_webhooks", "svix"].contains(scheme) { "ENCODED" } else { "PLAIN" };
        let header = if *scheme == "hmac" { ", header: X-Signature" } else { "" };
        let hash = sha256_hex(key);
        yaml.push_str(&format!(
            "  {scheme}:\n    webhook:\n      user: bot\n      forward_to: '{{{{app}}}}/{scheme}'\n      max_body: 2MiB\n      \
             api_keys: [{{ id: k, sha256: {hash} }}]\n      \
             verify: {{ scheme: {scheme}, secret: {{ env: {secret} }}{header} }}\n"
        ));
    }
    let setup = attache().given("app", app.url()).env("PLAIN", &secret).env("ENCODED", &encoded);
    let attache = setup.with(&yaml).await;
    let mut heads = 0;
    for (scheme, key) in SCHEMES.iter().zip(&keys) {
        for size in [300, 1 << 20] {
            // X sends only objects.
            let body: Vec<u8> = b"{".iter().copied().chain((0..=255).cycle()).take(size).collect();
            let url = format!("https://hooks.example.com/webhooks/{key}");
            let (rest, headers) = signed(scheme, &secret, &body, &url);
            let with = |request: Request| {
                headers.iter().fold(request, |r, (name, value)| r.header(name, value.as_str()))
            };
            let target = format!("/webhooks/{key}{rest}");
            let (first, second) = body.split_at(size / 2);
            let whole = with(post(target.clone(), body.clone()));
            let chunked = with(request("POST", target.clone()).chunked([first, second]));
            for request in [whole, chunked] {
                assert_eq!(attache.hook(request).await.status, 202, "{scheme} {size}");
                let received = app.head(heads).await;
                heads += 1;
                assert_eq!(received.body_length, size as u64, "{scheme}");
                assert!(received.body == body, "{scheme} {size}: the bytes that were signed");
            }
            let mut altered = body.clone();
            altered[size - 1] ^= 0x80;
            let answer = attache.hook(with(post(target, altered))).await;
            answer.problem("signature_invalid", 401, "http_request_denied");
        }
    }
    assert_eq!(app.seen().heads, heads);
}

#[tokio::test]
async fn every_refusal_of_a_known_key_sets_its_time() {
    let at = vendor(&format!("{GITHUB}\nmax_body: 1KiB\ntimeout: 200ms")).await;
    let target = format!("/webhooks/{}", at.key);
    let refused_at = async || {
        let labels = [("service", "vendor"), ("key_id", "k1")];
        let name = "attache_webhook_key_last_refused_timestamp_seconds";
        at.attache.metrics().await.value(name, &labels)
    };
    assert_eq!(refused_at().await, None);
    let large = vec![b'x'; 2048];
    at.attache.hook(request("POST", target.clone()).chunked([&large])).await.problem(
        "request_too_large",
        413,
        "http_request_error",
    );
    assert!(refused_at().await.is_some());
}

/// Returns the seconds since the epoch.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after the epoch").as_secs()
}

#[tokio::test]
async fn a_public_key_verifies_what_its_owner_signed() {
    let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key pair");
    let public = hex(ring::signature::KeyPair::public_key(&pair).as_ref());
    let at = vendor(&format!("verify: {{ scheme: discord, public_key: {public} }}")).await;
    let call = |time: u64, body: &str| {
        let signature = hex(pair.sign(format!("{time}{{}}").as_bytes()).as_ref());
        let call = at.call("", body).header("X-Signature-Ed25519", signature);
        call.header("X-Signature-Timestamp", time.to_string())
    };
    assert_eq!(at.attache.hook(call(now(), "{}")).await.status, 202);
    for wrong in [call(now(), "[]"), call(now() - 400, "{}")] {
        at.attache.hook(wrong).await.problem("signature_invalid", 401, "http_request_denied");
    }
    assert_eq!(at.app.seen().heads, 1, "the receiver got only the valid one");
}

#[tokio::test]
async fn a_signed_url_is_the_external_one_with_its_key() {
    let at = vendor("verify: { scheme: square, secret: { env: VENDOR_SECRET } }").await;
    let call = |rest: &str, body: &str| {
        let signed = format!("https://hooks.example.com/webhooks/{}/a{{}}", at.key);
        at.call(rest, body)
            .header("X-Square-HmacSha256-Signature", STANDARD.encode(at.mac(signed.as_bytes())))
    };
    assert_eq!(at.attache.hook(call("/a", "{}")).await.status, 202);
    // The last is the same signed text, cut at another place.
    for (rest, body) in [("/a", "[]"), ("/b", "{}"), ("/", "a{}"), ("/a%7B", "}")] {
        let answer = at.attache.hook(call(rest, body)).await;
        answer.problem("signature_invalid", 401, "http_request_denied");
    }
}

#[tokio::test]
async fn a_secret_that_the_call_shows_goes_no_further() {
    let at = vendor("verify: { scheme: telegram, secret: { env: VENDOR_SECRET } }").await;
    let call = |token: &str| at.call("", "{}").header("X-Telegram-Bot-Api-Secret-Token", token);
    at.attache.hook(call("wrong")).await.problem("signature_invalid", 401, "http_request_denied");
    assert_eq!(at.attache.hook(call(&at.secret)).await.status, 202);
    let received = at.app.only_request().await;
    assert_eq!(received.header("x-telegram-bot-api-secret-token"), None);
}
