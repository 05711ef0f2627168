use super::*;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// So long that only an event can be the reason.
const NEVER: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(30);

/// Returns the readings of a loader: the first of the paths is the configuration.
fn read(paths: &[&Path]) -> Files {
    let mut files = Files::new(paths[0]);
    for path in
        files.list().ok().flatten().unwrap_or_default().iter().map(PathBuf::as_path).chain(paths.to_vec())
    {
        let _unreadable = files.read(path, 1 << 20);
    }
    files
}

fn watch(paths: &[&Path]) -> Watcher {
    Watcher::start(read(paths), NEVER, Arc::default())
}

/// Expects that the change is detected, and reads the files again.
async fn expect_reload(watcher: &mut Watcher, paths: &[&Path]) {
    expect_change(watcher).await;
    watcher.reread(read(paths));
}

async fn expect_change(watcher: &mut Watcher) {
    tokio::time::timeout(PATIENCE, watcher.changed()).await.expect("the change is detected");
}

fn file_in(folder: &TempDir, text: &str) -> PathBuf {
    let file = folder.path().join("attache.yaml");
    fs::write(&file, text).unwrap();
    file
}

#[tokio::test]
async fn a_file_written_in_place_is_detected_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a");
    let mut watcher = watch(&[&file]);
    for text in ["b", "c"] {
        fs::write(&file, text).unwrap();
        expect_reload(&mut watcher, &[&file]).await;
    }
}

#[tokio::test]
async fn an_editors_rename_over_the_file_is_detected_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a");
    let mut watcher = watch(&[&file]);
    for text in ["b", "c"] {
        let new = folder.path().join(".attache.yaml.swp");
        fs::write(&new, text).unwrap();
        fs::rename(&new, &file).unwrap();
        expect_reload(&mut watcher, &[&file]).await;
    }
}

#[tokio::test]
async fn a_kubernetes_swap_of_the_data_link_is_detected_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let version = |n: usize| {
        let data = folder.path().join(format!("..{n}"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("key"), n.to_string()).unwrap();
        let link = folder.path().join("..data_tmp");
        symlink(format!("..{n}"), &link).unwrap();
        fs::rename(link, folder.path().join("..data")).unwrap();
    };
    version(1);
    symlink("..data/key", folder.path().join("key")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("linked");
    symlink(folder.path().join("key"), &file).unwrap();
    let mut watcher = watch(&[&file]);
    for n in 2..4 {
        version(n);
        fs::remove_dir_all(folder.path().join(format!("..{}", n - 1))).unwrap();
        expect_reload(&mut watcher, &[&file]).await;
    }
}

#[tokio::test]
async fn a_recreated_folder_is_detected() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("conf");
    let file = folder.join("attache.yaml");
    fs::create_dir(&folder).unwrap();
    fs::write(&file, "a").unwrap();
    let paths = [folder.as_path(), &file];
    let mut watcher = watch(&paths);
    fs::remove_dir_all(&folder).unwrap();
    expect_reload(&mut watcher, &paths).await;
    fs::create_dir(&folder).unwrap();
    fs::write(&file, "b").unwrap();
    expect_reload(&mut watcher, &paths).await;
    fs::write(&file, "c").unwrap();
    expect_reload(&mut watcher, &paths).await;
}

#[tokio::test]
async fn a_file_added_to_the_folder_is_detected() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a");
    let paths = [folder.path(), &file];
    let mut watcher = watch(&paths);
    for name in ["b.yaml", "c.yml"] {
        fs::write(folder.path().join(name), "").unwrap();
        expect_reload(&mut watcher, &paths).await;
    }
}

#[tokio::test]
async fn a_missing_secret_that_appears_and_is_rotated_is_detected() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a");
    let secret = folder.path().join("later").join("secret");
    let mut watcher = watch(&[&file]);
    let paths = [file.as_path(), &secret];
    watcher.reread(read(&paths));
    fs::create_dir(folder.path().join("later")).unwrap();
    fs::write(&secret, "one").unwrap();
    expect_reload(&mut watcher, &paths).await;
    fs::write(&secret, "two").unwrap();
    expect_change(&mut watcher).await;
}

#[tokio::test]
async fn a_change_between_reading_and_watching_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a");
    let first = read(&[&file]);
    fs::write(&file, "b").unwrap();
    let mut watcher = Watcher::start(first, NEVER, Arc::default());
    expect_change(&mut watcher).await;
    let second = read(&[&file]);
    fs::write(&file, "c").unwrap();
    watcher.reread(second);
    expect_change(&mut watcher).await;
}

#[tokio::test]
async fn a_file_that_is_open_for_writing_is_not_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a");
    let mut watcher = watch(&[&file]);
    let pause = async |watcher: &mut Watcher| {
        let quiet = tokio::time::timeout(Duration::from_millis(900), watcher.changed()).await;
        assert!(quiet.is_err(), "the writer has not closed it");
    };
    let mut writer = fs::File::create(&file).unwrap();
    writer.write_all(b"half").unwrap();
    pause(&mut watcher).await;
    writer.write_all(b" and half").unwrap();
    drop(writer);
    expect_reload(&mut watcher, &[&file]).await;
    // The same for a new file in its place.
    fs::remove_file(&file).unwrap();
    let mut writer = fs::File::create(&file).unwrap();
    writer.write_all(b"another half").unwrap();
    pause(&mut watcher).await;
    drop(writer);
    expect_change(&mut watcher).await;
}

#[tokio::test]
async fn the_poll_detects_a_change_without_an_event_and_ignores_equal_content() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a");
    let mut watcher = Watcher::start(read(&[&file]), Duration::from_millis(20), Arc::default());
    let silent = async |watcher: &mut Watcher, patience| {
        let changed = async {
            loop {
                // Renewed at each look, and dropped before any event is received.
                watcher.watches = None;
                let at = watcher.rest.next_look();
                tokio::time::sleep_until(at).await;
                if watcher.look().await {
                    return;
                }
            }
        };
        tokio::time::timeout(patience, changed).await
    };
    fs::write(&file, "a").unwrap();
    let quiet = silent(&mut watcher, Duration::from_millis(800)).await;
    assert!(quiet.is_err(), "equal bytes are not a change");
    fs::write(&file, "b").unwrap();
    silent(&mut watcher, PATIENCE).await.expect("the change is detected");
}

#[tokio::test]
async fn a_dropped_wait_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a");
    let mut watcher = watch(&[&file]);
    fs::write(&file, "b").unwrap();
    let patience = Instant::now() + PATIENCE;
    while tokio::time::timeout(Duration::from_millis(5), watcher.changed()).await.is_err() {
        assert!(Instant::now() < patience, "the change is detected");
    }
}

#[tokio::test]
async fn appending_to_a_neighbour_causes_no_hint_and_no_look() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a");
    let mut watcher = watch(&[&file]);
    let quiet = async |watcher: &mut Watcher| {
        let _nothing = tokio::time::timeout(Duration::from_millis(600), watcher.changed()).await;
    };
    quiet(&mut watcher).await;
    let at_rest = watcher.rest.next_look();
    let log = folder.path().join("access.log");
    for n in 0..1000 {
        let mut log = fs::File::options().create(true).append(true).open(&log).unwrap();
        writeln!(log, "line {n}").unwrap();
    }
    quiet(&mut watcher).await;
    assert_eq!(watcher.rest.next_look(), at_rest, "only the poll is due");
}

#[tokio::test]
async fn a_neighbour_that_is_kept_open_causes_no_hint() {
    // Two levels down: other tests create folders beside the upper one.
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("conf");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("attache.yaml");
    fs::write(&file, "a").unwrap();
    let mut log = fs::File::create(folder.join("access.log")).unwrap();
    let watcher = watch(&[&file]);
    for n in 0..1000 {
        writeln!(log, "line {n}").unwrap();
    }
    let watches = watcher.watches.as_ref().expect("a watcher");
    let hint = tokio::time::timeout(Duration::from_millis(100), watches.hints()).await;
    assert!(hint.is_err(), "nothing wakes the watcher: {hint:?}");
}
