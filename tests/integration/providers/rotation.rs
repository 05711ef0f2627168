//! Single-use refresh tokens: npm oidc-provider revokes the whole grant when it sees one twice.

use super::*;
use std::path::Path;

/// A provider with a first refresh token, and the folder in which attache stores the next ones.
struct Rotating {
    provider: Peer,
    third_party: Stub,
    first: String,
    client_secret: String,
    state_key: String,
    folder: tempfile::TempDir,
}

impl Rotating {
    async fn new(lifetime: &str) -> Self {
        let client_secret = secret("client");
        let environment = [
            ("PEER_GRANT", "refresh_token"),
            ("PEER_CLIENT_SECRET", client_secret.as_str()),
            ("PEER_TOKEN_TTL", lifetime),
        ];
        let provider = Peer::serve("oidc/server.mjs", &environment).await;
        let first = provider.says("refresh_token").await;
        let (state_key, folder) = (secret("state-key"), tempfile::tempdir().expect("a folder"));
        Self { provider, third_party: third_party(), first, client_secret, state_key, folder }
    }

    fn state(&self) -> std::path::PathBuf {
        self.folder.path().join("state")
    }

    /// Starts attache again with the same state.
    async fn attache(&self) -> Attache {
        let lines = "grant: refresh_token
            client_secret: { env: CLIENT_SECRET }
            refresh_token: { env: REFRESH_TOKEN }";
        let yaml = format!("state: {{ dir: '{{{{state}}}}', key: {{ env: STATE_KEY }} }}\n{}", crm(lines));
        let setup = attache_at(format!("{}/token", self.provider.url()), &self.third_party);
        let setup = setup.given("state", self.state().display().to_string());
        let setup = setup.env("CLIENT_SECRET", &self.client_secret).env("STATE_KEY", &self.state_key);
        setup.env("REFRESH_TOKEN", &self.first).with(&yaml).await
    }

    /// Sends requests until the provider has rotated this number of times.
    async fn rotated(&self, attache: &Attache, times: usize) {
        let line = format!("rotated {times}");
        let there = async || {
            assert_eq!(attache.send(get("/crm/contacts")).await.status, 200);
            (self.provider.count(&line) == 1).then_some(())
        };
        eventually(&line, there).await;
        assert!(!attache.said().contains(&self.first), "LEAK: the refresh token is in what attache says");
    }
}

/// Ends attache as an operator does.
async fn stop(mut attache: Attache) {
    attache.sigterm();
    assert!(attache.wait_exit().await.success());
}

/// Copies a folder of files.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copy a file");
    }
}

#[tokio::test]
async fn a_refresh_token_rotates_through_a_restart() {
    let rotating = Rotating::new("3").await;
    let attache = rotating.attache().await;
    rotating.rotated(&attache, 3).await;
    stop(attache).await;
    let attache = rotating.attache().await;
    rotating.rotated(&attache, 5).await;
    let token = token_received(&attache, &rotating.third_party).await;
    let known = oidc_knows(&rotating.provider, &token).await;
    assert_eq!((&known["active"], &known["sub"]), (&true.into(), &"robot".into()), "{known}");
    assert_eq!(rotating.provider.count("revoked"), 0);
    assert_eq!(rotating.provider.count("refused invalid_grant"), 0);
}

/// A backup of the state folder is restored after attache continued without it.
#[tokio::test]
async fn a_refresh_token_that_was_spent_elsewhere_is_sent_once_and_needs_a_login() {
    // Long enough to stop before the second rotation, short enough to wait for the others.
    let rotating = Rotating::new("4").await;
    let attache = rotating.attache().await;
    rotating.rotated(&attache, 1).await;
    stop(attache).await;
    let backup = rotating.folder.path().join("backup");
    copy(&rotating.state(), &backup);
    let attache = rotating.attache().await;
    rotating.rotated(&attache, 2).await;
    stop(attache).await;
    std::fs::remove_dir_all(rotating.state()).expect("remove the state");
    std::fs::rename(&backup, rotating.state()).expect("restore the backup");

    for start in ["first", "second"] {
        let attache = rotating.attache().await;
        // The stored token is used to its end.
        let refused = async || (attache.send(get("/crm/contacts")).await.status == 502).then_some(());
        eventually("the refusal", refused).await;
        for _ in 0..3 {
            let answer = attache.send(get("/crm/contacts")).await;
            answer.problem("token_rejected", 502, "proxy_configuration_error");
        }
        assert_eq!(attache.status().await["accounts"]["crm"]["token"]["state"], "needs_login", "{start}");
        let needs_login = attache.metrics().await.value("attache_account_needs_login", &[("account", "crm")]);
        assert_eq!(needs_login, Some(1.0), "{start}");
        assert_eq!(rotating.provider.count("refused invalid_grant"), 1, "sent once: {start} start");
    }
    assert_eq!(rotating.provider.count("revoked"), 1, "the provider has seen it twice");
}
