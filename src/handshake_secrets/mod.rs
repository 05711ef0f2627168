//! Secrets that providers bring in a handshake: kept sealed in the [store](crate::state), shared by all processes that
//! use its folder, and given to the signatures of the webhook.
//!
//! # Invariants
//!
//! - The store is the truth. A secret is found to be the first one under the entry's lock, so if two processes
//!   are asked at once, one keeps its secret, and the other finds it.
//! - A secret is on the disk before it is acknowledged to the provider: an acknowledged one that is lost would leave the
//!   webhook without a way to verify anything.
//! - A kept secret is replaced by nothing but [`reset`]: a client that knows the URL can't bring another one.
//!
//! # Costs
//!
//! A process looks every other second, and for each request as long as it has no secret. A look is one `stat`, without
//! the lock.

mod entry;
#[cfg(test)]
mod tests;

pub use entry::{kept, name, reset};

use crate::error_chain::Chain;
use crate::log_limit::LogLimit;
use crate::secret::Secret;
use crate::signature::{SecretFault, Verifier};
use crate::state::{Entry, Peek, Stamp, StateError, StoreSlot};
use arc_swap::ArcSwap;
use entry::{first, secret_of};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

/// The secret of one webhook.
pub struct HandshakeSecret {
    service: String,
    /// The name of the handshake.
    handshake: &'static str,
    store: StoreSlot,
    /// The signatures that use the secret.
    verifier: Option<Verifier>,
    known: ArcSwap<KnownSecret>,
    /// Number of other secrets that were ignored.
    ignored: Arc<AtomicU64>,
    /// The log lines about them.
    log_limit: LogLimit,
}

/// The result of the last look into the store.
#[derive(Default)]
struct KnownSecret {
    /// False before the first look.
    is_known: bool,
    stamp: Option<Stamp>,
    state: SecretState,
}

#[derive(Default)]
enum SecretState {
    #[default]
    Waiting,
    Kept {
        digest: [u8; 32],
        since: SystemTime,
        verifier: Option<Arc<Verifier>>,
    },
    Unusable(KeepError),
}

/// The reason why a secret can't be kept or used. Holds no secret.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeepError {
    /// The store failed.
    #[error("the secret of the handshake can't be read or written")]
    Store(#[source] Arc<StateError>),
    /// No store is open.
    #[error("the store of the state is not open")]
    Closed,
    /// The request's deadline passed.
    #[error("the store did not answer in time")]
    Late,
    /// The scheme of `verify` can't use the secret.
    #[error("the secret that the provider brought can't be one of the scheme of `verify`")]
    Unfit(#[source] SecretFault),
}

/// The result of keeping a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// The secret is the first one.
    First,
    /// The secret is the kept one: the provider repeats its question.
    Again,
    /// Another secret is kept, and stays.
    Ignored,
}

/// The state of a secret, for reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// `waiting`, `kept` or `unusable`.
    pub state: &'static str,
    /// The time at which the secret came.
    pub since: Option<SystemTime>,
    /// Number of other secrets that this process ignored.
    pub ignored: u64,
}

impl HandshakeSecret {
    /// Prepares the secret of a service's webhook. Knowledge from before a reload is taken over.
    pub fn new(
        service: &str,
        handshake: &'static str,
        verifier: Option<Verifier>,
        store: StoreSlot,
        before: Option<&Self>,
    ) -> Self {
        let before = before.filter(|before| before.handshake == handshake);
        // Without the stamp, the next look builds the verifier anew.
        let same = before.filter(|before| before.verifier == verifier);
        Self {
            service: service.to_owned(),
            handshake,
            store,
            known: ArcSwap::new(same.map_or_else(Arc::default, |before| before.known.load_full())),
            ignored: before.map(|before| Arc::clone(&before.ignored)).unwrap_or_default(),
            verifier,
            log_limit: LogLimit::default(),
        }
    }

    /// Returns the verifier with the secret. `None`: there is no secret yet, or it can't be used.
    pub fn verifier(&self) -> Option<Arc<Verifier>> {
        match &self.known.load().state {
            SecretState::Kept { verifier, .. } => verifier.clone(),
            SecretState::Waiting | SecretState::Unusable(_) => None,
        }
    }

    /// Returns true if the secret signs the deliveries.
    pub fn signs(&self) -> bool {
        self.verifier.is_some()
    }

    /// Returns the state for reports.
    pub fn status(&self) -> Status {
        let (state, since) = match &self.known.load().state {
            SecretState::Waiting => ("waiting", None),
            SecretState::Kept { since, .. } => ("kept", Some(*since)),
            SecretState::Unusable(_) => ("unusable", None),
        };
        Status { state, since, ignored: self.ignored.load(Relaxed) }
    }

    /// Looks into the store, and takes up what another process kept or removed.
    ///
    /// # Errors
    /// The reason why the secret can't be used.
    pub async fn look(&self) -> Result<(), KeepError> {
        let known = self.known.load_full();
        let store = self.store.get().ok_or(KeepError::Closed)?;
        let state = match store.peek(&name(&self.service), known.stamp).await {
            Ok(Peek::Unchanged) => return known.error(),
            Ok(Peek::Absent) => (None, SecretState::Waiting),
            Ok(Peek::Found(entry, stamp)) => (Some(stamp), self.state_of(&entry)),
            Err(error) => (None, SecretState::Unusable(KeepError::Store(Arc::new(error)))),
        };
        let now = KnownSecret { is_known: true, stamp: state.0, state: state.1 };
        self.log_change(&known, &now);
        let result = now.error();
        self.known.store(Arc::new(now));
        result
    }

    /// Keeps a secret that the provider brings, if there is none yet. On success it is on the disk.
    ///
    /// # Errors
    /// The secret could not be kept, so it must not be acknowledged.
    pub async fn keep(&self, secret: &Secret, now: SystemTime) -> Result<Kept, KeepError> {
        // A wrong secret for an established webhook costs one `stat`.
        self.look().await?;
        if let SecretState::Kept { digest, .. } = &self.known.load().state {
            return Ok(self.compare(digest, secret));
        }
        if let Some(Err((_, fault))) = self.verifier.as_ref().map(|verifier| with_secret(verifier, secret)) {
            return Err(KeepError::Unfit(fault));
        }
        let store = self.store.get().ok_or(KeepError::Closed)?;
        let kept = first(&*store, &self.service, self.handshake, secret, now).await;
        let kept = kept.map_err(|error| KeepError::Store(Arc::new(error)))?;
        self.look().await?;
        match (kept, &self.known.load().state) {
            (Some(_), SecretState::Kept { digest, .. }) => Ok(self.compare(digest, secret)),
            // Another process removed the kept secret meanwhile.
            (Some(_), _) => Ok(Kept::Ignored),
            (None, _) => Ok(Kept::First),
        }
    }

    /// Logs a change of the state.
    fn log_change(&self, before: &KnownSecret, now: &KnownSecret) {
        let (service, handshake) = (&*self.service, self.handshake);
        match (&before.state, &now.state) {
            (SecretState::Waiting, SecretState::Waiting) if !before.is_known => tracing::info!(
                service,
                handshake,
                "the webhook waits for the provider's handshake, which brings the secret of its deliveries"
            ),
            (SecretState::Waiting | SecretState::Unusable(_), SecretState::Kept { .. }) => {
                tracing::info!(service, handshake, "the secret that the provider brought is in use")
            }
            (SecretState::Kept { .. }, SecretState::Waiting) => tracing::warn!(
                service,
                handshake,
                "the secret that the provider brought was removed; the webhook waits for the next handshake"
            ),
            (SecretState::Waiting | SecretState::Kept { .. }, SecretState::Unusable(error)) => {
                tracing::error!(
                    service,
                    handshake,
                    error = %Chain(error),
                    "the secret that the provider brought can't be used: every delivery is refused"
                )
            }
            _ => {}
        }
    }

    fn compare(&self, digest: &[u8; 32], secret: &Secret) -> Kept {
        if *digest == secret.sha256() {
            return Kept::Again;
        }
        let ignored = self.ignored.fetch_add(1, Relaxed) + 1;
        // A client may send any number of them; the access log has each.
        if let Some(not_logged) = self.log_limit.take() {
            let (service, handshake) = (&*self.service, self.handshake);
            tracing::warn!(
                service,
                handshake,
                ignored,
                not_logged,
                "another secret than the one that is kept was ignored; if the webhook was set up anew, \
                 `attache urls --reset-handshake` lets the next handshake in"
            );
        }
        Kept::Ignored
    }

    fn state_of(&self, entry: &Entry) -> SecretState {
        let Some(secret) = secret_of(entry, self.handshake) else { return SecretState::Waiting };
        let verifier = self.verifier.as_ref().map(|verifier| with_secret(verifier, secret));
        match verifier.transpose() {
            Ok(verifier) => SecretState::Kept {
                digest: secret.sha256(),
                since: entry.obtained_at,
                verifier: verifier.map(Arc::new),
            },
            Err((_, fault)) => SecretState::Unusable(KeepError::Unfit(fault)),
        }
    }
}

impl KnownSecret {
    fn error(&self) -> Result<(), KeepError> {
        match &self.state {
            SecretState::Unusable(error) => Err(error.clone()),
            SecretState::Waiting | SecretState::Kept { .. } => Ok(()),
        }
    }
}

fn with_secret(verifier: &Verifier, secret: &Secret) -> Result<Verifier, (usize, SecretFault)> {
    verifier.with_secrets(std::slice::from_ref(secret))
}
