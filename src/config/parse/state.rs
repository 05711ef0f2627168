//! `state`: the store of refresh tokens, and the keys that seal them.

use crate::config::decode::{At, Decoder};
use crate::config::model::StateStore;
use crate::config::secrets::Failure;
use crate::secret::Secret;
use std::path::{Path, PathBuf};

/// 22 characters of base64 hold 128 bits.
const MIN_KEY_LENGTH: usize = 22;
/// The current key, the previous one, and one more while several processes read different versions of the file.
const MAX_KEYS: usize = 3;

pub(super) fn state(decoder: &Decoder<'_>, at: &At<'_>) -> Option<StateStore> {
    let map = decoder.mapping(at)?;
    let dir = match map.get("dir") {
        Some(dir) => decoder.string(&dir).map(|path| decoder.resolve(&dir, path)),
        None => Some(default_dir(decoder)),
    };
    let help = "`openssl rand -base64 32` creates one: `key: { file: PATH }`";
    let keys = decoder.required_or(&map, "key", Some(help)).and_then(|at| keys(decoder, &at));
    Some(StateStore { dir: dir?, keys: keys? })
}

fn keys(decoder: &Decoder<'_>, at: &At<'_>) -> Option<Vec<Secret>> {
    let keys = decoder.secrets(at, MAX_KEYS, |at, key| {
        if key.expose().chars().count() >= MIN_KEY_LENGTH {
            return Ok(());
        }
        let message = format!("{at} is too short for a secret key");
        let (label, help) = ("a key has at least 22 characters", "`openssl rand -base64 32` creates one");
        Err(Failure::malformed("invalid_secret", message, label, Some(help)))
    })?;
    Some(keys.into_iter().map(|(secret, _)| secret).collect())
}

/// Returns the first folder of systemd's `StateDirectory=`; else `state` beside the configuration.
fn default_dir(decoder: &Decoder<'_>) -> PathBuf {
    let given = decoder.secrets.env_if_set("STATE_DIRECTORY");
    match given.as_deref().and_then(|all| all.split(':').find(|dir| !dir.is_empty())) {
        Some(dir) => dir.into(),
        None => decoder.sources.first().and_then(|s| s.path.parent()).unwrap_or(Path::new("")).join("state"),
    }
}
