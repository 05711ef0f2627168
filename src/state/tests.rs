//! The guarantees of the store.

mod kills;

use super::file::{Folder, stem};
use super::locked::{Locked, RESERVE};
use super::*;
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;
use tokio::task::JoinSet;

pub(super) const KEY: &str = "correct-horse-battery-staple";
const LONG: Duration = Duration::from_secs(60);

pub(super) fn keys(texts: &[&str]) -> Vec<Secret> {
    texts.iter().map(|text| Secret::new(*text)).collect()
}

fn store(dir: &Path) -> FileStore {
    FileStore::open(dir, &keys(&[KEY])).unwrap()
}

pub(super) fn entry(revision: u64) -> Entry {
    let obtained_at = SystemTime::UNIX_EPOCH + Duration::new(1_800_000_000, 123_456_789);
    Entry {
        bound_to: [7; 32],
        revision,
        refresh_token: Some(Secret::new(format!("refresh-\"{revision}\"-ü"))),
        rotated: false,
        reusable: false,
        obtained_at,
        access: Some(StoredAccess {
            bound_to: [8; 32],
            token: Secret::new(format!("access-\"{revision}\"-ü")),
            obtained_at,
            expires_at: obtained_at + Duration::from_secs(3600),
        }),
        lost: None,
    }
}

async fn write(store: &FileStore, account: &str, entry: &Entry) {
    store.lock(account, LONG).await.unwrap().write(entry).await.unwrap();
}

async fn read(store: &FileStore, account: &str) -> Result<Option<Entry>, StateError> {
    store.lock(account, LONG).await.unwrap().read().await
}

fn names(dir: &Path) -> HashSet<String> {
    fs::read_dir(dir).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// Returns the state that a kill at this moment would leave: the folder as another process finds it, without the lock's
/// holder.
fn snapshot(dir: &Path) -> TempDir {
    let copy = TempDir::new().unwrap();
    for name in names(dir) {
        fs::copy(dir.join(&name), copy.path().join(&name)).unwrap();
    }
    copy
}

// ---- an entry

#[tokio::test]
async fn an_entry_outlives_the_store() {
    let dir = TempDir::new().unwrap();
    let refusal = Lost { reason: "invalid_grant".to_owned(), at: SystemTime::UNIX_EPOCH + LONG };
    let lost = Entry { lost: Some(refusal), rotated: true, ..entry(3) };
    write(&store(dir.path()), "services/erp", &lost).await;

    let fresh = store(dir.path());
    let Peek::Found(peeked, stamp) = fresh.peek("services/erp", None).await.unwrap() else {
        panic!("no entry")
    };
    assert_eq!(*peeked, lost);
    assert_eq!(fresh.peek("services/erp", Some(stamp)).await.unwrap(), Peek::Unchanged);
    assert_eq!(fresh.peek("services/other", None).await.unwrap(), Peek::Absent);
    assert_eq!(read(&fresh, "services/erp").await.unwrap(), Some(lost));
    assert_eq!(read(&fresh, "services/other").await.unwrap(), None);
}

#[tokio::test]
async fn each_write_changes_the_stamp() {
    let dir = TempDir::new().unwrap();
    let store = store(dir.path());
    let mut stamps = Vec::new();
    for _ in 0..100 {
        write(&store, "erp", &entry(1)).await;
        let Peek::Found(_, stamp) = store.peek("erp", stamps.last().copied()).await.unwrap() else {
            panic!("the change was not seen")
        };
        stamps.push(stamp);
    }
}

#[tokio::test]
async fn reading_under_the_lock_seals_with_the_first_key() {
    let dir = TempDir::new().unwrap();
    write(&store(dir.path()), "erp", &entry(1)).await;
    let both = FileStore::open(dir.path(), &keys(&["another-horse-battery-staple", KEY])).unwrap();
    both.peek("erp", None).await.unwrap();
    let new = FileStore::open(dir.path(), &keys(&["another-horse-battery-staple"])).unwrap();
    assert!(matches!(new.peek("erp", None).await, Err(StateError::WrongKey { .. })));
    read(&both, "erp").await.unwrap();
    assert_eq!(read(&new, "erp").await.unwrap(), Some(entry(1)));
}

#[tokio::test]
async fn a_removed_entry_is_gone_and_may_be_removed_again() {
    let dir = TempDir::new().unwrap();
    let store = store(dir.path());
    write(&store, "erp", &entry(1)).await;
    let mut held = store.lock("erp", LONG).await.unwrap();
    held.prepare().await.unwrap();
    held.remove().await.unwrap();
    held.remove().await.unwrap();
    assert_eq!(held.read().await.unwrap(), None);
    assert_eq!(names(dir.path()), HashSet::from(["erp.lock".to_owned()]));
}

#[tokio::test]
async fn the_token_shows_neither_in_the_file_nor_in_debug() {
    let dir = TempDir::new().unwrap();
    let entry = Entry { refresh_token: Some(Secret::new("tell-no-one-4711")), ..entry(1) };
    write(&store(dir.path()), "erp", &entry).await;
    let sealed = fs::read(dir.path().join("erp.grant")).unwrap();
    assert!(!String::from_utf8_lossy(&sealed).contains("4711"));
    assert!(!format!("{entry:?}").contains("4711"));
    assert!(!format!("{:?}", store(dir.path())).contains("horse"));
}

// ---- keys and damage

#[tokio::test]
async fn the_first_key_seals_and_all_open() {
    let dir = TempDir::new().unwrap();
    let open = |texts: &[&str]| FileStore::open(dir.path(), &keys(texts)).unwrap();
    write(&open(&["the-old-key"]), "erp", &entry(1)).await;

    let both = open(&["the-new-key", "the-old-key"]);
    assert_eq!(read(&both, "erp").await.unwrap(), Some(entry(1)));
    write(&both, "erp", &entry(2)).await;
    assert_eq!(read(&open(&["the-new-key"]), "erp").await.unwrap(), Some(entry(2)));

    let error = read(&open(&["the-old-key"]), "erp").await.unwrap_err();
    assert!(matches!(error, StateError::WrongKey { .. }), "{error}");
    assert!(error.to_string().contains("erp.grant can't be opened with `state.key`"), "{error}");
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_can_be_replaced() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("erp.grant"), "garbage").unwrap();
    let store = store(dir.path());
    assert!(matches!(read(&store, "erp").await, Err(StateError::NotAGrant { .. })));
    write(&store, "erp", &entry(1)).await;
    assert_eq!(read(&store, "erp").await.unwrap(), Some(entry(1)));
}

#[tokio::test]
async fn another_accounts_file_is_refused() {
    let dir = TempDir::new().unwrap();
    let store = store(dir.path());
    write(&store, "erp", &entry(1)).await;
    fs::copy(dir.path().join("erp.grant"), dir.path().join("crm.grant")).unwrap();
    assert!(matches!(read(&store, "crm").await, Err(StateError::Damaged { .. })));
}

/// What has to be done depends on what was lost: a provider's secret comes by a handshake, and not by a login.
#[tokio::test]
async fn an_error_says_how_another_entry_comes() {
    let dir = TempDir::new().unwrap();
    let store = store(dir.path());
    for (name, expected, other) in [
        ("erp@0123456789abcdef", "`attache login`", "handshake"),
        ("handshakes/tasks", "`attache urls --reset-handshake tasks`", "login"),
    ] {
        let sealed = seal::seal(&Secret::new("another-key-of-the-state"), name, &entry(1)).unwrap();
        for text in [&b"garbage"[..], &sealed] {
            let path = dir.path().join(format!("{}.grant", stem(name)));
            fs::write(&path, text).unwrap();
            let error = store.peek(name, None).await.unwrap_err().to_string();
            let error = error.replace(&path.display().to_string(), "");
            assert!(error.contains(expected) && !error.contains(other), "{error}");
        }
    }
}

// ---- the lock

#[tokio::test]
async fn a_second_holder_waits_and_then_fails() {
    let dir = TempDir::new().unwrap();
    let (one, other) = (store(dir.path()), store(dir.path()));
    let held = one.lock("erp", LONG).await.unwrap();

    let error = other.lock("erp", Duration::from_millis(30)).await.err().unwrap();
    let StateError::Locked { account, waited, .. } = &error else { panic!("{error}") };
    assert_eq!(account, "erp");
    assert!(*waited >= Duration::from_millis(30), "{waited:?}");

    assert!(one.lock("erp", Duration::ZERO).await.is_err());
    other.lock("crm", Duration::ZERO).await.unwrap();
    drop(held);
    other.lock("erp", Duration::ZERO).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_wait_uses_the_runtimes_clock() {
    let dir = TempDir::new().unwrap();
    let store = store(dir.path());
    let _held = store.lock("erp", LONG).await.unwrap();
    let begun = std::time::Instant::now();
    assert!(store.lock("erp", LONG).await.is_err());
    assert!(begun.elapsed() < LONG);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_rotation_is_used_twice() {
    let dir = TempDir::new().unwrap();
    let inside = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (store, inside) = (store(dir.path()), Arc::clone(&inside));
        tasks.spawn(async move {
            for _ in 0..5 {
                let mut held = store.lock("erp", LONG).await.unwrap();
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two tasks hold the lock");
                let rotation = held.read().await.unwrap().map_or(0, |entry| entry.revision);
                held.prepare().await.unwrap();
                held.write(&entry(rotation + 1)).await.unwrap();
                inside.fetch_sub(1, Ordering::SeqCst);
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(read(&store(dir.path()), "erp").await.unwrap(), Some(entry(40)));
}

#[tokio::test]
async fn a_dropped_wait_leaves_no_lock_behind() {
    let dir = TempDir::new().unwrap();
    let store = store(dir.path());
    let held = store.lock("erp", LONG).await.unwrap();
    let waiting = store.lock("erp", LONG);
    assert!(tokio::time::timeout(Duration::from_millis(20), waiting).await.is_err());
    drop(held);
    store.lock("erp", LONG).await.unwrap();
}

#[tokio::test]
async fn a_write_whose_future_is_dropped_completes_under_the_lock() {
    let dir = TempDir::new().unwrap();
    let store = store(dir.path());
    let mut held = store.lock("erp", LONG).await.unwrap();
    // One poll starts the step on its thread; it need not be done by then.
    let _ = tokio::time::timeout(Duration::ZERO, held.write(&entry(2))).await;
    drop(held);
    assert_eq!(read(&store, "erp").await.unwrap(), Some(entry(2)));
}

#[tokio::test]
async fn a_removed_lock_file_does_not_exclude_a_new_holder() {
    let dir = TempDir::new().unwrap();
    let store = store(dir.path());
    let _held = store.lock("erp", LONG).await.unwrap();
    fs::remove_file(dir.path().join("erp.lock")).unwrap();
    let _new = store.lock("erp", LONG).await.unwrap();
    assert!(store.lock("erp", Duration::ZERO).await.is_err());
}

// ---- the folder

#[test]
fn a_missing_folder_is_created_for_its_owner_only() {
    let dir = TempDir::new().unwrap();
    let nested = dir.path().join("var/state");
    store(&nested);
    assert_eq!(mode(&nested), 0o700);
    assert!(names(&nested).is_empty());
}

#[tokio::test]
async fn files_are_accessible_to_their_owner_only() {
    let dir = TempDir::new().unwrap();
    let store = store(dir.path());
    write(&store, "erp", &entry(1)).await;
    let mut held = store.lock("erp", LONG).await.unwrap();
    held.prepare().await.unwrap();
    for name in ["erp.grant", "erp.lock", "erp.new"] {
        assert_eq!(mode(&dir.path().join(name)), 0o600, "{name}");
    }
}

#[test]
fn a_folder_that_others_may_write_to_is_refused() {
    let dir = TempDir::new().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let error = FileStore::open(dir.path(), &keys(&[KEY])).unwrap_err();
    assert!(matches!(error, StateError::OpenToOthers { mode: 0o1777, .. }), "{error}");
    assert!(error.to_string().contains("(mode 1777)"), "{error}");
}

#[test]
fn group_write_permission_is_removed_from_an_own_folder() {
    let dir = TempDir::new().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o775)).unwrap();
    store(dir.path());
    assert_eq!(mode(dir.path()), 0o755);
}

#[test]
fn a_folder_that_cannot_be_written_to_is_refused_at_once() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    // Neither place accepts a file even from root, which tests may run as.
    for dir in [file.as_path(), &file.join("below"), Path::new("/proc/self/fd")] {
        let error = FileStore::open(dir, &keys(&[KEY])).unwrap_err();
        assert!(matches!(error, StateError::Io { .. }), "{error}");
        assert!(error.to_string().starts_with("can't create "), "{error}");
    }
}

#[tokio::test]
async fn a_folder_behind_a_link_is_accepted() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("real")).unwrap();
    symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
    let linked = store(&dir.path().join("link"));
    let _held = linked.lock("erp", LONG).await.unwrap();
    assert!(store(&dir.path().join("real")).lock("erp", Duration::ZERO).await.is_err());
}

#[test]
fn a_store_needs_a_key() {
    let dir = TempDir::new().unwrap();
    assert!(matches!(FileStore::open(dir.path(), &[]), Err(StateError::NoKey)));
}

#[tokio::test]
async fn prepare_detects_a_write_that_would_fail_and_keeps_the_old_entry() {
    let dir = TempDir::new().unwrap();
    let store = store(dir.path());
    write(&store, "erp", &entry(1)).await;
    // Simulates a full disk without mounting one: the reserve's path accepts no byte.
    fs::create_dir(dir.path().join("erp.new")).unwrap();
    assert!(matches!(store.lock("erp", LONG).await.err(), Some(StateError::Io { .. })));
    fs::remove_dir(dir.path().join("erp.new")).unwrap();
    let mut held = store.lock("erp", LONG).await.unwrap();
    fs::create_dir(dir.path().join("erp.new")).unwrap();
    assert!(matches!(held.prepare().await, Err(StateError::Io { .. })));
    assert_eq!(held.read().await.unwrap(), Some(entry(1)));
}

#[tokio::test]
async fn a_prepared_write_that_is_not_needed_leaves_nothing() {
    let dir = TempDir::new().unwrap();
    let store = store(dir.path());
    let mut held = store.lock("erp", LONG).await.unwrap();
    held.prepare().await.unwrap();
    held.prepare().await.unwrap();
    assert!(dir.path().join("erp.new").exists());
    drop(held);
    assert_eq!(names(dir.path()), HashSet::from(["erp.lock".to_owned()]));
}

// ---- names

#[test]
fn a_name_stays_readable_and_in_its_folder() {
    assert_eq!(stem("erp-2.prod_EU"), "erp-2.prod_EU");
    assert_eq!(stem("services/mailer"), "services%2Fmailer");
    assert_eq!(stem("../../etc/passwd"), "%2E.%2F..%2Fetc%2Fpasswd");
    assert_eq!(stem(".hidden"), "%2Ehidden");
    assert_eq!(stem("50%\0ü"), "50%25%00%C3%BC");
}

#[test]
fn two_names_never_share_a_file() {
    let long = "x".repeat(250);
    let digest = stem(&long);
    let names = ["a", "A", "a.lock", "a/b", "a%2Fb", "%2E", ".", "", &long, &"x".repeat(249), &digest];
    let stems: HashSet<_> = names.iter().map(|name| stem(name)).collect();
    assert_eq!(stems.len(), names.len());
    assert!(stems.iter().all(|stem| stem.len() <= 249), "{stems:?}");
}

#[tokio::test]
async fn the_longest_names_can_be_stored() {
    let dir = TempDir::new().unwrap();
    let store = store(dir.path());
    for name in ["x".repeat(249), "ü".repeat(1000)] {
        write(&store, &name, &entry(1)).await;
        assert_eq!(read(&store, &name).await.unwrap(), Some(entry(1)));
    }
}
