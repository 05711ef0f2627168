//! The configuration, for the commands that only look something up in it.

use crate::config::effective::Effective;
use crate::config::model::{Account, Authorization, Config, OAuth2};
use crate::config::{self, Loaded, Mode};
use crate::telemetry::logging::may_color;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

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
        Some(config) => {
            match loaded.problems.unread().count() {
                0 => {}
                1 => eprintln!("note: a secret can't be read; `attache check` says which"),
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

/// A good file, read without its secrets.
pub(super) struct Inspected {
    pub(super) config: Config,
    pub(super) effective: Effective,
}

/// Reads the file at `path`, or where `attache run` would find it, without its secrets.
///
/// # Errors
///
/// The exit status, once its problems have been printed on stderr.
pub(super) fn inspect(path: Option<&Path>) -> Result<Inspected, i32> {
    let found = path.map_or_else(config::default_path, |path| Ok(path.to_owned()));
    let found = found.map_err(|looked_for| {
        eprintln!("error: {looked_for}");
        1
    })?;
    match config::inspect(&found) {
        (Loaded { config: Some(config), .. }, Some(effective)) => Ok(Inspected { config, effective }),
        (loaded, _) => {
            eprint!("{}", loaded.problems.render_human(may_color(&std::io::stderr())));
            Err(1)
        }
    }
}

/// Every account by its name, those written in place (`services/NAME`) among them.
pub(super) fn accounts(config: &Config) -> BTreeMap<&str, &Arc<Account>> {
    let in_place = config.services.values().filter_map(|service| service.outbound.as_ref());
    let in_place = in_place.map(|outbound| (outbound.account.name.as_str(), &outbound.account));
    // The named ones last, which so win; but no name of theirs holds a slash.
    in_place.chain(config.accounts.iter().map(|(name, account)| (name.as_str(), account))).collect()
}

/// What an account asks tokens with, if it does.
pub(super) fn oauth2(account: &Account) -> Option<&OAuth2> {
    match &account.authorization {
        Authorization::OAuth2(oauth2) => Some(oauth2),
        _ => None,
    }
}

/// Returns the one of `known` that `name` may be a misspelling of.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|known| (strsim::damerau_levenshtein(known, name), known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
        .min()
        .map(|(_, known)| known)
}

/// A folder for refresh tokens was made, and only one user's processes can use it.
pub(super) fn warn_of_new_folder(dir: &Path) {
    let dir = dir.display();
    eprintln!("note: {dir} was made, and belongs to the user you are: `attache run` must be the same");
}
