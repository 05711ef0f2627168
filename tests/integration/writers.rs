//! Fifty changes (five without `ATTACHE_FULL=1`) by each of six ways of writing a file, under load, the first as soon
//! as attache is ready: every change is applied, none is read half-written, and no request fails.

use crate::harness::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// A way of writing a file.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    InPlace,
    Rename,
    /// A Kubernetes volume: the file is a link through `..data`, which is swapped.
    DataLink,
    /// git-sync: the folder is a link to a work tree.
    WorkTree,
    FolderReplaced,
    /// The old file becomes a backup, and a new one is written.
    Editor,
}

impl Way {
    /// Returns the path that attache is given.
    fn path(self, base: &Path) -> PathBuf {
        match self {
            Self::WorkTree => base.join("current/attache.yaml"),
            Self::FolderReplaced => base.join("conf/attache.yaml"),
            _ => base.join("attache.yaml"),
        }
    }

    fn write(self, base: &Path, nth: usize, text: &str) {
        let path = self.path(base);
        let version = base.join(format!("..v{nth}"));
        let in_version = || {
            fs::create_dir_all(&version).expect("a folder");
            fs::write(version.join("attache.yaml"), text).expect("write");
        };
        let point = |link: &Path| {
            let beside = base.join("..link");
            symlink(format!("..v{nth}"), &beside).expect("a link");
            fs::rename(&beside, link).expect("rename");
        };
        match self {
            Self::InPlace => fs::write(&path, text).expect("write"),
            Self::Rename => {
                fs::write(base.join("attache.yaml.tmp"), text).expect("write");
                fs::rename(base.join("attache.yaml.tmp"), &path).expect("rename");
            }
            Self::DataLink => {
                in_version();
                point(&base.join("..data"));
                if !path.exists() {
                    symlink("..data/attache.yaml", &path).expect("a link");
                }
            }
            Self::WorkTree => {
                in_version();
                point(&base.join("current"));
            }
            Self::FolderReplaced => {
                in_version();
                if base.join("conf").exists() {
                    fs::rename(base.join("conf"), base.join(format!("..old{nth}"))).expect("rename");
                }
                fs::rename(&version, base.join("conf")).expect("rename");
            }
            Self::Editor => {
                if path.exists() {
                    fs::rename(&path, base.join("attache.yaml~")).expect("rename");
                }
                fs::write(&path, text).expect("write");
            }
        }
    }
}

/// Returns a file in which `/nth/N` answers 200, and every other path 404.
fn text(nth: usize, third_party: &str, bad: bool) -> String {
    format!(
        "listen: {{ outbound: 127.0.0.1:0, webhooks: 127.0.0.1:0, admin: 127.0.0.1:0 }}\n\
         services:\n  mailer: {{ account: {{ authorization: none }}, server_url: '{third_party}' }}\n  \
         n{nth}: {{ account: {{ authorization: none }}, server_url: '{third_party}' }}\n{}",
        if bad { "servces: {}\n" } else { "" }
    )
}

async fn every_change_is_applied(way: Way) {
    let count = if full("fifty changes instead of five") { 50 } else { 5 };
    let folder = tempfile::tempdir().expect("a folder");
    let base = folder.path().to_owned();
    let third_party = third_party().counts_bodies();
    let url = third_party.url();
    way.write(&base, 0, &text(0, &url, false));
    let attache = attache().at(&way.path(&base)).await;
    let (outbound, stop, sent) =
        (attache.outbound(), Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut load = JoinSet::new();
    for _ in 0..4 {
        let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
        load.spawn(async move {
            let mut connection = Connection::open(outbound).await;
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(connection.exchange(get("/mailer/x")).await.status, 200);
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut slowest = Duration::ZERO;
    for nth in 1..=count {
        if nth % 5 == 0 {
            let before = attache.reloads("rejected").await;
            way.write(&base, 1000 + nth, &text(1000 + nth, &url, true));
            attache.reloaded("rejected", before).await;
            assert_eq!(attache.send(get(format!("/n{}/x", nth - 1))).await.status, 200, "it changes nothing");
        }
        let written = Instant::now();
        way.write(&base, nth, &text(nth, &url, false));
        let seen = async || (attache.send(get(format!("/n{nth}/x"))).await.status == 200).then_some(());
        eventually(&format!("change {nth}, written {way:?}"), seen).await;
        slowest = slowest.max(written.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended.expect("no request failed");
    }
    println!(
        "{way:?}: {count} changes, the slowest seen after {slowest:?}, {} requests",
        sent.load(Ordering::Relaxed)
    );
    assert!(slowest < Duration::from_secs(2), "{way:?}: {slowest:?}");
    assert_eq!(attache.reloads("rejected").await as usize, count / 5, "no half of a file was read");
}

#[tokio::test]
async fn a_file_written_in_place() {
    every_change_is_applied(Way::InPlace).await;
}

#[tokio::test]
async fn a_file_renamed_over() {
    every_change_is_applied(Way::Rename).await;
}

#[tokio::test]
async fn a_data_link_swapped() {
    every_change_is_applied(Way::DataLink).await;
}

#[tokio::test]
async fn a_work_tree_swapped() {
    every_change_is_applied(Way::WorkTree).await;
}

#[tokio::test]
async fn a_folder_replaced() {
    every_change_is_applied(Way::FolderReplaced).await;
}

#[tokio::test]
async fn a_file_saved_by_an_editor() {
    every_change_is_applied(Way::Editor).await;
}
