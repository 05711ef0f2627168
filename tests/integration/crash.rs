//! Rotating refresh tokens through kill -9.
//!
//! The endpoint is strict: each refresh token is valid once. A token older than the last but one was spent before the
//! last, and presenting it would end the grant. attache presents the last but one itself if it was killed in the one
//! window that no local store can close: after the endpoint has spent a token, and before its successor is on disk.

use crate::harness::*;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::task::JoinSet;

const ROUNDS: u64 = 100;

#[derive(Default)]
struct Grant {
    /// Every refresh token, oldest first. The last one is valid.
    issued: Vec<String>,
    /// Number of kills in the window.
    windows: usize,
    /// Uses of a token that end the grant.
    violations: Vec<String>,
}

impl Grant {
    /// Returns the answer to a refresh token: the next one, and an access token that expires soon (`default_lifetime`).
    fn spend(&mut self, token: &str) -> String {
        match self.issued.iter().rev().position(|issued| issued == token) {
            Some(0) => {}
            Some(1) => self.windows += 1,
            Some(age) => self.violations.push(format!("one that was spent {age} rotations ago")),
            None => self.violations.push("one that was never issued".to_owned()),
        }
        let next = secret("refresh");
        let access = secret("access");
        let answer =
            format!(r#"{{"access_token":"{access}","token_type":"Bearer","refresh_token":"{next}"}}"#);
        self.issued.push(next);
        answer
    }
}

fn yaml() -> &'static str {
    "state: { dir: '{{state}}', key: { env: STATE_KEY } }
accounts:
  erp:
    authorization:
      oauth2:
        grant: refresh_token
        refresh_token: { env: FIRST }
        token_url: '{{token_url}}'
        client_id: attache
        client_secret: { env: CLIENT_SECRET }
        default_lifetime: {{lifetime}}
services:
  erp: { account: erp, server_url: '{{third_party}}', timeout: 5s }
"
}

/// An account with such a grant, and the folder of its tokens.
struct World {
    first: String,
    grant: Arc<Mutex<Grant>>,
    endpoint: Stub,
    third_party: Stub,
    folder: tempfile::TempDir,
    state_key: String,
    client_secret: String,
    lifetime: &'static str,
}

impl World {
    /// Returns an endpoint that spends a refresh token at once, and answers after a pause. Access tokens have this
    /// lifetime.
    fn answering_after(pause: Duration, lifetime: &'static str) -> Self {
        let first = secret("refresh");
        let grant = Arc::new(Mutex::new(Grant { issued: vec![first.clone()], ..Grant::default() }));
        let spending = grant.clone();
        let endpoint = third_party().scripted(move |request| {
            let form: std::collections::HashMap<_, _> =
                url::form_urlencoded::parse(&request.body).into_owned().collect();
            let body = spending.lock().expect("no panic").spend(&form["refresh_token"]);
            vec![Step::Pause(pause), json(200, &body)]
        });
        let (state_key, client_secret) = (secret("state-key"), secret("client"));
        let folder = tempfile::tempdir().expect("a folder");
        Self {
            first,
            grant,
            endpoint,
            third_party: third_party(),
            folder,
            state_key,
            client_secret,
            lifetime,
        }
    }

    fn folder(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    async fn attache(&self) -> Attache {
        let setup = attache()
            .given("state", self.folder("state"))
            .given("third_party", self.third_party.url())
            .given("lifetime", self.lifetime)
            .given("token_url", format!("{}/token", self.endpoint.url()))
            .env("STATE_KEY", &self.state_key)
            .env("FIRST", &self.first)
            .env("CLIENT_SECRET", &self.client_secret);
        setup.with(yaml()).await
    }

    fn grant(&self) -> MutexGuard<'_, Grant> {
        self.grant.lock().expect("no panic")
    }
}

#[tokio::test]
async fn a_rotating_refresh_token_survives_a_hundred_kills() {
    // A pause in which attache can be killed before the answer arrives. The callers use a token until it expires, so a
    // rotation follows on each.
    let world = World::answering_after(ms(2), "200ms");
    for round in 0..ROUNDS {
        let mut attache = world.attache().await;
        // The stored token is complete and valid.
        let answer = attache.send(get("/erp/x")).await;
        assert_eq!(answer.status, 200, "round {round}: {}", answer.text());
        let outbound = attache.outbound();
        let mut callers = JoinSet::new();
        callers.spawn(async move { while try_send(outbound, get("/erp/x")).await.is_ok() {} });
        // After another rotation has begun: the kill hits that one or one of the next, at a time that varies over its
        // duration.
        let spent = world.endpoint.requests().len();
        world.endpoint.wait_until("another rotation", |seen| seen.complete > spent).await;
        tokio::time::sleep(Duration::from_micros(round * 397 % 20_000)).await;
        attache.sigkill();
        attache.wait_exit().await;
        let grant = world.grant();
        assert_eq!(grant.violations, [""; 0], "round {round}");
    }
    let grant = world.grant();
    let rotations = grant.issued.len() - 1;
    println!("{ROUNDS} kills in {rotations} rotations, {} of them in the window", grant.windows);
}

#[tokio::test]
async fn shutdown_waits_for_a_token_that_is_being_spent() {
    let world = World::answering_after(ms(1000), "1m");
    let mut attache = world.attache().await;
    let mut leaving = Connection::open(attache.outbound()).await;
    leaving.write(b"GET /erp/x HTTP/1.1\r\nHost: x\r\n\r\n").await;
    world.endpoint.wait_until("the request for a token", |seen| seen.complete > 0).await;
    drop(leaving);
    attache.sigterm();
    attache.wait_exit().await;
    let attache = world.attache().await;
    assert_eq!(attache.send(get("/erp/x")).await.status, 200);
    let grant = world.grant();
    assert_eq!((grant.windows, grant.issued.len()), (0, 2), "the token was stored");
}

#[tokio::test]
async fn another_state_folder_takes_effect_at_the_next_start() {
    let world = World::answering_after(ms(1), "200ms");
    let mut attache = world.attache().await;
    assert_eq!(attache.send(get("/erp/x")).await.status, 200);
    attache.give("state", world.folder("elsewhere"));
    attache.reload(yaml(), "needs_restart").await;
    assert_eq!(attache.send(get("/erp/x")).await.status, 200);
    let grant = world.grant();
    assert_eq!((grant.windows, grant.violations.len()), (0, 0), "{:?}", grant.violations);
}
