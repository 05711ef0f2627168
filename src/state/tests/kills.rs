//! Kills during a write: by hand between the steps, and with SIGKILL from another process.

use super::*;
use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

#[tokio::test]
async fn a_kill_between_any_two_steps_leaves_the_old_entry_or_the_new() {
    let dir = TempDir::new().unwrap();
    write(&store(dir.path()), "erp", &entry(1)).await;
    let folder = Arc::new(Folder::new(dir.path(), &keys(&[KEY])));
    let left = async || read(&store(snapshot(dir.path()).path()), "erp").await.unwrap().unwrap().revision;

    let mut locked = Locked::try_take(Arc::clone(&folder), "erp".to_owned()).unwrap().unwrap();
    assert_eq!(left().await, 1, "locked");
    locked.reserve().unwrap();
    assert_eq!(left().await, 1, "reserved");
    locked.fill(&folder.seal("erp", &entry(2)).unwrap()).unwrap();
    assert_eq!(left().await, 2, "filled: the write is completed by the next holder");
    locked.publish().unwrap();
    assert_eq!(left().await, 2, "published");
}

#[tokio::test]
async fn a_kill_at_any_byte_leaves_the_old_entry_or_the_new() {
    let dir = TempDir::new().unwrap();
    let store = store(dir.path());
    write(&store, "erp", &entry(1)).await;
    let new = seal::seal(&Secret::new(KEY), "erp", &entry(2)).unwrap();
    let path = dir.path().join("erp.new");
    for written in 0..=new.len() {
        let mut file = vec![0x5a; RESERVE];
        file[..written].copy_from_slice(&new[..written]);
        fs::write(&path, &file).unwrap();
        assert_eq!(read(&store, "erp").await.unwrap(), Some(entry(1)), "{written} bytes over the reserve");
        fs::write(&path, &new[..written]).unwrap();
        let expected = if written == new.len() { 2 } else { 1 };
        assert_eq!(read(&store, "erp").await.unwrap(), Some(entry(expected)), "{written} bytes alone");
    }
    assert!(!path.exists());
}

#[tokio::test]
async fn a_complete_write_with_another_key_is_not_overwritten() {
    let dir = TempDir::new().unwrap();
    let new = seal::seal(&Secret::new("another-horse-battery-staple"), "erp", &entry(2)).unwrap();
    fs::write(dir.path().join("erp.new"), &new).unwrap();
    let locked = store(dir.path()).lock("erp", LONG).await;
    assert!(matches!(locked.map(|_| ()), Err(StateError::WrongKey { .. })));
    let both = FileStore::open(dir.path(), &keys(&[KEY, "another-horse-battery-staple"])).unwrap();
    assert_eq!(read(&both, "erp").await.unwrap(), Some(entry(2)));
}

#[tokio::test]
async fn the_next_write_removes_what_a_kill_left() {
    let dir = TempDir::new().unwrap();
    let store = store(dir.path());
    fs::write(dir.path().join("erp.new"), [0x5a; 1000]).unwrap();
    write(&store, "erp", &entry(1)).await;
    assert_eq!(names(dir.path()), HashSet::from(["erp.lock".to_owned(), "erp.grant".to_owned()]));
}

#[tokio::test]
async fn an_older_entry_left_behind_does_not_come_back() {
    let dir = TempDir::new().unwrap();
    let store = store(dir.path());
    write(&store, "erp", &entry(5)).await;
    let old = seal::seal(&Secret::new(KEY), "erp", &entry(4)).unwrap();
    fs::write(dir.path().join("erp.new"), old).unwrap();
    assert_eq!(read(&store, "erp").await.unwrap(), Some(entry(5)));
}

/// This test program as another process; killed when it is dropped.
struct OtherProcess(Child, Lines<BufReader<ChildStdout>>);

impl OtherProcess {
    fn start(role: &str, dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["state::tests::kills::the_other_process", "--exact", "--ignored", "--nocapture"])
            .env("ATTACHE_TEST_ROLE", role)
            .env("ATTACHE_TEST_DIR", dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self(child, lines)
    }

    /// Returns the next line that starts with `@`, unlike the lines of the test runner in it.
    fn says(&mut self) -> String {
        self.1.find_map(|line| line.unwrap().strip_prefix('@').map(str::to_owned)).unwrap()
    }
}

impl Drop for OtherProcess {
    /// SIGKILL.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
#[ignore = "runs only as the child of the tests below"]
async fn the_other_process() {
    let (Ok(role), Ok(dir)) = (std::env::var("ATTACHE_TEST_ROLE"), std::env::var("ATTACHE_TEST_DIR")) else {
        return;
    };
    let store = store(Path::new(&dir));
    let mut rotation = read(&store, "erp").await.unwrap().map_or(0, |entry| entry.revision);
    loop {
        let mut held = store.lock("erp", LONG).await.unwrap();
        held.prepare().await.unwrap();
        if role == "hold" {
            println!("\n@held");
            return std::future::pending().await;
        }
        rotation += 1;
        held.write(&entry(rotation)).await.unwrap();
        println!("\n@{rotation}");
    }
}

#[tokio::test]
async fn a_lock_excludes_another_process_and_dies_with_it() {
    let dir = TempDir::new().unwrap();
    let mut other = OtherProcess::start("hold", dir.path());
    assert_eq!(other.says(), "held");

    let store = store(dir.path());
    assert!(matches!(store.lock("erp", Duration::ZERO).await.err(), Some(StateError::Locked { .. })));
    drop(other);
    store.lock("erp", Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn a_sigkill_during_writes_loses_no_stored_entry() {
    let dir = TempDir::new().unwrap();
    for round in 0..12 {
        let mut other = OtherProcess::start("rotate", dir.path());
        let mut kept: u64 = other.says().parse().unwrap();
        for _ in 0..round % 4 {
            kept = other.says().parse().unwrap();
        }
        drop(other);
        let found = read(&store(dir.path()), "erp").await.unwrap().unwrap();
        assert!(found.revision >= kept, "{} after {kept}", found.revision);
        assert_eq!(found, entry(found.revision));
    }
}
