use super::*;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

/// So long that only an event can be the reason.
const NEVER: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(30);

async fn expect_change(watcher: &mut Watcher) {
    tokio::time::timeout(PATIENCE, watcher.changed()).await.expect("the change is noticed");
}

fn file_in(folder: &TempDir, text: &str) -> PathBuf {
    let file = folder.path().join("attache.yaml");
    fs::write(&file, text).unwrap();
    file
}

#[tokio::test]
async fn a_file_written_in_place_is_noticed_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a");
    let mut watcher = Watcher::start(std::slice::from_ref(&file), NEVER);
    for text in ["b", "c"] {
        fs::write(&file, text).unwrap();
        expect_change(&mut watcher).await;
    }
}

#[tokio::test]
async fn an_editors_rename_over_the_file_is_noticed_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a");
    let mut watcher = Watcher::start(std::slice::from_ref(&file), NEVER);
    for text in ["b", "c"] {
        let new = folder.path().join(".attache.yaml.swp");
        fs::write(&new, text).unwrap();
        fs::rename(&new, &file).unwrap();
        expect_change(&mut watcher).await;
    }
}

#[tokio::test]
async fn a_kubernetes_swap_of_the_data_link_is_noticed_each_time() {
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
    let mut watcher = Watcher::start(&[file], NEVER);
    for n in 2..4 {
        version(n);
        fs::remove_dir_all(folder.path().join(format!("..{}", n - 1))).unwrap();
        expect_change(&mut watcher).await;
    }
}

#[tokio::test]
async fn a_folder_removed_and_made_again_is_noticed() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("conf");
    let file = folder.join("attache.yaml");
    fs::create_dir(&folder).unwrap();
    fs::write(&file, "a").unwrap();
    let mut watcher = Watcher::start(&[folder.clone(), file.clone()], NEVER);
    fs::remove_dir_all(&folder).unwrap();
    expect_change(&mut watcher).await;
    fs::create_dir(&folder).unwrap();
    fs::write(&file, "b").unwrap();
    expect_change(&mut watcher).await;
    fs::write(&file, "c").unwrap();
    expect_change(&mut watcher).await;
}

#[tokio::test]
async fn a_file_added_to_the_folder_is_noticed_and_a_hidden_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a");
    let path = folder.path().to_owned();
    let before = contents(&[path.clone(), file.clone()]);
    fs::write(folder.path().join(".b.yaml"), "").unwrap();
    fs::write(folder.path().join("b.yml"), "").unwrap();
    assert_eq!(contents(&[path.clone(), file.clone()]), before);
    let mut watcher = Watcher::start(&[path, file], NEVER);
    fs::write(folder.path().join("b.yaml"), "").unwrap();
    expect_change(&mut watcher).await;
}

#[tokio::test]
async fn a_rotated_secret_is_noticed_once_the_watcher_knows_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a");
    let secret = folder.path().join("later").join("secret");
    let mut watcher = Watcher::start(std::slice::from_ref(&file), NEVER);
    watcher.rearm(&[file, secret.clone()]);
    fs::create_dir(folder.path().join("later")).unwrap();
    fs::write(&secret, "one").unwrap();
    expect_change(&mut watcher).await;
    fs::write(&secret, "two").unwrap();
    expect_change(&mut watcher).await;
}

#[tokio::test]
async fn a_change_between_reading_and_rearming_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a");
    let mut watcher = Watcher::start(std::slice::from_ref(&file), NEVER);
    fs::write(&file, "b").unwrap();
    watcher.rearm(&[file]);
    expect_change(&mut watcher).await;
}

#[tokio::test]
async fn the_poll_notices_what_no_event_tells_and_identical_content_is_no_change() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a");
    let mut watcher = Watcher::start(std::slice::from_ref(&file), Duration::from_millis(20));
    let silent = |watcher: &mut Watcher| {
        watcher.armed = None;
        watcher.events = Arc::new(Notify::new());
    };
    silent(&mut watcher);
    fs::write(&file, "a").unwrap();
    let quiet = tokio::time::timeout(Duration::from_millis(800), watcher.changed()).await;
    assert!(quiet.is_err(), "the same bytes are no change");
    silent(&mut watcher);
    fs::write(&file, "b").unwrap();
    expect_change(&mut watcher).await;
}

#[tokio::test]
async fn a_dropped_wait_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = file_in(&folder, "a");
    let mut watcher = Watcher::start(std::slice::from_ref(&file), NEVER);
    fs::write(&file, "b").unwrap();
    for _ in 0..20 {
        let waited = tokio::time::timeout(Duration::from_millis(5), watcher.changed()).await;
        assert!(waited.is_err(), "the content has not rested yet");
    }
    expect_change(&mut watcher).await;
}
