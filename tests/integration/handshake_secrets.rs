//! Secrets that providers bring in their handshake: kept, shared by processes, shown to the operator only.

use crate::harness::*;

const ASANA: &str = "b537207f20cbfa02357cf448134da559e8bd39d61597dcd5631b8012eae53e81";
const SECOND: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const NOTION: &str = "secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce98V0pYn7yBl";

const YAML: &str = "
    state: { dir: '{{state}}', key: { env: STATE_KEY } }
    users: { bot: {} }
    services:
      tasks:
        webhook:
          user: bot
          forward_to: '{{app}}/hooks'
          api_keys: [{ id: k1, sha256: '{{sha256}}' }]
          verify: { scheme: {{scheme}}, secret: { handshake: true } }";

/// Processes that share the folder of the state.
struct World {
    app: Stub,
    key: String,
    scheme: &'static str,
    folder: tempfile::TempDir,
    state_key: String,
}

impl World {
    fn new(scheme: &'static str) -> Self {
        let app = app().answers(202, "accepted");
        let (key, state_key) = (webhook_key(), secret("state-key-0123456789abcdef"));
        Self { app, key, scheme, folder: tempfile::tempdir().expect("a folder"), state_key }
    }

    fn setup(&self) -> Setup {
        attache()
            .given("app", self.app.url())
            .given("sha256", sha256_hex(&self.key))
            .given("scheme", self.scheme)
            .given("state", self.folder.path().join("state").display().to_string())
            .env("STATE_KEY", &*self.state_key)
    }

    async fn start(&self) -> Attache {
        self.setup().with(YAML).await
    }

    /// Runs `attache urls` with these arguments.
    async fn urls(&self, arguments: &[&str]) -> Finished {
        let setup = self.setup();
        let path = setup.write(YAML).display().to_string();
        let arguments = [&["urls", "-c", &path], arguments].concat();
        command(&arguments).env("STATE_KEY", &self.state_key).finish().await
    }

    fn call(&self, body: &str) -> Request {
        post(format!("/webhooks/{}", self.key), body)
    }

    /// Returns Asana's question.
    fn asked(&self, secret: &str) -> Request {
        self.call("{}").header("X-Hook-Secret", secret)
    }

    /// Returns a delivery of Asana.
    fn signed(&self, secret: &str) -> Request {
        let body = r#"{"events":[]}"#;
        self.call(body).header("X-Hook-Signature", hex(&mac(secret, body.as_bytes())))
    }
}

async fn state(attache: &Attache) -> serde_json::Value {
    attache.status().await["webhooks"][0].clone()
}

/// Returns the gauge of the unavailable credentials for the service.
async fn unavailable(attache: &Attache) -> Option<f64> {
    attache.metrics().await.value("attache_credential_unavailable", &[("service", "tasks")])
}

#[tokio::test]
async fn asanas_secret_is_kept_and_verifies() {
    let world = World::new("asana");
    let attache = world.start().await;
    let early = attache.hook(world.signed(ASANA)).await;
    early.problem("credential_unavailable", 503, "proxy_configuration_error");
    let waiting = state(&attache).await;
    assert_eq!(
        (&waiting["state"], &waiting["handshake"]["secret"]),
        (&"handshake_awaited".into(), &"waiting".into())
    );
    assert!(world.urls(&[]).await.stdout.contains("awaits handshake"));
    assert_eq!(unavailable(&attache).await, None, "the provider brings it later");

    let answer = attache.hook(world.asked(ASANA)).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, ""));
    assert_eq!(answer.all("x-hook-secret"), [ASANA]);
    assert_eq!(attache.hook(world.signed(ASANA)).await.status, 202);
    attache.hook(world.signed(SECOND)).await.problem("signature_invalid", 401, "http_request_denied");
    // Asana repeats its question if the answer was lost.
    assert_eq!(attache.hook(world.asked(ASANA)).await.all("x-hook-secret"), [ASANA]);

    // Another client that knows the URL.
    let other = attache.hook(world.asked(SECOND)).await;
    other.problem("signature_invalid", 401, "http_request_denied");
    assert!(other.all("x-hook-secret").is_empty());
    let line = attache.access_log_line("the refusal", |line| line["reason"] == "handshake_done").await;
    assert_eq!(line["status"], 401);
    attache.stderr_line("--reset-handshake.* service=\"tasks\"").await;
    assert_eq!(attache.hook(world.signed(SECOND)).await.status, 401);
    assert_eq!(attache.hook(world.signed(ASANA)).await.status, 202);
    let kept = state(&attache).await;
    assert_eq!((&kept["state"], &kept["handshake"]["secret"]), (&"active".into(), &"kept".into()));
    assert_eq!(kept["handshake"]["ignored"], 1);
    assert!(!world.urls(&[]).await.stdout.contains("awaits handshake"));

    assert_eq!(world.app.seen().heads, 2, "the receiver got a question");
    for output in [attache.said(), attache.status().await.to_string(), attache.metrics().await.0] {
        assert!(!output.contains(ASANA) && !output.contains(SECOND), "{output}");
    }
}

#[tokio::test]
async fn a_kept_secret_that_is_damaged_is_reported_with_what_to_do() {
    let world = World::new("asana");
    let attache = world.start().await;
    assert_eq!(attache.hook(world.asked(ASANA)).await.status, 200);
    let file = world.folder.path().join("state/handshakes%2Ftasks.grant");
    std::fs::write(file, "damaged").expect("written");
    attache.stderr_line("ERROR.*urls --reset-handshake tasks").await;
    let answer = attache.hook(world.signed(ASANA)).await;
    answer.problem("credential_unavailable", 503, "proxy_configuration_error");
    assert_eq!(state(&attache).await["state"], "handshake_unusable");
    assert_eq!(unavailable(&attache).await, Some(1.0));
    assert_eq!(world.urls(&["--reset-handshake", "tasks"]).await.code, Some(0));
    assert_eq!(attache.hook(world.asked(SECOND)).await.status, 200);
    assert_eq!(state(&attache).await["state"], "active");
}

#[tokio::test]
async fn processes_agree_on_one_secret_and_survive_a_restart() {
    let world = World::new("asana");
    let (one, other) = (world.start().await, world.start().await);
    assert_eq!(one.hook(world.asked(ASANA)).await.status, 200);
    // It has no secret yet, so it looks.
    assert_eq!(other.hook(world.signed(ASANA)).await.status, 202);
    assert_eq!(other.hook(world.asked(SECOND)).await.status, 401);
    drop((one, other));
    let again = world.start().await;
    assert_eq!(again.hook(world.signed(ASANA)).await.status, 202);
}

#[tokio::test]
async fn a_reset_lets_the_next_handshake_in() {
    let world = World::new("asana");
    let attache = world.start().await;
    assert_eq!(attache.hook(world.asked(ASANA)).await.status, 200);
    let reset = world.urls(&["--reset-handshake", "tasks"]).await;
    assert_eq!(reset.code, Some(0), "{}", reset.stderr);
    assert!(!reset.stdout.contains(ASANA));
    assert_eq!(attache.hook(world.asked(SECOND)).await.all("x-hook-secret"), [SECOND]);
    assert_eq!(attache.hook(world.signed(SECOND)).await.status, 202);
    assert_eq!(attache.hook(world.signed(ASANA)).await.status, 401);
}

#[tokio::test]
async fn notions_token_is_shown_to_the_operator_only() {
    let world = World::new("notion");
    let attache = world.start().await;
    let none = world.urls(&["--show-handshake", "tasks"]).await;
    assert_eq!((none.code, none.stdout.as_str()), (Some(1), ""));
    let answer = attache.hook(world.call(&format!(r#"{{"verification_token":"{NOTION}"}}"#))).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, ""));
    let shown = world.urls(&["--show-handshake", "tasks"]).await;
    assert_eq!((shown.code, shown.stdout.trim()), (Some(0), NOTION));

    let body = r#"{"id":"367cba44-b6f3-4c92-81e7-6a2e9659efd4","type":"page.created"}"#;
    let signature = format!("sha256={}", hex(&mac(NOTION, body.as_bytes())));
    assert_eq!(attache.hook(world.call(body).header("X-Notion-Signature", signature)).await.status, 202);
    let second = attache.hook(world.call(&format!(r#"{{"verification_token":"{SECOND}"}}"#))).await;
    second.problem("signature_invalid", 401, "http_request_denied");
    assert_eq!(world.app.seen().heads, 1);
    for output in [attache.said(), attache.status().await.to_string(), shown.stderr] {
        assert!(!output.contains(NOTION) && !output.contains(SECOND), "{output}");
    }
    let other = world.urls(&["--show-handshake", "task"]).await;
    assert!(other.stderr.contains("did you mean `tasks`?"), "{}", other.stderr);
}

#[tokio::test]
async fn a_folder_that_takes_nothing_acknowledges_nothing() {
    let world = World::new("asana");
    let attache = world.start().await;
    let state = world.folder.path().join("state");
    // Simulates a full disk: the path accepts no file.
    std::fs::create_dir(state.join("handshakes%2Ftasks.new")).expect("a folder");
    let answer = attache.hook(world.asked(ASANA)).await;
    answer.problem("credential_unavailable", 503, "proxy_configuration_error");
    assert!(answer.all("x-hook-secret").is_empty());
    std::fs::remove_dir(state.join("handshakes%2Ftasks.new")).expect("remove it");
    assert_eq!(attache.hook(world.asked(ASANA)).await.status, 200);
}

#[tokio::test]
async fn a_secret_survives_another_state_key() {
    let world = World::new("asana");
    let attache = world.start().await;
    assert_eq!(attache.hook(world.asked(ASANA)).await.status, 200);
    drop(attache);
    let next = secret("next-key-0123456789abcdef");
    let yaml = YAML.replace("{ env: STATE_KEY }", "[{ env: NEXT_KEY }, { env: STATE_KEY }]");
    let attache = world.setup().env("NEXT_KEY", &next).with(&yaml).await;
    assert_eq!(attache.hook(world.signed(ASANA)).await.status, 202);
    let path = world.folder.path().join("state/handshakes%2Ftasks.grant");
    let sealed = |path| std::fs::read(path).expect("the entry");
    let before = sealed(&path);
    assert!(!before.windows(ASANA.len()).any(|part| part == ASANA.as_bytes()));
}

#[tokio::test]
async fn a_secret_that_cannot_be_opened_is_no_wait_for_the_provider() {
    let world = World::new("asana");
    let attache = world.start().await;
    assert_eq!(attache.hook(world.asked(ASANA)).await.status, 200);
    drop(attache);
    let other = secret("other-key-0123456789abcdef");
    let attache = world.setup().env("STATE_KEY", &other).with(YAML).await;
    let refused = attache.hook(world.signed(ASANA)).await;
    refused.problem("credential_unavailable", 503, "proxy_configuration_error");
    let unusable = state(&attache).await;
    assert_eq!(
        (&unusable["state"], &unusable["handshake"]["secret"]),
        (&"handshake_unusable".into(), &"unusable".into())
    );
}
