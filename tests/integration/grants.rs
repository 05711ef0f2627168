//! Grants with a refresh token: shared by processes, slow to rotate, sealed with changing keys.

use crate::harness::*;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A provider that accepts each refresh token once, and ends an access token when it issues the next one.
#[derive(Default)]
struct Grant {
    refresh: String,
    access: String,
    rotations: usize,
    refused: usize,
}

struct World {
    grant: Arc<Mutex<Grant>>,
    endpoint: Stub,
    service: Stub,
    folder: tempfile::TempDir,
    /// The variables of every process.
    environment: [(&'static str, String); 5],
}

const YAML: &str = "
    state: { dir: '{{state}}', key: {{keys}} }
    accounts:
      erp:
        authorization:
          oauth2:
            grant: refresh_token
            refresh_token: { env: FIRST }
            token_url: '{{token_url}}'
            client_id: attache
            client_secret: { env: CLIENT_SECRET }
            token_timeout: 1s
    services:
      erp: { account: erp, server_url: '{{service}}', timeout: 5s }";

impl World {
    /// Access tokens have this lifetime in seconds, and take this long to get.
    fn new(lifetime: u64, takes: Duration) -> Self {
        let grant = Arc::new(Mutex::new(Grant { refresh: secret("refresh"), ..Grant::default() }));
        let spending = grant.clone();
        let endpoint = third_party().scripted(move |request| {
            let form: std::collections::HashMap<_, _> =
                url::form_urlencoded::parse(&request.body).into_owned().collect();
            let mut grant = spending.lock().expect("no panic");
            if form["refresh_token"] != grant.refresh {
                grant.refused += 1;
                return vec![json(400, r#"{"error":"invalid_grant"}"#)];
            }
            (grant.refresh, grant.access) = (secret("refresh"), secret("access"));
            grant.rotations += 1;
            let Grant { refresh, access, .. } = &*grant;
            let body = format!(
                r#"{{"access_token":"{access}","refresh_token":"{refresh}","expires_in":{lifetime}}}"#
            );
            vec![Step::Pause(takes), json(200, &body)]
        });
        let accepting = grant.clone();
        let service = third_party().scripted(move |request| {
            let expected = format!("Bearer {}", accepting.lock().expect("no panic").access);
            let status = if request.header("authorization") == Some(&expected) { 200 } else { 401 };
            vec![json(status, "{}")]
        });
        let folder = tempfile::tempdir().expect("a folder");
        let first = grant.lock().expect("no panic").refresh.clone();
        let key = |name| secret(&format!("{name}-key-0123456789abcdef"));
        let environment = [
            ("STATE_KEY", key("state")),
            ("OTHER_KEY", key("other")),
            ("THIRD_KEY", key("third")),
            ("FIRST", first),
            ("CLIENT_SECRET", secret("client")),
        ];
        Self { grant, endpoint, service, folder, environment }
    }

    fn setup(&self) -> Setup {
        let setup = attache()
            .given("state", self.folder.path().join("state").display().to_string())
            .given("token_url", format!("{}/token", self.endpoint.url()))
            .given("service", self.service.url())
            .given("keys", "{ env: STATE_KEY }");
        self.environment.iter().fold(setup, |setup, (name, value)| setup.env(name, value))
    }

    async fn check_live(&self) -> Finished {
        let setup = self.setup();
        let path = setup.write(YAML).display().to_string();
        let command = command(&["check", "--live", "-c", &path]);
        self.environment
            .iter()
            .fold(command, |command, (name, value)| command.env(name, value))
            .finish()
            .await
    }

    fn rotations(&self) -> usize {
        self.grant.lock().expect("no panic").rotations
    }

    fn refused(&self) -> usize {
        self.grant.lock().expect("no panic").refused
    }
}

#[tokio::test]
async fn a_rotation_that_is_slower_than_its_time_out_loses_no_grant() {
    let world = World::new(3600, ms(2500));
    let attache = world.setup().with(YAML).await;
    let late = attache.send(get("/erp/x")).await;
    late.problem("token_unavailable", 503, "destination_unavailable");
    assert!(late.head_after < ms(2000), "{:?}", late.head_after);
    let there = async || (attache.send(get("/erp/x")).await.status == 200).then_some(());
    eventually("the token", there).await;
    assert_eq!((world.rotations(), world.refused()), (1, 0));
}

#[tokio::test]
async fn processes_that_share_a_folder_share_the_token() {
    let world = World::new(2, ms(20));
    let (one, other) = (world.setup().with(YAML).await, world.setup().with(YAML).await);
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_secs(6) {
        for attache in [&one, &other] {
            assert_eq!(
                attache.send(get("/erp/x")).await.status,
                200,
                "after {} rotations",
                world.rotations()
            );
        }
    }
    assert!((4..=10).contains(&world.rotations()), "{}", world.rotations());
    assert_eq!(world.refused(), 0);
}

#[tokio::test]
async fn a_restart_and_a_check_use_the_stored_token() {
    let world = World::new(3600, ms(20));
    let mut attache = world.setup().with(YAML).await;
    assert_eq!(attache.send(get("/erp/x")).await.status, 200);
    let checked = world.check_live().await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.stdout.contains("stored token"), "{}", checked.stdout);
    assert_eq!(attache.send(get("/erp/x")).await.status, 200);
    attache.sigterm();
    assert!(attache.wait_exit().await.success());
    let attache = world.setup().with(YAML).await;
    assert_eq!(attache.send(get("/erp/x")).await.status, 200);
    assert_eq!(world.rotations(), 1);
}

#[tokio::test]
async fn a_state_key_is_replaced_without_losing_a_grant() {
    let world = World::new(3600, ms(20));
    let mut attache = world.setup().with(YAML).await;
    assert_eq!(attache.send(get("/erp/x")).await.status, 200);

    attache.give("keys", "{ env: OTHER_KEY }");
    attache.reload(YAML, "rejected").await;
    assert!(attache.said().contains("that the changed `state.key` lacks"), "{}", attache.said());

    attache.give("keys", "[{ env: OTHER_KEY }, { env: STATE_KEY }]");
    attache.reload(YAML, "applied").await;
    attache.give("keys", "[{ env: THIRD_KEY }, { env: OTHER_KEY }]");
    // The entry is sealed again in the background.
    let applied = async || {
        let before = attache.reloads("applied").await + attache.reloads("rejected").await;
        attache.rewrite(YAML);
        attache.sighup();
        let ended = async || {
            let applied = attache.reloads("applied").await;
            (applied + attache.reloads("rejected").await > before).then_some(applied)
        };
        (eventually("a reload", ended).await >= 2.0).then_some(())
    };
    eventually("the entry to be sealed with the first key", applied).await;
    assert_eq!(attache.send(get("/erp/x")).await.status, 200);
    assert_eq!((world.rotations(), world.refused()), (1, 0));
}
