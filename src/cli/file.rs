//! Reading of the configuration for commands that only look something up in it.

use crate::config::effective::Effective;
use crate::config::model::{Account, Authorization, Config, OAuth2};
use crate::config::{self, Loaded, Mode};
use crate::telemetry::logging::may_color;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The result of looking for the file.
pub(super) enum File {
    /// No `-c`, and no file at the default paths: a sentence that lists them.
    Missing(String),
    /// The configuration.
    Valid(Box<Config>),
}

/// Reads the file at `path`, or at the default path of `attache run`.
///
/// # Errors
///
/// The exit status, after its problems were printed on stderr.
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
        Some(config) => {
            match loaded.problems.unread().count() {
                0 => {}
                1 => eprintln!("note: a secret can't be read; `attache check` names it"),
                more => eprintln!("note: {more} secrets can't be read; `attache check` lists them"),
            }
            Ok(File::Valid(Box::new(config)))
        }
        None => {
            eprint!("{}", loaded.problems.render_human(may_color(&std::io::stderr())));
            Err(1)
        }
    }
}

/// Reads the file at `path`, or at the default path of `attache run`; a missing file is an error.
///
/// # Errors
///
/// The exit status, after the error was printed on stderr.
pub(super) fn require(path: Option<&Path>, mode: Mode) -> Result<Box<Config>, i32> {
    match read(path, mode)? {
        File::Valid(config) => Ok(config),
        File::Missing(looked_for) => {
            eprintln!("error: {looked_for}");
            Err(1)
        }
    }
}

/// A valid file, read without its secrets.
pub(super) struct InspectedFile {
    pub(super) config: Config,
    pub(super) effective: Effective,
}

/// Reads the file at `path`, or at the default path of `attache run`, without its secrets.
///
/// # Errors
///
/// The exit status, after its problems were printed on stderr.
pub(super) fn inspect(path: Option<&Path>) -> Result<InspectedFile, i32> {
    let found = path.map_or_else(config::default_path, |path| Ok(path.to_owned()));
    let found = found.map_err(|looked_for| {
        eprintln!("error: {looked_for}");
        1
    })?;
    match config::inspect(&found) {
        (Loaded { config: Some(config), .. }, Some(effective)) => Ok(InspectedFile { config, effective }),
        (loaded, _) => {
            eprint!("{}", loaded.problems.render_human(may_color(&std::io::stderr())));
            Err(1)
        }
    }
}

/// Returns every account by its name, including those written in place (`services/NAME`).
pub(super) fn accounts(config: &Config) -> BTreeMap<&str, &Arc<Account>> {
    let in_place = config.services.values().filter_map(|service| service.outbound.as_ref());
    let in_place = in_place.map(|outbound| (outbound.account.name.as_str(), &outbound.account));
    // The named ones last, so they take precedence; but none of their names contains a slash.
    in_place.chain(config.accounts.iter().map(|(name, account)| (name.as_str(), account))).collect()
}

/// Returns the OAuth2 settings of an account, if it has any.
pub(super) fn oauth2(account: &Account) -> Option<&OAuth2> {
    match &account.authorization {
        Authorization::OAuth2(oauth2) => Some(oauth2),
        _ => None,
    }
}

/// Returns the one of `known` that `name` may be a misspelling of, in any case.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|known| (strsim::damerau_levenshtein(&known.to_lowercase(), &name.to_lowercase()), known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
        .min()
        .map(|(_, known)| known)
}

/// Warns that a folder for refresh tokens was created, which only processes of one user can use.
pub(super) fn warn_of_new_folder(dir: &Path) {
    let dir = dir.display();
    eprintln!(
        "note: {dir} was created and belongs to the current user; `attache run` must run as the same user"
    );
}
