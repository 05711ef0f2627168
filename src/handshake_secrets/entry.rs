//! The entry of a secret in the store.

use crate::secret::{Secret, sha256};
use crate::state::{Entry, HANDSHAKES, Peek, StateError, Store};
use std::time::{Duration, SystemTime};

/// Maximum time to wait for another process that keeps a secret at the same moment. Asana waits 10 s for the answer.
const WAIT: Duration = Duration::from_secs(3);

/// Returns the name of a service's entry in the store.
pub fn name(service: &str) -> String {
    format!("{HANDSHAKES}{service}")
}

/// Returns the secret that is kept for a service, and since when.
///
/// # Errors
/// Those of [`Store::peek`].
pub async fn kept(
    store: &dyn Store,
    service: &str,
    handshake: &'static str,
) -> Result<Option<(Secret, SystemTime)>, StateError> {
    let Peek::Found(entry, _) = store.peek(&name(service), None).await? else { return Ok(None) };
    Ok(secret_of(&entry, handshake).map(|secret| (secret.clone(), entry.obtained_at)))
}

/// Removes the secret of a service, so that the next handshake brings another one. Returns false if there is none.
///
/// # Errors
/// Those of [`Store::lock`] and of [`crate::state::LockedEntry::remove`].
pub async fn reset(store: &dyn Store, service: &str) -> Result<bool, StateError> {
    let name = name(service);
    let was_there = !matches!(store.peek(&name, None).await, Ok(Peek::Absent));
    store.lock(&name, WAIT).await?.remove().await?;
    Ok(was_there)
}

/// Stores a secret unless there is one, which is returned then.
pub(super) async fn first(
    store: &dyn Store,
    service: &str,
    handshake: &'static str,
    secret: &Secret,
    now: SystemTime,
) -> Result<Option<Secret>, StateError> {
    let mut locked = store.lock(&name(service), WAIT).await?;
    let before = locked.read().await?;
    if let Some(kept) = before.as_ref().and_then(|entry| secret_of(entry, handshake)) {
        return Ok(Some(kept.clone()));
    }
    locked.prepare().await?;
    let entry = Entry {
        bound_to: binding(handshake),
        revision: before.map_or(0, |entry| entry.revision) + 1,
        refresh_token: Some(secret.clone()),
        rotated: false,
        reusable: false,
        obtained_at: now,
        access: None,
        lost: None,
    };
    locked.write(&entry).await.map(|()| None)
}

/// Returns the secret of an entry, if the same handshake brought it.
pub(super) fn secret_of<'e>(entry: &'e Entry, handshake: &str) -> Option<&'e Secret> {
    entry.refresh_token.as_ref().filter(|_| entry.bound_to == binding(handshake))
}

fn binding(handshake: &str) -> [u8; 32] {
    sha256(format!("handshake {handshake}").as_bytes())
}
