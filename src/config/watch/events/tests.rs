use super::*;
use crate::config::files::Files;
use notify::event::{AccessMode, CreateKind, DataChange, Flag, RenameMode};
use std::io::Write as _;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);
const CLOSE: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));
const CREATE: EventKind = EventKind::Create(CreateKind::File);
const WRITE: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));

struct Case {
    _folder: TempDir,
    file: PathBuf,
    watches: Watches,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().canonicalize().unwrap().join("attache.yaml");
        fs::write(&file, "a").unwrap();
        let case = Self { _folder: folder, file, watches: Watches::new().unwrap() };
        case.arm();
        case
    }

    fn arm(&self) -> Armed {
        let mut files = Files::new(&self.file);
        let _unreadable = files.read(&self.file, 1 << 20);
        self.watches.arm(&Places::of(&files))
    }

    /// Returns the hints in the inbox after an event of the folder and one of the file, if given.
    fn hints(&self, of_folder: Option<EventKind>, of_file: Option<EventKind>) -> Vec<Hint> {
        let inbox = &self.watches.inbox;
        let event = |kind| Ok(Event::new(kind).add_path(self.file.clone()));
        if let Some(kind) = of_folder {
            inbox.receive(event(kind), Inbox::in_folder);
        }
        if let Some(kind) = of_file {
            inbox.receive(event(kind), Inbox::of_file);
        }
        std::mem::take(&mut inbox.lock().hints).into_values().collect()
    }

    fn writing(&self) -> Vec<Hint> {
        vec![Hint::Writing(self.file.clone())]
    }

    fn done(&self) -> Vec<Hint> {
        vec![Hint::Done(self.file.clone())]
    }
}

/// Returns the events of a watcher with this mask on one path.
fn watch(on: On, path: &Path) -> (WatchedPaths, Receiver<Event>) {
    let (sender, events) = mpsc::channel();
    let mut watched = WatchedPaths::new(on, move |event| drop(sender.send(event.unwrap()))).unwrap();
    assert!(watched.set([path.to_owned()].iter()).unwrap().failed.is_empty());
    (watched, events)
}

#[test]
fn a_files_own_watch_reports_its_close_until_it_is_replaced() {
    let case = Case::new();
    assert_eq!(case.hints(Some(CLOSE), None), []);
    assert_eq!(case.hints(Some(CLOSE), Some(WRITE)), case.writing());
    assert_eq!(case.hints(None, Some(CLOSE)), case.done());
    assert_eq!(case.hints(Some(CREATE), None), case.writing());
    assert_eq!(case.hints(None, Some(WRITE)), [Hint::Touched], "an event of the previous file");
    assert_eq!(case.hints(Some(CLOSE), None), case.done());
    case.arm();
    assert_eq!(case.hints(Some(CLOSE), Some(WRITE)), case.writing());
    let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::To));
    assert_eq!(case.hints(Some(renamed), None), case.done());
    assert_eq!(case.hints(Some(CLOSE), None), case.done());
}

#[test]
fn a_busy_writer_leaves_only_one_hint() {
    let case = Case::new();
    for _ in 0..1000 {
        case.watches.inbox.receive(Ok(Event::new(WRITE).add_path(case.file.clone())), Inbox::of_file);
    }
    assert_eq!(case.hints(None, Some(CLOSE)), case.done());
}

#[test]
fn lost_events_renew_every_watch() {
    let case = Case::new();
    assert!(!case.arm().is_new);
    let lost = Event::new(EventKind::Other).set_flag(Flag::Rescan);
    case.watches.inbox.receive(Ok(lost), Inbox::in_folder);
    assert_eq!(case.hints(None, None), [Hint::Touched]);
    assert!(case.arm().is_new && !case.arm().is_new);
}

#[test]
fn writes_to_a_file_that_stays_open_are_not_in_the_folder_mask() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = fs::File::create(folder.path().join("access.log")).unwrap();
    let (_watched, events) = watch(FOLDER, folder.path());
    for n in 0..1000 {
        writeln!(log, "line {n}").unwrap();
    }
    drop(log);
    let first = events.recv_timeout(PATIENCE).unwrap();
    assert_eq!(first.kind, CLOSE, "{first:?}");
}

#[test]
fn a_file_in_place_of_a_renamed_one_is_watched_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "a").unwrap();
    let (mut watched, events) = watch(FILE, &file);
    fs::rename(&file, folder.path().join("backup")).unwrap();
    fs::write(&file, "b").unwrap();
    assert!(watched.set([file.clone()].iter()).unwrap().is_new);
    assert!(!watched.set([file.clone()].iter()).unwrap().is_new);
    fs::write(&file, "c").unwrap();
    while events.recv_timeout(PATIENCE).unwrap().kind != WRITE {}
}
