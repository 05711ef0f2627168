//! `attache urls --show-handshake` and `--reset-handshake`: the secret that a provider brought.

use crate::cli::file;
use crate::cli::stdout;
use crate::config::Mode;
use crate::config::model::Config;
use crate::error_chain::Chain;
use crate::handshake_secrets;
use crate::state::{FileStore, StateError};
use std::io;
use std::path::{Path, PathBuf};

/// The act on the secret.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    Show,
    Reset,
}

#[derive(Debug, thiserror::Error)]
enum HandshakeSecretError {
    #[error("there is no service `{0}`{1}")]
    NoService(String, String),
    #[error("the webhook of `{0}` has no handshake that brings a secret: `asana` and `notion` do")]
    NoHandshake(String),
    #[error("`state.key` can't be read; `attache check` says why")]
    NoState,
    #[error(
        "{dir} has no secret of `{service}`: set the webhook up at the provider, with the URL of `attache keys new`",
        dir = dir.display()
    )]
    NoSecret { service: String, dir: PathBuf },
    #[error("the store of the secret (state.dir)")]
    State(#[from] StateError),
    #[error("can't start")]
    Io(#[from] io::Error),
}

/// Carries out the act; returns the exit status.
pub(super) fn run(act: Act, service: &str, path: Option<&Path>) -> i32 {
    let config = match file::require(path, Mode::Full) {
        Ok(config) => config,
        Err(status) => return status,
    };
    match carry_out(act, service, &config) {
        Ok(text) => stdout::write(text.as_bytes()),
        Err(error) => {
            eprintln!("error: {}", Chain(&error));
            1
        }
    }
}

fn carry_out(act: Act, service: &str, config: &Config) -> Result<String, HandshakeSecretError> {
    let handshake = find(config, service)?;
    let state =
        config.state.as_ref().filter(|state| !state.keys.is_empty()).ok_or(HandshakeSecretError::NoState)?;
    let no_secret = || HandshakeSecretError::NoSecret { service: service.to_owned(), dir: state.dir.clone() };
    if !state.dir.exists() {
        // A folder that this command made could belong to another user than attache's.
        return Err(no_secret());
    }
    let store = FileStore::open(&state.dir, &state.keys)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match act {
        Act::Show => {
            let kept = runtime.block_on(handshake_secrets::kept(&store, service, handshake))?;
            let (secret, _) = kept.ok_or_else(no_secret)?;
            eprintln!("note: this is a secret; the provider's page that asks for it is its only other place");
            Ok(format!("{}\n", secret.expose()))
        }
        Act::Reset => {
            let was_there = runtime.block_on(handshake_secrets::reset(&store, service))?;
            let removed = if was_there { "the secret is removed" } else { "there was no secret" };
            Ok(format!(
                "{service}: {removed}; the next handshake brings one. A running attache notices within seconds, and \
                 refuses deliveries until then.\n"
            ))
        }
    }
}

/// Returns the name of the service's handshake, if that brings a secret.
fn find(config: &Config, service: &str) -> Result<&'static str, HandshakeSecretError> {
    if let Some((_, handshake)) = config.brought_secrets().find(|(name, _)| *name == service) {
        return Ok(handshake);
    }
    let Some(found) = config.services.get(service) else {
        let hint = file::nearest(service, config.services.keys().map(String::as_str));
        let hint = hint.map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
        return Err(HandshakeSecretError::NoService(service.to_owned(), hint));
    };
    // A webhook that is blocked has no handshake.
    let is_blocked = found.webhook.as_ref().is_some_and(|webhook| {
        webhook.unread.as_ref().is_some_and(|unread| unread.blocks) && webhook.handshake.is_none()
    });
    Err(if is_blocked {
        HandshakeSecretError::NoState
    } else {
        HandshakeSecretError::NoHandshake(service.to_owned())
    })
}
