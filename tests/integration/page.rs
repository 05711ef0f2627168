//! The status page: what it shows, its events, and how it looks in a browser.

use crate::harness::*;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;

const YAML: &str = "
    accounts:
      mailer: { authorization: { header: { name: X-Key, value: { env: KEY } } } }
      erp:
        authorization:
          oauth2: { grant: client_credentials, token_url: '{{token_url}}', client_id: a, client_secret: { env: KEY } }
    users: { bot: { name: The bot } }
    services:
      mailer:
        account: mailer
        server_url: {{third_party}}/{{path_secret}}
        timeout: 500ms
        webhook:
          user: bot
          forward_to: {{app}}
          api_keys: [{ id: current, sha256: '{{sha256}}', expires_at: 2099-01-01T00:00:00Z }]
      erp: { account: erp, server_url: '{{third_party}}' }";

struct Topology {
    attache: Attache,
    key: String,
    _stubs: (Stub, Stub, Box<dyn Send>),
}

async fn topology(more: &str) -> Topology {
    let (third_party, app, key) = (third_party(), app(), webhook_key());
    let endpoint = token_endpoint().rejects("invalid_client");
    let attache = attache()
        .given("third_party", third_party.url())
        .given("app", app.url())
        .given("token_url", endpoint.url())
        .given("sha256", sha256_hex(&key))
        .given("path_secret", secret("path"))
        .env("KEY", secret("key"))
        .with(&format!("{YAML}{more}"))
        .await;
    attache.send(get("/mailer/x")).await;
    attache.hook(post(format!("/webhooks/{key}"), "{}")).await;
    attache.send(get("/erp/x").header("X-Request-Id", "the-failed-one")).await;
    Topology { attache, key, _stubs: (third_party, app, Box::new(endpoint)) }
}

async fn page(attache: &Attache, target: &str) -> Response {
    send(attache.admin(), get(target)).await
}

/// The events of the page, as they come.
struct Events {
    connection: Connection,
    received: Vec<u8>,
}

impl Events {
    async fn open(attache: &Attache) -> Self {
        let mut connection = Connection::open(attache.admin()).await;
        connection.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        Self { connection, received: Vec::new() }
    }

    /// Waits until the stream has said this.
    async fn say(&mut self, text: &str) {
        let told = async {
            while !String::from_utf8_lossy(&self.received).contains(text) {
                let read = self.connection.stream.read_buf(&mut self.received).await.expect("read");
                assert_ne!(read, 0, "the stream ended before {text}");
            }
        };
        within(PATIENCE, text, told).await;
    }

    /// Waits until the stream has ended.
    async fn end(&mut self) {
        // The last chunk; the connection stays.
        self.say("\r\n0\r\n\r\n").await;
    }
}

#[tokio::test]
async fn it_shows_what_runs_and_no_secret() {
    let at = topology("").await;
    let failed =
        async || Some(page(&at.attache, "/").await.text()).filter(|text| text.contains("the-failed-one"));
    let text = eventually("the failure on the page", failed).await;
    for known in
        ["mailer", "erp", "bot", "current", "token_rejected", "invalid_client", "/webhooks/{key}", "p50"]
    {
        assert!(text.contains(known), "{known}: {text}");
    }
    // The client and the harness look for the others.
    assert!(!text.contains(&sha256_hex(&at.key)), "{text}");
    let filtered = page(&at.attache, "/?q=erp").await.text();
    assert!(filtered.contains("service-erp") && !filtered.contains("service-mailer"), "{filtered}");
    assert_eq!(page(&at.attache, "/page.js").await.status, 200);
}

#[tokio::test]
async fn a_website_that_leads_a_browser_to_it_learns_nothing() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    for target in ["/", "/events"] {
        let mut connection = Connection::open(attache.admin()).await;
        let request = format!("GET {target} HTTP/1.1\r\nHost: rebind.example\r\nConnection: close\r\n\r\n");
        connection.write(request.as_bytes()).await;
        let mut answer = String::new();
        connection.stream.read_to_string(&mut answer).await.expect("read");
        assert!(answer.starts_with("HTTP/1.1 403 ") && !answer.contains("mailer"), "{answer}");
    }
    for (target, dest) in [("/events", "iframe"), ("/", "iframe"), ("/events", "document")] {
        let navigated = get(target)
            .header("Sec-Fetch-Site", "cross-site")
            .header("Sec-Fetch-Mode", "navigate")
            .header("Sec-Fetch-Dest", dest);
        assert_eq!(send(attache.admin(), navigated).await.status, 403, "{target} as {dest}");
    }
    let answer = page(&attache, "/").await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    assert!(
        answer.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'"))
    );
}

#[tokio::test]
async fn events_tell_of_a_reload() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let mut events = Events::open(&attache).await;
    events.say("service-mailer").await;
    attache.rewrite(&mailer("timeuot: 5s"));
    events.say("Reload rejected").await;
    events.say("unknown key; did you mean `timeout`?").await;
    attache.rewrite(&mailer("name: After the reload"));
    events.say("After the reload").await;
}

#[tokio::test]
async fn streams_are_bounded_and_hold_up_no_drain() {
    let third_party = third_party();
    let mut attache = attache_for(&third_party, "").await;
    let mut streams = Vec::new();
    for _ in 0..16 {
        let mut events = Events::open(&attache).await;
        events.say("event: version").await;
        streams.push(events);
    }
    let refused = page(&attache, "/events").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("10")));
    assert_eq!(page(&attache, "/").await.status, 200);
    streams.pop();
    let admitted = async || {
        let mut events = Events::open(&attache).await;
        events.say("\r\n\r\n").await;
        events.received.starts_with(b"HTTP/1.1 200 ").then_some(events)
    };
    streams.push(eventually("the place of a stream that was closed", admitted).await);
    let start = Instant::now();
    attache.sigterm();
    for events in &mut streams {
        events.end().await;
    }
    assert_eq!(attache.wait_exit().await.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

/// Goes through the page as `tests/peers/page/browser.mjs` says.
async fn browse(attache: &Attache) {
    let url = format!("http://{}/", attache.admin());
    let finished = node("page/browser.mjs", &[&url, &attache.config().display().to_string()], &[]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[tokio::test]
async fn a_browser_shows_it_live_in_light_and_dark_on_a_phone_and_without_script() {
    if !full("the status page in Chromium") {
        return;
    }
    browse(&topology("").await.attache).await;
}

#[tokio::test]
async fn a_browser_shows_ten_thousand_services() {
    if !full("10,000 services in Chromium") {
        return;
    }
    let service = |number| {
        format!("\n      service-{number:05}: {{ account: mailer, server_url: '{{{{third_party}}}}' }}")
    };
    let more: String = (0..10_000).map(service).collect();
    browse(&topology(&more).await.attache).await;
}
