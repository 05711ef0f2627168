use super::*;
use crate::signature::Scheme;
use crate::state::FileStore;
use std::time::{Duration, UNIX_EPOCH};
use tempfile::TempDir;

const KEY: &str = "correct-horse-battery-staple";
const FIRST: &str = "b537207f20cbfa02357cf448134da559e8bd39d61597dcd5631b8012eae53e81";
const SECOND: &str = "00000000000000000000000000000000000000000000000000000000000000ff";

fn slot(dir: &TempDir, key: &str) -> StoreSlot {
    let slot = StoreSlot::default();
    slot.set(Arc::new(FileStore::open(dir.path(), &[Secret::new(key)]).unwrap()));
    slot
}

fn verifier(scheme: Scheme) -> Verifier {
    Verifier::new(scheme, &[], Verifier::DEFAULT_TOLERANCE).unwrap()
}

/// A process that shares the folder.
fn process(dir: &TempDir) -> HandshakeSecret {
    HandshakeSecret::new("tasks", "asana", Some(verifier(Scheme::Asana)), slot(dir, KEY), None)
}

fn is_missing(secret: &HandshakeSecret) -> bool {
    secret.status().state != "kept"
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[tokio::test]
async fn the_first_secret_stays_until_a_reset() {
    let dir = TempDir::new().unwrap();
    let one = process(&dir);
    one.look().await.unwrap();
    assert!(is_missing(&one) && one.verifier().is_none());
    assert_eq!(one.status().state, "waiting");
    assert_eq!(one.keep(&Secret::new(FIRST), at(5)).await.unwrap(), Kept::First);
    assert!(one.verifier().unwrap().has_secrets());
    assert_eq!(one.keep(&Secret::new(FIRST), at(6)).await.unwrap(), Kept::Again);
    assert_eq!(one.keep(&Secret::new(SECOND), at(7)).await.unwrap(), Kept::Ignored);
    assert_eq!(one.status(), Status { state: "kept", since: Some(at(5)), ignored: 1 });

    let store = slot(&dir, KEY).get().unwrap();
    assert!(reset(&*store, "tasks").await.unwrap());
    assert!(!reset(&*store, "tasks").await.unwrap());
    assert_eq!(one.keep(&Secret::new(SECOND), at(8)).await.unwrap(), Kept::First);
    assert_eq!(kept(&*store, "tasks", "asana").await.unwrap(), Some((Secret::new(SECOND), at(8))));
}

#[tokio::test]
async fn processes_that_share_the_folder_agree() {
    let dir = TempDir::new().unwrap();
    let (one, other) = (process(&dir), process(&dir));
    other.look().await.unwrap();
    assert_eq!(one.keep(&Secret::new(FIRST), at(1)).await.unwrap(), Kept::First);
    assert_eq!(other.keep(&Secret::new(SECOND), at(2)).await.unwrap(), Kept::Ignored);
    assert_eq!(one.verifier(), other.verifier());
    reset(&*slot(&dir, KEY).get().unwrap(), "tasks").await.unwrap();
    other.look().await.unwrap();
    assert!(is_missing(&other), "the reset of another process is seen");
    assert_eq!(other.keep(&Secret::new(SECOND), at(3)).await.unwrap(), Kept::First);
    one.look().await.unwrap();
    assert_eq!(one.verifier(), other.verifier());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_secrets_that_come_at_once_one_is_kept() {
    let dir = TempDir::new().unwrap();
    let (one, other) = (process(&dir), process(&dir));
    let (first, second) = (Secret::new(FIRST), Secret::new(SECOND));
    let both = tokio::join!(one.keep(&first, at(1)), other.keep(&second, at(1)));
    let both = [both.0.unwrap(), both.1.unwrap()];
    assert!(both.contains(&Kept::First) && both.contains(&Kept::Ignored), "{both:?}");
    one.look().await.unwrap();
    other.look().await.unwrap();
    assert_eq!(one.verifier(), other.verifier());
}

#[tokio::test]
async fn a_secret_survives_a_restart_and_a_changed_scheme() {
    let dir = TempDir::new().unwrap();
    let one = process(&dir);
    one.keep(&Secret::new(FIRST), at(1)).await.unwrap();
    let again = process(&dir);
    again.look().await.unwrap();
    assert_eq!(again.verifier(), one.verifier());
    let tolerant =
        HandshakeSecret::new("tasks", "asana", Some(verifier(Scheme::Asana)), slot(&dir, KEY), Some(&one));
    assert!(!is_missing(&tolerant), "a reload takes over what is known");
    let another =
        HandshakeSecret::new("tasks", "asana", Some(verifier(Scheme::Github)), slot(&dir, KEY), Some(&one));
    another.look().await.unwrap();
    assert_eq!(another.verifier().unwrap().scheme(), &Scheme::Github);
}

#[tokio::test]
async fn a_secret_of_another_handshake_is_replaced() {
    let dir = TempDir::new().unwrap();
    process(&dir).keep(&Secret::new(FIRST), at(1)).await.unwrap();
    let notion =
        HandshakeSecret::new("tasks", "notion", Some(verifier(Scheme::Notion)), slot(&dir, KEY), None);
    notion.look().await.unwrap();
    assert!(is_missing(&notion));
    assert_eq!(notion.keep(&Secret::new(SECOND), at(2)).await.unwrap(), Kept::First);
}

#[tokio::test]
async fn an_unusable_store_or_secret_acknowledges_nothing() {
    let dir = TempDir::new().unwrap();
    let closed =
        HandshakeSecret::new("tasks", "asana", Some(verifier(Scheme::Asana)), StoreSlot::default(), None);
    assert!(matches!(closed.keep(&Secret::new(FIRST), at(1)).await, Err(KeepError::Closed)));

    let unfit = HandshakeSecret::new(
        "tasks",
        "asana",
        Some(verifier(Scheme::StandardWebhooks)),
        slot(&dir, KEY),
        None,
    );
    assert!(matches!(unfit.keep(&Secret::new("no base64 at all!"), at(1)).await, Err(KeepError::Unfit(_))));
    assert!(is_missing(&unfit));

    process(&dir).keep(&Secret::new(FIRST), at(1)).await.unwrap();
    let locked_out = HandshakeSecret::new(
        "tasks",
        "asana",
        Some(verifier(Scheme::Asana)),
        slot(&dir, "another-horse-battery-staple"),
        None,
    );
    assert!(matches!(locked_out.keep(&Secret::new(FIRST), at(1)).await, Err(KeepError::Store(_))));
    assert_eq!(locked_out.status().state, "unusable");
    // The operator can start anew.
    let store = slot(&dir, "another-horse-battery-staple").get().unwrap();
    assert!(reset(&*store, "tasks").await.unwrap());
    assert_eq!(locked_out.keep(&Secret::new(FIRST), at(1)).await.unwrap(), Kept::First);
}

#[tokio::test]
async fn the_secret_is_on_the_disk_only_sealed() {
    let dir = TempDir::new().unwrap();
    process(&dir).keep(&Secret::new(FIRST), at(1)).await.unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let content = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(memchr::memmem::find(&content, FIRST.as_bytes()).is_none());
    }
}
