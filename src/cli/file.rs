//! The configuration, for the commands that only look something up in it.

use crate::config::model::Config;
use crate::config::{self, Mode};
use std::path::Path;

/// Where the file was looked for and what was there.
pub(super) enum File {
    /// No `-c`, and nothing at the places `attache run` looks at: a sentence that lists them.
    Missing(String),
    /// It is there and means this.
    Valid(Box<Config>),
}

/// Reads the file at `path`, or where `attache run` would find it.
///
/// # Errors
///
/// The exit status, once its problems have been printed on stderr.
pub(super) fn read(path: Option<&Path>, mode: Mode) -> Result<File, i32> {
    let found = match path {
        Some(path) => path.to_owned(),
        None => match config::default_path() {
            Ok(path) => path,
            Err(looked_for) => return Ok(File::Missing(looked_for)),
        },
    };
    let loaded = config::load(&found, mode);
    match loaded.config {
        Some(config) => Ok(File::Valid(Box::new(config))),
        None => {
            eprint!("{}", loaded.problems.render_human(false));
            Err(1)
        }
    }
}
