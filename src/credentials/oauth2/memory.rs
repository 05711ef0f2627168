//! The knowledge of a process about an account, whichever source serves it: refusals and pauses that a change of other settings
//! must not forget.
//!
//! | known | depends on | ends with |
//! | --- | --- | --- |
//! | a refused password | username, password, client, `token_url` | another of these, SIGHUP, a token |
//! | a pause that the endpoint asked for | the same | its end, another of these, SIGHUP, a token |
//! | the last SIGHUP that had an effect | the account's name | a minute |
//! | the last token that is over | nothing | the next such token |
//!
//! The other pauses belong to one source. They follow from a request that the change has replaced, and an operator who
//! mends a rejected account must not wait for them. A refused refresh token is in the store.

use super::error::Failure;
use super::identity::proof_identity;
use super::schedule;
use crate::config::model::OAuth2;
use crate::secret::Secret;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// The memory of each account, by name.
#[derive(Clone, Default)]
pub(super) struct AccountMemories(Arc<Mutex<HashMap<Box<str>, Arc<AccountMemory>>>>);

impl AccountMemories {
    /// Returns the memory of an account that has these settings from now on.
    pub(super) fn of(&self, account: &str, config: &OAuth2) -> Arc<AccountMemory> {
        let mut all = lock(&self.0);
        let memory = all.entry(account.into()).or_default();
        memory.configured(proof_identity(config));
        Arc::clone(memory)
    }
}

/// The memory of one account.
#[derive(Default)]
pub(super) struct AccountMemory(Mutex<KnownAccount>);

#[derive(Default)]
struct KnownAccount {
    /// The newest source's [`proof_identity`].
    proof: [u8; 32],
    refused: Option<Arc<Failure>>,
    pause: Option<(Arc<Failure>, Instant)>,
    nudged_at: Option<Instant>,
    over: Option<Secret>,
}

impl AccountMemory {
    fn configured(&self, proof: [u8; 32]) {
        let mut known = lock(&self.0);
        if known.proof != proof {
            (known.proof, known.refused, known.pause) = (proof, None, None);
        }
    }

    /// Notes the refusal of a password, unless the account has other settings by now.
    pub(super) fn note_refusal(&self, proof: [u8; 32], failure: &Failure) {
        let mut known = lock(&self.0);
        if known.proof == proof {
            known.refused = Some(Arc::new(failure.clone()));
        }
    }

    /// Notes the pause that the endpoint asked for.
    pub(super) fn note_pause(&self, proof: [u8; 32], failure: &Failure, now: Instant) {
        let Some(asked) = failure.retry_after else { return };
        let mut known = lock(&self.0);
        if known.proof == proof {
            known.pause = Some((Arc::new(failure.clone()), now + asked.min(schedule::MAX_RETRY_AFTER)));
        }
    }

    /// The endpoint gave a token.
    pub(super) fn note_success(&self, proof: [u8; 32]) {
        let mut known = lock(&self.0);
        if known.proof == proof {
            (known.refused, known.pause) = (None, None);
        }
    }

    /// Returns the refusal of the account's password.
    pub(super) fn refusal(&self, proof: [u8; 32]) -> Option<Arc<Failure>> {
        let known = lock(&self.0);
        known.refused.clone().filter(|_| known.proof == proof)
    }

    /// Returns the failure after which the endpoint asked for a pause, with what is left of it.
    pub(super) fn pause(&self, proof: [u8; 32], now: Instant) -> Option<Failure> {
        let known = lock(&self.0);
        let (failure, until) =
            known.pause.as_ref().filter(|(_, until)| known.proof == proof && now < *until)?;
        Some(Failure { retry_after: Some(*until - now), ..(**failure).clone() })
    }

    /// Returns true if SIGHUP may forget pauses: at most once in [`schedule::NUDGE`].
    pub(super) fn may_be_nudged(&self, now: Instant) -> bool {
        lock(&self.0).nudged_at.is_none_or(|at| now >= at + schedule::NUDGE)
    }

    /// SIGHUP had an effect.
    pub(super) fn note_nudge(&self, now: Instant) {
        lock(&self.0).nudged_at = Some(now);
    }

    /// Returns true if there is a refusal or a pause to forget.
    pub(super) fn holds_back(&self) -> bool {
        let known = lock(&self.0);
        known.refused.is_some() || known.pause.is_some()
    }

    /// Forgets refusal and pause. Returns true if there was one.
    pub(super) fn forget(&self) -> bool {
        let mut known = lock(&self.0);
        let (refused, pause) = (known.refused.take(), known.pause.take());
        refused.is_some() || pause.is_some()
    }

    /// Notes a token that is over, and must not come back from the store.
    pub(super) fn note_over(&self, token: Secret) {
        lock(&self.0).over = Some(token);
    }

    /// Returns the last token that is over.
    pub(super) fn over(&self) -> Option<Secret> {
        lock(&self.0).over.clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
