//! Only attache states the identity of a call: every spelling of every reserved name, on every route, on raw sockets.

use crate::harness::*;

/// Names that no caller may send; `remote-user` because the file configures it.
const NAMES: [&str; 13] = [
    "x-attache-user",
    "x-attache-service",
    "x-attache-key-id",
    "x-attache-assertion",
    "x-attache-token",
    "x-attache-anything-else",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-user",
    "x-forwarded-client-cert",
    "remote-user",
    "forwarded",
];

/// Every character that a header's name may have besides letters and digits (RFC 9110 section 5.6.2).
const SEPARATORS: &str = "!#$%&'*+-.^_`|~";

/// Returns `name` with every separator and in three cases.
fn spellings(name: &str) -> Vec<String> {
    let mixed = |text: &str| {
        let letter = |(i, c): (usize, char)| if i % 2 == 0 { c.to_ascii_uppercase() } else { c };
        text.char_indices().map(letter).collect::<String>()
    };
    let separated = SEPARATORS.chars().map(|separator| name.replace('-', &separator.to_string()));
    let other_spellings =
        [name.replace('-', "--"), name.replace('-', "_-"), format!("_{name}"), format!("{name}-")];
    let mut all: Vec<String> = separated
        .chain(other_spellings)
        .flat_map(|text| [text.clone(), text.to_uppercase(), mixed(&text)])
        .collect();
    all.sort();
    all.dedup();
    all
}

const YAML: &str = "
    identity_headers: { user: Remote-User, service: X-Attache-Service, key_id: X-Attache-Key-Id }
    users: { bot: {} }
    services:
      mailer:
        account: { authorization: none }
        server_url: '{{app}}'
        webhook:
          user: bot
          forward_to: '{{app}}/hooks'
          api_keys: [{ id: k1, sha256: {{sha256}} }]";

async fn topology(app: &Stub, key: &str) -> Attache {
    attache().given("app", app.url()).given("sha256", sha256_hex(key)).with(YAML).await
}

#[tokio::test]
async fn no_spelling_of_a_reserved_name_is_forwarded_on_any_route() {
    let (app, key) = (app(), webhook_key());
    let attache = topology(&app, &key).await;
    let mut heads = 0;
    let mut sent = 0;
    for name in NAMES {
        for nominated in [false, true] {
            for (outbound, target, known) in [
                (true, "/mailer/x".to_owned(), true),
                (true, "/unknown/x".to_owned(), false),
                (false, format!("/webhooks/{key}"), true),
                (false, format!("/webhooks/{}", webhook_key()), false),
                (false, "/elsewhere".to_owned(), false),
            ] {
                let mut request = post(target.clone(), "{}");
                for spelling in spellings(name) {
                    request = request.header(&spelling, "bogus");
                    if nominated {
                        request = request.header("Connection", spelling);
                    }
                    sent += 1;
                }
                let answer = if outbound { attache.send(request).await } else { attache.hook(request).await };
                // With every name twice, the head has too many fields, and is refused as a whole.
                let fits = 2 * spellings(name).len() + 3 <= 128 || !nominated;
                let expected = if !fits {
                    431
                } else if known {
                    200
                } else {
                    404
                };
                assert_eq!(answer.status, expected, "{name} {nominated} {target}");
                if fits && known {
                    let received = app.head(heads).await;
                    let raw = String::from_utf8_lossy(&received.head.raw).into_owned();
                    assert!(!raw.contains("bogus"), "{name} {nominated}: {raw}");
                    let user = if outbound { vec![] } else { vec!["bot"] };
                    assert_eq!(received.all("remote-user"), user, "{name} {nominated}: {raw}");
                    heads += 1;
                }
            }
        }
    }
    assert!(sent > 5000 && heads > 40, "{sent} {heads}");
    assert_eq!(app.seen().heads, heads, "unknown routes lead nowhere");
    let metrics = attache.metrics().await;
    for (direction, service) in
        [("outbound", "mailer"), ("outbound", ""), ("webhook", "mailer"), ("webhook", "")]
    {
        let labels = [("direction", direction), ("service", service), ("kind", "identity")];
        let dropped = metrics.value("attache_reserved_headers_dropped_total", &labels).unwrap_or(0.0);
        assert!(dropped > 400.0, "{direction} {service}: {dropped}");
    }
}

/// The same, with one name per request, which `Connection` nominates in one line.
#[tokio::test]
async fn no_nomination_removes_the_identity_or_adds_another() {
    let (app, key) = (app(), webhook_key());
    let attache = topology(&app, &key).await;
    let mut connection = Connection::open(attache.webhooks()).await;
    let mut heads = 0;
    for name in NAMES {
        for spelling in spellings(name) {
            let request = post(format!("/webhooks/{key}"), "{}")
                .header(&spelling, "bogus")
                .header("Connection", format!("keep-alive, {spelling}"));
            assert_eq!(connection.exchange(request).await.status, 200, "{spelling}");
            let received = app.head(heads).await;
            heads += 1;
            let raw = String::from_utf8_lossy(&received.head.raw).into_owned();
            assert!(!raw.contains("bogus"), "{spelling}: {raw}");
            for (name, value) in
                [("remote-user", "bot"), ("x-attache-service", "mailer"), ("x-attache-key-id", "k1")]
            {
                assert_eq!(received.all(name), [value], "{spelling}: {raw}");
            }
        }
    }
}

#[tokio::test]
async fn similar_names_are_forwarded() {
    let (app, key) = (app(), webhook_key());
    let attache = topology(&app, &key).await;
    let names =
        ["X-Attached-File", "X-Attachment-Id", "X-Forward", "Remote-Users", "X-Remote-User", "Forwarded-By"];
    let request = names.iter().fold(post(format!("/webhooks/{key}"), "{}"), |r, name| r.header(name, "fine"));
    assert_eq!(attache.hook(request).await.status, 200);
    let received = app.only_request().await;
    assert!(names.iter().all(|name| received.all(&name.to_lowercase()) == ["fine"]), "{:?}", received.fields);
}

#[tokio::test]
async fn only_a_trusted_proxy_states_the_client_address() {
    let (app, key) = (app(), webhook_key());
    let yaml = format!("    trusted_proxies: [127.0.0.1]{YAML}").replace(
        "forward_to: '{{app}}/hooks'",
        "forward_to: '{{app}}/hooks'\n          allow_from: [203.0.113.0/24]",
    );
    let attache = attache().given("app", app.url()).given("sha256", sha256_hex(&key)).with(&yaml).await;
    let call = |forwarded_for: &str| {
        post(format!("/webhooks/{key}"), "{}")
            .header("X-Forwarded-For", forwarded_for)
            .header("X-Forwarded-Proto", "https")
    };
    assert_eq!(attache.hook(call("198.51.100.1, 203.0.113.7")).await.status, 200);
    let received = app.only_request().await;
    assert_eq!(received.all("x-forwarded-for"), ["203.0.113.7"]);
    assert_eq!(received.all("x-forwarded-proto"), ["https"]);
    attache.hook(call("203.0.113.7, 198.51.100.1")).await.problem(
        "request_denied",
        403,
        "http_request_denied",
    );
    attache.hook(call("nonsense")).await.problem("request_denied", 403, "http_request_denied");
    attache.hook(post(format!("/webhooks/{key}"), "{}")).await.problem(
        "request_denied",
        403,
        "http_request_denied",
    );
    let metrics = attache.metrics().await;
    let labels = [("service", "mailer"), ("reason", "address")];
    assert_eq!(metrics.value("attache_webhook_refused_total", &labels), Some(3.0));
    let labels = [("service", "mailer"), ("kind", "forwarding")];
    let dropped = metrics.value("attache_reserved_headers_dropped_total", &labels);
    assert_eq!(dropped, None, "a trusted proxy's fields do not count as spoofing");
}

/// With a name that attache or a proxy sends as well, a receiver would get two users, one of them chosen by the caller.
#[tokio::test]
async fn identity_headers_cannot_use_a_name_with_another_meaning() {
    let with = |name: &str| YAML.replace("user: Remote-User", &format!("user: {name}"));
    for name in ["X-Forwarded-Host", "x_forwarded_host", "X-Request-Id", "Forwarded", "Content-Type", "Host"]
    {
        let setup = attache().given("app", "http://127.0.0.1:1").given("sha256", sha256_hex(&webhook_key()));
        let path = setup.write(&with(name)).display().to_string();
        for subcommand in ["check", "run"] {
            let refused = command(&[subcommand, "-c", &path]).finish().await;
            assert_eq!(refused.code, Some(1), "{subcommand} {name}: {refused:?}");
            assert!(refused.stderr.contains("identity_headers.user is not a header name"), "{refused:?}");
        }
    }
    let (app, key) = (app(), webhook_key());
    let yaml = with("X-Forwarded-User");
    let attache = attache().given("app", app.url()).given("sha256", sha256_hex(&key)).with(&yaml).await;
    attache.reload(&with("X-Forwarded-Host"), "rejected").await;
    let call = post(format!("/webhooks/{key}"), "{}").header("Host", "admin").without_host();
    assert_eq!(attache.hook(call).await.status, 200);
    let received = app.only_request().await;
    assert_eq!(received.all("x-forwarded-user"), ["bot"]);
    assert_eq!(received.all("x-forwarded-host"), ["admin"]);
}
