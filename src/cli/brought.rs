//! The secrets that providers bring in a handshake, as far as this machine can tell.

use crate::config::model::Config;
use crate::handshake_secrets;
use crate::state::FileStore;

/// Returns true if the store has no secret for the webhook of `service`, whose handshake brings one. False if nothing is
/// known: without the folder, and if this user can't read it, a service manager may have given another one to attache.
pub(super) fn is_awaited(config: &Config, service: &str) -> bool {
    let Some(state) = &config.state else { return false };
    std::fs::read_dir(&state.dir).is_ok()
        && !FileStore::has_entry(&state.dir, &handshake_secrets::name(service))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Mode, load};
    use std::fs;

    #[test]
    fn a_secret_is_awaited_while_a_readable_folder_lacks_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("attache.yaml");
        fs::write(folder.path().join("key"), "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=").unwrap();
        fs::write(&path, "state: { dir: state, key: { file: key } }").unwrap();
        let loaded = load(&path, Mode::Full);
        let config = loaded.config.unwrap_or_else(|| panic!("{}", loaded.problems.render_human(false)));
        assert!(!is_awaited(&config, "a"), "there is no folder");
        let store = folder.path().join("state");
        fs::create_dir(&store).unwrap();
        assert!(is_awaited(&config, "a"));
    }
}
