//! `attache status`, and the document it reads.

use crate::harness::*;
use serde_json::Value;

async fn status(attache: &Attache, arguments: &[&str]) -> Finished {
    let admin = attache.admin().to_string();
    command(&[&["status", "--admin", &admin], arguments].concat()).finish().await
}

fn hash_of(attache: &Attache) -> String {
    sha256_hex(&std::fs::read_to_string(attache.config()).expect("read"))
}

#[tokio::test]
async fn it_shows_what_is_served() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let hash = hash_of(&attache);
    let said = status(&attache, &[]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains(&hash) && said.stdout.contains("last reload"), "{said:?}");
    let json = status(&attache, &["--format", "json"]).await;
    let json: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(json["config"]["hash"], hash);
    // The address is found in a file with problems too: a health check must not fail because of a file that is not in
    // effect.
    let fixed = std::fs::read_to_string(attache.config()).expect("read");
    let fixed = fixed.replace("admin: 127.0.0.1:0", &format!("admin: {}", attache.admin()));
    let beside = attache.config().with_file_name("other.yml");
    for text in [fixed.replace("server_url", "server_ulr"), fixed] {
        std::fs::write(&beside, text).expect("write");
        let said = command(&["status", "-c", &beside.display().to_string()]).finish().await;
        assert_eq!(said.code, Some(0), "{said:?}");
    }
}

#[tokio::test]
async fn a_health_check_names_the_address_that_the_file_may_have_changed() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let listen = "listen: { outbound: 127.0.0.1:0, webhooks: 127.0.0.1:0, admin: 127.0.0.1:1 }\n";
    attache.reload(&format!("{listen}{}", mailer("")), "needs_restart").await;
    let path = attache.config().display().to_string();
    let by_file = command(&["status", "-c", &path]).finish().await;
    assert_eq!(by_file.code, Some(2), "{by_file:?}");
    assert!(by_file.stderr.contains("listen.admin was changed"), "{by_file:?}");
    assert_eq!(status(&attache, &["-c", &path]).await.code, Some(0));
    let dockerfile = std::fs::read_to_string("config/docker/Dockerfile").expect("the Dockerfile");
    assert!(dockerfile.contains(r#""status", "--admin", "127.0.0.1:9090""#), "{dockerfile}");
}

#[tokio::test]
async fn it_waits_for_a_hash() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let first = hash_of(&attache);
    assert_eq!(status(&attache, &["--wait-for-hash", &first]).await.code, Some(0));
    let other = status(&attache, &["--wait-for-hash", &"a".repeat(64), "--timeout", "300ms"]).await;
    assert_eq!(other.code, Some(1), "{other:?}");
    assert!(other.stderr.contains(&format!("it serves {first}")), "{other:?}");
    attache.rewrite(&mailer("idle_timeout: 5s"));
    let second = hash_of(&attache);
    assert_ne!(first, second);
    assert_eq!(status(&attache, &["--wait-for-hash", &second]).await.code, Some(0));
}

#[tokio::test]
async fn it_reaches_a_unix_socket_and_reports_an_unreachable_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("admin.sock").display().to_string();
    let yaml = "listen: { outbound: 127.0.0.1:0, webhooks: 127.0.0.1:0, admin: 'unix:{{socket}}' }
services: { a: { account: { authorization: none }, server_url: http://127.0.0.1:9 } }";
    let attache = attache().given("socket", &socket).with(yaml).await;
    let said = command(&["status", "--admin", &format!("unix:{socket}")]).finish().await;
    assert_eq!(said.code, Some(0), "{said:?}");
    drop(attache);
    let gone =
        command(&["status", "--admin", &format!("unix:{socket}.none"), "--timeout", "1s"]).finish().await;
    assert_eq!(gone.code, Some(2), "{gone:?}");
    assert!(gone.stderr.contains("can't be reached"), "{gone:?}");
}

#[tokio::test]
async fn a_rejection_of_the_hash_ends_the_wait_with_its_problems() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    attache.reload(&mailer("timeuot: 5s"), "rejected").await;
    let bad = hash_of(&attache);
    let rejected = status(&attache, &["--wait-for-hash", &bad]).await;
    assert_eq!(rejected.code, Some(1), "{rejected:?}");
    assert!(rejected.stderr.contains("was rejected") && rejected.stdout.contains("timeuot"), "{rejected:?}");
    assert!(rejected.stdout.contains(&format!(", hash {bad}\n")), "{rejected:?}");
    // The rejection of another hash does not.
    let other = status(&attache, &["--wait-for-hash", &"a".repeat(64), "--timeout", "1s"]).await;
    assert!(other.code == Some(1) && other.stderr.contains("it serves"), "{other:?}");
}

#[tokio::test]
async fn the_rejection_of_a_file_that_is_not_text_ends_the_wait_as_well() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    let bytes: Vec<u8> = "\u{feff}services: {}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(attache.config(), &bytes).expect("write");
    let rejected = status(&attache, &["--wait-for-hash", &sha256_hex(&bytes)]).await;
    assert_eq!(rejected.code, Some(1), "{rejected:?}");
    assert!(
        rejected.stderr.contains("was rejected") && rejected.stdout.contains("is UTF-16"),
        "{rejected:?}"
    );
}

#[tokio::test]
async fn a_hash_is_not_served_while_part_of_it_waits() {
    let third_party = third_party();
    let attache = attache_for(&third_party, "").await;
    attache.reload(&format!("threads: 1\n{}", mailer("")), "needs_restart").await;
    let wait = async |timeout| {
        let hash = hash_of(&attache);
        status(&attache, &["--wait-for-hash", &hash, "--timeout", timeout]).await
    };
    let restart = wait("1s").await;
    assert_eq!(restart.code, Some(1), "{restart:?}");
    // At once, and again at the end.
    let needed = "a restart is needed for threads";
    assert_eq!(restart.stderr, format!("waiting: {needed}\nerror: {needed}\n"));
    let account = "accounts: { b: { authorization: { bearer: { env: NOT_SET } } } }\n";
    attache.reload(&format!("{account}{}", mailer("")), "applied").await;
    let missing = wait("1s").await;
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(
        missing.stderr.contains("a credential is unavailable: account b (unavailable: secret_missing)"),
        "{missing:?}"
    );
    attache.reload(&mailer("idle_timeout: 7s"), "applied").await;
    assert_eq!(wait("10s").await.code, Some(0));
}
