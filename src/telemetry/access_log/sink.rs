//! The destination of lines: stdout, or a file that another program may rename.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Minimum time between two look-ups of a file's name.
const LOOK_UP_EVERY: Duration = Duration::from_secs(1);

/// Minimum time between two reports of a failing sink.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// The destination that the writer thread writes to.
pub(super) trait Sink: Send {
    /// Writes some of the bytes, in one call.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Reports that a write failed and its lines are lost; `torn` if the written bytes end within a line.
    fn failed(&mut self, error: &io::Error, torn: bool);
}

/// File descriptor 1, without the line buffer and lock of [`std::io::stdout`].
pub(super) struct Stdout {
    file: File,
    /// The reader closed the pipe.
    closed: bool,
    report: LossReport,
}

impl Stdout {
    pub(super) fn open() -> io::Result<Self> {
        let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Ok(Self { file, closed: false, report: LossReport::default() })
    }
}

impl Sink for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.closed {
            return Err(ErrorKind::BrokenPipe.into());
        }
        self.file.write(bytes)
    }

    fn failed(&mut self, error: &io::Error, _torn: bool) {
        if !self.closed {
            self.report.say(error);
        }
        self.closed = error.kind() == ErrorKind::BrokenPipe;
    }
}

/// A file that is opened again by its name after a rotation.
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    looked_up: Instant,
    look_up_every: Duration,
    /// The last line is incomplete: the next one must start on a new line.
    torn: bool,
    report: LossReport,
}

impl LogFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::open_checked_every(path, LOOK_UP_EVERY)
    }

    pub(super) fn open_checked_every(path: &Path, look_up_every: Duration) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: append_to(path)?,
            looked_up: Instant::now(),
            look_up_every,
            torn: false,
            report: LossReport::default(),
        })
    }

    /// Opens the name again if it refers to another file. On failure continues with the old one: a line in a renamed
    /// file is better than none.
    fn follow_name(&mut self) {
        if self.looked_up.elapsed() < self.look_up_every {
            return;
        }
        self.looked_up = Instant::now();
        if self.is_current() {
            return;
        }
        match append_to(&self.path) {
            Ok(file) => {
                self.file = file;
                self.torn = false;
            }
            Err(error) => self.report.say(&error),
        }
    }

    fn is_current(&self) -> bool {
        let (Ok(named), Ok(open)) = (self.path.metadata(), self.file.metadata()) else { return false };
        (named.dev(), named.ino()) == (open.dev(), open.ino())
    }
}

impl Sink for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.follow_name();
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        self.file.write(bytes)
    }

    fn failed(&mut self, error: &io::Error, torn: bool) {
        self.torn |= torn;
        self.report.say(error);
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// Logs that lines are being lost, at a limited rate.
#[derive(Default)]
struct LossReport {
    last: Option<Instant>,
}

impl LossReport {
    fn say(&mut self, error: &io::Error) {
        if self.last.is_none_or(|last| last.elapsed() >= REPORT_EVERY) {
            self.last = Some(Instant::now());
            tracing::warn!(%error, "the access log can't be written; its lines are lost");
        }
    }
}
