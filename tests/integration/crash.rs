//! Rotating refresh tokens through kill -9.
//!
//! The endpoint is strict: each refresh token is good once. One that is older than the last but one has been spent
//! before the last, and to show it would end the grant. The last but one itself is what attache shows if it was killed
//! in the one window that no local store can close: after the endpoint has spent a token, and before its successor is
//! on disk.

use crate::harness::*;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;

const ROUNDS: u64 = 100;

#[derive(Default)]
struct Grant {
    /// Every refresh token, oldest first. The last one is good.
    issued: Vec<String>,
    /// How often attache was killed in the window.
    windows: usize,
    /// What ended the grant.
    violations: Vec<String>,
}

impl Grant {
    /// The answer to a refresh token: the next one, and an access token that is over at once.
    fn spend(&mut self, token: &str) -> String {
        match self.issued.iter().rev().position(|issued| issued == token) {
            Some(0) => {}
            Some(1) => self.windows += 1,
            Some(age) => self.violations.push(format!("one that was spent {age} rotations ago")),
            None => self.violations.push("one that was never issued".to_owned()),
        }
        let next = secret("refresh");
        let access = secret("access");
        let answer = format!(
            r#"{{"access_token":"{access}","token_type":"Bearer","expires_in":0,"refresh_token":"{next}"}}"#
        );
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
services:
  erp: { account: erp, server_url: '{{third_party}}', timeout: 5s }
"
}

#[tokio::test]
async fn a_rotating_refresh_token_survives_a_hundred_kills() {
    let first = secret("refresh");
    let grant = Arc::new(Mutex::new(Grant { issued: vec![first.clone()], ..Grant::default() }));
    let endpoint = third_party();
    let spending = grant.clone();
    endpoint.does(move |request| {
        let form: std::collections::HashMap<_, _> =
            url::form_urlencoded::parse(&request.body).into_owned().collect();
        let body = spending.lock().expect("no panic").spend(&form["refresh_token"]);
        // Time to be killed in before the answer comes.
        vec![Step::Pause(Duration::from_millis(2)), json(200, &body)]
    });
    let third_party = third_party();
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let (state_key, client_secret) = (secret("state-key"), secret("client"));
    for round in 0..ROUNDS {
        let setup = attache()
            .given("state", state.display().to_string())
            .given("third_party", third_party.url())
            .given("token_url", format!("{}/token", endpoint.url()))
            .env("STATE_KEY", &state_key)
            .env("FIRST", &first)
            .env("CLIENT_SECRET", &client_secret);
        let mut attache = setup.with(yaml()).await;
        // What is kept is whole, and good.
        let answer = attache.send(get("/erp/x")).await;
        assert_eq!(answer.status, 200, "round {round}: {}", answer.text());
        let outbound = attache.outbound();
        let mut callers = JoinSet::new();
        callers.spawn(async move { while try_send(outbound, get("/erp/x")).await.is_ok() {} });
        // Once another rotation has begun: in the middle of that one or of one soon after, spread over the whole of it.
        let spent = endpoint.requests().len();
        endpoint.wait_until("another rotation", |seen| seen.complete > spent).await;
        tokio::time::sleep(Duration::from_micros(round * 397 % 20_000)).await;
        attache.sigkill();
        attache.wait_exit().await;
        let grant = grant.lock().expect("no panic");
        assert_eq!(grant.violations, [""; 0], "round {round}");
    }
    let grant = grant.lock().expect("no panic");
    let rotations = grant.issued.len() - 1;
    println!("{ROUNDS} kills in {rotations} rotations, {} of them in the window", grant.windows);
}
